"""The decision of the proof track: what passes, what fails, what stays open; nothing can be left out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_worldflux_parity.errors import StatisticsError
from pytest_worldflux_parity.judgement.proof.decision import judge_proof
from pytest_worldflux_parity.judgement.proof.results import ProofDecision, ProofGates
from pytest_worldflux_parity.judgement.stats.holm import holm
from pytest_worldflux_parity.judgement.stats.measurements import DESELECTED, FAILED, Missing, Value
from pytest_worldflux_parity.judgement.stats.tost import tost
from pytest_worldflux_parity.suite.proof_settings import BayesianRule, ProofSettings
from tests.judgement.proof_examples import (
    FAST,
    HELD,
    METRICS,
    Values,
    columns,
    drawn,
    fixed,
    observed,
    proof_tasks,
    without,
)


def same(count: int = 3, seeds: int = 8, seed: int = 0, **rule: Any) -> tuple[Any, Values]:
    tasks = proof_tasks(count, seeds, **rule)
    return tasks, drawn(tasks, np.random.default_rng(seed))


def decide(
    tasks: Any, values: Values, seeds: int = 8, gates: ProofGates = HELD, **changes: Any
) -> ProofDecision:
    return judge_proof(fixed(seeds, **changes), tasks, observed(values), gates)


def one(official: list[float], worldflux: list[float], **rule: Any) -> ProofDecision:
    """The decision on one metric of one task."""
    n = max(len(official), len(worldflux))
    tasks = proof_tasks(1, n, METRICS[:1], **rule)
    wanted = {"official": tuple(range(len(official))), "worldflux": tuple(range(len(worldflux)))}
    return decide((replace(tasks[0], seeds=wanted),), columns(official, worldflux), n)


def test_two_programs_that_are_the_same_pass() -> None:
    decision = decide(*same())
    assert (decision.verdict, decision.pass_final) == ("pass", True)
    assert decision.reason == (
        "equivalence is shown in all 6 cases of 3 tasks (TOST, Holm over 6) and the Bayesian check agrees"
    )
    assert all(c.cell.status == "ok" and c.passed and c.passed_bayesian for c in decision.cells)


def test_a_program_that_is_better_is_not_the_same() -> None:
    tasks = proof_tasks(2, 8)
    decision = decide(tasks, drawn(tasks, np.random.default_rng(0), ratio=1.2))
    assert decision.verdict == "fail"
    assert "4 of 4 cases differ by more than their margin: task-" in decision.reason
    assert "+2" in decision.reason, "the effect, in percent"


def test_few_noisy_seeds_are_inconclusive_and_say_how_many_would_do() -> None:
    tasks = proof_tasks(2, 5)
    decision = decide(tasks, drawn(tasks, np.random.default_rng(3), deviation=0.1), 5)
    assert decision.verdict == "inconclusive"
    told = [c for c in decision.cells if c.advice]
    assert told
    assert all(
        (c.seeds_needed is None and "not expected to help" in c.advice)
        or f"80% power needs {c.seeds_needed} seeds per side" == c.advice
        for c in told
    )


def test_the_seeds_said_to_be_needed_are_enough() -> None:
    """Drawn again with that many seeds, about 80 % of the tasks pass at the level of Holm's first step."""
    few = one([100, 108, 93, 101, 98], [99, 107, 95, 103, 97])
    needed = few.seeds_needed
    assert needed is not None
    assert needed > 5
    rng = np.random.default_rng(1)
    deviation = float(np.sqrt(sum(few.cells[0].cell.variances or ()) / 2))
    shown = [
        tost(
            np.exp(rng.normal(0, deviation, needed)),
            np.exp(rng.normal(0, deviation, needed)),
            effect="log_ratio",
            margin=0.05,
        ).pass_raw
        for _ in range(600)
    ]
    assert np.mean(shown) == pytest.approx(0.8, abs=0.05)


def test_where_the_estimate_lies_outside_no_seeds_are_promised() -> None:
    decision = one([100, 130, 80, 110], [120, 135, 105, 100])
    assert decision.verdict == "inconclusive"
    assert decision.seeds_needed is None
    assert decision.cells[0].advice.endswith("more seeds are not expected to help")


