"""A pair whose record breaks a gate by itself fails when it ends, and ``-x`` stops what has not ended."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import Project, alive

STOPPED = "parity: stopped early by -x or --maxfail: {} of {} components and pairs were ended or not begun"


@pytest.mark.parametrize(
    ("validity", "code"),
    [
        ({"environment_backend": "dm_control"}, "environment_backend_mismatch"),
        ({"policy_mode": "training"}, "policy_mode_mismatch"),
        ({"model_profile": "large"}, "model_profile_mismatch"),
        ({"forbidden_shortcuts": ["policy_impl=fake"]}, "forbidden_shortcut_detected"),
        ({"artifacts": {"official": ["checkpoint_paths"]}}, "missing_artifact"),
    ],
)
def test_what_only_a_proof_asks_fails_the_first_pair(
    project: Project, validity: dict[str, Any], code: str
) -> None:
    project.proof(tasks=["alpha"], validity=validity)
    result = project.run("-x")
    result.stdout.fnmatch_lines([f"{code} (*alpha, seed 0)*", STOPPED.format(3, 4)])
    assert {line["seed"] for line in project.lines("fake_proof")} == {0}, "of four seeds one was run"
    gate = project.document("fake_proof/validity_report.json")
    assert code in str(gate), "the gate says at the end what the pair said at once"


def test_it_stops_what_is_in_flight_beside_it(project: Project) -> None:
    tasks = [
        {"id": "alpha", "recipe": {"behaviour": "random_policy"}},
        {"id": "beta", "recipe": {"behaviour": "family", "until": "never"}},
    ]
    project.suite(tasks=tasks, seeds=1, deadline_sec=200)
    result = project.run("-n", "3", "-x")
    result.stdout.fnmatch_lines(["*random_policy_forbidden*", STOPPED.format(1, 2)])
    assert {line["task_id"] for line in project.lines()} == {"alpha"}
    assert not [pid for pid in project.pids() if alive(pid)]
