"""Every document of a set of examples is what it was: what differs has its reason.

``UPDATE_GOLDEN_DOCUMENTS=1 pytest tests/golden_documents`` writes them anew.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from golden_normal import Hashes, difference, rows_in_common, same, without_circumstances, without_pytest
from golden_proof import PROOF
from golden_quick import QUICK
from golden_release import RELEASE
from golden_stage import Stage

EXPECTED = Path(__file__).parent / "expected"
UPDATE = "UPDATE_GOLDEN_DOCUMENTS"
EXAMPLES: dict[str, Callable[[Stage], None]] = {e.__name__: e for e in (*QUICK, *PROOF, *RELEASE)}
ADVICE = (
    f"If this is meant: {UPDATE}=1 pytest tests/golden_documents -k EXAMPLE, read the diff that git shows, "
    "and give the reason in the commit message."
)


def stored(example: str) -> dict[str, str]:
    """Name -> each golden document of an example."""
    folder = EXPECTED / example
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {p.relative_to(folder).as_posix(): p.read_bytes().decode("utf-8") for p in files}


def compared(expected: dict[str, str], found: dict[str, str]) -> list[str]:
    """What differs, as lines to read; empty where nothing does."""
    told = [f"{name}: a golden, and no such document is written" for name in expected if name not in found]
    for name, text in found.items():
        if name not in expected:
            told += [f"{name}: a document, and there is no golden of it", *text.splitlines()[:40]]
        elif not same(expected[name], text):
            told += difference(name, expected[name], text)
    return told


def update(example: str, found: dict[str, str]) -> None:
    """Write the goldens of an example; one that is the same but for last digits stays as it is."""
    before = stored(example)
    shutil.rmtree(EXPECTED / example, ignore_errors=True)
    for name, text in found.items():
        path = EXPECTED / example / name
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = before[name] if name in before and same(before[name], text) else text
        path.write_bytes(kept.encode("utf-8"))


@pytest.mark.parametrize("example", EXAMPLES)
def test_documents_are_what_they_were(example: str, tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    EXAMPLES[example](stage)
    found = stage.documents()
    if os.environ.get(UPDATE):
        update(example, found)
    told = compared(stored(example), found)
    if told:
        pytest.fail("\n".join((f"documents of {example} differ from their goldens", *told, ADVICE)), False)


def test_every_golden_is_of_an_example() -> None:
    assert {p.name for p in EXPECTED.iterdir()} == set(EXAMPLES)


# --- what is held, and what is not ---


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ("0.1 and 2.5e-7", "0.10000000000000002 and 2.5000000000000003e-07", True),
        ("0.1", "0.100001", False),
        ("0.0", "2.2e-16", True),
        ("2.2e-16", "0", True),
        ("3", "3.0", False),
        ("3 seeds", "4 seeds", False),
        ("all 12 agree", "all 12 differ", False),
        ("-0.21%", "0.21%", False),
        ("v1.2.3", "v1.2.4", False),
        ("a1f20e73", "a1f20e74", False),
        ("x", "y", False),
    ],
)
def test_numbers_are_compared_as_numbers_and_all_else_as_text(one: str, other: str, equal: bool) -> None:
    assert same(one, other) is equal
    assert bool(list(difference("x", one, other))) is not equal


def test_a_document_without_a_golden_and_a_golden_without_one_are_told() -> None:
    assert compared({"a.json": "1"}, {"a.json": "1"}) == []
    assert compared({"a.json": "1"}, {}) == ["a.json: a golden, and no such document is written"]
    assert compared({}, {"a.json": "1"})[0] == "a.json: a document, and there is no golden of it"
    told = compared({"a.json": "0.5\nx"}, {"a.json": "0.5000000000000001\ny"})
    assert told[0].startswith("--- a.json (golden)")
    assert told[-3:] == [" 0.5", "-x", "+y"], "of the lines, the one that differs"


def test_circumstances_are_words_and_what_is_said_stays() -> None:
    text = (
        '{"time": 1.5, "duration_sec":0.25, "numpy": null, "torch": null, '
        '"at": "2026-01-01T00:00:00Z", "p": "/a/b"}'
    )
    assert without_circumstances(text, {"/a/b": "<root>", "/a": "<tmp>"}) == (
        '{"time": "<time>", "duration_sec":"<duration_sec>", "numpy": null, "torch": "<torch>", '
        '"at": "<time>", "p": "<root>"}'
    )
    inner = '{\\"time\\": 1.5}'
    assert without_circumstances(inner, {}) == '{\\"time\\": \\"<time>\\"}'


def test_equal_hashes_have_equal_names() -> None:
    lasting, file, one, other = (letter * 64 for letter in "abcd")
    hashes = Hashes([], {file: "r/x.json"})
    hashes.learn(f'"request_id": "{lasting}"')
    text = hashes.named(f"{one} {other} {one} {file} {lasting}")
    assert text == f"<sha256-1> <sha256-2> <sha256-1> <sha256 of r/x.json> {lasting}"
    assert hashes.named(other) == "<sha256-2>", "in another document as well"


def test_rows_lose_nothing_to_what_they_have_in_common() -> None:
    rows = [{"a": 1, "m": {"x": 1, "y": 2}}, {"a": 1, "m": {"x": 1, "z": 3}}, {"a": 1, "m": {"x": 1}}]
    assert json.loads(rows_in_common(rows)) == {
        "same": {"a": 1, "m": {"x": 1}},
        "each": [{"m": {"y": 2}}, {"m": {"z": 3}}, {}],
    }
    assert json.loads(rows_in_common([{"a": 1}, {"a": 1.0}])) == {"same": {}, "each": [{"a": 1}, {"a": 1.0}]}


def test_of_a_session_stay_the_lines_of_the_plugin() -> None:
    text = """
==== test session starts ====
platform linux -- Python 3.11.7
parity: quick, device cpu, run r
rootdir: /x
collected 6 items

suites/quick/x.yaml ..F.       [100%]
=== FAILURES ===
___ suites/quick/x.yaml::a ___
fail: worse
--- generated xml file: x ---

parity x: FAIL
  metric  margin
"""
    kept = "parity: quick, device cpu, run r\nfail: worse\nparity x: FAIL\n  metric  margin\n"
    assert without_pytest(text) == kept
