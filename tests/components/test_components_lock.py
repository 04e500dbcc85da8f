"""The golden that components are compared with is the one that the lock file pins, and holds all it must."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pytest_worldflux_parity import wire
from pytest_worldflux_parity.cli import main as cli
from pytest_worldflux_parity.errors import GoldenError, SourceError
from pytest_worldflux_parity.execution import match_program
from pytest_worldflux_parity.execution.launching import seal_program_now
from pytest_worldflux_parity.inputs import golden, lock, matches
from pytest_worldflux_parity.inputs.backends import load_backends
from pytest_worldflux_parity.judgement import assemble
from pytest_worldflux_parity.reporting import component_report
from pytest_worldflux_parity.suite.suite import BackendSide, Suite
from tests.components import goldens
from tests.conftest import FAKES

ROOT = Path(__file__).resolve().parents[2]
REPO = "https://example.org/fake"
ENTRY = {
    "repo": REPO, "commit": goldens.COMMIT, "oracle_format": "canonical_json", "oracle_path": "scores.json",
}  # fmt: skip
HOLDS = ["encoder/z", "heads/*", "gradient/*.weight"]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project whose lock file pins the golden folder of the fake family."""
    shutil.copytree(FAKES, tmp_path / "backends")
    goldens.declare(tmp_path / "backends")
    (tmp_path / "pytest.ini").touch()
    pin(tmp_path, goldens.behave(tmp_path / "golden", "ok"))
    return tmp_path


def lock_path(project: Path) -> Path:
    return project / "reports" / "parity" / "upstream_lock.json"


def sha256(folder: Path) -> str:
    return hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()


def pin(project: Path, folder: Path, entry: dict[str, Any] | None = None, **changes: Any) -> None:
    """Write the lock file of a project; a change of None leaves the pin out."""
    row = {"suite": "s", "manifest_sha256": sha256(folder), "holds": HOLDS, **changes}
    document: dict[str, Any] = {
        "schema_version": lock.LOCK_SCHEMA, "generated_at_utc": "now",
        "suites": {"s": {**ENTRY, **(entry or {})}}, "goldens": {"fake": row},
    }  # fmt: skip
    lock_path(project).parent.mkdir(parents=True, exist_ok=True)
    lock_path(project).write_text(json.dumps(document), encoding="utf-8")


def spec_of(project: Path, folder: Path | None = None) -> matches.MatchSpec:
    backend = load_backends([project / "backends"])["fake_worldflux"]
    return matches.match_spec(backend, lock_path(project), folder)


def refusal(project: Path, folder: Path | None = None) -> str:
    with pytest.raises(GoldenError) as caught:
        spec_of(project, folder)
    assert "\n" not in caught.value.line()
    return caught.value.line()


def cut(folder: Path, component: str) -> Path:
    """A golden that is sound in itself and holds one component alone."""
    stored = {
        k: v for k, v in goldens.arrays().items()
        if not k.startswith("outputs/") or k.startswith(f"outputs/{component}/")
    }  # fmt: skip
    rows = [r for r in goldens.manifest(stored)["components"] if r["name"] == component]
    return goldens.write(folder, stored, components=rows)


def test_the_pinned_golden_is_compared_with(project: Path) -> None:
    assert spec_of(project).golden.standing == "pinned"


def test_a_golden_cut_down_to_one_component_is_refused(project: Path, capsys: Any) -> None:
    before = sha256(project / "golden")
    cut(project / "golden", "heads")
    told = refusal(project)
    assert f"has the sha256 {sha256(project / 'golden')}, upstream_lock.json pins {before}" in told
    assert told.endswith("worldflux-parity pin-golden fake")
    # The command, too, and for a folder that is named: there the hash is not asked for, what it holds is.
    assert cli.main(["--root", str(project), "component-match", "fake_worldflux"]) == 1
    assert "upstream_lock.json pins" in capsys.readouterr().err
    named = cut(project / "named", "heads")
    assert "the golden lacks encoder/z (and 1 more), which upstream_lock.json wants of every golden" in (
        refusal(project, named)
    )
    # Nor can it be pinned.
    assert cli.main(["--root", str(project), "pin-golden", "fake"]) == 1
    assert "the golden lacks encoder/z" in capsys.readouterr().err


def test_another_golden_of_the_locked_commit_that_is_whole_is_compared_with(project: Path) -> None:
    live = goldens.behave(project / "live", "ok", checkpoint="of a run")
    spec = spec_of(project, live)
    assert spec.golden.standing == "locked"
    sealed = seal_program_now(spec.backend, project, project / ".program")
    match_program.run_match(spec, project / "out", project, sealed)
    evidence = assemble.evidence_of(spec, project / "out")
    document = wire.load_object(component_report.write_report(evidence, project, project))
    assert document["golden"]["standing"] == "locked"


