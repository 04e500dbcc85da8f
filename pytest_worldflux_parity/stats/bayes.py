"""Bayesian bootstrap (Rubin 1981, Ann. Statist. 9:130-134): a second opinion beside TOST."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ..errors import StatisticsError
from .arrays import FloatArray, pairs, sample

DRAWS = 20_000
BASE_SEED = 20260220
EQUIVALENT = 0.95
NONINFERIOR = 0.975


@dataclass(frozen=True)
class BayesResult:
    """Posterior of an effect; intervals are central. ``pass_all``: both probabilities are reached."""

    posterior_mean: float
    posterior_ci90: tuple[float, float]
    posterior_ci95: tuple[float, float]
    p_equivalence: float
    p_noninferior: float
    pass_equivalence: bool
    pass_noninferiority: bool
    draws: int

    @property
    def pass_all(self) -> bool:
        """Whether equivalence and non-inferiority are both probable enough."""
        return self.pass_equivalence and self.pass_noninferiority


def bayes_seed(task: str, metric: str, base: int = BASE_SEED) -> int:
    """A 64-bit seed of (base, task, metric), the same on every machine and in every order of tasks."""
    # The length keeps ("a", "b|c") and ("a|b", "c") apart.
    text = f"{base}|{len(task)}|{task}|{metric}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def posterior_means(values: ArrayLike, draws: int, rng: np.random.Generator) -> FloatArray:
    """Draws from the posterior of the mean, shape (draws,): Dirichlet(1, ..., 1) weights on ``values``.

    Raises:
        StatisticsError: as :func:`.arrays.sample`, or ``draws`` is below 1.
    """
    x = sample(values, "bayes")
    if draws < 1:
        raise StatisticsError(f"{draws} draws are none", where="bayes")
    weights = rng.standard_exponential((draws, x.size))
    # Centred, so that rounding cannot carry the mean of equal values outside them.
    centre = x[0]
    return np.asarray(centre + weights @ (x - centre) / weights.sum(axis=1), dtype=np.float64)


def bayes_log_ratio(
    upstream: ArrayLike,
    worldflux: ArrayLike,
    *,
    margin: float,
    noninferiority_margin: float,
    paired: bool = False,
    higher_is_better: bool = True,
    draws: int = DRAWS,
    rng: np.random.Generator,
) -> BayesResult:
    """Posterior of mean log(worldflux) - mean log(upstream), against log(1 - m) and log(1 + m).

    Raises:
        StatisticsError: a score is not positive (the effect is undefined), or as :func:`posterior_means`.
    """
    u, w = _both(upstream, worldflux, paired)
    if u.min() <= 0 or w.min() <= 0:
        raise StatisticsError("a log ratio of scores that are not positive is undefined", where="bayes")
    effect = _difference(np.log(u), np.log(w), paired, draws, rng)
    bounds = (np.log1p(-margin), np.log1p(margin))
    worse = np.log1p(-noninferiority_margin) if higher_is_better else -np.log1p(noninferiority_margin)
    return _result(effect, bounds, effect if higher_is_better else -effect, float(worse))


def bayes_normalized_difference(
    upstream: ArrayLike,
    worldflux: ArrayLike,
    *,
    margin: float,
    noninferiority_margin: float,
    paired: bool = False,
    higher_is_better: bool = True,
    draws: int = DRAWS,
    rng: np.random.Generator,
) -> BayesResult:
    """Posterior of (mean_w - mean_u) / |mean_u|.

    Raises:
        StatisticsError: a posterior mean of upstream reaches 0, where the effect is undefined, or as
            :func:`posterior_means`.
    """
    u, w = _both(upstream, worldflux, paired)
    if paired:
        weights = rng.standard_exponential((_positive(draws), u.size))
        weights /= weights.sum(axis=1, keepdims=True)
        mean_u, mean_w = weights @ u, weights @ w
    else:
        mean_u, mean_w = posterior_means(u, draws, rng), posterior_means(w, draws, rng)
    if np.abs(mean_u).min() <= 1e-12 * np.abs(u).max():
        raise StatisticsError("the mean upstream score may be 0: no relative effect", where="bayes")
    effect = (mean_w - mean_u) / np.abs(mean_u)
    worse = effect if higher_is_better else -effect
    return _result(effect, (-margin, margin), worse, -noninferiority_margin)


def _both(upstream: ArrayLike, worldflux: ArrayLike, paired: bool) -> tuple[FloatArray, FloatArray]:
    if paired:
        return pairs(upstream, worldflux)
    return sample(upstream, "upstream"), sample(worldflux, "worldflux")


def _positive(draws: int) -> int:
    if draws < 1:
        raise StatisticsError(f"{draws} draws are none", where="bayes")
    return draws


def _difference(
    u: FloatArray, w: FloatArray, paired: bool, draws: int, rng: np.random.Generator
) -> FloatArray:
    if paired:
        return posterior_means(w - u, draws, rng)
    return posterior_means(w, draws, rng) - posterior_means(u, draws, rng)


def _result(effect: FloatArray, bounds: tuple[float, float], worse: FloatArray, worst: float) -> BayesResult:
    low95, low90, high90, high95 = (float(q) for q in np.quantile(effect, [0.025, 0.05, 0.95, 0.975]))
    p_equivalence = float(((effect > bounds[0]) & (effect < bounds[1])).mean())
    p_noninferior = float((worse > worst).mean())
    return BayesResult(
        posterior_mean=float(effect.mean()),
        posterior_ci90=(low90, high90),
        posterior_ci95=(low95, high95),
        p_equivalence=p_equivalence,
        p_noninferior=p_noninferior,
        pass_equivalence=p_equivalence >= EQUIVALENT,
        pass_noninferiority=p_noninferior >= NONINFERIOR,
        draws=effect.size,
    )
