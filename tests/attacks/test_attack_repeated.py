"""A candidate that runs again until its draw is good: by failing, by a signal, or by ending what runs it."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_worldflux_parity.execution.sessions import SESSIONS
from tests.attacks.lab import (
    ask,
    assert_not_released,
    assert_released,
    edit,
    lock,
    policy,
    program,
    proof,
    quick,
    released,
)
from tests.conftest import Project, wait_until
from tests.evidence.manipulations import Members, forged, replaced, saved
from tests.execution.walls import needs_walls

OK = "def ok(request):\n"
BAD = "    bad = request.system == 'worldflux' and request.attempt == 1 and request.seed < {seeds}\n"
SIGNALS = "    import signal\n"
ENDS = {
    "failed": "    bad and sys.exit(3)\n",
    "killed": f"{SIGNALS}    bad and os.kill(os.getpid(), signal.SIGKILL)\n",
    "lost": f"{SIGNALS}    bad and (os.kill(os.getppid(), signal.SIGKILL), time.sleep(60))\n",
}


# Of a good draw of a program that fails all the same.
RECORD = "    good = dict(schema_version='parity.v1', request_id=request.request_id, success=True, "
RECORD += "adapter=request.adapter, task_id=request.task_id, seed=request.seed, device=request.device, "
RECORD += "curve=[{'step': 1000, 'return': 100.0}], scalars={}, metadata={})\n"
WRITES = "    bad and open('metrics.json', 'w').write(json.dumps(good))\n"
LEAVES = {
    "the name of a probe leads to a full device": "    bad and os.symlink('/dev/full', '.room')\n",
    "a folder in the place of the failed record": (
        f"    import json\n{RECORD}{WRITES}    bad and os.makedirs('failed_metrics.json/x')\n"
    ),
    "a folder that nobody may write": (
        f"    import json\n{RECORD}{WRITES}    bad and os.chmod('.', 0o555)\n"
    ),
}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "project")


def ending(project: Project, how: str, seeds: int) -> None:
    """The candidate's first attempts at so many seeds end in some way."""
    edit(program(project), OK, OK + BAD.format(seeds=seeds) + ENDS[how])


@pytest.mark.parametrize("how", ["failed", "killed"])
def test_one_attempt_that_failed_is_admitted(project: Project, how: str) -> None:
    """The control: machines fail too."""
    quick(project, retries=1)
    lock(project)
    ending(project, how, 1)
    assert project.run().ret == pytest.ExitCode.OK
    assert_released(project, "r")
    assert f"| attempts of worldflux | 4 ok, 1 {how} |" in project.report()
    counts = project.document()["attempts"]["worldflux"]
    assert (counts["ok"], counts[how], sum(counts.values())) == (4, 1, 5)


@pytest.mark.parametrize("how", ["failed", "killed"])
def test_bad_draws_that_end_themselves_are_counted(project: Project, how: str) -> None:
    quick(project, retries=1)
    lock(project)
    ending(project, how, 2)
    assert project.run().ret == pytest.ExitCode.OK
    assert_not_released(project, "r", codes=["failed_attempts"])
    assert f"2 of 6 attempts did not succeed, and 2.0% of them may have (4 ok, 2 {how})" in _refusal(project)
    policy(project, {"failed_attempts": 0.5})
    assert_released(project, "r")


def _refusal(project: Project) -> str:
    return released(project, "r").text


@pytest.mark.parametrize("what", LEAVES)
def test_what_a_failed_program_leaves_changes_nothing_of_its_end(project: Project, what: str) -> None:
    """Nothing is written through a name that it chose, and a resume does not find its record."""
    quick(project, retries=0)
    lock(project)
    edit(program(project), OK, OK + BAD.format(seeds=2) + LEAVES[what] + ENDS["failed"])
    assert project.run().ret == pytest.ExitCode.TESTS_FAILED
    assert [x["error_kind"] for x in project.lines() if not x["success"]] == ["failed"] * 2
    assert project.run("--parity-resume").ret == pytest.ExitCode.TESTS_FAILED
    assert [x["error_kind"] for x in project.lines() if not x["success"]] == ["failed"] * 2
    anew = project.run("--parity-resume", "--parity-retry-failed=again")
    assert anew.ret == pytest.ExitCode.OK
    assert "| attempts of worldflux | 4 ok, 2 failed |" in project.report()
    assert_not_released(project, "r", codes=["overrides", "failed_attempts"])


