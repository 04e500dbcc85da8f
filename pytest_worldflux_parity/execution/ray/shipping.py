"""What a run needs of the project, as archives that a node unpacks once and keeps by the hash of their bytes.

Ray could ship a ``working_dir`` itself. It leaves out what ``.gitignore`` names (the official checkouts
are there), has a limit of its own on the size, and is fixed when the driver connects. An archive and a
folder named by its hash can be tested without a cluster, and say which bytes a run was made of.
:mod:`.bootstrap` unpacks them.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ...errors import ParityError
from ...inputs.files.project_files import is_secret

LARGEST_ARCHIVE = 4 * 2**30
# Within the years that all archives know; the same for all, so that a hash tells of content alone.
TIME = 946684800


@dataclass(frozen=True)
class Archive:
    """A folder to be shipped: its name, the tar file's bytes, and their sha256."""

    name: str
    data: bytes
    sha256: str


def pack(folder: Path, paths: Iterable[Path], further: Mapping[str, str] | None = None) -> Archive:
    """An archive of ``paths``, which lie below ``folder``; equal content gives equal bytes.

    Args:
        further: name -> text of files beside them.

    Raises:
        ParityError: it is larger than can be shipped, or a file cannot be read.
    """
    buffer, size = io.BytesIO(), 0
    try:
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
            for name, text in (further or {}).items():
                _add_text(tar, f"{folder.name}/{name}", text.encode())
            for path in sorted(paths):
                size += _add(tar, path, f"{folder.name}/{path.relative_to(folder).as_posix()}")
                if size > LARGEST_ARCHIVE:
                    raise ParityError(
                        f"more than {LARGEST_ARCHIVE >> 30} GiB would have to be shipped to each node",
                        where=str(folder),
                        mend="keep data out of the project's folder, or name it in .gitignore",
                    )
    except OSError as error:
        raise ParityError(f"cannot be read: {error.strerror}", where=str(error.filename or folder)) from None
    data = buffer.getvalue()
    return Archive(folder.name, data, hashlib.sha256(data).hexdigest())


def _add_text(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mtime = len(data), TIME
    tar.addfile(info, io.BytesIO(data))


def _add(tar: tarfile.TarFile, path: Path, name: str) -> int:
    info = tar.gettarinfo(path, name)
    if info is None:  # a socket
        return 0
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    info.mtime = TIME
    if info.isreg():
        with open(path, "rb") as handle:
            tar.addfile(info, handle)
    elif info.isdir() or info.issym() or info.islnk():
        tar.addfile(info)
    return info.size


def without_secrets(folder: Path, paths: Iterable[Path], secrets: Collection[Path] = ()) -> Iterator[Path]:
    """Those of ``paths`` below ``folder`` that may leave this machine.

    Args:
        secrets: further files that may not, resolved.
    """
    for path in paths:
        if not is_secret(path.relative_to(folder)) and path.resolve() not in secrets:
            yield path
