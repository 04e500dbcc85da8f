"""What a program leaves is opened as a regular file of a stated size, or the attempt fails with one line."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from pytest_worldflux_parity.errors import MatchError
from pytest_worldflux_parity.execution import attempt_end
from pytest_worldflux_parity.execution.attempt_end import clean_texts
from pytest_worldflux_parity.execution.cleaning import Cleaner
from pytest_worldflux_parity.execution.left_files import open_left, read_left, take_away_odd
from pytest_worldflux_parity.inputs.golden import read_arrays
from tests.conftest import Project

# How the candidate ends: after it has written an honest record.
ENDINGS = {
    "a link as the record": (
        "os.rename(metrics, metrics + '.own'); os.symlink(metrics + '.own', metrics)",
        "left a link as metrics.json",
    ),
    "a pipe as the record": ("os.unlink(metrics); os.mkfifo(metrics)", "left no file as metrics.json"),
    "a pipe as a log": ("os.unlink(log); os.mkfifo(log)", "left no file as stdout.log"),
    "a device as a log": ("os.unlink(log); os.symlink('/dev/zero', log)", "left a link as stdout.log"),
    "10 GB as the record": (
        "os.truncate(metrics, 10 * 10**9)",
        "left 10000000000 bytes as metrics.json, which may have 64 MiB",
    ),
}
ENDS = """
def ends(request):
    ok(request)
    metrics, log = (os.path.join(request.out_dir, n) for n in ("metrics.json", "stdout.log"))
    {}


