"""One official program in two versions: each side runs the one that it names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_worldflux_parity.cli import main as cli
from pytest_worldflux_parity.inputs.checkouts import checkout_path
from pytest_worldflux_parity.inputs.lock import read_lock
from pytest_worldflux_parity.inputs.versions import find_versions
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
    own = '"tree_sha256": wire.content_hash(request.source), "commit": request.source.get("commit")'
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
    assert document["suite_lock_ref"]["versions"] == {
        "official": {"program": "fake", "version": "old", "commit": COMMITS["old"], "current": False},
        "worldflux": {"program": "fake", "version": "new", "commit": COMMITS["new"], "current": True},
        "changed": [CHANGED],
    }
    assert document["verdict_reason"].startswith(
        f"two versions of one program (comparison: versions), fake old ({'a' * 12}) against new "
        f"({'b' * 12}), between which changed: {CHANGED}, so nothing is shown of another program: "
    )
    report = versioned.report()
    assert f" at {'a' * 12} (version old, not the current new)" in report
    assert f" at {'b' * 12} (version new)" in report


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


@pytest.mark.parametrize(("version", "told"), [("old", True), ("new", False), ("", False)])
def test_a_verdict_says_that_its_official_version_is_not_the_current_one(
    versioned: Project, version: str, told: bool
) -> None:
    versioned.suite(official=side(version))
    assert versioned.run().ret == pytest.ExitCode.OK
    document = versioned.document()
    said = "with the official fake of version old, not the current new: "
    assert document["verdict_reason"].startswith(said) is told
    assert document["suite_lock_ref"]["versions"]["official"]["version"] == (version or "new")
    assert "worldflux" not in document["suite_lock_ref"]["versions"]


@pytest.mark.parametrize(
    ("stated", "asked", "commit"),
    [
        ("old", (), "old"),
        ("", (), "new"),
        ("", ("--version", "old"), "old"),
        ("old", ("--version", "new"), "new"),
    ],
)
def test_a_table_is_measured_at_the_version_that_is_asked_for(
    versioned: Project, stated: str, asked: tuple[str, ...], commit: str
) -> None:
    path = versioned.suite(official=side(stated), tasks=["alpha"])
    table = versioned.root / "table.json"
    words = ["oracle", str(path), "--seeds", "2", "--output", str(table), *asked]
    assert cli.main(["--root", str(versioned.root), *words]) == 0
    provenance = json.loads(table.read_text(encoding="utf-8"))["provenance"]
    assert provenance["commit"] == COMMITS[commit]
    assert (" ".join(asked) in provenance["command"]) is True


def test_a_proof_says_its_version_in_the_sentence_and_in_its_document(versioned: Project) -> None:
    versioned.proof(official=side("old"))
    versioned.run()
    document = versioned.document("fake_proof/equivalence_report.json")
    said = "with the official fake of version old, not the current new: "
    assert said in document["global"]["verdict_reason"]
    assert document["config"]["versions"]["fake"]["official"]["commit"] == COMMITS["old"]
    assert "lock_mismatch" not in json.dumps(versioned.document("fake_proof/validity_report.json"))


def test_what_changed_is_told_of_every_version_between_two_whichever_side_is_older(tmp_path: Path) -> None:
    names = ("one", "two", "three", "four")
    rows = {
        name: {"commit": str(i) * 40, "date": "2026-01-01", "changed": f"change {i}"}
        for i, name in enumerate(names)
    }
    entry = {"repo": REPO, "commit": "f" * 40, "oracle_format": "canonical_json", "oracle_path": "t"}
    path = tmp_path / "lock.json"
    programs = {
        "fake": {"repo": REPO, "current": "four", "versions": rows},
        "other": {"repo": f"{REPO}2", "current": "a", "versions": {"a": {**rows["one"], "commit": "e" * 40}}},
    }
    document = {
        "schema_version": "worldflux.parity.lock.v1", "generated_at_utc": "now",
        "suites": {"s": entry}, "programs": programs,
    }  # fmt: skip
    path.write_text(json.dumps(document), encoding="utf-8")
    locked = read_lock(path)

    def changed(official: str | None, worldflux: str | None) -> tuple[str, ...]:
        return find_versions(locked, {"official": official, "worldflux": worldflux}).changed

    assert changed("1" * 40, "3" * 40) == changed("3" * 40, "1" * 40) == ("change 2", "change 3")
    assert changed("0" * 40, "1" * 40) == ("change 1",)
    for pair in (("1" * 40, "1" * 40), ("1" * 40, "e" * 40), ("1" * 40, None), ("1" * 40, "d" * 40)):
        assert changed(*pair) == ()


UNSIGNED = 5  # a pass that follows, and nobody vouches for it


@pytest.mark.parametrize("moved", [False, True], ids=["the same lock", "another current version since"])
@pytest.mark.parametrize("track", ["quick", "proof"])
def test_the_evidence_of_versions_is_judged_again_to_the_same_sentence(
    versioned: Project, track: str, moved: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    make = versioned.suite if track == "quick" else versioned.proof
    make(comparison="versions", official=side("old"), worldflux=side("new"))
    versioned.run()
    [bundle] = versioned.run_dir().rglob("evidence_bundle.zip")
    if moved:
        rows = {n: {"commit": c, "date": "2026-01-01", "changed": CHANGED} for n, c in COMMITS.items()}
        write_lock(versioned, programs={"fake": {"repo": REPO, "current": "old", "versions": rows}})
    capsys.readouterr()
    status = cli.main(["--root", str(versioned.root), "verify", str(bundle)])
    said = capsys.readouterr()
    told = said.out + said.err
    assert status == UNSIGNED, told
    assert "reports from the raw records, all equal" in told
    assert f"fake old ({'a' * 12}) against new ({'b' * 12}), between which changed: {CHANGED}, so" in told
    assert f" at {'a' * 12} (version old" in told
