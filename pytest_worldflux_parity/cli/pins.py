"""``pin-golden`` and ``pin-table``: the lock file wants what was recorded or measured anew.

What must hold of any golden of the family is checked first; nothing else in the lock file changes.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from ..errors import BackendError, SourceError, SuiteError
from .options import (
    Subparsers,
    add_backends_option,
    add_lock_option,
    backend_folders,
    lock_path,
    project_root,
)

if TYPE_CHECKING:
    from ..inputs.golden_data import Golden
    from ..inputs.lock import GoldenPin
    from ..inputs.scores import ScoreTable
    from ..suite.suite import ArtifactSide, Suite


# --- pin-golden ---


def add_pin_golden(commands: Subparsers) -> None:
    """``pin-golden``: write the hash of a backend's golden folder into the lock file."""
    parser = commands.add_parser(
        "pin-golden", help="have the lock file pin the golden folder that was recorded anew"
    )
    parser.add_argument("family", help="the family, or the name of its backend that has a match program")
    parser.add_argument(
        "--suite", metavar="ID",
        help="the entry of the lock file whose commit it is of (default: that of the pin that is there)",
    )  # fmt: skip
    add_backends_option(parser)
    add_lock_option(parser)
    parser.set_defaults(run=run_pin_golden)


def run_pin_golden(options: argparse.Namespace) -> None:
    """Pin it, and say what was pinned before.

    Raises:
        BackendError: no backend of the family has a golden folder, or several have different ones.
        GoldenError: the folder is no golden, is of another commit, or lacks what the family's must hold.
        SourceError: the lock file cannot be read or written, or ``--suite`` is wanted.
    """
    from ..inputs import golden as goldens
    from ..inputs import lock
    from ..schemas import json_text

    root = project_root(options)
    path = lock_path(options, root)
    locked = lock.read_lock(path)
    found = goldens.read_golden(_folder(options, root))
    pin = locked.goldens.get(found.family)
    entry = locked.entry(options.suite or (pin.suite if pin else _no_suite(path)))
    holds = _holds(found, pin)
    new = lock.GoldenPin(entry.suite_id, found.manifest_sha256, holds, len(found.components))
    # As it will stand, so that whatever is wrong is said before anything is written.
    goldens.check_against(found, new, entry, path)
    _, document = json_text.read_json(path, SourceError)
    document.setdefault("goldens", {})[found.family] = asdict(new)
    _write(path, document)
    before = pin.manifest_sha256 if pin else "nothing"
    print(f"{path}: {found.family}: {found.manifest_sha256} is pinned, {before} was")


def _folder(options: argparse.Namespace, root: Path) -> Path:
    """The golden folder of the backends that the command line names."""
    from ..inputs.backends import load_backends

    known = load_backends(backend_folders(options, root)).values()
    matched = [b for b in known if b.match is not None]
    named = [b for b in matched if options.family in (b.family, b.name, b.adapter)]
    folders = sorted({b.golden_dir.resolve() for b in named})
    if len(folders) != 1:
        what = "has a golden folder" if not folders else "is compared with one and the same golden folder"
        raise BackendError(
            f"no backend or family {options.family!r} {what}",
            valid=sorted({word for b in matched for word in (b.family, b.name)}),
            got=options.family,
        )
    return folders[0]


def _no_suite(path: Path) -> NoReturn:
    mend = "name the entry whose commit it was recorded at with --suite ID"
    raise SourceError("no golden of the family is pinned yet", where=str(path), mend=mend)


def _holds(golden: Golden, pin: GoldenPin | None) -> tuple[str, ...]:
    """What every golden of the family must hold: as it stands, or at first every component."""
    return pin.holds if pin else tuple(f"{component.name}/*" for component in golden.components)


# --- pin-table ---


def add_pin_table(commands: Subparsers) -> None:
    """``pin-table``: write the hashes of a suite's official table into the lock file."""
    parser = commands.add_parser(
        "pin-table", help="have the lock file pin the official score table that a suite names"
    )
    parser.add_argument("suite", type=Path, help="the file of a suite or campaign that names it")
    add_lock_option(parser)
    parser.set_defaults(run=run_pin_table)


