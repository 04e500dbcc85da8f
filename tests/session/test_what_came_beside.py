"""What comes beside a program during a run, or between its sessions, is told of and changes nothing.

Programs run from copies of what was sealed, so no request, no result and no resume hangs on it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_worldflux_parity.execution.copies import PROGRAM_FOLDER
from pytest_worldflux_parity.inputs.command_program import project_commit
from pytest_worldflux_parity.judgement.proof_verdict import ProofJudgement
from pytest_worldflux_parity.release.expectation import of_checkout
from pytest_worldflux_parity.release.judged_anew import NOT_PASSED, judge_expected, records_of
from tests.conftest import Project
from tests.repositories import commit_all
from tests.session.test_campaign_sessions import campaign, table
from tests.session.test_honest_programs import START
from tests.session.test_program_files import SUITE as MANIFEST
from tests.session.test_program_files import with_manifest
from tests.session.test_proof_sessions import report

ONE = "suites/quick/fake_quick.yaml::alpha[seed=0]"
NAMES = ("NOTES.md", ".main.py.swp", ".DS_Store", "extra.py", ".idea/workspace.xml", "state/cache_0")


def leaves(project: Project, name: str) -> Path:
    """Have the worldflux program leave a file in its own folder, as an editor would, or a cache."""
    path = project.root / "backends" / "fake_worldflux" / name
    program = project.root / "backends" / "program.py"
    lines = f"    path = {str(path)!r}\n    if request.system == 'worldflux':\n"
    lines += "        os.makedirs(os.path.dirname(path), exist_ok=True)\n        open(path, 'w').write('x')\n"
    program.write_text(program.read_text(encoding="utf-8").replace(START, START + lines), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", NAMES)
def test_what_comes_during_a_run_takes_no_result_away(project: Project, name: str) -> None:
    project.suite(tasks=["alpha"])
    path = leaves(project, name)
    result = project.run("--parity-seeds=0")
    assert path.exists()
    assert result.ret == pytest.ExitCode.TESTS_FAILED, "one seed decides nothing"
    assert project.document()["gates"]["coverage"]["verdict"] == "pass"
    told = f"fake_worldflux/{name} came beside the worldflux program, which ran without"
    assert told in result.stdout.str()
    again = project.run("--parity-seeds=0", "--parity-resume")
    assert project.document()["gates"]["coverage"]["verdict"] == "pass"
    assert told in again.stdout.str()
    assert len(project.lines()) == 2, "nothing ran again"


def test_a_resume_runs_the_same_copy_whatever_came_beside_it(project: Project) -> None:
    project.suite(tasks=["alpha"])
    side = project.root / "backends" / "fake_worldflux"
    project.run(ONE)
    for name in ("README.md", ".side.py.swp", "json.py"):
        (side / name).write_text("raise SystemExit(3)", encoding="utf-8")
    (side / ".idea").mkdir()
    (side / ".idea" / "workspace.xml").write_text("x", encoding="utf-8")
    result = project.run("--parity-resume")
    assert result.ret == pytest.ExitCode.OK, result.stdout.str()
    assert "came beside the worldflux program, which ran without" in result.stdout.str()
    lines = project.lines()
    assert len({line["program_sha256"] for line in lines if line["system"] == "worldflux"}) == 1
    assert len({json.dumps(line["source"]) for line in lines if line["system"] == "worldflux"}) == 1
    # With workers, each of which collects for itself.
    assert project.run("-n", "2", "--parity-resume").ret == pytest.ExitCode.OK
    assert len(project.lines()) == 6


@pytest.mark.parametrize("change", [Path.unlink, lambda path: path.write_text("# other\n", encoding="utf-8")])
def test_a_sealed_file_that_changed_is_found(project: Project, change: Callable[[Path], object]) -> None:
    project.suite(tasks=["alpha"])
    path = leaves(project, "side.py")
    assert project.run().ret == pytest.ExitCode.TESTS_FAILED
    [finding, *_] = project.document()["gates"]["validity"]["findings"]
    assert finding["code"] == "changed_since_sealed"
    change(path)
    resumed = project.run("--parity-resume")
    assert resumed.ret == pytest.ExitCode.USAGE_ERROR
    assert "side.py" in resumed.stderr.str()


def test_a_proof_holds_what_ran(project: Project) -> None:
    project.proof(tasks=["alpha"])
    leaves(project, "extra.py")
    for more in ((), ("--parity-resume",)):
        result = project.run(*more)
        assert result.ret == pytest.ExitCode.OK, result.stdout.str()
        assert "extra.py came beside the worldflux program, which ran without" in result.stdout.str()
    assert report(project, "coverage_report.json")["pass"]
    assert len(project.lines("fake_proof")) == 8


def test_a_campaign_holds_what_ran(project: Project) -> None:
    campaign(project)
    leaves(project, ".DS_Store")
    for more in ((), ("--parity-resume",)):
        result = project.run("--parity-source=worldflux", *more)
        assert result.ret == pytest.ExitCode.OK, result.stdout.str()
        assert ".DS_Store came beside the worldflux program, which ran without" in result.stdout.str()
        assert table(project)["provenance"]["complete"]
    assert len(project.lines("c")) == 4


def test_components_hold_what_ran(project: Project) -> None:
    """The match program's tree is that of the run as well."""
    project.suite(tasks=["alpha"])
    project.run()
    sealed = project.document("run.json")["suites"]["suites/quick/fake_quick.yaml"]
    (project.root / "backends" / "fake_worldflux" / "notes.txt").write_text("n", encoding="utf-8")
    assert project.run("--parity-resume").ret == pytest.ExitCode.OK
    assert project.document("run.json")["suites"]["suites/quick/fake_quick.yaml"] == sealed


