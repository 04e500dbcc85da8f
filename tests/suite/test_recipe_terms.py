"""Recipes under two names: what is compared, what each side is asked, and which terms are refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_worldflux_parity.errors import SuiteError
from pytest_worldflux_parity.judgement.gates.recipes import compare_recipes, recipe_differences
from pytest_worldflux_parity.suite import suite_file
from pytest_worldflux_parity.suite.pairs import Pair, request_id
from pytest_worldflux_parity.suite.recipe_terms import RecipeTerms, Twin
from pytest_worldflux_parity.suite.suite import Suite, Task
from tests.conftest import SUITE

REASON = "it changes no number"
RECIPE = {"lr": 0.1, "frames": 1000}
MAP = {"lr": "learning_rate", "frames": {"worldflux": "agent_steps", "times": 0.5}}


def load(folder: Path, **changes: Any) -> Suite:
    path = folder / "suite.yaml"
    path.write_text(json.dumps({**SUITE, "recipe": RECIPE, **changes}, indent=1), encoding="utf-8")
    return suite_file.load(path)


def ids(suite: Suite) -> list[str]:
    pair = Pair(suite.tasks[0], 0, ("official", "worldflux"))
    return [request_id(suite, pair, s, "adapter", "cpu", {}) for s in ("official", "worldflux")]


def test_each_side_is_asked_under_its_own_names(tmp_path: Path) -> None:
    ignore = {"compile": REASON}
    suite = load(tmp_path, recipe={**RECIPE, "compile": False}, recipe_map=MAP, recipe_ignore=ignore)
    terms, recipe = suite.recipe_terms, suite.tasks[0].recipe
    assert terms.asked_of("official", recipe) == {**RECIPE, "compile": False}
    asked = terms.asked_of("worldflux", recipe)
    assert asked == {"learning_rate": 0.1, "agent_steps": 500}
    assert type(asked["agent_steps"]) is int


def test_what_is_asked_decides_a_request_and_no_other_term_does(tmp_path: Path) -> None:
    """A key that nobody is asked for may be mapped or ignored later, and what ran still counts."""
    plain = ids(load(tmp_path))
    assert ids(load(tmp_path, recipe_map={"tau": "ema"}, recipe_ignore={"jit": REASON})) == plain
    official, worldflux = ids(load(tmp_path, recipe_map=MAP))
    assert official == plain[0]
    assert worldflux != plain[1]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"recipe_map": {"lr": "lr"}}, "recipe_map names 'lr' as itself"),
        ({"recipe_map": {"lr": "rate", "eta": "rate"}}, "recipe_map has 'rate' for 'lr' and for 'eta'"),
        (
            {"recipe_map": {"lr": "rate"}, "recipe_ignore": {"lr": REASON}},
            "'lr' is mapped by recipe_map, and",
        ),
        ({"recipe_map": {"lr": "rate"}, "recipe_ignore": {"rate": REASON}}, "'rate' is mapped by"),
        ({"recipe_map": {"eta": "lr"}}, "recipe.lr is the candidate's name of 'eta'; did you mean 'eta'?"),
        ({"recipe_map": {"lr": {"worldflux": "rate", "times": 0}}}, "times"),
        ({"recipe_map": {"lr": {"worldflux": "rate", "times": 1e-320}}}, "times"),
        ({"recipe_map": {"lr": {"worldflux": "rate"}}}, "key 'times' is missing"),
        ({"recipe_map": {"lr": {"wordflux": "rate", "times": 2}}}, "did you mean 'worldflux'?"),
        ({"recipe_map": {"lr": ""}}, "recipe_map.lr"),
        ({"recipe_map": {}}, "recipe_map"),
        ({"recipe_ignore": {"jit": "no"}}, "recipe_ignore.jit is 'no', not a reason: three words or more"),
        ({"recipe_ignore": {"jit": "a b\nc d"}}, "on one line"),
        ({"recipe_ignore": {"jit": "why " * 60}}, "at most 200 characters"),
        ({"recipe_ignore": ["jit"]}, "recipe_ignore is"),
        (
            {"recipe": {"lr": "high"}, "recipe_map": {"lr": {"worldflux": "rate", "times": 2}}},
            "recipe.lr is 'high', and recipe_map multiplies it by 2",
        ),
    ],
)
def test_terms_that_say_two_things_are_refused_in_one_line(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(SuiteError) as caught:
        load(tmp_path, **changes)
    assert words in caught.value.line()
    assert "\n" not in caught.value.line()
    assert caught.value.where.rpartition(":")[2].isdigit()


def test_a_candidate_who_has_both_names_is_found() -> None:
    terms = RecipeTerms({"lr": Twin("rate")})
    assert recipe_differences(*terms.align({"lr": 1}, {"rate": 1})) == []
    assert recipe_differences(*terms.align({"lr": 1}, {"rate": 1, "lr": 2})) == ["lr: 'absent' != 2"]
    assert recipe_differences(*terms.align({"lr": 1}, {"lr": 1})) == [
        "lr: 'absent' != 1",
        "lr as rate: 1 != 'absent'",
    ]


def test_keys_that_nobody_states_are_told_with_the_nearest() -> None:
    pair = Pair(Task("alpha"), 0, ("official", "worldflux"))
    stated = {(s, "alpha", 0): {"learning_rate": 1, "tau": 2} for s in pair.systems}
    terms = RecipeTerms({"learning_rat": Twin("rate")}, {"taw": REASON})
    found = compare_recipes([pair], stated, terms)
    assert [f.line() for f in found.findings()] == [
        "recipe_key_unknown: recipe_map names 'learning_rat' as 'rate', and neither side states either; "
        "did you mean 'learning_rate'?"
    ]
    assert list(found.warnings())[1] == (
        "recipe_ignore names 'taw', which neither side states; did you mean 'tau'?"
    )


keys = st.sampled_from(["a", "b", "c", "d", "e", "f"])
numbers = st.one_of(st.integers(-(10**6), 10**6), st.floats(-1e6, 1e6), st.booleans(), st.text(max_size=3))
recipes = st.dictionaries(keys, numbers, min_size=1)


@st.composite
def terms(draw: st.DrawFn) -> RecipeTerms:
    """Terms that a suite may have."""
    official = draw(st.lists(keys, unique=True, max_size=3))
    names = [f"w_{key}" for key in official]
    twins = {k: Twin(n, draw(st.sampled_from([1, 2, 0.1]))) for k, n in zip(official, names, strict=True)}
    return RecipeTerms(twins, dict.fromkeys(draw(st.sets(keys)) - set(official), REASON))


@given(terms(), recipes)
@settings(max_examples=200, deadline=None)
def test_a_program_that_did_what_it_was_asked_agrees(terms: RecipeTerms, recipe: Mapping[str, Any]) -> None:
    assert recipe_differences(*terms.align(recipe, terms.asked_of("worldflux", recipe))) == []


@given(terms(), recipes, keys)
@settings(max_examples=200, deadline=None)
def test_no_term_hides_what_it_does_not_name(terms: RecipeTerms, recipe: dict[str, Any], key: str) -> None:
    """A key that is neither mapped nor ignored is compared as without terms, whatever the others are."""
    ours = terms.asked_of("worldflux", recipe)
    told = recipe_differences(*terms.align({**recipe, key: "one"}, {**ours, key: "another"}))
    if key not in terms.ignored:
        assert told
    assert set(terms.ignored) & {t.partition(":")[0] for t in told} == set()
