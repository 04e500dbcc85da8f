"""``auto_power``: a pilot, a plan from its variance alone, and what having looked at that variance costs.

The pilot judges nothing. It gives each task a number of seeds, from the spread of the pilot's values and
the official mean (never from the difference), and the final session judges all seeds, those of the pilot
included. That is an internal pilot (Wittes and Brittain 1990, Statist. Med. 9:65-72). A variance that came
out small by chance stops the run early and is then used again in the test, which makes ordinary p-values too
small. :func:`two_stage_p` replaces each by the largest probability that a normal variable of any variance
would give to one as small, so the size is at most alpha again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np

from ...errors import StatisticsError
from ...suite.proof_settings import MetricRule, ProofSettings, ProofTask, SeedPolicy
from ...suite.seed_plan import SeedPlan, TaskPlan
from ...suite.suite import SYSTEMS
from ..stats.arrays import FloatArray
from ..stats.effect_kinds import effect_kind
from ..stats.measurements import Observed
from ..stats.power import paired_tost_power, welch_tost_power
from ..stats.student import normal_cdf, quantile, scale_nodes
from .cells import relative_variances

# Every size up to here can be planned; above it sizes grow by 5 %.
_EACH = 64
_STEP = 1.05
_LEVELS = np.geomspace(1e-10, 0.5, 40)
_TRUE_VARIANCES = 48
_NODES = 192


def seed_plan(settings: ProofSettings, tasks: Sequence[ProofTask], observed: Observed) -> SeedPlan:
    """The seeds per task that the pilot's variances ask for.

    A task takes what the metric with the most noise needs. One whose variance is unknown (a missing
    value, a log of a score that is not positive) gets the least there is, and cannot pass with it.

    Raises:
        StatisticsError: the policy is not ``auto_power``.
    """
    policy = settings.seed_policy
    if policy.mode != "auto_power":
        raise StatisticsError("only auto_power plans seeds", where="seed_policy")
    family = family_size(settings, tasks)
    return SeedPlan(tuple(_task_plan(t, settings, observed, family) for t in tasks))


def family_size(settings: ProofSettings, tasks: Sequence[ProofTask]) -> int:
    """How many hypotheses Holm's correction is over."""
    return sum(len(t.rules) if settings.holm_scope == "all_metrics" else 1 for t in tasks)


def corrected_alpha(rule: MetricRule, is_primary: bool, settings: ProofSettings, family: int) -> float:
    """The level of Holm's first step, which suffices whatever the others do; alpha outside the family."""
    return rule.alpha / family if is_primary or settings.holm_scope == "all_metrics" else rule.alpha


def two_stage_p(p: float, rule: MetricRule, alpha: float, policy: SeedPolicy) -> float:
    """A p-value of the final session that stands for the pilot too; never below ``p``.

    Args:
        p: one-sided, of the ordinary t-test on all seeds.
        alpha: the level that the plan was made for.
    """
    if p >= _LEVELS[-1]:
        return p
    worst = _worst_sizes(rule, alpha, policy)
    return max(p, float(np.exp(np.interp(math.log(max(p, 1e-300)), np.log(_LEVELS), np.log(worst)))))


def equal_arms_power(rule: MetricRule, variance: float, n: int, alpha: float) -> float:
    """Power without a true difference of ``n`` seeds per side (or ``n`` pairs).

    Args:
        variance: of the effect of one pair of seeds: of both sides together, or of the differences.
    """
    low, high = effect_kind(rule.effect).bounds(rule.equivalence_margin)
    if rule.design == "paired":
        return paired_tost_power(0.0, math.sqrt(variance), n, low=low, high=high, alpha=alpha)
    return welch_tost_power(0.0, math.sqrt(variance / 2), n, low=low, high=high, alpha=alpha)


def narrow_rule(rule: MetricRule) -> MetricRule:
    """The rule that seeds are planned for: non-inferiority must hold too, so the narrower margin counts."""
    return replace(rule, equivalence_margin=min(rule.equivalence_margin, rule.noninferiority_margin))


def _task_plan(task: ProofTask, settings: ProofSettings, observed: Observed, family: int) -> TaskPlan:
    policy = settings.seed_policy
    asked: list[tuple[int | None, str]] = []
    for rule in task.rules:
        variance = _pilot_variance(task, rule, observed, policy)
        if variance is None:
            fewest = _sizes(policy)[0]
            why = f"the variance of {rule.name} cannot be told from the pilot, so no number of seeds is known"
            return TaskPlan(task.id, policy.first(fewest), None, rule.name, why)
        alpha = corrected_alpha(rule, rule == task.rules[0], settings, family)
        asked.append((_size_for(variance, narrow_rule(rule), alpha, policy), rule.name))
    wanted, metric = max(asked, key=lambda a: math.inf if a[0] is None else a[0])
    if wanted is None:
        power = f"{policy.power_target:.0%} power takes more than max_seeds = {policy.max_seeds}"
        return TaskPlan(task.id, policy.first(policy.max_seeds), None, metric, power)
    return TaskPlan(task.id, policy.first(wanted), wanted, metric)


