"""How often the quick rules pass and fail, on resampled real scores.

    python tests/simulations/calibration.py --oracles ../shared/oracles [--replications 1000]

Pools: the score of a seed is the mean of the last ``--window`` points of its published curve; Atari100k
has 26 tasks x 5 seeds (DreamerV3), DMControl39 39 x 3 (TD-MPC2). One replication draws n upstream and n
worldflux scores per task from that task's pool, independently and with replacement; the worldflux ones are
left as they are ("identical") or lowered by 5 % of their size ("5 % worse"). Lowering by size and not by
the factor 0.95 matters for Pong, whose scores are negative and would get better.

Everything is judged by the package's own functions over arrays (replications, tasks, seeds); that this
gives what ``calibrated_rule`` gives one by one is a test. ``ceiling`` is the pass rate for identical
programs of a normal test of the same contrast that knows its true standard error: about what any
unbiased test of this contrast can reach at size 5 %.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from pytest_worldflux_parity.inputs.scores import ScoreTable, load_table
from pytest_worldflux_parity.judgement.stats.arrays import spread
from pytest_worldflux_parity.judgement.stats.effects import p_worse_than_margin, pool_contrasts, task_contrast
from pytest_worldflux_parity.judgement.stats.holm import holm
from pytest_worldflux_parity.judgement.stats.noninferiority import RESAMPLES

Scores = NDArray[np.float64]

MARGIN, CONFIDENCE, WORSE = 0.05, 0.95, 0.05


@dataclass(frozen=True)
class Suite:
    name: str
    pool: Scores  # (tasks, seeds)
    sizes: tuple[int, ...]


@dataclass(frozen=True)
class Rates:
    """Shares of replications, between 0 and 1."""

    drop_ratio_pass: float
    calibrated_pass: float
    calibrated_fail: float
    ceiling: float


@dataclass(frozen=True)
class Verdicts:
    """Per replication, shape (replications,)."""

    drop_ratio: NDArray[np.bool_]
    passes: NDArray[np.bool_]
    fails: NDArray[np.bool_]
    contrast: Scores


def suites(oracles: Path, window: int) -> Iterator[Suite]:
    atari = load_table(oracles / "dreamerv3/scores/atari100k-dreamerv3.json.gz", "dreamerv3_scores_json_gz")
    yield Suite("Atari100k, 26 tasks", pool_of(atari, window), (3, 5, 10, 20))
    dmcontrol = load_table(oracles / "tdmpc2/results/tdmpc2", "tdmpc2_results_csv_dir")
    yield Suite("DMControl39", pool_of(dmcontrol, window), (3, 5, 10))


def pool_of(table: ScoreTable, window: int) -> Scores:
    """Mean of the last ``window`` points per (task, seed)."""
    curves = [[table.curve(task, seed)[-window:] for seed in table.seeds(task)] for task in table.tasks()]
    return np.array([[np.mean([p.value for p in curve]) for curve in task] for task in curves])


def draw(pool: Scores, n: int, replications: int, rng: np.random.Generator) -> Scores:
    """Scores with replacement, shape (replications, tasks, n)."""
    tasks, seeds = pool.shape
    picks = rng.integers(0, seeds, size=(replications, tasks, n))
    return pool[np.arange(tasks)[None, :, None], picks]


def worsened(scores: Scores, by: float) -> Scores:
    return scores - by * np.abs(scores)


def bootstrap_weights(size: int) -> Scores:
    """How often the documented bootstrap draws each pair, over its size: shape (resamples, size).

    Its generator starts at 0 for every suite, so the draws are the same in every replication, and 4000
    bootstrap means become one matrix product.
    """
    picks = np.random.default_rng(0).integers(0, size, size=(RESAMPLES, size))
    weights = np.zeros((RESAMPLES, size))
    np.add.at(weights, (np.arange(RESAMPLES)[:, None], picks), 1.0 / size)
    return weights


def drop_ratio_passes(upstream: Scores, worldflux: Scores, weights: Scores) -> NDArray[np.bool_]:
    drops = (upstream - worldflux) / np.maximum(np.abs(upstream), 1.0)
    means = weights @ drops.reshape(len(drops), -1).T
    return np.asarray(np.quantile(means, CONFIDENCE, axis=0) <= MARGIN)


def judge(upstream: Scores, worldflux: Scores, weights: Scores) -> Verdicts:
    """Both rules on arrays of shape (replications, tasks, n)."""
    means = upstream.mean(axis=-1), worldflux.mean(axis=-1)
    variances = spread(upstream), spread(worldflux)
    n = upstream.shape[-1]
    contrast = task_contrast(*means)
    pooled = pool_contrasts(contrast, *variances, n, n, CONFIDENCE)
    p = holm(p_worse_than_margin(contrast, means, variances, (n, n), MARGIN))
    worse = (p <= 1 - CONFIDENCE).any(axis=-1)
    documented = drop_ratio_passes(upstream, worldflux, weights)
    return Verdicts(
        drop_ratio=documented,
        passes=documented & (pooled.upper <= MARGIN) & ~worse,
        fails=worse | (pooled.lower > MARGIN),
        contrast=pooled.value,
    )


def rates(pool: Scores, n: int, replications: int, by: float, rng: np.random.Generator) -> Rates:
    weights = bootstrap_weights(pool.shape[0] * n)
    done = [
        judge(draw(pool, n, size, rng), worsened(draw(pool, n, size, rng), by), weights)
        for size in chunks(replications)
    ]
    contrast = np.concatenate([v.contrast for v in done])
    return Rates(
        drop_ratio_pass=share(v.drop_ratio for v in done),
        calibrated_pass=share(v.passes for v in done),
        calibrated_fail=share(v.fails for v in done),
        ceiling=float(norm.cdf(MARGIN / contrast.std() - norm.ppf(CONFIDENCE))),
    )


def chunks(replications: int, most: int = 500) -> list[int]:
    """Replications in parts that fit in memory."""
    return [min(most, replications - start) for start in range(0, replications, most)]


def share(parts: Iterable[NDArray[np.bool_]]) -> float:
    return float(np.concatenate(list(parts)).mean())


def table(oracles: Path, replications: int, window: int, seed: int) -> str:
    """The table of STATISTICS.md as markdown, with Monte Carlo standard errors."""
    lines = [
        "| scores | seeds | `drop_ratio` passes at 5 % worse | `calibrated` passes at 5 % worse "
        "| `calibrated` passes when identical | ceiling | fails when identical | fails at 5 % worse |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for suite in suites(oracles, window):
        for n in suite.sizes:
            rng = np.random.default_rng([seed, n, len(suite.pool)])
            worse = rates(suite.pool, n, replications, WORSE, rng)
            same = rates(suite.pool, n, replications, 0.0, rng)
            cells = [worse.drop_ratio_pass, worse.calibrated_pass, same.calibrated_pass]
            last = [same.calibrated_fail, worse.calibrated_fail]
            row = [suite.name, str(n), *(percent(c, replications) for c in cells)]
            row += [f"{same.ceiling:.0%}", *(percent(c, replications) for c in last)]
            lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines)


def percent(rate: float, replications: int) -> str:
    """A share in percent with its standard error; of a share of 0 or 1, as if one had differed."""
    inner = min(max(rate, 1 / replications), 1 - 1 / replications)
    return f"{100 * rate:.1f} ± {100 * (inner * (1 - inner) / replications) ** 0.5:.1f} %"


def main() -> None:
    parser = argparse.ArgumentParser(description="False passes, false fails and power of the quick rules.")
    parser.add_argument("--oracles", type=Path, required=True, help="folder with dreamerv3/ and tdmpc2/")
    parser.add_argument("--replications", type=int, default=1000)
    parser.add_argument(
        "--window", type=int, default=10, help="points at the end of a curve that make a score"
    )
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(table(options.oracles, options.replications, options.window, options.seed))


if __name__ == "__main__":
    main()
