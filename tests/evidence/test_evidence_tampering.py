"""Nobody edits a bundle unnoticed: each manipulation is detected, and each has its own message."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import manipulations as m
import pytest
from evidence_examples import BELOW, SUITE, Example, Verify, make_run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from manipulations import (
    EQUIVALENCE,
    FIRST,
    LINES,
    OTHER,
    ROWS,
    document,
    edited,
    forged,
    removed,
    replaced,
)

from pytest_worldflux_parity.errors import EvidenceError, TamperedError
from pytest_worldflux_parity.evidence import open_bundle, read_sign_key, statement
from pytest_worldflux_parity.evidence.container import MAX_MEMBERS
from pytest_worldflux_parity.evidence.members import MOST_DOCUMENT

Change = Callable[[bytes], bytes]


def statement_edited(edit: Callable[[dict[str, Any]], object]) -> Change:
    """The statement changed, and its one form kept."""

    def change(members: m.Members) -> None:
        found = json.loads(members[statement.UNSIGNED])
        edit(found)
        members[statement.UNSIGNED] = statement.encode(found)

    return edited(change)


def reordered(data: bytes) -> bytes:
    members = m.members_of(data)
    first = next(iter(members))
    moved = members.pop(first)
    last = members.popitem()
    return m.written({**members, first: moved, last[0]: last[1]})


# What is done to the archive -> the exit status, and what the message says.
ARCHIVE: dict[str, tuple[Change, int, str]] = {
    "truncated in the end record": (lambda d: d[:-3], 4, "is no zip: it is truncated, or no bundle"),
    "truncated in half": (lambda d: d[: len(d) // 2], 4, "is no zip: it is truncated"),
    "empty": (lambda d: b"", 4, "is no zip"),
    "bytes at the end": (lambda d: d + b"more", 3, "bytes stand before, between or after its members"),
    "a comment": (lambda d: d[:-2] + b"\x04\x00note", 3, "bytes stand before, between or after its members"),
    "a comment's length, without one": (
        lambda d: d[:-50] + b"\x01" + d[-49:],
        3,
        "the directory's entry of statement.json states other lengths",
    ),
    "bytes at the beginning": (lambda d: b"#!/bin/sh\n" + d, 3, "environment.json does not begin where"),
    "a gap between members": (m.gap, 3, "backend.yaml does not begin where the last one ends"),
    "overlapping members": (m.overlapping, 3, "environment.jsoo does not begin where the last one ends"),
    "a member twice": (m.doubled, 3, "environment.json stands twice"),
    "names that differ in case": (edited(m.with_member("Inputs/suite.yaml")), 3, "differ in case only"),
    "a file as a folder": (edited(m.with_member("run/run.json/x")), 3, "is a file, and also the folder of"),
    "a folder above": (m.renamed("../environment.json"), 3, "leads out of its folder (..)"),
    "an absolute path": (m.renamed("/etc/environment"), 3, "/etc/environment is an absolute path"),
    "a drive": (m.renamed("C:/environment"), 3, "C:/environment is an absolute path"),
    "a backslash": (m.renamed("..\\environment.json"), 3, "has a backslash"),
    "a letter that looks like another": (m.renamed("\u0435nvironment.json"), 3, "holds other characters"),
    "a hidden name": (m.renamed(".environment.json"), 3, "begins with a dot"),
    "a name without end": (m.renamed("e" * 300), 3, "has 300 characters"),
    "no name": (m.renamed(""), 3, "has 0 characters"),
    "a symbolic link": (m.patched_entry(0, 38, b"\x00\x00\xff\xa1"), 3, "json is a symbolic link"),
    "a device": (m.patched_entry(0, 38, b"\x00\x00\xff\x61"), 3, "environment.json is no regular file"),
    "encryption": (m.patched_entry(0, 8, b"\x01\x00"), 3, "environment.json is encrypted"),
    "another method": (m.patched_entry(0, 10, b"\x0c\x00"), 3, "is not as this plugin writes it"),
    "another time": (m.patched_entry(0, 12, b"\x01"), 3, "entry of environment.json is not as this plugin"),
    "headers that contradict each other": (m.local_differs, 3, "or its header contradicts the directory"),
    "more members than counted": (
        lambda d: d[:-14] + b"\x02\x00\x02\x00" + d[-10:], 3, "after its members, its directory and its end",
    ),
    "a number of members without end": (
        lambda d: d[:-10] + b"\xff\xff\xff\x7f" + d[-6:], 3,
        f"2147483647 bytes, and a bundle holds at most {MAX_MEMBERS} members",
    ),
    "a bomb": (m.bomb(20 << 20), 3, "bomb is not in the statement"),
    "a bomb that lies": (m.first_holding(lambda t: m.squeezed(bytes(10 << 20))), 3, "Bad CRC-32"),
    "a document larger than any": (
        m.with_first(m.Entry("a.json", 8, 0, 400_000, MOST_DOCUMENT + 1, 0), b"x" * 400_000),
        3,
        "and such a member may have",
    ),
    "a member beyond all bounds": (m.huge, 3, "and a member may have"),
    "a stored member of another size": (
        m.first_holding(lambda t: t[:-1], method=0), 3, "environment.json does not unpack",
    ),
    "bytes hidden in a member": (
        m.first_holding(lambda t: m.squeezed(t) + b"hidden"), 3, "is packed otherwise",
    ),
    "bytes hidden behind the statement": (
        m.last_holding(lambda t: t + b"hidden"), 3, "bytes are hidden behind the data of statement",
    ),
    "bytes hidden behind the statement's stream": (
        m.last_holding(lambda t: m.squeezed(t) + b"hidden", method=8), 3, "bytes are hidden behind the data",
    ),
    "a statement that announces more": (
        m.last_holding(m.squeezed, method=8, more=1000), 3, "has 1000 bytes less than it announces",
    ),
    "a stream that is none": (
        m.first_holding(lambda t: b"\xff" * 3), 3, "environment.json does not unpack: Error",
    ),
    "a stream that ends early": (
        m.first_holding(lambda t: m.squeezed(t)[: len(t) // 4]), 3, "environment.json does not unpack: ",
    ),
    "the same members, packed otherwise": (m.packed_otherwise, 3, "packed otherwise than it was"),
    "zipped again": (m.by_zipfile, 3, "is not as this plugin writes it"),
    "another order": (reordered, 3, "its members are not in order"),
    "an extra member": (edited(m.with_member("run/extra.json")), 3, "run/extra.json is not in the statement"),
    "a missing member": (edited(removed(LINES)), 3, f"{LINES} is missing"),
    "the attempts at a task missing": (
        edited(lambda x: [x.pop(n) for n in list(x) if "/task-1/" in n]), 3,
        "attempts/task-1/0001.jsonl is missing",
    ),
    "a missing record": (edited(removed(FIRST)), 3, f"{ROWS} is not what the statement says"),
    "a missing log of a failed attempt": (
        edited(removed(f"{BELOW}/executions/task-1/seed_2/official/attempt_1/stderr.tail.log")), 3,
        "attempts/task-1/0001.jsonl is not what the statement says",
    ),
    "no statement": (edited(removed(statement.UNSIGNED)), 3, "it has no statement"),
    "two statements": (
        edited(m.with_member(statement.SIGNED)), 3, "it has a signed and an unsigned statement",
    ),
    "one digit of one score": (edited(m.digit), 3, f"{LINES} is not what the statement says"),
    "two files swapped": (edited(m.swapped(FIRST, OTHER)), 3, f"{ROWS} is not what the statement says"),
    "an edited suite": (
        edited(replaced("inputs/suite.yaml", "0.05", "0.50")), 3, "suite.yaml is not what the statement",
    ),
    "two members swapped": (
        edited(m.swapped("inputs/upstream_lock.json", "inputs/suite_policy.json")), 3,
        "inputs/suite_policy.json is not what the statement says",
    ),
    "another golden": (
        edited(m.arrays("inputs/golden/fake/arrays.npz")), 3, "arrays.npz is not what the statement says",
    ),
    "a statement in another form": (
        edited(lambda x: x.update({statement.UNSIGNED: x[statement.UNSIGNED] + b" "})), 3,
        "statement.json is not JSON in the form that it is written in here",
    ),
    "a statement that is none": (
        edited(lambda x: x.update({statement.UNSIGNED: b"hello"})), 3, "statement.json is not JSON",
    ),
    "a statement of another kind": (
        statement_edited(lambda s: s.update(predicateType="https://slsa.dev/provenance/v1")), 3,
        "predicateType is 'https://slsa.dev/provenance/v1'",
    ),
    "a subject twice": (
        statement_edited(lambda s: s["subject"].append(s["subject"][0])), 3, "lists a member twice",
    ),
    "another hash of the archive": (
        statement_edited(lambda s: s["predicate"]["bundle"].update(archive_sha256="0" * 64)), 3,
        "packed otherwise than it was",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ARCHIVE)
def test_a_manipulated_archive_is_refused(name: str, unsigned: bytes, verify: Verify) -> None:
    change, code, text = ARCHIVE[name]
    found, said = verify(change(unsigned))
    assert (found, text in said) == (code, True), said
    assert "PASS" not in said.replace("NOT A PASS", "")


def doubled_margin(members: m.Members) -> None:
    replaced("inputs/suite.yaml", '"margin": 0.05', '"margin": 0.5')(members)


def whole_suite(members: m.Members) -> None:
    members["inputs/suite.yaml"] = json.dumps({**SUITE, "tasks": ["task-0"], "seeds": 2}).encode()


def verdict_of(verdict: str) -> Callable[[dict[str, Any]], None]:
    def edit(report: dict[str, Any]) -> None:
        report["global"].update(verdict=verdict, parity_pass_final=verdict == "pass")

    return edit


def rows(edit: Callable[[dict[str, Any]], object]) -> Callable[[m.Members], None]:
    """The first row of an attempt changed."""

    def change(raw: bytes) -> bytes:
        first, *rest = raw.splitlines(keepends=True)
        found = json.loads(first)
        edit(found)
        return b"".join([json.dumps(found, sort_keys=True, separators=(",", ":")).encode() + b"\n", *rest])

    return m.raw_rows(change)


NO_ROW = f"{ROWS}:1: is not the row of an attempt"
# What is done to the content, with every hash mended -> what the message says; without a key, all that is
# left to hold it against is the data themselves.
CONTENT: dict[str, tuple[Change, str]] = {
    "one digit of one score in a line": (
        forged(m.digit), "validity_report.json: pass is true, the data give false",
    ),
    "one digit of one score, line and record": (
        forged(m.better_score), "equivalence_report.json: tasks[0].metrics.final_return_mean",
    ),
    "a dropped line": (
        forged(m.lines(lambda x: (x["task_id"], x["seed"], x["system"]) != ("task-0", 1, "worldflux"))),
        "coverage_report.json: pass is true, the data give false",
    ),
    "a dropped failed attempt": (
        forged(m.lines(lambda x: x["status"] == "success")),
        "provenance.official.record_count is 9, the data give 8",
    ),
    "a dropped seed": (forged(m.seed_gone), "coverage_report.json: missing_pairs is 0, the data give 4"),
    "a dropped record": (forged(removed(FIRST)), "nothing can be recomputed"),
    "an edited margin": (forged(doubled_margin), "inputs/suite.yaml changed since the run was sealed"),
    "another suite": (forged(whole_suite), "equivalence_report.json: tasks has 2 entries, the data give 1"),
    "a suite that is none": (
        forged(lambda x: x.update({"inputs/suite.yaml": b"tasks: ["})), "nothing can be recomputed",
    ),
    "an edited verdict": (
        forged(document(EQUIVALENCE, verdict_of("inconclusive"))),
        'equivalence_report.json: global.verdict is "inconclusive", the data give "pass"',
    ),
    "a verdict edited in the statement": (
        forged(lambda x: None, state=lambda p: p.update(verdict="fail", parity_pass_final=False)),
        'the statement: verdict is "fail", the data give "pass"',
    ),
    "a claim made in the statement": (
        forged(lambda x: None, state=lambda p: p.update(claim="strict")),
        'the statement: claim is "strict", the data give "none"',
    ),
    "another run in the statement": (
        forged(lambda x: None, state=lambda p: p.update(run_id="other")),
        'the statement: run_id is "other", the data give ',
    ),
    "an edited number": (
        forged(document(EQUIVALENCE, lambda d: d["completeness"].update(expected_pairs=17))),
        "completeness.expected_pairs is 17, the data give 16",
    ),
    "a number that is true": (
        forged(document(EQUIVALENCE, lambda d: d["global"].update(tasks_total=True))),
        "global.tasks_total is true, the data give 2",
    ),
    "a key more": (
        forged(document(EQUIVALENCE, lambda d: d["global"].update(certified=True))),
        "global.certified is true, the data give none",
    ),
    "a key less": (
        forged(document(EQUIVALENCE, lambda d: d["global"].pop("seeds_needed"))),
        "global.seeds_needed is absent, the data give null",
    ),
    "a key twice": (
        forged(replaced(f"{BELOW}/coverage_report.json", '"pass": true', '"pass": true, "pass": true')),
        "coverage_report.json: key 'pass' stands twice",
    ),
    "a document of no data": (
        forged(m.with_member(f"{BELOW}/quality_report.json")), "quality_report.json does not follow from",
    ),
    "a document less": (
        forged(removed(f"{BELOW}/stability_report.json")), "stability_report.json is missing, and the data",
    ),
    "a document that is a list": (
        forged(lambda x: x.update({f"{BELOW}/coverage_report.json": b"[]"}), state=lambda p: None),
        "coverage_report.json: is no JSON object",
    ),
    "the golden exchanged": (
        forged(m.arrays("inputs/golden/fake/arrays.npz")), "all_pass is true, the data give false",
    ),
    "outputs of the match edited": (
        forged(m.arrays(f"{BELOW}/component_match/attempt_1/outputs.npz")),
        "is not the file that the match program left",
    ),
    "an edited lock": (
        forged(replaced("inputs/upstream_lock.json", "0" * 40, "1" * 40)), "upstream_lock.json changed",
    ),
    "an edited policy": (
        forged(replaced("inputs/suite_policy.json", "required", "optional")), "suite_policy.json changed",
    ),
    "an edited backend": (
        forged(replaced("inputs/backends/fake/backend.yaml", "fake", "real")), "backend.yaml changed",
    ),
    "a record under another name": (
        forged(rows(lambda x: x["files"].update({"metrics.old.json": x["files"]["metrics.json"]}))), NO_ROW,
    ),
    "a path that leads out in a row": (
        forged(rows(lambda x: x.update(attempt="../../../../x/attempt_1"))), NO_ROW,
    ),
    "an absolute path in a row": (forged(rows(lambda x: x.update(attempt="/etc/attempt_1"))), NO_ROW),
    "a row with more": (forged(rows(lambda x: x.update(note="hidden"))), NO_ROW),
    "a file that is no text": (forged(rows(lambda x: x["files"].update({"metrics.json": 1}))), NO_ROW),
    "a file that no bytes give": (
        forged(rows(lambda x: x["files"].update({"metrics.json": "\ud800"}))), NO_ROW,
    ),
    "two texts of one file": (
        forged(m.raw_rows(lambda x: x.replace(b'{"metrics', b'{"metrics.json":"","metrics', 1))),
        NO_ROW,
    ),
    "a row that is none": (forged(m.raw_rows(lambda x: b"[]\n" + x)), NO_ROW),
    "an attempt with two rows": (
        forged(m.raw_rows(lambda x: x + x.splitlines(keepends=True)[0])), "attempt_1 has two rows",
    ),
    "an attempt with two rows in two members": (
        forged(m.raw_rows(lambda x: x, more=lambda x: x.splitlines(keepends=True)[0])),
        "attempt_1 has two rows",
    ),
    "an edited seed plan": (
        forged(replaced(f"{BELOW}/seed_plan.json", "[]", '["task-0"]')), "the plan is not that of the pilot",
    ),
}  # fmt: skip


def test_a_bundle_of_another_version_is_none_that_was_tampered_with(unsigned: bytes, verify: Verify) -> None:
    def earlier(document: dict[str, Any]) -> None:
        document["predicate"]["schema_version"] = "worldflux.parity.evidence.v2"
        del document["predicate"]["bundle"]["cleaned"]

    code, said = verify(statement_edited(earlier)(unsigned))
    assert code == 4, said
    assert "is worldflux.parity.evidence.v2, and worldflux.parity.evidence.v3 is read here; to mend:" in said
    assert "TAMPERED" not in said


@pytest.mark.parametrize("name", CONTENT)
def test_a_forged_bundle_contradicts_its_data(name: str, unsigned: bytes, verify: Verify) -> None:
    change, text = CONTENT[name]
    code, said = verify(change(unsigned))
    assert code == 2, said
    findings = [line for line in said.splitlines() if line.startswith("does not follow: ")]
    assert any(text in f for f in findings), said


@pytest.mark.parametrize("name", [*CONTENT, "nothing but hashes"])
def test_with_a_key_a_forged_bundle_is_tampered_with(
    name: str, signed: bytes, keys: Path, verify: Verify
) -> None:
    change = CONTENT[name][0] if name in CONTENT else forged(lambda members: None)
    code, said = verify(change(signed), keys / "own.pub")
    assert (code, "is not signed, and a key was given" in said) == (3, True), said


def test_what_was_made_anew_as_a_whole_is_told_by_the_key_alone(
    tmp_path: Path, keys: Path, verify: Verify
) -> None:
    """A run with invented scores, judged honestly: nothing in it contradicts anything."""
    data = make_run(tmp_path / "forger").build(sign_key=keys / "other.pem").path.read_bytes()
    code, said = verify(data)
    assert code == 5
    assert "signature: NOT CHECKED" in said
    assert "whether someone made the whole bundle anew cannot be told" in said
    code, said = verify(data, keys / "own.pub")
    assert (code, "is signed by another key" in said) == (3, True)


def envelope_edited(edit: Callable[[dict[str, Any]], object]) -> Change:
    def change(members: m.Members) -> None:
        found = json.loads(members[statement.SIGNED])
        edit(found)
        members[statement.SIGNED] = statement.encode(found)

    return edited(change)


def verdict_in_payload(envelope: dict[str, Any]) -> None:
    payload, keyid, signature = statement.open_envelope(statement.encode(envelope))
    document = json.loads(payload)
    document["predicate"]["verdict_reason"] = "because"
    envelope.update(statement.make_envelope(statement.encode(document), keyid, signature))


SIGNATURES: dict[str, tuple[Change, str]] = {
    "another payload": (envelope_edited(verdict_in_payload), "the signature does not hold"),
    "another signature": (
        envelope_edited(lambda e: e["signatures"][0].update(sig="A" * 86 + "==")), "signature does not hold",
    ),
    "a short signature": (
        envelope_edited(lambda e: e["signatures"][0].update(sig="AAAA")), "the signature does not hold",
    ),
    "another key id": (
        envelope_edited(lambda e: e["signatures"][0].update(keyid="0" * 64)), "is signed by another key",
    ),
    "no signature": (envelope_edited(lambda e: e.update(signatures=[])), "signatures: "),
    "a second signature": (
        envelope_edited(lambda e: e["signatures"].append(e["signatures"][0])), "signatures has 2 entries",
    ),
    "another type": (
        envelope_edited(lambda e: e.update(payloadType="text/plain")), "payloadType is 'text/plain'",
    ),
    "a payload in another form": (
        envelope_edited(lambda e: e.update(payload=e["payload"] + "\n")), "its payload is not base64",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SIGNATURES)
def test_a_manipulated_signature_is_refused(name: str, signed: bytes, keys: Path, verify: Verify) -> None:
    change, text = SIGNATURES[name]
    code, said = verify(change(signed), keys / "own.pub")
    assert (code, text in said) == (3, True), said


def test_a_signature_by_another_key_under_the_name_of_ours(signed: bytes, keys: Path, verify: Verify) -> None:
    own, other = read_sign_key(keys / "own.pem"), read_sign_key(keys / "other.pem")
    data = m.forged_bundle(m.members_of(signed), key=type(other)(other.key, own.keyid, ""))
    code, said = verify(data, keys / "own.pub")
    assert (code, "the signature does not hold" in said) == (3, True), said


def test_every_manipulation_has_a_message_of_its_own() -> None:
    assert len(ARCHIVE) + len(CONTENT) + len(SIGNATURES) >= 80
    texts = [text for _, _, text in ARCHIVE.values()] + [text for _, text in CONTENT.values()]
    assert len(set(texts)) > 60


def detected(data: bytes, tmp_path: Path) -> bool:
    path = m.saved(tmp_path / "flipped.zip", data)
    try:
        open_bundle(path, tmp_path / f"into-{len(list(tmp_path.iterdir()))}", key=None)
    except (TamperedError, EvidenceError):
        return True
    return False


PROPERTY = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@PROPERTY
@given(place=st.floats(0, 1, exclude_max=True), mask=st.integers(1, 255), end=st.booleans())
def test_any_flipped_byte_is_detected(
    place: float,
    mask: int,
    end: bool,
    signed: bytes,
    unsigned: bytes,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Without a key, and also in the directory and the statement, which hold no results."""
    data = bytearray(signed if mask % 2 else unsigned)
    # Half of the time among the last 12 kB: the statement and the directory.
    at = len(data) - 1 - int(place * 12_000) if end else int(place * len(data))
    data[at] ^= mask
    assert detected(bytes(data), tmp_path_factory.mktemp("flip")), at


