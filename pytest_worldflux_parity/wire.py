"""The contract between the plugin and a backend program: a request in, a record out.

A backend imports this module and nothing else of ours, so it uses the standard library only and
runs on any Python from 3.9 on. The plugin starts ``argv request.json``; the program writes into
``request.out_dir``: ``metrics.json`` (schema ``parity.v1``), ``progress.jsonl`` (heartbeats) and
whatever else it likes. Exit status 0 means that ``metrics.json`` is there and valid.

A program whose components are compared with a golden folder is started as ``argv match_request.json`` and
leaves ``outputs.npz``, ``perturbed.npz`` and ``match.json``: the part at the end. numpy, which such a
program has, is imported there by the functions that need it.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import operator
import os
import sys
import threading
import time
import traceback
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import (
    Any,
    Callable,
    Dict,
    Iterable,
    Iterator,
    List,
    Mapping,
    NamedTuple,
    NoReturn,
    Optional,
    Sequence,
    Tuple,
    Type,
)

REQUEST_SCHEMA = "worldflux.parity.request.v1"
RECORD_SCHEMA = "parity.v1"
MATCH_REQUEST_SCHEMA = "worldflux.parity.match_request.v1"
MATCH_SCHEMA = "worldflux.parity.match.v1"
GOLDEN_SCHEMA = "worldflux.parity.golden.v1"

# As in score tables: squares of such numbers still have a float, and no return or loss is larger.
LARGEST_NUMBER = 1e50
LARGEST_STEP = 2**63 - 1


class WireError(ValueError):
    """A request or a record that does not keep the contract; the text names the field."""


class CurvePoint(NamedTuple):
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


def file_sha256(path: Path) -> Optional[str]:
    """sha256 of a file's bytes, None where there is no file that can be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    # ValueError: a path out of an edited line may be none.
    except (OSError, ValueError):
        return None


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
    return request_from_dict(load_object(Path(path)), path)


def request_from_dict(data: Mapping[str, Any], path: str = "request.json") -> RunRequest:
    """The request in an object.

    Raises:
        WireError: another schema version, or a missing or unknown field.
    """
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
    return object_in(path.read_bytes(), str(path))


def object_in(text: bytes, where: str) -> Dict[str, Any]:
    """The JSON object in a text.

    Raises:
        WireError: as :func:`load_object`; ``where`` names the text.
    """
    try:
        data = json.loads(
            text.decode("utf-8"), parse_constant=_refuse_constant, object_pairs_hook=_without_repeats
        )
    except WireError as error:
        raise WireError(f"{where}: {error}") from None
    # Not JSON, not UTF-8, or an integer of more digits than Python reads: each is a ValueError.
    except (ValueError, RecursionError) as error:
        raise WireError(f"{where}: not JSON: {error}") from None
    if not isinstance(data, dict):
        raise WireError(f"{where}: a JSON object is wanted, not {type(data).__name__}")
    return data


def kept(out_dir: Path, kind: str, adapter: str) -> Path:
    """The first file of this ``kind`` that a run of ``adapter`` left in its ``out_dir``.

    Its record names it in ``metadata.artifact_manifest``: kind -> [{path, sha256, ...}].

    Raises:
        WireError: there is no record of such a run, or the file is not the one that it left.
    """
    path = out_dir / "metrics.json"
    try:
        record = load_object(path)
        entry = record["metadata"]["artifact_manifest"][kind][0]
        file = out_dir / Path(entry["path"])
        sha256, stated = entry["sha256"], record["adapter"]
    except OSError as error:
        raise WireError(f"{path}: {error.strerror}; wanted: the out_dir of a finished run") from None
    except (WireError, KeyError, IndexError, TypeError):
        raise WireError(f"{path}: not the record of a run that names its {kind}") from None
    if stated != adapter:
        raise WireError(f"{path}: of a run of {stated!r}; wanted one of {adapter}")
    if not file.is_file():
        raise WireError(f"{file}: no such file, and {path} names it; to mend: run the official program again")
    if hashlib.sha256(file.read_bytes()).hexdigest() != sha256:
        raise WireError(f"{file}: changed since the run: its sha256 is not the one in {path}")
    return file


