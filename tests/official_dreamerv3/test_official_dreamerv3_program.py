"""The whole program, around a stand-in for the official one: records, refusals, no trace left."""

from __future__ import annotations

import ctypes.util
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from standin_dreamerv3 import FIRST_UPDATE, STEPS, make_checkout

from backends.official_dreamerv3 import TREE, __main__
from backends.official_dreamerv3 import recipe as recipes
from pytest_worldflux_parity import wire
from pytest_worldflux_parity.wire import Refused
from pytest_worldflux_parity.wire.checkout import copy_commit

PROJECT = Path(__file__).parents[2]
ADAPTER = "official_dreamerv3_jax_subprocess"
UPDATES = STEPS - FIRST_UPDATE + 1
WINDOWS = {"first": [1, 1], "early": [2, 10], "late": [20, UPDATES], "never": [20, 500]}


def environment():
    return {**os.environ, "PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1", "PJRT_NPROC": "7"}


def program(*arguments):
    """Start the program with the interpreter that runs the tests."""
    command = [sys.executable, "-m", "backends.official_dreamerv3", *map(str, arguments)]
    return subprocess.Popen(
        command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd="/"
    )


def run(*arguments):
    process = program(*arguments)
    _, said = process.communicate(timeout=300)
    return process.returncode, said


@pytest.fixture
def request_file(tmp_path):
    """Writes a request for the stand-in; changes are made to the request or to the stand-in."""

    def write(changes=None, **fields):
        folder = tmp_path / "checkout"
        folder.mkdir()
        commit = make_checkout(folder, changes)
        request = wire.RunRequest(
            request_id="r" * 64,
            run_id="run",
            suite_id="suite",
            family="dreamerv3",
            task_id="atari_pong",
            seed=1,
            system="official",
            adapter=ADAPTER,
            device="cpu",
            recipe={"units": 32},
            eval_protocol={"eval_window": 1, "windows": WINDOWS},
            out_dir=str(tmp_path / "out"),
            deadline_sec=100.0,
            source={"checkout": str(folder), "commit": commit},
        )
        path = tmp_path / "request.json"
        path.write_text(wire.request_to_json(dataclasses.replace(request, **fields)))
        return path

    return write


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """One good run: its folder and its record."""
    folder = tmp_path_factory.mktemp("good")
    (folder / "checkout").mkdir()
    commit = make_checkout(folder / "checkout")
    options = ["--checkout", folder / "checkout", "--commit", commit, "--out", folder / "out", "--seed", 3]
    options += ["--task", "atari_pong", "--set", "units=32", "--threads", 2]
    options += [word for name, (a, b) in WINDOWS.items() for word in ("--window", f"{name}={a}:{b}")]
    status, said = run(*options)
    assert status == 0, said
    return folder, wire.read_record(folder / "out" / "metrics.json")


def test_the_record_says_what_ran(good):
    folder, record = good
    metadata = record.metadata
    assert (record.adapter, record.task_id, record.seed) == (ADAPTER, "atari_pong", 3)
    assert [point.step for point in record.curve] == [40, 80, 120, 160]
    assert (metadata["mode"], metadata["backend_kind"]) == ("live", "jax_subprocess")
    assert (metadata["env_backend"], metadata["policy_mode"]) == ("ale", "trained")
    assert metadata["train_budget"] == {"steps": STEPS, "frames": 4 * STEPS}
    assert metadata["recipe_hash"] == wire.content_hash(metadata["effective_recipe"])
    assert metadata["effective_recipe"]["task"] == "atari100k_pong"
    assert metadata["effective_recipe"]["agent.policy.units"] == 32
    assert metadata["eval_protocol"] == {
        "eval_interval": None, "eval_episodes": None, "eval_window": None, "windows": WINDOWS,
    }  # fmt: skip
    assert metadata["eval_protocol_hash"] == wire.eval_protocol_hash(
        "dreamerv3", "atari_pong", metadata["eval_protocol"]
    )
    assert (metadata["updates"], metadata["env_steps"]) == (UPDATES, STEPS)
    assert metadata["source"]["changes"] == []
    for files in metadata["artifact_manifest"].values():
        assert all((folder / "out" / file["path"]).stat().st_size == file["bytes"] for file in files)