# --- commits, and copies that are gone ---


def test_a_commit_that_changes_no_file_of_a_manifest_goes_on(project: Project) -> None:
    document = with_manifest(project)
    suite, task = document["suite_id"], document["tasks"][0]["task_id"]
    (project.root / ".gitignore").write_text("reports\n__pycache__\n.pytest_cache\n", encoding="utf-8")
    commit_all(project.root)
    project.run(f"{MANIFEST}::{task}[seed=0]")
    (project.root / "DOC.md").write_text("d", encoding="utf-8")
    commit_all(project.root)
    resumed = project.run("--parity-resume")
    assert "changed since the run was sealed" not in resumed.stdout.str() + resumed.stderr.str()
    assert len(project.lines(suite)) == 4, "each pair once"
    assert report(project, "coverage_report.json", suite)["pass"]
    assert len({json.dumps(x["source"]) for x in project.lines(suite) if x["system"] == "worldflux"}) == 1
    # A release judges under the later commit.
    project_commit.cache_clear()
    anew = judge_expected(records_of(project.run_dir(), suite), of_checkout(project.root))
    assert anew.judged is not None
    assert [f.code for f in anew.findings] == [NOT_PASSED], "as in the run itself"
    assert isinstance(anew.judged.judgement, ProofJudgement)
    assert [g.verdict for g in anew.judged.judgement.gates if g.name == "coverage"] == ["pass"]


def gone(copies: Path) -> None:
    shutil.rmtree(copies)


def broken(copies: Path) -> None:
    for path in copies.rglob("program.py"):
        path.chmod(0o644)
        path.write_text("raise SystemExit(3)", encoding="utf-8")


@pytest.mark.parametrize("lose", [gone, broken])
def test_a_copy_that_is_gone_is_made_again(project: Project, lose: Callable[[Path], None]) -> None:
    project.suite(tasks=["alpha"])
    project.run(ONE)
    lose(project.run_dir() / PROGRAM_FOLDER)
    # What came since is in no copy.
    (project.root / "backends" / "fake_worldflux" / "late.py").write_text("", encoding="utf-8")
    assert project.run("--parity-resume").ret == pytest.ExitCode.OK
    assert not [*(project.run_dir() / PROGRAM_FOLDER).rglob("late.py")]
    assert len(project.lines()) == 6


# --- names that are none ---


@pytest.mark.parametrize("folder", ["fake_worldflux", "lib"])
def test_a_name_that_is_no_utf8_is_one_line(project: Project, folder: str) -> None:
    project.suite(tasks=["alpha"])
    place = project.root / "backends" / folder
    place.mkdir(exist_ok=True)
    Path(str(place), "caf\udce9.py").write_text("x = 1\n", encoding="utf-8")
    if folder == "lib":
        path = project.root / "backends" / "fake_worldflux" / "backend.yaml"
        path.write_text(
            path.read_text(encoding="utf-8").replace("files: [", "files: [../lib, "), encoding="utf-8"
        )
    result = project.run()
    text = result.stdout.str() + result.stderr.str()
    assert result.ret in (pytest.ExitCode.USAGE_ERROR, pytest.ExitCode.INTERRUPTED)
    assert "caf\\xe9.py is no UTF-8; to mend: rename the file" in text
    assert "Traceback" not in text
    assert "UnicodeEncodeError" not in text


# --- a campaign's log ---


def test_a_campaign_with_an_edited_log_makes_no_table(project: Project) -> None:
    campaign(project)
    assert project.run("--parity-source=worldflux", "--parity-seeds=0,1").ret == pytest.ExitCode.OK
    said = table(project)["provenance"]
    assert said["attempts"]["ok"] == 4
    assert said["attempts"]["failed"] == 0
    assert said["choices"] == {"seeds": "--parity-seeds 0,1 in place of the suite's seeds"}
    # The honest one goes on.
    assert project.run("--parity-source=worldflux", "--parity-resume").ret == pytest.ExitCode.OK
    (project.root / "out" / "worldflux.json").unlink()
    log = project.run_dir() / "c" / "parity_runs.jsonl"
    first, *others = log.read_text(encoding="utf-8").splitlines(keepends=True)
    log.write_text("".join([first.replace("{", "{ ", 1), *others]), encoding="utf-8")
    result = project.run("--parity-source=worldflux", "--parity-resume")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert "nothing is written: log_broken: line 2 of parity_runs.jsonl" in result.stdout.str()
    assert not (project.root / "out" / "worldflux.json").exists()
