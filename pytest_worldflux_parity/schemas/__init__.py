"""JSON Schemas of the documents, and the translation of their errors into one line each."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from importlib import resources
from typing import Any

from ..errors import ParityError
from .formats import FORMATS
from .patterns import PATTERNS
from .rule_names import EFFECT_NAMES, GATE_NAMES, QUESTIONS
from .score_formats import ENUMS as FORMAT_ENUMS

Path = tuple[str | int, ...]
# Each schema is called by this and the name of its file.
ID_BASE = "urn:worldflux:parity:schema:"
# The words of each ``enum`` whose ``$comment`` is ``names: KEY``; they stand in the files, for editors.
ENUMS = {**FORMAT_ENUMS, "metric_rules": (*QUESTIONS,), "effects": EFFECT_NAMES, "gates": GATE_NAMES}


@cache
def load(name: str) -> dict[str, Any]:
    """The schema ``<name>.json`` of this folder."""
    text = resources.files(__package__).joinpath(f"{name}.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def list_names() -> list[str]:
    """The names of all schemas."""
    files = (entry.name for entry in resources.files(__package__).iterdir())
    return sorted(name.removesuffix(".json") for name in files if name.endswith(".json"))


@cache
def _validator(name: str) -> Any:
    from jsonschema import Draft202012Validator, FormatChecker, validators

    # JSON Schema calls 3.0 an integer; what is written as one here is counted with.
    extend: Any = validators.extend
    kinds = Draft202012Validator.TYPE_CHECKER.redefine("integer", lambda _, value: type(value) is int)
    formats = FormatChecker(())
    for word, format in FORMATS.items():
        formats.checks(word)(lambda value, holds=format.holds: not isinstance(value, str) or holds(value))
    return extend(Draft202012Validator, type_checker=kinds)(load(name), format_checker=formats)


def check(
    document: object, name: str, locate: Callable[[Path], str], error: type[ParityError] = ParityError
) -> None:
    """Validate ``document`` against the schema ``name``.

    Args:
        locate: turns the path of a value within the document into ``file:line`` or ``file: key``.
        error: the class that is raised.

    Raises:
        ParityError: of class ``error``: the most telling violation, with valid values and nearest match.
    """
    problems = list(_validator(name).iter_errors(document))
    if problems:
        raise _translate(min(map(_deepest_problem, problems), key=_order_of), locate, error)


def texts_for_numbers(document: object, name: str) -> Iterator[tuple[Path, str]]:
    """Where a document has a text and the schema ``name`` wants a number, and the text."""
    for problem in _validator(name).iter_errors(document):
        wanted = problem.validator == "type" and problem.validator_value in ("number", "integer")
        if wanted and isinstance(problem.instance, str):
            yield tuple(problem.absolute_path), problem.instance


def _deepest_problem(problem: Any) -> Any:
    """Of the branches of an anyOf, the violation in the branch that fits the value best."""
    while problem.context:
        typed = [
            p
            for p in problem.context
            if p.validator != "type" or len(p.absolute_path) > len(problem.absolute_path)
        ]
        if not typed:
            return problem
        problem = min(typed, key=lambda p: (-len(p.absolute_path), p.validator == "type"))
    return problem


def _order_of(problem: Any) -> tuple[bool, list[str]]:
    # An unknown key comes first: it is usually the misspelling of the one reported as missing.
    return problem.validator != "additionalProperties", [str(p) for p in problem.absolute_path]


def _translate(problem: Any, locate: Callable[[Path], str], error: type[ParityError]) -> ParityError:
    path = tuple(problem.absolute_path)
    if problem.validator == "additionalProperties":
        known = problem.schema.get("properties", {})
        key = next(k for k in problem.instance if k not in known)
        return error(f"unknown key {key!r}", where=locate((*path, key)), valid=sorted(known), got=key)
    name = ".".join(map(str, path)) or "the document"
    if problem.validator == "required":
        key = next(k for k in problem.validator_value if k not in problem.instance)
        inside = f" in {name}" if path else ""
        return error(f"key {key!r} is missing{inside}", where=locate(path), hint=f"add `{key}:`")
    if problem.validator in ("enum", "const"):
        valid = problem.validator_value if problem.validator == "enum" else [problem.validator_value]
        return error(f"{name} is {problem.instance!r}", where=locate(path), valid=valid, got=problem.instance)
    if problem.validator == "type":
        kinds = problem.validator_value
        return error(f"{name} is {_excerpt(problem.instance)}", where=locate(path), valid=_kind_names(kinds))
    if problem.validator == "anyOf":
        kinds = [p.validator_value for p in problem.context if p.validator == "type"]
        return error(f"{name} is {_excerpt(problem.instance)}", where=locate(path), valid=_kind_names(kinds))
    if problem.validator in ("pattern", "format"):
        word = problem.validator_value
        words = PATTERNS[word] if problem.validator == "pattern" else FORMATS[word].words
        return error(f"{name} is {problem.instance[:60]!r}, not {words}", where=locate(path))
    if problem.validator == "maxItems":
        what = f"{name} has {len(problem.instance)} entries, and may have {problem.validator_value}"
        return error(what, where=locate(path))
    return error(f"{name}: {problem.message}", where=locate(path))


def _kind_names(kinds: object) -> Iterable[str]:
    return [str(k) for k in kinds] if isinstance(kinds, list) else [str(kinds)]


def _excerpt(value: object) -> str:
    text = json.dumps(value, default=str)
    return f"{text if len(text) <= 60 else text[:57] + '...'} ({type(value).__name__})"