def crash(request):
"""


def ending(project: Project, code: str) -> None:
    program = project.root / "backends" / "program.py"
    text = program.read_text(encoding="utf-8").replace("def crash(request):\n", ENDS.format(code).lstrip())
    program.write_text(text.replace("ok, crash,", "ok, ends, crash,"), encoding="utf-8")
    project.suite(tasks=["alpha"], seeds=1, recipe={"behaviour": "ends", "only": ["worldflux/alpha/0"]})


@pytest.mark.parametrize("name", ENDINGS)
def test_what_is_no_file_of_its_size_fails_its_pair_in_one_line(project: Project, name: str) -> None:
    code, said = ENDINGS[name]
    ending(project, code)
    result = project.run()
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines([f"worldflux: fake_worldflux: the program {said}; to mend: *"])
    assert [(x["system"], x["status"]) for x in project.lines()] == [
        ("official", "success"),
        ("worldflux", "failed"),
    ]
    assert (project.run_dir() / "fake_quick" / "evidence_bundle.zip").exists()


@pytest.mark.parametrize("deep", [100, 300, 700, 20_000])
def test_a_record_nested_too_deep_fails_its_pair_in_one_line(project: Project, deep: int) -> None:
    """Also where Python itself would go no deeper, and a resume goes on."""
    nested = f"json.dumps(document).replace('\"here\"', '[' * {deep} + ']' * {deep})"
    reads = "import json; document = json.load(open(metrics)); document['metadata']['x'] = 'here'"
    ending(project, f"{reads}; open(metrics, 'w').write({nested})")
    result = project.run()
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*fake_worldflux: metrics.json: *nested deeper than *"])
    assert project.run("--parity-resume").ret == pytest.ExitCode.TESTS_FAILED
    assert {x["error_kind"] for x in project.lines() if x["system"] == "worldflux"} == {"failed"}


def test_a_program_may_empty_its_folder_first(project: Project) -> None:
    """As programs do that begin a new folder of logs: what was asked stands there again at its end."""
    code = "import shutil; shutil.rmtree(HERE); os.makedirs(HERE); os.chdir(HERE); ok(request)"
    ending(project, code.replace("HERE", "request.out_dir"))
    project.run()
    assert [x["success"] for x in project.lines()] == [True, True]
    found = project.document()["gates"]["validity"]["findings"]
    assert not [finding for finding in found if finding["code"] == "attempt_without_line"]
    assert (project.out_dir("worldflux", "alpha", 0) / "attempt_1" / "request.json").is_file()


@pytest.mark.parametrize("status", [0, 3])
def test_a_program_that_takes_its_folder_away_has_failed(project: Project, status: int) -> None:
    """Its attempt has a line, whatever it says at its end: nothing is tried again for nothing."""
    ending(project, f"import shutil; shutil.rmtree(request.out_dir); os._exit({status})")
    assert project.run().ret == pytest.ExitCode.TESTS_FAILED
    lines = [x for x in project.lines() if x["system"] == "worldflux"]
    assert lines
    assert [x["attempt"] for x in lines] == list(range(1, len(lines) + 1))
    assert {x["error_kind"] for x in lines} == {"failed"}


def test_a_log_without_end_loses_its_middle_and_no_result(project: Project) -> None:
    """Ten gigabytes of output are no reason to lose days of training."""
    ending(project, "sys.stdout.flush(); os.truncate(log, 10 * 10**9)")
    project.run()
    assert [x["success"] for x in project.lines()] == [True, True]
    folder = project.run_dir() / "fake_quick" / "executions" / "alpha" / "seed_0" / "worldflux" / "attempt_1"
    assert (folder / "stdout.log").stat().st_size < attempt_end.MOST_LOG
    assert b"bytes of this log are left out here" in (folder / "stdout.log").read_bytes()


def test_a_long_log_keeps_its_ends_and_is_clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempt_end, "MOST_LOG", 4000)
    monkeypatch.setattr(attempt_end, "LOG_BEGINNING", 1000)
    lines = [f"line {i} of hunter2-and-more\n" for i in range(1000)]
    (tmp_path / "stdout.log").write_text("".join(lines), encoding="utf-8")
    clean_texts(tmp_path, Cleaner({"hunter2-and-more": "X"}, {}))
    kept = (tmp_path / "stdout.log").read_text(encoding="utf-8")
    assert kept.startswith("line 0 of <redacted:X>\n")
    assert kept.endswith("line 999 of <redacted:X>\n")
    assert "hunter2" not in kept
    before = kept
    clean_texts(tmp_path, Cleaner({"hunter2-and-more": "X"}, {}))
    assert (tmp_path / "stdout.log").read_text(encoding="utf-8") == before


BAR = b"\r 12%%|####      | %d/1000000 [00:10<10:00, 123.4it/s, loss=0.123]"


def test_of_a_progress_bar_its_last_state_is_kept(tmp_path: Path) -> None:
    """As a terminal shows it in the end, whether the state stands before or behind the return."""
    log = b"begun\r\n" + b"".join(BAR % i for i in range(5)) + b"\nepoch 1\n1%\r2%\r3%\r\r\nepoch 2\n\r 7%"
    (tmp_path / "stderr.log").write_bytes(log)
    (tmp_path / "stdout.log").write_bytes(b"a\r\nb\n\n\tc\r\n")
    (tmp_path / "progress.jsonl").write_bytes(b'{"a":\r1}\n')
    for _ in range(2):
        clean_texts(tmp_path, Cleaner({"hunter2-and-more": "X"}, {}))
        shown = b"begun\r\n" + BAR[1:] % 4 + b"\nepoch 1\n3%\r\r\nepoch 2\n 7%"
        assert (tmp_path / "stderr.log").read_bytes() == shown
        assert (tmp_path / "stdout.log").read_bytes() == b"a\r\nb\n\n\tc\r\n"
        assert (tmp_path / "progress.jsonl").read_bytes() == b'{"a":\r1}\n'


@pytest.mark.parametrize("end", [b"", b"\nTraceback (most recent call last):\nRuntimeError: boom\n"])
def test_a_hundred_megabytes_of_a_progress_bar_are_one_line(tmp_path: Path, end: bytes) -> None:
    with open(tmp_path / "stderr.log", "wb") as log:
        log.write(b"begun\n")
        log.writelines(
            b"".join(BAR % (10**6 + i) for i in range(k, k + 10_000)) for k in range(0, 1_500_000, 10_000)
        )
        log.write(end)
    assert (tmp_path / "stderr.log").stat().st_size > 10**8
    clean_texts(tmp_path, Cleaner({"hunter2-and-more": "X"}, {}))
    kept = (tmp_path / "stderr.log").read_bytes()
    assert kept.startswith(b"begun\n")
    assert kept.endswith(BAR[1:] % 2_499_999 + end)
    assert len(kept) < 1000


def test_what_is_read_is_a_regular_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    (tmp_path / "link").symlink_to("file")
    os.mkfifo(tmp_path / "pipe")
    assert read_left(tmp_path / "file", 5) == b"12345"
    with pytest.raises(OSError, match="has 5 bytes, and may have 4"):
        read_left(tmp_path / "file", 4)
    for path in (tmp_path / "link", tmp_path / "pipe", Path("/dev/zero"), tmp_path, tmp_path / "absent"):
        with pytest.raises(OSError, match=r".+"):
            open_left(path)


def test_what_is_no_file_is_taken_away_and_files_stay(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text("{}", encoding="utf-8")
    assert take_away_odd(tmp_path) == ""
    os.mkfifo(tmp_path / "stderr.log")
    assert take_away_odd(tmp_path) == "left no file as stderr.log"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["metrics.json"]


def test_arrays_are_bounded_before_they_are_unpacked(tmp_path: Path) -> None:
    bomb, honest = tmp_path / "bomb.npz", tmp_path / "honest.npz"
    np.savez(honest, z=np.arange(12.0))
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("z.npy", bytes(50_000_000))
    assert bomb.stat().st_size < 100_000
    assert read_arrays(honest, MatchError, 1000)["z"].shape == (12,)
    with pytest.raises(MatchError, match="it unpacks to 50000000 bytes, and may to 1000000"):
        read_arrays(bomb, MatchError, 1_000_000)
