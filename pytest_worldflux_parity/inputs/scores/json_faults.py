"""Where in a JSON text something stands that is no score: the parser says that, and not on which line."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s"{}\[\],:]+', re.DOTALL)
_JSON_CONSTANTS = ("NaN", "Infinity", "-Infinity")
# As the parser has it (sys.get_int_max_str_digits).
_MOST_DIGITS = 4300


@dataclass(frozen=True)
class Fault:
    """What stands there, the row and field (``scores[3].seed``), and where in the text, in characters."""

    what: str
    path: str
    position: int


@dataclass
class _Open:
    """An object or list that is not closed yet: what its next value stands at, and the keys so far."""

    is_object: bool
    at: str | int | None
    keys: set[str] = field(default_factory=set)


def fault_in(text: str, end: int) -> Fault:
    """The first fault before the character ``end``, or else what stands at ``end``."""
    inside: list[_Open] = []
    for match in _TOKEN.finditer(text):
        token = match.group()
        if match.end() > end:
            break
        what = _explain_token(token, inside)
        if what:
            return Fault(what, _write_path(inside), match.start())
        _step_over(token, inside)
    return Fault("", _write_path(inside), end)


def line_of_row(text: str, row: int) -> int:
    """The line, from 1, on which a row begins: of a list, or of the list at ``scores``, without fault."""
    inside: list[_Open] = []
    for match in _TOKEN.finditer(text):
        if inside and not inside[-1].is_object and inside[-1].at == row:
            above = [opened.at for opened in inside[:-1]]
            if above in ([], ["scores"]):
                return text.count("\n", 0, match.start()) + 1
        _step_over(match.group(), inside)
    raise IndexError(row)


def _explain_token(token: str, inside: list[_Open]) -> str:
    """How a token is at fault; empty where it is not."""
    if token in _JSON_CONSTANTS:
        return f"{token} is not a number"
    if len(token) > _MOST_DIGITS and token.removeprefix("-").isdecimal():
        return f"a number of {len(token)} digits"
    if token[0] == '"' and _takes_key(inside) and (key := _decode_token(token)) in inside[-1].keys:
        return f"the key {key[:60]!a} stands twice in one object"
    return ""


def _step_over(token: str, inside: list[_Open]) -> None:
    if token in ("{", "["):
        inside.append(_Open(token == "{", None if token == "{" else 0))
    elif token in ("}", "]"):
        inside[-1:] = []
    elif token == "," and inside:
        at = inside[-1].at
        inside[-1].at = at + 1 if isinstance(at, int) else None
    elif token[0] == '"' and _takes_key(inside):
        inside[-1].at = _decode_token(token)
        inside[-1].keys.add(_decode_token(token))


def _takes_key(inside: list[_Open]) -> bool:
    return bool(inside) and inside[-1].is_object and inside[-1].at is None


def _decode_token(token: str) -> str:
    return str(json.loads(token, strict=False))


def _write_path(inside: list[_Open]) -> str:
    steps = (f"[{o.at}]" if isinstance(o.at, int) else f".{o.at[:60]}" for o in inside if o.at is not None)
    return "".join(steps).removeprefix(".")
