"""A cluster of several nodes on one machine, each with a cache and, where that can be, files of its own."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.conftest import alive, wait_until

CHECKOUT = Path(__file__).resolve().parents[2]
NODES, CPUS, GPUS = 3, 2, 2
# The least that Ray accepts; 80 MB of shared memory a node.
STORE = 80 * 2**20


def descendants(pid: int) -> Iterator[int]:
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(path.read_text().rpartition(")")[2].split()[1]) == pid:
                yield int(path.parent.name)
                yield from descendants(int(path.parent.name))


def can_hide() -> bool:
    """Whether a process may have a view of its own of the files."""
    return shutil.which("unshare") is not None and not subprocess.call(
        ["unshare", "-m", "true"], stderr=subprocess.DEVNULL
    )


@dataclass
class RayNode:
    """A node; ``cache`` is its own folder, seen from outside too."""

    process: subprocess.Popen[bytes]
    cache: Path

    def pids(self) -> list[int]:
        """Processes that fake programs, which run here now, wrote down."""
        texts = []
        # Folders of sessions go while it looks, which pathlib's own glob does not bear.
        for path in map(Path, glob.glob(f"{self.cache}/sessions/*/attempts/*/*pid")):
            with contextlib.suppress(OSError):
                texts.append(path.read_text())
        return [int(text) for text in texts if text]

    def kill(self) -> None:
        """End the node as a machine that is switched off does: what coordinates it is gone at once."""
        for pid in list(descendants(self.process.pid)):
            with contextlib.suppress(OSError):
                if "raylet" in Path(f"/proc/{pid}/exe").resolve().name:
                    os.kill(pid, signal.SIGKILL)
        self.process.kill()
        self.process.wait()


class RayCluster:
    """A head without anything to give, and nodes with CPUs and GPUs that are not there."""

    def __init__(self, base: Path, hidden: tuple[Path, ...]) -> None:
        from ray.cluster_utils import Cluster

        # A session folder of its own lets the nodes start at the same time.
        self.base, self._hidden = base, (*hidden, Path("/tmp/ray")) if can_hide() else ()
        self.hides = bool(self._hidden)
        head = {"num_cpus": 0, "object_store_memory": STORE, "include_dashboard": False}
        self._head: Any = Cluster(initialize_head=True, head_node_args=head)
        self.address = str(self._head.address)
        self.nodes: list[RayNode] = []
        try:
            self._begin()
        except BaseException:
            self.close()
            raise

    def _begin(self) -> None:
        for number in range(NODES):
            self.add()
            if not self.hides:
                self._wait_for(number + 1)
        self._wait_for(NODES)

    def _wait_for(self, count: int) -> None:
        wait_until(lambda: len(self._head.global_state.node_table()) == count + 1, "the nodes", 60)

    @contextlib.contextmanager
    def one_more(self, gpus: int, ignored: int | None = None, **environment: str) -> Iterator[RayNode]:
        """A further node while a block runs; ``ignored``: a signal that it ignores from its start."""
        self.add(gpus, ignored, **environment)
        try:
            self._wait_for(len(self.nodes))
            yield self.nodes[-1]
        finally:
            self.nodes[-1].kill()

    def add(self, gpus: int = GPUS, ignored: int | None = None, **changes: str) -> None:
        """Start a node, which does not see the project nor this checkout."""
        cache = self.base / f"node_{len(self.nodes)}"
        cache.mkdir()
        start = [
            *(sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--address", self.address),
            *("--num-cpus", str(CPUS), "--num-gpus", str(gpus), "--object-store-memory", str(STORE)),
            *("--disable-usage-stats",),
        ]
        if self._hidden:
            hide = " && ".join(f"mount -t tmpfs none '{path}'" for path in self._hidden)
            start = ["unshare", "-m", "sh", "-c", f'{hide} && exec "$@"', "sh", *start]
        environment = {**os.environ, "WORLDFLUX_PARITY_CACHE": str(cache), **changes}
        # By default its workers give way to all else on the machine, and tests would wait.
        environment["RAY_worker_niceness"] = "0"
        environment.pop("PYTHONPATH", None)
        if ignored is not None:
            start = ["sh", "-c", f"trap '' {ignored}; exec \"$@\"", "sh", *start]
        with open(cache / "ray.log", "wb") as log:
            process = subprocess.Popen(start, cwd="/", env=environment, stdout=log, stderr=log)
        self.nodes.append(RayNode(process, cache))

    def pids(self) -> list[int]:
        return [pid for node in self.nodes for pid in node.pids()]

    def close(self) -> None:
        for node in self.nodes:
            if node.process.poll() is None:
                node.process.terminate()
        for node in self.nodes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                node.process.wait(10)
            node.kill()
        self._head.shutdown()


def none_left(pids: list[int]) -> None:
    wait_until(lambda: not [p for p in pids if alive(p)], "the end of all that ran on the nodes", 20)
