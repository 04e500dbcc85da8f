"""Judgement -> ``worldflux.parity.run.v1``.

Field names are those of the earlier system, so that tools which read its documents read ours;
``verdict``, ``gates`` and ``metrics`` stand beside them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ..execution.match_program import REPORT
from ..inputs.lock_reference import LockReference
from ..inputs.prepare import PreparedSuite
from ..judgement.all_gates import Gate
from ..judgement.circumstances import Circumstances
from ..judgement.gates.coverage import StepsApart, steps_apart
from ..judgement.judgement_input import Evidence
from ..judgement.metric_rules import STATISTICS
from ..judgement.quick import Judged, Judgement
from ..judgement.stats.effects import drop_ratio
from ..judgement.stats.measurements import shared_seeds
from ..suite.recipe_terms import RecipeTerms
from ..suite.suite import SYSTEMS, ArtifactSide, Suite
from .aggregates import fixture_mark
from .components import compared_fields, component_match_document, finding_fields, match_reference
from .labels import label_fields

Document = Mapping[str, Any]
RUN_SCHEMA = "worldflux.parity.run.v1"
RUN = "run.json"
# File name of a document -> its schema.
SCHEMAS = {RUN: "run.v1", REPORT: "component_match.v1"}


def fields_of(value: object, *names: str) -> dict[str, Any]:
    """Attributes of a value under their own names, as JSON has them; of None, None each."""
    found = {name: None if value is None else getattr(value, name) for name in names}
    return {name: list(v) if isinstance(v, tuple) else v for name, v in found.items()}


def head_of(schema: str, suite_id: str | None, time: str, input: str) -> dict[str, Any]:
    """The first keys of every document of a proof."""
    return {"schema_version": schema, "suite_id": suite_id, "generated_at": time, "input": input}


def quick_documents(
    judgement: Judgement,
    prepared: PreparedSuite,
    reference: LockReference,
    circumstances: Circumstances,
    *,
    time: str,
    golden_path: str,
) -> dict[str, dict[str, Any]]:
    """File name -> each document of a quick suite, that of the verdict first.

    Args:
        circumstances: with the names of the tables and the lock, and the machine.
        golden_path: where the golden stands, as documents name it.
    """
    components = judgement.evidence.components
    documents = {RUN: run_document(judgement, prepared, reference, circumstances, time=time)}
    # Only where a match program was run.
    if components is not None and components.about is not None:
        documents[REPORT] = component_match_document(components, golden_path=golden_path, time=time)
    return documents


def run_document(
    judgement: Judgement,
    prepared: PreparedSuite,
    lock: LockReference,
    circumstances: Circumstances,
    *,
    time: str,
) -> dict[str, Any]:
    """The document of one suite; arguments as of :func:`quick_documents`."""
    evidence = judgement.evidence
    suite = evidence.suite
    tables = dict(_table_fields(prepared, circumstances.names))
    matched = match_reference(judgement, REPORT)
    artifacts = {"run_json": RUN}
    if matched and matched["present"]:
        artifacts["component_match_report"] = REPORT
    return {
        "schema_version": RUN_SCHEMA,
        "generated_at_utc": time,
        "suite": suite_fields(suite),
        "sources": {
            "upstream": _source_fields(suite, "official", tables),
            "worldflux": _source_fields(suite, "worldflux", tables),
        },
        "evaluation_manifest": {
            **circumstances.machine,
            "seed_policy": _seed_policy_fields(suite),
            "generated_at_utc": time,
        },
        "artifact_integrity": {
            "suite_sha256": suite.sha256,
            "upstream_input_sha256": evidence.origins["official"].sha256 or None,
            "worldflux_input_sha256": evidence.origins["worldflux"].sha256 or None,
            "upstream_lock_sha256": lock.upstream_lock_sha256,
        },
        "suite_lock_ref": lock.document(),
        "counts": _count_fields(judgement),
        "stats": _documented_stats(judgement),
        "missing": _missing_by_side(evidence),
        "pairs": _pair_rows(judgement),
        **steps_document(steps_apart(suite, evidence.observed)),
        "verdict": judgement.verdict,
        "verdict_reason": judgement.reason,
        "warnings": list(judgement.warnings),
        "gates": {g.name: _gate_fields(g) for g in judgement.gates},
        "metrics": {m.metric.name: metric_fields(m, evidence) for m in judgement.metrics if m.metric},
        "runs": [_run_reference(line) for line in evidence.lines],
        **log_fields(evidence),
        "component_match": matched,
        "components_compared": compared_fields(evidence.compared),
        **recipe_fields(evidence),
        "pass": judgement.verdict == "pass",
        **fixture_mark(bool(evidence.fixtures)),
        "evidence_bundle": {
            "bundle_kind": "parity_run",
            "suite_id": suite.suite_id,
            "artifacts": artifacts,
        },
    }


def log_fields(evidence: Evidence) -> dict[str, Any]:
    """How the attempts of each side ended, and which log says so; of two tables there is none."""
    if not evidence.suite.live_systems:
        return {}
    attempts = {system: own.to_dict() for system, own in evidence.attempts.items()}
    return {"attempts": attempts, "log": evidence.log.summary()}


def recipe_fields(evidence: Evidence) -> dict[str, Any]:
    """On what terms recipes were compared, where the suite names some, and how many keys of a pair."""
    terms, counts = evidence.suite.recipe_terms, evidence.recipe.counts
    if terms == RecipeTerms():
        return {}
    mapped = {key: {"worldflux": twin.name, "times": twin.times} for key, twin in terms.twins.items()}
    compared = list(counts) if counts is not None else None
    return {"recipe": {"compared": compared, "ignored": dict(terms.ignored), "mapped": mapped}}


def _table_fields(
    prepared: PreparedSuite, names: Mapping[str, Any]
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Per system read from a table: its path, what was dropped or merged in it, what it replaces."""
    for system, table in prepared.tables.items():
        merged = {"dropped_rows": table.dropped_rows, "merged_rows": table.merged_rows}
        yield system, {**names["tables"][system], **merged}


