"""Examples of quick suites: verdicts, components, tables, overrides, resumed runs, and programs that fail."""

from __future__ import annotations

import gzip
import json
import shutil
from typing import Any

from golden_stage import Stage

from tests.components import goldens
from tests.conftest import SUITE
from tests.plugin.test_plugin_overrides import given, table
from tests.plugin.test_plugin_tables import Tables, rows

NOISY = {"level": 100.0, "spread": 10.0}
WORSE = {"level": 100.0, "worldflux_factor": 0.8}


def quick_pass(stage: Stage) -> None:
    stage.project().suite()
    stage.session("quick")


def quick_verdicts(stage: Stage) -> None:
    """Worse, unsure, unsure with a warning in the place of a failure, and every rule side by side."""
    project = stage.project()
    project.suite("worse", recipe=WORSE)
    project.suite("unsure", tasks=["alpha"], recipe=NOISY)
    project.suite("warned", tasks=["alpha"], seeds=2, recipe=NOISY, on_inconclusive="warn")
    rules = (("loss.late", "equivalence"), ("episode_return", "drop_ratio"), ("auc_return", "calibrated"))
    metrics = [{"name": name, "rule": rule, "margin": 0.05} for name, rule in rules]
    project.suite("rules", tasks=["alpha"], recipe={"level": 100.0, "loss_factor": 1.2}, metrics=metrics)
    stage.session("quick")


def quick_copy(stage: Stage) -> None:
    """Two programs whose scores are the same to the last digit, and one whose recipe is another."""
    project = stage.project()
    project.suite("same", tasks=["alpha"], recipe={"level": 100.0, "spread": 0.0})
    project.suite("recipe", tasks=["alpha"], recipe={"level": 100.0, "behaviour": "other_recipe"})
    project.suite("random", tasks=["alpha"], recipe={"level": 100.0, "behaviour": "random_policy"})
    stage.session("quick")


def _matched(stage: Stage, behaviour: str) -> None:
    project = stage.project()
    goldens.declare(stage.root / "backends", "  deadline_sec: 60\n")
    goldens.behave(stage.root / "golden", behaviour)
    project.suite(tasks=["alpha"])


def components_pass(stage: Stage) -> None:
    _matched(stage, "ok")
    stage.session("quick")
    stage.command("component-match", "fake_worldflux", "--output", "match")
    stage.take("match/component_match_report.json")


def components_fail(stage: Stage) -> None:
    _matched(stage, "wrong_heads")
    stage.session("quick")


def components_crash(stage: Stage) -> None:
    _matched(stage, "crash")
    stage.session("quick")
    stage.session("quick", "-k", "alpha", run_id="deselected")


# --- tables ---


def _curves(seeds: range, salt: str, factor: float = 1.0) -> list[dict[str, Any]]:
    """The rows of a table as curves of the DreamerV3 tables."""
    scores = rows(salt, seeds=seeds, factor=factor)
    return [
        {"task": r["task"], "method": "m", "seed": r["seed"], "xs": [500, 1000], "ys": [1.5, r["score"]]}
        for r in scores
    ]


def tables(stage: Stage) -> None:
    """Each format on either side; what is missing, copied, early or of the older form."""
    made = Tables(stage.project())
    folder = made.folder
    (folder / "curves.json").write_text(json.dumps(_curves(range(4), "w")), encoding="utf-8")
    packed = gzip.compress(json.dumps(_curves(range(4), "o")).encode(), mtime=0)
    (folder / "curves.json.gz").write_bytes(packed)
    for task in ("alpha", "beta"):
        cells = [f"{r['step']},{r['score']},{r['seed']}" for r in rows("c") if r["task"] == task]
        stage.write(f"suites/quick/csv/{task}.csv", "\n".join(("step,reward,seed", *cells, "")))

    def side(path: str, name: str) -> dict[str, Any]:
        return {"artifact": {"path": path, "format": name}}

    packed_curves = side("curves.json.gz", "dreamerv3_scores_json_gz")
    curves = side("curves.json", "dreamerv3_scores_json_gz")
    cells_of = side("csv", "tdmpc2_results_csv_dir")
    official, good = made.json("official.json", rows("official")), made.jsonl("good.jsonl", rows("w"))
    both = ["alpha", "beta"]
    made.suite("json_jsonl", official, good)
    made.suite("jsonl_json", good, official, seeds={"official": 4, "worldflux": 3})
    made.suite("gz_csv", packed_curves, cells_of)
    made.suite("csv_curves", cells_of, curves)
    made.suite("worse", official, made.jsonl("worse.jsonl", rows("x", factor=0.8)))
    made.suite("copied", official, made.jsonl("copied.jsonl", rows("official")))
    made.suite("lacking", official, good, seeds=5, tasks=["alpha", "gamma"])
    made.suite("early", official, made.jsonl("early.jsonl", rows("e", step=940)))
    made.legacy("older", official, good, both)
    repeated = [*rows("w"), {**rows("w")[0], "score": 99.9}]
    made.legacy("older_apart", made.json("apart.json", rows("a", step=1200)),
                made.jsonl("repeated.jsonl", repeated), both)  # fmt: skip
    stage.session("quick")


