"""Pairs and suites that were left out of a session: none of them vanishes from the verdict."""

from __future__ import annotations

import json
import random

import pytest

from tests.conftest import Project


def verdicts(project: Project, run_id: str) -> dict[str, str]:
    rows = project.document("aggregate.json", run_id)["suites"]
    return {row["suite_id"]: row["verdict"] for row in rows}


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_suite_that_is_wholly_deselected_is_judged(project: Project, workers: str) -> None:
    project.suite("one", tasks=["alpha"])
    project.suite("two", tasks=["beta"])
    gone = [f"--deselect=suites/quick/two.yaml::beta[seed={seed}]" for seed in range(3)]
    for run_id, arguments in (("k", ["-k", "alpha"]), ("d", gone)):
        result = project.run("-n", workers, *arguments, run_id=run_id)
        assert result.ret == pytest.ExitCode.TESTS_FAILED
        assert verdicts(project, run_id) == {"one": "pass", "two": "inconclusive"}
        run = project.document("two/run.json", run_id)
        assert {m["reason"] for m in run["missing"]["upstream_only"]} == {"deselected"}


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_suite_that_lf_skips_is_judged(project: Project, workers: str) -> None:
    """pytest does not even open the files in which nothing failed."""
    project.suite("one", tasks=["alpha"], recipe={"behaviour": "flaky", "only": ["worldflux/alpha/1"]})
    project.suite("two", tasks=["beta"])
    assert project.run("-n", workers).ret == pytest.ExitCode.TESTS_FAILED
    result = project.run("-n", workers, "--lf", run_id="again")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert verdicts(project, "again") == {"one": "fail", "two": "inconclusive"}


@pytest.mark.parametrize("workers", ["0", "2"])
def test_only_what_was_named_is_judged(project: Project, workers: str) -> None:
    """A suite that nobody named or that is ignored is no part of the run; a broken one is pytest's error."""
    one = project.suite("one", tasks=["alpha"])
    project.suite("two", tasks=["beta"])
    project.suite("broken", tasks=[])
    assert project.run("-n", workers, str(one), run_id="named").ret == pytest.ExitCode.OK
    assert verdicts(project, "named") == {"one": "pass"}
    ignored = [f"--ignore=suites/quick/{name}.yaml" for name in ("two", "broken")]
    assert project.run("-n", workers, *ignored, run_id="ignored").ret == pytest.ExitCode.OK
    assert verdicts(project, "ignored") == {"one": "pass"}
    result = project.run("-n", workers, "--continue-on-collection-errors", run_id="broken")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert verdicts(project, "broken") == {"one": "pass", "two": "pass"}


def table(project: Project, name: str, seeds: int) -> dict[str, object]:
    rng = random.Random(name)
    scores = [
        {"task": t, "seed": s, "step": 1000, "score": 100 + rng.gauss(0, 0.5)}
        for t in ("alpha", "beta")
        for s in range(seeds)
    ]
    path = project.root / "suites" / "quick" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"scores": scores}), encoding="utf-8")
    return {"artifact": {"path": name, "format": "canonical_json"}}


def test_deselected_pairs_of_two_tables_leave_the_verdict_open(project: Project) -> None:
    project.suite(official=table(project, "o.json", 3), worldflux=table(project, "w.json", 3))
    assert project.run(run_id="all").ret == pytest.ExitCode.OK
    for more in ((), ("--parity-resume",)):
        assert project.run("-k", "alpha", *more).ret == pytest.ExitCode.TESTS_FAILED
        run = project.document()
        assert run["verdict"] == "inconclusive"
        missing = [m for side in run["missing"].values() for m in side]
        assert {(m["task"], m["reason"]) for m in missing} == {("beta", "deselected")}
        assert len(missing) == 6
        assert run["counts"]["paired"] == 3


def test_lf_mends_a_run_beside_a_table(project: Project) -> None:
    """The table's rows of pairs that were run before count, and so do its further seeds."""
    broken = {"behaviour": "flaky", "only": ["worldflux/alpha/1"]}
    seeds = {"official": 4, "worldflux": 3}
    project.suite(official=table(project, "o.json", 4), seeds=seeds, tasks=["alpha"], recipe=broken)
    assert project.run().ret == pytest.ExitCode.TESTS_FAILED
    result = project.run("--lf", "--parity-resume", "--parity-retry-failed=why not")
    assert result.ret == pytest.ExitCode.OK, result.stdout.str()


def test_other_seeds_are_said_and_distinct_as_numbers(project: Project) -> None:
    project.suite(tasks=["alpha"])
    result = project.run("--parity-seeds", "0,00,1", run_id="twice")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*'0,00,1': distinct whole numbers are wanted*"])
    said = "seeds given on the command line: 0, 1, 2, 5; the suite names official 0, 1, 2; worldflux 0, 1, 2"
    result = project.run("--parity-seeds", "5,0,1,2")
    result.stdout.fnmatch_lines([f"  {said}"])
    assert f"\nS{said[1:]}.\n" in project.report()
    project.run(run_id="plain").stdout.no_fnmatch_line("*command line*")


def test_what_changed_names_side_and_program(project: Project) -> None:
    project.suite(tasks=["alpha"], official=table(project, "o.json", 3))
    project.run()
    # What comes beside a program is none of it.
    (project.root / "backends" / "fake_worldflux" / "more.py").write_text("", encoding="utf-8")
    with open(project.root / "backends" / "fake_worldflux" / "side.py", "a", encoding="utf-8") as side:
        side.write("# changed\n")
    table(project, "o.json", 4)
    result = project.run("--parity-resume")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        [
            "*the official table, the source of the worldflux side (backend fake_worldflux: "
            "backends/fake_worldflux/side.py)* changed since*"
        ]
    )
