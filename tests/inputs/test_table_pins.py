"""Official score tables are the ones that the lock file pins, and one command pins a new one."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from pytest_worldflux_parity.cli import main as cli
from pytest_worldflux_parity.inputs import checkouts
from pytest_worldflux_parity.inputs.golden import read_golden
from pytest_worldflux_parity.inputs.lock import LockEntry, read_lock
from pytest_worldflux_parity.inputs.scores import load_table
from pytest_worldflux_parity.inputs.table_pins import departure, pinned_files, table_pin
from pytest_worldflux_parity.suite import campaign_file, suite_file
from pytest_worldflux_parity.suite.suite import ArtifactSide, Suite
from tests.components.match_runs import MatchProgram
from tests.conftest import SUITE
from tests.oracles import ORACLES

ROOT = Path(__file__).resolve().parents[2]
LOCK = ROOT / "reports" / "parity" / "upstream_lock.json"
# Published tables as they are in the checkouts of the locked commits.
COMMIT = "c" * 40
REPO = "https://example.org/fake"


def official_suites() -> dict[str, Suite]:
    """Every committed suite or campaign whose official side is a table of a repository's commit.

    The tables of the examples are of packages, which no commit names, so their verdicts warn.
    """
    found = {}
    examples = ROOT / "suites" / "examples"
    for path in sorted(p for p in (ROOT / "suites").rglob("*.yaml") if not p.is_relative_to(examples)):
        track, name = suite_file.read(path).track, path.relative_to(ROOT).as_posix()
        if track == "quick":
            found[name] = suite_file.load(path)
        elif track == "campaign":
            campaign = campaign_file.load(path)
            found[name] = campaign.suite(campaign.sources["oracle"], (0,))
    return {n: s for n, s in found.items() if isinstance(s.sides["official"], ArtifactSide)}


SUITES = official_suites()


def place(entry: LockEntry) -> Path:
    """Where an entry's table stands on this machine: in the project, a checkout, or the published files."""
    path = checkouts.oracle_path(entry, ROOT)
    if path.exists():
        return path
    return ORACLES / checkouts.repo_name(entry.repo).split("/")[1] / entry.oracle_path


def test_quick_published_and_campaign_suites_name_official_tables() -> None:
    assert {Path(name).parent.name for name in SUITES} == {"quick", "extended", "published", "campaign"}


@pytest.mark.parametrize("name", SUITES)
def test_the_official_table_of_a_committed_suite_is_pinned_and_the_pin_is_right(name: str) -> None:
    suite, side = SUITES[name], SUITES[name].sides["official"]
    assert isinstance(side, ArtifactSide)
    entry = read_lock(LOCK).entry(suite.suite_id)
    pins = pinned_files(entry)
    assert len(pins) == (len(suite.tasks) if entry.oracle_format == "tdmpc2_results_csv_dir" else 1)
    stated = (side.path.parent / side.path.name).resolve()
    assert stated == checkouts.oracle_path(entry, ROOT).resolve()
    if not place(entry).exists():
        pytest.skip("neither a checkout of the locked commit nor ../shared/oracles is there")
    table = load_table(place(entry), side.format, duplicates=side.duplicates)
    assert departure(table, pins, [t.id for t in suite.tasks]) == ""


@pytest.mark.parametrize("family", ["dreamerv3", "tdmpc2"])
def test_the_lock_says_how_many_components_the_pinned_golden_has(family: str) -> None:
    pin = read_lock(LOCK).goldens[family]
    assert pin.components == len(read_golden(MatchProgram(family).golden).components)


# --- what differs ---


def folder(path: Path, **seeds: int) -> Path:
    """A table with a file for each task."""
    path.mkdir(exist_ok=True)
    for task, seed in seeds.items():
        (path / f"{task}.csv").write_text(f"step,reward,seed\n1000,{seed}.5,{seed}\n", encoding="utf-8")
    return path


