"""A suite file that one reader of YAML takes for another suite than the next, or that no reader survives."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.attacks.lab import document
from tests.conftest import SUITE, Project

WHOLE = json.dumps({**SUITE, "tasks": ["alpha"]})
WIDE = '[{"name": "episode_return", "rule": "calibrated", "margin": 0.3}]'


def with_first(text: str) -> str:
    """The suite with something before its first key."""
    return "{" + text + ", " + WHOLE[1:]


def with_last(text: str) -> str:
    return f"{WHOLE[:-1]}, {text}}}"


# What the file holds, and what is said of it.
TWO_THINGS = {
    "a key twice": (with_last(f'"metrics": {WIDE}'), ":1: key 'metrics' stands twice"),
    "a key twice, the wide one first": (with_first(f'"metrics": {WIDE}'), ":1: key 'metrics' stands twice"),
    "a key with an escape": (with_last(f'"\\x6detrics": {WIDE}'), ":1: key 'metrics' stands twice"),
    "a key without quotes": (with_last(f"metrics: {WIDE}"), ":1: key 'metrics' stands twice"),
    "a merge key twice": (
        with_first('<<: {"retries": 9}, <<: {"retries": 0}'), ":1: key '<<' stands twice",
    ),
    "a merge key in quotes": (with_first('"<<": {"retries": 9}'), ":1: unknown key '<<'"),
    "a merge key of an unknown key": (with_last('"resources": &r {"gpus": 1}, <<: *r'), "unknown key 'gpus'"),
    "a combining mark": (with_last(f'"metrics\u0301": {WIDE}'), "did you mean 'metrics'?"),
    "a second document": (f"{WHOLE}\n---\n{WHOLE}\n", ":2: not YAML: but found another document"),
    "a character that ends a text": (f"{WHOLE}\0{WHOLE}", "not YAML: unacceptable character"),
}  # fmt: skip


def of_ten(levels: int) -> str:
    """Lists of ten times the list before."""
    lists = [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, levels)]
    return "\n".join(["l0: &l0 [x, x, x, x, x, x, x, x, x, x]", *lists, ""])


CALL = "!!python/object/apply:os.mkdir [called]"
HARM = {
    "a tag that calls": (
        with_last(f'"description": {CALL}'), "the tag tag:yaml.org,2002:python/object/apply:",
    ),
    "a key with a tag": (with_last(f"? {CALL} : 1"), "the tag tag:yaml.org,2002:python"),
    "a name of a function": (
        with_last('"retries": !!python/name:os.system x'), "the tag tag:yaml.org,2002:python/name",
    ),
    "aliases of aliases": (of_ten(10), "more than 50000 values"),
    "an alias of itself": ("suite: &suite [*suite]\n", "nested without end"),
    "lists within lists": ("[" * 100_000, "nested more than 50 deep"),
    "a million values": (f"suite: [{'1, ' * 1_000_000}]\n", "more than 50000 values"),
}  # fmt: skip


def refused(folder: Path, text: str) -> str:
    """The line that a suite file is refused with; nothing was called, and nothing ran."""
    project = Project(folder)
    path = project.root / "suites" / "quick" / "hostile.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="utf-8")
    result = project.run()
    assert result.ret == pytest.ExitCode.INTERRUPTED, result.outlines
    assert "Traceback" not in result.stdout.str() + result.stderr.str()
    assert not [p for p in project.root.rglob("*") if p.name in ("called", "executions", "run.json")]
    (line,) = [line for line in result.outlines if "suites/quick/hostile.yaml:" in line]
    return line


@pytest.mark.parametrize("name", TWO_THINGS)
def test_a_suite_that_says_two_things_is_refused(name: str, tmp_path: Path) -> None:
    text, told = TWO_THINGS[name]
    assert told in refused(tmp_path, text)


@pytest.mark.parametrize("name", HARM)
def test_a_suite_that_harms_its_reader_is_refused(name: str, tmp_path: Path) -> None:
    text, told = HARM[name]
    assert told in refused(tmp_path, text)


def test_a_suite_with_anchors_is_the_one_that_it_looks_like(tmp_path: Path) -> None:
    """The control: an anchor that is used twice, a comment, and words without quotes."""
    project = Project(tmp_path)
    path = project.suite(tasks=["alpha"], seeds={"official": [0, 1, 2], "worldflux": "ALIAS"})
    text = path.read_text(encoding="utf-8").replace('"official": [', '"official": &seeds [')
    text = text.replace('"ALIAS"', "*seeds").replace('"family"', "family")
    # What is merged gives way to what stands there.
    text = f'{{<<: {{"metrics": {WIDE}}},{text[1:]}'
    assert "&seeds" in text
    path.write_text(f"# A suite of one task.\n{text}\n", encoding="utf-8")
    result = project.run()
    assert result.ret == pytest.ExitCode.OK, result.outlines
    assert document(project, "r")["suite"]["tasks"] == ["alpha"]
    assert document(project, "r")["metrics"]["episode_return"]["margin"] == 0.05
    assert len(document(project, "r")["pairs"]) == 3
