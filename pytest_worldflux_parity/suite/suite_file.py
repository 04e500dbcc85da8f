"""YAML file -> :class:`Suite`. Every error is ``file:line: what; valid values; nearest match``.

Scalars follow the YAML 1.2 core schema, not PyYAML's 1.1: ``3e-4`` is a number, ``"false"`` in quotes is a
string and so never a boolean. What both read otherwise, and people write for either, is refused: ``no``,
``on``, ``010``. Of 1.1 there are merge keys (``<<: *defaults``) and underscores in numbers (``10_000_000``).
"""

from __future__ import annotations

import hashlib
import math
import re
import shlex
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from .. import schemas
from ..errors import SuiteError
from .commands import value_at
from .suite import SYSTEMS, Locate, Suite, parse_suite

SUITE_SCHEMA = "worldflux.parity.suite.v1"
# Proof manifests of the earlier system.
MANIFEST_SCHEMAS = {
    "parity.suite.v2": "suite.parity_v2",
    "parity.manifest.v1": "suite.parity_manifest_v1",
}
QUICK_SCHEMAS = ("suite.v1", "suite.quick_legacy")
CAMPAIGN_SCHEMA = "worldflux.parity.campaign.v1"
_SHELL = ("`", "$(", "${", "\n", "\r", ";", "&", "|", ">", "<")
MAX_NODES = 50_000
MAX_DEPTH = 50

_WHOLE_NUMERAL = re.compile(r"[-+]?[0-9]+(_[0-9]+)*$")
# Integers too: 3e6 steps.
_POWER = re.compile(r"[-+]?[0-9]+[eE]\+?[0-9]{1,2}$")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(_[0-9]+)*(\.[0-9]*)?)([eE][-+]?[0-9]+)?$")
_OCTAL = re.compile(r"[-+]?0[0-7]+$")
_SWITCHES = {
    **dict.fromkeys(("on", "On", "ON", "yes", "Yes", "YES"), "true"),
    **dict.fromkeys(("off", "Off", "OFF", "no", "No", "NO"), "false"),
}
_NO_NUMBERS = re.compile(r"[-+]?\.(inf|Inf|INF)$|\.(nan|NaN|NAN)$")
_YAML_CONSTANTS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def load(path: Path) -> Suite:
    """Read, validate and parse the file of a quick suite.

    Raises:
        SuiteError: the file cannot be read, is not YAML, or is not a quick suite.
    """
    source = read_track(path, "quick", "quick one")
    return replace(parse_suite(source.document, path.parent, source.locate), path=path, sha256=source.sha256)


@dataclass(frozen=True)
class SuiteSource:
    """A suite file as it was read, and which schema it must satisfy.

    Attributes:
        warnings: what stands in it otherwise than the schema wants, and was read all the same.
    """

    path: Path
    document: dict[str, Any]
    schema: str
    sha256: str
    locate: Locate
    warnings: tuple[str, ...] = ()

    @property
    def track(self) -> str:
        if self.schema == "campaign.v1":
            return "campaign"
        return "quick" if self.schema in QUICK_SCHEMAS else "proof"


def read(path: Path) -> SuiteSource:
    """Read a suite file of any track and format; nothing of it is validated yet.

    Raises:
        SuiteError: the file cannot be read, is not YAML, or no format that is known.
    """
    raw = _read_bytes(path)
    document, lines = parse_yaml(raw, str(path))
    if not isinstance(document, dict):
        raise SuiteError("a suite is a mapping of keys", where=f"{path}:1")
    locate = locator(path, lines)
    return SuiteSource(path, document, _schema_of(document, locate), hashlib.sha256(raw).hexdigest(), locate)


def read_track(path: Path, track: str, wanted: str) -> SuiteSource:
    """As :func:`read`, of a file that must be of one track and that its schema must accept.

    Args:
        wanted: what such a file is called.

    Raises:
        SuiteError: as :func:`read`, it is of another track, or its schema does not accept it.
    """
    source = read(path)
    if source.track != track:
        raise SuiteError(
            f"this is a {source.track} suite, and a {wanted} is wanted",
            where=source.locate(("track",)),
            hint=f"pytest --parity={source.track} {path}",
        )
    warnings = (*_split_commands(source.document, source.schema, source.locate),)
    if source.schema in MANIFEST_SCHEMAS.values():
        warnings += (*_read_numbers(source),)
    if source.schema == MANIFEST_SCHEMAS["parity.manifest.v1"]:
        # It has no name of its own.
        name = re.sub(r"[^A-Za-z0-9_.-]", "-", path.stem).lstrip("_.-") or "manifest"
        source.document.setdefault("suite_id", name)
    schemas.check(source.document, source.schema, source.locate, SuiteError)
    return replace(source, warnings=warnings)


