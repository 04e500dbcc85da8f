"""``proof-report`` and ``plan``: what they judge and tell of files that are there, and what they refuse."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from pytest_worldflux_parity.inputs import checkouts
from pytest_worldflux_parity.inputs.lock import read_lock
from pytest_worldflux_parity.inputs.scores.curves import Result
from pytest_worldflux_parity.inputs.scores.guessing import Guess
from pytest_worldflux_parity.session import costs
from pytest_worldflux_parity.suite import proof_file
from pytest_worldflux_parity.suite.suite import Budget, Task
from pytest_worldflux_parity.wire import CurvePoint
from tests import forked
from tests.conftest import Project
from tests.judgement.proof_examples import manifest
from tests.session.test_proof_sessions import SUITE, report, without_times

ROOT = Path(__file__).parents[2]


def command(project: Project, *args: str) -> subprocess.CompletedProcess[str]:
    return forked.run(["worldflux-parity", "--root", project.root, *args], project.root)


def test_records_are_judged_again_and_foreign_ones_too(project: Project) -> None:
    project.proof()
    assert project.run().ret == pytest.ExitCode.OK
    before = report(project)
    runs = project.run_dir() / "fake_proof" / "parity_runs.jsonl"
    done = command(project, "proof-report", SUITE, "--runs", str(runs))
    assert (done.returncode, done.stderr) == (0, "")
    assert "parity fake_proof: PASS" in done.stdout
    assert without_times(report(project)) == without_times(before)
    assert (runs.parent / "evidence_bundle.zip").exists()

    # The same lines as another system wrote them: nothing but what FORMATS has.
    away = project.root / "away"
    away.mkdir()
    known = (
        "schema_version", "task_id", "family", "seed", "system", "adapter", "status", "success", "metrics",
        "attempt", "device",
    )  # fmt: skip
    lines = [{k: line[k] for k in known} for line in project.lines("fake_proof")]
    (away / "log.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines) + '{"torn', encoding="utf-8")
    done = command(project, "proof-report", SUITE, "--runs", "away/log.jsonl")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "were not sealed by a run of this plugin" in done.stdout
    again = json.loads((away / "equivalence_report.json").read_text(encoding="utf-8"))
    assert again["global"]["verdict"] == "pass"
    assert again["tasks"] == before["tasks"]

    # Without one seed of one side nothing passes, whoever wrote the log.
    kept = [x for x in lines if (x["system"], x["task_id"], x["seed"]) != ("official", "beta", 2)]
    (away / "log.jsonl").write_text("".join(json.dumps(x) + "\n" for x in kept), encoding="utf-8")
    assert command(project, "proof-report", SUITE, "--runs", "away/log.jsonl").returncode == 1
    again = json.loads((away / "equivalence_report.json").read_text(encoding="utf-8"))
    assert (again["global"]["verdict"], again["global"]["missing_pairs"]) == ("inconclusive", 1)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "cannot be read"),
        ("", "holds no record"),
        ("[]\n{}\n", "log.jsonl:1: is not a JSON object"),
        ("{}\nnot json\n{}\n", "log.jsonl:2"),
    ],
)
def test_a_log_that_is_none_is_one_line(project: Project, text: str | None, words: str) -> None:
    project.proof()
    if text is not None:
        (project.root / "log.jsonl").write_text(text, encoding="utf-8")
    done = command(project, "proof-report", SUITE, "--runs", "log.jsonl")
    assert done.returncode == 1
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


def commands(project: Project, **changes: Any) -> str:
    """A manifest of the earlier system with two tasks, whose commands write made-up curves; its suite id."""
    project.proof()
    program = project.root / "bin" / "train.py"
    program.parent.mkdir()
    program.write_text(PROGRAM, encoding="utf-8")
    document = manifest(
        seed_policy={"mode": "fixed", "values": [0, 1], "min_seeds": 2},
        validity_requirements={"policy_mode": "parity_candidate"},
        **changes,
    )
    own = document["tasks"][:2]
    for task in own:
        for system in ("official", "worldflux"):
            task[system].update(command=COMMAND, cwd="../../bin", env={"LEVEL": "{seed}"})
            task[system]["artifact_requirements"] = {
                "metrics_paths": ["{run_root}/metrics.json"], "checkpoint_paths": ["{run_root}/*.pt"],
            }  # fmt: skip
    document["tasks"] = own
    (project.root / SUITE).write_text(json.dumps(document), encoding="utf-8")
    suite_id: str = document["suite_id"]
    return suite_id


def test_a_manifest_of_the_earlier_system_runs_as_it_is(project: Project) -> None:
    """Its commands, placeholders, folders and environment; what it cannot know breaks validity."""
    suite_id = commands(project, defaults={})
    result = project.run()
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    lines = project.lines(suite_id)
    assert [line["success"] for line in lines] == [True] * 8, [line["error"] for line in lines]
    assert {p["return"] for line in lines for p in line["metrics"]["curve"] if line["seed"] == 1} == {
        1.0,
        2.0,
    }
    found = report(project, "validity_report.json", suite_id)["issues_by_code"]
    assert {"missing_recipe_hash", "lock_mismatch"} <= set(found)
    assert found["missing_artifact"] == 8, "no checkpoint is there; each left its metrics"
    assert "steps_apart" not in found


def test_a_manifest_whose_sides_trained_to_other_budgets_fails_validity(project: Project) -> None:
    suite_id = commands(project, defaults={})
    document = json.loads((project.root / SUITE).read_text(encoding="utf-8"))
    document["tasks"][0]["worldflux"]["env"]["LONGER"] = "2"
    (project.root / SUITE).write_text(json.dumps(document), encoding="utf-8")
    assert project.run().ret == pytest.ExitCode.TESTS_FAILED
    found = [
        i for i in report(project, "validity_report.json", suite_id)["issues"] if i["code"] == "steps_apart"
    ]
    assert {i["task_id"] for i in found} == {document["tasks"][0]["task_id"]}
    assert any("official at 20 frames on average, worldflux at 40" in i["detail"] for i in found)


@pytest.mark.parametrize("claim", ["proof_grade", "none"])
def test_a_manifest_that_claims_parity_cannot_leave_components_out(project: Project, claim: str) -> None:
    """Where the lock file pins a golden of its family; its own defaults ask for no components."""
    suite_id = commands(project, defaults={"parity_claim_level": claim})
    lock = project.root / "reports" / "parity" / "upstream_lock.json"
    lock.parent.mkdir(parents=True)
    shutil.copy(ROOT / "reports" / "parity" / "upstream_lock.json", lock)
    result = project.run()
    if claim == "proof_grade":
        assert result.ret == pytest.ExitCode.INTERRUPTED
        assert "for a claim components must be compared" in result.stdout.str()
        return
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    left_out = "0 of 50 components of the family dreamerv3 were compared"
    found = report(project, "component_match_report.json", suite_id)
    final = report(project, "equivalence_report.json", suite_id)["component_match"]
    assert [c["sentence"] for c in final["components_compared"]] == [left_out]
    assert (found["verdict"], found["reason"]) == ("pass", "the suite asks for none")


COMMAND = [
    "python3", "train.py", "--task={task_id}", "--seed={seed}", "--out={metrics_out}", "{device}", "{x}",
]  # fmt: skip
PROGRAM = """
import json, os, sys