STATUSES: dict[str, tuple[list[float], list[float], str, str]] = {
    "no variance": ([5, 5, 5], [5.1, 5.1, 5.1], "degenerate", "nothing varies"),
    "a copy": ([5, 6, 7], [7, 5, 6], "degenerate", "both sides hold the same values: a copy, not a proof"),
    "not positive": ([0, 6, 7], [5, 6, 8], "undefined", "use normalized_difference"),
    "no number": ([float("nan"), 6, 7], [5, 6, 8], "undefined", "NaN"),
    "one seed": ([5], [5.01], "insufficient_pairs", "1 seeds, and the seed policy wants at least 2"),
}


@pytest.mark.parametrize("name", STATUSES)
def test_what_cannot_be_tested_never_passes_and_says_why(name: str) -> None:
    official, worldflux, status, why = STATUSES[name]
    decision = one(official, worldflux)
    cell = decision.cells[0]
    assert (cell.cell.status, cell.passed, cell.passed_bayesian) == (status, False, False)
    assert why in cell.cell.reason
    assert why in decision.reason
    assert decision.verdict == "inconclusive"
    assert cell.p_value == 1.0


def test_a_loss_without_noise_is_named() -> None:
    decision = one([100, 100, 100], [50, 50, 50])
    assert decision.verdict == "inconclusive", "three seeds a side are apart by chance in one of twenty"
    assert (
        "-50.0%: nothing varies between seeds, and the estimate lies outside of the bounds" in decision.reason
    )
    assert one([100] * 5, [50] * 5).verdict == "fail"


def test_a_mean_of_zero_has_no_relative_difference() -> None:
    decision = one([-1, 1, 0.5, -0.5], [1, 2, 1, 2], effect="normalized_difference")
    assert decision.cells[0].cell.status == "undefined"


def test_fewer_seeds_than_the_policy_wants() -> None:
    tasks, values = same()
    policy = replace(fixed(8).seed_policy, min_seeds=9)
    decision = judge_proof(fixed(8, seed_policy=policy), tasks, observed(values), HELD)
    assert {c.cell.status for c in decision.cells} == {"insufficient_pairs"}
    assert decision.verdict == "inconclusive"
    assert all(c.cell.tost and c.cell.tost.pass_raw for c in decision.cells), "shown, and not believed"


def test_a_program_that_failed_breaks_coverage_and_one_that_nobody_ran_does_not() -> None:
    tasks, values = same()
    left = without(values, lambda s, m, t, n: (s, t, n) != ("worldflux", "task-1", 3))
    for reason, verdict in ((FAILED, "fail"), (DESELECTED, "inconclusive")):
        gap = Missing("task-1", 3, "worldflux", reason)
        decision = judge_proof(fixed(8), tasks, observed(left, [gap]), HELD)
        assert decision.verdict == verdict
        assert f"worldflux task-1 seed 3: {reason}" in decision.reason
        assert {c.cell.status for c in decision.cells if c.cell.task == "task-1"} == {"missing"}
        assert (decision.missing_pairs, decision.task_seeds - decision.complete_task_seeds) == (1, 1)


def test_what_is_said_to_be_missing_is_missing_even_if_a_value_is_there() -> None:
    tasks, values = same()
    decision = judge_proof(
        fixed(8), tasks, observed(values, [Missing("task-0", 0, "official", "no_metric")]), HELD
    )
    assert decision.verdict == "fail"


@pytest.mark.parametrize(
    ("gates", "verdict", "why"),
    [
        (ProofGates(True, True, broken=("validity: mode=mock",)), "fail", "validity: mode=mock"),
        (ProofGates(False, True), "fail", "validity: the gate is broken"),
        (ProofGates(None, True), "inconclusive", "validity: there was nothing to look at"),
        (ProofGates(True, None), "inconclusive", "component match: required, and there is no report"),
        (ProofGates(True, False), "fail", "component match: the gate is broken"),
        (ProofGates(True, True, open=("independence: unknown",)), "inconclusive", "independence: unknown"),
    ],
)
def test_no_gate_can_be_passed_by_silence(gates: ProofGates, verdict: str, why: str) -> None:
    tasks, values = same()
    decision = decide(tasks, values, gates=gates, component_match_required=True)
    assert (decision.verdict, decision.reason, decision.pass_final) == (verdict, why, False)


