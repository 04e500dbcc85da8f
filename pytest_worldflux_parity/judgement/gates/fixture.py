"""Fixtures: made-up numbers for rehearsing a release. Whatever touches one says so, and proves nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...suite.commands import value_at

BANNER = "FIXTURE: made-up numbers, not evidence"
MODE = "fixture"


def is_fixture_table(provenance: Mapping[str, Any]) -> bool:
    """Whether a score table says of itself that it is one; only ``false`` and silence say that it is not."""
    stated = provenance.get("fixture")
    return stated is not None and stated is not False


def is_fixture_line(line: Mapping[str, Any]) -> bool:
    """Whether a stored line holds a record whose ``metadata.mode`` is ``fixture``."""
    return bool(value_at(line, "metrics", "metadata", "mode") == MODE)
