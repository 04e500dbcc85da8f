"""Other people's programs on the same random data, to 1e-12."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats
from statsmodels.stats.multitest import multipletests  # type: ignore[import-untyped]
from statsmodels.stats.weightstats import ttost_ind, ttost_paired  # type: ignore[import-untyped]

from pytest_worldflux_parity.judgement.proof.decision import judge_proof
from pytest_worldflux_parity.judgement.proof.results import ProofGates
from pytest_worldflux_parity.judgement.stats.holm import holm
from pytest_worldflux_parity.judgement.stats.tost import tost
from tests.judgement.proof_examples import METRICS, columns, fixed, observed, proof_tasks

EXACT = {"rel": 1e-12, "abs": 1e-12}
needs_pingouin = pytest.mark.skipif(
    importlib.util.find_spec("pingouin") is None,
    reason="pingouin is not installed; with it come half a gigabyte of plotting and learning libraries",
)
random_data = given(st.integers(0, 10**9), st.integers(3, 25), st.floats(0.2, 5), st.floats(-1, 1))


def samples(seed: int, n: int, spread: float, shift: float) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    return rng.normal(10, 1, n), rng.normal(10 + shift, spread, n)


@settings(max_examples=40, deadline=None)
@random_data
def test_tost_agrees_with_statsmodels(seed: int, n: int, spread: float, shift: float) -> None:
    u, w = samples(seed, n, spread, shift)
    for design, theirs in (
        ("unpaired", ttost_ind(w, u, -1, 1, usevar="unequal")),
        ("pooled", ttost_ind(w, u, -1, 1, usevar="pooled")),
        ("paired", ttost_paired(w, u, -1, 1)),
    ):
        ours = tost(u, w, effect="difference", margin=1, design=design)  # type: ignore[arg-type]
        p, lower, upper = theirs
        assert ours.p_value == pytest.approx(p, **EXACT)
        assert (ours.p_lower, ours.p_upper) == pytest.approx((lower[1], upper[1]), **EXACT)
        assert ours.df == pytest.approx(lower[2], **EXACT)


@settings(max_examples=40, deadline=None)
@random_data
def test_the_decision_agrees_with_scipy(seed: int, n: int, spread: float, shift: float) -> None:
    """Effect, interval and both p-values of a log ratio, from values to the cell of the decision."""
    u, w = (np.exp(x / 10) for x in samples(seed, n, spread, shift))
    tasks = proof_tasks(1, n, METRICS[:1])
    decision = judge_proof(fixed(n), tasks, observed(columns(list(u), list(w))), ProofGates(True))
    test, ci90 = decision.cells[0].cell.tost, decision.cells[0].cell.ci90
    theirs = scipy_stats.ttest_ind(np.log(w), np.log(u), equal_var=False)
    assert test is not None
    assert ci90 is not None
    assert test.effect == pytest.approx(np.log(w).mean() - np.log(u).mean(), **EXACT)
    assert test.df == pytest.approx(theirs.df, **EXACT)
    assert ci90 == pytest.approx(tuple(theirs.confidence_interval(0.9)), **EXACT)
    for p, bound, side in ((test.p_lower, 0.95, "greater"), (test.p_upper, 1.05, "less")):
        shifted = scipy_stats.ttest_ind(
            np.log(w) - np.log(bound), np.log(u), equal_var=False, alternative=side
        )
        assert p == pytest.approx(shifted.pvalue, **EXACT)


@settings(max_examples=40, deadline=None)
@random_data
def test_a_relative_difference_is_two_linear_contrasts(
    seed: int, n: int, spread: float, shift: float
) -> None:
    u, w = samples(seed, n, spread, shift)
    test = tost(u, w, effect="normalized_difference", margin=0.05)
    lower = scipy_stats.ttest_ind(w, 0.95 * u, equal_var=False, alternative="greater")
    upper = scipy_stats.ttest_ind(w, 1.05 * u, equal_var=False, alternative="less")
    assert (test.p_lower, test.p_upper) == pytest.approx((lower.pvalue, upper.pvalue), **EXACT)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=40))
def test_holm_agrees_with_statsmodels(p: list[float]) -> None:
    assert holm(p) == pytest.approx(multipletests(p, method="holm")[1], **EXACT)


@needs_pingouin
def test_tost_agrees_with_pingouin() -> None:
    import pingouin  # type: ignore[import-not-found]

    for seed in range(10):
        u, w = samples(seed, 3 + seed, 2.0, 0.3)
        for design, asked in (
            ("unpaired", {"correction": True}),
            ("pooled", {"correction": False}),
            ("paired", {"paired": True}),
        ):
            theirs = pingouin.tost(w, u, bound=1, **asked).iloc[0]
            ours = tost(u, w, effect="difference", margin=1, design=design)  # type: ignore[arg-type]
            name = "pval" if "pval" in theirs else "p_val"
            assert ours.p_value == pytest.approx(theirs[name], **EXACT)
            assert ours.df == pytest.approx(theirs["dof"], **EXACT)
