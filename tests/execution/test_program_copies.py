"""Copies of what was sealed: nothing else is copied, and each failure is said in one line."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_worldflux_parity import wire
from pytest_worldflux_parity.errors import BackendError, ParityError, StoreError
from pytest_worldflux_parity.execution.copies import copy_of, copy_tree, large_files, own_copy, seal_copy
from pytest_worldflux_parity.inputs.trees import Tree

FILES = {"a.py": "a", "deep/b.py": "b", "run.sh": "#!/bin/sh\n"}


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "run.sh").chmod(0o755)
    return folder


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "run" / ".program"


def sealed(base: Path) -> Tree:
    return Tree(wire.tree_files(base))


def texts(folder: Path) -> dict[str, str]:
    return {name: (folder / name).read_text(encoding="utf-8") for name in wire.tree_files(folder)}


def line_of(error: pytest.ExceptionInfo[ParityError]) -> str:
    line = error.value.line()
    assert "\n" not in line
    return line


def test_a_copy_is_what_was_sealed_and_cannot_be_written_by_mistake(base: Path, place: Path) -> None:
    tree = sealed(base)
    folder = seal_copy(place, tree, base)
    assert folder == copy_of(place, tree)
    assert texts(folder) == FILES
    assert {oct((folder / n).stat().st_mode & 0o777) for n in ("a.py", "deep/b.py")} == {"0o444"}
    assert (folder / "run.sh").stat().st_mode & 0o777 == 0o555
    assert [p.name for p in place.iterdir()] == [folder.name], "nothing half made is left"
    shutil.rmtree(place.parent)


def test_a_large_file_is_never_whole_in_memory(base: Path, place: Path) -> None:
    """Piece by piece, and with the bytes that it has."""
    with open(base / "weights.bin", "wb") as file:
        for i in range(64):
            file.write(bytes([i]) * 2**20)
    tree = sealed(base)
    tracemalloc.start()
    try:
        folder = seal_copy(place, tree, base)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 8 * 2**20
    assert wire.tree_files(folder) == dict(tree.files)
    assert [*large_files(tree, base)] == [("weights.bin", 64 * 2**20)]


def test_a_copy_is_made_once(base: Path, place: Path) -> None:
    tree = sealed(base)
    folder = seal_copy(place, tree, base)
    (base / "a.py").write_text("another", encoding="utf-8")
    assert seal_copy(place, tree, base) == folder
    assert texts(folder) == FILES


def edited(folder: Path) -> None:
    (folder / "a.py").unlink()
    (folder / "a.py").write_text("x", encoding="utf-8")


def gone(folder: Path) -> None:
    (folder / "deep" / "b.py").unlink()


def turned_into_a_folder(folder: Path) -> None:
    (folder / "a.py").unlink()
    (folder / "a.py").mkdir()


def led_away(folder: Path) -> None:
    (folder.parent / "other.py").write_text("x", encoding="utf-8")
    (folder / "a.py").unlink()
    (folder / "a.py").symlink_to(folder.parent / "other.py")


CHANGES: dict[Callable[[Path], None], str] = {
    edited: "a.py: a file of the program is no longer what was sealed",
    gone: "b.py: a file of the program cannot be read: No such file or directory",
    turned_into_a_folder: "a.py: a file of the program cannot be read: Is a directory",
    led_away: "a.py: a file of the program is no longer what was sealed",
    shutil.rmtree: "the copy of the program is gone",
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_copy_that_is_not_what_was_sealed_starts_nothing(
    base: Path, place: Path, change: Callable[[Path], None]
) -> None:
    tree = sealed(base)
    folder = seal_copy(place, tree, base)
    change(folder)
    with pytest.raises(BackendError) as error, own_copy(place, tree, folder, "x"):
        pytest.fail("it was started")
    assert CHANGES[change] in line_of(error)
    assert "start a new run" in line_of(error)
    assert not [*place.glob("starts/*")]


def test_what_was_added_to_a_copy_is_not_copied(base: Path, place: Path) -> None:
    tree = sealed(base)
    folder = seal_copy(place, tree, base)
    for name in ("more.py", "a.pyc", "sitecustomize.py"):
        (folder / name).write_text("x", encoding="utf-8")
    with own_copy(place, tree, folder, "x") as own:
        assert texts(own / "program") == FILES


def test_a_start_has_a_copy_of_its_own_that_goes(base: Path, place: Path) -> None:
    tree = sealed(base)
    source = seal_copy(place, tree, base)
    with own_copy(place, tree, source, "one") as one, own_copy(place, tree, source, "two") as two:
        (one / "program" / "a.py").write_text("mine", encoding="utf-8")
        (one / "program" / "cache").mkdir()
        assert texts(two / "program") == FILES
    assert not one.exists()
    assert not two.exists()
    assert texts(source) == FILES


def test_what_a_killed_start_left_is_not_taken_over(base: Path, place: Path) -> None:
    tree = sealed(base)
    source = seal_copy(place, tree, base)
    with own_copy(place, tree, source, "x") as own:
        kept = own
    (kept / "program").mkdir(parents=True)
    (kept / "program" / "left.py").write_text("x", encoding="utf-8")
    with own_copy(place, tree, source, "x") as own:
        assert own == kept
        assert texts(own / "program") == FILES


def test_a_program_that_changes_while_it_is_sealed_is_refused(base: Path, place: Path) -> None:
    tree = sealed(base)
    (base / "a.py").write_text("another", encoding="utf-8")
    with pytest.raises(BackendError) as error:
        seal_copy(place, tree, base)
    assert "is no longer what was sealed" in line_of(error)
    assert not [*place.glob("*")], "nothing half made is left"


@contextlib.contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_copy_that_has_no_room_is_one_line(base: Path, place: Path) -> None:
    (base / "large.bin").write_bytes(b"0" * 10_000)
    tree = sealed(base)
    with no_file_larger_than(5_000), pytest.raises(StoreError) as error:
        seal_copy(place, tree, base)
    assert "larger than it may be" in line_of(error)
    assert not [*place.glob("*")]
    source = seal_copy(place, tree, base)
    with no_file_larger_than(5_000), pytest.raises(StoreError) as error, own_copy(place, tree, source, "x"):
        pytest.fail("it was started")
    assert "larger than it may be" in line_of(error)
    assert not [*place.glob("starts/*")]


def test_a_run_that_cannot_be_written_is_one_line(base: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError) as error:
        seal_copy(tmp_path / "file" / ".program", sealed(base), base)
    assert "cannot be written" in line_of(error)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_one_line(base: Path, place: Path) -> None:
    place.mkdir(parents=True)
    place.chmod(0o555)
    with pytest.raises(StoreError) as error:
        seal_copy(place, sealed(base), base)
    assert "cannot be written" in line_of(error)


NAME = st.sampled_from(["a", "b.py", "d/e", "d/f/g.py", "ü/世.py", "s p/x", "'q'", "-x"])


@given(files=st.dictionaries(NAME, st.binary(max_size=20)), outside=st.booleans())
def test_a_copy_has_the_bytes_of_any_tree(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes], outside: bool
) -> None:
    base = tmp_path_factory.mktemp("any") / "base"
    base.mkdir()
    for name, data in files.items():
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        (base / name).write_bytes(data)
    tree = Tree({**wire.tree_files(base), **({"../away.py": "0" * 64} if outside else {})})
    copy_tree(tree, base, base.parent / "copy")
    copied = base.parent / "copy"
    assert {n: (copied / n).read_bytes() for n in (wire.tree_files(copied) if files else ())} == files
