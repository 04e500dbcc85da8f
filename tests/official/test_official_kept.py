"""What a run of an official backend left is found by its record, and is what it left; both families."""

from __future__ import annotations

import hashlib
import json

import pytest

from backends import official_dreamerv3, official_tdmpc2
from backends.official_dreamerv3 import results as dreamerv3_results
from backends.official_tdmpc2 import results as tdmpc2_results

FAMILIES = pytest.mark.parametrize(
    ("results", "refused"),
    [
        (dreamerv3_results, official_dreamerv3.Refused),
        (tdmpc2_results, official_tdmpc2.Refused),
    ],
    ids=["dreamerv3", "tdmpc2"],
)
WEIGHTS = b"weights"


def leave(out, results, **changes):
    """A run's folder: the weights and the record that names them."""
    (out / "official_run").mkdir()
    (out / "official_run/weights").write_bytes(WEIGHTS)
    entry = {"path": "official_run/weights", "sha256": hashlib.sha256(WEIGHTS).hexdigest()}
    metadata = {"artifact_manifest": {"checkpoint_paths": [{**entry, **changes.pop("entry", {})}]}}
    record = {"adapter": results.ADAPTER, "metadata": metadata, **changes}
    (out / "metrics.json").write_text(json.dumps(record))


@FAMILIES
def test_the_record_names_the_file(tmp_path, results, refused):
    leave(tmp_path, results)
    assert results.kept(tmp_path, "checkpoint_paths").read_bytes() == WEIGHTS


@FAMILIES
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
def test_what_a_run_did_not_leave_is_refused_in_one_line(tmp_path, results, refused, changes, words):
    leave(tmp_path, results, **changes)
    with pytest.raises(refused) as refusal:
        results.kept(tmp_path, "checkpoint_paths")
    assert words in str(refusal.value)
    assert "\n" not in str(refusal.value)


@FAMILIES
@pytest.mark.parametrize("text", ["", "{", "[]", '{"a": NaN}'])
def test_a_torn_record_is_refused(tmp_path, results, refused, text):
    (tmp_path / "metrics.json").write_text(text)
    with pytest.raises(refused, match="not the record of a run"):
        results.kept(tmp_path, "checkpoint_paths")


@FAMILIES
def test_a_folder_without_a_record_is_refused(tmp_path, results, refused):
    with pytest.raises(refused, match=r"metrics\.json: .*; wanted: the out_dir of a finished run"):
        results.kept(tmp_path, "checkpoint_paths")
