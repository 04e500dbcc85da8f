"""Our match programs against the committed goldens: they agree, see what is wrong, and refuse what is not."""

from __future__ import annotations

import importlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pytest_worldflux_parity import wire
from pytest_worldflux_parity.inputs.golden import read_golden
from pytest_worldflux_parity.inputs.lock import read_lock
from pytest_worldflux_parity.judgement.gates.components import MatchResult
from tests.components.match_runs import DREAMERV3, TDMPC2, Change, MatchProgram

Refusal = Callable[[Path], str]
OF_VECTORS = (
    *("replay_context", "encoder", "core", "prior", "posterior", "distribution", "observe", "imagine"),
    *("decoder", "reward", "continue", "policy", "value", "slow_value", "act", "imagination_loss"),
    *("replay_loss", "divergences", "divergence_gradients", "metrics", "gradients", "optimiser_step"),
    *("slow_value_update", "train_step", "loss_dyn", "loss_rep", "loss_rew", "loss_con", "loss_policy"),
    *("loss_value", "loss_repval", "loss_total", "loss_position", "loss_height", "loss_velocity"),
)
OF_IMAGES = (
    *("replay_context", "encoder", "observe", "imagine", "decoder", "policy", "act", "reconstruction"),
    "network_gradients",
)


@dataclass(frozen=True)
class Expected:
    """What the committed golden of a family is, and how clearly its mistakes are seen.

    Attributes:
        extras: modules without which the program cannot run.
        suite: the entry of the lock, or the program, with the official commit.
        most_bytes: of its arrays.
        clearance: the least difference that a planted mistake makes, in tolerances.
        missing: keys of arrays that are named when they are missing.
    """

    program: MatchProgram
    extras: tuple[str, ...]
    packages: frozenset[str]
    components: frozenset[str]
    suite: str
    most_bytes: int
    clearance: float
    missing: tuple[str, ...]


EXPECTED = {
    "tdmpc2": Expected(
        TDMPC2,
        extras=("torch", "dm_control"),
        packages=frozenset({"torch", "dm_control", "mujoco", "numpy"}),
        components=frozenset(
            (
                *("environment", "replay", "encoder", "dynamics", "reward", "q", "target_q", "q_dropout"),
                *("policy", "two_hot", "planner", "discount", "planning_iterations", "td_target"),
                *("consistency_loss", "reward_loss", "value_loss", "total_loss", "policy_loss"),
                *("model_gradient", "policy_gradient", "optimiser", "update", "running_scale", "target_ema"),
                *("initialisation", "lockstep_initial", "lockstep_trained"),
            )
        ),
        suite="tdmpc2",
        most_bytes=2_000_000,
        clearance=5,
        missing=("weights/_pi.1.bias", "inputs/planner/plan1.choice"),
    ),
    "dreamerv3": Expected(
        DREAMERV3,
        extras=("jax", "dm_control", "ale_py"),
        packages=frozenset({"jax", "optax", "dm_control", "ale-py"}),
        components=frozenset(
            (
                *("environment_dmc", "environment_atari", "replay", "two_hot", "lambda_return"),
                "return_normalisation",
                *(f"vector_{name}" for name in OF_VECTORS),
                *(f"image_{name}" for name in OF_IMAGES),
            )
        ),
        suite="dreamerv3",
        most_bytes=2_000_000,
        clearance=3,
        missing=("weights/vector/dyn/dyngru/bias", "inputs/lambda_return/reward"),
    ),
}


@pytest.fixture(scope="module", params=EXPECTED)
def expected(request: pytest.FixtureRequest) -> Expected:
    own = EXPECTED[request.param]
    for name in own.extras:
        pytest.importorskip(name, reason=f"the extra `{request.param}` is not installed")
    return own


@pytest.fixture(scope="module")
def program(expected: Expected) -> MatchProgram:
    return expected.program


