"""A record says of itself what nobody knows, or what its other side does not say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.attacks.lab import (
    assert_not_released,
    assert_released,
    document,
    edit,
    program,
    proof,
)
from tests.conftest import Project

Edits = Sequence[tuple[str, str]]


def of_candidate(key: str, honest: str, stated: str) -> Edits:
    """The candidate alone states something else at a key, or nothing (``None``)."""
    there = f'"{key}": "{honest}"'
    return [(there, f'"{key}": ("{honest}" if request.system == "official" else {stated})')]


def said(key: str, honest: str, word: str) -> Edits:
    """Both sides say a word."""
    # The program's other behaviours end without a comma.
    return [(f'"{key}": "{honest}",\n', f'"{key}": {word!r},\n')]


# What the program says at a key of its record's metadata, as it stands there.
HONEST = {
    "mode": '"live"', "policy_mode": '"trained"', "env_backend": '"fake"', "model_id": '"fake"',
    "model_profile": '"tiny"', "policy_impl": '"fake"',
    "source": '{"tree_sha256": wire.content_hash(request.adapter)}',
    "eval_protocol": "request.eval_protocol",
}  # fmt: skip
UNKNOWN = ("mock ", "Mock", "mocked", "Fixture")
NEVER = ("stub", "dry_run", "random")
# Name -> (key, what is said there, the code that finds it).
WORDS = {
    **{f"mode {w!r}": ("mode", repr(w), "unknown_mode") for w in UNKNOWN},
    **{f"mode {w!r}": ("mode", repr(w), "mock_mode_forbidden") for w in NEVER},
    "mode 'fixture'": ("mode", "'fixture'", "fixture_forbidden"),
    "policy_mode 'random '": ("policy_mode", "'random '", "unknown_policy_mode"),
    "policy_mode 'diagnostic_random'": ("policy_mode", "'diagnostic_random'", "random_policy_forbidden"),
    "env_backend 'mock'": ("env_backend", "'mock'", "env_backend_forbidden"),
    "a tree that is no hash": ("source", '{"tree_sha256": "unknown"}', "missing_source_provenance"),
    "a source that is a text": ("source", '"a private repository"', "missing_source_provenance"),
}
# As above, of the candidate alone.
ONE_SIDE = {
    "model_id": ("model_id", "None", "model_id_mismatch"),
    "model_profile": ("model_profile", "None", "model_profile_mismatch"),
    "policy_impl": ("policy_impl", "None", "policy_impl_mismatch"),
    "env_backend": ("env_backend", "None", "environment_backend_mismatch"),
    "mode": ("mode", "None", "missing_mode"),
    "eval_protocol": ("eval_protocol", '{**request.eval_protocol, "noise": 0}', "eval_protocol_mismatch"),
    "effective_recipe": ("effective_recipe", '{**effective, "ema": 1}', "recipe_mismatch"),
}
TASKS = {name: f"w{i}" for i, name in enumerate([*WORDS, *ONE_SIDE])}


def attacked(project: Project, folder: Path, edits: Edits) -> Project:
    """A copy whose program was edited, with a run ``words``."""
    copied = project.copied(folder / "project")
    for old, new in edits:
        edit(program(copied), old, new)
    copied.run(run_id="words")
    return copied


def test_words_that_are_known_are_accepted(
    passed_proof: Project, passed_quick: Project, tmp_path: Path
) -> None:
    """The control: every honest word passes in another run of the same suite."""
    assert_released(passed_proof, "honest")
    assert_released(passed_quick, "honest")
    edits = [
        *said("mode", "live", "native_real_env"),
        *said("policy_mode", "trained", "parity_candidate"),
        *said("env_backend", "fake", "gymnasium"),
    ]
    assert_released(attacked(passed_quick, tmp_path, edits), "words")


@pytest.fixture(scope="module")
def told(passed_proof: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with a proof ``words`` and a quick run ``quick_words``: each task says one of the words."""
    project = passed_proof.copied(tmp_path_factory.mktemp("words") / "project")
    for key, honest in {**HONEST, "effective_recipe": "effective"}.items():
        cases = {TASKS[n]: said for n, (k, said, _) in WORDS.items() if k == key}
        alone = {TASKS[n]: said for n, (k, said, _) in ONE_SIDE.items() if k == key}
        chosen = "".join(f"{said} if request.task_id == {task!r} else " for task, said in cases.items())
        chosen += "".join(
            f"{said} if (request.task_id, request.system) == ({task!r}, 'worldflux') else "
            for task, said in alone.items()
        )
        edit(program(project), f'"{key}": {honest},\n', f'"{key}": ({chosen}{honest}),\n')
    project.suite(tasks=["alpha", *(TASKS[n] for n in WORDS)], seeds=1)
    proof(project, tasks=["alpha", *TASKS.values()], seed_policy={"mode": "fixed", "values": [0, 1]})
    for track in ("quick", "proof"):
        project.track = track
        assert project.run(run_id=f"{track}_words").ret == pytest.ExitCode.TESTS_FAILED
    return project


