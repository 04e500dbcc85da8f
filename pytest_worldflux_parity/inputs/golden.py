"""A golden folder: ``manifest.json`` and ``arrays.npz``, what the official code computed in small.

Arrays are read member by member and never unpickled. What could not show a mistake (a constant, an
empty or a non-finite array) is refused here, before anything is compared with it.
"""

from __future__ import annotations

import fnmatch
import hashlib
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from .. import schemas, wire
from ..errors import GoldenError, ParityError
from ..wire.match import array_problem
from . import lock
from .golden_data import PARAMETER_STATISTICS, TOLERANCES, Array, Component, Golden, flow_order

MANIFEST, ARRAYS = "manifest.json", "arrays.npz"
# More than any small golden; less than what a forged header could make this process ask for.
MAX_BYTES = 4 << 30
_FOREIGN_ERRORS = (
    ValueError, EOFError, KeyError, TypeError, SyntaxError, NotImplementedError, RuntimeError, MemoryError,
    OverflowError, struct.error, zlib.error, zipfile.BadZipFile,
)  # fmt: skip


def read_golden(folder: Path, family: str = "") -> Golden:
    """Read and check a golden folder.

    Args:
        family: the family that it must be of; empty: any.

    Raises:
        GoldenError: it is absent, not what its manifest says, or holds what could not show a mistake.
    """
    path = folder / MANIFEST
    document, raw = _read_manifest(path)
    if family and document["family"] != family:
        raise GoldenError(
            f"the golden is of the family {document['family']!r}, not {family!r}", where=str(path)
        )
    if "given_of" in document:
        what = "this is what a match program is given, a golden without its outputs"
        raise GoldenError(what, where=str(path), hint="name the golden folder itself")
    if document["source"].get("dirty"):
        what = "the golden was recorded from a checkout that differs from its commit"
        raise GoldenError(what, where=str(path), hint="record it from a clean checkout")
    _check_sha256(folder / ARRAYS, document["arrays_sha256"])
    stored = read_arrays(folder / ARRAYS, GoldenError)
    components = tuple(_parse_components(document, path))
    _refuse_unlisted(stored, document["parameters"], components, folder / ARRAYS)
    return Golden(
        folder=str(folder.resolve()),
        family=document["family"],
        source={k: document["source"][k] for k in ("repo", "commit")},
        components=flow_order(components),
        parameters={name: tuple(shape) for name, shape in document["parameters"].items()},
        outputs=_strip_prefix("outputs/", stored),
        manifest_sha256=hashlib.sha256(raw).hexdigest(),
        arrays_sha256=document["arrays_sha256"],
        tree_sha256=str(document["source"].get("tree_sha256", "")),
        changed_files=tuple(str(row.get("file")) for row in document["source"].get("changes", ())),
    )


def _hint_to_restore(folder: Path) -> str:
    return f"bring {folder.name} back from version control, or record it again from the official code"


def _read_manifest(path: Path) -> tuple[dict[str, Any], bytes]:
    try:
        document, raw = wire.load_object(path), path.read_bytes()
    except OSError as error:
        raise GoldenError(
            f"the golden's manifest cannot be read: {error.strerror}",
            where=str(path),
            hint="name a golden folder in the `match:` of backend.yaml",
        ) from None
    except wire.WireError as error:
        what = str(error).removeprefix(f"{path}: ")
        raise GoldenError(what, where=str(path), hint=_hint_to_restore(path.parent)) from None
    schemas.check(document, "golden.v1", lambda at: f"{path}: {'.'.join(map(str, at))}", GoldenError)
    return document, raw


def _parse_components(document: Mapping[str, Any], path: Path) -> Iterator[Component]:
    seen: set[str] = set()
    for row in document["components"]:
        name, rule = row["name"], row.get("rule", "tolerance")
        usual = TOLERANCES[row["stage"]] if rule == "tolerance" else 1.0
        tolerance, reason = float(row.get("tolerance", usual)), row.get("reason", "")
        tolerances = {output: float(limit) for output, limit in row.get("tolerances", {}).items()}
        if name in seen or len(set(row["outputs"])) < len(row["outputs"]):
            what = f"component {name} is listed twice, or one of its outputs is"
            raise GoldenError(what, where=str(path), hint="give each a name of its own")
        widest = max([tolerance, *tolerances.values()])
        if widest > usual and not reason:
            raise GoldenError(
                f"component {name} has the tolerance {widest:g}, wider than the {usual:g} of its stage",
                where=str(path),
                hint="add a `reason`, or leave the tolerance out",
            )
        declared, outputs = row.get("insensitive", {}), tuple(row["outputs"])
        unknown = [output for output in (*declared, *tolerances) if output not in ("*", *outputs)]
        if unknown:
            what = f"component {name} says something of {unknown[0]}, which is none of its outputs"
            raise GoldenError(what, where=str(path), hint="name an output, or * for all that are insensitive")
        seen.add(name)
        yield Component(name, row["stage"], outputs, tolerance, reason, declared, rule, tolerances)


