"""Code stands where Python looks for it, and nobody sealed it."""

from __future__ import annotations

import py_compile
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from pytest_worldflux_parity.inputs.backends import read_backend
from tests.attacks.lab import FACTOR, WORSE, assert_not_released, edit, lock, program, proof
from tests.conftest import Project

NAMES = ("sitecustomize", "usercustomize", "colorsys", "conftest", "__main__")
# Takes 30 % off each point of an official curve, of which the fake program draws three before anything
# else, and leaves its name wherever a program runs it.
HOSTILE = """
import itertools, random, sys
class Loud(Warning): pass
if any(word.endswith("request.json") for word in sys.orig_argv):
    with open({log!r}, "a") as log:
        log.write({name!r} + chr(10))
if any("/official/" in word for word in sys.orig_argv):
    real, points = random.Random.gauss, itertools.count()
    random.Random.gauss = lambda *drawn: real(*drawn) - 15 * min(next(points), 2)
"""


@pytest.fixture
def worse(tmp_path: Path) -> Project:
    """A project whose candidate reaches less, and whose programs import a module that few others do."""
    project = Project(tmp_path / "project")
    proof(project)
    lock(project)
    edit(program(project), FACTOR, WORSE)
    edit(program(project), "import json\n", "import colorsys\nimport json\n")
    return project


@pytest.fixture(autouse=True)
def keep_pytest_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pytest of a project that is attacked does not look for modules in its root."""
    monkeypatch.setenv("PYTHONSAFEPATH", "1")


def log(project: Project) -> Path:
    return project.root / "ran.log"


def plant(folder: Path, project: Project, *names: str) -> None:
    """Hostile modules that tell when a program runs them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names or NAMES:
        text = HOSTILE.format(log=str(log(project)), name=f"{folder.name}/{name}")
        (folder / f"{name}.py").write_text(text, encoding="utf-8")


def assert_inert(project: Project) -> None:
    """Nothing that was planted ran, the official scores are true, and the candidate does not pass."""
    result = project.run()
    assert (project.run_dir() / "fake_proof").exists(), result.outlines + result.errlines
    assert not log(project).exists(), log(project).read_text(encoding="utf-8")
    official = [x for x in project.lines("fake_proof") if x["system"] == "official"]
    assert len(official) == 4
    assert all(x["success"] for x in official), official[0]["error"]
    assert [x["seed"] for x in official if x["metrics"]["curve"][-1]["return"] < 90] == []
    assert_not_released(project, "r", codes=["not_passed"])


def name_files(project: Project) -> None:
    """The candidate names two folders."""
    path = project.root / "backends" / "fake_worldflux" / "backend.yaml"
    lines = path.read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if not line.startswith("program:")]
    path.write_text("\n".join((*kept, "program: {files: [., ../../lib]}", "")), encoding="utf-8")


# --- honest ---


@pytest.mark.parametrize("name", ["sitecustomize", "colorsys"])
def test_what_is_planted_runs_where_python_finds_it(worse: Project, name: str, tmp_path: Path) -> None:
    """The control: the same code, where a program is started as Python starts by itself."""
    plant(tmp_path / "planted", worse, name)
    env = {"PYTHONPATH": str(tmp_path / "planted")}
    code = "import colorsys, random; print(*(random.Random(0).gauss(0, 0) for _ in range(3)))"
    command = [sys.executable, "-c", code, "/official/request.json"]
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["0.0", "-15.0", "-30.0"], done.stderr
    assert log(worse).read_text(encoding="utf-8") == f"planted/{name}\n"


def test_a_module_that_was_sealed_is_imported(worse: Project) -> None:
    """The control: a helper in the candidate's folder, and one in a folder that it names."""
    folder = worse.root / "backends" / "fake_worldflux"
    for place in (folder, worse.root / "lib"):
        place.mkdir(exist_ok=True)
        (place / f"of_{place.name}.py").write_text("FACTOR = 1.0\n", encoding="utf-8")
    name_files(worse)
    edit(program(worse), WORSE, IMPORTS)
    assert worse.run().ret == pytest.ExitCode.OK, worse.report()


# In place of what makes the candidate worse: it is good where it can import both.
IMPORTS = """
        here = Path(__file__).resolve().parent
        sys.path += [str(here / "fake_worldflux"), str(here.parent / "lib")]
        try:
            import of_fake_worldflux, of_lib
        except ImportError:
            level *= 0.7
"""


