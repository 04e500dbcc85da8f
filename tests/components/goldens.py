"""A golden folder of the fake family, computed by code that the fake match program does not share."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

COMMIT = "0123456789abcdef0123456789abcdef01234567"
STAGES = ("environment", "encoder", "heads", "loss", "gradient", "update")
MATCH = """
match:
  argv: ["{python}", "{backend_dir}/../match_program.py"]
  golden: "{backend_dir}/../../golden"
"""


def arrays() -> dict[str, np.ndarray]:
    """Weights, inputs and outputs: rewards of a batch of 5 from 3 numbers, through 4 latents."""
    rng = np.random.default_rng(7)
    weight, bias, head = rng.normal(size=(4, 3)), rng.normal(size=4), rng.normal(size=(1, 4))
    x, target = rng.normal(size=(5, 3)), rng.normal(size=(5, 1))
    position, action = rng.normal(size=2), rng.normal(size=2)
    z = np.tanh(np.einsum("bi,oi->bo", x, weight) + bias)
    reward = np.einsum("bi,oi->bo", z, head)
    grad_reward = 2 * (reward - target) / 5
    grad_before = (grad_reward * head) * (1 - z**2)
    grads = {
        "enc.weight": np.einsum("bo,bi->oi", grad_before, x),
        "enc.bias": grad_before.sum(axis=0),
        "head.weight": np.einsum("bo,bi->oi", grad_reward, z),
    }
    weights = {"enc.weight": weight, "enc.bias": bias, "head.weight": head}
    return {
        **{f"weights/{k}": v for k, v in weights.items()},
        "inputs/shared/x": x,
        "inputs/shared/target": target,
        "inputs/environment/position": position,
        "inputs/environment/action": action,
        "outputs/environment/position": position + 0.1 * action,
        "outputs/encoder/z": z,
        "outputs/heads/reward": reward,
        "outputs/heads/positive": reward > 0,
        "outputs/loss/value": np.mean((reward - target) ** 2),
        **{f"outputs/gradient/{k}": v for k, v in grads.items()},
        **{f"outputs/update/{k}": weights[k] - 0.1 * g for k, g in grads.items()},
    }


def manifest(stored: dict[str, np.ndarray], **changes: Any) -> dict[str, Any]:
    """A manifest that tells of ``stored``; components are named after their stages."""
    outputs = [k.split("/", 2)[1:] for k in stored if k.startswith("outputs/")]
    return {
        "schema_version": "worldflux.parity.golden.v1",
        "family": "fake",
        "command": "python -m fake.record",
        "source": {"repo": "https://example.org/fake", "commit": COMMIT},
        "packages": {"numpy": np.__version__},
        "python": "3.11",
        "machine": "x86_64",
        "generated_at_utc": "2026-11-22T00:00:00+00:00",
        "config": {"behaviour": "ok"},
        "parameters": {
            k.removeprefix("weights/"): list(v.shape) for k, v in stored.items() if k.startswith("weights/")
        },
        # Backwards, so that the order of the stages has to be made.
        "components": [
            {"name": s, "stage": s, "outputs": [o for c, o in outputs if c == s]} for s in reversed(STAGES)
        ],
        **changes,
    }


def write(folder: Path, stored: dict[str, np.ndarray] | None = None, **changes: Any) -> Path:
    """Write a golden folder; ``changes`` replace keys of its manifest, None removes one."""
    folder.mkdir(exist_ok=True)
    stored = arrays() if stored is None else stored
    np.savez(folder / "arrays.npz", **stored)
    sha256 = hashlib.sha256((folder / "arrays.npz").read_bytes()).hexdigest()
    document = manifest(stored, **{"arrays_sha256": sha256, **changes})
    kept = {k: v for k, v in document.items() if v is not None}
    (folder / "manifest.json").write_text(json.dumps(kept), encoding="utf-8")
    return folder


def behave(folder: Path, behaviour: str, **config: Any) -> Path:
    """A golden that has the match program do ``behaviour``."""
    return write(folder, config={"behaviour": behaviour, **config})


def add_lockstep(folder: Path, behaviour: str) -> Path:
    """A golden of the fake family with three consecutive updates from its weights."""
    stored = arrays()
    x, target = stored["inputs/shared/x"], stored["inputs/shared/target"]
    weight, bias, head = (stored[f"weights/{k}"] for k in ("enc.weight", "enc.bias", "head.weight"))
    outputs = {}
    for number in (1, 2, 3):
        z = np.tanh(x @ weight.T + bias)
        off = 2 * (z @ head.T - target) / 5
        before = (off * head) * (1 - z**2)
        weight, bias, head = weight - 0.1 * before.T @ x, bias - 0.1 * before.sum(0), head - 0.1 * off.T @ z
        outputs |= {f"{number:03}/enc.weight": weight, f"{number:03}/head.weight": head}
    stored |= {f"outputs/lockstep_initial/{k}": v for k, v in outputs.items()}
    row = {"name": "lockstep_initial", "stage": "lockstep", "outputs": list(outputs)}
    rows = [*manifest(arrays())["components"], {**row, "tolerances": dict.fromkeys(outputs, 1e-6)}]
    return write(folder, stored, components=rows, config={"behaviour": behaviour})


def declare(backends: Path, extra: str = "") -> None:
    """Have the fake backend declare its match program."""
    path = backends / "fake_worldflux" / "backend.yaml"
    path.write_text(path.read_text(encoding="utf-8") + MATCH + extra, encoding="utf-8")
