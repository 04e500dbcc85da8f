"""Reading JSON: as far as Python reads it, or strictly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_worldflux_parity.errors import StoreError
from pytest_worldflux_parity.schemas.json_text import loads, parse_json

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=12,
)


@given(VALUES, st.sampled_from([None, 0, 1]), st.booleans())
def test_what_json_says_is_read(value: Any, indent: int | None, ascii_only: bool) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    # Equal to the last type: 1, 1.0 and true are one in Python.
    assert repr(loads(text)) == repr(value)


@given(
    st.dictionaries(
        st.text("ab:, ", max_size=4), st.text("ab:, ", max_size=4) | st.integers(0, 9), min_size=1
    )
)
def test_a_key_that_stands_twice_is_refused(value: dict[str, Any]) -> None:
    once = json.dumps(value)
    key = json.dumps(next(iter(value)))
    for text in (
        f"{{{key} : 1, {once[1:]}",
        f'[{once[:-1]}, {key}\n:"a:"}}]',
        f'{{"x": {once[:-1]},{key}:1}}}}',
    ):
        with pytest.raises(StoreError, match="stands twice"):
            parse_json(text.encode(), Path("file"), StoreError)


@pytest.mark.parametrize("text", [b"NaN", b"[1e400]", b"{", b'"\\ud800"', b'"\xff"', b"", b"[1,]"])
def test_what_is_no_json_is_refused(text: bytes) -> None:
    with pytest.raises(StoreError):
        parse_json(text, Path("file"), StoreError)


def test_lines_that_only_json_reads_are_read() -> None:
    assert str(loads(b'{"a": NaN}')) == "{'a': nan}"
    assert loads(b'"\\ud800"') == "\ud800"
    with pytest.raises(json.JSONDecodeError):
        loads(b"{")


@pytest.mark.parametrize("depth", [254, 255, 300, 900])
def test_deep_nesting_is_read_as_ever(depth: int) -> None:
    text = b"[" * depth + b"]" * depth
    assert str(parse_json(text, Path("file"), StoreError)) == text.decode()
    assert loads(text) == json.loads(text)


@pytest.mark.parametrize("number", [2**64, 2**64 + 1, -(2**63) - 1, 10**30, 10**18])
@pytest.mark.parametrize("form", ['{"a":%d}', "[%d, NaN]"])
def test_a_whole_number_is_read_whole_whatever_its_size(number: int, form: str) -> None:
    text = (form % number).encode()
    assert str(loads(text)) == str(json.loads(text))
    if "NaN" not in form:
        assert parse_json(text, Path("file"), StoreError) == {"a": number}
