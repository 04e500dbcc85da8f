"""One (task, metric): what is there of it, its tests, and its Bayesian cross-check."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ...errors import StatisticsError
from ...suite.proof_settings import BayesianRule, MetricRule, ProofTask
from ...suite.suite import SYSTEMS
from ..stats.arrays import FloatArray, logs, spread
from ..stats.bayes import BayesResult, bayes_log_ratio, bayes_normalized_difference, bayes_seed
from ..stats.measurements import Observed
from ..stats.tost import TostResult, tost

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
    columns = _columns(task, rule, observed)
    seeds = {s: tuple(columns[s]) for s in SYSTEMS}
    sides = [np.array(list(columns[s].values()), np.float64) for s in SYSTEMS]
    n_pairs = min(side.size for side in sides)
    primary = rule == task.rules[0]
    if not n_pairs:
        return Cell(task.id, rule, primary, "missing", _lack(task, missing), seeds, 0)
    try:
        test = _tost(sides, rule, rule.equivalence_margin, rule.alpha)
    except StatisticsError as error:
        return Cell(task.id, rule, primary, "undefined", error.line(), seeds, n_pairs)
    status, reason = _status(task, test, n_pairs, min_pairs, missing)
    bayes, bayes_reason = _bayes(task, rule, sides, test, bayesian)
    return Cell(
        task=task.id,
        rule=rule,
        primary=primary,
        status=status,
        reason=reason,
        seeds=seeds,
        n_pairs=n_pairs,
        tost=test,
        noninferiority=_noninferiority(sides, rule, test),
        bayes=bayes,
        bayes_reason=bayes_reason,
        ci90=_ci90(sides, rule, test),
        std_effect=_std_effect(test),
        variances=relative_variances(sides, rule),
    )


def relative_variances(sides: list[FloatArray], rule: MetricRule) -> tuple[float, float] | None:
    """Variance of a single seed of each side on the scale of the effect; None where it has none.

    The variance of the differences of a paired design stands first, and 0 second. Of the values only
    their spread and the official mean are used, so nothing planned from this knows the difference.
    """
    official, worldflux = sides
    if min(official.size, worldflux.size) < 2:
        return None
    if rule.effect == "log_ratio":
        if min(official.min(), worldflux.min()) <= 0:
            return None
        (official, of_official), (worldflux, of_worldflux) = logs(official), logs(worldflux)
        scale = 1.0
    else:
        of_official, of_worldflux = float(np.abs(official).max()), float(np.abs(worldflux).max())
        scale = abs(float(official.mean()))
        if scale <= 1e-12 * max(of_official, of_worldflux):
            return None
    if rule.design == "paired":
        return float(spread(worldflux - official, max(of_official, of_worldflux))) / scale**2, 0.0
    return float(spread(official, of_official)) / scale**2, float(spread(worldflux, of_worldflux)) / scale**2


def _columns(task: ProofTask, rule: MetricRule, observed: Observed) -> dict[str, dict[int, float]]:
    """Per system seed -> value, of the seeds that the suite expects; of a paired design the pairs only."""
    runs = {s: observed.runs(s, rule.name, task.id) for s in SYSTEMS}
    found = {s: {n: runs[s][n].value for n in sorted(task.seeds[s]) if n in runs[s]} for s in SYSTEMS}
    if rule.design != "paired":
        return found
    both = found["official"].keys() & found["worldflux"].keys()
    return {s: {n: value for n, value in found[s].items() if n in both} for s in SYSTEMS}


def _tost(sides: list[FloatArray], rule: MetricRule, margin: float, alpha: float) -> TostResult:
    return tost(sides[0], sides[1], effect=rule.effect, margin=margin, alpha=alpha, design=rule.design)


def _lack(task: ProofTask, missing: frozenset[tuple[int, str]]) -> str:
    wanted = sum(len(systems) for systems in task.pairs.values())
    return f"{len(missing)} of {wanted} expected values are missing" if wanted else "no seed is expected"


def _status(
    task: ProofTask,
    test: TostResult,
    n_pairs: int,
    min_pairs: int,
    missing: frozenset[tuple[int, str]],
) -> tuple[CellStatus, str]:
    """The gravest thing that is wrong, in the order missing, few, undefined, degenerate."""
    if missing:
        return "missing", _lack(task, missing)
    if test.status == "insufficient_pairs" or n_pairs < min_pairs:
        return "insufficient_pairs", f"{n_pairs} seeds, and the seed policy wants at least {min_pairs}"
    if test.status == "ok" and test.identical:
        return "degenerate", "both sides hold the same values: a copy, not a proof"
    return test.status, test.reason


def _noninferiority(sides: list[FloatArray], rule: MetricRule, test: TostResult) -> Noninferiority | None:
    if test.status != "ok":
        return None
    margin = rule.noninferiority_margin
    at = test if margin == rule.equivalence_margin else _tost(sides, rule, margin, rule.alpha)
    p = at.p_lower if rule.higher_is_better else at.p_upper
    if p is None:
        return None
    bound = at.low if rule.higher_is_better else at.high
    return Noninferiority(margin, bound, rule.alpha, p, p < rule.alpha)


def _ci90(
    sides: list[FloatArray], rule: MetricRule, test: TostResult
) -> tuple[float | None, float | None] | None:
    if test.status != "ok":
        return None
    if rule.alpha != REPORTED_ALPHA:
        test = _tost(sides, rule, rule.equivalence_margin, REPORTED_ALPHA)
    return test.ci_low, test.ci_high


def _std_effect(test: TostResult) -> float | None:
    """Of one pair of seeds; of samples of different sizes as if both had their harmonic mean."""
    if test.standard_error is None:
        return None
    return test.standard_error * math.sqrt(2 / (1 / test.n_upstream + 1 / test.n_worldflux))


def _bayes(
    task: ProofTask, rule: MetricRule, sides: list[FloatArray], test: TostResult, bayesian: BayesianRule
) -> tuple[BayesResult | None, str]:
    if not bayesian.enable:
        return None, "not asked for"
    if test.status != "ok":
        return None, test.reason
    of = bayes_log_ratio if rule.effect == "log_ratio" else bayes_normalized_difference
    try:
        return of(
            sides[0],
            sides[1],
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
        ), ""
    except StatisticsError as error:
        return None, error.line()
