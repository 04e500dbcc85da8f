"""The lines of a log carry the hash of what stands before them: no line is changed, taken away or put in."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_worldflux_parity.errors import StoreError
from pytest_worldflux_parity.execution.chain import EMPTY, HASH_BEFORE
from pytest_worldflux_parity.execution.sessions import SESSIONS
from pytest_worldflux_parity.execution.store import Stored, SuiteStore
from pytest_worldflux_parity.judgement.run_log import SEALED, attempts_of, run_log, sealed_log
from pytest_worldflux_parity.session.earlier import earlier_logs

CHECKOUT = Path(__file__).resolve().parents[2]


def line(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "request_id": f"{number:064x}", "task_id": "t", "seed": number, "system": "official",
        "status": "success", "attempt": 1, **changes,
    }  # fmt: skip


def written(folder: Path, lines: int, sessions: bool = True) -> SuiteStore:
    """A log as one session writes it."""
    store = SuiteStore(folder, "s")
    if sessions:
        store.note_session("started", "r", ["--parity=quick"])
    for number in range(lines):
        store.append(line(number))
    if sessions:
        store.note_session("ended", "r", ["--parity=quick"])
    return store


def problems(store: SuiteStore) -> tuple[str, ...]:
    return run_log(store.read()).problems


def rewrite(path: Path, edit: Callable[[list[bytes]], list[bytes]]) -> None:
    path.write_bytes(b"".join(edit(path.read_bytes().splitlines(keepends=True))))


@pytest.fixture
def store(tmp_path: Path) -> SuiteStore:
    return written(tmp_path, 5)


def test_each_line_carries_the_hash_of_all_bytes_before_it(store: SuiteStore) -> None:
    data = store.path.read_bytes()
    at = 0
    for text in data.splitlines(keepends=True):
        assert json.loads(text)[HASH_BEFORE] == hashlib.sha256(data[:at]).hexdigest()
        at += len(text)
    stored = store.read()
    assert stored.chain.head == hashlib.sha256(data).hexdigest()
    assert (stored.chain.broken, stored.chain.unchained, run_log(stored).sessions) == (0, 0, 1)
    assert problems(store) == ()


def test_a_torn_line_is_bytes_too(store: SuiteStore) -> None:
    """The session that goes on sees a log that was cut off, and the next line begins afresh."""
    whole = store.path.read_bytes()
    store.path.write_bytes(whole + b'{"request_id": "ab')
    store.note_session("resumed", "r", [])
    store.append(line(9))
    stored = store.read()
    assert (stored.torn, len(stored.lines), problems(store)) == (1, 6, ())
    store.path.write_bytes(whole + store.path.read_bytes().splitlines(keepends=True)[-1])
    assert "line 6 of parity_runs.jsonl does not follow" in problems(store)[0], "the torn line was taken away"


EDITS: dict[str, tuple[Callable[[list[bytes]], list[bytes]], str]] = {
    "the first is taken away": (lambda x: x[1:], "line 1 of"),
    "one is taken away": (lambda x: x[:2] + x[3:], "line 3 of"),
    "one is changed": (lambda x: [x[0], x[1].replace(b'"seed":1', b'"seed":7'), *x[2:]], "line 3 of"),
    "two change places": (lambda x: [x[1], x[0], *x[2:]], "line 1 of"),
    "one is put in": (lambda x: [x[0], x[0], *x[1:]], "line 2 of"),
    "one without a hash is put in": (
        lambda x: [x[0], json.dumps(line(8)).encode() + b"\n", *x[1:]], "line 2 of",
    ),
    "a blank one is put in": (lambda x: [x[0], b"\n", *x[1:]], "line 3 of"),
    "the last is taken away": (lambda x: x[:-1], "a session ended with a log that"),
    "the last is changed": (lambda x: [*x[:-1], x[-1].replace(b'"seed":4', b'"seed":7')], "a session ended"),
    "all are taken away": (lambda x: [], "a session ended with a log that"),
}  # fmt: skip


@pytest.mark.parametrize("edit", EDITS)
def test_an_edited_log_is_found(store: SuiteStore, edit: str) -> None:
    change, words = EDITS[edit]
    rewrite(store.path, change)
    assert words in " ".join(problems(store))


@given(st.integers(2, 8), st.data())
@settings(max_examples=40, deadline=None)
def test_any_line_that_is_cut_out_or_moved_is_found(count: int, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = written(Path(folder), count)
        lines = store.path.read_bytes().splitlines(keepends=True)
        kept = data.draw(st.lists(st.sampled_from(range(count)), unique=True, max_size=count))
        store.path.write_bytes(b"".join(lines[i] for i in kept))
        assert bool(problems(store)) == (kept != list(range(count)))


@given(st.integers(1, 5), st.data())
@settings(max_examples=60, deadline=None)
def test_any_byte_that_is_changed_is_found(count: int, data: st.DataObject) -> None:
    """Of either file; of the sessions' last line, what was judged says it."""
    with tempfile.TemporaryDirectory() as folder:
        store = written(Path(folder), count)
        before = run_log(store.read())
        path = data.draw(st.sampled_from([store.path, store.folder / SESSIONS]))
        text = bytearray(path.read_bytes())
        at = data.draw(st.integers(0, len(text) - 1))
        text[at] ^= data.draw(st.integers(1, 255))
        path.write_bytes(bytes(text))
        assert run_log(store.read(), before).problems


