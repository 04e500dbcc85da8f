"""Slots on GPUs: never held twice, never waited for in a circle, and free once their holder is gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from pytest_worldflux_parity.errors import ParityError, StoreError
from pytest_worldflux_parity.execution import devices
from pytest_worldflux_parity.execution.devices import Gpu
from pytest_worldflux_parity.execution.leases import Pool, hold_lease, make_pool
from pytest_worldflux_parity.suite.suite import Resources

GPUS = (Gpu("GPU-aaa", 24.0), Gpu("GPU-bbb", 80.0))


def fake_driver(folder: Path, *rows: str, status: int = 0) -> None:
    """An ``nvidia-smi`` that lists these rows."""
    program = folder / "nvidia-smi"
    program.write_text("#!/bin/sh\n" + "".join(f"echo '{r}'\n" for r in rows) + f"exit {status}\n")
    program.chmod(0o755)


def test_what_the_driver_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    fake_driver(tmp_path, "GPU-aaa, 24000", "GPU-bbb, [N/A]", "GPU-abc, 1000")
    assert devices.gpus({}) == [Gpu("GPU-aaa", 24000 * 2**20 / 1e9), Gpu("GPU-bbb"), Gpu("GPU-abc", 1.048576)]

    def visible(text: str) -> list[str]:
        return [g.uuid for g in devices.gpus({"CUDA_VISIBLE_DEVICES": text})]

    assert visible("2,0") == ["GPU-abc", "GPU-aaa"]
    assert visible("GPU-bb") == ["GPU-bbb"]
    assert visible("1,7,0") == ["GPU-bbb"], "the first name of nothing ends the list, as CUDA has it"
    assert visible("") == visible("-1") == visible("GPU-a") == []
    assert visible("MIG-x,0") == ["MIG-x", "GPU-aaa"]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert devices.resolve("auto") == ("cuda", "")


@pytest.mark.parametrize(
    ("rows", "status", "visible", "told"),
    [
        (("Failed to initialize NVML",), 9, None, "and ended with status 9: Failed to initialize NVML"),
        (("No devices were found",), 0, None, "and ended with status 0: No devices were found"),
        ((), 0, None, "nvidia-smi lists no GPU, and ended with status 0"),
        (("GPU-aaa, 24000",), 0, "", "CUDA_VISIBLE_DEVICES='' leaves none of 1 GPUs"),
    ],
)
def test_a_driver_that_lists_nothing_is_told_of(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    rows: tuple[str, ...],
    status: int,
    visible: str | None,
    told: str,
) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    fake_driver(tmp_path, *rows, status=status)
    assert devices.gpus() == []
    assert devices.resolve("cpu") == ("cpu", "")
    device, word = devices.resolve("auto")
    assert device == "cpu"
    assert word.startswith("--device auto takes the CPU: ")
    assert told in word
    with pytest.raises(ParityError) as caught:
        devices.resolve("cuda")
    assert told in caught.value.line()


def test_without_a_driver_nothing_is_odd(monkeypatch: pytest.MonkeyPatch) -> None:
    """An honest control: most machines have none."""
    monkeypatch.setenv("PATH", "/nowhere")
    assert devices.resolve("auto") == ("cpu", "")
    with pytest.raises(ParityError, match="there is no nvidia-smi"):
        devices.resolve("cuda")


def test_a_driver_that_hangs_or_cannot_be_started_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(devices, "ANSWER_SEC", 0.2)
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\nexec sleep 30\n")
    program.chmod(0o755)
    assert "gave no answer in 0.2 s" in devices.resolve("auto")[1]
    program.write_text("#!/nowhere/shell\n")
    assert "nvidia-smi cannot be started: " in devices.resolve("auto")[1]


def test_the_emptiest_gpu_is_taken_and_the_program_sees_it_alone(tmp_path: Path) -> None:
    own = Pool(tmp_path / "locks", GPUS, slots=2)
    with ExitStack() as held:
        taken = [held.enter_context(hold_lease(own, Resources())) for _ in range(4)]
        assert Counter(t.gpus for t in taken) == {("GPU-aaa",): 2, ("GPU-bbb",): 2}
        assert taken[0].gpus != taken[1].gpus
        for lease in taken:
            assert lease.environment["CUDA_VISIBLE_DEVICES"] == lease.gpus[0]
            assert float(lease.environment["XLA_PYTHON_CLIENT_MEM_FRACTION"]) == 0.45
    with hold_lease(own, Resources(gpus=2), "gpus") as lease:
        assert set(lease.gpus) == {"GPU-aaa", "GPU-bbb"}
        assert "XLA_PYTHON_CLIENT_MEM_FRACTION" not in lease.environment


def test_memory_takes_its_share_of_the_slots(tmp_path: Path) -> None:
    own = Pool(tmp_path / "locks", GPUS, slots=4)
    assert [own.slots_wanted(g, Resources(gpu_memory_gb=20.0)) for g in GPUS] == [4, 1]
    assert own.slots_wanted(Gpu("unknown"), Resources(gpu_memory_gb=20.0)) == 1
    with hold_lease(own, Resources(gpu_memory_gb=50.0)) as lease:
        assert lease.gpus == ("GPU-bbb",), "it does not fit the other"
        assert len(lease.descriptors) == 2 + 3
    own.check(Resources(gpus=2, gpu_memory_gb=24.0), "here")
    with pytest.raises(ParityError, match=r"here: 2 GPU\(s\) of 25 GB are asked for, and there are 1"):
        own.check(Resources(gpus=2, gpu_memory_gb=25.0), "here")
    Pool(tmp_path, ()).check(Resources(gpus=8), "a CPU machine looks at none of it")


def test_many_that_want_one_or_several_all_get_theirs_and_no_slot_twice(tmp_path: Path) -> None:
    gpus = tuple(Gpu(f"GPU-{i}", 10.0) for i in range(3))
    own = Pool(tmp_path / "locks", gpus, slots=2)
    wishes = [
        (1, None, ""),
        (2, None, ""),
        (3, 10.0, ""),
        (1, 6.0, ""),
        (1, None, "gpus"),
        (1, None, "machine"),
    ]
    load: Counter[str] = Counter()
    most: Counter[str] = Counter()
    inside, guard, seen = 0, threading.Lock(), []

    def run(wish: Any) -> None:
        nonlocal inside
        count, memory, alone = wish
        with hold_lease(own, Resources(count, memory), alone) as lease:
            slots = 2 if memory or alone == "gpus" else 1
            with guard:
                inside += 1
                load.update(dict.fromkeys(lease.gpus, slots))
                most.update({g: max(0, load[g] - most[g]) for g in lease.gpus})
                seen.append((alone, inside, len(lease.gpus) == count))
            time.sleep(0.005)
            with guard:
                assert not (alone == "machine" and inside > 1)
                inside -= 1
                load.subtract(dict.fromkeys(lease.gpus, slots))

    threads = [threading.Thread(target=run, args=(w,)) for w in wishes * 5]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(seen) == len(threads), "nobody waits for ever"
    assert all(got for _, _, got in seen)
    assert max(most.values()) <= 2
    assert {number for alone, number, _ in seen if alone == "machine"} == {1}
    assert max(number for _, number, _ in seen) > 1, "and they do run beside each other"


def test_a_slot_is_free_only_once_holder_and_program_are_gone(tmp_path: Path) -> None:
    """The program inherits it: killing what started it frees nothing while the program still computes."""
    code = f"""
