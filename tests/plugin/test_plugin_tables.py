"""Score tables as one side or both: what is compared, what is missing, what is a copy."""

from __future__ import annotations

import json
import random
import re
import shutil
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

from pytest_worldflux_parity.inputs.lock import read_lock
from pytest_worldflux_parity.inputs.scores import load_table
from pytest_worldflux_parity.reporting.escaping import escape
from tests.conftest import SUITE, Project
from tests.oracles import ORACLES, needs_oracles

CHECKOUT = Path(__file__).resolve().parents[2]
RECIPE = SUITE["recipe"]


def rows(
    salt: str, *, seeds: Iterable[int] = range(4), factor: float = 1.0, step: int = 1000, **more: Any
) -> list[dict[str, Any]]:
    """Scores around 100 for alpha and beta, one evaluation each."""
    rng = random.Random(salt)
    return [
        {"task": t, "seed": s, "step": step, "score": 100 * factor + rng.gauss(0, 0.5), **more}
        for t in ("alpha", "beta")
        for s in seeds
    ]


class Tables:
    """Writes tables and the suites that compare them."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.folder = project.root / "suites" / "quick"
        self.folder.mkdir(parents=True)

    def json(self, name: str, scores: list[dict[str, Any]], **provenance: Any) -> dict[str, Any]:
        document = {"scores": scores, **({"provenance": provenance} if provenance else {})}
        (self.folder / name).write_text(json.dumps(document), encoding="utf-8")
        return {"artifact": {"path": name, "format": "canonical_json"}}

    def jsonl(self, name: str, scores: list[dict[str, Any]]) -> dict[str, Any]:
        (self.folder / name).write_text("\n".join(json.dumps(r) for r in scores), encoding="utf-8")
        return {"artifact": {"path": name, "format": "canonical_jsonl"}}

    def suite(self, name: str, official: dict[str, Any], worldflux: dict[str, Any], **changes: Any) -> None:
        self.project.suite(name, official=official, worldflux=worldflux, **{"seeds": 4, **changes})

    def legacy(
        self, name: str, official: dict[str, Any], worldflux: dict[str, Any], tasks: list[str], **keys: Any
    ) -> None:
        document = {
            "suite_id": name, "family": "fake", "metric": "episode_return", "higher_is_better": True,
            "margin_ratio": 0.05, "confidence": 0.95, "tasks": tasks,
            "upstream": official["artifact"], "worldflux": worldflux["artifact"], **keys,
        }  # fmt: skip
        (self.folder / f"{name}.yaml").write_text(json.dumps(document), encoding="utf-8")


def warnings_of(document: dict[str, Any], *, older: bool = False) -> list[str]:
    """The warnings of a suite, but the first: these projects have no lock file that pins their tables.

    Nor one more of an older suite, which has no words for what its points are.
    """
    unpinned, *others = document["warnings"]
    assert unpinned.startswith("no lock entry pins the official table ")
    kept = [w for w in others if not w.startswith("nothing says what the points of the curves of alpha")]
    assert (len(others) - len(kept)) == older
    return kept


@pytest.fixture
def tables(project: Project) -> Tables:
    return Tables(project)


def test_two_tables(tables: Tables) -> None:
    project = tables.project
    official = tables.json("official.json", rows("official", seeds=range(10)))
    good = tables.jsonl("good.jsonl", rows("worldflux"))
    tables.suite("good", official, good)
    tables.suite("more_official_seeds", official, good, seeds={"official": 10, "worldflux": 4})
    tables.suite("worse", official, tables.jsonl("worse.jsonl", rows("worldflux", factor=0.8)))
    tables.suite("same_file", official, official)
    copy = tables.json("copy.json", rows("official", seeds=range(10)))
    tables.suite("copy", official, copy)
    first_seeds = [r for r in rows("official", seeds=range(10)) if r["seed"] < 4]
    tables.suite("reformatted", official, tables.jsonl("other.jsonl", first_seeds))
    partly = [r for r in rows("worldflux") if r["task"] == "beta"] + first_seeds[:4]
    tables.suite("partly_copied", official, tables.jsonl("partly.jsonl", partly))
    tables.suite("own_scores", tables.json("own.json", rows("o"), adapter="x"),
                 tables.json("own2.json", rows("w"), adapter="x"))  # fmt: skip
    tables.suite("too_few_seeds", official, good, seeds=5)
    early = tables.jsonl("early.jsonl", rows("worldflux", step=940))
    tables.suite("early", official, early)
    tables.suite("early_tolerated", official, early, budget={"step": 1000, "tolerance": 0.1})
    tables.suite("no_task", official, good, tasks=["alpha", "gamma"])
    assert project.run().ret == pytest.ExitCode.TESTS_FAILED

    runs = {p.parent.name: json.loads(p.read_text()) for p in project.run_dir().glob("*/run.json")}
    passed = {"good", "more_official_seeds", "early_tolerated"}
    assert {name for name, run in runs.items() if run["pass"]} == passed
    assert all(run["verdict"] == "fail" for name, run in runs.items() if name not in passed)

    def codes(name: str, gate: str) -> set[str]:
        return {f["code"] for f in runs[name]["gates"][gate]["findings"]}

    assert codes("same_file", "independence") == {"same_score_file"}
    assert codes("copy", "independence") == {"same_score_file"}
    assert codes("reformatted", "independence") == {"identical_scores"}
    [finding] = runs["partly_copied"]["gates"]["independence"]["findings"]
    assert (finding["code"], finding["task_id"]) == ("identical_scores", "alpha")
    assert codes("own_scores", "independence") == {"same_program"}
    assert runs["good"]["counts"]["unused"] == {"official": 12, "worldflux": 0}
    assert runs["more_official_seeds"]["counts"]["unused"] == {"official": 0, "worldflux": 0}
    assert (
        runs["more_official_seeds"]["metrics"]["episode_return"]["calibrated"]["tasks"][0]["n_upstream"] == 10
    )
    assert codes("too_few_seeds", "coverage") == {"not_in_table"}
    assert {(m["task"], m["seed"]) for m in runs["too_few_seeds"]["missing"]["upstream_only"]} == {
        ("alpha", 4), ("beta", 4),
    }  # fmt: skip
    assert codes("early", "coverage") == {"no_point_at_budget"}
    assert len(runs["early"]["missing"]["upstream_only"]) == 8
    assert codes("no_task", "coverage") == {"not_in_table"}
    assert runs["good"]["runs"] == []


def test_a_table_beside_a_live_side(tables: Tables) -> None:
    """The recipe that the table states is held against what the live side effectively used."""
    project = tables.project
    protocol = SUITE["eval_protocol"]

    def states(recipe: dict[str, Any]) -> dict[str, Any]:
        return {t: {"effective_recipe": recipe, "eval_protocol": protocol} for t in ("alpha", "beta")}

    live = {"backend": "fake_worldflux"}
    tables.suite("same", tables.json("same.json", rows("a"), tasks=states(RECIPE)), live)
    tables.suite("other", tables.json("other.json", rows("b"), tasks=states({"level": 99.0})), live)
    tables.suite("silent", tables.json("silent.json", rows("c")), live)
    tables.suite("own", tables.json("own.json", rows("d"), adapter="fake_worldflux"), live)
    result = project.run("-q")
    assert result.ret == pytest.ExitCode.TESTS_FAILED

    same, other, silent, own = (project.document(f"{n}/run.json") for n in ("same", "other", "silent", "own"))
    assert (same["verdict"], other["verdict"], silent["verdict"], own["verdict"]) == (
        "pass", "fail", "pass", "fail",
    )  # fmt: skip
    assert "same recipe and protocol in all 8 pairs" in same["gates"]["validity"]["reason"]
    assert warnings_of(same) == []
    assert {f["code"] for f in other["gates"]["validity"]["findings"]} == {"recipe_mismatch"}
    assert len(other["gates"]["validity"]["findings"]) == 8
    # Every pair says so itself, not only the verdict at the end.
    result.stdout.fnmatch_lines(["*suites/quick/other.yaml::alpha?seed=0?*recipe_mismatch*"])
    assert warnings_of(silent) == [
        "recipe and protocol of both sides are known in 0 of 8 pairs only, and not compared in the others"
    ]
    assert {f["code"] for f in own["gates"]["independence"]["findings"]} == {"same_program"}


def test_a_task_of_an_older_suite_that_no_table_has_is_a_finding(tables: Tables) -> None:
    """No seed is expected of it, so that nothing of it is missing either."""
    project = tables.project
    one, other = tables.json("a.json", rows("a")), tables.json("b.json", rows("b"))
    tables.legacy("whole", one, other, ["alpha", "beta"])
    tables.legacy("empty", one, other, ["alpha", "gamma"])
    assert project.run().ret == pytest.ExitCode.TESTS_FAILED
    assert project.document("whole/run.json")["verdict"] == "pass"
    found = project.document("empty/run.json")["gates"]["coverage"]["findings"]
    assert [(f["code"], f["task_id"]) for f in found] == [("task_missing", "gamma")]


def test_what_an_older_suite_of_unequal_seeds_is_told_can_be_done(tables: Tables) -> None:
    """It has no key for seeds, so it is not told to name them."""
    one = tables.json("one.json", rows("o", seeds=range(6)))
    other = tables.json("other.json", rows("w", seeds=(0, 1, 2)))
    tables.legacy("older", one, other, ["alpha", "beta"])
    result = tables.project.run("suites/quick/older.yaml")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    (advice,) = set(re.findall(r"alpha seed [345]: no row in .*; to mend: (.*)", result.stdout.str()))
    seeds = "{official: [0, 1, 2, 3, 4, 5], worldflux: [0, 1, 2]}"
    assert advice.endswith(f"write the suite as worldflux.parity.suite.v1 with `seeds: {seeds}`")
    rule = [{"name": "episode_return", "rule": "drop_ratio", "margin": 0.05}]
    tables.suite("newer", one, other, seeds=yaml.safe_load(seeds), metrics=rule)
    result = tables.project.run("suites/quick/newer.yaml", run_id="newer")
    assert result.ret == pytest.ExitCode.OK, result.stdout.str()


def test_an_older_suite_warns_where_it_is_blind(tables: Tables) -> None:
    """Steps that differ, repeated rows, and a pass that the calibrated rule does not give."""
    project = tables.project
    apart = tables.json("apart.json", rows("a", step=1200))
    repeated = rows("b")
    tables.legacy(
        "blind",
        apart,
        tables.jsonl("repeated.jsonl", [*repeated, {**repeated[0], "score": 99.9}]),
        ["alpha", "beta"],
    )
    noise = random.Random(3)
    wide = [{"task": "alpha", "seed": s, "step": 10, "score": 100 + noise.gauss(0, 60)} for s in range(4)]
    # Near enough to pass, and with noise enough to be no copy.
    close = [{**row, "score": row["score"] * 0.97 + noise.gauss(0, 3)} for row in wide]
    tables.legacy("biased", tables.json("wide.json", wide), tables.json("close.json", close), ["alpha"])
    result = project.run("--junitxml", "junit.xml")
    assert result.ret == pytest.ExitCode.OK, result.stdout.str()
    blind, biased = project.document("blind/run.json"), project.document("biased/run.json")
    assert warnings_of(blind, older=True) == [
        "latest is compared with latest, at steps more than 10 % apart: "
        "alpha seed 0: official at 1200 frames, worldflux at 1000 and 7 more",
        "1 rows of the worldflux table repeat a (task, seed, step); the last of them counts",
    ]
    assert blind["pairs"][0]["worldflux_score"] == 99.9
    [warning] = warnings_of(biased, older=True)
    assert warning.startswith("rule drop_ratio passes, rule calibrated says inconclusive: ")
    junit = ElementTree.parse(project.root / "junit.xml")
    in_junit = [p.get("value") for p in junit.iter("property") if p.get("name") == "warning"]
    for text in (*blind["warnings"], warning):
        assert text in result.stdout.str()
        assert escape(text) in project.report()
        assert text in in_junit


@needs_oracles
def test_published_scores(tables: Tables) -> None:
    """Rows 10 and 11 of the published numbers: a weaker algorithm fails; a table against itself is a copy."""
    project = tables.project
    shutil.copytree(ORACLES, tables.folder / "oracles")

    def side(path: str, format: str) -> dict[str, Any]:
        return {"artifact": {"path": f"oracles/{path}", "format": format}}

    dreamer = side("dreamerv3/scores/atari100k-dreamerv3.json.gz", "dreamerv3_scores_json_gz")
    ppo = side("dreamerv3/scores/atari100k-ppo_fixhp.json.gz", "dreamerv3_scores_json_gz")
    atari = load_table(ORACLES / "dreamerv3/scores/atari100k-dreamerv3.json.gz", "dreamerv3_scores_json_gz")
    locked = read_lock(CHECKOUT / "reports/parity/upstream_lock.json").entry("tdmpc2_dmcontrol39")
    control = sorted(Path(p).stem for p in locked.oracle_files)
    assert (len(atari.tasks()), len(control)) == (26, 39)
    second = side("tdmpc2/results/tdmpc2", "tdmpc2_results_csv_dir")
    first = side("tdmpc2/results/tdmpc", "tdmpc2_results_csv_dir")
    tables.legacy("row10", dreamer, ppo, sorted(atari.tasks()))
    tables.legacy("row11", second, first, control)
    tables.legacy("itself", second, second, control)
    assert project.run("-q", "-p", "no:warnings").ret == pytest.ExitCode.TESTS_FAILED
    row10, row11 = project.document("row10/run.json"), project.document("row11/run.json")
    for run, pairs, mean, upper in (
        (row10, 130, 0.9111965294, 1.189),
        (row11, 117, 0.1804502540, 0.226),
    ):
        assert run["verdict"] == "fail"
        assert run["gates"]["independence"]["verdict"] == "pass"
        assert run["stats"]["sample_size"] == len(run["pairs"]) == pairs
        assert run["stats"]["mean_drop_ratio"] == pytest.approx(mean, abs=1e-6)
        assert run["stats"]["ci_upper_ratio"] == pytest.approx(upper, abs=5e-4)
        assert run["stats"]["pass_non_inferiority"] is False
    assert any(re.match(r"\d+ rows of the worldflux table repeat", w) for w in row11["warnings"])
    itself = project.document("itself/run.json")
    assert itself["verdict"] == "fail"
    assert {f["code"] for f in itself["gates"]["independence"]["findings"]} == {"same_score_file"}
