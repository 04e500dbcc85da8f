"""The files that a program runs from: what belongs to it, and what never does."""

from __future__ import annotations

import json
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_worldflux_parity import wire
from pytest_worldflux_parity.inputs.backends import read_backend
from pytest_worldflux_parity.inputs.trees import Tree, backend_tree, base_of, only_beside
from tests.inputs.test_installed import Environment


def made(
    root: Path, *names: str, argv: Sequence[str] = ("{python}", "{backend_dir}/run.py"), **keys: object
) -> Path:
    """A backend ``mine`` of a project with these files below the project; its folder."""
    folder = root / "backends" / "mine"
    for name in (*names, "backends/mine/run.py"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name, encoding="utf-8")
    document = {
        "adapter": "mine", "kind": "fake", "family": "fake", "system": "worldflux", "argv": list(argv),
        "environment": "shared", **keys,
    }  # fmt: skip
    (folder / "backend.yaml").write_text(json.dumps(document), encoding="utf-8")
    return folder


def tree(folder: Path, root: Path) -> set[str]:
    return {*backend_tree(read_backend(folder / "backend.yaml"), root).files}


OWN = {"backends/mine/backend.yaml", "backends/mine/run.py"}
NEVER = (
    ".env", ".env.local", "key.pem", ".netrc", ".pypirc", "id_rsa", "id_ed25519.pub", ".ssh/config",
    ".aws/credentials", "deep/.gnupg/x", ".git/config", "deep/.git/HEAD", "__pycache__/run.cpython-311.pyc",
    "run.pyc", "deep/__pycache__/x.txt",
)  # fmt: skip


@pytest.mark.parametrize("name", NEVER)
def test_what_is_never_part_of_a_program(tmp_path: Path, name: str) -> None:
    """In its folder, and in one that it names."""
    places = (f"backends/mine/{name}", f"lib/{name}", "lib/x.py")
    folder = made(tmp_path, *places, program={"files": [".", "../../lib"]})
    assert tree(folder, tmp_path) == {*OWN, "lib/x.py"}


def test_a_name_of_the_project_makes_no_secret_of_its_files(tmp_path: Path) -> None:
    root = tmp_path / ".envs" / "project.pem"
    assert tree(made(root), root) == OWN


def test_what_an_argv_names_beside_the_folder_is_part_of_it(tmp_path: Path) -> None:
    argv = ("{python}", "{backend_dir}/../train.py", "../other.py", "{backend_dir}/../.env", "/etc/hosts")
    names = ("backends/train.py", "backends/other.py", "backends/.env", "other.py", "backends/more.py")
    assert tree(made(tmp_path, *names, argv=argv), tmp_path) == {*OWN, "backends/train.py"}


def test_what_only_a_match_starts_is_told_apart(tmp_path: Path) -> None:
    match = {"argv": ["{python}", "{backend_dir}/../match.py", "{backend_dir}/run.py"], "golden": "golden"}
    folder = made(tmp_path, "backends/match.py", match=match)
    backend = read_backend(folder / "backend.yaml")
    assert only_beside(backend, tmp_path) == {"backends/match.py"} < tree(folder, tmp_path)
    folder = made(tmp_path, match=match, argv=("{python}", "-m", "backends.mine.run"))
    assert only_beside(read_backend(folder / "backend.yaml"), tmp_path) == frozenset()


def test_packages_above_a_module_are_part_of_it(tmp_path: Path) -> None:
    names = ("backends/__init__.py", "backends/mine/__init__.py", "backends/other.py", "__init__.py")
    folder = made(tmp_path, *names, argv=("{python}", "-m", "backends.mine.run"))
    assert tree(folder, tmp_path) == {*OWN, "backends/__init__.py", "backends/mine/__init__.py"}


def test_links_are_followed_wherever_they_lead(tmp_path: Path) -> None:
    root, away = tmp_path / "project", tmp_path / "away"
    away.mkdir()
    (away / "core.py").write_text("core", encoding="utf-8")
    folder = made(root)
    (folder / "lib").symlink_to(away)
    (folder / "one.py").symlink_to(away / "core.py")
    (folder / "up").symlink_to(folder)
    (folder / "gone.py").symlink_to(away / "gone.py")
    found = backend_tree(read_backend(folder / "backend.yaml"), root).files
    assert set(found) == {*OWN, "backends/mine/lib/core.py", "backends/mine/one.py"}
    assert found["backends/mine/one.py"] == wire.file_sha256(away / "core.py")


def test_a_backend_outside_of_the_project_has_a_base_of_its_own(tmp_path: Path) -> None:
    root = tmp_path / "project"
    root.mkdir()
    folder = made(tmp_path / "away", "backends/train.py", argv=("{python}", "{backend_dir}/../train.py"))
    assert base_of(read_backend(folder / "backend.yaml"), root) == tmp_path / "away"
    assert tree(folder, root) == {*OWN, "backends/train.py"}


def test_an_editable_project_within_the_project_is_part_of_it(tmp_path: Path) -> None:
    root = tmp_path / "project"
    names = ("agent/src/agent/__init__.py", "agent/src/agent/.env", "agent/tests/x.py")
    folder = made(root, *names, environment="own")
    backend = read_backend(folder / "backend.yaml")
    env = Environment(backend.environment_dir(root))
    marker = json.dumps({"requirements_sha256": backend.requirements_sha256})
    (env.folder / "complete.json").write_text(marker, encoding="utf-8")
    env.install("agent", "1.0", {"agent.pth": f"{root / 'agent' / 'src'}\n"})
    assert tree(folder, root) == {*OWN, "agent/src/agent/__init__.py"}


PATTERNS = st.text(st.sampled_from("ab*?[!].py/"), max_size=6)


@given(patterns=st.lists(PATTERNS.filter(bool), min_size=1, max_size=3))
def test_what_is_ignored_is_no_part_of_it(
    tmp_path_factory: pytest.TempPathFactory, patterns: list[str]
) -> None:
    """Whatever the patterns: a file belongs to the program unless one of them is of its path."""
    root = tmp_path_factory.mktemp("ignored")
    inside = ("a.py", "b.md", "a/b.py", "run.py")
    folder = made(root, *(f"backends/mine/{name}" for name in inside), program={"ignore": patterns})
    kept = {n for n in inside if not any(fnmatchcase(n, p) for p in patterns)}
    found = {name.removeprefix("backends/mine/") for name in tree(folder, root)}
    # What a command line names is run, whatever is ignored.
    assert found - {"backend.yaml", "run.py"} == kept - {"run.py"}
    assert "run.py" in found


HASHES = st.text(st.sampled_from("0123456789abcdef"), min_size=64, max_size=64)


@given(files=st.dictionaries(st.sampled_from(["a", "a/b", "c/d", "../e", "../a"]), HASHES))
def test_a_tree_is_its_names_and_bytes_in_any_order(files: dict[str, str]) -> None:
    one, other = Tree(files), Tree(dict(reversed(files.items())))
    assert one.sha256 == other.sha256
    assert dict(one.copied) == {n: s for n, s in files.items() if not n.startswith("../")}
    for name in files:
        changed = Tree({**files, name: "f" * 64 if files[name] != "f" * 64 else "0" * 64})
        assert changed.sha256 != one.sha256
        assert Tree({n: s for n, s in files.items() if n != name}).sha256 != one.sha256
        assert one.holds(name)
    assert one.holds("c") == ("c/d" in files)
    assert not one.holds("absent")
