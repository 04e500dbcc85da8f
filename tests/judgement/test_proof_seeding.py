"""auto_power: the plan knows the variance and nothing else, and looking at it is paid for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pytest_worldflux_parity import schemas
from pytest_worldflux_parity.errors import StatisticsError
from pytest_worldflux_parity.judgement.proof.decision import judge_proof, plan_to_seal
from pytest_worldflux_parity.judgement.proof.seeding import equal_arms_power, seed_plan, two_stage_p
from pytest_worldflux_parity.judgement.stats.measurements import FAILED, Missing, Value
from pytest_worldflux_parity.suite.proof_settings import MetricRule, ProofSettings, SeedPolicy
from pytest_worldflux_parity.suite.seed_plan import SeedPlan, with_seeds
from tests.judgement.proof_examples import FAST, HELD, METRICS, drawn, observed, proof_tasks, without

POLICY = SeedPolicy("auto_power", (), pilot_seeds=4, min_seeds=4, max_seeds=30)
SETTINGS = ProofSettings("example", bayesian=FAST, seed_policy=POLICY)


def pilot(count: int = 2, seed: int = 0, **changes: Any) -> tuple[Any, Any]:
    tasks = proof_tasks(count, 4)
    return tasks, drawn(tasks, np.random.default_rng(seed), **{"deviation": 0.03, **changes})


def test_a_pilot_judges_nothing_and_seals_a_plan() -> None:
    tasks, values = pilot(deviation=0.001)
    decision = judge_proof(SETTINGS, tasks, observed(values), HELD)
    assert all(c.passed for c in decision.cells)
    assert (decision.verdict, decision.pilot, decision.pass_final) == ("inconclusive", True, False)
    assert decision.reason.startswith("pilot: it judges nothing; the plan asks for 8 pairs in all, at most 4")
    plan = plan_to_seal(decision)
    assert plan is not None
    schemas.check(plan.to_dict(), "seed_plan.v1", str)
    final = judge_proof(SETTINGS, with_seeds(tasks, plan), observed(values), HELD, plan=plan)
    assert final.verdict == "pass", "the plan may ask for no more than the pilot has"


@pytest.mark.parametrize("ratio", [0.5, 0.95, 1.05, 3.0])
def test_the_plan_does_not_know_the_difference(ratio: float) -> None:
    tasks, values = pilot()
    plan = seed_plan(SETTINGS, tasks, observed(values))
    moved = {
        key: {n: Value(v.value * ratio) for n, v in column.items()} if key[0] == "worldflux" else column
        for key, column in values.items()
    }
    assert seed_plan(SETTINGS, tasks, observed(moved)) == plan
    assert {len(t.seeds) for t in plan.tasks} != {4}


def test_a_plan_has_the_wanted_power_and_no_more_seeds_than_needed() -> None:
    tasks, values = pilot()
    plan = seed_plan(SETTINGS, tasks, observed(values))
    for task, row in zip(tasks, plan.tasks, strict=True):
        logs = [
            np.log([values[s, row.metric, task.id][n].value for n in range(4)])
            for s in ("official", "worldflux")
        ]
        variance = sum(float(x.var(ddof=1)) for x in logs)
        n = row.wanted
        assert n == len(row.seeds)
        assert n is not None
        rule, level = task.rules[0], 0.05 / 4
        assert equal_arms_power(rule, variance, n, level) >= 0.8
        assert n == 4 or equal_arms_power(rule, variance, n - 1, level) < 0.8


def test_a_plan_stops_at_the_maximum_and_says_so() -> None:
    tasks, values = pilot(deviation=0.5)
    plan = seed_plan(SETTINGS, tasks, observed(values))
    assert {(len(t.seeds), t.wanted) for t in plan.tasks} == {(30, None)}
    assert "80% power takes more than max_seeds = 30" in plan.tasks[0].reason
    values["official", "auc_return", "task-1"][2] = Value(-1.0)
    second = seed_plan(SETTINGS, tasks, observed(values)).tasks[1]
    assert (len(second.seeds), second.wanted) == (4, None)
    assert "variance of auc_return cannot be told" in second.reason


def test_only_auto_power_plans() -> None:
    tasks, values = pilot()
    fixed = replace(SETTINGS, seed_policy=SeedPolicy("fixed", (0, 1, 2, 3)))
    with pytest.raises(StatisticsError, match="only auto_power plans seeds"):
        seed_plan(fixed, tasks, observed(values))


def test_a_pilot_with_gaps_or_broken_gates_seals_nothing() -> None:
    tasks, values = pilot()
    left = without(values, lambda s, m, t, n: (s, n) != ("official", 1))
    decision = judge_proof(SETTINGS, tasks, observed(left), HELD)
    assert (decision.verdict, plan_to_seal(decision)) == ("inconclusive", None)
    assert "so no plan was made" in decision.reason
    failed = judge_proof(SETTINGS, tasks, observed(left, [Missing("task-0", 1, "official", FAILED)]), HELD)
    assert (failed.verdict, plan_to_seal(failed)) == ("fail", None)
    broken = judge_proof(SETTINGS, tasks, observed(values), replace(HELD, broken=("validity: mock",)))
    assert (broken.verdict, plan_to_seal(broken)) == ("fail", None)


def test_a_plan_that_does_not_follow_from_the_pilot_is_refused() -> None:
    tasks, values = pilot()
    plan = seed_plan(SETTINGS, tasks, observed(values))
    longer = tuple(replace(t, seeds=tuple(range(9)), wanted=9) for t in plan.tasks)
    many = proof_tasks(2, 30)
    more = drawn(many, np.random.default_rng(9), deviation=0.001)
    more = {k: {**more[k], **values[k]} for k in more}
    for wrong in (SeedPlan(longer), SeedPlan(plan.tasks[:1])):
        expected = many if len(wrong.tasks) == 1 else with_seeds(tasks, wrong)
        decision = judge_proof(SETTINGS, expected, observed(more), HELD, plan=wrong)
        assert decision.verdict == "fail"
        assert "sealed plan" in decision.reason
    with pytest.raises(StatisticsError, match="names other tasks"):
        with_seeds(tasks, SeedPlan(plan.tasks[:1]))
    fixed = replace(SETTINGS, seed_policy=SeedPolicy("fixed", (0, 1, 2, 3)))
    assert judge_proof(fixed, tasks, observed(values), HELD, plan=plan).verdict == "fail"


def test_p_values_of_the_final_session_pay_for_the_pilot() -> None:
    rule = MetricRule("x")
    for policy in (POLICY, replace(POLICY, pilot_seeds=2, min_seeds=2), replace(POLICY, max_seeds=70)):
        paid = [two_stage_p(p, rule, 0.05, policy) for p in (1e-12, 1e-6, 1e-3, 0.01, 0.05, 0.2, 0.5, 0.9)]
        assert paid == sorted(paid)
        assert paid[4] > 0.055
        assert paid[-1] == 0.9
        assert all(q >= p for p, q in zip((1e-12, 1e-6, 1e-3, 0.01, 0.05, 0.2), paid, strict=False))
    # Where the plan cannot change the number of seeds there is nothing to pay.
    still = replace(POLICY, pilot_seeds=4, min_seeds=30)
    assert two_stage_p(0.05, rule, 0.05, still) == pytest.approx(0.05, rel=1e-12)
    # A longer pilot knows its variance better.
    longer = two_stage_p(0.05, rule, 0.05, replace(POLICY, pilot_seeds=20))
    assert 0.05 < longer < two_stage_p(0.05, rule, 0.05, POLICY)


def test_the_price_is_what_the_worst_variance_costs() -> None:
    """Against draws: 100,000 trials of normal means at the bound, with the variance that costs most."""
    rule, rng = MetricRule("x", "normalized_difference", "paired"), np.random.default_rng(4)
    policy = SeedPolicy("auto_power", (), pilot_seeds=4, min_seeds=4, max_seeds=12)
    sizes = []
    for deviation in (0.05, 0.065):
        x = rng.normal(-0.05, deviation, (100_000, 12))
        first = x[:, :4].std(axis=1, ddof=1)
        n = np.array(
            [next((k for k in range(4, 12) if _enough(rule, d, k)), 12) for d in np.linspace(0, 0.2, 401)]
        )
        n = n[np.minimum(np.ceil(first / 0.2 * 400).astype(int), 400)]
        rejected = np.zeros(len(x), bool)
        for k in range(4, 13):
            own = x[n == k, :k]
            t = (own.mean(axis=1) + 0.05) / (own.std(axis=1, ddof=1) / np.sqrt(k))
            rejected[n == k] = t > _critical(k)
        sizes.append(rejected.mean())
    price = two_stage_p(0.05, rule, 0.05, policy)
    assert max(sizes) == pytest.approx(price, abs=0.004)
    assert max(sizes) > 0.055


def _enough(rule: MetricRule, deviation: float, n: int) -> bool:
    return equal_arms_power(rule, deviation**2, n, 0.05) >= 0.8


def _critical(n: int) -> float:
    from scipy.stats import t

    return float(t.ppf(0.95, n - 1))


def test_metrics_share_the_seeds_of_the_one_with_most_noise() -> None:
    tasks, values = pilot()
    quiet = {
        key: {n: Value(100 + 0.001 * n) for n in column} if key[1] == METRICS[0] else column
        for key, column in values.items()
    }
    assert {t.metric for t in seed_plan(SETTINGS, tasks, observed(quiet)).tasks} == {METRICS[1]}
