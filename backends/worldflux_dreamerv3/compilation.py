"""How long to compile, and the persistent cache: what was compiled once on a machine is loaded the next time.

The cache is in ``.worldflux/compiled`` of the project, or where ``JAX_COMPILATION_CACHE_DIR`` says, in a
folder for each kind of machine: code that was compiled for one CPU can crash on another.
"""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from .recipe import Recipe

PROJECT = Path(__file__).resolve().parents[2]
# Below this, loading costs about what compiling does.
WORTHWHILE_SEC = 0.1
# Multiplications in all updates of a run from which on well optimised code repays, on a CPU, what it takes
# to compile: at 5e9 a second, the fifteenth by which other code is slower comes to that then.
REPAID = 5e11
# XLA's emitters of before: half the time and a third of the memory to compile, and loops that write where
# they read are not vectorised.
QUICK = {
    "xla_cpu_use_fusion_emitters": False,
    "xla_backend_optimization_level": 2,
    "xla_llvm_disable_expensive_passes": True,
}


def choose_options(recipe: Recipe, parameters: int) -> Mapping[str, Any]:
    """XLA's options for a run with so many parameters; an empty mapping leaves it its own."""
    if jax.default_backend() != "cpu" or jax.config.read("jax_disable_most_optimizations"):
        return {}
    replayed = recipe.run.steps * recipe.run.train_ratio
    work = replayed * (1 + recipe.agent.imag_length) * parameters
    return QUICK if work < REPAID else {}


def enable() -> Path | None:
    """Turn the cache on, before anything is compiled; its folder, or None where none can be written."""
    asked_for = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    base = Path(asked_for) if asked_for else PROJECT / ".worldflux" / "compiled"
    folder = base / name_machine()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    if not os.access(folder, os.W_OK):
        return None
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", WORTHWHILE_SEC)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    return folder


def name_machine() -> str:
    """A name for the kind of machine: JAX, the host's CPU with its features, the device and its driver."""
    device = jax.devices()[0]
    parts = (
        jax.__version__,
        device.platform,
        device.device_kind,
        device.client.platform_version,
        _describe_cpu(),
    )
    digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    return f"jax-{jax.__version__}-{device.platform}-{digest[:12]}"


def _describe_cpu() -> str:
    """Model and features of the host's CPU, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    # x86 has flags, ARM has Features; every core repeats them.
    told = {
        line for line in lines if line.lower().startswith(("model name", "flags", "features", "cpu part"))
    }
    return "\n".join([platform.machine(), *sorted(told)])
