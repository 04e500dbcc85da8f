"""Gates: what must hold before a number means anything. (suite, evidence) -> findings.

A finding has a code, the record that it is about and one sentence. A gate with findings is broken
and no verdict can pass it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, order=True)
class Finding:
    """One thing that is wrong. ``task_id``, ``seed`` and ``system`` say about which record."""

    code: str
    detail: str
    task_id: str | None = None
    seed: int | None = None
    system: str | None = None

    def line(self) -> str:
        """``code (record): detail``."""
        about = [str(x) for x in (self.system, self.task_id) if x is not None]
        if self.seed is not None:
            about.append(f"seed {self.seed}")
        return f"{self.code} ({', '.join(about)}): {self.detail}" if about else f"{self.code}: {self.detail}"


def line_finding(code: str, detail: str, line: Mapping[str, Any]) -> Finding:
    """A finding about the record of a stored line."""
    return Finding(code, detail, line["task_id"], line["seed"], line["system"])


def finding_dict(finding: Finding) -> dict[str, Any]:
    """A finding as JSON."""
    return asdict(finding)
