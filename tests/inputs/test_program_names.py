"""What a backend names as its program: every mistake is one line before the first run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_worldflux_parity.errors import BackendError
from pytest_worldflux_parity.inputs.backends import Backend, read_backend
from pytest_worldflux_parity.inputs.named import named
from pytest_worldflux_parity.inputs.trees import backend_tree
from tests.conftest import Project
from tests.repositories import git

ARGV = ["{python}", "{backend_dir}/run.py"]
NO_COMMIT = "0" * 40


def written(root: Path, program: Mapping[str, Any] | None = None, name: str = "mine") -> Path:
    """The ``backend.yaml`` of a backend with a file."""
    folder = root / "backends" / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.py").write_text("pass\n", encoding="utf-8")
    document = {
        "adapter": name, "kind": "fake", "family": "fake", "system": "worldflux", "argv": ARGV,
        "environment": "shared", **({"program": program} if program is not None else {}),
    }  # fmt: skip
    (folder / "backend.yaml").write_text(json.dumps(document), encoding="utf-8")
    return folder / "backend.yaml"


def backend(root: Path, program: Mapping[str, Any] | None = None, name: str = "mine") -> Backend:
    return read_backend(written(root, program, name))


def checkout(folder: Path) -> str:
    """A repository with a tracked, a new and an ignored file; its commit."""
    folder.mkdir(parents=True)
    for name, text in (("a.py", "a"), (".gitignore", "build\n")):
        (folder / name).write_text(text, encoding="utf-8")
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "all")
    for name in ("new.py", "build/x.py", "build/data.bin", "__pycache__/a.pyc"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("n", encoding="utf-8")
    return git(folder, "rev-parse", "HEAD")


MISTAKES: Mapping[str, tuple[Mapping[str, Any], str]] = {
    "absent file": ({"files": ["absent.py"]}, "program.files names 'absent.py', and there is no such file"),
    "misspelt file": ({"files": ["rum.py"]}, "run.py"),
    "absent folder": ({"files": ["../../nowhere/deep"]}, "names '../../nowhere/deep', and there is no such"),
    "a file as a folder": ({"files": ["run.py/x"]}, "names 'run.py/x', and there is no such file"),
    "absent absolute": ({"files": ["/nowhere/x.py"]}, "names '/nowhere/x.py', and there is no such file"),
    "the project": ({"files": ["../.."]}, "names '../..', which holds the whole project"),
    "the file system": ({"files": ["/"]}, "names '/', which holds the whole project"),
    "a key": ({"files": ["../../key.pem"]}, "a name of keys and passwords, which no copy holds"),
    "a long name": ({"files": ["x" * 300]}, "and there is no such file"),
    "no path at all": ({"files": ["a\0b"]}, "and there is no such file"),
    "a checkout of a long name": ({"checkouts": [{"path": "x" * 300}]}, "no git checkout"),
    "no checkout": ({"checkouts": [{"path": "."}]}, "program.checkouts names '.', no git checkout"),
    "absent checkout": ({"checkouts": [{"path": "../../gone"}]}, "names '../../gone', no git checkout"),
    "another commit": (
        {"checkouts": [{"path": "../../agent", "commit": NO_COMMIT}]},
        f"and program.checkouts says {NO_COMMIT}",
    ),
    "a short commit": ({"checkouts": [{"path": "../../agent", "commit": "abc"}]}, "checkouts"),
    "no path": ({"checkouts": [{"commit": NO_COMMIT}]}, "path"),
    "unknown package": ({"packages": [{"name": "no-such-thing"}]}, "no-such-thing is not installed"),
    "misspelt package": ({"packages": [{"name": "pytesst"}]}, "pytest"),
    "another version": ({"packages": [{"name": "pytest", "version": "0.1"}]}, "wanted is ==0.1"),
    "no version": ({"packages": [{"name": "pytest", "version": "x y"}]}, "program.packages"),
    "unknown module": ({"packages": [{"name": "pytest", "module": "pytest.nowhere"}]}, "pytest.nowhere"),
    "no module": ({"packages": [{"name": "pytest", "module": "a/b"}]}, "a/b"),
    "a package as a text": ({"packages": ["pytest"]}, "program.packages"),
    "nothing named": ({}, "program"),
    "no files": ({"files": []}, "files"),
    "no checkouts": ({"checkouts": []}, "checkouts"),
    "no packages": ({"packages": []}, "packages"),
    "no patterns": ({"ignore": []}, "ignore"),
    "an empty name": ({"files": [""]}, "files"),
    "a text for a list": ({"files": "run.py"}, "files"),
    "an unknown key": ({"file": ["run.py"]}, "files"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_before_the_first_run(project: Project, mistake: str) -> None:
    program, words = MISTAKES[mistake]
    checkout(project.root / "agent")
    written(project.root, program, "fake_worldflux")
    project.suite(tasks=["alpha"])
    result = project.run()
    text = result.stdout.str() + result.stderr.str()
    assert result.ret != pytest.ExitCode.OK
    assert "Traceback" not in text
    lines = [x for x in text.splitlines() if "fake_worldflux/backend.yaml" in x]
    assert len(lines) == 1, text
    assert words in lines[0]
    assert not (project.run_dir() / "fake_quick").exists(), "nothing has run"


def of(root: Path, **program: Any) -> dict[str, Any]:
    found = named(backend(root, program), root, {}, None)
    assert found is not None
    return found


def test_a_checkout_is_what_git_tracks_or_would(tmp_path: Path) -> None:
    commit = checkout(tmp_path / "agent")
    git(tmp_path / "agent", "remote", "add", "origin", "https://me:secret@example.org/x/agent")
    found = of(tmp_path, checkouts=[{"path": "../../agent", "commit": commit}])
    own = {"a.py", ".gitignore", "new.py", "build/x.py"}
    assert set(found["files"]) == {f"agent/{name}" for name in own}, "code runs whether or not git ignores it"
    [row] = found["sources"]
    assert (row["kind"], row["name"], row["commit"]) == ("checkout", "agent", commit)
    assert row["repository"] == "https://example.org/x/agent"


def test_history_of_a_checkout_is_no_part_of_it(tmp_path: Path) -> None:
    checkout(tmp_path / "agent")
    before = of(tmp_path, checkouts=[{"path": "../../agent"}])
    git(tmp_path / "agent", "gc", "-q")
    git(tmp_path / "agent", "tag", "v1")
    assert of(tmp_path, checkouts=[{"path": "../../agent"}]) == before
    (tmp_path / "agent" / "a.py").write_text("b", encoding="utf-8")
    assert of(tmp_path, checkouts=[{"path": "../../agent"}]) != before


def test_files_are_named_from_the_folder_and_told_from_the_project(tmp_path: Path) -> None:
    for name in ("lib/x.py", "lib/deep/y.py", "lib/.env", "lib/.git/config", "lib/__pycache__/x.pyc"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x", encoding="utf-8")
    found = of(tmp_path, files=[".", "../../lib"])
    assert set(found["files"]) == {"backends/mine/run.py", "lib/x.py", "lib/deep/y.py"}


def test_files_outside_of_the_project_are_hashed_and_not_copied(tmp_path: Path) -> None:
    root = tmp_path / "project"
    root.mkdir()
    for name in ("one.py", "two.py"):
        (tmp_path / name).write_text("x", encoding="utf-8")
    program = {"files": ["../../../one.py", str(tmp_path / "two.py")]}
    tree = backend_tree(backend(root, program), root)
    assert {"../one.py", "../two.py"} <= tree.files.keys()
    assert {name for name, _ in tree.copied} == {"backends/mine/backend.yaml", "backends/mine/run.py"}


def test_two_backends_that_name_the_same_are_one_program(tmp_path: Path) -> None:
    (tmp_path / "ppo.py").write_text("x", encoding="utf-8")
    one, other = (
        named(backend(tmp_path, {"files": ["../../ppo.py"]}, name), tmp_path, {}, None) for name in ("a", "b")
    )
    assert one is not None
    assert other is not None
    assert one["files"] == other["files"] == {"ppo.py": one["files"]["ppo.py"]}
    assert named(backend(tmp_path, None, "c"), tmp_path, {}, None) is None


NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=8)


@given(name=NAMES | st.sampled_from([".", "..", "../..", "/", "~", "run.py", "*", "x\ny", "a" * 300, "a\0b"]))
@settings(max_examples=60, deadline=None)
def test_any_name_of_a_file_is_found_or_refused(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    """No name makes another error; what is found is there."""
    root = tmp_path_factory.mktemp("named") / "project"
    root.mkdir()
    line = ""
    try:
        found = backend_tree(backend(root, {"files": [name]}), root).files
    except BackendError as error:
        line = error.line()
        found = {}
    assert "\n" not in line
    assert all((root / path).is_file() for path in found)
