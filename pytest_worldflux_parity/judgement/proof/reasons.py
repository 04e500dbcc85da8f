"""Why a decision is what it is, in one sentence each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..stats.arrays import Verdict
from ..stats.measurements import UNDECIDED_REASONS, Missing
from ..stats.shown_effect import to_relative
from .results import JudgedCell, ProofDecision


def decide_verdict(decision: ProofDecision, doubts: Sequence[str]) -> tuple[Verdict, str, int | None]:
    """The verdict, its reason in one sentence, and the seeds per side that are still needed.

    Args:
        doubts: why the plan of seeds cannot be believed, a sentence each.
    """
    wrong = [*decision.gates.broken, *doubts, *_list_broken(decision)]
    if wrong:
        return "fail", _first_of(wrong), None
    if decision.pilot:
        return "inconclusive", _explain_pilot(decision), None
    different = [c for c in decision.cells if c.different]
    if different:
        return "fail", _describe_differences(different, len(decision.cells)), None
    waiting = [*_list_open(decision), *decision.gates.open]
    if waiting:
        return "inconclusive", _first_of(waiting), _most_seeds_needed(decision)
    return "pass", _explain_pass(decision), None


def _first_of(sentences: Sequence[str]) -> str:
    return sentences[0] + (f" (and {len(sentences) - 1} more)" if len(sentences) > 1 else "")


def _silent_gates(decision: ProofDecision, verdict: bool | None, told: Sequence[str]) -> tuple[bool, bool]:
    """Whether validity and component match have this verdict, and no sentence says so."""
    gates, names = decision.gates, {text.partition(":")[0] for text in told}
    is_required = decision.settings.component_match_required
    return (
        gates.validity is verdict and "validity" not in names,
        is_required and gates.component_match is verdict and "components" not in names,
    )


def _list_broken(decision: ProofDecision) -> Iterator[str]:
    """Gates that are broken: coverage by the programs' fault, validity, component match."""
    faults = [m for m in decision.missing if m.reason not in UNDECIDED_REASONS]
    if not decision.expected:
        yield "coverage: the suite expects no (task, seed) at all"
    if faults:
        yield f"coverage: {len(faults)} expected results are missing, first {_place_of_missing(faults[0])}"
    validity, components = _silent_gates(decision, False, decision.gates.broken)
    if validity:
        yield "validity: the gate is broken"
    if components:
        yield "component match: the gate is broken"


def _place_of_missing(missing: Missing) -> str:
    return f"{missing.system} {missing.task_id} seed {missing.seed}: {missing.reason}"


def _gaps_text(decision: ProofDecision) -> str:
    return f"{decision.missing_pairs} of {decision.expected} expected results are missing"


def _list_open(decision: ProofDecision) -> Iterator[str]:
    """Why the suite did not pass, the most telling first; nothing where it passed."""
    if decision.missing:
        yield f"{_gaps_text(decision)}, first {_place_of_missing(decision.missing[0])}"
    unsure = [c for c in decision.cells if not c.passed]
    if unsure:
        yield _describe_unsure(unsure, len(decision.cells))
    elif not decision.tasks:
        yield "there is nothing to judge"
    elif decision.settings.bayesian.dual_pass_required and decision.pass_bayesian is not True:
        against = [c.name for c in decision.cells if not c.passed_bayesian]
        yield f"the Bayesian check does not agree in {len(against)} cases, first {against[0]}"
    validity, components = _silent_gates(decision, None, decision.gates.open)
    if validity:
        yield "validity: there was nothing to look at"
    if components:
        yield "component match: required, and there is no report"


def _describe_unsure(unsure: Sequence[JudgedCell], total: int) -> str:
    needed = [c.seeds_needed for c in unsure if c.seeds_needed is not None]
    first = min(unsure, key=lambda c: (c.seeds_needed is not None, -(c.seeds_needed or 0)))
    why = first.cell.reason or first.advice
    if first.cell.status == "degenerate" and first.cell.tost is not None and first.cell.tost.estimate_outside:
        why = f"{_effect_text(first)}: {why}"
    text = f"equivalence is not shown in {len(unsure)} of {total} cases; {first.name}: {why}"
    return text + (f"; for the others {max(needed)} seeds per side" if 0 < len(needed) < len(unsure) else "")


def _most_seeds_needed(decision: ProofDecision) -> int | None:
    """Seeds per side for the cell that needs most; None where some cell can be helped by no number."""
    needed = [c.seeds_needed for c in decision.cells if not c.passed and not c.different]
    known = [n for n in needed if n is not None]
    return max(known) if known and len(known) == len(needed) else None


def _describe_differences(different: Sequence[JudgedCell], total: int) -> str:
    worst = sorted(different, key=lambda c: c.p_outside_holm)
    named = ", ".join(f"{c.name} ({_effect_text(c)})" for c in worst[:3])
    return (
        f"{len(worst)} of {total} cases differ by more than their margin: "
        f"{named}{', ...' if len(worst) > 3 else ''}"
    )


def _effect_text(judged: JudgedCell) -> str:
    tost = judged.cell.tost
    if tost is None or tost.effect is None:
        return "effect unknown"
    shown = to_relative(judged.cell.rule.effect, tost.effect)
    return "effect beyond all numbers" if shown is None else f"{shown:+.1%}"


def _explain_pilot(decision: ProofDecision) -> str:
    plan = decision.plan
    if decision.missing:
        return f"pilot: {_gaps_text(decision)}, so no plan was made"
    assert plan is not None
    most = max((len(t.seeds) for t in plan.tasks), default=0)
    short = [t for t in plan.tasks if t.wanted is None]
    text = (
        f"pilot: it judges nothing; the plan asks for {plan.pairs} pairs in all, at most {most} seeds per "
        "task; resume to collect them"
    )
    return text + (f"; {len(short)} tasks cannot be planned for: {short[0].reason}" if short else "")


def _explain_pass(decision: ProofDecision) -> str:
    agree = " and the Bayesian check agrees" if decision.pass_bayesian else ""
    return (
        f"equivalence is shown in all {len(decision.cells)} cases of {len(decision.tasks)} tasks "
        f"(TOST, Holm over {decision.family}){agree}"
    )
