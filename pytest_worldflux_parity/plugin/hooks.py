"""The pytest hooks that are there without ``--parity``, and the one that begins a session with it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ..suite import is_suite_name
from .options import add_options, context_of

# Every session of everyone who has the plugin installed pays for these imports: the others are late.


def pytest_addoption(parser: pytest.Parser) -> None:
    add_options(parser)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    if config.option.parity is None:
        return
    from ..errors import ParityError
    from . import parity_session
    from .collected import set_default_paths

    try:
        context, device_word = context_of(config)
        set_default_paths(config)
        parity_session.begin_session(config, context, device_word)
    except ParityError as error:
        raise pytest.UsageError(error.line()) from None


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """``-n auto``: as many pairs at a time as fit."""
    if config.option.parity is None or os.environ.get("PYTEST_XDIST_AUTO_NUM_WORKERS"):
        return None
    from .collected import set_default_paths
    from .width import count_slots

    set_default_paths(config)
    return count_slots(config)


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    if not is_suite_name(file_path):
        return None
    from .collected import SuiteWithoutTrack, holds_suite, looks_like_suite

    named = parent.session.isinitpath(file_path)
    kind: type[pytest.File]
    if parent.config.option.parity is None:
        # Of a suite that is named: what says what to type. Of other files nothing.
        if not named or not looks_like_suite(file_path):
            return None
        kind = SuiteWithoutTrack
    elif named or holds_suite(parent.config, file_path):
        from .items import SuiteFile

        kind = SuiteFile
    else:
        return None
    collector: pytest.Collector = kind.from_parent(parent, path=file_path)
    return collector
