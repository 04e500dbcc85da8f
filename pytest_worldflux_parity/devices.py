"""Which devices there are."""

from __future__ import annotations

import shutil
import subprocess

from .errors import ParityError


def gpu_uuids() -> list[str]:
    """UUIDs of the NVIDIA GPUs that the driver lists; empty where there is no driver."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    query = [program, "--query-gpu=uuid", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [line.strip() for line in done.stdout.splitlines() if line.strip()] if done.returncode == 0 else []


def resolve(device: str) -> str:
    """``auto`` as ``cuda`` where there is a GPU and ``cpu`` elsewhere.

    Raises:
        ParityError: ``cuda`` is asked for and the driver lists no GPU.
    """
    if device == "cpu":
        return "cpu"
    present = bool(gpu_uuids())
    if device == "cuda" and not present:
        raise ParityError(
            "--device cuda, but nvidia-smi lists no GPU", valid=("auto", "cpu"), mend="use --device cpu"
        )
    return "cuda" if present else "cpu"
