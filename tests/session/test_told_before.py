"""What is told before the first run, since it is no mistake and may not be meant."""

from __future__ import annotations

import os

from tests.conftest import Project
from tests.execution.walls import needs_walls


def declares(project: Project, text: str) -> None:
    path = project.root / "backends" / "fake_worldflux" / "backend.yaml"
    path.write_text(path.read_text() + text)


@needs_walls
def test_what_is_to_be_read_and_absent_is_told(project: Project) -> None:
    project.suite(tasks=["alpha"], seeds=1)
    declares(project, "needs: {read: [/nonexistent/typo, '{repo_root}/pytest.ini']}\n")
    result = project.run("--parity-isolate=require")
    told = "needs.read names /nonexistent/typo, which is absent: its programs lack it"
    assert [x for x in result.outlines if "needs.read" in x] == [f"parity: fake_worldflux: {told}"]
    assert {x["success"] for x in project.lines()} == {True}


def test_what_takes_its_time_to_copy_at_each_start_is_told(project: Project) -> None:
    """Of 64 MiB and more; a byte less is not worth a word."""
    project.suite(tasks=["alpha"], seeds=1)
    folder = project.root / "backends" / "fake_worldflux"
    for name, size in (("weights.bin", 64 * 2**20), ("small.bin", 64 * 2**20 - 1)):
        (folder / name).touch()
        os.truncate(folder / name, size)
    result = project.run("--parity-systems=official")
    (line,) = (x for x in result.outlines if "each start copies" in x)
    said = "fake_worldflux: each start copies backends/fake_worldflux/weights.bin (67 MB)"
    assert line.startswith(f"parity: {said}; to mend: move it elsewhere, or leave it out by program.ignore")
