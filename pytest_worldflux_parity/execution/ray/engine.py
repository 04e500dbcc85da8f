"""Runs attempts as tasks of a Ray cluster, on nodes that share no files with this machine.

A task is a streaming generator: it yields what the program writes while it runs, and at the end what it
left, so that nothing has to be asked of a node once the run is over. Ray tries no task again
(``max_retries=0``): whether a run is tried again is for :mod:`..retry` to say, and each attempt is recorded.
When this process dies, Ray ends its tasks, and a worker's guardian the programs that they started.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import ray
from ray import cloudpickle
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ...errors import ParityError
from ...inputs.backends import Backend
from ...inputs.command_program import COMMIT, project_commit
from ...inputs.context import RunContext
from ...inputs.files.project_files import everything, tracked
from ...inputs.trees import base_of
from .. import runner
from ..engine import Execution, Launch, failed_execution
from ..retry import LOST, NODE_LOST, Kind
from . import bootstrap, placement, shipping
from .delivery import Delivery
from .node import Ended, NodeEvent, Parcel, Started, Unfit
from .placement import Node, Reservation

JOIN_HINT = (
    "run pytest on a node of the cluster (`ray start --address HOST:PORT`; a new one: `ray start --head`), "
    "and name another with RAY_ADDRESS or in parity_ray_address"
)
# How long a run waits for a node that fits: a node that restarts comes back.
NODE_WAIT_SEC = 30.0
CONNECT_SEC = 5.0
POLL_SEC = 0.25
CHECK_SEC = 5.0
# SIGTERM, the grace after it, and the way to the node and back.
CANCEL_SEC = runner.TERM_GRACE_SEC + 7.0
# What a task sends before somebody reads it: the parts of a large file must not fill the object store.
UNREAD_EVENTS = 8

_PACKAGE = Path(__file__).resolve().parents[2]


@dataclass
class _RayFlight:
    """An attempt that Ray has been given, and where it is."""

    adapter: str
    stream: Any
    reservation: Reservation
    start: float
    node_id: str = ""
    node_name: str = ""
    gpus: tuple[str, ...] = ()
    checked: float = field(default_factory=time.monotonic)

    @property
    def where(self) -> str:
        return f"node {self.node_name} ({self.node_id[:12]})" if self.node_id else "no node yet"


class RayEngine:
    """The cluster that RAY_ADDRESS, or the ini setting ``parity_ray_address``, names.

    Raises:
        ParityError: there is no cluster, or this machine is none of its nodes.
    """

    name = "ray"

    def __init__(self, context: RunContext) -> None:
        settings = context.engine_settings
        self._context, self._session = context, secrets.token_hex(8)
        self._slots = int(settings.get("parity_slots_per_gpu", "1"))
        self._largest = _largest_bytes(str(settings.get("parity_ray_limit_gb", "8")))
        root = context.root.resolve()
        self._ours = _join_cluster(
            os.environ.get("RAY_ADDRESS") or settings.get("parity_ray_address") or "auto"
        )
        cloudpickle.register_pickle_by_value(bootstrap)
        try:
            self._cargo = _Cargo(root, context.sign_key)
        except BaseException:
            self.close()
            raise
        self._memory: dict[str, float | None] = {}
        # A node that died is in Ray's list for some seconds more.
        self._dead: set[str] = set()
        # (node id, adapter or empty for all) -> what it lacks; nothing more of this goes there.
        self._unfit: dict[tuple[str, str], str] = {}
        self._without_node: dict[Any, float] = {}
        self._lost_on: dict[tuple[str, str, int, str], set[str]] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._flying = 0
        self._landed = threading.Condition(self._lock)

    def width(self) -> int:
        """Slots of the nodes that are there now; at least one."""
        return placement.cluster_width(self._nodes(self._dead), self._context.device, self._slots)

    def execute(self, launch: Launch) -> Execution:
        """Run one attempt on some node; its files are in ``launch.folder`` afterwards.

        Raises:
            OSError: the folder cannot be written.
            ParityError: no node is there on which it could be begun.
            KeyboardInterrupt: :meth:`stop` was called.
        """
        if self._stopping.is_set():
            raise KeyboardInterrupt
        delivery = Delivery(launch.folder, launch.request)
        with self._lock:
            self._flying += 1
        try:
            return self._execute(launch, delivery)
        finally:
            with self._lock:
                self._flying -= 1
                self._landed.notify_all()

    def adopt(self, folder: Path) -> None:
        """Nothing is left to wait for: Ray ends the tasks of a driver that died."""

    def stop(self) -> None:
        """End everything in flight; returns once it has ended."""
        self._stopping.set()
        with self._lock:
            self._landed.wait_for(lambda: self._flying == 0, timeout=2 * CANCEL_SEC)

    def close(self) -> None:
        """Leave the cluster; what should still run there is ended by it."""
        if self._ours:
            ray.shutdown()

    def _execute(self, launch: Launch, delivery: Delivery) -> Execution:
        while True:
            reservation = self._reserved(launch)
            flight = self._submitted(launch, reservation)
            try:
                end = self._followed(flight, delivery)
            except _Lost as lost:
                if self._is_told(launch, flight, lost):
                    seen = failed_execution(lost.line(), lost.kind, flight.gpus)
                    took = time.monotonic() - flight.start
                    return replace(seen, outcome=replace(seen.outcome, duration_sec=took))
                continue
            return Execution(end.outcome, end.command, flight.gpus)

    def _reserved(self, launch: Launch) -> Reservation:
        """What the attempt reserves; waits for a node that could give it.

        Raises:
            ParityError: there is none, and none came since the first run that wanted such a one.
        """
        wish = (launch.resources, launch.request.device, launch.request.adapter)
        while True:
            try:
                found = self._reservation(launch)
            except ParityError as problem:
                since = self._without_node.setdefault(wish, time.monotonic())
                if time.monotonic() - since > NODE_WAIT_SEC:
                    raise self._nowhere(problem, launch.request.adapter) from None
            else:
                self._without_node.pop(wish, None)
                return found
            if self._stopping.wait(POLL_SEC):
                raise KeyboardInterrupt

    def _reservation(self, launch: Launch) -> Reservation:
        shunned = self._shunned(launch.request.adapter)
        found = placement.reserve_on(
            self._nodes(shunned, with_memory=launch.resources.gpu_memory_gb is not None),
            launch.resources,
            device=launch.request.device,
            threads=launch.request.threads,
            slots=self._slots,
            alone=launch.alone,
            avoided=self._lost_on.get(_run_key(launch), ()),
        )
        return replace(found, never=tuple(sorted({*found.never, *shunned})))

    def _shunned(self, adapter: str) -> set[str]:
        """Nodes that are gone, or cannot run a program."""
        with self._lock:
            return {*self._dead, *(node for node, whose in self._unfit if whose in ("", adapter))}

    def _nowhere(self, problem: ParityError, adapter: str) -> ParityError:
        with self._lock:
            lacks = [why for (_, whose), why in self._unfit.items() if whose in ("", adapter)]
        if not lacks:
            return problem
        what = f"{problem.what}; nodes that cannot be used: {len(lacks)} ({' | '.join(lacks)})"
        return ParityError(what, hint="mend or add a node, then go on with --parity-resume")

    def _submitted(self, launch: Launch, reservation: Reservation) -> _RayFlight:
        parcel = Parcel(
            request=launch.request,
            program=launch.program,
            root=self._context.root.resolve(),
            tree=launch.sealed.tree,
            keep=("*",) if self._context.retention == "full" else (),
            largest=self._largest,
            walls=launch.sealed.walls,
            share=reservation.share,
            asked=launch.keep,
            session=self._session,
        )
        task = ray.remote(
            num_cpus=reservation.cpus,
            num_gpus=reservation.gpus,
            max_retries=0,
            name=f"parity {launch.request.task_id} seed {launch.request.seed} {launch.request.system}",
            _generator_backpressure_num_objects=UNREAD_EVENTS,
            **_placement_options(reservation),
        )(bootstrap.run_attempt)
        shipped = self._cargo.of(launch)
        stream = task.remote(self._cargo.package, shipped, self._session, pickle.dumps(parcel))
        return _RayFlight(launch.request.adapter, stream, reservation, time.monotonic())

    def _followed(self, flight: _RayFlight, delivery: Delivery) -> Ended:
        """Write what an attempt tells, until it has ended.

        Raises:
            _Lost: it was lost on its way.
        """
        for event in self._events(flight):
            try:
                if isinstance(event, tuple):
                    flight.node_id, flight.node_name = event
                elif isinstance(event, Started):
                    flight.gpus = event.gpus
                elif isinstance(event, Ended) and event.unfit:
                    raise _Lost(event.outcome.error, unfit=event.unfit)
                elif isinstance(event, Ended):
                    delivery.finish(event)
                    return event
                else:
                    delivery.take(event)
            except _Lost:
                raise
            except (ParityError, OSError):
                self._end(flight)
                raise
        raise _Lost("its end was never told", where=flight.where)

    def _events(self, flight: _RayFlight) -> Iterator[NodeEvent | tuple[str, str]]:
        while True:
            if self._stopping.is_set():
                self._end(flight)
                raise KeyboardInterrupt
            ready, _ = ray.wait([flight.stream], timeout=POLL_SEC)
            if not ready:
                self._check_waiting(flight)
                continue
            try:
                yield self._fetched(flight)
            except StopIteration:
                return
            except ray.exceptions.OutOfMemoryError:
                raise _Lost("out of memory: Ray ended it", where=flight.where, kind="out_of_memory") from None
            except ray.exceptions.RayTaskError as error:
                raise _failure_on_node(error, flight) from error
            except ray.exceptions.RayError as error:
                raise _Lost(_reason_of(error), where=flight.where, died=_dead_node(error, flight)) from None

    def _fetched(self, flight: _RayFlight) -> NodeEvent:
        """The next thing that an attempt tells; what a lost node held may never arrive.

        Raises:
            StopIteration: it has told all.
        """
        told = next(flight.stream)
        while True:
            try:
                event: NodeEvent = ray.get(told, timeout=CHECK_SEC)
                return event
            except ray.exceptions.GetTimeoutError:
                if self._stopping.is_set():
                    self._end(flight)
                    raise KeyboardInterrupt from None
                if flight.node_id and flight.node_id not in {node.node_id for node in self._nodes(())}:
                    raise _Lost("its node was lost", where=flight.where, died=flight.node_id) from None

    def _check_waiting(self, flight: _RayFlight) -> None:
        """Give up an attempt that waits for nodes which are all gone."""
        now = time.monotonic()
        if flight.node_id or now - flight.checked < CHECK_SEC:
            return
        flight.checked = now
        if not any(flight.reservation.fits(node) for node in self._nodes(self._shunned(flight.adapter))):
            self._end(flight)
            raise _Lost("no node that it fits is left", where=flight.where, begun=False)

    def _end(self, flight: _RayFlight) -> None:
        """End an attempt: as Ctrl-C would on its node, and where that does not help with its worker."""
        for force in (False, True):
            with contextlib.suppress(ray.exceptions.RayError, ValueError):
                ray.cancel(flight.stream, force=force)
            if _has_task_ended(flight.stream, CANCEL_SEC):
                return

    def _is_told(self, launch: Launch, flight: _RayFlight, lost: _Lost) -> bool:
        """Keep in mind where an attempt was lost; whether it counts as one.

        What a node lacks is told by the first attempt that meets it. Others that were on their way there
        were never begun, and go elsewhere; so does a run that a node has sent back before.
        """
        if not lost.begun:
            return False
        lacks = (flight.node_id, flight.adapter if lost.unfit == "program" else "")
        with self._lock:
            if lost.died:
                self._dead.add(lost.died)
            lost_before = self._lost_on.setdefault(_run_key(launch), set())
            told = not lost.unfit or not (lost_before or lacks in self._unfit)
            if lost.unfit:
                self._unfit[lacks] = lost.lack
            if flight.node_id:
                lost_before.add(flight.node_id)
            return told

    def _nodes(self, shunned: Collection[str], with_memory: bool = False) -> list[Node]:
        alive = [n for n in ray.nodes() if n["Alive"] and n["NodeID"] not in shunned]
        nodes = [
            Node(n["NodeID"], n["Resources"].get("CPU", 0.0), n["Resources"].get("GPU", 0.0)) for n in alive
        ]
        if not with_memory:
            return nodes
        return [replace(n, gpu_memory_gb=self._memory_of(n)) if n.gpus else n for n in nodes]

    def _memory_of(self, node: Node) -> float | None:
        if node.node_id not in self._memory:
            strategy = NodeAffinitySchedulingStrategy(node.node_id, soft=False)
            task = ray.remote(num_cpus=0, max_retries=0, scheduling_strategy=strategy)(
                bootstrap.ask_gpu_memory
            )
            try:
                asked = task.remote(self._cargo.package, self._session)
                self._memory[node.node_id] = ray.get(asked, timeout=60)
            except ray.exceptions.RayError:
                return None
        return self._memory[node.node_id]


class _Lost(ParityError):
    """An attempt whose end nobody saw.

    Attributes:
        died: the id of the node that is gone with it.
        unfit: the node lacks something that any attempt there needs, or any with this program.
        lack: what that is.
        begun: it was sent to a node.
    """

    def __init__(
        self,
        what: str,
        *,
        died: str = "",
        kind: Kind = LOST,
        unfit: Unfit = "",
        begun: bool = True,
        **fields: Any,
    ) -> None:
        further = {"": "", "node": "no other run of this session goes there"}
        further["program"] = "no other run of this program goes there in this session"
        super().__init__("; ".join(filter(None, (what, further[unfit]))), **fields)
        self.lack = what
        self.died = died
        # Ray says so, whatever the program did.
        self.kind = NODE_LOST if died or unfit else kind
        self.unfit = unfit
        self.begun = begun


class _Cargo:
    """The archives of a session, each made once and held by Ray until the session ends."""

    def __init__(self, root: Path, sign_key: Path | None = None) -> None:
        self._root = root
        self._secrets = {sign_key.resolve()} if sign_key else set()
        self._archives: dict[Path, bootstrap.Shipped] = {}
        self._lock = threading.Lock()
        self.package = self._put(shipping.pack_folder(_PACKAGE, everything(_PACKAGE)))

    def of(self, launch: Launch) -> dict[str, bootstrap.Shipped]:
        """What one attempt needs: folder on this machine -> archive.

        Raises:
            ParityError: it cannot be read, or is too large.
        """
        found: dict[str, bootstrap.Shipped] = {}
        if "checkout" in launch.request.source:
            checkout = Path(launch.request.source["checkout"])
            # All of it: the program that runs it compares it with its commit.
            found[str(checkout)] = self._archive(checkout, everything)
        if isinstance(launch.program, Backend):
            source = launch.sealed.source
            found[str(base_of(launch.program, self._root))] = self._archive(source, everything)
        else:
            # A command may read anything of the project.
            found[str(self._root)] = self._archive(self._root, tracked)
        return found

    def _archive(self, folder: Path, files: Callable[[Path], Iterator[Path]]) -> bootstrap.Shipped:
        with self._lock:
            if folder not in self._archives:
                further = {COMMIT: project_commit(folder)} if folder == self._root else {}
                paths = shipping.without_secrets(folder, files(folder), self._secrets)
                self._archives[folder] = self._put(shipping.pack_folder(folder, paths, further))
            return self._archives[folder]

    @staticmethod
    def _put(archive: shipping.Archive) -> bootstrap.Shipped:
        return archive.name, [ray.put(archive.data)]


def _largest_bytes(text: str) -> int:
    try:
        size = float(text)
    except ValueError:
        size = -1.0
    if not 0 <= size < 1e6:
        raise ParityError(f"parity_ray_limit_gb is {text!r}: a number of gigabytes is wanted")
    return int(size * 1e9)


def _join_cluster(address: str) -> bool:
    """Join a cluster; whether this did it, and nobody before."""
    if ray.is_initialized():
        return False
    if "://" in address:
        raise ParityError(
            f"the address {address} is one of Ray's client, which cannot follow a run while it goes on",
            hint="run pytest on a node of the cluster, and leave RAY_ADDRESS out there",
        )
    _check_reachable(address)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    before = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL)
    except (ConnectionError, RuntimeError, ValueError, OSError, SystemExit) as error:
        reason = (str(error).strip().splitlines() or ["no reason given"])[0]
        what = f"--parity-engine=ray: no Ray cluster can be joined at {address}: {reason}"
        raise ParityError(what, hint=JOIN_HINT) from None
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)
    _be_quiet()
    return True


def _check_reachable(address: str) -> None:
    """Refuse at once what Ray would try to reach for a minute."""
    host, colon, port = address.rpartition(":")
    if not colon:
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SEC).close()
    except (OSError, ValueError) as error:
        raise ParityError(
            f"--parity-engine=ray: no Ray cluster at {address} ({error})", hint=JOIN_HINT
        ) from None


def _be_quiet() -> None:
    """Keep Ray's words about nodes that died out of pytest's terminal: each attempt's line says it."""
    # There is no public switch for what the raylets tell all drivers.
    with contextlib.suppress(ImportError):
        from ray._private import worker

        if hasattr(worker, "_worker_logs_enabled"):
            worker._worker_logs_enabled = False


