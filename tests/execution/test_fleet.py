"""Sessions whose pairs are in flight together from one process, with an engine of this machine's threads.

Ray and Slurm have tests of their own; here are the options, and what is the same for both.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence

import pytest

from tests.components import goldens
from tests.conftest import Project, alive, wait_until
from tests.plugin.test_plugin_sessions import documents

# An engine as a cluster's: several attempts at a time, each a real program of this machine.
THREADS = """
import sys, types
from pytest_worldflux_parity.execution.local import LocalEngine

class RayEngine(LocalEngine):
    def width(self):
        return 4

module = types.ModuleType("pytest_worldflux_parity.execution.ray.engine")
module.RayEngine = RayEngine
sys.modules[module.__name__] = module
"""
RAY = ("--parity-engine=ray", "--device=cpu")


@pytest.fixture
def threads(project: Project) -> Project:
    (project.root / "conftest.py").write_text(THREADS, encoding="utf-8")
    return project


def one_line(project: Project, *args: str) -> str:
    """What a session says that is refused before it begins."""
    result = project.run(*args)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    lines = [x for x in result.stderr.lines if x.strip() and not x.lstrip().startswith("pytest:")]
    assert len(lines) == 1, lines
    assert not project.run_dir().exists()
    return lines[0]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--parity-engine=ray",), "say --device cpu or --device cuda"),
        ((*RAY, "-n", "2"), "leave -n and --dist out"),
    ],
)
def test_options_that_do_not_go_together(project: Project, args: Sequence[str], said: str) -> None:
    project.suite()
    assert said in one_line(project, *args)


@pytest.mark.parametrize(("engine", "package"), [("ray", "ray"), ("slurm", "submitit")])
def test_a_package_that_is_absent_is_named_with_its_extra(
    project: Project, monkeypatch: pytest.MonkeyPatch, engine: str, package: str
) -> None:
    hidden = project.root / "hidden"
    hidden.mkdir()
    text = f"raise ModuleNotFoundError('absent', name={package!r})"
    (hidden / f"{package}.py").write_text(text, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", f"{hidden}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    project.suite()
    said = one_line(project, f"--parity-engine={engine}", "--device=cpu")
    assert f"needs {package}" in said
    assert f'pip install "pytest-worldflux-parity[{engine}]"' in said


def test_an_unknown_engine_in_the_ini_file(project: Project) -> None:
    project.ini("parity_engine = kubernetes")
    project.suite()
    assert "parity_engine is 'kubernetes': valid: local, ray, slurm" in one_line(project)


@pytest.mark.parametrize("engine", ["local", "ray", "slurm"])
def test_slots_that_are_no_number(project: Project, engine: str) -> None:
    project.ini("parity_slots_per_gpu = two", "parity_slurm_cluster = local")
    project.suite()
    said = one_line(project, f"--parity-engine={engine}", "--device=cpu")
    assert said.endswith("parity_slots_per_gpu is 'two': a whole number from 1 to 64 is wanted")


MARKED = """
import pytest

def pytest_collection_modifyitems(items):
    items[0].add_marker(pytest.mark.skip(reason="not now"))
    items[1].add_marker(pytest.mark.skipif("True", reason="not here"))
    items[2].add_marker(pytest.mark.xfail(run=False, reason="not yet"))
