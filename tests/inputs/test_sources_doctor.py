"""``doctor``: what is there, what is not, and that what it says to do mends it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_worldflux_parity import schemas
from pytest_worldflux_parity.cli import doctor_checks, options
from pytest_worldflux_parity.cli import main as cli
from pytest_worldflux_parity.inputs import checkouts
from pytest_worldflux_parity.inputs.backends import MARKER, read_backend
from tests.inputs.upstreams import Upstream

CHECKOUT = Path(__file__).resolve().parents[2]
Doctor = Callable[..., tuple[int, dict[str, dict[str, Any]]]]

SUITE = {
    "schema_version": "worldflux.parity.suite.v1", "suite_id": "s", "family": "fake", "track": "quick",
    "tasks": ["alpha"], "seeds": 2, "budget": {"step": 1000},
    "official": {"artifact": {"path": "oracle.json", "format": "canonical_json"}},
    "worldflux": {"backend": "fake_worldflux"},
    "metrics": [{"name": "episode_return", "rule": "calibrated", "margin": 0.05}],
}  # fmt: skip


@pytest.fixture
def project(root: Path, upstream: Upstream, tmp_path: Path) -> Path:
    """A project in which everything is there, with a backend of its own environment and a golden."""
    entry = upstream.entry
    golden = root / "backends" / "golden"
    write(golden / "arrays.npz", "arrays")
    manifest = json.dumps({"arrays_sha256": sha256(golden / "arrays.npz")})
    write(golden / "manifest.json", manifest)
    table = write(root / "suites" / "quick" / "oracle.json", '[{"task":"alpha","seed":0,"step":1,"score":1}]')
    write(root / "suites" / "quick" / "s.yaml", json.dumps(SUITE))
    common = {"repo": entry.repo, "commit": entry.commit}
    suites = {
        "a_suite": {
            **common, "oracle_format": entry.oracle_format, "oracle_path": entry.oracle_path,
            "oracle_files": dict(entry.oracle_files),
        },
        "s": {
            **common, "oracle_format": "canonical_json", "oracle_path": "suites/quick/oracle.json",
            "oracle_in": "project", "oracle_files": {"suites/quick/oracle.json": sha256(table)},
        },
    }  # fmt: skip
    pin = {"suite": "a_suite", "manifest_sha256": sha256(golden / "manifest.json"), "holds": ["c/*"]}
    lock = {
        "schema_version": "worldflux.parity.lock.v1", "generated_at_utc": "2026-01-01T00:00:00+00:00",
        "suites": suites, "goldens": {"fake": pin},
    }  # fmt: skip
    write(root / options.DEFAULT_LOCK, json.dumps(lock))
    backend(root, "fake_worldflux", environment="own", source={"lock": "a_suite"},
            requirements=["numpy==1.2.3"], match={"argv": ["x"], "golden": "../golden"})  # fmt: skip
    checkouts.fetch(entry, root, {"owner/name": str(upstream.path)})
    build(root, "fake_worldflux", "1.2.3")
    return root


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def backend(root: Path, name: str, **fields: Any) -> None:
    system = name.removeprefix("fake_")
    document = {"adapter": name, "kind": "fake", "family": "fake", "system": system, "argv": ["x"], **fields}
    write(root / "backends" / name / "backend.yaml", json.dumps(document))


def build(root: Path, name: str, version: str) -> None:
    """What ``env create`` leaves, with one package."""
    found = read_backend(root / "backends" / name / "backend.yaml")
    folder = found.environment_dir(root)
    write(folder / "bin" / "python", "")
    packages = folder / "lib" / "python3.11" / "site-packages"
    shutil.rmtree(packages, ignore_errors=True)
    write(packages / f"numpy-{version}.dist-info" / "METADATA", f"Name: numpy\nVersion: {version}\n")
    write(folder / MARKER, json.dumps({"requirements_sha256": found.requirements_sha256}))


@pytest.fixture
def examine(capsys: pytest.CaptureFixture[str]) -> Doctor:
    """``doctor --json``: exit status and checks by name."""

    def run(root: Path, *args: str) -> tuple[int, dict[str, dict[str, Any]]]:
        status = cli.main(["--root", str(root), "doctor", "--json", *args])
        document = json.loads(capsys.readouterr().out)
        schemas.check(document, "doctor.v1", str)
        assert document["ready"] is (status == 0)
        return status, {c["name"]: c for c in document["checks"]}

    return run


def test_where_all_is_there_it_is_ready(project: Path, examine: Doctor) -> None:
    status, checks = examine(project)
    assert status == 0, checks
    assert {c["status"] for c in checks.values() if c["needed"]} == {"ok"}
    assert not any(c["hint"] for c in checks.values() if c["status"] == "ok")
    wanted = {"owner/name", "golden of fake", "table of s", "fake_worldflux", "suites/quick/s.yaml", "space"}
    assert wanted <= checks.keys()


def remove(*parts: str) -> Callable[[Path], None]:
    def act(root: Path) -> None:
        path = root.joinpath(*parts)
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return act


def replace(text: str, *parts: str) -> Callable[[Path], None]:
    return lambda root: (write(root.joinpath(*parts), text), None)[1]


def dirty(root: Path) -> None:
    write(next((root / ".worldflux" / "sources" / "owner+name").glob("[0-9a-f]*")) / "train.py", "changed")


def test_a_table_that_nothing_pins_is_told_and_stops_nothing(project: Path, examine: Doctor) -> None:
    path = project / options.DEFAULT_LOCK
    document = json.loads(path.read_text())
    del document["suites"]["s"]["oracle_files"]
    write(path, json.dumps(document))
    code, checks = examine(project)
    assert code == 0
    found = checks["table of s"]
    assert (found["status"], found["needed"]) == ("wrong", False)
    assert found["detail"] == "nothing pins suites/quick/oracle.json"
    assert found["hint"] == "worldflux-parity pin-table SUITE, the file of s"


def test_a_project_without_lock_and_policy_is_ready(project: Path, examine: Doctor) -> None:
    """A stranger's: what these are for is told, and nothing is missed."""
    (project / options.DEFAULT_LOCK).unlink()
    code, checks = examine(project)
    assert code == 1, "its suite runs a program of a locked checkout"
    assert (checks["lock file"]["status"], checks["lock file"]["needed"]) == ("wrong", True)
    backend(project, "fake_worldflux", environment="own", requirements=["numpy==1.2.3"])
    build(project, "fake_worldflux", "1.2.3")
    code, checks = examine(project)
    assert code == 0, checks
    for name, said in (
        ("lock file", "none is needed: it would pin"),
        ("policy", "runs need none: a release"),
    ):
        assert (checks[name]["status"], checks[name]["needed"], checks[name]["hint"]) == (
            "absent",
            False,
            None,
        )
        assert said in checks[name]["detail"]
    code, checks = examine(project, "--lock", str(project / "mine.json"))
    assert code == 1, "one that is named is to be there"
    write(project / options.DEFAULT_POLICY, "{}")
    code, checks = examine(project)
    assert (code, checks["policy"]["status"]) == (0, "wrong")
    assert checks["policy"]["hint"]