def _split_commands(document: dict[str, Any], schema: str, locate: Locate) -> Iterator[str]:
    """Turn the commands of a file that are one text into lists; warn of each.

    Args:
        document: nothing of it need be as its schema wants it.

    Raises:
        SuiteError: the format allows no text, or it holds what only a shell understands.
    """
    if schema == "campaign.v1":
        places: list[schemas.Path] = [("sources", source) for source in ("oracle", "worldflux")]
    else:
        tasks = document.get("tasks")
        count = len(tasks) if isinstance(tasks, list) else 0
        places = [("tasks", i, system) for i in range(count) for system in SYSTEMS]
    key = "command_template" if schema == "campaign.v1" else "command"
    for at in places:
        holder = value_at(document, *at)
        if not isinstance(holder, dict) or not isinstance(holder.get(key), str):
            continue
        where = locate((*at, key))
        if schema == "suite.parity_v2":
            raise SuiteError(
                f"the command of {at[-1]} is one string, and there is no shell to read it",
                where=where,
                hint='write it as a list: ["python3", "program.py", "--seed", "{seed}"]',
            )
        holder[key] = _split_command(holder[key], where)
        yield f"{where}: the command of {at[-1]} is one string; write it as a list"


def _split_command(command: str, where: str) -> list[str]:
    """A command that is one string as the list that it stands for; there is no shell."""
    found = next((mark for mark in _SHELL if mark in command), None)
    if found:
        raise SuiteError(
            f"the command holds {found!r}, which only a shell understands, and there is none",
            where=where,
            hint="write the command as a list",
        )
    try:
        return shlex.split(command)
    except ValueError as error:
        raise SuiteError(f"the command cannot be split: {error}", where=where) from None


def _read_numbers(source: SuiteSource) -> Iterator[str]:
    """Turn texts into the numbers that they stand for, as the earlier system does; warn of each.

    Older readers of YAML make a text of ``1e-08``, and what wrote a manifest anew kept that.
    """
    for at, text in list(schemas.texts_for_numbers(source.document, source.schema)):
        if (number := parse_numeral(text)) is not None:
            value_at(source.document, *at[:-1])[at[-1]] = number
            name = ".".join(map(str, at))
            yield f"{source.locate(at)}: {name} is the text {text!r}, and is read as {number}"


def locator(path: Path, lines: Mapping[schemas.Path, int]) -> Locate:
    """Turns the path of a value within a document into ``file:line``: its own, or that of what holds it."""

    def locate(at: schemas.Path) -> str:
        while at and at not in lines:
            at = at[:-1]
        return f"{path}:{lines.get(at, 1)}"

    return locate


def place(path: Path, *at: str | int) -> str:
    """``file:line`` of a value in a suite that was loaded before, for an error found later.

    Raises:
        SuiteError: the file is no longer what was loaded.
    """
    _, lines = parse_yaml(_read_bytes(path), str(path))
    return locator(path, lines)(at)


def place_of(path: Path, *ends: tuple[str | None, ...]) -> str:
    """``file:line`` of a value whose keys end so, by the first of ``ends`` that there is; else the file.

    Raises:
        SuiteError: the file is no longer what was loaded.
    """
    _, lines = parse_yaml(_read_bytes(path), str(path))
    found = (f"{path}:{line}" for end in ends for at, line in lines.items() if at[-len(end) :] == end)
    return next(found, str(path))


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SuiteError(f"cannot be read: {error.strerror}", where=str(path)) from None


def _schema_of(document: dict[str, Any], locate: Locate) -> str:
    version = document.get("schema_version")
    if version == SUITE_SCHEMA:
        return "suite.proof_v1" if document.get("track") == "proof" else "suite.v1"
    if isinstance(version, str) and version in MANIFEST_SCHEMAS:
        return MANIFEST_SCHEMAS[version]
    if version == CAMPAIGN_SCHEMA or (version is None and "sources" in document):
        return "campaign.v1"
    if version is None and "upstream" in document:
        return "suite.quick_legacy"
    if version is None:
        raise SuiteError(
            "key 'schema_version' is missing", where=locate(()), hint=f"add `schema_version: {SUITE_SCHEMA}`"
        )
    raise SuiteError(
        f"schema_version is {version!r}",
        where=locate(("schema_version",)),
        valid=[SUITE_SCHEMA, CAMPAIGN_SCHEMA, *MANIFEST_SCHEMAS],
        got=version,
    )


def parse_yaml(raw: bytes, where: str) -> tuple[Any, dict[schemas.Path, int]]:
    """The document, and for each path within it the line (from 1) where it stands.

    Raises:
        SuiteError: not YAML, a key twice, a tag, or so many aliases that it would not end.
    """
    try:
        if _is_deep(raw, _Loader, where):
            raise _refuse_deep(where)
        node = yaml.compose(raw, Loader=_Loader)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise _explain_no_yaml(error, raw, where) from None
    if node is None:
        raise SuiteError("the file is empty", where=where)
    return _Construction(where).run(node)