def departs(path: Path, pins: dict[str, str], *tasks: str) -> str:
    return departure(load_table(path, "tdmpc2_results_csv_dir", duplicates="last"), pins, tasks)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_files_of_other_tasks_may_stand_in_a_folder_and_those_of_the_suite_are_held(tmp_path: Path) -> None:
    path = folder(tmp_path / "table", atari_pong=1, beta=2)
    pins = {"atari_pong.csv": sha256(path / "atari_pong.csv")}
    assert departs(path, pins, "atari_pong") == ""
    assert departs(path, pins, "atari_pong", "beta") == "beta.csv has no pin"
    # Another spelling of a task's name is read as the same task.
    folder(path, atari100k_pong=3)
    assert departs(path, pins, "atari_pong") == "atari100k_pong.csv has no pin"
    (path / "atari100k_pong.csv").unlink()
    folder(path, atari_pong=4)
    assert departs(path, pins, "atari_pong").startswith("atari_pong.csv has the sha256 ")
    one = path / "atari_pong.csv"
    assert departs(one, {"": sha256(one)}, "atari_pong") == ""
    assert departs(one, pins, "atari_pong") == "it is one file, and files of a folder are pinned"


def test_pins_are_named_below_the_table() -> None:
    entry = LockEntry("s", REPO, COMMIT, "tdmpc2_results_csv_dir", "results/tdmpc2", "source",
                      {"results/tdmpc2/a.csv": "1", "results/tdmpc/a.csv": "2"})  # fmt: skip
    assert pinned_files(entry) == {"a.csv": "1"}
    one = LockEntry("s", REPO, COMMIT, "canonical_json", "a/b.json", "project", {"a/b.json": "1"})
    assert pinned_files(one) == {"": "1"}