@pytest.mark.parametrize(
    ("harm", "name", "status", "detail", "hint"),
    [
        (
            remove(".worldflux", "envs"),
            "fake_worldflux",
            "absent",
            "is absent",
            "worldflux-parity env create fake_worldflux",
        ),
        (
            remove(".worldflux", "envs", "fake_worldflux", MARKER),
            "fake_worldflux",
            "wrong",
            "not complete",
            "env create",
        ),
        (
            lambda root: build(root, "fake_worldflux", "1.2.4"),
            "fake_worldflux",
            "wrong",
            "numpy==1.2.3 (is 1.2.4)",
            "rm -r ",
        ),
        (
            remove(".worldflux", "sources"),
            "owner/name",
            "absent",
            "no checkout",
            "worldflux-parity fetch-oracles --suite a_suite",
        ),
        (dirty, "owner/name", "wrong", "the tree is dirty", "fetch-oracles --suite a_suite"),
        (remove("suites", "quick", "oracle.json"), "table of s", "absent", "not the table", "git checkout"),
        (
            replace("[]", "suites", "quick", "oracle.json"),
            "table of s",
            "wrong",
            "not the table",
            "git checkout",
        ),
        (remove("backends", "golden"), "golden of fake", "absent", "cannot be read", "git checkout"),
        (
            replace("{}", "backends", "golden", "manifest.json"),
            "golden of fake",
            "wrong",
            "not the one that is pinned",
            "git checkout",
        ),
        (
            replace("x", "backends", "golden", "arrays.npz"),
            "golden of fake",
            "wrong",
            "its arrays are not",
            "git checkout",
        ),
        (
            remove("reports", "parity", "upstream_lock.json"),
            "lock file",
            "wrong",
            "cannot be read",
            "--lock FILE",
        ),
        (
            replace("{", "reports", "parity", "upstream_lock.json"),
            "lock file",
            "wrong",
            "not JSON",
            "correct ",
        ),
        (
            replace("argv: x", "backends", "fake_worldflux", "backend.yaml"),
            "backend.yaml",
            "wrong",
            "argv is a string",
            "write a list",
        ),
        (remove("backends"), "backend.yaml", "wrong", "folder of backends is absent", "--backends DIR"),
        (remove("suites"), "quick", "absent", "no suite", "--suites DIR"),
        (
            replace("track: quick", "suites", "quick", "s.yaml"),
            "suites/quick/s.yaml",
            "wrong",
            "schema_version",
            "schema_version",
        ),
    ],
)
def test_what_is_lacking_has_its_mend(
    project: Path,
    examine: Doctor,
    harm: Callable[[Path], None],
    name: str,
    status: str,
    detail: str,
    hint: str,
) -> None:
    harm(project)
    code, checks = examine(project)
    assert code == 1
    assert checks[name]["needed"]
    assert checks[name]["status"] == status
    assert detail in checks[name]["detail"]
    assert hint in checks[name]["hint"]


