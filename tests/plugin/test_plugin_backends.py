"""Backends that do everything wrong: each fails its pair by name, and nothing else."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree

import pytest

from tests.conftest import Project, alive, wait_until

# behaviour of the worldflux side -> what its pair says
REASONS = {
    "crash": "exit status 3: ValueError: the replay buffer is empty",
    "no_record": "exit status 0 but no metrics.json",
    "nan": "metrics.json: NaN is not a number that JSON allows",
    "half_json": "metrics.json: not JSON",
    "wrong_task": "metrics.json has task_id 'another-task', not 'wrong_task'",
    "wrong_request": "metrics.json answers another request",
    "empty_curve": "no_point_at_budget: the curve is empty",
    "no_metric": "metric_absent: no metric 'loss.late'",
    "says_failure": "metrics.json says success: false",
    "killed": "killed by SIGKILL",
    "huge_number": "metrics.json: not representable as JSON",
    "random_policy": "random_policy_forbidden",
    "mock_mode": "mock_mode_forbidden",
    "other_recipe": "official and worldflux recipe differ: odd: 'absent' != 1",
}
LATE = {"hang": "deadline of 4 s passed", "stubborn": "deadline of 4 s passed"}
HARMLESS = ("leaves_child", "ok")
# Their records are accepted as answers, and then found wanting.
RECORDED = {"empty_curve", "no_metric", "random_policy", "mock_mode", "other_recipe"}


def bad_tasks(*names: str) -> list[dict[str, object]]:
    return [{"id": name, "recipe": {"behaviour": name, "only": [f"worldflux/{name}/0"]}} for name in names]


def late_suite(project: Project) -> None:
    """Programs that go on beyond their deadline, beside a table, so that nothing else has to be on time."""
    table = project.root / "suites" / "quick" / "late.json"
    rows = [{"task": name, "seed": 0, "step": 1000, "score": 100.0} for name in LATE]
    table.write_text(json.dumps(rows), encoding="utf-8")
    official = {"artifact": {"path": table.name, "format": "canonical_json"}}
    project.suite("late", official=official, tasks=bad_tasks(*LATE), seeds=1, deadline_sec=4)


def test_every_bad_backend_fails_its_own_pair_and_nothing_else(project: Project) -> None:
    project.suite(
        tasks=bad_tasks(*REASONS, *HARMLESS),
        seeds=1,
        deadline_sec=200,
        metrics=[
            {"name": "episode_return", "rule": "calibrated", "margin": 0.05},
            {"name": "loss.late", "rule": "equivalence", "margin": 0.05, "tasks": ["no_metric", "ok"]},
        ],
    )
    late_suite(project)
    result = project.run("-n", "2", "-rA", "--junitxml", "junit.xml")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    text = result.stdout.str()
    assert "Traceback" not in text

    cases = {c.get("name"): c for c in ElementTree.parse(project.root / "junit.xml").iter("testcase")}
    for name, reason in {**REASONS, **LATE}.items():
        failure = cases[f"{name}[seed=0]"].find("failure")
        assert failure is not None, f"{name} passed"
        assert reason in failure.get("message", ""), (name, failure.get("message"))
        assert "\n" not in failure.get("message", ""), name
    for name in HARMLESS:
        assert cases[f"{name}[seed=0]"].find("failure") is None, name

    stored = {(x["task_id"], x["system"]): x for x in project.lines()}
    assert len(stored) == 2 * len((*REASONS, *HARMLESS)), "every attempt has its line"
    for name in (*REASONS, *HARMLESS):
        assert stored[name, "official"]["success"], name
        delivered = name in RECORDED or name in HARMLESS
        assert stored[name, "worldflux"]["success"] is delivered, name

    run = project.document()
    assert run["verdict"] == project.document("late/run.json")["verdict"] == "fail"
    assert run["pass"] is False
    assert not project.document("aggregate.json")["all_suites_pass"]
    missing = {m["task"]: m for m in run["missing"]["upstream_only"]}
    assert missing.keys() == REASONS.keys() - {"random_policy", "mock_mode", "other_recipe"}
    assert all(m["detail"] for m in missing.values())
    codes = {f["code"] for f in run["gates"]["validity"]["findings"]}
    assert codes == {"random_policy_forbidden", "mock_mode_forbidden", "recipe_mismatch"}

    # The end of each log, in the terminal and in the report.
    for place in (text, project.report()):
        assert "ValueError: the replay buffer is empty" in place
        assert "program: stubborn for stubborn seed 0" in place
    pids = project.pids()
    assert len(pids) == 5, "hang and stubborn with a child each, and leaves_child's child"
    assert not [p for p in pids if alive(p)]


def test_a_backend_that_cannot_be_started(project: Project) -> None:
    folder = project.root / "backends" / "absent"
    folder.mkdir()
    description = {
        "adapter": "absent", "kind": "fake", "family": "fake", "system": "worldflux",
        "argv": ["/nonexistent/program"], "environment": "shared",
    }  # fmt: skip
    (folder / "backend.yaml").write_text(json.dumps(description), encoding="utf-8")
    project.suite(worldflux={"backend": "absent"}, tasks=["alpha"], seeds=1)
    result = project.run()
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*absent: /nonexistent/program cannot be started: *"])
    assert project.document()["verdict"] == "fail"


def test_a_retry_counts_and_is_recorded(project: Project) -> None:
    """The first attempt of each run fails; with one retry the suite passes, and both attempts are kept."""
    project.suite(tasks=["alpha"], recipe={"behaviour": "flaky"}, retries=1)
    result = project.run()
    assert result.ret == pytest.ExitCode.OK, result.stdout.str()
    lines = project.lines()
    assert [x["status"] for x in lines] == ["failed", "success"] * 6
    assert {run["attempt"] for run in project.document()["runs"]} == {2}


def test_an_official_side_that_fails_does_not_keep_worldflux_from_running(project: Project) -> None:
    project.suite(tasks=["alpha"], seeds=1, recipe={"behaviour": "crash", "only": ["official/alpha/0"]})
    assert project.run().ret == pytest.ExitCode.TESTS_FAILED
    assert {x["system"]: x["success"] for x in project.lines()} == {"official": False, "worldflux": True}


def test_programs_end_when_their_pytest_is_killed(project: Project) -> None:
    project.suite(tasks=["alpha"], seeds=1, recipe={"behaviour": "hang", "only": ["official/alpha/0"]})
    session = project.start()
    wait_until(lambda: len(project.pids()) == 2, "the program and its child")
    session.kill()
    session.wait()
    wait_until(lambda: not [p for p in project.pids() if alive(p)], "the program's end")
