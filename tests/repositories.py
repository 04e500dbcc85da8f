"""Git repositories for tests, by the real git as somebody."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

SOMEBODY = (
    *("-c", "user.name=somebody", "-c", "user.email=somebody@example.invalid"),
    *("-c", "commit.gpgsign=false"),
)


def git(folder: Path, *arguments: str) -> str:
    """Run git in a folder; what it prints."""
    command = ["git", *SOMEBODY, *arguments]
    done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def commit_all(folder: Path, *paths: str) -> str:
    """Make a folder a repository with one commit, of all files or of these; its id."""
    git(folder, "init", "-q")
    git(folder, "add", *(paths or ["-A"]))
    git(folder, "commit", "-qm", "all")
    return git(folder, "rev-parse", "HEAD")


def make_checkout(
    folder: Path, files: Mapping[str, str], changes: Mapping[str, tuple[str, str]] | None = None
) -> str:
    """Write files into ``folder`` as a git checkout; the commit.

    Args:
        files: path -> text.
        changes: path -> (text, replacement), made before the commit.
    """
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if changes and name in changes:
            old, new = changes[name]
            assert old in text, (name, old)
            text = text.replace(old, new)
        path.write_text(text, encoding="utf-8")
    return commit_all(folder)
