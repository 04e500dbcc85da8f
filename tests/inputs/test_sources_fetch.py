"""Fetching official checkouts: right, whole, or not at all."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pytest_worldflux_parity.errors import SourceError
from pytest_worldflux_parity.inputs import checkouts
from tests.inputs.upstreams import REPO, TABLE
from tests.repositories import git

ONE_FETCH = """
import json, sys
from pathlib import Path
from pytest_worldflux_parity.inputs import checkouts, lock
entry = lock.LockEntry(**json.loads(sys.argv[1]))
print(checkouts.fetch(entry, Path(sys.argv[2]), {"*": sys.argv[3]}).already_there)
"""


def fetching_process(upstream, root, **more):
    import json

    arguments = [json.dumps(dataclasses.asdict(upstream.entry)), str(root), str(upstream.path)]
    return subprocess.Popen(
        [sys.executable, "-c", ONE_FETCH, *arguments], stdout=subprocess.PIPE, text=True, **more
    )


def place(upstream, root):
    return checkouts.checkout_path(root, upstream.entry.repo, upstream.entry.commit)


def left_behind(upstream, root):
    folder = place(upstream, root).parent
    return sorted(p.name for p in folder.iterdir()) if folder.exists() else []


def test_a_checkout_of_the_locked_commit_is_brought_and_the_second_fetch_finds_it(upstream, root):
    first = checkouts.fetch(upstream.entry, root, {"*": str(upstream.path)})
    again = checkouts.fetch(upstream.entry, root, {"*": str(upstream.path)})
    assert (first.already_there, again.already_there) == (False, True)
    assert first.path == root / ".worldflux" / "sources" / "owner+name" / upstream.entry.commit
    assert git(first.path, "rev-parse", "HEAD") == upstream.entry.commit
    assert (first.path / "train.py").read_text() == "print('official')\n"
    assert (first.path / TABLE).read_bytes() == (upstream.path / TABLE).read_bytes(), "line ends were changed"
    assert left_behind(upstream, root) == [".lock", upstream.entry.commit]


def test_the_checkout_names_the_locked_url_and_not_the_mirror(upstream, root):
    path = checkouts.fetch(upstream.entry, root, {"*": str(upstream.path)}).path
    assert git(path, "config", "remote.origin.url") == REPO
    text = "".join(p.read_text(errors="replace") for p in (path / ".git").rglob("*") if p.is_file())
    assert str(upstream.path) not in text


@pytest.mark.parametrize("form", ["bare", "file-url", "by-name", "folder-of-mirrors", "plus", "owner-folder"])
def test_a_mirror_is_a_clone_or_a_folder_of_clones(upstream, root, tmp_path, form):
    mirrors = tmp_path / "mirrors"
    mirrors.mkdir()
    bare = mirrors / {"plus": "owner+name/repo", "owner-folder": "owner/name"}.get(form, "name.git")
    git(tmp_path, "clone", "-q", "--bare", str(upstream.path), str(bare))
    given = {
        "bare": {"*": str(bare)},
        "file-url": {"*": f"file://{bare}"},
        "by-name": {"owner/name": str(bare), "*": "/nowhere"},
    }.get(form, {"*": str(mirrors)})
    assert not checkouts.fetch(upstream.entry, root, given).already_there


def test_a_server_that_gives_only_the_tips_of_branches_is_fetched_whole(upstream, root, fake_git):
    fake_git('case "$*" in *--depth*) echo "fatal: not our ref" >&2; exit 128;; esac')
    assert not checkouts.fetch(upstream.entry, root, {"*": str(upstream.path)}).already_there


def test_hooks_of_the_mirror_and_of_the_user_do_not_run(upstream, root, tmp_path, monkeypatch):
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for name in ("post-checkout", "reference-transaction"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
        (hooks / name).chmod(0o755)
    (tmp_path / "gitconfig").write_text(f"[core]\n\thooksPath = {hooks}\n[init]\n\ttemplateDir = {hooks}\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    checkouts.fetch(upstream.entry, root, {"*": str(upstream.path)})
    assert not (tmp_path / "ran").exists()


def test_a_submodule_is_not_fetched(upstream, root, tmp_path):
    git(tmp_path, "init", "-q", "inner")
    git(tmp_path / "inner", "commit", "-q", "--allow-empty", "-m", "inner")
    allow = ("-c", "protocol.file.allow=always")
    git(upstream.path, *allow, "submodule", "--quiet", "add", str(tmp_path / "inner"), "inner")
    git(upstream.path, "commit", "-q", "-m", "with a submodule")
    entry = dataclasses.replace(upstream.entry, commit=git(upstream.path, "rev-parse", "HEAD"))
    path = checkouts.fetch(entry, root, {"*": str(upstream.path)}).path
    assert list((path / "inner").iterdir()) == []


def test_git_variables_of_a_calling_hook_do_not_lead_elsewhere(upstream, root, tmp_path, monkeypatch):
    git(tmp_path, "init", "-q", "other")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other" / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "other" / "index"))
    assert not checkouts.fetch(upstream.entry, root, {"*": str(upstream.path)}).already_there
    assert not (tmp_path / "other" / "index").exists()


def refused(upstream, root, mirrors, match, **changes):
    entry = dataclasses.replace(upstream.entry, **changes)
    with pytest.raises(SourceError, match=match) as caught:
        checkouts.fetch(entry, root, mirrors)
    assert "\n" not in caught.value.line()
    assert left_behind(upstream, root) in ([], [".lock"])
    return caught.value


def test_a_commit_that_the_mirror_lacks_is_named(upstream, root):
    error = refused(upstream, root, {"*": str(upstream.path)}, "is not in", commit="0" * 40)
    assert "up to date" in error.hint


def test_an_object_that_is_no_commit_is_refused(upstream, root):
    tree = git(upstream.path, "rev-parse", "HEAD^{tree}")
    refused(upstream, root, {"*": str(upstream.path)}, "is not in", commit=tree)


@pytest.mark.parametrize("mirror", ["/nowhere/at/all", "file:///nowhere"])
def test_an_absent_mirror_is_named(upstream, root, mirror):
    error = refused(upstream, root, {"*": mirror}, "is not a git repository")
    assert "--mirror owner/name=PATH" in error.hint


def test_without_network_the_error_says_what_to_do(upstream, root):
    error = refused(upstream, root, {}, "git fetch: ")
    assert "--mirror owner/name=PATH" in error.hint
    assert str(place(upstream, root)) in error.hint


def test_what_git_says_is_passed_on_and_a_full_disk_may_be_the_reason(upstream, root, fake_git):
    fake_git('echo "fatal: whatever git says" >&2; exit 128')
    error = refused(upstream, root, {"*": str(upstream.path)}, "git fetch: fatal: whatever git says")
    assert "on a full or write-protected disk, make room or give permission" in error.hint


def test_a_place_that_cannot_be_written_is_one_line(upstream, root):
    (root / ".worldflux").write_text("a file")
    refused(upstream, root, {"*": str(upstream.path)}, "cannot be written")


def test_absent_git_is_one_line(upstream, root, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert refused(upstream, root, {"*": str(upstream.path)}, "git is not there").hint == "install git"


def test_a_score_file_with_another_sha256_is_refused(upstream, root):
    refused(upstream, root, {"*": str(upstream.path)}, f"sha256 of {TABLE}", oracle_files={TABLE: "0" * 64})


def test_an_absent_score_file_is_refused_unless_only_the_source_is_wanted(upstream, root):
    entry = dataclasses.replace(upstream.entry, oracle_path="elsewhere")
    refused(upstream, root, {"*": str(upstream.path)}, "elsewhere is not there", oracle_path="elsewhere")
    assert not checkouts.fetch(entry, root, {"*": str(upstream.path)}, oracles=False).already_there


@pytest.mark.parametrize(
    ("damage", "match"),
    [
        (lambda path: (path / "train.py").write_text("print('mine')\n"), "dirty .1 paths, first: M train.py"),
        (lambda path: (path / "more.py").write_text(""), "dirty .1 paths, first: .. more.py"),
        (lambda path: (path / TABLE).unlink(), "dirty"),
        (lambda path: git(path, "commit", "-q", "--allow-empty", "-m", "x"), "its commit is"),
        (lambda path: (path / ".git").rename(path / "git"), "is not a git checkout"),
    ],
)
def test_a_checkout_that_is_not_what_the_lock_says_is_refused_and_left_alone(upstream, root, damage, match):
    path = checkouts.fetch(upstream.entry, root, {"*": str(upstream.path)}).path
    damage(path)
    with pytest.raises(SourceError, match=match) as caught:
        checkouts.fetch(upstream.entry, root, {"*": str(upstream.path)})
    assert "fetch-oracles --suite a_suite" in caught.value.hint
    assert path.is_dir()


def test_a_change_that_git_was_told_to_overlook_shows_in_the_sha256(upstream, root):
    path = checkouts.fetch(upstream.entry, root, {"*": str(upstream.path)}).path
    git(path, "update-index", "--assume-unchanged", TABLE)
    (path / TABLE).write_text("step,reward,seed\n0,1000,1\n")
    with pytest.raises(SourceError, match=f"sha256 of {TABLE}"):
        checkouts.verify_checkout(path, upstream.entry)


def test_concurrent_fetches_bring_one_checkout(upstream, root):
    processes = [fetching_process(upstream, root) for _ in range(4)]
    said = sorted(p.communicate()[0].strip() for p in processes)
    assert said == ["False", "True", "True", "True"]
    assert left_behind(upstream, root) == [".lock", upstream.entry.commit]


def test_a_killed_fetch_leaves_nothing_in_place_and_the_next_one_clears_up(upstream, root, fake_git):
    script = fake_git("touch started; sleep 600")
    process = fetching_process(upstream, root, start_new_session=True)
    while not list(root.rglob("started")):
        assert process.poll() is None, "the fetch ended before it was killed"
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not place(upstream, root).exists()
    assert len(left_behind(upstream, root)) == 2
    script.unlink()
    assert not checkouts.fetch(upstream.entry, root, {"*": str(upstream.path)}).already_there
    assert left_behind(upstream, root) == [".lock", upstream.entry.commit]


@pytest.mark.parametrize(
    ("repo", "name"),
    [
        ("https://github.com/owner/name", "owner/name"),
        ("https://github.com/owner/name.git/", "owner/name"),
        ("ssh://git@host/owner/na.me-2", "owner/na.me-2"),
        ("git@host:owner/name.git", "owner/name"),
    ],
)
def test_the_name_of_a_repository_is_the_end_of_its_url(repo, name):
    assert checkouts.repo_name(repo) == name


@pytest.mark.parametrize(
    "repo", ["name", "https://host/../..", "https://host/owner/..", "https://host/o/-x", ""]
)
def test_a_url_that_would_lead_out_of_the_folder_is_refused(repo):
    with pytest.raises(SourceError, match="does not end in owner/name"):
        checkouts.repo_name(repo)


def test_the_score_table_of_a_suite_is_found_in_the_checkout_or_in_the_project(upstream):
    checkout = checkouts.checkout_path(Path("p"), REPO, upstream.entry.commit)
    assert checkouts.oracle_path(upstream.entry, Path("p")) == checkout / "results"
    here = dataclasses.replace(upstream.entry, oracle_in="project", oracle_path="suites/x.json")
    assert checkouts.oracle_path(here, Path("p")) == Path("p/suites/x.json")
