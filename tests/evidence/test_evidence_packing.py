"""What attempts left, packed by another process: the same bundle as without it, whatever becomes of it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from evidence_examples import RUN_ID, SUITE_ID, Example, make_run
from fake_proofs import Proof
from manipulations import members_of

from pytest_worldflux_parity.cli.main import main
from pytest_worldflux_parity.errors import EvidenceError
from pytest_worldflux_parity.evidence import (
    Ahead,
    ahead,
    array_members,
    attempts,
    build,
    bundle_cleaner,
    container,
    packing,
)
from pytest_worldflux_parity.evidence.container import MAX_RATIO, squeeze
from pytest_worldflux_parity.session import conclude_proof


@pytest.fixture
def own(tmp_path: Path) -> Example:
    return make_run(tmp_path / "me")


def built(example: Example, packed: Ahead | None, environ: dict[str, str] | None = None) -> bytes:
    info = build(
        example.run_dir / SUITE_ID / "evidence_bundle.zip",
        run_dir=example.run_dir,
        suite_id=SUITE_ID,
        inputs=example.inputs,
        predicate={"run_id": RUN_ID, "device": "cpu"},
        root=example.root,
        environ=environ or example.environ,
        sign_key=None,
        ahead=packed,
    )
    return info.path.read_bytes()


@pytest.fixture
def packed(own: Example) -> Iterator[Ahead]:
    clean = bundle_cleaner(own.run_dir, SUITE_ID, own.inputs, own.root, own.environ)
    arrays = array_members(own.run_dir, SUITE_ID, own.inputs)
    with ahead(own.run_dir, SUITE_ID, clean, arrays) as started:
        assert started is not None
        yield started


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Of each time that this process packs: the suite."""
    packs, original = list[str](), packing.packed

    def counted(run_dir: Path, suite_id: str, clean: Any) -> Iterator[packing.Item]:
        packs.append(suite_id)
        return original(run_dir, suite_id, clean)

    monkeypatch.setattr(packing, "packed", counted)
    return packs


@pytest.fixture
def squeezed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the members that this process compresses beside attempts and log."""
    names, original = list[str](), container.squeeze

    def counted(content: container.Content, name: str) -> container.Squeezed:
        names.append(name)
        return original(content, name)

    monkeypatch.setattr(container, "squeeze", counted)
    return names


def test_another_process_gives_the_same_bytes(
    own: Example, packed: Ahead, here: list[str], squeezed: list[str]
) -> None:
    found = built(own, packed)
    assert here == []
    assert [name for name in squeezed if name.endswith(".npz")] == []
    assert found == built(own, None)
    assert here == [SUITE_ID]
    assert {name for name in members_of(found) if name.endswith(".npz")} <= set(squeezed)


def test_arrays_that_changed_meanwhile_go_in_as_they_are(
    own: Example, packed: Ahead, squeezed: list[str]
) -> None:
    packed._process.wait()
    arrays = array_members(own.run_dir, SUITE_ID, own.inputs)
    arrays[0].write_bytes(b"other arrays")
    found = members_of(built(own, packed))
    assert found["inputs/golden/fake/arrays.npz"] == b"other arrays"
    assert "inputs/golden/fake/arrays.npz" in squeezed


def test_arrays_that_cannot_be_read_ahead_are_left_to_the_bundle(own: Example, here: list[str]) -> None:
    clean = bundle_cleaner(own.run_dir, SUITE_ID, own.inputs, own.root, own.environ)
    with ahead(own.run_dir, SUITE_ID, clean, [own.root / "gone.npz", own.root]) as started:
        found = built(own, started)
    assert here == []
    assert found == built(own, None)


def test_which_arrays_are_packed_ahead_is_which_go_in(own: Example) -> None:
    given = own.run_dir / SUITE_ID / "component_match" / "attempt_1" / "golden" / "arrays.npz"
    given.parent.mkdir(parents=True, exist_ok=True)
    given.write_bytes(b"what the match program was given")
    arrays = [path.read_bytes() for path in array_members(own.run_dir, SUITE_ID, own.inputs)]
    members = members_of(built(own, None))
    assert sorted(arrays) == sorted(data for name, data in members.items() if name.endswith(".npz"))


def test_a_process_that_was_killed_is_not_missed(own: Example, packed: Ahead, here: list[str]) -> None:
    packed.end()
    assert built(own, packed) == built(own, None)
    assert len(here) == 2


def test_what_was_packed_without_knowing_a_secret_is_not_used(own: Example, here: list[str]) -> None:
    log = next(own.run_dir.glob("*/executions/*/*/*/*/metrics.json")).with_name("stdout.log")
    log.write_text("logged in with hunter2-and-more\n", encoding="utf-8")
    clean = bundle_cleaner(own.run_dir, SUITE_ID, own.inputs, own.root, own.environ)
    with ahead(own.run_dir, SUITE_ID, clean) as started:
        found = members_of(built(own, started, {**own.environ, "MY_TOKEN": "hunter2-and-more"}))
    assert here == [SUITE_ID]
    assert "logged in with <redacted:MY_TOKEN>" in str(found)
    assert "hunter2" not in str(found)


def test_its_errors_are_those_of_this_process(own: Example, here: list[str]) -> None:
    log = next(own.run_dir.glob("*/executions/*/*/*/*/metrics.json")).with_name("stdout.log")
    log.unlink(missing_ok=True)
    os.mkfifo(log)
    clean = bundle_cleaner(own.run_dir, SUITE_ID, own.inputs, own.root, own.environ)
    said = []
    with ahead(own.run_dir, SUITE_ID, clean) as started:
        for packed in (started, None):
            with pytest.raises(EvidenceError) as caught:
                built(own, packed)
            said.append(caught.value.line())
    assert said[0] == said[1]
    assert "is no regular file" in said[0]
    assert here == [SUITE_ID]
    assert not (own.run_dir / SUITE_ID / "evidence_bundle.zip").exists()


@pytest.mark.parametrize("interpreter", ["/no/python", None, ""])
def test_where_no_process_can_be_started_there_is_none(
    interpreter: str | None, own: Example, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", interpreter)
    clean = bundle_cleaner(own.run_dir, SUITE_ID, own.inputs, own.root, own.environ)
    with ahead(own.run_dir, SUITE_ID, clean) as started:
        assert started is None


def test_without_a_folder_for_temporary_files_there_is_none(
    own: Example, monkeypatch: pytest.MonkeyPatch
) -> None:
    clean = bundle_cleaner(own.run_dir, SUITE_ID, own.inputs, own.root, own.environ)
    monkeypatch.setattr(tempfile, "tempdir", str(own.root / "gone"))
    with ahead(own.run_dir, SUITE_ID, clean) as started:
        assert started is None


@pytest.mark.parametrize(
    "program",
    ["exit 0", "exit 3", "echo welcome", "kill -9 $$", "sleep 60", "kill -STOP $$"],
    ids=["silent", "failed", "talking", "killed", "hanging", "stopped"],
)
def test_an_interpreter_that_packs_nothing_is_not_missed(
    program: str, own: Example, here: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "python"
    other.write_text(f"#!/bin/sh\n{program}\n", encoding="utf-8")
    other.chmod(0o755)
    monkeypatch.setattr(packing, "STALL_SEC", 0.2)
    monkeypatch.setattr(sys, "executable", str(other))
    clean = bundle_cleaner(own.run_dir, SUITE_ID, own.inputs, own.root, own.environ)
    with ahead(own.run_dir, SUITE_ID, clean) as started:
        found = built(own, started)
    assert here == [SUITE_ID]
    assert found == built(own, None)


def test_what_stands_oddly_where_modules_are_found_does_no_harm(
    own: Example, here: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pickle.py").write_text("raise SystemExit(0)", encoding="utf-8")
    (tmp_path / "sitecustomize.py").write_text("print('welcome')", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    odd: list[Any] = [*sys.path, "", None, 3, b"bytes", "nul\0", "half\ud800"]
    monkeypatch.setattr(sys, "path", odd)
    clean = bundle_cleaner(own.run_dir, SUITE_ID, own.inputs, own.root, own.environ)
    with ahead(own.run_dir, SUITE_ID, clean) as started:
        found = built(own, started)
    assert here == []
    assert found == built(own, None)


def test_a_log_that_grew_meanwhile_is_packed_again(own: Example, packed: Ahead, here: list[str]) -> None:
    packed._process.wait()
    log = own.run_dir / SUITE_ID / "parity_runs.jsonl"
    log.write_bytes(log.read_bytes() + b"no JSON\n")
    found = members_of(built(own, packed))
    assert here == [SUITE_ID]
    assert found[f"run/{SUITE_ID}/parity_runs.jsonl"].endswith(b"no JSON\n")


def test_it_ends_with_the_process_that_asked(own: Example) -> None:
    program = f"""
