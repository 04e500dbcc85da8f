"""A JSON Schema -> a function that says yes to documents that keep it, at a fraction of the usual cost.

A yes is sure; a no is not, and has to be looked into: it is also said of what is not known here. Documents
of a proof have tens of thousands of values, and next to all keep their schema.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from .formats import FORMATS

Accepts = Callable[[Any], bool]
Schema = Mapping[str, Any]

_TYPES: Mapping[str, tuple[type, ...]] = {
    "object": (dict,), "array": (list,), "string": (str,), "integer": (int,), "number": (int, float),
    "boolean": (bool,), "null": (type(None),),
}  # fmt: skip
_SAY_NOTHING = frozenset(["$schema", "$defs", "title", "description"])
_TOGETHER = frozenset(["type", "properties", "additionalProperties", "required", "if", "then", "else"])
_NUMBERS = (int, float)


class _Unknown(Exception):
    """A keyword that is not known here."""


def accepting(schema: Schema) -> Accepts:
    """The function of a schema; of one that holds an unknown keyword, a function that never says yes."""
    try:
        return _Compiler(schema).node(schema)
    except _Unknown:
        return lambda value: False


class _Compiler:
    """Turns the parts of one schema into functions, each named part once."""

    def __init__(self, root: Schema) -> None:
        self._root = root
        self._named: dict[str, list[Accepts]] = {}

    def node(self, schema: Any) -> Accepts:
        if schema is True or schema is False:
            return lambda value: schema
        checks = tuple(self._checks(schema))
        if len(checks) == 1:
            return checks[0]

        def accepts(value: Any) -> bool:
            # A loop: a generator would take twice as long.
            for check in checks:  # noqa: SIM110
                if not check(value):
                    return False
            return True

        return accepts

    def _checks(self, schema: Schema) -> Iterator[Accepts]:
        if "type" in schema:
            yield _type(schema["type"])
        if schema.keys() & {"properties", "additionalProperties", "required"}:
            yield self._object(schema)
        for word, wanted in schema.items():
            if word not in _SAY_NOTHING and word not in _TOGETHER:
                yield self._keyword(word, wanted)
        if schema.keys() & {"if", "then", "else"}:
            yield self._condition(schema)

    def _keyword(self, word: str, wanted: Any) -> Accepts:
        if word == "$ref":
            return self._reference(wanted)
        if word == "items":
            item = self.node(wanted)
            return lambda value: type(value) is not list or all(map(item, value))
        if word == "propertyNames":
            name = self.node(wanted)
            return lambda value: type(value) is not dict or all(map(name, value))
        if word == "anyOf":
            branches = [self.node(branch) for branch in wanted]
            return lambda value: any(branch(value) for branch in branches)
        if word in _PLAIN:
            return _PLAIN[word](wanted)
        raise _Unknown(word)

    def _reference(self, name: str) -> Accepts:
        prefix = "#/$defs/"
        if not name.startswith(prefix):
            raise _Unknown(name)
        # A part may be named within itself: it is looked up when it is asked.
        if name not in self._named:
            self._named[name] = []
            self._named[name].append(self.node(self._root["$defs"][name.removeprefix(prefix)]))
        found = self._named[name]
        return found[0] if found else lambda value: found[0](value)

    def _condition(self, schema: Schema) -> Accepts:
        """Where a no to the condition is not sure either, both branches must be kept."""
        condition, then, otherwise = (self.node(schema.get(word, True)) for word in ("if", "then", "else"))
        if _is_sure(schema.get("if")):
            return lambda value: then(value) if condition(value) else otherwise(value)
        return lambda value: then(value) and (condition(value) or otherwise(value))

    def _object(self, schema: Schema) -> Accepts:
        known = {key: self.node(part) for key, part in schema.get("properties", {}).items()}
        others = self.node(schema.get("additionalProperties", True))
        required = frozenset(schema.get("required", ()))

        def accepts(value: Any) -> bool:
            if type(value) is not dict:
                return not isinstance(value, dict)
            if not required <= value.keys():
                return False
            for key, part in value.items():  # noqa: SIM110  # as above
                if not known.get(key, others)(part):
                    return False
            return True

        return accepts


def _is_sure(schema: Any) -> bool:
    """Whether not only a yes is sure: of a schema that asks for texts, booleans or null at keys."""
    if not isinstance(schema, dict) or schema.keys() != {"properties"}:
        return False
    parts = schema["properties"].values()
    return all(
        part.keys() == {"const"} and isinstance(part["const"], (str, bool, type(None))) for part in parts
    )


def _type(names: Any) -> Accepts:
    kinds = frozenset(t for name in ([names] if isinstance(names, str) else names) for t in _TYPES[name])
    return lambda value: type(value) in kinds


def _const(wanted: Any) -> Accepts:
    return _enum([wanted])


def _enum(wanted: Any) -> Accepts:
    if any(isinstance(value, (dict, list)) for value in wanted):
        raise _Unknown("enum")
    pairs = {(type(value), value) for value in wanted}
    return lambda value: not isinstance(value, (dict, list)) and (type(value), value) in pairs


def _pattern(wanted: str) -> Accepts:
    search = re.compile(wanted).search
    return lambda value: type(value) is not str or search(value) is not None


def _format(wanted: str) -> Accepts:
    holds = FORMATS[wanted].holds
    return lambda value: type(value) is not str or holds(value)


def _of(kinds: tuple[type, ...], holds: Callable[[Any, Any], bool]) -> Callable[[Any], Accepts]:
    """What is asked of values of these types, and of no others."""
    return lambda wanted: lambda value: type(value) not in kinds or holds(value, wanted)


_ALIKE: tuple[set[type], ...] = (set(), {str}, {int})
_PLAIN: Mapping[str, Callable[[Any], Accepts]] = {
    "const": _const,
    "enum": _enum,
    "pattern": _pattern,
    "format": _format,
    "minimum": _of(_NUMBERS, lambda value, wanted: value >= wanted),
    "maximum": _of(_NUMBERS, lambda value, wanted: value <= wanted),
    "exclusiveMinimum": _of(_NUMBERS, lambda value, wanted: value > wanted),
    "exclusiveMaximum": _of(_NUMBERS, lambda value, wanted: value < wanted),
    "minLength": _of((str,), lambda value, wanted: len(value) >= wanted),
    "maxLength": _of((str,), lambda value, wanted: len(value) <= wanted),
    "minItems": _of((list,), lambda value, wanted: len(value) >= wanted),
    "maxItems": _of((list,), lambda value, wanted: len(value) <= wanted),
    "minProperties": _of((dict,), lambda value, wanted: len(value) >= wanted),
    "maxProperties": _of((dict,), lambda value, wanted: len(value) <= wanted),
    # Whether 1 and 1.0 are one is for others to say.
    "uniqueItems": _of(
        (list,), lambda value, wanted: {type(v) for v in value} in _ALIKE and len(set(value)) == len(value)
    ),
}
