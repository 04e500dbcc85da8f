"""Where the lock pins a golden of the suite's family, a verdict says whether components were compared."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from pytest_worldflux_parity.cli import main as cli
from tests.components import goldens
from tests.conftest import Project

PIN = "of 6 components of the family fake were compared"
NONE = f"0 {PIN}"
HINT = "to mend: have the worldflux side be a live backend whose backend.yaml names a `match:`"
UNPINNED = (
    "no lock entry pins a golden of the family fake, so nothing says that components were compared with the "
    "official program (to pin it: worldflux-parity pin-golden fake --suite ID)"
)


@pytest.fixture
def project(project: Project) -> Project:
    """One quick suite of one task; the lock pins a golden of its family, and its backend names no match."""
    goldens.behave(project.root / "golden", "ok")
    project.suite(tasks=["alpha"])
    pin(project)
    return project


def pin(project: Project, **changes: Any) -> None:
    """A lock file that pins the golden; a change of None leaves a key of the pin out."""
    sha256 = hashlib.sha256((project.root / "golden" / "manifest.json").read_bytes()).hexdigest()
    row = {"suite": "other", "manifest_sha256": sha256, "holds": ["encoder/z"], "components": 6, **changes}
    write(project, {"fake": {k: v for k, v in row.items() if v is not None}})


def write(project: Project, pins: dict[str, Any]) -> None:
    entry = {"repo": "https://example.org/fake", "commit": goldens.COMMIT,
             "oracle_format": "canonical_json", "oracle_path": "scores.json"}  # fmt: skip
    document = {"schema_version": "worldflux.parity.lock.v1", "generated_at_utc": "now",
                "suites": {"other": entry}, "goldens": pins}  # fmt: skip
    path = project.root / "reports" / "parity" / "upstream_lock.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document), encoding="utf-8")


def match(project: Project) -> None:
    goldens.declare(project.root / "backends", "  deadline_sec: 60\n")


def compared(project: Project) -> dict[str, Any]:
    found: dict[str, Any] = project.document()["components_compared"]
    return found


@pytest.mark.parametrize("by", ["the backend", "the suite", "a table"])
def test_a_pass_without_components_says_so_in_its_own_sentence(project: Project, by: str) -> None:
    if by == "the suite":
        match(project)
        project.suite(tasks=["alpha"], component_match="none")
    elif by == "a table":
        rows = [{"task": "alpha", "seed": s, "step": 1000, "score": 100.1 + s / 10} for s in range(3)]
        (project.root / "mine.json").write_text(json.dumps({"scores": rows}), encoding="utf-8")
    given = ("--parity-worldflux", "mine.json", "--parity-worldflux-format", "canonical_json")
    result = project.run(*given if by == "a table" else ())
    assert result.ret == pytest.ExitCode.OK
    document = project.document()
    assert document["verdict_reason"].endswith(f"; {NONE}")
    assert NONE in document["warnings"][:1]
    assert f"  {document['verdict_reason']}" in result.outlines
    assert f"{NONE}." in project.report()
    assert document["component_match"] is None
    pinned = hashlib.sha256((project.root / "golden" / "manifest.json").read_bytes()).hexdigest()
    assert compared(project) == {
        "family": "fake", "golden_pinned": pinned, "components": 6, "compared": 0, "sentence": NONE,
    }  # fmt: skip


def test_a_lock_that_does_not_say_how_many_there_are_is_believed_that_there_are_some(
    project: Project,
) -> None:
    pin(project, components=None)
    assert project.run().ret == pytest.ExitCode.OK
    assert project.document()["verdict_reason"].endswith("; no components of the family fake were compared")


def test_components_that_were_compared_need_no_word(project: Project) -> None:
    match(project)
    project.suite(tasks=["alpha"], component_match="required")
    assert project.run().ret == pytest.ExitCode.OK
    assert project.document()["warnings"] == []
    assert "components" not in project.document()["verdict_reason"]
    assert (compared(project)["compared"], compared(project)["sentence"]) == (6, f"6 {PIN}")


@pytest.mark.parametrize("golden", ["pinned", "of no family"])
def test_a_suite_that_requires_components_fails_without_them(project: Project, golden: str) -> None:
    project.suite(tasks=["alpha"], component_match="required")
    if golden != "pinned":
        write(project, {})
    result = project.run("-v")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    document = project.document()
    [finding] = document["gates"]["components"]["findings"]
    said = NONE if golden == "pinned" else "no golden of the family fake exists"
    assert finding == {"code": "components_not_compared", "detail": f"{said}; {HINT}"}
    assert document["verdict"] == "fail"
    told = f"components: components_not_compared: {said}; {HINT}"
    assert document["verdict_reason"] == told
    assert document["component_match"] == {
        "required": True, "path": None, "present": False, "pass": False, "family": "fake", "result_count": 0,
    }  # fmt: skip
    assert [x for x in result.outlines if "verdict[components] FAILED" in x]


def test_components_that_were_deselected_leave_the_verdict_open(project: Project) -> None:
    match(project)
    project.suite(tasks=["alpha"], component_match="required")
    assert project.run("-k", "alpha").ret == pytest.ExitCode.TESTS_FAILED
    document = project.document()
    assert document["verdict"] == "inconclusive"
    assert document["verdict_reason"] == "components: 6 of 6 components were deselected"
    assert (compared(project)["compared"], compared(project)["components"]) == (0, 6)


def test_deselected_components_are_told_where_something_else_decides(project: Project) -> None:
    match(project)
    project.suite(tasks=["alpha"], recipe={"level": 100.0, "worldflux_factor": 0.5})
    assert project.run("-k", "alpha").ret == pytest.ExitCode.TESTS_FAILED
    document = project.document()
    assert document["verdict"] == "fail"
    assert document["verdict_reason"].endswith("; 6 of 6 components were deselected")


def test_a_family_without_a_golden_is_told_in_the_document_alone(project: Project) -> None:
    write(project, {})
    assert project.run().ret == pytest.ExitCode.OK
    document = project.document()
    assert document["warnings"] == []
    assert "golden" not in document["verdict_reason"]
    assert compared(project) == {
        "family": "fake", "golden_pinned": None, "components": None, "compared": 0,
        "sentence": "no golden of the family fake exists",
    }  # fmt: skip


def test_a_golden_that_nothing_pins_is_told(project: Project) -> None:
    match(project)
    write(project, {})
    result = project.run()
    assert result.ret == pytest.ExitCode.OK
    assert project.document()["gates"]["components"]["warnings"] == [UNPINNED]
    result.stdout.fnmatch_lines([f"  warning: {UNPINNED}"])
    assert compared(project)["sentence"] == f"6 {PIN}, with a golden that no lock entry pins"
    # Also where the comparison fails.
    goldens.behave(project.root / "golden", "wrong_heads")
    project.run(run_id="two")
    assert project.document(run_id="two")["gates"]["components"]["warnings"] == [UNPINNED]


# --- proofs ---


def test_a_proof_without_components_says_so(project: Project) -> None:
    project.proof(tasks=["alpha"], component_match="none")
    result = project.run()
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines([f"  warning: {NONE}"])
    report = project.document("fake_proof/equivalence_report.json")
    assert [c["sentence"] for c in report["component_match"]["components_compared"]] == [NONE]


def test_so_does_a_report_on_records_of_another_system(project: Project) -> None:
    project.proof(tasks=["alpha"])
    assert project.run().ret == pytest.ExitCode.OK
    suite, log = "suites/proof/fake_proof.yaml", project.root / "away" / "log.jsonl"
    log.parent.mkdir()
    log.write_text("".join(json.dumps(x) + "\n" for x in project.lines("fake_proof")), encoding="utf-8")
    cli.main(["--root", str(project.root), "proof-report", str(project.root / suite), "--runs", str(log)])
    report = json.loads((log.parent / "equivalence_report.json").read_text(encoding="utf-8"))
    assert [c["sentence"] for c in report["component_match"]["components_compared"]] == [NONE]
