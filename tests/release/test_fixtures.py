"""``fixtures``: a release is rehearsed with made-up numbers, and whatever touches one says so."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_worldflux_parity.cli import fixtures
from pytest_worldflux_parity.judgement.gates.fixture import BANNER, is_fixture_line, is_fixture_table
from tests import forked
from tests.components import goldens
from tests.conftest import WITHOUT, Project
from tests.release.judged_runs import COMMIT, earlier, read, write

Command = Callable[..., tuple[int, str, str]]
CHECKOUT = Path(__file__).resolve().parents[2]
FOLDER = "reports/parity/fixtures"
AGGREGATE = f"{FOLDER}/aggregate.json"
LOCK = f"{FOLDER}/upstream_lock.json"
SUITES = ("dreamer_atari100k", "tdmpc2_dmcontrol39")
RUNS = tuple(f"{FOLDER}/runs/rehearsal/{suite}/run.json" for suite in SUITES)
# Of the names and contents of all files that the command writes into an empty folder.
SHA256 = "602e72fbc3f5d89ddaa39f252543815b31987bd536c3d67c88330bc26423600d"


@pytest.fixture(scope="session")
def printed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A project with fixtures, as another process wrote them, and what that process printed."""
    root = tmp_path_factory.mktemp("project")
    (root / "pytest.ini").write_text("[pytest]\nparity_workers = 0\n")
    shutil.copytree(CHECKOUT / "suites" / "published", root / "suites" / "published")
    (root / FOLDER).parent.mkdir(parents=True)
    for name in ("upstream_lock.json", "suite_policy.json"):
        shutil.copy(CHECKOUT / "reports" / "parity" / name, root / "reports" / "parity" / name)
    env = {**os.environ, "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "LC_ALL": "C"}
    words = (sys.executable, "-m", "pytest_worldflux_parity.cli", "fixtures")
    done = subprocess.run(words, cwd=root, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return root, done.stdout


@pytest.fixture(scope="session")
def rehearsed(printed: tuple[Path, str]) -> tuple[Path, list[str]]:
    """The same project after every command that was printed, and what each printed in turn."""
    root, text = printed
    said = []
    for line in text.splitlines():
        program, *words = shlex.split(line) or [""]
        if program in ("pytest", "worldflux-parity"):
            done = forked.run([program, *(WITHOUT if program == "pytest" else ()), *words], root)
            assert (done.returncode, done.stderr) == (0, ""), (line, done.stdout, done.stderr)
            said.append(done.stdout)
    return root, said


@pytest.fixture
def copied(rehearsed: tuple[Path, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the rehearsed project, which is also the current folder."""
    root = tmp_path / "copy"
    shutil.copytree(rehearsed[0], root)
    monkeypatch.chdir(root)
    return root


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir()) if p.is_file()}


def test_the_same_bytes_every_time(tmp_path: Path, command: Command) -> None:
    """Here, in another process with another time zone, and on whatever machine this was pinned on."""
    place = tmp_path / "fixtures"
    for _ in range(2):
        status, out, _ = command("--root", tmp_path, "fixtures", "--output", "fixtures")
        assert (status, out.splitlines()[0]) == (0, BANNER)
        digest = hashlib.sha256()
        for name, data in contents(place).items():
            digest.update(f"{name} {hashlib.sha256(data).hexdigest()}\n".encode())
        assert digest.hexdigest() == SHA256


def test_another_process_writes_the_same(printed: tuple[Path, str], tmp_path: Path, command: Command) -> None:
    assert command("--root", tmp_path, "fixtures")[0] == 0
    theirs, ours = (contents(root / FOLDER) for root in (printed[0], tmp_path))
    assert {name: theirs[name] for name in ours} == ours


def test_they_are_of_the_published_suites_and_git_ignores_them(printed: tuple[Path, str]) -> None:
    root, _ = printed
    for suite in fixtures.SUITES:
        published = json.loads((root / "suites" / "published" / f"{suite.suite_id}.yaml").read_text())
        assert list(suite.tasks) == published["tasks"]
        assert suite.family == published["family"]
        for side in fixtures.SIDES:
            table = read(root / FOLDER / fixtures.table_name(suite, side))
            assert is_fixture_table(table["provenance"])
            assert len(table["scores"]) == len(suite.tasks) * len(suite.seeds) * fixtures.POINTS
    assert (root / FOLDER / ".gitignore").read_text().splitlines()[-1] == "*"


def test_every_file_of_a_rehearsal_says_what_it_is(rehearsed: tuple[Path, list[str]]) -> None:
    root, said = rehearsed
    assert len(said) == 5
    assert all(BANNER in said[i] for i in (0, 1, 3, 4)), "pytest, aggregate, validate, coverage"
    folder = root / FOLDER
    for path in (folder / "aggregate.json", folder / "runs/rehearsal/aggregate.json"):
        aggregate = read(path)
        assert aggregate["fixture"] is True
        assert [row["fixture"] for row in aggregate["suites"]] == [True, True]
        assert aggregate["all_suites_pass"] is True
    for name in RUNS:
        run = read(root / name)
        assert run["fixture"] is True
        assert any(w.startswith(BANNER) for w in run["warnings"])
    for path in (folder / "report.md", folder / "runs/rehearsal/report.md"):
        assert path.read_text().splitlines()[0] == f"> **{BANNER}**"
    for path in (folder / "dashboard.html", folder / "runs/rehearsal/dashboard.html"):
        first = path.read_text().partition("<main>\n")[2].splitlines()[0]
        assert BANNER in first
    for name in (*(f"{suite}.yaml" for suite in SUITES), ".gitignore"):
        assert (folder / name).read_text().splitlines()[0] == f"# {BANNER}"
    assert read(root / LOCK)["fixture"] is True


def validate(command: Command, *more: str) -> tuple[int, str, list[str]]:
    status, out, err = command("validate", "--run", *RUNS, "--aggregate", AGGREGATE, "--lock", LOCK, *more)
    return status, out, [line.split(": ")[2] for line in err.splitlines()]


def test_a_release_is_refused_without_the_flag(copied: Path, command: Command) -> None:
    assert validate(command) == (1, "", ["fixture"] * 4)
    status, out, err = command("coverage", "--aggregate", AGGREGATE, "--lock", LOCK)
    assert (status, out) == (1, "")
    assert [line.split(": ")[2] for line in err.splitlines()] == ["fixture"] * 4
    status, out, found = validate(command, "--allow-fixtures")
    assert (status, found) == (0, [])
    assert out.count(BANNER) == 6, "each card says it among the warnings of its verdict"


def test_a_lock_of_fixtures_is_refused_alone(copied: Path, command: Command) -> None:
    """Whatever is held against it."""
    changed(copied / LOCK, lambda d: d.pop("fixture"))
    found = validate(command)[2]
    assert found.count("fixture") == 3
    # Suites are those of the project then, which are others.
    assert set(found) == {"fixture", "unknown_suite", "cannot_be_expected"}


def test_the_flag_forgives_nothing_else(copied: Path, command: Command) -> None:
    changed(copied / FOLDER / "dreamer_atari100k.worldflux.json", lambda d: d["scores"].pop())
    assert set(validate(command, "--allow-fixtures")[2]) == {"not_as_expected", "document_differs"}
    path = copied / FOLDER / "tdmpc2_dmcontrol39.yaml"
    path.write_text(path.read_text().replace('"margin_ratio": 0.05', '"margin_ratio": 0.5'))
    status, _, err = command(
        "validate", "--run", RUNS[1], "--aggregate", AGGREGATE, "--lock", LOCK, "--allow-fixtures"
    )
    assert status == 1
    assert "document_differs: run.json: suite.margin_ratio is 0.05, the data give 0.5" in err


def changed(path: Path, change: Callable[[Any], object]) -> None:
    document = read(path)
    change(document)
    write(path, document)


def unwarned(run: dict[str, Any]) -> None:
    """Without the mark and every sentence that says so."""
    del run["fixture"]
    for part in (run, *run["gates"].values()):
        part["warnings"] = [w for w in part["warnings"] if BANNER not in w]


def test_a_mark_that_was_removed_is_found(copied: Path, command: Command) -> None:
    """Of a run, by what its tables give."""
    run = read(copied / RUNS[0])
    unwarned(run)
    for document in (run, earlier(run)):
        write(copied / RUNS[0], document)
        assert command("aggregate", "--runs-glob", *RUNS, "--output", AGGREGATE)[0] == 0
        more = ("--aggregate", AGGREGATE, "--lock", LOCK, "--allow-fixtures")
        status, _, err = command("validate", "--run", *RUNS, *more)
        assert (status, "run.json: fixture is " in err) == (1, True)


@pytest.mark.parametrize("where", ["top", "row"])
def test_an_aggregate_without_the_mark_is_found(copied: Path, command: Command, where: str) -> None:
    changed(copied / AGGREGATE, lambda d: (d if where == "top" else d["suites"][1]).pop("fixture"))
    assert validate(command, "--allow-fixtures")[2] == ["fixture_unmarked"]
    status, _, err = command("report", "--aggregate", AGGREGATE, "--output", "x.md")
    assert status == 1
    assert "fixture_unmarked" in err


def test_one_side_is_enough(project: Project) -> None:
    """A fixture on the command line, in place of a table that was measured."""
    rows = [
        {"task": t, "seed": s, "step": 1000, "score": 100 + s / 7}
        for t in ("alpha", "beta")
        for s in range(3)
    ]
    table = write(
        project.root / "made_up.json", {"provenance": {"fixture": True, "commit": COMMIT}, "scores": rows}
    )
    project.suite(tasks=["alpha", "beta"])
    result = project.run(f"--parity-upstream={table}", "--parity-upstream-format=canonical_json")
    result.stdout.fnmatch_lines([f"*{BANNER}", f"*warning: {BANNER} (of official)"])
    assert project.document()["fixture"] is True
    assert project.document("aggregate.json")["fixture"] is True


@pytest.mark.parametrize("name", ["dreamer_atari100k.yaml", "upstream_lock.json"])
def test_what_is_real_is_not_replaced(tmp_path: Path, command: Command, name: str) -> None:
    for folder in ("suites/published", "reports/parity"):
        source = CHECKOUT / folder / name
        if source.exists():
            kept = tmp_path / name
            shutil.copy(source, kept)
    before = kept.read_bytes()
    status, _, err = command("--root", tmp_path.parent, "fixtures", "--output", tmp_path.name)
    assert (status, len(err.splitlines())) == (1, 1)
    assert "is there and is no fixture" in err
    assert [p.name for p in tmp_path.iterdir()] == [name]
    assert kept.read_bytes() == before


@pytest.mark.parametrize("output", ["..", ".", "/tmp"])
def test_they_stay_in_the_project(tmp_path: Path, command: Command, output: str) -> None:
    status, _, err = command("--root", tmp_path, "fixtures", "--output", output)
    assert (status, len(err.splitlines())) == (1, 1)
    assert "is no folder within the project" in err


def test_only_false_and_silence_say_that_a_table_is_measured() -> None:
    assert not is_fixture_table({})
    assert not is_fixture_table({"fixture": False})
    for word in (True, "true", 1, 0, "", []):
        assert is_fixture_table({"fixture": word})
    for line in (
        {},
        {"metrics": None},
        {"metrics": {"metadata": []}},
        {"metrics": {"metadata": {"mode": {}}}},
    ):
        assert not is_fixture_line(line)


# --- records of proofs ---


def made_up(project: Project) -> None:
    """The fake programs say that they make their numbers up."""
    program = project.root / "backends" / "program.py"
    text = program.read_text(encoding="utf-8")
    assert text.count('"mode": "live"') == 2
    program.write_text(text.replace('"mode": "live",\n', '"mode": "fixture",\n'), encoding="utf-8")


PROOF_DOCUMENTS = tuple(
    f"fake_proof/{name}_report.json"
    for name in ("coverage", "validity", "component_match", "equivalence", "stability")
)


def test_a_proof_says_so_everywhere_and_does_not_pass(project: Project, command: Command) -> None:
    made_up(project)
    project.proof()
    result = project.run("-rA")
    assert result.ret == pytest.ExitCode.TESTS_FAILED, "a release is rehearsed with tables"
    result.stdout.fnmatch_lines(["parity fake_proof: FAIL", f"  {BANNER}"])
    for name in PROOF_DOCUMENTS:
        assert project.document(name)["fixture"] is True, name
    folder = project.run_dir() / "fake_proof"
    for path in (folder / "equivalence_report.md", folder.parent / "report.md"):
        assert path.read_text(encoding="utf-8").splitlines()[0] == f"> **{BANNER}**"
    assert BANNER in (folder.parent / "dashboard.html").read_text(encoding="utf-8")
    status, out, _ = command("verify", folder / "evidence_bundle.zip")
    assert status == 1, out
    assert BANNER in out.splitlines()
    assert out.splitlines()[-1].startswith("result: NOT A PASS")
    runs = folder / "parity_runs.jsonl"
    suite = project.root / "suites" / "proof" / "fake_proof.yaml"
    status, out, _ = command("--root", project.root, "proof-report", suite, "--runs", runs)
    assert status == 1, out
    assert f"  {BANNER}" in out.splitlines()


def test_a_claim_cannot_rest_on_one(project: Project, command: Command) -> None:
    """Neither in the run, nor where its records are judged as those of a stranger."""
    made_up(project)
    goldens.declare(project.root / "backends", "  deadline_sec: 60\n")
    goldens.behave(project.root / "golden", "ok")
    seeds = {"mode": "fixed", "values": [0, 1, 2, 3, 4]}
    suite = project.proof(claim="proof_grade", tasks=["alpha"], component_match="golden", seed_policy=seeds)
    assert project.run().ret == pytest.ExitCode.TESTS_FAILED
    found = project.document("fake_proof/validity_report.json")
    assert found["issues_by_code"]["fixture_forbidden"] == len(project.lines("fake_proof")) == 10
    away = project.root / "away" / "log.jsonl"
    away.parent.mkdir()
    shutil.copy(project.run_dir() / "fake_proof" / "parity_runs.jsonl", away)
    status, _, _ = command("--root", project.root, "proof-report", suite, "--runs", away)
    assert status == 1
    assert read(away.parent / "validity_report.json")["issues_by_code"]["fixture_forbidden"] == 10


def test_records_of_programs_that_ran_have_no_mark(project: Project, command: Command) -> None:
    project.proof(tasks=["alpha"])
    assert project.run().ret == pytest.ExitCode.OK
    for name in PROOF_DOCUMENTS:
        assert "fixture" not in project.document(name)
    _, out, _ = command("verify", project.run_dir() / "fake_proof" / "evidence_bundle.zip")
    assert "FIXTURE" not in out
    assert "FIXTURE" not in project.report()