def _pilot_variance(
    task: ProofTask, rule: MetricRule, observed: Observed, policy: SeedPolicy
) -> float | None:
    """Of the effect of one pair, from the pilot's seeds only; None where one is missing."""
    sides = []
    for system in SYSTEMS:
        if not set(policy.at_first) <= observed.values.get((system, rule.name, task.id), {}).keys():
            return None
        runs = observed.runs(system, rule.name, task.id)
        sides.append(np.array([runs[n].value for n in sorted(policy.at_first) if n in runs], np.float64))
    variances = relative_variances(sides[0], sides[1], rule)
    return None if variances is None else sum(variances)


@cache
def _sizes(policy: SeedPolicy) -> tuple[int, ...]:
    """The numbers of seeds that a plan may ask for, rising."""
    fewest = min(max(policy.min_seeds, policy.pilot_seeds), policy.max_seeds)
    sizes = list(range(fewest, min(max(_EACH, fewest), policy.max_seeds) + 1))
    while sizes[-1] < policy.max_seeds:
        sizes.append(min(max(sizes[-1] + 1, math.ceil(sizes[-1] * _STEP)), policy.max_seeds))
    return tuple(sizes)


@cache
def _largest_variances(rule: MetricRule, alpha: float, policy: SeedPolicy) -> tuple[float, ...]:
    """For each size the largest variance with which it has the wanted power, rising."""
    return tuple(_largest_variance(rule, n, alpha, policy.power_target) for n in _sizes(policy))


def _largest_variance(rule: MetricRule, n: int, alpha: float, target: float) -> float:
    low, high = effect_kind(rule.effect).bounds(rule.equivalence_margin)
    # In units of the squared half-width; power falls as the variance grows.
    inner, outer = math.log(1e-8), math.log(1e4 * n)
    for _ in range(32):
        middle = (inner + outer) / 2
        enough = equal_arms_power(rule, math.exp(middle) * ((high - low) / 2) ** 2, n, alpha) >= target
        inner, outer = (middle, outer) if enough else (inner, middle)
    return math.exp(inner) * ((high - low) / 2) ** 2


def _size_for(variance: float, rule: MetricRule, alpha: float, policy: SeedPolicy) -> int | None:
    sizes = _sizes(policy)
    at = int(np.searchsorted(_largest_variances(rule, alpha, policy), variance))
    return sizes[at] if at < len(sizes) else None


@cache
def _worst_sizes(rule: MetricRule, alpha: float, policy: SeedPolicy) -> FloatArray:
    """For each of ``_LEVELS`` the largest size, over all true variances, of the test at that level.

    Exact for normal values of equal variance on both sides: the final mean is independent of both parts
    of the final sum of squares, that of the pilot (which set the size) and that which came after.
    """
    limits = np.array(_largest_variances(rule, alpha, policy)[:-1])
    arms = 1 if rule.design == "paired" else 2
    df_pilot = arms * (policy.pilot_seeds - 1)
    if not limits.size or df_pilot < 1:
        return np.array(_LEVELS)
    ratio, weights = scale_nodes(df_pilot, nodes=_NODES)
    true = np.geomspace(limits[0] / 30, limits[-1] * 30, _TRUE_VARIANCES)
    chosen = np.searchsorted(limits, true[:, None] * ratio**2)
    total = np.zeros((_TRUE_VARIANCES, _LEVELS.size))
    for at in np.unique(chosen):
        df = arms * (_sizes(policy)[at] - 1)
        rejected = _rejections(ratio, df_pilot, df)
        total += (weights * (chosen == at)) @ rejected
    return np.asarray(np.maximum.accumulate(np.maximum(total.max(axis=0), _LEVELS)), np.float64)


def _rejections(ratio: FloatArray, df_pilot: int, df: int) -> FloatArray:
    """Chance of a p below each level, per ratio of the pilot's standard deviation to the true one."""
    later, weights = scale_nodes(df - df_pilot, nodes=24) if df > df_pilot else (np.zeros(1), np.ones(1))
    final = np.sqrt((df_pilot * ratio[:, None] ** 2 + (df - df_pilot) * later**2) / df)
    # Of the lower tail, because 1 - 1e-10 has few digits left.
    t = quantile(_LEVELS, df)
    return np.asarray((normal_cdf(t * final[:, :, None]) * weights[:, None]).sum(axis=1), np.float64)
