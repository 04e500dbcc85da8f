"""The program, started as the plugin starts it."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="the extra `tdmpc2` is not installed")
pytest.importorskip("dm_control", reason="the extra `tdmpc2` is not installed")

import small

from backends.worldflux_tdmpc2 import __main__ as program
from pytest_worldflux_parity import wire

ROOT = Path(__file__).parents[2]
TINY = small.RECIPE | {
    "enc_dim": 8,
    "mlp_dim": 8,
    "latent_dim": 8,
    "num_q": 2,
    "batch_size": 4,
    "iterations": 1,
    "num_samples": 6,
    "num_elites": 3,
    "num_pi_trajs": 1,
    "horizon": 1,
    "steps": 2500,
    "eval_freq": 2500,
    "eval_episodes": 1,
}
WINDOWS = {"early": [1, 100], "late": [2401, 2500]}


def request(out_dir: Path, **changes: Any) -> wire.RunRequest:
    """A request for a tiny run."""
    base = wire.RunRequest(
        request_id="r1",
        run_id="run",
        suite_id="suite",
        family="tdmpc2",
        task_id="cartpole-balance",
        seed=3,
        system="worldflux",
        adapter="worldflux_tdmpc2_native",
        device="cpu",
        recipe=TINY,
        eval_protocol={"eval_interval": 5000, "eval_episodes": 1, "eval_window": 1, "windows": WINDOWS},
        out_dir=str(out_dir),
        deadline_sec=300,
    )
    return dataclasses.replace(base, **changes)


def written(given: wire.RunRequest) -> str:
    """The path of a request file."""
    path = Path(given.out_dir, "request.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(wire.request_to_json(given))
    return str(path)


def start(*arguments: str) -> subprocess.Popen[str]:
    """Start the program."""
    command = [sys.executable, "-W", "error", "-m", "backends.worldflux_tdmpc2", *arguments]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, env=env, stdout=pipe, stderr=pipe, text=True)


@pytest.fixture
def refusal(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """The one line of the program, which refuses what it is given in this process."""

    def refused(*arguments: str) -> str:
        assert program.PROGRAM.main([*arguments]) == 1
        out, err = capsys.readouterr()
        assert out == ""
        assert err.count("\n") == 1, err
        return str(err)

    return refused


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The out directories of two runs of the same request."""
    folders = [tmp_path_factory.mktemp(name) for name in ("first", "second")]
    processes = [start(written(request(folder))) for folder in folders]
    for process in processes:
        _, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        assert err == ""
    return folders


def test_the_record_is_valid_and_says_what_was_run(runs: list[Path]) -> None:
    record = wire.read_record(runs[0] / "metrics.json")
    assert (record.request_id, record.task_id, record.seed) == ("r1", "cartpole-balance", 3)
    assert [p.step for p in record.curve] == [0, 5000]
    assert all(0 <= p.value <= 1000 for p in record.curve)
    assert record.scalars["reward_loss.late"] < record.scalars["reward_loss.early"]
    assert "plan_value_gain.eval" in record.scalars
    effective = record.metadata["effective_recipe"]
    assert {k: effective[k] for k in TINY} == TINY
    assert effective["obs_shape"] == [5]
    assert record.metadata["recipe_hash"] == wire.content_hash(effective)
    assert record.metadata["policy_impl"] == "mppi"
    assert record.metadata["updates"] == 2500
    assert record.metadata["artifact_manifest"].keys() == {"checkpoint.pt", "metrics.jsonl", "progress.jsonl"}


def test_the_same_seed_gives_the_same_bytes(runs: list[Path]) -> None:
    first, second = (json.loads((folder / "metrics.json").read_text()) for folder in runs)
    for key in ("curve", "scalars"):
        assert json.dumps(first[key]) == json.dumps(second[key])


def test_heartbeats_are_written(runs: list[Path]) -> None:
    lines = [json.loads(line) for line in (runs[0] / "progress.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == lines[-1]["total"] == 5000
    assert lines[-1]["updates"] == 2500


def test_a_checkpoint_can_be_evaluated_and_another_agents_is_refused(
    runs: list[Path], tmp_path: Path, refusal: Callable[..., str]
) -> None:
    saved = str(runs[0] / "checkpoint.pt")
    good = start(written(request(tmp_path / "a")), "--evaluate", saved)
    out, err = good.communicate(timeout=120)
    assert good.returncode == 0, err
    assert json.loads(out)["step"] == 5002
    other = written(request(tmp_path / "b", recipe={**TINY, "mlp_dim": 16}))
    assert "checkpoint.pt: tensor" in refusal(other, "--evaluate", saved)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"recipe": {**TINY, "num_elite": 4}},
            "recipe.num_elite is not a known key; did you mean 'num_elites'?",
        ),
        ({"recipe": {**TINY, "compile": "false"}}, "recipe.compile is 'false'"),
        ({"recipe": {**TINY, "eval_freq": 1000}}, "they must agree"),
        ({"task_id": "cartpole-balanc"}, "nearest of the 39 tasks is 'cartpole-balance'"),
        ({"device": "cuda"}, "no CUDA device here; to mend: --device cpu"),
        ({"device": "tpu"}, "valid: cpu, cuda"),
        ({"adapter": "other"}, "valid: worldflux_tdmpc2_native"),
        ({"eval_protocol": {"windows": {"late": [5, 1]}}}, "windows.late"),
    ],
)
def test_a_request_that_cannot_be_met_is_refused_in_one_line(
    tmp_path: Path, refusal: Callable[..., str], changes: dict[str, Any], words: str
) -> None:
    assert words in refusal(written(request(tmp_path, **changes)))
    assert not (tmp_path / "metrics.json").exists()


def test_a_file_that_is_no_request_is_refused_in_one_line(
    tmp_path: Path, refusal: Callable[..., str]
) -> None:
    (tmp_path / "request.json").write_text("{")
    assert "not JSON" in refusal(str(tmp_path / "request.json"))
    assert "none.json" in refusal(str(tmp_path / "none.json"))


def test_a_diverging_run_ends_with_one_line_and_leaves_no_record(
    tmp_path: Path, refusal: Callable[..., str]
) -> None:
    (tmp_path / "metrics.json").write_text("stale")
    diverging = {**TINY, "lr": 1e30, "mpc": False}
    assert "_loss is " in refusal(written(request(tmp_path, recipe=diverging)))
    assert not (tmp_path / "metrics.json").exists()