def test_what_is_set_beside_the_recipe_is_listed_and_was_set(good):
    folder, record = good
    listed = {entry["key"]: entry["value"] for entry in record.metadata["settings"]}
    assert set(listed) == set(__main__.FIXED)
    assert all(entry["why"] for entry in record.metadata["settings"])
    used = json.loads((folder / "out/official_run/log/config.yaml").read_text())
    assert {k: used[k] for k in listed if k != "jaxcfg.profiler"} == {
        k: v for k, v in listed.items() if k != "jaxcfg.profiler"
    }
    parameters = np.load(folder / "out/official_run/log/parameters.npz", allow_pickle=False)
    assert parameters["enc/mlp0/kernel"][1] == 0.0, "the profiler was on"


def test_each_statistic_is_that_of_its_own_update_the_last_one_included(good):
    """The stand-in's ``loss/dyn`` is the number of the update, and ``train`` returns it one call late."""
    assert good[1].scalars == {
        "loss/dyn.first": 1.0,
        "loss/dyn.early": 6.0,
        "loss/dyn.late": (20 + UPDATES) / 2,
    }


def test_observed_and_unobserved_runs_are_the_same(good, tmp_path):
    folder, record = good
    copy_commit(folder / "checkout", record.metadata["source"]["commit"], tmp_path / "copy", "repo", TREE)
    asked = {"config": "atari100k", "units": 32}
    arguments = recipes.make_flags("atari100k_pong", 3, asked, str(tmp_path / "log"), {})
    code = f"from dreamerv3.main import main; main({arguments!r})"
    command = [sys.executable, "-c", code]
    subprocess.run(command, cwd=tmp_path / "copy", env=environment(), check=True)
    observed = folder / "out/official_run/log"
    assert (tmp_path / "log/scores.jsonl").read_text() == (observed / "scores.jsonl").read_text()
    weight = (tmp_path / "log/end.txt").read_text().split()[0]
    assert (observed / "end.txt").read_text().split()[0] == weight


def test_the_number_of_threads_is_the_requests(good):
    assert (good[0] / "out/official_run/log/end.txt").read_text().split()[1] == "2"


def test_nothing_of_the_official_source_nor_its_untrained_checkpoint_is_left(good):
    assert not [p for p in (good[0] / "out").rglob("*") if p.suffix in (".py", ".pyc") or p.name == "ckpt"]


def test_the_heartbeat_counts_frames_up_to_the_total(good):
    lines = [json.loads(line) for line in (good[0] / "out/progress.jsonl").read_text().splitlines()]
    assert (lines[-1]["step"], lines[-1]["total"], lines[-1]["updates"]) == (4 * STEPS, 4 * STEPS, UPDATES)


def test_times_begin_with_the_process(good):
    timing = good[1].metadata["timing"]
    assert 0 < timing["first_update_sec"] < timing["wall_sec"]
    assert timing["train_sec"] < timing["wall_sec"]
    assert timing["updates_per_sec_over_all"] == pytest.approx(UPDATES / timing["wall_sec"])
    assert timing["env_steps_per_sec"] > timing["env_steps_per_sec_over_all"]


def refused(path, status=1):
    code, said = run(path)
    assert code == status, said
    assert said.count("\n") == 1, said
    assert said.startswith("official_dreamerv3: ")
    out = Path(json.loads(path.read_text())["out_dir"])
    assert not (out / "metrics.json").exists()
    assert not (out / "official_source").exists()
    return said


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"adapter": "worldflux_dreamerv3_jax_subprocess"}, "request.adapter"),
        ({"device": "gpu"}, "request.device is 'gpu'; valid: cpu, cuda"),
        ({"threads": 0}, "request.threads"),
        ({"source": {}}, "request.source.checkout is missing"),
        ({"recipe": {"agent.opt.lrr": 1.0}}, "did you mean 'agent.opt.lr'"),
        ({"recipe": {"config": "dmc_proprio"}}, "does not fit the task"),
        ({"task_id": "atari_pongg"}, "did you mean 'pong'"),
        ({"eval_protocol": {"eval_interval": 100}}, "eval_protocol.eval_interval"),
        ({"eval_protocol": {"windows": {"a": [0, 1]}}}, "windows.a"),
        ({"recipe": {"run.steps": 5}}, "ended without an update"),
    ],
)
def test_a_request_that_cannot_be_answered_is_one_line(request_file, fields, said):
    assert said in refused(request_file(**fields))


