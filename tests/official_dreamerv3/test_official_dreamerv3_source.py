"""The official source: verified, and copied from the commit without any change."""

from __future__ import annotations

import pytest
from standin_dreamerv3 import FILES, git, make_checkout

from backends.official_dreamerv3 import Refused, source


@pytest.fixture
def checkout(tmp_path):
    folder = tmp_path / "checkout"
    folder.mkdir()
    return folder, make_checkout(folder)


def test_the_program_is_copied_as_the_commit_has_it_and_nothing_else(checkout, tmp_path):
    folder, commit = checkout
    described = source.prepare(folder, commit, tmp_path / "copy")
    copied = {p.relative_to(tmp_path / "copy").as_posix() for p in (tmp_path / "copy").rglob("*.*")}
    assert copied == {name for name in FILES if name.startswith(("dreamerv3/", "embodied/"))}
    assert all((tmp_path / "copy" / name).read_text() == FILES[name] for name in copied)
    assert (described["commit"], described["dirty"], described["changes"]) == (commit, False, [])
    assert git(folder, "status", "--porcelain") == ""


def refusal(folder, commit, tmp_path):
    with pytest.raises(Refused) as caught:
        source.prepare(folder, commit, tmp_path / "copy")
    assert source.MEND in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "copy").exists()
    return str(caught.value)


def test_another_commit_is_refused(checkout, tmp_path):
    folder, commit = checkout
    git(folder, "commit", "-q", "--allow-empty", "-m", "later")
    assert f"wanted {commit}" in refusal(folder, commit, tmp_path)


@pytest.mark.parametrize("path", ["dreamerv3/main.py", "dreamerv3/new.py", "notes.txt"])
def test_a_dirty_tree_is_refused_untracked_files_too(checkout, tmp_path, path):
    folder, commit = checkout
    (folder / path).write_text("print()\n")
    assert "the tree is dirty (1 paths" in refusal(folder, commit, tmp_path)


def test_an_absent_checkout_a_folder_and_a_part_of_a_checkout_are_refused(checkout, tmp_path):
    folder, commit = checkout
    (tmp_path / "plain").mkdir()
    assert "there is no checkout" in refusal(tmp_path / "none", commit, tmp_path)
    assert "git rev-parse" in refusal(tmp_path / "plain", commit, tmp_path)
    assert "not the top" in refusal(folder / "dreamerv3", commit, tmp_path)


def test_a_commit_without_the_program_is_refused(checkout, tmp_path):
    folder, _ = checkout
    git(folder, "rm", "-q", "-r", "embodied")
    git(folder, "commit", "-q", "-m", "without it")
    assert "git archive" in refusal(folder, git(folder, "rev-parse", "HEAD"), tmp_path)


def test_what_runs_is_the_commit_even_where_git_was_told_to_overlook_a_change(checkout, tmp_path):
    folder, commit = checkout
    git(folder, "update-index", "--assume-unchanged", "dreamerv3/main.py")
    (folder / "dreamerv3/main.py").write_text("raise SystemExit('not the official program')\n")
    source.prepare(folder, commit, tmp_path / "copy")
    assert (tmp_path / "copy/dreamerv3/main.py").read_text() == FILES["dreamerv3/main.py"]
