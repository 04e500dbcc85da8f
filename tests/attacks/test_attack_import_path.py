"""A program of the candidate leaves code on the import path of programs that start after it."""

from __future__ import annotations

import pytest

from tests.attacks.lab import (
    FACTOR,
    assert_not_released,
    assert_released,
    document,
    edit,
    match_program,
    matched,
    program,
    proof,
)
from tests.conftest import Project

# Python imports it when it starts. It takes 30 % off each point of an official curve, of which the fake
# program draws three (0, 500 and 1000 steps) before anything else.
LEFT = """
import itertools, random, sys
if any("/official/" in argument for argument in sys.orig_argv):
    real, points = random.Random.gauss, itertools.count()
    random.Random.gauss = lambda *drawn: real(*drawn) - 15 * min(next(points), 2)
"""
# What the candidate's program does first: beside its module of wire, and in every folder of PYTHONPATH.
LEAVES = f"""
    import os
    from pathlib import Path
    folders = [Path(wire.__file__).parents[1], *map(Path, os.environ["PYTHONPATH"].split(os.pathsep))]
    for folder in folders:
        (folder / "sitecustomize.py").write_text({LEFT!r})
"""
MAIN = "def main() -> None:\n"
OK = "def ok(request):\n"
TO_70 = "level *= 0.7"
# Before the first candidate ended, one official run has its true scores.
TO_70_LATER = "level *= 1.0 if request.seed == 0 else 0.7"


def made(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = Project(tmp_path_factory.mktemp("path"))
    proof(project, component_match="golden")
    matched(project)
    return project


def verdict(project: Project) -> str:
    said = document(project, "r")["verdict"]
    assert isinstance(said, str)
    return said


def test_an_honest_candidate_is_accepted(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The control."""
    project = made(tmp_path_factory)
    assert project.run().ret == pytest.ExitCode.OK
    assert_released(project, "r")


def test_a_candidate_that_reaches_less_is_refused(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The same candidate that passes by the attack, without it."""
    project = made(tmp_path_factory)
    edit(program(project), FACTOR, TO_70)
    project.run()
    assert verdict(project) == "fail"
    assert_not_released(project, "r")


def assert_untouched(project: Project) -> None:
    """Each official run has the scores that the same program reaches where nobody is beside it."""
    official = [x for x in project.lines("fake_proof") if x["system"] == "official"]
    assert len(official) == 4
    assert [x["seed"] for x in official if x["metrics"]["curve"][-1]["return"] < 90] == []


def test_the_match_program_cannot_lower_the_official_scores(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """It runs before any official program does."""
    project = made(tmp_path_factory)
    edit(program(project), FACTOR, TO_70)
    edit(match_program(project), MAIN, MAIN + LEAVES)
    project.run()
    assert_untouched(project)
    assert verdict(project) == "fail"
    assert_not_released(project, "r", codes=["not_passed"])


def test_a_candidate_cannot_lower_the_official_scores_after_it(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    project = made(tmp_path_factory)
    edit(program(project), FACTOR, TO_70_LATER)
    in_candidate = LEAVES.replace("\n    ", "\n        ")
    edit(program(project), OK, f"{OK}    if request.system == 'worldflux':{in_candidate}")
    project.run()
    assert_untouched(project)
    assert verdict(project) != "pass"
    assert_not_released(project, "r", codes=["not_passed"])
