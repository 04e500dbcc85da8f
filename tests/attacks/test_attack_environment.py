"""A program runs with other packages than it pins, or with packages that were edited since."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_worldflux_parity.inputs.backends import load_backends
from tests.attacks.lab import edit, program, proof
from tests.components import goldens
from tests.conftest import Project
from tests.session.test_proof_sessions import ENOUGH

OK = "def ok(request):\n"
MODULE = "LEVEL = 1.0\n"


def claimed(tmp_path: Path, version: str = "1.0") -> Project:
    """A claim whose candidate runs in an environment of its own with one package."""
    project = Project(tmp_path)
    proof(project, claim="proof_grade", component_match=None, seed_policy=ENOUGH, statistical=None)
    goldens.declare(project.root / "backends", "  deadline_sec: 60\n")
    goldens.behave(project.root / "golden", "ok")
    path = project.root / "backends" / "fake_worldflux" / "backend.yaml"
    edit(
        path, "environment: shared\nrequirements: []", f"environment: own\nrequirements: ['tiny=={version}']"
    )
    backend = load_backends([project.root / "backends"])["fake_worldflux"]
    folder = backend.environment_dir(project.root)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    [site] = folder.glob("lib/python3*/site-packages")
    (site / "tiny.py").write_text(MODULE, encoding="utf-8")
    info = site / "tiny-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n", encoding="utf-8")
    rows = [_row(site, name) for name in ("tiny.py", "tiny-1.0.dist-info/METADATA")]
    (info / "RECORD").write_text("".join([*rows, "tiny-1.0.dist-info/RECORD,,\n"]), encoding="utf-8")
    marker = {"requirements_sha256": backend.requirements_sha256}
    (folder / "complete.json").write_text(json.dumps(marker), encoding="utf-8")
    return project


def _row(site: Path, name: str) -> str:
    data = (site / name).read_bytes()
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    return f"{name},sha256={digest},{len(data)}\n"


def codes(project: Project) -> set[str]:
    result = project.run("suites/proof/fake_proof.yaml::alpha[seed=0]")
    assert result.ret == pytest.ExitCode.TESTS_FAILED, result.stdout.str() + result.stderr.str()
    path = project.run_dir() / "fake_proof" / "validity_report.json"
    return set(json.loads(path.read_text(encoding="utf-8"))["issues_by_code"])


ENVIRONMENT = {"environment_not_as_pinned", "environment_altered"}


def test_what_is_as_pinned_is_no_finding(tmp_path: Path) -> None:
    """The control; what else a claim needs is not there."""
    project = claimed(tmp_path / "project")
    assert not codes(project) & {*ENVIRONMENT, "changed_since_sealed"}
    card = (project.run_dir() / "report.md").read_text(encoding="utf-8")
    assert "fake.worldflux: Python 3." in card
    assert "as pinned" in card


def test_a_claim_with_other_packages_is_broken(tmp_path: Path) -> None:
    assert codes(claimed(tmp_path / "project", "2.0")) & ENVIRONMENT == {"environment_not_as_pinned"}


def test_a_claim_whose_pins_nobody_can_compare_is_broken(tmp_path: Path) -> None:
    """Who starts a Python by its path is not asked for its packages."""
    project = claimed(tmp_path / "project")
    path = project.root / "backends" / "fake_worldflux" / "backend.yaml"
    [python] = project.root.glob(".worldflux/envs/*/bin/python")
    edit(path, '"{python}"', json.dumps(str(python)))
    assert "environment_not_as_pinned" in codes(project)


@pytest.mark.parametrize("text", ["LEVEL = 2.0\n", MODULE + "# longer\n"])
def test_a_claim_with_an_edited_package_is_broken(tmp_path: Path, text: str) -> None:
    """Whether or not its size tells of it."""
    project = claimed(tmp_path / "project")
    [path] = project.root.glob(".worldflux/envs/*/lib/python3*/site-packages/tiny.py")
    path.write_text(text, encoding="utf-8")
    assert codes(project) & ENVIRONMENT == {"environment_altered"}


def test_a_package_that_is_edited_while_its_program_runs(tmp_path: Path) -> None:
    """Its size is as before, so that only its bytes tell."""
    project = claimed(tmp_path / "project")
    edits = "import tiny; Path(tiny.__file__).write_text('LEVEL = 2.0\\n')"
    edit(program(project), OK, f"{OK}    if request.system == 'worldflux':\n        {edits}\n")
    assert "changed_since_sealed" in codes(project)
    report = (project.run_dir() / "fake_proof" / "validity_report.json").read_text(encoding="utf-8")
    assert "the packages of the worldflux program" in report
    assert "tiny.py has other bytes" in report