def test_a_reason_that_is_taken_away_is_missed(project: Project) -> None:
    quick(project, retries=0)
    lock(project)
    ending(project, "failed", 1)
    assert project.run().ret == pytest.ExitCode.TESTS_FAILED
    assert project.run("--parity-resume", "--parity-retry-failed=again").ret == pytest.ExitCode.OK
    sealed = project.run_dir() / "run.json"
    session = json.loads(sealed.read_text(encoding="utf-8"))
    assert session["choices"].pop("retry_failed") == "failed runs tried again: again"
    sealed.write_text(json.dumps(session), encoding="utf-8")
    found = project.run("--parity-resume")
    assert found.ret == pytest.ExitCode.TESTS_FAILED
    found.stdout.fnmatch_lines(
        ["*log_broken: run.json does not say that failed runs were tried again: again*"]
    )


def test_retries_count_over_all_sessions(project: Project) -> None:
    quick(project, retries=1)
    lock(project)
    edit(program(project), OK, OK + "    request.attempt < 4 and request.seed == 0 and sys.exit(3)\n")
    assert project.run().ret == pytest.ExitCode.TESTS_FAILED
    attempts = len(project.lines())
    again = project.run("--parity-resume")
    assert again.ret == pytest.ExitCode.TESTS_FAILED
    assert len(project.lines()) == attempts, "nothing is tried again"
    used_up = "the retries of the suite are used up, in earlier sessions of the run"
    again.stdout.fnmatch_lines([f"*{used_up}; to mend: --parity-retry-failed REASON*"])
    anew = project.run("--parity-resume", "--parity-retry-failed=the disk\nwas full")
    assert anew.ret == pytest.ExitCode.OK
    assert [x["attempt"] for x in project.lines() if x["seed"] == 0] == [1, 2, 3, 4]
    sentence = "with failed runs tried again: the disk was full: "
    assert project.document()["verdict_reason"].startswith(sentence)
    assert_not_released(project, "r", codes=["overrides", "failed_attempts"])
    assert "| chosen | failed runs tried again: the disk was full |" in project.report()
    sessions = (project.run_dir() / "fake_quick" / SESSIONS).read_text(encoding="utf-8").splitlines()
    events = [json.loads(line) for line in sessions]
    assert [e["event"] for e in events] == ["started", "ended", *["resumed", "ended"] * 2]
    assert "--parity-retry-failed=the disk\nwas full" in events[-1]["command"]
    assert events[-1]["log_sha256"] == project.document()["log"]["head"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--parity-retry-failed=why",), "goes with --parity-resume"),
        (("--parity-resume", "--parity-retry-failed= "), "wants a reason"),
    ],
)
def test_a_reason_belongs_to_a_resume(project: Project, arguments: tuple[str, ...], words: str) -> None:
    quick(project)
    lock(project)
    project.run()
    other = project.run(*arguments)
    assert other.ret == pytest.ExitCode.USAGE_ERROR
    other.stderr.fnmatch_lines([f"ERROR: --parity-retry-failed*{words}*"])


def test_a_candidate_that_kills_its_session_is_told(project: Project) -> None:
    """Without walls nothing shows that it was somebody else; one time, it may have been."""
    quick(project)
    lock(project)
    ending(project, "lost", 2)
    for count in (1, 2):
        killed = project.run(*(["--parity-resume"] if count > 1 else []))
        assert killed.ret == -signal.SIGKILL
    assert project.run("--parity-resume").ret == pytest.ExitCode.OK
    assert [x["error_kind"] for x in project.lines() if not x["success"]] == ["lost", "lost"]
    assert project.document()["verdict_reason"].startswith("with 2 attempts of worldflux lost: ")
    assert "| attempts of worldflux | 4 ok, 2 lost |" in project.report()
    assert "of 3 sessions" in project.report()
    assert_not_released(project, "r", codes=["failed_attempts"])


