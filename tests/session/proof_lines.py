"""Lines of a log as a program would have written them, made by rule: nothing here is measured."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from pytest_worldflux_parity import wire
from pytest_worldflux_parity.suite.proof import ProofSuite
from pytest_worldflux_parity.suite.suite import SYSTEMS, Suite, Task

COMMITS = {
    "dreamerv3": "b65cf81a6fb13625af8722127459283f899a35d9",
    "tdmpc2": "8bbc14ebabdb32ea7ada5c801dc525d0dc73bafe",
}


def lines_of(
    proof: ProofSuite,
    rng: np.random.Generator,
    *,
    deviation: float = 0.02,
    ratio: float = 1.0,
    points: int = 12,
) -> Iterator[dict[str, Any]]:
    """A line per (task, seed, system) that the suite expects; worldflux scores are times ``ratio``."""
    for part in proof.parts:
        for task in part.tasks:
            for seed in proof.settings.seed_policy.at_first:
                for system in SYSTEMS:
                    level = 100 * float(rng.lognormal(0, deviation))
                    yield _line(
                        part, task, seed, system, level * (ratio if system == "worldflux" else 1), points
                    )


def steps_of(task: Task, points: int) -> list[int]:
    """Where a run reports: at each evaluation that the suite asks for, else at ``points`` equal steps."""
    step = task.budget.step if task.budget else points
    if task.points and task.points.kind == "evaluations":
        points = step // task.points.interval
    return [step * (i + 1) // points for i in range(points)]


def _line(part: Suite, task: Task, seed: int, system: str, level: float, points: int) -> dict[str, Any]:
    side: Any = part.sides[system]
    kind = {"worldflux_tdmpc2_native": "native_torch"}.get(
        side.adapter, "torch_subprocess" if part.family == "tdmpc2" else "jax_subprocess"
    )
    recipe = dict(task.recipe)
    metadata = {
        "mode": "live", "adapter_id": side.adapter, "backend_kind": kind, "effective_recipe": recipe,
        "recipe_hash": wire.content_hash(recipe), "eval_protocol": dict(task.eval_protocol),
        "eval_protocol_hash": wire.eval_protocol_hash(part.family, task.id, task.eval_protocol),
        "policy_mode": "trained", "policy_impl": "actor", "model_id": part.family,
        "env_backend": "ale" if part.family == "dreamerv3" else "dm_control",
        "model_profile": {"dreamerv3": "official_xl", "tdmpc2": "proof_5m"}.get(part.family, "tiny"),
        "artifact_manifest": {"checkpoint_paths": [{"path": "x"}]},
        "source": {
            "tree_sha256": wire.content_hash(side.adapter), "commit": COMMITS.get(part.family), "changes": [],
        },
    }  # fmt: skip
    # The values of a window average to the level, and no two runs share a number.
    curve = [{"step": step, "return": level} for step in steps_of(task, points)]
    return {
        "schema_version": "parity.v1", "task_id": task.id, "family": part.family, "seed": seed,
        "system": system, "adapter": side.adapter, "status": "success", "success": True, "attempt": 1,
        "device": "cuda", "duration_sec": 3600.0, "source_commit": COMMITS.get(part.family),
        "metrics": {
            "schema_version": "parity.v1", "adapter": side.adapter, "task_id": task.id, "seed": seed,
            "device": "cuda", "curve": curve, "success": True, "metadata": metadata,
        },
    }  # fmt: skip
