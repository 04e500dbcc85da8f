"""Caches of compiled code: a folder for each sealed program and kind of machine, which it alone writes.

What is in such a cache is executed, so a program that could write another's would decide what that one
computes. And code that was compiled for one processor can crash on another. Programs that run open share the
project's caches; those within walls have the run's, where no open program of another run could write.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import shutil
from functools import cache
from pathlib import Path

# Where the libraries look for their cache; the first is also the user's word on where all of them are.
VARIABLES = {
    "JAX_COMPILATION_CACHE_DIR": "jax",
    "TORCHINDUCTOR_CACHE_DIR": "inductor",
    "TRITON_CACHE_DIR": "triton",
    "CUDA_CACHE_PATH": "cuda",
    "NUMBA_CACHE_DIR": "numba",
}
# Each change of a program begins a folder; of one backend so many stay that were used last.
KEPT_CACHES = 8
# Of the caches of a run, below where its programs have their copies.
COMPILED_FOLDER = "compiled"


def caches_below(root: Path) -> Path:
    """The folder of all caches of a project: its own, or where the user has JAX keep what it compiles."""
    named = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    return Path(named) if named else root / ".worldflux" / "compiled"


def cache_of(below: Path, name: str, tree_sha256: str) -> Path | None:
    """The folder of one sealed program on this machine, made where absent; None where it cannot be.

    Args:
        below: the folder of all caches. name: of the backend.
    """
    folder = Path(os.path.realpath(below)) / f"{name}-{tree_sha256[:16]}-{_machine_name()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # The order in which they were used.
        os.utime(folder)
    except OSError:
        return None
    _remove_unused_caches(folder.parent, name)
    return folder


def cache_variables(folder: Path) -> dict[str, str]:
    """What tells the libraries of a program where its cache is."""
    return {variable: str(folder / name) for variable, name in VARIABLES.items()}


def _remove_unused_caches(below: Path, name: str) -> None:
    dated = []
    for path in below.glob(f"{name}-{'?' * 16}-{'?' * 12}"):
        # Another session may be removing it.
        with contextlib.suppress(OSError):
            dated.append((path.stat().st_mtime, path))
    for _, path in sorted(dated)[:-KEPT_CACHES]:
        shutil.rmtree(path, ignore_errors=True)


@cache
def _machine_name() -> str:
    """A name for the kind of processor: its model and features, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = [f"model name {platform.processor()}"]
    # x86 has flags, ARM has Features; every core repeats them.
    starts = ("model name", "flags", "features", "cpu part")
    told = sorted({line for line in lines if line.lower().startswith(starts)})
    return hashlib.sha256("\n".join([platform.machine(), *told]).encode()).hexdigest()[:12]
