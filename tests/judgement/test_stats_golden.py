"""Published numbers, and other people's programs on the same data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats as scipy_stats
from statsmodels.stats.multitest import multipletests  # type: ignore[import-untyped]
from statsmodels.stats.weightstats import ttost_ind, ttost_paired  # type: ignore[import-untyped]

from pytest_worldflux_parity.inputs.scores import RETURN, ScoreTable, load_table
from pytest_worldflux_parity.judgement.stats.bayes import bayes_seed, posterior_means
from pytest_worldflux_parity.judgement.stats.holm import holm
from pytest_worldflux_parity.judgement.stats.noninferiority import DropRatioResult, drop_ratio_rule
from pytest_worldflux_parity.judgement.stats.power import (
    noninferiority_power,
    paired_tost_power,
    seeds_needed,
    unpaired_tost_power,
    welch_tost_power,
)
from pytest_worldflux_parity.judgement.stats.tost import tost
from tests.oracles import needs_oracles

# Columns var1 and var2 of the `clinic` data, R package `equivalence`; rows 1-15 and 16-30 are two visits
# of the same patients. Typed from statsmodels/stats/tests/test_tost.py.
CLINIC_VAR1 = (
    [2.84, 2.51, 2.41, 2.95, 3.14, 3.79, 4.14, 3.85, 3.02, 3.45, 5.37, 3.81, 4.19, 3.16, 3.84],
    [2.6, 2.82, 2.18, 3.46, 4.01, 3.04, 3.47, 4.06, 2.91, 3.59, 4.51, 3.16, 3.86, 3.31, 3.02],
)
CLINIC_VAR2 = (
    [4.0, 3.26, 4.14, 3.42, 3.25, 4.34, 4.97, 4.31, 3.11, 3.41, 5.02, 4.21, 4.59, 5.3, 4.32],
    [3.76, 3.66, 3.65, 3.6, 3.48, 2.87, 3.24, 3.92, 3.99, 4.21, 4.21, 3.31, 3.61, 2.97, 2.73],
)

# Student's `sleep` data (1908), extra hours of sleep, R package `datasets`.
SLEEP = (
    [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0],
    [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4],
)
SMALL = ([4, 7, 8, 6, 3, 2], [6, 8, 7, 10, 11, 9])

SHARED = Path(__file__).resolve().parents[3] / "shared"


def test_paired_tost_of_clinic_var1() -> None:
    before, after = CLINIC_VAR1
    result = tost(after, before, effect="difference", margin=0.6, design="paired")
    assert result.p_value == pytest.approx(0.003166881489265, abs=1e-12)
    assert (result.ci_low, result.ci_high) == pytest.approx((-0.0744336620516, 0.4037669953850), abs=1e-12)
    assert result.df == 14
    assert result.pass_raw


def test_paired_tost_of_clinic_var2() -> None:
    before, after = CLINIC_VAR2
    result = tost(after, before, effect="difference", margin=0.6, design="paired")
    assert result.p_value == pytest.approx(0.441203404601759, abs=1e-12)
    assert not result.pass_raw


def test_paired_tost_of_logs_of_clinic_var1() -> None:
    before, after = (np.log(side) for side in CLINIC_VAR1)
    result = tost(after, before, effect="difference", margin=float(np.log(1.25)), design="paired")
    assert result.p_value == pytest.approx(0.000166415792898, abs=1e-12)


def test_paired_tost_of_sleep() -> None:
    result = tost(SLEEP[1], SLEEP[0], effect="difference", margin=0.5, design="paired")
    assert result.p_value == pytest.approx(0.98924075662161, abs=1e-12)
    assert (result.ci_low, result.ci_high) == pytest.approx((-2.2930053, -0.8669947), abs=1e-7)
    assert result.effect is not None
    assert result.standard_error is not None
    assert result.df == 9
    assert (result.effect + 0.5) / result.standard_error == pytest.approx(-2.7766, abs=1e-4)


@pytest.mark.parametrize(
    ("design", "bound", "p"),
    [
        ("paired", 1, 0.9293826),
        ("paired", 2, 0.8286101),
        ("pooled", 1, 0.9650974),
        ("unpaired", 1, 0.9643479),
        ("pooled", 10, 0.00017933),
    ],
)
def test_tost_of_six_against_six(design: str, bound: float, p: float) -> None:
    result = tost(*SMALL, effect="difference", margin=bound, design=design)  # type: ignore[arg-type]
    assert result.p_value == pytest.approx(p, rel=5e-5, abs=5e-8)


@pytest.mark.parametrize(
    ("raw", "adjusted"),
    [
        ([0.52, 0.12, 0.0001, 0.03, 0.14], [0.52, 0.36, 0.0005, 0.12, 0.36]),
        (
            [0.001, 0.002, 0.003, 0.004, 0.005, 0.05, 0.06, 0.07, 0.08, 0.09],
            [0.01, 0.018, 0.024, 0.028, 0.03, 0.25, 0.25, 0.25, 0.25, 0.25],
        ),
    ],
)
def test_holm(raw: list[float], adjusted: list[float]) -> None:
    assert holm(raw) == pytest.approx(adjusted, abs=1e-12)
    assert holm(raw) == pytest.approx(multipletests(raw, method="holm")[1], abs=1e-12)


@pytest.mark.parametrize(("n", "power"), [(5, 0.10599), (15, 0.66629), (30, 0.93855), (50, 0.99410)])
def test_power_of_the_paired_tost(n: int, power: float) -> None:
    assert paired_tost_power(-4, 25.4558, n, low=-19.2, high=19.2) == pytest.approx(power, abs=6e-6)


def test_bayesian_bootstrap_of_two_values_is_uniform_between_them() -> None:
    draws = posterior_means(
        [2.0, 5.0], 20_000, np.random.default_rng(bayes_seed("walker-walk", "auc_return"))
    )
    assert draws.min() >= 2.0
    assert draws.max() <= 5.0
    assert scipy_stats.kstest(draws, "uniform", args=(2.0, 3.0)).pvalue > 0.001


def documented(upstream: ScoreTable, worldflux: ScoreTable) -> DropRatioResult:
    """The documented rule on the latest scores of the pairs that both tables have."""
    u, w = (
        {key: float(points.scores[-1]) for key, points in table.points.items() if key[2] == RETURN}
        for table in (upstream, worldflux)
    )
    both = sorted(u.keys() & w.keys())
    scores = [u[key] for key in both], [w[key] for key in both]
    return drop_ratio_rule(*scores, rng=np.random.default_rng(0))


@needs_oracles
def test_drop_ratio_of_ppo_against_dreamerv3() -> None:
    folder, name = SHARED / "oracles/dreamerv3/scores", "dreamerv3_scores_json_gz"
    upstream = load_table(folder / "atari100k-dreamerv3.json.gz", name)
    result = documented(upstream, load_table(folder / "atari100k-ppo_fixhp.json.gz", name))
    assert result.sample_size == 130
    assert result.mean_drop_ratio == pytest.approx(0.9111965294, abs=1e-9)
    assert result.ci_upper_ratio == pytest.approx(1.189, abs=5e-4)
    assert not result.pass_


@needs_oracles
def test_drop_ratio_of_tdmpc_against_tdmpc2() -> None:
    folder, name = SHARED / "oracles/tdmpc2/results", "tdmpc2_results_csv_dir"
    upstream = load_table(folder / "tdmpc2", name)
    result = documented(upstream, load_table(folder / "tdmpc", name, duplicates="last_point"))
    assert result.sample_size == 117
    assert result.mean_drop_ratio == pytest.approx(0.1804502540, abs=1e-9)
    assert result.ci_upper_ratio == pytest.approx(0.226, abs=5e-4)
    assert not result.pass_


@needs_oracles
def test_seeds_that_dreamerv3_on_atari_would_take() -> None:
    """The planning numbers: mean of the last 10 points, log scale, +-5 %, power 0.8."""
    path = SHARED / "oracles/dreamerv3/scores/atari100k-dreamerv3.json.gz"
    table = load_table(path, "dreamerv3_scores_json_gz")
    needed = {}
    for task in table.tasks():
        scores = np.array([np.mean([p.value for p in table.curve(task, s)[-10:]]) for s in table.seeds(task)])
        if scores.min() > 0:
            needed[task] = _seeds_for_five_percent(float(np.log(scores).std(ddof=1)))
    assert set(table.tasks()) - set(needed) == {"atari_pong", "atari_freeway"}
    assert [needed[f"atari_{game}"] for game in ("hero", "krull", "frostbite")] == pytest.approx(
        [16, 20, 6923], abs=1
    )
    assert np.median(list(needed.values())) == pytest.approx(427, abs=1)


def _seeds_for_five_percent(sd: float) -> int:
    low, high = np.log([0.95, 1.05])
    needed = seeds_needed(lambda n: unpaired_tost_power(0.0, sd, n, low=low, high=high))
    assert needed is not None
    return needed


@pytest.mark.parametrize(("n", "m"), [(3, 3), (5, 8), (12, 4)])
@pytest.mark.parametrize("seed", range(3))
def test_unpaired_tost_agrees_with_statsmodels(n: int, m: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    u, w = rng.normal(10, 2, n), rng.normal(11, 4, m)
    for design, usevar in (("unpaired", "unequal"), ("pooled", "pooled")):
        ours = tost(u, w, effect="difference", margin=3, design=design)  # type: ignore[arg-type]
        p, lower, upper = ttost_ind(w, u, -3, 3, usevar=usevar)
        assert ours.p_value == pytest.approx(p, rel=1e-9)
        assert (ours.p_lower, ours.p_upper) == pytest.approx((lower[1], upper[1]), rel=1e-9)
        assert ours.df == pytest.approx(lower[2], rel=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_paired_log_ratio_agrees_with_statsmodels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    u = rng.lognormal(5, 0.2, 7)
    w = u * rng.lognormal(0, 0.05, 7)
    ours = tost(u, w, effect="log_ratio", margin=0.05, design="paired")
    theirs = ttost_paired(w, u, 0.95, 1.05, transform=np.log)
    assert ours.p_value == pytest.approx(theirs[0], rel=1e-9)


@pytest.mark.parametrize(("se", "df"), [(0.02, 4), (0.03, 17.3), (0.01, 2), (0.05, 200)])
def test_power_of_noninferiority_is_the_noncentral_t(se: float, df: float) -> None:
    critical = scipy_stats.t.ppf(0.95, df)
    expected = scipy_stats.nct.sf(critical, df, (0.05 - 0.01) / se)
    assert noninferiority_power(0.01, se, df, margin=0.05) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(("n", "sd"), [(2, 0.005), (3, 0.014), (5, 0.024), (20, 0.06)])
def test_power_of_the_welch_tost_is_how_often_it_passes(n: int, sd: float) -> None:
    rng = np.random.default_rng(n)
    u, w = rng.normal(0, sd, (2, 40_000, n))
    difference, parts = (
        w.mean(axis=1) - u.mean(axis=1),
        np.stack([u.var(axis=1, ddof=1), w.var(axis=1, ddof=1)]),
    )
    df = (n - 1) * parts.sum(axis=0) ** 2 / (parts**2).sum(axis=0)
    reach = scipy_stats.t.ppf(0.95, df) * np.sqrt(parts.sum(axis=0) / n)
    low, high = np.log([0.95, 1.05])
    passes = np.mean((difference - reach > low) & (difference + reach < high))
    assert welch_tost_power(0, sd, n, low=low, high=high) == pytest.approx(passes, abs=0.009)


def test_power_of_the_welch_tost_with_many_seeds_is_that_of_the_pooled_one() -> None:
    for n in (64, 65, 300):
        bounds = {"low": -0.05, "high": 0.05}
        assert welch_tost_power(0, 0.1, n, **bounds) == pytest.approx(
            unpaired_tost_power(0, 0.1, n, **bounds), abs=1e-3
        )
