"""What is asked: suites of every track, older manifests, campaigns, and the pairs that follow.

Here stands what plain pytest asks for, which pays for nothing else.
"""

from __future__ import annotations

from pathlib import Path

SYSTEMS = ("official", "worldflux")


def is_suite_name(path: Path) -> bool:
    """Whether a file of this name may be a suite."""
    return path.suffix.lower() in (".yaml", ".yml")
