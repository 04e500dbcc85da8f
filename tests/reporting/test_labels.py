"""Labels of the two sides: which words they replace, which they leave, and which may be none."""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_worldflux_parity.errors import SuiteError
from pytest_worldflux_parity.judgement.gates.codes import CODES
from pytest_worldflux_parity.reporting.escaping import escape
from pytest_worldflux_parity.reporting.estimates import EFFECT
from pytest_worldflux_parity.reporting.labels import describe_labels, with_labels
from pytest_worldflux_parity.schemas.formats import is_label
from pytest_worldflux_parity.suite import proof_file, suite_file
from tests.conftest import PROOF, SUITE

LABELS = {"official": "SB3", "worldflux": "SBX"}
PIECES = ("official", "Worldflux", "upstream", "`", "'", "/", "-", "_", ".", ": ", " ", "|", "{", "}", "word")
TEXTS = st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=12).map("".join)
# A text, and what it becomes.
RENAMED = [
    ("the official side, and worldflux's", "the SB3 side, and SBX's"),
    ("the mean upstream score is 0.", "the mean SB3 score is 0."),
    ("failed (worldflux, alpha, seed 0): gone", "failed (SBX, alpha, seed 0): gone"),
    ("Official: 3 results. Worldflux.", "SB3: 3 results. SBX."),
    (EFFECT, "effect: (SBX - SB3) / |SB3|, + is higher"),
    (escape(EFFECT), r"effect: (SBX - SB3) / \|SB3\|, + is higher"),
]
SPARED = [
    "worldflux-parity plan, worldflux_tdmpc2, upstream_lock.json, pytest-worldflux-parity, .worldflux/envs",
    "alpha/seed_0/worldflux/attempt_1, /x/official, official.json, worldflux.parity.suite.v1, fake.official",
    "--parity-upstream=PATH --parity-systems=official,worldflux --official TABLE",
    "write `official: 3` or `the worldflux side`, 'official' or \"upstream\", {official: 3, worldflux: [1]}",
    "&#39;official&#39; is officially an official_thing",
]


@pytest.mark.parametrize(("text", "told"), RENAMED)
def test_words_of_the_sides_are_replaced(text: str, told: str) -> None:
    assert with_labels(text, LABELS) == told


@pytest.mark.parametrize("text", SPARED)
def test_names_paths_commands_and_quotations_are_not(text: str) -> None:
    assert with_labels(text, LABELS) == text


def test_one_side_alone_may_have_a_label() -> None:
    assert with_labels("official and worldflux", {"official": "SB3"}) == "SB3 and worldflux"
    assert describe_labels({"official": "SB3"}) == "the `official` side is SB3"


def test_what_to_do_about_a_finding_keeps_its_commands() -> None:
    """The texts that the plugin itself has: what is code in them is there before and after."""
    for code in CODES.values():
        told = with_labels(code.to_do, LABELS)
        assert told.count("`") == code.to_do.count("`")
        assert told.split("`")[1::2] == code.to_do.split("`")[1::2]


@given(TEXTS)
def test_no_label_changes_no_text_and_labels_change_it_once(text: str) -> None:
    assert with_labels(text, {}) is text
    once = with_labels(text, LABELS)
    assert with_labels(once, LABELS) == once
    assert once.count("\n") == text.count("\n")
    described = describe_labels(LABELS)
    for shown in (described, escape(described), html.escape(described)):
        assert with_labels(shown, LABELS) == shown


@given(st.text(max_size=26) | st.text("aZ09 ._+-", max_size=26))
def test_a_label_is_text_wherever_it_stands(label: str) -> None:
    if is_label(label):
        assert label.isascii()
        assert label.strip() == label != ""
        assert escape(label) == html.escape(label) == with_labels(label, LABELS) == label


def load(folder: Path, base: dict[str, Any] = SUITE, **changes: Any) -> Any:
    path = folder / "suite.yaml"
    path.write_text(json.dumps({**base, **changes}, indent=1), encoding="utf-8")
    return (suite_file if base is SUITE else proof_file).load(path)


@pytest.mark.parametrize("label", ["SB3", "a", "Stable-Baselines3", "C++", "v1.2_x", "TD-MPC2 of us"])
def test_a_suite_of_either_track_has_labels(tmp_path: Path, label: str) -> None:
    labels = {"official": label, "worldflux": "ours"}
    assert load(tmp_path, labels=labels).labels == labels
    assert load(tmp_path, PROOF, suite_id="p", labels=labels).labels == labels


@pytest.mark.parametrize(
    "label",
    ["", " ", " SB3", "SB3 ", "S  B", "x" * 25, "offici\u0430l", "S\u200bB3", "a\nb", "a|b", "<b>", "`a`",
     "_a_", "\x1b[2J", "official", "Worldflux", "the official one", "upstream", "reference", "candidate",
     "PASS", "SBX: pass", "passes", "not-failed", "verified.SBX", "INCONCLUSIVE"],
)  # fmt: skip
def test_a_label_that_misleads_is_refused(tmp_path: Path, label: str) -> None:
    for base in (SUITE, {**PROOF, "suite_id": "p"}):
        with pytest.raises(SuiteError) as caught:
            load(tmp_path, base, labels={"official": "SB3", "worldflux": label})
        line = caught.value.line()
        assert line.isprintable()
        assert "labels.worldflux is " in line
        assert "not a label: 1 to 24 letters" in line


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"labels": {"official": "SB3", "worldflux": "sb3"}}, "both labels are 'SB3'"),
        ({"labels": {}}, "labels"),
        ({"labels": {"offical": "SB3"}}, "unknown key 'offical'; did you mean 'official'?"),
        ({"labels": {"official": 3}}, "labels.official is 3 (int); valid: string"),
        ({"labels": LABELS, "tasks": ["alpha", "official"]}, "'official' has a word for a side"),
        ({"labels": LABELS, "family": "worldflux"}, "'worldflux' has a word for a side"),
    ],
)
def test_labels_that_say_nothing_are_refused_in_one_line(
    tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    with pytest.raises(SuiteError) as caught:
        load(tmp_path, **changes)
    assert told in caught.value.line()
    assert caught.value.where.startswith(str(tmp_path / "suite.yaml:"))
