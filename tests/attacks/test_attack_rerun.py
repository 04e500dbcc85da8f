"""What was bad is taken out of a run, which is then resumed until its verdict is a pass."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_worldflux_parity.execution.chain import HASH_BEFORE
from pytest_worldflux_parity.execution.store import SuiteStore
from tests.attacks.lab import (
    FACTOR,
    ask,
    assert_not_released,
    assert_released,
    edit,
    lock,
    program,
    proof,
)
from tests.conftest import Project, wait_until

HEAD = re.compile(r"log head: ([0-9a-f]{64})")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A candidate that reaches less until the file ``lucky`` is there."""
    project = Project(tmp_path / "project")
    proof(project)
    lock(project)
    lucky = project.root / "lucky"
    edit(program(project), FACTOR, f"level *= 1.0 if Path({str(lucky)!r}).exists() else 0.7")
    return project


def log(project: Project) -> Path:
    return project.run_dir() / "fake_proof" / "parity_runs.jsonl"


def take(project: Project, bad: list[dict[str, Any]], *, lines: bool, folders: bool) -> None:
    """Take attempts out of the run, by hand."""
    for line in bad if folders else ():
        shutil.rmtree((project.run_dir() / line["artifacts"]["stderr"]).parent)
    kept = [x for x in project.lines("fake_proof") if not lines or x not in bad]
    log(project).write_text("".join(json.dumps(x) + "\n" for x in kept), encoding="utf-8")


def until_good(project: Project, *, lines: bool, folders: bool) -> None:
    """One bad session, what is bad of it taken away, and a good one."""
    project.run()
    assert_not_released(project, "r")
    bad = [x for x in project.lines("fake_proof") if x["system"] == "worldflux"]
    take(project, bad, lines=lines, folders=folders)
    (project.root / "lucky").touch()
    project.run("--parity-resume")


def test_a_run_that_was_cut_off_is_resumed(project: Project) -> None:
    """The control: an attempt whose process was killed before it ended is none that is hidden."""
    (project.root / "lucky").touch()
    project.run("suites/proof/fake_proof.yaml::alpha[seed=0]")
    cut = project.run_dir() / "fake_proof" / "executions" / "alpha" / "seed_1" / "official" / "attempt_1"
    cut.mkdir(parents=True)
    (cut / "request.json").touch()
    assert project.run("--parity-resume").ret == pytest.ExitCode.OK
    lines = [x for x in project.lines("fake_proof") if x["seed"] == 1 and x["system"] == "official"]
    assert [(x["attempt"], x["success"]) for x in lines] == [(1, False), (2, True)]
    assert_released(project, "r")


def test_a_record_without_its_line_comes_back(project: Project) -> None:
    until_good(project, lines=True, folders=False)
    lines = [x for x in project.lines("fake_proof") if x["system"] == "worldflux"]
    assert [x["metrics"]["curve"][-1]["return"] < 80 for x in lines] == [True] * 4
    assert_not_released(project, "r", codes=["not_passed"])


def test_a_line_without_its_folder_is_found(project: Project) -> None:
    until_good(project, lines=False, folders=True)
    found = project.document("fake_proof/validity_report.json")["issues_by_code"]
    assert found["record_without_artifact"] == 4
    assert_not_released(project, "r")


@pytest.mark.parametrize("folders", [True, False])
def test_an_attempt_that_is_left_out_is_found(project: Project, folders: bool) -> None:
    """A candidate that ends itself where it would be bad, of which only the good attempts are shown."""
    proof(project, retries=1)
    (project.root / "lucky").touch()
    ok = "def ok(request):\n"
    ends = "    if request.system == 'worldflux' and request.attempt == 1:\n        sys.exit(3)\n"
    edit(program(project), ok, ok + ends)
    assert project.run().ret == pytest.ExitCode.OK
    failed = [x for x in project.lines("fake_proof") if not x["success"]]
    assert len(failed) == 4
    take(project, failed, lines=True, folders=folders)
    project.run("--parity-resume")
    found = project.document("fake_proof/validity_report.json")["issues_by_code"]
    # What still has its folder is given a line again, as an attempt that was cut off.
    assert found.get("attempt_without_line", 0) == (4 if folders else 0)
    assert found["log_broken"] >= 1
    assert_not_released(project, "r", codes=["log_broken"])


def test_what_is_gone_with_its_folder_is_missed(project: Project) -> None:
    until_good(project, lines=True, folders=True)
    assert_not_released(project, "r", codes=["log_broken"])
    assert "a line was changed, taken away or put in" in project.report()


