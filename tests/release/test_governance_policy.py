"""The policy file: read strictly, and the tracked one names suites that are there."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pytest_worldflux_parity.errors import DocumentError
from pytest_worldflux_parity.release.release_policy import read_policy

CHECKOUT = Path(__file__).resolve().parents[2]
TRACKED = CHECKOUT / "reports" / "parity" / "suite_policy.json"
GOOD: dict[str, Any] = json.loads(TRACKED.read_text(encoding="utf-8"))


def refusal(path: Path) -> str:
    with pytest.raises(DocumentError) as caught:
        read_policy(path)
    assert "\n" not in caught.value.line()
    return caught.value.line()


def test_the_tracked_policy_requires_both_published_suites() -> None:
    policy = read_policy(TRACKED)
    assert {f: own.suites for f, own in policy.families.items()} == {
        "dreamerv3": ("dreamer_atari100k",), "tdmpc2": ("tdmpc2_dmcontrol39",),
    }  # fmt: skip
    assert all(own.required for own in policy.families.values())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"families": {}}, "families"),
        ({"families": {"tdmpc2": {"stage": "required", "suites": []}}}, "families.tdmpc2.suites"),
        ({"families": {"tdmpc2": {"stage": "required"}}}, "'suites' is missing in families.tdmpc2"),
        ({"families": {"tdmpc2": {"stage": True, "suites": ["a"]}}}, "families.tdmpc2.stage"),
        ({"families": {"tdmpc2": {"stage": "requierd", "suites": ["a"]}}}, "did you mean 'required'?"),
        ({"families": {"tdmpc2": {"stage": "require", "suites": ["a"]}}}, "did you mean 'required'?"),
        ({"families": {"tdmpc2": {"stage": "required", "suites": ["a", "a"]}}}, "families.tdmpc2.suites"),
        ({"families": {"tdmpc2": {"stage": "required", "suits": ["a"]}}}, "did you mean 'suites'?"),
        ({"families": {"a": {"stage": "x", "suites": ["s"]}, "b": {"stage": "y", "suites": ["s"]}}}, "also"),
        ({"schema_version": "worldflux.parity.policy.v2"}, "worldflux.parity.policy.v1"),
    ],
)
def test_what_is_wrong_is_said_with_file_and_key(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    path = tmp_path / "policy.json"
    path.write_text(json.dumps({**GOOD, **change}), encoding="utf-8")
    line = refusal(path)
    assert line.startswith(str(path))
    assert said in line


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"{", "policy.json:1: not JSON"),
        (b'{\n"families": }', "policy.json:2: not JSON"),
        (b"\xff", "not JSON"),
        (b"", "not JSON"),
        (b'{"families": {}, "families": {}}', "key 'families' stands twice"),
        (b'{"families": NaN}', "NaN is not a number"),
        (b'{"families": 1e400}', "1e400 is too large"),
        (b'{"schema_version": "\\ud800"}', "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "the document is"),
    ],
)
def test_what_is_not_a_json_object_is_one_line(tmp_path: Path, text: bytes, said: str) -> None:
    path = tmp_path / "policy.json"
    path.write_bytes(text)
    assert said in refusal(path)


def test_an_absent_file_says_how_to_name_it(tmp_path: Path) -> None:
    assert "--policy FILE" in refusal(tmp_path / "none.json")
    assert "cannot be read" in refusal(tmp_path / "a\0b")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=st.sampled_from(["", "families", "tdmpc2", "stage", "suites"]), value=json_values)
@example(where="suites", value=["tdmpc2_dmcontrol39"])
def test_anything_in_any_place_is_read_or_refused(tmp_path: Path, where: str, value: object) -> None:
    document = json.loads(json.dumps(GOOD))
    if where in ("stage", "suites"):
        document["families"]["tdmpc2"][where] = value
    elif where == "tdmpc2":
        document["families"][where] = value
    elif where:
        document[where] = value
    else:
        document = value
    path = tmp_path / "policy.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    with contextlib.suppress(DocumentError):
        policy = read_policy(path)
        assert policy.families
        assert all(own.suites for own in policy.families.values())
        return
    assert refusal(path).startswith(f"{path}: ")
