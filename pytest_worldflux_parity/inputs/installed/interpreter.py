"""Asks a Python where it looks for modules, without running what is installed for it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from ...errors import BackendError

TIMEOUT_SEC = 60.0


@dataclass(frozen=True)
class Interpreter:
    """A Python, and where it would look for modules.

    Attributes:
        python: its executable, absolute, links not resolved.
        version: ``(3, N)``.
        full_version: as ``3.11.7``.
        prefix: of the virtual environment, else that of the interpreter itself.
        system_site: whether the site-packages of the base are on the path.
        site_packages: folders in the order of ``sys.path``, whether they exist or not; never the user's own.
        stdlib: the folders of the standard library, and its zip.
        markers: the variables of PEP 508, but for ``extra``.
    """

    python: Path
    version: tuple[int, int]
    full_version: str
    prefix: Path
    base_prefix: Path
    virtual: bool
    system_site: bool
    site_packages: tuple[Path, ...]
    stdlib: tuple[Path, ...]
    markers: Mapping[str, str] = field(repr=False)


# With -I and -S nothing of the environment, the working folder or site-packages is looked at; to import
# ``site`` then only defines its functions, which know where a distributor put the folders.
_ASK = """
import json, os, platform, site, sys
home = os.path.dirname(os.path.abspath(sys.executable))
virtual, system_site = False, True
for place in (home, os.path.dirname(home)):
    file = os.path.join(place, "pyvenv.cfg")
    if os.path.isfile(file):
        virtual = True
        with open(file, encoding="utf-8", errors="replace") as handle:
            for line in handle:
                key, equals, value = line.partition("=")
                if equals and key.strip().lower() == "include-system-site-packages":
                    system_site = value.strip().lower() == "true"
        break
base = [sys.base_prefix, sys.base_exec_prefix]
if virtual:
    sys.prefix = sys.exec_prefix = os.path.dirname(home)
prefixes = [sys.prefix] + (base if system_site else [])
full = "%d.%d.%d" % sys.implementation.version[:3]
if sys.implementation.version.releaselevel != "final":
    full += sys.implementation.version.releaselevel[0] + str(sys.implementation.version.serial)
markers = {
    "implementation_name": sys.implementation.name, "implementation_version": full, "os_name": os.name,
    "platform_machine": platform.machine(), "platform_release": platform.release(),
    "platform_system": platform.system(), "platform_version": platform.version(),
    "python_full_version": platform.python_version(), "sys_platform": sys.platform,
    "platform_python_implementation": platform.python_implementation(),
    "python_version": "%d.%d" % sys.version_info[:2],
}
print(json.dumps({
    "executable": os.path.abspath(sys.executable), "version": list(sys.version_info[:2]),
    "full_version": platform.python_version(), "prefix": sys.prefix, "base_prefix": sys.base_prefix,
    "virtual": virtual, "system_site": system_site, "site_packages": site.getsitepackages(prefixes),
    "stdlib": [os.path.abspath(p) for p in sys.path if p], "markers": markers,
}))
"""


def interpreter_at(python: Path) -> Interpreter:
    """What a Python says of itself; asked once for a path, until what stands there changes.

    Raises:
        BackendError: it is absent, cannot be started, or is no Python 3.
    """
    path = Path(os.path.abspath(python))
    places = (path, *(place / "pyvenv.cfg" for place in path.parents[:2]))
    return _ask_interpreter(
        path, *(_state_of(look, place) for place in places for look in (os.lstat, os.stat))
    )


def _state_of(look: Callable[[Path], os.stat_result], path: Path) -> tuple[int, ...]:
    """What tells that another file stands there now, or behind its link; nothing where none does."""
    try:
        found = look(path)
    except (OSError, ValueError):
        return ()
    return found.st_mtime_ns, found.st_size, found.st_ino


@lru_cache(maxsize=64)
def _ask_interpreter(path: Path, *state: tuple[int, ...]) -> Interpreter:
    said = _read_answer(path)
    major, minor = said["version"]
    # A program that stands before a Python (pyenv's) is not the one that then runs.
    executable = Path(said["executable"])
    return Interpreter(
        python=executable if executable.is_file() else path,
        version=(major, minor),
        full_version=said["full_version"],
        prefix=Path(said["prefix"]),
        base_prefix=Path(said["base_prefix"]),
        virtual=said["virtual"],
        system_site=said["system_site"],
        site_packages=tuple(dict.fromkeys(Path(p) for p in said["site_packages"])),
        stdlib=tuple(Path(p) for p in said["stdlib"]),
        markers=said["markers"],
    )


def _read_answer(path: Path) -> dict[str, Any]:
    hint = "name the Python that runs the program, as .../bin/python"
    try:
        done = subprocess.run(
            [str(path), "-I", "-S", "-c", _ASK],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=TIMEOUT_SEC,
            check=False,
        )
        answer = json.loads(done.stdout) if done.returncode == 0 else None
    except subprocess.TimeoutExpired:
        raise BackendError(f"says nothing within {TIMEOUT_SEC:g} s", where=str(path), hint=hint) from None
    except OSError as error:
        raise BackendError(f"cannot be started: {error.strerror}", where=str(path), hint=hint) from None
    except ValueError:
        answer = None
    if not isinstance(answer, dict) or not answer.keys() >= {"executable", "site_packages", "markers"}:
        said = (done.stderr.strip().splitlines() or done.stdout.strip().splitlines() or ["nothing"])[-1]
        raise BackendError(f"is no Python 3: it said {said[:200]!r}", where=str(path), hint=hint)
    return answer
