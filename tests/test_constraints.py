"""The recorded versions: nothing but names and versions, each that we ask for, and the README uses them."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = Path(__file__).parents[1]
README = (PROJECT / "README.md").read_text(encoding="utf-8")
LINES = [
    line
    for line in (PROJECT / "tests" / "constraints.txt").read_text(encoding="utf-8").splitlines()
    if not line.startswith("#")
]


def requirements(*extras: str) -> list[Requirement]:
    """What the core and these extras ask for, with the extras that they name in turn."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = [Requirement(text) for extra in extras for text in project["optional-dependencies"][extra]]
    found = [Requirement(text) for text in project["dependencies"]]
    for requirement in asked:
        own = requirement.name == project["name"]
        found += requirements(*sorted(requirement.extras)) if own else [requirement]
    return found


def test_a_line_is_a_name_and_a_version() -> None:
    assert [x for x in LINES if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", x)] == []
    names = [canonicalize_name(line.partition("==")[0]) for line in LINES]
    assert len(set(names)) == len(names) > 50
    assert "pytest-worldflux-parity" not in names


def test_what_we_ask_for_is_recorded_with_a_version_that_we_admit() -> None:
    recorded = {canonicalize_name(n): v for n, _, v in (line.partition("==") for line in LINES)}
    asked = requirements("test", "ray")
    assert {"torch", "jax", "ray", "pytest"} <= {r.name for r in asked}
    assert {canonicalize_name(r.name) for r in asked} <= recorded.keys()
    assert [r for r in asked if not r.specifier.contains(recorded[canonicalize_name(r.name)])] == []


def test_the_readme_installs_them_in_one_command() -> None:
    command = 'pip install -c tests/constraints.txt -e ".[test]" && pytest '
    assert [x for x in README.splitlines() if x.startswith(command)] != []
    assert README.count("constraints.txt") == 1
