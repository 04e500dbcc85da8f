"""What a Ray worker does before our package is there.

These functions are sent by value, with what they name of this module. So nothing of ours is imported at the
top, and what they take and give before the package is unpacked are plain values.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import os
import pickle
import shutil
import signal
import socket
import sys
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

CACHE_VARIABLE = "WORLDFLUX_PARITY_CACHE"
UNUSED_SEC = 60 * 86400
# name, sha256, [reference to the bytes]: in a list, so that Ray brings them only where they are asked for.
Shipped = tuple[str, str, Sequence[Any]]


def cache_folder() -> Path:
    """Where this machine keeps what is shipped to it, and the environments that it builds."""
    named = os.environ.get(CACHE_VARIABLE)
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(named) if named else Path(base) / "worldflux-parity"


@contextlib.contextmanager
def unpacked(cache: Path, name: str, sha256: str, data_of: Callable[[], bytes]) -> Iterator[Path]:
    """The folder of an archive, unpacked at its first use on this machine; it stays while the block runs.

    Programs write where they start. So a copy that was changed is given to nobody else: there is a new one,
    and the old one goes once nobody uses it.

    Args:
        data_of: brings the archive's bytes; called only where they are not there as they were sent.

    Raises:
        OSError: the cache cannot be written, or the bytes are not those of the hash.
    """
    copies = own_folder(own_folder(own_folder(cache) / "shipped") / sha256[:32])
    with open(copies / "lock", "a+", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.seek(0)
        number, _, state = lock.read().partition(" ")
        if not (copies / number / name).is_dir() or state != _state(copies / number):
            _remove_unused(copies)
            number = _unpack(copies, name, sha256, data_of, lock)
        os.utime(lock.name)
        used = os.open(copies / f"{number}.used", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(used, fcntl.LOCK_SH)
    try:
        yield copies / number / name
    finally:
        os.close(used)


def own_folder(path: Path) -> Path:
    """A folder that nobody else of this machine may look into."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def _unpack(copies: Path, name: str, sha256: str, data_of: Callable[[], bytes], lock: TextIO) -> str:
    """Make a copy that is not there yet, and note it and its state in the lock file."""
    data = data_of()
    if hashlib.sha256(data).hexdigest() != sha256:
        raise OSError(f"the archive of {name} is not what was sent")
    number = str(1 + max((int(p.name) for p in copies.iterdir() if p.name.isdigit()), default=-1))
    partial = copies / f"{number}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        tar.extractall(partial, filter="tar")
    lock.truncate(0)
    lock.write(f"{number} {_state(partial)}")
    lock.flush()
    os.replace(partial, copies / number)
    _forget_unused(copies.parent)
    return number


def _remove_unused(copies: Path) -> bool:
    """Remove the copies of an archive that nobody uses; whether none is left. Its lock is held."""
    left = False
    for path in [p for p in copies.iterdir() if p.name.isdigit()]:
        used = path.with_suffix(".used")
        with open(used, "a", encoding="ascii") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                left = True
                continue
            shutil.rmtree(path, ignore_errors=True)
            used.unlink()
    return not left


def _state(folder: Path) -> str:
    """What changes when somebody changes a file below ``folder``: how many there are and the newest.

    Python writes its caches there, and git its index; a checkout is verified by the program that uses it.
    """
    count, newest = 0, 0
    for path, folders, names in os.walk(folder):
        folders[:] = [f for f in folders if f not in ("__pycache__", ".git")]
        for name in names:
            # A program that uses the copy may just have taken a file away.
            with contextlib.suppress(FileNotFoundError):
                newest = max(newest, os.lstat(os.path.join(path, name)).st_mtime_ns)
                count += 1
    return f"{count} {newest}"


def _forget_unused(shipped: Path) -> None:
    """Remove what nobody has asked for in long, and nobody uses."""
    for path in shipped.glob("*/lock"):
        if path.stat().st_mtime > time.time() - UNUSED_SEC:
            continue
        with contextlib.suppress(OSError), open(path, encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _remove_unused(path.parent):
                shutil.rmtree(path.parent, ignore_errors=True)


def run_attempt(package: Shipped, shipped: Mapping[str, Shipped], parcel: bytes) -> Iterator[Any]:
    """Run an attempt on this machine: first the node's id and name, then the events of ``node.attempt``.

    Args:
        package: our own package. shipped: folder on the controller -> its archive.
        parcel: a pickled ``node.Parcel``, which can be read once the package is there.

    Raises:
        OSError: this machine cannot take what is shipped.
    """
    import ray

    # Ray ends a task by Python's own Ctrl-C, which does nothing where `ray start` was told to ignore it, as
    # everything is that a script leaves in the background.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    context = ray.get_runtime_context()
    # Before anything can fail here, so that it is known where.
    yield context.get_node_id(), socket.gethostname()
    cache = cache_folder()
    with contextlib.ExitStack() as held:
        try:
            node = _node_module(cache, package)
            places = {Path(path): held.enter_context(_brought(cache, x)) for path, x in shipped.items()}
        except (OSError, ImportError) as error:
            what = f"node {socket.gethostname()}: what was shipped cannot be used: {error}"
            raise OSError(what) from None
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
    done = subprocess.run(
        query, capture_output=True, encoding="utf-8", errors="replace", timeout=30, check=False
    )
    sizes = [int(line) * 2**20 / 1e9 for line in done.stdout.split("\n") if line.strip().isdigit()]
    return min(sizes, default=None)


def _node_module(cache: Path, package: Shipped) -> Any:
    """``node`` of the package that was shipped, whatever else of that name is installed here."""
    import importlib

    held = contextlib.ExitStack()
    folder = str(held.enter_context(_brought(cache, package)).parent)
    known = folder in sys.path
    if not known:
        sys.path.insert(0, folder)
    node = importlib.import_module("pytest_worldflux_parity.execution.ray.node")
    if known:
        held.close()
    else:
        # As long as this process may import more of it.
        node.held = held  # type: ignore[attr-defined]
    return node


def _brought(cache: Path, archive: Shipped) -> contextlib.AbstractContextManager[Path]:
    import ray

    name, sha256, reference = archive
    return unpacked(cache, name, sha256, lambda: ray.get(reference[0]))
