"""``worldflux-parity compare``: two tables, a verdict, and the suite that asks the same."""

from __future__ import annotations

import contextlib
import json
import random
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_worldflux_parity import schemas
from pytest_worldflux_parity.cli.main import main
from pytest_worldflux_parity.errors import ScoreTableError
from pytest_worldflux_parity.inputs.scores import load_table
from tests.conftest import Project

STEPS = (0, 50_000, 100_000)
# What a session and a command do not share: when and where they judged, and from where they name the tables.
OWN = ("generated_at_utc", "evaluation_manifest", "artifact_integrity")


def write(folder: Path, name: str, *, level: float = 1.0, **changes: Any) -> Path:
    """A table of two tasks and five seeds; ``level``: what its scores are multiplied by."""
    drawn = random.Random(name)
    chosen = {
        "tasks": ("walker-walk", "cup-catch"),
        "seeds": range(5),
        "steps": STEPS,
        "metric": None,
        **changes,
    }
    rows = [
        {"task": task, "seed": seed, "step": step, "score": level * (500 + step / 500 + drawn.gauss(0, 3))}
        for task in chosen["tasks"]
        for seed in chosen["seeds"]
        for step in chosen["steps"]
    ]
    rows = [{**row, "metric": chosen["metric"]} if chosen["metric"] else row for row in rows]
    path = folder / f"{name}.json"
    path.write_text(json.dumps(rows), encoding="utf-8")
    return path


