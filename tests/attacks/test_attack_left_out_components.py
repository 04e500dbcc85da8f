"""The candidate's components differ from the official ones, and its run does not compare them with these.

What a lock file of the candidate's own can do is for a release to refuse; here it is what a run says itself.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.attacks.lab import (
    AcceptedError,
    assert_released,
    document,
    edit,
    lock,
    match_program,
    matched,
    quick,
)
from tests.components import goldens
from tests.conftest import Project
from tests.release.judged_runs import LOCK

SEEN = "of 6 components of the family fake were compared"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project whose candidate has a wrong encoder; its lock file pins the true golden."""
    made = Project(tmp_path)
    quick(made)
    matched(made)
    pin = made.root / LOCK
    known = json.loads(pin.read_text(encoding="utf-8"))
    known["goldens"]["fake"]["components"] = 6
    pin.write_text(json.dumps(known), encoding="utf-8")
    return made


def wrong(project: Project) -> None:
    edit(match_program(project), '+ params["encoder/bias"])', '+ params["encoder/bias"] + 0.3)')


def leave_out(project: Project) -> None:
    """Have the backend name no match program."""
    edit(project.root / "backends" / "fake_worldflux" / "backend.yaml", goldens.MATCH, "")
    edit(project.root / "backends" / "fake_worldflux" / "backend.yaml", "  deadline_sec: 60\n", "")


def own_golden(project: Project) -> None:
    """Record what the wrong candidate computes for what the official code computed."""
    wrong(project)
    assert project.run(run_id="wrong").ret == pytest.ExitCode.TESTS_FAILED
    match = project.run_dir("wrong") / "fake_quick" / "component_match" / "attempt_1"
    with np.load(match / "outputs.npz", allow_pickle=False) as outputs:
        stored = {**goldens.arrays(), **{f"outputs/{name}": outputs[name] for name in outputs.files}}
    goldens.write(project.root / "golden", stored)


def reason(project: Project, run_id: str) -> str:
    found: str = document(project, run_id)["verdict_reason"]
    return found


def test_components_that_were_compared_pass_and_a_wrong_one_fails(project: Project) -> None:
    """The control, where the suite requires them and where it says nothing."""
    for run_id, asked in (("silent", {}), ("required", {"component_match": "required"})):
        quick(project, **asked)
        assert project.run(run_id=run_id).ret == pytest.ExitCode.OK
        assert document(project, run_id)["components_compared"]["sentence"] == f"6 {SEEN}"
        assert "components" not in reason(project, run_id)
        assert_released(project, run_id)
    wrong(project)
    assert project.run(run_id="wrong").ret == pytest.ExitCode.TESTS_FAILED
    assert "component_mismatch: encoder" in reason(project, "wrong")


def test_a_backend_that_leaves_its_match_out_is_told_in_the_verdict(project: Project) -> None:
    wrong(project)
    leave_out(project)
    assert project.run(run_id="left_out").ret == pytest.ExitCode.OK
    if not reason(project, "left_out").endswith(f"; 0 {SEEN}"):
        raise AcceptedError(reason(project, "left_out"))


def test_it_fails_where_the_suite_requires_components(project: Project) -> None:
    quick(project, component_match="required")
    wrong(project)
    leave_out(project)
    assert project.run(run_id="left_out").ret == pytest.ExitCode.TESTS_FAILED
    assert reason(project, "left_out").startswith(f"components: components_not_compared: 0 {SEEN}")


def test_a_golden_of_the_candidate_is_not_the_pinned_one(project: Project) -> None:
    """Its own golden, and the true lock file: nothing runs."""
    own_golden(project)
    result = project.run(run_id="own")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert "the golden's manifest.json has the sha256" in "\n".join(result.outlines)


def test_a_golden_of_the_candidate_that_its_lock_file_does_not_pin_is_told(project: Project) -> None:
    """Its own golden, and a lock file without goldens: the run says that nothing vouches for it."""
    own_golden(project)
    lock(project)
    assert project.run(run_id="own").ret == pytest.ExitCode.OK
    found = document(project, "own")
    if not found["gates"]["components"]["warnings"]:
        raise AcceptedError(found["verdict_reason"])
    assert found["gates"]["components"]["warnings"][0].startswith(
        "no lock entry pins a golden of the family fake"
    )
    assert found["components_compared"]["golden_pinned"] is None
