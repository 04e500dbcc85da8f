"""The git program, asked about a checkout: nothing of the checkout's own settings or of the caller's runs."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from ...errors import SourceError

# A repository names programs of its own in its settings; git starts some of them to answer a question.
SETTINGS = ("core.hooksPath=/dev/null", "core.fsmonitor=false", "submodule.recurse=false")
# A question never waits for a person, is answered in English, and a commit is what its id says.
QUIET = {"GIT_TERMINAL_PROMPT": "0", "GIT_NO_REPLACE_OBJECTS": "1", "LC_ALL": "C", "LANGUAGE": "C"}


def command(words: Sequence[str], settings: Sequence[str] = ()) -> list[str]:
    """The command line, behind the settings that hold whatever a repository says."""
    return ["git", *(part for setting in (*SETTINGS, *settings) for part in ("-c", setting)), *words]


def ask_git(
    folder: Path, *words: str, settings: Sequence[str] = (), environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """What git says in a folder, its failures too.

    Raises:
        SourceError: git is not there, or the folder is not.
    """
    # A hook of some repository that called us would lead git there.
    kept = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    owned = f"safe.directory={folder.resolve()}"
    try:
        return subprocess.run(
            command(words, (owned, *settings)),
            cwd=folder,
            env={**kept, **QUIET, **(environment or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
    except (OSError, ValueError) as error:
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
