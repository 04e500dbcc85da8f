"""Honest programs of every kind run from what was sealed, and nothing is found in them."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from pytest_worldflux_parity.inputs.backends import read_backend
from tests.conftest import FAKES, Project
from tests.inputs.test_installed import Environment
from tests.repositories import git

SYSTEMS = ("official", "worldflux")
PROGRAM = (FAKES / "program.py").read_text(encoding="utf-8")
START = "    request = wire.read_request(sys.argv[1])\n"
# Both sides are told where they stand.
TELLS = PROGRAM.replace(START, START + "    print('stands', os.path.realpath(__file__), flush=True)\n")
SUITE = "suites/quick/fake_quick.yaml"


@pytest.fixture
def project(project: Project) -> Project:
    project.suite(tasks=["alpha"])
    return project


def describe(
    project: Project,
    system: str,
    argv: Sequence[str],
    program: Mapping[str, Any] | None = None,
    *,
    environment: str = "shared",
    folder: Path | None = None,
    **more: Any,
) -> Path:
    """Write a ``backend.yaml``; returns its folder."""
    folder = folder or project.root / "backends" / f"fake_{system}"
    folder.mkdir(parents=True, exist_ok=True)
    document = {
        "adapter": f"fake_{system}", "kind": "fake", "family": "fake", "system": system,
        "argv": list(argv), "environment": environment, **({"program": program} if program else {}), **more,
    }  # fmt: skip
    (folder / "backend.yaml").write_text(json.dumps(document), encoding="utf-8")
    return folder


def write(path: Path, text: str = TELLS) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def passes(project: Project, *args: str) -> str:
    """The run passes and nothing is found in it; what pytest said."""
    result = project.run(*args)
    text = result.stdout.str() + result.stderr.str()
    assert result.ret == pytest.ExitCode.OK, text
    assert "came beside" not in text
    assert "changed" not in text
    return text


def stands(project: Project, system: str = "worldflux") -> Path:
    """Where a program was that ran; its own copy is gone by now."""
    log = project.out_dir(system, "alpha", 0) / "attempt_1" / "stdout.log"
    [line] = [x for x in log.read_text(encoding="utf-8").splitlines() if x.startswith("stands ")]
    place = line.removeprefix("stands ")
    folders = {"<run>": project.run_dir(), "<root>": project.root, "<system-tmp>": tempfile.gettempdir()}
    for word, folder in folders.items():
        place = place.replace(word, str(folder))
    return Path(place)


def refuses_resume(project: Project, words: str) -> None:
    result = project.run("--parity-resume")
    text = result.stdout.str() + result.stderr.str()
    assert result.ret == pytest.ExitCode.USAGE_ERROR, text
    assert words in text
    assert "changed since the run was sealed" in text


# --- environments of their own ---


def environment(project: Project, *systems: str) -> Environment:
    """One environment for backends of these systems, that is ready."""
    made = Environment(project.root / ".worldflux" / "envs" / f"fake_{systems[0]}")
    for system in systems:
        backend = read_backend(project.root / "backends" / f"fake_{system}" / "backend.yaml")
        folder = backend.environment_dir(project.root)
        if not folder.exists():
            folder.symlink_to(made.folder)
        marker = json.dumps({"requirements_sha256": backend.requirements_sha256})
        (folder / "complete.json").write_text(marker, encoding="utf-8")
    return made


def editable(env: Environment, source: Path, how: str) -> None:
    """Install ``agent`` of a src layout as pip does with -e: a line of a path, or a finder."""
    text = f"{source / 'src'}\n"
    files = {"__editable__.agent-1.0.pth": text}
    if how == "finder":
        name = "__editable___agent_1_0_finder"
        mapping = {"agent": str(source / "src" / "agent")}
        files = {
            "__editable__.agent-1.0.pth": f"import {name}; {name}.install()",
            f"{name}.py": f"MAPPING: dict[str, str] = {mapping!r}\nNAMESPACES = {{}}\ndef install(): 1 / 0\n",
        }
    info = env.install("agent", "1.0", files)
    url = {"url": f"file://{source}", "dir_info": {"editable": True}}
    (info / "direct_url.json").write_text(json.dumps(url), encoding="utf-8")


@pytest.mark.parametrize("how", ["path", "finder"])
@pytest.mark.parametrize("where", ["in the project", "outside"])
def test_an_editable_package(project: Project, how: str, where: str, tmp_path: Path) -> None:
    source = (project.root if where == "in the project" else tmp_path / "away") / "agent"
    write(source / "src" / "agent" / "__init__.py", "")
    train = write(source / "src" / "agent" / "train.py", "from agent import helper\n" + TELLS)
    write(source / "src" / "agent" / "helper.py", "LEVEL = 1.0\n")
    inside = where == "in the project"
    named = {"files": ["../../agent/src"]} if inside else {"packages": [{"name": "agent"}]}
    argv = ["{python}", "-m", "agent.train"]
    describe(project, "worldflux", argv, named, environment="own")
    editable(environment(project, "worldflux"), source, how)
    passes(project)
    if inside:
        assert stands(project).is_relative_to(project.run_dir() / ".program" / "starts")
    else:
        assert stands(project) == train
    # The same once more, and then of another text.
    passes(project, "--parity-resume")
    train.write_text(TELLS + "# another\n", encoding="utf-8")
    refuses_resume(project, "agent/src/agent/train.py" if inside else "agent/train.py")


def test_two_modules_of_one_installed_package(project: Project) -> None:
    """Each wrapper names its own module, and they are two programs."""
    for system, module in zip(SYSTEMS, ("ppo", "dqn"), strict=True):
        named = {"packages": [{"name": "zoo", "version": "1.0", "module": f"zoo.{module}"}]}
        describe(project, system, ["{python}", "{backend_dir}/run.py"], named, environment="own")
        text = f"from zoo.{module} import main\nmain()\n"
        write(project.root / "backends" / f"fake_{system}" / "run.py", text)
    env = environment(project, *SYSTEMS)
    files = {"zoo/__init__.py": "", "zoo/ppo/__init__.py": TELLS, "zoo/dqn.py": TELLS + "# of values\n"}
    env.install("zoo", "1.0", {**files, "zoo/other.py": ""})
    passes(project)
    assert stands(project) == env.site / "zoo" / "dqn.py"
    [entry] = project.document("run.json")["suites"].values()
    named = {key: sorted(row["named"]["files"]) for key, row in entry["programs"].items()}
    assert sorted(named.values()) == [["zoo/zoo/dqn.py"], ["zoo/zoo/ppo/__init__.py"]]
    # What neither is may change.
    write(env.site / "zoo" / "other.py", "x = 1\n")
    passes(project, "--parity-resume")
    write(env.site / "zoo" / "dqn.py", TELLS)
    refuses_resume(project, "what the worldflux program names (zoo/zoo/dqn.py)")


# --- repositories ---


def repository(folder: Path, files: Mapping[str, str]) -> str:
    """A git repository of one commit, which is returned."""
    for name, text in files.items():
        write(folder / name, text)
    git(folder, "init", "-q", "-b", "main")
    return commit(folder)


def commit(folder: Path) -> str:
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "all")
    return git(folder, "rev-parse", "HEAD")


FROM_CHECKOUT = """
import json, runpy, sys
checkout = json.load(open(sys.argv[1]))["source"]["checkout"]
sys.path.insert(0, checkout)
runpy.run_path(checkout + "/train.py", run_name="__main__")
"""


def test_a_checkout_that_is_fetched_while_its_program_runs(project: Project, tmp_path: Path) -> None:
    upstream, clone = tmp_path / "upstream", project.root / "vendor" / "agent"
    first = repository(upstream, {"train.py": "import helper\n" + TELLS, "helper.py": "", "notes.md": "1"})
    clone.parent.mkdir()
    git(clone.parent, "clone", "-q", str(upstream), "agent")
    write(upstream / "helper.py", "raise SystemExit(5)\n")
    commit(upstream)
    named = {"checkouts": [{"path": "../../vendor/agent", "commit": first}]}
    folder = describe(project, "worldflux", ["{python}", "{backend_dir}/run.py"], named)
    fetch = f"import subprocess\nsubprocess.run(['git', '-C', {str(clone)!r}, 'fetch', '-q'], check=True)\n"
    write(folder / "run.py", fetch + FROM_CHECKOUT)
    passes(project)
    assert git(clone, "rev-parse", "origin/main") != first
    git(clone, "gc", "-q")
    passes(project, "--parity-resume")
    git(clone, "reset", "-q", "--hard", "origin/main")
    result = project.run("--parity-resume")
    text = result.stdout.str() + result.stderr.str()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert f"and program.checkouts says {first}" in text


def test_documents_of_a_project_are_committed_between_two_sessions(project: Project) -> None:
    repository(project.root, {"README.md": "# x\n", ".gitignore": "reports\n"})
    project.run(f"{SUITE}::alpha[seed=0]")
    write(project.root / "README.md", "# y\n")
    write(project.root / "docs" / "more.md", "# z\n")
    commit(project.root)
    passes(project, "--parity-resume")


def test_two_scripts_of_one_repository_with_a_shared_helper(project: Project) -> None:
    """Single files that share a module, as CleanRL has them."""
    folder = project.root / "cleanrl"
    write(folder / "shared.py", "LEVEL = 100.0\n")
    for system, name in zip(SYSTEMS, ("ppo", "ppo_jax"), strict=True):
        write(folder / f"{name}.py", f"from shared import LEVEL\n{TELLS}# {name}\n")
        argv = ["{python}", "-u", f"{{backend_dir}}/../../cleanrl/{name}.py"]
        describe(project, system, argv, {"files": [f"../../cleanrl/{name}.py", "../../cleanrl/shared.py"]})
    passes(project)
    [entry] = project.document("run.json")["suites"].values()
    trees = [
        sorted(n for n in files if n.startswith("cleanrl")) for _, files in sorted(entry["trees"].items())
    ]
    assert trees == [["cleanrl/ppo.py", "cleanrl/shared.py"], ["cleanrl/ppo_jax.py", "cleanrl/shared.py"]]
    assert stands(project).parts[-2:] == ("cleanrl", "ppo_jax.py")
    write(folder / "shared.py", "LEVEL = 70.0\n")
    refuses_resume(project, "cleanrl/shared.py")


# --- programs that are unlike a script of Python ---


CACHES = """
from pathlib import Path
cache = Path(__file__).with_name("cache.json")
assert not cache.exists(), "of another start"
for text in ("1", "2"):
    cache.write_text(text)
