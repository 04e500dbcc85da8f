"""``worldflux-parity campaign export``: the same tables without pytest."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from pytest_worldflux_parity.cli import main as cli
from tests.conftest import Project
from tests.session.test_campaign_sessions import FILE, campaign, lasting, table

Command = Callable[..., int]


@pytest.fixture
def export(project: Project, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command, from within the project; it returns the exit status."""
    monkeypatch.chdir(project.root)
    return lambda *args: cli.main(["campaign", "export", FILE, *args])


def test_a_table_is_exported(project: Project, export: Command, capsys: pytest.CaptureFixture[str]) -> None:
    campaign(project)
    assert export("--source", "oracle", "--seeds", "1", "--output", "o.json") == 0
    assert "2 of 2 (task, seed) have a score" in capsys.readouterr().out
    document = json.loads((project.root / "o.json").read_text())
    assert [(r["seed"], r["step"]) for r in document["scores"]] == [(1, 990), (1, 990)]
    assert export("--source", "oracle", "--seeds", "0,1,2", "--output", "p.json") == 1
    assert (
        "missing: alpha seed 2 (no row in in.json, which has seeds 0, 1 of this task)"
        in capsys.readouterr().out
    )
    assert json.loads((project.root / "p.json").read_text())["provenance"]["complete"] is False


def test_the_records_of_a_run_are_exported_as_the_run_wrote_them(
    project: Project, export: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    campaign(project)
    assert export("--source", "worldflux") == 1
    assert "no campaign was run" in capsys.readouterr().err
    assert project.run("--parity-source=worldflux").ret == pytest.ExitCode.OK
    written = table(project)
    (project.root / "out" / "worldflux.json").unlink()
    assert export("--source", "worldflux") == 0
    assert lasting(table(project)) == lasting(written)
    assert len(project.lines("c")) == 4, "nothing is run"
    assert export("--source", "worldflux", "--run-id", "other") == 1
    assert "other" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--source", "oracle", "--seeds", "0,x"), "distinct whole numbers"),
        (("--source", "oracle", "--seeds", ""), "distinct whole numbers"),
        (("--source", "oracle", "--output", "in.txt"), "cannot be read"),
        (("--source", "oracle", "--output", "text"), "not JSON"),
    ],
)
def test_what_is_wrong_is_one_line(
    project: Project, export: Command, capsys: pytest.CaptureFixture[str], args: tuple[str, ...], words: str
) -> None:
    campaign(project)
    (project.root / "in.txt").mkdir()
    (project.root / "text").write_text("somebody's notes")
    assert export(*args) == 1
    said = capsys.readouterr()
    assert words in said.out + said.err
    assert len((said.out + said.err).splitlines()) == 1
    assert (project.root / "text").read_text() == "somebody's notes"
