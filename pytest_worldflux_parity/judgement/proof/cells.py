"""One (task, metric): what is there of it, its tests, and its Bayesian cross-check."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from ...errors import StatisticsError
from ...suite.proof_settings import BayesianRule, MetricRule, ProofTask
from ...suite.suite import SYSTEMS
from ..stats.arrays import FloatArray, spread
from ..stats.bayes import BayesResult, bayes, bayes_seed
from ..stats.effect_kinds import effect_kind
from ..stats.measurements import Observed
from ..stats.tost import FittedEffect, TostResult, tost

CellStatus = Literal["ok", "missing", "insufficient_pairs", "undefined", "degenerate"]
REPORTED_ALPHA = 0.05


@dataclass(frozen=True)
class Noninferiority:
    """One one-sided test: is the worse side of the effect within ``margin``?"""

    margin: float
    bound: float
    alpha: float
    p_value: float
    pass_raw: bool


@dataclass(frozen=True)
class Cell:
    """One metric of one task before any correction.

    Attributes:
        status: only ``ok`` can pass. ``missing``: a value that the suite expects is not there; what is
            there is tested all the same, to be read and not to be believed. ``reason`` says why not.
        seeds: per system the seeds whose values were used, ascending.
        n_pairs: pairs of a paired design, else the seeds of the smaller side.
        tost, noninferiority, bayes: None where they could not be computed.
        ci90: the 90 % interval of the effect, whatever alpha is. std_effect: standard deviation of the
            effect of a single pair of seeds.
    """

    task: str
    rule: MetricRule
    primary: bool
    status: CellStatus
    reason: str
    seeds: Mapping[str, tuple[int, ...]]
    n_pairs: int
    tost: TostResult | None = None
    noninferiority: Noninferiority | None = None
    bayes: BayesResult | None = None
    bayes_reason: str = ""
    ci90: tuple[float | None, float | None] | None = None
    std_effect: float | None = None
    variances: tuple[float, float] | None = None


def judge_cell(
    task: ProofTask,
    rule: MetricRule,
    observed: Observed,
    *,
    missing: frozenset[tuple[int, str]],
    bayesian: BayesianRule,
    min_pairs: int,
) -> Cell:
    """Everything about one metric of one task that needs no other task.

    Args:
        missing: (seed, system) of this task that have no value, whatever the reason.
    """
    columns = _select_values(task, rule, observed)
    u, w = (np.array(list(columns[s].values()), np.float64) for s in SYSTEMS)
    bare = Cell(
        task=task.id,
        rule=rule,
        primary=rule == task.rules[0],
        status="missing",
        reason=_absence_text(task, missing),
        seeds={s: tuple(columns[s]) for s in SYSTEMS},
        n_pairs=min(u.size, w.size),
    )
    if not bare.n_pairs:
        return bare
    try:
        test = tost(
            u, w, effect=rule.effect, margin=rule.equivalence_margin, alpha=rule.alpha, design=rule.design
        )
    except StatisticsError as error:
        return replace(bare, status="undefined", reason=error.line())
    cell = replace(bare, tost=test, variances=relative_variances(u, w, rule), bayes_reason="not asked for")
    if not missing:
        status, reason = _decide_status(test, cell.n_pairs, min_pairs)
        cell = replace(cell, status=status, reason=reason)
    if test.status == "ok":
        fitted = FittedEffect(u, w, effect_kind(rule.effect), rule.design)
        cell = replace(
            cell,
            ci90=fitted.interval(REPORTED_ALPHA),
            noninferiority=_test_noninferiority(fitted, rule),
            # Of samples of different sizes as if both had their harmonic mean.
            std_effect=fitted.standard_error * math.sqrt(2 / (1 / u.size + 1 / w.size)),
        )
    if not bayesian.enable:
        return cell
    if test.status != "ok":
        return replace(cell, bayes_reason=test.reason)
    try:
        return replace(cell, bayes=_run_bayes(task, rule, u, w, bayesian), bayes_reason="")
    except StatisticsError as error:
        return replace(cell, bayes_reason=error.line())


def relative_variances(u: FloatArray, w: FloatArray, rule: MetricRule) -> tuple[float, float] | None:
    """Variance of a single seed of each side on the scale of the effect; None where it has none.

    The variance of the differences of a paired design stands first, and 0 second. Of the values only
    their spread and the official mean are used, so nothing planned from this knows the difference.
    """
    kind = effect_kind(rule.effect)
    if min(u.size, w.size) < 2 or kind.find_problem(u, w):
        return None
    scale = abs(float(u.mean())) if kind.is_relative else 1.0
    (u, of_u), (w, of_w) = kind.sized(u), kind.sized(w)
    if rule.design == "paired":
        return float(spread(w - u, max(of_u, of_w))) / scale**2, 0.0
    return float(spread(u, of_u)) / scale**2, float(spread(w, of_w)) / scale**2


def _select_values(task: ProofTask, rule: MetricRule, observed: Observed) -> dict[str, dict[int, float]]:
    """Per system seed -> value, of the seeds that the suite expects; of a paired design the pairs only."""
    runs = {s: observed.runs(s, rule.name, task.id) for s in SYSTEMS}
    kept = {s: runs[s].keys() & set(task.seeds[s]) for s in SYSTEMS}
    if rule.design == "paired":
        kept = dict.fromkeys(SYSTEMS, kept["official"] & kept["worldflux"])
    return {s: {n: runs[s][n].value for n in sorted(kept[s])} for s in SYSTEMS}


def _absence_text(task: ProofTask, missing: frozenset[tuple[int, str]]) -> str:
    wanted = sum(len(systems) for systems in task.pairs.values())
    return f"{len(missing)} of {wanted} expected values are missing" if wanted else "no seed is expected"


def _decide_status(test: TostResult, n_pairs: int, min_pairs: int) -> tuple[CellStatus, str]:
    """The gravest thing that is wrong, in the order few, undefined, degenerate."""
    if test.status == "insufficient_pairs" or n_pairs < min_pairs:
        return "insufficient_pairs", f"{n_pairs} seeds, and the seed policy wants at least {min_pairs}"
    if test.status == "ok" and test.identical:
        return "degenerate", "both sides hold the same values: a copy, not a proof"
    return test.status, test.reason


def _test_noninferiority(fitted: FittedEffect, rule: MetricRule) -> Noninferiority | None:
    margin = rule.noninferiority_margin
    low, high = effect_kind(rule.effect).bounds(margin)
    below, above = fitted.excess(low), fitted.excess(high)
    if below.se == 0.0 or above.se == 0.0:
        return None
    bound, p = (low, below.p_above_zero) if rule.higher_is_better else (high, above.p_below_zero)
    return Noninferiority(margin, bound, rule.alpha, p, p < rule.alpha)


def _run_bayes(
    task: ProofTask, rule: MetricRule, u: FloatArray, w: FloatArray, bayesian: BayesianRule
) -> BayesResult:
    return bayes(
        u,
        w,
        effect=rule.effect,
        margin=rule.equivalence_margin,
        noninferiority_margin=rule.noninferiority_margin,
        paired=rule.design == "paired",
        higher_is_better=rule.higher_is_better,
        draws=bayesian.draws,
        thresholds=(
            bayesian.probability_threshold_equivalence,
            bayesian.probability_threshold_noninferiority,
        ),
        rng=np.random.default_rng(bayes_seed(task.id, rule.name, bayesian.seed)),
    )
