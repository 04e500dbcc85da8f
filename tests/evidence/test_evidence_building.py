"""What a bundle holds: the same bytes for the same run, bounded, in order, and only what belongs in it."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from evidence_examples import BELOW, SUITE_ID, Example, Verify, make_run, sha256, write
from manipulations import LINES, members_of, packed_members_of

from pytest_worldflux_parity.errors import EvidenceError, StoreError
from pytest_worldflux_parity.evidence import container, open_bundle, statement
from pytest_worldflux_parity.evidence.checking import differences
from pytest_worldflux_parity.evidence.reading import LOG_TAIL_BYTES


@pytest.fixture
def own(tmp_path: Path) -> Example:
    """A run that this test may change."""
    return make_run(tmp_path / "me")


def built(example: Example, **changes: Any) -> dict[str, bytes]:
    return members_of(replace(example, **changes).build().path.read_bytes())


def test_the_same_run_gives_the_same_bytes(example: Example, keys: Path) -> None:
    for key in (None, keys / "own.pem"):
        first = example.build("first.zip", key)
        os.utime(example.run_dir / "run.json", (1, 1))
        second = example.build("second.zip", key)
        assert first.path.read_bytes() == second.path.read_bytes()
        assert first.sha256 == second.sha256 == sha256(first.path.read_bytes())
        assert first.signed is (key is not None)


def test_a_run_at_another_place_gives_the_same_bytes(own: Example, tmp_path: Path) -> None:
    """Absolute paths are the only thing that a place adds, and they do not go in."""
    elsewhere = tmp_path / "another" / "deeper" / "home"
    moved = make_run(elsewhere)
    before, after = built(own), built(moved)
    del before[statement.UNSIGNED], after[statement.UNSIGNED]
    assert before == after


def test_usual_programs_open_it(example: Example) -> None:
    info = example.build("usual.zip")
    with zipfile.ZipFile(info.path) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [*sorted(info.members[:-1]), "statement.json"]
        assert {i.date_time for i in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert {i.external_attr >> 16 for i in archive.infolist()} == {0o100644}


def test_every_other_member_is_a_subject_and_the_verdict_the_predicate(example: Example) -> None:
    members = packed_members_of(example.build("subjects.zip").path.read_bytes())
    document = json.loads(members.pop(statement.UNSIGNED))
    assert document["_type"] == "https://in-toto.io/Statement/v1"
    assert {s["name"]: s["digest"]["sha256"] for s in document["subject"]} == {
        name: sha256(data) for name, data in members.items()
    }
    predicate = document["predicate"]
    assert (predicate["verdict"], predicate["claim"], predicate["run_id"]) == ("pass", "none", "r1")
    assert predicate["global"] == json.loads(members[f"{BELOW}/equivalence_report.json"])["global"]


def test_what_belongs_in_is_in_and_nothing_else(own: Example) -> None:
    attempt = own.run_dir / SUITE_ID / "executions" / "task-0" / "seed_0" / "official" / "attempt_1"
    (attempt / "checkpoint.pt").write_bytes(b"weights")
    (attempt / ".cache").mkdir()
    (attempt / ".cache" / "metrics.json").write_bytes(b"{}")
    (own.run_dir / SUITE_ID / ".lock").write_bytes(b"")
    other = own.run_dir / "other_suite" / "executions" / "a" / "metrics.json"
    write(other, {})
    names = set(built(own))
    assert not [n for n in names if any(word in n for word in ("checkpoint", "cache", ".lock", "other"))]
    assert {LINES, f"{BELOW}/seed_plan.json", "run/run.json", "environment.json"} <= names
    of_match = {n.rpartition("/")[2] for n in names if "/component_match/attempt_1/" in n}
    assert of_match == {
        "match_request.json", "match.json", "outputs.npz", "perturbed.npz", "match_run.json",
    }  # fmt: skip


def test_a_second_family_has_its_own_match(own: Example) -> None:
    folder = own.run_dir / SUITE_ID
    other = folder / "component_match_other"
    shutil.copytree(folder / "component_match", other)
    # Recorded from this run's checkpoint, and what of it the match program was given.
    for golden in (other / "golden", other / "attempt_1" / "golden"):
        write(golden / "manifest.json", {"family": "other"})
    names = set(built(own))
    assert {
        f"{BELOW}/component_match_other/{n}" for n in ("attempt_1/match.json", "golden/manifest.json")
    } <= names
    assert f"{BELOW}/component_match_other/attempt_1/golden/manifest.json" not in names


def test_logs_are_cut_at_lines(own: Example) -> None:
    attempt = own.run_dir / SUITE_ID / "executions" / "task-0" / "seed_0" / "official" / "attempt_1"
    (attempt / "stdout.log").write_text("".join(f"line {i}\n" for i in range(5000)), encoding="utf-8")
    below = f"{BELOW}/executions/task-0/seed_0/official/attempt_1"
    tail = built(own)[f"{below}/stdout.tail.log"].decode()
    assert len(tail) <= LOG_TAIL_BYTES
    assert tail.endswith("line 4999\n")
    assert all(line.startswith("line ") for line in tail.splitlines())


def test_the_environment_is_what_the_records_state(example: Example) -> None:
    found = json.loads(built(example)["environment.json"])
    row = {"adapter": "fake_official", "device": "cpu", "records": 8}
    assert found["systems"]["official"] == [
        {**row, "stated": {"packages": {"numpy": "2"}, "python": "3.11.7"}}
    ]


def test_a_run_that_was_not_judged_has_no_bundle(own: Example) -> None:
    (own.run_dir / SUITE_ID / "equivalence_report.json").unlink()
    with pytest.raises(EvidenceError, match=r"equivalence_report.json is absent"):
        own.build()


def test_a_record_without_its_file_has_no_bundle(own: Example) -> None:
    attempt = own.run_dir / SUITE_ID / "executions" / "task-0" / "seed_0" / "official" / "attempt_1"
    (attempt / "metrics.json").unlink()
    with pytest.raises(EvidenceError, match=r"metrics.json is missing, and a record names it"):
        own.build()
    left = {p.name for p in (own.run_dir / SUITE_ID).iterdir()}
    assert not [n for n in left if "evidence_bundle" in n], "nothing half written stays"


def test_an_attempt_that_was_taken_away_is_missed(own: Example, verify: Verify) -> None:
    """Its worker may have been killed before it wrote a line, or anything; a number is never left out."""
    path = own.run_dir / SUITE_ID / "parity_runs.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(x for x in lines if '"status":"failed"' not in x), encoding="utf-8")
    attempt = own.run_dir / SUITE_ID / "executions" / "task-1" / "seed_2" / "official" / "attempt_1"
    assert f"{BELOW}/executions/task-1/seed_2/official/attempt_1/request.json" in built(own)
    shutil.rmtree(attempt)
    attempt.mkdir()
    name = f"{BELOW}/executions/task-1/seed_2/official/attempt_1/stdout.tail.log"
    assert built(own)[name] == b""
    assert "attempt 1 at" not in verify(own.build().path.read_bytes())[1]
    attempt.rmdir()
    with pytest.raises(EvidenceError, match="attempt 1 at official task-1 seed_2 is missing"):
        own.build()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("suite.yaml", "an input is named inputs/"),
        ("inputs/../suite.yaml", "leads out of its folder"),
        ("inputs/a b.yaml", "holds other characters"),
        ("inputs/Suite.yaml", "differ in case only"),
        ("inputs/suite.yaml/x", "is a file, and also the folder of"),
    ],
)
def test_names_that_could_not_be_opened_are_refused(own: Example, name: str, text: str) -> None:
    with pytest.raises(EvidenceError, match=text):
        replace(own, inputs={**own.inputs, name: b"x"}).build()


def test_what_is_too_large_is_refused(own: Example, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container, "MAX_MEMBER_BYTES", 1000)
    with pytest.raises(EvidenceError, match="and may have 1000"):
        own.build()
    monkeypatch.undo()
    monkeypatch.setattr(container, "MAX_MEMBERS", 20)
    with pytest.raises(EvidenceError, match="a bundle at most 20"):
        own.build()


def test_a_bundle_that_cannot_be_written_is_an_error_of_ours(own: Example, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match="cannot be written"):
        own.build(f"{tmp_path}/file/b.zip")


@pytest.mark.parametrize("kind", ["absent", "a folder", "a pipe", "text"])
def test_what_is_no_bundle_is_unreadable(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "b.zip"
    if kind == "a folder":
        path.mkdir()
    elif kind == "a pipe":
        os.mkfifo(path)
    elif kind == "text":
        path.write_text("hello")
    with pytest.raises(EvidenceError, match=r"cannot be read|is no regular file|is no zip"):
        open_bundle(path, tmp_path / "into", key=None)


def test_differences() -> None:
    """Floats to 1e-9 relative; types, counts, texts and booleans exactly."""
    same = {"a": 1.0, "b": [1, True, None, "x"], "c": {"d": 0.0}}
    assert not list(differences(same, same, ""))
    assert not list(differences({"a": 1.0 + 1e-10}, {"a": 1.0}, ""))
    assert not list(differences({"a": 1e-17}, {"a": 0.0}, ""))
    for one, other in (
        (1.0 + 1e-8, 1.0), (1, 1.0), (True, 1), (None, False), ("a", "b"), ([1], [1, 2]), ([], {}), (1, 2),
        (1e-12, 0.0), (1e-300, 1e-299), ({"x": 1}, {}),
    ):  # fmt: skip
        expected = one != 1e-300
        assert bool(list(differences({"k": one}, {"k": other}, ""))) is expected, (one, other)
