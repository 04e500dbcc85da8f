"""What the project's own tests need from pytest; plugins can be named at the top level only."""

from __future__ import annotations

import os

import pytest

pytest_plugins = ["pytester"]


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Plain ``pytest``, all tests and no other choice: one xdist worker a core, one thread each."""
    if not config.pluginmanager.hasplugin("xdist"):
        return
    option = config.option
    everything = config.args_source is not pytest.Config.ArgsSource.ARGS and option.parity is None
    chosen = option.numprocesses is not None or option.tx or option.dist != "no"
    if not everything or chosen or option.usepdb or option.collectonly or hasattr(config, "workerinput"):
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if cores > 1:
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            os.environ.setdefault(name, "1")
        # What is next to each other shares fixtures, so work is split in pieces, not test by test.
        option.numprocesses, option.dist, option.tx = cores, "worksteal", ["popen"] * cores
