"""Caches of compiled code: of each sealed program its own, and no other program writes it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pytest_worldflux_parity.execution import compiled
from tests.conftest import Project
from tests.execution.walls import needs_walls


def test_a_program_has_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    below = compiled.caches_below(tmp_path)
    assert below == tmp_path / ".worldflux" / "compiled"
    first = compiled.cache_of(below, "ours", "a" * 64)
    assert first is not None
    assert first.is_dir()
    assert first == compiled.cache_of(below, "ours", "a" * 64)
    others = {compiled.cache_of(below, *one) for one in (("ours", "b" * 64), ("theirs", "a" * 64))}
    assert first not in others
    assert len(others) == 2
    assert set(compiled.cache_variables(first).values()) == {
        str(first / name) for name in compiled.VARIABLES.values()
    }


def test_the_user_says_where_all_of_them_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "mine"))
    assert compiled.caches_below(tmp_path) == tmp_path / "mine"


def test_the_ones_used_last_stay(tmp_path: Path) -> None:
    other = compiled.cache_of(tmp_path, "theirs", "f" * 64)
    made = [compiled.cache_of(tmp_path, "ours", f"{i}{'a' * 63}") for i in range(3)]
    for age, path in enumerate(made):
        assert path is not None
        os.utime(path, (age, age))
    made += [compiled.cache_of(tmp_path, "ours", f"{i}{'0' * 63}") for i in range(1, 8)]
    assert [path.exists() for path in made if path] == [False, False, *[True] * 8]
    assert other is not None
    assert other.exists()


def test_where_none_can_be_written_there_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert compiled.cache_of(tmp_path / "file", "ours", "a" * 64) is None


# Each program leaves a file in its own folder, and tries to in all.
TOUCHES = """def ok(request):
    own = Path(os.environ["JAX_COMPILATION_CACHE_DIR"]).parent
    Path(request.out_dir, "found.json").write_text(json.dumps(sorted(p.name for p in own.iterdir())))
    for folder in (own, *own.parent.iterdir()):
        (folder / request.system).touch()
"""


@pytest.fixture
def touching(project: Project) -> Project:
    program = project.root / "backends" / "program.py"
    program.write_text(program.read_text().replace("def ok(request):\n", TOUCHES))
    return project


def left_in(below: Path) -> dict[str, list[str]]:
    return {path.name.partition("-")[0]: sorted(p.name for p in path.iterdir()) for path in below.iterdir()}


def run(project: Project, seeds: int, isolate: str, run_id: str) -> list[list[str]]:
    """What each attempt found in its cache."""
    project.suite(tasks=["alpha"], seeds=seeds)
    result = project.run(f"--parity-isolate={isolate}", run_id=run_id)
    found = [json.loads(p.read_text()) for p in sorted(project.run_dir(run_id).rglob("found.json"))]
    assert len(found) == 2 * seeds, result.outlines
    return found


@needs_walls
def test_no_program_writes_the_cache_of_another(touching: Project) -> None:
    """Within walls the others are not there; what a start leaves, later ones of its program find."""
    found = run(touching, 2, "require", "r")
    assert sorted(found) == [[], [], ["official"], ["worldflux"]]
    assert left_in(touching.run_dir("r") / ".program" / compiled.COMPILED_FOLDER) == {
        "fake_official": ["official"],
        "fake_worldflux": ["worldflux"],
    }


@needs_walls
def test_what_an_open_program_left_is_not_run_within_walls(touching: Project) -> None:
    """The control: a later open run finds it."""
    run(touching, 1, "off", "open")
    shared = left_in(touching.root / ".worldflux" / "compiled")
    assert {"official", "worldflux"} <= set(shared["fake_worldflux"]) | set(shared["fake_official"])
    assert run(touching, 1, "require", "walled") == [[], []]
    assert left_in(touching.root / ".worldflux" / "compiled") == shared
    assert all(run(touching, 1, "off", "again"))
