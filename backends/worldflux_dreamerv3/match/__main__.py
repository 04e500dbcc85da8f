"""Component match: what our code computes from the weights, inputs and noise of a golden folder.

``python -m backends.worldflux_dreamerv3.match match_request.json`` writes ``outputs.npz``, ``perturbed.npz``
and, last, ``match.json``. It compares nothing: the plugin does. A user's mistake is one line on stderr and
exit status 1.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

from pytest_worldflux_parity import wire

FAMILY = "dreamerv3"
RECORD_COMMAND = "python -m backends.official_dreamerv3.record"
PACKAGES = ("jax", "jaxlib", "optax", "dm_control", "mujoco", "ale-py", "pillow", "numpy")


def compute(golden: wire.Golden, threads: int) -> dict[str, Any]:
    """What our code computes from ``golden``, and what it computes with one mistake at a time.

    Raises:
        MatchError, RecipeError: one line each.
    """
    prepare_jax(threads)
    from . import perturbations
    from .parameters import describe

    session = perturbations.Session(golden)
    outputs, planted = session.faithful(), perturbations.list_perturbations(session)
    return {
        "outputs": outputs,
        "perturbed": {p.name: {p.component: p.fault.compute(session, p.setting)} for p in planted},
        "perturbations": [p.describe() for p in planted],
        "packages": wire.package_versions(PACKAGES),
        **describe(golden, {s.name: s.shapes() for s in session.settings.values()}),
    }


def prepare_jax(threads: int) -> None:
    """Have jax compute on the CPU, and compile quickly rather than well: each program runs a few times."""
    wire.limit_threads(threads)
    flags = [
        "--xla_backend_optimization_level=0",
        "--xla_llvm_disable_expensive_passes=true",
        "--xla_cpu_use_fusion_emitters=false",
    ]
    if threads == 1:
        flags.append("--xla_cpu_multi_thread_eigen=false")
    os.environ["XLA_FLAGS"] = " ".join([os.environ.get("XLA_FLAGS", ""), *flags]).strip()
    os.environ["JAX_PLATFORMS"] = "cpu"
    from .. import compilation

    compilation.enable()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; the exit status."""
    return wire.match_main("backends.worldflux_dreamerv3.match", FAMILY, RECORD_COMMAND, compute, argv)


if __name__ == "__main__":
    sys.exit(main())
