"""One program on both sides, or one that nobody can name, or a side that is two."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.attacks.lab import (
    FACTOR,
    assert_not_released,
    assert_released,
    edit,
    lock,
    program,
    proof,
    released,
)
from tests.components import goldens
from tests.conftest import Project
from tests.session.test_honest_programs import repository

TREE = '"source": {"tree_sha256": wire.content_hash(request.adapter)},'


def fake(project: Project, system: str) -> Path:
    return project.root / "backends" / f"fake_{system}"


def findings(project: Project, run_id: str) -> str:
    return json.dumps(project.document("fake_proof/validity_report.json", run_id))


def before_anything_ran(result: pytest.RunResult) -> str:
    """The code of the one finding that is told before the first run, when nothing is lost yet."""
    [code] = all_before_anything_ran(result)
    return code


def all_before_anything_ran(result: pytest.RunResult) -> list[str]:
    found = [(n, x) for n, x in enumerate(result.outlines) if " cannot pass: " in x]
    first = min(n for n, x in enumerate(result.outlines) if x.startswith("suites/proof/"))
    assert all(number < first for number, _ in found)
    return [x.partition("cannot pass: ")[2].partition(" ")[0].rstrip(":") for _, x in found]


def one_program(project: Project) -> None:
    """The worldflux folder becomes a copy of the official one, but for what names it."""
    for path in fake(project, "official").iterdir():
        text = path.read_text(encoding="utf-8")
        named = path.name == "backend.yaml"
        other = fake(project, "worldflux") / path.name
        other.write_text(text.replace("official", "worldflux") if named else text, encoding="utf-8")


@pytest.fixture
def project(passed_proof: Project, tmp_path: Path) -> Project:
    return passed_proof.copied(tmp_path / "project")


def test_two_programs_that_share_a_file_are_accepted(passed_proof: Project) -> None:
    assert_released(passed_proof, "honest")
    assert "two programs; 1 file stands on both sides (of 2 and 2)" in passed_proof.report("honest")


def test_the_official_program_under_another_name_is_refused(project: Project) -> None:
    one_program(project)
    result = project.run(run_id="one")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert before_anything_ran(result) == "same_program"
    assert '"same_program"' in findings(project, "one")
    assert_not_released(project, "one")


DECOYS = {
    "a text": 'program: {files: ["decoy.txt"]}',
    "itself without its code": 'program: {files: ["."], ignore: ["*.py"]}',
    "a text, beside a match program of its own": 'program: {files: ["decoy.txt"]}',
}


@pytest.mark.parametrize("names", DECOYS)
def test_the_official_program_that_names_a_decoy_is_refused(project: Project, names: str) -> None:
    one_program(project)
    (fake(project, "worldflux") / "decoy.txt").write_text("another program\n", encoding="utf-8")
    path = fake(project, "worldflux") / "backend.yaml"
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text(
        "\n".join(DECOYS[names] if x.startswith("program:") else x for x in lines) + "\n", encoding="utf-8"
    )
    if "match" in names:
        goldens.write(project.root / "golden")
        goldens.declare(project.root / "backends")
    assert project.run(run_id="decoy").ret == pytest.ExitCode.TESTS_FAILED
    assert '"same_program"' in findings(project, "decoy")
    assert_not_released(project, "decoy")


def test_the_official_checkout_without_its_code_is_refused(project: Project, tmp_path: Path) -> None:
    """Each side runs one line that starts its checkout; the candidate's leaves the code out of what it is."""
    for system, more in (("official", {}), ("worldflux", {"ignore": ["algo.py"]})):
        checkout = tmp_path / system / "agent"
        repository(
            checkout, {"algo.py": program(project).read_text(encoding="utf-8"), "notes.md": "An agent.\n"}
        )
        path = fake(project, system) / "backend.yaml"
        named = {"checkouts": [{"path": str(checkout)}], **more}
        lines = [x for x in path.read_text(encoding="utf-8").splitlines() if not x.startswith("program:")]
        path.write_text("\n".join([*lines, f"program: {json.dumps(named)}"]) + "\n", encoding="utf-8")
    result = project.run(run_id="left_out")
    assert all_before_anything_ran(result) == ["same_program", "program_not_shown"]
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def beside_a_checkout(project: Project, folder: Path, ignore: str) -> None:
    """The candidate names a checkout of its own beside its files, but for what it ignores of that."""
    repository(folder, {"lib.py": "x = 1\n", "notes.md": "A library.\n"})
    named = {"files": [".", "../program.py"], "checkouts": [{"path": str(folder)}], "ignore": [ignore]}
    path = fake(project, "worldflux") / "backend.yaml"
    lines = [x for x in path.read_text(encoding="utf-8").splitlines() if not x.startswith("program:")]
    path.write_text("\n".join([*lines, f"program: {json.dumps(named)}"]) + "\n", encoding="utf-8")


