"""What was found of an interpreter and of what is installed for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple


class Stat(NamedTuple):
    """What a file's metadata tell of whether its content may have changed; a size of -1: no file.

    A program can set the time of modification, not that of the last change of the metadata.
    """

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int


class Row(NamedTuple):
    """What a RECORD says of a file: ``sha256=<base64>``, and its size (-1: it does not say)."""

    hash: str
    size: int


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
        extension_suffixes: of compiled modules.
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
    extension_suffixes: tuple[str, ...]
    markers: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True)
class Package:
    """One distribution.

    Attributes:
        name: canonical (PEP 503).
        record_sha256: over what its RECORD says of the files below site-packages: their names, hashes and
            sizes in order. Bytecode, scripts (which carry the path of their environment) and what an
            installer notes of itself are not in it, so it is the same wherever the same wheel is installed.
        editable: the folder of the project, empty where it is not installed as editable.
        direct_url: the URL and commit that it was installed from, as ``<url>@<commit>``; empty: an index.
        site: the site-packages folder it stands in. info: its ``*.dist-info`` or ``*.egg-info``.
        paths: its files as absolute paths, scripts included.
        folders: what its ``.pth`` files put on the path. mapped: module -> path, of its editable finder.
    """

    name: str
    version: str
    record_sha256: str
    editable: str
    direct_url: str
    site: str
    info: str
    paths: tuple[str, ...] = field(repr=False, default=())
    folders: tuple[Path, ...] = ()
    mapped: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class Installed:
    """What an interpreter has besides its standard library. Paths of files are absolute.

    Attributes:
        packages: by canonical name; of two of one name the first on the path.
        sites: site-packages folders that exist, further ones that a ``.pth`` names included.
        path: what the site module would put on ``sys.path`` behind the standard library, in its order.
        folders: those of ``path`` that are not the interpreter's own site-packages.
        mapped: module -> its folder or file, as the finders of editable installations say.
        namespaces: namespace package -> its folders, likewise; none where it only holds mapped modules.
        listed: path -> what the RECORDs say of it (two packages may bring one file).
        unlisted: path -> sha256 of a file below ``sites`` that no RECORD lists.
        folder_files: path -> sha256 of a file below ``folders``, or of a mapped module.
        altered: path -> how a listed file differs, as far as can be seen without reading it.
        import_lines: ``<file>: <line>`` of the lines of ``.pth`` files that would have been run.
        oddities: sentences on what could not be read, is not supported or was left out.
    """

    interpreter: Interpreter
    packages: Mapping[str, Package]
    sites: tuple[Path, ...]
    path: tuple[Path, ...]
    folders: tuple[Path, ...]
    mapped: Mapping[str, Path]
    namespaces: Mapping[str, tuple[Path, ...]]
    listed: Mapping[str, tuple[Row, ...]] = field(repr=False)
    unlisted: Mapping[str, str]
    folder_files: Mapping[str, str] = field(repr=False)
    altered: Mapping[str, str]
    import_lines: tuple[str, ...]
    oddities: tuple[str, ...]

    def shown(self, path: str) -> str:
        """A path as reports name it: relative to the environment where it is below it."""
        for folder in (*self.sites[:1], self.interpreter.prefix):
            if path.startswith(f"{folder}/"):
                return path.removeprefix(f"{folder}/")
        return path
