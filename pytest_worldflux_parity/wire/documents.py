"""JSON of the contract, read strictly and written whole, and the hashes of it."""

from __future__ import annotations

import hashlib
import json
import math
import operator
import os
import threading
from pathlib import Path
from typing import (
    Any,
    Dict,
    Iterator,
    List,
    Mapping,
    Optional,
    Tuple,
)

# As in score tables: squares of such numbers still have a float, and no return or loss is larger.
LARGEST_NUMBER = 1e50
LARGEST_STEP = 2**63 - 1
# Bytes of a file that are read together.
_PIECE = 1 << 20


class WireError(ValueError):
    """A request or a record that does not keep the contract; the text names the field."""


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


# Folders that are no part of a program: its bytecode, and what git keeps of its history.
_NO_PART = frozenset(["__pycache__", ".git"])


def tree_files(folder: Path, pattern: str = "**/*") -> Dict[str, str]:
    """Path below ``folder`` -> sha256 (hex) of each file there, in order, without bytecode and ``.git``."""
    return {
        path.relative_to(folder).as_posix(): _sha256(path)
        for path in sorted({*folder.glob(pattern), *_walk_links(folder, pattern)})
        if path.is_file() and _NO_PART.isdisjoint(path.relative_to(folder).parts) and path.suffix != ".pyc"
    }


def _walk_links(folder: Path, pattern: str) -> Iterator[Path]:
    """What stands in linked folders below ``folder``, which ``glob`` passes over; each folder once."""
    seen = {folder.resolve()}
    for here, folders, _ in os.walk(str(folder), followlinks=True):
        for name in list(folders):
            path = Path(here, name)
            real = path.resolve()
            if real in seen:
                folders.remove(name)
            elif path.is_symlink():
                yield from path.glob(pattern)
            seen.add(real)


def tree_sha256(folder: Path, pattern: str = "**/*") -> str:
    """sha256 over the names and bytes of the files below ``folder``, as :func:`tree_files` has them."""
    return files_sha256(tree_files(folder, pattern))


def files_sha256(files: Mapping[str, str]) -> str:
    """sha256 over names and bytes of files: name -> sha256 of its bytes, in their order."""
    digest = hashlib.sha256()
    for name, sha256 in files.items():
        digest.update(name.encode() + b"\0")
        digest.update(bytes.fromhex(sha256))
    return digest.hexdigest()


def file_sha256(path: Path) -> Optional[str]:
    """sha256 of a file's bytes, None where there is no file that can be read."""
    try:
        return _sha256(path)
    # ValueError: a path out of an edited line may be none.
    except (OSError, ValueError):
        return None


def _sha256(path: Path) -> str:
    """sha256 of a file's bytes, which may be too many for memory."""
    digest = hashlib.sha256()
    with open(path, "rb") as handle:
        for piece in iter(lambda: handle.read(_PIECE), b""):
            digest.update(piece)
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
            text.decode("utf-8"), parse_constant=_refuse_constant, object_pairs_hook=_refuse_repeats
        )
    except WireError as error:
        raise WireError(f"{where}: {error}") from None
    except RecursionError:
        raise WireError(f"{where}: nested deeper than Python can follow") from None
    # Not JSON, not UTF-8, or an integer of more digits than Python reads: each is a ValueError.
    except ValueError as error:
        raise WireError(f"{where}: not JSON: {error}") from None
    if not isinstance(data, dict):
        raise WireError(f"{where}: a JSON object is wanted, not {type(data).__name__}")
    return data


def _refuse_constant(token: str) -> None:
    raise WireError(f"{token} is not a number that JSON allows")


def _refuse_repeats(pairs: List[Tuple[str, Any]]) -> Dict[str, Any]:
    data = dict(pairs)
    if len(data) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise WireError(f"the key {twice!r} stands twice in one object")
    return data


_REQUIRED: Any = object()
_PLAIN = (bool, int, float, str)


def to_number(value: Any) -> Any:
    """A scalar, or an array of one, of numpy, torch, jax or the like as a number of Python.

    Whatever else ``value`` is stays as it is, for who checks it to refuse; nothing is raised.
    """
    if value is None or type(value) in _PLAIN:
        return value
    try:
        found = value.item() if callable(getattr(value, "item", None)) else value
        if type(found) not in _PLAIN and hasattr(found, "__index__"):
            return operator.index(found)
        return float(found) if type(found) not in _PLAIN and hasattr(found, "__float__") else found
    # An array of several numbers, or of none; of a device that failed, whatever its library raises.
    except Exception:
        return value


def to_plain(value: Any) -> Any:
    """A value in the types that JSON has.

    Mappings, lists and arrays are gone into; scalars are as :func:`to_number` has them. NaN, infinities and
    what else JSON has no form for become their text: what a program tells of itself must not cost its run.

    Raises:
        WireError: two keys of a mapping have one text. RecursionError: it is nested too deep.
    """
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, Mapping):
        return _to_plain_keys(value)
    if isinstance(value, (list, tuple)):
        return [to_plain(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted((to_plain(item) for item in value), key=canonical_json)
    found = to_number(value)
    if found is value and callable(getattr(value, "tolist", None)):
        return to_plain(value.tolist())
    if found is None or (type(found) in _PLAIN and not (type(found) is float and not math.isfinite(found))):
        return found
    return one_line(str(found))


def _to_plain_keys(value: Mapping[Any, Any]) -> Dict[str, Any]:
    found = {str(to_plain(key)): to_plain(item) for key, item in value.items()}
    if len(found) < len(value):
        raise WireError(f"two keys have one text, of {one_line(str(list(value)))}")
    return found


def one_line(text: str, most: int = 200) -> str:
    """A text of whoever, as a message can hold it: one line of at most ``most`` characters."""
    line = " ".join(text[: 10 * most].split())
    return line if len(line) <= most else f"{line[: most - 3]}..."


def read_field(data: Mapping[str, Any], key: str, kind: type, where: str, default: Any = _REQUIRED) -> Any:
    if key not in data:
        if default is _REQUIRED:
            raise WireError(f"{where}: {key} is missing")
        return default
    value = data[key]
    # bool is an int in Python, but true is not a seed.
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise WireError(f"{where}: {key} is {one_line(repr(value))}, not {kind.__name__}")
    return value


def read_finite(value: Any, key: str, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise WireError(f"{where}: {key} is {one_line(repr(value))}, not a finite number")
    # Compared as it is: an integer may have no float, and NaN is not below anything.
    if not abs(value) <= LARGEST_NUMBER:
        shown = repr(value) if isinstance(value, float) else "an integer"
        raise WireError(f"{where}: {key} is {shown}, not a finite number of at most {LARGEST_NUMBER:g}")
    return float(value)


NUMBERS = (int, float)
