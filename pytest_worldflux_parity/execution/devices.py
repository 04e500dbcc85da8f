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
from ..wire import one_line

# A machine that is full may take its time.
ANSWER_SEC = 30.0


@dataclass(frozen=True)
class Gpu:
    """A GPU by the UUID that CUDA_VISIBLE_DEVICES takes; ``memory_gb`` is None where it is unknown."""

    uuid: str
    memory_gb: float | None = None


def ask_command(
    command: Sequence[str], seconds: float, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """What a command of the system says; no Ctrl-C of the terminal ends it.

    Raises:
        OSError: it cannot be started. TimeoutExpired: it gives no answer in time.
    """
    return subprocess.run(
        command,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=seconds,
        check=False,
        start_new_session=True,
    )


def gpus(environment: Mapping[str, str] = os.environ) -> list[Gpu]:
    """The NVIDIA GPUs that the driver lists and CUDA_VISIBLE_DEVICES leaves; empty without a driver."""
    return look_for_gpus(environment)[0]


def look_for_gpus(environment: Mapping[str, str] = os.environ) -> tuple[list[Gpu], str]:
    """As :func:`gpus`, and why there is none where the driver's tool is here; empty where nothing is odd."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return [], ""
    query = [program, "--query-gpu=uuid,memory.total", "--format=csv,noheader,nounits"]
    try:
        done = ask_command(query, ANSWER_SEC)
    except OSError as error:
        return [], f"nvidia-smi cannot be started: {error.strerror}"
    except subprocess.TimeoutExpired:
        return [], f"nvidia-smi gave no answer in {ANSWER_SEC:g} s"
    rows = [line.partition(",") for line in done.stdout.splitlines() if line.startswith("GPU-")]
    if done.returncode != 0 or not rows:
        return [], f"nvidia-smi lists no GPU, and ended with status {done.returncode}{_said_words(done)}"
    found = [Gpu(uuid.strip(), _to_gigabytes(mebibytes)) for uuid, _, mebibytes in rows]
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    left = _visible_gpus(found, visible)
    return left, "" if left else f"CUDA_VISIBLE_DEVICES={visible!r} leaves none of {len(found)} GPUs"


def _said_words(done: subprocess.CompletedProcess[str]) -> str:
    said = one_line(done.stderr.strip() or done.stdout.strip())
    return f": {said}" if said else ""


def _to_gigabytes(mebibytes: str) -> float | None:
    try:
        return int(mebibytes) * 2**20 / 1e9
    except ValueError:
        return None


def _visible_gpus(found: Sequence[Gpu], visible: str | None) -> list[Gpu]:
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


def resolve(device: str) -> tuple[str, str]:
    """``auto`` as ``cuda`` where there is a GPU and ``cpu`` elsewhere, and what is to be said of that.

    The latter is empty but where the CPU is taken beside a driver that lists no GPU.

    Raises:
        ParityError: ``cuda`` is asked for and there is no GPU.
    """
    if device == "cpu":
        return "cpu", ""
    present, why = look_for_gpus()
    if device == "cuda" and not present:
        what = f"--device cuda, but {why or 'there is no nvidia-smi that could list a GPU'}"
        raise ParityError(what, valid=("auto", "cpu"), hint="mend the driver, or use --device cpu")
    if present:
        return "cuda", ""
    hint = "mend that, or say --device cpu"
    return "cpu", f"--device auto takes the CPU: {why}; to mend: {hint}" if why else ""


def describe_machine() -> dict[str, Any]:
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
