"""``aggregate``, ``report``, ``validate`` and ``coverage`` on proof runs, alone and beside quick ones."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_worldflux_parity import schemas
from pytest_worldflux_parity.errors import ParityError
from pytest_worldflux_parity.release import run_documents
from pytest_worldflux_parity.release.bundle_reports import documents_anew
from pytest_worldflux_parity.release.expectation import of_checkout
from pytest_worldflux_parity.release.judged_anew import judge_expected, records_of
from pytest_worldflux_parity.release.statements import document_findings
from pytest_worldflux_parity.reporting import proof_documents
from tests import forked
from tests.components import goldens
from tests.conftest import PROOF, WITHOUT
from tests.release.judged_runs import (
    AGGREGATE,
    LOCK,
    POLICY,
    RULE,
    Command,
    Document,
    aggregate,
    changed,
    codes,
    policy_of,
    read,
    run_path,
    write,
)

SUITES: dict[str, Document] = {
    "shown": {"component_match": "golden"},
    "other": {"recipe": {"level": 100.0, "worldflux_factor": 0.8}},
    "unsure": {"recipe": {"level": 100.0, "spread": 10.0}},
}


@pytest.fixture(scope="session")
def proven(judged: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The judged project with a proof run ``p``: one that passed, one that failed, one inconclusive."""
    root = tmp_path_factory.mktemp("proven") / "project"
    shutil.copytree(judged, root)
    goldens.declare(root / "backends", "  deadline_sec: 60\n")
    goldens.behave(root / "golden", "ok")
    for name, changes in SUITES.items():
        document = {
            **PROOF,
            "suite_id": name,
            "tasks": ["alpha"],
            "statistical": {"bayesian": {"draws": 1000}},
        }
        write(root / "suites" / "proof" / f"{name}.yaml", {**document, **changes})
    proofs = {
        f"suites/proof/{name}.yaml": {"stage": "required" if name == "shown" else "listed"} for name in SUITES
    }
    write(root / POLICY, policy_of({"suites/quick/good.yaml": {}, **proofs}))
    done = forked.run(["pytest", *WITHOUT, "--parity=proof", "--parity-run-id=p"], root)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    return root


