"""Numbers that no run gave: tables invented, chosen or exchanged, and seeds that were picked.

Each is taken as far as ``aggregate``, ``validate`` and ``coverage``, beside a run that is honest.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.attacks.lab import (
    FACTOR,
    OFFICIAL,
    TABLE,
    ask,
    assert_not_released,
    assert_released,
    edit,
    lock,
    program,
    released,
    sha256_of,
)
from tests.components import goldens
from tests.conftest import Project
from tests.release.judged_runs import AGGREGATE, LOCK, POLICY, changed, read, table, write

TABLES = "fake_tables"
MINE = f"suites/quick/{TABLES}.json"
FEW = ("--parity-seeds", "4,5,6,7")
# Good at the seeds that are going to be picked, and at no other.
PICKED = "level *= 1.0 if request.seed >= 4 else 0.7"


def assert_refused(project: Project, run_id: str, suite: str, *codes: str) -> None:
    """``validate`` and ``coverage`` stop a release that requires the suite, and say why."""
    assert_not_released(project, run_id, suite, codes=codes)
    assert covered(project, suite) == 1


def covered(project: Project, suite: str) -> int:
    """What ``coverage`` says of the aggregate that stands there."""
    answer = ask(project, "coverage", "--aggregate", AGGREGATE, "--enforce-pass", "--required-suite", suite)
    return answer.status


# --- a live candidate against a table ---


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A candidate that is good at picked seeds alone, and a run ``honest`` of it before it was changed."""
    project = Project(tmp_path_factory.mktemp("live"))
    seeds = {"official": 8, "worldflux": [0, 1, 2, 3]}
    path = project.suite(tasks=["alpha"], seeds=seeds, official=OFFICIAL)
    table(path.with_name("official.json"), "official", seeds=8)
    lock(project)
    assert project.run(run_id="honest").ret == pytest.ExitCode.OK
    return project


def test_an_honest_run_is_accepted_to_the_end(live: Project) -> None:
    """The control."""
    assert_released(live, "honest", "fake_quick")
    assert covered(live, "fake_quick") == 0


def given(project: Project, system: str, factor: float) -> tuple[str, ...]:
    """A made-up table on the command line, in place of a side."""
    table(project.root / "mine.json", f"mine {system}", factor, seeds=8)
    option = {"official": "--parity-upstream", "worldflux": "--parity-worldflux"}[system]
    return option, "mine.json", f"{option}-format", "canonical_json"


