"""pytest's own options mean what they always mean, with and without xdist."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Project, wait_until

# What may differ between two runs that did the same.
VOLATILE = {
    "generated_at_utc", "duration_sec", "platform", "timestamp", "run_id", "arguments", "command",
    "log", "sha256_before", "sessions_sha256",
}  # fmt: skip


def normal(value: Any, root: Path) -> Any:
    """A document without times, durations, host, run id, paths and hashes of the log."""
    if isinstance(value, dict):
        return {k: normal(v, root) for k, v in value.items() if k not in VOLATILE}
    if isinstance(value, list):
        return [normal(v, root) for v in value]
    return value.replace(str(root), "") if isinstance(value, str) else value


def documents(project: Project, run_id: str) -> dict[str, Any]:
    found = {}
    for path in sorted(project.run_dir(run_id).rglob("*.json")):
        name = path.relative_to(project.run_dir(run_id)).as_posix()
        if "executions" not in name:
            found[name] = normal(json.loads(path.read_text(encoding="utf-8")), project.root)
    report = re.sub(r"Judged at \S+|Parity report: \S+|\| run \|.*|\| log \|.*", "", project.report(run_id))
    return {**found, "report.md": report}


def cases(project: Project, name: str) -> dict[str, dict[str, Any]]:
    """Test cases of a junit file: properties, and the message of a failure.

    But for the hashes of lines, in which the time of each run stands, and for the folder of the run, which
    has the name of the file.
    """
    return {
        f"{case.get('classname')}::{case.get('name')}": {
            "properties": {
                str(p.get("name")): p.get("value")
                for p in case.iter("property")
                if not str(p.get("name")).endswith(".line_sha256")
            },
            "failure": getattr(case.find("failure"), "attrib", {})
            .get("message", "")
            .replace(f"reports/parity/{name.removesuffix('.xml')}/", ""),
        }
        for case in ElementTree.parse(project.root / name).iter("testcase")
    }


def test_xdist_gives_the_same_verdicts_documents_and_junit(project: Project) -> None:
    metrics = [
        {"name": "episode_return", "rule": "drop_ratio", "margin": 0.05},
        {"name": "loss.late", "rule": "equivalence", "margin": 0.05},
    ]
    project.suite("good", metrics=metrics)
    broken = [{"id": "alpha", "recipe": {"behaviour": "crash", "only": ["worldflux/alpha/1"]}}, "beta"]
    project.suite("bad", tasks=broken)
    one = project.run("--junitxml", "one.xml", run_id="one")
    two = project.run("-n", "2", "--junitxml", "two.xml", run_id="two")
    assert one.ret == two.ret == pytest.ExitCode.TESTS_FAILED
    assert documents(project, "one") == documents(project, "two")

    first, second = cases(project, "one.xml"), cases(project, "two.xml")
    assert first == second
    assert len(first) == 6 + 6 + 5 + 4, "pairs of both suites, and the verdicts on their gates and metrics"
    crashed = first.pop("suites.quick.bad.yaml::alpha[seed=1]")
    assert "exit status 3" in crashed["failure"]
    verdicts = {k: v for k, v in first.items() if "verdict[" in k}
    assert all(v["properties"]["reason"] for v in verdicts.values())
    assert {k for k, v in first.items() if v["failure"]} == {
        "suites.quick.bad.yaml::verdict[coverage]",
        "suites.quick.bad.yaml::verdict[non-inferiority]",
    }
    good = first["suites.quick.good.yaml::alpha[seed=0]"]["properties"]
    assert good["official.attempt"] == "1"
    assert re.fullmatch("[0-9a-f]{64}", good["worldflux.request_id"])


def test_without_n_several_pairs_run_at_a_time(project: Project) -> None:
    project.ini("parity_workers = 2")
    until = project.root / "go"
    waits = {"behaviour": "waits", "until": str(until), "only": ["worldflux/alpha/0"]}
    project.suite(tasks=["alpha"], recipe={"level": 100.0, **waits}, deadline_sec=200)
    session = project.start()
    stored = project.run_dir() / "fake_quick" / "parity_runs.jsonl"
    wait_until(lambda: stored.exists() and len(project.lines()) == 5, "all others, while the first waits")
    until.touch()
    assert session.wait(120) == pytest.ExitCode.OK


def test_collect_only_runs_nothing_and_leaves_nothing(project: Project) -> None:
    project.suite()
    result = project.run("--collect-only", "-q", run_id=None)
    assert result.ret == pytest.ExitCode.OK
    listed = [line for line in result.outlines if "::" in line]
    assert "suites/quick/fake_quick.yaml::alpha[seed=0]" in listed
    assert len(listed) == 6
    assert not (project.root / "reports").exists()


def test_plain_pytest_collects_no_suite(project: Project) -> None:
    project.suite()
    (project.root / "test_own.py").write_text("def test_own():\n    pass\n", encoding="utf-8")
    result = project.plain()
    result.assert_outcomes(passed=1)
    assert result.ret == pytest.ExitCode.OK
    assert not (project.root / "reports").exists()
    assert project.plain("suites").ret == pytest.ExitCode.NO_TESTS_COLLECTED


def test_parity_without_a_suite_is_an_error(project: Project) -> None:
    project.suite()
    (project.root / "test_own.py").write_text("def test_own():\n    pass\n", encoding="utf-8")
    result = project.run("test_own.py")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--parity=quick: no suite is among what was collected"])


def test_yaml_of_other_tools_is_left_alone(project: Project) -> None:
    """``pytest --parity=quick .`` meets the backends' own YAML and that of other tools."""
    project.suite(tasks=["alpha"])
    (project.root / "compose.yaml").write_text("services: {}\n", encoding="utf-8")
    result = project.run(".")
    assert result.ret == pytest.ExitCode.OK, result.stdout.str()
    result.assert_outcomes(passed=3 + 4)
    assert project.run("compose.yaml", run_id="named").ret == pytest.ExitCode.INTERRUPTED


