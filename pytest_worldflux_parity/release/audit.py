"""A run's document -> how it contradicts itself: everything in it that can be computed again is.

Verdicts, booleans and counts must be equal, numbers to 1e-9 relative. Nothing is believed but scores, gates
and what was asked for; whether these are true is for those to check who have the records.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from ..errors import StatisticsError
from ..judgement.gates import Finding
from ..judgement.gates.coverage import share_apart
from ..judgement.gates.fixture import BANNER
from ..judgement.quick import BOOTSTRAP_SEED, Judged, by_rule
from ..judgement.stats.calibrated import TaskScores
from ..judgement.stats.effects import drop_ratio
from ..judgement.stats.noninferiority import DropRatioResult, drop_ratio_rule
from ..reporting.documents import result_fields
from ..suite.suite import SYSTEMS, Metric

RELATIVE = 1e-9
SIDES = {"official": "upstream", "worldflux": "worldflux"}

Document = Mapping[str, Any]


def is_earlier(run: Document) -> bool:
    """Whether a ``worldflux.parity.run.v1`` document has only the keys of the earlier system."""
    return "verdict" not in run and "gates" not in run and "metrics" not in run


def run_findings(run: Document) -> list[Finding]:
    """How a document that keeps its schema contradicts itself; empty where it does not."""
    try:
        found = [*_pairs(run), *_counts(run), *_statistics(run), *_same_inputs(run), *_fixture(run)]
        if is_earlier(run):
            return [*found, *_earlier_verdict(run)]
        return [*found, *_steps(run), *_metrics(run), *_verdict(run)]
    except StatisticsError as error:
        return [Finding("not_computable", error.line())]


def _fixture(run: Document) -> Iterator[Finding]:
    """A document of made-up numbers says so twice, in its mark and in the warnings of its gates."""
    if is_earlier(run):
        return
    warned = any(w.startswith(BANNER) for gate in run["gates"].values() for w in gate["warnings"])
    if warned is not (run.get("fixture") is True):
        warns = "a gate warns" if warned else "no gate warns"
        text = f"fixture is {run.get('fixture', 'absent')}, and {warns} of made-up numbers"
        yield Finding("fixture_unmarked", text)


def missing_results(run: Document) -> int:
    """How many expected results a document lacks, by its lists or by its counts, whichever says more."""
    listed = sum(len(rows) for rows in run["missing"].values())
    counts = run["counts"]
    counted = counts["upstream_only"] + counts["worldflux_only"] if is_earlier(run) else counts["missing"]
    return max(listed, int(counted), len(_empty_tasks(run)))


def _empty_tasks(run: Document) -> set[str]:
    """Tasks that cannot be judged: what is expected comes from the suite, and not from what is there."""
    if is_earlier(run):
        return set(run["suite"]["tasks"]) - {p["task"] for p in run["pairs"]}
    return {
        task
        for own in run["metrics"].values()
        for task in own["tasks"]
        if not all(own["values"].get(task, {}).get(system) for system in SYSTEMS)
    }


def _rule(run: Document) -> dict[str, Any]:
    """What the drop ratio of the primary metric is computed with."""
    suite = run["suite"]
    own = {} if is_earlier(run) else run["metrics"].get(suite["metric"], {})
    return {"higher_is_better": suite.get("higher_is_better", True), "floor": own.get("floor", 1.0)}


def _pairs(run: Document) -> Iterator[Finding]:
    """Pairs twice or of no task of the suite, and drop ratios that do not follow from the scores."""
    seen: set[tuple[str, int]] = set()
    for pair in run["pairs"]:
        key = (pair["task"], pair["seed"])
        about = {"task_id": pair["task"], "seed": pair["seed"]}
        if key in seen:
            yield Finding("pair_twice", "stands twice in pairs", **about)
        seen.add(key)
        if pair["task"] not in run["suite"]["tasks"]:
            yield Finding("unknown_task", "is no task of the suite", **about)
        drop = float(drop_ratio([pair["upstream_score"]], [pair["worldflux_score"]], **_rule(run))[0])
        if not close(pair["drop_ratio"], drop):
            text = f"pairs has drop_ratio {pair['drop_ratio']!r}, the scores give {drop!r}"
            yield Finding("drop_ratio_differs", text, **about)


def largest_share_apart(run: Document) -> float:
    """How far apart the two steps of a pair are at most, as a share of the later one; 0 where none is known.

    Taken from the pairs of a document of either system, whatever it says of them.
    """
    return max((share for _, share in _shares(run)), default=0.0)


def _shares(run: Document) -> Iterator[tuple[tuple[str, int], float]]:
    for pair in run["pairs"]:
        steps = [pair.get(f"{side}_step") for side in SIDES.values()]
        if None not in steps:
            yield (pair["task"], pair["seed"]), share_apart(*steps)


def _steps(run: Document) -> Iterator[Finding]:
    """``steps_apart`` has every pair whose sides stand at different steps, and how far apart they are."""
    stated = run.get("steps_apart", {"largest_share": 0.0, "pairs": []})
    listed = {(p["task"], p["seed"]): p["share"] for p in stated["pairs"]}
    for (task, seed), share in _shares(run):
        if not close(listed.get((task, seed), 0.0), share):
            text = f"steps_apart has {listed.get((task, seed))!r}, the steps of the pair give {share!r}"
            yield Finding("steps_differ", text, task, seed)
    largest = max(listed.values(), default=0.0)
    if not close(stated["largest_share"], largest):
        text = f"steps_apart.largest_share is {stated['largest_share']!r}, its pairs give {largest!r}"
        yield Finding("steps_differ", text)


def _counts(run: Document) -> Iterator[Finding]:
    counts, missing = run["counts"], run["missing"]
    wanted = {"paired": len(run["pairs"])}
    for side in ("upstream", "worldflux"):
        wanted[f"{side}_only"] = counts[f"{side}_points"] - len(run["pairs"])
    if is_earlier(run):
        for side in ("upstream_only", "worldflux_only"):
            if len(missing[side]) != counts[side]:
                text = f"counts.{side} is {counts[side]}, missing.{side} has {len(missing[side])}"
                yield Finding("counts_differ", text)
    else:
        wanted["missing"] = sum(len(rows) for rows in missing.values())
    for key, value in wanted.items():
        if counts[key] != value:
            yield Finding("counts_differ", f"counts.{key} is {counts[key]}, the document has {value}")


def _statistics(run: Document) -> Iterator[Finding]:
    """``stats`` computed again from the pairs, as the documented rule says."""
    stats, suite = run["stats"], run["suite"]
    for key in ("margin_ratio", "confidence"):
        if stats[key] != suite[key]:
            yield Finding("stats_differ", f"stats.{key} is {stats[key]}, suite.{key} is {suite[key]}")
    if stats["sample_size"] is None:
        yield from _left_out(run)
        return
    if not run["pairs"]:
        yield Finding("stats_differ", f"stats is about {stats['sample_size']} pairs, and there is none")
        return
    result = _documented(run)
    computed = {**(result_fields(result) or {}), "pass_non_inferiority": result.pass_}
    # The reference's lower bound decides nothing, and its level is not documented.
    left_out = {"verdict_reason", *(["ci_lower_ratio"] if is_earlier(run) else [])}
    for key in stats.keys() - left_out:
        if not same(stats[key], computed[key]):
            text = f"stats.{key} is {stats[key]!r}, the pairs give {computed[key]!r}"
            yield Finding("stats_differ", text)


def _left_out(run: Document) -> Iterator[Finding]:
    """Statistics that should be there: the primary metric has them."""
    primary = run["metrics"].get(run["suite"]["metric"], {})
    if primary.get("drop_ratio") is not None:
        yield Finding("stats_differ", "stats are empty, and the primary metric has a drop_ratio")
    filled = [k for k in ("mean_drop_ratio", "ci_upper_ratio", "pass_non_inferiority") if run["stats"][k]]
    if filled:
        yield Finding("stats_differ", f"stats has no sample_size, and {', '.join(filled)}")


def _documented(run: Document) -> DropRatioResult:
    rows = sorted(run["pairs"], key=lambda p: (p["task"], p["seed"]))
    return drop_ratio_rule(
        [p["upstream_score"] for p in rows],
        [p["worldflux_score"] for p in rows],
        margin=run["suite"]["margin_ratio"],
        confidence=run["suite"]["confidence"],
        rng=np.random.default_rng(BOOTSTRAP_SEED),
        **_rule(run),
    )


def _same_inputs(run: Document) -> Iterator[Finding]:
    """A comparison of a table with itself proves nothing."""
    integrity = run.get("artifact_integrity", {})
    inputs = [integrity.get(f"{side}_input_sha256") for side in SIDES.values()]
    if _passes(run) and inputs[0] is not None and inputs[0] == inputs[1]:
        yield Finding("same_score_file", "both sides are the same table, and the document says pass")
    identical = all(p["upstream_score"] == p["worldflux_score"] for p in run["pairs"])
    if _passes(run) and run["pairs"] and identical:
        yield Finding("identical_scores", "all pairs have the same score twice, and the document says pass")


def _passes(run: Document) -> bool:
    return bool(run["pass"])


def _earlier_verdict(run: Document) -> Iterator[Finding]:
    if run["pass"] is not run["stats"]["pass_non_inferiority"]:
        stated = run["stats"]["pass_non_inferiority"]
        yield Finding("verdict_differs", f"pass is {run['pass']}, stats.pass_non_inferiority is {stated}")


def _metrics(run: Document) -> Iterator[Finding]:
    """Every metric judged again from its values."""
    if run["suite"]["metric"] not in run["metrics"]:
        yield Finding("metric_missing", f"the primary metric {run['suite']['metric']!r} is not in metrics")
        return
    yield from _expected_values(run)
    yield from _values_of_pairs(run)
    for name, own in run["metrics"].items():
        yield from _judged_again(run, name, own)


def _judged_again(run: Document, name: str, own: Document) -> Iterator[Finding]:
    # Only suites of the earlier system leave their seeds to the tables.
    legacy = run["evaluation_manifest"]["seed_policy"]["mode"] == "as_in_tables"
    judged = _judge(name, own, legacy)
    results = {
        "drop_ratio": judged.documented,
        "calibrated": judged.calibrated,
        "equivalence": judged.equivalence,
    }
    for key, result in results.items():
        for text in differences(own[key], result_fields(result), f"metrics.{name}.{key}"):
            yield Finding("metric_differs", text)
    held_back = missing_results(run) > 0 or "fail" in {g["verdict"] for g in run["gates"].values()}
    allowed = {judged.verdict} if judged.verdict != "pass" or not held_back else {"fail", "inconclusive"}
    # Where values are missing and a gate is broken, what is open counts as failed.
    if judged.verdict == "inconclusive" and held_back:
        allowed.add("fail")
    if own["verdict"] not in allowed:
        text = f"metrics.{name}.verdict is {own['verdict']}, its values and the gates give {min(allowed)}"
        yield Finding("verdict_differs", text)


def _judge(name: str, own: Document, legacy: bool) -> Judged:
    """A metric judged from what the document has of it."""
    metric = Metric(
        name,
        own["rule"],
        own["margin"],
        own["confidence"],
        own["higher_is_better"],
        own["floor"],
        tuple(own["tasks"]),
    )
    scores = [_task_scores(task, own["values"].get(task, {})) for task in own["tasks"]]
    if not scores or not all(len(s.upstream_seeds or ()) and len(s.worldflux_seeds or ()) for s in scores):
        return Judged(name, "inconclusive", "a task has no values", metric=metric)
    try:
        return by_rule(metric, name, scores, legacy=legacy)
    except StatisticsError as error:
        return Judged(name, "inconclusive", error.line(), metric=metric)


def _task_scores(task: str, values: Document) -> TaskScores:
    sides = [sorted((int(k), v) for k, v in values.get(s, {}).items()) for s in SYSTEMS]
    (u_seeds, u), (w_seeds, w) = (([k for k, _ in rows], [v for _, v in rows]) for rows in sides)
    return TaskScores(task, u, w, u_seeds, w_seeds)


def _expected_values(run: Document) -> Iterator[Finding]:
    """Every seed of the seed policy has a value in every metric of its task, or is listed as missing."""
    policy = run["evaluation_manifest"]["seed_policy"]
    own_seeds = policy.get("tasks", {})
    if policy["mode"] == "fixed":
        asked = [own_seeds.get(t, policy[system] or ()) for t in run["suite"]["tasks"] for system in SYSTEMS]
        expected = sum(map(len, asked))
        if run["counts"]["expected"] != expected:
            text = f"counts.expected is {run['counts']['expected']}, the seed policy gives {expected}"
            yield Finding("counts_differ", text)
    lacking = {("worldflux" if side == "upstream_only" else "official", m["task"], m["seed"])
               for side, rows in run["missing"].items() for m in rows}  # fmt: skip
    for name, own in run["metrics"].items():
        for task in own["tasks"]:
            for system in SYSTEMS:
                there = own["values"].get(task, {}).get(system, {})
                for seed in own_seeds.get(task, policy[system] or ()):
                    if str(seed) not in there and (system, task, seed) not in lacking:
                        text = f"metrics.{name} has no value, and missing does not list it"
                        yield Finding("omitted", text, task, seed, system)
    judged = {task for own in run["metrics"].values() for task in own["tasks"]}
    for task in run["suite"]["tasks"]:
        if task not in judged:
            yield Finding("omitted", "no metric is judged on this task", task)


def _values_of_pairs(run: Document) -> Iterator[Finding]:
    """``pairs`` and ``counts`` are about the values of the primary metric, and about all of them."""
    values = run["metrics"][run["suite"]["metric"]]["values"]
    pairs = {(p["task"], p["seed"]): p for p in run["pairs"]}
    for task, sides in values.items():
        for seed in sorted(set(map(int, sides["official"])) & set(map(int, sides["worldflux"]))):
            pair = pairs.pop((task, seed), None)
            if pair is None:
                yield Finding("pair_missing", "both sides have a value, and pairs does not", task, seed)
                continue
            for system, side in SIDES.items():
                if pair[f"{side}_score"] != sides[system][str(seed)]:
                    text = f"pairs has {pair[f'{side}_score']!r}, metrics {sides[system][str(seed)]!r}"
                    yield Finding("pair_differs", text, task, seed, system)
    for task, seed in pairs:
        yield Finding("pair_without_values", "stands in pairs and not in metrics", task, seed)
    for system, side in SIDES.items():
        count = sum(len(sides[system]) for sides in values.values())
        if run["counts"][f"{side}_points"] != count:
            stated = run["counts"][f"{side}_points"]
            yield Finding("counts_differ", f"counts.{side}_points is {stated}, metrics has {count}")


def _verdict(run: Document) -> Iterator[Finding]:
    """Gates hold only without findings, and the verdict is the worst of all parts."""
    for name, gate in run["gates"].items():
        if bool(gate["findings"]) is not (gate["verdict"] == "fail"):
            has = f"{len(gate['findings'])} findings"
            yield Finding("verdict_differs", f"gates.{name} is {gate['verdict']} and has {has}")
    lacking = missing_results(run) or run["counts"]["expected"] == 0
    if run["gates"]["coverage"]["verdict"] == "pass" and lacking:
        yield Finding("verdict_differs", "gates.coverage is pass, and results are missing")
    yield from _component_gate(run)
    words = {part["verdict"] for part in (*run["gates"].values(), *run["metrics"].values())}
    worst = next(w for w in ("fail", "inconclusive", "pass") if w in words)
    if run["verdict"] != worst:
        yield Finding("verdict_differs", f"verdict is {run['verdict']}, its parts give {worst}")


def _component_gate(run: Document) -> Iterator[Finding]:
    """Components that are matched have a gate, and it passes exactly when they all match."""
    matched, gate = run["component_match"], run["gates"].get("components")
    if (matched is None) is not (gate is None):
        yield Finding("omitted", "component_match and gates.components are not both there")
    elif matched is not None and gate is not None and matched["pass"] is not (gate["verdict"] == "pass"):
        stated = f"component_match.pass is {matched['pass']}, gates.components is {gate['verdict']}"
        yield Finding("verdict_differs", stated)


def aggregate_findings(aggregate: Document, again: Document, ignored: Iterable[str] = ()) -> list[Finding]:
    """How an aggregate differs from the one that its runs give, key by key.

    Args:
        ignored: top-level keys that are not compared.
    """
    keys = [k for k in again if k in aggregate and k not in set(ignored)]
    texts = [t for key in keys for t in differences(aggregate[key], again[key], key)]
    return [Finding("aggregate_differs", t) for t in texts]


def differences(stated: Any, computed: Any, at: str) -> Iterator[str]:
    """Sentences on where two JSON values differ; reasons are sentences of their own and left out."""
    if isinstance(stated, Mapping) and isinstance(computed, Mapping):
        for key in sorted(stated.keys() | computed.keys()):
            if key in ("reason", "verdict_reason"):
                continue
            if key not in stated or key not in computed:
                yield f"{at}.{key} is {'absent' if key not in stated else 'not expected'}"
            else:
                yield from differences(stated[key], computed[key], f"{at}.{key}")
    elif isinstance(stated, list) and isinstance(computed, list) and len(stated) == len(computed):
        for i, (one, other) in enumerate(zip(stated, computed, strict=True)):
            yield from differences(one, other, f"{at}[{i}]")
    elif not same(stated, computed):
        yield f"{at} is {_shown(stated)}, its data give {_shown(computed)}"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def same(stated: object, computed: object) -> bool:
    """Equal, and numbers that are no counts to 1e-9 relative; a boolean is no number."""
    numbers = (int, float)
    if type(stated) in numbers and type(computed) in numbers and float in (type(stated), type(computed)):
        return close(float(stated), float(computed))  # type: ignore[arg-type]
    return type(stated) is type(computed) and stated == computed


def close(stated: float, computed: float) -> bool:
    """Equal to 1e-9 relative."""
    return math.isclose(stated, computed, rel_tol=RELATIVE, abs_tol=1e-12)