def tables_beside_live(stage: Stage) -> None:
    """A table beside a program: the recipe that it states is the program's, another, or not known."""
    made = Tables(stage.project())
    states = {"effective_recipe": SUITE["recipe"], "eval_protocol": SUITE["eval_protocol"]}
    live = {"backend": "fake_worldflux"}
    for name, recipe in (("same", states), ("other", {**states, "effective_recipe": {"level": 99.0}})):
        made.suite(
            name, made.json(f"{name}.json", rows(name), tasks={"alpha": recipe}), live, tasks=["alpha"]
        )
    made.suite("silent", made.json("silent.json", rows("s")), live, tasks=["alpha"])
    stage.session("quick")


def tables_refused(stage: Stage) -> None:
    """What cannot be read, each in a line with its place."""
    made = Tables(stage.project())
    good = made.json("good.json", rows("good"))
    wrong: dict[str, Any] = {
        "nan": '[{"task": "alpha", "seed": 0, "step": 1000, "score": NaN}]',
        "empty": "[]",
        "seed": '[{"task": "alpha", "seed": 1.5, "step": 1000, "score": 1}]',
        "torn": '{"scores": [{"task"',
    }
    for name, text in wrong.items():
        stage.write(f"suites/quick/{name}_table.json", text)
        made.suite(name, good, {"artifact": {"path": f"{name}_table.json", "format": "canonical_json"}})
    stage.session("quick")


def suites_refused(stage: Stage) -> None:
    """Suites that are none, each in a line with its place, and options that do not belong together."""
    project = stage.project()
    project.suite("misspelt", sedes=3)
    project.suite("no_family", family=None)
    project.suite("a_word", metrics=[{**SUITE["metrics"][0], "higher_is_better": "false"}])
    project.suite("unknown", worldflux={"backend": "fake_worldflax"})
    project.suite("another", schema_version="worldflux.parity.suite.v7")
    stage.write("suites/quick/text.yaml", "a: [1, 2\nb")
    stage.session("quick")
    stage.session("quick", "--parity-source=oracle")
    stage.session("quick", "--parity-resume", run_id="absent")


# --- what is given on the command line, and runs that go on ---


def overrides(stage: Stage) -> None:
    """Other seeds, one system alone, and a table in the place of a program."""
    stage.project().suite(tasks=["alpha"], seeds=2)
    table(stage.root / "published.jsonl", "o")
    stage.session("quick", "--parity-seeds=4,5", run_id="seeds")
    stage.session("quick", "--parity-systems=official", run_id="official")
    stage.session("quick", *given("upstream", "published.jsonl"), run_id="table")


def resumed(stage: Stage) -> None:
    """Deselected, then gone on with; the same run again is refused, and so is one whose suite changed."""
    project = stage.project()
    project.suite(seeds=2)
    stage.session("quick", "-k", "alpha")
    # Of what is missing now there is a suite, which the whole run takes away.
    stage.take("reports/parity/r/fake_quick/missing_pairs.yaml", "reports/parity/r/fake_quick/run.json")
    stage.session("quick", "--parity-resume")
    stage.session("quick")
    project.suite(seeds=3)
    stage.session("quick", "--parity-resume")


def resumed_after_a_failure(stage: Stage) -> None:
    """-x ends at the first failure; what failed is tried again by a resume that says why, and no more."""
    recipe = {"level": 100.0, "behaviour": "flaky", "only": ["worldflux/alpha/1"]}
    stage.project().suite(tasks=["alpha"], recipe=recipe)
    stage.session("quick", "-x")
    stage.take("reports/parity/r/fake_quick/missing_pairs.yaml", "reports/parity/r/fake_quick/run.json")
    stage.session("quick", "--parity-resume", "--parity-retry-failed=its disk was full")


# --- programs that fail ---


def failures(stage: Stage) -> None:
    """Programs that crash, hang, are killed or leave no record, or one that is none."""
    project = stage.project()
    wrong = (
        "crash", "empty_curve", "half_json", "huge_number", "killed", "memory", "mock_mode", "nan",
        "no_metric", "no_record", "says_failure", "wrong_request", "wrong_task",
    )  # fmt: skip
    few: dict[str, Any] = {"tasks": ["alpha"], "seeds": 1}
    for behaviour in wrong:
        recipe = {"level": 100.0, "behaviour": behaviour, "only": ["worldflux/alpha/0"]}
        project.suite(behaviour, recipe=recipe, **few)
    recipe = {"level": 100.0, "behaviour": "hang", "only": ["worldflux/alpha/0"]}
    project.suite("hang", recipe=recipe, **{**few, "deadline_sec": 1})
    stage.session("quick")


def retried(stage: Stage) -> None:
    """A program that fails once, one that always does, and one that asks for too much memory at first."""
    project = stage.project()
    few: dict[str, Any] = {"tasks": ["alpha"], "seeds": 2, "retries": 1}
    for name in ("flaky", "crash", "gpu_memory"):
        recipe = {"level": 100.0, "behaviour": name, "only": ["worldflux/alpha/1"]}
        project.suite(name, recipe=recipe, **few)
    stage.session("quick")
    shutil.rmtree(stage.root / "backends")
    stage.session("quick", "--parity-resume")


QUICK = (
    quick_pass,
    quick_verdicts,
    quick_copy,
    components_pass,
    components_fail,
    components_crash,
    tables,
    tables_beside_live,
    tables_refused,
    suites_refused,
    overrides,
    resumed,
    resumed_after_a_failure,
    failures,
    retried,
)