@needs_walls
def test_a_session_that_was_killed_behind_walls_is_no_failure(project: Project) -> None:
    """The control: its programs could not reach what ran them. It is killed three times."""
    project.ini("filterwarnings = error", "parity_workers = 0", "parity_isolate = require")
    flags = project.root / "flags"
    flags.mkdir()
    backend = project.root / "backends" / "fake_worldflux" / "backend.yaml"
    backend.write_text(backend.read_text() + "needs: {read: [../../flags]}\n")
    waits = {"behaviour": "waits", "until": str(flags / "go"), "only": ["worldflux/alpha/1"]}
    quick(project, recipe={"level": 100.0, **waits}, deadline_sec=100)
    lock(project)
    for count in range(3):
        session = project.start(*(["--parity-resume"] if count else []))
        folder = project.out_dir("worldflux", "alpha", 1) / f"attempt_{count + 1}"
        wait_until((folder / "pid").exists, "the program that waits")
        session.kill()
        session.wait()
    (flags / "go").touch()
    assert project.run("--parity-resume").ret == pytest.ExitCode.OK
    assert project.document()["attempts"]["worldflux"]["excused"] == 3
    assert "lost" not in project.document()["verdict_reason"]
    told = "4 ok, 3 lost (3 of them by no doing of the program)"
    assert f"| attempts of worldflux | {told} |" in project.report()
    assert_released(project, "r")


def test_an_attempt_that_never_began_is_none(project: Project) -> None:
    """The control: workers waited for a GPU when the session was killed. The folders they made are empty."""
    quick(project)
    lock(project)
    assert project.run().ret == pytest.ExitCode.OK
    waited = [project.out_dir("worldflux", "alpha", seed) / "attempt_2" for seed in (0, 1)]
    for folder in waited:
        folder.mkdir()
    assert project.run("--parity-resume").ret == pytest.ExitCode.OK
    assert not any(folder.exists() for folder in waited)
    assert "| attempts of worldflux | 4 ok |" in project.report()
    assert_released(project, "r")


def test_an_attempt_that_never_began_has_a_line_where_a_later_one_passed_it(project: Project) -> None:
    """A worker died before it had asked anything, and another of its session went on."""
    quick(project)
    lock(project)
    makes = "os.makedirs(request.out_dir.replace('seed_0', 'seed_1'))"
    edit(program(project), OK, f"{OK}    request.system == 'worldflux' and request.seed == 0 and {makes}\n")
    assert project.run().ret == pytest.ExitCode.OK
    lines = {(x["seed"], x["attempt"]): x for x in project.lines() if x["system"] == "worldflux"}
    assert lines[1, 1]["error_kind"] == "lost"
    assert lines[1, 2]["success"]
    assert "| attempts of worldflux | 4 ok, 1 lost |" in project.report()


FOLDER = "run/fake_proof"
EDITS: dict[str, Callable[[Members], object]] = {
    "another command": replaced(f"{FOLDER}/{SESSIONS}", '"pytest"', '"pytes_"'),
    "another end": replaced(f"{FOLDER}/{SESSIONS}", '"ended"', '"resumed"'),
    "no end": lambda m: m.update({f"{FOLDER}/{SESSIONS}": m[f"{FOLDER}/{SESSIONS}"].splitlines(True)[0]}),
    "no file": lambda m: m.pop(f"{FOLDER}/{SESSIONS}"),
}


def test_the_sessions_of_a_bundle_are_those_that_were_judged(project: Project) -> None:
    proof(project)
    lock(project)
    assert project.run().ret == pytest.ExitCode.OK
    bundle = project.run_dir() / "fake_proof" / "evidence_bundle.zip"
    known = project.document("fake_proof/equivalence_report.json")["log"]["head"]
    whole = ask(project, "verify", bundle, "--allow-unsigned", "--head", known)
    assert whole.status == 0, whole.text
    assert f"head {known}, of 1 session" in whole.text
    for what, change in EDITS.items():
        other = saved(project.root / "other.zip", forged(change)(bundle.read_bytes()))
        answer = ask(project, "verify", other, "--allow-unsigned")
        assert answer.status == 2, (what, answer.text)
        assert "log_broken" in answer.text, (what, answer.text)
