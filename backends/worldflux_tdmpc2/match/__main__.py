"""Component match: what our code computes from the weights, inputs and noise of a golden folder.

``python -m backends.worldflux_tdmpc2.match match_request.json`` writes ``outputs.npz``, ``perturbed.npz``
and, last, ``match.json``. It compares nothing: the plugin does. A user's mistake is one line on stderr and
exit status 1.
"""

from __future__ import annotations

import importlib.metadata
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_worldflux_parity import wire

from ..recipe import RecipeError

FAMILY = "tdmpc2"
MEND = "python -m backends.official_tdmpc2.record"
HERE = Path(__file__).resolve().parents[1]


def main(argv: list[str] | None = None) -> int:
    """Run the program; the exit status."""
    return wire.match_main("backends.worldflux_tdmpc2.match", run, (RecipeError,), argv)


def run(request: Mapping[str, Any]) -> None:
    """Compute everything and write it; ``match.json`` last.

    Raises:
        MatchError, RecipeError, OSError: one line each.
    """
    out_dir = Path(request["out_dir"])
    out_dir.mkdir(parents=True, exist_ok=True)
    (out_dir / "match.json").unlink(missing_ok=True)
    golden = wire.read_golden(Path(request["golden"]), FAMILY, MEND)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, str(request["threads"]))
    import torch

    from . import components, perturbations

    torch.set_num_threads(request["threads"])
    names = list(golden.components)
    check_components(names, components.COMPONENTS)
    components.check_weights(golden)
    outputs = {name: components.compute(components.Subject(golden), name) for name in names}
    planted = perturbations.fitting(golden, names)
    perturbed = {p.name: {p.component: p.compute(golden)} for p in planted}
    wire.write_match(
        out_dir,
        outputs,
        perturbed,
        **components.describe(golden),
        perturbations=[p.described() for p in planted],
        packages={p: importlib.metadata.version(p) for p in ("torch", "dm_control", "mujoco", "numpy")},
        source={"tree_sha256": wire.tree_sha256(HERE)},
    )


def check_components(names: list[str], known: Mapping[str, Any]) -> None:
    """Make sure that we have every component.

    Raises:
        MatchError: there is one that we have not.
    """
    for name in names:
        if name not in known:
            raise wire.MatchError(f"the golden folder has a component {name!r}; ours: {', '.join(known)}")


if __name__ == "__main__":
    sys.exit(main())
