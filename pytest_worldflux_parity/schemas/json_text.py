"""Reading JSON: as far as Python reads it, or strictly."""

from __future__ import annotations

import json
import math
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..errors import ParityError

# A run document of 65 tasks with 20 seeds has 3 MB; this is a guard against something else.
LARGEST_FILE = 256 * 2**20


def loads(text: bytes) -> Any:
    """As :func:`json.loads`, but for a key that stands twice.

    Raises:
        KeyTwice: of an object, of which readers would believe one value or the other.
        ValueError, RecursionError: as there.
    """
    return json.loads(text, object_pairs_hook=_refuse_twice)


def read_json(path: Path, error: type[ParityError], *, hint: str = "") -> tuple[bytes, Any]:
    """The bytes of ``path`` and what they say.

    Args:
        error: the class that is raised. hint: what to do when the file cannot be read.

    Raises:
        ParityError: of class ``error``: it cannot be read, or see :func:`parse_json`.
    """
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise error(f"larger than {LARGEST_FILE >> 20} MiB", where=str(path))
        raw = path.read_bytes()
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or "not a path"
        raise error(f"cannot be read: {reason}", where=ascii(str(path))[1:-1], hint=hint) from None
    return raw, parse_json(raw, path, error)


def parse_json(raw: bytes, path: Path, error: type[ParityError]) -> Any:
    """What ``raw``, read from ``path``, says.

    Raises:
        ParityError: of class ``error``: not UTF-8, not JSON, a key twice, a number that is none or too
            large, half a surrogate pair, or nested without end.
    """
    try:
        document = json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=_refuse_twice,
            parse_constant=_refuse_constant_name,
            parse_float=_finite_number,
        )
        # Half a surrogate pair can be escaped in JSON, in no other way, and cannot be written into any file.
        if b"\\ud" in raw or b"\\uD" in raw:
            json.dumps(document, ensure_ascii=False).encode()
    except json.JSONDecodeError as problem:
        raise error(f"not JSON: {problem.msg}", where=f"{path}:{problem.lineno}") from None
    except _Refused as problem:
        raise error(str(problem), where=str(path)) from None
    except (ValueError, RecursionError) as problem:
        raise error(f"not JSON: {problem}", where=str(path)) from None
    return document


class _Refused(ValueError):
    """JSON by its grammar, and still nothing to be believed."""


class KeyTwice(_Refused):
    """An object has a key twice; the text names it."""


def _refuse_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise KeyTwice(f"key {twice!r} stands twice")
    return mapping


def _refuse_constant_name(text: str) -> float:
    raise _Refused(f"{text} is not a number")


def _finite_number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise _Refused(f"{text[:40]} is too large for a number")
    return value


def utc_now() -> str:
    """The time as documents state it: UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
