"""Why an attempt failed, and whether it is tried again."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_worldflux_parity.execution import runner
from pytest_worldflux_parity.execution.retry import (
    DISK_FULL,
    UNSEEN,
    Kind,
    failure_kind,
    is_excused,
    next_try,
)

TORCH = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity"
XLA = "jaxlib.xla_extension.XlaRuntimeError: RESOURCE_EXHAUSTED: Out of memory while trying to allocate 1 B."
NUMPY = "numpy._core._exceptions._ArrayMemoryError: Unable to allocate 7.28 TiB for an array"


@pytest.mark.parametrize(
    ("return_code", "log", "device", "oom_killed", "kind"),
    [
        (1, "ValueError: no", "cpu", False, "failed"),
        (1, "ValueError: no", "cpu", True, "failed"),
        (0, "MemoryError", "cpu", False, "failed"),
        (None, "", "cpu", True, "failed"),
        (1, f"Traceback\n{TORCH}\nmore", "cuda", False, "out_of_gpu_memory"),
        (1, XLA, "cuda", False, "out_of_gpu_memory"),
        (1, XLA, "cpu", False, "out_of_memory"),
        (1, "Traceback\nMemoryError", "cuda", False, "out_of_memory"),
        (1, NUMPY, "cpu", False, "out_of_memory"),
        (-6, "what():  std::bad_alloc", "cpu", False, "out_of_memory"),
        (1, "I handle a MemoryError well; ValueError: no", "cpu", False, "failed"),
        (-9, "", "cpu", True, "out_of_memory"),
        (137, "", "cpu", True, "out_of_memory"),
        (-9, "", "cpu", False, "killed"),
        (137, "", "cpu", False, "killed"),
        (-15, "", "cpu", True, "killed"),
        (-1, "", "cpu", False, "killed"),
        (-11, "", "cpu", False, "failed"),
    ],
)
def test_kinds(return_code: int | None, log: str, device: str, oom_killed: bool, kind: str) -> None:
    assert failure_kind(return_code, log, device, oom_killed) == kind


def tries(*failures: str, retries: int) -> str:
    """Of failures within one session."""
    return next_try([], failures, retries)  # type: ignore[arg-type]


def test_each_kind_has_its_own_rule() -> None:
    for kind in ("failed", "deadline", "killed"):
        assert tries(kind, retries=0) == "never"
        assert tries(kind, retries=1) == "again"
        assert tries(kind, "failed", retries=1) == "never"
        assert tries("lost", kind, retries=0) == "never"
    for kind in UNSEEN:
        assert tries(kind, retries=0) == "again"
        assert tries(kind, "lost", retries=0) == "never"
        assert tries(kind, "lost", retries=2) == "again"
        assert tries(kind, "failed", retries=1) == "again", "a loss uses up no retry"
        assert tries("failed", kind, retries=0) == "again"
    assert tries("disk_full", retries=0) == "never", "nobody frees space meanwhile"
    assert tries("disk_full", retries=1) == "again"
    assert tries("disk_full", "failed", retries=1) == "again", "a full disk uses up no retry"
    for kind in ("out_of_memory", "out_of_gpu_memory"):
        assert tries(kind, retries=0) == "alone"
        assert tries(kind, kind, retries=9) == "never"


def test_retries_count_over_all_sessions_and_losses_within_one() -> None:
    failed: Kind = "failed"
    lost: Kind = "lost"
    memory: Kind = "out_of_memory"
    assert next_try([DISK_FULL] * 9, [], retries=0) == "again"
    assert next_try([failed], [], retries=0) == "never"
    assert next_try([failed], [], retries=1) == "again"
    assert next_try([failed], [failed], retries=1) == "never"
    assert next_try([lost] * 9, [], retries=0) == "again"
    assert next_try([lost] * 9, [lost, lost], retries=0) == "never"
    assert next_try([failed, lost], [failed], retries=1) == "never", "a loss between them changes nothing"
    assert next_try([memory], [], retries=0) == "alone"
    assert next_try([memory], [memory], retries=9) == "never"


def test_what_a_program_cannot_have_caused() -> None:
    """Its engine says so, or walls stood between it and what ran it."""
    walled, open_ = {"by": "bubblewrap"}, {"by": "none", "why": "--parity-isolate=off"}
    assert [is_excused("lost", within) for within in (walled, open_, None)] == [True, False, False]
    for kind in ("node_lost", "preempted"):
        assert is_excused(kind, open_)
        assert is_excused(kind, None)
    for kind in ("failed", "deadline", "killed", "out_of_memory", "out_of_gpu_memory", None):
        assert not is_excused(kind, walled)


KINDS = st.sampled_from(
    ["failed", "deadline", "killed", *UNSEEN, "out_of_memory", "out_of_gpu_memory", "disk_full"]
)


@given(st.lists(KINDS, min_size=25, max_size=25), st.integers(0, 5))
def test_every_run_comes_to_an_end(kinds: list[str], retries: int) -> None:
    stops = [n for n in range(1, 26) if tries(*kinds[:n], retries=retries) == "never"]
    assert stops
    assert stops[0] <= 3 * retries + 6


def test_the_kernels_count_of_oom_kills(tmp_path: Path) -> None:
    proc, cgroups = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "self").mkdir(parents=True)
    own = cgroups / "user.slice" / "a"
    own.mkdir(parents=True)
    assert runner.oom_kills(proc, cgroups) == 0
    (proc / "vmstat").write_text("nr_free_pages 5\noom_kill 3\n")
    assert runner.oom_kills(proc, cgroups) == 3
    (proc / "self" / "cgroup").write_text("0::/user.slice/a\n")
    (own / "memory.events").write_text("oom 2\noom_kill 1\noom_group_kill 0\n")
    assert runner.oom_kills(proc, cgroups) == 1, "that of the own group is meant"
    (proc / "self" / "cgroup").write_text("4:cpu,memory:/elsewhere\n0::/\n")
    (cgroups / "memory").mkdir()
    (cgroups / "memory" / "memory.oom_control").write_text("oom_kill_disable 0\noom_kill 7\n")
    assert runner.oom_kills(proc, cgroups) == 7, "version 1, as a container sees it"
