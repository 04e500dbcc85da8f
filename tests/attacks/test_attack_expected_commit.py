"""The release names a commit to expect, and the change that is judged reaches into what stands there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.attacks.lab import (
    FACTOR,
    POLICY,
    WORSE,
    AcceptedError,
    Answer,
    ask,
    edit,
    lock,
    program,
)
from tests.conftest import Project
from tests.release.judged_runs import AGGREGATE, LOCK
from tests.repositories import git
from tests.session.test_program_files import with_manifest

WORLDFLUX = "backends/fake_worldflux"
SUITE = "suites/quick/fake_quick.yaml"
MANIFEST_ID = "official-vs-worldflux-full"


def committed(project: Project, *more: str) -> None:
    """What a release expects, as the branch ``main``, and a branch of the change."""
    git(project.root, "init", "-q", "-b", "main")
    git(project.root, "add", "suites", "backends", LOCK, POLICY, *more)
    git(project.root, "commit", "-qm", "one")
    git(project.root, "checkout", "-q", "-b", "change")


@pytest.fixture
def changed(passed_quick: Project, tmp_path: Path) -> Project:
    """A copy of a project whose run ``honest`` passed, under git."""
    project = passed_quick.copied(tmp_path / "project")
    committed(project)
    return project


def run(project: Project, run_id: str = "r") -> None:
    """A run that its own checkout lets pass."""
    result = project.run(run_id=run_id)
    assert result.ret == pytest.ExitCode.OK, result.outlines


def release(project: Project, *more: str, run_id: str = "r", ref: str = "main") -> Answer:
    path = project.run_dir(run_id) / "fake_quick" / "run.json"
    assert ask(project, "aggregate", "--runs-glob", path, "--output", AGGREGATE).status == 0
    return ask(project, "validate", "--run", path, "--aggregate", AGGREGATE, "--expect-from", ref, *more)


def refused(answer: Answer, *words: str) -> None:
    if answer.status == 0:
        raise AcceptedError(answer.text)
    assert [word for word in words if word not in answer.text] == [], answer.text
    assert "worldflux-expected-" not in answer.text


def accepted(answer: Answer) -> None:
    assert answer.status == 0, answer.text


def weakened(project: Project) -> None:
    """A candidate that reaches less, and a margin so wide that it passes."""
    edit(program(project), FACTOR, f"{FACTOR}\n        {WORSE}")
    edit(project.root / SUITE, '"margin": 0.05', '"margin": 0.9')


def another_backend(project: Project, folder: str) -> None:
    text = (project.root / WORLDFLUX / "backend.yaml").read_text(encoding="utf-8")
    path = project.root / folder / "backend.yaml"
    path.write_text(text.replace("fake_worldflux", "another"), encoding="utf-8")


def linked(project: Project, target: str, name: str) -> None:
    (project.root / name).parent.mkdir(parents=True, exist_ok=True)
    (project.root / name).symlink_to(target)


# --- what is brought ---


def test_an_honest_change_of_the_candidate_is_accepted(changed: Project) -> None:
    """The control."""
    (changed.root / WORLDFLUX / "more.py").write_text("more = True\n", encoding="utf-8")
    run(changed)
    accepted(release(changed))


@pytest.mark.parametrize("way", ["no way", "the root", "the suites"])
def test_a_change_cannot_lay_its_files_over_those_of_the_commit(changed: Project, way: str) -> None:
    weakened(changed)
    if way == "the root":
        another_backend(changed, ".")
        linked(changed, "..", "backends/zz")
    if way == "the suites":
        another_backend(changed, "suites")
        linked(changed, "../suites", "backends/zz")
    run(changed)
    refused(release(changed), "not_passed: under the commit main (")


@pytest.mark.parametrize("way", ["no way", "all backends"])
def test_the_official_program_stays_that_of_the_commit(tmp_path: Path, way: str) -> None:
    """Also where a file above both programs says that their folder is the candidate's."""
    (tmp_path / "project").mkdir()
    project = Project(tmp_path / "project")
    project.suite(tasks=["alpha"], seeds=4)
    lock(project)
    committed(project)
    (project.root / "backends" / "fake_official" / "weak.py").write_text("weak = True\n", encoding="utf-8")
    if way == "all backends":
        another_backend(project, "backends")
    run(project)
    path = "backends/fake_official/weak.py"
    refused(release(project), f"program_differs (official): {path} is absent from the commit main (")


