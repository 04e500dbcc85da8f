"""A stranger brings his own suite, lock, policy and key, and what is not as he expects is found."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.attacks.lab import (
    POLICY,
    TABLE,
    Answer,
    ask,
    assert_released,
    lock,
    policy,
    quick,
    released,
)
from tests.conftest import Project
from tests.release.judged_runs import LOCK, table
from tests.repositories import commit_all, git

NAMES = {"suite": "fake_quick.yaml", "lock": "upstream_lock.json", "policy": "suite_policy.json"}


@dataclass(frozen=True)
class Stranger:
    """A folder that is no project, with his files and a bundle that somebody sent."""

    folder: Path
    key: Path

    def change(self, name: str, edit: Callable[[dict[str, Any]], object]) -> None:
        path = self.folder / NAMES[name]
        document = json.loads(path.read_text(encoding="utf-8"))
        edit(document)
        path.write_text(json.dumps(document), encoding="utf-8")

    def verify(self, *more: object, without: tuple[str, ...] = ()) -> Answer:
        given = {f"--{name}": self.folder / file for name, file in NAMES.items()}
        given["--key"] = self.key
        words = [w for option, path in given.items() if option[2:] not in without for w in (option, path)]
        return ask(self.folder, "verify", "evidence_bundle.zip", *words, *more)


@pytest.fixture(scope="module")
def signed_quick(tmp_path_factory: pytest.TempPathFactory, signing_keys: Path) -> Project:
    """A project under git with a quick run ``honest`` that passed and was signed."""
    project = Project(tmp_path_factory.mktemp("signed"))
    quick(project)
    lock(project)
    (project.root / ".gitignore").write_text("/reports/parity/*/\n__pycache__/\n", encoding="utf-8")
    commit_all(project.root)
    result = project.run(f"--parity-sign-key={signing_keys / 'own.pem'}", run_id="honest")
    assert result.ret == pytest.ExitCode.OK, result.outlines
    return project


@pytest.fixture
def stranger(signed_quick: Project, signing_keys: Path, tmp_path: Path) -> Stranger:
    root = signed_quick.root
    sources = {"suite": root / "suites/quick/fake_quick.yaml", "lock": root / LOCK, "policy": root / POLICY}
    for name, path in sources.items():
        shutil.copy(path, tmp_path / NAMES[name])
    shutil.copy(signed_quick.run_dir("honest") / "fake_quick" / "evidence_bundle.zip", tmp_path)
    return Stranger(tmp_path, signing_keys / "own.pub")


def test_an_honest_bundle_passes_for_a_stranger_and_in_a_clean_clone(
    stranger: Stranger, signed_quick: Project, tmp_path: Path
) -> None:
    """The control; the first line says under whose expectation."""
    answer = stranger.verify()
    assert answer.status == 0, answer.text
    first = f"judged under: the suite {stranger.folder / NAMES['suite']} and the lock "
    assert answer.text.startswith(first), answer.text
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", str(signed_quick.root), "clone")
    commit = git(clone, "rev-parse", "HEAD")
    bundle = tmp_path / "evidence_bundle.zip"
    answer = ask(clone, "verify", bundle, "--key", stranger.key, "--commit", commit)
    assert answer.status == 0, answer.text
    assert answer.text.startswith("judged under: the suite, lock and programs of this checkout\n")


def test_who_brings_nothing_is_told_so_first(stranger: Stranger) -> None:
    answer = stranger.verify(without=("suite", "lock", "policy"))
    assert answer.status == 0, answer.text
    assert answer.text.startswith("judged under: the bundle's own suite and lock, which its author chose")


def test_without_a_key_nobody_vouches(stranger: Stranger) -> None:
    answer = stranger.verify(without=("key",))
    assert (answer.status, "NOBODY VOUCHES" in answer.text) == (5, True), answer.text
    assert stranger.verify("--allow-unsigned", without=("key",)).status == 0


# What the stranger expects otherwise -> what is said.
OTHERWISE: dict[str, tuple[str, Callable[[dict[str, Any]], object], str]] = {
    "a narrower margin": (
        "suite", lambda d: d["metrics"][0].update(margin=1e-6), "not as expected: not_passed: the verdict is",
    ),
    "more seeds": ("suite", lambda d: d.update(seeds=9), "not_in_table (official, alpha, seed 4)"),
    "another task": ("suite", lambda d: d.update(tasks=["alpha", "beta"]), "not as expected: not_passed"),
    "another recipe": ("suite", lambda d: d.update(recipe={"level": 7.0}), "not as expected: not_passed"),
    "another budget": ("suite", lambda d: d.update(budget={"step": 2000}), "not as expected: not_passed"),
    "another program": (
        "suite",
        lambda d: d.update(worldflux={"backend": "other"}),
        "cannot_be_expected: run/run.json: the worldflux program of fake is not",
    ),
    "components required": (
        "suite", lambda d: d.update(component_match="required"), "components_not_compared",
    ),
    "no pin of the table": (
        "lock", lambda d: [e.pop("oracle_files") for e in d["suites"].values()], "table_not_pinned",
    ),
    "another official table": (
        "lock",
        lambda d: [e.update(oracle_files={TABLE: "0" * 64}) for e in d["suites"].values()],
        "table_not_as_pinned",
    ),
    "another official commit": (
        "lock", lambda d: [e.update(commit="d" * 40) for e in d["suites"].values()], "lock_mismatch",
    ),
    "a run that is kept apart": (
        "policy", lambda d: [r.update(admit=[]) for r in d["suites"].values()], "no_isolation",
    ),
    "more seeds by policy": (
        "policy", lambda d: [r.update(least_seeds=50) for r in d["suites"].values()], "too_few_seeds",
    ),
    "no such suite by policy": (
        "policy", lambda d: d.update(suites={f"x/{k}.yml": v for k, v in d["suites"].items()}),
        "not_in_policy",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERWISE)
def test_what_is_expected_otherwise_is_found(stranger: Stranger, name: str) -> None:
    file, edit, said = OTHERWISE[name]
    stranger.change(file, edit)
    answer = stranger.verify()
    assert (answer.status, said in answer.text) == (2, True), answer.text


def test_a_commit_that_did_not_run_is_found(stranger: Stranger) -> None:
    answer = stranger.verify("--commit", "d" * 40)
    assert (answer.status, "not as expected: other_commit: " in answer.text) == (2, True), answer.text


def test_a_made_up_table_in_the_authors_own_bundle_is_found_by_the_strangers_lock(
    stranger: Stranger, signed_quick: Project, signing_keys: Path, tmp_path: Path
) -> None:
    """The author's own lock pins it, so that for himself everything holds."""
    project = signed_quick.copied(tmp_path / "author")
    table(project.root / TABLE, "made up", seeds=8)
    lock(project)
    result = project.run(f"--parity-sign-key={signing_keys / 'own.pem'}", run_id="made_up")
    assert result.ret == pytest.ExitCode.OK, result.outlines
    shutil.copy(project.run_dir("made_up") / "fake_quick" / "evidence_bundle.zip", stranger.folder)
    answer = stranger.verify()
    assert (answer.status, "table_not_as_pinned" in answer.text) == (2, True), answer.text