# --- pin-table ---


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with one suite, ``suites/one.yaml``, and its official table; no lock file."""
    (tmp_path / "pytest.ini").touch()
    table(tmp_path)
    suite(tmp_path)
    return tmp_path


def table(project: Path, score: float = 1.5, **provenance: Any) -> Path:
    path = project / "suites" / "official.json"
    path.parent.mkdir(exist_ok=True)
    rows = [{"task": "alpha", "seed": 0, "step": 1000, "score": score}]
    path.write_text(json.dumps({"provenance": provenance, "scores": rows}), encoding="utf-8")
    return path


def suite(project: Path, **changes: Any) -> Path:
    path = project / "suites" / "one.yaml"
    artifact = {"path": "official.json", "format": "canonical_json", "repo": REPO, "commit": COMMIT}
    own = {"suite_id": "one", "official": {"artifact": {**artifact, **changes}}}
    path.write_text(json.dumps({**SUITE, **own}), encoding="utf-8")
    return path


def lock_of(project: Path) -> Path:
    return project / "reports" / "parity" / "upstream_lock.json"


def pin(project: Path, name: str = "suites/one.yaml") -> int:
    return cli.main(["--root", str(project), "pin-table", str(project / name)])


def is_pinned(project: Path) -> bool | None:
    one = suite_file.load(project / "suites" / "one.yaml")
    found = load_table(project / "suites" / "official.json", "canonical_json")
    names = {"table": "t", "suite": "s", "lock": "l"}
    return table_pin(one, found, read_lock(lock_of(project)).suites.get("one"), names).pinned


def test_a_table_is_pinned_by_one_command_and_again_when_it_was_measured_anew(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lock_of(project).parent.mkdir(parents=True)
    assert pin(project) == 0
    assert "one: files pinned: 1, of them anew: 1\n" in capsys.readouterr().out
    assert json.loads(lock_of(project).read_text())["suites"]["one"] == {
        "repo": REPO, "commit": COMMIT, "oracle_format": "canonical_json",
        "oracle_path": "suites/official.json", "oracle_in": "project",
        "oracle_files": {"suites/official.json": sha256(project / "suites" / "official.json")},
    }  # fmt: skip
    assert is_pinned(project)
    table(project, score=2.5)
    assert not is_pinned(project)
    before = json.loads(lock_of(project).read_text())
    assert pin(project) == 0
    assert (
        f"  {sha256(project / 'suites' / 'official.json')}  suites/official.json" in capsys.readouterr().out
    )
    after = json.loads(lock_of(project).read_text())
    before["suites"]["one"]["oracle_files"] = after["suites"]["one"]["oracle_files"]
    assert after == before, "nothing else changed"
    assert is_pinned(project)
    assert pin(project) == 0
    assert "of them anew: 0\n" in capsys.readouterr().out


@pytest.mark.parametrize("says", [True, False])
def test_a_table_that_names_its_commit_takes_the_doubt_away(project: Path, says: bool) -> None:
    lock_of(project).parent.mkdir(parents=True)
    assert pin(project) == 0
    document = json.loads(lock_of(project).read_text())
    doubt = {"oracle_commit": "unknown", "oracle_commit_reason": "the file names none"}
    document["suites"]["one"].update(doubt)
    lock_of(project).write_text(json.dumps(document), encoding="utf-8")
    table(project, score=2.5, **({"commit": COMMIT} if says else {}))
    assert pin(project) == 0
    after = json.loads(lock_of(project).read_text())["suites"]["one"]
    assert {key: after[key] for key in doubt if key in after} == ({} if says else doubt)


@pytest.mark.parametrize("stated", ["by the suite", "by the table"])
def test_a_table_of_another_commit_than_the_locked_one_is_not_pinned(
    project: Path, capsys: pytest.CaptureFixture[str], stated: str
) -> None:
    lock_of(project).parent.mkdir(parents=True)
    assert pin(project) == 0
    if stated == "by the suite":
        suite(project, commit="d" * 40)
    else:
        table(project, repo=REPO, commit="d" * 40)
        own = json.loads((project / "suites" / "one.yaml").read_text())
        for key in ("repo", "commit"):
            del own["official"]["artifact"][key]
        (project / "suites" / "one.yaml").write_text(json.dumps(own))
    before = lock_of(project).read_bytes()
    assert pin(project) == 1
    error = capsys.readouterr().err
    assert f"the table is of commit {'d' * 40}, locked is {COMMIT}; to mend: correct the commit" in error
    assert lock_of(project).read_bytes() == before


def test_what_cannot_be_pinned_is_refused_in_one_line(
    project: Path, capsys: pytest.CaptureFixture[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = project / "suites" / "one.yaml"
    own = json.loads(path.read_text())
    artifact = own["official"]["artifact"]
    elsewhere = table(tmp_path_factory.mktemp("elsewhere"))
    for official, told in [
        ({"backend": "fake_official"}, "the official side is run, so there is no table to pin"),
        ({"artifact": {k: artifact[k] for k in ("path", "format")}}, "says of which repo the official"),
        ({"artifact": {**artifact, "path": str(elsewhere)}}, "the table is not in the project"),
        ({"artifact": {**artifact, "path": "none.json"}}, "cannot be read"),
    ]:
        path.write_text(json.dumps({**own, "official": official}))
        assert pin(project) == 1
        error = capsys.readouterr().err
        assert told in error
        assert error.count("\n") == 1
    assert not lock_of(project).exists()


def test_the_table_of_a_campaign_and_of_the_suite_that_shares_its_id_have_one_pin(project: Path) -> None:
    lock_of(project).parent.mkdir(parents=True)
    source = {"adapter": "fake_official", "input_path": "official.json", "input_format": "canonical_json",
              "output_path": "out.json", "repo": REPO, "commit": COMMIT}  # fmt: skip
    campaign = {
        "schema_version": "worldflux.parity.campaign.v1", "suite_id": "one", "family": "fake",
        "default_step": 1000, "default_seeds": [0], "tasks": ["alpha"], "sources": {"oracle": source},
    }  # fmt: skip
    (project / "suites" / "campaign.yaml").write_text(json.dumps(campaign))
    assert pin(project, "suites/campaign.yaml") == 0
    assert is_pinned(project)


def test_every_file_of_a_tree_of_logs_is_pinned(project: Path) -> None:
    for seed in (0, 1):
        run = project / "suites" / "logs" / str(seed)
        run.mkdir(parents=True)
        (run / "config.yaml").write_text(f"task: alpha\nseed: {seed}\n", encoding="utf-8")
        (run / "scores.jsonl").write_text('{"step": 1000, "episode/score": 5}\n', encoding="utf-8")
    suite(project, path="logs", format="dreamerv3_logs")
    lock_of(project).parent.mkdir(parents=True)
    assert pin(project) == 0
    entry = read_lock(lock_of(project)).entry("one")
    assert (entry.oracle_format, len(entry.oracle_files)) == ("dreamerv3_logs", 4)
    one = suite_file.load(project / "suites" / "one.yaml")
    names = {"table": "t", "suite": "s", "lock": "l"}
    side = one.sides["official"]
    assert isinstance(side, ArtifactSide)
    assert table_pin(one, load_table(side.path, side.format), entry, names).pinned
    (project / "suites" / "logs" / "1" / "config.yaml").write_text("task: alpha\nseed: 7\n", encoding="utf-8")
    assert (
        "1/config.yaml has the sha256"
        in table_pin(one, load_table(side.path, side.format), entry, names).mismatch
    )
