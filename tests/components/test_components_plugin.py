"""Components as pytest items: first of all, one match program a suite, and a gate of its verdict."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path

import pytest

from pytest_worldflux_parity.execution.match_program import REPORT
from tests.components import goldens
from tests.conftest import Project, alive, wait_until

COUNTED = "components: 6 of 6 match, 11 of 11 outputs shown sensitive, 8 of 8 perturbations caught"
STAMPS = ("log", "generated_at_utc", "duration_sec", "evaluation_manifest", "runs")


@pytest.fixture
def matched(project: Project) -> Project:
    """A project with one suite of one task, whose components can be matched."""
    goldens.declare(project.root / "backends", "  deadline_sec: 60\n")
    goldens.behave(project.root / "golden", "ok")
    project.suite(tasks=["alpha"])
    return project


def attempts(project: Project, suite: str = "fake_quick") -> list[str]:
    return sorted(p.name for p in (project.run_dir() / suite / "component_match").glob("attempt_*"))


def names(lines: Sequence[str], word: str) -> list[str]:
    """The test cases of a verbose run that ended with ``word``, in order."""
    return [x.split("::")[1].split(" ")[0] for x in lines if "::" in x and f" {word}" in x]


def test_many_updates_are_an_item_of_their_own_kind(matched: Project) -> None:
    goldens.add_lockstep(matched.root / "golden", "ok")
    result = matched.run("-v")
    assert result.ret == pytest.ExitCode.OK, result.outlines
    assert names(result.outlines, "PASSED")[6] == "lockstep[initial]"
    goldens.add_lockstep(matched.root / "golden", "late_rate")
    result = matched.run("-v", run_id="late")
    assert names(result.outlines, "FAILED")[0] == "lockstep[initial]"
    what = "lockstep_initial: output 003/enc.weight differs by * (stage lockstep, the first that diverges*"
    result.stdout.fnmatch_lines([f"*{what}"])
    alone = matched.run("suites/quick/fake_quick.yaml::lockstep[initial]", "-v", run_id="alone")
    assert names(alone.outlines, "FAILED")[0] == "lockstep[initial]"


def test_components_come_first_and_are_a_gate(matched: Project) -> None:
    result = matched.run("-v", f"--junitxml={matched.root / 'junit.xml'}")
    assert result.ret == pytest.ExitCode.OK
    cases = names(result.outlines, "PASSED")
    assert cases[:7] == [*(f"component[{s}]" for s in goldens.STAGES), "alpha[seed=0]"]
    assert cases[9] == "verdict[components]"
    result.stdout.fnmatch_lines([f"*{COUNTED}", f"*fake_quick/{REPORT}"])

    document = matched.document()
    assert next(iter(document["gates"])) == "components"
    assert document["gates"]["components"]["reason"] == (
        "all 6 components match, all 8 perturbations are caught, all 3 parameters are mapped"
    )
    assert document["component_match"] == {
        "required": True, "path": REPORT, "present": True, "pass": True, "family": "fake", "result_count": 6,
    }  # fmt: skip
    assert document["evidence_bundle"]["artifacts"]["component_match_report"] == REPORT
    match = matched.document(f"fake_quick/{REPORT}")
    assert match["all_pass"] is True
    assert match["golden"]["commit"] == goldens.COMMIT
    sealed = matched.document("run.json")["suites"]["suites/quick/fake_quick.yaml"]["golden"]
    hashes = {k: match["golden"][k] for k in ("manifest_sha256", "arrays_sha256")}
    assert sealed["fake"].items() >= {**hashes, "path": "golden", "backend": "fake_worldflux"}.items()
    assert "| heads | heads | reward " in matched.report()
    assert COUNTED.replace("components", "Components") in matched.report()
    junit = ElementTree.parse(matched.root / "junit.xml")
    assert [c.get("name") for c in junit.iter("testcase")][:7] == cases[:7]
    assert attempts(matched) == ["attempt_1"]


def test_a_component_that_differs_fails_the_verdict_first(matched: Project) -> None:
    goldens.behave(matched.root / "golden", "wrong_heads")
    result = matched.run("-v")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert names(result.outlines, "FAILED")[:2] == ["component[heads]", "verdict[components]"]
    told = (
        "component_mismatch: heads: output reward differs by 0.001 of its largest magnitude, tolerance 1e-05"
    )
    assert told in result.outlines
    document = matched.document()
    assert document["verdict"] == "fail"
    assert document["verdict_reason"].startswith(f"components: {told} (stage heads, the first that diverges")
    assert matched.document(f"fake_quick/{REPORT}")["first_divergence"]["component"] == "heads"
    assert "| heads | heads | reward 1.00e-03 | 1e-05 | 2 of 2 caught | differs |" in matched.report()
    assert len(matched.lines()) == 6, "training runs all the same"


def test_what_is_no_fault_of_a_component_fails_the_gate_alone(matched: Project) -> None:
    goldens.behave(matched.root / "golden", "left_over")
    result = matched.run("-v")
    assert names(result.outlines, "FAILED")[0] == "verdict[components]"
    assert matched.document()["gates"]["components"]["findings"][0]["code"] == "parameter_not_covered"


def test_an_uncaught_perturbation_fails_its_component(matched: Project) -> None:
    goldens.behave(matched.root / "golden", "blind")
    result = matched.run("-v", "-x")
    assert names(result.outlines, "FAILED") == ["component[heads]", "verdict[components]", *OTHERS]
    result.stdout.fnmatch_lines(["perturbation_not_caught: heads: reward_kernel (*"])
    assert not (matched.run_dir() / "fake_quick" / "parity_runs.jsonl").exists(), "-x ends before training"


# What nobody ran leaves the rest open.
OTHERS = ["verdict[coverage]", "verdict[validity]", "verdict[non-inferiority]"]


def test_a_program_that_crashes_says_so_once_per_item_with_its_log(matched: Project) -> None:
    goldens.behave(matched.root / "golden", "crash")
    result = matched.run("-v")
    assert len([n for n in names(result.outlines, "FAILED") if n.startswith("component[")]) == 6
    result.stdout.fnmatch_lines(
        [
            "match_failed: fake_worldflux: exit status 3: *no weights; log: *stderr.log",
            "*match log*",
            "match program: crash",
        ]
    )
    assert attempts(matched) == ["attempt_1"], "it is not started again for each item"
    assert matched.document()["gates"]["components"]["findings"][0]["code"] == "match_failed"
    match = matched.document(f"fake_quick/{REPORT}")
    assert (match["all_pass"], match["results"]) == (False, [])
    assert match["error"].endswith("the encoder has no weights")
    assert "components: match_failed" in "\n".join(result.outlines)


def test_deselected_components_leave_the_verdict_open(matched: Project) -> None:
    result = matched.run("-k", "alpha")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    document = matched.document()
    assert document["verdict_reason"] == "components: 6 of 6 components were deselected"
    assert (document["verdict"], document["component_match"]["present"]) == ("inconclusive", False)
    assert not attempts(matched)

    suite = "suites/quick/fake_quick.yaml"
    result = matched.run(f"{suite}::alpha[seed=0]", f"{suite}::component[heads]", "-v", run_id="two")
    assert names(result.outlines, "PASSED")[:2] == ["component[heads]", "alpha[seed=0]"]
    gate = matched.document(run_id="two")["gates"]["components"]
    assert (gate["verdict"], gate["reason"]) == ("inconclusive", "5 of 6 components were deselected")
    # The match of the whole is there; what is finished counts in a resumed run, as pairs do.
    matched.run("-k", "alpha", "--parity-resume", run_id="two")
    assert matched.document(run_id="two")["verdict"] == "pass"


def test_a_resumed_run_keeps_a_finished_match_and_tries_a_failed_one_again(matched: Project) -> None:
    flag = matched.root / "go"
    golden = goldens.behave(matched.root / "golden", "flaky", until=str(flag))
    assert matched.run().ret == pytest.ExitCode.TESTS_FAILED
    flag.touch()
    assert matched.run("--parity-resume").ret == pytest.ExitCode.OK
    assert matched.run("--parity-resume").ret == pytest.ExitCode.OK
    assert attempts(matched) == ["attempt_1", "attempt_2"]
    assert len(matched.lines()) == 6

    goldens.behave(golden, "ok")
    result = matched.run("--parity-resume")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "the golden of the component match changed since the run was sealed" in result.stderr.str()


def test_a_match_whose_pytest_was_killed_is_run_again(matched: Project) -> None:
    flag = matched.root / "go"
    goldens.behave(matched.root / "golden", "waits", until=str(flag))
    session = matched.start()
    wait_until(matched.pids, "the match program")
    session.kill()
    session.wait()
    wait_until(lambda: not [p for p in matched.pids() if alive(p)], "the program's end")
    flag.touch()
    assert matched.run("--parity-resume").ret == pytest.ExitCode.OK
    assert attempts(matched) == ["attempt_1", "attempt_2"]
    assert matched.document(f"fake_quick/{REPORT}")["program"]["folder"] == "component_match/attempt_2"


def test_a_golden_that_is_corrupt_stops_before_anything_runs(matched: Project) -> None:
    path = matched.root / "golden" / "arrays.npz"
    path.write_bytes(path.read_bytes()[:-1])
    result = matched.run()
    assert result.ret == pytest.ExitCode.INTERRUPTED
    told = [x for x in result.outlines if "arrays.npz: the golden is corrupt: sha256" in x]
    assert len(told) == 1
    assert not matched.run_dir().exists()


def test_a_golden_of_another_commit_than_the_locked_one_is_refused(matched: Project) -> None:
    entry = {
        "repo": "https://example.org/fake", "commit": "f" * 40, "oracle_format": "canonical_json",
        "oracle_path": "scores.json",
    }  # fmt: skip
    lock = {"schema_version": "worldflux.parity.lock.v1", "generated_at_utc": "now", "suites": {"s": entry}}
    path = matched.root / "reports" / "parity" / "upstream_lock.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(lock), encoding="utf-8")
    result = matched.run()
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert f"the golden was recorded at commit {goldens.COMMIT}, upstream_lock.json locks ffff" in (
        result.stdout.str()
    )


def test_a_suite_may_leave_components_out_or_insist_on_them(matched: Project) -> None:
    matched.suite(tasks=["alpha"], component_match="none")
    assert matched.run().ret == pytest.ExitCode.OK
    document = matched.document()
    assert document["component_match"] is None
    assert "components" not in document["gates"]
    assert not attempts(matched)

    path = matched.root / "backends" / "fake_worldflux" / "backend.yaml"
    path.write_text(path.read_text().replace(goldens.MATCH, "").replace("  deadline_sec: 60\n", ""))
    matched.suite(tasks=["alpha"], component_match="golden")
    result = matched.run(run_id="two")
    assert "is no live backend with a match program" in result.stdout.str()


def comparable(project: Project, run_id: str, name: str) -> object:
    document = project.document(name, run_id)
    if "program" in document:
        del document["program"]["duration_sec"]
    return json.loads(json.dumps({k: v for k, v in document.items() if k not in STAMPS}))


def test_all_is_compared_before_any_pair_trains(matched: Project) -> None:
    """Several pairs at a time, or one: the documents are the same."""
    for name in ("one", "two"):
        matched.suite(name, tasks=["alpha"])
    (matched.root / "suites" / "quick" / "fake_quick.yaml").unlink()
    assert matched.run("-n", "2").ret == pytest.ExitCode.OK
    ended = [p.stat().st_mtime_ns for p in matched.run_dir().glob("*/component_match/*/match_run.json")]
    began = [p.stat().st_mtime_ns for p in matched.run_dir().glob("*/executions/**/request.json")]
    assert len(ended) == 2
    assert len(began) == 12
    assert max(ended) <= min(began)

    result = matched.run("-n", "0", "-v", run_id="alone")
    assert result.ret == pytest.ExitCode.OK
    cases = [x.split(" ")[0] for x in result.outlines if "::component[" in x]
    assert [c.split("/")[-1].split(".")[0] for c in cases] == ["one"] * 6 + ["two"] * 6
    for name in ("one", "two"):
        for document in ("run.json", REPORT):
            path = f"{name}/{document}"
            assert comparable(matched, "r", path) == comparable(matched, "alone", path)


def test_failed_first_trains_no_earlier(matched: Project) -> None:
    goldens.behave(matched.root / "golden", "wrong_heads")
    matched.run()
    result = matched.run("--ff", "-v", run_id="two")
    cases = [x.split("::")[1].split(" ")[0] for x in result.outlines if " [" in x and "::" in x]
    assert cases[0] == "component[heads]"
    assert [c.startswith("component[") for c in cases[:9]] == [True] * 6 + [False] * 3


def test_only_the_official_side_compares_nothing(matched: Project) -> None:
    result = matched.run("--parity-systems", "official", "-v")
    assert not [x for x in result.outlines if "::component[" in x]
    assert matched.document()["gates"]["components"]["verdict"] == "inconclusive"


def test_collect_only_lists_components_and_runs_nothing(matched: Project) -> None:
    result = matched.run("--collect-only", "-q")
    assert [x.split("::")[1] for x in result.outlines if "::" in x][:2] == [
        "component[environment]", "component[encoder]",
    ]  # fmt: skip
    assert not Path(matched.root / "reports").exists()
