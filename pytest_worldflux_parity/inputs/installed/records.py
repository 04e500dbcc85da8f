"""Distributions: what a ``*.dist-info`` or ``*.egg-info`` says of itself, and the files that it lists."""

from __future__ import annotations

import csv
import io
import json
import os
import urllib.parse
import urllib.request
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from packaging.utils import canonicalize_name

from ... import wire
from .data import Row

# What installers write down of themselves: not what runs, and different from one installer to the next.
NOTES = frozenset(
    [
        *("INSTALLER", "REQUESTED", "RECORD", "RECORD.jws", "RECORD.p7s"),
        *("direct_url.json", "provenance_url.json", "uv_cache.json", "uv_build.json"),
    ]
)
_MOST_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True)
class Distribution:
    """One ``*.dist-info`` or ``*.egg-info`` of a site-packages folder.

    Attributes:
        rows: (absolute path, what is said of it), in the order of the RECORD.
        has_record: whether anything lists its files.
        top_level: the modules that it says it has.
        editable: the folder of its project, empty where it is not editable.
        oddities: sentences.
    """

    name: str
    version: str
    site: str
    info: str
    rows: tuple[tuple[str, Row], ...]
    has_record: bool
    top_level: tuple[str, ...]
    editable: str
    direct_url: str
    oddities: tuple[str, ...]


def distributions(site: str) -> Iterator[Distribution]:
    """Those of a site-packages folder, in the order of their names."""
    try:
        names = sorted(os.listdir(site))
    except OSError:
        return
    for name in names:
        if name.endswith((".dist-info", ".egg-info")) or name == "EGG-INFO":
            yield _distribution(site, name)


def versions(sites: Iterable[str]) -> dict[str, str]:
    """Canonical name -> version, by the names of the folders alone: a list that costs a few milliseconds.

    Of two of one name the first on the path counts, as Python has it.
    """
    found: dict[str, str] = {}
    for site in sites:
        folders = sorted(os.listdir(site)) if os.path.isdir(site) else []
        for folder in folders:
            if folder.endswith((".dist-info", ".egg-info")):
                name, version = _of_stem(folder)
                found.setdefault(canonicalize_name(name), version)
    return dict(sorted(found.items()))


def _of_stem(folder: str) -> tuple[str, str]:
    """The name and the version in ``name-version.dist-info`` or ``name-version-py3.11.egg-info``."""
    name, _, version = folder.rpartition(".")[0].partition("-")
    return name, version.partition("-py")[0]


def is_site_packages(folder: str) -> bool:
    """Whether distributions were installed into a folder."""
    try:
        names = [n for n in os.listdir(folder) if n.endswith(".dist-info")]
    except OSError:
        return False
    return any(os.path.isfile(os.path.join(folder, n, "METADATA")) for n in names)


def parse_record(text: str, site: str) -> tuple[list[tuple[str, Row]], int]:
    """The (absolute path, row) of a RECORD, and how many of its lines say nothing that can be used.

    What Python or an installer writes beside the files of a package is left out.
    """
    rows: list[tuple[str, Row]] = []
    broken = 0
    lines = csv.reader(io.StringIO(text, newline=""))
    while True:
        try:
            fields = next(lines)
        except StopIteration:
            return rows, broken
        except csv.Error:
            broken += 1
            continue
        if not fields:
            continue
        if len(fields) != 3 or not fields[0] or "\0" in fields[0]:
            broken += 1
            continue
        path, hashed, size = fields
        if is_aside(path):
            continue
        known = int(size) if size.isascii() and size.isdigit() and len(size) < 20 else -1
        broken += known < 0 and size != ""
        rows.append((_absolute(path, site), Row(hashed if "=" in hashed else "", known)))


def record_sha256(rows: Iterable[tuple[str, Row]], site: str) -> str:
    """sha256 over the rows of what can be imported or read from a site-packages folder."""
    start = f"{site}/"
    return wire.content_hash(sorted([p[len(start) :], *row] for p, row in rows if p.startswith(start)))


