"""What a program answers: ``metrics.json``."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import (
    Any,
    Dict,
    Iterable,
    List,
    Mapping,
    NamedTuple,
    NoReturn,
    Tuple,
)

from .documents import (
    LARGEST_NUMBER,
    LARGEST_STEP,
    NUMBERS,
    WireError,
    canonical_json,
    file_sha256,
    load_object,
    one_line,
    read_field,
    read_finite,
    to_number,
    to_plain,
    write_atomic,
)

RECORD_SCHEMA = "parity.v1"


class CurvePoint(NamedTuple):
    """One evaluation: ``step`` in environment frames, ``value`` the mean episode return there."""

    step: int
    value: float


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


def curve_of_episodes(episodes: Iterable[Tuple[int, float]]) -> Tuple[CurvePoint, ...]:
    """Scores of training episodes by the frame of their end; the mean where several end at one."""
    scores: Dict[int, List[float]] = {}
    for step, score in episodes:
        scores.setdefault(step, []).append(score)
    return tuple(CurvePoint(step, sum(own) / len(own)) for step, own in sorted(scores.items()))


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
    scalars = read_field(data, "scalars", dict, where, default={})
    return RunRecord(
        request_id=read_field(data, "request_id", str, where, default=""),
        adapter=read_field(data, "adapter", str, where),
        task_id=read_field(data, "task_id", str, where),
        seed=read_field(data, "seed", int, where),
        device=read_field(data, "device", str, where),
        curve=_read_curve(read_field(data, "curve", list, where), where),
        scalars={str(k): read_finite(v, f"scalars.{k}", where) for k, v in scalars.items()},
        success=read_field(data, "success", bool, where, default=True),
        metadata=read_field(data, "metadata", dict, where, default={}),
    )


def write_record(out_dir: str, record: RunRecord) -> None:
    """Write ``metrics.json`` into ``out_dir``, atomically.

    Scalars of numpy, torch and jax are numbers, and what JSON has no form for in ``metadata`` is its text.

    Raises:
        WireError: as :func:`record_from_dict`; nothing is written then.
    """
    data = record_to_dict(_to_plain_record(record))
    record_from_dict(data)
    canonical_json(data)
    write_atomic(Path(out_dir) / "metrics.json", json.dumps(data, indent=1, allow_nan=False) + "\n")


def _to_plain_record(record: RunRecord) -> RunRecord:
    try:
        curve = tuple(CurvePoint(to_number(step), to_number(value)) for step, value in record.curve)
        scalars = {key: to_number(value) for key, value in record.scalars.items()}
    except (AttributeError, TypeError, ValueError):
        shown = f"curve {one_line(repr(record.curve))}, scalars {one_line(repr(record.scalars))}"
        raise WireError(f"wanted pairs of step and return, and numbers by name, not {shown}") from None
    seed, success = to_number(record.seed), to_number(record.success)
    try:
        metadata = to_plain(record.metadata)
    except RecursionError:
        raise WireError("metadata is nested too deep") from None
    return replace(record, seed=seed, curve=curve, scalars=scalars, success=success, metadata=metadata)


def read_record(path: Path) -> RunRecord:
    """Read ``metrics.json``.

    Raises:
        WireError: as :func:`record_from_dict`, or the file is not JSON, or repeats a key.
        FileNotFoundError: there is none.
    """
    return record_from_dict(load_object(path), str(path))


def find_artifact(out_dir: Path, kind: str, adapter: str) -> Path:
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
    if file_sha256(file) != sha256:
        raise WireError(f"{file}: changed since the run: its sha256 is not the one in {path}")
    return file


_POINT = {"step", "return"}


def _read_curve(points: List[Any], where: str) -> Tuple[CurvePoint, ...]:
    """The curve that a program wrote. A proof reads hundreds of thousands of points."""
    curve: List[CurvePoint] = []
    last = -1
    for i, point in enumerate(points):
        regular = type(point) is dict and point.keys() >= _POINT
        step: Any = _to_whole(point["step"]) if regular else None
        value: Any = point["return"] if regular else None
        if not (
            type(step) is int
            and last < step <= LARGEST_STEP
            and type(value) in NUMBERS
            and abs(value) <= LARGEST_NUMBER
        ):
            _refuse_point(point, last, i, where)
        last = step
        curve.append(CurvePoint(step, float(value)))
    return tuple(curve)


def _to_whole(step: Any) -> Any:
    """A step that is written as 1000.0, as the earlier system writes some, is 1000."""
    return int(step) if type(step) is float and step.is_integer() else step


def _refuse_point(point: Any, last: int, i: int, where: str) -> NoReturn:
    if not isinstance(point, dict):
        raise WireError(f"{where}: curve[{i}] is {one_line(repr(point))}, not an object")
    step = read_field({**point, "step": _to_whole(point.get("step"))}, "step", int, f"{where}: curve[{i}]")
    if step <= last:
        raise WireError(f"{where}: curve[{i}].step is {step}, not above the one before")
    if step > LARGEST_STEP:
        raise WireError(f"{where}: curve[{i}].step is above {LARGEST_STEP}")
    read_finite(point.get("return"), f"curve[{i}].return", where)
    raise WireError(f"{where}: curve[{i}] is {one_line(repr(point))}, no plain JSON")
