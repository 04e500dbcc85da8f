"""Reading JSON: fast, or strictly, where what is not exactly JSON with finite numbers is refused."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from ..errors import ParityError

_DIGITS = bytes(ord("0") if chr(byte) in "0123456789" else ord(" ") for byte in range(256))
_ESCAPED = re.compile(rb"\\.", re.DOTALL)
_NO_QUOTES = bytes(byte for byte in range(256) if chr(byte) != '"')
# The least number below what 64 bits hold has as many.
_LONG = b"0" * 19
# A run document of 65 tasks with 20 seeds has 3 MB; this is a guard against something else.
LARGEST_FILE = 256 * 2**20


def loads(text: bytes) -> Any:
    """As :func:`json.loads`, several times as fast, but for a key that stands twice.

    Raises:
        KeyTwice: of an object, of which readers would believe one value or the other.
        ValueError, RecursionError: as there.
    """
    value = _read(text)
    if _lost_texts(text, value):
        return json.loads(text, object_pairs_hook=_unique)
    return value


def _read(text: bytes) -> Any:
    if not _holds_long_number(text):
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError:
            pass
    # NaN, half a surrogate pair, other encodings and more than 64 bits are read by the one alone.
    return json.loads(text)


def _lost_texts(text: bytes, value: Any) -> bool:
    """Whether a value may have fewer texts than it was read from: of a key that stands twice one is lost."""
    try:
        again = orjson.dumps(value)
    # It writes less deep nesting than it reads, and no numbers of more than 64 bits.
    except TypeError:
        return True
    return _quotes(text) != _quotes(again)


def _quotes(text: bytes) -> int:
    """How many quotation marks begin or end a text."""
    # As pieces between what is escaped they are found several times as fast as by replacing it.
    if b"\\" in text:
        text = b"".join(_ESCAPED.split(text))
    # Where they stand thick this is ten times as fast as to count them.
    return len(text.translate(None, _NO_QUOTES))


class Unclear(ValueError):
    """A text that may be JSON all the same, for all that the fast way can tell."""


def plain(text: bytes) -> Any:
    """What a text says that is JSON with finite numbers of 64 bits, no escapes and no key twice.

    Raises:
        Unclear: it may not be so.
    """
    said = _said(text)
    _refuse_repeats(text, _written(said))
    return said


def is_plainly(text: bytes, value: Any) -> bool:
    """Whether a text is, as :func:`plain` reads it, a value to the last type: 1, 1.0 and true are three.

    Raises:
        Unclear: it may be so, or not.
    """
    said = _said(text)
    again = _written(said)
    _refuse_repeats(text, again)
    # NaN is written as null.
    return again == _written(value) and bool(said == value)


def _said(text: bytes) -> Any:
    # Without escapes only the ends of texts are quotation marks.
    if b"\\" in text or _holds_long_number(text):
        raise Unclear
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        raise Unclear from None


def _written(value: Any) -> bytes:
    try:
        text: bytes = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    # It writes less deep nesting than it reads, and nothing that UTF-8 has no form for.
    except TypeError:
        raise Unclear from None
    return text


def _refuse_repeats(text: bytes, again: bytes) -> None:
    # Of a key that stands twice one is lost in reading.
    if text.count(b'"') != again.count(b'"'):
        raise Unclear


def _holds_long_number(text: bytes) -> bool:
    """Whether digits follow each other that may be more than 64 bits, of which orjson makes a float."""
    return _LONG in text.translate(_DIGITS)


def indented(document: Any) -> str:
    """As :func:`json.dumps` with an indent, which is written in Python and slow.

    Raises:
        ValueError: it holds NaN or an infinity.
    """
    # Of these the fast one makes null.
    json.dumps(document, allow_nan=False)
    try:
        text: bytes = orjson.dumps(document, option=orjson.OPT_INDENT_2)
        return text.decode()
    except TypeError:
        # A number of numpy, or one beyond 64 bits.
        return json.dumps(document, indent=2)


def read_json(path: Path, error: type[ParityError], *, mend: str = "") -> tuple[bytes, Any]:
    """The bytes of ``path`` and what they say.

    Args:
        error: the class that is raised. mend: what to do when the file cannot be read.

    Raises:
        ParityError: of class ``error``: it cannot be read, or see :func:`parse_json`.
    """
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise error(f"larger than {LARGEST_FILE >> 20} MiB", where=str(path))
        raw = path.read_bytes()
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or "not a path"
        raise error(f"cannot be read: {reason}", where=ascii(str(path))[1:-1], mend=mend) from None
    return raw, parse_json(raw, path, error)


def parse_json(raw: bytes, path: Path, error: type[ParityError]) -> Any:
    """What ``raw``, read from ``path``, says.

    Raises:
        ParityError: of class ``error``: not UTF-8, not JSON, a key twice, a number that is none or too
            large, half a surrogate pair, or nested without end.
    """
    with suppress(Unclear):
        return plain(raw)
    try:
        document = json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_not_a_number,
            parse_float=_finite,
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


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise KeyTwice(f"key {twice!r} stands twice")
    return mapping


def _not_a_number(text: str) -> float:
    raise _Refused(f"{text} is not a number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise _Refused(f"{text[:40]} is too large for a number")
    return value


def utc_now() -> str:
    """The time as documents state it: UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
