"""``--parity-upstream`` and ``--parity-worldflux``: a table in the place of a side, and everyone is told."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Project

LIVE = "in place of the live fake_official that the suite names"


def table(path: Path, salt: str, factor: float = 1.0, seeds: int = 3) -> Path:
    """A ``canonical_jsonl`` table of scores around 100."""
    rng = random.Random(salt)
    rows = [
        {"task": t, "seed": s, "step": 1000, "score": 100 * factor + rng.gauss(0, 0.5)}
        for t in ("alpha", "beta")
        for s in range(seeds)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


def given(system: str, path: object, format: str = "canonical_jsonl") -> list[str]:
    return [f"--parity-{system}={path}", f"--parity-{system}-format={format}"]


def sources(project: Project, run_id: str = "r") -> dict[str, Any]:
    found: dict[str, Any] = project.document(run_id=run_id)["sources"]
    return found


def test_a_table_in_place_of_a_live_side(project: Project) -> None:
    project.suite()
    table(project.root / "published.jsonl", "o")
    project.run(*given("upstream", "published.jsonl")).stdout.fnmatch_lines([f"*{LIVE}*"])
    run = project.document()
    assert run["verdict"] == "pass"
    assert {line["system"] for line in project.lines()} == {"worldflux"}
    assert run["sources"]["upstream"]["path"] == "published.jsonl"
    assert run["sources"]["upstream"]["replaces"] == {"adapter": "fake_official"}
    assert "replaces" not in run["sources"]["worldflux"]
    assert any(LIVE in w for w in run["warnings"])
    assert LIVE in project.report()
    assert "given on the command line" in project.report()
    session = project.document("run.json")
    expected = {"official": {"path": "published.jsonl", "format": "canonical_jsonl"}}
    assert session["overrides"] == expected
    assert session["suites"]["suites/quick/fake_quick.yaml"]["overrides"] == expected


def test_tables_in_place_of_both_sides_decide(project: Project) -> None:
    """The verdict is that of the tables given, and both replacements are told."""
    folder = project.root / "suites" / "quick"
    for name in ("own", "other"):
        table(folder / f"{name}.jsonl", name)
    sides = {s: {"path": f"{n}.jsonl", "format": "canonical_jsonl"} for s, n in
             (("upstream", "own"), ("worldflux", "other"))}  # fmt: skip
    legacy = {"suite_id": "old", "family": "fake", "tasks": ["alpha", "beta"], **sides}
    (folder / "old.yaml").write_text(json.dumps(legacy))
    project.run()
    assert project.document("old/run.json")["verdict"] == "pass"
    worse = table(project.root / "worse.jsonl", "w", factor=0.7)
    other = table(project.root / "up.jsonl", "u")
    project.run(*given("upstream", other), *given("worldflux", worse), run_id="replaced")
    run = project.document("old/run.json", "replaced")
    assert run["verdict"] == "fail"
    assert run["sources"]["worldflux"]["replaces"] == {
        "path": "suites/quick/other.jsonl", "format": "canonical_jsonl",
    }  # fmt: skip
    assert sum("in place of the table" in w for w in run["warnings"]) == 2


def test_ini_twins_and_workers(project: Project) -> None:
    """The ini file's paths are the project's; a worker of xdist reads the same tables."""
    project.suite()
    table(project.root / "data" / "w.jsonl", "w")
    project.ini(
        "filterwarnings = error",
        "parity_workers = 0",
        "parity_worldflux = data/w.jsonl",
        "parity_worldflux_format = canonical_jsonl",
    )
    project.run("-n2")
    assert sources(project)["worldflux"]["replaces"] == {"adapter": "fake_worldflux"}
    assert project.document()["verdict"] == "pass"


def test_a_typed_path_is_the_shells(project: Project) -> None:
    project.suite()
    table(project.root / "data" / "w.jsonl", "w")
    suite = "../suites/quick/fake_quick.yaml"
    project.run(*given("worldflux", "w.jsonl"), suite, "--rootdir=..", folder="data")
    assert sources(project)["worldflux"]["path"] == "data/w.jsonl"


def test_only_the_format(project: Project) -> None:
    """The suite's own file, read as what it is."""
    folder = project.root / "suites" / "quick"
    table(folder / "o.jsonl", "o")
    artifact = {"path": "o.jsonl", "format": "canonical_json", "commit": "c0ffee"}
    project.suite(official={"artifact": artifact})
    project.run("--parity-upstream-format=canonical_jsonl")
    upstream = sources(project)["upstream"]
    assert (upstream["path"], upstream["format"]) == ("suites/quick/o.jsonl", "canonical_jsonl")
    assert upstream["commit"] == "c0ffee"
    assert upstream["replaces"]["format"] == "canonical_json"


