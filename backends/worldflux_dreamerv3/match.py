"""Component match: what our code computes from the weights, inputs and noise of a golden folder.

``python -m backends.worldflux_dreamerv3.match match_request.json`` writes ``outputs.npz``, ``perturbed.npz``
and, last, ``match.json``. It compares nothing: the plugin does. A user's mistake is one line on stderr and
exit status 1.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_worldflux_parity import wire

from .golden import MatchError, read_golden, read_json
from .recipe import RecipeError

if TYPE_CHECKING:
    from .match_perturbations import Session

REQUEST = "worldflux.parity.match_request.v1"
RESULT = "worldflux.parity.match.v1"
PACKAGES = ("jax", "jaxlib", "optax", "dm_control", "mujoco", "ale-py", "pillow", "numpy")
HERE = Path(__file__).resolve().parent


def main(argv: list[str] | None = None) -> int:
    """Run the program; the exit status."""
    arguments = sys.argv[1:] if argv is None else argv
    if len(arguments) != 1:
        print("usage: python -m backends.worldflux_dreamerv3.match match_request.json", file=sys.stderr)
        return 2
    try:
        run(read_request(Path(arguments[0])))
    except (MatchError, RecipeError, OSError) as error:
        print(f"worldflux_dreamerv3.match: {error}".replace("\n", " "), file=sys.stderr)
        return 1
    return 0


def read_request(path: Path) -> dict[str, Any]:
    """The request.

    Raises:
        MatchError: not one, or one for a device that a match is not defined on.
    """
    request = read_json(path)
    if request.get("schema_version") != REQUEST:
        raise MatchError(f"{path}: schema_version is {request.get('schema_version')!r}, not {REQUEST!r}")
    for key in ("golden", "out_dir"):
        if not isinstance(request.get(key), str):
            raise MatchError(f"{path}: {key} is {request.get(key)!r}, not a folder's name")
    if request.get("device", "cpu") != "cpu":
        raise MatchError(f"{path}: device is {request['device']!r}; valid: cpu (tolerances are a CPU's)")
    threads = request.get("threads", 1)
    if not isinstance(threads, int) or isinstance(threads, bool) or threads < 1:
        raise MatchError(f"{path}: threads is {threads!r}; valid: 1 or more")
    return request


def run(request: Mapping[str, Any]) -> None:
    """Compute everything and write it; ``match.json`` last.

    Raises:
        MatchError, RecipeError, OSError: one line each.
    """
    out_dir = Path(request["out_dir"])
    out_dir.mkdir(parents=True, exist_ok=True)
    (out_dir / "match.json").unlink(missing_ok=True)
    golden = read_golden(Path(request["golden"]))
    prepare_jax(request.get("threads", 1))
    from . import match_perturbations

    session = match_perturbations.Session(golden)
    outputs = session.faithful()
    perturbations = match_perturbations.fitting(session)
    perturbed = {p.name: {p.component: p.fault.compute(session, p.setting)} for p in perturbations}
    save(out_dir / "outputs.npz", keyed(outputs))
    save(
        out_dir / "perturbed.npz", {f"{n}/{k}": v for n, o in perturbed.items() for k, v in keyed(o).items()}
    )
    result = {
        "schema_version": RESULT,
        **describe(session),
        "perturbations": [p.described() for p in perturbations],
        "packages": {p: importlib.metadata.version(p) for p in PACKAGES},
        "source": {"tree_sha256": wire.tree_sha256(HERE)},
    }
    wire.write_atomic(out_dir / "match.json", json.dumps(result, indent=1, allow_nan=False) + "\n")


def prepare_jax(threads: int) -> None:
    """Have jax compute on the CPU, and compile quickly rather than well: each program runs a few times."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, str(threads))
    flags = ["--xla_backend_optimization_level=0", "--xla_llvm_disable_expensive_passes=true"]
    if threads == 1:
        flags.append("--xla_cpu_multi_thread_eigen=false")
    os.environ["XLA_FLAGS"] = " ".join([os.environ.get("XLA_FLAGS", ""), *flags]).strip()
    os.environ["JAX_PLATFORMS"] = "cpu"
    from . import compilation

    compilation.enable()


def describe(session: Session) -> dict[str, Any]:
    """Which of our parameters each official one is, and what ours are."""
    from .match_parameters import our_name

    mapping, parameters = {}, {}
    for name in session.golden.manifest["parameters"]:
        setting, _, official = name.partition("/")
        mapping[name] = f"{setting}/{our_name(official)}"
    for setting in session.settings.values():
        parameters |= {f"{setting.name}/{k}": list(shape) for k, shape in setting.shapes().items()}
    return {"mapping": mapping, "parameters": parameters}


def keyed(outputs: Mapping[str, Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """``<component>/<output>`` -> array."""
    return {
        f"{component}/{name}": np.asarray(value)
        for component, o in outputs.items()
        for name, value in o.items()
    }


def save(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write an archive."""
    with open(path, "wb") as handle:
        np.savez(handle, **arrays)


if __name__ == "__main__":
    sys.exit(main())
