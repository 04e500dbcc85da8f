"""Why a decision is what it is, in one sentence each."""

from __future__ import annotations

from collections.abc import Sequence

from ..stats.measurements import UNDECIDED_REASONS
from ..stats.shown_effect import relative
from .results import JudgedCell, ProofDecision


def more(count: int) -> str:
    """`` (and n more)``, or nothing."""
    return f" (and {count} more)" if count else ""


def broken(decision: ProofDecision) -> list[str]:
    """Gates that are broken: coverage by the programs' fault, validity, component match."""
    faults = [m for m in decision.missing if m.reason not in UNDECIDED_REASONS]
    found = []
    if not decision.expected:
        found.append("coverage: the suite expects no (task, seed) at all")
    if faults:
        first = faults[0]
        where = f"{first.system} {first.task_id} seed {first.seed}: {first.reason}"
        found.append(f"coverage: {len(faults)} expected results are missing, first {where}")
    said = {text.partition(":")[0] for text in decision.gates.broken}
    if decision.gates.validity is False and "validity" not in said:
        found.append("validity: the gate is broken")
    required = decision.settings.component_match_required and "components" not in said
    if required and decision.gates.component_match is False:
        found.append("component match: the gate is broken")
    return found


def still_open(decision: ProofDecision) -> list[str]:
    """Why the suite did not pass, the most telling first; empty where it passed."""
    waiting = []
    if decision.missing:
        first = decision.missing[0]
        waiting.append(
            f"{decision.missing_pairs} of {decision.expected} expected results are missing, first "
            f"{first.system} {first.task_id} seed {first.seed}: {first.reason}"
        )
    unsure = [c for c in decision.cells if not c.passed]
    if unsure or not decision.tasks:
        waiting.append(_doubt(unsure, len(decision.cells)))
    elif decision.settings.bayesian.dual_pass_required and decision.pass_bayesian is not True:
        against = [c.name for c in decision.cells if not c.passed_bayesian]
        waiting.append(f"the Bayesian check does not agree in {len(against)} cases, first {against[0]}")
    said = {text.partition(":")[0] for text in decision.gates.open}
    if decision.gates.validity is None and "validity" not in said:
        waiting.append("validity: there was nothing to look at")
    required = decision.settings.component_match_required and "components" not in said
    if required and decision.gates.component_match is None:
        waiting.append("component match: required, and there is no report")
    return waiting


def _doubt(unsure: Sequence[JudgedCell], total: int) -> str:
    if not unsure:
        return "there is nothing to judge"
    needed = [c.seeds_needed for c in unsure if c.seeds_needed is not None]
    hopeless = [c for c in unsure if c.seeds_needed is None]
    first = min(unsure, key=lambda c: (c.seeds_needed is not None, -(c.seeds_needed or 0)))
    why = first.cell.reason or first.advice
    if first.cell.status == "degenerate" and first.cell.tost is not None and first.cell.tost.estimate_outside:
        why = f"{_effect(first)}: {why}"
    text = f"equivalence is not shown in {len(unsure)} of {total} cases; {first.name}: {why}"
    if needed and hopeless:
        text += f"; for the others {max(needed)} seeds per side"
    return text


def most_seeds_needed(decision: ProofDecision) -> int | None:
    """Seeds per side for the cell that needs most; None where some cell can be helped by no number."""
    unsure = [c for c in decision.cells if not c.passed and not c.different]
    known = [c.seeds_needed for c in unsure if c.seeds_needed is not None]
    return max(known) if known and len(known) == len(unsure) else None


def difference(different: Sequence[JudgedCell], total: int) -> str:
    worst = sorted(different, key=lambda c: c.p_outside_holm)
    named = ", ".join(f"{c.name} ({_effect(c)})" for c in worst[:3])
    return (
        f"{len(worst)} of {total} cases differ by more than their margin: "
        f"{named}{', ...' if len(worst) > 3 else ''}"
    )


def _effect(judged: JudgedCell) -> str:
    tost = judged.cell.tost
    if tost is None or tost.effect is None:
        return "effect unknown"
    shown = relative(judged.cell.rule.effect, tost.effect)
    return "effect beyond all numbers" if shown is None else f"{shown:+.1%}"


def pilot_reason(decision: ProofDecision) -> str:
    plan = decision.plan
    if decision.missing:
        gaps = f"{decision.missing_pairs} of {decision.expected} expected results are missing"
        return f"pilot: {gaps}, so no plan was made"
    assert plan is not None
    most = max((len(t.seeds) for t in plan.tasks), default=0)
    short = [t for t in plan.tasks if t.wanted is None]
    text = (
        f"pilot: it judges nothing; the plan asks for {plan.pairs} pairs in all, at most {most} seeds per "
        "task; resume to collect them"
    )
    return text + (f"; {len(short)} tasks cannot be planned for: {short[0].reason}" if short else "")


def pass_reason(decision: ProofDecision) -> str:
    cells = decision.cells
    agree = " and the Bayesian check agrees" if decision.pass_bayesian else ""
    return (
        f"equivalence is shown in all {len(cells)} cases of {len(decision.tasks)} tasks "
        f"(TOST, Holm over {decision.family}){agree}"
    )
