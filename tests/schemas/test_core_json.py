"""Reading and writing JSON fast: what the fast way says is what the strict one says, or it says nothing."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_worldflux_parity.errors import StoreError
from pytest_worldflux_parity.schemas.json_text import Unclear, indented, is_plainly, loads, parse_json, plain

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
def test_the_fast_way_says_what_json_says_or_nothing(
    value: Any, indent: int | None, ascii_only: bool
) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    said = json.loads(text.decode("utf-8", "surrogatepass"))
    try:
        # Equal to the last type: 1, 1.0 and true are one in Python.
        assert repr(plain(text)) == repr(said)
    except Unclear:
        assert b"\\" in text or b"\xed" in text or re.search(rb"[0-9]{19}", text)
    assert repr(loads(json.dumps(value).encode())) == repr(said)


@given(
    st.dictionaries(
        st.text("ab:, ", max_size=4), st.text("ab:, ", max_size=4) | st.integers(0, 9), min_size=1
    )
)
def test_a_key_that_stands_twice_is_never_plain(value: dict[str, Any]) -> None:
    once = json.dumps(value)
    key = json.dumps(next(iter(value)))
    for text in (
        f"{{{key} : 1, {once[1:]}",
        f'[{once[:-1]}, {key}\n:"a:"}}]',
        f'{{"x": {once[:-1]},{key}:1}}}}',
    ):
        with pytest.raises(Unclear):
            plain(text.encode())
        with pytest.raises(StoreError, match="stands twice"):
            parse_json(text.encode(), Path("file"), StoreError)


@pytest.mark.parametrize("text", [b"NaN", b"[1e400]", b"{", b'"\\ud800"', b'"\xff"', b"", b"[1,]"])
def test_what_is_no_plain_json_is_left_to_others(text: bytes) -> None:
    with pytest.raises(Unclear):
        plain(text)
    with pytest.raises(StoreError):
        parse_json(text, Path("file"), StoreError)


def test_lines_that_only_json_reads_are_read() -> None:
    assert str(loads(b'{"a": NaN}')) == "{'a': nan}"
    assert loads(b'"\\ud800"') == "\ud800"
    with pytest.raises(json.JSONDecodeError):
        loads(b"{")


@given(VALUES)
def test_an_indented_document_says_what_it_is_of(value: Any) -> None:
    assert json.loads(indented({"a": value})) == {"a": value}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_no_document_holds_what_is_no_number(value: float) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the words are those of the library that writes JSON
        indented({"a": [value]})


def test_a_number_beyond_64_bits_is_written_as_it_is() -> None:
    assert json.loads(indented({"a": 10**30})) == {"a": 10**30}


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


def test_a_text_is_a_value_to_the_last_type() -> None:
    kinds: list[Any] = [0, 0.0, -0.0, False, None, "0", [0], {"a": 0}, float("nan"), 2**64]
    for i, one in enumerate(kinds):
        text = json.dumps({"x": [one]}).encode()
        for k, other in enumerate(kinds):
            told = None
            with suppress(Unclear):
                told = is_plainly(text, {"x": [other]})
            # What it cannot tell it does not call the same.
            assert told is (i == k) if i < 8 and k < 9 else not told, (one, other)
    assert is_plainly(b'{ "b": 2.5, "a": 1 }', {"a": 1, "b": 2.5})
    with pytest.raises(Unclear):
        is_plainly(b'{"a": 1, "a": 1}', {"a": 1})
    with pytest.raises(Unclear):
        is_plainly(b'{"a": null}', {"a": "\ud800"})
