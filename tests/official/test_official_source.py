"""The official source: verified, copied from the commit, changed in exactly the named places."""

from __future__ import annotations

import pytest
from standin import FILES, make_checkout

from backends.official_tdmpc2 import CPU_CHANGES, REPOSITORY, TREE
from pytest_worldflux_parity.wire import Refused
from pytest_worldflux_parity.wire.checkout import FETCH_COMMAND, copy_commit
from tests.repositories import git


def prepare(folder, commit, device, copy):
    return copy_commit(folder, commit, copy, REPOSITORY, TREE, CPU_CHANGES if device == "cpu" else ())


@pytest.fixture
def checkout(tmp_path):
    folder = tmp_path / "checkout"
    folder.mkdir()
    return folder, make_checkout(folder)


def test_on_a_cpu_exactly_the_named_places_are_changed(checkout, tmp_path):
    folder, commit = checkout
    described = prepare(folder, commit, "cpu", tmp_path / "copy")
    changed = {
        name.removeprefix("tdmpc2/")
        for name, text in FILES.items()
        if name.startswith("tdmpc2/")
        and (tmp_path / "copy" / name.removeprefix("tdmpc2/")).read_text() != text
    }
    assert changed == {"train.py", "tdmpc2.py", "common/buffer.py", "common/scale.py"}
    everything = "".join(p.read_text() for p in (tmp_path / "copy").rglob("*.py"))
    for gone in ("cuda:0", "torch.cuda", "capturable=True"):
        assert gone not in everything
    assert (described["commit"], described["dirty"]) == (commit, False)
    assert sum(change["occurrences"] for change in described["changes"]) == 10
    assert git(folder, "status", "--porcelain") == ""


def test_on_a_gpu_nothing_is_changed_and_the_record_tells_the_two_apart(checkout, tmp_path):
    folder, commit = checkout
    on_gpu = prepare(folder, commit, "cuda", tmp_path / "gpu")
    on_cpu = prepare(folder, commit, "cpu", tmp_path / "cpu")
    for name, text in FILES.items():
        if name.startswith("tdmpc2/"):
            assert (tmp_path / "gpu" / name.removeprefix("tdmpc2/")).read_text() == text
    assert on_gpu["changes"] == []
    assert on_gpu["changes_sha256"] != on_cpu["changes_sha256"]
    assert on_gpu["tree_sha256"] == on_cpu["tree_sha256"], "the tree is the commit's, before any change"


@pytest.mark.parametrize("change", CPU_CHANGES, ids=lambda change: f"{change.file}-{change.old}")
@pytest.mark.parametrize("more", [1, -1], ids=["one more", "one fewer"])
def test_a_place_too_many_or_too_few_is_refused(tmp_path, change, more):
    name = f"tdmpc2/{change.file}"
    text = FILES[name]
    other = text.replace(change.old, "None", 1) if more < 0 else text + f"\n# {change.old}\n"
    folder = tmp_path / "checkout"
    folder.mkdir()
    commit = make_checkout(folder, {name: (text, other)})
    with pytest.raises(
        Refused, match=f"{change.file}.* is there {change.occurrences + more} times"
    ) as caught:
        prepare(folder, commit, "cpu", tmp_path / "copy")
    assert FETCH_COMMAND in str(caught.value)


def test_a_file_that_is_gone_is_refused(checkout, tmp_path):
    folder, _ = checkout
    git(folder, "rm", "-q", "tdmpc2/common/scale.py")
    git(folder, "commit", "-q", "-m", "without it")
    commit = git(folder, "rev-parse", "HEAD")
    with pytest.raises(Refused, match=r"common/scale\.py.* is there 0 times"):
        prepare(folder, commit, "cpu", tmp_path / "copy")


def refusal(folder, commit, tmp_path):
    with pytest.raises(Refused) as caught:
        prepare(folder, commit, "cpu", tmp_path / "copy")
    assert FETCH_COMMAND in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "copy").exists()
    return str(caught.value)


def test_another_commit_is_refused(checkout, tmp_path):
    folder, commit = checkout
    git(folder, "commit", "-q", "--allow-empty", "-m", "later")
    assert f"wanted {commit}" in refusal(folder, commit, tmp_path)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("tdmpc2/train.py", "print()\n"),
        ("tdmpc2/new.py", ""),
        ("notes.txt", "x"),
        ("tdmpc2/envs/a/b.txt", "x"),
    ],
)
def test_a_dirty_tree_is_refused_untracked_files_too(checkout, tmp_path, path, text):
    folder, commit = checkout
    (folder / path).parent.mkdir(exist_ok=True)
    (folder / path).write_text(text)
    assert "the tree is dirty (1 paths" in refusal(folder, commit, tmp_path)


def test_a_staged_change_is_refused(checkout, tmp_path):
    folder, commit = checkout
    git(folder, "rm", "-q", "tdmpc2/train.py")
    assert "the tree is dirty" in refusal(folder, commit, tmp_path)


def test_an_absent_checkout_a_folder_and_a_part_of_a_checkout_are_refused(checkout, tmp_path):
    folder, commit = checkout
    (tmp_path / "plain").mkdir()
    assert "there is no checkout" in refusal(tmp_path / "none", commit, tmp_path)
    assert "git rev-parse" in refusal(tmp_path / "plain", commit, tmp_path)
    assert "not the top" in refusal(folder / "tdmpc2", commit, tmp_path)


def test_what_runs_is_the_commit_even_where_git_was_told_to_overlook_a_change(checkout, tmp_path):
    folder, commit = checkout
    git(folder, "update-index", "--assume-unchanged", "tdmpc2/common/scale.py")
    (folder / "tdmpc2/common/scale.py").write_text("raise SystemExit('not the official program')\n")
    (folder / "tdmpc2/cached.pyc").write_text("ignored by git, and not copied")
    prepare(folder, commit, "cuda", tmp_path / "copy")
    assert (tmp_path / "copy/common/scale.py").read_text() == FILES["tdmpc2/common/scale.py"]
    assert not (tmp_path / "copy/cached.pyc").exists()


def test_a_replaced_object_does_not_take_the_commits_place(checkout, tmp_path):
    folder, commit = checkout
    (folder / "tdmpc2/train.py").write_text("print('another program')\n")
    git(folder, "commit", "-q", "-a", "-m", "other")
    other = git(folder, "rev-parse", "HEAD")
    git(folder, "reset", "-q", "--hard", commit)
    git(folder, "replace", commit, other)
    prepare(folder, commit, "cuda", tmp_path / "copy")
    assert (tmp_path / "copy/train.py").read_text() == FILES["tdmpc2/train.py"]
