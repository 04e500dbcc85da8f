"""Several pairs at a time: how long each is expected to take, and what pytest's options mean then."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest

from pytest_worldflux_parity.execution import durations
from pytest_worldflux_parity.suite import suite_file
from tests.conftest import SUITE, Project


def line(seconds: Any, **changes: Any) -> dict[str, Any]:
    return {
        "request_id": "r", "task_id": "alpha", "seed": 0, "system": "worldflux", "status": "success",
        "attempt": 1, "adapter": "fake_worldflux", "device": "cpu", "recipe": SUITE["recipe"],
        "duration_sec": seconds, **changes,
    }  # fmt: skip


def write_lines(folder: Path, *lines: dict[str, Any]) -> None:
    path = folder / "fake_quick" / "parity_runs.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(x) + "\n" for x in lines), encoding="utf-8")


def test_estimates_are_recorded_durations_else_the_share_of_the_deadline(project: Project) -> None:
    tasks = ["alpha", {"id": "beta", "budget": {"step": 500}, "points": "episodes"}]
    suite = suite_file.load(project.suite(tasks=tasks, seeds=[0, 3], deadline_sec=100))
    output = project.root / "reports" / "parity"
    other = {"recipe": {"level": 1}}
    write_lines(output / "one", line(2.0), line(4.0), line(900.0, **other), line(None), line(True))
    write_lines(output / "two", line(6.0), line(1e300), line(5.0, status="failed"), line(7.0, device="cuda"))
    recorded = durations.read_durations(output)
    alpha, beta = suite.tasks

    def seconds(task: Any, system: str, device: str = "cpu") -> float:
        return durations.run_seconds(suite, task, system, device, recorded)

    assert (seconds(alpha, "worldflux"), seconds(alpha, "official")) == (4.0, 100.0)
    assert (seconds(beta, "worldflux"), seconds(beta, "official")) == (50.0, 50.0)
    assert seconds(alpha, "worldflux", "cuda") == 7.0


def outcomes(path: Path) -> dict[str, str]:
    return {
        str(c.get("name")): next((e.tag for e in c if e.tag in ("failure", "error", "skipped")), "passed")
        for c in ElementTree.parse(path).iter("testcase")
    }


def test_ordinary_tests_beside_pairs_keep_their_fixtures(project: Project) -> None:
    project.suite(tasks=["alpha", "beta"], seeds=1)
    (project.root / "test_own.py").write_text(
        "import pytest\n"
        "made = []\n"
        "@pytest.fixture(scope='module')\n"
        "def once():\n    made.append(1)\n    yield\n    print('torn down once')\n"
        "@pytest.mark.parametrize('i', range(3))\n"
        "def test_own(once, i):\n    assert made == [1]\n",
        encoding="utf-8",
    )
    result = project.run("-n", "2", "-v", "--junitxml=j.xml", "suites/quick", "test_own.py")
    failed = {name for name, outcome in outcomes(project.root / "j.xml").items() if outcome != "passed"}
    assert failed == {"verdict[non-inferiority]"}, "one seed a task decides nothing"
    result.stdout.fnmatch_lines(["*test_own?0? *", "*test_own?2? *", "*alpha?seed=0? *"])
    assert "[100%]" in result.stdout.str()


def test_x_and_maxfail_stop_at_once(project: Project) -> None:
    """What was not begun is not run, and the gate names what is open."""
    recipe = {"behaviour": "crash", "only": ["worldflux/alpha/0", "worldflux/alpha/1"]}
    project.suite(tasks=["alpha"], seeds=6, recipe={"level": 100.0, **recipe})
    result = project.run("-n", "1", "-x")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert {x["seed"] for x in project.lines()} == {0}
    assert project.document()["verdict"] == "fail"
    result = project.run("-n", "1", "--maxfail=2", run_id="two")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert {x["seed"] for x in project.lines(run_id="two")} == {0, 1}


@pytest.mark.parametrize("mode", ["worksteal", "each", "loadfile"])
def test_how_tests_are_spread_over_workers_is_nothing_to_a_parity_session(
    project: Project, mode: str
) -> None:
    """It often stands in a project's ``addopts``."""
    project.suite(tasks=["alpha"])
    assert project.run("-n2", f"--dist={mode}").ret == pytest.ExitCode.OK
    assert project.document()["verdict"] == "pass"


def test_a_parity_session_is_not_sent_elsewhere(project: Project) -> None:
    project.suite(tasks=["alpha"])
    result = project.run("--tx=ssh=there")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*runs from one process; to mend: leave --tx out"])


def test_auto_means_cores_over_the_threads_of_a_run(
    project: Project, pytester: pytest.Pytester, monkeypatch: Any
) -> None:
    monkeypatch.delenv("PYTEST_XDIST_AUTO_NUM_WORKERS", raising=False)
    # xdist's own is that many cores, or what psutil counts where it is installed: never a third of this.
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(3003)))
    project.suite(tasks=["alpha"], threads=3)
    monkeypatch.chdir(project.root)
    for arguments in (("-n", "auto"), ("-n", "auto", "suites/quick/fake_quick.yaml")):
        config = pytester.parseconfig("--parity=quick", *arguments)
        assert config.hook.pytest_xdist_auto_num_workers(config=config) == 1001
    config = pytester.parseconfig("-n", "auto")
    own = config.hook.pytest_xdist_auto_num_workers(config=config)
    assert own != 1001, "without --parity it is xdist's own"
