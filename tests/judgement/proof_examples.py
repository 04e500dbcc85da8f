"""Suites and values to judge, made by rule: nothing here is measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from pytest_worldflux_parity.judgement.proof.results import ProofGates
from pytest_worldflux_parity.judgement.stats.measurements import Missing, Observed, Value
from pytest_worldflux_parity.suite.proof_settings import (
    BayesianRule,
    MetricRule,
    ProofSettings,
    ProofTask,
    SeedPolicy,
)

METRICS = ("final_return_mean", "auc_return")
HELD = ProofGates(validity=True, component_match=True)
FAST = BayesianRule(draws=2000)

Values = dict[tuple[str, str, str], dict[int, Value]]


def fixed(seeds: int, **changes: Any) -> ProofSettings:
    """Settings of a suite with fixed seeds 0 to n - 1, and few draws."""
    policy = SeedPolicy("fixed", tuple(range(seeds)))
    return ProofSettings(**{"suite_id": "example", "bayesian": FAST, "seed_policy": policy, **changes})


def proof_tasks(
    count: int, seeds: int, metrics: Sequence[str] = METRICS, **rule: Any
) -> tuple[ProofTask, ...]:
    rules = tuple(MetricRule(name, **rule) for name in metrics)
    wanted = dict.fromkeys(("official", "worldflux"), tuple(range(seeds)))
    return tuple(ProofTask(f"task-{i}", "tdmpc2", wanted, rules) for i in range(count))


def drawn(
    tasks: Iterable[ProofTask],
    rng: np.random.Generator,
    *,
    deviation: float = 0.02,
    ratio: float = 1.0,
    centre: float = 100.0,
) -> Values:
    """Lognormal values of both systems; those of worldflux times ``ratio``."""
    return {
        (system, rule.name, task.id): {
            seed: Value(centre * float(rng.lognormal(0, deviation)) * (ratio if system == "worldflux" else 1))
            for seed in task.seeds[system]
        }
        for task in tasks
        for rule in task.rules
        for system in ("official", "worldflux")
    }


def columns(
    official: Sequence[float], worldflux: Sequence[float], metric: str = METRICS[0], task: str = "task-0"
) -> Values:
    """Values of one metric of one task, seeds 0, 1, 2, ..."""
    return {
        ("official", metric, task): {n: Value(float(x)) for n, x in enumerate(official)},
        ("worldflux", metric, task): {n: Value(float(x)) for n, x in enumerate(worldflux)},
    }


def observed(values: Mapping[Any, Any], missing: Sequence[Missing] = ()) -> Observed:
    return Observed(values, tuple(missing))


def manifest(**changes: Any) -> dict[str, Any]:
    """A ``parity.suite.v2`` manifest as large as both published suites: 65 tasks, every key said twice."""
    judged = {
        "primary_metric": "final_return_mean",
        "secondary_metrics": ["auc_return"],
        "higher_is_better": True,
        "effect_transform": "paired_log_ratio",
        "equivalence_margin": 0.05,
        "noninferiority_margin": 0.05,
        "alpha": 0.05,
        "holm_scope": "all_metrics",
    }
    tasks = [(f"atari100k_game_{i}", "dreamerv3") for i in range(26)]
    tasks += [(f"robot-{i}", "tdmpc2") for i in range(39)]
    return {
        "schema_version": "parity.suite.v2",
        "suite_id": "official-vs-worldflux-full",
        "family": "mixed",
        "defaults": {"alpha": 0.05, "eps": 1e-8, "parity_claim_level": "proof_grade"},
        "statistical": {"bayesian": {"enable": True, "draws": 20000, "dual_pass_required": True}},
        **judged,
        "seed_policy": {"mode": "fixed", "values": list(range(20)), "min_seeds": 20},
        "train_budget": {"notes": "per task"},
        "eval_protocol": {"notes": "per task"},
        "validity_requirements": {"policy_mode": "parity_candidate", "forbidden_shortcuts": ["mode=mock"]},
        "tasks": [_manifest_task(name, family, judged) for name, family in tasks],
        **changes,
    }


def _manifest_task(name: str, family: str, judged: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "task_id": name,
        "family": family,
        "required_metrics": list(METRICS),
        **judged,
        "train_budget": {"steps": 110_000},
        "eval_protocol": {"eval_interval": 5000, "eval_episodes": 1, "eval_window": 10},
        "official": _manifest_side(f"official_{family}"),
        "worldflux": _manifest_side(f"worldflux_{family}"),
    }


def _manifest_side(adapter: str) -> dict[str, Any]:
    return {
        "adapter": adapter,
        "backend_kind": "subprocess",
        "artifact_requirements": {
            "config_snapshot": ["config.yaml"],
            "checkpoint_paths": ["ckpt/*/agent.pkl"],
        },
        "cwd": "../..",
        "timeout_sec": 86400,
        "env": {"MUJOCO_GL": "egl"},
        "command": ["python3", f"{adapter}.py", "--task", "{task_id}", "--seed", "{seed}", "{keep}"],
        "source": {"commit": "{worldflux_sha}", "artifact_path": "{repo_root}/artifacts"},
    }


def without(values: Values, keep: Callable[[str, str, str, int], bool]) -> Values:
    """The values of which ``keep(system, metric, task, seed)`` is true; empty columns vanish."""
    left = {
        key: {seed: value for seed, value in column.items() if keep(*key, seed)}
        for key, column in values.items()
    }
    return {key: column for key, column in left.items() if column}
