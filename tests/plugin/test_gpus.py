"""Runs on GPUs, with a driver that only lists some: who holds what, and what a run out of memory gets."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Project
from tests.execution.test_leases import fake_driver


@pytest.fixture(autouse=True)
def driver(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two GPUs, and locks of the test's own."""
    folder = project.root / "driver"
    folder.mkdir()
    fake_driver(folder, "GPU-aaa, 24000", "GPU-bbb, 24000")
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("XLA_PYTHON_CLIENT_MEM_FRACTION", raising=False)
    monkeypatch.setenv("WORLDFLUX_PARITY_LOCKS", str(project.root / "locks"))


def seen(project: Project) -> list[Any]:
    return [json.loads(x) for x in (project.root / "seen").read_text(encoding="utf-8").splitlines()]


def test_two_sessions_share_the_gpus_of_a_host_and_no_slot(project: Project) -> None:
    recipe = {"level": 100.0, "behaviour": "sees", "log": str(project.root / "seen")}
    project.suite(tasks=["alpha"], recipe=recipe, deadline_sec=200)
    other = project.start("-n", "auto", run_id="other")
    result = project.run("-n", "auto")
    assert result.ret == other.wait(200) == pytest.ExitCode.OK, result.stdout.str()
    result.stdout.fnmatch_lines(["parity: quick, device cuda, *"])
    assert len(seen(project)) == 12
    for uuid in ("GPU-aaa", "GPU-bbb"):
        times = sorted((start, end) for gpus, start, end, _ in seen(project) if gpus == [uuid])
        assert all(before[1] <= after[0] for before, after in pairwise(times)), times
    assert {tuple(x["gpus"]) for x in project.lines()} <= {("GPU-aaa",), ("GPU-bbb",)}


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_driver_that_fails_is_said_and_the_session_is_on_one_device(
    project: Project, workers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it fails for a worker alone: what the controller saw is what all run on."""
    project.suite(tasks=["alpha"])
    count = project.root / "asked"
    program = project.root / "driver" / "nvidia-smi"
    program.write_text(f"#!/bin/sh\necho x >> {count}\necho 'no contact with the driver'\nexit 9\n")
    result = project.run("-n", workers)
    assert result.ret == pytest.ExitCode.OK
    said = (
        "parity: --device auto takes the CPU: nvidia-smi lists no GPU, and ended with status 9: no contact*"
    )
    result.stdout.fnmatch_lines(["parity: quick, device cpu, *", said])
    assert len(count.read_text().splitlines()) <= 2, "once, and once for the document"
    assert {x["device"] for x in project.lines()} == {"cpu"}
    result = project.run("--device=cpu", run_id="cpu")
    assert "takes the CPU" not in result.stdout.str()
    result = project.run("--device=cuda", run_id="cuda")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--device cuda, but nvidia-smi lists no GPU, and ended with status 9*"])


def test_slots_and_resources(
    project: Project, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.ini("filterwarnings = error", "parity_workers = 0", "parity_slots_per_gpu = 2")
    recipe = {"level": 100.0, "behaviour": "sees", "log": str(project.root / "seen")}
    tasks = [
        "alpha",
        {"id": "beta", "resources": {"gpus": 2}},
        {"id": "gamma", "resources": {"gpu_memory_gb": 20}},
    ]
    project.suite(tasks=tasks, seeds=2, recipe=recipe)
    assert project.run().ret == pytest.ExitCode.OK
    found = {tuple(sorted(gpus)): share for gpus, _, _, share in seen(project)}
    assert found[("GPU-aaa", "GPU-bbb")] == "0.450"
    gamma = [x for x in project.lines() if x["task_id"] == "gamma"]
    assert [len(x["gpus"]) for x in gamma] == [1] * 4
    assert None in [share for *_, share in seen(project)], "all slots of a GPU are all of its memory"
    monkeypatch.chdir(project.root)
    config = pytester.parseconfig("--parity=quick", "-n", "auto")
    assert config.hook.pytest_xdist_auto_num_workers(config=config) == 4

    project.suite(tasks=[{"id": "alpha", "resources": {"gpus": 3}}])
    result = project.run(run_id="more")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(
        ["*task 'alpha': 3 GPU(s) are asked for, and there are 2; to mend: ask for less*"]
    )
    assert project.run("--device=cpu", run_id="cpu").ret == pytest.ExitCode.OK
    project.ini("parity_slots_per_gpu = 0")
    assert project.run(run_id="none").ret == pytest.ExitCode.USAGE_ERROR


def tries(project: Project, task: str) -> list[str | None]:
    return [x["error_kind"] for x in project.lines() if (x["task_id"], x["system"]) == (task, "worldflux")]


def test_out_of_memory_is_tried_again_once_alone(project: Project) -> None:
    """Also what was alone already: whether it was cannot be told on every engine."""
    tasks = [
        {"id": name, "recipe": {"behaviour": name, "only": [f"worldflux/{name}/0"]}}
        for name in ("memory", "gpu_memory")
    ]
    project.suite(tasks=tasks, seeds=1, retries=2)
    project.run()
    assert tries(project, "memory") == ["out_of_memory"] * 2
    assert tries(project, "gpu_memory") == ["out_of_gpu_memory", None]
    project.ini("parity_workers = 0", "parity_slots_per_gpu = 2")
    project.run(run_id="slots")
    again = [x for x in project.lines(run_id="slots") if x["task_id"] == "gpu_memory"][-2:]
    assert [(x["error_kind"], x["success"]) for x in again] == [("out_of_gpu_memory", False), (None, True)]