import subprocess, sys, time
from pathlib import Path
from pytest_worldflux_parity.execution.devices import Gpu
from pytest_worldflux_parity.execution.leases import Pool, hold_lease
from pytest_worldflux_parity.suite.suite import Resources
with hold_lease(Pool(Path({str(tmp_path / "locks")!r}), (Gpu("GPU-aaa"),)), Resources()) as lease:
    program = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"],
                               pass_fds=lease.descriptors, start_new_session=True)
    print(program.pid, flush=True)
    time.sleep(600)
"""
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    program = int(holder.stdout.readline())
    own = Pool(tmp_path / "locks", (Gpu("GPU-aaa"),))
    got = threading.Event()

    def take() -> None:
        with hold_lease(own, Resources()):
            got.set()

    thread = threading.Thread(target=take, daemon=True)
    thread.start()
    holder.kill()
    holder.wait()
    holder.stdout.close()
    assert not got.wait(0.3)
    os.kill(program, signal.SIGKILL)
    assert got.wait(60)
    thread.join(60)


def test_the_folder_is_ours_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLDFLUX_PARITY_LOCKS", raising=False)
    assert make_pool("cpu").folder == Path(f"/tmp/worldflux-parity-{os.getuid()}")
    assert make_pool("cpu", folder="/elsewhere").folder == Path("/elsewhere")
    monkeypatch.setenv("WORLDFLUX_PARITY_LOCKS", str(tmp_path / "named"))
    with hold_lease(make_pool("cpu", folder="/elsewhere"), Resources()) as lease:
        assert (tmp_path / "named").stat().st_mode & 0o777 == 0o700
        assert lease.gpus == ()
        assert not lease.environment
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "link").symlink_to(tmp_path / "named")
    (tmp_path / "file").write_text("")
    for name in ("open", "link"):
        with (
            pytest.raises(StoreError, match="its user alone can write"),
            hold_lease(Pool(tmp_path / name), Resources()),
        ):
            pass
    with (
        pytest.raises(StoreError, match="cannot be made"),
        hold_lease(Pool(tmp_path / "file" / "x"), Resources()),
    ):
        pass
