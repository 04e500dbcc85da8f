"""The candidate's program, from the checkout that is judged into the files of the commit that is expected.

Everything else that stands there is the judge's, and the checkout is the accused's: what comes from it is
the folder of the one adapter that the expected suite names, into the place of the commit's own or where the
commit has nothing.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ..errors import BackendError, SourceError
from ..inputs.backends import FILE, Backend, unlinked_backends
from ..suite import proof_file, suite_file
from ..suite.suite import ArtifactSide, BackendSide, Suite


def bring_programs(suite: Path, root: Path, there: Path, backends: Sequence[Path]) -> None:
    """Bring what an expected suite names as its candidate.

    Args:
        suite: the expected file. root: the checkout. there: the commit's files.
        backends: folders below either; others are not brought.

    Raises:
        SuiteError: the suite cannot be read.
        BackendError: the checkout has no such program, or one that cannot be read.
        SourceError: its place is something else's in the commit, or its files cannot be copied.
    """
    within = [folder for folder in backends if not folder.is_absolute()]
    for adapter, must in _candidate_adapters(suite):
        own = _find_program(adapter, root, within)
        # Folders outside of the checkout are no part of a commit, and are what they are.
        if own is None and must and len(within) == len(backends):
            _refuse_absent(adapter, root, within)
        for old in _programs_with(adapter, there, within):
            shutil.rmtree(old.folder)
        if own is not None:
            _bring_folder(own.folder, there / own.folder.relative_to(root))


def _candidate_adapters(path: Path) -> Iterator[tuple[str, bool]]:
    """The candidate's adapters, and whether the suite cannot be judged without.

    That of a command is there where its components can be matched.
    """
    if suite_file.read(path).track != "proof":
        yield from _adapters_of_sides([suite_file.load(path)])
        return
    proof = proof_file.load(path)
    if proof.commands:
        named = {side.adapter_id for (system, _), side in proof.commands.items() if system == "worldflux"}
        yield from ((adapter, False) for adapter in sorted(named))
    else:
        yield from _adapters_of_sides(proof.parts)


def _adapters_of_sides(suites: Iterable[Suite]) -> Iterator[tuple[str, bool]]:
    sides = [suite.sides["worldflux"] for suite in suites]
    yield from (
        (adapter, True) for adapter in sorted({s.adapter for s in sides if isinstance(s, BackendSide)})
    )


def _programs_with(adapter: str, root: Path, backends: Iterable[Path]) -> list[Backend]:
    """The candidate's programs with an adapter id."""
    found = [b for b in _read_programs(root, backends) if isinstance(b, Backend)]
    return [b for b in found if b.adapter == adapter and b.system == "worldflux"]


def _read_programs(root: Path, backends: Iterable[Path]) -> Iterator[Backend | BackendError]:
    """The programs whose folders stand where they seem to."""
    for folder in backends:
        if (root / folder).resolve() == root / folder:
            yield from unlinked_backends(root / folder)


def _find_program(adapter: str, root: Path, backends: Sequence[Path]) -> Backend | None:
    found = _programs_with(adapter, root, backends)
    if len(found) > 1:
        names = " and ".join(b.folder.relative_to(root).as_posix() for b in found)
        raise BackendError(f"the adapter id {adapter!r} is that of {names}", where="this checkout")
    return found[0] if found else None


def _refuse_absent(adapter: str, root: Path, backends: Iterable[Path]) -> None:
    for error in _read_programs(root, backends):
        if isinstance(error, BackendError):
            raise error
    raise BackendError(
        f"no folder of worldflux has the adapter id {adapter!r} (a link to a folder is none)",
        where="this checkout",
        hint=f"put the program, with its {FILE}, into a folder of its own in the folder of backends",
    )


def _bring_folder(folder: Path, to: Path) -> None:
    if os.path.lexists(to) or to.parent.resolve() != to.parent:
        raise SourceError(
            "the commit has something else there, and the checkout the candidate's program",
            where="/".join(to.parts[-2:]),
            hint="give the candidate's program a folder of another name",
        )
    try:
        _copy_hashed_files(folder, to)
    except OSError as error:
        raise SourceError(f"cannot be copied: {error.strerror}", where=str(error.filename)) from None


def _copy_hashed_files(folder: Path, to: Path) -> None:
    """Copy what is hashed of a program: a link to a file is that file, one to a folder is not gone into."""
    to.mkdir(parents=True)
    for entry in sorted(os.scandir(folder), key=lambda e: e.name):
        into = to / entry.name
        if entry.is_dir(follow_symlinks=False):
            _copy_hashed_files(Path(entry.path), into)
        elif entry.is_dir():
            into.symlink_to(os.path.realpath(entry.path))
        elif entry.is_file():
            shutil.copy(entry.path, into)


def bring_table(suite: Path, root: Path, there: Path) -> None:
    """The table that an expected suite names as its candidate, which is a part of the code."""
    side = suite_file.load(suite).sides["worldflux"] if suite_file.read(suite).track == "quick" else None
    if not isinstance(side, ArtifactSide):
        return
    place = Path(os.path.normpath(side.path))
    if not place.is_relative_to(there):
        return
    own = root / place.relative_to(there)
    if own.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)
        place.unlink(missing_ok=True)
        place.symlink_to(own)
