"""The match program against the committed golden: it agrees, sees what is wrong, and refuses what is not."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="the extra `tdmpc2` is not installed")
pytest.importorskip("dm_control", reason="the extra `tdmpc2` is not installed")

import matches
import mistakes
import torch

from backends.worldflux_tdmpc2.agent import Agent
from backends.worldflux_tdmpc2.match import __main__ as match
from backends.worldflux_tdmpc2.match.components import official_name, to_official, to_ours
from backends.worldflux_tdmpc2.recipe import PROFILES, parse_recipe
from pytest_worldflux_parity import wire
from pytest_worldflux_parity.inputs.golden import read_golden
from pytest_worldflux_parity.judgement.gates.components import MatchResult

Refusal = Callable[[Path], str]
Change = Callable[[dict[str, Any], dict[str, np.ndarray]], None]
COMPONENTS = (
    *("environment", "replay", "encoder", "dynamics", "reward", "q", "target_q", "q_dropout", "policy"),
    *("two_hot", "planner", "discount", "planning_iterations", "td_target", "consistency_loss"),
    *("reward_loss", "value_loss", "total_loss", "policy_loss", "model_gradient", "policy_gradient"),
    *("optimiser", "update", "running_scale", "target_ema"),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the faithful program left."""
    out_dir = tmp_path_factory.mktemp("match")
    done = matches.run(matches.write_request(out_dir))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return out_dir


@pytest.fixture(scope="module")
def result(folder: Path) -> MatchResult:
    return matches.judged(folder)


def test_every_component_is_as_the_official_program_computes_it(result: MatchResult) -> None:
    assert [c.line() for c in result.components if not c.passed] == []
    assert {c.component.name for c in result.components} == set(COMPONENTS)


def test_every_parameter_is_mapped_and_every_one_of_ours_is_covered(result: MatchResult) -> None:
    assert result.mapping_findings == ()
    assert result.mapped == result.own == result.covered == 65


def test_every_component_is_perturbed_and_every_perturbation_is_seen(result: MatchResult) -> None:
    assert [p.line() for p in result.perturbations if not p.caught] == []
    assert {p.perturbation.component for p in result.perturbations} == set(COMPONENTS)
    kinds = {p.perturbation.kind for p in result.perturbations}
    assert kinds == {"weight", "transpose", "stop_gradient", "constant"}
    # Not by a hair, which another processor's rounding could take away.
    assert min((p.relative or 0) / p.tolerance for p in result.perturbations) > 5


def test_every_output_is_seen_to_move(result: MatchResult) -> None:
    """Each by a mistake that moves it well beyond the tolerance; the golden declares no exception."""
    shown = [s for c in result.components for s in result.sensitivity(c)]
    assert [s.output for s in shown if s.declared] == []
    assert min((s.relative or 0) / s.tolerance for s in shown) > 2


def test_weights_are_perturbed_by_a_thousandth(result: MatchResult) -> None:
    told = [p.perturbation.what for p in result.perturbations if p.perturbation.kind == "weight"]
    assert len(told) > 10
    assert all("larger by a thousandth" in what for what in told)


def test_the_whole_match_passes(result: MatchResult) -> None:
    assert result.findings == ()


def test_the_program_says_what_ran(folder: Path) -> None:
    document = json.loads((folder / "match.json").read_text())
    assert document["source"]["tree_sha256"] == wire.tree_sha256(matches.ROOT / "backends/worldflux_tdmpc2")
    assert set(document["packages"]) == {"torch", "dm_control", "mujoco", "numpy"}


def test_the_golden_is_the_locked_commits_and_small() -> None:
    golden = read_golden(matches.GOLDEN, "tdmpc2")
    lock = json.loads((matches.ROOT / "reports/parity/upstream_lock.json").read_text())
    assert golden.source["commit"] == lock["suites"]["tdmpc2_dmcontrol39"]["commit"]
    assert (matches.GOLDEN / "arrays.npz").stat().st_size < 1_500_000
    assert {name for name in golden.parameters if not np.any(golden_array(f"weights/{name}"))} == set()


def test_no_tolerance_is_wide() -> None:
    wide = {c.name: c.tolerance for c in read_golden(matches.GOLDEN).components if c.tolerance > 1e-5}
    assert wide == {"update": 5e-5, "model_gradient": 1e-4, "policy_gradient": 1e-4}


def golden_array(key: str) -> np.ndarray:
    with np.load(matches.GOLDEN / "arrays.npz") as archive:
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


# What cannot be used.


def altered(tmp_path: Path, change: Change) -> Path:
    """A copy of the golden folder, changed, whose sha256 is right."""
    golden = tmp_path / "golden"
    shutil.copytree(matches.GOLDEN, golden)
    manifest = json.loads((golden / "manifest.json").read_text())
    with np.load(golden / "arrays.npz") as archive:
        arrays = {key: archive[key] for key in archive.files}
    change(manifest, arrays)
    np.savez(golden / "arrays.npz", **arrays)
    manifest["arrays_sha256"] = hashlib.sha256((golden / "arrays.npz").read_bytes()).hexdigest()
    (golden / "manifest.json").write_text(json.dumps(manifest))
    return golden


