"""The order in which runs are handed to xdist's workers, and what pytest's options mean under it."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_worldflux_parity.execution import durations
from pytest_worldflux_parity.execution.store import Stored
from pytest_worldflux_parity.plugin.scheduling import units
from pytest_worldflux_parity.suite import suite_file
from pytest_worldflux_parity.suite.pairs import pairs
from tests.conftest import SUITE, Project

SUITES = ("a.yaml", "b.yaml")
NAMES = st.sampled_from(["component[x]", "component[y]", "t[seed=0]", "t[seed=1]", "u[seed=0]"])
IDS = st.lists(
    st.one_of(st.tuples(st.sampled_from(SUITES), NAMES), st.tuples(st.just("test_own.py"), NAMES)),
    unique=True,
)


@given(IDS, st.data())
def test_units_hold_everything_once_components_first_and_the_longest_pair_first(
    names: list[tuple[str, str]], data: st.DataObject
) -> None:
    ids = [f"{file}::{name}" for file, name in names]
    seconds = {i: data.draw(st.floats(0, 1e6)) for i in ids}
    found = units(ids, SUITES, seconds)
    assert sorted(i for u in found for i in u.indices) == list(range(len(ids)))
    order = [ids[i] for u in found for i in u.indices]
    ours = [i for i in order if i.startswith(SUITES)]
    pairs = [i for i in ours if "component[" not in i]
    assert ours[len(ours) - len(pairs) :] == pairs
    assert [seconds[i] for i in pairs] == sorted((seconds[i] for i in pairs), reverse=True)
    leaders = [u.group for u in found if u.stage == "leader"]
    assert sorted(leaders) == sorted({i.split("::")[0] for i in ours if "component[" in i})
    assert sum(u.stage == "test" for u in found) <= 1, "the tests of a file share their fixtures"


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
    recorded = durations.history(output)
    stored = Stored((line(1.0, seed=3, system="official"),))

    def seconds(device: str, *systems: str) -> dict[str, float]:
        return {
            str(p.key): durations.pair_seconds(suite, p, systems, device, recorded, stored)
            for p in pairs(suite)
        }

    assert seconds("cpu", "official", "worldflux") == {
        "alpha[seed=0]": 104.0,
        "alpha[seed=3]": 4.0,
        "beta[seed=0]": 100.0,
        "beta[seed=3]": 100.0,
    }
    assert seconds("cuda", "worldflux")["alpha[seed=0]"] == 7.0


def outcomes(path: Path) -> dict[str, str]:
    return {
        str(c.get("name")): next((e.tag for e in c if e.tag in ("failure", "error", "skipped")), "passed")
        for c in ElementTree.parse(path).iter("testcase")
    }


def test_the_longest_goes_first_and_ordinary_tests_keep_their_fixtures(project: Project) -> None:
    tasks = ["short", {"id": "long", "deadline_sec": 90}, {"id": "middle", "deadline_sec": 50}]
    project.suite(tasks=tasks, seeds=1, deadline_sec=30)
    (project.root / "test_own.py").write_text(
        "import pytest\n"
        "made = []\n"
        "@pytest.fixture(scope='module')\n"
        "def once():\n    made.append(1)\n    yield\n    print('torn down once')\n"
        "@pytest.mark.parametrize('i', range(3))\n"
        "def test_own(once, i):\n    assert made == [1]\n",
        encoding="utf-8",
    )
    result = project.run_here("-n", "1", "-v", "--junitxml=j.xml", "suites/quick", "test_own.py")
    failed = {name for name, outcome in outcomes(project.root / "j.xml").items() if outcome != "passed"}
    assert failed == {"verdict[non-inferiority]"}, "one seed a task decides nothing"
    result.stdout.fnmatch_lines(
        ["*long?seed=0? ", "*middle?seed=0? ", "*short?seed=0? ", "*test_own?0? ", "*test_own?2? "]
    )
    text = result.stdout.str()
    assert "placeholder" not in text
    assert "[100%]" in text


def test_x_and_maxfail_stop_at_once(project: Project) -> None:
    """Neither the placeholder nor what was not sent is run, and the gate names what is open."""
    recipe = {"behaviour": "crash", "only": ["worldflux/alpha/0", "worldflux/alpha/1"]}
    project.suite(tasks=["alpha"], seeds=6, recipe={"level": 100.0, **recipe})
    result = project.run_here("-n", "1", "-x")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert {x["seed"] for x in project.lines()} == {0}
    assert project.document()["verdict"] == "fail"
    result = project.run_here("-n", "1", "--maxfail=2", run_id="two")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert {x["seed"] for x in project.lines(run_id="two")} == {0, 1}


def test_other_schedulers_are_left_as_asked_for(project: Project) -> None:
    project.suite(tasks=["alpha"])
    for mode in ("worksteal", "each"):
        result = project.run_here("-n", "2", "-v", f"--dist={mode}", run_id=mode)
        assert "LongestFirst" not in result.stdout.str()
        assert project.document(run_id=mode)["verdict"] == "pass", result.stdout.str()


def test_auto_means_cores_over_the_threads_of_a_run(project: Project, monkeypatch: Any) -> None:
    monkeypatch.delenv("PYTEST_XDIST_AUTO_NUM_WORKERS", raising=False)
    # xdist's own is that many cores, or what psutil counts where it is installed: never a third of this.
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(3003)))
    project.suite(tasks=["alpha"], threads=3)
    for arguments in (("-n", "auto"), ("-n", "auto", "suites/quick/fake_quick.yaml")):
        config = project.pytester.parseconfig("--parity=quick", *arguments)
        assert config.hook.pytest_xdist_auto_num_workers(config=config) == 1001
    config = project.pytester.parseconfig("-n", "auto")
    own = config.hook.pytest_xdist_auto_num_workers(config=config)
    assert own != 1001, "without --parity it is xdist's own"
