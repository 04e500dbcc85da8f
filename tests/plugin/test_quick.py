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
            "*10 passed*",
        ]
    )
    assert result.ret == 0
    run = project.document()
    assert run["pass"] is True
    assert run["verdict"] == "pass"
    assert len(run["pairs"]) == 6
    assert project.document("aggregate.json")["all_suites_pass"] is True