def _placement_options(reservation: Reservation) -> dict[str, Any]:
    if reservation.only:
        return {"scheduling_strategy": NodeAffinitySchedulingStrategy(reservation.only, soft=False)}
    if reservation.never:
        return {"label_selector": {"ray.io/node-id": f"!in({','.join(reservation.never)})"}}
    return {}


def _has_task_ended(stream: Any, seconds: float) -> bool:
    """Whether a task ends within a time; what it still tells is nobody's.

    The stream itself is not asked: ``ray.cancel`` closes it here and now, whatever the task does, and at
    its end ``next`` waits for the task without any bound.
    """
    return bool(ray.wait([stream.completed()], timeout=seconds, fetch_local=False)[0])


def _failure_on_node(error: Any, flight: _RayFlight) -> BaseException:
    """What a failure of our own code on the node comes to: a lack of the node's, or a mistake of ours."""
    cause = error.cause
    if isinstance(cause, ray.exceptions.TaskCancelledError):
        return _Lost("somebody cancelled its task", where=flight.where)
    if isinstance(cause, OSError):
        hint = (
            ""
            if "to mend:" in str(cause)
            else f"to mend: set {bootstrap.CACHE_VARIABLE} where the node is started"
        )
        return _Lost(f"{cause}; {hint}" if hint else str(cause), unfit="node")
    return RuntimeError(f"on {flight.where}: {error}")


def _reason_of(error: BaseException) -> str:
    if isinstance(error, ray.exceptions.NodeDiedError):
        return "its node was lost"
    if isinstance(error, ray.exceptions.WorkerCrashedError):
        return "the process that ran it on its node was ended"
    first = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {first}"[:300]


def _dead_node(error: BaseException, flight: _RayFlight) -> str:
    return flight.node_id if isinstance(error, ray.exceptions.NodeDiedError) else ""


def _run_key(launch: Launch) -> tuple[str, str, int, str]:
    request = launch.request
    return request.suite_id, request.task_id, request.seed, request.system
