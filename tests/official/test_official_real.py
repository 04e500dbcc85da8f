"""The real official program at the locked commit, tiny.

Needs its checkout and its environment: at their places below ``.worldflux``, or named by
WORLDFLUX_OFFICIAL_TDMPC2 (checkout) and WORLDFLUX_OFFICIAL_PYTHON (interpreter).
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from backends.official_tdmpc2 import CPU_CHANGES, REPOSITORY, TREE
from backends.official_tdmpc2 import recipe as recipes
from pytest_worldflux_parity import wire
from pytest_worldflux_parity.errors import ParityError
from pytest_worldflux_parity.inputs.backends import read_backend
from pytest_worldflux_parity.inputs.checkouts import checkout_path
from pytest_worldflux_parity.inputs.golden import read_golden
from pytest_worldflux_parity.inputs.lock import read_lock
from pytest_worldflux_parity.wire.checkout import copy_commit, run_git, verify_checkout
from tests.components.match_runs import TDMPC2

PROJECT = Path(__file__).parents[2]
LOCKED = read_lock(PROJECT / "reports/parity/upstream_lock.json").entry("tdmpc2_dmcontrol39")
TASK, SEED, STEPS, EVERY = "cartpole-balance", 1, 100, 50
RECIPE = {
    "model_profile": "custom", "enc_dim": 8, "mlp_dim": 8, "latent_dim": 8, "num_q": 2, "batch_size": 4,
    "num_samples": 16, "num_elites": 4, "num_pi_trajs": 2, "iterations": 3, "steps": STEPS,
    "eval_freq": EVERY, "eval_episodes": 1, "compile": False,
}  # fmt: skip


@pytest.fixture(scope="module")
def checkout():
    default = checkout_path(PROJECT, LOCKED.repo, LOCKED.commit)
    path = Path(os.environ.get("WORLDFLUX_OFFICIAL_TDMPC2") or default)
    if not path.is_dir():
        pytest.skip("the official checkout is absent; to mend: worldflux-parity fetch-oracles")
    return path


@pytest.fixture(scope="module")
def python():
    named = os.environ.get("WORLDFLUX_OFFICIAL_PYTHON")
    if named:
        return named
    try:
        return str(read_backend(PROJECT / "backends/official_tdmpc2/backend.yaml").interpreter(PROJECT))
    except ParityError as error:
        pytest.skip(error.line())


def environment(*more):
    path = os.pathsep.join(str(p) for p in (*more, PROJECT))
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def observed(checkout, python, tmp_path_factory):
    """A run by the backend: its folder and record."""
    out = tmp_path_factory.mktemp("observed")
    request = wire.RunRequest(
        request_id="r" * 64, run_id="run", suite_id="suite", family="tdmpc2", task_id=TASK, seed=SEED,
        system="official", adapter="official_tdmpc2_torch_subprocess", device="cpu", recipe=RECIPE,
        eval_protocol={"eval_interval": 2 * EVERY, "eval_episodes": 1, "eval_window": 1,
                       "windows": {"all": [1, 100], "late": [51, 100]}},
        out_dir=str(out), deadline_sec=600.0, source={"checkout": str(checkout), "commit": LOCKED.commit},
    )  # fmt: skip
    (out / "request.json").write_text(wire.request_to_json(request))
    command = [python, "-m", "backends.official_tdmpc2", str(out / "request.json")]
    shortened = Path(__file__).parent / "shortened"
    done = subprocess.run(command, env=environment(shortened), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return out, wire.read_record(out / "metrics.json")


def test_observing_changes_nothing(observed, checkout, python, tmp_path):
    """eval.csv and the weights, byte for byte, of the official train.py run by itself."""
    copy_commit(checkout, LOCKED.commit, tmp_path / "copy", REPOSITORY, TREE, CPU_CHANGES)
    (tmp_path / "run").mkdir()
    command = [python, str(tmp_path / "copy/train.py"), *recipes.make_overrides(TASK, SEED, RECIPE)]
    shortened = Path(__file__).parent / "shortened"
    done = subprocess.run(
        command, cwd=tmp_path / "run", env=environment(shortened), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    logs = Path("logs", TASK, str(SEED), recipes.EXPERIMENT)
    for name in ("eval.csv", "models/final.pt"):
        theirs = (tmp_path / "run" / logs / name).read_bytes()
        ours = (observed[0] / "official_run" / logs / name).read_bytes()
        assert theirs == ours, f"{name} differs between an observed and an unobserved run"


def test_the_record_holds_losses_planner_and_provenance(observed):
    _, record = observed
    assert [point.step for point in record.curve] == [0, 120, 200]
    names = {name.split(".")[0] for name in record.scalars if name.endswith(".all")}
    assert names >= {"consistency_loss", "reward_loss", "value_loss", "pi_loss", "pi_scale", "grad_norm"}
    weights = (20, 0.1, 0.1)
    losses = [record.scalars[f"{name}_loss.late"] for name in ("consistency", "reward", "value")]
    total = sum(weight * loss for weight, loss in zip(weights, losses, strict=True))
    assert record.scalars["total_loss.late"] == pytest.approx(total, rel=1e-5)
    assert {"plan_value.eval", "plan_value_gain.eval"} <= set(record.scalars)
    assert record.metadata["updates"] == 100
    assert record.metadata["source"]["commit"] == LOCKED.commit
    assert sum(c["occurrences"] for c in record.metadata["source"]["changes"]) == 10
    effective = record.metadata["effective_recipe"]
    assert {key: effective[key] for key in RECIPE} == RECIPE
    assert (effective["obs_shape"], effective["action_dim"]) == ([5], 1)


def test_the_checkout_is_left_clean(observed, checkout):
    verify_checkout(checkout, LOCKED.commit, REPOSITORY)
    ignored = run_git(checkout, "status", "--porcelain", "--ignored").decode()
    assert "tdmpc2/logs" not in ignored


def record(checkout, python, out, *options):
    """Run the recorder; the arrays that it wrote."""
    command = [python, "-m", "backends.official_tdmpc2.record", "--checkout", str(checkout)]
    command += ["--commit", LOCKED.commit, "--out", str(out), *map(str, options)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return read_golden(out, "tdmpc2")


def test_the_committed_golden_is_what_the_official_code_computes(checkout, python, tmp_path):
    recorded = record(checkout, python, tmp_path / "golden")
    committed = read_golden(PROJECT / "backends/golden/tdmpc2/2025-05", "tdmpc2")
    assert recorded.components == committed.components
    for key, array in committed.outputs.items():
        scale = max(abs(float(array.max())), abs(float(array.min())))
        np.testing.assert_allclose(recorded.outputs[key], array, rtol=0, atol=5e-5 * scale, err_msg=key)


def test_a_checkpoint_of_a_run_gives_a_golden_that_our_code_matches(observed, checkout, python, tmp_path):
    pytest.importorskip("torch", reason="the extra `tdmpc2` is not installed")
    options = "--checkpoint", observed[0]
    golden = record(checkout, python, tmp_path / "golden", *options)
    assert golden.parameters["_encoder.state.0.weight"] == (8, 5)
    done = TDMPC2.run(TDMPC2.write_request(tmp_path / "out", tmp_path / "golden"))
    assert done.returncode == 0, done.stderr
    result = TDMPC2.judge(tmp_path / "out", tmp_path / "golden")
    assert [finding.detail for finding in result.findings] == []
