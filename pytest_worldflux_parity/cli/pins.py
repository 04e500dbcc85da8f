"""``pin-golden`` and ``pin-table``: the lock file wants what was recorded or measured anew.

What must hold of any golden of the family is checked first; nothing else in the lock file changes.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from .. import schemas, wire
from ..errors import BackendError, SourceError, SuiteError
from ..inputs import checkouts, lock
from ..inputs import golden as goldens
from ..inputs.backends import Backend
from ..inputs.scores import ScoreTable, load_table
from ..inputs.table_pins import files_of
from ..schemas import json_text
from ..suite import campaign_file, suite_file
from ..suite.suite import ArtifactSide, Suite
from .options import BACKENDS, LOCK, Project, argument, command, project_of

# --- pin-golden ---


@command(
    "pin-golden",
    argument("family", help="the family, or the name of its backend that has a match program"),
    argument(
        "--suite", metavar="ID",
        help="the entry of the lock file whose commit it is of (default: that of the pin that is there)",
    ),
    argument("--version", default="", help="the version of the official program (default: the current one)"),
    BACKENDS,
    LOCK,
)  # fmt: skip
def pin_golden(options: argparse.Namespace) -> None:
    """Pin it, and say what was pinned before.

    Raises:
        BackendError: no backend of the family has a golden folder, or several have different ones.
        GoldenError: the folder is no golden, is of another commit, or lacks what the family's must hold.
        SourceError: the lock file cannot be read or written, or ``--suite`` is wanted.
    """
    project = project_of(options)
    path = project.lock_path
    locked = lock.read_lock(path)
    backend = _find_compared(options.family, project)
    pin = locked.goldens.get(backend.family)
    suite = options.suite or (pin.suite if pin else "")
    current = locked.current_of(suite)
    version = options.version or current
    found = goldens.read_golden(backend.golden_of(version))
    if not suite:
        hint = "name the entry whose commit it was recorded at with --suite ID"
        raise SourceError("no golden of the family is pinned yet", where=str(path), hint=hint)
    entry = locked.entry(f"{suite}@{version}" if version else suite)
    # What every golden of the family must hold: as it stands, or at first every component.
    holds = pin.holds if pin else tuple(f"{component.name}/*" for component in found.components)
    new = lock.GoldenPin(suite, found.manifest_sha256, holds, len(found.components))
    # As it will stand, so that whatever is wrong is said before anything is written.
    goldens.check_against(found, new, entry, path)
    _, document = json_text.read_json(path, SourceError)
    known = dict(pin.versions) if pin else {}
    if pin and version != current:
        row = {"manifest_sha256": found.manifest_sha256, "components": len(found.components)}
        before = known.get(version, {}).get("manifest_sha256")
        new = replace(pin, versions={**known, version: row})
    else:
        before, new = pin.manifest_sha256 if pin else None, replace(new, versions=known)
    rows = {key: value for key, value in asdict(new).items() if value}
    document.setdefault("goldens", {})[found.family] = rows
    _write_lock(path, document)
    print(f"{path}: {found.family}: {found.manifest_sha256} is pinned, {before or 'nothing'} was")


def _find_compared(word: str, project: Project) -> Backend:
    """The backend that the command line names, or one of its family, all of which have one golden folder."""
    matched = [b for b in project.backends() if b.match is not None]
    named = [b for b in matched if word in (b.family, b.name, b.adapter)]
    folders = sorted({b.golden_dir.resolve() for b in named})
    if len(folders) != 1:
        what = "has a golden folder" if not folders else "is compared with one and the same golden folder"
        raise BackendError(
            f"no backend or family {word!r} {what}",
            valid=sorted({word for b in matched for word in (b.family, b.name)}),
            got=word,
        )
    return named[0]


# --- pin-table ---


@command(
    "pin-table",
    argument("suite", type=Path, help="the file of a suite or campaign that names it"),
    LOCK,
)
def pin_table(options: argparse.Namespace) -> None:
    """Pin every file of the table that has scores of the suite's tasks, and print what is pinned anew.

    Raises:
        SuiteError: the suite cannot be read, or its official side is no table.
        ScoreTableError: the table is not one.
        SourceError: the lock file cannot be read or written, or the table is of no known commit or not of
            the one that is locked.
    """
    project = project_of(options)
    path = project.lock_path
    suite = _official_suite(options.suite.resolve())
    document = _read_lock_document(path)
    before = document["suites"].get(suite.suite_id, {})
    entry = _entry_of_table(suite, before, path, project.root)
    document["suites"][suite.suite_id] = entry
    _write_lock(path, document)
    files, old = entry["oracle_files"], before.get("oracle_files", {})
    anew = [f"  {sha256}  {name}" for name, sha256 in files.items() if old.get(name) != sha256]
    print(f"{path}: {suite.suite_id}: files pinned: {len(files)}, of them anew: {len(anew)}", *anew, sep="\n")


def _entry_of_table(suite: Suite, before: Mapping[str, Any], path: Path, root: Path) -> dict[str, Any]:
    """The suite's entry of the lock file, as its table stands now."""
    side = suite.sides.get("official")
    if not isinstance(side, ArtifactSide):
        what = "the official side is run, so there is no table to pin"
        raise SuiteError(what, where=suite_file.place(suite.path, "official"))
    table = load_table(side.path, side.format, **side.reading)
    origin = _origin_of_table(suite, side, table, before, path)
    # What the table says of itself is known.
    doubts = ("oracle_commit", "oracle_commit_reason") if "commit" in table.provenance else ()
    kept = {key: value for key, value in before.items() if key not in doubts}
    entry = {**kept, **origin, "oracle_format": side.format}
    entry |= _place_of_table(side, entry, root)
    files = files_of(table, [t.name_in("official") for t in suite.tasks])
    names = sorted(files, key=lambda name: Path(name).stem)
    pins = {f"{entry['oracle_path']}/{name}".rstrip("/"): files[name] for name in names}
    return {**entry, "oracle_files": pins}