def compare(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    capsys.readouterr()
    status = main(["compare", *map(str, words)])
    out, err = capsys.readouterr()
    return status, out, err


def test_the_suite_that_is_written_gives_the_same_document(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    tables = (
        write(project.root, "sb3"),
        write(project.root, "sbx", tasks=("cup-catch", "walker-walk", "extra")),
    )
    suite = project.root / "suites" / "quick" / "same.yaml"
    status, out, err = compare(capsys, *tables, "--json", "--suite-out", suite)
    assert (status, err) == (0, "")
    document = json.loads(out)
    schemas.check(document, "run.v1", lambda at: ".".join(map(str, at)))
    result = project.run()
    assert result.ret == 0, result.stdout.str()
    judged = project.document("sb3_against_sbx/run.json")
    for key in document.keys() - {*OWN, "warnings", "gates", "suite_lock_ref"}:
        assert judged[key] == document[key], key
    assert {k: g["verdict"] for k, g in judged["gates"].items()} == {
        k: g["verdict"] for k, g in document["gates"].items()
    }


def test_a_pass_says_what_it_is_of_and_draws_it(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    tables = write(project.root, "sb3"), write(project.root, "sbx")
    before = sorted(project.root.rglob("*"))
    status, out, err = compare(capsys, *tables)
    assert (status, err) == (0, "")
    assert sorted(project.root.rglob("*")) == before, "nothing is written that nobody asked for"
    assert out.startswith("compare: of two tables: nothing is known of how they were made\n")
    assert "parity sb3_against_sbx: PASS" in out
    assert "budget: 100000 frames, the largest step that every run reaches" in out
    assert "claim                   none: this is no claim" in out
    row = next(line for line in out.splitlines() if line.startswith("    all tasks"))
    assert row.count("o") == 1
    assert row.count(":") > 10


def test_a_candidate_that_is_worse_fails(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    tables = write(project.root, "sb3"), write(project.root, "worse", level=0.8)
    picture = project.root / "it.svg"
    status, out, err = compare(capsys, *tables, "--picture", picture)
    assert (status, err) == (1, "")
    assert "parity sb3_against_worse: FAIL" in out
    drawn = ElementTree.parse(picture).getroot()
    assert len([e for e in drawn.iter() if e.tag.endswith("circle")]) == 3
    assert drawn[0].text == "sb3_against_worse: fail, of two tables: nothing is known of how they were made"
    better = compare(capsys, *tables, "--lower-is-better")
    assert better[0] == 0, better[1]
    assert "scores are better the lower they are: --lower-is-better" in better[1]


def test_a_loss_is_compared_by_its_own_rule(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    tables = [write(project.root, n, metric="loss", steps=(9_000,)) for n in ("sb3", "sbx")]
    status, out, _ = compare(capsys, *tables, "--metric", "loss", "--rule", "equivalence")
    assert status == 0, out
    assert "equivalent within 5.00% in all 2 tasks" in out


def test_what_is_left_out_is_told(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    official = write(project.root, "sb3", tasks=("walker-walk", "cup-catch", "hopper-hop"))
    rows = [r for r in json.loads(official.read_text()) if (r["task"], r["seed"]) != ("cup-catch", 4)]
    official.write_text(json.dumps(rows), encoding="utf-8")
    longer = write(
        project.root, "sbx", tasks=("walker-walk", "cup-catch", "own"), steps=(0, 100_000, 200_000)
    )
    _, out, _ = compare(capsys, official, longer)
    assert "left out: hopper-hop, which the worldflux table has not" in out
    assert "left out: own, which the official table has not" in out
    assert "left out: official walker-walk, seeds 4, which other tasks have not" in out
    assert "not compared: what the worldflux side did after it, up to 200000 frames" in out
    _, out, _ = compare(capsys, official, longer, "--task", "walker-walk")
    assert "left out: cup-catch, which --task does not name" in out
    assert "official 5, worldflux 5" in out


def test_a_copy_is_none(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    official = write(project.root, "sb3")
    assert compare(capsys, official, official)[0] == 1
    copy = project.root / "copy.json"
    rows = [{**row, "score": round(row["score"], 3)} for row in json.loads(official.read_text())]
    copy.write_text(json.dumps(rows), encoding="utf-8")
    status, out, _ = compare(capsys, official, copy)
    assert status == 1
    assert "independence: identical_scores" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--task", "walker-wolk"), "did you mean 'walker-walk'?; valid: cup-catch, walker-walk"),
        (("--metric", "los"), "no row is of the metric 'los'; valid: episode_return; to mend: --metric NAME"),
        (
            ("--budget", "10"),
            "has no point near step 10: the nearest is 49990 away; to mend: --budget 100000",
        ),
        (("--budget", "1e4"), "--budget is a whole number of frames"),
        (("--suite-out", "sb3.json"), "sb3.json: is there already; to mend: name another file"),
        (("--suite-out", "x", "--picture", "x"), "--suite-out and --picture are the same file"),
    ],
)
def test_what_cannot_be_asked_is_one_line(
    project: Project, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
) -> None:
    tables = write(project.root, "sb3"), write(project.root, "sbx")
    status, out, err = compare(capsys, *tables, *words)
    assert (status, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("words", [("--margin", "1"), ("--margin", "nan"), ("--floor", "0"), ("--rule", "t")])
def test_words_that_are_none_are_usage(
    project: Project, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    with pytest.raises(SystemExit) as end:
        compare(capsys, "a", "b", *words)
    assert end.value.code == 2


def test_tables_that_share_nothing_are_refused(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    tables = write(project.root, "sb3", tasks=("a",)), write(project.root, "sbx", tasks=("b",))
    status, _, err = compare(capsys, *tables)
    assert status == 2
    assert "no task is in both tables: A has a; B has b; to mend: write a suite with `names:`" in err
    assert compare(capsys, tables[0], project.root / "nowhere.json")[0] == 2


NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=6)
SCORES = st.one_of(st.floats(-1e6, 1e6), st.none())
CURVES = st.dictionaries(st.integers(0, 9), SCORES, min_size=1, max_size=3)
TABLES = st.dictionaries(
    st.one_of(st.sampled_from(["pong", "a b"]), NAMES),
    st.dictionaries(st.integers(0, 3), CURVES, min_size=1, max_size=3),
    min_size=1,
    max_size=3,
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(official=TABLES, worldflux=TABLES)
def test_any_two_tables_are_judged_or_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], official: Any, worldflux: Any
) -> None:
    paths = []
    for name, table in (("a", official), ("b", worldflux)):
        rows = [
            {"task": task, "seed": seed, "step": step, "score": score}
            for task, runs in table.items()
            for seed, curve in runs.items()
            for step, score in curve.items()
        ]
        paths.append(tmp_path / f"{name}.json")
        paths[-1].write_text(json.dumps(rows), encoding="utf-8")
    status, out, err = compare(capsys, *paths)
    assert status in (0, 1, 2)
    assert (out == "") is (status == 2)
    assert err.count("\n") == (status == 2)


def test_two_runs_are_compared_with_what_their_records_say(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of one program; then of one with another recipe, and of one whose log was edited."""
    project.suite(seeds=[0, 1, 2, 3])
    for run_id, seeds in (("a", "0,1,2,3"), ("b", "4,5,6,7")):
        project.run("--parity-seeds", seeds, run_id=run_id)
    recipe = json.loads((project.root / "suites/quick/fake_quick.yaml").read_text())["recipe"]
    project.suite(seeds=[0, 1, 2, 3], recipe={**recipe, "batch_size": 7})
    project.run("--parity-seeds", "0,1,2,3", run_id="other")
    runs = project.run_dir("a"), project.run_dir("b")
    status, out, err = compare(capsys, *runs)
    assert (status, err) == (1, "")
    assert out.startswith("compare: of two runs: what their records say of recipe and program is compared")
    assert "chosen of system: worldflux; also there: official" in out
    assert "independence: same_program" in out
    words = ("--comparison", "self", "--rule", "equivalence", "--margin", "0.2", "--json")
    suite = project.root / "suites" / "quick" / "same.yaml"
    status, out, _ = compare(capsys, *runs, *words, "--suite-out", suite)
    document = json.loads(out)
    assert (status, document["verdict"]) == (0, "pass"), document["verdict_reason"]
    assert document["verdict_reason"].startswith("one program compared with itself")
    assert "one recipe and protocol in" in document["gates"]["validity"]["reason"]
    result = project.run(str(suite), run_id="c")
    assert result.ret == 0, result.stdout.str()
    assert project.document("a_against_b/run.json", "c")["metrics"] == document["metrics"]
    status, out, _ = compare(capsys, runs[0], project.run_dir("other"), *words)
    assert status == 1
    assert "recipe_mismatch" in json.loads(out)["verdict_reason"]
    log = runs[1] / "fake_quick" / "parity_runs.jsonl"
    log.write_bytes(log.read_bytes().replace(b'"adapter"', b'"adapter" ', 1))
    status, out, err = compare(capsys, *runs)
    assert (status, out) == (2, "")
    assert "parity_runs.jsonl:2: the line does not follow from those before it: the log was edited" in err


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-1, 9), st.text(max_size=3)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2), st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=4,
)
RECORD = {
    "schema_version": "parity.v1",
    "request_id": "r",
    "adapter": "a",
    "task_id": "t",
    "seed": 0,
    "device": "cpu",
    "success": True,
    "curve": [{"step": 1, "return": 2.0}],
    "scalars": {},
    "metadata": {},
}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lines=st.lists(
        st.fixed_dictionaries(
            {"status": st.just("success"), "system": st.one_of(st.just("worldflux"), VALUES)},
            optional={"request_id": VALUES, "sha256_before": VALUES},
        ),
        max_size=2,
    ),
    changed=st.dictionaries(st.sampled_from([*RECORD, "x"]), VALUES, max_size=2),
)
def test_any_log_is_read_or_refused(
    tmp_path: Path, lines: list[dict[str, Any]], changed: dict[str, Any]
) -> None:
    log = tmp_path / "parity_runs.jsonl"
    rows = [json.dumps({**line, "metrics": {**RECORD, **changed}}) for line in lines]
    log.write_text("\n".join([*rows, '{"cut off']), encoding="utf-8")
    with contextlib.suppress(ScoreTableError):
        assert load_table(tmp_path, "parity_runs").points
