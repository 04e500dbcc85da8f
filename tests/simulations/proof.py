"""How often the proof decision passes what it must not, and what it should: sizes and powers.

    python tests/simulations/proof.py [--replications 2000] [--only size]

Size: logs of scores are normal and one task's true ratio lies exactly on a bound of equivalence, 1.05 or
0.95; all other tasks are the same on both sides and almost free of noise, which is the worst that Holm's
correction can meet. Whatever passes is a false pass; the nominal size is 5 %. The decision is the package's
own, from values to ``parity_pass_final``, Bayesian check included.

Power: one task, no correction, no true difference, against exact power (``stats.power``).

auto_power: the pilot is judged, its plan sealed, the planned seeds drawn, and all judged again, with the true
ratio on the bound and the variances between which the plan moves. "ordinary p" is what the same data would
have given without paying for the pilot.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pytest_worldflux_parity.judgement.proof.decision import judge_proof, plan_to_seal
from pytest_worldflux_parity.judgement.proof.results import ProofDecision, ProofGates
from pytest_worldflux_parity.judgement.proof.seeding import equal_arms_power
from pytest_worldflux_parity.judgement.stats.measurements import Observed, Value
from pytest_worldflux_parity.judgement.stats.tost import tost
from pytest_worldflux_parity.suite.proof_settings import (
    BayesianRule,
    Design,
    MetricRule,
    ProofSettings,
    ProofTask,
    SeedPolicy,
)
from pytest_worldflux_parity.suite.seed_plan import with_seeds

SYSTEMS = ("official", "worldflux")
ALPHA, MARGIN, METRIC = 0.05, 0.05, "final_return_mean"
SIZES = (3, 5, 10, 20)
DRAWS = 2000
Kind = tuple[str, Design]


@dataclass(frozen=True)
class SizeRow:
    """Shares of replications that passed. ``by_test``: by TOST on the task at the bound alone."""

    kind: Kind
    tasks: int
    n: int
    bound: float
    decision: float
    by_test: float


@dataclass(frozen=True)
class PowerRow:
    kind: Kind
    n: int
    deviation: float
    measured: float
    exact: float


@dataclass(frozen=True)
class PlanRow:
    """``seeds``: mean number that the plan asked for."""

    kind: Kind
    pilot: int
    deviation: float
    seeds: float
    decision: float
    ordinary: float


def suite(tasks: int, n: int, kind: Kind) -> tuple[ProofTask, ...]:
    rules = (MetricRule(METRIC, *kind, alpha=ALPHA, equivalence_margin=MARGIN),)
    seeds = dict.fromkeys(SYSTEMS, tuple(range(n)))
    return tuple(ProofTask(f"task-{i}", "f", seeds, rules) for i in range(tasks))


def scores(n: int, deviation: float, ratio: float, kind: Kind, rng: np.random.Generator) -> np.ndarray:
    """Scores of both systems, shape (2, n): normal, or lognormal where ratios are judged."""
    noise = rng.normal(0, deviation, (2, n))
    both = 100 * np.exp(noise) if kind[0] == "log_ratio" else 100 * (1 + noise)
    if kind[0] == "log_ratio" or kind[1] == "paired":
        both[1] *= ratio
    else:
        both[1] += 100 * (ratio - 1)
    return np.asarray(both)


def observed(tasks: tuple[ProofTask, ...], values: list[np.ndarray]) -> Observed:
    return Observed(
        {
            (system, METRIC, task.id): {n: Value(float(x)) for n, x in enumerate(own[i])}
            for task, own in zip(tasks, values, strict=True)
            for i, system in enumerate(SYSTEMS)
        }
    )


def decide(settings: ProofSettings, tasks: tuple[ProofTask, ...], values: list[np.ndarray]) -> ProofDecision:
    return judge_proof(settings, tasks, observed(tasks, values), ProofGates(validity=True))


def size(
    kind: Kind, tasks: int, n: int, bound: float, replications: int, rng: np.random.Generator
) -> SizeRow:
    wanted = suite(tasks, n, kind)
    settings = ProofSettings(
        "s", bayesian=BayesianRule(draws=DRAWS), seed_policy=SeedPolicy("fixed", tuple(range(n)))
    )
    passed = by_test = 0
    for _ in range(replications):
        values = [scores(n, 0.01, bound, kind, rng)]
        values += [scores(n, 1e-5, 1.0, kind, rng) for _ in range(tasks - 1)]
        decision = decide(settings, wanted, values)
        first = decision.cells[0].cell.tost
        passed += decision.pass_final
        by_test += first is not None and first.pass_raw
    return SizeRow(kind, tasks, n, bound, passed / replications, by_test / replications)


def power(kind: Kind, n: int, deviation: float, replications: int, rng: np.random.Generator) -> PowerRow:
    shown = 0
    for _ in range(replications):
        official, worldflux = scores(n, deviation, 1.0, kind, rng)
        shown += tost(official, worldflux, effect=kind[0], margin=MARGIN, design=kind[1]).pass_raw
    rule = MetricRule(METRIC, *kind)
    return PowerRow(
        kind, n, deviation, shown / replications, equal_arms_power(rule, 2 * deviation**2, n, ALPHA)
    )


def auto_power(
    kind: Kind, pilot: int, deviation: float, replications: int, rng: np.random.Generator
) -> PlanRow:
    policy = SeedPolicy("auto_power", (), pilot_seeds=pilot, min_seeds=pilot, max_seeds=50)
    # The Bayesian check can only lower the size; what it would hide is to be seen here.
    settings = ProofSettings("s", bayesian=BayesianRule(False, dual_pass_required=False), seed_policy=policy)
    tasks = suite(1, pilot, kind)
    passed = ordinary = seeds = 0
    for _ in range(replications):
        values = scores(policy.max_seeds, deviation, 1 + MARGIN, kind, rng)
        plan = plan_to_seal(decide(settings, tasks, [values[:, :pilot]]))
        assert plan is not None
        planned = with_seeds(tasks, plan)
        n = len(plan.tasks[0].seeds)
        final = judge_proof(
            settings, planned, observed(planned, [values[:, :n]]), ProofGates(validity=True), plan=plan
        )
        first = final.cells[0].cell.tost
        passed += final.pass_final
        ordinary += first is not None and first.pass_raw
        seeds += n
    return PlanRow(
        kind, pilot, deviation, seeds / replications, passed / replications, ordinary / replications
    )


KINDS: tuple[Kind, ...] = (
    ("log_ratio", "unpaired"), ("log_ratio", "paired"), ("normalized_difference", "unpaired"),
)  # fmt: skip


def size_rows(replications: int) -> Iterator[SizeRow]:
    rng = np.random.default_rng(1)
    for kind in KINDS:
        for n in SIZES:
            yield size(kind, 1, n, 1 + MARGIN, replications, rng)
    for n in SIZES:
        yield size(KINDS[0], 5, n, 1 - MARGIN, replications, rng)


def power_rows(replications: int) -> Iterator[PowerRow]:
    """At deviations where power is neither 0 nor 1."""
    rng = np.random.default_rng(2)
    for kind in KINDS[:2]:
        for n, deviations in (
            (3, (0.01, 0.014)),
            (5, (0.016, 0.024)),
            (10, (0.03, 0.04)),
            (20, (0.045, 0.06)),
        ):
            for deviation in deviations:
                yield power(kind, n, deviation, replications, rng)


def plan_rows(replications: int) -> Iterator[PlanRow]:
    rng = np.random.default_rng(3)
    for pilot in (3, 5, 10):
        for deviation in (0.015, 0.025, 0.04, 0.06):
            yield auto_power(KINDS[0], pilot, deviation, replications, rng)
    for deviation in (0.025, 0.04):
        yield auto_power(KINDS[1], 5, deviation, replications, rng)
        yield auto_power(KINDS[2], 5, deviation, replications, rng)


def _name(kind: Kind) -> str:
    return f"{kind[0]}, {kind[1]}"


def print_size(replications: int) -> None:
    print("| size on the bound | tasks | true ratio | seeds | decision passes | TOST of the task alone |")
    print("|---|---:|---:|---:|---:|---:|")
    for row in size_rows(replications):
        print(
            f"| {_name(row.kind)} | {row.tasks} | {row.bound:g} | {row.n} "
            f"| {row.decision:.1%} | {row.by_test:.1%} |",
            flush=True,
        )


def print_power(replications: int) -> None:
    print("\n| power without correction | seeds | deviation | measured | exact |")
    print("|---|---:|---:|---:|---:|")
    for one in power_rows(5 * replications):
        print(f"| {_name(one.kind)} | {one.n} | {one.deviation:.1%} | {one.measured:.1%} | {one.exact:.1%} |")


def print_auto_power(replications: int) -> None:
    print("\n| auto_power on the bound | pilot | deviation | seeds planned | decision passes | ordinary p |")
    print("|---|---:|---:|---:|---:|---:|")
    for plan in plan_rows(replications):
        print(
            f"| {_name(plan.kind)} | {plan.pilot} | {plan.deviation:.1%} | {plan.seeds:.1f} "
            f"| {plan.decision:.1%} | {plan.ordinary:.1%} |",
            flush=True,
        )


TABLES = {"size": print_size, "power": print_power, "auto_power": print_auto_power}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replications", type=int, default=2000)
    parser.add_argument("--only", choices=TABLES, help="one table (default: all)")
    options = parser.parse_args()
    for name, table in TABLES.items():
        if options.only in (None, name):
            table(options.replications)


if __name__ == "__main__":
    main()