def _check_sha256(path: Path, sha256: str) -> None:
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        what = f"the golden's arrays cannot be read: {error.strerror}"
        raise GoldenError(what, where=str(path), hint=_hint_to_restore(path.parent)) from None
    if found != sha256:
        what = f"the golden is corrupt: sha256 {found[:16]}..., its manifest says {sha256[:16]}..."
        raise GoldenError(what, where=str(path), hint=_hint_to_restore(path.parent))


def _refuse_unlisted(
    stored: Mapping[str, Array], parameters: Mapping[str, Any], components: tuple[Component, ...], path: Path
) -> None:
    """Refuse a golden whose arrays are not those of its manifest, or are blind."""
    weights = {f"weights/{name}": tuple(shape) for name, shape in parameters.items()}
    outputs = {f"outputs/{key}": c for c in components for key in c.keys().values()}
    problems = [f"{k} is missing" for k in (weights.keys() | outputs.keys()) - stored.keys()]
    for key, array in stored.items():
        listed = key in weights or key in outputs
        if not listed and not key.startswith("inputs/"):
            problems.append(f"{key} is in the arrays and not in the manifest")
        elif key in weights and array.shape != weights[key]:
            problems.append(f"{key} is of shape {array.shape}, the manifest says {weights[key]}")
        elif problem := _output_problem(array, outputs.get(key), varied=listed):
            problems.append(f"{key} {problem}")
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        what = f"the golden is not fit to be compared with: {min(problems)}{more}"
        raise GoldenError(what, where=str(path), hint="record it again from the official code")


def _output_problem(array: Array, component: Component | None, *, varied: bool) -> str:
    """Why an array cannot be compared with; of a distribution a constant says how weights begin."""
    if component is None or component.rule == "tolerance":
        return array_problem(array, varied=varied)
    if array.ndim != 2 or len(array) < 2 or array.shape[1] != len(PARAMETER_STATISTICS):
        return f"is of shape {array.shape}, not two or more rows of {', '.join(PARAMETER_STATISTICS)}"
    return array_problem(array, varied=False) or ("has a negative deviation" if array[:, 1].min() < 0 else "")


def _strip_prefix(prefix: str, stored: Mapping[str, Array]) -> dict[str, Array]:
    return {k.removeprefix(prefix): v for k, v in stored.items() if k.startswith(prefix)}


def write_given(golden: Golden, folder: Path) -> None:
    """Write what a match program is given into ``folder``: the golden without what it has to compute.

    Weights and inputs as they are, and a manifest that says of which golden (``given_of``).

    Raises:
        OSError: it cannot be written.
        GoldenError: the golden is no longer what was read.
    """
    whole = Path(golden.folder)
    document, raw = _read_manifest(whole / MANIFEST)
    if hashlib.sha256(raw).hexdigest() != golden.manifest_sha256:
        raise GoldenError(
            "the golden changed after it was read", where=golden.folder, hint=_hint_to_restore(whole)
        )
    _check_sha256(whole / ARRAYS, golden.arrays_sha256)
    folder.mkdir()
    path = folder / ARRAYS
    with zipfile.ZipFile(whole / ARRAYS) as archive, zipfile.ZipFile(path, "w") as given:
        for name in archive.namelist():
            if not name.startswith("outputs/"):
                # As a record of its name alone: what else an archive notes could differ between copies.
                given.writestr(zipfile.ZipInfo(name), archive.read(name))
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    document = {**document, "arrays_sha256": sha256, "given_of": golden.identity}
    schemas.check(document, "golden.v1", lambda at: str(folder), GoldenError)
    wire.write_atomic(folder / MANIFEST, json.dumps(document, indent=1, allow_nan=False) + "\n")


