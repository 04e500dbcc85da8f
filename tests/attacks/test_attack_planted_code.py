"""Code stands where Python looks for it, and nobody sealed it."""

from __future__ import annotations

import py_compile
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from pytest_worldflux_parity.inputs.backends import read_backend
from tests.attacks.lab import FACTOR, WORSE, Attack, Kept, assert_not_released, edit, lock, program, proof

CONTROLS = (
    "test_what_is_planted_runs_where_python_finds_it",
    "test_a_module_that_was_sealed_is_imported",
)
ATTACKS = (
    Attack(
        "The project has modules that Python imports by itself, or in place of its own.",
        words="a program imports from the copy of what was sealed, behind the standard library",
        ends="judged by its own scores",
        tests=("test_what_stands_in_a_project_is_not_imported",),
        controls=CONTROLS,
    ),
    Attack(
        "The caller's variables, or a `conftest.py` that sets them, lead Python to code.",
        words="no variable whose name begins with PYTHON reaches a program, or is looked at",
        ends="judged by its own scores",
        tests=("test_no_variable_brings_code_to_a_program", "test_no_conftest_brings_code_to_a_program"),
        controls=CONTROLS,
    ),
    Attack(
        "Bytecode without its source stands in a backend's folder, or in one that `program.files` names.",
        words="bytecode is neither sealed nor copied",
        ends="judged by its own scores",
        tests=("test_bytecode_without_source_is_not_run",),
        controls=CONTROLS,
    ),
    Attack(
        "A backend's own environment has a `.pth` line, or a `sitecustomize`, that is code.",
        words="the site machinery of an environment is not run",
        ends="judged by its own scores",
        tests=("test_no_environment_brings_code_to_a_program",),
        controls=CONTROLS,
    ),
)

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
def worse(tmp_path: Path) -> Kept:
    """A project whose candidate reaches less, and whose programs import a module that few others do."""
    project = Kept(tmp_path / "project")
    proof(project)
    lock(project)
    edit(program(project), FACTOR, WORSE)
    edit(program(project), "import json\n", "import colorsys\nimport json\n")
    return project


@pytest.fixture(autouse=True)
def keep_pytest_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pytest of a project that is attacked does not look for modules in its root."""
    monkeypatch.setenv("PYTHONSAFEPATH", "1")


def log(project: Kept) -> Path:
    return project.root / "ran.log"


def plant(folder: Path, project: Kept, *names: str) -> None:
    """Hostile modules that tell when a program runs them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names or NAMES:
        text = HOSTILE.format(log=str(log(project)), name=f"{folder.name}/{name}")
        (folder / f"{name}.py").write_text(text, encoding="utf-8")


def assert_inert(project: Kept) -> None:
    """Nothing that was planted ran, the official scores are true, and the candidate does not pass."""
    result = project.run()
    assert (project.run_dir() / "fake_proof").exists(), result.outlines + result.errlines
    assert not log(project).exists(), log(project).read_text(encoding="utf-8")
    official = [x for x in project.lines("fake_proof") if x["system"] == "official"]
    assert len(official) == 4
    assert all(x["success"] for x in official), official[0]["error"]
    assert [x["seed"] for x in official if x["metrics"]["curve"][-1]["return"] < 90] == []
    assert_not_released(project, "r", codes=["not_passed"])


def name_files(project: Kept) -> None:
    """The candidate names two folders."""
    path = project.root / "backends" / "fake_worldflux" / "backend.yaml"
    lines = path.read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if not line.startswith("program:")]
    path.write_text("\n".join((*kept, "program: {files: [., ../../lib]}", "")), encoding="utf-8")


# --- honest ---


@pytest.mark.parametrize("name", ["sitecustomize", "colorsys"])
def test_what_is_planted_runs_where_python_finds_it(worse: Kept, name: str, tmp_path: Path) -> None:
    """The control: the same code, where a program is started as Python starts by itself."""
    plant(tmp_path / "planted", worse, name)
    env = {"PYTHONPATH": str(tmp_path / "planted")}
    code = "import colorsys, random; print(*(random.Random(0).gauss(0, 0) for _ in range(3)))"
    command = [sys.executable, "-c", code, "/official/request.json"]
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["0.0", "-15.0", "-30.0"], done.stderr
    assert log(worse).read_text(encoding="utf-8") == f"planted/{name}\n"


def test_a_module_that_was_sealed_is_imported(worse: Kept) -> None:
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


def test_what_stands_in_a_project_is_not_imported(worse: Kept) -> None:
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
    worse: Kept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(tmp_path / "planted", worse)
    user = tmp_path / "planted" / "user"
    plant(Path(sysconfig.get_path("purelib", "posix_user", {"userbase": str(user)})), worse)
    for name, value in variables(tmp_path / "planted").items():
        monkeypatch.setenv(name, value)
    assert_inert(worse)


def test_no_conftest_brings_code_to_a_program(worse: Kept, tmp_path: Path) -> None:
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


def test_bytecode_without_source_is_not_run(worse: Kept) -> None:
    folder = worse.root / "backends" / "fake_worldflux"
    bytecode(folder, "of_fake_worldflux")
    bytecode(worse.root / "lib", "of_lib")
    (worse.root / "lib" / "more.py").write_text("", encoding="utf-8")
    name_files(worse)
    edit(program(worse), WORSE, IMPORTS)
    assert_inert(worse)


def environment(project: Kept) -> Path:
    """An environment of the official backend's own that is ready; returns its folder of packages."""
    path = project.root / "backends" / "fake_official" / "backend.yaml"
    edit(path, "environment: shared", "environment: own")
    backend = read_backend(path)
    folder = backend.environment_dir(project.root)
    subprocess.run([sys.executable, "-I", "-m", "venv", "--without-pip", folder], check=True)
    marker = f'{{"requirements_sha256": "{backend.requirements_sha256}"}}'
    (folder / "complete.json").write_text(marker, encoding="utf-8")
    return Path(sysconfig.get_path("purelib", "venv", {"base": str(folder)}))


def test_no_environment_brings_code_to_a_program(worse: Kept, tmp_path: Path) -> None:
    site = environment(worse)
    plant(site, worse)
    plant(tmp_path / "planted", worse)
    lines = (str(tmp_path / "planted"), f"import sys; exec(open({str(site / 'conftest.py')!r}).read())")
    (site / "a.pth").write_text("\n".join((*lines, "")), encoding="utf-8")
    assert_inert(worse)
