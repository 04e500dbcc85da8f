"""A pass of yesterday is shown for the code of today."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.attacks.lab import (
    FACTOR,
    WORSE,
    assert_not_released,
    assert_released,
    edit,
    program,
)
from tests.conftest import Project


@pytest.fixture(params=["quick", "proof"])
def passed(request: pytest.FixtureRequest, tmp_path: Path) -> Project:
    """A copy of a project whose run ``honest`` passed."""
    made: Project = request.getfixturevalue(f"passed_{request.param}")
    return made.copied(tmp_path / "project")


def test_a_pass_covers_the_code_that_passed(passed: Project) -> None:
    """The control; a file that no program reads may change."""
    (passed.root / "NOTES.txt").write_text("done\n", encoding="utf-8")
    assert_released(passed, "honest")


def test_a_pass_does_not_cover_what_was_written_after_it(passed: Project) -> None:
    """A file more in the candidate's folder, and a program that does something else."""
    (passed.root / "backends" / "fake_worldflux" / "new_code.py").write_text(
        "broken = True\n", encoding="utf-8"
    )
    edit(program(passed), FACTOR, WORSE)
    assert_not_released(passed, "honest", codes=["program_differs"])
