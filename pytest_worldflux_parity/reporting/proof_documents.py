"""Decision of a proof suite -> the JSON documents of equivalence, coverage and stability.

Field names are those of the earlier system, so that tools which read its documents read ours; what it did
not have stands beside them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..execution.records import filled_of
from ..judgement.gates.coverage import steps_apart
from ..judgement.judge_run import RUNS
from ..judgement.proof.results import JudgedCell, JudgedTask, ProofDecision
from ..judgement.proof.stability import Stability, stability
from ..judgement.proof_verdict import ProofJudgement
from ..judgement.stats.measurements import UNDECIDED_REASONS, Missing
from ..suite.proof_settings import MetricRule, ProofTask
from ..suite.suite import SYSTEMS
from . import proof_gates
from .aggregates import fixture_mark
from .documents import fields_of, head_of, log_fields, steps_document
from .labels import Labels, label_fields

EQUIVALENCE_SCHEMA = "parity.v1"
COVERAGE_SCHEMA = "parity.v1"
STABILITY_SCHEMA = "parity.stability.v1"


def equivalence_document(
    decision: ProofDecision,
    *,
    time: str,
    input: str,
    validity: Mapping[str, Any],
    component_match: Mapping[str, Any],
    provenance: Mapping[str, Any],
    log: Mapping[str, Any] | None = None,
    claim: str | None = None,
    labels: Labels | None = None,
    versions: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """``equivalence_report.json``, as ``schemas/equivalence.v1.json`` has it.

    Args:
        input: name of the file of records, within the document's folder. claim: the claim level that
            the suite names. labels: what it calls the sides. versions: family -> which locked versions of
            official programs the sides are.
        validity, component_match, provenance: what their own documents say, as :func:`provenance` does.
        log: as :func:`.documents.log_fields` has it.
    """
    return {
        **head_of(EQUIVALENCE_SCHEMA, decision.settings.suite_id, time, input),
        "config": {
            **_config_fields(decision, claim),
            **label_fields(labels or {}),
            **({"versions": dict(versions)} if versions else {}),
        },
        "completeness": completeness(decision),
        "validity": dict(validity),
        "component_match": dict(component_match),
        "provenance": dict(provenance),
        **(log or {}),
        "bayesian": {**asdict(decision.settings.bayesian), "pass": decision.pass_bayesian},
        "holm": _holm_fields(decision),
        "seed_plan": decision.plan.to_dict() if decision.plan else None,
        "tasks": [task_fields(t) for t in decision.tasks],
        "global": global_keys(decision),
    }


def global_keys(decision: ProofDecision) -> dict[str, Any]:
    """The final verdict keys. A gate that looked at nothing has not passed."""
    required = decision.settings.component_match_required
    return {
        "parity_pass_final": decision.pass_final,
        "parity_pass_all_metrics": decision.pass_all_metrics,
        "parity_pass_primary": decision.pass_primary,
        "parity_pass_frequentist": decision.pass_all_metrics,
        "parity_pass_bayesian": decision.pass_bayesian,
        "missing_pairs": decision.missing_pairs,
        "validity_pass": decision.gates.validity is True,
        "component_match_pass": decision.gates.component_match is True if required else None,
        "tasks_total": len(decision.tasks),
        "tasks_pass_primary": sum(t.passed_primary for t in decision.tasks),
        "tasks_pass_all_metrics": sum(t.passed_all_metrics for t in decision.tasks),
        "verdict": decision.verdict,
        "verdict_reason": decision.reason,
        "seeds_needed": decision.seeds_needed,
        "pilot": decision.pilot,
    }


def completeness(decision: ProofDecision) -> dict[str, Any]:
    """What was expected and what is there; ``pairs`` are (task, seed, system), as they always were."""
    return {
        "systems": list(SYSTEMS),
        "task_seed_count": decision.task_seeds,
        "expected_pairs": decision.expected,
        "complete_task_seed_pairs": decision.complete_task_seeds,
        "missing_pairs": decision.missing_pairs,
        "missing_entries": [asdict(m) for m in decision.missing],
    }


def coverage_document(decision: ProofDecision, *, time: str, input: str) -> dict[str, Any]:
    """``coverage_report.json``, as ``schemas/coverage.v1.json`` has it: every missing entry, and why."""
    reasons = sorted({m.reason for m in decision.missing})
    faults = sum(m.reason not in UNDECIDED_REASONS for m in decision.missing)
    undecided = "inconclusive" if decision.missing else "pass"
    return {
        **head_of(COVERAGE_SCHEMA, decision.settings.suite_id, time, input),
        "pass": decision.expected > 0 and not decision.missing,
        "verdict": "fail" if faults or not decision.expected else undecided,
        **completeness(decision),
        "missing_by_reason": {r: sum(m.reason == r for m in decision.missing) for r in reasons},
        "tasks": [_coverage_row(t.task, decision.missing) for t in decision.tasks],
    }


def stability_document(stability: Stability, *, time: str, input: str) -> dict[str, Any]:
    """``stability_report.json``, as ``schemas/stability.v1.json`` has it."""
    current = stability.current
    flips = {(f.task, f.metric): f for f in stability.sign_flips}
    tasks = dict.fromkeys(task for task, _ in current.signs)
    return {
        **head_of(STABILITY_SCHEMA, current.suite_id, time, input),
        "status": stability.status,
        "global": {
            "verdict": current.verdict,
            "parity_pass_final": current.parity_pass_final,
            "reports_compared": 1 + len(stability.history),
        },
        "tasks": [_stability_row(task, current.signs, flips) for task in tasks],
        "rerun_consistency": {
            "mode": stability.mode,
            "verdict_flip_detected": bool(stability.verdict_flips),
            "pairwise_metric_sign_flip_detected": bool(stability.sign_flips),
            "bayesian_frequentist_mismatch_detected": bool(current.mismatches),
            "verdict_flips": [{"one": a, "other": b} for a, b in stability.verdict_flips],
            "sign_flips": [asdict(f) for f in stability.sign_flips],
            "mismatches": [{"task_id": t, "metric": m} for t, m in current.mismatches],
        },
        "history": [fields_of(r, "name", "generated_at", "verdict") for r in stability.history],
        "not_compared": [
            {"name": n, "reason": why}
            for n, why in (*stability.not_compared.items(), *stability.in_part.items())
        ],
    }


def provenance(lines: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Per system what its records state, or was filled in, and whether that is the same of all."""
    rows = [{**line, **filled_of(line)} for line in lines]
    return {s: _provenance_of_side([r for r in rows if r.get("system") == s]) for s in SYSTEMS}