@pytest.mark.parametrize(
    "repo", ["https://example.org/fake.git", "https://EXAMPLE.org/fake/", "https://example.org/fake.git/"]
)
def test_a_repository_is_the_same_however_its_url_is_written(project: Path, repo: str) -> None:
    pin(project, project / "golden", {"repo": repo})
    assert spec_of(project).golden.standing == "pinned"
    pin(project, project / "golden", {"repo": repo, "commit": "f" * 40})
    assert f"recorded at commit {goldens.COMMIT}, upstream_lock.json locks ffff" in refusal(project)


@pytest.mark.parametrize("repo", ["https://example.org/other", "https://elsewhere.org/fake"])
def test_a_repository_that_is_not_the_locked_one_is_refused(project: Path, repo: str) -> None:
    pin(project, project / "golden", {"repo": repo})
    assert f"was recorded from {REPO}, upstream_lock.json locks {repo} for the family fake" in (
        refusal(project)
    )


def test_the_command_holds_a_named_golden_to_the_lock(project: Path, capsys: Any) -> None:
    other = goldens.write(project / "other", source={"repo": REPO, "commit": "e" * 40})
    command = ["--root", str(project), "component-match", "fake_worldflux", "--golden", str(other)]
    assert cli.main(command) == 1
    assert f"recorded at commit {'e' * 40}, upstream_lock.json locks" in capsys.readouterr().err


def test_a_golden_recorded_anew_is_pinned_by_one_command(project: Path, capsys: Any) -> None:
    before = json.loads(lock_path(project).read_text())
    goldens.behave(project / "golden", "ok", again=True)
    assert "worldflux-parity pin-golden fake" in refusal(project)
    assert cli.main(["--root", str(project), "pin-golden", "fake_worldflux"]) == 0
    assert sha256(project / "golden") in capsys.readouterr().out
    assert spec_of(project).golden.standing == "pinned"
    before["goldens"]["fake"].update(manifest_sha256=sha256(project / "golden"), components=6)
    assert json.loads(lock_path(project).read_text()) == before, "nothing else changed"


@pytest.fixture
def versioned(project: Path) -> Path:
    """A project with a golden of each of two versions of the official program."""
    backend = project / "backends/fake_worldflux/backend.yaml"
    backend.write_text(backend.read_text(encoding="utf-8").replace("../golden", "../golden/{version}"))
    shutil.rmtree(project / "golden")
    (project / "golden").mkdir()
    for version, commit in COMMITS.items():
        source = {"repo": REPO, "commit": commit}
        goldens.write(project / "golden" / version, source=source, config={"behaviour": "ok", "of": version})
    pin(project, project / "golden/new", suite="fake")
    document = json.loads(lock_path(project).read_text())
    rows = {name: {"commit": c, "date": "2026-01-01", "changed": "all"} for name, c in COMMITS.items()}
    document["programs"] = {"fake": {"repo": REPO, "current": "new", "versions": rows}}
    document["suites"]["s"]["commit"] = COMMITS["old"]
    lock_path(project).write_text(json.dumps(document), encoding="utf-8")
    return project


COMMITS = {"old": "0" * 40, "new": "1" * 40}


def test_components_are_held_to_the_version_that_the_suite_is_of(versioned: Path, capsys: Any) -> None:
    assert spec_of(versioned).golden.source["commit"] == COMMITS["new"]
    backend = load_backends([versioned / "backends"])["fake_worldflux"]
    own = {"suite_id": "s", "sides": {"official": BackendSide("fake_official")}}
    of_a_suite = cast("Suite", SimpleNamespace(**own))
    # Its golden is of a version that is locked, and not yet pinned.
    with pytest.raises(GoldenError, match=r"upstream_lock\.json pins"):
        matches.match_spec(backend, lock_path(versioned), suite=of_a_suite)
    command = ["--root", str(versioned), "pin-golden", "fake", "--version", "old"]
    assert cli.main(command) == 0
    assert f"{sha256(versioned / 'golden/old')} is pinned, nothing was" in capsys.readouterr().out
    spec = matches.match_spec(backend, lock_path(versioned), suite=of_a_suite)
    assert (spec.golden.source["commit"], spec.golden.standing) == (COMMITS["old"], "pinned")
    own["sides"] = {"official": BackendSide("fake_official", version="new")}
    newer = cast("Suite", SimpleNamespace(**own))
    current = spec_of(versioned).golden.identity
    assert matches.match_spec(backend, lock_path(versioned), suite=newer).golden.identity == current


