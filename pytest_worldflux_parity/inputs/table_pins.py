"""Whether an official score table is the one that the lock file pins: its files, by their sha256."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from ..schemas.score_formats import SCORE_FORMATS
from ..suite.suite import Suite
from .lock import LockEntry
from .scores import ScoreTable, task_key

PIN_TABLE = "worldflux-parity pin-table"


@dataclass(frozen=True)
class TablePin:
    """What the lock file says of a suite's official table.

    Attributes:
        pinned: whether the lock pins it and it is as pinned; None where the official side is no table.
        mismatch: how its bytes contradict the pin; empty where they do not.
        warning: that nothing says that it is the official one; empty where something does.
        maker: which commit made it, where that is not the locked one (:attr:`~.lock.LockEntry.maker_doubt`).
    """

    pinned: bool | None = None
    mismatch: str = ""
    warning: str = ""
    maker: str = ""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader of a verdict on it should know."""
        made = f"the official table was made by {self.maker}" if self.maker else ""
        return tuple(filter(None, (self.warning, made)))


def table_pin(suite: Suite, table: ScoreTable, entry: LockEntry | None, names: Mapping[str, str]) -> TablePin:
    """Hold an official table to the suite's entry of the lock file.

    Args:
        names: how ``table``, ``suite`` and ``lock`` are called in sentences.
    """
    pins = pinned_files(entry) if entry else {}
    # Whoever names a table on the command line knows that it is another; and pins are of the suite's own.
    replaced = "official" in suite.replaced
    hint = f"{PIN_TABLE} {names['suite']}"
    if not pins:
        text = f"no lock entry pins the official table {names['table']}"
        how = "" if replaced else f" (to pin it: {hint})"
        doubt = entry.maker_doubt if entry and not replaced else ""
        warning = f"{text}, so nothing says that it is the official one{how}"
        return TablePin(False, warning=warning, maker=doubt)
    differs = departure(table, pins, [t.name_in("official") for t in suite.tasks])
    maker = entry.maker_doubt if entry else ""
    if not differs:
        return TablePin(True, maker=maker)
    text = f"the official table {names['table']} is not the one that {names['lock']} pins: {differs}"
    if replaced:
        return TablePin(False, warning=text)
    hint = f"bring it back from version control or, where it was measured anew, {hint}"
    return TablePin(False, mismatch=f"{text}; to mend: {hint}", maker=maker)


def pinned_files(entry: LockEntry) -> dict[str, str]:
    """The pins of an entry's own table: name within its folder, "" where it is one file -> sha256."""
    top = PurePosixPath(entry.oracle_path)
    pins = {PurePosixPath(name): sha256 for name, sha256 in entry.oracle_files.items()}
    below = {p.relative_to(top): sha256 for p, sha256 in pins.items() if p.is_relative_to(top)}
    return {"" if name == PurePosixPath() else name.as_posix(): sha256 for name, sha256 in below.items()}


def files_of(table: ScoreTable, tasks: Collection[str]) -> dict[str, str]:
    """The files with scores of the tasks, where they are named after tasks; else all. Name -> sha256."""
    wanted = {task_key(task) for task in tasks}
    return {
        name: sha256
        for name, sha256 in table.files.items()
        if not SCORE_FORMATS[table.format].is_named_after_tasks
        or not name
        or task_key(PurePosixPath(name).stem) in wanted
    }


def departure(table: ScoreTable, pins: Mapping[str, str], tasks: Collection[str]) -> str:
    """How the bytes of a table differ from its pins, the first difference; empty where they do not."""
    for name, sha256 in sorted(files_of(table, tasks).items()):
        shown = f"{name} has" if name else "it has"
        if name not in pins:
            return f"{shown} no pin" if name else "it is one file, and files of a folder are pinned"
        if pins[name] != sha256:
            return f"{shown} the sha256 {sha256}, pinned is {pins[name]}"
    return ""
