"""The program, started as the plugin starts it."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("jax", reason="the extra `dreamerv3` is not installed")
pytest.importorskip("dm_control", reason="the extra `dreamerv3` is not installed")
pytest.importorskip("ale_py", reason="the extra `dreamerv3` is not installed")

from backends.worldflux_dreamerv3 import __main__ as program
from pytest_worldflux_parity import wire

ROOT = Path(__file__).parents[2]
TINY: dict[str, Any] = {
    "deter": 16, "hidden": 8, "stoch": 4, "classes": 4, "units": 8, "layers": 1, "blocks": 4, "depth": 2,
    "bins": 15, "agent.imag_length": 3, "agent.opt.warmup": 10, "agent.opt.lr": 1e-3,
    "jax.compute_dtype": "float32", "batch_size": 2, "batch_length": 8, "run.envs": 1, "run.steps": 150,
    "run.train_ratio": 8.0, "env.dmc.repeat": 10,
}  # fmt: skip
WINDOWS = {"early": [1, 20], "late": [41, 60], "never": [60, 1000]}
UPDATES = 1 + (150 - 24) // 2


def request(out_dir: Path, **changes: Any) -> wire.RunRequest:
    """A request for a tiny run."""
    base = wire.RunRequest(
        request_id="r1",
        run_id="run",
        suite_id="suite",
        family="dreamerv3",
        task_id="dmc_cartpole_balance",
        seed=3,
        system="worldflux",
        adapter="worldflux_dreamerv3_jax_subprocess",
        device="cpu",
        recipe=TINY,
        eval_protocol={"eval_window": 1, "windows": WINDOWS},
        out_dir=str(out_dir),
        deadline_sec=300,
    )
    return dataclasses.replace(base, **changes)


def written(given: wire.RunRequest) -> str:
    """The path of a request's file."""
    out_dir = Path(given.out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    path = out_dir / "request.json"
    path.write_text(wire.request_to_json(given))
    return str(path)


def start(*arguments: str, **variables: str) -> subprocess.Popen[str]:
    """Start the program."""
    command = [sys.executable, "-W", "error", "-m", "backends.worldflux_dreamerv3", *arguments]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "", **variables}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, env=env, stdout=pipe, stderr=pipe, text=True)


