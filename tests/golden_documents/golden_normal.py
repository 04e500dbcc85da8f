"""What of a document is held: all but what differs with the day, the machine, the user and the dependencies.

Everything is text here. Places, times, durations and versions get a word in their stead; a hash that differs
from run to run gets a name, equal hashes the same one. Numbers stay, and are compared as numbers.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import math
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d)")
# Keys whose values are those of a machine, a moment or a dependency.
_KEYS = (
    "cuda", "duration_sec", "numpy", "pid", "platform", "pytest", "python", "python_impl", "scipy", "sig",
    "time", "torch",
)  # fmt: skip
# With a backslash before each quotation mark: within JSON that is a text of JSON.
_VALUE = re.compile(rf'((\\?")({"|".join(_KEYS)})\\?":\s*)(\\?"[^"\\]*\\?"|[-+.\w]+)')
# What is installed beside a program.
_PACKAGES = re.compile(r'(\\?"packages\\?":\s*)\{[^{}]*\}(?=,\s*\\?"(?:sha256|projects))')
# What a parser says is its own: of libyaml, of json, and of Python where a program raised.
_PARSERS = re.compile(r'(not (?:YAML|JSON|representable as JSON): )[^;\n"]*?(?= \(and |\\n|\\"|[;\n"]|$)')
_LINE = re.compile(r"(?<=, )line \d+(?=, in )")
_PREFIX = re.compile(r"^ERROR: ", re.MULTILINE)
_MARKERS = re.compile(r"^[| ]*[~^]+[~^ ]*\n", re.MULTILINE)
_RUNNER = re.compile(r"(pytest-worldflux-parity) \d+(?:\.\w+)+")
_FREE = re.compile(r"\d+(?:\.\d+)? [KMGT]iB free")
# Which of its names an environment's interpreter was started by.
_INTERPRETER = re.compile(r"(?<=/bin/)python3?(?:\.\d+)?\b")
# Of the claim card.
_MACHINE = re.compile(r"(?<=<time>, )(cpu|cuda), [^,\n]+(?=, project)")
_STYLE = re.compile(r"(?<=<style>).*?(?=</style>)", re.DOTALL)

# What decides a result, and nothing of the machine: these hashes are held as they are.
_LASTING = re.compile(
    r'"(?:official\.|worldflux\.)?'
    r"(?:request_id|recipe_hash|recipe_hashes|eval_protocol_hash|backend_tree_sha256|tree_sha256"
    r'|artifact_manifest)":\s*(?:"([0-9a-f]{64})"|\[([^\]]*)\]|\{([^}]*)\})'
)
_SHA256 = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
# Of a file that an example has tampered with.
_CUT = re.compile(r"(?<![0-9a-f])[0-9a-f]{16}(?=\.\.\.)")
_ABBREVIATED = re.compile(r"(?<![0-9a-f.])[0-9a-f]{12,16}(?![0-9a-f])")


def _word(match: re.Match[str]) -> str:
    """The key's name in the place of its value; none stays none, but of torch, which need not be there."""
    before, quote, key, value = match.groups()
    return match[0] if value == "null" and key != "torch" else f"{before}{quote}<{key}>{quote}"


def without_circumstances(text: str, places: Mapping[str, str]) -> str:
    """A text without places, times, durations and versions."""
    for place in sorted(places, key=len, reverse=True):
        text = text.replace(place, places[place])
    text = _INTERPRETER.sub("python", _TIME.sub("<time>", text))
    text = _VALUE.sub(_word, _PACKAGES.sub(r"\1<packages>", text))
    text = _MACHINE.sub(r"\1, <platform>", without_foreign_words(text))
    text = _FREE.sub("<space> free", _RUNNER.sub(r"\1 <version>", text))
    return _STYLE.sub(lambda m: f"style {hashlib.sha256(m[0].encode()).hexdigest()[:8]}", text)


def without_foreign_words(text: str) -> str:
    """A text without what libyaml, json, Python and pytest have written of their own."""
    text = _PARSERS.sub(r"\1<words>", text)
    return _PREFIX.sub("", _MARKERS.sub("", _LINE.sub("line <n>", text)))


class Hashes:
    """Names for hashes.

    A hash that lasts stands for itself; that of a file of the example is called after the file; any other
    is numbered in the order in which they appear.
    """

    def __init__(self, lasting: Iterable[str], files: Mapping[str, str]) -> None:
        self.lasting = set(lasting)
        self.files = files
        self.numbers: dict[str, int] = {}

    def learn(self, text: str) -> None:
        """Take up the hashes that a document states under a name of what lasts."""
        for match in _LASTING.finditer(text):
            self.lasting.update(_SHA256.findall(match[0]))

    def named(self, text: str) -> str:
        """The text with a name for each hash that does not last."""
        text = _SHA256.sub(lambda m: self._name(m[0]), text)
        text = _ABBREVIATED.sub(lambda m: self._abbreviated(m[0]), text)
        return _CUT.sub("<begin of a sha256>", text)

    def _name(self, sha256: str) -> str:
        if sha256 in self.lasting:
            return sha256
        if sha256 in self.files:
            return f"<sha256 of {self.files[sha256]}>"
        return f"<sha256-{self.numbers.setdefault(sha256, len(self.numbers) + 1)}>"

    def _abbreviated(self, text: str) -> str:
        for sha256 in (*self.files, *self.numbers):
            if sha256.startswith(text) and sha256 not in self.lasting:
                return f"<begin of {self._name(sha256)}>"
        return text


