"""``--parity-retention``: what stays of an attempt once it is recorded."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_worldflux_parity.execution import retention
from tests.conftest import Project

KEPT = {"metrics.json", "request.json", "progress.jsonl", "stdout.log", "stderr.log"}
LITTER = {"run/config.yaml", "run/models/final.pt", "replay/chunk.npz", "replay/data", "progress.csv", "data"}


def files(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_symlink() or p.is_file()}


def littering(project: Project, **recipe: object) -> Path:
    """A suite of two pairs that leave litter; the folder outside that their links lead to."""
    outside = project.root / "elsewhere"
    outside.mkdir()
    (outside / "precious.txt").write_text("keep")
    behaviour = {"level": 100.0, "behaviour": "litters", "elsewhere": str(outside), **recipe}
    project.suite(tasks=["alpha"], seeds=2, recipe=behaviour)
    return outside


def test_all_stays_by_default(project: Project) -> None:
    outside = littering(project)
    project.run()
    assert files(project.out_dir("official", "alpha", 0) / "attempt_1") >= LITTER
    assert project.document("run.json")["retention"] == "full"
    assert (outside / "precious.txt").exists()


def test_minimal_keeps_records_logs_and_what_gates_need(project: Project) -> None:
    outside = littering(project)
    project.run("--parity-retention=minimal")
    left = files(project.out_dir("official", "alpha", 0) / "attempt_1")
    assert left == (KEPT - {"progress.jsonl"}) | {"run/config.yaml"}
    assert (outside / "precious.txt").read_text() == "keep"
    session = project.document("run.json")
    assert session["retention"] == "minimal"
    # The verdict rests on what is kept: it can be made again from it.
    before = project.document()
    assert "fail" not in {g["verdict"] for g in before["gates"].values()}
    project.run("--parity-resume")
    again = project.document()
    for key in ("verdict", "pairs", "stats", "gates", "runs"):
        assert before[key] == again[key], key


def test_a_failed_attempt_keeps_its_logs(project: Project) -> None:
    littering(project, then="crash")
    project.ini("filterwarnings = error", "parity_workers = 0", "parity_retention = minimal")
    result = project.run()
    result.stdout.fnmatch_lines(["*the replay buffer is empty*"])
    left = files(project.out_dir("worldflux", "alpha", 0) / "attempt_1")
    assert left == {"request.json", "stdout.log", "stderr.log"}
    assert "the replay buffer is empty" in project.report()


def test_another_word_is_refused(project: Project) -> None:
    project.suite()
    project.ini("parity_workers = 0", "parity_retention = some")
    result = project.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*parity_retention is 'some': valid: minimal, full*"])


def test_nothing_of_a_failed_attempt_goes_before_its_log_is_kept(tmp_path: Path) -> None:
    folder = tmp_path / "attempt_1"
    folder.mkdir()
    (folder / "core").write_text("x")
    (folder / "stdout.log").write_text("")
    retention.apply_retention("minimal", folder, {"success": False})
    assert files(folder) == {"core", "stdout.log"}
    # A link is no log: what it leads to may be gone tomorrow.
    (tmp_path / "log").write_text("why")
    (folder / "stderr.log").symlink_to(tmp_path / "log")
    retention.apply_retention("minimal", folder, {"success": False})
    assert files(folder) == {"core", "stdout.log", "stderr.log"}
    (folder / "stderr.log").unlink()
    (folder / "stderr.log").write_text("why")
    retention.apply_retention("minimal", folder, {"success": False})
    assert files(folder) == {"stdout.log", "stderr.log"}


def test_a_folder_that_is_a_link_is_not_entered(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "file").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    retention.prune(tmp_path / "link", ())
    retention.prune(tmp_path / "absent", ())
    assert files(tmp_path / "real") == {"file"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may remove anything")
def test_what_cannot_be_removed_stays(tmp_path: Path) -> None:
    (tmp_path / "shut").mkdir()
    (tmp_path / "shut" / "file").write_text("x")
    (tmp_path / "file").write_text("x")
    (tmp_path / "shut").chmod(0o500)
    retention.prune(tmp_path, ())
    (tmp_path / "shut").chmod(0o700)
    assert files(tmp_path) == {"shut/file"}


names = st.sampled_from(["a", "b", "metrics.json", "stderr.log", "x[1]", "*"])
paths = st.lists(names, min_size=1, max_size=3).map("/".join)


@settings(max_examples=40, deadline=None)
@given(tree=st.sets(paths, max_size=6), listed=st.sets(paths, max_size=2))
def test_exactly_what_is_named_stays(tree: set[str], listed: set[str]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = set()
        for path in sorted(tree):
            target = folder / path
            if not target.exists() and all(p == folder or not p.is_file() for p in target.parents):
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text("x")
                made.add(path)
        manifest = {"score_paths": [{"path": p} for p in listed], "checkpoint_paths": [{"path": "a"}]}
        retention.apply_retention("minimal", folder, {"success": True, "artifact_manifest": manifest})
        assert files(folder) == {p for p in made if p in listed or p in retention.KEPT_FILES}
