"""Names of tasks as people have them: with slashes, in any script, and spelt otherwise by the other side."""

from __future__ import annotations

import gzip
import json
import random
import shutil
import unicodedata
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest

from pytest_worldflux_parity.cli.main import main
from pytest_worldflux_parity.errors import SuiteError
from pytest_worldflux_parity.suite import suite_file
from tests.conftest import Project

SLASH, OTHER_SCRIPT = "ALE/Pong-v5", "Läufer 走る.v1"
TASKS = [SLASH, OTHER_SCRIPT, "../walker=walk"]


def scores(salt: str, task: str, seeds: int = 4, **more: Any) -> list[dict[str, Any]]:
    rng = random.Random(salt + task)
    return [
        {"task": task, "seed": s, "step": 1000, "score": 100 + rng.gauss(0, 0.5), **more}
        for s in range(seeds)
    ]


def table(project: Project, name: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    path = project.root / "suites" / "quick" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows), encoding="utf-8")
    return {"artifact": {"path": name, "format": "canonical_json"}}


def verified(project: Project, capsys: pytest.CaptureFixture[str], suite: str = "fake_quick") -> str:
    capsys.readouterr()
    bundle = project.run_dir() / suite / "evidence_bundle.zip"
    status = main(["--root", str(project.root), "verify", str(bundle), "--allow-unsigned"])
    out = capsys.readouterr().out
    assert status == 0, out
    return out


@pytest.mark.parametrize("workers", ["0", "2"])
def test_tasks_with_slashes_and_of_any_script_run_and_are_judged(
    project: Project, workers: str, capsys: pytest.CaptureFixture[str]
) -> None:
    project.suite(tasks=TASKS)
    result = project.run("-n", workers, "--junitxml=junit.xml", "-v")
    assert result.ret == 0, result.stdout.str()
    run = project.document()
    assert (run["verdict"], run["suite"]["tasks"]) == ("pass", TASKS)
    cases = {c.get("name") for c in ElementTree.parse(project.root / "junit.xml").iter("testcase")}
    assert {f"{task}[seed={seed}]" for task in TASKS for seed in range(3)} <= cases
    # The record of each names the task, and its folder is one below all others.
    for folder, task in (("ALE=2FPong-v5", SLASH), ("=2E.=2Fwalker=3Dwalk", TASKS[2])):
        left = project.out_dir("worldflux", folder, 0) / "attempt_1" / "metrics.json"
        assert json.loads(left.read_text())["task_id"] == task
    assert {line["task_id"] for line in project.lines()} == set(TASKS)
    verified(project, capsys)


def test_such_tasks_are_named_on_the_command_line_and_by_a_suite_of_what_is_missing(project: Project) -> None:
    path = project.suite(tasks=TASKS)
    # The process runs in the project's folder.
    named = f"{path.relative_to(project.root)}::{SLASH}[seed=1]"
    result = project.run(named, "-v")
    assert [line["task_id"] for line in project.lines()] == [SLASH, SLASH]
    assert project.document()["verdict"] == "inconclusive"
    assert all(f"{task} seed 0" in project.report() for task in TASKS), "what is missing is named"
    result.stdout.fnmatch_lines(["*ALE/Pong-v5?seed=1? PASSED*"])
    assert project.run("--parity-resume", "-k", "seed1 or seed0 or seed2").ret == 0
    assert len(project.lines()) == 2 * 3 * len(TASKS)


def test_what_is_missing_is_a_suite_of_such_tasks(project: Project) -> None:
    tasks = [*TASKS, "on", "a: b", "#1", "010", '"quoted"', "- x"]
    rows = [row for task in tasks for row in scores("official", f"their {task}")]
    named = [{"id": task, "names": {"official": f"their {task}"}} for task in tasks]
    project.suite(tasks=named, official=table(project, "official.json", rows))
    assert project.run("-k", "seed0").ret != 0
    left = project.run_dir() / "fake_quick" / "missing_pairs.yaml"
    missing = suite_file.load(left)
    assert [task.id for task in missing.tasks] == tasks
    assert {task.name_in("official") for task in missing.tasks} == {f"their {task}" for task in tasks}


