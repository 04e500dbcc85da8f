"""Bundles of real proof runs: each verifies with the verdict that the run had, and none can be edited."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import manipulations as m
import pytest
from evidence_examples import sha256
from fake_proofs import BELOW, SUITE, Proof
from manipulations import document, forged, removed, replaced

from pytest_worldflux_parity.cli.main import main

CRASHES = {"level": 100.0, "behaviour": "crash", "only": ["worldflux/alpha/1"]}
FLAKY = {"level": 100.0, "spread": 0.1, "behaviour": "flaky", "only": ["worldflux/beta/2"]}
POWER = {"mode": "auto_power", "pilot_seeds": 3, "min_seeds": 4, "max_seeds": 6}
LINES = f"{BELOW}/parity_runs.jsonl"
FIRST = f"{BELOW}/executions/alpha/seed_0/official/attempt_1/metrics.json"
EQUIVALENCE = f"{BELOW}/equivalence_report.json"
TEXT = f"{BELOW}/equivalence_report.md"
OUTPUTS = f"{BELOW}/component_match/attempt_1/outputs.npz"
MATCH_RUN = f"{BELOW}/component_match/attempt_1/match_run.json"


def verified(capsys: pytest.CaptureFixture[str], path: Path, *arguments: str) -> tuple[int, str]:
    capsys.readouterr()
    code = main(["verify", str(path), *arguments])
    return code, capsys.readouterr().out


@pytest.fixture(scope="session")
def passed(tmp_path_factory: pytest.TempPathFactory, keys: Path) -> Proof:
    """A run that passed, with one attempt that failed before, and signed."""
    proof = Proof(tmp_path_factory.mktemp("proof") / "project", recipe=FLAKY)
    # With "=": pytest takes a path that stands by itself for one to find its root from.
    done = proof.run(f"--parity-sign-key={keys / 'own.pem'}")
    assert done.returncode == 0, done.stdout
    return proof


@pytest.fixture(scope="session")
def bundle(passed: Proof) -> bytes:
    """The same without its signature."""
    return forged(lambda members: None)(passed.bundle.read_bytes())


def test_a_pass_verifies_with_and_without_its_key(
    passed: Proof, keys: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = verified(capsys, passed.bundle)
    assert (code, "result: PASS" in said) == (5, True), said
    code, said = verified(capsys, passed.bundle, "--key", str(keys / "own.pub"))
    assert (code, "signature: valid" in said) == (0, True), said
    code, said = verified(capsys, passed.bundle, "--key", str(keys / "other.pub"))
    assert (code, "result: TAMPERED" in said) == (3, True), said


Sessions = Sequence[Sequence[str]]


@pytest.mark.parametrize(
    ("changes", "sessions", "code", "text"),
    [
        ({"tasks": ["alpha"], "recipe": CRASHES, "retries": 0}, [[]], 1, "NOT A PASS: fail"),
        ({}, [["-k", "alpha"]], 1, "NOT A PASS: inconclusive"),
        ({"tasks": ["alpha"], "seed_policy": POWER}, [[], ["--parity-resume"]], 5, "result: PASS"),
    ],
    ids=["a run that crashed", "deselected pairs", "a pilot and its plan"],
)  # fmt: skip
def test_every_verdict_verifies(
    changes: dict[str, Any],
    sessions: Sessions,
    code: int,
    text: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    proof = Proof(tmp_path / "project", **changes)
    for arguments in sessions:
        proof.run(*arguments)
    found, said = verified(capsys, proof.bundle)
    assert (found, text in said) == (code, True), said
    members = m.members_of(proof.bundle.read_bytes())
    assert not [n for n, data in members.items() if not n.endswith(".npz") and str(tmp_path).encode() in data]
    if "retries" in changes:
        error = json.loads(members[EQUIVALENCE])["completeness"]["missing_entries"][0]["detail"]
        folder = "fake_proof/executions/alpha/seed_1/worldflux/attempt_1"
        assert error.endswith(f"ValueError: <run>/{folder}/replay is empty; log: {folder}/stderr.log")


def test_earlier_reports_are_part_of_the_evidence(
    passed: Proof, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    proof = Proof(tmp_path / "project", tasks=["alpha"])
    earlier = passed.document("equivalence_report.json")
    proof.write(proof.root / "earlier" / "one.json", earlier)
    proof.run("--parity-history", "earlier/*.json")
    data = proof.bundle.read_bytes()
    path = m.saved(tmp_path / "b.zip", data)
    assert verified(capsys, path)[0] == 5
    assert (
        json.loads(m.members_of(data)[f"{BELOW}/stability_report.json"])["history"][0]["name"]
        == "earlier/one.json"
    )

    def failed(report: dict[str, Any]) -> None:
        report["global"].update(verdict="fail", parity_pass_final=False)

    m.saved(path, forged(document("inputs/history/0.json", failed))(data))
    code, said = verified(capsys, path)
    assert (code, "stability_report.json: rerun_consistency.verdict_flip_detected is false" in said) == (
        2,
        True,
    )


def test_a_secret_in_a_suite_is_refused_before_the_first_run(tmp_path: Path) -> None:
    proof = Proof(tmp_path / "project", description="log in with hunter2-and-more")
    done = proof.run(env={"MY_TOKEN": "hunter2-and-more"})
    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert "inputs/suite.yaml: it holds the value of MY_TOKEN, and evidence would show it" in said
    assert "hunter2" not in said
    assert not list(proof.run_dir.glob("*/parity_runs.jsonl"))


def test_a_path_that_a_suite_names_is_part_of_what_it_asks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = f"{tmp_path}/home/data/games"
    recipe = {"level": 100.0, "spread": 0.1, "data": data}
    proof = Proof(tmp_path / "home" / "project", recipe=recipe)
    done = proof.run(env={"HOME": str(tmp_path / "home")})
    assert done.returncode == 0, done.stdout
    members = m.members_of(proof.bundle.read_bytes())
    assert json.loads(members["inputs/suite.yaml"])["recipe"]["data"] == data
    assert json.loads(members[FIRST])["metadata"]["effective_recipe"]["data"] == data
    assert verified(capsys, proof.bundle)[0] == 5


def sealed_margin(members: m.Members) -> None:
    """The margin in the suite, and in what the run was sealed with."""
    before = sha256(members["inputs/suite.yaml"])
    replaced("inputs/suite.yaml", '"margin": 0.05', '"margin": 0.5')(members)
    replaced("run/run.json", before, sha256(members["inputs/suite.yaml"]))(members)


def digit_of(*names: str) -> Callable[[m.Members], None]:
    """One digit of the last score of the first run, in these members."""

    def change(members: m.Members) -> None:
        value = repr(json.loads(members[FIRST])["curve"][-1]["return"])
        whole, _, rest = value.partition(".")
        for name in names:
            replaced(name, value, f"{whole}.{(int(rest[0]) + 1) % 10}{rest[1:]}")(members)

    return change


def better(members: m.Members) -> None:
    before = sha256(members[FIRST])
    digit_of(FIRST, LINES)(members)
    replaced(LINES, before, sha256(members[FIRST]))(members)


def outputs(members: m.Members) -> None:
    """Outputs of the match edited, and the hash that ties them mended."""
    before = sha256(members[OUTPUTS])
    m.arrays(OUTPUTS)(members)
    replaced(MATCH_RUN, before, sha256(members[OUTPUTS]))(members)


def lines(keep: Callable[[dict[str, Any]], bool]) -> Callable[[m.Members], None]:
    def change(members: m.Members) -> None:
        rows = [row for row in members[LINES].splitlines(keepends=True) if keep(json.loads(row))]
        assert len(rows) < len(members[LINES].splitlines())
        members[LINES] = b"".join(rows)

    return change


def without_failure(members: m.Members) -> None:
    """The failed attempt, its line and its files."""
    lines(lambda line: line["status"] == "success")(members)
    for name in [n for n in members if "/beta/seed_2/worldflux/attempt_1/" in n]:
        del members[name]


def without_seed(members: m.Members) -> None:
    lines(lambda line: line["seed"] != 1)(members)
    for name in [n for n in members if "/seed_1/" in n]:
        del members[name]


def other_suite(members: m.Members) -> None:
    members["inputs/suite.yaml"] = json.dumps({**SUITE, "recipe": FLAKY, "tasks": ["alpha"]}).encode()


def plan(members: m.Members) -> None:
    row = {"task": "alpha", "seeds": [0], "wanted": 1, "metric": "auc_return", "reason": ""}
    found = {"schema_version": "worldflux.parity.seed_plan.v1", "tasks": [row]}
    m.with_member(f"{BELOW}/seed_plan.json", json.dumps(found).encode())(members)


def claim(report: dict[str, Any]) -> None:
    report["config"]["parity_claim_level"] = "proof_grade"


def verdict(report: dict[str, Any]) -> None:
    report["global"].update(verdict="fail", parity_pass_final=False)


# Every hash is mended that can be without the run: what is left are the data.
EDITS: dict[str, tuple[Callable[[m.Members], object], str]] = {
    "one digit of one score in a line": (digit_of(LINES), "record_differs_from_artifact"),
    "one digit of one score in a record": (digit_of(FIRST), "record_differs_from_artifact"),
    "one digit of one score in both": (better, "tasks[0].metrics.auc_return.official_mean is"),
    "a dropped line": (lines(lambda x: x["seed"] != 1 or x["task_id"] != "beta"), "missing_pairs is 0, the"),
    "a dropped record": (removed(FIRST), "metrics.json is missing, and a record names it"),
    "a dropped failed attempt": (without_failure, "attempt 1 at worldflux beta seed_2 is"),
    "a dropped seed": (without_seed, "coverage_report.json: pass is true, the data give false"),
    "an edited margin": (replaced("inputs/suite.yaml", '0.05', '0.04'), "suite_sha256 changed"),
    "an edited margin, sealed again": (sealed_margin, "rule.equivalence_margin is 0.05, the data give 0.5"),
    "another suite": (other_suite, "tasks has 2 entries, the data give 1"),
    "an edited verdict": (document(EQUIVALENCE, verdict), 'global.verdict is "fail", the data give "pass"'),
    "a claim": (document(EQUIVALENCE, claim), "config.parity_claim_level is"),
    "another golden": (m.arrays("inputs/golden/fake/arrays.npz"), "nothing can be recomputed: inputs/golden"),
    "a golden with a wider tolerance": (
        replaced("inputs/golden/fake/manifest.json", '"name": "heads"', '"tolerance": 1e-9, "name": "heads"'),
        "component_match_report.json: ",
    ),
    "outputs of the match": (m.arrays(OUTPUTS), "outputs.npz is not the file that the match"),
    "outputs of the match, tied again": (outputs, "all_pass is true, the data give false"),
    "an edited lock": (replaced("inputs/upstream_lock.json", "a" * 40, "b" * 40), "lock_sha256 changed"),
    "an edited policy": (replaced("inputs/suite_policy.json", "required", "other"), "policy_sha256 changed"),
    "an edited backend": (
        replaced("inputs/backends/fake_worldflux/backend.yaml", "match_program", "a"), "component_match",
    ),
    "a seed plan": (plan, "does not follow: "),
    "another device": (
        lambda x: x.update({"run/run.json": x["run/run.json"].replace(b'"cpu"', b'"cuda"')}),
        "coverage_report.json: pass is true, the data give false",
    ),
    "a finding of the host": (
        document(
            f"{BELOW}/circumstances.json",
            lambda d: d["findings"].append(
                {"code": "x", "detail": "y", "task_id": None, "seed": None, "system": None}
            ),
        ),
        "validity_report.json: issues has 0 entries, the data give 1",
    ),
    "circumstances gone": (removed(f"{BELOW}/circumstances.json"), "circumstances.json: cannot be read"),
    "the session gone": (removed("run/run.json"), "run.json: cannot be read"),
    "the records gone": (removed(LINES), "validity: log_broken: line 2 of sessions.jsonl"),
    "the suite gone": (removed("inputs/suite.yaml"), "nothing can be recomputed: inputs/suite.yaml"),
    "a verdict in the text": (
        lambda x: x.update({TEXT: x[TEXT].replace(b"Verdict: **pass**", b"Verdict: **PASS**")}),
        "equivalence_report.md: line 3 is",
    ),
    "a number in the text": (
        lambda x: x.update({TEXT: re.sub(rb"[+-]\d\.\d%", b"+9.9%", x[TEXT], count=1)}),
        "equivalence_report.md: line ",
    ),
    "a time in the text": (
        lambda x: x.update({TEXT: x[TEXT].replace(b"Judged at 20", b"Judged at 19")}),
        "equivalence_report.md: line 3 is",
    ),
    "a sentence more": (
        lambda x: x.update({TEXT: x[TEXT] + b"\nThis is a public claim.\n"}), "equivalence_report.md: it has",
    ),
    "the text gone": (removed(TEXT), "equivalence_report.md is missing, and the data give it"),
    "another text": (
        lambda x: x.update({f"{BELOW}/other_report.md": b"A public claim."}),
        "other_report.md does not follow from the data",
    ),
    "a member that nobody reads": (
        lambda x: x.update({f"{BELOW}/approval.json": b"{}"}), "approval.json is no member that this plugin",
    ),
    "an input that nobody reads": (
        lambda x: x.update({"inputs/suite.yml": x["inputs/suite.yaml"]}), "inputs/suite.yml is no member",
    ),
    "another environment": (
        replaced("environment.json", '"device": "cpu"', '"device": "cuda"'), "environment.json: systems.",
    ),
    "the environment gone": (removed("environment.json"), "environment.json is missing, and the data"),
    "a key twice in the session": (
        replaced("run/run.json", '"run_id": "', '"run_id": "other", "run_id": "'), "stands twice",
    ),
    "a key twice in a report": (
        replaced(f"{BELOW}/coverage_report.json", '"pass": ', '"pass": 1, "pass": '), "'pass' stands twice",
    ),
    "a key twice in a line": (
        replaced(LINES, '"attempt":1', '"attempt":1,"attempt":1'), "unreadable_record",
    ),
    "a line of another version": (replaced(LINES, '"parity.v1"', '"parity.v2"'), "unreadable_record"),
    "a report gone": (removed(f"{BELOW}/validity_report.json"), "validity_report.json is missing, and"),
}  # fmt: skip


@pytest.mark.parametrize("name", EDITS)
def test_no_edit_goes_unnoticed(
    name: str, bundle: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change, text = EDITS[name]
    code, said = verified(capsys, m.saved(tmp_path / "b.zip", forged(change)(bundle)))
    assert code == 2, said
    assert [x for x in said.splitlines() if x.startswith("does not follow: ") and text in x], said


def test_forging_nothing_changes_nothing(
    bundle: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the tests themselves: it is the edit that is found, not the forging."""
    assert forged(lambda members: None)(bundle) == bundle
    code, said = verified(capsys, m.saved(tmp_path / "b.zip", bundle))
    assert (code, "signature: NONE" in said) == (5, True), said
