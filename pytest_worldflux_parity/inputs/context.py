"""What one pytest session asks of every suite."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..suite.suite import SYSTEMS, Override

# Among the choices of a run: that a resume tried anew what had failed, and why. It stands whoever judges.
RETRIED = "retry_failed"
# And that results of earlier runs count in it.
REUSE = "reuse"
# Whether programs are kept in their folders: where the machine can, or the run fails; or not at all.
Isolate = Literal["auto", "require", "off"]
# What stays of an attempt once it is recorded.
Retention = Literal["minimal", "full"]


@dataclass(frozen=True)
class RunContext:
    """What one pytest session asks of every suite.

    Attributes:
        root: the project; ``.worldflux`` (checkouts, environments) and the lock are found from it.
        systems: the live systems that are run; others must come from a resumed run.
        seeds: replaces the seeds of live sides, or None.
        overrides: system -> the table that is read in place of its side.
        retention: what stays of an attempt once it is recorded.
        isolate: whether programs are kept in their folders (:mod:`..execution.isolation`).
        history: globs of earlier equivalence reports that a proof is held against.
        sign_key: the private key that a proof's evidence is signed with.
        engine: where runs are executed, local, ray or slurm.
        engine_settings: what the session says to its engine, by the name of the ini setting.
        names: what documents call files by, of a run that is judged anew (:func:`.lock_reference.names_of`).
        choices: what the command line chose in place of what the project has (:func:`chosen`).
        retry_failed: why what failed in earlier sessions is tried anew; empty: it is not.
        reuse: globs of earlier run directories, whose results count where a run would be the same.
        candidate: the project whose files the candidate's commands name, where that is not ``root``.
    """

    root: Path
    track: str
    run_id: str
    run_dir: Path
    device: str
    lock_path: Path
    backend_folders: tuple[Path, ...]
    resume: bool = False
    systems: tuple[str, ...] = SYSTEMS
    seeds: tuple[int, ...] | None = None
    overrides: Mapping[str, Override] = field(default_factory=dict)
    retention: Retention = "full"
    isolate: Isolate = "off"
    history: tuple[str, ...] = ()
    sign_key: Path | None = None
    engine: str = "local"
    engine_settings: Mapping[str, Any] = field(default_factory=dict)
    choices: Mapping[str, str] = field(default_factory=dict)
    names: Mapping[str, Any] = field(default_factory=dict)
    retry_failed: str = ""
    reuse: tuple[str, ...] = ()
    candidate: Path | None = None


def chosen(context: RunContext, own_lock: Path, backends: str = "") -> dict[str, str]:
    """What a command line chose in place of the project's: seeds, tables, lock, programs -> a sentence.

    Args:
        own_lock: the lock file where the project keeps it.
        backends: folders of backends that the command line names in place of the project's; empty: none.
    """
    found = {}
    if context.seeds is not None:
        seeds = ",".join(map(str, context.seeds))
        found["seeds"] = f"--parity-seeds {seeds} in place of the suite's seeds"
    options = {"official": "--parity-upstream", "worldflux": "--parity-worldflux"}
    if context.overrides:
        given = " and ".join(f"{options[s]} in place of the suite's {s} side" for s in context.overrides)
        found["tables"] = f"a table given with {given}"
    if context.lock_path.resolve() != own_lock.resolve():
        names = [os.path.relpath(path, context.root) for path in (context.lock_path, own_lock)]
        found["lock"] = f"the lock {names[0]} in place of {names[1]}"
    if backends:
        found["backends"] = f"the programs of {' '.join(backends.split())} in place of the project's"
    return found
