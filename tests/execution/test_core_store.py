"""The store: appended lines survive everything, and a file that is not ours is no store."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_worldflux_parity import wire
from pytest_worldflux_parity.errors import StoreError
from pytest_worldflux_parity.execution import store


def line(request_id: str = "1", attempt: int = 1, status: str = "success", **more: Any) -> dict[str, Any]:
    base = {"request_id": request_id, "task_id": "t", "seed": 0, "system": "official"}
    return {**base, "status": status, "attempt": attempt, **more}


@pytest.fixture
def suite(tmp_path: Path) -> store.SuiteStore:
    return store.SuiteStore(tmp_path, "s")


def test_lines_come_back_in_order_and_the_first_success_counts(suite: store.SuiteStore) -> None:
    assert suite.read() == store.Stored(())
    lines = [line(status="failed"), line(attempt=2, n=1), line(attempt=3, n=2), line("2", seed=1)]
    lines = [suite.append(one) for one in lines]
    stored = suite.read()
    assert stored.lines == tuple(lines)
    assert stored.torn == 0
    assert {k: v["attempt"] for k, v in stored.successes.items()} == {"1": 2, "2": 1}
    assert [x["attempt"] for x in stored.attempts("t", 0, "official")] == [1, 2, 3]
    assert stored.attempts("t", 0, "worldflux") == []


@settings(max_examples=60, deadline=None)
@given(cut=st.integers(0, 400), other=st.binary(max_size=40))
def test_a_torn_end_loses_only_itself(
    tmp_path_factory: pytest.TempPathFactory, cut: int, other: bytes
) -> None:
    """However a crash cut the file, whole lines are read and the next line starts afresh."""
    suite = store.SuiteStore(tmp_path_factory.mktemp("torn"), "s")
    for n in range(3):
        suite.append(line(str(n), text="x" * 20))
    raw = suite.path.read_bytes()
    kept = raw[: min(cut, len(raw))]
    suite.path.write_bytes(kept + (b"" if kept == raw else other.replace(b"\n", b"")))
    whole = kept.count(b"\n")
    before = suite.read()
    assert [x["request_id"] for x in before.lines][:whole] == [str(n) for n in range(whole)]
    added = suite.append(line("after"))
    after = suite.read()
    assert after.lines == (*before.lines, added)
    assert after.torn == before.torn


@pytest.mark.parametrize("text", ["[1]", "{}", '{"request_id": "1"}', "NaN", "\x00", "[" * 5000])
def test_a_line_that_is_none_of_ours_is_passed_over_and_counted(suite: store.SuiteStore, text: str) -> None:
    added = suite.append(line())
    with suite.path.open("a", encoding="utf-8") as handle:
        handle.write(text + "\n")
    stored = suite.read()
    assert (stored.lines, stored.torn, stored.unreadable) == ((added,), 1, ())
    # What is JSON was written whole, and by nobody who chains.
    assert stored.chain.broken == (2 if text.startswith("{") else 0)


def test_a_full_disk_leaves_the_file_as_it_was(
    suite: store.SuiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite.append(line())
    before = suite.path.read_bytes()

    def full(descriptor: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(StoreError) as caught:
            suite.append(line("2"))
    assert suite.path.read_bytes() == before
    assert caught.value.what == "the disk is full"
    assert "--parity-resume" in caught.value.hint


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
def test_too_many_open_files_are_no_matter_of_the_folder(tmp_path: Path, number: int) -> None:
    with pytest.raises(StoreError) as caught, store.translated(tmp_path):
        raise OSError(number, os.strerror(number))
    assert caught.value.what == "too many open files"
    assert caught.value.hint == "raise the limit (ulimit -n), then go on with --parity-resume"


def test_a_write_cut_short_is_taken_back(suite: store.SuiteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last block of a disk takes a part of a line: the part is removed."""
    suite.append(line())
    before = suite.path.read_bytes()
    write = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda fd, data: write(fd, data[: len(data) // 2]))
        with pytest.raises(StoreError, match="the disk is full"):
            suite.append(line("2"))
    assert suite.path.read_bytes() == before


def test_nothing_that_json_does_not_know_is_stored(suite: store.SuiteStore) -> None:
    with pytest.raises(wire.WireError):
        suite.append(line(value=float("nan")))
    assert not suite.read().lines


def _append_many(folder: str, name: str) -> None:
    suite = store.SuiteStore(Path(folder), "s")
    for n in range(40):
        suite.append(line(f"{name}{n}", text=name * 3000))


def test_processes_append_at_once(suite: store.SuiteStore) -> None:
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_append_many, args=(str(suite.folder.parent), n)) for n in "abc"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    stored = suite.read()
    assert stored.torn == 0
    assert len(stored.lines) == 120
    assert all(set(x["text"]) == {x["request_id"][0]} for x in stored.lines)


def test_attempts_get_folders_of_their_own(suite: store.SuiteStore) -> None:
    assert suite.new_attempt("t", 0, "official")[0] == 1
    number, folder = suite.new_attempt("t", 0, "official")
    assert number == 2
    assert folder == suite.attempt_folder("t", 0, "official", 2)
    assert list(folder.iterdir()) == []


@given(st.text())
def test_a_name_as_a_component_of_a_path_is_read_back(name: str) -> None:
    component = store.safe_name(name)
    assert re.fullmatch(r"[A-Za-z0-9_=+@-][A-Za-z0-9_.=+@-]*", component)
    if name not in ("", ".", "..") and not {"/", "\0"} & {*name}:
        assert store.named_by(component) == name


def test_components_that_lead_elsewhere_stand_for_no_name() -> None:
    assert store.safe_name("ALE/Pong-v5") == "ALE=2FPong-v5"
    assert store.safe_name("walker-walk_1.0") == "walker-walk_1.0"
    assert store.safe_name("café") == "caf=C3=A9"
    for component in ("=2E.", "=2E", "a=2Fb", "a=00", "=41", "=c3=a9", "a=", "=", ""):
        with pytest.raises(ValueError, match="stands for no name"):
            store.named_by(component)


def test_a_run_is_held_by_one_session(tmp_path: Path) -> None:
    run = tmp_path / "r"
    with (
        store.run_lock(run),
        pytest.raises(StoreError, match="another pytest is using this"),
        store.run_lock(run),
    ):
        pass
    with store.run_lock(run):
        pass


def test_the_latest_run_of_a_track(tmp_path: Path) -> None:
    assert store.latest_run(tmp_path, "quick") is None
    for age, (name, text) in enumerate(
        {
            "new": '{"track": "quick"}',
            "old": '{"track": "quick"}',
            "proof": '{"track": "proof"}',
            "torn": "{",
        }.items()
    ):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "run.json").write_text(text, encoding="utf-8")
        os.utime(folder / "run.json", (100 - age, 100 - age))
    assert store.latest_run(tmp_path, "quick") == "new"


def test_a_document_that_breaks_its_schema_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    document = {"schema_version": "worldflux.parity.aggregate.v1", "surplus": 1}
    with pytest.raises(StoreError, match="unknown key 'surplus'"):
        store.write_document(path, document, "aggregate.v1")
    assert not path.exists()
    session = {
        "schema_version": "worldflux.parity.session.v1", "run_id": "r", "generated_at_utc": "t",
        "track": "quick", "device": "cpu", "arguments": [], "seeds_override": None, "suites": {},
    }  # fmt: skip
    store.write_document(path, session, "session.v1")
    assert json.loads(path.read_text(encoding="utf-8")) == session
