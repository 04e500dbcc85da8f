"""The match program against the committed golden: it agrees, sees what is wrong, and refuses what is not."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("jax", reason="the extra `dreamerv3` is not installed")
pytest.importorskip("dm_control", reason="the extra `dreamerv3` is not installed")
pytest.importorskip("ale_py", reason="the extra `dreamerv3` is not installed")

from backends.worldflux_dreamerv3 import (
    heads,
    layers,
    losses,
    model,
    networks,
    normalise,
    optimiser,
    rssm,
)
from backends.worldflux_dreamerv3.agent import Agent
from backends.worldflux_dreamerv3.match import __main__ as match
from backends.worldflux_dreamerv3.match.components import group_of, spaces_of
from backends.worldflux_dreamerv3.match.parameters import our_name
from backends.worldflux_dreamerv3.match.perturbations import Session
from backends.worldflux_dreamerv3.model import parameter_shapes
from backends.worldflux_dreamerv3.recipe import SIZES, parse_recipe
from pytest_worldflux_parity import wire
from pytest_worldflux_parity.inputs import golden as plugin_golden
from pytest_worldflux_parity.judgement.gates.components import MatchResult
from pytest_worldflux_parity.wire import MatchError
from tests.dreamerv3 import matches, mistakes

Change = Callable[[dict[str, Any], dict[str, np.ndarray]], None]
SHARED = (
    *("environment_dmc", "environment_atari", "replay", "two_hot", "lambda_return", "return_normalisation"),
)
VECTOR = (
    *("replay_context", "encoder", "core", "prior", "posterior", "distribution", "observe", "imagine"),
    *("decoder", "reward", "continue", "policy", "value", "slow_value", "act", "imagination_loss"),
    *("replay_loss", "divergences", "divergence_gradients", "metrics", "gradients", "optimiser_step"),
    *("slow_value_update", "train_step", "loss_dyn", "loss_rep", "loss_rew", "loss_con", "loss_policy"),
    *("loss_value", "loss_repval", "loss_total", "loss_position", "loss_height", "loss_velocity"),
)
IMAGE = (
    *("replay_context", "encoder", "observe", "imagine", "decoder", "policy", "act", "reconstruction"),
    "network_gradients",
)
COMPONENTS = {*SHARED, *(f"vector_{name}" for name in VECTOR), *(f"image_{name}" for name in IMAGE)}
COUNTS = json.loads((matches.GOLDEN / "parameter_counts.json").read_text())


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the faithful program left."""
    out_dir = tmp_path_factory.mktemp("match_dreamerv3")
    done = matches.run(matches.write_request(out_dir))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return out_dir


@pytest.fixture(scope="session")
def result(folder: Path) -> MatchResult:
    return matches.judged(folder)


def test_every_component_is_as_the_official_program_computes_it(result: MatchResult) -> None:
    assert [c.line() for c in result.components if not c.passed] == []
    assert {c.component.name for c in result.components} == COMPONENTS


def test_every_parameter_is_mapped_and_every_one_of_ours_is_covered(result: MatchResult) -> None:
    assert result.mapping_findings == ()
    official = plugin_golden.read_golden(matches.GOLDEN).parameters
    assert result.mapped == result.own == result.covered == len(official)


def test_every_component_is_perturbed_and_every_perturbation_is_seen(result: MatchResult) -> None:
    assert [p.line() for p in result.perturbations if not p.caught] == []
    assert {p.perturbation.component for p in result.perturbations} == COMPONENTS
    kinds = {p.perturbation.kind for p in result.perturbations}
    assert kinds == {"weight", "transpose", "stop_gradient", "constant"}
    # Not by a hair, which another processor's rounding could take away.
    assert min((p.relative or 0) / p.tolerance for p in result.perturbations) > 3


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
    ours = matches.ROOT / "backends/worldflux_dreamerv3"
    assert document["source"]["tree_sha256"] == wire.tree_sha256(ours)
    assert {"jax", "optax", "dm_control", "ale-py"} < set(document["packages"])


def test_the_golden_is_of_the_locked_commit_and_small() -> None:
    golden = plugin_golden.read_golden(matches.GOLDEN, "dreamerv3")
    lock = json.loads((matches.ROOT / "reports/parity/upstream_lock.json").read_text())
    assert golden.source["commit"] == lock["suites"]["dreamer_atari100k"]["commit"]
    assert COUNTS["source"]["commit"] == golden.source["commit"]
    assert (matches.GOLDEN / "arrays.npz").stat().st_size < 2_000_000


