"""Where in a cluster a run may go and what it reserves there; numbers in, numbers out."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ...errors import ParityError
from ...suite.suite import Resources
from ..leases import Alone, count_slots


@dataclass(frozen=True)
class Node:
    """A machine of a cluster and all that it has. ``gpu_memory_gb``: of its smallest GPU, where known."""

    node_id: str
    cpus: float
    gpus: float
    gpu_memory_gb: float | None = None


@dataclass(frozen=True)
class Reservation:
    """What a run reserves.

    Attributes:
        gpus: a whole number, or a fraction of one GPU.
        only: the node that it must go to; empty: any that has this much.
        never: nodes that it must not go to.
        share: of each GPU's memory.
    """

    cpus: float
    gpus: float
    only: str = ""
    never: tuple[str, ...] = ()
    share: float = 1.0

    def fits(self, node: Node) -> bool:
        """Whether a node could ever give it."""
        named = node.node_id == self.only if self.only else node.node_id not in self.never
        return named and node.cpus >= self.cpus and node.gpus >= self.gpus


def reserve_on(
    nodes: Sequence[Node],
    resources: Resources,
    *,
    device: str,
    threads: int,
    slots: int = 1,
    alone: Alone = "",
    avoided: Collection[str] = (),
) -> Reservation:
    """What a run reserves, so that one of ``nodes`` can give it.

    Threads are no hard wish: where no node has as many cores, the run takes all of the largest, as it
    would on a machine of its own. Nodes are ``avoided`` where another one fits.

    Args:
        slots: runs at a time on one GPU; a run on several GPUs has them for itself.

    Raises:
        ParityError: no node has such GPUs.
    """
    wanted = resources.gpus if device == "cuda" else 0
    fitting = [n for n in nodes if n.gpus >= wanted and n.cpus > 0 and _has_memory(n, resources, wanted)]
    if not fitting:
        raise ParityError(
            _missing_gpus(nodes, resources, wanted), hint="ask for less in `resources`, or add a node"
        )
    others = [n for n in fitting if n.node_id not in avoided]
    chosen = others or fitting
    never = tuple(sorted({n.node_id for n in nodes} - {n.node_id for n in chosen}))
    cpus = float(min(threads, max(n.cpus for n in chosen)))
    taken = slots if alone == "gpus" or wanted != 1 else _slots_taken(chosen, resources, slots)
    # Ray counts in ten-thousandths, and all slots together must not be more than the GPU.
    gpus = wanted if taken == slots else math.floor(1e4 * taken / slots) / 1e4
    if alone == "machine":
        largest = max(chosen, key=lambda n: (n.cpus, n.node_id))
        return Reservation(largest.cpus, gpus, largest.node_id, share=taken / slots)
    return Reservation(cpus, gpus, "", never, taken / slots)


def cluster_width(nodes: Sequence[Node], device: str, slots: int) -> int:
    """How many runs of one thread on one slot fit the cluster at a time; at least one."""
    if device == "cuda":
        return max(1, sum(int(min(n.gpus * slots, n.cpus)) for n in nodes))
    return max(1, sum(int(n.cpus) for n in nodes))


def _has_memory(node: Node, resources: Resources, wanted: int) -> bool:
    wish, has = resources.gpu_memory_gb, node.gpu_memory_gb
    return not wanted or wish is None or has is None or wish <= has


def _slots_taken(nodes: Sequence[Node], resources: Resources, slots: int) -> int:
    """How many slots of a GPU a run takes: as many as it needs on the smallest GPU that it may get."""
    known = [n.gpu_memory_gb for n in nodes if n.gpu_memory_gb is not None]
    return min(slots, count_slots(resources, min(known, default=None), slots))


def _missing_gpus(nodes: Sequence[Node], resources: Resources, wanted: int) -> str:
    if not wanted:
        return "no node of the cluster has a CPU to reserve"
    memory = f" of {resources.gpu_memory_gb:g} GB" if resources.gpu_memory_gb else ""
    most = max((n.gpus for n in nodes), default=0)
    return f"{wanted} GPU(s){memory} are asked for on one node, and the node with the most has {most:g}"