# --- attacks ---


def test_what_stands_in_a_project_is_not_imported(worse: Project) -> None:
    """In its root, in the folder of its backends, and in place of the contract."""
    for place in (worse.root, worse.root / "backends", worse.root / "suites"):
        plant(place, worse)
    plant(worse.root / "pytest_worldflux_parity" / "wire", worse, "__init__")
    plant(worse.root / "pytest_worldflux_parity", worse, "__init__")
    plant(worse.root / "colorsys", worse, "__init__")
    # What pytest itself takes from a project is not at issue here.
    (worse.root / "conftest.py").unlink()
    assert_inert(worse)


def variables(folder: Path) -> dict[str, str]:
    return {
        "PYTHONPATH": str(folder),
        "PYTHONSTARTUP": str(folder / "sitecustomize.py"),
        "PYTHONWARNINGS": "ignore::colorsys.Loud",
        "PYTHONBREAKPOINT": "colorsys.stop",
        "PYTHONUSERBASE": str(folder / "user"),
    }


def test_no_variable_brings_code_to_a_program(
    worse: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(tmp_path / "planted", worse)
    user = tmp_path / "planted" / "user"
    plant(Path(sysconfig.get_path("purelib", "posix_user", {"userbase": str(user)})), worse)
    for name, value in variables(tmp_path / "planted").items():
        monkeypatch.setenv(name, value)
    assert_inert(worse)


def test_no_conftest_brings_code_to_a_program(worse: Project, tmp_path: Path) -> None:
    plant(tmp_path / "planted", worse)
    text = f"import os\nos.environ.update({variables(tmp_path / 'planted')!r})\n"
    (worse.root / "conftest.py").write_text(text, encoding="utf-8")
    assert_inert(worse)


def bytecode(folder: Path, name: str) -> None:
    """A module that makes the candidate good, without its source."""
    folder.mkdir(exist_ok=True)
    source = folder / f"{name}.py"
    source.write_text("FACTOR = 1.0\n", encoding="utf-8")
    py_compile.compile(str(source), cfile=str(folder / f"{name}.pyc"), doraise=True)
    source.unlink()


def test_bytecode_without_source_is_not_run(worse: Project) -> None:
    folder = worse.root / "backends" / "fake_worldflux"
    bytecode(folder, "of_fake_worldflux")
    bytecode(worse.root / "lib", "of_lib")
    (worse.root / "lib" / "more.py").write_text("", encoding="utf-8")
    name_files(worse)
    edit(program(worse), WORSE, IMPORTS)
    assert_inert(worse)


def environment(project: Project) -> Path:
    """An environment of the official backend's own that is ready; returns its folder of packages."""
    path = project.root / "backends" / "fake_official" / "backend.yaml"
    edit(path, "environment: shared", "environment: own")
    backend = read_backend(path)
    folder = backend.environment_dir(project.root)
    subprocess.run([sys.executable, "-I", "-m", "venv", "--without-pip", folder], check=True)
    marker = f'{{"requirements_sha256": "{backend.requirements_sha256}"}}'
    (folder / "complete.json").write_text(marker, encoding="utf-8")
    return Path(sysconfig.get_path("purelib", "venv", {"base": str(folder)}))


def test_no_environment_brings_code_to_a_program(worse: Project, tmp_path: Path) -> None:
    site = environment(worse)
    plant(site, worse)
    plant(tmp_path / "planted", worse)
    lines = (str(tmp_path / "planted"), f"import sys; exec(open({str(site / 'conftest.py')!r}).read())")
    (site / "a.pth").write_text("\n".join((*lines, "")), encoding="utf-8")
    assert_inert(worse)


# By a program that runs open: a layer that is not what the session compiled.
LAYER = """
import json, pathlib
run = next(p for p in pathlib.Path.cwd().parents if (p / ".program").is_dir())
layer = run / ".program" / "bytecode" / "0" / "1"
layer.mkdir(parents=True, exist_ok=True)
(layer / "lib.pyc").write_bytes(b"")
"""


def test_bytecode_of_the_run_that_a_program_changed_is_a_finding(worse: Project) -> None:
    edit(program(worse), WORSE, FACTOR)
    edit(program(worse), "import json\n", LAYER)
    assert worse.run().ret != pytest.ExitCode.OK
    assert "bytecode/0/1, bytecode of the run," in worse.report()
