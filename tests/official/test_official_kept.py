"""What a run of an official backend left is found by its record, and is what it left."""

from __future__ import annotations

import hashlib
import json

import pytest

from pytest_worldflux_parity import wire

ADAPTER, WEIGHTS = "official_x", b"weights"


def leave(out, **changes):
    """A run's folder: the weights and the record that names them."""
    (out / "official_run").mkdir()
    (out / "official_run/weights").write_bytes(WEIGHTS)
    entry = {"path": "official_run/weights", "sha256": hashlib.sha256(WEIGHTS).hexdigest()}
    metadata = {"artifact_manifest": {"checkpoint_paths": [{**entry, **changes.pop("entry", {})}]}}
    record = {"adapter": ADAPTER, "metadata": metadata, **changes}
    (out / "metrics.json").write_text(json.dumps(record))


def test_the_record_names_the_file(tmp_path):
    leave(tmp_path)
    assert wire.find_artifact(tmp_path, "checkpoint_paths", ADAPTER).read_bytes() == WEIGHTS


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"adapter": "other"}, "metrics.json: of a run of 'other'; wanted one of official_"),
        ({"metadata": {}}, "metrics.json: not the record of a run that names its checkpoint_paths"),
        ({"metadata": None}, "not the record of a run that names its checkpoint_paths"),
        ({"metadata": {"artifact_manifest": {"checkpoint_paths": []}}}, "not the record of a run"),
        ({"entry": {"path": 3}}, "not the record of a run that names its checkpoint_paths"),
        ({"entry": {"path": "gone"}}, "gone: no such file, and "),
        ({"entry": {"sha256": "0"}}, "weights: changed since the run: its sha256 is not the one in "),
    ],
)
def test_what_a_run_did_not_leave_is_refused_in_one_line(tmp_path, changes, words):
    leave(tmp_path, **changes)
    with pytest.raises(wire.WireError) as refusal:
        wire.find_artifact(tmp_path, "checkpoint_paths", ADAPTER)
    assert words in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"a": NaN}'])
def test_a_torn_record_is_refused(tmp_path, text):
    (tmp_path / "metrics.json").write_text(text)
    with pytest.raises(wire.WireError, match="not the record of a run"):
        wire.find_artifact(tmp_path, "checkpoint_paths", ADAPTER)


def test_a_folder_without_a_record_is_refused(tmp_path):
    with pytest.raises(wire.WireError, match=r"metrics\.json: .*; wanted: the out_dir of a finished run"):
        wire.find_artifact(tmp_path, "checkpoint_paths", ADAPTER)
