"""``worldflux-parity pin-golden``: the golden folder that was recorded anew is the one to be compared with.

What must hold of any golden of the family is checked first; only its hash in the lock file changes.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from ..errors import BackendError, SourceError
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
    new = lock.GoldenPin(entry.suite_id, found.manifest_sha256, _holds(found, pin))
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


def _write(path: Path, document: dict[str, Any]) -> None:
    from .. import schemas, wire

    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    schemas.check(json.loads(text), "lock.v1", lambda at: str(path), SourceError)
    try:
        wire.write_atomic(path, text)
    except OSError as error:
        raise SourceError(f"the lock file cannot be written: {error.strerror}", where=str(path)) from None