import os, pathlib, signal, sys
sys.path[:0] = {sys.path!r}
from pytest_worldflux_parity.evidence import ahead
from pytest_worldflux_parity.evidence.cleaning import Cleaner
with ahead(pathlib.Path({str(own.run_dir)!r}), {SUITE_ID!r}, Cleaner({{}}, {{}}, ())) as started:
    os.kill(started._process.pid, signal.SIGSTOP)
    print(started._process.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    left = int(done.stdout)
    os.kill(left, signal.SIGCONT)
    end = time.monotonic() + 20
    while Path(f"/proc/{left}").exists() and "Z" not in state(left):
        assert time.monotonic() < end, "it still runs"
        time.sleep(0.05)


def state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def test_a_log_that_says_the_same_again_and_again_is_packed_small() -> None:
    """And unpacks to no more than a bundle may."""
    text = b"a" * (8 << 20)
    found = squeeze(lambda: iter((text, text)), "parity_runs.jsonl")
    assert found.size == 16 << 20
    assert found.size / MAX_RATIO < found.length < found.size / 7
    unpacked = zlib.decompressobj(-15).decompress(b"".join(found.pieces))
    assert unpacked == text + text


def test_a_long_run_is_packed_while_it_is_judged(
    tmp_path: Path, here: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    proof = Proof(tmp_path / "project")
    assert proof.run().returncode == 0
    monkeypatch.setattr(conclude_proof, "LONG_LOG", 1)
    monkeypatch.chdir(proof.root)
    shutil.move(proof.bundle, tmp_path / "before.zip")
    runs = proof.folder / "parity_runs.jsonl"
    assert main(["proof-report", str(proof.suite), "--runs", str(runs)]) == 0, capsys.readouterr().out
    assert here == []
    assert main(["verify", str(proof.bundle)]) == 5, capsys.readouterr().out
    attempts = [n for n in members_of(proof.bundle.read_bytes()) if "/executions/" in n]
    assert attempts == [n for n in members_of((tmp_path / "before.zip").read_bytes()) if "/executions/" in n]


@pytest.mark.parametrize(
    "text", ["plain", "caf\u00e9 \u2028", "bytes that are none \udcff", 'a "quote"\n\\ and \x00']
)
def test_a_row_holds_any_text(text: str) -> None:
    files = {"metrics.json": text, "stdout.tail.log": text}
    row = attempts.row("seed_0/official/attempt_1", files)
    assert row.count(b"\n") == 1
    assert attempts.parsed(row, "here") == ("seed_0/official/attempt_1", files)