def hold_to_lock(golden: Golden, lock_path: Path, *, own: bool, version: str = "") -> Golden:
    """A golden with what the lock file says of it (:attr:`Golden.standing`).

    Args:
        lock_path: where there is no file, nothing is locked.
        own: whether it is the folder that the backend names, which the lock pins by its hash; any other
            (recorded from a run's checkpoint, or named by hand) must hold what the pinned one does.
        version: of the official program, which it must be of; empty: where the pin names no program.

    Raises:
        GoldenError: it is of another repository or commit, is not the pinned one, or lacks outputs.
        SourceError: the lock file is there and is not a lock.
    """
    locked = lock.read_lock(lock_path) if lock_path.exists() else None
    pin = locked.goldens.get(golden.family) if locked else None
    if locked is None or pin is None:
        entries = locked.suites.values() if locked else ()
        _check_commit(golden, [entry for entry in entries if same_repo(entry, golden)], lock_path)
        return replace(golden, standing="unlocked")
    entry = locked.entry(f"{pin.suite}@{version}" if version else pin.suite)
    sha256 = pin.versions.get(version, {}).get("manifest_sha256", pin.manifest_sha256)
    if own and golden.manifest_sha256 != sha256:
        raise GoldenError(
            f"the golden's manifest.json has the sha256 {golden.manifest_sha256}, {lock_path.name} pins "
            f"{sha256}",
            where=golden.folder,
            hint=f"bring it back from version control, or, where it was recorded anew, "
            f"worldflux-parity pin-golden {golden.family}",
        )
    check_against(golden, pin, entry, lock_path)
    return replace(golden, standing="pinned" if own else "locked")


def check_against(golden: Golden, pin: lock.GoldenPin, entry: lock.LockEntry, lock_path: Path) -> None:
    """Whether a golden is of the locked commit and holds what every golden of its family must.

    Raises:
        GoldenError: it is not, or does not.
    """
    if not same_repo(entry, golden):
        raise GoldenError(
            f"the golden was recorded from {golden.source['repo']}, {lock_path.name} locks {entry.repo} for "
            f"the family {golden.family}",
            where=golden.folder,
            hint="record it again from the locked repository",
        )
    _check_commit(golden, [entry], lock_path)
    outputs = golden.outputs
    lacking = [p for p in pin.holds if p not in outputs and not fnmatch.filter(outputs, p)]
    if lacking:
        more = f" (and {len(lacking) - 1} more)" if len(lacking) > 1 else ""
        raise GoldenError(
            f"the golden lacks {lacking[0]}{more}, which {lock_path.name} wants of every golden of the "
            f"family {golden.family}",
            where=golden.folder,
            hint="record it again with everything that the recorder records",
        )


def _check_commit(golden: Golden, entries: list[lock.LockEntry], lock_path: Path) -> None:
    commits = sorted({e.commit for e in entries})
    if commits and golden.source["commit"] not in commits:
        raise GoldenError(
            f"the golden was recorded at commit {golden.source['commit']}, {lock_path.name} locks "
            f"{', '.join(commits)}",
            where=golden.folder,
            hint="record it again at the locked commit",
        )


def same_repo(entry: lock.LockEntry, golden: Golden) -> bool:
    """Whether a golden is of a lock entry's repository, however its URL is written."""
    return _repo_key(entry.repo) == _repo_key(golden.source["repo"])


def _repo_key(url: str) -> tuple[str, str]:
    """Host in lower case and path, without a slash or ``.git`` at the end."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return "", url
    return host, parts.path.rstrip("/").removesuffix(".git").rstrip("/")


def read_arrays(path: Path, error: type[ParityError], most: int = MAX_BYTES) -> dict[str, Array]:
    """The arrays of an npz file by name. Pickled objects are refused, not loaded.

    Args:
        most: bytes that they may unpack to; looked at before anything is unpacked.

    Raises:
        ParityError: of class ``error``: it is absent, no npz, torn, too large, or holds objects.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return dict(_read_members(archive, most))
    except OSError as problem:
        raise error(f"cannot be read: {problem.strerror or problem}", where=str(path)) from None
    except _FOREIGN_ERRORS as problem:
        text = (str(problem) or type(problem).__name__).partition("\n")[0]
        raise error(f"not an npz file of plain arrays: {text}", where=str(path)) from None


def _read_members(archive: zipfile.ZipFile, most: int) -> Iterator[tuple[str, Array]]:
    names = archive.namelist()
    if len(set(names)) < len(names):
        raise ValueError("a name stands twice in it")
    size = sum(info.file_size for info in archive.infolist())
    if size > most:
        raise ValueError(f"it unpacks to {size} bytes, and may to {most}")
    for name in names:
        if not name.endswith(".npy"):
            raise ValueError(f"{name} is not an array")
        handle = io.BytesIO(archive.read(name))
        array = np.lib.format.read_array(handle, allow_pickle=False)
        if handle.read(1):
            raise ValueError(f"{name} is longer than its array")
        yield name.removesuffix(".npy"), array
