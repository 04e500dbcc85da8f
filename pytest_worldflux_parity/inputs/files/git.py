"""The git program, asked about a checkout: nothing of the checkout's own settings or of the caller's runs."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from ...errors import SourceError

# A repository names programs of its own in its settings; git starts some of them to answer a question.
_SAFE_SETTINGS = ("core.hooksPath=/dev/null", "core.fsmonitor=false", "submodule.recurse=false")
# A question never waits for a person, is answered in English, and a commit is what its id says.
QUIET = {"GIT_TERMINAL_PROMPT": "0", "GIT_NO_REPLACE_OBJECTS": "1", "LC_ALL": "C", "LANGUAGE": "C"}


def ask_git(
    folder: Path, *words: str, settings: Sequence[str] = (), environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """What git says in a folder, its failures too.

    Args:
        settings: ``key=value``, over those of the repository.
        environment: for git, beside what is no setting of it: a hook of some repository that called us would
            lead git there.

    Raises:
        SourceError: git is not there, or the folder is not.
    """
    kept = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    owned = f"safe.directory={folder.resolve()}"
    options = (part for setting in (*_SAFE_SETTINGS, owned, *settings) for part in ("-c", setting))
    try:
        return subprocess.run(
            ["git", *options, *words],
            cwd=folder,
            env={**kept, **(environment or {}), **QUIET},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
    except (OSError, ValueError) as error:
        if isinstance(error, FileNotFoundError) and folder.is_dir():
            raise SourceError("the program git is not there", where=words[-1], hint="install git") from None
        raise SourceError(f"git cannot be asked: {error}", where=words[-1]) from None


def files_of_git(folder: Path) -> list[str] | None:
    """Paths below a folder of what git tracks or would, in order; None where it is in no work tree."""
    try:
        done = ask_git(folder, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    except SourceError:
        return None
    if done.returncode != 0:
        return None
    return sorted({os.fsdecode(name) for name in done.stdout.split(b"\0") if name})