def test_a_suite_without_tasks_or_seeds_fails() -> None:
    assert decide((), {}).verdict == "fail"
    tasks = tuple(replace(t, seeds={"official": (), "worldflux": ()}) for t in proof_tasks(1, 2))
    decision = decide(tasks, {})
    assert (decision.verdict, decision.pass_primary, decision.pass_bayesian) == ("fail", False, False)


def test_names_that_stand_twice_are_refused() -> None:
    tasks, values = same(1)
    with pytest.raises(StatisticsError, match="a task is given twice"):
        decide((*tasks, *tasks), values)
    twice = replace(tasks[0], rules=tasks[0].rules * 2)
    with pytest.raises(StatisticsError, match="a metric is given twice"):
        decide((twice,), values)


def test_holm_is_over_the_named_scope_and_everything_must_pass_in_either() -> None:
    tasks = proof_tasks(3, 8)
    values = drawn(tasks, np.random.default_rng(5), deviation=0.025)
    wide, narrow = (decide(tasks, values, holm_scope=s) for s in ("all_metrics", "primary"))
    assert (wide.family, narrow.family) == (6, 3)
    raw = [c.p_value for c in wide.cells]
    assert [c.holm_all_metrics for c in wide.cells] == pytest.approx(list(holm(raw)))
    primary = [c for c in wide.cells if c.cell.primary]
    assert [c.holm_primary for c in primary] == pytest.approx(list(holm([c.p_value for c in primary])))
    for cell in narrow.cells:
        within = cell.p_value if cell.holm_primary is None else cell.holm_primary
        assert cell.passed == (within < 0.05)
    # A secondary metric that is not shown holds the suite back in the scope that does not correct for it.
    values["worldflux", "auc_return", "task-2"] = {n: Value(v) for n, v in enumerate([40, 160] * 4)}
    held = decide(tasks, values, holm_scope="primary")
    assert (held.pass_primary, held.pass_all_metrics) == (narrow.pass_primary, False)
    assert held.verdict != "pass"


def test_noninferiority_binds_where_its_margin_is_the_narrower() -> None:
    tasks, values = same(1, noninferiority_margin=0.001)
    decision = decide(tasks, values)
    assert all(c.cell.tost and c.cell.tost.pass_raw and not c.passed for c in decision.cells)
    assert decision.verdict == "inconclusive"
    assert decision.seeds_needed is None or decision.seeds_needed > 100


def test_where_lower_is_better_worse_is_higher() -> None:
    tasks = proof_tasks(1, 8, METRICS[:1], higher_is_better=False)
    values = drawn(tasks, np.random.default_rng(0), ratio=1.04, deviation=0.01)
    cell = decide(tasks, values).cells[0].cell
    assert cell.noninferiority is not None
    assert cell.tost is not None
    assert cell.noninferiority.p_value == cell.tost.p_upper
    assert cell.bayes is not None
    assert cell.bayes.p_noninferior == pytest.approx(1 - 0.05, abs=0.06) or cell.bayes.p_noninferior < 0.95


def test_dual_pass_is_required_only_where_the_suite_requires_it() -> None:
    tasks = proof_tasks(1, 8, METRICS[:1])
    strict = replace(FAST, probability_threshold_equivalence=0.9999999)
    official = np.array([98, 99, 99.5, 100, 100, 100.5, 101, 102])
    values = columns(list(official), list(official[::-1] + 3.01))
    decision = decide(tasks, values, bayesian=strict)
    assert decision.pass_all_metrics
    assert (decision.verdict, decision.pass_bayesian) == ("inconclusive", False)
    assert decision.reason.startswith("the Bayesian check does not agree in ")
    lenient = decide(tasks, values, bayesian=replace(strict, dual_pass_required=False))
    assert (lenient.verdict, lenient.pass_bayesian) == ("pass", False)
    off = decide(tasks, values, bayesian=BayesianRule(enable=False, dual_pass_required=False))
    assert (off.verdict, off.pass_bayesian) == ("pass", None)
    contradiction = decide(tasks, values, bayesian=BayesianRule(enable=False))
    assert contradiction.verdict == "inconclusive"


def test_more_official_seeds_than_worldflux_seeds_are_all_used() -> None:
    decision = one([100, 101, 99, 100.5, 99.5, 100.2, 98.9], [100.1, 99.2, 100.8])
    assert decision.verdict == "pass"
    cell = decision.cells[0].cell
    assert (cell.n_pairs, len(cell.seeds["official"]), len(cell.seeds["worldflux"])) == (3, 7, 3)


