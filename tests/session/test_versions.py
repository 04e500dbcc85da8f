"""One official program in two versions: each side runs the one that it names."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pytest_worldflux_parity.inputs.checkouts import checkout_path
from tests.conftest import Project

REPO = "https://example.invalid/owner/name"
COMMITS = {"old": "a" * 40, "new": "b" * 40}
CHANGED = "the level begins higher"


def write_lock(project: Project, **changes: Any) -> None:
    rows = {n: {"commit": c, "date": "2026-01-01", "changed": CHANGED} for n, c in COMMITS.items()}
    table = {"repo": REPO, "commit": COMMITS["new"], "oracle_format": "canonical_json", "oracle_path": "t"}
    document = {
        "schema_version": "worldflux.parity.lock.v1",
        "generated_at_utc": "2026-01-01T00:00:00+00:00",
        "suites": {"another": table},
        "programs": {"fake": {"repo": REPO, "current": "new", "versions": rows}},
        **changes,
    }
    path = project.root / "reports" / "parity" / "upstream_lock.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document), encoding="utf-8")


@pytest.fixture
def versioned(project: Project) -> Project:
    """A project whose official program is a checkout, in two versions."""
    write_lock(project)
    for commit in COMMITS.values():
        folder = checkout_path(project.root, REPO, commit)
        folder.mkdir(parents=True)
        (folder / "official.py").write_text(f"version = {commit!r}\n", encoding="utf-8")
        (folder / "common.py").write_text("both = True\n", encoding="utf-8")
    described = project.root / "backends/fake_official/backend.yaml"
    text = described.read_text(encoding="utf-8")
    described.write_text(text + "source: {lock: fake}\n", encoding="utf-8")
    program = project.root / "backends/program.py"
    text = program.read_text(encoding="utf-8")
    # It says which checkout it ran.
    own = '"tree_sha256": wire.content_hash(request.source), "commit": request.source["commit"]'
    stated = f'"source": {{{own}}},'
    before = '"source": {"tree_sha256": wire.content_hash(request.adapter)},'
    assert before in text
    program.write_text(text.replace(before, stated), encoding="utf-8")
    return project


def side(version: str = "") -> dict[str, str]:
    return {"backend": "fake_official", **({"version": version} if version else {})}


def commits_of(project: Project) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for line in project.lines():
        request = project.out_dir(line["system"], line["task_id"], line["seed"])
        asked = json.loads(next(request.glob("attempt_*/request.json")).read_text(encoding="utf-8"))
        assert asked["source"]["commit"] == line["metrics"]["metadata"]["source"]["commit"]
        found.setdefault(line["system"], set()).add(asked["source"]["commit"])
    return found


def test_each_side_runs_the_version_that_it_names(versioned: Project) -> None:
    versioned.suite(comparison="versions", official=side("old"), worldflux=side("new"))
    result = versioned.run()
    assert commits_of(versioned) == {"official": {COMMITS["old"]}, "worldflux": {COMMITS["new"]}}
    document = versioned.document()
    assert document["gates"]["independence"]["verdict"] == "pass", document["gates"]
    assert result.ret == pytest.ExitCode.OK, result.outlines


def test_a_side_that_names_none_runs_the_current_one(versioned: Project) -> None:
    versioned.suite(comparison="versions", official=side("old"), worldflux=side())
    versioned.run()
    assert commits_of(versioned) == {"official": {COMMITS["old"]}, "worldflux": {COMMITS["new"]}}


def test_one_version_on_both_sides_is_no_comparison(versioned: Project) -> None:
    versioned.suite(comparison="versions", official=side("new"), worldflux=side())
    assert versioned.run().ret == pytest.ExitCode.TESTS_FAILED
    assert versioned.document()["gates"]["independence"]["verdict"] == "fail"


@pytest.mark.parametrize("system", ["official", "worldflux"])
def test_a_version_that_is_not_locked_is_refused_by_its_side(versioned: Project, system: str) -> None:
    sides = {"official": side("old"), "worldflux": side("new"), system: side("nww")}
    versioned.suite(comparison="versions", **sides)
    said = versioned.run()
    assert "no version 'nww' of fake is locked; did you mean 'new'?" in said.stdout.str() + said.stderr.str()