def _provenance_of_side(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {"record_count": len(rows)}
    for many, one, key in (
        ("source_commits", "single_commit", "source_commit"),
        ("backend_kinds", "single_backend_kind", "backend_kind"),
        ("adapter_ids", "single_adapter_id", "adapter_id"),
        ("recipe_hashes", "single_recipe_hash", "recipe_hash"),
    ):
        found[many] = sorted({str(r[key]) for r in rows if r.get(key) is not None})
        found[one] = len(found[many]) == 1 and all(r.get(key) is not None for r in rows)
    return found


def _config_fields(decision: ProofDecision, claim: str | None) -> dict[str, Any]:
    settings = decision.settings
    return {
        "holm_scope": settings.holm_scope,
        "seed_policy": {**asdict(settings.seed_policy), "values": list(settings.seed_policy.values)},
        **_seeds_of_tasks(decision),
        "component_match_required": settings.component_match_required,
        "parity_claim_level": claim,
        "test": "TOST with Student's t; p-values of auto_power are adjusted for the pilot",
    }


def _seeds_of_tasks(decision: ProofDecision) -> dict[str, Any]:
    """The seeds of tasks that do not have those of a fixed policy."""
    policy = decision.settings.seed_policy
    if policy.mode != "fixed":
        return {}
    seeds = {t.task.id: t.task.seeds["official"] for t in decision.tasks}
    own = {task: list(mine) for task, mine in seeds.items() if set(mine) != set(policy.values)}
    return {"task_seeds": own} if own else {}


def _holm_fields(decision: ProofDecision) -> dict[str, Any]:
    """Both families; a hypothesis is rejected, and equivalence shown, where its adjusted p is below alpha."""
    families = {
        "primary": [(c, c.holm_primary) for c in decision.cells if c.holm_primary is not None],
        "all_metrics": [(c, c.holm_all_metrics) for c in decision.cells],
    }
    return {
        "scope": decision.settings.holm_scope,
        **{
            name: {
                "hypotheses": len(rows),
                "rejected": sum(p < c.cell.rule.alpha for c, p in rows),
                "largest_adjusted_p": max((p for _, p in rows), default=None),
            }
            for name, rows in families.items()
        },
    }


def task_fields(judged: JudgedTask) -> dict[str, Any]:
    return {
        "task_id": judged.task.id,
        "family": judged.task.family,
        "task_primary_metric": judged.task.rules[0].name if judged.task.rules else None,
        "metrics": {c.cell.rule.name: _metric_fields(c) for c in judged.cells},
        "task_pass_primary": judged.passed_primary,
        "task_pass_all_metrics": judged.passed_all_metrics,
        "task_pass_bayesian": judged.passed_bayesian,
    }


_POSTERIOR = (
    "posterior_mean", "posterior_ci90", "posterior_ci95", "p_equivalence", "p_noninferior",
    "pass_equivalence", "pass_noninferiority", "pass_all", "draws",
)  # fmt: skip


def _metric_fields(judged: JudgedCell) -> dict[str, Any]:
    cell, test = judged.cell, judged.cell.tost
    rule = cell.rule
    return {
        "status": cell.status,
        "reason": cell.reason,
        "rule": {k: v for k, v in asdict(rule).items() if k != "name"},
        "n_pairs": cell.n_pairs,
        "seed_ids": {s: list(cell.seeds[s]) for s in SYSTEMS},
        "official_mean": test.mean_upstream if test else None,
        "worldflux_mean": test.mean_worldflux if test else None,
        "mean_effect": test.effect if test else None,
        "std_effect": cell.std_effect,
        "se_effect": test.standard_error if test else None,
        "df_effect": test.df if test else None,
        "ci90_effect": list(cell.ci90) if cell.ci90 else None,
        "equivalence_bounds_effect": [test.low, test.high] if test else None,
        "tost": _tost_fields(judged) if test and test.p_value is not None else None,
        "noninferiority": asdict(cell.noninferiority) if cell.noninferiority else None,
        "holm_primary": _holm_result(judged.holm_primary, rule),
        "holm_all_metrics": _holm_result(judged.holm_all_metrics, rule),
        "p_outside_holm": judged.p_outside_holm,
        "bayesian": fields_of(cell.bayes, *_POSTERIOR) if cell.bayes else None,
        "bayesian_reason": cell.bayes_reason,
        "ratio_mean": _ratio_of_effect(judged, test.effect) if test else None,
        "ci90_ratio": [_ratio_of_effect(judged, end) for end in cell.ci90] if cell.ci90 else None,
        "pass": judged.passed,
        **fields_of(judged, "different", "seeds_needed", "advice"),
    }


def _tost_fields(judged: JudgedCell) -> dict[str, Any]:
    test = judged.cell.tost
    return {
        **fields_of(test, "alpha", "p_lower", "p_upper", "p_value"),
        "p_value_for_holm": judged.p_value,
        **fields_of(test, "p_outside", "pass_raw"),
    }


def _holm_result(p: float | None, rule: MetricRule) -> dict[str, Any] | None:
    return None if p is None else {"p_adjusted": p, "pass": p < rule.alpha}


def _ratio_of_effect(judged: JudgedCell, effect: float | None) -> float | None:
    """worldflux over official; None where the official mean is negative, whose ratio would mislead."""
    if effect is None:
        return None
    if judged.cell.rule.effect == "log_ratio":
        return math.exp(effect)
    test = judged.cell.tost
    return 1 + effect if test and test.mean_upstream > 0 else None


def _coverage_row(task: ProofTask, missing: Sequence[Missing]) -> dict[str, Any]:
    own = [m for m in missing if m.task_id == task.id]
    return {
        "task_id": task.id,
        "expected_pairs": sum(len(systems) for systems in task.pairs.values()),
        "missing_pairs": len(own),
        "missing_seeds": {s: sorted(m.seed for m in own if m.system == s) for s in SYSTEMS},
    }


def _stability_row(
    task: str, signs: Mapping[tuple[str, str], int], flips: Mapping[tuple[str, str], object]
) -> dict[str, Any]:
    own = {metric: sign for (t, metric), sign in signs.items() if t == task}
    return {
        "task_id": task,
        "metrics": {m: {"effect_sign": s, "sign_flip": (task, m) in flips} for m, s in own.items()},
    }


COVERAGE, VALIDITY, COMPONENTS, EQUIVALENCE, STABILITY = (
    f"{name}_report.json" for name in ("coverage", "validity", "component_match", "equivalence", "stability")
)
REPORT = "equivalence_report.md"
# Document -> its schema.
SCHEMAS = {
    COVERAGE: "coverage.v1",
    VALIDITY: "validity.v1",
    COMPONENTS: "component_match_set.v1",
    EQUIVALENCE: "equivalence.v1",
    STABILITY: "stability.v1",
}


@dataclass(frozen=True)
class Documents:
    """The documents of a judged proof run. ``by_name``: file name -> JSON document."""

    by_name: Mapping[str, dict[str, Any]]
    decision: ProofDecision
    stability: Stability


def documents_of(
    judgement: ProofJudgement,
    history: Mapping[str, Mapping[str, Any]],
    *,
    time: str,
    golden_paths: Mapping[str, str],
) -> Documents:
    """Every JSON document of a proof run but its evidence.

    Args:
        history: name -> earlier equivalence report.
        golden_paths: as :func:`~.proof_gates.components_document` wants them.
    """
    decision = judgement.decision
    about = {"time": time, "input": RUNS}
    equivalence = equivalence_document(
        decision,
        **about,
        validity=proof_gates.validity_summary(judgement),
        component_match=proof_gates.components_summary(judgement, COMPONENTS),
        provenance=provenance(judgement.evidence.lines),
        log=log_fields(judgement.evidence.parts[0]) if judgement.evidence.parts else None,
        claim=judgement.evidence.proof.claim,
        labels=judgement.evidence.proof.labels,
        versions={p.suite.family: own for p in judgement.evidence.parts if (own := p.versions.document())},
    )
    stable = stability(equivalence, history)
    apart = [gap for part in judgement.evidence.parts for gap in steps_apart(part.suite, part.observed)]
    by_name = {
        COVERAGE: {**coverage_document(decision, **about), **steps_document(apart)},
        VALIDITY: proof_gates.validity_document(judgement, **about),
        COMPONENTS: proof_gates.components_document(judgement, time=time, golden_paths=golden_paths),
        EQUIVALENCE: equivalence,
        STABILITY: stability_document(stable, time=time, input=EQUIVALENCE),
    }
    mark = fixture_mark(judgement.fixture)
    return Documents(
        by_name={name: {**document, **mark} for name, document in by_name.items()},
        decision=decision,
        stability=stable,
    )
