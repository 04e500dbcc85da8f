"""What the fast functions accept, the schemas accept; and they accept what keeps its schema."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_worldflux_parity import schemas
from pytest_worldflux_parity.schemas import acceptance

NAMES = sorted(p.stem for p in Path(schemas.__file__).parent.glob("*.json"))
Draw = Callable[[st.SearchStrategy[Any]], Any]
ODD = st.sampled_from(
    [None, True, False, 0, 1, -1, 1.0, 0.5, 2.0, 10**30, float("nan"), "", "x", "a" * 64, [], [1], [1, 1.0],
     [True, 1], ["a", "a"], {}, {"a": 1}, "pass", "fail"]
).map(copy.deepcopy)  # fmt: skip


NESTED = {"$defs": {"n": {"type": "array", "items": {"$ref": "#/$defs/n"}}}, "$ref": "#/$defs/n"}


def valid(name: str, document: Any) -> bool:
    return not list(schemas._validator(name).iter_errors(document))


def keeping(schema: Any, root: Any, draw: Draw) -> Any:
    """A document that keeps the most usual parts of a schema."""
    if not isinstance(schema, dict):
        return draw(ODD)
    if "$ref" in schema:
        return keeping(root["$defs"][schema["$ref"].rpartition("/")[2]], root, draw)
    if "const" in schema or "enum" in schema:
        return draw(st.sampled_from([schema["const"]] if "const" in schema else schema["enum"]))
    if "anyOf" in schema:
        return keeping(draw(st.sampled_from(schema["anyOf"])), root, draw)
    kind = schema.get("type", "string")
    kind = kind if isinstance(kind, str) else draw(st.sampled_from(kind))
    if kind == "object":
        known, required = schema.get("properties", {}), schema.get("required", [])
        keys = [k for k in known if k in required or draw(st.booleans())] + [
            k for k in required if k not in known
        ]
        return {k: keeping(known.get(k, {}), root, draw) for k in keys}
    if kind == "array":
        least = schema.get("minItems", 0)
        return [
            keeping(schema.get("items", {}), root, draw) for _ in range(draw(st.integers(least, least + 1)))
        ]
    low = schema.get("minimum", schema.get("exclusiveMinimum", 0))
    plain = {"integer": int(low) + 1, "number": low + 0.5, "boolean": True, "null": None, "string": "a" * 64}
    return plain[kind]


def places(document: Any) -> list[tuple[Any, Any]]:
    """(container, key) of everything within."""
    found: list[tuple[Any, Any]] = []
    rows = list(document.items()) if isinstance(document, dict) else list(enumerate(document))
    for key, value in rows:
        found.append((document, key))
        found += places(value) if isinstance(value, (dict, list)) else []
    return found


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), name=st.sampled_from(NAMES))
def test_a_yes_is_sure(data: st.DataObject, name: str) -> None:
    document = keeping(schemas.load(name), schemas.load(name), data.draw)
    for _ in range(data.draw(st.integers(0, 2))):
        found = places(document) if isinstance(document, (dict, list)) else []
        if found:
            container, key = data.draw(st.sampled_from(found))
            container[key] = data.draw(ODD)
    if schemas._accepting(name)(document):
        assert valid(name, document), document


@pytest.mark.parametrize("name", NAMES)
def test_no_speed_is_lost_unnoticed(name: str) -> None:
    """Every keyword of the package's own schemas is known."""
    assert acceptance._Compiler(schemas.load(name)).node(schemas.load(name))


@pytest.mark.parametrize(
    ("schema", "value", "accepted"),
    [
        ({"oneOf": [{"type": "string"}]}, "x", False),
        ({"type": "object", "properties": {"a": {"not": {}}}}, {}, False),
        ({"$ref": "other.json"}, 1, False),
        ({"enum": [[1]]}, [1], False),
        ({"enum": [1, "a"]}, True, False),
        ({"enum": [1, "a"]}, 1, True),
        ({"uniqueItems": True}, [1, 1.0], False),
        ({"uniqueItems": True}, ["a", "b"], True),
        ({"type": "integer"}, 1.0, False),
        ({"type": "number", "minimum": 0}, float("nan"), False),
        (NESTED, [[], [[]]], True),
        (NESTED, [[], [1]], False),
        ({"if": {"minimum": 3}, "then": {"type": "integer"}, "else": {"maximum": 2}}, 2, True),
        ({"if": {"minimum": 3}, "then": {"type": "integer"}, "else": {"maximum": 2}}, 2.5, False),
    ],
)  # fmt: skip
def test_what_is_not_known_is_not_accepted(schema: Any, value: Any, accepted: bool) -> None:
    assert acceptance.accepting(json.loads(json.dumps(schema)))(value) is accepted
