"""A stored line against the files of its attempt: equal to the last type, and nothing taken on trust."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import pytest

from pytest_worldflux_parity.execution.attempt_files import Attempt
from pytest_worldflux_parity.execution.store import Stored
from pytest_worldflux_parity.judgement import stored_lines

RECORD: dict[str, Any] = {
    "schema_version": "parity.v1", "request_id": "r", "adapter": "a", "task_id": "t", "seed": 0,
    "device": "cpu", "num_curve_points": 1, "curve": [{"step": 1, "return": 1.0}], "scalars": {"loss": 2.0},
    "success": True, "metadata": {"note": "plain", "number": 3},
}  # fmt: skip
REQUEST: dict[str, Any] = {
    "schema_version": "worldflux.parity.request.v1", "request_id": "r", "run_id": "x", "suite_id": "s",
    "family": "f", "task_id": "t", "seed": 0, "system": "official", "adapter": "a", "device": "cpu",
    "recipe": {}, "eval_protocol": {}, "out_dir": "/o", "deadline_sec": 1.0, "attempt": 1,
}  # fmt: skip
PLACE = "s/executions/t/seed_0/official/attempt_1"


class Files:
    """The files of one attempt."""

    def __init__(self, text: bytes) -> None:
        self.text = text

    def read(self, name: str) -> bytes:
        return self.text

    def attempts(self, suite_id: str) -> Iterator[Attempt]:
        yield Attempt(PLACE, frozenset(["metrics.json"]))


class Nothing(Files):
    """No attempt left anything."""

    def __init__(self) -> None:
        super().__init__(b"")

    def attempts(self, suite_id: str) -> Iterator[Attempt]:
        yield from ()


def doubt(record: dict[str, Any], text: bytes) -> tuple[str, str] | None:
    sha256 = hashlib.sha256(text).hexdigest()
    line = {
        "task_id": "t", "seed": 0, "system": "official", "attempt": 1, "status": "success", "metrics": record,
        "artifacts": {"metrics": f"{PLACE}/metrics.json"}, "artifacts_sha256": {"metrics": sha256},
    }  # fmt: skip
    return next(stored_lines.artifact_doubts(line, Files(text)), None)


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("note", ["plain", "back\\slash", "caf\u00e9", "a line\nand more", 'a "word"'])
def test_a_record_is_what_its_file_says(note: str, indent: int | None) -> None:
    record = {**RECORD, "metadata": {"note": note}}
    assert doubt(record, json.dumps(record, indent=indent).encode()) is None


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seed", 0.0), ("seed", False), ("success", 1), ("seed", 1), ("curve", [{"step": 1, "return": 1.5}]),
        ("scalars", {"loss": 2.5}), ("metadata", {"note": "plain", "number": 4}),
    ],
)  # fmt: skip
def test_a_file_that_says_something_else_is_seen(key: str, value: object) -> None:
    assert doubt(RECORD, json.dumps({**RECORD, key: value}).encode()) is not None


def test_a_number_beyond_64_bits_is_compared_whole() -> None:
    records = [{**RECORD, "metadata": {"number": 2**64 + i}} for i in (1, 2)]
    assert doubt(records[0], json.dumps(records[0]).encode()) is None
    assert doubt(records[0], json.dumps(records[1]).encode()) is not None


def test_a_key_that_stands_twice_in_the_file_is_seen() -> None:
    text = json.dumps(RECORD)
    found = doubt(RECORD, (text[:-1] + ', "seed" : 0}').encode())
    assert found is not None
    assert "stands twice" in found[1]


RUN = {"task_id": "t", "seed": 0, "system": "official"}


def unlisted(text: bytes) -> list[str]:
    stored = Stored(({**RUN, "request_id": "r", "attempt": 1},))
    return [f.detail for f in stored_lines.unlisted_attempts(Files(text), "s", stored)]


def test_an_attempt_with_a_line_is_no_finding_and_one_without_is() -> None:
    assert unlisted(json.dumps(REQUEST).encode()) == []
    (found,) = unlisted(json.dumps({**REQUEST, "request_id": "another"}).encode())
    assert "parity_runs.jsonl has no line of it" in found


@pytest.mark.parametrize(
    ("numbers", "absent"),
    [([1], None), ([2, 1], None), ([2], 1), ([1, 3], 2), ([10**18], 1), ([-1, 1], None)],
)
def test_a_number_that_is_left_out_is_a_finding(numbers: list[int], absent: int | None) -> None:
    lines = [{**RUN, "task_id": "a b", "request_id": "r", "attempt": n} for n in numbers]
    found = [f.detail for f in stored_lines.unlisted_attempts(Nothing(), "s", Stored(tuple(lines)))]
    last = f"parity_runs.jsonl has attempt {max(numbers)}, and no line of attempt {absent}"
    assert found == ([] if absent is None else [last])


@pytest.mark.parametrize(
    "change",
    [
        {"attempt": True}, {"attempt": 1.0}, {"seed": "0"}, {"seed": 1e400}, {"seed": float("nan")},
        {"request_id": []}, {"task_id": 3}, {"schema_version": "other"}, {"more": 1}, {"system": None},
    ],
    ids=str,
)  # fmt: skip
def test_a_request_that_is_none_is_a_finding(change: dict[str, Any]) -> None:
    (found,) = unlisted(json.dumps({**REQUEST, **change}).encode())
    assert "has no readable request" in found


@pytest.mark.parametrize("text", [b"", b"[]", b"null", b'"x"', b"{}", b'{"request_id": "r", "attempt": 1}'])
def test_a_file_that_holds_no_request_is_a_finding(text: bytes) -> None:
    twice = json.dumps(REQUEST).encode()[:-1] + b', "attempt": 1}'
    for broken in (text, twice):
        (found,) = unlisted(broken)
        assert "has no readable request" in found