@pytest.fixture
def there(proven: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the project, which is also the current folder."""
    root = tmp_path / "project"
    shutil.copytree(proven, root)
    monkeypatch.chdir(root)
    return root


def proof_path(root: Path, suite: str, name: str = "equivalence_report.json") -> Path:
    return root / "reports" / "parity" / "p" / suite / name


def validate(command: Command, *runs: Path, more: tuple[object, ...] = ()) -> tuple[int, list[str]]:
    status, out, err = command("validate", "--run", *runs, "--aggregate", AGGREGATE, "--lock", LOCK, *more)
    assert ("every suite passes" in out) is (status == 0), err
    return status, [line for line in err.splitlines() if line.startswith("worldflux-parity")]


def requires(root: Path, *suites: str) -> None:
    """Of the policy's suites these alone are required."""

    def change(document: Document) -> None:
        for path, row in document["suites"].items():
            row["stage"] = "required" if Path(path).stem in suites else "listed"

    changed(root / POLICY, change)


def test_quick_and_proof_runs_are_aggregated_together(there: Path, command: Command) -> None:
    patterns = ("reports/parity/r/*/run.json", "reports/parity/p/*/equivalence_report.json")
    status, out, err = command("aggregate", "--output", AGGREGATE, "--runs-glob", *patterns)
    assert (status, err) == (0, "")
    assert "4 of 7 suites pass" in out
    made = read(there / AGGREGATE)
    schemas.check(made, "aggregate.v1", str)
    rows = {row["suite_id"]: row for row in made["suites"]}
    assert {s: (rows[s]["verdict"], rows[s]["pass"]) for s in SUITES} == {
        "shown": ("pass", True), "other": ("fail", False), "unsure": ("inconclusive", False),
    }  # fmt: skip
    shown = rows["shown"]
    assert (shown["track"], shown["families"], shown["claim"]) == ("proof", ["fake"], "none")
    assert (shown["sample_size"], shown["margin_ratio"], shown["missing_pairs"]) == (4, 0.05, 0)
    assert "track" not in rows["good"]
    # The rule of quick suites is nothing that a proof has.
    assert made["global_non_inferiority"]["suites_with_statistics"] == sum(
        row["ci_upper_ratio"] is not None for row in rows.values()
    )
    assert made["families"][0] == {"family": "fake", "runs": 6, "pass": 4, "fail": 2}

    status, out, err = command(
        "report", "--aggregate", AGGREGATE, "--output", "report.md", "--dashboard", "page.html"
    )
    assert (status, err) == (0, "")
    text, page = (Path(name).read_text(encoding="utf-8") for name in ("report.md", "page.html"))
    assert "4 of 7 suites pass" in text
    assert "## shown\n\nVerdict: **pass**." in text
    assert "## unsure\n\nVerdict: **inconclusive**." in text
    assert page.count('<th scope="row">shown</th>') == 1, "a proof of the aggregate has one row"
    again = (
        "report",
        "--aggregate",
        AGGREGATE,
        "--output",
        "r.md",
        "--equivalence",
        proof_path(there, "shown"),
    )
    assert "two reports are of 'shown'" in command(*again)[2]


def test_a_release_goes_on_with_a_proof_that_passes(there: Path, command: Command) -> None:
    shown, good = proof_path(there, "shown"), run_path(there, "good")
    aggregate(command, shown, good)
    more = ("--required-suite", "shown", "good", "--max-missing-pairs", "0", "--enforce-pass")
    assert validate(command, shown, good, more=more) == (0, [])
    status, out, _ = command("validate", "--run", shown, "--aggregate", AGGREGATE, "--lock", LOCK)
    assert status == 0
    for text in (
        "none: this is no claim",
        "NONE, the bundle is unsigned: whether someone made the whole bundle anew cannot be told",
        " match; golden ",
    ):
        assert text in out


@pytest.mark.parametrize("suite", ["other", "unsure"])
def test_a_proof_that_failed_or_is_open_stops_it(there: Path, command: Command, suite: str) -> None:
    path = proof_path(there, suite)
    requires(there, suite)
    aggregate(command, path)
    for more in ((), ("--enforce-pass",), ("--max-missing-pairs", "99")):
        status, lines = validate(command, path, more=more)
        assert (status, codes(lines)) == (1, ["not_passed"])


def lacking(documents: Callable[[str], Path]) -> None:
    """One result fewer, in every document that counts them, with the verdict left as it was."""
    entry = {"task_id": "alpha", "seed": 0, "system": "official", "reason": "not_run", "detail": ""}

    def of_coverage(d: Document) -> None:
        d.update(missing_pairs=1, missing_entries=[entry], missing_by_reason={"not_run": 1})
        d.update({"pass": False, "verdict": "inconclusive", "complete_task_seed_pairs": 3})
        d["tasks"][0].update(missing_pairs=1, missing_seeds={"official": [0], "worldflux": []})

    changed(documents("coverage_report.json"), of_coverage)


def test_missing_results_are_counted_in_the_coverage_report(there: Path, command: Command) -> None:
    shown = proof_path(there, "shown")
    aggregate(command, shown)
    lacking(lambda name: proof_path(there, "shown", name))
    found = codes(validate(command, shown)[1])
    assert {"missing_pairs", "document_differs", "evidence_differs"} <= set(found)
    assert "missing_pairs" not in codes(validate(command, shown, more=("--max-missing-pairs", "1"))[1])


EDITS: dict[str, tuple[str, Callable[[Document], object], str]] = {
    "a verdict": ("other", lambda d: d["global"].update(verdict="inconclusive"), "evidence_differs"),
    "a margin": (
        "shown",
        lambda d: d["tasks"][0]["metrics"]["auc_return"]["rule"].update(equivalence_margin=0.5),
        "evidence_differs",
    ),
    "a time": ("shown", lambda d: d.update(generated_at="2099-01-01"), "evidence_differs"),
    "a correction": (
        "shown",
        lambda d: d["tasks"][0]["metrics"]["auc_return"]["holm_all_metrics"].update(p_adjusted=0.0),
        "document_differs",
    ),
}


@pytest.mark.parametrize("name", EDITS)
def test_an_edited_report_is_not_that_of_its_evidence(there: Path, command: Command, name: str) -> None:
    suite, change, code = EDITS[name]
    path = proof_path(there, suite)
    aggregate(command, path)
    changed(path, change)
    status, lines = validate(command, path)
    assert status == 1
    assert code in codes(lines)


@pytest.mark.parametrize("kept", ["beside the reports", "nowhere", "damaged", "of another suite"])
def test_a_proof_rests_on_its_evidence(there: Path, command: Command, kept: str) -> None:
    requires(there, "shown")
    shown = proof_path(there, "shown")
    aggregate(command, shown)
    bundle = shown.with_name("evidence_bundle.zip")
    if kept == "nowhere":
        bundle.unlink()
    elif kept == "damaged":
        data = bytearray(bundle.read_bytes())
        data[len(data) // 2] ^= 1
        bundle.write_bytes(data)
    elif kept == "of another suite":
        shutil.copy(proof_path(there, "other", bundle.name), bundle)
    wanted = {
        "beside the reports": set(),
        "nowhere": set(),
        "damaged": {"evidence_tampered"},
        "of another suite": {"evidence_differs"},
    }
    status, lines = validate(command, shown)
    # The records in the run's own folder are judged where there is no bundle.
    assert status == int(kept not in ("beside the reports", "nowhere"))
    assert "does_not_follow" not in codes(lines)
    assert wanted[kept] <= set(codes(lines))
    if kept == "nowhere":
        shown.with_name("circumstances.json").unlink()
        assert codes(validate(command, shown)[1]) == ["evidence_missing"]


def test_an_unsigned_proof_is_not_what_a_key_asks_for(there: Path, command: Command, tmp_path: Path) -> None:
    requires(there, "shown")
    shown = proof_path(there, "shown")
    aggregate(command, shown)
    for arguments in (
        ("genpkey", "-algorithm", "ed25519", "-out", "k.pem"),
        ("pkey", "-in", "k.pem", "-pubout", "-out", "k.pub"),
    ):
        subprocess.run(["openssl", *arguments], cwd=tmp_path, check=True, capture_output=True)
    assert codes(validate(command, shown, more=("--key", tmp_path / "k.pub"))[1]) == ["evidence_tampered"]
    # A key that is not there is no fault of the evidence; a bundle that is none is.
    (line,) = validate(command, shown, more=("--key", tmp_path / "none.pub"))[1]
    assert "none.pub: the key cannot be read" in line
    shown.with_name("evidence_bundle.zip").write_bytes(b"")
    assert "evidence_unreadable" in codes(validate(command, shown)[1])


def test_the_suite_and_the_lock_are_held_against_it(there: Path, command: Command) -> None:
    requires(there, "shown")
    shown = proof_path(there, "shown")
    aggregate(command, shown)
    changed(there / "suites/proof/shown.yaml", lambda d: d["metrics"][0].update(margin=0.06))
    assert set(codes(validate(command, shown)[1])) == {"document_differs"}
    changed(shown, lambda d: d["provenance"]["official"].update(source_commits=["e" * 40]))
    assert "evidence_differs" in codes(validate(command, shown)[1])


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "no sibling": (lambda p: p.with_name("coverage_report.json").unlink(), "coverage_report.json: cannot"),
    "damaged sibling": (
        lambda p: p.with_name("stability_report.json").write_text("{"), "stability_report.json:1: not JSON",
    ),
    "a sibling of another kind": (
        lambda p: shutil.copy(p, p.with_name("validity_report.json")), "validity_report.json",
    ),
    "an unknown key": (lambda p: changed(p, lambda d: d.update(extra=1)), "unknown key 'extra'"),
    "no verdict": (lambda p: changed(p, lambda d: d.pop("global")), "name the equivalence_report.json"),
    "a NaN": (lambda p: p.write_text(p.read_text().replace('"alpha": 0.05', '"alpha": NaN')), "NaN"),
    "a list": (lambda p: p.write_text("[]"), "is no JSON object"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_proof_is_one_line(there: Path, command: Command, name: str) -> None:
    shown = proof_path(there, "shown")
    aggregate(command, shown)
    kept = read(there / AGGREGATE)
    change, said = BROKEN[name]
    change(shown)
    status, out, err = command("aggregate", "--output", AGGREGATE, "--runs-glob", shown)
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert said in err
    assert read(there / AGGREGATE) == kept
    assert validate(command, shown)[0] == 1


def test_a_coverage_report_is_not_the_document_with_the_verdict(there: Path, command: Command) -> None:
    path = proof_path(there, "shown", "coverage_report.json")
    status, _, err = command("aggregate", "--output", AGGREGATE, "--runs-glob", path)
    assert (status, err.count("\n")) == (1, 1)
    assert "name the equivalence_report.json beside it" in err


def test_a_proof_without_any_result_is_an_error(there: Path, command: Command) -> None:
    shown = proof_path(there, "shown")

    def empty(document: Document) -> None:
        for cell in document["tasks"][0]["metrics"].values():
            cell.update(mean_effect=None)

    changed(shown, empty)
    assert "holds no statistics" in command("aggregate", "--output", AGGREGATE, "--runs-glob", shown)[2]


# --- coverage ---


def coverage(command: Command, *more: object) -> tuple[int, list[str]]:
    status, _, err = command("coverage", "--aggregate", AGGREGATE, *more)
    return status, err.splitlines()


@pytest.fixture
def policy(there: Path, command: Command) -> Path:
    """A policy that requires a quick suite and a proof, with an aggregate of both."""
    suites = {f"suites/{track}/{name}.yaml": {} for track, name in (("quick", "good"), ("proof", "shown"))}
    aggregate(command, run_path(there, "good"), proof_path(there, "shown"))

    def lock(d: Document) -> None:
        d["suites"]["shown"] = d["suites"]["good"]

    changed(there / LOCK, lock)
    return write(there / POLICY, policy_of(suites))


def test_a_policy_may_require_a_proof(there: Path, policy: Path, command: Command) -> None:
    counted = ("--required-suite", "shown", "--max-missing-pairs", "0")
    assert coverage(command, "--enforce-pass", *counted) == (0, [])
    changed(there / LOCK, lambda d: d["suites"].pop("shown"))
    assert codes(coverage(command)[1]) == ["not_in_lock"]
    changed(policy, lambda d: d["suites"].pop("suites/proof/shown.yaml"))
    found = codes(coverage(command, "--required-suite", "absent")[1])
    assert found == ["not_in_lock", "required_suite_missing"]
    lacking(lambda name: proof_path(there, "shown", name))
    assert "missing_pairs" in codes(coverage(command, *counted)[1])
    # Damaged documents are found without the option too.
    assert "evidence_differs" in codes(coverage(command)[1])


def test_a_required_proof_that_did_not_pass(there: Path, policy: Path, command: Command) -> None:
    aggregate(command, run_path(there, "good"), proof_path(there, "shown"), proof_path(there, "unsure"))
    assert codes(coverage(command)[1]) == [], "only what is enforced must pass"
    status, lines = coverage(command, "--required-suite", "unsure", "--enforce-pass")
    assert status == 1
    assert "not_passed" in codes(lines)
    changed(policy, lambda d: d["suites"].update({"suites/proof/unsure.yaml": RULE}))
    assert "not_passed" in codes(coverage(command, "--enforce-pass")[1])


def test_without_its_documents_nothing_is_counted(there: Path, policy: Path, command: Command) -> None:
    proof_path(there, "shown").unlink()
    assert codes(coverage(command)[1]) == ["dangling_path"]


def test_a_row_of_a_proof_cannot_be_edited_into_a_pass(there: Path, policy: Path, command: Command) -> None:
    aggregate(command, run_path(there, "good"), proof_path(there, "other"))
    changed(there / AGGREGATE, lambda d: d["suites"][1].update({"pass": True, "verdict": "pass"}))
    changed(policy, lambda d: d["suites"].update({"suites/proof/other.yaml": RULE}))
    assert coverage(command, "--enforce-pass")[0] == 1


# --- documents that contradict themselves ---


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all numbers, booleans and verdicts of a document."""
    if isinstance(value, dict):
        return [p for k, v in value.items() for p in places(v, (*at, k))]
    if isinstance(value, list):
        return [p for i, v in enumerate(value) for p in places(v, (*at, i))]
    return [at] if isinstance(value, (int, float)) or at[-1] in ("verdict", "status") else []


def replaced(document: Document, at: tuple[Any, ...], value: Any) -> Document:
    edited = copy.deepcopy(document)
    inner: Any = edited
    for key in at[:-1]:
        inner = inner[key]
    inner[at[-1]] = value
    return edited


@pytest.mark.parametrize("suite", SUITES)
def test_no_number_of_a_report_can_be_edited(proven: Path, suite: str) -> None:
    """In any document of a proof every number, boolean and verdict is what the records give."""
    run = run_documents.read_any(proof_path(proven, suite))
    assert run.track == "proof"
    anew = judge_expected(records_of(proven / "reports" / "parity" / "p", suite), of_checkout(proven))
    assert anew.judged is not None
    made = documents_anew(anew.judged, {})
    for name, document in run.documents.items():
        assert list(document_findings(document, made[name], name)) == []
        for at in places(document):
            value = inner(document, at)
            other = (not value) if isinstance(value, bool) else "x" if isinstance(value, str) else value + 1
            assert list(document_findings(replaced(dict(document), at, other), made[name], name)), (name, at)


def inner(document: Any, at: tuple[Any, ...]) -> Any:
    for key in at:
        document = document[key]
    return document


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.data(), value=st.sampled_from([None, -1, 0, 1, 1e308, "x", "pass", [], {}, True, False, 2**70])
)
def test_anything_in_any_place_is_refused_or_read(
    proven: Path, tmp_path: Path, data: st.DataObject, value: Any
) -> None:
    suite = data.draw(st.sampled_from(sorted(SUITES)))
    folder = tmp_path / "proof"
    names = [proof_documents.EQUIVALENCE, *run_documents.PROOF_SCHEMAS]
    name = data.draw(st.sampled_from(names))
    for each in names:
        write(folder / each, read(proof_path(proven, suite, each)))
    document = read(folder / name)
    at = data.draw(st.sampled_from(places(document)))
    write(folder / name, replaced(document, at, value))
    try:
        run = run_documents.read_any(folder / proof_documents.EQUIVALENCE)
    except ParityError as error:
        assert "\n" not in error.line(), json.dumps(error.line())  # noqa: PT017
        return
    assert run.track == "proof"
    assert run.missing >= 0
    list(document_findings(run.documents[name], document, name))