def moved(project: Project, path: Path) -> None:
    """Have a backend that stands elsewhere run the project's program."""
    edit(path, "{backend_dir}/../", f"{project.root}/backends/")
    edit(path, '"../program.py", ', "")


MOVES: dict[str, Callable[[Project], object]] = {
    "of the official program": lambda p: (
        shutil.rmtree(p.root / "backends/fake_official"),
        (p.root / WORLDFLUX).rename(p.root / "backends/fake_official"),
    ),
    "behind a link": lambda p: (
        (p.root / WORLDFLUX).rename(p.root / "elsewhere"),
        linked(p, "../elsewhere", WORLDFLUX),
        moved(p, p.root / "elsewhere/backend.yaml"),
    ),
    "behind a link out of the project": lambda p: (
        (p.root / WORLDFLUX).rename(p.root.with_name("elsewhere")),
        linked(p, "../../elsewhere", WORLDFLUX),
        moved(p, p.root.parent / "elsewhere/backend.yaml"),
    ),
}


@pytest.mark.parametrize("place", MOVES)
def test_the_candidate_takes_no_place_of_another(changed: Project, place: str) -> None:
    MOVES[place](changed)
    run(changed)
    refused(release(changed), "cannot_be_expected: under the commit main (")


def test_a_candidate_in_another_folder_is_accepted(changed: Project) -> None:
    """The control: the place is free, and the commit's own program is gone."""
    (changed.root / WORLDFLUX).rename(changed.root / "backends" / "renamed")
    run(changed)
    accepted(release(changed))


@pytest.fixture
def behind_link(passed_quick: Project, tmp_path: Path) -> Project:
    """A project a file of whose candidate is a link to one beside the backends, with a run ``r``."""
    project = passed_quick.copied(tmp_path / "project")
    (project.root / "lib").mkdir()
    (project.root / "lib" / "core.py").write_text("good = True\n", encoding="utf-8")
    linked(project, "../../lib/core.py", f"{WORLDFLUX}/core.py")
    committed(project, "lib")
    run(project)
    accepted(release(project))
    (project.root / "lib" / "core.py").write_text("good = False\n", encoding="utf-8")
    return project


def test_what_a_link_of_the_candidate_leads_to_is_of_the_change(behind_link: Project) -> None:
    refused(release(behind_link), f"program_differs (worldflux): {WORLDFLUX}/core.py is changed in")


def test_an_honest_change_behind_a_link_is_accepted(behind_link: Project) -> None:
    """The control."""
    run(behind_link, "again")
    accepted(release(behind_link, run_id="again"))


# --- what a name means ---


@pytest.mark.parametrize("ref", ["refs/heads/main", "HEAD", "sha", "short sha"])
def test_each_name_of_the_commit_is_accepted(changed: Project, ref: str) -> None:
    """The control."""
    sha = git(changed.root, "rev-parse", "main")
    accepted(release(changed, run_id="honest", ref={"sha": sha, "short sha": sha[:9]}.get(ref, ref)))


@pytest.mark.parametrize("ref", ["main", "origin/main"])
def test_a_name_of_two_commits_is_refused(changed: Project, ref: str) -> None:
    git(changed.root, "update-ref", "refs/remotes/origin/main", "main")
    weakened(changed)
    git(changed.root, "commit", "-qam", "two")
    run(changed)
    refused(
        release(changed, ref=ref),
        f"not_passed: under the commit {ref} ({git(changed.root, 'rev-parse', ref)[:12]})",
    )
    git(changed.root, "config", "core.warnAmbiguousRefs", "false")
    git(changed.root, "tag", ref, "change")
    refused(release(changed, ref=ref), f"{ref}: means more than one commit, a branch and a tag")


@pytest.mark.parametrize(("option", "value"), [("--expect-from", ""), ("--commit", ""), ("--commit", " ")])
def test_an_empty_name_is_refused(changed: Project, option: str, value: str) -> None:
    bundle = changed.run_dir("honest") / "fake_quick" / "evidence_bundle.zip"
    answers = {
        2: [release(changed, option, value, run_id="honest")],
        4: [ask(changed, "verify", bundle, "--allow-unsigned", "--commit", value)],
    }
    answers[2].append(ask(changed, "coverage", "--enforce-pass", "--aggregate", AGGREGATE, option, value))
    for status, given in answers.items():
        for answer in given:
            assert (answer.status, "it is empty: leave the option out" in answer.text) == (status, True)


