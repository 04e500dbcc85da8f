"""The contract between the plugin and a backend program: a request in, a record out.

A backend imports this module and nothing else of ours, so it uses the standard library only and
runs on any Python from 3.9 on. The plugin starts ``argv request.json``; the program writes into
``request.out_dir``: ``metrics.json`` (schema ``parity.v1``), ``progress.jsonl`` (heartbeats) and
whatever else it likes. Exit status 0 means that ``metrics.json`` is there and valid.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, Mapping, Optional, Tuple

REQUEST_SCHEMA = "worldflux.parity.request.v1"
RECORD_SCHEMA = "parity.v1"

# As in score tables: squares of such numbers still have a float, and no return or loss is larger.
LARGEST_NUMBER = 1e50
LARGEST_STEP = 2**63 - 1


class WireError(ValueError):
    """A request or a record that does not keep the contract; the text names the field."""


@dataclass(frozen=True)
class CurvePoint:
    """One evaluation: ``step`` in environment frames, ``value`` the mean episode return there."""

    step: int
    value: float


@dataclass(frozen=True)
class RunRequest:
    """What one run must do.

    Attributes:
        request_id: sha256 over everything that decides the result (see ``plan.request_id``).
        recipe: hyperparameters in the family's own names and units.
        eval_protocol: ``eval_interval`` (frames), ``eval_episodes``, ``eval_window`` (points), and
            ``windows``: name -> [first, last] update (1-based, inclusive) over which the program
            averages its training statistics.
        deadline_sec: seconds after which the plugin ends the process.
        threads: CPU threads that the program may use.
        source: where the program's source is (``checkout``, ``commit``), as far as the plugin knows.
    """

    request_id: str
    run_id: str
    suite_id: str
    family: str
    task_id: str
    seed: int
    system: str
    adapter: str
    device: str
    recipe: Dict[str, Any]
    eval_protocol: Dict[str, Any]
    out_dir: str
    deadline_sec: float
    threads: int = 1
    attempt: int = 1
    source: Dict[str, Any] = field(default_factory=dict)
    schema_version: str = REQUEST_SCHEMA


@dataclass(frozen=True)
class RunRecord:
    """What one run found.

    Attributes:
        curve: evaluations in order of ``step``.
        scalars: other metrics by name, e.g. ``reward_loss.late``.
        metadata: the *effective* recipe and protocol, versions, source (names in FORMATS: mode,
            env_backend, backend_kind, adapter_id, recipe_hash, model_id, model_profile,
            effective_recipe, policy_mode, policy_impl, train_budget, eval_protocol, ...).
    """

    request_id: str
    adapter: str
    task_id: str
    seed: int
    device: str
    curve: Tuple[CurvePoint, ...]
    scalars: Dict[str, float] = field(default_factory=dict)
    success: bool = True
    metadata: Dict[str, Any] = field(default_factory=dict)
    schema_version: str = RECORD_SCHEMA


def canonical_json(value: object) -> str:
    """Sorted, compact JSON without NaN: the text that hashes are taken of.

    Raises:
        WireError: ``value`` holds NaN, an infinity, or something that JSON has no form for, or is nested
            too deep.
    """
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise WireError(f"not representable as JSON: {error}") from None


def content_hash(value: object) -> str:
    """sha256 (hex) of the canonical JSON of ``value``."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def eval_protocol_hash(family: str, task_id: str, protocol: Mapping[str, Any]) -> str:
    """The documented hash: family, task_id, eval_interval, eval_episodes, eval_window."""
    keys = ("eval_interval", "eval_episodes", "eval_window")
    return content_hash({"family": family, "task_id": task_id, **{k: protocol.get(k) for k in keys}})


def tree_sha256(folder: Path, pattern: str = "**/*") -> str:
    """sha256 over the names and bytes of the files below ``folder``, caches left out."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob(pattern)):
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc":
            digest.update(path.relative_to(folder).as_posix().encode() + b"\0")
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def write_atomic(path: Path, text: str) -> None:
    """Write ``text`` so that a reader sees the old file or the new one, never a part.

    What UTF-8 has no form for (a lone surrogate, which JSON may hold) is written as its escape.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.partial")
    try:
        with open(partial, "w", encoding="utf-8", errors="backslashreplace") as handle:
            handle.write(text)
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(partial, path)
    finally:
        if partial.exists():
            partial.unlink()


