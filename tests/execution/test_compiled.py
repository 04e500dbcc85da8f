"""Caches of compiled code: of each sealed program its own, and no other program writes it."""

from __future__ import annotations

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
    assert set(compiled.variables(first).values()) == {
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


@needs_walls
def test_no_program_writes_the_cache_of_another(project: Project) -> None:
    """Each leaves a file in its own, and tries to in all: within walls the others are not there."""
    program = project.root / "backends" / "program.py"
    text = program.read_text()
    code = """def ok(request):
    own = Path(os.environ["JAX_COMPILATION_CACHE_DIR"]).parent
    for folder in (own, *own.parent.iterdir()):
        (folder / request.system).touch()
"""
    program.write_text(text.replace("def ok(request):\n", code))
    project.suite(tasks=["alpha"], seeds=1)
    project.run("--parity-isolate=require")
    assert all(line["success"] for line in project.lines()), project.lines()
    found = {
        path.name.partition("-")[0]: sorted(p.name for p in path.iterdir())
        for path in (project.root / ".worldflux" / "compiled").iterdir()
    }
    assert found == {"fake_official": ["official"], "fake_worldflux": ["worldflux"]}