@pytest.fixture
def refusal(capsys: pytest.CaptureFixture[str]) -> Refusal:
    """The one line of the program, which refuses and leaves nothing that could be taken for a match."""

    def run(request: Path) -> str:
        assert match.main([str(request)]) == 1
        out, said = capsys.readouterr()
        assert out == ""
        assert said.count("\n") == 1, said
        assert said.startswith("worldflux_tdmpc2.match: ")
        assert not (request.parent / "match.json").exists()
        return said

    return run


def test_the_program_refuses_in_one_line_and_without_a_traceback(tmp_path: Path) -> None:
    done = matches.run(matches.write_request(tmp_path / "out", tmp_path / "none"))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done.stderr


def test_a_flipped_byte_is_seen(tmp_path: Path, refusal: Refusal) -> None:
    golden = tmp_path / "golden"
    shutil.copytree(matches.GOLDEN, golden)
    content = bytearray((golden / "arrays.npz").read_bytes())
    content[len(content) // 2] ^= 1
    (golden / "arrays.npz").write_bytes(content)
    assert "its sha256 is" in refusal(matches.write_request(tmp_path / "out", golden))


def test_a_golden_that_is_not_there_is_named(tmp_path: Path, refusal: Refusal) -> None:
    said = refusal(matches.write_request(tmp_path / "out", tmp_path / "none"))
    assert "manifest.json: no such file; to mend: python -m backends.official_tdmpc2.record" in said


@pytest.mark.parametrize("key", ["weights/_pi.1.bias", "inputs/planner/plan1.choice"])
def test_a_missing_array_is_named(key: str, tmp_path: Path, refusal: Refusal) -> None:
    golden = altered(tmp_path, lambda manifest, arrays: arrays.pop(key))
    said = refusal(matches.write_request(tmp_path / "out", golden))
    assert f"{key} is missing" in said


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("family", "dreamerv3", "family is 'dreamerv3'"),
        (
            "config",
            {"recipe": {"hidden": 3}, "obs_shape": [5], "action_dim": 2, "episode_length": 500},
            "hidden",
        ),
        ("components", [{"name": "decoder", "stage": "heads", "outputs": ["x"]}], "'decoder'"),
    ],
)
def test_a_manifest_of_something_else_is_refused(
    key: str, value: Any, said: str, tmp_path: Path, refusal: Refusal
) -> None:
    golden = altered(tmp_path, lambda manifest, arrays: manifest.update({key: value}))
    assert said in refusal(matches.write_request(tmp_path / "out", golden))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"recipe": None}, "config.recipe is None, not an object"),
        ({"obs_shape": "5"}, "config.obs_shape is '5', not a list"),
        ({"obs_shape": [-5]}, "config.obs_shape[0] is -5, not a whole number"),
        ({"action_dim": 10**9}, "_dynamics.0.weight is (16, 18) in our layout"),
        ({"action_dim": 2.5}, "config.action_dim is 2.5, not a whole number"),
        ({"episode_length": {}}, "config.episode_length is {}, not a whole number"),
    ],
)
def test_a_config_that_is_broken_is_one_line(
    changes: dict[str, Any], said: str, tmp_path: Path, refusal: Refusal
) -> None:
    golden = altered(tmp_path, lambda manifest, _: manifest["config"].update(changes))
    assert said in refusal(matches.write_request(tmp_path / "out", golden))


def test_what_does_not_fit_together_is_told_with_its_place(tmp_path: Path, refusal: Refusal) -> None:
    def change(manifest: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        arrays["inputs/encoder/obs"] = arrays["inputs/encoder/obs"][..., :2]

    said = refusal(matches.write_request(tmp_path / "out", altered(tmp_path, change)))
    assert "do not fit together" in said
    assert ".py:" in said


def test_pickles_are_not_loaded(tmp_path: Path, refusal: Refusal) -> None:
    golden = altered(tmp_path, lambda m, arrays: arrays.update(evil=np.array([print], dtype=object)))
    assert "cannot be read" in refusal(matches.write_request(tmp_path / "out", golden))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"device": "cuda"}, "valid: cpu"),
        ({"schema_version": "v2"}, "schema_version"),
        ({"threads": 0}, "valid: 1 or more"),
    ],
)
def test_a_request_that_cannot_be_answered_is_refused(
    changes: dict[str, Any], said: str, tmp_path: Path, refusal: Refusal
) -> None:
    assert said in refusal(matches.write_request(tmp_path / "out", **changes))


# Full sizes.

COUNTS = json.loads((matches.GOLDEN / "parameter_counts.json").read_text())


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("task", COUNTS["tasks"])
def test_parameter_counts_equal_the_official_programs(profile: str, task: str) -> None:
    shape = COUNTS["tasks"][task]
    recipe = parse_recipe({"model_profile": profile})
    with torch.device("meta"):
        agent = Agent(recipe, tuple(shape["obs_shape"]), shape["action_dim"], 500, torch.device("meta"))
    assert agent.learnable_parameters() == COUNTS["counts"][profile][task]


def test_every_profile_is_counted() -> None:
    assert set(COUNTS["counts"]) == set(PROFILES)
    assert len({n for counts in COUNTS["counts"].values() for n in counts.values()}) == 20
