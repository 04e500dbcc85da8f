"""suites/upstream: an official program against itself, by the recipe and the rules of the quick suite."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from pytest_worldflux_parity.inputs.backends import load_backends
from pytest_worldflux_parity.inputs.lock import read_lock
from pytest_worldflux_parity.suite.suite import BackendSide
from pytest_worldflux_parity.suite.suite_file import load

ROOT = Path(__file__).parents[2]
UPSTREAM = sorted((ROOT / "suites" / "upstream").glob("*.yaml"))


def test_each_official_program_with_several_versions_has_a_suite() -> None:
    locked = read_lock(ROOT / "reports/parity/upstream_lock.json")
    assert [p.stem for p in UPSTREAM] == sorted(n for n, p in locked.programs.items() if len(p.versions) > 1)


@pytest.mark.parametrize("path", UPSTREAM, ids=lambda p: p.stem)
def test_both_sides_are_one_official_program_in_two_locked_versions(path: Path) -> None:
    suite, locked = load(path), read_lock(ROOT / "reports/parity/upstream_lock.json")
    known = load_backends([ROOT / "backends"])
    assert (suite.comparison, suite.component_match) == ("versions", "none")
    names = []
    for side in suite.sides.values():
        assert isinstance(side, BackendSide)
        backend = known[side.adapter]
        assert (backend.system, backend.lock_suite, backend.environment) == ("official", path.stem, "own")
        assert locked.entry(f"{path.stem}@{side.version}").commit
        names.append(side.version)
    order = list(locked.programs[path.stem].versions)
    assert order.index(names[0]) < order.index(names[1])


@pytest.mark.parametrize("path", UPSTREAM, ids=lambda p: p.stem)
def test_they_follow_the_quick_suite(path: Path) -> None:
    quick = ROOT / "suites" / "quick" / f"{path.stem}_quick.yaml"
    own, other = (yaml.safe_load(p.read_text(encoding="utf-8")) for p in (path, quick))
    for key in ("family", "tasks", "recipe", "eval_protocol", "points", "budget", "metrics"):
        assert own[key] == other[key], key
    assert own.get("bins") == other.get("bins")
