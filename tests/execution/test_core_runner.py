"""The runner and the guardian: what a program gets, and that it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_worldflux_parity import schemas, wire
from pytest_worldflux_parity.execution import runner
from pytest_worldflux_parity.execution.guardian import MARK, Guardian
from tests.conftest import alive, wait_until


def request(folder: Path, **changes: object) -> wire.RunRequest:
    fields: dict[str, object] = {
        "request_id": "1" * 64, "run_id": "r", "suite_id": "s", "family": "fake", "task_id": "t",
        "seed": 3, "system": "official", "adapter": "a", "device": "cpu", "recipe": {},
        "eval_protocol": {}, "out_dir": str(folder), "deadline_sec": 60.0,
    }  # fmt: skip
    return wire.RunRequest(**{**fields, **changes})  # type: ignore[arg-type]


def run(folder: Path, code: str, **changes: object) -> runner.Outcome:
    folder.mkdir(exist_ok=True)
    env = runner.program_environment(os.environ, [runner.install_wire(folder.parent / "wire")], 1)
    return runner.run(request(folder, **changes), runner.Start([sys.executable, "-c", code], env))


def test_the_environment_of_a_program() -> None:
    base = {"PATH": "/bin", "PYTHONPATH": "/mine", "PYTHONWARNINGS": "error", "PYTHONSTARTUP": "/x.py"}
    base |= {"PYTEST_CURRENT_TEST": "x", "OMP_NUM_THREADS": "64"}
    found = runner.program_environment(base, [Path("/wire"), Path("/project")], 2)
    assert found["PYTHONPATH"] == os.pathsep.join(["/wire", "/project"])
    assert found["PATH"] == "/bin"
    assert {found[name] for name in runner.THREAD_VARIABLES} == {"2"}
    own = {"PYTHONPATH", "PYTHONUNBUFFERED", "PYTHONNOUSERSITE"}
    assert {name for name in found if name.startswith(("PYTEST_", "PYTHON"))} == own


def test_a_program_imports_the_contract_and_nothing_else_of_ours(tmp_path: Path) -> None:
    code = """
import pytest_worldflux_parity.wire
try:
    import pytest_worldflux_parity.suite.pairs
except ImportError:
    raise SystemExit("only the contract")
"""
    outcome = run(tmp_path / "out", code)
    assert outcome.error == "a: exit status 1: only the contract"


def test_a_record_is_read_and_the_request_was_there(tmp_path: Path) -> None:
    code = """
import os, sys, json
from pytest_worldflux_parity import wire
request = wire.read_request("request.json")
assert os.getsid(0) == os.getpid() and sys.stdin.read() == ""
point = wire.CurvePoint(10, 1.5)
wire.write_record(request.out_dir, wire.RunRecord(request.request_id, "a", "t", 3, "cpu", (point,)))
"""
    outcome = run(tmp_path / "out", code)
    assert outcome.error == ""
    assert outcome.record is not None
    assert outcome.record.curve == (wire.CurvePoint(10, 1.5),)
    assert (outcome.success, outcome.return_code) == (True, 0)
    for name, schema in (("request.json", "request.v1"), ("metrics.json", "record.v1")):
        document = json.loads((tmp_path / "out" / name).read_text(encoding="utf-8"))
        schemas.check(document, schema, str)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"device": "cuda"}, "metrics.json has device 'cpu', not 'cuda'"),
        ({"seed": 4}, "metrics.json has seed 3, not 4"),
        ({"adapter": "b"}, "metrics.json has adapter 'a', not 'b'"),
        ({"request_id": "2" * 64}, "metrics.json answers another request"),
    ],
)
def test_an_answer_to_something_else_is_no_answer(
    tmp_path: Path, changes: dict[str, object], told: str
) -> None:
    record = wire.RunRecord("1" * 64, "a", "t", 3, "cpu", (wire.CurvePoint(10, 1.5),))
    with pytest.raises(runner.RecordError) as caught:
        runner.check_answer(request(tmp_path, **changes), record)
    assert told in caught.value.line()


def test_a_deadline_ends_the_group_even_if_it_does_not_listen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "TERM_GRACE_SEC", 0.2)
    code = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
open("pids", "w").write(f"{os.getpid()} {child.pid}")
time.sleep(600)
"""
    outcome = run(tmp_path / "out", code, deadline_sec=1.5)
    assert "deadline of 1.5 s passed" in outcome.error
    assert outcome.return_code is None
    pids = [int(p) for p in (tmp_path / "out" / "pids").read_text().split()]
    assert len(pids) == 2
    wait_until(lambda: not [p for p in pids if alive(p)], "the group's end")


def test_the_log_tail_is_the_end_of_a_long_log(tmp_path: Path) -> None:
    (tmp_path / "stdout.log").write_text("only this\n", encoding="utf-8")
    assert runner.log_tail(tmp_path) == "only this"
    (tmp_path / "stderr.log").write_bytes(b"x" * 10_000_000 + b"\xff\nlast words\n")
    tail = runner.log_tail(tmp_path)
    assert tail.endswith("\ufffd\nlast words")
    assert len(tail) <= runner.LOG_TAIL_BYTES
    assert runner.log_tail(tmp_path / "absent") == ""


def test_the_guardian_ends_what_is_watched_and_nothing_else() -> None:
    """A process that dies while it watches takes the program with it; one that stopped watching does not.

    Told by its group, by its mark alone where the number was not told yet, and a child that left the group.
    """
    code = f"""
import os, signal, sys
from pytest_worldflux_parity.execution.guardian import Guardian
guardian = Guardian()
with guardian.watching("spared"):
    guardian.started("spared", int(sys.argv[1]))
with guardian.watching("grouped"), guardian.watching("marked"):
    guardian.started("grouped", int(sys.argv[2]))
    os.kill(os.getpid(), {int(signal.SIGKILL)})
"""
    sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
    spared, grouped, marked, alike = (
        subprocess.Popen(sleep, start_new_session=True, env={**os.environ, MARK: mark})
        for mark in ("spared", "another", "marked", "marked2")
    )
    try:
        command = [sys.executable, "-c", code, str(spared.pid), str(grouped.pid)]
        assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
        assert grouped.wait(60) == marked.wait(60) == -signal.SIGKILL
        assert spared.poll() is alike.poll() is None
    finally:
        for process in (spared, grouped, marked, alike):
            process.kill()
            process.wait()


def test_a_guardian_that_was_ended_is_no_error() -> None:
    guardian = Guardian()
    guardian._process.kill()
    guardian._process.wait()
    with pytest.raises(BrokenPipeError):
        os.write(guardian._pipe, b"-\n")
    with guardian.watching("mark"):
        guardian.started("mark", os.getpid())
    guardian.close()
    assert guardian._process.stdin is not None
    assert guardian._process.stdin.closed, "it was let go"
