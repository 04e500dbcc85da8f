"""What a manifest's commands name is sealed before the first run, and a change of it is found."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_worldflux_parity.inputs.program_files import program_files
from pytest_worldflux_parity.suite.commands import CommandSide
from tests.conftest import Project
from tests.judgement.proof_examples import manifest
from tests.session.test_proof_commands import COMMAND, PROGRAM, command
from tests.session.test_proof_sessions import SUITE, report

FILES = {
    "bin/train.py": "import helper", "bin/helper.py": "x = 1", "bin/sub/deep.py": "y = 1",
    "bin/notes.txt": "n", "pkg/__init__.py": "", "pkg/main.py": "m",
    "conf/t_0.json": "0", "conf/t_1.json": "1", "conf/u_0.json": "u",
    "top.py": "t", "other.py": "o", "lib/one/module.py": "m", "reports/parity/r/x.py": "result",
}  # fmt: skip


BIN = {name for name in FILES if name.startswith("bin/")}
PKG = {name for name in FILES if name.startswith("pkg/")}
# Of a script in the project's own folder: all but texts for people, and what runs have left.
TOP = {name for name in FILES if not name.startswith("reports/")}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        path = tmp_path / "project" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (tmp_path / "outside.py").write_text("o", encoding="utf-8")
    return tmp_path / "project"


def found(root: Path, *words: str, cwd: str = "..", env: dict[str, str] | None = None) -> dict[str, str]:
    side = CommandSide("a", words, None, "a", cwd, env or {}, None, {}, None)
    values = {"family": "f", "device": "cpu", "repo_root": str(root)}
    return program_files({"t": side}, root / "suites", root, root / "reports" / "parity", values)


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (("python3", "bin/train.py", "--seed", "{seed}", "{device}"), BIN),
        (("python3", "{repo_root}/bin/train.py", "--seed={seed}"), BIN),
        (("bash", "-c", "cd bin && python3 bin/train.py"), BIN),
        (("python3", "-m", "pkg.main"), PKG),
        (("python3", "-m", "top"), TOP),
        (("python3", "top.py"), TOP),
        (("x", "--config=conf/{task_id}_{seed}.json"), {"conf/t_0.json", "conf/t_1.json"}),
        (("x", "--configs", "bin/notes.txt", "pkg"), {"bin/notes.txt", *PKG}),
        (("x", "{metrics_out}", "{run_root}/x.py", "--out=absent", "{x}", "bin/*.py", "{seed}"), set()),
        (("x", "{repo_root}", "..", "../outside.py", "/", "reports/parity/r/x.py"), {"../outside.py"}),
    ],
)
def test_what_a_command_names(root: Path, words: tuple[str, ...], names: set[str]) -> None:
    assert set(found(root, *words)) == names


def test_modules_are_looked_for_where_the_program_looks(root: Path) -> None:
    assert set(found(root, "python3", "-m", "one.module", env={"PYTHONPATH": "{repo_root}/lib"})) == {
        "lib/one/module.py"
    }
    assert set(found(root, "python3", "train.py", cwd="../bin")) == BIN
    assert found(root, "python3", "train.py", cwd="{run_root}") == {}


def test_a_command_that_starts_in_its_results_names_whole_paths(root: Path) -> None:
    assert set(found(root, "python3", "{repo_root}/bin/train.py", cwd="{run_root}")) == BIN
    assert set(found(root, "bash", "-c", "python3 {repo_root}/bin/train.py", cwd="{run_root}")) == BIN
    env = {"PYTHONPATH": "{repo_root}/lib:lib"}
    assert set(found(root, "x", "-m", "one", cwd="{run_root}", env=env)) == {"lib/one/module.py"}


@pytest.mark.parametrize("name", sorted(BIN))
def test_every_file_beside_a_script_counts(root: Path, name: str) -> None:
    before = found(root, "python3", "bin/train.py")
    (root / name).write_text("changed", encoding="utf-8")
    assert found(root, "python3", "bin/train.py") != before


def with_manifest(project: Project, **changes: Any) -> dict[str, Any]:
    """A manifest of one task whose programs are scripts of the project."""
    project.proof()
    for name, text in (("train.py", PROGRAM), ("helper.py", "x = 1\n")):
        path = project.root / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    document = manifest(
        seed_policy={"mode": "fixed", "values": [0, 1], "min_seeds": 2}, defaults={}, **changes
    )
    document["tasks"] = document["tasks"][:1]
    for system in ("official", "worldflux"):
        document["tasks"][0][system].update(command=COMMAND, cwd="../../bin", env={"LEVEL": "{seed}"})
    (project.root / SUITE).write_text(json.dumps(document), encoding="utf-8")
    return document


CHANGES: dict[str, Callable[[Path], object]] = {
    "bin/train.py": lambda f: (f / "train.py").write_text(PROGRAM + "# another\n", encoding="utf-8"),
    "bin/helper.py": lambda f: (f / "helper.py").unlink(),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_program_that_changed_between_two_sessions_is_found(project: Project, name: str) -> None:
    document = with_manifest(project)
    suite, task = document["suite_id"], document["tasks"][0]["task_id"]
    project.run(f"{SUITE}::{task}[seed=0]")
    [sealed] = project.document("run.json")["suites"].values()
    assert {tuple(files) for files in sealed["trees"].values()} == {("bin/helper.py", "bin/train.py")}
    # What was not there is not run: a text, or a module in place of one that is installed.
    (project.root / "bin" / "notes.txt").write_text("n", encoding="utf-8")
    (project.root / "bin" / "json.py").write_text("", encoding="utf-8")
    again = project.run(f"{SUITE}::{task}[seed=0]", "--parity-resume")
    assert "changed since the run was sealed" not in again.stdout.str() + again.stderr.str()
    assert "changed_since_sealed" not in report(project, "validity_report.json", suite)["issues_by_code"]

    CHANGES[name](project.root / "bin")
    resumed = project.run("--parity-resume")
    assert resumed.ret == pytest.ExitCode.USAGE_ERROR
    text = resumed.stdout.str() + resumed.stderr.str()
    assert f"{name}, which the official command names," in text
    assert "changed since the run was sealed" in text
    assert len(project.lines(suite)) == 2, "nothing more was run"

    runs = project.run_dir() / suite / "parity_runs.jsonl"
    assert command(project, "proof-report", SUITE, "--runs", str(runs)).returncode == 1
    found = report(project, "validity_report.json", suite)
    assert found["issues_by_code"]["changed_since_sealed"] >= 2, "of both sides"
    assert any(issue["detail"].startswith(f"{name}, which the") for issue in found["issues"])


FROM_RESULTS = {
    "a script": (["{repo_root}/bin/train.py"], {}),
    "a module": (["-m", "train"], {"PYTHONPATH": "{repo_root}/lib:{repo_root}/bin"}),
    "a shell": (None, {}),
}


@pytest.mark.parametrize("how", FROM_RESULTS)
def test_a_command_that_starts_in_its_results_runs_from_the_copy(project: Project, how: str) -> None:
    """It may be changed while the run goes on, and data that were not sealed are where they stand."""
    document = with_manifest(project)
    script, data = project.root / "bin" / "train.py", project.root / "data" / "x.txt"
    for path in (data, project.root / "lib" / "x.py"):
        path.parent.mkdir()
        path.write_text("x = 1\n", encoding="utf-8")
    own = (
        f"\nassert '/.program/starts/' in __file__, __file__\nopen({str(script)!r}, 'a').write('1 / 0\\n')\n"
        f"assert open({str(data)!r}).read()\n"
    )
    anywhere = PROGRAM.replace('os.path.basename(os.getcwd()) == "bin" and ', "")
    script.write_text(anywhere + own, encoding="utf-8")
    words, env = FROM_RESULTS[how]
    command = [COMMAND[0], *(words or ["x"]), *COMMAND[2:]]
    if words is None:
        line = f"{COMMAND[0]} {{repo_root}}/bin/train.py " + " ".join(COMMAND[2:])
        command = ["/bin/sh", "-c", line]
    for system in ("official", "worldflux"):
        document["tasks"][0][system].update(command=command, cwd="{run_root}", env={"LEVEL": "{seed}", **env})
    (project.root / SUITE).write_text(json.dumps(document), encoding="utf-8")
    project.run()
    lines = project.lines(document["suite_id"])
    assert [x["error"] for x in lines if not x["success"]] == []
    assert len(lines) == 4
    found = report(project, "validity_report.json", document["suite_id"])
    assert found["issues_by_code"]["changed_since_sealed"] >= 2


def test_a_program_that_changes_itself_while_it_runs_is_found(project: Project) -> None:
    document = with_manifest(project)
    script = project.root / "bin" / "train.py"
    own = f"\nopen({str(script)!r}, 'a').write('# x\\n')\n"
    script.write_text(PROGRAM + own, encoding="utf-8")
    # Within walls it could not.
    assert project.run("--parity-isolate=off").ret == pytest.ExitCode.TESTS_FAILED
    found = report(project, "validity_report.json", document["suite_id"])
    assert found["issues_by_code"]["changed_since_sealed"] >= 2