def suite_fields(suite: Suite) -> dict[str, Any]:
    """What a document says of the suite that was judged."""
    return {
        "suite_id": suite.suite_id,
        "family": suite.family,
        "metric": suite.primary.name,
        "higher_is_better": suite.primary.higher_is_better,
        "margin_ratio": suite.primary.margin,
        "confidence": suite.primary.confidence,
        "tasks": [t.id for t in suite.tasks],
        **label_fields(suite.labels),
    }


def _source_fields(suite: Suite, system: str, tables: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    side = suite.sides[system]
    if isinstance(side, ArtifactSide):
        return {"format": side.format, "repo": side.repo, "commit": side.commit, **tables[system]}
    return {"path": None, "format": "live", "repo": None, "commit": None, "adapter": side.adapter}


def _seed_policy_fields(suite: Suite) -> dict[str, Any]:
    return {
        "mode": "as_in_tables" if suite.seeds["official"] is None else "fixed",
        **{s: list(v) if v is not None else None for s, v in suite.seeds.items()},
        **({"tasks": own} if (own := {t.id: list(t.seeds) for t in suite.tasks if t.seeds}) else {}),
    }


def _count_fields(judgement: Judgement) -> dict[str, Any]:
    observed, suite = judgement.evidence.observed, judgement.evidence.suite
    metric = suite.primary
    points = {
        s: sum(len(observed.values.get((s, metric.name, t.id), {})) for t in suite.tasks) for s in SYSTEMS
    }
    paired = sum(len(shared_seeds(observed, metric, t.id)) for t in suite.tasks)
    return {
        "upstream_points": points["official"],
        "worldflux_points": points["worldflux"],
        "paired": paired,
        "upstream_only": points["official"] - paired,
        "worldflux_only": points["worldflux"] - paired,
        "expected": len(judgement.evidence.expected),
        "missing": len(observed.missing),
        "unused": dict(observed.unused),
    }


def _documented_stats(judgement: Judgement) -> dict[str, Any]:
    """The documented rule on the primary metric; null where there is no pair, or another question."""
    ruling = judgement.metrics[0].ruling
    documented = ruling.results.get("drop_ratio") if ruling else None
    metric = judgement.evidence.suite.primary
    keys = (
        "sample_size", "mean_upstream_score", "mean_worldflux_score", "mean_drop_ratio",
        "ci_lower_ratio", "ci_upper_ratio",
    )  # fmt: skip
    return {
        **fields_of(documented, *keys),
        "confidence": metric.confidence,
        "margin_ratio": metric.margin,
        "pass_non_inferiority": getattr(documented, "pass_", None),
        "verdict_reason": judgement.reason,
    }


def _missing_by_side(evidence: Evidence) -> dict[str, Any]:
    """What one side lacks: ``upstream_only`` is what only upstream has."""
    lists: dict[str, list[dict[str, Any]]] = {"upstream_only": [], "worldflux_only": []}
    for m in evidence.observed.missing:
        side = "worldflux_only" if m.system == "official" else "upstream_only"
        lists[side].append({"task": m.task_id, "seed": m.seed, "reason": m.reason, "detail": m.detail})
    return dict(lists)


def _pair_rows(judgement: Judgement) -> list[dict[str, Any]]:
    """The pairs of the primary metric that both sides have, by (task, seed)."""
    evidence, metric = judgement.evidence, judgement.evidence.suite.primary
    rows = []
    for task in sorted(t.id for t in evidence.suite.tasks):
        for seed in shared_seeds(evidence.observed, metric, task):
            u, w = (evidence.observed.values[s, metric.name, task][seed] for s in SYSTEMS)
            drop = drop_ratio(
                [u.value], [w.value], higher_is_better=metric.higher_is_better, floor=metric.floor
            )
            rows.append(
                {
                    "task": task,
                    "seed": seed,
                    "upstream_score": u.value,
                    "worldflux_score": w.value,
                    "upstream_step": u.step,
                    "worldflux_step": w.step,
                    "drop_ratio": float(drop[0]),
                }
            )
    return rows


def steps_document(gaps: Sequence[StepsApart]) -> dict[str, Any]:
    """Every pair whose sides stand at different steps, and the largest share apart; empty without one."""
    if not gaps:
        return {}
    names = ("task", "seed", "upstream_step", "worldflux_step", "share")
    values = ((g.task_id, g.seed, g.official, g.worldflux, g.share) for g in gaps)
    rows = [dict(zip(names, row, strict=True)) for row in values]
    return {"steps_apart": {"largest_share": max(g.share for g in gaps), "pairs": rows}}


def _gate_fields(gate: Gate) -> dict[str, Any]:
    found = [finding_fields(f) for f in gate.findings]
    return {**fields_of(gate, "verdict", "reason"), "findings": found, **fields_of(gate, "warnings")}


def metric_fields(judged: Judged, evidence: Evidence) -> dict[str, Any]:
    metric, results = judged.metric, judged.ruling.results if judged.ruling else {}
    assert metric is not None
    return {
        **fields_of(metric, "rule", "question", "margin", "confidence"),
        "tasks": [t.id for t in evidence.suite.judged_tasks(metric)],
        **fields_of(metric, "higher_is_better", "floor"),
        **fields_of(judged, "verdict", "reason", "warnings"),
        **{name: result_fields(results.get(name)) for name in STATISTICS},
        "values": {
            task.id: {
                s: {
                    str(k): v.value
                    for k, v in sorted(evidence.observed.values.get((s, metric.name, task.id), {}).items())
                }
                for s in SYSTEMS
            }
            for task in evidence.suite.judged_tasks(metric)
        },
    }


def result_fields(result: Any) -> dict[str, Any] | None:
    """A statistics result as JSON; ``pass_`` loses its underscore."""
    return None if result is None else _json_value(asdict(result))


def _json_value(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k).rstrip("_"): _json_value(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json_value(v) for v in value]
    return value.item() if hasattr(value, "item") else value


def _run_reference(line: Mapping[str, Any]) -> dict[str, Any]:
    """What a reader needs to find a record again; the record itself is in parity_runs.jsonl."""
    keys = (
        "task_id", "seed", "system", "adapter_id", "request_id", "attempt", "source_commit",
        "recipe_hash", "duration_sec", "artifacts",
    )  # fmt: skip
    return {k: line.get(k) for k in keys}