def _refuse_constant(token: str) -> None:
    raise WireError(f"{token} is not a number that JSON allows")


def _without_repeats(pairs: List[Tuple[str, Any]]) -> Dict[str, Any]:
    data = dict(pairs)
    if len(data) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise WireError(f"the key {twice!r} stands twice in one object")
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


_POINT = {"step", "return"}
_NUMBERS = (int, float)


def _curve(points: List[Any], where: str) -> Tuple[CurvePoint, ...]:
    return _plain_curve(points) or _curve_point_by_point(points, where)


def _plain_curve(points: List[Any]) -> Tuple[CurvePoint, ...]:
    """The curve of points that are as they should be; empty where one is odd.

    A proof reads hundreds of thousands of points: they are looked at together.
    """
    try:
        steps = [point["step"] for point in points]
        values = [point["return"] for point in points]
        regular = (
            set(map(type, points)) == {dict}
            and set(map(type, steps)) == {int}
            and set(map(type, values)) <= {int, float}
            and all(map(operator.lt, [-1, *steps], steps))
            and steps[-1] <= LARGEST_STEP
            and all(map(LARGEST_NUMBER.__ge__, map(abs, values)))
        )
    except (TypeError, LookupError):
        return ()
    return tuple(map(CurvePoint, steps, map(float, values))) if regular else ()


def _curve_point_by_point(points: List[Any], where: str) -> Tuple[CurvePoint, ...]:
    curve: List[CurvePoint] = []
    last = -1
    for i, point in enumerate(points):
        plain = type(point) is dict and point.keys() >= _POINT
        step: Any = point["step"] if plain else None
        value: Any = point["return"] if plain else None
        if not (
            type(step) is int
            and last < step <= LARGEST_STEP
            and type(value) in _NUMBERS
            and abs(value) <= LARGEST_NUMBER
        ):
            _refuse_point(point, last, i, where)
        last = step
        curve.append(CurvePoint(step, float(value)))
    return tuple(curve)


def _refuse_point(point: Any, last: int, i: int, where: str) -> NoReturn:
    if not isinstance(point, dict):
        raise WireError(f"{where}: curve[{i}] is {point!r}, not an object")
    step = _typed(point, "step", int, f"{where}: curve[{i}]")
    if step <= last:
        raise WireError(f"{where}: curve[{i}].step is {step}, not above the one before")
    if step > LARGEST_STEP:
        raise WireError(f"{where}: curve[{i}].step is above {LARGEST_STEP}")
    _finite(point.get("return"), f"curve[{i}].return", where)
    raise WireError(f"{where}: curve[{i}] is {point!r}, no plain JSON")


# --- component match ---


class MatchError(WireError):
    """A match request or a golden folder that a match program cannot use; the text is one line."""


@dataclass(frozen=True)
class Golden:
    """A golden folder as a match program is given it.

    Attributes:
        arrays: key -> numpy array: ``weights/...`` and ``inputs/...``. What the official program computed
            from them, the plugin keeps to itself.
        mend: the command that records such a folder.
    """

    folder: Path
    manifest: Mapping[str, Any]
    arrays: Mapping[str, Any]
    mend: str

    @property
    def config(self) -> Mapping[str, Any]:
        """The recipe and the dimensions that it was recorded in."""
        config: Mapping[str, Any] = self.manifest["config"]
        return config

    @property
    def components(self) -> Dict[str, List[str]]:
        """Names of the outputs of each component."""
        return {row["name"]: row["outputs"] for row in self.manifest["components"]}

    def below(self, prefix: str) -> Dict[str, Any]:
        """The arrays whose key begins with ``prefix``, by the rest of their key."""
        return {k[len(prefix) :]: v for k, v in self.arrays.items() if k.startswith(prefix)}

    def get(self, key: str) -> Any:
        """One array.

        Raises:
            MatchError: there is none.
        """
        if key not in self.arrays:
            raise MatchError(f"{self.folder / 'arrays.npz'}: {key} is missing; to mend: {self.mend}")
        return self.arrays[key]

    def check_config(self, form: Any) -> None:
        """Make sure that ``config`` has a form, as :func:`check_form` says.

        Raises:
            MatchError: it has not; the text names the key.
        """
        check_form(self.config, form, f"{self.folder / 'manifest.json'}: config")