def test_code_of_a_checkout_that_is_left_out_proves_nothing(project: Project, tmp_path: Path) -> None:
    """It could be edited between two sessions, and nothing would tell."""
    beside_a_checkout(project, tmp_path / "library", "lib.py")
    result = project.run(run_id="left_out")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert before_anything_ran(result) == "program_not_shown"
    assert "`ignore` leaves out library/lib.py, which is read where it stands" in result.stdout.str()
    assert '"program_not_shown"' in findings(project, "left_out")
    assert_not_released(project, "left_out")
    project.track = "quick"
    project.suite(tasks=["alpha"], seeds=4)
    assert project.run(run_id="quick").ret == pytest.ExitCode.OK
    assert [w for w in project.document(run_id="quick")["warnings"] if "leaves out library/lib.py" in w]


def test_texts_of_a_checkout_may_be_left_out(project: Project, tmp_path: Path) -> None:
    beside_a_checkout(project, tmp_path / "library", "*.md")
    result = project.run(run_id="texts")
    assert result.ret == pytest.ExitCode.OK, result.outlines
    assert_released(project, "texts")


def test_a_program_that_nothing_names_proves_nothing(project: Project) -> None:
    path = fake(project, "worldflux") / "backend.yaml"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(x for x in lines if not x.startswith("program:")), encoding="utf-8")
    result = project.run(run_id="unnamed")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert before_anything_ran(result) == "program_not_shown"
    assert '"program_not_shown"' in findings(project, "unnamed")
    assert_not_released(project, "unnamed")
    project.track = "quick"
    project.suite(tasks=["alpha"], seeds=4)
    assert project.run(run_id="quick").ret == pytest.ExitCode.OK
    [warning] = [w for w in project.document(run_id="quick")["warnings"] if "program_not_shown" in w]
    assert warning.startswith("in a proof this would be a finding: program_not_shown (worldflux)")


def on_purpose(project: Project, comparison: str, **changes: Any) -> None:
    sides = {"official": {"backend": "fake_official"}, "worldflux": {"backend": "fake_official"}}
    proof(project, comparison=comparison, **{**sides, **changes})
    lock(project)


def test_one_program_is_compared_with_itself_on_purpose(project: Project) -> None:
    on_purpose(project, "self")
    result = project.run(run_id="self")
    assert result.ret == pytest.ExitCode.OK, result.outlines
    reason = project.document("fake_proof/equivalence_report.json", "self")["global"]["verdict_reason"]
    assert reason.startswith("one program compared with itself (comparison: self), so nothing is shown of ")
    assert "| comparison | one program compared with itself" in project.report("self")


def test_one_program_on_purpose_releases_nothing(project: Project) -> None:
    on_purpose(project, "self")
    assert project.run(run_id="self").ret == pytest.ExitCode.OK
    assert_not_released(project, "self", codes=["not_independent"])


@pytest.mark.parametrize("comparison", ["self", "versions"])
def test_one_program_on_purpose_claims_nothing(project: Project, comparison: str) -> None:
    on_purpose(project, comparison, claim="proof_grade")
    result = project.run(run_id="claimed")
    assert result.ret == pytest.ExitCode.USAGE_ERROR or "no claim can be" in str(result.outlines)
    assert "one program on purpose, of which no claim can be" in result.stdout.str() + result.stderr.str()


def test_two_programs_are_not_one_because_a_suite_says_so(project: Project) -> None:
    on_purpose(project, "self", worldflux={"backend": "fake_worldflux"})
    assert project.run(run_id="two").ret == pytest.ExitCode.TESTS_FAILED
    assert '"not_one_program"' in findings(project, "two")


def test_a_side_of_two_trees_is_refused(project: Project) -> None:
    """Each record states what it ran: the file is changed within one session, as a checkout may be."""
    stated = 'wire.content_hash(request.adapter + str(request.system == "worldflux" and request.seed > 1))'
    edit(program(project), TREE, f'"source": {{"tree_sha256": {stated}}},')
    edit(
        program(project), FACTOR, 'level *= 0.98 if request.system == "worldflux" and request.seed > 1 else 1'
    )
    assert project.run(run_id="mixed").ret == pytest.ExitCode.TESTS_FAILED
    assert '"source_trees_differ"' in findings(project, "mixed")
    assert_not_released(project, "mixed")


def test_another_commit_with_the_same_tree_is_a_warning(project: Project) -> None:
    commit = 'f"{request.seed:x}" * 7'.replace("request.seed", "request.seed + 10")
    edit(program(project), TREE, TREE[:-2] + f', "commit": {commit}}},')
    assert project.run(run_id="commits").ret in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
    assert "source_trees_differ" not in findings(project, "commits")
    assert "state 4 commits" in project.report("commits") + str(released(project, "commits").text)