def test_such_tasks_run_within_walls(project: Project) -> None:
    if shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed")
    project.suite(tasks=TASKS[:2], seeds=2)
    result = project.run("--parity-isolate=require")
    assert result.ret == 0, result.stdout.str()
    assert all(line["isolation"] for line in project.lines())


def test_a_folder_of_tables_named_after_such_tasks_is_evidence(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = project.root / "suites" / "quick" / "ergebnisse für läufer"
    folder.mkdir(parents=True)
    lines = [f"1000,{row['score']},{row['seed']}" for row in scores("official", OTHER_SCRIPT)]
    # As some file systems write it: the letter and its dots apart.
    name = unicodedata.normalize("NFD", OTHER_SCRIPT)
    (folder / f"{name}.csv").write_text("\n".join(("step,reward,seed", *lines)), encoding="utf-8")
    project.suite(
        tasks=[OTHER_SCRIPT],
        seeds=4,
        official={"artifact": {"path": folder.name, "format": "tdmpc2_results_csv_dir"}},
        worldflux=table(project, "ours.json", scores("ours", OTHER_SCRIPT)),
    )
    assert project.run().ret == 0
    verified(project, capsys)


def test_a_task_has_a_name_in_each_table(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """As ``dmc_walker_walk`` of DreamerV3 is ``walker-walk`` of TD-MPC2."""
    curves = [
        {"task": r["task"], "method": "dreamerv3", "seed": r["seed"], "xs": [1000], "ys": [r["score"]]}
        for r in scores("official", "dmc_walker_walk")
    ]
    folder = project.root / "suites" / "quick"
    folder.mkdir(parents=True)
    (folder / "official.json.gz").write_bytes(gzip.compress(json.dumps(curves).encode()))
    official = {"artifact": {"path": "official.json.gz", "format": "dreamerv3_scores_json_gz"}}
    # What ours calls as the suite calls the task is another one: nothing of it may be read.
    ours = table(
        project, "ours.json", [*scores("ours", "ours/walk"), *scores("wrong", "walker-walk", score=3.0)]
    )
    names = {"official": "dmc_walker_walk", "worldflux": "ours/walk"}
    project.suite(tasks=[{"id": "walker-walk", "names": names}], seeds=4, official=official, worldflux=ours)
    assert project.run().ret == 0
    run = project.document()
    assert run["verdict"] == "pass"
    assert [p["task"] for p in run["pairs"]] == ["walker-walk"] * 4
    assert all(p["worldflux_score"] > 90 for p in run["pairs"])
    verified(project, capsys)


def test_a_name_that_a_program_would_not_be_told_is_refused(project: Project) -> None:
    task = {"id": "alpha", "names": {"official": "other"}}
    project.suite(tasks=[task], official=table(project, "official.json", scores("official", "other")))
    assert project.run().ret == 0
    assert project.document()["verdict"] == "pass"
    project.suite("live", tasks=[task])
    result = project.run("suites/quick/live.yaml", run_id="live")
    result.stdout.fnmatch_lines(
        ["*live.yaml:*the official side is a program, which is asked for task 'alpha' by its id; to mend: *"]
    )


@pytest.mark.parametrize("name", ["a::b", "a[0]", " a", "a ", "", "a\nb", "a\u202eb", "{task}", "a\\b"])
def test_what_cannot_be_a_task_is_refused_in_words(project: Project, name: str) -> None:
    path = project.suite(tasks=[name])
    with pytest.raises(SuiteError) as caught:
        suite_file.load(path)
    line = caught.value.line()
    assert "tasks.0 is" in line
    assert "not the name of a task: printable text without ::" in line
    assert "^" not in line


def test_two_tasks_cannot_share_rows_of_a_table(project: Project) -> None:
    path: Path = project.suite(tasks=["a", {"id": "b", "names": {"official": "a"}}])
    with pytest.raises(SuiteError, match="official table's name 'a' is named twice"):
        suite_file.load(path)
