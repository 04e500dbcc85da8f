"""``missing_pairs.yaml``: exactly what a run lacks, as a suite that is read and run like any other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_worldflux_parity.evidence.checking import check
from pytest_worldflux_parity.release import run_documents
from pytest_worldflux_parity.release.bundle_reports import recompute
from pytest_worldflux_parity.suite import proof_file, suite_file
from tests.conftest import Project
from tests.judgement.proof_examples import manifest
from tests.session.test_proof_commands import COMMAND, PROGRAM
from tests.session.test_proof_sessions import SUITE

FILE = "missing_pairs.yaml"
FAST = {"bayesian": {"draws": 1000}}


def missing(project: Project, suite: str, run_id: str = "r") -> Path:
    return project.run_dir(run_id) / suite / FILE


def ran(project: Project, suite: str, run_id: str) -> set[tuple[str, int]]:
    return {(line["task_id"], line["seed"]) for line in project.lines(suite, run_id)}


def requests(project: Project, suite: str, run_id: str) -> dict[tuple[str, int, str], str]:
    lines = project.lines(suite, run_id)
    return {(x["task_id"], x["seed"], x["system"]): x["request_id"] for x in lines}


def test_what_a_quick_run_lacks_is_run_elsewhere_or_by_a_resume(project: Project) -> None:
    path = project.suite(metrics=[
        {"name": "episode_return", "rule": "calibrated", "margin": 0.05},
        {"name": "loss.late", "rule": "equivalence", "margin": 0.1, "tasks": ["beta"]},
        {"name": "auc_return", "rule": "calibrated", "margin": 0.05, "tasks": ["alpha"]},
    ])  # fmt: skip
    chosen = [f"{path}::alpha[seed={n}]" for n in range(3)] + [f"{path}::beta[seed=1]"]
    assert project.run(*chosen).ret == pytest.ExitCode.TESTS_FAILED
    suite = suite_file.load(missing(project, "fake_quick"))
    assert {t.id: t.seeds for t in suite.tasks} == {"beta": (0, 2)}
    assert [m.name for m in suite.metrics] == ["episode_return", "loss.late"]

    project.run(str(missing(project, "fake_quick")), run_id="s")
    assert ran(project, "fake_quick_missing", "s") == {("beta", 0), ("beta", 2)}
    document = run_documents.read_any(project.run_dir("s") / "fake_quick_missing" / "run.json")
    assert (document.missing, document.document["counts"]["expected"]) == (0, 4)
    assert not missing(project, "fake_quick_missing", "s").exists()

    assert project.run(str(path), "--parity-resume").ret == pytest.ExitCode.OK
    assert not missing(project, "fake_quick").exists(), "nothing is missing any more"
    apart, whole = requests(project, "fake_quick_missing", "s"), requests(project, "fake_quick", "r")
    assert apart.items() <= whole.items(), "its runs answer the same requests"


def test_a_table_that_lacks_a_row_cannot_be_run(project: Project) -> None:
    rows = [{"task": t, "seed": 0, "step": 1000, "score": 100.0} for t in ("alpha", "beta")]
    table = project.root / "suites" / "quick" / "official.json"
    table.parent.mkdir(parents=True)
    table.write_text(json.dumps({"scores": [*rows, {**rows[0], "seed": 1}]}), encoding="utf-8")
    side = {"artifact": {"path": "official.json", "format": "canonical_json"}}
    path = project.suite(official=side, seeds=2)
    project.run(f"{path}::alpha[seed=0]", f"{path}::beta[seed=1]")
    suite = suite_file.load(missing(project, "fake_quick"))
    assert {t.id: t.seeds for t in suite.tasks} == {"alpha": (1,), "beta": (0,)}
    read: Any = suite.sides["official"]
    assert read.path.resolve() == table
    project.run(str(path), "--parity-resume")
    assert project.document()["missing"]["worldflux_only"] == [
        {
            "task": "beta",
            "seed": 1,
            "reason": "not_in_table",
            "detail": "no row in official.json, which has seed 0 of this task",
        }
    ]
    assert not missing(project, "fake_quick").exists()


def test_what_a_proof_lacks_is_a_proof_suite_without_a_claim(project: Project, tmp_path: Path) -> None:
    groups = [
        {"family": "fake", "tasks": [task, *more]} for task, more in (("alpha", ["beta"]), ("gamma", []))
    ]
    path = project.proof(groups=groups, family=None, tasks=None, statistical=FAST)
    chosen = [f"{path}::alpha[seed=0]", *(f"{path}::gamma[seed={n}]" for n in range(4))]
    assert project.run(*chosen).ret == pytest.ExitCode.TESTS_FAILED
    coverage = project.document("fake_proof/coverage_report.json")
    entries = {(e["task_id"], e["seed"]) for e in coverage["missing_entries"]}
    proof = proof_file.load(missing(project, "fake_proof"))
    assert {(t.id, n) for t in proof.tasks() for n in t.pairs} == entries
    assert {t.id: tuple(t.pairs) for t in proof.tasks()} == {"alpha": (1, 2, 3), "beta": (0, 1, 2, 3)}
    assert (proof.claim, len(proof.parts)) == ("none", 1)

    assert project.run(str(missing(project, "fake_proof")), run_id="s").ret == pytest.ExitCode.OK
    assert ran(project, "fake_proof_missing", "s") == entries
    run = run_documents.read_any(project.run_dir("s") / "fake_proof_missing" / "equivalence_report.json")
    assert run.document["config"]["task_seeds"] == {"alpha": [1, 2, 3]}
    bundle = project.run_dir("s") / "fake_proof_missing" / "evidence_bundle.zip"
    checked = check(bundle, tmp_path, key=None, recompute=recompute)
    assert checked.findings == ()


def test_a_plan_of_seeds_is_no_longer_asked_for(project: Project) -> None:
    policy = {"mode": "auto_power", "pilot_seeds": 3, "min_seeds": 3, "max_seeds": 5}
    path = project.proof(tasks=["alpha"], seed_policy=policy, statistical=FAST)
    project.run(f"{path}::alpha[seed=0]")
    proof = proof_file.load(missing(project, "fake_proof"))
    assert proof.settings.seed_policy.mode == "fixed"
    assert {t.id: tuple(t.pairs) for t in proof.tasks()} == {"alpha": (1, 2)}


def test_a_part_of_a_manifest_is_a_manifest_and_finds_its_programs(project: Project) -> None:
    project.proof()
    program = project.root / "bin" / "train.py"
    program.parent.mkdir()
    program.write_text(PROGRAM, encoding="utf-8")
    document = manifest(seed_policy={"mode": "fixed", "values": [0, 1], "min_seeds": 2}, defaults={})
    document["tasks"] = document["tasks"][:2]
    for task in document["tasks"]:
        for system in ("official", "worldflux"):
            task[system].update(command=COMMAND, cwd="../../bin", env={"LEVEL": "{seed}"})
    (project.root / SUITE).write_text(json.dumps(document), encoding="utf-8")
    first, second = (task["task_id"] for task in document["tasks"])
    project.run(f"{SUITE}::{first}[seed=0]", f"{SUITE}::{second}[seed=0]", f"{SUITE}::{second}[seed=1]")
    path = missing(project, document["suite_id"])
    proof = proof_file.load(path)
    assert {t.id: tuple(t.pairs) for t in proof.tasks()} == {first: (1,)}
    project.run(str(path), run_id="s")
    lines = project.lines(f"{document['suite_id']}_missing", "s")
    assert [(x["task_id"], x["seed"], x["success"]) for x in lines] == [(first, 1, True)] * 2


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tasks": [{"id": "alpha", "seeds": [1, 1]}]}, "seed 1 is named twice"),
        ({"tasks": [{"id": "alpha", "seeds": []}]}, "seeds"),
        (
            {"tasks": [{"id": "alpha", "seeds": [1]}], "seed_policy": {"mode": "auto_power"}},
            "auto_power gives every task its seeds",
        ),
    ],
)
def test_seeds_of_a_task_that_cannot_be(project: Project, changes: dict[str, Any], words: str) -> None:
    project.proof(**changes)
    result = project.run()
    assert result.ret != pytest.ExitCode.OK
    assert words in result.stdout.str() + result.stderr.str()


def test_seeds_of_the_command_line_are_those_of_all_tasks(project: Project) -> None:
    project.proof(tasks=[{"id": "alpha", "seeds": [7]}, "beta"], statistical=FAST)
    project.run("--parity-seeds", "1,2")
    assert ran(project, "fake_proof", "r") == {(t, n) for t in ("alpha", "beta") for n in (1, 2)}
