"""What a backend says that its program is: checkouts, installed packages and files, hashed before it runs.

Two backends that name the same files are one program, whatever else they say of themselves.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from packaging.utils import canonicalize_name

from ..errors import BackendError
from .backends import FILE, Backend, Checkout, NamedPackage, Names
from .checkouts import git
from .files.project_files import hash_files, tracked
from .installed import Installed, package_files
from .installed.files import project_files
from .trees import base_of, copied_checkouts, named_files

NamedRow = dict[str, Any]


def named(
    backend: Backend, root: Path, source: Mapping[str, Any], installed: Installed | None
) -> dict[str, Any] | None:
    """``sources``: what is named, a row each; ``files``: path as named -> sha256. None where nothing is.

    Args:
        source: of the backend's requests; it has the place of a locked checkout.
        installed: what its interpreter has; needed where it names packages.

    Raises:
        BackendError: what is named is absent, or is not what is said of it.
        SourceError: git is absent, or cannot read a checkout.
    """
    names = backend.program or Names()
    found = list(_locked_checkout(source)) if backend.lock_suite else []
    checkouts = [_declared_checkout(row, backend) for row in names.checkouts]
    found += checkouts
    found += [_declared_package(row, backend, installed) for row in names.packages]
    if names.files:
        files = named_files(backend, base_of(backend, root.resolve()))
        found.append((_make_row("files", backend.name, paths=list(names.files)), files))
    if not found:
        return None
    every = dict(sorted(item for _, files in found for item in files.items()))
    left_out = {name for _, files in checkouts for name in files if is_left_out(name, names.ignore)}
    # What is copied is sealed with the tree, whatever is ignored.
    copied = copied_checkouts(backend, base_of(backend, root.resolve()))
    left_out -= {path.relative_to(place.parent).as_posix() for place, path in copied}
    return {
        "sources": [row for row, _ in found],
        "files": {name: sha256 for name, sha256 in every.items() if name not in left_out},
        # Held against the other side all the same: what is left out makes no other program of the rest.
        "ignored": {name: every[name] for name in sorted(left_out)},
    }


def is_left_out(name: str, ignore: Sequence[str]) -> bool:
    """Whether a file, by its path from above its checkout, is no part of it."""
    below = name.partition("/")[2]
    return any(fnmatchcase(below, pattern) for pattern in ignore)


def _make_row(kind: str, name: str, **fields: Any) -> NamedRow:
    empty: NamedRow = {"repository": None, "commit": None, "version": None, "paths": []}
    return {"kind": kind, "name": name, **empty, **fields}


def _locked_checkout(source: Mapping[str, Any]) -> Iterator[tuple[NamedRow, dict[str, str]]]:
    """The locked checkout of an official program, where it is there."""
    path = Path(str(source.get("checkout", "")))
    if "checkout" in source and path.is_dir():
        row = _make_row(
            "checkout", path.parent.name, repository=source.get("repo"), commit=source.get("commit")
        )
        yield row, _checkout_files(path, path.parent.name)


def _declared_checkout(wanted: Checkout, backend: Backend) -> tuple[NamedRow, dict[str, str]]:
    path = Path(os.path.normpath(backend.folder / wanted.path))
    where = str(backend.folder / FILE)
    if not os.path.exists(path / ".git"):
        hint = "name it under program.files, or clone the repository there"
        raise BackendError(
            f"program.checkouts names {wanted.path!r}, no git checkout", where=where, hint=hint
        )
    commit = git(["rev-parse", "HEAD"], path, where=where).strip()
    if wanted.commit and commit != wanted.commit:
        raise BackendError(
            f"the checkout {wanted.path!r} is at {commit}, and program.checkouts says {wanted.commit}",
            where=where,
            hint=f"git -C {path} checkout {wanted.commit}",
        )
    origin = git(["config", "--get", "remote.origin.url"], path, missing="").strip()
    repository = wanted.repository or _without_login(origin) or None
    row = _make_row("checkout", path.name, repository=repository, commit=commit)
    return row, _checkout_files(path, path.name)


def _without_login(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])) if parts.scheme else url


def _checkout_files(checkout: Path, name: str) -> dict[str, str]:
    """What git tracks, or would, as it is in the work tree; and code that it ignores, which runs as well."""
    kept = {path.relative_to(checkout) for path in tracked(checkout) if path.is_file()}
    code, _ = project_files(str(checkout))
    kept.update(Path(path).relative_to(checkout) for path in code)
    # Bytecode is not read where it stands.
    paths = [p for p in sorted(kept) if "__pycache__" not in p.parts and p.suffix != ".pyc"]
    return hash_files({f"{name}/{path.as_posix()}": checkout / path for path in paths})


def _declared_package(
    wanted: NamedPackage, backend: Backend, installed: Installed | None
) -> tuple[NamedRow, dict[str, str]]:
    assert installed is not None
    asked = f"{wanted.name}=={wanted.version}" if wanted.version else wanted.name
    try:
        paths = package_files(installed, asked, wanted.module)
    except BackendError as error:
        what = f"program.packages: {error.what}"
        where = str(backend.folder / FILE)
        raise BackendError(what, where=where, valid=error.valid, got=error.got, hint=error.hint) from None
    version = installed.packages[canonicalize_name(wanted.name)].version
    row = _make_row("package", wanted.name, version=version, paths=[wanted.module] if wanted.module else [])
    return row, hash_files(paths)


def written_since(backend: Backend, root: Path, source: Mapping[str, Any], time_ns: int) -> list[str]:
    """What a backend names that was written to after a time, whatever it holds now.

    Of checkouts, and of ``program.files`` outside of the project: programs read them where they stand, so
    what is as it was may have been another in between.
    """
    places = backend.checkouts
    if backend.lock_suite and "checkout" in source:
        places.append(Path(str(source["checkout"])))
    base = base_of(backend, root.resolve())
    files = {
        n: place.parent / n for place in places if place.is_dir() for n in _checkout_files(place, place.name)
    }
    files.update({n: base / n for n in named_files(backend, base) if n.startswith("../")})
    ignored = backend.program.ignore if backend.program else ()
    return [
        name
        for name, path in files.items()
        if not is_left_out(name, ignored) and path.stat().st_ctime_ns > time_ns
    ]
