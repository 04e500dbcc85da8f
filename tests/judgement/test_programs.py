"""Two programs and not one twice, by the files that they name; and one tree for all records of a side."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pytest_worldflux_parity.errors import SuiteError
from pytest_worldflux_parity.judgement.gates.programs import (
    TRIVIAL,
    Named,
    beside_a_table,
    find_not_shown,
    named_of,
    named_programs,
    overlap,
    program_findings,
    repositories,
)
from pytest_worldflux_parity.judgement.gates.validity import other_commits, sealed_findings, source_findings
from pytest_worldflux_parity.suite.proof import parse_proof
from pytest_worldflux_parity.suite.suite import Comparison
from tests.conftest import PROOF
from tests.judgement.test_core_judgement import line, suite

REPO = "https://example.org/rl"


def named(*contents: str, repository: str = "") -> Named:
    files = {f"{i}.py": c for i, c in enumerate(contents)}
    return Named(frozenset([repository] if repository else []), (), files)


def codes(official: Named | None, worldflux: Named | None, comparison: Comparison = "programs") -> list[str]:
    own = replace(suite(), comparison=comparison)
    return [f.code for f in program_findings(own, {"official": official, "worldflux": worldflux})]


EMPTY = next(iter(TRIVIAL))


@pytest.mark.parametrize(
    ("official", "worldflux", "one"),
    [
        (named("a", "b"), named("a", "b"), True),
        # Moved, or with more beside it: it is the same program.
        (named("a", "b"), named("b", "a", "c"), True),
        (named("a", "b", "c"), named("b"), True),
        # CleanRL's ppo.py and ppo_jax.py: one repository, shared helpers.
        (named("ppo", "helpers", repository=REPO), named("ppo_jax", "helpers", repository=REPO), False),
        (named("a", repository=REPO), named("b", repository=REPO), False),
        (named("a", EMPTY), named("b", EMPTY), False),
        (named("a", EMPTY), named("a", "b"), True),
    ],
)
def test_one_program_is_told_by_its_files(official: Named, worldflux: Named, one: bool) -> None:
    for sides in ((official, worldflux), (worldflux, official)):
        assert codes(*sides) == (["same_program"] if one else [])
        assert codes(*sides, "self") == ([] if one else ["not_one_program"])


def ran(tree: str, files: str, *, words: bool = False) -> Named:
    """A side that runs from a tree and names files: words ``path`` or ``path=content``."""
    own = [{w.partition("=")[0]: w.partition("=")[2] or w for w in x.split()} for x in (tree, files)]
    return Named(files=own[1], tree=own[0], by_words=words)


OFFICIAL = ran("off/backend.yaml off/main.py=main off/lib.py=lib", "off/main.py=main off/lib.py=lib")


@pytest.mark.parametrize(
    ("official", "worldflux", "one"),
    [
        # It names a text beside it, or a part of itself that says nothing.
        (OFFICIAL, ran("c/backend.yaml c/main.py=main c/lib.py=lib c/decoy.txt", "c/decoy.txt"), True),
        (OFFICIAL, ran("c/go.txt=main c/lib.py=lib c/decoy.txt", "c/decoy.txt"), True),
        (OFFICIAL, ran("c/main.py=main c/decoy.txt", "c/decoy.txt"), True),
        (OFFICIAL, ran("c/main.py=main c/lib.py=lib", "numpy/__init__.py=np"), True),
        (ran("s/main.py=main", "s/main.py=main"), ran("s/main.py=main c/decoy.txt", "c/decoy.txt"), True),
        # One of the official program's own files is no program of another environment.
        (
            ran("s/main.py=main s/lib.py=lib", "s/main.py=main"),
            ran("s/main.py=main s/lib.py=lib", "s/lib.py=lib"),
            True,
        ),
        # A shared folder with a shared helper, and a main file each.
        (
            ran("s/a.py s/help.py", "s/a.py s/help.py"),
            ran("s/b.py s/help.py", "s/b.py s/help.py"),
            False,
        ),
        (
            ran("s/a.py s/b.py s/help.py", "s/a.py", words=True),
            ran("s/a.py s/b.py s/help.py", "s/b.py", words=True),
            False,
        ),
        (
            ran("s/a.py=a s/b.py=a", "s/a.py=a s/one.txt", words=True),
            ran("s/a.py=a s/b.py=a", "s/b.py=a s/two.txt", words=True),
            True,
        ),
        # The official program is vendored beside code of its own.
        (OFFICIAL, ran("c/own.py v/main.py=main v/lib.py=lib", "c/own.py"), False),
        # A package of the candidate's that one environment has for both.
        (ran("wf/a.py off/run.py", "rl/train.py"), ran("wf/a.py", "wf/a.py"), False),
        (ran("wf/a.py", "rl/train.py"), ran("wf/a.py", "wf/a.py"), False),
        # One launcher of two checkouts.
        (ran("o/run.py=run", "old/a.py=1"), ran("c/run.py=run", "new/a.py=2"), False),
        # What holds no code tells nothing.
        (ran("o/a.yaml=1", "rl/a.py=1"), ran("c/a.yaml=1", "wf/b.py=2"), False),
        (ran("o/__init__.py=" + EMPTY, "rl/a.py"), ran("c/__init__.py=" + EMPTY, "wf/b.py"), False),
    ],
)
def test_one_program_is_told_by_the_code_that_runs(official: Named, worldflux: Named, one: bool) -> None:
    assert codes(official, worldflux) == (["same_program"] if one else [])
    assert codes(official, worldflux, "self") == ([] if one else ["not_one_program"])


def test_a_match_program_is_no_code_of_a_run() -> None:
    own = ran("c/main.py=main c/lib.py=lib c/match.py c/decoy.txt", "c/decoy.txt")
    assert codes(OFFICIAL, own) == []
    assert codes(OFFICIAL, replace(own, beside=frozenset(["c/match.py"]))) == ["same_program"]
    # The official code does not become none by being named as a match.
    every = frozenset(["c/match.py", "c/main.py", "c/lib.py"])
    assert codes(OFFICIAL, replace(own, beside=every)) == ["same_program"]


def test_the_card_says_what_runs_beside_what_is_named() -> None:
    def said(other: Named) -> str:
        common = overlap({"official": OFFICIAL, "worldflux": other})
        return common.line() if common else "nothing"

    assert said(ran("c/main.py=main c/lib.py=lib c/decoy.txt", "c/decoy.txt")) == (
        "one program: all 2 code files that the candidate runs from, whatever it names, the official program "
        "has too"
    )
    assert said(ran("c/own.py v/main.py=main v/lib.py=lib", "c/own.py")) == (
        "two programs; the official program stands in the candidate's files, all its 2 code files, beside "
        "code of its own"
    )


def test_the_card_says_what_two_programs_share() -> None:
    def said(one: Named, other: Named) -> str:
        common = overlap({"official": one, "worldflux": other})
        return common.line() if common else "nothing"

    ppo, jax = named("a", "h", repository=REPO), named("b", "h", "c", repository=REPO)
    assert said(ppo, jax) == (
        f"two programs of one repository, {REPO}; 1 file stands on both sides (of 2 and 3)"
    )
    assert said(named("a", repository=REPO), named("b", repository=REPO)) == (
        f"two programs of one repository, {REPO}; they share no file"
    )
    assert said(named("a"), named("b")) == ""
    assert said(named("a", "h"), named("b", "h")) == (
        "two programs; 1 file stands on both sides (of 2 and 2)"
    )


def test_a_program_of_the_repository_of_a_table_is_a_warning() -> None:
    table = Named(repositories([f"{REPO}.git", None]))
    [told] = beside_a_table({"official": table, "worldflux": named("a", repository=REPO)})
    assert told.startswith(f"both sides are of one repository, {REPO}, and a table names no files")
    for other in (named("a", repository="https://example.org/own"), table, None):
        assert list(beside_a_table({"official": table, "worldflux": other})) == []
    assert codes(table, named("a", repository=REPO)) == []


def test_versions_are_two_of_one_program() -> None:
    old, new = named("a", "h", repository=REPO), named("b", "h", repository=REPO)
    assert codes(old, new, "versions") == []
    assert codes(old, old, "versions") == ["same_program"]
    assert codes(named("a"), named("b"), "versions") == ["not_one_program"]


@pytest.mark.parametrize("own", [None, {}, {"files": {}}, {"files": {"__init__.py": EMPTY}, "sources": []}])
def test_a_side_that_says_nothing_is_not_shown(own: dict[str, Any] | None) -> None:
    assert named_of(own) is None
    [finding] = find_not_shown({"official": None})
    assert (finding.code, finding.system) == ("program_not_shown", "official")
    assert codes(None, named("a")) == []


def test_what_a_session_sealed_is_read_in_one_place() -> None:
    source = {
        "kind": "checkout", "name": "rl", "repository": REPO, "commit": "c" * 40, "version": None,
        "paths": ["a"],
    }  # fmt: skip
    entry = {
        "programs": {
            "fake.official": {"named": {"sources": [source], "files": {"a.py": "1"}}},
            # Of an earlier run there is no such key.
            "fake.worldflux": {"adapter": "w"},
        },
    }
    tree = {"backends/fake/main.py": "2"}
    seen = named_programs({**entry, "trees": {"fake.official": tree}}, "fake")["official"]
    assert seen is not None
    assert (dict(seen.tree), seen.by_words) == (tree, False)
    found = named_programs(entry, "fake")
    assert found == {"official": Named(frozenset([REPO]), ("rl",), {"a.py": "1"}), "worldflux": None}
    assert named_programs({"programs": {}}, "fake") == {}


@pytest.mark.parametrize("comparison", ["self", "versions"])
def test_a_suite_of_one_program_claims_nothing(comparison: str) -> None:
    document = {**PROOF, "suite_id": "s", "comparison": comparison}
    own = parse_proof(document, suite().path, lambda at: f"suite.yaml: {at}")
    assert (own.comparison, own.parts[0].comparison) == (comparison, comparison)
    with pytest.raises(SuiteError, match=r"of which no claim can be.*write `claim: none`"):
        parse_proof({**document, "claim": "proof_grade"}, suite().path, lambda at: f"suite.yaml: {at}")


def test_all_records_of_a_side_state_one_tree() -> None:
    one, other = {"tree_sha256": "ab" * 32}, {"tree_sha256": "cd" * 32}
    assert not list(source_findings([line(source=one), line(source=one), line("official", source=other)]))
    [mixed] = source_findings([line(source=one), line(source=other)])
    assert (mixed.code, mixed.system, mixed.seed) == ("source_trees_differ", "worldflux", 0)
    [silent] = source_findings([line(source=one), line(source={"commit": "c" * 40})])
    assert "its source tree is not stated" in silent.detail
    for odd in (None, [], "x", {"tree_sha256": 7}):
        assert len(list(source_findings([line(source=one), line(source=odd)]))) == 1


def test_several_commits_of_one_tree_are_a_warning() -> None:
    of = [{"tree_sha256": "ab" * 32, "commit": c * 40} for c in "cd"]
    assert other_commits([line(source=of[0]), line(source=of[0]), line(source={})]) == []
    [told] = other_commits([line(source=s) for s in of])
    assert told == "the records of the worldflux side state 2 commits: cccccccccccc, dddddddddddd"
    assert not list(source_findings([line(source=s) for s in of]))


def test_a_record_says_of_which_files_its_program_ran() -> None:
    """Who edits the copy and the seal while a program runs open, and both back at the end, is found by it."""
    ran = {"task_id": "alpha", "seed": 0, "system": "worldflux", "program_sha256": "a" * 64}
    [finding] = sealed_findings([ran], {"worldflux": "b" * 64, "official": "a" * 64})
    assert (finding.code, finding.system) == ("source_trees_differ", "worldflux")
    assert "ran from files of the sha256 aaaaaaaaaaaa, sealed are bbbbbbbbbbbb" in finding.detail
    assert not list(sealed_findings([ran], {"worldflux": "a" * 64}))
    unseen = {**ran, "program_sha256": None}
    assert not list(sealed_findings([unseen, {"system": "worldflux"}], {"worldflux": "b" * 64}))