def refused_here(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line of the program in this process, for what is refused before JAX is set up."""
    assert program.PROGRAM.main(list(arguments)) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1, err
    return err


@pytest.fixture(scope="module")
def variables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """One compilation for all runs of this module, and a quick one."""
    return {
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path_factory.mktemp("compiled")),
        "XLA_FLAGS": os.environ["XLA_FLAGS"],
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, variables: dict[str, str]) -> Path:
    """The out directory of a run, which has left the checkpoint of step 120."""
    folder = tmp_path_factory.mktemp("whole")
    process = start(written(request(folder)), "--checkpoint-every", "60", **variables)
    _, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    assert err == ""
    return folder


def test_the_record_is_valid_and_says_what_was_run(whole: Path) -> None:
    record = wire.read_record(whole / "metrics.json")
    assert (record.request_id, record.task_id, record.seed) == ("r1", "dmc_cartpole_balance", 3)
    assert [point.step for point in record.curve] == [101 * 10]
    assert 0 < record.curve[0].value <= 1000
    found = record.metadata
    expected = {
        "mode": "live", "env_backend": "dm_control", "backend_kind": "jax_subprocess",
        "adapter_id": "worldflux_dreamerv3_jax_subprocess", "model_id": "dreamerv3",
        "model_profile": "custom", "policy_mode": "trained", "policy_impl": "actor",
        "updates": UPDATES, "env_steps": 150, "train_budget": {"steps": 150, "frames": 1500},
        "eval_protocol": {
            "eval_interval": None, "eval_episodes": None, "eval_window": 1, "windows": WINDOWS
        },
    }  # fmt: skip
    assert {key: found[key] for key in expected} == expected
    assert found["packages"].keys() == {"jax", "jaxlib", "optax", "numpy", "dm_control", "mujoco"}
    assert found["artifact_manifest"].keys() == {"agent.npz", "metrics.jsonl", "progress.jsonl"}
    assert found["recipe_hash"] == wire.content_hash(found["effective_recipe"])
    effective = found["effective_recipe"]
    assert {key: effective[key] for key in ("batch_size", "run.steps", "agent.imag_length")} == {
        "batch_size": 2, "run.steps": 150, "agent.imag_length": 3
    }  # fmt: skip


def test_the_record_has_the_official_metrics_of_full_windows(whole: Path) -> None:
    scalars = wire.read_record(whole / "metrics.json").scalars
    names = {
        "loss/dyn", "loss/rep", "loss/rew", "loss/con", "loss/policy", "loss/value", "loss/repval",
        "loss/position", "loss/velocity", "opt/loss", "opt/grad_norm", "opt/update_rms", "opt/param_rms",
        "dyn_ent", "rep_ent", "ent/action", "ret", "val", "rew", "con", "tar",
    }  # fmt: skip
    for window in ("early", "late"):
        assert names <= {key.removesuffix(f".{window}") for key in scalars if key.endswith(f".{window}")}
    assert not [key for key in scalars if key.endswith(".never")]
    assert not [key for key in scalars if key.startswith(("opt/updates", "opt/param_count"))], "counts"
    for name in ("loss/rew", "loss/velocity"):
        assert scalars[f"{name}.late"] < scalars[f"{name}.early"], "nothing was learned"


def test_what_was_compiled_is_kept_in_a_folder_of_this_kind_of_machine(
    whole: Path, variables: dict[str, str]
) -> None:
    assert wire.read_record(whole / "metrics.json").metadata["compilation_cache"]
    (folder,) = Path(variables["JAX_COMPILATION_CACHE_DIR"]).iterdir()
    assert folder.name.startswith("jax-0.10.2-cpu-")
    kept = [path.name for path in folder.iterdir()]
    assert any(name.startswith("jit__train-") for name in kept), kept


def test_timing_is_measured(whole: Path) -> None:
    timing = wire.read_record(whole / "metrics.json").metadata["timing"]
    assert 0 < timing["first_update_sec"] < timing["wall_sec"]
    assert timing["train_sec"] < timing["wall_sec"]
    assert timing["updates_per_sec"] > timing["updates_per_sec_over_all"] > 0
    assert timing["env_steps_per_sec"] > timing["env_steps_per_sec_over_all"] > 0
    assert timing["peak_rss_mb"] > 50


def test_heartbeats_are_written(whole: Path) -> None:
    lines = [json.loads(line) for line in (whole / "progress.jsonl").read_text().splitlines()]
    assert lines[0]["step"] == 0
    assert lines[-1]["step"] == lines[-1]["total"] == 1500
    assert lines[-1]["updates"] == UPDATES


def test_a_resumed_run_ends_as_the_run_that_was_not_interrupted(
    whole: Path, tmp_path: Path, variables: dict[str, str]
) -> None:
    """And a new process computes the same bytes from the same numbers."""
    process = start(written(request(tmp_path)), "--resume", str(whole / "checkpoint"), **variables)
    _, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    first, second = (json.loads((folder / "metrics.json").read_text()) for folder in (whole, tmp_path))
    for key in ("curve", "scalars"):
        assert json.dumps(first[key]) == json.dumps(second[key])
    assert second["metadata"]["updates"] == UPDATES
    saved = json.loads((whole / "checkpoint" / "checkpoint.json").read_text())
    assert first["metadata"]["resumed_from_step"] is None
    assert second["metadata"]["resumed_from_step"] == saved["step"] > 0
    timing = second["metadata"]["timing"]
    here = timing["updates_per_sec_over_all"] * timing["wall_sec"]
    assert here == pytest.approx(UPDATES - saved["updates"])  # what was computed before is no speed of this
    with np.load(whole / "agent.npz") as a, np.load(tmp_path / "agent.npz") as b:
        assert a.files == b.files
        for name in a.files:
            np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def test_what_cannot_be_resumed_is_refused_in_one_line(
    whole: Path, tmp_path: Path, variables: dict[str, str]
) -> None:
    process = start(written(request(tmp_path, seed=4)), "--resume", str(whole / "checkpoint"), **variables)
    out, err = process.communicate(timeout=600)
    assert (process.returncode, out) == (1, "")
    assert err.count("\n") == 1, err
    assert "the checkpoint is of seed 3, and 4 is asked for" in err


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"recipe": {**TINY, "agent.imag_lenght": 3}}, "did you mean 'agent.imag_length'?"),
        ({"recipe": {**TINY, "batch_size": "2"}}, "recipe.batch_size is '2'"),
        ({"recipe": {**TINY, "replay.size": 10}}, "replay.size (10) must hold one batch of 18"),
        (
            {"recipe": {**TINY, "config": "atari100k"}},
            "valid for dmc_cartpole_balance: dmc_proprio, dmc_vision",
        ),
        ({"task_id": "dmc_cartpole_balanc"}, "nearest of the 46 tasks is 'dmc_cartpole_balance'"),
        ({"task_id": "atari_pnog"}, "nearest of the 46 tasks is 'atari100k_pong'"),
        ({"task_id": "crafter_reward"}, "unknown task 'crafter_reward'"),
        ({"device": "tpu"}, "request.device is 'tpu'; valid: cpu, cuda"),
        ({"adapter": "other"}, "valid: worldflux_dreamerv3_jax_subprocess"),
        ({"family": "tdmpc2"}, "valid: dreamerv3"),
        ({"threads": 0}, "valid: 1 or more"),
        ({"seed": -1}, "valid: 0 or more"),
        ({"eval_protocol": {"windows": {"late": [5, 1]}}}, "windows.late"),
        ({"eval_protocol": {"eval_episodes": 3}}, "eval_protocol.eval_episodes"),
    ],
)
def test_a_request_that_cannot_be_met_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], words: str
) -> None:
    assert words in refused_here(capsys, written(request(tmp_path, **changes)))
    assert not (tmp_path / "metrics.json").exists()


def test_a_file_that_is_no_request_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "request.json").write_text("{")
    assert "not JSON" in refused_here(capsys, str(tmp_path / "request.json"))
    assert "none.json" in refused_here(capsys, str(tmp_path / "none.json"))


@pytest.mark.parametrize("given", ["--set=batch_size", "--window=late=1-2"])
def test_a_malformed_option_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], given: str
) -> None:
    by_hand = ("--task", "dmc_cartpole_balance", "--out", str(tmp_path), given)
    assert "wanted" in refused_here(capsys, *by_hand)


def test_missing_cuda_is_refused_in_one_line_and_a_stale_record_is_gone(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text("stale")
    process = start(written(request(tmp_path, device="cuda")))
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (1, "")
    assert err.count("\n") == 1, err
    assert "to mend: --device cpu" in err
    assert not (tmp_path / "metrics.json").exists()
