"""What the project's own tests need from pytest; plugins can be named at the top level only."""

from __future__ import annotations

import gc
import json
import os
from collections import Counter
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

# Seconds of each test file that takes five or more, as UPDATE_TEST_DURATIONS=1 pytest recorded them: the
# longest are begun first, so that no core waits for one that was begun last.
DURATIONS = Path(__file__).parent / "tests" / "durations.json"
UPDATE = "UPDATE_TEST_DURATIONS"


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Plain ``pytest``, all tests and no other choice: one xdist worker a core, one thread each."""
    if config.option.parity is None:
        # Tests start hundreds of interpreters: what these import is compiled once, not by each.
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
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
        # The tests of a file share fixtures and what was compiled for them: one worker runs all of them.
        option.numprocesses, option.dist, option.tx = cores, "loadfile", ["popen"] * cores
        # Files in our order, not those of most tests first.
        option.loadscopereorder = False


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The longest files first."""
    known = json.loads(DURATIONS.read_text(encoding="utf-8"))
    items.sort(key=lambda item: -known.get(item.nodeid.partition("::")[0], 0))


def pytest_collection_finish() -> None:
    """Have the collector pass by what was imported: it stays, and some tests have it collected often."""
    gc.freeze()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what was left out; where it is asked for, record how long each file took."""
    if config.option.markexpr == "not long" and config.option.parity is None:
        terminalreporter.write_line("the long tests are left out; they run by: pytest -m long")
    if not os.environ.get(UPDATE):
        return
    seconds: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                seconds[report.nodeid.partition("::")[0]] += report.duration
    longest = {name: round(seconds[name]) for name, _ in seconds.most_common() if seconds[name] >= 5}
    DURATIONS.write_text(json.dumps(longest, indent=0) + "\n", encoding="utf-8")