"""


def test_a_program_that_writes_beside_itself(project: Project) -> None:
    folder = describe(project, "worldflux", ["{python}", "{backend_dir}/run.py"], {"files": ["."]})
    write(folder / "run.py", CACHES + TELLS)
    passes(project)
    assert not (folder / "cache.json").exists()
    passes(project, "--parity-resume")


def test_a_program_that_is_a_script_for_a_shell(project: Project) -> None:
    folder = describe(
        project, "worldflux", ["/bin/sh", "{backend_dir}/run.sh", "two words"], {"files": ["."]}
    )
    write(folder / "train.py")
    script = f'set -eu\ntest "$1" = "two words"\nexec {sys.executable} "$(dirname "$0")/train.py" "$2"\n'
    write(folder / "run.sh", script)
    passes(project)
    assert stands(project).is_relative_to(project.run_dir() / ".program" / "starts")


def test_a_program_that_can_be_executed_by_itself(project: Project) -> None:
    folder = describe(project, "worldflux", ["{backend_dir}/run"], {"files": ["."]})
    write(folder / "run", f"#!{sys.executable}\n{TELLS}").chmod(0o755)
    passes(project)


SPAWNS = """
def worker(number):
    from backends.fake_worldflux.helper import doubled
    import numpy
    return int(numpy.int64(doubled(number)))
