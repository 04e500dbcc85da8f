"""The words of a manifest's command name the copy where a file was sealed, and else what they named."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_worldflux_parity.execution.launching import _Moved
from pytest_worldflux_parity.inputs.trees import Tree

SEALED = ("bin/train.py", "bin/helper.py", "conf/a b.json", "lib/one/x.py", "lib2/y.py")
LOST = ("data/x.npz", "project2/bin/train.py", "bin/cache/x")
HASH = "0" * 64


@pytest.fixture
def moved(tmp_path: Path) -> _Moved:
    return made(tmp_path)


def made(tmp_path: Path, cwd: str = "bin") -> _Moved:
    """The project ``p``, whose copy is ``c``; a command starts in the project's ``bin``, or elsewhere."""
    root = tmp_path / "p"
    for name in (*SEALED, *LOST, "../p2/bin/train.py", "../outside.txt"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    place = (root / cwd).resolve()
    place.mkdir(parents=True, exist_ok=True)
    inside = place.is_relative_to(root) and cwd != "reports/r"
    return _Moved(root, place, tmp_path / "c", Tree(dict.fromkeys(SEALED, HASH)), inside)


# {p}: the project, {c}: its copy, {t}: the folder of both.
WORDS = (
    ("{p}/bin/train.py", "{c}/bin/train.py"),
    ("{p}/bin/../bin/train.py", "{c}/bin/train.py"),
    ("{p}/conf/a b.json", "{c}/conf/a b.json"),
    ("--config={p}/conf/a b.json", "--config={c}/conf/a b.json"),
    ("--config={p}/bin/helper.py", "--config={c}/bin/helper.py"),
    ("{p}", "{c}"),
    ("--root={p}", "--root={c}"),
    ("-I{p}/lib", "-I{c}/lib"),
    ("[{p}/lib,{p}/lib2]", "[{c}/lib,{c}/lib2]"),
    ("cd {p}/bin && python3 '{p}/bin/train.py'; x", "cd {c}/bin && python3 '{c}/bin/train.py'; x"),
    ("A={p}/lib B={p}/data/x.npz run", "A={c}/lib B={p}/data/x.npz run"),
    # Not sealed: where it stands.
    ("{p}/data/x.npz", "{p}/data/x.npz"),
    ("--data={p}/data", "--data={p}/data"),
    ("../data/x.npz", "{p}/data/x.npz"),
    ("--data=../data", "--data={p}/data"),
    ("../../outside.txt", "{t}/outside.txt"),
    ("--out={p}/new.json", "--out={p}/new.json"),
    # Others that only look alike.
    ("{p}2/bin/train.py", "{p}2/bin/train.py"),
    ("--x={p}2", "--x={p}2"),
    ("{p}-old/bin", "{p}-old/bin"),
    ("/mnt{p}/bin/train.py", "/mnt{p}/bin/train.py"),
    ("https://example.org{p}/bin", "https://example.org{p}/bin"),
    # Relative ones that were sealed are the same in the copy.
    ("train.py", "train.py"),
    ("..", ".."),
    ("--root=..", "--root=.."),
    ("../conf/a b.json", "../conf/a b.json"),
    ("--config=helper.py", "--config=helper.py"),
    # And words that are no paths.
    ("", ""),
    ("=", "="),
    ("--seed=0", "--seed=0"),
    ("a=b=c", "a=b=c"),
    ("x" * 5000, "x" * 5000),
    ("--json=" + '{"a": 1}' * 100, "--json=" + '{"a": 1}' * 100),
    ("nul\0l", "nul\0l"),
    ("Wörter/世界", "Wörter/世界"),
)


def filled(text: str, moved: _Moved) -> str:
    places = (("{p}", moved.root), ("{c}", moved.copied), ("{t}", moved.root.parent))
    for name, place in places:
        text = text.replace(name, str(place))
    return text


@pytest.mark.parametrize(("word", "wanted"), WORDS, ids=range(len(WORDS)))
def test_a_word(moved: _Moved, word: str, wanted: str) -> None:
    assert moved.text(filled(word, moved)) == filled(wanted, moved)


@pytest.mark.parametrize(
    ("cwd", "word"),
    [("..", "p/bin/train.py"), ("reports/r", "../../bin/train.py"), ("reports/r", "--x=../../lib")],
)
def test_a_relative_word_of_a_command_that_starts_elsewhere(tmp_path: Path, cwd: str, word: str) -> None:
    """It would lead to the project, which was not copied to where it starts."""
    moved = made(tmp_path, cwd)
    name = word.removeprefix("--x=").replace("p/", "").replace("../", "")
    option = "--x=" if "=" in word else ""
    assert moved.text(word) == f"{option}{moved.copied / name}"


def test_a_list_of_folders(moved: _Moved) -> None:
    value = filled("{p}/lib:{p}/lib2:../lib:../data:/usr/lib::{p}/nowhere", moved)
    wanted = filled("{c}/lib:{c}/lib2:../lib:{p}/data:/usr/lib::{p}/nowhere", moved)
    assert moved.path_list(moved.text(value)) == wanted


ODD = st.text(max_size=40) | st.lists(
    st.sampled_from(["{p}", "{p}/bin", "bin", "/", "..", " ", "=", "'", "-I", "train.py", "data", ":", "\n"]),
    max_size=8,
).map("".join)


@given(word=ODD)
def test_any_word(tmp_path_factory: pytest.TempPathFactory, word: str) -> None:
    """None makes an error, and what was moved is not moved again."""
    moved = made(tmp_path_factory.mktemp("words"))
    text = filled(word, moved)
    found = moved.text(text)
    moved.path_list(found)
    if str(moved.copied) in found:
        assert moved.text(found) == found
