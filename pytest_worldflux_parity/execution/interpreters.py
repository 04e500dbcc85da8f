"""What a Python interpreter brings: the folders of its packages, asked once a process."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ..errors import BackendError

_ASK = (
    "import json, sys; print(json.dumps([sys.path, sys.prefix if sys.prefix != sys.base_prefix else '', "
    "[sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix]]))"
)


@dataclass(frozen=True)
class Packages:
    """Folders behind the standard library, and the prefix of a virtual environment or nothing.

    Attributes:
        prefixes: what the interpreter and its standard library run from.
    """

    folders: tuple[Path, ...]
    prefix: str
    prefixes: tuple[Path, ...] = ()


@cache
def packages(python: Path, root: Path) -> Packages:
    """The folders of an interpreter's packages, but for those of the project itself.

    Raises:
        BackendError: it cannot be asked.
    """
    own, prefix, prefixes = _asked(python, "-I")
    bare, _, _ = _asked(python, "-I", "-S")
    folders = [Path(p) for p in own if p not in bare]
    kept = tuple(f for f in folders if not root.is_relative_to(f))
    return Packages(kept, prefix, tuple(Path(p) for p in dict.fromkeys(prefixes)))


def _asked(python: Path, *options: str) -> tuple[list[str], str, list[str]]:
    command = [str(python), *options, "-c", _ASK]
    try:
        done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise BackendError(
            f"the interpreter cannot be asked for its folders: {error}", where=str(python)
        ) from None
    found, prefix, prefixes = json.loads(done.stdout)
    return list(found), str(prefix), list(prefixes)
