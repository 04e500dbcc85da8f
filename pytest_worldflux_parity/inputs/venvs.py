"""Virtual environments of backends whose requirements do not fit ours.

Built in place (the scripts in a virtual environment carry its path, so it cannot be moved), behind a file
lock, in ``<root>/.worldflux/envs/.built/<hash of the requirements>``; ``<root>/.worldflux/envs/<backend>`` is
a link to it, so backends with equal requirements have one. ``complete.json`` is written last: an environment
without it, or with the hash of other requirements in it, is never used.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..errors import SourceError
from ..schemas.json_text import utc_now
from ..wire import write_atomic
from .backends import MARKER, Backend

_MARKER_SCHEMA = "worldflux.parity.environment.v1"
LOG_TAIL_LINES = 5


def create(backend: Backend, root: Path, python: str = "") -> bool:
    """Build a backend's own environment, unless it is there and built from the same requirements.

    Args:
        python: the interpreter to build it with; by default this one where its version is the one
            that the backend asks for, else ``python3.N`` on the PATH.

    Returns:
        Whether anything had to be built.

    Raises:
        SourceError: the backend uses the shared environment, no fitting interpreter is there, venv
            or pip failed (the text has the tail of the log and the log's path), or the disk is full.
    """
    if backend.environment == "shared":
        raise SourceError(
            f"backend {backend.name} runs in the interpreter that runs pytest",
            hint=f'pip install "pytest-worldflux-parity[{backend.extra}]"' if backend.extra else "",
        )
    link, folder = backend.environment_dir(root), _built_folder(backend, root)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _lock_environment(folder):
            if not backend.missing_of_environment(root):
                return False
            absent = bool(backend.missing_of_environment(root, folder))
            if absent:
                _build_environment(backend, folder, python)
            _lead_link(link, folder)
            _clear_unused_environments(link.parent)
    except OSError as error:
        raise SourceError(
            f"cannot be written: {error.strerror}",
            where=str(error.filename or folder),
            hint="make room or give permission, then run it again",
        ) from None
    return absent


def _built_folder(backend: Backend, root: Path) -> Path:
    return backend.environment_dir(root).with_name(".built") / backend.requirements_sha256[:16]


def build_log_of(backend: Backend, root: Path) -> Path:
    """What venv and pip said while they built a backend's environment."""
    folder = _built_folder(backend, root)
    return folder.with_name(f"{folder.name}.log")


def shared_with(backend: Backend, root: Path) -> list[str]:
    """The other backends whose environment is this one's."""
    link = backend.environment_dir(root)
    return sorted(
        p.name for p in _linked_environments(link.parent) if p != link and p.resolve() == link.resolve()
    )


def _linked_environments(folder: Path) -> Iterator[Path]:
    return (path for path in folder.iterdir() if path.is_symlink())


def _lead_link(link: Path, folder: Path) -> None:
    """Let a backend's environment be the one in ``folder``; what stood there goes."""
    if link.is_dir() and not link.is_symlink():
        # The marker goes first: a removal that is interrupted must not leave a complete-looking rest.
        (link / MARKER).unlink(missing_ok=True)
        shutil.rmtree(link)
    new = link.with_name(f".{link.name}.link")
    new.unlink(missing_ok=True)
    new.symlink_to(folder.relative_to(link.parent))
    os.replace(new, link)


def _clear_unused_environments(envs: Path) -> None:
    """Remove environments that are no backend's any more, but those that are being built."""
    used = {link.resolve() for link in _linked_environments(envs)}
    for folder in [p for p in (envs / ".built").iterdir() if p.is_dir() and p.resolve() not in used]:
        with contextlib.suppress(BlockingIOError), _lock_environment(folder, fcntl.LOCK_NB):
            (folder / MARKER).unlink(missing_ok=True)
            shutil.rmtree(folder, ignore_errors=True)


def state(backend: Backend, root: Path) -> str:
    """``shared``, ``ready``, or what the own environment lacks."""
    if backend.environment == "shared":
        return "shared"
    return backend.missing_of_environment(root) or "ready"


@contextlib.contextmanager
def _lock_environment(folder: Path, how: int = 0) -> Iterator[None]:
    with open(folder.with_name(f"{folder.name}.lock"), "w", encoding="utf-8") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX | how)
        yield


def _find_python(backend: Backend, python: str) -> str:
    """The interpreter that is named, else this one or the one of the PATH that the backend asks for."""
    wanted, here = backend.python, f"{sys.version_info.major}.{sys.version_info.minor}"
    found = python or (sys.executable if wanted in ("", here) else shutil.which(f"python{wanted}"))
    hint = f"worldflux-parity env create {backend.name} --python /path/to/python{wanted}"
    if found is None:
        what = f"backend {backend.name} needs Python {wanted}, this is {here}, and there is no python{wanted}"
        raise SourceError(f"{what} on the PATH", hint=hint)
    version = _run_for_output([found, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]).strip()
    if wanted not in ("", version):
        what = f"backend {backend.name} needs Python {wanted}, and this is {version}"
        raise SourceError(what, where=found, hint=hint)
    return found


def _build_environment(backend: Backend, folder: Path, python: str) -> None:
    log = folder.with_name(f"{folder.name}.log")
    log.unlink(missing_ok=True)
    python = _find_python(backend, python)
    (folder / MARKER).unlink(missing_ok=True)
    if folder.exists():
        shutil.rmtree(folder)
    own = str(folder / "bin" / "python")
    requirements = folder.with_name(f"{folder.name}.requirements.txt")
    requirements.write_text("".join(f"{r}\n" for r in backend.requirements), encoding="utf-8")
    _run_logged([python, "-m", "venv", str(folder)], log, "venv")
    _run_logged(
        [own, "-m", "pip", "install", "--no-input", "--requirement", str(requirements)], log, "pip install"
    )
    _write_marker(backend, folder, own)


def _write_marker(backend: Backend, folder: Path, python: str) -> None:
    marker = {
        "schema_version": _MARKER_SCHEMA,
        "backend": backend.name,
        "requirements_sha256": backend.requirements_sha256,
        "requirements": list(backend.requirements),
        "python": _run_for_output(
            [python, "-c", "import platform; print(platform.python_version())"]
        ).strip(),
        "freeze": _run_for_output([python, "-m", "pip", "freeze"]).splitlines(),
        "created_at_utc": utc_now(),
    }
    write_atomic(folder / MARKER, json.dumps(marker, indent=1) + "\n")


def _run_for_output(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
    except OSError as error:
        what = f"cannot be started: {error.strerror}"
        raise SourceError(what, where=command[0], hint="--python INTERPRETER") from None
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise SourceError(f"failed: {last}", where=" ".join(command[:3]))
    return done.stdout


def _run_logged(command: Sequence[str], log: Path, what: str) -> None:
    with open(log, "ab") as handle:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=handle, stderr=subprocess.STDOUT, check=False
        )
    if done.returncode != 0:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        tail = " | ".join(line.strip() for line in lines[-LOG_TAIL_LINES:])
        raise SourceError(
            f"{what} failed with status {done.returncode}: {tail}",
            where=str(log),
            hint="read the log; without network, set PIP_INDEX_URL or PIP_FIND_LINKS to what is at hand",
        )