def test_the_golden_sees_both_sides_of_what_has_two() -> None:
    """Free nats, adaptive clipping, resets, ends and limits are each active in some entries only."""
    with np.load(matches.GOLDEN / "arrays.npz") as arrays:
        free = arrays["outputs/vector_loss_dyn/loss"] > 1.0
        consec = arrays["inputs/shared/vector/data/consec"][:, 0] == 0
        first = arrays["inputs/shared/vector/obs/is_first"]
        clipped = [
            np.linalg.norm(arrays[f"inputs/vector_optimiser_step/{name}"])
            > 0.3 * max(1e-3, np.linalg.norm(arrays[f"weights/vector/{name}"]))
            for name in ("dyn/dyngru/bias", "dyn/dyngru/kernel", "enc/mlp0/bias", "enc/mlp0/kernel")
        ]
        rewards = [arrays[f"weights/vector/{head}/head/logits/kernel"] for head in ("rew", "val", "slowval")]
    for both in (free, consec, first, np.array(clipped)):
        assert 0 < both.mean() < 1
    assert all(np.abs(kernel).min() > 0 for kernel in rewards)


def test_no_tolerance_is_wide() -> None:
    golden = plugin_golden.read_golden(matches.GOLDEN)
    assert all(c.tolerance == (1e-4 if c.stage == "gradient" else 1e-5) for c in golden.components)


# Planted mistakes, each in the component where it is.

SEEN_IN = {
    "wrong_lambda": "lambda_return",
    "no_unimix": "vector_divergences",
    "free_nats_off": "vector_divergences",
    "missing_stop_gradient": "vector_divergence_gradients",
    "two_hot_bins_shifted": "vector_replay_loss",
    "return_normalisation_off": "return_normalisation",
    "continue_discounts_twice": "vector_imagination_loss",
    "no_agc": "vector_optimiser_step",
    "no_warmup": "vector_optimiser_step",
    "no_momentum": "vector_optimiser_step",
    "replay_context_dropped": "vector_replay_context",
    "entropy_sign": "vector_imagination_loss",
    "slow_value_copied": "vector_slow_value_update",
    "slow_value_bootstraps": "vector_imagination_loss",
    "gru_update_bias": "vector_core",
    "blocks_interleaved": "vector_core",
    "mean_not_squashed": "vector_policy",
    "resets_ignored": "vector_observe",
    "no_symlog": "vector_encoder",
    "norm_eps_wrong": "vector_prior",
}
PLACES = (heads, layers, losses, model, networks, normalise, optimiser, rssm, Agent)


@pytest.fixture(scope="module")
def session() -> Session:
    return matches.session()


@pytest.fixture
def _restored() -> Iterator[None]:
    before = [dict(vars(place)) for place in PLACES]
    yield
    for place, names in zip(PLACES, before, strict=True):
        for name, value in names.items():
            if vars(place).get(name) is not value:
                setattr(place, name, value)


@pytest.mark.usefixtures("_restored")
@pytest.mark.parametrize("name", mistakes.MISTAKES)
def test_a_planted_mistake_is_seen_where_it_is(name: str, session: Session) -> None:
    """That the component agrees without it, the whole match says."""
    mistakes.plant(name)
    component = SEEN_IN[name]
    assert matches.diverging({component: matches.computed(session, component)}) == [component]