def test_the_doctor_looks_at_the_golden_of_each_pinned_version(versioned: Path, capsys: Any) -> None:
    command = ["--root", str(versioned), "pin-golden", "fake", "--version", "old"]
    assert cli.main(command) == 0

    def told() -> dict[str, str]:
        capsys.readouterr()
        cli.main(["--root", str(versioned), "doctor", "--json"])
        checks = json.loads(capsys.readouterr().out)["checks"]
        return {c["name"]: c["status"] for c in checks if c["name"].startswith("golden of ")}

    assert told() == {"golden of fake": "ok", "golden of fake old": "ok"}
    manifest = versioned / "golden/old/manifest.json"
    manifest.write_text(manifest.read_text(encoding="utf-8") + " ", encoding="utf-8")
    assert told() == {"golden of fake": "ok", "golden of fake old": "wrong"}


def test_a_golden_in_the_place_of_another_versions_is_refused(versioned: Path, capsys: Any) -> None:
    assert cli.main(["--root", str(versioned), "pin-golden", "fake", "--version", "old"]) == 0
    for file in ("manifest.json", "arrays.npz"):
        shutil.copy(versioned / "golden/old" / file, versioned / "golden/new" / file)
    assert f"has the sha256 {sha256(versioned / 'golden/old')}, upstream_lock.json pins" in refusal(versioned)
    command = ["--root", str(versioned), "component-match", "fake_worldflux", "--version", "olt"]
    assert cli.main(command) == 1
    assert "no version 'olt' of fake is locked; did you mean 'old'?" in capsys.readouterr().err


def test_a_family_is_pinned_for_the_first_time(project: Path, capsys: Any) -> None:
    document = json.loads(lock_path(project).read_text())
    del document["goldens"]
    lock_path(project).write_text(json.dumps(document))
    assert spec_of(project).golden.standing == "unlocked"
    command = ["--root", str(project), "pin-golden", "fake"]
    assert cli.main(command) == 1
    assert "no golden of the family is pinned yet; to mend: name the entry" in capsys.readouterr().err
    assert cli.main([*command, "--suite", "s"]) == 0
    assert spec_of(project).golden.standing == "pinned"
    assert lock.read_lock(lock_path(project)).goldens["fake"].holds == tuple(
        f"{stage}/*" for stage in goldens.STAGES
    )
    assert cli.main([*command[:-1], "fakes"]) == 1
    assert "no backend or family 'fakes' has a golden folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"suite": "t"}, "no suite and no program 't' is locked"),
        ({"manifest_sha256": "main"}, "manifest_sha256"),
        ({"holds": []}, "holds"),
        ({"holds": ["encoder"]}, "holds"),
        ({"hold": ["encoder/z"]}, "did you mean 'holds'"),
    ],
)
def test_a_pin_that_is_wrong_is_named(project: Path, changes: dict[str, Any], told: str) -> None:
    pin(project, project / "golden", **changes)
    with pytest.raises(SourceError) as caught:
        spec_of(project)
    assert told in caught.value.line()


@pytest.mark.parametrize("family", ["dreamerv3", "tdmpc2"])
def test_the_committed_lock_pins_the_committed_goldens(family: str) -> None:
    """And each component has its pattern, so that no golden of a run can lack one."""
    path = ROOT / "reports" / "parity" / "upstream_lock.json"
    locked = lock.read_lock(path)
    current = locked.programs[family].current
    found = golden.read_golden(ROOT / "backends" / "golden" / family / current, family)
    assert golden.hold_to_lock(found, path, own=True, version=current).standing == "pinned"
    for version in locked.goldens[family].versions:
        other = golden.read_golden(ROOT / "backends" / "golden" / family / version, family)
        assert golden.hold_to_lock(other, path, own=True, version=version).standing == "pinned"
    holds = locked.goldens[family].holds
    kinds = {p.partition("/")[0].removeprefix("*_") for p in holds}
    own = {c.name.removeprefix("vector_").removeprefix("image_") for c in found.components}
    # What is called after an observation, or stands in the image setting for what the other has whole.
    rest = {"loss_position", "loss_height", "loss_velocity", "reconstruction", "network_gradients"}
    # How weights begin, and what many updates do, is not asked of a run's checkpoint.
    small = {"initialisation", "lockstep_initial", "lockstep_trained"} & own
    assert own - kinds - small == (rest if family == "dreamerv3" else set())
