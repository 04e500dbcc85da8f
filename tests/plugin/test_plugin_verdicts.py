"""What a suite's verdict is, and what the session's exit status is then."""

from __future__ import annotations

import re
import shutil
from typing import Any

import pytest

from tests.conftest import Project

RETURN = {"name": "episode_return", "rule": "calibrated", "margin": 0.05}
LOSS = {"name": "loss.late", "rule": "equivalence", "margin": 0.05}


def only_task(**recipe: Any) -> dict[str, Any]:
    return {"tasks": ["alpha"], "recipe": {"level": 100.0, **recipe}}


def test_verdicts_of_suites_that_differ_in_the_candidate_only(project: Project) -> None:
    """One session with a suite per candidate, so one verdict never colours another."""
    project.suite("better", **only_task(worldflux_factor=1.2))
    project.suite("worse", **only_task(worldflux_factor=0.8))
    project.suite("noisy", **only_task(spread=2.0))
    project.suite("same_loss", **only_task(), metrics=[RETURN, LOSS])
    project.suite("small_loss", **only_task(loss_factor=0.8), metrics=[RETURN, LOSS])
    result = project.run()
    assert result.ret == pytest.ExitCode.TESTS_FAILED

    def verdict(name: str) -> tuple[str, str]:
        run = project.document(f"{name}/run.json")
        return run["verdict"], run["verdict_reason"]

    assert verdict("better")[0] == verdict("same_loss")[0] == "pass"
    assert verdict("worse")[0] == "fail"
    assert "significantly worse" in verdict("worse")[1]
    word, reason = verdict("noisy")
    assert word == "inconclusive"
    assert re.search(r"needs \d+ seeds per side", reason)
    word, reason = verdict("small_loss")
    assert word == "fail", "a mistake can make a loss smaller"
    assert re.search(r"differ by more than the margin of 5.00%: alpha \(-", reason)
    assert project.document("small_loss/run.json")["metrics"]["episode_return"]["verdict"] == "pass"

    aggregate = project.document("aggregate.json")
    assert {s["suite_id"] for s in aggregate["suites"] if s["pass"]} == {"better", "same_loss"}
    assert (aggregate["suite_pass_count"], aggregate["suite_fail_count"]) == (2, 3)
    failed = set(re.findall(r"FAILED suites/quick/(\w+\.yaml::\S+)", result.stdout.str()))
    assert failed == {
        "worse.yaml::verdict[non-inferiority]",
        "noisy.yaml::verdict[non-inferiority]",
        "small_loss.yaml::verdict[equivalence]",
    }
    for name in ("better", "worse", "noisy"):
        assert f"## {name}" in project.report()


def test_a_warned_inconclusive_verdict_is_a_skip_and_exit_status_0(project: Project) -> None:
    project.suite(**only_task(spread=2.0), on_inconclusive="warn")
    result = project.run("-rs")
    assert result.ret == pytest.ExitCode.OK
    assert re.search(r"fake_quick\.yaml.*: inconclusive: not shown to be within ", result.stdout.str())
    result.assert_outcomes(passed=6, skipped=1)
    assert project.document()["verdict"] == "inconclusive"
    assert project.document()["pass"] is False
    assert not project.document("aggregate.json")["all_suites_pass"]


def test_a_warned_suite_still_fails_when_it_fails(project: Project) -> None:
    project.suite(**only_task(worldflux_factor=0.8), on_inconclusive="warn")
    assert project.run().ret == pytest.ExitCode.TESTS_FAILED


def test_a_program_against_itself_is_refused(project: Project) -> None:
    """The same program under another adapter id, which says that it is the other side."""
    twin = project.root / "backends" / "fake_worldflux"
    folder = project.root / "backends" / "fake_official"
    text = (folder / "backend.yaml").read_text(encoding="utf-8")
    shutil.rmtree(twin)
    shutil.copytree(folder, twin)
    (twin / "backend.yaml").write_text(text.replace("official", "worldflux"), encoding="utf-8")
    program = project.root / "backends" / "program.py"
    source = program.read_text(encoding="utf-8").replace(
        "content_hash(request.adapter)", 'content_hash("one")'
    )
    program.write_text(source, encoding="utf-8")
    project.suite(tasks=["alpha"])
    assert project.run().ret == pytest.ExitCode.TESTS_FAILED
    run = project.document()
    assert run["verdict"] == "fail"
    assert [f["code"] for f in run["gates"]["independence"]["findings"]] == [
        "same_program",
        "same_source_tree",
    ]


def test_one_seed_decides_nothing(project: Project) -> None:
    project.suite(tasks=["alpha"])
    assert project.run("--parity-seeds", "7").ret == pytest.ExitCode.TESTS_FAILED
    assert {x["seed"] for x in project.lines()} == {7}
    assert project.document()["verdict"] == "inconclusive"
    assert "single seed" in project.document()["verdict_reason"]