def test_sessions_are_chained_as_lines_are(store: SuiteStore) -> None:
    path = store.folder / SESSIONS
    store.note_session("resumed", "r", ["--parity-resume"])
    before = path.read_bytes()
    for edit, words in {
        "gone": (lambda x: x[1:], "line 1 of sessions.jsonl does not follow"),
        "another command": (
            lambda x: [x[0].replace(b"quick", b"proof"), *x[1:]], "line 2 of sessions.jsonl does not follow",
        ),
        "another word": (
            lambda x: [*x[:-1], x[-1].replace(b"resumed", b"began")], "line 3 of sessions.jsonl is none",
        ),
        "all gone": (lambda x: [], "sessions.jsonl is gone"),
    }.values():  # fmt: skip
        rewrite(path, edit)
        assert words in " ".join(problems(store))
        path.write_bytes(before)
    assert problems(store) == ()
    path.unlink()
    assert "sessions.jsonl is gone" in problems(store)[0]


def test_a_log_of_an_earlier_version_is_unchained_and_whole(tmp_path: Path) -> None:
    """And goes on chained; of a run that was begun by this version, a line without a hash is none of it."""
    store = SuiteStore(tmp_path, "s")
    store.folder.mkdir()
    store.path.write_text("".join(json.dumps(line(n)) + "\n" for n in range(3)), encoding="utf-8")
    assert (run_log(store.read()).unchained, problems(store)) == (3, ())
    store.note_session("resumed", "r", [])
    store.append(line(3))
    store.note_session("ended", "r", [])
    found = run_log(store.read())
    assert (found.unchained, found.problems, found.sessions) == (3, (), 1)
    assert [f.code for f in found.findings(claim=True)] == ["log_unchained"]
    assert list(found.findings(claim=False)) == []
    rewrite(store.path, lambda x: [x[0], *x[2:]])
    assert [f.code for f in run_log(store.read()).findings(claim=False)] == ["log_broken"] * 2


def test_hashes_that_were_taken_off_are_missed(store: SuiteStore) -> None:
    def bare(texts: list[bytes]) -> list[bytes]:
        lines = [{k: v for k, v in json.loads(text).items() if k != HASH_BEFORE} for text in texts]
        return [json.dumps(x).encode() + b"\n" for x in lines]

    rewrite(store.path, bare)
    assert "5 lines of parity_runs.jsonl carry no hash, and its sessions wrote one" in problems(store)


def test_what_was_judged_is_where_a_log_goes_on_from(store: SuiteStore) -> None:
    before = run_log(store.read())
    store.append(line(7))
    assert run_log(store.read(), before).problems == ()
    rewrite(store.path, lambda x: x[:4])
    (store.folder / SESSIONS).unlink()
    again = run_log(store.read(), before).problems
    for name in ("parity_runs.jsonl", SESSIONS):
        assert f"{name} does not begin with what was sealed or judged: lines are gone or changed" in again


def test_what_was_wrong_stays_so(store: SuiteStore) -> None:
    """Else whoever cut a log would have the run judged twice: what was judged last would be that log."""
    whole = run_log(store.read())
    rewrite(store.path, lambda x: x[:4])
    rewrite(store.folder / SESSIONS, lambda x: x[:1])
    assert problems(store) == (), "nothing follows what is gone"
    first = run_log(store.read(), whole)
    assert len(first.problems) == 2
    assert run_log(store.read(), first).problems == first.problems


def test_sessions_that_are_made_anew_are_not_those_that_were_sealed(tmp_path: Path) -> None:
    store = SuiteStore(tmp_path, "s")
    sealed = sealed_log({SEALED: store.note_session("started", "r", [])})
    store.append(line(1))
    assert run_log(store.read(), sealed).problems == ()
    store.note_session("ended", "r", [])
    (store.folder / SESSIONS).unlink()
    store.note_session("resumed", "r", [])
    assert "does not say which session began" in run_log(store.read()).problems[0]
    store.path.unlink()
    assert problems(store) != ()
    (store.folder / SESSIONS).unlink()
    store.note_session("resumed", "r", [])
    assert problems(store) == (), "as of a run that was killed before its first attempt"
    assert run_log(store.read(), sealed).problems[0].startswith("sessions.jsonl does not begin with what was")


def test_sessions_without_an_end_are_counted(store: SuiteStore) -> None:
    assert (run_log(store.read()).sessions, run_log(store.read()).unended) == (1, 0)
    for event in ("resumed", "resumed", "ended", "resumed"):
        store.note_session(event, "r", [])
    found = run_log(store.read())
    assert (found.sessions, found.unended, found.problems) == (4, 2, ())


