"""Reading bytes, text and JSON strictly: what is not exactly right is refused by name."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import stat
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import ScoreTableError
from .json_faults import fault_in

# The largest published table has 15 MB when unpacked; this is a guard against a bomb.
LARGEST_TABLE = 512 * 2**20


def read_bytes(path: Path) -> bytes:
    """The bytes of ``path``.

    Raises:
        ScoreTableError: there is no such file, it cannot be read, or it is larger than 512 MiB.
    """
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):
            # A pipe would be waited for, and a device has no end.
            what = "is a folder" if stat.S_ISDIR(about.st_mode) else "is no file"
            raise ScoreTableError(f"cannot be read: {what}", where=str(path))
        if about.st_size > LARGEST_TABLE:
            raise ScoreTableError(
                f"larger than {LARGEST_TABLE >> 20} MiB, not a score table", where=str(path)
            )
        return path.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a path"
        raise ScoreTableError(f"cannot be read: {reason}", where=ascii(str(path))[1:-1]) from None


def read_text(path: Path) -> tuple[str, str]:
    """The text of a file, gzipped or not, and the sha256 of its bytes.

    Raises:
        ScoreTableError: as :func:`read_bytes`, :func:`unpack_gzip` and :func:`decode_text`.
    """
    data = read_bytes(path)
    return decode_text(unpack_gzip(data, path), path), sha256_of_bytes(data)


def unpack_gzip(data: bytes, path: Path) -> bytes:
    """``data`` without gzip, which is told by its first two bytes and not by the file's name.

    Raises:
        ScoreTableError: truncated, damaged, or larger than 512 MiB when unpacked.
    """
    if data[:2] != b"\x1f\x8b":
        return data
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as packed:
            text = packed.read(LARGEST_TABLE + 1)
    except EOFError:
        raise ScoreTableError("the gzip file is cut off", where=str(path), hint="fetch it again") from None
    except (OSError, zlib.error) as error:
        raise ScoreTableError(
            f"the gzip file is damaged: {error}", where=str(path), hint="fetch it again"
        ) from None
    if len(text) > LARGEST_TABLE:
        raise ScoreTableError(f"unpacks to more than {LARGEST_TABLE >> 20} MiB", where=str(path))
    return text


def decode_text(data: bytes, path: Path) -> str:
    """``data`` as UTF-8 text, a byte-order mark dropped.

    Raises:
        ScoreTableError: not UTF-8.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ScoreTableError(f"not UTF-8: {error.reason} at byte {error.start}", where=str(path)) from None


def lines_of(text: str) -> Iterator[tuple[int, str]]:
    """The lines that are not blank, with their numbers from 1."""
    # Only these end a line: str.splitlines would also cut at characters that a JSON string may hold.
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), start=1):
        if line.strip():
            yield number, line


def parsed_json(text: str, path: Path, first_line: int = 1) -> Any:
    """``text``, which begins at a line of ``path``, as JSON without NaN, infinities and duplicate keys.

    Raises:
        ScoreTableError: anything else; names the line and the row.
    """
    try:
        return json.loads(text, parse_constant=_refuse_token, object_pairs_hook=_refuse_twice)
    except RecursionError:
        where = f"{path}:{first_line}"
        raise ScoreTableError("not a score table: JSON nested too deeply", where=where) from None
    except json.JSONDecodeError as error:
        fault = fault_in(text, error.pos)
        what = f"not JSON: {error.msg} (column {error.colno})"
    except ValueError:
        fault = fault_in(text, len(text))
        what = f"not JSON for scores: {fault.what}"
    line = first_line + text.count("\n", 0, fault.position)
    raise ScoreTableError(what, where=": ".join(filter(None, [f"{path}:{line}", fault.path])))


def parsed_row(text: str, path: Path, line: int) -> tuple[Any, dict[str, str]]:
    """A line as :func:`parsed_json` has it; of values that are no JSON for scores, key -> what is at fault.

    Raises:
        ScoreTableError: no JSON; names the line.
    """
    try:
        row = json.loads(
            text, parse_constant=_Fault.of, parse_int=_parse_integer, object_pairs_hook=_keep_faults
        )
    except (RecursionError, ValueError):
        row = None
    if not isinstance(row, dict):
        return parsed_json(text, path, line), {}
    return row, {key: value.what for key, value in row.items() if isinstance(value, _Fault)}


def sha256_of_bytes(data: bytes) -> str:
    """sha256 (hex) of ``data``."""
    return hashlib.sha256(data).hexdigest()


def _refuse_token(token: str) -> None:
    raise ValueError(token)


def _refuse_twice(members: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(members)
    if len(result) != len(members):
        raise ValueError(members)
    return result


@dataclass(frozen=True)
class _Fault:
    """What stands where no value can be taken."""

    what: str

    @classmethod
    def of(cls, token: str) -> _Fault:
        return cls(f"{token} is not a number")


def _parse_integer(digits: str) -> int | _Fault:
    try:
        return int(digits)
    except ValueError:
        return _Fault(f"a number of {len(digits)} digits")


def _keep_faults(members: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(members)
    if len(row) == len(members):
        return row
    twice = Counter(key for key, _ in members)
    return {
        key: value if twice[key] == 1 else _Fault(f"the key {key[:60]!a} stands twice in one object")
        for key, value in members
    }
