"""What a backend declares that it reads: which of its files are sealed, and how."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from pytest_worldflux_parity import wire
from pytest_worldflux_parity.inputs import read_files as rows
from pytest_worldflux_parity.inputs.backends import Backend, Needs


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    for name in ("src/algo.py", "src/deep/conf.yaml", "src/weights.bin", "src/runs/r/line.py", ".git/x.py"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name, encoding="utf-8")
    (root / "backends" / "mine").mkdir(parents=True)
    (root / "src" / "deep" / "around").symlink_to(root / "src")
    return root


def backend(root: Path, read: Sequence[str], write: Sequence[str] = ()) -> Backend:
    needs = Needs(read=tuple(read), write=tuple(write))
    return Backend(root / "backends" / "mine", "mine", "x", "x", "worldflux", ("x",), "shared", needs=needs)


def test_code_is_hashed_and_data_is_known_by_size_and_time(root: Path) -> None:
    found = rows.read_files(backend(root, ["{repo_root}/src"]), root, [root / "src" / "runs"])
    data = (root / "src" / "weights.bin").stat()
    assert found == {
        "src/algo.py": wire.file_sha256(root / "src" / "algo.py"),
        "src/deep/conf.yaml": wire.file_sha256(root / "src" / "deep" / "conf.yaml"),
        "src/weights.bin": f"{data.st_size} bytes of {data.st_mtime_ns}",
    }


def test_what_it_writes_itself_and_what_no_program_sees_is_none_of_it(root: Path) -> None:
    found = rows.read_files(backend(root, ["{repo_root}"], ["../../src/deep"]), root, [root / "backends"])
    assert {*found} == {"project/src/algo.py", "project/src/weights.bin", "project/src/runs/r/line.py"}


def test_two_of_one_name_a_single_file_and_an_absent_one(root: Path, tmp_path: Path) -> None:
    (tmp_path / "other" / "src").mkdir(parents=True)
    (tmp_path / "other" / "src" / "algo.py").touch()
    named = ["../../src/algo.py", str(tmp_path / "other" / "src" / "algo.py"), "/nonexistent/x"]
    assert [*rows.read_files(backend(root, named), root, [])] == ["algo.py", "algo.py (2)"]


def test_a_name_that_is_no_utf8_can_stand_in_a_document(root: Path) -> None:
    Path(os.fsdecode(os.fsencode(root / "src") + b"/\xff.py")).touch()
    found = rows.read_files(backend(root, ["{repo_root}/src"]), root, [])
    assert "src/\\udcff.py" in found
    wire.canonical_json(found)


def test_data_of_many_files_is_one_row(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "MOST_DATA", 2)
    for i in range(3):
        (root / "src" / f"{i}.npy").touch()
    mine = backend(root, ["{repo_root}/src"])
    before = rows.read_files(mine, root, [])
    assert {*before} == {"src/algo.py", "src/deep/conf.yaml", "src/runs/r/line.py", "src/*"}
    (root / "src" / "3.npy").touch()
    after = rows.read_files(mine, root, [])
    assert [key for key in after if after[key] != before[key]] == ["src/*"]


def test_code_that_was_written_to_and_is_as_it_was(root: Path) -> None:
    mine = backend(root, ["{repo_root}/src"])
    time.sleep(0.02)
    now = time.time_ns()
    time.sleep(0.02)
    path = root / "src" / "algo.py"
    before = path.stat()
    path.write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    (root / "src" / "weights.bin").touch()
    assert rows.read_since(mine, root, [], now) == ["src/algo.py"]