@pytest.mark.parametrize(
    "ref", ["nowhere", "--all", "main --all", "^main", "main..change", ":/two", "main:suites"]
)
def test_what_is_no_name_of_a_commit_is_one_line(changed: Project, ref: str) -> None:
    """Nor is it told by a traceback, or taken for an option."""
    path = changed.run_dir("honest") / "fake_quick" / "run.json"
    answer = ask(changed, "validate", "--run", path, "--aggregate", AGGREGATE, f"--expect-from={ref}")
    assert (answer.status, len(answer.text.splitlines())) == (1, 1)
    assert "is no" in answer.text
    shutil.rmtree(changed.root / ".git")
    answer = ask(changed, "validate", "--run", path, "--aggregate", AGGREGATE, "--expect-from=main")
    assert answer.status == 1
    assert "main: git cannot say which commit that is: fatal: not a git repository" in answer.text


# --- what a commit holds ---


def amended(project: Project, *paths: str) -> None:
    """Also these are of the commit ``main``."""
    git(project.root, "add", "-A", *paths)
    git(project.root, "commit", "-qm", "more")
    git(project.root, "branch", "-qf", "main")


@pytest.mark.parametrize("target", ["/data/x", "../shared", "backends/../../shared"])
def test_a_link_out_of_the_commit_is_left_out_where_nothing_needs_it(changed: Project, target: str) -> None:
    """The control; nor does an attribute that hides files from archives hide them here."""
    linked(changed, target, "data")
    linked(changed, "../data", f"{WORLDFLUX}/data")
    linked(changed, "suites", "tests")
    shutil.rmtree(changed.root / "backends" / "fake_official")
    linked(changed, "/data/official", "backends/fake_official")
    (changed.root / ".gitattributes").write_text("suites/** export-ignore\n", encoding="utf-8")
    amended(changed, "data", "tests", ".gitattributes", "backends")
    run(changed)
    accepted(release(changed))


@pytest.mark.parametrize("path", [LOCK, POLICY, "suites", SUITE, "suites/quick/official.json"])
def test_a_link_out_of_the_commit_is_told_of_where_it_is_needed(changed: Project, path: str) -> None:
    kept, out = changed.root / path, changed.root.with_name("out")
    kept.rename(out)
    kept.symlink_to(out)
    amended(changed, path)
    # The change has the file itself.
    kept.unlink()
    out.rename(kept)
    answer = release(changed, run_id="honest")
    refused(answer, "links that lead out of the commit are no part of it", path)


# --- manifests, which name commands ---


@pytest.fixture
def manifest(tmp_path: Path) -> Project:
    """A project with a manifest each of whose programs is a script in a folder of its own, under git."""
    root = tmp_path / "project"
    root.mkdir()
    project = Project(root)
    document = with_manifest(project)
    shutil.copytree(root / "bin", root / "own" / "bin")
    document["tasks"][0]["worldflux"]["cwd"] = "../../own/bin"
    document["seed_policy"]["values"] = [0, 1, 2, 3]
    [path] = (root / "suites").glob("proof/*.yaml")
    path.write_text(json.dumps(document), encoding="utf-8")
    lock(project)
    committed(project, "bin", "own")
    return project


def findings(project: Project, codes: Sequence[str] = ("not_as_expected", "cannot_be_expected")) -> list[str]:
    """What is found of what was asked; the scripts make none of the files that a manifest asks for."""
    project.run(run_id="r")
    path = project.run_dir("r") / MANIFEST_ID / "equivalence_report.json"
    ask(project, "aggregate", "--runs-glob", path, "--output", AGGREGATE)
    answer = ask(project, "validate", "--run", path, "--aggregate", AGGREGATE, "--expect-from", "main")
    assert ": not_passed: under the commit main (" in answer.text, answer.text
    return [line for line in answer.text.splitlines() if any(f": {code}" in line for code in codes)]


def test_the_candidates_script_of_a_manifest_is_that_of_the_change(manifest: Project) -> None:
    """The control."""
    (manifest.root / "own" / "bin" / "helper.py").write_text("x = 2\n", encoding="utf-8")
    assert findings(manifest) == []


def test_the_official_script_of_a_manifest_is_that_of_the_commit(manifest: Project) -> None:
    (manifest.root / "bin" / "helper.py").write_text("x = 2\n", encoding="utf-8")
    [line] = findings(manifest, codes=["program_differs"])
    assert "program_differs (official): bin/helper.py is changed in the commit main" in line