"""


@pytest.mark.parametrize("engine", [RAY, ("-p", "no:xdist", "--device=cpu")], ids=["fleet", "local"])
def test_what_a_mark_skips_is_not_run(threads: Project, engine: Sequence[str]) -> None:
    with open(threads.root / "conftest.py", "a") as conftest:
        conftest.write(MARKED)
    threads.suite(tasks=["alpha"], seeds=4)
    result = threads.run(*engine)
    outcomes = result.parseoutcomes()
    assert (outcomes["skipped"], outcomes["xfailed"]) == (2, 1), result.stdout.str()
    assert result.ret != pytest.ExitCode.INTERNAL_ERROR, result.stdout.str()
    assert {path.parts[-4] for path in threads.root.glob("reports/**/attempt_1")} <= {"alpha"}
    assert {x["seed"] for x in threads.lines()} == {3}
    assert len([*threads.root.glob("reports/**/request.json")]) == 2


@pytest.mark.parametrize("option", ["--setup-plan", "--setup-only"])
@pytest.mark.parametrize("engine", [RAY, ("-p", "no:xdist", "--device=cpu")], ids=["fleet", "local"])
def test_a_plan_of_fixtures_runs_nothing(threads: Project, engine: Sequence[str], option: str) -> None:
    goldens.declare(threads.root / "backends", "  deadline_sec: 60\n")
    goldens.behave(threads.root / "golden", "ok")
    threads.suite(tasks=["alpha"], seeds=1)
    result = threads.run(*engine, option)
    assert result.ret != pytest.ExitCode.INTERNAL_ERROR, result.stdout.str()
    assert not [*threads.root.glob("reports/**/request.json")]
    assert not [*threads.root.glob("reports/**/component_match/*")]


def test_components_are_compared_before_anything_trains(threads: Project) -> None:
    """So that with -x one that differs costs no run."""
    goldens.declare(threads.root / "backends", "  deadline_sec: 60\n")
    goldens.behave(threads.root / "golden", "wrong_heads")
    threads.suite(tasks=["alpha"], seeds=1)
    result = threads.run("-x", *RAY)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*component_mismatch: heads: output reward*"])
    assert [*threads.root.glob("reports/**/component_match/*")]
    assert not [*threads.root.glob("reports/**/request.json")]
    goldens.behave(threads.root / "golden", "ok")
    result = threads.run(*RAY, run_id="again")
    assert result.parseoutcomes()["passed"] >= 7, result.stdout.str()
    run_dir = threads.run_dir("again")
    (compared,) = run_dir.glob("fake_quick/component_match/*/match_run.json")
    begun = [path.stat().st_mtime for path in run_dir.glob("*/executions/**/attempt_1/request.json")]
    assert len(begun) == 2
    assert compared.stat().st_mtime <= min(begun)


def test_what_compares_components_needs_its_environment_here(threads: Project) -> None:
    """Although the nodes of a Ray cluster build a backend's own at its first use."""
    goldens.declare(threads.root / "backends", "  deadline_sec: 60\n")
    goldens.behave(threads.root / "golden", "ok")
    for path in threads.root.glob("backends/*/backend.yaml"):
        path.write_text(path.read_text().replace("environment: shared", "environment: own"))
    threads.suite(tasks=["alpha"], seeds=1)
    result = threads.run(*RAY)
    said = "the environment of backend fake_worldflux is absent; to mend: worldflux-parity env create"
    result.stdout.fnmatch_lines([f"*{said}*"])
    assert result.ret == pytest.ExitCode.INTERRUPTED, "said when the suite is collected"


def test_the_engine_leaves_no_trace_in_documents_or_junit(threads: Project) -> None:
    threads.suite("good")
    broken = [{"id": "alpha", "recipe": {"behaviour": "crash", "only": ["worldflux/alpha/1"]}}, "beta"]
    threads.suite("bad", tasks=broken, retries=1)
    local = threads.run(run_id="local")
    fleet = threads.run(*RAY, run_id="fleet")
    assert local.ret == fleet.ret == pytest.ExitCode.TESTS_FAILED
    assert local.parseoutcomes() == fleet.parseoutcomes()
    assert documents(threads, "local") == documents(threads, "fleet")
    fleet.stdout.fnmatch_lines(["*exit status 3: ValueError: the replay buffer is empty*"])


def test_pairs_are_reported_as_they_finish(threads: Project) -> None:
    """The first in the collection waits until all others are on the screen."""
    until = threads.root / "go"
    waits = {"behaviour": "waits", "until": str(until), "only": ["worldflux/alpha/0"]}
    threads.suite(tasks=[{"id": "alpha", "recipe": waits}, "beta"], seeds=2, deadline_sec=200)
    session = threads.start("-v", *RAY)
    log = threads.root / "started.log"

    def reported() -> list[str]:
        return [x for x in log.read_text(encoding="utf-8").splitlines() if "[seed=" in x and "PASSED" in x]

    wait_until(lambda: len(reported()) == 3, "three pairs")
    assert not any("alpha[seed=0]" in x for x in reported())
    until.touch()
    assert session.wait(120) == pytest.ExitCode.OK
    assert len(reported()) == 4


ORDERED = (
    THREADS.replace("return 4", "return 1")
    + """
from pytest_worldflux_parity.plugin import fleet_loop

SECONDS = {"alpha": 1.0, "beta": 3.0, "gamma": 2.0}
fleet_loop.durations.run_seconds = lambda _, task, system, *__: SECONDS[task.id] + (system == "worldflux") / 2
"""
)


def test_the_longest_runs_are_begun_first(project: Project) -> None:
    (project.root / "conftest.py").write_text(ORDERED, encoding="utf-8")
    project.suite(tasks=["alpha", "beta", "gamma"], seeds=1)
    project.run(*RAY)
    begun = [(x["task_id"], x["system"]) for x in project.lines()]
    assert begun == [(t, s) for t in ("beta", "gamma", "alpha") for s in ("worldflux", "official")]


