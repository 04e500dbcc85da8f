"""What the project's own tests need from pytest; plugins can be named at the top level only."""

from __future__ import annotations

import os

import pytest

pytest_plugins = ["pytester"]

# The files that take longest, the longest first; the rest follow as they are found. A file that takes
# half a minute and is not here may be begun last, and then one core waits for it.
LONGEST = (
    "tdmpc2/test_quick_suite.py",
    "golden_documents/test_golden_documents.py",
    "execution/test_ray_sessions.py",
    "execution/test_slurm_cluster.py",
    "dreamerv3/test_match_dreamerv3.py",
    "tdmpc2/test_program.py",
    "dreamerv3/test_agent_dreamerv3.py",
    "session/test_proof_sessions.py",
    "dreamerv3/test_environments_dreamerv3.py",
    "dreamerv3/test_program_dreamerv3.py",
    "evidence/test_evidence_runs.py",
    "plugin/test_plugin_resume.py",
    "plugin/test_plugin_selection.py",
    "plugin/test_plugin_sessions.py",
    "components/test_components_plugin.py",
    "plugin/test_endings.py",
    "plugin/test_kills.py",
)


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
    """The longest files first, so that no worker is left with one while the others have nothing to do."""
    rank = {str(config.rootpath / "tests" / name): place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(str(item.path), len(rank)))
