"""Component match: what our code computes from the weights, inputs and noise of a golden folder.

``python -m backends.worldflux_dreamerv3.match match_request.json`` writes ``outputs.npz``, ``perturbed.npz``
and, last, ``match.json``. It compares nothing: the plugin does. A user's mistake is one line on stderr and
exit status 1.
"""

from __future__ import annotations

import importlib.metadata
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_worldflux_parity import wire

from ..recipe import RecipeError

if TYPE_CHECKING:
    from .perturbations import Session

FAMILY = "dreamerv3"
MEND = "python -m backends.official_dreamerv3.record"
PACKAGES = ("jax", "jaxlib", "optax", "dm_control", "mujoco", "ale-py", "pillow", "numpy")
HERE = Path(__file__).resolve().parents[1]


def main(argv: list[str] | None = None) -> int:
    """Run the program; the exit status."""
    return wire.match_main("backends.worldflux_dreamerv3.match", run, (RecipeError,), argv)


def run(request: Mapping[str, Any]) -> None:
    """Compute everything and write it; ``match.json`` last.

    Raises:
        MatchError, RecipeError, OSError: one line each.
    """
    out_dir = Path(request["out_dir"])
    out_dir.mkdir(parents=True, exist_ok=True)
    (out_dir / "match.json").unlink(missing_ok=True)
    golden = wire.read_golden(Path(request["golden"]), FAMILY, MEND)
    prepare_jax(request["threads"])
    from . import perturbations

    session = perturbations.Session(golden)
    outputs = session.faithful()
    planted = perturbations.fitting(session)
    perturbed = {p.name: {p.component: p.fault.compute(session, p.setting)} for p in planted}
    wire.write_match(
        out_dir,
        outputs,
        perturbed,
        **describe(session),
        perturbations=[p.described() for p in planted],
        packages={p: importlib.metadata.version(p) for p in PACKAGES},
        source={"tree_sha256": wire.tree_sha256(HERE)},
    )


def prepare_jax(threads: int) -> None:
    """Have jax compute on the CPU, and compile quickly rather than well: each program runs a few times."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, str(threads))
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


def describe(session: Session) -> dict[str, Any]:
    """Which of our parameters each official one is, and what ours are."""
    from .parameters import our_name

    mapping, parameters = {}, {}
    for name in session.golden.manifest["parameters"]:
        setting, _, official = name.partition("/")
        mapping[name] = f"{setting}/{our_name(official)}"
    for setting in session.settings.values():
        parameters |= {f"{setting.name}/{k}": list(shape) for k, shape in setting.shapes().items()}
    return {"mapping": mapping, "parameters": parameters}


if __name__ == "__main__":
    sys.exit(main())
