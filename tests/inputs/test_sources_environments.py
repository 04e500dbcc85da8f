"""Environments of backends: really built, from requirements that need no network."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from pytest_worldflux_parity.errors import SourceError
from pytest_worldflux_parity.inputs import venvs
from pytest_worldflux_parity.inputs.backends import read_backend

YAML = """\
adapter: mine_subprocess
kind: subprocess
family: mine
system: worldflux
argv: ["{python}", "run.py"]
environment: own
"""


def backend(tmp_path, more="", name="mine"):
    path = tmp_path / "backends" / name / "backend.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(YAML + more)
    return read_backend(path)


@pytest.fixture
def wheels(tmp_path, monkeypatch):
    """A package of ours, built by hand, that pip finds without any index."""
    info = "parity_trial-1.0.dist-info"
    files = {
        "parity_trial.py": "VERSION = '1.0'\n",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: parity-trial\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(tmp_path / "parity_trial-1.0-py3-none-any.whl", "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")


@pytest.mark.usefixtures("wheels")
def test_an_environment_is_built_once_and_a_failing_rebuild_is_never_used(tmp_path):
    first = backend(tmp_path, "requirements: [parity-trial==1.0]\n")
    assert venvs.state(first, tmp_path) == "is absent"
    assert venvs.create(first, tmp_path)
    assert venvs.state(first, tmp_path) == "ready"
    assert not venvs.create(first, tmp_path)
    assert trial_version(first, tmp_path) == "1.0"
    marker = json.loads((first.environment_dir(tmp_path) / "complete.json").read_text())
    assert marker["requirements_sha256"] == first.requirements_sha256
    assert next(line.replace("_", "-") for line in marker["freeze"]).startswith("parity-trial")

    second = backend(tmp_path, "requirements: [parity-trial==3.0]\n")
    assert venvs.state(second, tmp_path) == "was built from other requirements"
    with pytest.raises(SourceError, match=r"pip install failed with status 1") as caught:
        venvs.create(second, tmp_path)
    assert "parity-trial" in Path(caught.value.where).read_text()
    assert "\n" not in caught.value.line()
    assert venvs.state(second, tmp_path) == "was built from other requirements"
    assert venvs.state(first, tmp_path) == "ready", "what was built is not lost for one that cannot be"
    assert trial_version(first, tmp_path) == "1.0"


@pytest.mark.usefixtures("wheels")
def test_backends_with_equal_requirements_share_an_environment(tmp_path):
    one, other = (backend(tmp_path, "requirements: [parity-trial==1.0]\n", name) for name in ("one", "other"))
    assert venvs.create(one, tmp_path)
    assert venvs.shared_with(one, tmp_path) == []
    assert venvs.create(other, tmp_path) is False, "nothing is built"
    assert one.interpreter(tmp_path) == other.interpreter(tmp_path)
    assert trial_version(other, tmp_path) == "1.0"
    assert venvs.shared_with(other, tmp_path) == ["one"]

    # One that asks for something else gets its own, and the other keeps what it has.
    changed = backend(tmp_path, "requirements: []\n", "one")
    assert venvs.create(changed, tmp_path)
    assert changed.interpreter(tmp_path) != other.interpreter(tmp_path)
    assert trial_version(other, tmp_path) == "1.0"
    built = tmp_path / ".worldflux" / "envs" / ".built"
    assert len([p for p in built.iterdir() if p.is_dir()]) == 2
    # What nobody uses goes.
    again = backend(tmp_path, "requirements: []\n", "other")
    assert venvs.create(again, tmp_path) is False
    assert len([p for p in built.iterdir() if p.is_dir()]) == 1
    assert venvs.state(changed, tmp_path) == venvs.state(again, tmp_path) == "ready"


@pytest.mark.usefixtures("wheels")
def test_an_environment_of_an_earlier_version_is_used_and_gives_way(tmp_path):
    """It stands where the link would."""
    one = backend(tmp_path, "requirements: [parity-trial==1.0]\n")
    venvs.create(one, tmp_path)
    link = one.environment_dir(tmp_path)
    real = link.resolve()
    link.unlink()
    real.rename(link)
    assert venvs.state(one, tmp_path) == "ready"
    assert venvs.create(one, tmp_path) is False
    other = backend(tmp_path, "requirements: []\n")
    assert venvs.state(other, tmp_path) == "was built from other requirements"
    assert venvs.create(other, tmp_path)
    assert link.is_symlink()
    assert venvs.state(other, tmp_path) == "ready"


def trial_version(which, root):
    code = "import parity_trial; print(parity_trial.VERSION)"
    command = [str(which.interpreter(root)), "-c", code]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_a_python_of_another_version_is_refused_before_anything_is_built(tmp_path):
    picky = backend(tmp_path, 'python: "3.1"\n')
    with pytest.raises(SourceError, match=r"needs Python 3\.1.*no python3\.1 on the PATH") as caught:
        venvs.create(picky, tmp_path)
    assert "env create mine --python" in caught.value.hint
    with pytest.raises(SourceError, match=r"needs Python 3\.1, and this is"):
        venvs.create(picky, tmp_path, sys.executable)
    assert not picky.environment_dir(tmp_path).exists()


def test_an_interpreter_that_is_not_there_is_named(tmp_path):
    with pytest.raises(SourceError, match="cannot be started"):
        venvs.create(backend(tmp_path), tmp_path, "/nowhere/python")


def test_a_shared_environment_is_not_built(tmp_path):
    path = backend(tmp_path).folder / "backend.yaml"
    path.write_text(YAML.replace("own", "shared") + "extra: mine\n")
    with pytest.raises(SourceError, match="runs pytest") as caught:
        venvs.create(read_backend(path), tmp_path)
    assert "[mine]" in caught.value.hint