def _official_suite(path: Path) -> Suite:
    """A quick suite, or the official source of a campaign as one."""
    if suite_file.read(path).track != "campaign":
        return suite_file.load(path)
    campaign = campaign_file.load(path)
    official = [s for s in campaign.sources.values() if s.system == "official"]
    return campaign.suite((official or list(campaign.sources.values()))[0], ())


def _read_lock_document(path: Path) -> dict[str, Any]:
    """The lock file as it stands; where there is none, one without suites."""
    if not path.exists():
        return {"schema_version": lock.LOCK_SCHEMA, "generated_at_utc": json_text.utc_now(), "suites": {}}
    lock.read_lock(path)
    document: dict[str, Any] = json_text.read_json(path, SourceError)[1]
    return document


def _origin_of_table(
    suite: Suite, side: ArtifactSide, table: ScoreTable, before: Mapping[str, str], path: Path
) -> dict[str, str]:
    """The repository and commit that the table is of: as the suite or the table states, else as locked."""
    stated = {key: getattr(side, key) or table.provenance.get(key) for key in ("repo", "commit")}
    found = {key: value or before.get(key) for key, value in stated.items()}
    missing = [key for key, value in found.items() if not isinstance(value, str)]
    if missing:
        raise SourceError(
            f"neither the suite nor the table says of which {missing[0]} the official program was",
            where=str(suite.path),
            hint="write `repo:` and `commit:` beside the `path:` of its official artifact",
        )
    if before and found["commit"] != before["commit"]:
        raise SourceError(
            f"the table is of commit {found['commit']}, locked is {before['commit']}",
            where=f"{path}: {suite.suite_id}",
            hint="correct the commit of the entry, if the official program is to be that one",
        )
    return {key: before.get(key) or str(value) for key, value in found.items()}


def _place_of_table(side: ArtifactSide, entry: Mapping[str, str], root: Path) -> dict[str, str]:
    """Where the table stands: in the checkout of the locked commit, or in the project."""
    path = Path(os.path.normpath(side.path))
    checkout = checkouts.checkout_path(root, entry["repo"], entry["commit"])
    if path.is_relative_to(checkout):
        place = {"oracle_in": "source"} if "oracle_in" in entry else {}
        return {"oracle_path": path.relative_to(checkout).as_posix(), **place}
    if path.is_relative_to(root):
        return {"oracle_path": path.relative_to(root).as_posix(), "oracle_in": "project"}
    raise SourceError("the table is not in the project", where=str(path), hint=f"bring it to {root}")


# --- the lock file ---


def _write_lock(path: Path, document: dict[str, Any]) -> None:
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    schemas.check(json.loads(text), "lock.v1", lambda at: str(path), SourceError)
    try:
        wire.write_atomic(path, text)
    except OSError as error:
        raise SourceError(f"the lock file cannot be written: {error.strerror}", where=str(path)) from None