def test_any_flipped_bit_of_the_last_entry_and_the_end_is_detected(
    unsigned: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Readers of zips pass over what does not matter to them, which is most of these bytes."""
    folder = tmp_path_factory.mktemp("bits")
    for at in range(len(unsigned) - 82, len(unsigned)):
        for bit in range(8):
            data = bytearray(unsigned)
            data[at] ^= 1 << bit
            assert detected(bytes(data), folder), (len(unsigned) - at, bit)


@settings(PROPERTY, max_examples=40)
@given(start=st.floats(0, 1), length=st.integers(1, 2000), filling=st.binary(max_size=30))
def test_any_piece_cut_out_or_put_in_is_detected(
    start: float, length: int, filling: bytes, unsigned: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    at = int(start * len(unsigned))
    data = unsigned[:at] + filling + unsigned[at + length :]
    if data != unsigned:
        assert detected(data, tmp_path_factory.mktemp("cut")), at


def test_nothing_is_ever_written_outside_of_the_folder(unsigned: bytes, tmp_path: Path) -> None:
    into = tmp_path / "in" / "to"
    for name in ("a folder above", "an absolute path", "a symbolic link", "an extra member"):
        path = m.saved(tmp_path / "bundle.zip", ARCHIVE[name][0](unsigned))
        with pytest.raises(TamperedError):
            open_bundle(path, into, key=None)
    outside = [p for p in tmp_path.rglob("*") if p.is_file() and not p.is_relative_to(into)]
    assert outside == [tmp_path / "bundle.zip"]


def test_the_example_passes_and_fails_for_its_scores(
    example: Example, tmp_path: Path, verify: Verify
) -> None:
    """Of the tests themselves: what they manipulate is a bundle that holds."""
    code, said = verify(example.build("plain.zip").path.read_bytes())
    assert (code, "result: PASS" in said) == (5, True), said
    worse = make_run(tmp_path / "worse", worldflux=0.8).build().path.read_bytes()
    code, said = verify(worse)
    assert (code, "result: NOT A PASS: fail" in said) == (1, True), said
