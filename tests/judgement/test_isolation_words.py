"""What a card and a verdict say of how programs were kept apart, from what records say."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from pytest_worldflux_parity.judgement.judgement_input import list_what_ran
from pytest_worldflux_parity.judgement.proof_verdict import ProofEvidence
from pytest_worldflux_parity.judgement.walls import NO_ISOLATION, Isolation, isolation_of

WALLED = {"by": "bubblewrap", "why": "", "key_hidden": True, "needs": {}}
OPEN = {"by": "none", "why": "--parity-isolate=off", "key_hidden": False, "needs": {}}


def line(isolation: object, adapter: str = "ours") -> dict[str, Any]:
    return {"adapter": adapter, "isolation": isolation}


@pytest.mark.parametrize(
    ("said", "whole", "sentence"),
    [
        (
            [WALLED] * 3, True,
            "bubblewrap, all 3 runs and matches that count; the signing key was out of reach",
        ),
        (
            [WALLED, {**WALLED, "key_hidden": False}], True,
            "bubblewrap, all 2 runs and matches that count; no signing key was hidden",
        ),
        (
            [WALLED, OPEN, None], False,
            "bubblewrap in part: 1 of 3 ran open (--parity-isolate=off); 1 of 3 ran open (its record does "
            "not say); a signing key was within reach",
        ),
        (
            [OPEN, OPEN], False,
            "none: 2 of 2 ran open (--parity-isolate=off); a signing key was within reach",
        ),
        ([], False, "none: nothing ran"),
    ],
)  # fmt: skip
def test_all_that_counts_is_looked_at(said: list[Any], whole: bool, sentence: str) -> None:
    found = isolation_of(list_what_ran([line(own) for own in said], ()))
    assert (found.is_whole, found.sentence) == (whole, sentence)


def test_a_line_of_an_earlier_version_says_nothing() -> None:
    found = isolation_of(list_what_ran([{"adapter": "ours"}], ()))
    assert found == Isolation(0, {"its record does not say": 1})
    assert not NO_ISOLATION.is_whole


@pytest.mark.parametrize(
    "edited",
    [
        {}, [], "bubblewrap", {**WALLED, "by": "my word"}, {**WALLED, "needs": {"read": 3}},
        {**WALLED, "key_hidden": "yes"}, {k: v for k, v in WALLED.items() if k != "why"},
    ],
)  # fmt: skip
def test_a_line_that_was_edited_says_nothing(edited: object) -> None:
    found = isolation_of(list_what_ran([line(edited)], ()))
    assert found.ran_open == {"its record does not say": 1}


def test_a_component_match_counts_too() -> None:
    matches = [SimpleNamespace(about={"adapter": "ours"}, isolation=OPEN), SimpleNamespace(about=None), None]
    found = isolation_of(list_what_ran([line(WALLED)], cast(Any, matches)))
    assert (found.walled, found.ran_open) == (1, {"--parity-isolate=off": 1})


def test_what_was_declared_is_told_by_program() -> None:
    needs = {"network": True, "dev_shm": True, "read": ["~/a", "b"], "write": ["/c"]}
    lines = [line({**WALLED, "needs": needs}), line(WALLED, "theirs"), line({**OPEN, "needs": needs}, "open")]
    assert (
        isolation_of(list_what_ran(lines, ())).declared
        == "ours: network, shared memory, reads ~/a, b, writes /c"
    )


@pytest.mark.parametrize(
    ("claims", "said", "sentence"),
    [
        (True, [WALLED, OPEN], "with 1 of 2 runs and matches open: it is shown"),
        (True, [WALLED, WALLED], "it is shown"),
        (False, [WALLED, OPEN], "it is shown"),
        (True, [], "it is shown"),
    ],
)
def test_a_claim_says_in_its_first_sentence_that_programs_ran_open(
    claims: bool, said: list[Any], sentence: str
) -> None:
    part = SimpleNamespace(lines=[line(own) for own in said], components=None, sentence=lambda text, _: text)
    proof = SimpleNamespace(is_claim=claims)
    evidence = ProofEvidence(cast(Any, proof), cast(Any, (part,)), None, {}, {})
    assert evidence.sentence("it is shown") == sentence
