"""White lists of words, and what stands for a hash: whatever is not known is a finding that lists what is."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_worldflux_parity import wire
from pytest_worldflux_parity.errors import SuiteError
from pytest_worldflux_parity.judgement.gates.recipes import recipe_findings
from pytest_worldflux_parity.judgement.gates.validity import source_problems, word_problems
from pytest_worldflux_parity.judgement.proof.validity import unknown_backends
from pytest_worldflux_parity.suite.pairs import Pair
from pytest_worldflux_parity.suite.proof import Requirements
from pytest_worldflux_parity.suite.suite import Task
from pytest_worldflux_parity.suite.words import KNOWN, NEVER, refusal, refuse_words

untimed = settings(deadline=None)
KEYS = tuple(KNOWN)
ALL = frozenset((*NEVER, *(word for words in KNOWN.values() for word in words)))
keys = st.sampled_from(KEYS)
known = st.sampled_from([(key, word) for key, words in KNOWN.items() for word in words])
anything = st.one_of(
    st.text(),
    st.integers(),
    st.booleans(),
    st.lists(st.text()),
    st.sampled_from(sorted(ALL)).map(str.upper),
    st.sampled_from(sorted(ALL)).map(lambda word: f"{word} "),
    st.sampled_from(sorted(ALL)).map(lambda word: f"{word}ed"),
)


def test_no_word_is_both() -> None:
    assert not {word for words in KNOWN.values() for word in words} & set(NEVER)


@untimed
@given(known)
def test_a_known_word_is_no_problem(stated: tuple[str, str]) -> None:
    key, word = stated
    assert refusal(key, word) == ""
    assert list(word_problems({key: word})) == []


@untimed
@given(keys, anything)
def test_every_other_is_refused_with_the_list_of_those_that_are_known(key: str, word: Any) -> None:
    refused = refusal(key, word)
    assert bool(refused) == (word not in KNOWN[key])
    if refused:
        assert repr(word) in refused
        assert ", ".join(KNOWN[key]) in refused
        found = list(word_problems({key: word}))
        # In which environments a program runs is an open set, but for words that are never admitted.
        assert len(found) == (key != "env_backend" or word in NEVER)


@untimed
@given(keys, st.sampled_from(NEVER))
def test_no_suite_admits_what_is_never_admitted(key: str, word: str) -> None:
    assert list(word_problems({key: word}))
    if key == "mode":
        return
    own = {"policy_mode": "policy_mode", "env_backend": "environment_backend"}[key]
    with pytest.raises(SuiteError) as error:
        refuse_words({own: word}, ("validity",), lambda at: "/".join(map(str, at)))
    assert error.value.where == f"validity/{own}"
    assert error.value.valid == KNOWN[key]


def test_a_suite_names_environments_of_its_own_and_no_policy_mode_of_its_own() -> None:
    refuse_words({"environment_backend": "minigrid", "policy_mode": "trained"}, (), str)
    with pytest.raises(SuiteError, match=r"'trained ', and no verdict.*did you mean 'trained'.*valid: "):
        refuse_words({"policy_mode": "trained "}, (), str)


def stored(word: object) -> dict[str, Any]:
    return {"task_id": "t", "seed": 0, "system": "official", "metrics": {"metadata": {"env_backend": word}}}


@untimed
@given(st.one_of(anything, st.sampled_from(KNOWN["env_backend"]), st.none()))
def test_environments_are_known_or_named_by_the_suite(word: Any) -> None:
    found = list(unknown_backends([stored(word)], {"t": Requirements(environment_backend="own")}))
    silent = not word or (isinstance(word, str) and word in (*KNOWN["env_backend"], *NEVER, "own"))
    assert [f.code for f in found] == ([] if silent else ["unknown_env_backend"])
    named = list(unknown_backends([stored("own")], {"t": Requirements(environment_backend="own")}))
    assert named == []
    assert unknown_backends([stored("own")], {"t": Requirements()}).__next__().code == "unknown_env_backend"


# --- what stands for a hash ---


@untimed
@given(st.binary(min_size=32, max_size=32), st.integers(7, 64))
def test_a_hash_is_one(data: bytes, length: int) -> None:
    tree = (data[:-1] + b"\1").hex()
    assert list(source_problems({"tree_sha256": tree})) == []
    assert list(source_problems({"commit": ("1" + tree)[:length]})) == []


@untimed
@given(
    st.sampled_from(["tree_sha256", "commit"]),
    st.one_of(
        st.text(st.characters(exclude_characters="0123456789abcdef")),
        st.integers(),
        st.sampled_from(
            ["unknown", "HEAD", "main", "", "0" * 40, "0" * 64, "A" * 64, "a" * 64 + "\n", "dirty"]
        ),
    ),
)
def test_what_is_none_is_no_source(key: str, value: object) -> None:
    found = list(source_problems({key: value, "repo": "r"}))
    assert [code for code, _ in found] == ["missing_source_provenance"]
    assert key in found[0][1]
    assert repr(value) in found[0][1]


@untimed
@given(st.one_of(st.none(), st.text(), st.integers(), st.lists(st.text()), st.just({})))
def test_what_is_no_mapping_names_no_source(source: object) -> None:
    assert len(list(source_problems(source))) == 1


# --- what one side alone states ---

values = st.dictionaries(st.sampled_from("abc"), st.integers(0, 1), max_size=3)


@untimed
@given(values, values, st.sets(st.sampled_from(["official", "worldflux"])))
def test_a_run_that_is_silent_is_held_against_the_other(
    one: dict[str, int], other: dict[str, int], silent: set[str]
) -> None:
    pair = Pair(Task("t"), 0, ("official", "worldflux"), "")
    key = {s: (s, "t", 0) for s in ("official", "worldflux")}
    said = {"official": one, "worldflux": other}
    stated = {key[s]: value for s, value in said.items() if s not in silent}
    heard = [{} if s in silent else value for s, value in said.items()]
    found = list(recipe_findings([pair], stated, "eval_protocol", set(key.values())))
    assert bool(found) == (heard[0] != heard[1])
    for finding in found:
        assert any(f"{name}: " in finding.detail for name in {**heard[0], **heard[1]})
    tables = list(recipe_findings([pair], stated, "eval_protocol"))
    assert tables == ([] if silent else found), "a table that states nothing is not known"


def test_hashes_of_this_plugin_are_hashes() -> None:
    assert list(source_problems({"tree_sha256": wire.content_hash("x"), "commit": None})) == []