def test_the_launcher_names_the_mistakes_there_are() -> None:
    launcher = Path(mistakes.__file__).with_name("mistaken_backend.py")
    command = [sys.executable, str(launcher), "no_such", "request.json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "one of: wrong_lambda, " in done.stderr
    assert set(SEEN_IN) == set(mistakes.MISTAKES)


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
def refusal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[[Path], str]:
    """The one line of a program that refuses, and leaves nothing that could be taken for a match."""
    monkeypatch.setattr(match, "prepare_jax", lambda threads: None)

    def refused(request: Path) -> str:
        assert match.main([str(request)]) == 1
        said = capsys.readouterr().err
        assert said.count("\n") == 1, said
        assert said.startswith("worldflux_dreamerv3.match: ")
        assert not (request.parent / "match.json").exists()
        return said

    return refused


def test_a_flipped_byte_is_one_line(refusal: Callable[[Path], str], tmp_path: Path) -> None:
    golden = tmp_path / "golden"
    shutil.copytree(matches.GOLDEN, golden)
    content = bytearray((golden / "arrays.npz").read_bytes())
    content[len(content) // 2] ^= 1
    (golden / "arrays.npz").write_bytes(content)
    assert "its sha256 is" in refusal(matches.write_request(tmp_path / "out", golden))


@pytest.mark.parametrize("key", ["weights/vector/dyn/dyngru/bias", "inputs/lambda_return/reward"])
def test_a_missing_array_is_one_line(key: str, refusal: Callable[[Path], str], tmp_path: Path) -> None:
    golden = altered(tmp_path, lambda manifest, arrays: arrays.pop(key))
    said = refusal(matches.write_request(tmp_path / "out", golden))
    assert key.rpartition("/")[2] in said
    assert "is missing" in said


def test_a_recipe_that_we_cannot_take_is_one_line(refusal: Callable[[Path], str], tmp_path: Path) -> None:
    golden = altered(tmp_path, lambda manifest, _: manifest["config"]["vector"]["recipe"].update(hiden=3))
    assert "hiden" in refusal(matches.write_request(tmp_path / "out", golden))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c.clear(), "config.vector and config.image are missing"),
        (lambda c: c["vector"].pop("recipe"), "config.vector.recipe is missing"),
        (lambda c: c.update(vector=3), "config.vector is 3, not an object"),
        (lambda c: c["vector"]["recipe"].pop("task"), "config.vector.recipe.task is missing"),
        (lambda c: c["vector"]["recipe"].update(stoch=10**9), "we have params/"),
        (
            lambda c: c["image"]["obs_space"]["image"].update(shape="big"),
            "obs_space.image.shape is 'big', not a",
        ),
        (lambda c: c["image"]["obs_space"]["image"].update(dtype="float12"), "is of no known dtype"),
        (lambda c: c["environment_dmc"].pop("start"), "config.environment_dmc.start is missing"),
        (lambda c: c["two_hot"].update(bins=None), "config.two_hot.bins is None, not a whole number"),
    ],
)
def test_a_config_that_is_broken_is_one_line(
    change: Callable[[Any], Any], said: str, refusal: Callable[[Path], str], tmp_path: Path
) -> None:
    golden = altered(tmp_path, lambda manifest, _: change(manifest["config"]))
    assert said in refusal(matches.write_request(tmp_path / "out", golden))


def test_a_golden_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(MatchError, match=r"no such file; to mend: python -m backends\.official_dreamerv3"):
        matches.own_golden(tmp_path / "none")


def test_a_golden_of_the_other_family_is_refused() -> None:
    with pytest.raises(MatchError, match="family is 'tdmpc2', not 'dreamerv3'"):
        matches.own_golden(matches.ROOT / "backends/golden/tdmpc2")


def test_pickles_are_not_loaded(tmp_path: Path) -> None:
    golden = altered(tmp_path, lambda m, arrays: arrays.update(evil=np.array([print], dtype=object)))
    with pytest.raises(MatchError, match="cannot be read"):
        matches.own_golden(golden)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"device": "cuda"}, "valid: cpu"),
        ({"schema_version": "v2"}, "schema_version"),
        ({"threads": 0}, "valid: 1 or more"),
        ({"threads": True}, "threads is True"),
    ],
)
def test_a_request_that_cannot_be_answered_is_refused(
    changes: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(MatchError, match=said):
        wire.read_match_request(matches.write_request(tmp_path / "out", **changes))


def test_a_component_that_we_have_not_is_named() -> None:
    with pytest.raises(MatchError, match="'planner'; ours: "):
        group_of("planner")


def test_a_parameter_that_we_have_not_is_named() -> None:
    with pytest.raises(MatchError, match="'dyn/planner/kernel'"):
        our_name("dyn/planner/kernel")


# Full sizes.


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("config", COUNTS["configs"])
def test_parameter_counts_equal_the_official_programs(config: str, size: str) -> None:
    told = COUNTS["configs"][config]
    recipe = parse_recipe({"config": config, "size": size}, told["task"])
    shapes = parameter_shapes(recipe, spaces_of(told["obs_space"]), spaces_of(told["act_space"]))
    names = {"enc": "encoder", "dyn": "dynamics", "dec": "decoder", "rew": "reward", "con": "continue"}
    names |= {"pol": "policy", "val": "value"}
    modules = {
        official: sum(math.prod(shape) for name, shape in shapes.items() if name.startswith(f"{ours}/"))
        for official, ours in names.items()
    }
    assert modules == told["sizes"][size]["modules"]
    assert sum(math.prod(shape) for shape in shapes.values()) == told["sizes"][size]["total"]


def test_every_size_is_counted_and_they_differ() -> None:
    totals = [size["total"] for config in COUNTS["configs"].values() for size in config["sizes"].values()]
    assert [list(config["sizes"]) for config in COUNTS["configs"].values()] == [list(SIZES)] * 3
    assert len(set(totals)) == 21