def request_by_hand(
    options: Any, family: str, system: str, adapter: str, source: Optional[Dict[str, Any]] = None
) -> RunRequest:
    """The request that a backend's command line describes in place of ``request.json``.

    Args:
        options: has task, seed, device, threads and out, and the texts of ``set`` and ``window``.

    Raises:
        WireError: a setting or a window cannot be read.
    """
    return RunRequest(
        request_id="by-hand",
        run_id="by-hand",
        suite_id="by-hand",
        family=family,
        task_id=options.task,
        seed=options.seed,
        system=system,
        adapter=adapter,
        device=options.device,
        recipe=dict(map(setting, options.set)),
        eval_protocol={"windows": dict(map(_window, options.window))},
        out_dir=options.out,
        deadline_sec=0.0,
        threads=options.threads,
        source=source or {},
    )


def setting(text: str) -> Tuple[str, Any]:
    """``KEY=VALUE`` as (key, value); a value that is not JSON is text.

    Raises:
        WireError: there is no equals sign.
    """
    key, equals, value = text.partition("=")
    if not equals:
        raise WireError(f"--set {text}: wanted KEY=VALUE")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


def _window(text: str) -> Tuple[str, List[int]]:
    name, _, bounds = text.partition("=")
    try:
        first, last = (int(number) for number in bounds.split(":"))
    except ValueError:
        raise WireError(f"--window {text}: wanted NAME=FIRST:LAST, both whole numbers") from None
    return name, [first, last]


def request_to_json(request: RunRequest) -> str:
    """The text of ``request.json``."""
    return json.dumps(asdict(request), indent=2, sort_keys=True, allow_nan=False) + "\n"


def read_request(path: str) -> RunRequest:
    """Read ``request.json``.

    Raises:
        WireError: not JSON, another schema version, or a missing or unknown field.
    """
    data = load_object(Path(path))
    if data.get("schema_version") != REQUEST_SCHEMA:
        raise WireError(f"{path}: schema_version is {data.get('schema_version')!r}, not {REQUEST_SCHEMA!r}")
    try:
        return RunRequest(**data)
    except TypeError as error:
        raise WireError(f"{path}: {error}") from None


def record_to_dict(record: RunRecord) -> Dict[str, Any]:
    """The record in the form of ``metrics.json``."""
    return {
        "schema_version": record.schema_version,
        "request_id": record.request_id,
        "adapter": record.adapter,
        "task_id": record.task_id,
        "seed": record.seed,
        "device": record.device,
        "num_curve_points": len(record.curve),
        "curve": [{"step": p.step, "return": p.value} for p in record.curve],
        "scalars": dict(record.scalars),
        "success": record.success,
        "metadata": record.metadata,
    }


def record_from_dict(data: Mapping[str, Any], where: str = "metrics.json") -> RunRecord:
    """Check and read the form of ``metrics.json``.

    Raises:
        WireError: a field is missing, of the wrong type, or a number that is not finite or above
            ``LARGEST_NUMBER``; the text names it.
    """
    if data.get("schema_version") != RECORD_SCHEMA:
        raise WireError(f"{where}: schema_version is {data.get('schema_version')!r}, not {RECORD_SCHEMA!r}")
    scalars = _typed(data, "scalars", dict, where, default={})
    return RunRecord(
        request_id=_typed(data, "request_id", str, where, default=""),
        adapter=_typed(data, "adapter", str, where),
        task_id=_typed(data, "task_id", str, where),
        seed=_typed(data, "seed", int, where),
        device=_typed(data, "device", str, where),
        curve=_curve(_typed(data, "curve", list, where), where),
        scalars={str(k): _finite(v, f"scalars.{k}", where) for k, v in scalars.items()},
        success=_typed(data, "success", bool, where, default=True),
        metadata=_typed(data, "metadata", dict, where, default={}),
    )


def write_record(out_dir: str, record: RunRecord) -> None:
    """Write ``metrics.json`` into ``out_dir``, atomically.

    Raises:
        WireError: as :func:`record_from_dict`; nothing is written then.
    """
    data = record_to_dict(record)
    record_from_dict(data)
    canonical_json(data)
    write_atomic(Path(out_dir) / "metrics.json", json.dumps(data, indent=1, allow_nan=False) + "\n")


def read_record(path: Path) -> RunRecord:
    """Read ``metrics.json``.

    Raises:
        WireError: as :func:`record_from_dict`, or the file is not JSON, or repeats a key.
        FileNotFoundError: there is none.
    """
    return record_from_dict(load_object(path), str(path))


class Progress:
    """Heartbeats: one JSON line each in ``progress.jsonl``, at most one per ``every`` seconds."""

    def __init__(self, out_dir: str, total: int, every: float = 1.0) -> None:
        self._path = Path(out_dir) / "progress.jsonl"
        self._total = total
        self._every = every
        self._last = -math.inf

    def beat(self, step: int, force: bool = False, **numbers: float) -> None:
        """Record that ``step`` (frames) of ``total`` was reached, with any numbers beside it."""
        now = time.monotonic()
        if not force and now - self._last < self._every:
            return
        self._last = now
        line = {"time": time.time(), "step": step, "total": self._total}
        line.update({k: v for k, v in numbers.items() if math.isfinite(v)})
        with open(self._path, "a", encoding="utf-8") as handle:
            handle.write(json.dumps(line) + "\n")


