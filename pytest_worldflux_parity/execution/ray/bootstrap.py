"""What a Ray worker does before our package is there.

These functions are sent by value, with what they name of this module. So nothing of ours is imported at the
top, and what they take and give before the package is unpacked are plain values.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import pickle
import shutil
import signal
import socket
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

CACHE_VARIABLE = "WORLDFLUX_PARITY_CACHE"
# name, [reference to the bytes]: in a list, so that Ray brings them only where they are asked for.
Shipped = tuple[str, Sequence[Any]]


def cache_folder() -> Path:
    """Where this machine keeps environments, and what sessions need while they run here."""
    named = os.environ.get(CACHE_VARIABLE)
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(named) if named else Path(base) / "worldflux-parity"


def own_folder(path: Path) -> Path:
    """A folder that nobody else of this machine may look into."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


@contextlib.contextmanager
def session_folder(cache: Path, session: str) -> Iterator[Path]:
    """The folder of a session on this machine. Folders of sessions of which nothing runs here are removed.

    Raises:
        OSError: the cache cannot be written.
    """
    sessions = own_folder(own_folder(cache) / "sessions")
    with open(sessions / f"{session}.lock", "a", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        for other in sessions.glob("*.lock"):
            # Its lock stays: somebody may wait for it just now.
            with contextlib.suppress(OSError), open(other, encoding="ascii") as handle:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(other.with_suffix(""), ignore_errors=True)
        yield own_folder(sessions / session)


def unpack_archive(data: bytes, name: str, folder: Path) -> Path:
    """Unpack the archive of a folder of this name into a new folder; where it stands there.

    Raises:
        OSError: it cannot be written.
    """
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        tar.extractall(folder, filter="tar")
    return folder / name


def run_attempt(
    package: Shipped, shipped: Mapping[str, Shipped], session: str, parcel: bytes
) -> Iterator[Any]:
    """Run an attempt on this machine: first the node's id and name, then the events of ``node.run_on_node``.

    Args:
        package: our own package. shipped: folder on the controller -> its archive.
        session: tells sessions apart.
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
            own = held.enter_context(session_folder(cache, session))
            node = _import_node(own, package)
            # Programs write where they start: what they start in is this attempt's alone.
            below = Path(held.enter_context(tempfile.TemporaryDirectory(dir=own, ignore_cleanup_errors=True)))
            places = {
                Path(path): unpack_archive(ray.get(data[0]), name, below / str(number))
                for number, (path, (name, data)) in enumerate(shipped.items())
            }
        except (OSError, ImportError) as error:
            what = f"node {socket.gethostname()}: what was shipped cannot be used: {error}"
            raise OSError(what) from None
        gpu_ids = tuple(str(i) for i in context.get_accelerator_ids().get("GPU", ()))
        host = node.Host(context.get_node_id(), socket.gethostname(), gpu_ids)
        yield from node.run_on_node(pickle.loads(parcel), places, cache, host)


def ask_gpu_memory(package: Shipped, session: str) -> float | None:
    """The memory of the smallest GPU of this machine, in 10^9 bytes; None where nothing tells."""
    with session_folder(cache_folder(), session) as own:
        memory: float | None = _import_node(own, package).smallest_memory()
        return memory


def _import_node(own: Path, package: Shipped) -> Any:
    """``node`` of the package that was shipped, whatever else of that name is installed here."""
    import importlib

    import ray

    folder = own / f"package-{os.getpid()}"
    if str(folder) not in sys.path or not folder.is_dir():
        shutil.rmtree(folder, ignore_errors=True)
        unpack_archive(ray.get(package[1][0]), package[0], folder)
        sys.path.insert(0, str(folder))
    return importlib.import_module("pytest_worldflux_parity.execution.ray.node")