def check_form(value: Any, form: Any, where: str) -> None:
    """Make sure that a JSON value has a form.

    Args:
        form: a dict: an object with at least these keys, each of its form (the key ``*``: every key); a
            list of one form: a list of such; ``int``: a whole number from 0 to 2**31; ``float``: any
            number; ``str``; ``bool``.

    Raises:
        MatchError: it has not; the text names the place.
    """
    if isinstance(form, dict):
        _check_kind(value, dict, "an object", where)
        for key, wanted in form.items():
            if key != "*" and key not in value:
                raise MatchError(f"{where}.{key} is missing")
            for name in value if key == "*" else (key,):
                check_form(value[name], wanted, f"{where}.{name}")
    elif isinstance(form, list):
        _check_kind(value, list, "a list", where)
        for i, item in enumerate(value):
            check_form(item, form[0], f"{where}[{i}]")
    elif form is int:
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 2**31:
            raise MatchError(f"{where} is {value!r:.60}, not a whole number from 0 to 2**31")
    elif form is float:
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            raise MatchError(f"{where} is {value!r:.60}, not a number")
    else:
        _check_kind(value, form, form.__name__, where)


def _check_kind(value: Any, kind: type, name: str, where: str) -> None:
    if not isinstance(value, kind):
        raise MatchError(f"{where} is {value!r:.60}, not {name}")


def match_main(
    program: str,
    run: Callable[[Dict[str, Any]], None],
    refusals: Tuple[Type[Exception], ...],
    argv: Optional[Sequence[str]] = None,
) -> int:
    """A match program: read ``match_request.json``, run, say what is wrong in one line; the exit status.

    Args:
        program: ``python -m <program> match_request.json`` starts it.
        run: computes and writes everything.
        refusals: the errors whose text is for the user; of any other, the place is told, too.
    """
    arguments = sys.argv[1:] if argv is None else list(argv)
    if len(arguments) != 1:
        print(f"usage: python -m {program} match_request.json", file=sys.stderr)
        return 2
    try:
        run(read_match_request(Path(arguments[0])))
    except Exception as error:
        text = str(error) if isinstance(error, (WireError, OSError, *refusals)) else _unforeseen(error)
        print(f"{program.partition('.')[2]}: {' '.join(text.split())}", file=sys.stderr)
        return 1
    return 0


