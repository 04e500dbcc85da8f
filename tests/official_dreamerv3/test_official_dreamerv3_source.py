"""The official source: copied from the commit without any change; the rest is as for TD-MPC2."""

from __future__ import annotations

import pytest
from standin_dreamerv3 import FILES, make_checkout

from backends.official_dreamerv3 import REPOSITORY, TREE
from pytest_worldflux_parity.wire import Refused
from pytest_worldflux_parity.wire.checkout import copy_commit
from tests.repositories import git


@pytest.fixture
def checkout(tmp_path):
    folder = tmp_path / "checkout"
    folder.mkdir()
    return folder, make_checkout(folder)


def test_the_program_is_copied_as_the_commit_has_it_and_nothing_else(checkout, tmp_path):
    folder, commit = checkout
    described = copy_commit(folder, commit, tmp_path / "copy", REPOSITORY, TREE)
    copied = {p.relative_to(tmp_path / "copy").as_posix() for p in (tmp_path / "copy").rglob("*.*")}
    assert copied == {name for name in FILES if name.startswith(("dreamerv3/", "embodied/"))}
    assert all((tmp_path / "copy" / name).read_text() == FILES[name] for name in copied)
    assert (described["commit"], described["dirty"], described["changes"]) == (commit, False, [])
    assert git(folder, "status", "--porcelain") == ""


def test_a_commit_without_the_program_is_refused(checkout, tmp_path):
    folder, _ = checkout
    git(folder, "rm", "-q", "-r", "embodied")
    git(folder, "commit", "-q", "-m", "without it")
    with pytest.raises(Refused, match="git archive"):
        copy_commit(folder, git(folder, "rev-parse", "HEAD"), tmp_path / "copy", REPOSITORY, TREE)
    assert not (tmp_path / "copy").exists()
