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
GOOD: dict[str, Any] = {
    "schema_version": "worldflux.parity.policy.v1",
    "families": {
        "dreamerv3": {"stage": "required", "suites": ["dreamer_atari100k"]},
        "tdmpc2": {"stage": "required", "suites": ["tdmpc2_dmcontrol39"]},
    },
}
SUITE = "suites/quick/a.yaml"
ROW: dict[str, Any] = {"family": "fake", "stage": "required", "evidence": "bundle"}
PEM = """-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=
-----END PUBLIC KEY-----
"""
SIGNER = {"name": "releases", "public_key": PEM}


def refusal(path: Path) -> str:
    with pytest.raises(DocumentError) as caught:
        read_policy(path)
    assert "\n" not in caught.value.line()
    return caught.value.line()


def v2(signers: object = (), **row: Any) -> dict[str, Any]:
    suites = {SUITE: {**ROW, **row}}
    return {"schema_version": "worldflux.parity.policy.v2", "suites": suites, "signers": list(signers)}  # type: ignore[call-overload]


def test_the_tracked_policy_requires_quick_suites_with_evidence_and_tables_where_they_are() -> None:
    policy = read_policy(TRACKED)
    found = {rule.suite: (rule.stage, rule.evidence, sorted(rule.admit)) for rule in policy.rules.values()}
    quick, published = ("required", "bundle", ["no_isolation"]), ("required_where_table", "documents", [])
    assert found == {
        "suites/quick/dreamerv3_quick.yaml": quick,
        "suites/quick/tdmpc2_quick.yaml": quick,
        "suites/published/dreamer_atari100k.yaml": published,
        "suites/published/tdmpc2_dmcontrol39.yaml": published,
    }
    assert policy.signers == {}


def test_a_policy_of_ids_binds_as_strictly_as_evidence_can_be_held(tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    path.write_text(json.dumps(GOOD), encoding="utf-8")
    rule = read_policy(path).rules["dreamer_atari100k"]
    assert (rule.required, rule.evidence, sorted(rule.admit)) == (True, "bundle", ["no_isolation"])


def test_what_a_policy_admits_and_who_signs(tmp_path: Path) -> None:
    admit = ["overrides", {"failed_attempts": 0.1}]
    path = tmp_path / "policy.json"
    path.write_text(json.dumps(v2([SIGNER], admit=admit, least_seeds=3)), encoding="utf-8")
    policy = read_policy(path)
    rule = policy.rules[SUITE]
    assert (rule.admit, rule.failed_attempts, rule.least_seeds) == ({"overrides"}, 0.1, 3)
    assert len(policy.signers["releases"].keyid) == 64


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (v2(admit=["overides"]), "did you mean 'overrides'?"),
        (v2(admit=["failed_attempts"]), "valid: overrides"),
        (v2(admit=[{"failed_attempts": 1.5}]), "failed_attempts"),
        (v2(admit=[{"failed_attempts": 0.1}, {"failed_attempts": 0.2}]), "'failed_attempts' stands twice"),
        (v2(admit=["overrides", "overrides"]), "'overrides' stands twice"),
        (v2(stage="requierd"), "did you mean 'required'?"),
        (v2(evidence="none"), "valid: bundle, documents"),
        (v2(least_seed=3), "did you mean 'least_seeds'?"),
        (v2(least_seeds=0), "least_seeds"),
        (v2(largest_margin=0), "largest_margin"),
        (v2([{**SIGNER, "public_key": "-----BEGIN PUBLIC KEY-----\n"}]), "is no public key in PEM"),
        (v2([SIGNER, SIGNER]), "the signer 'releases' stands twice"),
        ({**v2(), "suites": {"../a.yaml": ROW}}, "../a.yaml"),
        ({**v2(), "suites": {"fake_quick": ROW}}, "fake_quick"),
        ({k: v for k, v in v2().items() if k != "signers"}, "key 'signers' is missing"),
        ({**v2(), "families": {}}, "unknown key 'families'"),
    ],
)
def test_what_is_wrong_in_a_policy_of_files(tmp_path: Path, document: dict[str, Any], said: str) -> None:
    path = tmp_path / "policy.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    line = refusal(path)
    assert line.startswith(str(path))
    assert said in line


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
        ({"schema_version": "worldflux.parity.policy.v3"}, "did you mean 'worldflux.parity.policy.v2'?"),
        ({"schema_version": "worldflux.parity.policy.v2"}, "unknown key 'families'"),
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
        assert policy.rules
        return
    assert refusal(path).startswith(f"{path}: ")
