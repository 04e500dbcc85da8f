"""The whole program, around a stand-in for the official one: records, refusals, no trace left."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from standin import make_checkout

from backends.official_tdmpc2 import CPU_CHANGES
from backends.official_tdmpc2 import recipe as recipes
from pytest_worldflux_parity import wire
from pytest_worldflux_parity.wire.checkout import copy_commit

PROJECT = Path(__file__).parents[2]
ADAPTER = "official_tdmpc2_torch_subprocess"
WINDOWS = {"first": [1, 10], "late": [16, 20], "never": [20, 500]}


def environment():
    return {**os.environ, "PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1"}


def program(*arguments):
    """Start the program with the interpreter that runs the tests."""
    command = [sys.executable, "-m", "backends.official_tdmpc2", *map(str, arguments)]
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
            family="tdmpc2",
            task_id="cartpole-balance",
            seed=1,
            system="official",
            adapter=ADAPTER,
            device="cpu",
            recipe={"model_profile": "custom", "enc_dim": 64, "eval_episodes": 1},
            eval_protocol={"eval_interval": 40, "eval_episodes": 1, "eval_window": 1, "windows": WINDOWS},
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
    options += ["--task", "cartpole-balance", "--set", "model_profile=custom", "--set", "enc_dim=64"]
    options += ["--set", "eval_episodes=1", "--set", "eval_freq=20"]
    options += [word for name, (a, b) in WINDOWS.items() for word in ("--window", f"{name}={a}:{b}")]
    status, said = run(*options)
    assert status == 0, said
    return folder, wire.read_record(folder / "out" / "metrics.json")


def test_the_record_says_what_ran(good):
    _, record = good
    metadata = record.metadata
    assert (record.adapter, record.task_id, record.seed, record.device) == (
        ADAPTER,
        "cartpole-balance",
        3,
        "cpu",
    )
    assert [point.step for point in record.curve] == [0, 40, 80]
    assert metadata["mode"] == "live"
    assert metadata["backend_kind"] == "torch_subprocess"
    assert (metadata["policy_mode"], metadata["policy_impl"]) == ("trained", "mppi")
    assert metadata["train_budget"] == {"steps": 40, "frames": 80}
    assert metadata["recipe_hash"] == wire.content_hash(metadata["effective_recipe"])
    assert metadata["effective_recipe"]["enc_dim"] == 64
    assert metadata["eval_protocol_hash"] == wire.eval_protocol_hash(
        "tdmpc2", "cartpole-balance", metadata["eval_protocol"]
    )
    assert metadata["updates"] == 21
    assert [change["file"] for change in metadata["source"]["changes"]] == [c.file for c in CPU_CHANGES]
    for files in metadata["artifact_manifest"].values():
        assert all((good[0] / "out" / file["path"]).stat().st_size == file["bytes"] for file in files)


def test_statistics_are_means_over_windows_of_updates_and_an_unfilled_window_is_left_out(good):
    scalars = good[1].scalars
    # The stand-in returns the number of the update as each statistic.
    assert scalars["reward_loss.first"] == 5.5
    assert scalars["pi_scale.late"] == 18.0
    assert not [name for name in scalars if name.endswith(".never")]


def test_the_planner_is_observed_in_evaluations_after_training_began(good, tmp_path):
    """The first evaluation after the first update is the one at step 40: three plans of it."""
    scalars = good[1].scalars
    assert scalars["plan_value.eval"] != 0
    assert scalars["plan_value_gain.eval"] != 0


def test_observed_and_unobserved_runs_are_the_same(good, tmp_path):
    folder, _ = good
    commit = json.loads((folder / "out/metrics.json").read_text())["metadata"]["source"]["commit"]
    copy_commit(folder / "checkout", commit, tmp_path / "copy", "repo", (":tdmpc2",), CPU_CHANGES)
    asked = {"model_profile": "custom", "enc_dim": 64, "eval_episodes": 1, "eval_freq": 20, "compile": False}
    arguments = recipes.make_overrides("cartpole-balance", 3, asked)
    (tmp_path / "run").mkdir()
    command = [sys.executable, str(tmp_path / "copy" / "train.py"), *arguments]
    subprocess.run(command, cwd=tmp_path / "run", env=environment(), check=True)
    logs = "logs/cartpole-balance/3/parity/eval.csv"
    assert (tmp_path / "run" / logs).read_text() == (folder / "out/official_run" / logs).read_text()


def test_the_number_of_threads_is_the_requests(good):
    weights = good[0] / "out/official_run/logs/cartpole-balance/3/parity/models/final.pt"
    assert weights.read_text().split()[1] == "1"


def test_nothing_of_the_official_source_is_left(good):
    assert not [p for p in (good[0] / "out").rglob("*") if p.suffix in (".py", ".pyc")]


def test_the_heartbeat_counts_frames_up_to_the_total(good):
    lines = [json.loads(line) for line in (good[0] / "out/progress.jsonl").read_text().splitlines()]
    assert (lines[-1]["step"], lines[-1]["total"], lines[-1]["updates"]) == (80, 80, 21)


def refused(path, status=1):
    code, said = run(path)
    assert code == status, said
    assert said.count("\n") == 1, said
    assert said.startswith("official_tdmpc2: ")
    out = Path(json.loads(path.read_text())["out_dir"])
    assert not (out / "metrics.json").exists()
    assert not (out / "official_source").exists()
    return said


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"adapter": "worldflux_tdmpc2_native"}, "request.adapter"),
        ({"device": "gpu"}, "request.device is 'gpu'; valid: cpu, cuda"),
        ({"threads": 0}, "request.threads"),
        ({"source": {}}, "request.source.checkout is missing"),
        ({"recipe": {"enc_dims": 1}}, "did you mean 'enc_dim'"),
        (
            {"recipe": {"eval_freq": 10}},
            "eval_protocol.eval_interval is 40 and recipe.eval_freq is 10, each of 2; they must agree",
        ),
        ({"recipe": {"eval_episodes": 2}}, "recipe.eval_episodes is 2, each of 1; they must agree"),
        ({"task_id": "mt30"}, "not a DMControl task"),
        ({"eval_protocol": {"windows": {"a": [0, 1]}}}, "windows.a"),
        ({"recipe": {"model_profile": "size_1m", "enc_dim": 64}}, "64 was asked for"),
    ],
)
def test_a_request_that_cannot_be_answered_is_one_line(request_file, fields, said):
    assert said in refused(request_file(**fields))


def test_what_an_earlier_attempt_left_is_not_read(request_file, tmp_path):
    logs = tmp_path / "out/official_run/logs/cartpole-balance/1/parity"
    logs.mkdir(parents=True)
    (logs / "eval.csv").write_text("step,episode_reward\n0.0,1000.0\n20.0,1000.0\n40.0,1000.0\n")
    (tmp_path / "out/metrics.json").write_text("{}")
    no_file = {"tdmpc2/trainer/online_trainer.py": ('(logs / "eval.csv")', '(logs / "eval2.csv")')}
    assert "absent or empty" in refused(request_file(no_file))


BROKEN = [
    ('"\\n".join(lines) + "\\n"', '"\\n".join(lines)', "torn"),
    ("in self.rows)", "in self.rows[:-1])", "expected [0, 20, 40]"),
    ("{b!r}", "nan", "finite"),
    ('logs / "models" / "final.pt"', 'logs / "final.pt"', "final.pt: the official program did not write it"),
    ("class OnlineTrainer", "raise SystemExit(3)\nclass OnlineTrainer", "ended with status 3"),
    ("    def train(self):", "    def train(self):\n        return", "final.pt|eval.csv"),
]


@pytest.mark.parametrize(("old", "new", "said"), BROKEN, ids=[said for _, _, said in BROKEN])
def test_a_run_that_left_something_broken_is_one_line(request_file, old, new, said):
    line = refused(request_file({"tdmpc2/trainer/online_trainer.py": (old, new)}))
    assert any(word in line for word in said.split("|")), line


def test_an_official_program_that_does_not_train_is_refused(request_file):
    no_run = {"tdmpc2/train.py": ("OnlineTrainer(cfg, Env(), agent).train()", "pass")}
    assert "ended without training" in refused(request_file(no_run))


def test_a_task_of_another_simulator_is_refused(request_file):
    other = {
        "tdmpc2/train.py": ("from envs.dmcontrol import Env", "from types import SimpleNamespace as Env")
    }
    assert "is not a task of dm_control" in refused(request_file(other))


def test_a_statistic_that_is_not_a_number_is_named(request_file):
    nan = {"tdmpc2/tdmpc2.py": ("float(self.updates))", "float('nan'))")}
    assert "scalars.consistency_loss.first is nan" in refused(request_file(nan))


def test_a_crash_keeps_its_traceback_in_the_log_and_ends_in_one_line(request_file):
    crash = {"tdmpc2/tdmpc2.py": ("        self.updates += 1", "        raise ValueError('of their own')")}
    code, said = run(request_file(crash))
    assert code == 1
    assert "Traceback" in said
    assert said.splitlines()[-1] == "official_tdmpc2: the official program failed: ValueError: of their own"


def test_a_compiled_planner_is_left_unobserved(request_file, tmp_path):
    path = request_file(recipe={"compile": True, "eval_episodes": 1})
    code, said = run(path)
    # The stand-in's sizes are not those of proof_5m, which is the default, but nothing names them.
    assert code == 0, said
    scalars = wire.read_record(tmp_path / "out/metrics.json").scalars
    assert "reward_loss.first" in scalars
    assert not [name for name in scalars if name.startswith("plan_")]


def test_a_request_that_is_not_one_is_refused(tmp_path):
    path = tmp_path / "request.json"
    for text in ("{", "[]", '{"schema_version": "x"}'):
        path.write_text(text)
        code, said = run(path)
        assert (code, said.count("\n")) == (1, 1), said
    assert run(tmp_path / "none.json")[0] == 1


def test_termination_ends_everything_and_removes_the_source(request_file, tmp_path):
    slow = {
        "tdmpc2/trainer/online_trainer.py": (
            "            self._step += 1",
            "            import time; time.sleep(9)",
        )
    }
    process = program(request_file(slow))
    while not (tmp_path / "out/progress.jsonl").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    assert (tmp_path / "out/official_source").is_dir()
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (143, "official_tdmpc2: ended by SIGTERM\n")
    assert not (tmp_path / "out/official_source").exists()
    assert not (tmp_path / "out/metrics.json").exists()
