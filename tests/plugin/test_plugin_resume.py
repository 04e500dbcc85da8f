"""A pair that finished is never run again nor lost, whoever was killed."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from typing import Any

import pytest

from pytest_worldflux_parity.execution.store import SuiteStore
from tests.conftest import Project, alive, wait_until


def waiting(project: Project, *runs: str) -> None:
    """A suite with one task of three seeds, in which ``runs`` wait for ``go``."""
    recipe = {"behaviour": "waits", "until": str(project.root / "go"), "only": list(runs)}
    project.suite(tasks=["alpha"], recipe={"level": 100.0, **recipe}, deadline_sec=200)


def go(project: Project) -> None:
    (project.root / "go").touch()


def stored(project: Project) -> int:
    try:
        return len(project.lines())
    except (OSError, ValueError):
        return 0


def undisturbed(project: Project) -> dict[str, Any]:
    """What a run of the same suite that nobody disturbs comes to."""
    go(project)
    assert project.run(run_id="undisturbed").ret == pytest.ExitCode.OK
    return project.document(run_id="undisturbed")


def successes(project: Project) -> Counter[tuple[str, str, int]]:
    """(system, task, seed) -> how often it succeeded."""
    return Counter((x["system"], x["task_id"], x["seed"]) for x in project.lines() if x["success"])


def assert_as_undisturbed(project: Project) -> None:
    run, other = project.document(), undisturbed(project)
    assert run["verdict"] == "pass"
    for key in ("verdict_reason", "pairs", "stats", "counts", "missing", "metrics", "gates"):
        assert _untold(run, run[key]) == other[key], key


def _untold(run: dict[str, Any], value: Any) -> Any:
    """Without the words of the verdict's sentence on what was cut off: nothing kept its program from it."""
    lost = run["attempts"]["worldflux"]["lost"]
    words = f"with {lost} attempt{'s' * (lost != 1)} of worldflux lost: "
    if isinstance(value, dict) and "verdict_reason" in value:
        return {**value, "verdict_reason": _untold(run, value["verdict_reason"])}
    if isinstance(value, str):
        assert value.startswith(words)
        return value.removeprefix(words)
    return value


def test_controller_killed(project: Project) -> None:
    """kill -9 of pytest in the middle: what finished is kept, and only the rest is run."""
    waiting(project, "worldflux/alpha/2")
    session = project.start()
    wait_until(lambda: stored(project) == 5 and project.pids(), "five runs and the waiting one")
    session.kill()
    session.wait()
    wait_until(lambda: not [p for p in project.pids() if alive(p)], "the program's end")
    before = project.lines()

    go(project)
    result = project.run("--parity-resume")
    assert result.ret == pytest.ExitCode.OK, result.stdout.str()
    assert project.lines()[:5] == before, "finished runs are left as they are"
    assert set(successes(project).values()) == {1}, "no run succeeded twice"
    killed, again = project.lines()[5:]
    assert (killed["attempt"], killed["error_kind"]) == (1, "lost"), "the killed attempt keeps its folder"
    assert (again["attempt"], again["success"]) == (2, True)
    assert_as_undisturbed(project)


def test_ctrl_c(project: Project) -> None:
    """SIGINT ends the program, says what is open, and leaves a run that can be resumed."""
    waiting(project, "worldflux/alpha/1")
    session = project.start()
    wait_until(lambda: stored(project) == 3 and project.pids(), "the waiting run")
    session.send_signal(signal.SIGINT)
    assert session.wait(120) == pytest.ExitCode.INTERRUPTED
    assert not [p for p in project.pids() if alive(p)]
    assert project.document()["verdict"] == "inconclusive"
    assert project.document()["verdict_reason"].startswith("coverage: 3 of 6 expected results were not run")
    go(project)
    assert project.run("--parity-resume", run_id=None).ret == pytest.ExitCode.OK, "the latest run is meant"
    assert set(successes(project).values()) == {1}
    assert project.document()["verdict"] == "pass"


def test_two_sessions_in_one_run(project: Project) -> None:
    waiting(project, "official/alpha/0")
    session = project.start()
    wait_until(project.pids, "the waiting run")
    for extra in ((), ("--parity-resume",)):
        other = project.run(*extra)
        assert other.ret == pytest.ExitCode.USAGE_ERROR
        other.stderr.fnmatch_lines(["*another pytest is using this run directory; to mend: wait*"])
    go(project)
    assert session.wait(120) == pytest.ExitCode.OK
    assert set(successes(project).values()) == {1}


