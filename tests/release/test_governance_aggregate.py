"""``worldflux-parity aggregate``: one document from those of runs, or one line on why not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_worldflux_parity import schemas
from tests.release.judged_runs import COMMIT, earlier, read, run_path, write

Command = Callable[..., tuple[int, str, str]]
GLOB = "reports/parity/*/*/run.json"
OUT = "reports/parity/aggregate.json"


def test_the_runs_of_a_session_give_its_own_aggregate(copied: Path, command: Command) -> None:
    """What pytest wrote from its judgements and what is made from the documents is the same."""
    output = copied / "reports" / "parity" / "r" / "again.json"
    status, out, err = command("aggregate", "--runs-glob", GLOB, "--output", output)
    assert (status, err) == (0, "")
    assert "3 of 4 suites pass" in out
    made, own = read(output), read(output.with_name("aggregate.json"))
    schemas.check(made, "aggregate.v1", str)
    rows = {row["suite_id"]: row for row in own.pop("suites")}
    assert {row["suite_id"]: row for row in made.pop("suites")} == rows
    for key in ("run_count", "suite_pass_count", "suite_fail_count", "all_suites_pass", "families",
                "global_non_inferiority", "not_judged"):  # fmt: skip
        assert made[key] == own[key], key
    assert not made["all_suites_pass"]
    assert {f["family"]: (f["pass"], f["fail"]) for f in made["families"]} == {
        "fake": (3, 0),
        "other": (0, 1),
    }


def test_it_points_to_files_that_are_there_only(copied: Path, command: Command) -> None:
    output = copied / "elsewhere" / "all.json"
    assert command("aggregate", "--runs-glob", GLOB, "--output", output)[0] == 0
    made = read(output)
    artifacts = made["evidence_bundle"]["artifacts"]
    named = [*artifacts["run_jsons"], artifacts["aggregate_json"], *made["run_paths"]]
    assert all((output.parent / path).is_file() for path in named)
    assert artifacts["report_md"] is None
    assert artifacts["dashboard_html"] is None


def test_documents_of_the_earlier_system(copied: Path, command: Command) -> None:
    folder = copied / "reports" / "parity" / "runs"
    write(folder / "worse.json", earlier(read(run_path(copied, "worse"))))
    good = earlier(read(run_path(copied, "good")))
    for key in ("evaluation_manifest", "artifact_integrity", "suite_lock_ref", "evidence_bundle"):
        del good[key]
    del good["stats"]["verdict_reason"]
    write(folder / "good.json", good)
    assert command("aggregate", "--runs-glob", f"{folder}/*.json", "--output", OUT)[0] == 0
    rows = {row["suite_id"]: row for row in read(copied / OUT)["suites"]}
    assert {s: (row["verdict"], row["pass"]) for s, row in rows.items()} == {
        "good": ("pass", True), "worse": ("fail", False),
    }  # fmt: skip
    assert "within the margin of 5.00% over 8 pairs: effect -" in rows["good"]["verdict_reason"]


def test_nothing_is_an_error(copied: Path, command: Command) -> None:
    status, _, err = command("aggregate", "--runs-glob", "none/*.json", "--output", OUT)
    assert status == 1
    assert "no file matches 'none/*.json'" in err
    # Also beside a pattern that names something: what was asked for is not there.
    assert command("aggregate", "--runs-glob", GLOB, "none/*.json", "--output", OUT)[0] == 1
    assert not (copied / OUT).exists()


def test_two_documents_of_one_suite(copied: Path, command: Command) -> None:
    copy = copied / "reports" / "parity" / "later" / "good" / "run.json"
    document = read(run_path(copied, "good"))
    write(copy, document)
    arguments = ("aggregate", "--runs-glob", GLOB, "--output", OUT)
    status, _, err = command(*arguments)
    assert status == 1
    assert "the suite 'good' has two documents" in err
    assert "--newest" in err
    assert "r/good/run.json" in err
    assert "later/good/run.json" in err
    assert "at the same time" in command(*arguments, "--newest")[2]
    write(copy, {**document, "generated_at_utc": "2099-01-01T00:00:00"})
    assert command(*arguments, "--newest")[0] == 0
    assert "later/good/run.json" in read(copied / OUT)["run_paths"]
    write(copy, {**document, "generated_at_utc": "yesterday"})
    assert "generated_at_utc is 'yesterday'" in command(*arguments, "--newest")[2]


def _edited(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
    def edit(path: Path) -> None:
        document = read(path)
        change(document)
        write(path, document)

    return edit


def _outside(document: dict[str, Any]) -> dict[str, Any]:
    return {**document, "suite": {**document["suite"], "suite_id": "../x"}}


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda p: p.write_text("{"), "good/run.json:1: not JSON"),
        (lambda p: p.write_text("[]"), "is no JSON object; valid: worldflux.parity.run.v1"),
        (lambda p: p.write_text('{"pass": 1, "pass": 1}'), "key 'pass' stands twice"),
        (lambda p: p.write_text(p.read_text().replace('"margin_ratio": 0.05', '"margin_ratio": NaN')), "NaN"),
        (lambda p: shutil.copy(p.parent.parent / "run.json", p), "is 'worldflux.parity.session.v1'"),
        (_edited(lambda d: d.pop("counts")), "key 'counts' is missing"),
        (_edited(lambda d: d.update({"pass": False})), "pass"),
        (_edited(lambda d: d.update(extra=1)), "unknown key 'extra'"),
        (_edited(lambda d: d["suite"].update(suite_id="../x")), "suite.suite_id"),
        (_edited(lambda d: d["evidence_bundle"].update(suite_id="../x")), "evidence_bundle.suite_id"),
        (lambda p: write(p, _outside(earlier(read(p)))), "suite.suite_id"),
    ],
)  # fmt: skip
def test_an_invalid_document_is_an_error(
    copied: Path, command: Command, edit: Callable[[Path], object], said: str
) -> None:
    edit(run_path(copied, "good"))
    status, out, err = command("aggregate", "--runs-glob", GLOB, "--output", OUT)
    assert (status, out) == (1, "")
    assert said in err
    assert "good/run.json" in err
    assert err.count("\n") == 1
    assert not (copied / OUT).exists()


def test_a_document_without_statistics_is_an_error(copied: Path, command: Command) -> None:
    path = run_path(copied, "good")
    document = read(path)
    metric = document["metrics"]["episode_return"]
    metric.update(drop_ratio=None, calibrated=None, equivalence=None)
    write(path, document)
    assert "holds no statistics" in command("aggregate", "--runs-glob", GLOB, "--output", OUT)[2]
    old = earlier(read(run_path(copied, "worse")))
    old["stats"].update(sample_size=None, mean_drop_ratio=None)
    write(path, old)
    assert "stats" in command("aggregate", "--runs-glob", str(path), "--output", OUT)[2]


def test_the_output_does_not_replace_a_run(copied: Path, command: Command) -> None:
    path = run_path(copied, "good")
    before = path.read_bytes()
    assert command("aggregate", "--runs-glob", GLOB, "--output", path)[0] == 1
    assert path.read_bytes() == before
    assert json.loads(before)["suite_lock_ref"]["resolved_upstream_commit"] == COMMIT