def test_deselected_pairs_leave_the_verdict_open(project: Project) -> None:
    project.suite()
    result = project.run("-k", "alpha")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    run = project.document()
    assert run["verdict"] == "inconclusive"
    assert run["verdict_reason"].startswith("coverage: 6 of 12 expected results were not run")
    assert {m["reason"] for m in run["missing"]["upstream_only"]} == {"deselected"}
    assert {line["task_id"] for line in project.lines()} == {"alpha"}


def test_x_stops_at_the_first_failure(project: Project) -> None:
    project.suite(recipe={"behaviour": "crash", "only": ["worldflux/alpha/1"]})
    result = project.run("-x")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert [line["status"] for line in project.lines()].count("failed") == 1
    assert len(project.lines()) == 4
    run = project.document()
    assert run["verdict"] == "fail"
    assert {m["reason"] for m in run["missing"]["upstream_only"]} == {"failed", "not_run"}


def test_lf_runs_the_failed_pair_again(project: Project) -> None:
    """The program fails on its first attempt only; --lf with --parity-resume mends the run."""
    project.suite(tasks=["alpha"], recipe={"behaviour": "flaky", "only": ["worldflux/alpha/1"]})
    assert project.run().ret == pytest.ExitCode.TESTS_FAILED
    result = project.run("--lf", "--parity-resume", "--parity-retry-failed=by chance")
    assert result.ret == pytest.ExitCode.OK, result.stdout.str()
    result.assert_outcomes(passed=1 + 4)
    attempts = [(x["system"], x["seed"], x["attempt"], x["status"]) for x in project.lines()]
    assert attempts[-1] == ("worldflux", 1, 2, "success")
    assert len(attempts) == 7
    assert project.document()["verdict"] == "pass"


def test_a_suite_id_used_twice_is_refused(project: Project) -> None:
    path = project.suite()
    path.with_name("again.yaml").write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    result = project.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*suite_id 'fake_quick' is also that of suites/quick/again.yaml"])
    assert not (project.run_dir() / "run.json").exists()


@pytest.mark.parametrize("verbosity", ["-q", "-qq", "-v", "-vv"])
def test_progress_counts_the_verdicts_and_ends_at_100_percent(project: Project, verbosity: str) -> None:
    project.suite(tasks=["alpha"])
    result = project.run(verbosity)
    assert result.ret == pytest.ExitCode.OK
    shown = [int(n) for n in re.findall(r"\[ *(\d+)%\]", result.stdout.str())]
    assert shown == sorted(shown)
    assert shown[-1] == 100
    if verbosity.startswith("-v"):
        assert len(shown) == 3 + 4
        result.stdout.fnmatch_lines(["*::verdict?coverage? PASSED*"])


def test_nothing_happens_with_the_terminal_or_xdist_switched_off(project: Project) -> None:
    project.suite(tasks=["alpha"])
    project.ini("filterwarnings = error")
    assert project.run("-p", "no:terminal", "-p", "no:xdist", run_id="quiet").ret == pytest.ExitCode.OK
    assert project.document(run_id="quiet")["verdict"] == "pass"


def test_what_a_usage_error_says(project: Project) -> None:
    project.suite(tasks=["alpha"])
    wrong = {
        ("--parity-systems", "offical"): "--parity-systems 'offical': valid: official, worldflux",
        ("--parity-seeds", "0,x"): "--parity-seeds '0,x': distinct whole numbers are wanted, as in 0,1,2",
        ("--parity-seeds", "1,1"): "--parity-seeds '1,1': distinct whole numbers are wanted, as in 0,1,2",
        (
            "--parity-run-id",
            "../x",
        ): "--parity-run-id '../x': letters, digits, '.', '_' and '-' only, all of ASCII",
    }
    for arguments, text in wrong.items():
        result = project.run(*arguments, run_id=None)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        assert text in result.stderr.str()
    assert not (project.root / "reports").exists()
