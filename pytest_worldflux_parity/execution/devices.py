"""Which devices there are."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from ..errors import ParityError


@dataclass(frozen=True)
class Gpu:
    """A GPU by the UUID that CUDA_VISIBLE_DEVICES takes; ``memory_gb`` is None where it is unknown."""

    uuid: str
    memory_gb: float | None = None


def gpus(environment: Mapping[str, str] = os.environ) -> list[Gpu]:
    """The NVIDIA GPUs that the driver lists and CUDA_VISIBLE_DEVICES leaves; empty without a driver."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    query = [program, "--query-gpu=uuid,memory.total", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(
            query, capture_output=True, encoding="utf-8", errors="replace", timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    rows = [line.partition(",") for line in done.stdout.splitlines() if line.strip()]
    found = [Gpu(uuid.strip(), _gigabytes(mebibytes)) for uuid, _, mebibytes in rows]
    return _visible(found, environment.get("CUDA_VISIBLE_DEVICES")) if done.returncode == 0 else []


def _gigabytes(mebibytes: str) -> float | None:
    try:
        return int(mebibytes) * 2**20 / 1e9
    except ValueError:
        return None


def _visible(found: Sequence[Gpu], visible: str | None) -> list[Gpu]:
    """What is left of the GPUs where the caller has been given some: numbers, as nvidia-smi counts, or UUIDs.

    As CUDA reads it: the first name of nothing ends the list. A MIG device is one that nvidia-smi does not
    list here.
    """
    if visible is None:
        return list(found)
    left: list[Gpu] = []
    for name in (n.strip() for n in visible.split(",")):
        if name.startswith("MIG-"):
            left.append(Gpu(name))
            continue
        numbered = found[int(name) : int(name) + 1] if name.isascii() and name.isdigit() else ()
        named = [g for g in found if name and g.uuid.startswith(name)]
        chosen = [*numbered, *named]
        if len(chosen) != 1:
            break
        left += chosen
    return left


def resolve(device: str) -> str:
    """``auto`` as ``cuda`` where there is a GPU and ``cpu`` elsewhere.

    Raises:
        ParityError: ``cuda`` is asked for and the driver lists no GPU.
    """
    if device == "cpu":
        return "cpu"
    present = bool(gpus())
    if device == "cuda" and not present:
        raise ParityError(
            "--device cuda, but nvidia-smi lists no GPU", valid=("auto", "cpu"), mend="use --device cpu"
        )
    return "cuda" if present else "cpu"


def environment() -> dict[str, Any]:
    """The judging process, in the field names of ``evaluation_manifest``.

    Versions of libraries that backends use are those installed beside the plugin, None where they
    are not; each record states what its own program used.
    """
    return {
        "runner": f"pytest-worldflux-parity {version('pytest-worldflux-parity')}",
        "python": platform.python_version(),
        "python_impl": platform.python_implementation(),
        "platform": platform.platform(),
        "torch": version("torch"),
        "cuda": bool(gpus()),
        "numpy": version("numpy"),
        "scipy": version("scipy"),
        "pytest": version("pytest"),
    }


def version(distribution: str) -> str | None:
    """The installed version of a distribution, or None."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def processor() -> str:
    """The processor's model name."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    return names[0] if names else platform.machine()