# --- forms that are short and can be read ---


def rows_in_common(rows: Sequence[Mapping[str, Any]]) -> str:
    """Objects as what all have in common and, for each, the rest: nothing is lost or said twice."""
    same, rests = _common(rows)
    return json.dumps({"same": same, "each": rests}, indent=1, ensure_ascii=False) + "\n"


def _common(rows: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    same: dict[str, Any] = {}
    rests: list[dict[str, Any]] = [{} for _ in rows]
    for key in dict.fromkeys(key for row in rows for key in row):
        values = [row[key] for row in rows if key in row]
        everywhere = len(values) == len(rows)
        if everywhere and len({json.dumps(value) for value in values}) == 1:
            same[key] = values[0]
        elif everywhere and all(isinstance(value, dict) and value for value in values):
            inner, left = _common(values)
            same.update({key: inner} if inner else {})
            for rest, value in zip(rests, left, strict=True):
                rest.update({key: value} if value or not inner else {})
        else:
            for rest, row in zip(rests, rows, strict=True):
                rest.update({key: row[key]} if key in row else {})
    return same, rests


def cases(junit: str) -> str:
    """A junit file as its test cases: what pytest adds of its own is left out."""
    lines: list[str] = []
    for case in ElementTree.fromstring(junit).iter("testcase"):
        lines.append(f"{case.get('classname')} {case.get('name')}")
        for part in case.iter():
            if part.tag == "property":
                lines.append(f"  {part.get('name')}: {part.get('value')}")
            elif part.tag not in ("testcase", "properties"):
                # What pytest calls an error is in words of its own.
                lines.append(f"  {part.tag}" + (f": {part.get('message')}" if part.tag != "error" else ""))
                lines += [f"    | {line}" for line in (part.text or "").strip().splitlines()]
    return "\n".join(lines) + "\n"


_PYTESTS_OWN = re.compile(
    r"[=_!-]{3,}.*"  # rules and headings
    r"|(platform|rootdir:|configfile:|plugins:|collected|collecting|bringing up) ?.*"
    r"|\S+\.ya?ml( [.FEsxX]+)?( *\[ *\d+%\])?"  # progress
    r"|[.FEsxX]+( *\[ *\d+%\])?"
    r"|-* ?generated xml file: .*"
    r"|no tests ran.*|\(\d+ durations.*"
)


def without_pytest(stdout: str) -> str:
    """What the plugin says in a session, without the lines of pytest itself and blank ones beside them."""
    kept = [line.rstrip() for line in stdout.splitlines() if not _PYTESTS_OWN.fullmatch(line.rstrip())]
    return re.sub(r"\n{2,}", "\n", "\n".join(kept).strip()) + "\n"


# --- comparing ---

# Between scipy 1.12 and 1.17, bounds of an interval differ by 4e-9 where degrees of freedom are no whole
# number; and nothing but rounding is left of what is smaller than the second.
RELATIVE, ABSOLUTE = 1e-7, 1e-12
_NUMBER = re.compile(r"(?<![\w.<])-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?(?![\w.>])")


def same(expected: str, found: str) -> bool:
    """Whether two texts are equal but for the last digits of their numbers."""
    if expected == found:
        return True
    if _NUMBER.split(expected) != _NUMBER.split(found):
        return False
    numbers = zip(_NUMBER.findall(expected), _NUMBER.findall(found), strict=True)
    return all(one == other or _close(one, other) for one, other in numbers)


def _close(one: str, other: str) -> bool:
    """Of two that are spelt differently: 3 is not 3.0, and what is 0 but for rounding is 0."""
    whole = [not set(text) & set(".eE") for text in (one, other)]
    if all(whole):
        return False
    a, b = float(one), float(other)
    relative = RELATIVE if not any(whole) else 0
    return math.isclose(a, b, rel_tol=relative, abs_tol=ABSOLUTE) and (not any(whole) or a != b or a == 0)


def difference(name: str, expected: str, found: str) -> Iterator[str]:
    """A unified diff of two texts, in which lines that are the same but for last digits are equal."""
    before, after = expected.splitlines(), found.splitlines()
    if len(before) == len(after):
        after = [one if same(one, other) else other for one, other in zip(before, after, strict=True)]
    yield from difflib.unified_diff(before, after, f"{name} (golden)", f"{name} (now)", lineterm="", n=2)
