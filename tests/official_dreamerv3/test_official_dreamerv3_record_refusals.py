"""The recorder says in one line what keeps it from recording, before it takes its minutes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from standin_dreamerv3 import make_checkout

from backends.official_dreamerv3 import record


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    """The command line for a stand-in's checkout."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    return ["--checkout", str(folder), "--commit", make_checkout(folder), "--out"]


def refusal(arguments: list[str], modules: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> str:
    assert dataclasses.replace(record.RECORDER, modules=modules).main(arguments) == 1
    printed, said = capsys.readouterr()
    assert printed == ""
    assert said.count("\n") == 1, said
    assert said.startswith("official_dreamerv3.record: ")
    return said


def test_a_package_that_is_missing_is_named_with_the_mend(
    arguments: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    said = refusal([*arguments, str(tmp_path / "out")], ("json", "no_such_package"), capsys)
    assert "no module no_such_package; to mend: worldflux-parity env create official_dreamerv3" in said
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_is_named(
    arguments: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    out = tmp_path / "file" / "out"
    assert f"--out {out}: cannot be written: " in refusal([*arguments, str(out)], ("json",), capsys)
    arguments[1] = "nowhere"
    assert "nowhere" in refusal([*arguments, str(tmp_path / "out")], ("json",), capsys)
