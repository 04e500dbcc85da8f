"""The lock file: the one that is committed, and bad ones."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from pytest_worldflux_parity.errors import SourceError
from pytest_worldflux_parity.inputs.lock import read_lock

COMMITTED = Path(__file__).parents[2] / "reports" / "parity" / "upstream_lock.json"
ENTRY = {
    "repo": "https://example.invalid/owner/name",
    "commit": "a" * 40,
    "oracle_format": "canonical_json",
    "oracle_path": "results/table.json",
}


def written(tmp_path, document):
    path = tmp_path / "lock.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def with_entry(**changes):
    entry = {k: v for k, v in {**ENTRY, **changes}.items() if v is not None}
    return {
        "schema_version": "worldflux.parity.lock.v1",
        "generated_at_utc": "2026-01-01T00:00:00+00:00",
        "suites": {"a_suite": entry},
    }


def test_the_committed_lock_names_the_published_oracles():
    lock = read_lock(COMMITTED)
    assert lock.sha256 == hashlib.sha256(COMMITTED.read_bytes()).hexdigest()
    assert set(lock.suites) >= {"dreamer_atari100k", "tdmpc2_dmcontrol39", "tdmpc2_quick"}
    dreamer, control = lock.entry("dreamer_atari100k"), lock.entry("tdmpc2_dmcontrol39")
    assert dreamer.repo == "https://github.com/danijar/dreamerv3"
    assert dreamer.commit == "b65cf81a6fb13625af8722127459283f899a35d9"
    assert dreamer.oracle_path == "scores/atari100k-dreamerv3.json.gz"
    assert control.commit == "8bbc14ebabdb32ea7ada5c801dc525d0dc73bafe"
    # Not results/tdmpc, which holds version 1 of the algorithm.
    assert control.oracle_path == "results/tdmpc2"
    assert len(control.oracle_files) == 39
    assert all(name.startswith("results/tdmpc2/") for name in control.oracle_files)


def test_quick_suites_are_measured_with_a_version_that_trains_as_the_current_and_published_ones_keep_theirs():
    lock = read_lock(COMMITTED)
    # What DreamerV3's newer version changed is of games, and its quick suite has none.
    trains_alike = {"tdmpc2": "tdmpc2", "dreamerv3": "dreamerv3@2025-09"}
    for name, published in (("tdmpc2", "tdmpc2_dmcontrol39"), ("dreamerv3", "dreamer_atari100k")):
        quick, current = lock.entry(f"{name}_quick"), lock.entry(trains_alike[name])
        assert (quick.repo, quick.commit, quick.oracle_in) == (current.repo, current.commit, "project")
        oldest = next(iter(lock.programs[name].versions))
        assert lock.entry(published).commit == lock.entry(f"{name}@{oldest}").commit


VERSIONS = {
    "old": {"commit": "a" * 40, "date": "2025-01-01", "changed": "the first"},
    "new": {"commit": "b" * 40, "date": "2026-01-01", "changed": "what begins otherwise"},
}
PROGRAM = {"repo": ENTRY["repo"], "current": "new", "versions": VERSIONS}


def test_a_source_is_a_program_in_the_version_that_is_asked_for(tmp_path):
    lock = read_lock(written(tmp_path, {**with_entry(), "programs": {"name": PROGRAM}}))
    assert [lock.entry(n).commit[0] for n in ("name", "name@old", "name@new", "a_suite")] == [
        "b",
        "a",
        "b",
        "a",
    ]
    # The suite's own entry counts before the current version, and what a side names before both.
    assert lock.entry_for("name", "a_suite").commit == "a" * 40
    assert lock.entry_for("name", "another_suite").commit == "b" * 40
    assert lock.entry_for("name", "a_suite", "new").commit == "b" * 40
    assert (lock.version_of(ENTRY["repo"], "a" * 40), lock.version_of("x", "a" * 40)) == ("old", "")


def test_a_suite_of_another_repository_says_nothing_of_a_program(tmp_path):
    other = with_entry(repo="https://example.invalid/owner/other")
    lock = read_lock(written(tmp_path, {**other, "programs": {"name": PROGRAM}}))
    assert lock.entry_for("name", "a_suite").commit == "b" * 40


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("nam", "no suite and no program 'nam' is locked; did you mean 'name'?"),
        ("name@olt", "no version 'olt' of name is locked; did you mean 'old'?"),
        ("a_suite@old", "no suite and no program 'a_suite' is locked"),
    ],
)
def test_a_version_that_is_not_locked_is_refused_with_the_nearest(tmp_path, name, told):
    lock = read_lock(written(tmp_path, {**with_entry(), "programs": {"name": PROGRAM}}))
    with pytest.raises(SourceError) as caught:
        lock.entry(name)
    assert told in caught.value.line()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"current": "newest"}, "the current version 'newest' of name is none of its versions"),
        ({"versions": {}}, "versions"),
        ({"versions": {"old": {"commit": "a" * 40}}}, "'date' is missing"),
        ({"repo": "--upload-pack=x"}, "repo"),
    ],
)
def test_a_program_that_is_wrong(tmp_path, changes, told):
    path = written(tmp_path, {**with_entry(), "programs": {"name": {**PROGRAM, **changes}}})
    with pytest.raises(SourceError) as caught:
        read_lock(path)
    assert told in caught.value.line()


@pytest.mark.parametrize(
    ("suite", "told"),
    [
        ("name", "no version 'olt' of name is locked; did you mean 'old'?"),
        ("a_suite", "no suite and no program 'a_suite' is locked"),
    ],
)
def test_a_golden_of_a_version_that_is_not_locked(tmp_path, suite, told):
    """A slip in the name would otherwise leave the golden of that version without its pin."""
    row = {"manifest_sha256": "0" * 64, "components": 1}
    pin = {"suite": suite, "manifest_sha256": "0" * 64, "holds": ["c/*"], "versions": {"olt": row}}
    document = {**with_entry(), "programs": {"name": PROGRAM}, "goldens": {"fake": pin}}
    with pytest.raises(SourceError) as caught:
        read_lock(written(tmp_path, document))
    assert told in caught.value.line()


def test_a_lock_in_the_form_of_the_seed_documents_is_read(tmp_path):
    entry = read_lock(written(tmp_path, with_entry())).entry("a_suite")
    assert (entry.oracle_in, dict(entry.oracle_files)) == ("source", {})


def test_an_unlocked_suite_is_refused_with_the_nearest():
    with pytest.raises(SourceError, match="did you mean 'tdmpc2_quick'") as caught:
        read_lock(COMMITTED).entry("tdmpc_quick")
    assert str(COMMITTED) in caught.value.line()


@pytest.mark.parametrize(
    ("document", "match"),
    [
        (with_entry(commit="abc"), "commit"),
        (with_entry(commit="A" * 40), "commit"),
        (with_entry(commit=None), "key 'commit' is missing"),
        (with_entry(repo="--upload-pack=x"), "repo"),
        (with_entry(repo="ext::sh -c x"), "repo"),
        (with_entry(oracle_path="../elsewhere"), "oracle_path"),
        (with_entry(oracle_path="a/../../b"), "oracle_path"),
        (with_entry(oracle_path="/etc"), "oracle_path"),
        (with_entry(oracle_format="tdmpc2_csv_dir"), "did you mean 'tdmpc2_results_csv_dir'"),
        (with_entry(oracle_file={}), "unknown key 'oracle_file'; did you mean 'oracle_files'"),
        (with_entry(oracle_files={"a": "0" * 63}), "oracle_files"),
        (with_entry(oracle_commit="unknown"), "oracle_commit_reason"),
        (with_entry(oracle_commit_reason="why"), "oracle_commit"),
        (with_entry(oracle_commit="unknwon", oracle_commit_reason="why"), "or 'unknown'"),
        (with_entry(oracle_files={"../a": "0" * 64}), "oracle_files"),
        ({**with_entry(), "schema_version": "worldflux.parity.lock.v2"}, "schema_version"),
        ({**with_entry(), "suites": {}}, "suites"),
        ([], "the document"),
        ("{", "lock.json:1: not JSON"),
        ('{"suites": {}, "suites": {}}', "key 'suites' stands twice"),
        ("\ufffe", "not JSON"),
    ],
)
def test_a_bad_lock_is_refused_in_one_line(tmp_path, document, match):
    with pytest.raises(SourceError, match=match) as caught:
        read_lock(written(tmp_path, document))
    assert str(tmp_path / "lock.json") in caught.value.line()
    assert "\n" not in caught.value.line()


def test_an_absent_lock_is_refused(tmp_path):
    with pytest.raises(SourceError, match=r"none\.json: the lock file cannot be read: "):
        read_lock(tmp_path / "none.json")