class Windows:
    """Means of training statistics over named windows of updates (1-based, inclusive).

    A window that was not filled to its last update is left out, never averaged short.
    """

    def __init__(self, windows: Mapping[str, Iterable[int]]) -> None:
        self._bounds = {name: _bounds(name, pair) for name, pair in windows.items()}
        self._sums: Dict[str, Dict[str, float]] = {name: {} for name in self._bounds}

    def wants(self, update: int) -> bool:
        """Whether any window holds this update, so that others need not be read off the device."""
        return any(first <= update <= last for first, last in self._bounds.values())

    def add(self, update: int, numbers: Mapping[str, float]) -> None:
        """Add the statistics of one update."""
        for name, (first, last) in self._bounds.items():
            if first <= update <= last:
                sums = self._sums[name]
                sums["#"] = sums.get("#", 0) + 1
                for key, value in numbers.items():
                    sums[key] = sums.get(key, 0.0) + float(value)

    def means(self) -> Iterator[Tuple[str, float]]:
        """Pairs (``statistic.window``, mean) of the windows that are full."""
        for name, (first, last) in self._bounds.items():
            sums, wanted = self._sums[name], last - first + 1
            if sums.get("#") == wanted:
                yield from ((f"{k}.{name}", v / wanted) for k, v in sums.items() if k != "#")


def _bounds(name: str, pair: Iterable[int]) -> Tuple[int, int]:
    first, last = pair
    if not (isinstance(first, int) and isinstance(last, int) and 1 <= first <= last):
        raise WireError(f"windows.{name}: {[first, last]} is not [first, last] with 1 <= first <= last")
    return first, last


def load_object(path: Path) -> Dict[str, Any]:
    """The JSON object in a file.

    Raises:
        OSError: the file cannot be read.
        WireError: it holds no JSON object, NaN, or a key twice.
    """
    try:
        data = json.loads(
            path.read_text(encoding="utf-8"),
            parse_constant=_refuse_constant,
            object_pairs_hook=_without_repeats,
        )
    except WireError as error:
        raise WireError(f"{path}: {error}") from None
    # Not JSON, not UTF-8, or an integer of more digits than Python reads: each is a ValueError.
    except (ValueError, RecursionError) as error:
        raise WireError(f"{path}: not JSON: {error}") from None
    if not isinstance(data, dict):
        raise WireError(f"{path}: a JSON object is wanted, not {type(data).__name__}")
    return data


def _refuse_constant(token: str) -> None:
    raise WireError(f"{token} is not a number that JSON allows")


def _without_repeats(pairs: List[Tuple[str, Any]]) -> Dict[str, Any]:
    data: Dict[str, Any] = {}
    for key, value in pairs:
        if key in data:
            raise WireError(f"the key {key!r} stands twice in one object")
        data[key] = value
    return data


_REQUIRED: Any = object()


def _typed(data: Mapping[str, Any], key: str, kind: type, where: str, default: Any = _REQUIRED) -> Any:
    if key not in data:
        if default is _REQUIRED:
            raise WireError(f"{where}: {key} is missing")
        return default
    value = data[key]
    # bool is an int in Python, but true is not a seed.
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise WireError(f"{where}: {key} is {value!r}, not {kind.__name__}")
    return value


def _finite(value: Any, key: str, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise WireError(f"{where}: {key} is {value!r}, not a finite number")
    # Compared as it is: an integer may have no float, and NaN is not below anything.
    if not abs(value) <= LARGEST_NUMBER:
        shown = repr(value) if isinstance(value, float) else "an integer"
        raise WireError(f"{where}: {key} is {shown}, not a finite number of at most {LARGEST_NUMBER:g}")
    return float(value)


def _curve(points: List[Any], where: str) -> Tuple[CurvePoint, ...]:
    curve = []
    last: Optional[int] = None
    for i, point in enumerate(points):
        if not isinstance(point, dict):
            raise WireError(f"{where}: curve[{i}] is {point!r}, not an object")
        step = _typed(point, "step", int, f"{where}: curve[{i}]")
        if step < 0 or (last is not None and step <= last):
            raise WireError(f"{where}: curve[{i}].step is {step}, not above the one before")
        if step > LARGEST_STEP:
            raise WireError(f"{where}: curve[{i}].step is above {LARGEST_STEP}")
        curve.append(CurvePoint(step, _finite(point.get("return"), f"curve[{i}].return", where)))
        last = step
    return tuple(curve)
