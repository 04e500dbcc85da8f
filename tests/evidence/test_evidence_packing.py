"""What attempts left, packed by another process: the same bundle as without it, whatever becomes of it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from evidence_examples import RUN_ID, SUITE_ID, Example, make_run
from fake_proofs import Proof
from manipulations import members_of

from pytest_worldflux_parity import conclude_proof
from pytest_worldflux_parity.cli import main
from pytest_worldflux_parity.errors import EvidenceError
from pytest_worldflux_parity.evidence import Ahead, ahead, build, bundle_cleaner, packing


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
    with ahead(own.run_dir, SUITE_ID, clean) as started:
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


def test_another_process_gives_the_same_bytes(own: Example, packed: Ahead, here: list[str]) -> None:
    found = built(own, packed)
    assert here == []
    assert found == built(own, None)
    assert here == [SUITE_ID]


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


def test_where_no_process_can_be_started_there_is_none(own: Example, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing.sys, "executable", str(own.root / "no-python"))
    clean = bundle_cleaner(own.run_dir, SUITE_ID, own.inputs, own.root, own.environ)
    with ahead(own.run_dir, SUITE_ID, clean) as started:
        assert started is None


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
    assert main(["verify", str(proof.bundle)]) == 0, capsys.readouterr().out
    attempts = [n for n in members_of(proof.bundle.read_bytes()) if "/executions/" in n]
    assert attempts == [n for n in members_of((tmp_path / "before.zip").read_bytes()) if "/executions/" in n]
