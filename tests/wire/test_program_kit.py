"""The program of the page is a whole backend: it is run as it stands there."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from pytest_worldflux_parity import wire
from pytest_worldflux_parity.execution.runner import install_wire

ROOT = Path(__file__).resolve().parents[2]
REQUEST = wire.RunRequest(
    request_id="r", run_id="run", suite_id="s", family="tdmpc2", task_id="cartpole-balance", seed=1,
    system="worldflux", adapter="my_tdmpc2", device="cpu", recipe={"steps": 100}, out_dir="out",
    eval_protocol={"eval_window": 1, "windows": {"early": [1, 2], "never": [90, 101]}}, deadline_sec=60.0,
)  # fmt: skip


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """The program of the page in a folder of its own."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "backends/README.md").read_text(), re.DOTALL)
    (text,) = (block for block in blocks if "wire.Program(" in block)
    lines = [line for line in text.splitlines() if line.strip()]
    assert len(lines) < 22, "a program in about twenty lines"
    path = tmp_path / "my_backend" / "main.py"
    path.parent.mkdir()
    path.write_text(text)
    return path


def start(
    program: Path, *arguments: object, python: str = sys.executable
) -> subprocess.CompletedProcess[str]:
    """Run it with nothing of ours on its path but the contract."""
    path = program.parents[1] / "path"
    if not path.exists():
        install_wire(path)
    command = [python, str(program), *map(str, arguments)]
    env = {**os.environ, "PYTHONPATH": str(path)}
    return subprocess.run(
        command, env=env, cwd=program.parents[1], capture_output=True, text=True, check=False
    )


def written(folder: Path, **changes: object) -> Path:
    path = folder / "request.json"
    request = dataclasses.replace(REQUEST, out_dir=str(folder / "out"), **changes)  # type: ignore[arg-type]
    path.write_text(wire.request_to_json(request))
    return path


def test_the_program_of_the_page_leaves_a_whole_record(program: Path, tmp_path: Path) -> None:
    done = start(program, written(tmp_path))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    record = wire.read_record(tmp_path / "out" / "metrics.json")
    assert [point.step for point in record.curve] == [50, 100]
    assert record.scalars == {"loss.early": pytest.approx((4 + 2.56) / 2)}
    told = record.metadata
    assert told["effective_recipe"] == {"steps": 100, "lr": 0.1}
    assert told["source"] == {"tree_sha256": wire.tree_sha256(program.parent)}
    assert told["eval_protocol"]["windows"] == REQUEST.eval_protocol["windows"]
    assert told["eval_protocol_hash"] == wire.eval_protocol_hash(
        "tdmpc2", "cartpole-balance", told["eval_protocol"]
    )
    assert told["timing"]["wall_sec"] > 0
    lines = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    assert [line["updates"] for line in lines] == [20, 40, 60, 80, 100]
    assert lines[0].keys() == {"step", "updates", "train/loss"}


def test_by_hand_it_takes_the_same_words_as_ours(program: Path, tmp_path: Path) -> None:
    by_hand = ("--task", "t", "--seed", 2, "--out", tmp_path / "o", "--set", "steps=60", "--window", "w=1:1")
    assert start(program, *by_hand).returncode == 0
    assert wire.read_record(tmp_path / "o" / "metrics.json").scalars == {"loss.w": 1.0}
    assert start(program).returncode == 2


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"adapter": "other"}, "request.adapter is 'other'; valid: my_tdmpc2"),
        ({"device": "tpu"}, "request.device is 'tpu'; valid: cpu, cuda"),
        ({"threads": 0}, "request.threads is 0; valid: 1 or more"),
        ({"eval_protocol": {"windows": {"a": [2, 1]}}}, "windows.a"),
    ],
)
@pytest.mark.parametrize("check", [[], ["--check"]])
def test_what_it_cannot_answer_is_one_line(
    program: Path, tmp_path: Path, changes: dict[str, object], said: str, check: list[str]
) -> None:
    done = start(program, *check, written(tmp_path, **changes))
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert done.stderr.startswith("my_backend")
    assert said in done.stderr
    assert not (tmp_path / "out" / "metrics.json").exists()


def test_what_nobody_foresaw_keeps_its_traceback_and_ends_in_a_line(program: Path, tmp_path: Path) -> None:
    program.write_text(program.read_text().replace("weight = float(", "weight = float('x' if 1 else "))
    done = start(program, written(tmp_path))
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("my_backend: the program failed: ValueError: ")


def test_a_program_that_does_not_say_what_it_did_has_no_record(program: Path, tmp_path: Path) -> None:
    program.write_text(program.read_text().replace("effective_recipe=recipe, ", ""))
    done = start(program, written(tmp_path))
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert "effective_recipe" in done.stderr


def test_a_package_that_its_own_environment_lacks_is_named_with_what_mends_it(
    program: Path, tmp_path: Path
) -> None:
    venv.create(tmp_path / ".worldflux/envs/mine")
    program.write_text(
        program.read_text().replace("    log.begin(", "    import absent_package\n    log.begin(")
    )
    said = []
    for python in (sys.executable, str(tmp_path / ".worldflux/envs/mine/bin/python")):
        done = start(program, written(tmp_path), python=python)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
        said.append(done.stderr.rpartition("to mend: ")[2])
    create = "worldflux-parity env create my_backend"
    assert said[0] == "worldflux-parity doctor\n"
    assert said[1] == f"name what brings it in requirements of backend.yaml, then {create}\n"