def test_what_no_suite_needs_does_not_count(project: Path, examine: Doctor) -> None:
    backend(project, "fake_official", environment="own", requirements=["torch==9"])
    status, checks = examine(project)
    assert status == 0
    assert (checks["fake_official"]["status"], checks["fake_official"]["needed"]) == ("absent", False)
    # Once a suite runs it, it does.
    suite = {**SUITE, "official": {"backend": "fake_official"}}
    write(project / "suites" / "quick" / "s.yaml", json.dumps(suite))
    status, checks = examine(project)
    assert status == 1
    assert checks["fake_official"]["needed"]


def test_packages_of_the_shared_interpreter(project: Path, examine: Doctor) -> None:
    backend(
        project, "fake_worldflux", environment="shared", requirements=["numpy==0.0.1", "no-such-thing==1"]
    )
    status, checks = examine(project)
    assert status == 1
    assert "numpy==0.0.1 (is " in checks["fake_worldflux"]["detail"]
    assert "no-such-thing==1 (absent)" in checks["fake_worldflux"]["detail"]
    assert checks["fake_worldflux"]["hint"] == "pip install numpy==0.0.1 no-such-thing==1"


def program(folder: Path, text: str) -> str:
    path = write(folder / "nvidia-smi", f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


def test_gpus_and_a_driver_that_is_broken(
    project: Path, examine: Doctor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", program(tmp_path / "bin", "echo 'GPU-aaa, 80000'"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert examine(project)[1]["gpu 0"]["detail"] == "GPU-aaa, 84 GB"
    monkeypatch.setenv("PATH", program(tmp_path / "bad", "echo 'Driver/library version mismatch'; exit 18"))
    status, checks = examine(project)
    assert status == 0, "suites run on the CPU"
    assert checks["gpu"]["status"] == "wrong"
    assert "version mismatch" in checks["gpu"]["detail"]
    assert checks["gpu"]["hint"]


def test_a_full_or_read_only_output_folder(
    project: Path, examine: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A file where a folder should be cannot be written into, whoever asks.
    write(project / "file", "")
    status, checks = examine(project, "--output", str(project / "file"))
    assert status == 1
    assert "cannot be written" in checks["run directory"]["detail"]
    usage = shutil.disk_usage(project)
    monkeypatch.setattr(doctor_checks.shutil, "disk_usage", lambda path: usage._replace(free=5 << 20))
    status, checks = examine(project)
    assert status == 1
    assert "--parity-output" in checks["space"]["hint"]


def test_the_lines_for_people(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    remove("backends", "golden")(project)
    assert cli.main(["--root", str(project), "doctor"]) == 1
    lines = capsys.readouterr().out.splitlines()
    line = next(x for x in lines if "golden of fake" in x)
    assert line.startswith("ABSENT")
    assert "to mend: git checkout -- " in line
    assert lines[-1].startswith("not ready: ")


def test_nothing_heavy_is_imported() -> None:
    code = (
        "import sys; from pytest_worldflux_parity.cli import main; main.main(['doctor'])\n"
        "print(*(m for m in ('torch', 'jax', 'numpy', 'scipy') if m in sys.modules), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    assert done.stderr.split() == []
    assert "suites/quick/tdmpc2_quick.yaml" in done.stdout
