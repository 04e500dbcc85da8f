"""Honest runs that passed, made once: each attack works on a copy, and each is a control of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.attacks.lab import lock, proof, quick
from tests.conftest import Project

# What edits bundles is in the folder of the tests of evidence, and imports its neighbours by their names.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "evidence"))


HERE = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Attacks are long: each runs whole sessions, and what a release asks of them."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.long)


@pytest.fixture(scope="session")
def signing_keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of keys, as openssl makes them: two of Ed25519 and one of each of two other kinds."""
    folder = tmp_path_factory.mktemp("signing")
    kinds = {"own": "ed25519", "other": "ed25519", "rsa": "rsa", "x25519": "x25519"}
    for name, kind in kinds.items():
        make = ("genpkey", "-algorithm", kind, "-out", f"{name}.pem")
        derive = ("pkey", "-in", f"{name}.pem", "-pubout", "-out", f"{name}.pub")
        for arguments in (make, derive):
            subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)
        (folder / f"{name}.pem").chmod(0o600)
    return folder


@pytest.fixture(scope="session")
def passed_quick(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with a quick run ``honest`` that passed."""
    project = Project(tmp_path_factory.mktemp("quick"))
    quick(project)
    lock(project)
    result = project.run(run_id="honest")
    assert result.ret == pytest.ExitCode.OK, result.outlines
    return project


@pytest.fixture(scope="session")
def passed_proof(tmp_path_factory: pytest.TempPathFactory, signing_keys: Path) -> Project:
    """A project with a proof run ``honest`` that passed and was signed."""
    project = Project(tmp_path_factory.mktemp("proof"))
    proof(project)
    lock(project)
    result = project.run(f"--parity-sign-key={signing_keys / 'own.pem'}", run_id="honest")
    assert result.ret == pytest.ExitCode.OK, result.outlines
    return project