def test_a_resume_wants_the_same_tables(project: Project) -> None:
    project.suite()
    one = table(project.root / "one.jsonl", "o")
    (project.root / "copy.jsonl").write_bytes(one.read_bytes())
    project.run(*given("upstream", "one.jsonl"))
    before = project.document()
    assert project.run("--parity-resume", *given("upstream", "one.jsonl")).ret == 0
    assert project.document()["pairs"] == before["pairs"]
    for other in ([], given("upstream", "copy.jsonl"), given("worldflux", "one.jsonl")):
        result = project.run("--parity-resume", *other)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines(["*changed since the run was sealed*leave --parity-resume out*"])
    one.write_text(one.read_text().replace("100.", "101."))
    result = project.run("--parity-resume", *given("upstream", "one.jsonl"))
    result.stderr.fnmatch_lines(["*the official table changed since the run was sealed*"])


def test_a_table_that_changes_during_the_run_is_no_pass(project: Project) -> None:
    """What is sealed is the table's bytes, also of one that no suite names."""
    project.suite()
    path = table(project.root / "one.jsonl", "o")
    (project.root / "conftest.py").write_text(
        "def pytest_runtest_teardown(item):\n"
        f"    open({str(path)!r}, 'a').write('\\n')\n"
    )  # fmt: skip
    project.run(*given("upstream", "one.jsonl"))
    run = project.document()
    assert run["verdict"] == "fail"
    assert run["gates"]["validity"]["findings"][0]["code"] == "changed_since_sealed"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["--parity-upstream=x.jsonl"],
            "the official side is live, and --parity-upstream-format is not given",
        ),
        (
            ["--parity-worldflux-format=canonical_json"],
            "the worldflux side is live, and --parity-worldflux is not given",
        ),
        (given("upstream", "x.jsonl", "csv"), "--parity-upstream-format 'csv': valid: canonical_json,"),
        (given("upstream", "absent.jsonl"), "absent.jsonl: cannot be read"),
    ],
)
def test_half_an_override_is_refused(project: Project, arguments: list[str], said: str) -> None:
    project.suite()
    result = project.run(*arguments)
    assert result.ret in (pytest.ExitCode.USAGE_ERROR, pytest.ExitCode.INTERRUPTED)
    assert any(said in line for line in (*result.outlines, *result.errlines))
    assert not project.run_dir().joinpath("run.json").exists()


def test_a_table_outside_the_project_needs_the_equals_sign(
    project: Project, tmp_path_factory: pytest.TempPathFactory
) -> None:
    project.suite()
    path = table(tmp_path_factory.mktemp("outside") / "w.jsonl", "w")
    result = project.run("--parity-worldflux", str(path), "--parity-worldflux-format", "canonical_jsonl")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*write --parity-worldflux=*"])
    project.run(*given("worldflux", path))
    assert sources(project)["worldflux"]["path"] == "w.jsonl"


def test_columns_and_units_are_of_a_format(project: Project) -> None:
    """Another table of the suite's format is read by its columns; one of another format has its own."""
    rows = [json.loads(line) for line in table(project.root / "t.jsonl", "o").read_text().splitlines()]
    lines = [f"{row['task']},{row['seed']},{row['step'] // 2},{row['score']}" for row in rows]
    (project.root / "other.csv").write_text("\n".join(("env,seed,step,score", *lines)), encoding="utf-8")
    artifact = {
        "path": "absent.csv", "format": "columns", "columns": {"task": "env"}, "frames_per_step": 2,
    }  # fmt: skip
    project.suite(official={"artifact": artifact})
    assert project.run("--parity-upstream=other.csv", run_id="same").ret == 0
    assert project.run(*given("upstream", "t.jsonl"), run_id="other").ret == 0
    for run_id in ("same", "other"):
        run = project.document(run_id=run_id)
        assert {pair["upstream_step"] for pair in run["pairs"]} == {1000}
