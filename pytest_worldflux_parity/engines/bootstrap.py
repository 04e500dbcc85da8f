"""What a Ray worker does before our package is there.

These functions are sent by value, with what they name of this module. So nothing of ours is imported at the
top, and what they take and give before the package is unpacked are plain values.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import pickle
import shutil
import socket
import sys
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

CACHE_VARIABLE = "WORLDFLUX_PARITY_CACHE"
UNUSED_SEC = 60 * 86400
# name, sha256, [reference to the bytes]: in a list, so that Ray brings them only where they are asked for.
Shipped = tuple[str, str, Sequence[Any]]


def cache_folder() -> Path:
    """Where this machine keeps what is shipped to it, and the environments that it builds."""
    named = os.environ.get(CACHE_VARIABLE)
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(named) if named else Path(base) / "worldflux-parity"


def unpacked(cache: Path, name: str, sha256: str, data_of: Callable[[], bytes]) -> Path:
    """The folder of an archive, unpacked at its first use on this machine.

    Args:
        data_of: brings the archive's bytes; called only where it is not there yet.

    Raises:
        OSError: the cache cannot be written, the bytes are not those of the hash, or what was unpacked
            has been changed since.
    """
    place = cache / "shipped" / sha256[:32]
    place.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{place}.lock", "a+", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.is_dir():
            data = data_of()
            if hashlib.sha256(data).hexdigest() != sha256:
                raise OSError(f"the archive of {name} is not what was sent")
            partial = Path(f"{place}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            with tarfile.open(fileobj=io.BytesIO(data)) as tar:
                tar.extractall(partial, filter="tar")
            lock.truncate(0)
            lock.write(_state(partial))
            os.replace(partial, place)
            _forget_unused(place.parent)
        lock.seek(0)
        if lock.read() != _state(place):
            raise OSError(f"{place / name} was changed since it was unpacked; to mend: remove {place}")
        os.utime(lock.name)
    return place / name


def _state(folder: Path) -> str:
    """What changes when somebody changes a file below ``folder``: how many there are and the newest.

    Python writes its caches there, and git its index; a checkout is verified by the program that uses it.
    """
    count, newest = 0, 0
    for path, folders, names in os.walk(folder):
        folders[:] = [f for f in folders if f not in ("__pycache__", ".git")]
        for name in names:
            count += 1
            newest = max(newest, os.lstat(os.path.join(path, name)).st_mtime_ns)
    return f"{count} {newest}"


def _forget_unused(shipped: Path) -> None:
    """Remove what nobody has used for long; a run that is older than that holds no lock, but none is."""
    for lock in shipped.glob("*.lock"):
        if lock.stat().st_mtime < time.time() - UNUSED_SEC:
            shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
            lock.unlink(missing_ok=True)


def run_attempt(package: Shipped, shipped: Mapping[str, Shipped], parcel: bytes) -> Iterator[Any]:
    """Run an attempt on this machine: first the node's id and name, then the events of ``node.attempt``.

    Args:
        package: our own package. shipped: folder on the controller -> its archive.
        parcel: a pickled ``node.Parcel``, which can be read once the package is there.

    Raises:
        OSError: this machine cannot take what is shipped.
    """
    import ray

    context = ray.get_runtime_context()
    # Before anything can fail here, so that it is known where.
    yield context.get_node_id(), socket.gethostname()
    cache = cache_folder()
    try:
        node = _node_module(cache, package)
        places = {Path(path): _brought(cache, archive) for path, archive in shipped.items()}
    except (OSError, ImportError) as error:
        raise OSError(f"node {socket.gethostname()}: what was shipped cannot be used: {error}") from None
    gpu_ids = tuple(str(i) for i in context.get_accelerator_ids().get("GPU", ()))
    host = node.Host(context.get_node_id(), socket.gethostname(), gpu_ids)
    yield from node.attempt(pickle.loads(parcel), places, cache, host)


def gpu_memory() -> float | None:
    """The memory of the smallest GPU of this machine, in 10^9 bytes; None where nothing tells."""
    import subprocess

    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    query = [program, "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    done = subprocess.run(query, capture_output=True, text=True, timeout=30, check=False)
    sizes = [int(line) * 2**20 / 1e9 for line in done.stdout.split("\n") if line.strip().isdigit()]
    return min(sizes, default=None)


def _node_module(cache: Path, package: Shipped) -> Any:
    """``engines.node`` of the package that was shipped, whatever else of that name is installed here."""
    folder = str(_brought(cache, package).parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    import importlib

    return importlib.import_module("pytest_worldflux_parity.engines.node")


def _brought(cache: Path, archive: Shipped) -> Path:
    import ray

    name, sha256, reference = archive
    return unpacked(cache, name, sha256, lambda: ray.get(reference[0]))