def run_pin_table(options: argparse.Namespace) -> None:
    """Pin every file of the table that has scores of the suite's tasks, and print what is pinned anew.

    Raises:
        SuiteError: the suite cannot be read, or its official side is no table.
        ScoreTableError: the table is not one.
        SourceError: the lock file cannot be read or written, or the table is of no known commit or not of
            the one that is locked.
    """
    root = project_root(options)
    path = lock_path(options, root)
    suite = _suite(options.suite.resolve())
    document = _document(path)
    before = document["suites"].get(suite.suite_id, {})
    entry = _entry(suite, before, path, root)
    document["suites"][suite.suite_id] = entry
    _write(path, document)
    files, old = entry["oracle_files"], before.get("oracle_files", {})
    anew = [f"  {sha256}  {name}" for name, sha256 in files.items() if old.get(name) != sha256]
    print(f"{path}: {suite.suite_id}: files pinned: {len(files)}, of them anew: {len(anew)}", *anew, sep="\n")


def _entry(suite: Suite, before: Mapping[str, Any], path: Path, root: Path) -> dict[str, Any]:
    """The suite's entry of the lock file, as its table stands now."""
    from ..inputs.scores import load_table
    from ..inputs.table_pins import files_of
    from ..suite import suite_file
    from ..suite.suite import ArtifactSide

    side = suite.sides.get("official")
    if not isinstance(side, ArtifactSide):
        what = "the official side is run, so there is no table to pin"
        raise SuiteError(what, where=suite_file.place(suite.path, "official"))
    table = load_table(side.path, side.format, **side.reading)
    entry = {**before, **_source(suite, side, table, before, path), "oracle_format": side.format}
    entry |= _place(side, entry, root)
    files = files_of(table, [t.name_in("official") for t in suite.tasks])
    names = sorted(files, key=lambda name: Path(name).stem)
    pins = {f"{entry['oracle_path']}/{name}".rstrip("/"): files[name] for name in names}
    return {**entry, "oracle_files": pins}


def _suite(path: Path) -> Suite:
    """A quick suite, or the official source of a campaign as one."""
    from ..suite import campaign_file, suite_file

    if suite_file.read(path).track != "campaign":
        return suite_file.load(path)
    campaign = campaign_file.load(path)
    official = [s for s in campaign.sources.values() if s.system == "official"]
    return campaign.suite((official or list(campaign.sources.values()))[0], ())


def _document(path: Path) -> dict[str, Any]:
    """The lock file as it stands; where there is none, one without suites."""
    from ..inputs import lock
    from ..schemas import json_text

    if not path.exists():
        return {"schema_version": lock.LOCK_SCHEMA, "generated_at_utc": json_text.utc_now(), "suites": {}}
    lock.read_lock(path)
    document: dict[str, Any] = json_text.read_json(path, SourceError)[1]
    return document


def _source(
    suite: Suite, side: ArtifactSide, table: ScoreTable, before: Mapping[str, str], path: Path
) -> dict[str, str]:
    """The repository and commit that the table is of: as the suite or the table states, else as locked."""
    stated = {key: getattr(side, key) or table.provenance.get(key) for key in ("repo", "commit")}
    found = {key: value or before.get(key) for key, value in stated.items()}
    lacking = [key for key, value in found.items() if not isinstance(value, str)]
    if lacking:
        raise SourceError(
            f"neither the suite nor the table says of which {lacking[0]} the official program was",
            where=str(suite.path),
            mend="write `repo:` and `commit:` beside the `path:` of its official artifact",
        )
    if before and found["commit"] != before["commit"]:
        raise SourceError(
            f"the table is of commit {found['commit']}, locked is {before['commit']}",
            where=f"{path}: {suite.suite_id}",
            mend="correct the commit of the entry, if the official program is to be that one",
        )
    return {key: before.get(key) or str(value) for key, value in found.items()}


def _place(side: ArtifactSide, entry: Mapping[str, str], root: Path) -> dict[str, str]:
    """Where the table stands: in the checkout of the locked commit, or in the project."""
    from ..inputs import checkouts

    path = Path(os.path.normpath(side.path))
    checkout = checkouts.checkout_path(root, entry["repo"], entry["commit"])
    if path.is_relative_to(checkout):
        place = {"oracle_in": "source"} if "oracle_in" in entry else {}
        return {"oracle_path": path.relative_to(checkout).as_posix(), **place}
    if path.is_relative_to(root):
        return {"oracle_path": path.relative_to(root).as_posix(), "oracle_in": "project"}
    raise SourceError("the table is not in the project", where=str(path), mend=f"bring it to {root}")


# --- the lock file ---


def _write(path: Path, document: dict[str, Any]) -> None:
    from .. import schemas, wire

    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    schemas.check(json.loads(text), "lock.v1", lambda at: str(path), SourceError)
    try:
        wire.write_atomic(path, text)
    except OSError as error:
        raise SourceError(f"the lock file cannot be written: {error.strerror}", where=str(path)) from None
