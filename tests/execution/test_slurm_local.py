"""Sessions with ``--parity-engine=slurm`` on one machine: submitit's own executor starts real processes."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_worldflux_parity import schemas
from pytest_worldflux_parity.errors import StoreError
from tests.conftest import Project, alive, wait_until
from tests.execution.walls import needs_walls
from tests.plugin.test_plugin_sessions import documents, normal

pytest.importorskip("submitit", reason="the extra slurm is not installed")

from pytest_worldflux_parity.execution.slurm import engine as slurm
from pytest_worldflux_parity.execution.slurm import job_files

SLURM = ("--parity-engine=slurm", "--device=cpu", "-p", "no:xdist")
# The engine's own files: in a folder of their own, and two in the folder of each attempt.
OWN = re.compile(r"\.slurm/|slurm_(job|node)\.json$")


@pytest.fixture
def here(project: Project) -> Project:
    project.ini("filterwarnings = error", "parity_workers = 0", "parity_slurm_cluster = local")
    return project


def files(project: Project, run_id: str) -> list[str]:
    folder = project.run_dir(run_id)
    names = (p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    return sorted(name for name in names if not OWN.search(name))


def lines(project: Project, suite: str, run_id: str) -> list[dict[str, Any]]:
    found = [normal(x, project.root) for x in project.lines(suite, run_id)]
    return sorted(found, key=lambda x: (x["task_id"], x["seed"], x["system"], x["attempt"]))


@pytest.mark.parametrize("walls", ["off", pytest.param("require", marks=needs_walls)])
def test_a_run_directory_is_that_of_a_local_run(here: Project, walls: str) -> None:
    """Files and lines, of what succeeds and of what fails in each of its ways."""
    settings = ("parity_slurm_cluster = local", f"parity_isolate = {walls}")
    here.ini("filterwarnings = error", "parity_workers = 0", *settings)
    failing = {"crash": 20, "killed": 20, "hang": 1}
    here.suite(tasks=["alpha"], seeds=1)
    for behaviour, deadline in failing.items():
        recipe = {"level": 100.0, "behaviour": behaviour, "only": ["worldflux/alpha/0"]}
        here.suite(behaviour, tasks=["alpha"], seeds=1, recipe=recipe, deadline_sec=deadline)
    only = "--parity-systems=worldflux"
    local = here.run("-p", "no:xdist", "--device=cpu", only, run_id="on_this")
    slurm = here.run(*SLURM, only, run_id="on_slurm")
    assert slurm.ret == local.ret == pytest.ExitCode.TESTS_FAILED, slurm.stdout.str()
    assert files(here, "on_slurm") == files(here, "on_this")
    for suite in ("fake_quick", *failing):
        assert lines(here, suite, "on_slurm") == lines(here, suite, "on_this")
    kinds = {x["error_kind"] for suite in failing for x in here.lines(suite, "on_slurm")}
    assert kinds == {"failed", "killed", "deadline"}
    by = {x["isolation"]["by"] for suite in failing for x in here.lines(suite, "on_slurm")}
    assert by == {{"off": "none", "require": "bubblewrap"}[walls]}
    assert documents(here, "on_slurm") == documents(here, "on_this")
    for path in here.run_dir("on_slurm").rglob("slurm_*.json"):
        schemas.check(here.document(str(path)), f"{path.stem}.v1", str, StoreError)


@pytest.mark.long
def test_x_ends_jobs_in_flight(here: Project) -> None:
    tasks = [
        {"id": "alpha", "recipe": {"behaviour": "random_policy"}},
        {"id": "beta", "recipe": {"behaviour": "hang"}},
    ]
    here.suite(tasks=tasks, seeds=1, deadline_sec=200)
    result = here.run(*SLURM, "-x")
    result.stdout.fnmatch_lines(["*random_policy_forbidden*", "*stopping after * failures*"])
    assert {(x["task_id"], x["success"]) for x in here.lines()} == {("alpha", True)}
    assert not [pid for pid in here.pids() if alive(pid)]


@pytest.mark.parametrize("walls", ["auto", "require"])
def test_a_node_without_bubblewrap_says_so(
    here: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, walls: str
) -> None:
    """The machine of the session may well have it: each node tries for itself."""
    here.suite(tasks=["alpha"], seeds=1)
    for name in ("env", "sh", "git"):
        (tmp_path / name).symlink_to(shutil.which(name) or f"/usr/bin/{name}")
    monkeypatch.setenv("PATH", str(tmp_path))
    here.run(*SLURM, f"--parity-isolate={walls}")
    why = "bubblewrap is not installed"
    if walls == "auto":
        assert {(x["success"], x["isolation"]["why"]) for x in here.lines()} == {(True, why)}
    else:
        told = f"--parity-isolate=require, and {why}; to mend: apt-get install bubblewrap"
        lines = here.lines()
        assert lines
        assert all(not x["success"] and x["error"].endswith(told) for x in lines), lines


def waiting(project: Project, **changes: Any) -> None:
    recipe = {"level": 100.0, "behaviour": "family", "until": str(project.root / "go")}
    project.suite(tasks=["alpha"], seeds=1, recipe=recipe, deadline_sec=200, **changes)


def attempts(project: Project) -> Counter[tuple[str, bool]]:
    return Counter((x["system"], x["success"]) for x in project.lines())


def test_jobs_outlive_a_killed_session_and_are_gone_on_with(here: Project) -> None:
    """One of them ends before the next session looks, the other while it waits for it."""
    waiting(here)
    session = here.start(*SLURM)
    wait_until(lambda: len(here.pids()) == 6, "both programs and their children")
    pids = "reports/parity/*/*/executions/**/pid"
    programs = {p: int(p.read_text()) for p in here.root.glob(pids)}
    session.kill()
    session.wait()
    assert all(alive(pid) for pid in programs.values())
    resumed = here.start(*SLURM, "--parity-resume")
    wait_until(lambda: "parity: quick" in (here.root / "started.log").read_text(), "the second session")
    (here.root / "go").touch()
    assert resumed.wait(120) == pytest.ExitCode.TESTS_FAILED, "a verdict of one seed is inconclusive"
    assert attempts(here) == {("official", True): 1, ("worldflux", True): 1}
    assert {p: int(p.read_text()) for p in here.root.glob(pids)} == programs, "nothing ran twice"
    assert all(x["duration_sec"] and x["command"] for x in here.lines()), "the job said how it ended"
    wait_until(lambda: not [p for p in here.pids() if alive(p)], "the end of their children")


LOCAL = ("--device=cpu", "-p", "no:xdist", "--parity-resume")


def killed_with_jobs(project: Project) -> list[Path]:
    """The attempts of a session that was killed, whose jobs go on."""
    waiting(project)
    session = project.start(*SLURM)
    wait_until(lambda: len(project.pids()) == 6, "both programs and their children")
    session.kill()
    session.wait()
    return sorted(project.root.glob("reports/**/attempt_1"))


def have_ended(folders: list[Path]) -> bool:
    found = [job_files.read_job_file(folder, job_files.NODE) for folder in folders]
    return all(x is not None and x["outcome"] is not None for x in found)


def test_what_jobs_have_finished_counts_with_another_engine(here: Project) -> None:
    folders = killed_with_jobs(here)
    (here.root / "go").touch()
    wait_until(lambda: have_ended(folders), "the outcomes")
    here.run(*LOCAL)
    assert attempts(here) == {("official", True): 1, ("worldflux", True): 1}
    assert all(x["duration_sec"] and x["command"] and not x["recovered"] for x in here.lines())


def test_what_a_job_still_runs_is_not_begun_by_another_engine(here: Project) -> None:
    folders = killed_with_jobs(here)
    result = here.run(*LOCAL)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    job = job_files.read_job_file(folders[0], job_files.JOB)
    assert job is not None
    said = f"fake_official: process {job['job_id']} still runs or waits to run the attempt; to mend: resume"
    result.stdout.fnmatch_lines([f"*{said} with --parity-engine=slurm, or kill -INT {job['job_id']}"])
    assert len(here.pids()) == 6
    assert not [*here.root.glob("reports/**/attempt_2")]
    # As it was told to: then the attempts are lost, and run here.
    for folder in folders:
        os.kill(int((job_files.read_job_file(folder, job_files.JOB) or {})["job_id"]), signal.SIGINT)
    wait_until(lambda: not processes_of(here.run_dir() / ".slurm"), "the end of the jobs")
    (here.root / "go").touch()
    here.run(*LOCAL)
    assert attempts(here) == {(s, x): 1 for s in ("official", "worldflux") for x in (False, True)}
    assert {x["error_kind"] for x in here.lines()} == {"lost", None}


@pytest.mark.parametrize("args", [LOCAL, (*SLURM, "--parity-resume")], ids=["local", "slurm"])
def test_what_a_job_answers_to_another_request_does_not_count(here: Project, args: tuple[str, ...]) -> None:
    """One job has finished; that of the other still runs, and nobody waits for it."""
    until = str(here.root / "go")
    recipe = {"level": 100.0, "behaviour": "family", "until": until, "only": ["worldflux/alpha/0"]}
    here.suite(tasks=["alpha"], seeds=1, deadline_sec=200, recipe=recipe)
    session = here.start(*SLURM)
    stored = here.run_dir() / "fake_quick" / "parity_runs.jsonl"
    wait_until(lambda: stored.exists() and len(here.pids()) >= 3, "one that ended, one that runs")
    session.kill()
    session.wait()
    stored.unlink()
    # The seal of the run refuses a suite or a backend that has changed; here only the attempts are older.
    for path in here.root.glob(f"reports/**/{job_files.JOB}"):
        path.write_text(re.sub(r'"request_id": "\w+"', '"request_id": "0"', path.read_text()))
    resumed = here.start(*args)
    wait_until(lambda: stored.exists() and len(here.lines()) >= 3, "that nobody waits")
    (here.root / "go").touch()
    resumed.wait(120)
    assert attempts(here) == {(s, x): 1 for s in ("official", "worldflux") for x in (False, True)}
    wrong = [x["error"] for x in here.lines() if not x["success"]]
    changed = "recipe, program or source have changed since the job was submitted"
    assert [changed in x for x in wrong] == [True, True]
    assert sum("; to mend: where it still runs, kill -INT" in x for x in wrong) == 1
    wait_until(lambda: not processes_of(here.run_dir() / ".slurm"), "the end of the job")


def test_a_number_that_is_another_process_s_by_now(here: Project, tmp_path: Path) -> None:
    """It is neither waited for nor signalled, whosever it is."""
    context: Any = SimpleNamespace(
        engine_settings={
            "parity_slurm_cluster": "local",
            "parity_slurm_jobs": "2",
            "parity_slurm": ["poll_sec=3600"],
            "parity_slots_per_gpu": "1",
        },
        device="cpu",
        run_dir=tmp_path,
        root=tmp_path,
    )
    theirs = [sys.executable, "-c", "import time; time.sleep(99)", "submitit.local._local", "/another/.slurm"]
    with subprocess.Popen(theirs) as other:
        engine = slurm.SlurmEngine(context)
        try:
            job_files.write_job(tmp_path, "local", "fake", str(other.pid))
            waits = ThreadPoolExecutor(1).submit(engine.adopt, tmp_path)
            wait_until(lambda: engine._flights, "the attempt")
            engine.stop()
            with pytest.raises(KeyboardInterrupt):
                waits.result(60)
            assert other.poll() is None
        finally:
            engine.close()
            other.kill()
    assert other.returncode == -signal.SIGKILL


def test_a_process_of_another_machine(here: Project) -> None:
    folders = killed_with_jobs(here)
    for folder in folders:
        path = folder / job_files.JOB
        path.write_text(path.read_text().replace(socket.gethostname(), "elsewhere"))
    for args in (LOCAL, (*SLURM, "--parity-resume")):
        result = here.run(*args)
        result.stdout.fnmatch_lines(
            ["*process * of elsewhere may still run the attempt; to mend: go on with*"]
        )
    assert not [*here.root.glob("reports/**/attempt_2")]
    (here.root / "go").touch()
    wait_until(lambda: have_ended(folders), "the outcomes")
    here.run(*LOCAL)
    assert attempts(here) == {("official", True): 1, ("worldflux", True): 1}
    wait_until(lambda: not processes_of(here.run_dir() / ".slurm"), "the end of the jobs")


def test_ctrl_c_leaves_nothing(here: Project) -> None:
    waiting(here)
    session = here.start(*SLURM)
    wait_until(lambda: len(here.pids()) == 6, "both programs and their children")
    started = here.pids()
    # As a terminal does, which signals the jobs' processes, too.
    os.killpg(session.pid, signal.SIGINT)
    assert session.wait(120) == pytest.ExitCode.INTERRUPTED
    wait_until(lambda: not [p for p in started if alive(p)], "the end of all programs")
    wait_until(lambda: not processes_of(here.run_dir() / ".slurm"), "the end of the jobs' own processes")
    assert not (here.run_dir() / "fake_quick" / "parity_runs.jsonl").exists(), "no attempt has failed"


def processes_of(folder: Path) -> list[str]:
    """Command lines of the processes that submitit started for a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if str(folder) in command and alive(int(path.parent.name)):
            found.append(command)
    return found


def test_a_session_says_what_is_wrong_with_its_settings(here: Project) -> None:
    here.suite()
    for setting, text in {
        "parity_slurm = partiton=gpu": "parity_slurm: unknown key 'partiton'; did you mean 'partition'?",
        "parity_slurm = time=60": "parity_slurm: 'time' is said by deadline_sec of the suite; to mend: ",
        "parity_slurm_cluster = lokal": "parity_slurm_cluster is 'lokal'; did you mean 'local'?",
        "parity_slurm_jobs = many": "parity_slurm: parity_slurm_jobs is 'many': a whole number from 1 to ",
    }.items():
        here.ini("parity_slurm_cluster = local" if "cluster" not in setting else "", setting)
        result = here.run(*SLURM)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines([f"*{text.replace('[', '[[]')}*"])
        assert len(result.stderr.lines) <= 2, result.stderr.lines
        assert not here.run_dir().exists()