@pytest.fixture(scope="module")
def folder(program: MatchProgram, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the faithful program left."""
    out_dir = tmp_path_factory.mktemp("match")
    done = program.run(program.write_request(out_dir))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return out_dir


@pytest.fixture(scope="module")
def result(program: MatchProgram, folder: Path) -> MatchResult:
    return program.judge(folder)


def test_every_component_is_as_the_official_program_computes_it(
    expected: Expected, result: MatchResult
) -> None:
    assert [c.line() for c in result.components if not c.passed] == []
    assert {c.component.name for c in result.components} == expected.components


def test_every_parameter_is_mapped_and_every_one_of_ours_is_covered(
    program: MatchProgram, result: MatchResult
) -> None:
    assert result.mapping_findings == ()
    official = read_golden(program.golden).parameters
    assert result.mapped == result.own == result.covered == len(official)


def test_every_component_is_perturbed_and_every_perturbation_is_seen(
    expected: Expected, result: MatchResult
) -> None:
    assert [p.line() for p in result.perturbations if not p.caught] == []
    assert {p.perturbation.component for p in result.perturbations} == expected.components
    kinds = {p.perturbation.kind for p in result.perturbations}
    many = {"initialisation", "lockstep"} if "initialisation" in expected.components else set()
    assert kinds == {"weight", "transpose", "stop_gradient", "constant"} | many
    # Not by a hair, which another processor's rounding could take away.
    assert min((p.relative or 0) / p.tolerance for p in result.perturbations) > expected.clearance


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


def test_the_program_says_what_ran(expected: Expected, folder: Path) -> None:
    document = json.loads((folder / "match.json").read_text())
    assert document["source"]["tree_sha256"] == wire.tree_sha256(expected.program.folder)
    assert expected.packages <= set(document["packages"])


def test_the_golden_is_of_the_locked_commit_and_small(expected: Expected) -> None:
    folder = expected.program.golden
    golden = read_golden(folder, expected.program.family)
    root = expected.program.folder.parents[1]
    lock = read_lock(root / "reports/parity/upstream_lock.json")
    assert golden.source["commit"] == lock.entry(expected.suite).commit
    assert (folder / "arrays.npz").stat().st_size < expected.most_bytes


# What cannot be used.


@pytest.fixture
def refusal(
    program: MatchProgram, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Refusal:
    """The one line of the program, which refuses and leaves nothing that could be taken for a match."""
    match = importlib.import_module(f"{program.module}.__main__")
    # JAX is prepared once in a process.
    monkeypatch.setattr(match, "prepare_jax", lambda threads: None, raising=False)

    def refused(request: Path) -> str:
        assert match.main([str(request)]) == 1
        out, said = capsys.readouterr()
        assert out == ""
        assert said.count("\n") == 1, said
        assert said.startswith(f"worldflux_{program.family}.match: ")
        assert not (request.parent / "match.json").exists()
        return str(said)

    return refused


def test_the_program_refuses_in_one_line_and_without_a_traceback(
    program: MatchProgram, tmp_path: Path
) -> None:
    done = program.run(program.write_request(tmp_path / "out", tmp_path / "none"))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done.stderr


def test_a_flipped_byte_is_seen(program: MatchProgram, tmp_path: Path, refusal: Refusal) -> None:
    golden = tmp_path / "golden"
    shutil.copytree(program.golden, golden)
    content = bytearray((golden / "arrays.npz").read_bytes())
    content[len(content) // 2] ^= 1
    (golden / "arrays.npz").write_bytes(content)
    assert "its sha256 is" in refusal(program.write_request(tmp_path / "out", golden))


def test_a_golden_that_is_not_there_is_named(program: MatchProgram, tmp_path: Path, refusal: Refusal) -> None:
    said = refusal(program.write_request(tmp_path / "out", tmp_path / "none"))
    recorder = f"python -m backends.official_{program.family}.record"
    assert f"manifest.json: no such file; to mend: {recorder}" in said


def test_a_missing_array_is_named(expected: Expected, tmp_path: Path, refusal: Refusal) -> None:
    for number, key in enumerate(expected.missing):
        golden = expected.program.altered(tmp_path / str(number), lambda _, arrays, key=key: arrays.pop(key))
        said = refusal(expected.program.write_request(tmp_path / "out", golden))
        assert key.rpartition("/")[2] in said
        assert "is missing" in said


def config(**changes: object) -> Change:
    return lambda manifest, _: manifest["config"].update(changes)


def part(*path: str, drop: str = "", **changes: object) -> Change:
    """Change an object within the config, or drop a key of it."""

    def change(manifest: dict[str, Any], _: object) -> None:
        found = manifest["config"]
        for key in path:
            found = found[key]
        found.update(changes)
        if drop:
            del found[drop]

    return change


def shorten(_: object, arrays: dict[str, np.ndarray]) -> None:
    arrays["inputs/encoder/obs"] = arrays["inputs/encoder/obs"][..., :2]


OF_ANY: list[tuple[Change, str]] = [
    (lambda manifest, _: manifest.update(family="another"), "family is 'another'"),
    (lambda _, arrays: arrays.update(evil=np.array([print], dtype=object)), "cannot be read"),
]
OF_TDMPC2: list[tuple[Change, str]] = [
    (config(recipe={"hidden": 3}), "hidden"),
    (config(recipe=None), "do not fit together, or not into memory: TypeError: "),
    (config(obs_shape="5"), "TypeError: "),
    (config(obs_shape=[-5]), "RuntimeError: "),
    (config(action_dim=10**9), "_dynamics.0.weight is (16, 18) in our layout"),
    (config(action_dim=2.5), "TypeError: "),
    (config(episode_length={}), "TypeError: "),
    (
        lambda m, _: m.update(components=[{"name": "decoder", "stage": "heads", "outputs": ["x"]}]),
        "'decoder'",
    ),
    (shorten, "do not fit together"),
    # With its place.
    (shorten, ".py:"),
]
OF_DREAMERV3: list[tuple[Change, str]] = [
    (lambda manifest, _: manifest["config"].clear(), "config.vector and config.image are missing"),
    (config(vector=3), "do not fit together, or not into memory: TypeError: "),
    (part("vector", drop="recipe"), "KeyError: 'recipe' (components.py:"),
    (part("vector", "recipe", hiden=3), "hiden"),
    (part("vector", "recipe", drop="task"), "KeyError: 'task' (components.py:"),
    (part("vector", "recipe", stoch=10**9), "we have params/"),
    (part("image", "obs_space", "image", shape="big"), "do not fit together, or not into memory: "),
    (part("image", "obs_space", "image", dtype="float12"), "TypeError: data type 'float12' not understood"),
]
REFUSED = [
    *(("tdmpc2", *row) for row in (*OF_ANY, *OF_TDMPC2)),
    *(("dreamerv3", *row) for row in (*OF_ANY, *OF_DREAMERV3)),
]


@pytest.mark.parametrize(
    ("expected", "change", "said"),
    REFUSED,
    indirect=["expected"],
    ids=[f"{family}: {said}" for family, _, said in REFUSED],
)
def test_a_golden_of_something_else_or_that_is_broken_is_refused(
    program: MatchProgram, change: Change, said: str, tmp_path: Path, refusal: Refusal
) -> None:
    golden = program.altered(tmp_path, change)
    assert said in refusal(program.write_request(tmp_path / "out", golden))


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
    program: MatchProgram, changes: dict[str, Any], said: str, tmp_path: Path, refusal: Refusal
) -> None:
    assert said in refusal(program.write_request(tmp_path / "out", **changes))
