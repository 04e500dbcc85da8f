"""What stands around a project, looked for once, before the first run: where its links lead, and other runs.

Who programs let write could lead a link to anything later, so what was found is sealed with the run, and in
folders that programs write nothing is looked for.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from .. import wire
from .copies import PROGRAM_FOLDER
from .store import translated

TEMPORARY = ("/tmp", "/var/tmp")
HOMES = ("/home", "/root")
# What programs cannot do without.
_SYSTEM = ("usr", "bin", "sbin", "lib", "lib64", "etc", "dev", "proc", "sys")
# Where runs keep what they were asked.
_RUN_FILE = "run.json"
# So deep below a folder links and runs are looked for.
_LINKS_DEPTH, _RUNS_DEPTH = 3, 5
_OURS = "worldflux.parity."
_NO_RUNS = (".git", ".worldflux", "node_modules", "__pycache__")


@dataclass(frozen=True)
class Around:
    """What stands around a project.

    Attributes:
        links: link in the project -> the file or folder elsewhere that it leads to.
        runs: folders of runs in what programs may declare that they read.
    """

    links: Mapping[Path, Path] = field(default_factory=dict)
    runs: tuple[Path, ...] = ()

    def __or__(self, other: Around) -> Around:
        return Around({**self.links, **other.links}, tuple(dict.fromkeys((*self.runs, *other.runs))))


NOTHING_AROUND = Around()


@lru_cache(maxsize=8)
def look_around(hidden: tuple[Path, ...], read: tuple[Path, ...], written: tuple[Path, ...]) -> Around:
    """What stands around a project; looked for once, until it is sealed.

    Args:
        hidden: its folders. read, written: what programs declare that they read and write.
    """
    links = dict(_links_elsewhere([*map(resolve_links, hidden)], [*map(resolve_links, written)]))
    return Around(links, tuple(dict.fromkeys(p for at in (*read, *links.values()) for p in _runs_around(at))))


def sealed_around(run_dir: Path) -> Around | None:
    """What was sealed with a run; None where nothing was. Read once a process, as trees are."""
    with suppress(OSError, wire.WireError, LookupError, TypeError, AttributeError):
        return _read_sealed(_sealed_file(run_dir))
    return None


def seal_around(run_dir: Path, found: Around) -> None:
    """Keep what was found for as long as the run goes on, unless an earlier session has.

    Raises:
        StoreError: it cannot be written.
    """
    _read_sealed.cache_clear()
    look_around.cache_clear()
    if sealed_around(run_dir) is not None:
        return
    links = {str(link): str(target) for link, target in found.links.items()}
    document: dict[str, Any] = {"links": links, "runs": [str(path) for path in found.runs]}
    path = _sealed_file(run_dir)
    with translated(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        wire.write_atomic(path, wire.canonical_json(document))


def _sealed_file(run_dir: Path) -> Path:
    return run_dir / PROGRAM_FOLDER / "around.json"


@lru_cache(maxsize=4)
def _read_sealed(path: Path) -> Around:
    document = wire.load_object(path)
    links = {Path(link): Path(target) for link, target in document["links"].items()}
    return Around(links, tuple(map(Path, document["runs"])))


def shared_folders() -> tuple[Path, ...]:
    """Folders of which each program has one of its own: temporary ones and homes."""
    return tuple(map(Path, (*TEMPORARY, *HOMES, tempfile.gettempdir(), os.path.expanduser("~"))))


def _links_elsewhere(hidden: Sequence[Path], written: Sequence[Path]) -> Iterator[tuple[Path, Path]]:
    """Links of the project's folders that lead elsewhere, but for those that a program can have made."""
    shared = [*map(resolve_links, shared_folders())]
    for link in (Path(p) for at in dict.fromkeys(hidden) for p in _links_below(str(at), _LINKS_DEPTH)):
        target = resolve_links(link)
        theirs = any(resolve_links(link.parent).is_relative_to(place) for place in written)
        within = any(target.is_relative_to(h) or h.is_relative_to(target) for h in hidden)
        if theirs or within or _is_system(target) or any(s.is_relative_to(target) for s in shared):
            continue
        if target.exists():
            yield link, target


def _links_below(folder: str, depth: int) -> Iterator[str]:
    """A folder may hold a data set of a million files: nothing is asked of each but what it is."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_symlink():
                yield entry.path
            elif depth > 1 and entry.name != ".git" and entry.is_dir(follow_symlinks=False):
                yield from _links_below(entry.path, depth - 1)


def _is_system(path: Path) -> bool:
    return path == Path("/") or path.parts[1] in _SYSTEM


def _runs_around(folder: Path) -> Iterator[Path]:
    """The folders of runs that a path lies in, or that are not far below it."""
    real = resolve_links(folder)
    yield from (above for above in (real, *real.parents) if _is_run(above))
    for place, folders, _ in os.walk(real):
        at = Path(place)
        if at != real and _is_run(at):
            yield at
            folders.clear()
        deep = len(at.parts) - len(real.parts) >= _RUNS_DEPTH
        folders[:] = [] if deep else [name for name in folders if name not in _NO_RUNS]


def _is_run(folder: Path) -> bool:
    with suppress(OSError, wire.WireError):
        return str(wire.load_object(folder / _RUN_FILE).get("schema_version")).startswith(_OURS)
    return False


def resolve_links(path: Path) -> Path:
    """Where a path leads, every link followed."""
    return Path(os.path.realpath(path))
