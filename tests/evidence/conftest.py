"""A bundle to manipulate, and what a verifier says to it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from evidence_examples import Example, Verify, make_run, recompute

from pytest_worldflux_parity.cli.verify import report_bundle
from pytest_worldflux_parity.release.verification import Reader


@pytest.fixture(scope="session")
def example(tmp_path_factory: pytest.TempPathFactory) -> Example:
    """A run that passed."""
    return make_run(tmp_path_factory.mktemp("home") / "someone")


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``own.pem``, ``own.pub``, ``other.pem``, ``other.pub``, as openssl makes them."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("own", "other"):
        make = ("genpkey", "-algorithm", "ed25519", "-out", f"{name}.pem")
        derive = ("pkey", "-in", f"{name}.pem", "-pubout", "-out", f"{name}.pub")
        for arguments in (make, derive):
            subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)
        (folder / f"{name}.pem").chmod(0o600)
    return folder


@pytest.fixture(scope="session")
def unsigned(example: Example) -> bytes:
    return example.build("unsigned.zip").path.read_bytes()


@pytest.fixture(scope="session")
def signed(example: Example, keys: Path) -> bytes:
    return example.build("signed.zip", keys / "own.pem").path.read_bytes()


@pytest.fixture
def verify(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Verify:
    """Bytes of a bundle -> the exit status and the lines of ``verify``."""

    def run(data: bytes, key: Path | None = None) -> tuple[int, str]:
        path = tmp_path / "bundle.zip"
        path.write_bytes(data)
        code = report_bundle(path, lambda: Reader(key=key), lambda folder: (None, recompute(folder)))
        return code, capsys.readouterr().out

    return run