def spawn():
    import multiprocessing
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        assert pool.map(worker, [1, 2]) == [2, 4]
"""


@pytest.mark.parametrize("form", ["script", "module"])
def test_a_program_that_spawns_processes(project: Project, form: str) -> None:
    """They import the program anew, and its packages."""
    words = {"script": ["{backend_dir}/run.py"], "module": ["-m", "backends.fake_worldflux.run"]}[form]
    folder = describe(project, "worldflux", ["{python}", *words], {"files": ["."]})
    write(folder / "helper.py", "def doubled(number):\n    return 2 * number\n")
    write(folder / "run.py", SPAWNS + TELLS.replace(START, START + "    spawn()\n"))
    passes(project)


# --- where backends and projects stand ---


def test_backends_outside_of_the_project(project: Project, tmp_path: Path) -> None:
    away = tmp_path / "away" / "programs"
    away.parent.mkdir()
    (project.root / "backends").rename(away)
    project.ini("filterwarnings = error", "parity_workers = 0", f"parity_backends = {away}")
    write(away / "program.py")
    passes(project)
    assert stands(project).is_relative_to(project.run_dir() / ".program" / "starts")
    write(away / "program.py", TELLS + "# another\n")
    refuses_resume(project, "program.py")


def test_folders_of_backends_that_are_named_themselves(project: Project, tmp_path: Path) -> None:
    away, named = tmp_path / "away" / "mine", ["parity_backends ="]
    for system, folder in zip(SYSTEMS, (project.root / "official", away), strict=True):
        describe(project, system, ["{python}", "{backend_dir}/run.py"], {"files": ["."]}, folder=folder)
        write(folder / "run.py", f"{TELLS}# {system}\n")
        named.append(f"    {folder}")
    project.ini("filterwarnings = error", "parity_workers = 0", *named)
    passes(project)
    assert stands(project).name == "run.py"


def test_a_project_below_folders_with_odd_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a process of its own: the project is not where pytester works."""
    root = tmp_path / "zwei Wörter" / "世界 'q' $x"
    root.mkdir(parents=True)
    project = Project(root)
    project.suite(tasks=["alpha"])
    write(root / "backends" / "program.py")
    describe(project, "official", ["/bin/sh", "{backend_dir}/run.sh"], {"files": ["."]})
    script = f'exec {sys.executable} "$(dirname "$0")/run.py" "$1"\n'
    write(root / "backends" / "fake_official" / "run.sh", script)
    write(root / "backends" / "fake_official" / "run.py")
    result = project.run()
    assert result.ret == pytest.ExitCode.OK, result.outlines
    assert stands(project).is_relative_to(project.run_dir() / ".program" / "starts")