def test_a_paired_suite_pairs_by_seed() -> None:
    base = np.array([50.0, 100, 200, 400])
    decision = one(list(base), list(base * [1.001, 0.999, 1.002, 0.998]), design="paired")
    assert decision.verdict == "pass"
    unpaired = one(list(base), list(base * [1.001, 0.999, 1.002, 0.998]))
    assert unpaired.verdict == "inconclusive"


def test_values_that_the_suite_does_not_expect_change_nothing() -> None:
    tasks, values = same()
    more: Values = {k: {**v, 99: Value(1e6)} for k, v in values.items()}
    more["official", "auc_return", "other"] = {0: Value(1.0)}
    assert decide(tasks, more) == decide(tasks, values)


def test_another_interval_than_90_percent_is_tested_and_90_percent_is_reported() -> None:
    tasks, values = same(1)
    strict = proof_tasks(1, 8, alpha=0.01)
    cell, other = decide(tasks, values).cells[0].cell, decide(strict, values).cells[0].cell
    assert cell.ci90 == other.ci90
    assert other.tost is not None
    assert cell.tost is not None
    assert other.tost.ci_high != cell.tost.ci_high


SEEDS = 4
# Every (system, metric, task) column of a suite of two tasks, and every seed of it.
PLACES = [
    (s, m, t, n) for s in ("official", "worldflux") for m in METRICS for t in range(2) for n in range(SEEDS)
]


@settings(max_examples=60, deadline=None)
@given(
    st.sets(st.sampled_from(PLACES)),
    st.integers(0, 10**6),
    st.sampled_from([0.003, 0.02, 0.2]),
    st.sampled_from([1.0, 1.04, 1.3]),
    st.sampled_from(["all_metrics", "primary"]),
    st.sampled_from(
        [("log_ratio", "unpaired"), ("log_ratio", "paired"), ("normalized_difference", "unpaired")]
    ),
)
def test_dropping_anything_never_turns_a_not_pass_into_a_pass(
    dropped: set[tuple[str, str, int, int]], seed: int, deviation: float, ratio: float, scope: Any, how: Any
) -> None:
    tasks = proof_tasks(2, SEEDS, effect=how[0], design=how[1])
    values = drawn(tasks, np.random.default_rng(seed), deviation=deviation, ratio=ratio)
    whole = decide(tasks, values, SEEDS, holm_scope=scope)
    left = without(values, lambda s, m, t, n: (s, m, int(t[-1]), n) not in dropped)
    less = decide(tasks, left, SEEDS, holm_scope=scope)
    assert less.pass_final is (whole.pass_final and not dropped)
    assert less.missing_pairs == len({(s, t, n) for s, _, t, n in dropped})
    for before, after in zip(whole.cells, less.cells, strict=True):
        assert before.passed or not after.passed
        assert after.holm_all_metrics >= before.holm_all_metrics or after.cell.status == "missing"
    for task_before, task_after in zip(whole.tasks, less.tasks, strict=True):
        assert task_before.passed_all_metrics or not task_after.passed_all_metrics


@settings(max_examples=20, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(0, 10**6))
def test_the_order_of_the_inputs_changes_nothing(random: Any, seed: int) -> None:
    tasks = proof_tasks(3, 5)
    values = drawn(tasks, np.random.default_rng(seed), deviation=0.03)
    shuffled: Values = {}
    for key in random.sample(list(values), len(values)):
        shuffled[key] = {n: values[key][n] for n in random.sample(list(values[key]), len(values[key]))}
    base, again = decide(tasks, values, 5), decide(tasks, shuffled, 5)
    assert base == again
    turned = decide(random.sample(tasks, len(tasks)), shuffled, 5)
    assert {c.name: c for c in turned.cells} == {c.name: c for c in base.cells}
    assert turned.verdict == base.verdict


def test_the_bayesian_draws_of_a_task_depend_on_no_other_task() -> None:
    tasks, values = same(3)
    alone = decide(tasks[1:2], values)
    assert alone.cells[0].cell.bayes == decide(tasks, values).cells[2].cell.bayes


def test_settings_are_said_by_the_suite() -> None:
    assert ProofSettings("x").bayesian == BayesianRule(True, 20_000, 20260220, 0.95, 0.975, True)
