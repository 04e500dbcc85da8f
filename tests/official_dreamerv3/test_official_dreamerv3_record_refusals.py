"""The recorder says in one line what keeps it from recording, before it takes its minutes."""

from __future__ import annotations

from pathlib import Path

import pytest

from backends.official_dreamerv3 import record

ARGUMENTS = ["--checkout", "nowhere", "--commit", "0" * 40, "--out"]


def refusal(out: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert record.main([*ARGUMENTS, str(out)]) == 1
    printed, said = capsys.readouterr()
    assert printed == ""
    assert said.count("\n") == 1, said
    assert said.startswith("official_dreamerv3.record: ")
    return said


def test_a_package_that_is_missing_is_named_with_the_mend(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(record, "NEEDED", ("json", "no_such_package"))
    said = refusal(tmp_path / "out", capsys)
    assert "no module no_such_package; to mend: worldflux-parity env create official_dreamerv3" in said
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(record, "NEEDED", ("json",))
    (tmp_path / "file").touch()
    assert f"--out {tmp_path}/file/out: cannot be written: " in (refusal(tmp_path / "file" / "out", capsys))
    assert "nowhere" in refusal(tmp_path / "out", capsys)