# What is run in place of the honest run -> how; what a release says of it.
CHOSEN: dict[str, tuple[Callable[[Project], tuple[str, ...]], tuple[str, ...]]] = {
    "picked seeds": (lambda project: FEW, ("overrides", "not_passed")),
    "a table for the candidate": (lambda project: given(project, "worldflux", 1.0), ("overrides",)),
    "a table for the official side": (
        lambda project: given(project, "official", 0.7), ("overrides", "not_as_expected"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CHOSEN)
def test_what_the_command_line_chose_is_refused(live: Project, name: str, tmp_path: Path) -> None:
    project = live.copied(tmp_path / "project")
    edit(program(project), FACTOR, PICKED)
    arguments, codes = CHOSEN[name]
    assert project.run(*arguments(project), run_id="chosen").ret == pytest.ExitCode.OK, "it passes by itself"
    assert_refused(project, "chosen", "fake_quick", *codes)


def test_a_policy_may_admit_what_was_chosen(live: Project, tmp_path: Path) -> None:
    """By its name, and then the card says it."""
    project = live.copied(tmp_path / "project")
    assert project.run(*FEW, run_id="chosen").ret == pytest.ExitCode.OK
    assert_refused(project, "chosen", "fake_quick", "overrides")
    changed(project.root / POLICY, admitting("overrides"))
    answer = released(project, "chosen", "fake_quick")
    assert answer.status == 0, answer.text
    assert "--parity-seeds 4,5,6,7 in place of the suite's seeds" in answer.text


def admitting(*names: str) -> Callable[[dict[str, Any]], object]:
    def change(document: dict[str, Any]) -> None:
        for row in document["suites"].values():
            row["admit"] = [*row["admit"], *names]

    return change


@pytest.mark.parametrize("pinned", [True, False], ids=["pinned", "not pinned"])
def test_an_official_table_that_was_exchanged_is_refused(live: Project, pinned: bool, tmp_path: Path) -> None:
    """In place, so that the run itself sees nothing; a lock file that pins no table holds none either."""
    project = live.copied(tmp_path / "project")
    edit(program(project), FACTOR, "level *= 0.7")
    table(project.root / TABLE, "exchanged", 0.7, seeds=8)
    if not pinned:
        changed(project.root / LOCK, lambda d: [e.pop("oracle_files") for e in d["suites"].values()])
    result = project.run(run_id="exchanged")
    assert ("table_not_as_pinned" in result.stdout.str()) is pinned
    assert result.ret == (pytest.ExitCode.TESTS_FAILED if pinned else pytest.ExitCode.OK)
    assert_refused(project, "exchanged", "fake_quick", "table_not_pinned")


# --- two tables ---


def campaign(project: Project) -> None:
    """The candidate's table as a campaign of its program makes it."""
    source = {"adapter": "fake_worldflux", "output_path": f"../quick/{TABLES}.json"}
    document = {
        "schema_version": "worldflux.parity.campaign.v1", "suite_id": TABLES, "family": "fake",
        "default_step": 1000, "default_seeds": [0, 1, 2, 3], "tasks": ["alpha"],
        "sources": {"worldflux": source},
    }  # fmt: skip
    write(project.root / "suites" / "campaign" / "c.yaml", document)
    project.track = "campaign"
    result = project.run("--parity-source=worldflux", run_id="campaign")
    assert result.ret == pytest.ExitCode.OK, result.outlines
    project.track = "quick"
    # The policy names suites that are judged.
    (project.root / "suites" / "campaign" / "c.yaml").unlink()


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A suite of the older format of two tables, the candidate's from a campaign; a run ``honest`` of it.

    The policy requires it where the candidate's table is there, and admits documents.
    """
    project = Project(tmp_path_factory.mktemp("tables"))
    official = {**OFFICIAL["artifact"], "repo": "https://example.org/fake"}
    suite = {
        "suite_id": TABLES, "family": "fake", "tasks": ["alpha"], "upstream": official,
        "worldflux": {"path": f"{TABLES}.json", "format": "canonical_json"},
    }  # fmt: skip
    campaign(project)
    write(project.root / "suites" / "quick" / f"{TABLES}.yaml", suite)
    table(project.root / TABLE, "official")
    lock(project)
    row = {"stage": "required_where_table", "evidence": "documents"}
    changed(project.root / POLICY, lambda d: [own.update(row) for own in d["suites"].values()])
    entry = {
        "repo": "https://example.org/fake", "commit": goldens.COMMIT, "oracle_format": "canonical_json",
        "oracle_path": TABLE, "oracle_in": "project",
        "oracle_files": {TABLE: sha256_of(project.root / TABLE)},
    }  # fmt: skip
    changed(project.root / LOCK, lambda d: d["suites"].update({TABLES: entry}))
    assert project.run(run_id="honest").ret == pytest.ExitCode.OK
    return project


def test_a_table_of_a_campaign_is_accepted_to_the_end(tables: Project) -> None:
    """The control."""
    assert_released(tables, "honest", TABLES)
    assert covered(tables, TABLES) == 0


def official_scores(project: Project) -> list[dict[str, Any]]:
    rows = read(project.root / TABLE)["scores"]
    return [row for row in rows if row["task"] == "alpha"]


def little_worse(project: Project) -> dict[str, Any]:
    """Scores a little below the official ones, of no program; made up one by one, so they are no copies."""
    rows, luck = official_scores(project), random.Random(1)
    return {"scores": [{**row, "score": row["score"] * 0.99 + luck.gauss(0, 0.5)} for row in rows]}


def much_later(project: Project) -> dict[str, Any]:
    """The same after ten times the frames, with the words of a campaign."""
    provenance = read(project.root / MINE)["provenance"]
    rows = [{**row, "step": row["step"] * 10} for row in little_worse(project)["scores"]]
    return {"provenance": provenance, "scores": rows}


def with_a_name(project: Project) -> dict[str, Any]:
    """The same with a provenance that names a program and nothing that ran."""
    provenance = {"adapter": "fake_worldflux", "commit": goldens.COMMIT}
    return {**little_worse(project), "provenance": provenance}


INVENTED: dict[str, tuple[Callable[[Project], dict[str, Any]], str]] = {
    "without a word": (little_worse, "table_without_runs"),
    "with a name": (with_a_name, "table_without_runs"),
    "after ten times the frames": (much_later, "frames_apart"),
}


@pytest.mark.parametrize("name", INVENTED)
def test_an_invented_table_is_refused(tables: Project, name: str, tmp_path: Path) -> None:
    project = tables.copied(tmp_path / "project")
    make, code = INVENTED[name]
    write(project.root / MINE, make(project))
    assert project.run(run_id="invented").ret == pytest.ExitCode.OK, "it passes by itself"
    assert_refused(project, "invented", TABLES, code)


def test_its_document_alone_is_refused_too(tables: Project, tmp_path: Path) -> None:
    """Where documents are admitted, the table behind one is looked at all the same."""
    project = tables.copied(tmp_path / "project")
    write(project.root / MINE, little_worse(project))
    assert project.run(run_id="invented").ret == pytest.ExitCode.OK
    beside = ("evidence_bundle.zip", "circumstances.json")
    for name in beside:
        (project.run_dir("invented") / TABLES / name).unlink()
    assert_refused(project, "invented", TABLES, "table_without_runs")
    for name in beside:
        (project.run_dir("honest") / TABLES / name).unlink()
    shutil.copy(tables.root / MINE, project.root / MINE)
    assert_released(project, "honest", TABLES)
    assert "documents only, no evidence" in released(project, "honest", TABLES).text


@pytest.mark.parametrize("absent", [MINE, TABLE], ids=["the candidate's", "the official"])
def test_a_document_for_tables_that_are_not_there_is_no_way_around(
    tables: Project, absent: str, tmp_path: Path
) -> None:
    """A forged pass counts for nothing that is required; what is printed says that no number was judged."""
    project = tables.copied(tmp_path / "project")
    folder = project.run_dir("honest") / TABLES
    for path in (project.root / absent, folder / "evidence_bundle.zip", folder / "circumstances.json"):
        path.unlink()
    assert_refused(project, "honest", TABLES, "table_missing")
    text = json.dumps(read(folder / "run.json")).replace('"margin_ratio": 0.05', '"margin_ratio": 0.5')
    (folder / "run.json").write_text(text, encoding="utf-8")
    assert_refused(project, "honest", TABLES, "document_differs")


def test_a_nonsense_table_is_looked_at_where_the_official_one_is_absent(
    tables: Project, tmp_path: Path
) -> None:
    project = tables.copied(tmp_path / "project")
    folder = project.run_dir("honest") / TABLES
    for path in (project.root / TABLE, folder / "evidence_bundle.zip", folder / "circumstances.json"):
        path.unlink()
    write(project.root / MINE, {"scores": [{"task": "zeta", "seed": 0, "step": 1, "score": 1e9}]})
    assert_refused(project, "honest", TABLES, "table_missing", "table_without_runs")


def test_a_document_of_a_suite_that_waits_for_its_table_is_no_finding(
    tables: Project, tmp_path: Path
) -> None:
    """A control: where nothing requires the suite, its document is told for what it is."""
    project = tables.copied(tmp_path / "project")
    folder = project.run_dir("honest") / TABLES
    for path in (project.root / MINE, folder / "evidence_bundle.zip", folder / "circumstances.json"):
        path.unlink()
    released(project, "honest", TABLES)
    answer = ask(project, "coverage", "--aggregate", AGGREGATE)
    assert answer.status == 0, answer.text
    assert "documents only, no evidence: its tables are not here, so no number was judged anew" in answer.text
