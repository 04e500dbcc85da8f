"""``worldflux-parity oracle``: whose records it takes, and what a failure or Ctrl-C leaves behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pytest_worldflux_parity.cli import main as cli
from tests.conftest import FAKES, SUITE, alive, heed_ctrl_c, wait_until


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    return tmp_path


def command(project: Path, jobs: int = 1, seeds: int = 2, **changes: Any) -> list[str]:
    suite = project / "fake.yaml"
    suite.write_text(json.dumps({**SUITE, "tasks": ["alpha"], **changes}))
    return ["--root", str(project), "oracle", str(suite), "--seeds", str(seeds), "--jobs", str(jobs),
            "--output", str(project / "oracle.json"), "--backends", str(FAKES)]  # fmt: skip


def altered(project: Path, old: str, new: str) -> Path:
    """A copy of the fake backends, with another program."""
    folder = project / "altered"
    shutil.copytree(FAKES, folder)
    program = folder / "program.py"
    text = program.read_text()
    assert old in text
    program.write_text(text.replace(old, new))
    return folder


def pids(project: Path) -> list[int]:
    found = project.glob("reports/parity/*/*/executions/**/*pid")
    return [int(p.read_text()) for p in found if p.read_text()]


def test_backends_and_lock_are_options(project, capsys):
    arguments = command(project)
    assert cli.main(arguments) == 0
    document = json.loads((project / "oracle.json").read_text())
    assert document["provenance"]["command"].endswith(f"--backends {FAKES.as_posix()}")
    assert document["provenance"]["suite_id"] == "fake_quick"
    assert "pin it: worldflux-parity pin-table " in capsys.readouterr().out
    assert cli.main(arguments[:-2]) == 1
    assert "--backends DIR" in capsys.readouterr().err
    assert cli.main(["--root", str(project), "fetch-oracles"]) == 1
    assert "--lock FILE" in capsys.readouterr().err


def test_each_run_is_told_of_and_the_folder_is_made(project, capsys):
    arguments = command(project)
    arguments[arguments.index("--output") + 1] = str(project / "new" / "folder" / "oracle.json")
    assert cli.main(arguments) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].startswith("2 runs of fake_official, 1 at a time, in ")
    assert [line.rpartition(",")[0] for line in shown[1:3]] == [
        "1 of 2: alpha[seed=0]", "2 of 2: alpha[seed=1]"
    ]  # fmt: skip
    assert (project / "new" / "folder" / "oracle.json").is_file()
    (project / "file").write_text("")
    arguments[arguments.index("--output") + 1] = str(project / "file" / "oracle.json")
    assert cli.main(arguments) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "file: cannot be made: " in line


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"recipe": {"behaviour": "mock_mode"}}, "mock_mode_forbidden"),
        ({"recipe": {"behaviour": "random_policy"}}, "random_policy_forbidden"),
        ({"recipe": {"behaviour": "empty_curve"}}, "alpha seed 0 has an empty curve"),
    ],
)
def test_a_record_that_no_parity_run_accepts_is_no_oracle(project, capsys, changes, said):
    assert cli.main(command(project, **changes)) == 1
    error = capsys.readouterr().err
    assert said in error
    assert "alpha" in error
    assert error.count("\n") == 1
    assert not (project / "oracle.json").exists()


@pytest.mark.parametrize("key", ["source", "effective_recipe", "eval_protocol"])
def test_a_record_that_lacks_provenance_is_no_oracle(project, capsys, key):
    """The protocol asks for nothing here, so the validity gate alone would let its absence pass."""
    arguments = command(project, eval_protocol={})
    backend = altered(project, f'            "{key}":', f'            "not_{key}":')
    assert cli.main([*arguments[:-1], str(backend)]) == 1
    error = capsys.readouterr().err
    assert "alpha" in error
    assert "seed 0" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("behaviour", ["hang", "stubborn"])
def test_ctrl_c_ends_what_runs_and_starts_nothing_more(project, behaviour):
    arguments = command(
        project, jobs=2, seeds=6, recipe={"behaviour": behaviour}, retries=2, deadline_sec=120
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest_worldflux_parity.cli", *arguments],
        cwd=Path(cli.__file__).parents[2], stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=heed_ctrl_c,
    )  # fmt: skip
    wait_until(lambda: len(pids(project)) == 4, "two programs and their children")
    os.kill(process.pid, signal.SIGINT)
    error = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert error == "worldflux-parity: interrupted\n"
    assert len(list(project.glob("reports/**/request.json"))) == 2
    wait_until(lambda: not any(alive(pid) for pid in pids(project)), "the programs to end", 20)


def test_the_first_failure_ends_the_others(project, capsys):
    """Seed 0 hangs, and is not waited for when seed 1 has failed; it is no failed run itself."""
    chosen = 'BEHAVIOURS["crash" if request.seed == 1 else "hang"](request)'
    backend = altered(project, "BEHAVIOURS[behaviour](request)", chosen)
    arguments = command(project, jobs=2, seeds=6, deadline_sec=60)
    assert cli.main([*arguments[:-1], str(backend)]) == 1
    assert "exit status 3" in capsys.readouterr().err
    wait_until(lambda: not any(alive(pid) for pid in pids(project)), "the programs to end", 20)
    [lines] = project.glob("reports/**/parity_runs.jsonl")
    assert [json.loads(line)["seed"] for line in lines.read_text().splitlines()] == [1]


def test_the_headline_of_help_is_a_sentence(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    shown = capsys.readouterr().out
    assert "Fetch official programs" in shown
    assert "`" not in shown


def test_a_family_with_one_official_backend_needs_no_copy_of_its_suite(project, capsys):
    """A suite whose official side is a table says nothing of who fills it."""
    table = {"artifact": {"path": "oracle.json", "format": "canonical_json"}}
    assert cli.main(command(project, seeds=1, official=table)) == 0
    assert json.loads((project / "oracle.json").read_text())["provenance"]["adapter"] == "fake_official"


@pytest.mark.parametrize(
    ("family", "said"),
    [("nobodys", "has no official backend"), ("fake", "has several official backends, fake_official, other")],
)
def test_which_official_program_is_never_guessed(project, capsys, family, said):
    folder = altered(project, "import", "import")
    second = (folder / "fake_official" / "backend.yaml").read_text().replace("fake_official", "other")
    (folder / "other").mkdir()
    (folder / "other" / "backend.yaml").write_text(second)
    table = {"artifact": {"path": "oracle.json", "format": "canonical_json"}}
    arguments = [*command(project, official=table, family=family)[:-1], str(folder)]
    assert cli.main(arguments) == 1
    error = capsys.readouterr().err
    assert said in error
    assert "official: {backend: ID}" in error