def test_what_an_earlier_attempt_left_is_not_read(request_file, tmp_path):
    log = tmp_path / "out/official_run/log"
    log.mkdir(parents=True)
    (log / "scores.jsonl").write_text('{"step": 40, "episode/score": 1000.0}\n')
    (tmp_path / "out/metrics.json").write_text("{}")
    elsewhere = {"dreamerv3/main.py": ('"scores.jsonl"', '"scores2.jsonl"')}
    assert "absent or empty" in refused(request_file(elsewhere))


MAIN, AGENT = "dreamerv3/main.py", "dreamerv3/agent.py"
BROKEN = [
    (MAIN, 'line + "\\n" for', "line for", "torn"),
    (MAIN, "in self.rows]", "in self.rows[:-1]]", "the logger got"),
    (MAIN, '"episode/score": b', '"episode/score": b + 1', "the logger got"),
    (
        MAIN,
        '"metrics.jsonl").write',
        '"metrics2.jsonl").write',
        "metrics.jsonl: the official program did not",
    ),
    (MAIN, 'prefix="episode"', 'prefix="other"', "no episode ended"),
    (AGENT, "self.updates += 1", "self.updates += 2", "metrics of update 2 came where those of 1 were due"),
    (AGENT, '"loss/dyn": float(self.updates)', '"loss/dyn": float("nan")', "scalars.loss/dyn.early is nan"),
    (MAIN, 'config.flat["run.steps"]', "0", "ended without an update"),
    (MAIN, "return Agent(config)", "raise SystemExit(3)", "ended with status 3"),
]


@pytest.mark.parametrize(("file", "old", "new", "said"), BROKEN, ids=[said for *_, said in BROKEN])
def test_a_run_that_left_something_broken_is_one_line(request_file, file, old, new, said):
    assert said in refused(request_file({file: (old, new)}))


def test_a_crash_keeps_its_traceback_in_the_log_and_ends_in_one_line(request_file):
    crash = {AGENT: ("        self.updates += 1", "        raise ValueError('of their own')")}
    code, said = run(request_file(crash))
    assert code == 1
    assert "Traceback" in said
    assert (
        said.splitlines()[-1] == "official_dreamerv3: the official program failed: ValueError: of their own"
    )


def test_a_request_that_is_not_one_is_refused(tmp_path):
    path = tmp_path / "request.json"
    path.write_text("{")
    code, said = run(path)
    assert (code, said.count("\n")) == (1, 1), said
    assert run(tmp_path / "none.json")[0] == 1


CHILD = """    import multiprocessing, threading, time
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,))
    child.start()
    threading.Thread(target=time.sleep, args=(600,)).start()
    (logdir / "child").write_text(str(child.pid))
"""


@pytest.mark.parametrize("then", ["    random.seed", "    raise ValueError(0)\n    random.seed"])
def test_a_process_and_a_thread_that_the_program_started_end_with_it(request_file, tmp_path, then):
    code, said = run(request_file({MAIN: ("    random.seed", CHILD + then)}))
    assert code == ("ValueError" in then), said
    pid = int((tmp_path / "out/official_run/log/child").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_termination_ends_everything_and_removes_the_source(request_file, tmp_path):
    slow = {AGENT: ("        self.updates += 1", "        import time; time.sleep(9)")}
    process = program(request_file(slow))
    while not (tmp_path / "out/progress.jsonl").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    assert (tmp_path / "out/official_source").is_dir()
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (143, "official_dreamerv3: ended by SIGTERM\n")
    assert not (tmp_path / "out/official_source").exists()
    assert not (tmp_path / "out/metrics.json").exists()


@pytest.mark.parametrize(
    ("renderer", "there", "good"),
    [(None, True, True), (None, False, False), ("osmesa", True, True), ("disable", True, False)],
)
def test_a_drawn_task_without_a_renderer_is_refused_before_it_starts(monkeypatch, renderer, there, good):
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "PJRT_NPROC", "NPROC"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("MUJOCO_GL", "egl")
    monkeypatch.delenv("MUJOCO_GL")
    if renderer:
        monkeypatch.setenv("MUJOCO_GL", renderer)
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: f"lib{name}" if there else None)
    __main__.prepare_environment(1, "atari100k_pong")
    if good:
        __main__.prepare_environment(1, "dmc_cartpole_balance")
        return
    with pytest.raises(Refused, match="nothing to draw with; to mend: install libegl1"):
        __main__.prepare_environment(1, "dmc_cartpole_balance")