def test_a_line_of_sessions_that_was_torn_is_passed_over(store: SuiteStore) -> None:
    """The power went when it was written: the session before has judged nothing of it."""
    path = store.folder / SESSIONS
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole.splitlines(keepends=True)[0]) + 60])
    store.note_session("resumed", "r", [])
    store.note_session("ended", "r", [])
    found = run_log(store.read())
    assert (found.problems, found.torn_sessions, found.unended) == ((), 1, 1)
    assert list(found.warnings) == ["1 torn lines of sessions.jsonl were passed over"]
    assert list(found.findings(claim=True)) == []
    for other in (b'{"event": "ended"}\n', b"[]\n", b'{"a": 1, "a": 1}\n'):
        path.write_bytes(whole + other)
        assert "line 3 of sessions.jsonl is none" in " ".join(problems(store))


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
@pytest.mark.parametrize("name", ["parity_runs.jsonl", SESSIONS])
def test_what_is_no_file_is_neither_read_nor_written(store: SuiteStore, kind: str, name: str) -> None:
    """A link would have others read or write what it leads to, a pipe would keep whoever opens it waiting."""
    path, other = store.folder / name, store.folder.parent / "private.txt"
    other.write_text("private\n", encoding="utf-8")
    path.unlink()
    make: Callable[[], object] = {
        "link": lambda: path.symlink_to(other), "pipe": lambda: os.mkfifo(path), "folder": path.mkdir,
    }[kind]  # fmt: skip
    make()
    words = {"link": "is a link", "pipe": "is no regular file", "folder": "is no regular file|Is a directory"}
    with pytest.raises(StoreError, match=words[kind]):
        store.read()
    with pytest.raises(StoreError, match=words[kind]):
        store.note_session("ended", "r", [])
    if name != SESSIONS:
        with pytest.raises(StoreError, match=words[kind]):
            store.append(line(6))
    assert other.read_text(encoding="utf-8") == "private\n"


def test_an_empty_log_has_the_hash_of_nothing(tmp_path: Path) -> None:
    assert run_log(Stored(())).head == EMPTY == hashlib.sha256(b"").hexdigest()
    assert problems(SuiteStore(tmp_path, "s")) == ()


APPENDS = """
import sys
from pathlib import Path
from tests.execution.test_log_chain import SuiteStore, line
for number in range(25):
    SuiteStore(Path(sys.argv[1]), "s").append(line(int(sys.argv[2]) * 25 + number))
"""


def test_processes_that_write_at_a_time_make_one_chain(tmp_path: Path) -> None:
    command = [sys.executable, "-c", APPENDS, str(tmp_path)]
    workers = [subprocess.Popen([*command, str(n)], cwd=CHECKOUT) for n in range(4)]
    assert [worker.wait(120) for worker in workers] == [0] * 4
    stored = SuiteStore(tmp_path, "s").read()
    assert (len(stored.lines), stored.chain.broken, stored.torn) == (100, 0, 0)


def test_how_the_attempts_of_a_side_ended() -> None:
    walled = {"by": "bubblewrap"}
    bad = {"status": "failed"}
    found = attempts_of(
        [
            line(1), line(1, attempt=2), line(2),
            line(3, **bad, error_kind="failed"), line(3, **bad, error_kind="out_of_memory"),
            line(4, **bad, error_kind="killed"),
            line(5, **bad, error_kind="lost", isolation=walled), line(5, **bad, error_kind="lost"),
            line(7, **bad, error_kind="disk_full"),
            line(6, **bad, error_kind="node_lost"), line(6, **bad, error_kind="preempted"),
        ]
    )  # fmt: skip
    counts = {"ok": 2, "failed": 2, "killed": 1, "lost": 4, "repeated": 1, "excused": 3, "disk_full": 1}
    assert found.to_dict() == counts
    assert (found.total, found.counted) == (11, 5)
    words = "2 ok, 2 failed, 1 killed, 4 lost (3 of them by no doing of the program), 1 repeated, 1 disk full"
    assert found.line() == words


@pytest.mark.parametrize(
    "changes",
    [{"head": ["x"]}, {"head": {}}, {"problems": [["x"]]}, {"sessions": "1"}, {"unended": True}, {"more": 1}],
    ids=str,
)
def test_what_a_document_says_of_its_log_is_taken_as_it_was_written(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    """What somebody wrote in its place ends nothing: the log is read for itself."""
    known = run_log(written(tmp_path, 2).read())
    folder = tmp_path / "known"
    folder.mkdir()
    document = folder / "run.json"
    document.write_text(json.dumps({"log": known.to_dict()}), encoding="utf-8")
    assert list(earlier_logs(folder)) == [known]
    document.write_text(json.dumps({"log": {**known.to_dict(), **changes}}), encoding="utf-8")
    assert list(earlier_logs(folder)) == []
