"""How many pairs a session runs at a time: all from this one process, whatever ``-n`` says to xdist."""

from __future__ import annotations

import os

import pytest

from .collected import most_threads
from .options import slots_per_gpu, value_of


def width_of(config: pytest.Config) -> int:
    """Pairs at a time on this machine; 1: each when pytest comes to it.

    Raises:
        pytest.UsageError: ``parity_workers`` is no number.
    """
    given = getattr(config.option, "numprocesses", None)
    if given is not None or config.option.usepdb:
        return max(1, given or 0)
    text = str(config.getini("parity_workers"))
    if text != "auto" and not text.isdigit():
        raise pytest.UsageError(f"parity_workers is {text!r}: auto or a whole number is wanted")
    return count_slots(config) if text == "auto" else max(1, int(text))


def count_slots(config: pytest.Config) -> int:
    """How many runs fit at a time: slots of the GPUs; on a CPU, cores over the threads of a run."""
    from ..execution import devices

    if devices.resolve(value_of(config, "parity_device"))[0] == "cuda":
        return len(devices.gpus()) * slots_per_gpu(config)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // most_threads(config))


def keep_one_process(config: pytest.Config) -> None:
    """Keep xdist from starting workers: every program has a process of its own already.

    How tests are spread over workers (``--dist``, often of a project's ``addopts``) says nothing then.

    Raises:
        pytest.UsageError: they are to run elsewhere.
    """
    option = config.option
    if set(getattr(option, "tx", None) or ()) - {"popen"}:
        raise pytest.UsageError("a parity session runs from one process; to mend: leave --tx out")
    option.dist, option.tx = "no", []