def test_a_finished_run_is_resumed_from_its_records_alone(project: Project) -> None:
    """A record without a line is recovered, a torn line passed over, and the first success counts."""
    project.suite(tasks=["alpha"])
    assert project.run().ret == pytest.ExitCode.OK
    first = project.document()
    path = project.run_dir() / "fake_quick" / "parity_runs.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines()
    # The last line as a crash leaves it: its run is finished, and its record stands in metrics.json.
    path.write_text("\n".join(lines[:-1]) + "\n" + lines[-1][: len(lines[-1]) // 2], encoding="utf-8")
    # Nor was anything judged, or the end of the session written down.
    for name in ("run.json", "circumstances.json", "evidence_bundle.zip"):
        path.with_name(name).unlink()
    sessions = path.with_name("sessions.jsonl")
    sessions.write_text(sessions.read_text(encoding="utf-8").splitlines()[0] + "\n", encoding="utf-8")
    starts = len(list(project.root.glob("reports/**/attempt_*")))

    result = project.run("--parity-resume")
    assert result.ret == pytest.ExitCode.OK, result.stdout.str()
    assert len(list(project.root.glob("reports/**/attempt_*"))) == starts, "nothing ran"
    kept = [json.loads(x) for x in path.read_text(encoding="utf-8").splitlines() if "recovered" in x][-1]
    assert (kept["recovered"], kept["system"], kept["seed"]) == (True, "worldflux", 2)
    resumed = project.document()
    assert resumed["verdict"] == "pass"
    assert resumed["pairs"] == first["pairs"]
    warnings = [
        "1 results were recovered without their exit status",
        "1 torn lines of parity_runs.jsonl were passed over",
    ]
    assert resumed["warnings"] == warnings
    for text in warnings:
        assert text in result.stdout.str()
        assert text in project.report()

    # A second success with the same numbers is harmless; one with others is a finding, and does not count.
    again = {**json.loads(lines[0]), "attempt": 2}
    store = SuiteStore(project.run_dir(), "fake_quick")
    store.append(again)
    assert project.run("--parity-resume").ret == pytest.ExitCode.OK
    again["metrics"]["curve"][-1]["return"] += 50.0
    store.append({**again, "attempt": 3})
    assert project.run("--parity-resume").ret == pytest.ExitCode.TESTS_FAILED
    run = project.document()
    assert run["verdict"] == "fail"
    assert [f["code"] for f in run["gates"]["validity"]["findings"]] == ["conflicting_success"]
    assert run["pairs"] == first["pairs"]


def test_what_a_resume_refuses(project: Project) -> None:
    """Whatever decides a result may not change within a run; the refusal names it and what to do."""
    path = project.suite(tasks=["alpha"])
    lock = project.root / "reports" / "parity" / "upstream_lock.json"

    def refused(text: str, *arguments: str, run_id: str = "r") -> None:
        result = project.run(*arguments, run_id=run_id)
        assert result.ret == pytest.ExitCode.USAGE_ERROR, result.stdout.str()
        assert text in result.stderr.str()
        assert "to mend: " in result.stderr.str() or "valid: " in result.stderr.str()
        assert "Traceback" not in result.stderr.str()

    refused("no such run to resume", "--parity-resume")
    assert not (project.root / "reports").exists()
    refused("no quick run to resume in", "--parity-resume", run_id="")
    assert project.run().ret == pytest.ExitCode.OK
    refused("this run exists; to mend: add --parity-resume, or choose another --parity-run-id")
    refused("seeds changed since the run was sealed", "--parity-resume", "--parity-seeds", "0,1")

    lock.write_text('{"changed": true}', encoding="utf-8")
    refused("upstream_lock_sha256 changed since the run was sealed", "--parity-resume")
    lock.unlink()
    side = project.root / "backends" / "fake_worldflux" / "side.py"
    before = side.read_text(encoding="utf-8")
    side.write_text(f"{before}# another\n", encoding="utf-8")
    refused("fake_worldflux/side.py) changed since the run was sealed", "--parity-resume")
    side.unlink()
    refused("program.files names 'side.py', and there is no such file", "--parity-resume")
    side.write_text(before, encoding="utf-8")
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("100.0", "101.0"), encoding="utf-8")
    refused("suite_sha256 changed since the run was sealed; to mend: start a new run", "--parity-resume")
    path.write_text(text, encoding="utf-8")
    project.suite("another", tasks=["alpha"])
    refused("another.yaml is not part of this run", "--parity-resume")
    assert len(project.lines()) == 6, "nothing ran again"


def test_a_suite_that_changes_while_it_runs(project: Project) -> None:
    """The verdict is on what was sealed: a suite or program edited meanwhile does not pass."""
    waiting(project, "worldflux/alpha/2")
    session = project.start()
    wait_until(project.pids, "the waiting run")
    path = project.root / "backends" / "program.py"
    path.write_text(path.read_text(encoding="utf-8") + "# edited\n", encoding="utf-8")
    go(project)
    assert session.wait(120) == pytest.ExitCode.TESTS_FAILED
    assert project.document()["verdict"] == "fail"
    codes = {f["code"] for f in project.document()["gates"]["validity"]["findings"]}
    assert "changed_since_sealed" in codes


DIES = """
import os
from pytest_worldflux_parity.execution import attempts

if os.environ.get("DIES"):
    attempts.record_line = lambda *args, **fields: os._exit(9)
"""


def test_what_a_failed_program_left_is_no_result(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """A whole record and exit status 3; pytest dies before it has stored how the attempt went."""
    (project.root / "conftest.py").write_text(DIES, encoding="utf-8")
    program = project.root / "backends" / "program.py"
    crash = "def crash(request):\n"
    text = program.read_text(encoding="utf-8")
    assert crash in text
    program.write_text(text.replace(crash, f"{crash}    ok(request)\n"), encoding="utf-8")
    recipe = {"level": 100.0, "behaviour": "crash", "only": ["worldflux/alpha/0"]}
    project.suite(tasks=["alpha"], seeds=1, recipe=recipe, retries=0)
    monkeypatch.setenv("DIES", "1")
    assert project.run("--parity-systems=worldflux").ret == 9
    monkeypatch.delenv("DIES")
    (folder,) = project.root.glob("reports/**/attempt_1")
    assert (folder / "failed_metrics.json").exists()
    project.run("--parity-systems=worldflux", "--parity-resume")
    assert [(x["attempt"], x["error_kind"]) for x in project.lines()] == [(1, "lost"), (2, "failed")]


@pytest.mark.parametrize("name", ["parity_runs.jsonl", "sessions.jsonl"])
@pytest.mark.parametrize("kind", ["is a link", "is no regular file"])
def test_a_log_that_is_no_file_is_refused(project: Project, name: str, kind: str) -> None:
    """In one line: nothing waits for a pipe, and what a link leads to is neither read nor written."""
    project.suite(tasks=["alpha"], seeds=2)
    assert project.run().ret == pytest.ExitCode.OK
    path, other = project.run_dir() / "fake_quick" / name, project.root / "private.txt"
    other.write_text("a diary\n", encoding="utf-8")
    path.unlink()
    if kind == "is a link":
        path.symlink_to(other)
    else:
        os.mkfifo(path)
    result = project.run("--parity-resume")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: *fake_quick/{name}: cannot be read: {kind}*"])
    assert other.read_text(encoding="utf-8") == "a diary\n"


def test_a_program_that_puts_a_link_in_the_place_of_the_log(project: Project) -> None:
    """It runs open, and finds the folder of its suite: nothing is written through it, nor packed."""
    project.suite(tasks=["alpha"], seeds=2)
    other = project.root / "private.txt"
    other.write_text("a diary\n", encoding="utf-8")
    program = project.root / "backends" / "program.py"
    text = program.read_text(encoding="utf-8")
    links = f"""def ok(request):
    place = Path(request.out_dir).parents[4] / "sessions.jsonl"
    place.unlink(missing_ok=True)
    place.symlink_to({str(other)!r})
"""
    assert "def ok(request):\n" in text
    program.write_text(text.replace("def ok(request):\n", links), encoding="utf-8")
    result = project.run("--parity-isolate=off")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*fake_quick/sessions.jsonl: is a link; to mend: take it away*"])
    assert "Traceback" not in result.stdout.str()
    assert other.read_text(encoding="utf-8") == "a diary\n"
    assert not (project.run_dir() / "fake_quick" / "evidence_bundle.zip").exists()