def test_maxfail_ends_what_is_in_flight(threads: Project) -> None:
    tasks = [
        {"id": "alpha", "recipe": {"behaviour": "crash", "only": ["worldflux/alpha/0"]}},
        {"id": "beta", "recipe": {"behaviour": "family", "until": "never"}},
    ]
    threads.suite(tasks=tasks, seeds=1, retries=0, deadline_sec=200)
    result = threads.run("-x", *RAY)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert not [pid for pid in threads.pids() if alive(pid)]
    assert {(x["task_id"], x["system"]) for x in threads.lines()} == {
        ("alpha", "official"),
        ("alpha", "worldflux"),
    }, "what was ended is no failed attempt"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_however_it_ends_nothing_is_left_and_a_resume_goes_on(
    threads: Project, number: signal.Signals
) -> None:
    flag = threads.root / "go"
    waits = {"behaviour": "family", "until": str(flag), "only": ["worldflux/beta/0"]}
    threads.suite(tasks=["alpha", {"id": "beta", "recipe": waits}], seeds=2, deadline_sec=200)
    session = threads.start(*RAY)
    stored = threads.run_dir() / "fake_quick" / "parity_runs.jsonl"
    wait_until(lambda: stored.exists() and len(stored.read_bytes().splitlines()) == 7, "all other runs")
    wait_until(threads.pids, "the program that hangs")
    os.kill(session.pid, number)
    code = session.wait(60)
    assert code != 0
    wait_until(lambda: not [pid for pid in threads.pids() if alive(pid)], "the end of all programs")
    before = threads.lines()
    flag.touch()
    result = threads.run("--parity-resume", *RAY)
    assert result.ret == pytest.ExitCode.OK, result.stdout.str()
    assert threads.lines()[: len(before)] == before
    done = sorted((x["task_id"], x["seed"], x["system"]) for x in threads.lines() if x["success"])
    assert done == [(t, s, x) for t in ("alpha", "beta") for s in (0, 1) for x in ("official", "worldflux")]


# Ctrl-C at the moment when a pool has given a run to a thread, and nobody has noted that yet; once, since
# evidence is packed by a pool too.
INTERRUPTED = (
    THREADS
    + """
import os, signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

submit = ThreadPoolExecutor.submit

def interrupted(self, *args):
    future = submit(self, *args)
    if not Path("go").exists() and not Path("told").exists():
        Path("told").touch()
        os.kill(os.getpid(), signal.SIGINT)
    return future

ThreadPoolExecutor.submit = interrupted
"""
)


def test_ctrl_c_while_runs_are_begun(project: Project) -> None:
    (project.root / "conftest.py").write_text(INTERRUPTED, encoding="utf-8")
    recipe = {"level": 100.0, "behaviour": "family", "until": str(project.root / "go")}
    project.suite(tasks=["alpha"], seeds=2, recipe=recipe, deadline_sec=200)
    session = project.start(*RAY)
    assert session.wait(60) == pytest.ExitCode.INTERRUPTED
    assert not [pid for pid in project.pids() if alive(pid)]
    (project.root / "go").touch()
    result = project.run("--parity-resume", *RAY)
    assert result.ret == pytest.ExitCode.OK, result.stdout.str()
    done = sorted((x["seed"], x["system"]) for x in project.lines() if x["success"])
    assert done == [(seed, system) for seed in (0, 1) for system in ("official", "worldflux")]


def test_what_is_done_is_not_run_again(threads: Project) -> None:
    threads.suite()
    assert threads.run(*RAY).ret == pytest.ExitCode.OK
    lines = threads.lines()
    assert threads.run("--parity-resume", *RAY).ret == pytest.ExitCode.OK
    assert threads.lines() == lines


# What a session reads and holds while its runs are in flight.
WATCHED = (
    THREADS
    + """
import os, resource, threading
from pathlib import Path
from pytest_worldflux_parity.execution.store import SuiteStore

resource.setrlimit(resource.RLIMIT_NOFILE, (200, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
read = SuiteStore.read

def watched_read(self):
    note("reads", threading.current_thread().name.split("_")[0])
    return read(self)

def note(name, text):
    with open(name + ".seen", "a") as file:
        file.write(text + "\\n")

class Watched(RayEngine):
    def execute(self, launch):
        held = 0
        for path in Path("/proc/self/fd").iterdir():
            try:
                held += os.readlink(path).endswith("/.running")
            except OSError:
                pass
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        note("held", f"{held} {soft == hard}")
        return super().execute(launch)

SuiteStore.read = watched_read
module.RayEngine = Watched
"""
)


def test_what_a_fleet_reads_and_holds_does_not_grow_with_its_runs(project: Project) -> None:
    """One descriptor for all runs, all the open files that there may be, and the stored lines once."""
    (project.root / "conftest.py").write_text(WATCHED, encoding="utf-8")
    waits = {"level": 100.0, "behaviour": "waits", "until": str(project.root / "go")}
    project.suite(tasks=["alpha"], seeds=2, recipe=waits, deadline_sec=200)
    session = project.start(*RAY)
    wait_until(lambda: len(project.pids()) == 4, "four programs")
    session.kill()
    session.wait()
    wait_until(lambda: not [pid for pid in project.pids() if alive(pid)], "the end of all programs")
    (project.root / "go").touch()
    (project.root / "reads.seen").unlink(missing_ok=True)
    project.run("--parity-resume", *RAY)
    assert (
        sorted((x["attempt"], x["error_kind"]) for x in project.lines())
        == [(1, "lost")] * 4 + [(2, None)] * 4
    )
    assert set((project.root / "held.seen").read_text().split("\n")) == {"1 True", ""}
    assert "parity-run" not in (project.root / "reads.seen").read_text()
