"""The committed golden of TD-MPC2, and mistakes that only its components show."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the extra `tdmpc2` is not installed")
pytest.importorskip("dm_control", reason="the extra `tdmpc2` is not installed")

import matches
import mistakes
import torch

from backends.worldflux_tdmpc2.agent import Agent
from backends.worldflux_tdmpc2.match import components, lockstep
from backends.worldflux_tdmpc2.match.components import official_name, to_official, to_ours
from backends.worldflux_tdmpc2.recipe import PROFILES, Q_INIT, parse_recipe
from pytest_worldflux_parity import wire
from pytest_worldflux_parity.inputs.golden import read_golden
from pytest_worldflux_parity.inputs.golden_data import Match
from pytest_worldflux_parity.judgement.gates.components import compare
from tests.components.match_runs import TDMPC2

VERSIONS = sorted(path.parent.name for path in TDMPC2.golden.parent.glob("*/manifest.json"))


def test_no_parameter_of_the_golden_is_zero() -> None:
    golden = read_golden(TDMPC2.golden)
    assert {name for name in golden.parameters if not np.any(golden_array(f"weights/{name}"))} == set()


def test_no_tolerance_is_wide() -> None:
    components = [c for c in read_golden(TDMPC2.golden).components if c.rule == "tolerance"]
    wide = {c.name: c.tolerance for c in components if c.tolerance > 1e-5}
    assert wide == {"planner": 5e-5, "update": 5e-5, "model_gradient": 1e-4, "policy_gradient": 1e-4}


def golden_array(key: str) -> np.ndarray:
    with np.load(TDMPC2.golden / "arrays.npz") as archive:
        return archive[key]


def test_layouts_are_each_others_inverse() -> None:
    for name in (
        "q.0.weight",
        "q.0.bias",
        "target_q.2.weight",
        "target_q.1.gain",
        "policy.2.weight",
        "scale",
    ):
        official = torch.from_numpy(golden_array(f"weights/{official_name(name)}"))
        assert torch.equal(to_official(name, to_ours(name, official)), official)


def official(version: str) -> wire.Golden:
    """The golden of a version, as a match program reads it."""
    return wire.read_golden(TDMPC2.golden_of(version), "tdmpc2", "")


def mismatches(version: str, names: Iterable[str], **recipe: str) -> list[str]:
    """Which of these components of ours, with changes of the recipe, are not as the official version's."""
    given = official(version)
    outputs = {
        f"{name}/{output}": array
        for name in names
        for output, array in components.compute(components.Subject(given, **recipe), name).items()
    }
    own = components.describe(given)
    match = Match(
        mapping=own["mapping"], parameters={name: tuple(shape) for name, shape in own["parameters"].items()},
        perturbations=(), outputs=outputs, perturbed={}, packages={}, tree_sha256="0" * 64,
    )  # fmt: skip
    compared = compare(read_golden(TDMPC2.golden_of(version)), match).components
    return [c.component.name for c in compared if c.component.name in names and not c.passed]


@pytest.fixture
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("_one_thread")
@pytest.mark.parametrize("version", VERSIONS)
def test_every_official_version_is_matched_and_only_how_agents_begin_shows_another(version: str) -> None:
    given = official(version)
    assert given.components.keys() >= {lockstep.lockstep_initial.__name__, lockstep.lockstep_trained.__name__}
    assert mismatches(version, given.components) == []
    (other,) = set(Q_INIT) - {given.config["recipe"]["q_init"]}
    seen = mismatches(version, ("initialisation", "q", "update", "lockstep_initial"), q_init=other)
    assert seen == ["initialisation"]


def test_the_versions_begin_otherwise() -> None:
    found = {version: official(version).config["recipe"]["q_init"] for version in VERSIONS}
    assert found == {"2025-05": "torch_default", "2026-07": "truncated_normal"}


@pytest.mark.parametrize(
    ("mistake", "first"),
    [
        ("entropy_sign", "policy_loss"),
        ("q_average_in_target", "td_target"),
        ("inverted_temperature", "planner"),
    ],
)
def test_what_the_quick_suite_lets_through_is_seen(mistake: str, first: str, tmp_path: Path) -> None:
    assert mistake in mistakes.MISTAKES
    seen = matches.diverging(mistake, tmp_path)
    assert seen[0] == first, seen


# Full sizes.

COUNTS = json.loads((TDMPC2.golden.parent / "parameter_counts.json").read_text())


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("task", COUNTS["tasks"])
def test_parameter_counts_equal_the_official_programs(profile: str, task: str) -> None:
    shape = COUNTS["tasks"][task]
    recipe = parse_recipe({"model_profile": profile})
    with torch.device("meta"):
        agent = Agent(recipe, tuple(shape["obs_shape"]), shape["action_dim"], 500, torch.device("meta"))
    assert agent.count_parameters() == COUNTS["counts"][profile][task]


def test_every_profile_is_counted() -> None:
    assert set(COUNTS["counts"]) == set(PROFILES)
    assert len({n for counts in COUNTS["counts"].values() for n in counts.values()}) == 20
