"""The contract refuses what it cannot hold, by the name of the field."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from pytest_worldflux_parity import wire

RECORD = wire.RunRecord("1" * 64, "a", "t", 0, "cpu", (wire.CurvePoint(0, 1.0),), {"loss": 1.0})


def text(**changes: object) -> str:
    return json.dumps({**wire.record_to_dict(RECORD), **changes})


def nested(levels: int) -> dict[str, object]:
    value: dict[str, object] = {}
    for _ in range(levels):
        value = {"x": value}
    return value


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (text().replace('"loss": 1.0', '"loss": 1' + "0" * 400), "scalars.loss is an integer, not a finite"),
        (text().replace('"loss": 1.0', '"loss": 1' + "0" * 5000), "not JSON"),
        (text().replace('"loss": 1.0', '"loss": 1e400'), "scalars.loss is inf, not a finite number"),
        (text(scalars={"loss": -1.1e50}), "scalars.loss is -1.1e+50, not a finite number of at most 1e+50"),
        (text(curve=[{"step": 0, "return": 2e50}]), "curve[0].return is 2e+50"),
        (text(curve=[{"step": 2**63, "return": 1.0}]), "curve[0].step is above"),
        (text()[:-1] + ', "seed": 0}', "the key 'seed' stands twice"),
        ("[" * 100_000, "nested deeper"),
        ('"\udcff"', "not JSON"),
    ],
    ids=["400 digits", "5000 digits", "1e400", "scalar", "return", "step", "repeated key", "deep", "bytes"],
)
def test_a_record_that_cannot_be_held_is_refused_by_name(tmp_path: Path, content: str, told: str) -> None:
    path = tmp_path / "metrics.json"
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(wire.WireError) as caught:
        wire.read_record(path)
    assert told in str(caught.value)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 400


def test_the_largest_numbers_are_held(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    path.write_text(text(scalars={"loss": 10**50}, curve=[{"step": 2**63 - 1, "return": -1e50}]))
    record = wire.read_record(path)
    assert (record.scalars, record.curve) == ({"loss": 1e50}, (wire.CurvePoint(2**63 - 1, -1e50),))


def test_what_is_nested_too_deep_is_no_json() -> None:
    with pytest.raises(wire.WireError, match="not representable as JSON"):
        wire.canonical_json(nested(100_000))


def test_a_lone_surrogate_is_written_as_its_escape(tmp_path: Path) -> None:
    wire.write_atomic(tmp_path / "report.md", "a\ud800b é")
    assert (tmp_path / "report.md").read_text(encoding="utf-8") == "a\\ud800b é"


def by_hand(**changes: object) -> wire.RunRequest:
    given = {
        "task": "t",
        "seed": 3,
        "device": "cpu",
        "threads": 2,
        "out": "o",
        "set": [],
        "eval": [],
        "window": [],
    }
    options = argparse.Namespace(**{**given, **changes})
    return wire.request_by_hand(options, "f", "official", "a", {"commit": "c"})


def test_a_request_by_hand_holds_what_the_options_say() -> None:
    request = by_hand(set=["a.b=2", "word=x=y", "flag=true"], eval=["eval_episodes=2"], window=["late=3:7"])
    assert request.recipe == {"a.b": 2, "word": "x=y", "flag": True}
    assert request.eval_protocol == {"eval_episodes": 2, "windows": {"late": [3, 7]}}
    assert (request.task_id, request.seed, request.threads, request.source) == ("t", 3, 2, {"commit": "c"})
    assert wire.RunRequest(**json.loads(wire.request_to_json(request))) == request


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ({"set": ["steps"]}, "--set steps: wanted KEY=VALUE"),
        ({"eval": ["late"]}, "--eval late: wanted KEY=VALUE"),
        ({"window": ["late"]}, "--window late: wanted NAME=FIRST:LAST"),
        ({"window": ["late=1:x"]}, "--window late=1:x: wanted NAME=FIRST:LAST"),
        ({"window": ["late=1:2:3"]}, "--window late=1:2:3: wanted NAME=FIRST:LAST"),
    ],
)
def test_an_option_that_cannot_be_read_is_refused_by_name(option: dict[str, list[str]], said: str) -> None:
    with pytest.raises(wire.WireError, match=said):
        by_hand(**option)


def test_steps_that_are_written_as_floats_are_whole_numbers(tmp_path: Path) -> None:
    """As programs of the earlier system write them, and JavaScript cannot but do."""
    path = tmp_path / "metrics.json"
    path.write_text(text(curve=[{"step": 0.0, "return": 1}, {"step": 1000.0, "return": 2.5}]))
    assert wire.read_record(path).curve == (wire.CurvePoint(0, 1.0), wire.CurvePoint(1000, 2.5))
    assert {type(p.step) for p in wire.read_record(path).curve} == {int}
    for step in (1000.5, 1e300, True, "1000"):
        path.write_text(text(curve=[{"step": step, "return": 1}]))
        with pytest.raises(wire.WireError, match=r"curve\[0\]:? ?\.?step is "):
            wire.read_record(path)
