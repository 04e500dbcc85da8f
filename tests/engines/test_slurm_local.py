"""Sessions with ``--parity-engine=slurm`` on one machine: submitit's own executor starts real processes."""

from __future__ import annotations

import os
import re
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pytest_worldflux_parity import schemas
from pytest_worldflux_parity.errors import StoreError
from tests.conftest import Project, alive, wait_until
from tests.plugin.test_plugin_sessions import documents, normal

pytest.importorskip("submitit", reason="the extra slurm is not installed")

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


def test_a_run_directory_is_that_of_a_local_run(here: Project) -> None:
    """Files and lines, of what succeeds and of what fails in each of its ways."""
    failing = {"crash": 20, "killed": 20, "hang": 1}
    here.suite(tasks=["alpha"], seeds=1)
    for behaviour, deadline in failing.items():
        recipe = {"level": 100.0, "behaviour": behaviour, "only": ["worldflux/alpha/0"]}
        here.suite(behaviour, tasks=["alpha"], seeds=1, recipe=recipe, deadline_sec=deadline)
    only = "--parity-systems=worldflux"
    local = here.run_here("-p", "no:xdist", "--device=cpu", only, run_id="on_this")
    slurm = here.run_here(*SLURM, only, run_id="on_slurm")
    assert slurm.ret == local.ret == pytest.ExitCode.TESTS_FAILED, slurm.stdout.str()
    assert files(here, "on_slurm") == files(here, "on_this")
    for suite in ("fake_quick", *failing):
        assert lines(here, suite, "on_slurm") == lines(here, suite, "on_this")
    kinds = {x["error_kind"] for suite in failing for x in here.lines(suite, "on_slurm")}
    assert kinds == {"failed", "killed", "deadline"}
    assert documents(here, "on_slurm") == documents(here, "on_this")
    for path in here.run_dir("on_slurm").rglob("slurm_*.json"):
        schemas.check(here.document(str(path)), f"{path.stem}.v1", str, StoreError)


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
    programs = {p: int(p.read_text()) for p in here.root.glob("reports/**/attempt_1/pid")}
    session.kill()
    session.wait()
    assert all(alive(pid) for pid in programs.values())
    resumed = here.start(*SLURM, "--parity-resume")
    wait_until(lambda: "collected 1 item" in (here.root / "started.log").read_text(), "the second session")
    (here.root / "go").touch()
    assert resumed.wait(120) == pytest.ExitCode.TESTS_FAILED, "a verdict of one seed is inconclusive"
    assert attempts(here) == {("official", True): 1, ("worldflux", True): 1}
    assert {p: int(p.read_text()) for p in here.root.glob("reports/**/pid")} == programs, "nothing ran twice"
    assert all(x["duration_sec"] and x["command"] for x in here.lines()), "the job said how it ended"
    wait_until(lambda: not [p for p in here.pids() if alive(p)], "the end of their children")


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
        result = here.run_here(*SLURM)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines([f"ERROR: {text.replace('[', '[[]')}*"])
        assert len(result.stderr.lines) <= 2, result.stderr.lines
        assert not here.run_dir().exists()
