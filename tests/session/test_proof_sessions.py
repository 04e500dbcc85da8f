"""``pytest --parity=proof``: what is run, what is judged, what is written, and what stops it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from pytest_worldflux_parity.evidence.attempts import encode_row
from pytest_worldflux_parity.execution.attempt_files import AttemptFolders
from pytest_worldflux_parity.release.bundle_reports import recompute
from tests.components import goldens
from tests.conftest import Project

DOCUMENTS = (
    "coverage_report.json",
    "validity_report.json",
    "component_match_report.json",
    "equivalence_report.json",
    "stability_report.json",
)
SUITE = "suites/proof/fake_proof.yaml"
# As many seeds as a claim needs.
ENOUGH = {"mode": "fixed", "values": [0, 1, 2, 3, 4]}
TIMES = ("generated_at", "generated_at_utc")


def without_times(document: Any) -> Any:
    if isinstance(document, dict):
        return {k: without_times(v) for k, v in document.items() if k not in TIMES}
    return [without_times(x) for x in document] if isinstance(document, list) else document


def report(project: Project, name: str = "equivalence_report.json", suite: str = "fake_proof") -> Any:
    return project.document(f"{suite}/{name}")


def as_bundle(project: Project, folder: Path) -> Path:
    """What an evidence bundle holds, laid out as it is when it is extracted."""
    shutil.copytree(project.run_dir(), folder / "run")
    pack_attempts(folder / "run", "fake_proof")
    inputs = folder / "inputs"
    shutil.copytree(project.root / "backends", inputs / "backends")
    shutil.copy(project.root / SUITE, inputs / "suite.yaml")
    if (project.root / "golden").exists():
        shutil.copytree(project.root / "golden", inputs / "golden" / "fake")
    return folder


def pack_attempts(run_dir: Path, suite_id: str) -> None:
    """The files of attempts as rows, in the place of their folders."""
    found = AttemptFolders(run_dir)
    for attempt in list(found.attempts(suite_id)):
        task, _, name = attempt.path.partition("/executions/")[2].partition("/")
        files = {
            file: found.read(f"{attempt.path}/{file}").decode()
            for file in sorted(attempt.names & {"request.json", "metrics.json"})
        }
        member = run_dir / suite_id / "attempts" / task / "0001.jsonl"
        member.parent.mkdir(parents=True, exist_ok=True)
        with open(member, "ab") as handle:
            handle.write(encode_row(name, files))
    shutil.rmtree(run_dir / suite_id / "executions")


def test_two_programs_that_agree_pass_and_every_document_says_so(project: Project, tmp_path: Path) -> None:
    project.proof()
    result = project.run("-v")
    assert result.ret == pytest.ExitCode.OK
    result.assert_outcomes(passed=8 + 6)
    for case in ("components", "coverage", "validity", "equivalence", "stability", "evidence"):
        result.stdout.fnmatch_lines([f"{SUITE}::verdict[[]{case}[]] PASSED*"])
    result.stdout.fnmatch_lines(["parity fake_proof: PASS", "*no claim: *"])
    final = report(project)["global"]
    assert final["verdict"] == "pass"
    assert final["parity_pass_final"] is final["validity_pass"] is True
    assert (final["missing_pairs"], final["component_match_pass"]) == (0, None)
    assert report(project, "stability_report.json")["status"] == "stable"
    text = (project.run_dir() / "fake_proof" / "equivalence_report.md").read_text(encoding="utf-8")
    assert "No claim: this run is not evidence for a public claim." in text
    assert "fake_proof/equivalence_report.md" in project.report()

    again = recompute(as_bundle(project, tmp_path / "bundle"))
    assert again.pop("run/fake_proof/equivalence_report.md") == text
    assert {Path(name).name for name in again} == set(DOCUMENTS)
    for name, document in again.items():
        written = project.document(name.removeprefix("run/"))
        assert without_times(written) == without_times(json.loads(json.dumps(document))), name


def test_a_worse_program_fails_and_a_noisy_one_needs_more_seeds(project: Project) -> None:
    project.proof("worse", recipe={"level": 100.0, "worldflux_factor": 0.8})
    project.proof("noisy", recipe={"level": 100.0, "spread": 10.0})
    assert project.run().ret == pytest.ExitCode.TESTS_FAILED
    worse, noisy = (report(project, suite=s)["global"] for s in ("worse", "noisy"))
    assert worse["verdict"] == "fail"
    assert "differ by more than their margin" in worse["verdict_reason"]
    assert noisy["verdict"] == "inconclusive"
    assert "equivalence is not shown" in noisy["verdict_reason"]
    assert not noisy["parity_pass_final"]


def test_a_record_that_does_not_say_what_a_proof_asks_breaks_validity(project: Project) -> None:
    project.proof(tasks=["alpha"], validity={"model_profile": "large"})
    assert project.run().ret == pytest.ExitCode.TESTS_FAILED
    found = report(project, "validity_report.json")
    assert found["issues_by_code"] == {"model_profile_mismatch": 8}
    assert (found["pass"], found["issues"][0]["detail"]) == (False, "model_profile is 'tiny', not 'large'")
    final = report(project)["global"]
    assert (final["verdict"], final["validity_pass"]) == ("fail", False)
    assert final["parity_pass_all_metrics"] is True, "the numbers agree, and it is no pass all the same"


def test_a_pilot_seals_a_plan_and_a_resume_collects_it(project: Project) -> None:
    project.proof(
        tasks=["alpha"],
        seed_policy={"mode": "auto_power", "pilot_seeds": 3, "min_seeds": 3, "max_seeds": 8},
        recipe={"level": 100.0, "spread": 4.0},
    )
    assert project.run().ret == pytest.ExitCode.TESTS_FAILED
    first = report(project)["global"]
    assert (first["verdict"], first["pilot"]) == ("inconclusive", True)
    assert "resume to collect them" in first["verdict_reason"]
    plan = project.document("fake_proof/seed_plan.json")
    seeds = plan["tasks"][0]["seeds"]
    assert len(seeds) > 3
    sealed = (project.run_dir() / "fake_proof" / "seed_plan.json").read_bytes()

    result = project.run("--parity-resume")
    assert (project.run_dir() / "fake_proof" / "seed_plan.json").read_bytes() == sealed
    final = report(project)["global"]
    assert (final["pilot"], final["missing_pairs"]) == (False, 0)
    assert {line["seed"] for line in project.lines("fake_proof")} == set(seeds)
    assert len(project.lines("fake_proof")) == 2 * len(seeds), "the pilot's runs are not made again"
    assert result.ret == (0 if final["verdict"] == "pass" else 1)


def test_components_are_compared_first_and_required(project: Project, tmp_path: Path) -> None:
    goldens.declare(project.root / "backends", "  deadline_sec: 60\n")
    goldens.behave(project.root / "golden", "ok")
    project.proof(component_match="golden", tasks=["alpha"])
    result = project.run("-v")
    assert result.ret == pytest.ExitCode.OK
    match = report(project, "component_match_report.json")
    assert (match["all_pass"], match["required"], match["family"]) == (True, True, "fake")
    assert len(match["results"]) == 6
    assert report(project)["global"]["component_match_pass"] is True
    again = recompute(as_bundle(project, tmp_path / "bundle"))
    document = again["run/fake_proof/component_match_report.json"]
    assert without_times(json.loads(json.dumps(document))) == without_times(match)

    goldens.behave(project.root / "golden", "wrong_heads")
    assert project.run(run_id="s").ret == pytest.ExitCode.TESTS_FAILED
    final = project.document("fake_proof/equivalence_report.json", run_id="s")["global"]
    assert (final["verdict"], final["component_match_pass"]) == ("fail", False)
    assert final["verdict_reason"].startswith("components: fake: component_mismatch: heads")


def test_deselected_pairs_leave_the_verdict_open_and_a_failed_run_breaks_it(project: Project) -> None:
    project.proof()
    result = project.run("-k", "alpha")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert report(project)["global"]["verdict"] == "inconclusive"
    assert report(project, "coverage_report.json")["missing_by_reason"] == {"deselected": 8}

    project.proof(recipe={"level": 100.0, "behaviour": "crash", "only": ["worldflux/alpha/1"]})
    assert project.run(run_id="s").ret == pytest.ExitCode.TESTS_FAILED
    coverage = project.document("fake_proof/coverage_report.json", run_id="s")
    assert [(e["task_id"], e["seed"], e["system"], e["reason"]) for e in coverage["missing_entries"]] == [
        ("alpha", 1, "worldflux", "failed")
    ]
    assert project.document("fake_proof/equivalence_report.json", run_id="s")["global"]["verdict"] == "fail"


def test_history_is_compared_and_a_flip_is_unstable(project: Project) -> None:
    project.proof(tasks=["alpha"])
    assert project.run().ret == pytest.ExitCode.OK
    earlier = report(project)
    earlier["global"].update(parity_pass_final=False, verdict="fail")
    (project.root / "earlier.json").write_text(json.dumps(earlier), encoding="utf-8")
    result = project.run("--parity-history", "earlier.json", run_id="s")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(passed=9, failed=1)
    stability = project.document("fake_proof/stability_report.json", run_id="s")
    assert (stability["status"], stability["rerun_consistency"]["mode"]) == ("unstable", "multi_run")
    assert stability["rerun_consistency"]["verdict_flip_detected"] is True

    (project.root / "earlier.json").write_text('{"global": {"verdict": "pass"}}', encoding="utf-8")
    result = project.run("--parity-history", "earlier.json", run_id="t")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*earlier.json: --parity-history: it is no equivalence report: no global.*"])

    (project.root / "earlier.json").write_text(
        json.dumps({**earlier, "tasks": [*earlier["tasks"], {"task_id": "beta", "metrics": None}]}),
        encoding="utf-8",
    )
    result = project.run("--parity-history", "earlier.json", run_id="t")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*earlier.json: --parity-history: *tasks[[]1[]] (beta) has no metrics*"])

    earlier["suite_id"] = "another"
    (project.root / "earlier.json").write_text(json.dumps(earlier), encoding="utf-8")
    result = project.run("--parity-history", "earlier.json", run_id="u")
    assert result.ret == pytest.ExitCode.OK
    stability = project.document("fake_proof/stability_report.json", run_id="u")
    assert stability["not_compared"] == [{"name": "earlier.json", "reason": "it is of the suite another"}]

    result = project.run("--parity-history", "absent*.json", run_id="t")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--parity-history names no file*"])


def test_a_claim_needs_a_known_family_and_a_locked_official_program(project: Project) -> None:
    project.proof(claim="proof_grade", tasks=["alpha"], component_match=None, seed_policy=ENOUGH)
    goldens.declare(project.root / "backends", "  deadline_sec: 60\n")
    goldens.behave(project.root / "golden", "ok")
    assert project.run().ret == pytest.ExitCode.TESTS_FAILED
    found = report(project, "validity_report.json")["issues_by_code"]
    assert {"unknown_family", "lock_mismatch"} <= set(found)


def test_a_finished_attempt_whose_line_was_taken_away_is_a_finding(project: Project) -> None:
    project.proof(tasks=["alpha"])
    assert project.run().ret == pytest.ExitCode.OK
    first = project.out_dir("official", "alpha", 0, suite="fake_proof") / "attempt_1"
    again = shutil.copytree(first, first.with_name("attempt_2"))
    request = json.loads((again / "request.json").read_text(encoding="utf-8"))
    (again / "request.json").write_text(json.dumps({**request, "attempt": 2}), encoding="utf-8")
    found: Any = recompute(as_bundle(project, project.root / "bundle"))["run/fake_proof/validity_report.json"]
    assert found["issues_by_code"] == {"attempt_without_line": 1}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"claim": "yes"}, "claim is 'yes'"),
        ({"seed_policy": {"mode": "fixed"}}, "names its seeds"),
        ({"seed_policy": {"mode": "fixed", "values": [0, 1], "min_seeds": 3}}, "nothing can pass"),
        ({"metrics": [{"name": "auc_return", "margin": 0}]}, "margin"),
        ({"metricks": []}, "unknown key 'metricks'; did you mean 'metrics'?"),
        ({"family": None}, "key 'family' is missing"),
        ({"tasks": ["alpha", "alpha"]}, "task 'alpha' is named twice"),
        ({"component_match": "golden"}, "no live backend with a match program"),
        ({"groups": [{"family": "fake", "tasks": ["a"]}, {"family": "fake", "tasks": ["a"]}]}, "named twice"),
        ({"official": {"artifact": {"path": "x", "format": "canonical_json"}}}, "unknown key 'artifact'"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_suite_is_one_line_with_its_place(
    project: Project, changes: dict[str, Any], words: str
) -> None:
    project.proof(**changes)
    result = project.run()
    assert result.ret != pytest.ExitCode.OK
    text = result.stdout.str() + result.stderr.str()
    assert words in text
    assert "fake_proof.yaml" in text
    assert "Traceback" not in text


def test_an_official_program_that_cannot_record_its_components_is_a_finding(project: Project) -> None:
    """Where the suite asks for components from a checkpoint of the run, and not where a golden is enough."""
    goldens.declare(project.root / "backends", "  deadline_sec: 60\n")
    goldens.behave(project.root / "golden", "ok")
    project.proof(tasks=["alpha"], component_match="live")
    assert project.run().ret == pytest.ExitCode.TESTS_FAILED
    found = report(project, "validity_report.json")
    assert found["issues_by_code"] == {"live_match_failed": 1}
    assert "cannot record its components from a run" in found["issues"][0]["detail"]
    project.proof(tasks=["alpha"], component_match="golden")
    assert project.run(run_id="golden").ret == pytest.ExitCode.OK


def test_tracks_are_not_mixed(project: Project) -> None:
    path = project.proof()
    project.track = "quick"
    result = project.run(str(path))
    assert result.ret != pytest.ExitCode.OK
    assert "this is a proof suite" in result.stdout.str()


def test_a_table_of_the_command_line_stands_in_for_no_program(project: Project) -> None:
    project.proof()
    result = project.run("--parity-upstream=table.json")
    assert result.ret != pytest.ExitCode.OK
    assert "a proof compares programs that are run" in result.stdout.str() + result.stderr.str()


@pytest.mark.parametrize(
    ("listed", "words"),
    [
        ("yes", "the record lists no file"),
        ([{"path": "/etc/hostname"}], "is not in the folder of the run"),
        ([{"path": "model.pt"}], "is not in the folder of the run"),
    ],
)
def test_an_artifact_that_is_nowhere_is_missing(project: Project, listed: object, words: str) -> None:
    program = project.root / "backends" / "program.py"
    text = program.read_text(encoding="utf-8")
    stated = '"artifact_manifest": {"progress.jsonl": "0" * 64},'
    assert stated in text
    edited = f'"artifact_manifest": {{"checkpoint_paths": {listed!r}}},'
    program.write_text(text.replace(stated, edited), encoding="utf-8")
    artifacts = {"worldflux": ["checkpoint_paths"]}
    project.proof(tasks=["alpha"], validity={"artifacts": artifacts})
    assert project.run().ret == pytest.ExitCode.TESTS_FAILED
    found = report(project, "validity_report.json")
    assert found["issues_by_code"] == {"missing_artifact": 4}
    assert words in found["issues"][0]["detail"]
