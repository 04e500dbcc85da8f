"""A program that a manifest of the earlier system names by its command, beside the folders of backends."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from .. import wire
from ..errors import SourceError
from ..suite.commands import CommandSide, fill
from .backends import PROJECT, Needs, own_python
from .files.git import ask_git

# In a copy of the project on another machine: the commit that it is a copy of.
COMMIT = ".worldflux-commit"
_COMMIT_ID = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")


@dataclass(frozen=True)
class CommandProgram:
    """One system of a manifest. It stands where a :class:`~.backends.Backend` stands elsewhere.

    Attributes:
        folder: of the manifest; programs start in folders relative to it.
        sides: task -> how it is run.
    """

    folder: Path
    adapter: str
    kind: str
    family: str
    system: str
    sides: Mapping[str, CommandSide]
    environment: str = "shared"
    lock_suite: str = ""
    match: None = None

    @property
    def name(self) -> str:
        return self.adapter

    @property
    def needs(self) -> Needs:
        """Nobody declares what a command needs: it may read what stands in the project."""
        return Needs(read=(PROJECT,))

    @property
    def adapter_id(self) -> str:
        return next(iter(self.sides.values())).adapter_id

    @property
    def commit(self) -> str | None:
        """The commit that the manifest names for the program; None where it names several or none."""
        commits = {side.source_commit for side in self.sides.values()}
        return commits.pop() if len(commits) == 1 else None

    @property
    def tree_sha256(self) -> str:
        """sha256 over the commands: nothing more is known of the program before it ran."""
        return wire.content_hash(
            {t: [list(s.command), s.cwd, dict(s.env)] for t, s in sorted(self.sides.items())}
        )

    def interpreter(self, root: Path) -> Path:
        """The Python that runs pytest; a command need not use it."""
        return own_python()

    def command(self, request: wire.RunRequest, root: Path) -> list[str]:
        """The command for one request.

        Raises:
            SuiteError: a placeholder has no value.
        """
        values = placeholder_values(request, root)
        return [fill(word, values) for word in self.sides[request.task_id].command]

    def environment_of(self, request: wire.RunRequest, root: Path) -> dict[str, str]:
        """What the manifest adds to the environment.

        Raises:
            SuiteError: a placeholder has no value.
        """
        values = placeholder_values(request, root)
        return {k: fill(v, values) for k, v in self.sides[request.task_id].env.items()}

    def working_folder(self, request: wire.RunRequest, root: Path) -> Path:
        """Where the program starts.

        Raises:
            SuiteError: a placeholder has no value.
        """
        return (
            self.folder / fill(self.sides[request.task_id].cwd, placeholder_values(request, root))
        ).resolve()


def placeholder_values(request: wire.RunRequest, root: Path) -> dict[str, str]:
    """What stands in for the placeholders of a manifest; ``run_root`` is the folder of the attempt."""
    folder = Path(request.out_dir)
    return {
        "run_id": request.run_id,
        "task_id": request.task_id,
        "family": request.family,
        "seed": str(request.seed),
        "device": request.device,
        "metrics_out": str(folder / "metrics.json"),
        "stdout_log": str(folder / "stdout.log"),
        "stderr_log": str(folder / "stderr.log"),
        "run_root": str(folder),
        "repo_root": str(root),
        # Of a run that goes on, the commit that it began with.
        "worldflux_sha": request.source.get("worldflux_sha", project_commit(root)),
    }


@cache
def project_commit(root: Path) -> str:
    """The commit of the project, ``unknown`` where it has none; a copy of it says of which it is."""
    copied = root / COMMIT
    # A checkout says itself of which commit it is.
    if copied.is_file() and not (root / ".git").exists():
        text = copied.read_text(encoding="utf-8", errors="replace").strip()
        return text if _COMMIT_ID.fullmatch(text) else "unknown"
    return _ask_project(root, "rev-parse", "HEAD").strip() or "unknown"


def project_state(root: Path) -> dict[str, Any] | None:
    """The project's commit, and whether its files differ from it; None where it is no checkout."""
    commit = project_commit(root)
    if commit == "unknown":
        return None
    return {
        "commit": commit,
        "changed": bool(_ask_project(root, "status", "--porcelain", "--untracked-files=no")),
    }


def _ask_project(root: Path, *words: str) -> str:
    """What git says of a project; nothing where it is none, or git is absent."""
    try:
        done = ask_git(root, *words)
    except SourceError:
        return ""
    return done.stdout.decode(errors="replace") if done.returncode == 0 else ""