given = dict(a.removeprefix("--").split("=", 1) for a in sys.argv if a.startswith("--"))
assert os.path.basename(os.getcwd()) == "bin" and sys.argv[-1] == "{x}"
with open(os.path.join(os.path.dirname(given["out"]), "request.json")) as file:
    adapter = json.load(file)["adapter"]
longer = int(os.environ.get("LONGER", "1"))
record = {
    "schema_version": "parity.v1",
    "adapter": adapter,
    "task_id": given["task"],
    "seed": int(given["seed"]),
    "device": sys.argv[-2],
    "curve": [
        {"step": 10.0 * (i + 1) * longer, "return": 1.0 + i * int(os.environ["LEVEL"])}
        for i in range(2)
    ],
    "success": True,
    "metadata": {"mode": "live", "policy_mode": "parity_candidate"},
}
with open(given["out"], "w") as file:
    json.dump(record, file)
"""


def test_a_plan_is_told_before_anything_runs(project: Project) -> None:
    table = {"scores": [{"task": "alpha", "seed": s, "step": 1000, "score": 100 + 5 * s} for s in range(5)]}
    (project.root / "official.json").write_text(json.dumps(table), encoding="utf-8")
    project.proof()
    done = command(project, "plan", SUITE, "--official", "official.json")
    assert (done.returncode, done.stderr) == (0, "")
    assert "| alpha | final_return_mean | 110 |" in done.stdout
    assert "beta" in done.stdout
    assert "as the suite has it: 8 seeds per side over 2 tasks" in done.stdout
    done = command(project, "plan", SUITE)
    assert done.returncode == 1
    assert "no official score of these tasks is known here" in done.stdout
    project.suite()
    done = command(project, "plan", "suites/quick/fake_quick.yaml")
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "this is a quick suite" in done.stderr
    text = project.run("-k", "alpha").stdout.str()
    assert text.index("plan of suites/proof/fake_proof.yaml") < text.index("fake_proof: INCONCLUSIVE")


def test_a_plan_is_made_from_a_run_and_from_its_official_side(project: Project) -> None:
    project.proof()
    project.run("-k", "alpha")
    last: dict[str, list[float]] = {"official": [], "worldflux": []}
    for line in project.lines("fake_proof"):
        last[line["system"]].append(line["metrics"]["curve"][-1]["return"])
    done = command(project, "plan", SUITE, "--official", str(project.run_dir()))
    assert (done.returncode, done.stderr) == (0, "")
    [mean] = re.findall(r"\| alpha \| final_return_mean \| ([0-9.]+) \|", done.stdout)
    assert mean == f"{fmean(last['official']):.5g}" != f"{fmean(last['worldflux']):.5g}"
    project.run("-k", "alpha", "--parity-systems=worldflux", run_id="own")
    done = command(project, "plan", SUITE, "--official", str(project.root / "reports/parity/own"))
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "no run of 'official' succeeded" in done.stderr


def test_the_published_suite_is_read_and_planned_from_the_published_scores(tmp_path: Path) -> None:
    proof = proof_file.load(ROOT / "suites/proof/official_vs_worldflux_full.yaml")
    assert [len(p.tasks) for p in proof.parts] == [26, 39]
    assert proof.families == ("dreamerv3", "tdmpc2")
    assert {r.model_profile for r in proof.requirements.values()} == {"official_xl", "proof_5m"}
    assert len(proof.tasks()) == 65
    oracles = ROOT.parent / "shared" / "oracles"
    if not oracles.exists():
        pytest.skip("the published scores are not beside the checkout")
    shutil.copy(oracles / "dreamerv3/scores/atari100k-dreamerv3.json.gz", tmp_path)
    tables = [
        (tmp_path / "atari100k-dreamerv3.json.gz", Guess("dreamerv3_scores_json_gz")),
        (oracles / "tdmpc2/results/tdmpc2", Guess("tdmpc2_results_csv_dir")),
    ]
    plan = costs.plan_of(proof, tables)
    assert plan is not None
    assert {c.n_official for c in plan.cells} == {3, 5}
    seeds: dict[str, Any] = dict(plan.alone.seeds)
    assert seeds["atari100k_hero"] < seeds["atari100k_frostbite"]
    assert "atari100k_freeway" in plan.never


def test_a_table_that_several_suites_lock_is_planned_from_once(tmp_path: Path) -> None:
    """Twice the scores would be half the spread that a seed has."""
    proof = proof_file.load(ROOT / "suites/proof/official_vs_worldflux_full.yaml")
    lock = ROOT / "reports/parity/upstream_lock.json"
    for entry in read_lock(lock).suites.values():
        if entry.oracle_in == "source":
            path = checkouts.oracle_path(entry, tmp_path)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    found = [path.name for path, _ in costs.locked_tables(proof, tmp_path, lock)]
    assert found == ["atari100k-dreamerv3.json.gz", "tdmpc2"]


@pytest.mark.parametrize(("end", "known"), [(450, False), (500, True), (1000, True)])
def test_a_curve_that_ends_long_before_the_budget_tells_nothing(end: int, known: bool) -> None:
    task = Task("t", budget=Budget(1000, 0.05))
    result = Result((CurvePoint(100, 1.0), CurvePoint(end, 2.0)))
    assert (costs.known_value(result, "episode_return", task) is not None) is known


def test_signed_evidence_is_not_replaced_by_unsigned(project: Project) -> None:
    serialization = pytest.importorskip("cryptography.hazmat.primitives.serialization")
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = project.root / "key.pem"
    plain = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    key.write_bytes(Ed25519PrivateKey.generate().private_bytes(*plain))
    key.chmod(0o600)
    project.proof(tasks=["alpha"])
    assert project.run("--parity-sign-key=key.pem").ret == pytest.ExitCode.OK
    runs = project.run_dir() / "fake_proof" / "parity_runs.jsonl"
    bundle = runs.with_name("evidence_bundle.zip")
    before = bundle.read_bytes()
    done = command(project, "proof-report", SUITE, "--runs", str(runs))
    assert done.returncode == 1
    assert "the evidence here is signed, and would become unsigned" in done.stderr
    assert bundle.read_bytes() == before
    done = command(project, "proof-report", SUITE, "--runs", str(runs), "--parity-sign-key", str(key))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "evidence: signed" in done.stdout