def test_the_last_lines_are_missed_by_the_sessions(project: Project) -> None:
    """No line follows them, so that no hash tells; the session before has left the head that there was."""
    project.run()
    last = project.lines("fake_proof")[-1]
    shutil.rmtree((project.run_dir() / last["artifacts"]["stderr"]).parent)
    path = log(project)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    (project.root / "lucky").touch()
    project.run("--parity-resume")
    found = project.document("fake_proof/validity_report.json")["issues"]
    told = [x["detail"] for x in found if x["code"] == "log_broken"]
    assert told == [
        "line 2 of sessions.jsonl says that a session ended with a log that parity_runs.jsonl does not begin "
        "with: lines are gone or changed",
        "parity_runs.jsonl does not begin with what was sealed or judged: lines are gone or changed",
    ]
    assert_not_released(project, "r", codes=["log_broken"])


def _without_end(folder: Path) -> None:
    path = folder / "sessions.jsonl"
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[0])


def _but_the_log(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_file() and path.name != "parity_runs.jsonl":
            path.unlink()


# What is done to the suite's folder beside the cut: -> what tells of it all the same.
CUTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "sessions gone": (
        lambda folder: (folder / "sessions.jsonl").unlink(),
        "sessions.jsonl does not begin with",
    ),
    "end gone": (_without_end, "parity_runs.jsonl does not begin with what was sealed or judged"),
    "circumstances too": (
        lambda folder: [_without_end(folder), (folder / "circumstances.json").unlink()],
        "parity_runs.jsonl does not begin with what was sealed or judged",
    ),
    "all documents": (_but_the_log, "sessions.jsonl does not begin with what was sealed"),
    "all but run.json": (shutil.rmtree, "sessions.jsonl does not begin with what was sealed"),
}


@pytest.mark.parametrize("cut", CUTS)
def test_a_log_that_is_cut_is_missed_by_what_was_sealed_or_judged(project: Project, cut: str) -> None:
    """No hash is made anew. Judging it once more does not make it whole."""
    project.run()
    folder = log(project).parent
    change, words = CUTS[cut]
    first = next(i for i, x in enumerate(project.lines("fake_proof")) if x["system"] == "worldflux")
    lines = project.lines("fake_proof")
    for line in lines[first:]:
        shutil.rmtree((project.run_dir() / line["artifacts"]["stderr"]).parent)
    log(project).write_bytes(b"".join(log(project).read_bytes().splitlines(keepends=True)[:first]))
    change(folder)
    (project.root / "lucky").touch()
    for _ in range(2):
        assert project.run("--parity-resume").ret == pytest.ExitCode.TESTS_FAILED
        found = project.document("fake_proof/validity_report.json")["issues"]
        assert words in " ".join(x["detail"] for x in found if x["code"] == "log_broken")
        assert_not_released(project, "r", codes=["log_broken"])


def test_a_session_that_was_killed_is_counted(project: Project) -> None:
    """Nothing else tells of a bad run that nobody has written down: neither a line nor a folder is there."""
    waits = {"behaviour": "waits", "until": str(project.root / "lucky"), "only": ["worldflux/alpha/1"]}
    proof(project, recipe={"level": 100.0, **waits}, deadline_sec=100)
    edit(program(project), "level *= 1.0 if", "level *= 1.0 if True or")
    session = project.start()
    folder = project.run_dir() / "fake_proof" / "executions" / "alpha" / "seed_1" / "worldflux"
    wait_until((folder / "attempt_1" / "pid").exists, "the bad run")
    session.kill()
    session.wait()
    shutil.rmtree(folder)
    (project.root / "lucky").touch()
    assert project.run("--parity-resume").ret == pytest.ExitCode.OK
    assert re.search(r"\| log \| head [0-9a-f]{64}, of 2 sessions, 1 without an end \|", project.report())
    assert project.document("fake_proof/equivalence_report.json")["log"]["unended"] == 1


def test_a_log_that_is_made_anew_has_another_head(project: Project) -> None:
    """Hashes keep nobody from making all of them again; the head that was printed is not among them."""
    first = HEAD.search(project.run().stdout.str())
    bad = [x for x in project.lines("fake_proof") if x["system"] == "worldflux"]
    take(project, bad, lines=True, folders=True)
    store = SuiteStore(project.run_dir(), "fake_proof")
    kept = [{k: v for k, v in x.items() if k != HASH_BEFORE} for x in project.lines("fake_proof")]
    for path in store.folder.iterdir():
        if path.is_file():
            path.unlink()
    run = project.run_dir() / "run.json"
    sealed = next(iter(json.loads(run.read_text(encoding="utf-8"))["suites"].values()))
    edit(run, sealed["sessions_sha256"], store.note_session("started", "r", []))
    for line in kept:
        store.append(line)
    store.note_session("ended", "r", [])
    (project.root / "lucky").touch()
    second = HEAD.search(project.run("--parity-resume").stdout.str())
    assert first
    assert second
    assert first[1] != second[1]
    bundle = store.folder / "evidence_bundle.zip"
    known = ask(project, "verify", bundle, "--allow-unsigned", "--head", second[1])
    assert known.status == 0, known.text
    other = ask(project, "verify", bundle, "--allow-unsigned", "--head", first[1])
    assert other.status == 2
    assert f"not as expected: other_head: the head of the log is {second[1]}" in other.text
