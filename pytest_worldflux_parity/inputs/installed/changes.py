"""Whether what is installed is what its RECORDs say."""

from __future__ import annotations

from .data import Installed
from .files import in_threads, is_row


def contents(installed: Installed) -> dict[str, str]:
    """Path -> how it differs, of every listed file whose bytes are not what a RECORD says; reads them all."""
    paths = list(installed.listed)
    same = in_threads(paths, lambda path: any(is_row(path, row) for row in installed.listed[path]))
    return {
        path: installed.altered.get(path) or "has other bytes than its RECORD says"
        for path, ok in zip(paths, same, strict=True)
        if not ok
    }
