"""``worldflux-parity``: exit status, one line on stderr, nothing heavy imported."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_worldflux_parity.cli import main as cli
from pytest_worldflux_parity.cli import options, waiting
from pytest_worldflux_parity.inputs import checkouts
from tests.conftest import wait_until


@pytest.fixture
def project(upstream, root):
    """A project whose lock file names the throw-away repository, in two suites."""
    entry = {k: v for k, v in dataclasses.asdict(upstream.entry).items() if k != "suite_id" and v}
    absent = {**entry, "repo": "https://example.invalid/other/absent"}
    lock = root / options.DEFAULT_LOCK
    lock.parent.mkdir(parents=True)
    document = {
        "schema_version": "worldflux.parity.lock.v1",
        "generated_at_utc": "2026-01-01T00:00:00+00:00",
        "suites": {"a_suite": entry, "b_suite": absent},
    }
    lock.write_text(json.dumps(document))
    return root


def test_fetch_of_one_suite_prints_where_it_is(upstream, project, capsys):
    command = ["--root", str(project), "fetch-oracles", "--suite", "a_suite"]
    mirror = ["--mirror", f"owner/name={upstream.path}"]
    assert cli.main([*command, *mirror]) == 0
    assert cli.main(command) == 0
    path = checkouts.checkout_path(project, upstream.entry.repo, upstream.entry.commit)
    assert capsys.readouterr().out == f"a_suite: fetched: {path}\na_suite: already there: {path}\n"


def test_a_suite_that_cannot_be_brought_is_one_line_and_status_1(upstream, project, capsys):
    mirror = ["--mirror", f"owner/name={upstream.path}"]
    assert cli.main(["--root", str(project), "fetch-oracles", *mirror]) == 1
    shown = capsys.readouterr()
    assert shown.out.startswith("a_suite: fetched")
    assert shown.err.startswith("worldflux-parity: other/absent: git fetch: ")
    assert shown.err.count("\n") == 1


def test_the_project_is_found_from_a_folder_below_it(upstream, project, capsys, monkeypatch):
    (project / "pyproject.toml").write_text("")
    monkeypatch.chdir(project / "reports")
    command = ["fetch-oracles", "--suite", "a_suite", "--mirror", str(upstream.path)]
    assert cli.main(command) == 0
    assert str(project) in capsys.readouterr().out


def test_what_takes_its_time_is_told_of(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(waiting, "FIRST_SEC", 0.01)
    monkeypatch.setattr(waiting, "EVERY_SEC", 0.2)
    log = tmp_path / "log"
    with waiting.waiting("a: its environment", lambda: waiting.last_line(log)):
        log.write_text("Collecting torch\n  Downloading torch-2.13.0 (1.2 GB)\r\n\n")
        wait_until(lambda: "1.2 GB" in (shown := capsys.readouterr().out) and shown, "a line", 20)
    with waiting.waiting("b"):
        pass
    assert "b" not in capsys.readouterr().out


def test_env_list_says_what_is_lacking(capsys):
    assert cli.main(["--root", str(Path(__file__).parents[2]), "env", "list"]) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert lines["worldflux_tdmpc2"].split()[1] == "shared"
    assert "official_tdmpc2" in lines


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["env", "create", "official_tdmcp2"], "did you mean 'official_tdmpc2'"),
        (["fetch-oracles", "--suite", "tdmpc_quick"], "did you mean 'tdmpc2_quick'"),
        (["fetch-oracles", "--lock", "none.json"], "cannot be read"),
        (["--root", "/nowhere", "env", "list"], "is not a folder"),
    ],
)
def test_a_mistake_is_one_line_and_status_1(arguments, said, capsys, monkeypatch):
    monkeypatch.chdir(Path(__file__).parents[2])
    assert cli.main(arguments) == 1
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("arguments", [[], ["fetch"], ["env"], ["env", "create"]])
def test_wrong_usage_is_status_2(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    assert "worldflux-parity" in capsys.readouterr().err


def test_help_imports_nothing_heavy():
    code = (
        "import sys\nfrom pytest_worldflux_parity.cli import main\n"
        "try:\n    main.main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print(sorted({'torch', 'numpy', 'scipy', 'pytest', 'yaml', 'jsonschema'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]"