def _unforeseen(error: Exception) -> str:
    """What numpy, torch and jax say of arrays and numbers that do not fit together, and where."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if "site-packages" not in f.filename] or frames
    place = f"{Path(own[-1].filename).name}:{own[-1].lineno}" if own else "nowhere"
    text = " ".join(str(error).split())[:300]
    return (
        f"the golden folder's config and arrays do not fit together, or not into memory: "
        f"{type(error).__name__}: {text} ({place})"
    )


def read_match_request(path: Path) -> Dict[str, Any]:
    """Read ``match_request.json``.

    Raises:
        OSError: it cannot be read.
        MatchError: it is no request, or one for a device that a match is not defined on.
    """
    request = _match_object(path)
    if request.get("schema_version") != MATCH_REQUEST_SCHEMA:
        said = request.get("schema_version")
        raise MatchError(f"{path}: schema_version is {said!r}, not {MATCH_REQUEST_SCHEMA!r}")
    for key in ("golden", "out_dir"):
        if not isinstance(request.get(key), str):
            raise MatchError(f"{path}: {key} is {request.get(key)!r}, not a folder's name")
    if request.get("device", "cpu") != "cpu":
        raise MatchError(f"{path}: device is {request['device']!r}; valid: cpu (tolerances are a CPU's)")
    threads = request.setdefault("threads", 1)
    if not isinstance(threads, int) or isinstance(threads, bool) or threads < 1:
        raise MatchError(f"{path}: threads is {threads!r}; valid: 1 or more")
    return request


def _match_object(path: Path) -> Dict[str, Any]:
    try:
        return load_object(path)
    except WireError as error:
        raise MatchError(str(error)) from None


def read_golden(folder: Path, family: str, mend: str) -> Golden:
    """A golden folder, checked against its manifest.

    Args:
        mend: the command that records one.

    Raises:
        OSError: a file cannot be read.
        MatchError: a file is missing or is not what the manifest says; pickles are never loaded.
    """
    path, archive = folder / "manifest.json", folder / "arrays.npz"
    for file in (path, archive):
        if not file.is_file():
            raise MatchError(f"{file}: no such file; to mend: {mend}")
    manifest = _match_object(path)
    for key, value in {"schema_version": GOLDEN_SCHEMA, "family": family}.items():
        if manifest.get(key) != value:
            raise MatchError(f"{path}: {key} is {manifest.get(key)!r}, not {value!r}")
    form = {"config": {}, "parameters": {"*": [int]}, "components": [{"name": str, "outputs": [str]}]}
    check_form(manifest, form, str(path))
    content, said = archive.read_bytes(), str(manifest.get("arrays_sha256"))
    found = hashlib.sha256(content).hexdigest()
    if found != said:
        raise MatchError(
            f"{archive}: its sha256 is {found[:12]}..., the manifest's {said[:12]}...; to mend: {mend}"
        )
    return Golden(folder, manifest, _arrays(content, archive, mend), mend)


def _arrays(content: bytes, archive: Path, mend: str) -> Dict[str, Any]:
    import numpy as np

    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return {key: arrays[key] for key in arrays.files}
    except Exception as error:  # numpy and zipfile have many
        raise MatchError(f"{archive}: cannot be read: {error}; to mend: {mend}") from None


def write_match(
    out_dir: Path,
    outputs: Mapping[str, Mapping[str, Any]],
    perturbed: Mapping[str, Mapping[str, Mapping[str, Any]]],
    **described: Any,
) -> None:
    """Write what a match program computed; ``match.json`` last, which says that all is there.

    Args:
        outputs: component -> output -> array.
        perturbed: perturbation -> component -> output -> array.
        described: ``mapping``, ``parameters``, ``perturbations``, ``packages`` and ``source`` of match.json.

    Raises:
        OSError: the folder cannot be written.
    """
    _save(out_dir / "outputs.npz", _keyed(outputs))
    below = {name: _keyed(components) for name, components in perturbed.items()}
    _save(
        out_dir / "perturbed.npz",
        {f"{name}/{k}": v for name, arrays in below.items() for k, v in arrays.items()},
    )
    document = {"schema_version": MATCH_SCHEMA, **described}
    write_atomic(out_dir / "match.json", json.dumps(document, indent=1, allow_nan=False) + "\n")


def _keyed(outputs: Mapping[str, Mapping[str, Any]]) -> Dict[str, Any]:
    return {f"{component}/{name}": v for component, found in outputs.items() for name, v in found.items()}


def _save(path: Path, arrays: Mapping[str, Any]) -> None:
    import numpy as np

    with open(path, "wb") as handle:
        plain: Dict[str, Any] = {key: np.asarray(value) for key, value in arrays.items()}
        np.savez(handle, **plain)