# --- forms of a command line ---

IN_FOLDER = "{backend_dir}/run.py"
CODE = "import runpy; runpy.run_module('backends.fake_worldflux.run', run_name='__main__')"
FORMS = {
    "script": [IN_FOLDER],
    "module": ["-m", "backends.fake_worldflux.run"],
    "package": ["-m", "backends.fake_worldflux"],
    "code": ["-c", CODE],
    "options": ["-u", "-X", "dev", "-W", "error", "-m", "backends.fake_worldflux.run"],
    "more options": ["-B", "-O", "-X", "utf8", IN_FOLDER],
    "options of one word": ["-Xdev", "-Werror", "-m", "backends.fake_worldflux.run"],
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_a_command_line(project: Project, form: str) -> None:
    folder = describe(project, "worldflux", ["{python}", *FORMS[form]], {"files": ["."]})
    text = TELLS + "assert sys.argv[1:] == [sys.argv[-1]], sys.argv\n"
    if "-m" in FORMS[form] and form.startswith("options"):
        text += "assert sys.flags.dev_mode and 'error' in sys.warnoptions\n"
    write(folder / "run.py", text)
    write(folder / "__main__.py", text)
    passes(project)
    assert stands(project).is_relative_to(project.run_dir() / ".program" / "starts")


@pytest.mark.parametrize(
    "option", ["-E", "-s", "-S", "-I", "-i", "-uB", "--help", "-", "-P", "-x", "-Xpycache_prefix=x"]
)
def test_an_option_that_a_sealed_program_cannot_have(project: Project, option: str) -> None:
    """Refused in one line before anything runs, of each of a backend's programs."""
    match = {"argv": ["{python}", "-u", option, IN_FOLDER], "golden": "."}
    for more in ({}, {"match": match}):
        first = "-u" if more else option
        folder = describe(project, "worldflux", ["{python}", first, IN_FOLDER], **more)
        write(folder / "run.py")
        result = project.run()
        [line] = [x for x in result.errlines + result.outlines if "an option of Python" in x]
        assert f"fake_worldflux/backend.yaml:1: argv has {option}, an option of Python that a " in line
        assert "Traceback" not in result.stdout.str() + result.stderr.str()
        assert not project.run_dir().exists(), "nothing has run"
