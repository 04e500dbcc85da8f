"""The recipes of ``backends/examples``: what is refused before anything runs, and what all four share."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_worldflux_parity import wire
from pytest_worldflux_parity.inputs.backends import load_backends
from pytest_worldflux_parity.inputs.scores import load_table
from pytest_worldflux_parity.suite import suite_file
from pytest_worldflux_parity.suite.suite import ArtifactSide, BackendSide

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "backends"))
from examples.recipes import PPO, SAC, complete_recipe  # noqa: E402

REQUEST = wire.RunRequest(
    request_id="r", run_id="r", suite_id="s", family="ppo", system="worldflux", adapter="sbx_ppo",
    task_id="CartPole-v1", seed=0, device="cpu", recipe={}, eval_protocol={}, out_dir="out", threads=1,
    deadline_sec=60,
)  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"recipe": {"gae_lamda": 1.0}}, "did you mean 'gae_lambda'"),
        ({"recipe": {"n_steps": "2048"}}, "recipe.n_steps is '2048'; valid: a int"),
        ({"recipe": {"gamma": 1.5}}, "recipe.gamma is 1.5; valid: 0 to 1"),
        ({"recipe": {"batch_size": 1}}, "recipe.batch_size is 1; valid: 2 or more"),
        ({"recipe": {"learning_rate": float("nan")}}, "valid: a finite number"),
        ({"device": "cuda"}, "--device cpu"),
        ({"eval_protocol": {"eval_interval": 100}}, "scored by its training episodes"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line(changes, said):
    with pytest.raises(wire.Refused) as caught:
        complete_recipe(replace(REQUEST, **changes), PPO)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@given(
    st.dictionaries(
        st.sampled_from([*PPO, *SAC, "other"]),
        st.integers(-2, 3000) | st.floats() | st.text("1e ", max_size=2),
    )
)
def test_a_recipe_is_complete_or_refused(recipe):
    """Nothing but a refusal is raised, and what is asked for is what is run."""
    try:
        found = complete_recipe(replace(REQUEST, recipe=recipe), PPO)
    except wire.Refused:
        return
    assert list(found) == list(PPO)
    assert {key: found[key] for key in recipe} == recipe


def test_the_examples_share_one_environment_and_no_program():
    found = [b for b in load_backends([ROOT / "backends"]).values() if b.folder.parent.name == "examples"]
    assert len({b.requirements_sha256 for b in found}) == 1
    named = {b.program.packages[0].name for b in found if b.program and b.system == "official"}
    assert named == {"stable-baselines3"}
    assert {b.program.packages[0].name for b in found if b.program and b.system == "worldflux"} == {"sbx-rl"}


SUITES = sorted(
    p for folder in ("quick", "found") for p in (ROOT / "suites/examples" / folder).glob("*.yaml")
)


@pytest.mark.parametrize("path", SUITES, ids=lambda path: path.stem)
def test_what_a_suite_asks_is_what_its_programs_do(path):
    suite = suite_file.load(path)
    defaults = {"ppo": PPO, "sac": SAC}[suite.family]
    for task in suite.tasks:
        assert complete_recipe(replace(REQUEST, recipe=task.recipe), defaults)
    live = [side.adapter for side in suite.sides.values() if isinstance(side, BackendSide)]
    assert live
    assert set(live) <= set(load_backends([ROOT / "backends"]))


@pytest.mark.parametrize("path", SUITES, ids=lambda path: path.stem)
def test_a_table_was_filled_by_the_pinned_program_with_the_recipe_of_its_suite(path):
    suite = suite_file.load(path)
    side = suite.sides["official"]
    assert isinstance(side, ArtifactSide)
    table = load_table(side.path, side.format)
    backend = load_backends([ROOT / "backends"])[table.provenance["adapter"]]
    assert backend.system == "official"
    package = backend.program.packages[0]
    assert table.provenance["packages"][package.name] == package.version
    for task in suite.tasks:
        asked = complete_recipe(replace(REQUEST, recipe=task.recipe), {"ppo": PPO, "sac": SAC}[suite.family])
        assert table.provenance["tasks"][task.id]["effective_recipe"] == asked
        assert {row.seed for row in table.rows if row.task == task.id} == set(suite.seeds["official"])
