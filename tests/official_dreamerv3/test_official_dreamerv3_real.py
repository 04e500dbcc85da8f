"""The real official program at the locked commit, tiny.

Needs its checkout and its environment: at their places below ``.worldflux``, or named by
WORLDFLUX_OFFICIAL_DREAMERV3 (checkout) and WORLDFLUX_OFFICIAL_DREAMERV3_PYTHON (interpreter).
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from backends.official_dreamerv3 import REPOSITORY
from pytest_worldflux_parity import wire
from pytest_worldflux_parity.errors import ParityError
from pytest_worldflux_parity.inputs.backends import read_backend
from pytest_worldflux_parity.inputs.checkouts import checkout_path
from pytest_worldflux_parity.inputs.lock import read_lock
from pytest_worldflux_parity.wire.checkout import verify_checkout

PROJECT = Path(__file__).parents[2]
LOCKED = read_lock(PROJECT / "reports/parity/upstream_lock.json").entry("dreamer_atari100k")
STEPS, REPEAT, ENTRIES = 110, 10, 101
RECIPE = {
    "config": "dmc_proprio", "env.dmc.repeat": REPEAT, "run.steps": STEPS, "run.envs": 1, "batch_size": 4,
    "batch_length": 4, "run.train_ratio": 16.0, "deter": 16, "hidden": 8, "stoch": 4, "classes": 4,
    "units": 8, "layers": 1, "bins": 15, "agent.imag_length": 3, "jax.compute_dtype": "float32",
}  # fmt: skip


@pytest.fixture(scope="module")
def checkout():
    default = checkout_path(PROJECT, LOCKED.repo, LOCKED.commit)
    path = Path(os.environ.get("WORLDFLUX_OFFICIAL_DREAMERV3") or default)
    if not path.is_dir():
        pytest.skip("the official checkout is absent; to mend: worldflux-parity fetch-oracles")
    return path


@pytest.fixture(scope="module")
def python():
    named = os.environ.get("WORLDFLUX_OFFICIAL_DREAMERV3_PYTHON")
    if named:
        return named
    try:
        return str(read_backend(PROJECT / "backends/official_dreamerv3/backend.yaml").interpreter(PROJECT))
    except ParityError as error:
        pytest.skip(error.line())


def run(checkout, python, out, **fields):
    values = {
        "request_id": "r" * 64, "run_id": "run", "suite_id": "suite", "family": "dreamerv3",
        "task_id": "dmc_cartpole_balance", "seed": 1, "system": "official",
        "adapter": "official_dreamerv3_jax_subprocess", "device": "cpu", "recipe": RECIPE,
        "eval_protocol": {"eval_window": 1, "windows": {"one": [1, 1], "late": [50, 91], "never": [50, 92]}},
        "out_dir": str(out), "deadline_sec": 600.0,
        "source": {"checkout": str(checkout), "commit": LOCKED.commit},
    }  # fmt: skip
    request = wire.RunRequest(**{**values, **fields})
    (out / "request.json").write_text(wire.request_to_json(request))
    command = [python, "-m", "backends.official_dreamerv3", str(out / "request.json")]
    env = {**os.environ, "PYTHONPATH": str(PROJECT)}
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def record(checkout, python, tmp_path_factory):
    """A run by the backend: its folder and record."""
    out = tmp_path_factory.mktemp("observed")
    done = run(checkout, python, out)
    assert done.returncode == 0, done.stderr[-2000:]
    return out, wire.read_record(out / "metrics.json")


def test_an_episode_is_a_point_in_frames(record):
    """1000 steps of the simulator with 10 per action, and the entry that begins the episode."""
    assert [point.step for point in record[1].curve] == [ENTRIES * REPEAT]
    assert 0 < record[1].curve[0].value < 1000


def test_losses_add_up_within_every_window_the_last_update_included(record):
    """The first update is at step 20, with 16 sequences of 5 entries in the replay; then one a step."""
    _, found = record
    assert (found.metadata["updates"], found.metadata["env_steps"]) == (1 + STEPS - 20, STEPS)
    scales = {"rep": 0.1, "repval": 0.3}
    for window in ("one", "late"):
        losses = {
            name.removeprefix("loss/").removesuffix(f".{window}"): value
            for name, value in found.scalars.items()
            if name.startswith("loss/") and name.endswith(f".{window}")
        }
        assert set(losses) == {
            "position", "velocity", "rew", "con", "dyn", "rep", "policy", "value", "repval",
        }  # fmt: skip
        total = sum(scales.get(name, 1.0) * value for name, value in losses.items())
        assert found.scalars[f"opt/loss.{window}"] == pytest.approx(total, rel=1e-5)
    # Both heads begin with all bins alike.
    assert found.scalars["loss/rew.one"] == pytest.approx(np.log(15), rel=1e-5)


def test_the_record_holds_recipe_parameters_and_provenance(record, checkout):
    out, found = record
    effective = found.metadata["effective_recipe"]
    dotted = {k: v for k, v in RECIPE.items() if "." in k or k.startswith("batch")}
    assert {key: effective[key] for key in dotted} == dotted
    assert (effective["agent.dyn.rssm.deter"], effective["agent.value.bins"]) == (16, 15)
    assert (effective["model_profile"], effective["action_repeat"]) == ("custom", REPEAT)
    assert not [key for key in effective if key.startswith("agent.report")]
    assert found.metadata["source"]["commit"] == LOCKED.commit
    parameters = np.load(out / "official_run/log/parameters.npz", allow_pickle=False)
    assert parameters["dyn/dynin0/kernel"].shape == (16, 8)
    verify_checkout(checkout, LOCKED.commit, REPOSITORY)


def test_our_program_states_the_same_effective_recipe(record):
    """The same keys, values and types, ours from its own definitions."""
    ours = pytest.importorskip("backends.worldflux_dreamerv3.recipe")
    found = ours.effective_recipe(ours.parse_recipe(RECIPE, "dmc_cartpole_balance"), RECIPE)
    assert wire.canonical_json(found) == wire.canonical_json(record[1].metadata["effective_recipe"])


def test_a_task_that_is_unknown_is_one_line(checkout, python, tmp_path):
    done = run(checkout, python, tmp_path, task_id="dmc_cartpole_balanse")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "official_dreamerv3: task 'dmc_cartpole_balanse' is unknown to dm_control, did you mean "
        "'dmc_cartpole_balance'?"
    )
    assert "Traceback" not in done.stderr
