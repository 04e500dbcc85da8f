"""What ``verify`` prints and returns."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from evidence_examples import BELOW, Example, Verify, make_run, recompute
from manipulations import document, forged

from pytest_worldflux_parity.cli import verify as command
from pytest_worldflux_parity.release.verification import Reader

Reports = dict[str, dict[str, Any] | str]


def report(path: Path, key: None, recompute: Callable[[Path], Reports]) -> int:
    """The exit status of ``verify`` by what makes the documents again."""
    return command.report_bundle(path, Reader, lambda folder: (None, recompute(folder)))


def test_all_that_counts_stands_on_its_face(unsigned: bytes, verify: Verify) -> None:
    code, said = verify(unsigned)
    assert code == 5
    lines = dict(line.partition(": ")[::2] for line in said.splitlines())
    assert lines["suite"] == "example_proof"
    assert lines["claim"] == "none: whatever the verdict, this is no claim"
    assert lines["verdict as stated"].startswith("pass: equivalence is shown in all 2 cases")
    assert lines["recomputed"] == "6 reports from the raw records, all equal"
    vouched = "who ran it can sign it: pytest --parity=proof --parity-resume --parity-sign-key=PEM"
    assert lines["result"] == f"PASS that follows, and NOBODY VOUCHES for it: {vouched}"


def test_a_line_break_forges_no_line(unsigned: bytes, verify: Verify) -> None:
    def edit(found: dict[str, Any]) -> None:
        found["global"]["verdict_reason"] = "x\nresult: PASS\x1b[2J"

    change = forged(document(f"{BELOW}/equivalence_report.json", edit))
    code, said = verify(change(unsigned))
    assert code == 2
    results = [line for line in said.splitlines() if line.startswith("result:")]
    assert len(results) == 1
    assert results[0].startswith("result: DOES NOT FOLLOW")
    assert "\x1b" not in said


@pytest.mark.parametrize(
    "error",
    [RecursionError(), KeyError("seed"), ZeroDivisionError("by zero"), AssertionError(), TypeError("x")],
)
def test_data_that_break_their_reader_give_no_traceback(
    error: Exception, example: Example, capsys: pytest.CaptureFixture[str]
) -> None:
    def breaks(folder: Path) -> Reports:
        raise error

    assert report(example.build("broken.zip").path, None, breaks) == 2
    assert f"nothing can be recomputed: {type(error).__name__}" in capsys.readouterr().out


def test_a_document_that_nothing_gives(example: Example, capsys: pytest.CaptureFixture[str]) -> None:
    """What is concluded and cannot be made again is not believed."""

    def less(folder: Path) -> Reports:
        return {n: d for n, d in recompute(folder).items() if "validity" not in n}

    assert report(example.build("less.zip").path, None, less) == 2
    said = capsys.readouterr().out
    assert "validity_report.json does not follow from the data: nothing gives such a document" in said
    assert report(example.build("less.zip").path, None, lambda folder: {}) == 2


def test_times_are_not_compared(example: Example, capsys: pytest.CaptureFixture[str]) -> None:
    def later(folder: Path) -> Reports:
        return {n: _later(report) for n, report in recompute(folder).items()}

    def _later(found: dict[str, Any] | str) -> dict[str, Any] | str:
        if isinstance(found, str) or "generated_at" not in found:
            return found
        return {**found, "generated_at": "2031-01-01T00:00:00Z"}

    assert report(example.build("later.zip").path, None, later) == 5, capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "# Equivalence report\n\nVerdict: passed\n",
            'line 3 is "Verdict: passed", the data give "Verdict: pass"',
        ),
        ("# Equivalence report\n\nVerdict: pass\n\nA claim.\n", "it has 6 lines, the data give 4"),
        ("", "it has 1 lines, the data give 4"),
    ],
)
def test_the_text_of_a_report_follows_from_the_data(
    unsigned: bytes, verify: Verify, text: str, words: str
) -> None:
    change = forged(lambda x: x.update({f"{BELOW}/equivalence_report.md": text.encode()}))
    code, said = verify(change(unsigned))
    assert code == 2
    assert f"does not follow: {BELOW}/equivalence_report.md: {words}" in said


def test_every_line_and_every_key_that_does_not_follow_is_told(unsigned: bytes, verify: Verify) -> None:
    """However many they are: who checks a bundle has nothing else to read them from."""
    keys = {f"invented_{i}": i for i in range(30)}

    def edited(members: dict[str, bytes]) -> None:
        name = f"{BELOW}/coverage_report.json"
        members[name] = json.dumps({**json.loads(members[name]), **keys}).encode()

    code, said = verify(forged(edited)(unsigned))
    assert code == 2
    assert [key for key in keys if key not in said] == []
    assert " more" not in said


def test_a_claim_is_named(tmp_path: Path, verify: Verify) -> None:
    code, said = verify(make_run(tmp_path / "me", claim="strict").build().path.read_bytes())
    assert (code, "\nclaim: strict\n" in said) == (5, True), said
