"""Packages: what a ``*.dist-info`` or ``*.egg-info`` says of itself, and the files that it lists."""

from __future__ import annotations

import csv
import io
import json
import os
import urllib.parse
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from email.parser import HeaderParser

from packaging.utils import canonicalize_name

from ... import wire
from ...suite.commands import value_at
from .files import RecordRow

# What installers write down of themselves: not what runs, and different from one installer to the next.
NOTES = frozenset(
    [
        *("INSTALLER", "REQUESTED", "RECORD", "RECORD.jws", "RECORD.p7s"),
        *("direct_url.json", "provenance_url.json", "uv_cache.json", "uv_build.json"),
    ]
)
_MOST_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True)
class Package:
    """One distribution.

    Attributes:
        name: canonical (PEP 503).
        site: the site-packages folder it stands in. info: its ``*.dist-info`` or ``*.egg-info``.
        rows: (absolute path, what is said of it) of its files, scripts included, in the order of its RECORD.
        editable: the folder of the project, empty where it is not installed as editable.
        direct_url: the URL and commit that it was installed from, as ``<url>@<commit>``; empty: an index.
        record_sha256: over what its RECORD says of the files below site-packages: their names, hashes and
            sizes in order. Bytecode, scripts (which carry the path of their environment) and what an
            installer notes of itself are not in it, so it is the same wherever the same wheel is installed.
        folders: of an editable one those that are on the path. mapped: its modules -> path.
    """

    name: str
    version: str
    site: str
    info: str
    rows: tuple[tuple[str, RecordRow], ...] = field(repr=False)
    editable: str
    direct_url: str
    record_sha256: str = ""
    folders: tuple[str, ...] = ()
    mapped: Mapping[str, str] = field(default_factory=dict)

    @property
    def paths(self) -> list[str]:
        return [path for path, _ in self.rows]


def packages_in(site: str) -> Iterator[Package]:
    """Those of a site-packages folder, in the order of their names."""
    for name in names_in(site):
        if name.endswith((".dist-info", ".egg-info")) or name == "EGG-INFO":
            yield _read_package(site, name)


def versions(sites: Iterable[str]) -> dict[str, str]:
    """Canonical name -> version, by the names of the folders alone: a list that costs a few milliseconds.

    Of two of one name the first on the path counts, as Python has it.
    """
    found: dict[str, str] = {}
    for folder in (name for site in sites for name in names_in(site)):
        if folder.endswith((".dist-info", ".egg-info")):
            name, version = _of_stem(folder)
            found.setdefault(canonicalize_name(name), version)
    return dict(sorted(found.items()))


def names_in(folder: str) -> list[str]:
    """What stands in a folder, sorted; nothing where it cannot be read."""
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def _of_stem(folder: str) -> tuple[str, str]:
    """The name and the version in ``name-version.dist-info`` or ``name-version-py3.11.egg-info``."""
    name, _, version = folder.rpartition(".")[0].partition("-")
    return name, version.partition("-py")[0]


def is_site_packages(folder: str) -> bool:
    """Whether distributions were installed into a folder."""
    infos = (name for name in names_in(folder) if name.endswith(".dist-info"))
    return any(os.path.isfile(os.path.join(folder, name, "METADATA")) for name in infos)


def parse_record(text: str, site: str) -> list[tuple[str, RecordRow]]:
    """The (absolute path, row) of a RECORD, without what Python or an installer writes beside a package.

    Of a line that says nothing which can be used there is none: a file without a row is looked at by itself.
    """
    rows: list[tuple[str, RecordRow]] = []
    lines = csv.reader(io.StringIO(text, newline=""))
    while True:
        try:
            fields = next(lines)
        except StopIteration:
            return rows
        except csv.Error:
            continue
        if len(fields) == 3 and fields[0] and "\0" not in fields[0] and not is_aside(fields[0]):
            path, hashed, size = fields
            known = int(size) if size.isascii() and size.isdigit() and len(size) < 20 else -1
            where = os.path.normpath(os.path.join(site, path))
            rows.append((where, RecordRow(hashed if "=" in hashed else "", known)))


def record_sha256(rows: Iterable[tuple[str, RecordRow]], site: str) -> str:
    """sha256 over the rows of what can be imported or read from a site-packages folder."""
    start = f"{site}/"
    return wire.content_hash(sorted([p[len(start) :], *row] for p, row in rows if p.startswith(start)))


def is_aside(path: str) -> bool:
    """Whether it is what Python writes into ``__pycache__``, or an installer into a dist-info.

    Bytecode without a tag, as ``__pycache__/x.pyc``, is not: it could be imported from there.
    """
    folder, _, name = path.rpartition("/")
    if path.endswith(".pyc"):
        return name.count(".") > 1 and folder.endswith("__pycache__")
    return name in NOTES and folder.endswith(".dist-info")


def _read_package(site: str, folder: str) -> Package:
    info = f"{site}/{folder}"
    files = ("METADATA",) if folder.endswith(".dist-info") else ("PKG-INFO", "")
    said = HeaderParser().parsestr(
        next(filter(None, (text_of(f"{info}/{f}".rstrip("/")) for f in files)), "")
    )
    stem, version_of_stem = _of_stem(folder)
    try:
        origin = json.loads(text_of(f"{info}/direct_url.json") or "{}")
    except (ValueError, RecursionError):
        origin = {}
    url, commit = str(value_at(origin, "url") or ""), value_at(origin, "vcs_info", "commit_id")
    return Package(
        name=canonicalize_name(str(said["Name"] or stem).strip() or stem),
        version=str(said["Version"] or "").strip() or version_of_stem,
        site=site,
        info=info,
        rows=tuple(_listed_rows(info, site)),
        editable=folder_of_url(url) if value_at(origin, "dir_info", "editable") is True else "",
        direct_url=f"{url}@{commit}" if commit else url,
    )


def text_of(path: str) -> str:
    """A small text file, empty where it cannot be read."""
    try:
        if not os.path.isfile(path):
            return ""
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as handle:
            return handle.read(_MOST_BYTES)
    except (OSError, ValueError):
        return ""


def _listed_rows(info: str, site: str) -> list[tuple[str, RecordRow]]:
    """What is listed: by its RECORD, or by the list of an older installer, which knows no hashes."""
    if rows := parse_record(text_of(f"{info}/RECORD"), site):
        return rows
    installed = text_of(f"{info}/installed-files.txt").splitlines()
    return [
        (os.path.normpath(os.path.join(info, p)), RecordRow("", -1)) for p in installed if p and "\0" not in p
    ]


def modules_of(package: Package) -> set[str]:
    """The modules that a package says it has, or that are called as it is, in lower case."""
    said = {m.casefold() for m in text_of(f"{package.info}/top_level.txt").split() if m != ".."}
    return said or {package.name.replace("-", "_"), package.name}


def folder_of_url(url: str) -> str:
    """The folder of a ``file:`` URL, empty where it is none."""
    try:
        parts = urllib.parse.urlsplit(url)
        path = urllib.request.url2pathname(parts.path) if parts.scheme == "file" else ""
    except ValueError:
        return ""
    return os.path.normpath(path) if path else ""
