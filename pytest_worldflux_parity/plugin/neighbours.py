"""What other plugins are told, so that each does with parity items what it means to do."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest


def runs_items(option: Namespace) -> bool:
    """Whether tests are run, and not only collected or told of (``--setup-plan``, ``--setup-only``)."""
    return not (option.collectonly or option.setuponly or option.setupplan)


def has_default_workers(option: Namespace) -> bool:
    """Whether pairs are to run in as many processes as fit, because nobody said in how many."""
    # Of xdist, which need not be there.
    said: Any = getattr(option, "numprocesses", 0)
    chosen = said is not None or option.tx or option.dist != "no"
    return not chosen and not option.usepdb and runs_items(option)


@contextmanager
def workers_foretold(option: Namespace) -> Iterator[None]:
    """Let pytest-cov see that there will be workers: it chooses what it measures before we choose them.

    Args:
        option: what is known of the command line while the first plugins are loaded.
    """
    if getattr(option, "parity", None) is None or not has_default_workers(option):
        yield
        return
    option.dist = "load"
    try:
        yield
    finally:
        option.dist = "no"


def set_apart(item: pytest.Item, *keywords: str) -> None:
    """Let ``-k`` find an item by these words, and keep pytest-timeout from it: it has its own deadline."""
    item.extra_keyword_matches.update(keywords)
    if item.config.pluginmanager.hasplugin("timeout"):
        item.add_marker(pytest.mark.timeout(0))
