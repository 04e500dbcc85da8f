"""The published score tables, which stand beside some checkouts."""

from __future__ import annotations

from pathlib import Path

import pytest

ORACLES = Path(__file__).resolve().parents[2] / "shared" / "oracles"
needs_oracles = pytest.mark.skipif(
    not ORACLES.is_dir(), reason="the published score tables are not at ../shared/oracles"
)