def test_another_lock_is_in_the_first_sentence(signed_quick: Project, tmp_path: Path) -> None:
    """Of the verdict and of the document; a lock that stands where the project keeps it is none."""
    project = signed_quick.copied(tmp_path / "project")
    shutil.copy(project.root / LOCK, project.root / "mine.json")
    chosen = "with the lock mine.json in place of reports/parity/upstream_lock.json: "
    for run_id, words, there in (("own", (), False), ("mine", ("-o", "parity_lock=mine.json"), True)):
        result = project.run(*words, run_id=run_id)
        assert result.ret == pytest.ExitCode.OK, result.outlines
        document = project.document(run_id=run_id)
        assert document["verdict_reason"].startswith(chosen) is there
        assert any(line.strip().startswith(chosen) for line in result.outlines) is there


@pytest.mark.parametrize("policy", [(), ("policy",)], ids=["with a policy", "without one"])
def test_the_lock_of_the_bundle_is_no_pin_of_the_readers(stranger: Stranger, policy: tuple[str, ...]) -> None:
    answer = stranger.verify(without=("lock", *policy))
    assert (answer.status, "not as expected: table_not_pinned" in answer.text) == (2, True), answer.text
    assert " and no lock of yours" in answer.text.splitlines()[0]


def test_without_a_lock_two_programs_pass_and_the_first_line_says_so(
    passed_proof: Project, signing_keys: Path, tmp_path: Path
) -> None:
    """A control: both sides ran, so that there is no table to pin."""
    bundle = passed_proof.run_dir("honest") / "fake_proof" / "evidence_bundle.zip"
    suite = passed_proof.root / "suites" / "proof" / "fake_proof.yaml"
    answer = ask(tmp_path, "verify", bundle, "--suite", suite, "--key", signing_keys / "own.pub")
    assert answer.status == 0, answer.text
    assert " and no lock of yours" in answer.text.splitlines()[0]


def with_own_lock(signed: Project, root: Path, text: str) -> Project:
    """A run ``mine`` under a lock that the command line names."""
    project = signed.copied(root)
    (project.root / "mine.json").write_text(text, encoding="utf-8")
    result = project.run("-o", "parity_lock=mine.json", run_id="mine")
    assert result.ret == pytest.ExitCode.OK, result.outlines
    return project


def test_a_lock_of_the_command_line_is_a_choice(signed_quick: Project, tmp_path: Path) -> None:
    """Refused until the policy admits it by name, whatever the records give under the judge's own."""
    own = json.loads((signed_quick.root / LOCK).read_text(encoding="utf-8"))
    project = with_own_lock(signed_quick, tmp_path / "project", json.dumps(own, indent=1))
    answer = released(project, "mine")
    assert (answer.status, ": overrides: the lock mine.json" in answer.text) == (1, True), answer.text
    bundle = project.run_dir("mine") / "fake_quick" / "evidence_bundle.zip"
    assert ask(project, "verify", bundle, "--allow-unsigned").status == 2
    policy(project, "overrides")
    assert_released(project, "mine")


def test_a_copy_of_the_lock_is_none(signed_quick: Project, tmp_path: Path) -> None:
    """The control: by its bytes it is the judge's."""
    text = (signed_quick.root / LOCK).read_text(encoding="utf-8")
    project = with_own_lock(signed_quick, tmp_path / "project", text)
    answer = released(project, "mine")
    assert answer.status == 0, answer.text
    assert "the lock mine.json in place of" in answer.text


@pytest.mark.parametrize("name", ["suite", "lock", "policy", "key"])
def test_a_file_that_the_reader_mistyped_is_his(stranger: Stranger, name: str) -> None:
    """The line names it, and the bundle is accused of nothing."""
    answer = stranger.verify(f"--{name}", "/typo", without=(name,))
    assert answer.status == 4, answer.text
    assert "unreadable: /typo: " in answer.text
    assert "expected" not in answer.text
