"""A key that stands twice in one object: readers would believe the one or the other, so none is believed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_worldflux_parity import wire
from pytest_worldflux_parity.errors import ParityError, StoreError
from pytest_worldflux_parity.evidence.attempts import parse_row
from pytest_worldflux_parity.execution.store import SuiteStore
from pytest_worldflux_parity.inputs.scores.files import parsed_json
from pytest_worldflux_parity.schemas.json_text import KeyTwice, loads, parse_json
from pytest_worldflux_parity.suite.suite_file import parse_yaml

untimed = settings(deadline=None)
# Names and texts with all that an escape can be of.
texts = st.text(st.sampled_from('ab"\\/\n\u00fc\ud83d\ude00{:,'), max_size=5)
values = st.recursive(
    st.one_of(texts, st.integers(-(2**70), 2**70), st.booleans(), st.none(), st.just(1.5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=8,
)
objects = st.dictionaries(texts, values, min_size=1, max_size=4)


def surrogates(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)


@untimed
@given(objects, st.booleans(), st.booleans())
def test_what_has_each_key_once_is_read_as_python_reads_it(
    document: dict[str, Any], escaped: bool, spaced: bool
) -> None:
    text = json.dumps(
        document, ensure_ascii=escaped or surrogates(str(document)), indent=1 if spaced else None
    )
    data = text.encode("utf-8", "surrogatepass")
    assert loads(data) == json.loads(text)


def doubled(document: dict[str, Any], key: str, value: Any, escaped: bool) -> bytes:
    """The document with a key once more, spelled as it is or with an escape for each character."""
    spelled = json.dumps(key)
    if escaped and key.isascii():
        spelled = '"' + "".join(f"\\u{ord(character):04x}" for character in key) + '"'
    return f"{json.dumps(document)[:-1]}, {spelled}: {json.dumps(value)}}}".encode()


READERS: dict[str, Callable[[bytes], object]] = {
    "logs": loads,
    "documents": lambda data: parse_json(data, Path("d.json"), StoreError),
    "the contract": lambda data: wire.object_in(data, "d.json"),
    "score tables": lambda data: parsed_json(data.decode(), "d.json"),
    "attempts in a bundle": lambda data: parse_row(data, "d.json"),
    "the log of a run": lambda data: loads(b"[" + data + b"]"),
}


@pytest.mark.parametrize("reader", READERS)
@untimed
@given(objects, st.data(), values, st.booleans(), st.integers(0, 3))
def test_no_reader_takes_a_key_twice(
    reader: str, document: dict[str, Any], data: st.DataObject, value: Any, escaped: bool, depth: int
) -> None:
    key = data.draw(st.sampled_from(sorted(document)))
    text = doubled(document, key, value, escaped)
    for _ in range(depth):
        text = b'{"k": [' + text + b"]}"
    with pytest.raises((ParityError, ValueError)):
        READERS[reader](text)


def test_the_line_names_the_key_and_the_place(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"^d.json: key 'a' stands twice$"):
        parse_json(b'{"a": 1, "a": 1}', Path("d.json"), StoreError)
    with pytest.raises(wire.WireError, match=r"^d.json: the key 'a' stands twice in one object$"):
        wire.object_in(b'{"a": 1, "a": 1}', "d.json")
    with pytest.raises(KeyTwice, match="key 'a' stands twice"):
        loads(b'{"a": 1, "a": 1}')
    with pytest.raises(ParityError, match=r"^s.yaml:3: key 'a' stands twice$"):
        parse_yaml(b"a: 1\nb: 2\na: 1\n", "s.yaml")


@untimed
@given(st.sampled_from(["a", "'a'", '"a"', '"\\x61"', "? a\n"]), st.sampled_from(["a", '"a"', "'a'"]))
def test_yaml_in_any_spelling(one: str, other: str) -> None:
    text = f"{one}: 1\nb: 2\n{other}: 1\n" if "?" not in one else f"? a\n: 1\n{other}: 1\n"
    assert yaml.safe_load(text)["a"] == 1, "it is YAML"
    with pytest.raises(ParityError, match="key 'a' stands twice"):
        parse_yaml(text.encode(), "s.yaml")


LINE = {"request_id": "q", "task_id": "t", "seed": 0, "system": "official", "status": "failed", "attempt": 1}


@untimed
@given(st.lists(st.booleans(), min_size=1, max_size=6), st.sampled_from(sorted(LINE)))
def test_a_log_tells_which_lines_it_is_in(tmp_path_factory: Any, twice: list[bool], key: str) -> None:
    store = SuiteStore(tmp_path_factory.mktemp("log"), "s")
    store.folder.mkdir()
    plain = json.dumps(LINE).encode()
    double = plain[:-1] + f', "{key}": {json.dumps(LINE[key])}}}'.encode()
    store.path.write_bytes(b"".join((double if two else plain) + b"\n" for two in twice))
    stored = store.read()
    assert list(stored.repeated) == [number for number, two in enumerate(twice, start=1) if two]
    assert set(stored.repeated.values()) <= {f"key {key!r} stands twice"}
    assert (len(stored.lines), stored.torn, stored.unreadable) == (twice.count(False), 0, ())
