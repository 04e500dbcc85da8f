"""How a manifest of the earlier system says that a program is run: a command with placeholders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import SuiteError

PLACEHOLDERS = (
    "run_id", "task_id", "family", "seed", "device", "metrics_out", "stdout_log", "stderr_log", "run_root",
    "repo_root", "worldflux_sha",
)  # fmt: skip


@dataclass(frozen=True)
class CommandSide:
    """How one system is run for one task. Texts keep their placeholders until :func:`fill`.

    Attributes:
        cwd: relative to the manifest's folder.
        artifact_requirements: kind -> paths (globs) that a run must leave behind.
    """

    adapter: str
    command: tuple[str, ...]
    backend_kind: str | None
    adapter_id: str
    cwd: str = "."
    env: Mapping[str, str] = field(default_factory=dict)
    timeout_sec: int | None = None
    artifact_requirements: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    source_commit: str | None = None


def fill(text: str, values: Mapping[str, str]) -> str:
    """``text`` with its placeholders replaced; other braces stay as they are.

    What is put in is not looked at again, so a value with braces in it stays itself.

    Raises:
        SuiteError: a placeholder has no value.
    """
    done, rest = "", text
    while "{" in rest:
        before, _, rest = rest.partition("{")
        name, closed, after = rest.partition("}")
        done += before
        if not closed or name not in PLACEHOLDERS:
            done += "{"
            continue
        if name not in values:
            raise SuiteError(f"the placeholder {{{name}}} has no value here", valid=sorted(values), got=name)
        done, rest = done + values[name], after
    return done + rest


def value_at(document: Any, *keys: str | int) -> Any:
    """What stands at ``keys`` within objects and lists that anyone may have written; None where nothing."""
    for key in keys:
        try:
            document = document[key]
        except (KeyError, IndexError, TypeError):
            return None
    return document
