"""Component match: what our code computes from the weights, inputs and noise of a golden folder.

``python -m backends.worldflux_tdmpc2.match match_request.json`` writes ``outputs.npz``, ``perturbed.npz``
and, last, ``match.json``. It compares nothing: the plugin does. A user's mistake is one line on stderr and
exit status 1.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from pytest_worldflux_parity import wire


def compute(golden: wire.Golden, threads: int) -> dict[str, Any]:
    """What our code computes from ``golden``, and what it computes with one mistake at a time.

    Raises:
        MatchError, RecipeError: one line each.
    """
    wire.limit_threads(threads)
    import torch

    from . import components, perturbations

    # Their components and mistakes register themselves.
    from . import lockstep, lockstep_perturbations  # noqa: F401 # isort: skip

    torch.set_num_threads(threads)
    names = list(golden.components)
    components.check_components(names)
    components.check_weights(golden)
    planted = perturbations.list_perturbations(golden, names)
    return {
        "outputs": {name: components.compute(components.Subject(golden), name) for name in names},
        "perturbed": {p.name: {p.component: p.compute(golden)} for p in planted},
        "perturbations": [p.describe() for p in planted],
        "packages": wire.package_versions(("torch", "dm_control", "mujoco", "numpy")),
        **components.describe(golden),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; the exit status."""
    hint = "python -m backends.official_tdmpc2.record"
    return wire.match_main("backends.worldflux_tdmpc2.match", "tdmpc2", hint, compute, argv)


if __name__ == "__main__":
    sys.exit(main())
