"""A quick suite from items to verdict, in a pytest of its own."""

from __future__ import annotations

from tests.conftest import Project


def test_faithful_candidate_passes_with_all_documents(project: Project) -> None:
    project.suite()
    result = project.run("-v")
    result.stdout.fnmatch_lines(
        [
            "*suites/quick/fake_quick.yaml::alpha?seed=0? PASSED*",
            "*::verdict?coverage? PASSED*",
            "*::verdict?validity? PASSED*",
            "*::verdict?independence? PASSED*",
            "*::verdict?non-inferiority? PASSED*",
            "parity fake_quick: PASS",
            "*report.md",
        ]
    )
    result.assert_outcomes(passed=10)
    assert result.ret == 0
    run = project.document()
    assert run["pass"] is True
    assert run["verdict"] == "pass"
    assert len(run["pairs"]) == 6
    assert project.document("aggregate.json")["all_suites_pass"] is True


def test_an_output_folder_is_not_taken_for_the_root(project: Project) -> None:
    """pytest takes the value of an option that it does not know yet for a path to collect."""
    project.suite()
    outside = project.root.parent / "outside"
    outside.mkdir()
    refused = project.run("--parity-output", str(outside))
    assert refused.ret == 4
    refused.stderr.fnmatch_lines(["*write --parity-output=/*, with an equals sign*"])
    assert project.run(f"--parity-output={outside}").ret == 0
    assert (outside / "r" / "report.md").exists()


def test_workers_share_the_run_of_a_command_that_names_none(project: Project) -> None:
    project.suite()
    result = project.run("-n2", run_id=None)
    assert result.ret == 0, result.stdout.str()
    runs = [p.name for p in (project.root / "reports" / "parity").iterdir()]
    assert len(runs) == 1
    resumed = project.run("-n2", "--parity-resume", run_id=None)
    assert resumed.ret == 0
    assert {x["attempt"] for x in project.lines(run_id=runs[0])} == {1}