def is_aside(path: str) -> bool:
    """Whether it is what Python writes into ``__pycache__``, or an installer into a dist-info.

    Bytecode without a tag, as ``__pycache__/x.pyc``, is not: it could be imported from there.
    """
    if path.endswith(".pyc"):
        folder, _, name = path.rpartition("/")
        return name.count(".") > 1 and folder.endswith("__pycache__")
    if ".dist-info/" not in path:
        return False
    folder, _, name = path.rpartition("/")
    return name in NOTES and folder.endswith(".dist-info")


def _absolute(path: str, site: str) -> str:
    """A path of a RECORD; nearly all are normal already."""
    if path[0] in "/." or path[-1] == "/" or "/." in path or "//" in path:
        return os.path.normpath(os.path.join(site, path))
    return f"{site}/{path}"


def _distribution(site: str, folder: str) -> Distribution:
    info = f"{site}/{folder}"
    oddities: list[str] = []
    name, version = _name_and_version(info, folder, oddities)
    rows, has_record = _rows(info, site, name, oddities)
    url = _direct_url(info, name, oddities)
    editable = (
        url.get("dir_info", {}).get("editable") is True if isinstance(url.get("dir_info"), dict) else False
    )
    return Distribution(
        name=name,
        version=version,
        site=site,
        info=info,
        rows=tuple(rows),
        has_record=has_record,
        top_level=tuple(t for t in text_of(f"{info}/top_level.txt").split() if t != ".."),
        editable=folder_of_url(str(url.get("url", ""))) if editable else "",
        direct_url=_from(url),
        oddities=tuple(oddities),
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


def _name_and_version(info: str, folder: str, oddities: list[str]) -> tuple[str, str]:
    files = ("METADATA",) if folder.endswith(".dist-info") else ("PKG-INFO", "")
    said = next((h for h in (_headers(f"{info}/{f}".rstrip("/")) for f in files) if h), {})
    stem, version_of_stem = _of_stem(folder)
    name, version = said.get("name", ""), said.get("version", "")
    if not name or not version:
        oddities.append(f"{folder} does not say its name and version")
    elif stem and canonicalize_name(name) != canonicalize_name(stem):
        oddities.append(f"{folder} says that it is {name}")
    return canonicalize_name(name or stem), version or version_of_stem


def _headers(path: str) -> dict[str, str]:
    """The first ``Name`` and ``Version`` of a metadata file, before its description."""
    found: dict[str, str] = {}
    for line in text_of(path).splitlines():
        key, colon, value = line.partition(":")
        if not line.strip():
            break
        if colon and key.lower() in ("name", "version"):
            found.setdefault(key.lower(), value.strip())
    return found


def _rows(info: str, site: str, name: str, oddities: list[str]) -> tuple[list[tuple[str, Row]], bool]:
    if os.path.isfile(f"{info}/RECORD"):
        rows, broken = parse_record(text_of(f"{info}/RECORD"), site)
        if broken:
            oddities.append(f"the RECORD of {name} has {broken} lines that say nothing")
        if rows:
            return rows, True
    installed = text_of(f"{info}/installed-files.txt").splitlines()
    rows = [(os.path.normpath(os.path.join(info, p)), Row("", -1)) for p in installed if p and "\0" not in p]
    return rows, bool(rows)


def _direct_url(info: str, name: str, oddities: list[str]) -> dict[str, Any]:
    text = text_of(f"{info}/direct_url.json")
    if not text:
        return {}
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        oddities.append(f"the direct_url.json of {name} is not one")
        return {}
    return found


def _from(url: dict[str, Any]) -> str:
    vcs = url.get("vcs_info")
    commit = vcs.get("commit_id", "") if isinstance(vcs, dict) else ""
    return f"{url.get('url', '')}@{commit}" if commit else str(url.get("url", ""))


def folder_of_url(url: str) -> str:
    """The folder of a ``file:`` URL, empty where it is none."""
    try:
        parts = urllib.parse.urlsplit(url)
        path = urllib.request.url2pathname(parts.path) if parts.scheme == "file" else ""
    except ValueError:
        return ""
    return os.path.normpath(path) if path else ""
