"""The official table that a suite is judged against is held to the lock file."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Project
from tests.release.judged_runs import table

COMMIT = "c" * 40
PLACE = "suites/quick/official.json"
ARTIFACT = {"path": "official.json", "format": "canonical_json", "commit": COMMIT}
UNPINNED = (
    f"no lock entry pins the official table {PLACE}, so nothing says that it is the official one "
    "(to pin it: worldflux-parity pin-table suites/quick/fake_quick.yaml)"
)


@pytest.fixture
def judged(project: Project) -> Project:
    """A project whose suite compares two tables."""
    worldflux = {"path": "worldflux.json", "format": "canonical_json"}
    path = project.suite(seeds=4, official={"artifact": ARTIFACT}, worldflux={"artifact": worldflux})
    table(path.with_name("official.json"), "official")
    table(path.with_name("worldflux.json"), "worldflux")
    return project


def lock(project: Project, suite: str = "fake_quick", **changes: Any) -> None:
    """A lock file whose one entry pins the table as it is now; a change of None leaves a key out."""
    sha256 = hashlib.sha256((project.root / PLACE).read_bytes()).hexdigest()
    entry = {
        "repo": "https://example.org/fake", "commit": COMMIT, "oracle_format": "canonical_json",
        "oracle_path": PLACE, "oracle_in": "project", "oracle_files": {PLACE: sha256}, **changes,
    }  # fmt: skip
    document = {
        "schema_version": "worldflux.parity.lock.v1",
        "generated_at_utc": "now",
        "suites": {suite: {k: v for k, v in entry.items() if v is not None}},
    }
    path = project.root / "reports" / "parity" / "upstream_lock.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document), encoding="utf-8")


def pinned(project: Project, run_id: str = "r") -> bool | None:
    found: bool | None = project.document(run_id=run_id)["suite_lock_ref"]["table_pinned"]
    return found


def test_the_pinned_table_needs_no_word(judged: Project) -> None:
    lock(judged)
    assert judged.run().ret == pytest.ExitCode.OK
    assert pinned(judged) is True
    assert judged.document()["warnings"] == []


@pytest.mark.parametrize(
    ("maker", "told"),
    [("unknown", "a commit that is not known"), ("d" * 40, f"commit {'d' * 40}")],
)
def test_a_table_that_another_commit_made_warns_in_the_verdict_and_on_the_card(
    judged: Project, maker: str, told: str
) -> None:
    lock(judged, oracle_commit=maker, oracle_commit_reason="the files name none")
    assert judged.run().ret == pytest.ExitCode.OK
    document = judged.document()
    said = f"{told}, and not by {COMMIT[:12]} that is locked: the files name none"
    assert document["warnings"] == [f"the official table was made by {said}"]
    assert (document["suite_lock_ref"]["oracle_commit"], pinned(judged)) == (maker, True)
    assert f"; made by {said} |" in judged.report()


def test_a_table_that_the_locked_commit_made_needs_no_word(judged: Project) -> None:
    lock(judged, oracle_commit=COMMIT, oracle_commit_reason="its provenance says so")
    assert judged.run().ret == pytest.ExitCode.OK
    assert judged.document()["warnings"] == []


def test_a_table_of_the_command_line_is_none_of_the_lock_s(judged: Project) -> None:
    lock(judged, oracle_commit="unknown", oracle_commit_reason="the files name none")
    other = judged.root / "suites/quick/other.json"
    table(other, "other")
    judged.run(f"--parity-upstream={other}")
    warnings = judged.document()["warnings"]
    assert warnings
    assert not [w for w in warnings if "was made by" in w]


def test_a_table_other_than_the_pinned_one_fails_the_verdict(judged: Project) -> None:
    lock(judged)
    was = hashlib.sha256((judged.root / PLACE).read_bytes()).hexdigest()
    table(judged.root / PLACE, "made up")
    now = hashlib.sha256((judged.root / PLACE).read_bytes()).hexdigest()
    result = judged.run()
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    document = judged.document()
    [finding] = document["gates"]["validity"]["findings"]
    assert (finding["code"], finding["system"]) == ("table_not_as_pinned", "official")
    assert finding["detail"] == (
        f"the official table {PLACE} is not the one that reports/parity/upstream_lock.json pins: it has the "
        f"sha256 {now}, pinned is {was}; to mend: bring it back from version control or, where it was "
        "measured anew, worldflux-parity pin-table suites/quick/fake_quick.yaml"
    )
    assert (document["verdict"], pinned(judged)) == ("fail", False)


@pytest.mark.parametrize("locked", ["no file", "another suite", "no pin"])
def test_a_table_that_nothing_pins_is_told_first(judged: Project, locked: str) -> None:
    if locked == "another suite":
        lock(judged, suite="other")
    elif locked == "no pin":
        lock(judged, oracle_files=None)
    result = judged.run()
    assert result.ret == pytest.ExitCode.OK
    assert judged.document()["warnings"][0] == UNPINNED
    assert pinned(judged) is False
    result.stdout.fnmatch_lines([f"  warning: {UNPINNED.replace('[', '[[]')}"])


def test_the_command_that_it_names_pins_it(judged: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    from pytest_worldflux_parity.cli import main as cli

    lock(judged, oracle_files=None)
    monkeypatch.chdir(judged.root)
    assert cli.main(UNPINNED.partition("worldflux-parity ")[2].rstrip(")").split()) == 0
    assert judged.run().ret == pytest.ExitCode.OK
    assert pinned(judged) is True


def test_a_table_of_the_command_line_is_told_and_is_no_pinned_one(judged: Project) -> None:
    """Whoever names it knows that it is another: the verdict says so, and so does the document."""
    lock(judged)
    table(judged.root / "other.json", "other")
    other = ("--parity-upstream", "other.json", "--parity-upstream-format", "canonical_json")
    assert judged.run(*other).ret == pytest.ExitCode.OK
    assert "the official table other.json is not the one that" in judged.document()["warnings"][0]
    assert pinned(judged) is False
    same = ("--parity-upstream", PLACE, "--parity-upstream-format", "canonical_json")
    assert judged.run(*same, run_id="same").ret == pytest.ExitCode.OK
    assert pinned(judged, "same") is True


def test_a_live_official_side_has_no_table_to_pin(project: Project) -> None:
    project.suite(tasks=["alpha"])
    assert project.run().ret == pytest.ExitCode.OK
    assert pinned(project) is None
    assert project.document()["warnings"] == []


def campaign(project: Project) -> None:
    """A campaign that makes a table of the official one, under the id of the suite."""
    path = project.root / "suites" / "campaign" / "one.yaml"
    path.parent.mkdir(parents=True)
    source = {"adapter": "fake_official", "commit": COMMIT, "input_path": "../quick/official.json",
              "input_format": "canonical_json", "output_path": "../../out.json"}  # fmt: skip
    document = {
        "schema_version": "worldflux.parity.campaign.v1", "suite_id": "fake_quick", "family": "fake",
        "default_step": 1000, "default_seeds": [0, 1], "tasks": ["alpha"], "sources": {"oracle": source},
    }  # fmt: skip
    path.write_text(json.dumps(document), encoding="utf-8")


def test_a_campaign_makes_nothing_of_a_table_other_than_the_pinned_one(judged: Project) -> None:
    campaign(judged)
    judged.track = "campaign"
    made = Path(judged.root / "out.json")
    command = ("suites/campaign/one.yaml", "--parity-source", "oracle")
    lock(judged)
    table(judged.root / PLACE, "made up")
    result = judged.run(*command)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert "nothing is written: the official table suites/quick/official.json is not" in result.stdout.str()
    assert not made.exists()
    lock(judged)
    result = judged.run(*command, run_id="two")
    assert result.ret == pytest.ExitCode.OK, result.outlines
    assert made.exists()