def found(project: Project, name: str) -> set[tuple[str, str]]:
    """(code, task) of every finding on the records of a run."""
    if name == "quick_words":
        rows = project.document(run_id=name)["gates"]["validity"]["findings"]
    else:
        rows = project.document("fake_proof/validity_report.json", name)["issues"]
    return {(row["code"], row["task_id"]) for row in rows if row.get("task_id")}


def test_a_release_refuses_a_run_of_such_words(told: Project) -> None:
    for track in ("quick", "proof"):
        told.track = track
        assert_not_released(told, f"{track}_words")


def test_what_is_said_by_its_honest_task_is_no_finding(told: Project) -> None:
    """The control in the same runs."""
    assert [
        row for run in ("quick_words", "proof_words") for row in found(told, run) if row[1] == "alpha"
    ] == []


@pytest.mark.parametrize("name", WORDS)
def test_a_word_that_nobody_knows_is_refused_in_a_proof(told: Project, name: str) -> None:
    assert (WORDS[name][2], TASKS[name]) in found(told, "proof_words")


@pytest.mark.parametrize("name", ["mode 'mock '", "policy_mode 'random '", "a tree that is no hash"])
def test_a_word_that_nobody_knows_is_refused_in_a_quick_run(told: Project, name: str) -> None:
    assert (WORDS[name][2], TASKS[name]) in found(told, "quick_words")


@pytest.mark.parametrize("name", ONE_SIDE)
def test_what_one_side_alone_states_is_compared_in_a_proof(told: Project, name: str) -> None:
    assert (ONE_SIDE[name][2], TASKS[name]) in found(told, "proof_words")


def test_a_quick_run_of_two_programs_tells_what_a_proof_would_find(
    passed_proof: Project, tmp_path: Path
) -> None:
    """It does not ask a program to state these."""
    copied = passed_proof.copied(tmp_path / "project")
    copied.track = "quick"
    copied.suite(tasks=["alpha"])
    edit(program(copied), *of_candidate("model_id", "fake", "None")[0])
    assert copied.run(run_id="quick").ret == pytest.ExitCode.OK
    warned = " ".join(document(copied, "quick", "fake_quick")["gates"]["validity"]["warnings"])
    assert "a finding: model_id_mismatch: model_id is 'fake' (official) and absent (worldflux)" in warned


def test_a_stranger_names_his_environments_in_his_suite(passed_proof: Project, tmp_path: Path) -> None:
    """Without that a claim would not stand, and the run says so at once."""
    warned = " ".join(passed_proof.document("fake_proof/validity_report.json", "honest")["warnings"])
    assert "'fake', which is no known word" in warned
    assert "known: ale, auto, dm_control, dmcontrol, gymnasium" in warned
    copied = passed_proof.copied(tmp_path / "project")
    copied.proof(tasks=["alpha"], validity={"environment_backend": "fake"})
    copied.run(run_id="named")
    assert copied.document("fake_proof/validity_report.json", "named")["warnings"] == []
    assert_released(copied, "named")


@pytest.mark.parametrize(
    ("validity", "known"),
    [({"policy_mode": "Trained"}, "trained"), ({"environment_backend": "mock"}, "gymnasium")],
)
def test_a_suite_that_asks_for_such_a_word_is_refused_before_the_first_run(
    passed_proof: Project, validity: dict[str, str], known: str, tmp_path: Path
) -> None:
    copied = passed_proof.copied(tmp_path / "project")
    copied.proof(validity=validity)
    result = copied.run(run_id="words")
    assert result.ret == pytest.ExitCode.INTERRUPTED, result.outlines
    assert not copied.run_dir("words").exists()
    said = [line for line in result.outlines if "fake_proof.yaml:" in line and "valid:" in line]
    assert said, result.outlines
    assert known in said[0]
