"""What a suite says of its points, windows in frames, and null scores: in sessions, of tables and live."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from pytest_worldflux_parity.errors import SuiteError
from pytest_worldflux_parity.suite import proof_file, suite_file
from tests.conftest import PROOF, SUITE, Project
from tests.judgement.proof_examples import manifest
from tests.plugin.test_plugin_tables import Tables, rows

ROOT = Path(__file__).parents[2]
CURVE = "curve = tuple(wire.CurvePoint(s, level * s / 1000 + rng.gauss(0, spread)) for s in (0, 500, 1000))"
AREA = [{"name": "auc_return", "rule": "calibrated", "margin": 0.05}]
REPORTED = "curve = tuple(wire.CurvePoint(s, level * s / 1000 + rng.gauss(0, spread)) for s in {})"
EVERY = "range(0, 1001, 100)"
CLAIMED = {"alpha": 0.05, "parity_claim_level": "proof_grade", "component_report_required": True}


def reporting(project: Project, steps: str) -> None:
    program = project.root / "backends" / "program.py"
    text = program.read_text(encoding="utf-8")
    assert CURVE in text
    program.write_text(text.replace(CURVE, REPORTED.format(steps)), encoding="utf-8")


def codes(document: dict[str, Any]) -> set[str]:
    return {f["code"] for f in document["gates"]["coverage"]["findings"]}


# --- what is measured, and shown ---


def test_the_card_tells_where_points_stand_and_what_cannot_be_seen(project: Project) -> None:
    project.suite(tasks=["alpha"])
    project.run()
    report = project.report()
    told = "3 points a run, the first by 0 frames (0.0%), the longest gap 500 frames (50.0%)"
    assert f"| points | official {told}; worldflux {told} |" in report
    assert "what a program leaves out of its own reports" in report


def test_a_suite_that_says_nothing_keeps_its_numbers_with_a_warning(project: Project) -> None:
    project.suite(tasks=["alpha"], eval_protocol={"eval_episodes": 1}, metrics=AREA)
    project.suite("loss", tasks=["alpha"], eval_protocol={"eval_episodes": 1},
                  metrics=[{"name": "loss.late", "rule": "equivalence", "margin": 0.1}])  # fmt: skip
    assert project.run().ret == pytest.ExitCode.OK
    [warning] = project.document()["warnings"]
    assert warning.startswith("nothing says what the points of the curves of alpha are")
    assert project.document("loss/run.json")["warnings"] == []
    lines = [x for x in project.lines() if x["system"] == "official"]
    means = project.document()["metrics"]["auc_return"]["calibrated"]["tasks"][0]
    areas = []
    for line in lines:
        a, b, c = (p["return"] for p in line["metrics"]["curve"])
        areas.append((a / 2 + b + c / 2) / 2)
    assert means["mean_upstream"] == pytest.approx(sum(areas) / 3)


def test_the_last_frames_are_a_window(project: Project) -> None:
    """The program is asked for it, states it, and the mean is over the points of these frames."""
    reporting(project, EVERY)
    protocol = {"eval_interval": 100, "eval_episodes": 1, "eval_window": {"frames": 250}}
    score = [{"name": "final_return_mean", "rule": "calibrated", "margin": 0.05}]
    project.suite(tasks=["alpha"], eval_protocol=protocol, metrics=score)
    assert project.run().ret == pytest.ExitCode.OK
    [task] = project.document()["metrics"]["final_return_mean"]["calibrated"]["tasks"]
    last = [
        p["return"] for line in project.lines() if line["system"] == "official"
        for p in line["metrics"]["curve"] if p["step"] >= 750
    ]  # fmt: skip
    assert len(last) == 9
    assert task["mean_upstream"] == pytest.approx(sum(last) / 9)


# --- what a suite may say ---


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"points": "episode"},
            "points is 'episode'; did you mean 'episodes'?; valid: evaluations, episodes",
        ),
        (
            {"points": "evaluations", "eval_protocol": {}},
            "nothing says how far apart; to mend: add `eval_prot",
        ),
        ({"bins": 20}, "the points are no episodes; to mend: write `points: episodes`, or leave bins out"),
        ({"points": "episodes", "bins": 0}, "bins: "),
        ({"points": "episodes", "bins": 2.5}, "bins is 2.5 (float); valid: integer"),
        ({"eval_protocol": {"eval_interval": 1001}}, "has 0 evaluations up to its budget of 1000 frames"),
        (
            {"eval_protocol": {"eval_interval": 500, "eval_window": 3}},
            "has 2 evaluations up to its budget of 1000 frames, one each 500, and its score is the",
        ),
        ({"eval_protocol": {"eval_window": {"frame": 10}}}, "unknown key 'frame'; did you mean 'frames'?"),
        ({"eval_protocol": {"eval_window": {"frames": 0}}}, "eval_window"),
    ],
)
@pytest.mark.parametrize("track", ["quick", "proof"])
def test_what_cannot_be_meant_is_refused_in_one_line(
    tmp_path: Path, track: str, changes: dict[str, Any], told: str
) -> None:
    base = SUITE if track == "quick" else {**PROOF, "suite_id": "p"}
    path = tmp_path / "suite.yaml"
    path.write_text(json.dumps({**base, **changes}, indent=1), encoding="utf-8")
    with pytest.raises(SuiteError) as caught:
        (suite_file if track == "quick" else proof_file).load(path)
    line = caught.value.line()
    assert line.startswith(f"{path}:")
    assert told in line
    assert "\n" not in line


def test_a_claim_says_what_its_points_are(tmp_path: Path) -> None:
    claim = {**PROOF, "suite_id": "p", "claim": "proof_grade", "component_match": "golden",
             "seed_policy": {"mode": "fixed", "values": [0, 1, 2, 3, 4]}}  # fmt: skip
    path = tmp_path / "suite.yaml"
    path.write_text(json.dumps({**claim, "eval_protocol": {}}), encoding="utf-8")
    with pytest.raises(SuiteError, match="for a claim the suite says what the points of its curves are"):
        proof_file.load(path)
    for said in ({}, {"points": "episodes", "eval_protocol": {}}):
        path.write_text(json.dumps({**claim, **said}), encoding="utf-8")
        assert proof_file.load(path).is_claim


def test_every_suite_of_the_repository_says_what_its_points_are() -> None:
    for path in sorted((ROOT / "suites").glob("*/*.yaml")):
        source = suite_file.read(path)
        if source.track == "proof":
            assert not any(part.unsaid_points for part in proof_file.load(path).parts)
        elif source.track == "quick" and source.schema == "suite.v1":
            assert all(task.points for task in suite_file.load(path).tasks)


def test_a_manifest_keeps_its_numbers_whatever_it_says(tmp_path: Path) -> None:
    """Its Atari tasks state an interval and score episodes; its claim stands, and its verdict warns."""
    path = tmp_path / "manifest.yaml"
    path.write_text(json.dumps(manifest(defaults=CLAIMED)), encoding="utf-8")
    proof = proof_file.load(path)
    assert proof.is_claim
    for part in proof.parts:
        assert all(t.eval_protocol["eval_interval"] == 5000 for t in part.tasks)
        assert all((t.points, t.eval_window) == (None, 10) for t in part.tasks)
        assert part.unsaid_points == part.tasks


@pytest.mark.parametrize("window", ["ten", 0, -1, 2.5, None, True, {"frames": 10}, [1], 10**15])
def test_a_window_of_a_manifest_that_is_none_is_refused_in_one_line(tmp_path: Path, window: object) -> None:
    path = tmp_path / "manifest.yaml"
    document = manifest(defaults=CLAIMED)
    document["tasks"][3]["eval_protocol"]["eval_window"] = window
    path.write_text(json.dumps(document, indent=1), encoding="utf-8")
    with pytest.raises(
        SuiteError, match="not a positive number of points; to mend: write a whole number"
    ) as told:
        proof_file.load(path)
    assert told.value.line().startswith(f"{path}:")
    assert "\n" not in told.value.line()
    document["tasks"][3]["eval_protocol"]["eval_window"] = "10"
    path.write_text(json.dumps(document), encoding="utf-8")
    assert {t.eval_window for part in proof_file.load(path).parts for t in part.tasks} == {10}


# --- null scores ---


def _written(folder: Path, form: str, values: list[float | None]) -> str:
    """A table of one task and four seeds, whose scores at 800, 900 and 1000 frames are ``values``."""
    steps = (800, 900, 1000)
    scores = [
        (seed, step, None if value is None else value + seed / 10)
        for seed in range(4)
        for step, value in zip(steps, values, strict=True)
    ]
    objects = [{"task": "alpha", "seed": n, "step": s, "score": v} for n, s, v in scores]
    curves = [
        {"task": "alpha", "seed": n, "xs": list(steps), "ys": [v for m, _, v in scores if m == n]}
        for n in range(4)
    ]
    cells = "\n".join(["step,reward,seed", *(f"{s},{'' if v is None else v},{n}" for n, s, v in scores), ""])
    name, data = {
        "canonical_json": ("t.json", json.dumps({"scores": objects}).encode()),
        "canonical_jsonl": ("t.jsonl", "\n".join(map(json.dumps, objects)).encode()),
        "dreamerv3_scores_json_gz": ("t.json.gz", gzip.compress(json.dumps(curves).encode())),
        "tdmpc2_results_csv_dir": ("t/alpha.csv", cells.encode()),
    }[form]
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(data)
    return name.split("/")[0]


@pytest.mark.parametrize(
    "form", ["canonical_json", "canonical_jsonl", "dreamerv3_scores_json_gz", "tdmpc2_results_csv_dir"]
)
@pytest.mark.parametrize("older", [False, True])
@pytest.mark.parametrize(("values", "judged"), [([50.0, 99.0, None], False), ([None, 99.0, 100.0], True)])
def test_a_null_at_the_judged_step_is_missing_in_every_format(
    project: Project, form: str, older: bool, values: list[float | None], judged: bool
) -> None:
    """Dropped in silence it would leave an earlier point to be judged; one long before is dropped."""
    tables = Tables(project)
    official = tables.json("official.json", [r for r in rows("official") if r["task"] == "alpha"])
    side = {"artifact": {"path": _written(tables.folder, form, values), "format": form}}
    if older:
        tables.legacy("fake_quick", official, side, ["alpha"])
    else:
        tables.suite("fake_quick", official, side, tasks=["alpha"], budget={"step": 1000, "tolerance": 0.1})
    project.run()
    run = project.document()
    assert codes(run) == (set() if judged else {"null_score"})
    assert (run["verdict"] == "fail") is not judged


def test_a_table_that_holds_nothing_but_nulls_of_a_seed_lacks_it(project: Project) -> None:
    """In a suite whose seeds the tables name, a seed without a score is one all the same."""
    tables = Tables(project)
    alpha = [r for r in rows("official", seeds=range(5)) if r["task"] == "alpha"]
    nulls = [
        {**r, "score": None} if r["seed"] == 4 else r
        for r in rows("w", seeds=range(5))
        if r["task"] == "alpha"
    ]
    both = [{**r, "score": None} if r["seed"] == 4 else r for r in alpha]
    tables.legacy("one", tables.json("a.json", alpha), tables.json("b.json", nulls), ["alpha"])
    tables.legacy("two", tables.json("c.json", both), tables.json("b.json", nulls), ["alpha"])
    assert project.run().ret == pytest.ExitCode.TESTS_FAILED
    for name, missing in (("one", 1), ("two", 2)):
        run = project.document(f"{name}/run.json")
        assert run["verdict"] == "fail"
        assert len(run["gates"]["coverage"]["findings"]) == missing


def test_a_null_of_a_program_is_missing_too(project: Project) -> None:
    program = project.root / "backends" / "program.py"
    text = program.read_text(encoding="utf-8")
    own = 'data = wire.record_to_dict(record(request))\n    data["curve"][-1]["return"] = None'
    text = text.replace(
        'data = wire.record_to_dict(record(request))\n    data["curve"][-1]["return"] = float("nan")', own
    )
    assert own in text
    program.write_text(text, encoding="utf-8")
    recipe = {"level": 100.0, "behaviour": "nan", "only": ["worldflux/alpha/1"]}
    project.suite(tasks=["alpha"], recipe=recipe)
    assert project.run().ret == pytest.ExitCode.TESTS_FAILED
    assert codes(project.document()) == {"failed"}


# --- any number of seeds ---


@pytest.mark.parametrize("spread", [0.5, 0.0])
def test_more_seeds_than_a_float_can_count_the_orders_of_are_judged(project: Project, spread: float) -> None:
    tables = Tables(project)
    sides = []
    for name in ("official", "worldflux"):
        scores = rows(name, seeds=range(600))
        if not spread:
            scores = [{**r, "score": 100.0 if name == "official" else 50.0} for r in scores]
        sides.append(tables.json(f"{name}.json", scores, adapter=name))
    tables.suite("fake_quick", *sides, seeds=600)
    result = project.run("-q")
    assert "Error" not in result.stdout.str()
    assert project.document()["verdict"] == ("pass" if spread else "fail")