def _is_deep(raw: bytes, loader: Any, where: str) -> bool:
    """Asked before anything is built: the parser in C recurses then, and a deep document ends the process.

    Raises:
        SuiteError: a tag is written, by which another reader would see another document.
    """
    depth = 0
    for event in yaml.parse(raw, Loader=loader):
        tag = getattr(event, "tag", None)
        if tag is not None:
            mark = event.start_mark
            place = f"{where}:{mark.line + 1}" if mark else where
            raise SuiteError(f"the tag {tag} means nothing here", where=place)
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            return True
    return False


def _refuse_deep(where: str) -> SuiteError:
    return SuiteError(f"nested more than {MAX_DEPTH} deep", where=where)


def _explain_no_yaml(error: Exception, raw: bytes, where: str) -> SuiteError:
    """One in C may read ahead and refuse what is deep before it tells how deep; the one in Python tells."""
    with suppress(yaml.YAMLError):
        if _is_deep(raw, yaml.SafeLoader, where):
            return _refuse_deep(where)
    mark = getattr(error, "problem_mark", None)
    line = f":{mark.line + 1}" if mark else ""
    problem = getattr(error, "problem", None) or str(error).split("\n")[0]
    return SuiteError(f"not YAML: {problem}", where=where + line)


def parse_numeral(text: str) -> int | float | None:
    """The number that a text stands for, infinity where it is too large; None where it is none."""
    if _WHOLE_NUMERAL.match(text) and len(text) < 400:
        return int(text)
    if _POWER.match(text):
        mantissa, _, exponent = text.lower().partition("e")
        return int(mantissa) * int(10 ** int(exponent))
    return float(text) if _FLOAT.match(text) else None


class _Construction:
    """Builds plain values from YAML nodes and remembers the line of each."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.lines: dict[schemas.Path, int] = {}

    def run(self, node: yaml.Node) -> tuple[Any, dict[schemas.Path, int]]:
        try:
            return self._value(node, ()), self.lines
        except RecursionError:
            raise SuiteError("nested without end", where=self.where) from None

    def _fail(self, what: str, node: yaml.Node) -> SuiteError:
        return SuiteError(what, where=f"{self.where}:{node.start_mark.line + 1}")

    def _value(self, node: yaml.Node, at: schemas.Path) -> Any:
        self.lines.setdefault(at, node.start_mark.line + 1)
        if len(self.lines) > MAX_NODES:
            raise self._fail(f"more than {MAX_NODES} values (an alias that repeats itself?)", node)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, at)
        if isinstance(node, yaml.SequenceNode):
            return [self._value(item, (*at, i)) for i, item in enumerate(node.value)]
        return self._scalar(node)

    def _mapping(self, node: yaml.MappingNode, at: schemas.Path) -> dict[str, Any]:
        merges = [(k, v) for k, v in node.value if k.value == "<<" and not k.style]
        if len(merges) > 1:
            raise self._fail("key '<<' stands twice", merges[1][0])
        # First, so that a key of its own has its own line.
        merged = self._merged(merges[0][1], at) if merges else {}
        mapping: dict[str, Any] = {}
        for key_node, value_node in (pair for pair in node.value if pair not in merges):
            if not isinstance(key_node, yaml.ScalarNode):
                raise self._fail("a key must be a word", key_node)
            key = str(key_node.value)
            if key in mapping:
                raise self._fail(f"key {key!r} stands twice", key_node)
            self.lines[(*at, key)] = key_node.start_mark.line + 1
            mapping[key] = self._value(value_node, (*at, key))
        return {**merged, **mapping}

    def _merged(self, node: yaml.Node, at: schemas.Path) -> dict[str, Any]:
        """What ``<<`` brings into a mapping; of several the first that has a key gives it."""
        nodes = node.value if isinstance(node, yaml.SequenceNode) else [node]
        found: dict[str, Any] = {}
        for one in nodes:
            if not isinstance(one, yaml.MappingNode):
                raise self._fail("<< takes a mapping, or a list of mappings", one)
            found = {**self._mapping(one, at), **found}
        return found

    def _scalar(self, node: yaml.Node) -> Any:
        text = str(node.value)
        if getattr(node, "style", None):
            return text
        if text in _YAML_CONSTANTS:
            return _YAML_CONSTANTS[text]
        self._refuse_two_readings(text, node)
        number = parse_numeral(text)
        if type(number) is float and not math.isfinite(number):
            raise self._fail(f"{text} is too large for a number", node)
        return text if number is None else number

    def _refuse_two_readings(self, text: str, node: yaml.Node) -> None:
        """Refuse what YAML 1.1 and 1.2 read otherwise: the authors of official programs use both."""
        if text in _SWITCHES:
            word = _SWITCHES[text]
            raise self._fail(
                f'{text} is {word} in YAML 1.1 and a word in 1.2: write {word}, or "{text}"', node
            )
        if _OCTAL.match(text):
            eight, ten = int(text, 8), int(text)
            what = f"{text} is {eight} in YAML 1.1 and {ten} in 1.2"
            raise self._fail(f'{what}: write {eight}, {ten} or "{text}"', node)
        if _NO_NUMBERS.match(text):
            raise self._fail(
                f'{text} is no number that can be compared: leave it out, or write "{text}"', node
            )
