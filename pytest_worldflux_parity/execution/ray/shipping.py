"""What a run needs of the project, as archives that a node unpacks.

Ray could ship a ``working_dir`` itself. It leaves out what ``.gitignore`` names (the official checkouts
are there), has a limit of its own on the size, and is fixed when the driver connects.
:mod:`.bootstrap` unpacks the archives, for each attempt anew: what runs for hours is unpacked in a moment.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ...errors import ParityError
from ...inputs.files.project_files import is_secret

LARGEST_ARCHIVE = 4 * 2**30


@dataclass(frozen=True)
class Archive:
    """A folder to be shipped: its name, and the tar file's bytes."""

    name: str
    data: bytes


def pack_folder(folder: Path, paths: Iterable[Path], further: Mapping[str, str] | None = None) -> Archive:
    """An archive of ``paths``, which lie below ``folder``.

    Args:
        further: name -> text of files beside them.

    Raises:
        ParityError: it is larger than can be shipped, or a file cannot be read.
    """
    buffer = io.BytesIO()
    try:
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
            for name, text in (further or {}).items():
                info = tarfile.TarInfo(f"{folder.name}/{name}")
                info.size = len(text.encode())
                tar.addfile(info, io.BytesIO(text.encode()))
            for path in sorted(paths):
                name = f"{folder.name}/{path.relative_to(folder).as_posix()}"
                tar.add(path, name, recursive=False, filter=_without_owner)
                if buffer.tell() > LARGEST_ARCHIVE:
                    raise ParityError(
                        f"more than {LARGEST_ARCHIVE >> 30} GiB would have to be shipped to each node",
                        where=str(folder),
                        hint="keep data out of the project's folder, or name it in .gitignore",
                    )
    except OSError as error:
        raise ParityError(f"cannot be read: {error.strerror}", where=str(error.filename or folder)) from None
    return Archive(folder.name, buffer.getvalue())


def _without_owner(info: tarfile.TarInfo) -> tarfile.TarInfo:
    """Whoever unpacks it owns it."""
    return info.replace(uid=0, gid=0, uname="", gname="", deep=False)


def without_secrets(folder: Path, paths: Iterable[Path], secrets: Collection[Path] = ()) -> Iterator[Path]:
    """Those of ``paths`` below ``folder`` that may leave this machine.

    Args:
        secrets: further files that may not, resolved.
    """
    for path in paths:
        if not is_secret(path.relative_to(folder)) and path.resolve() not in secrets:
            yield path
