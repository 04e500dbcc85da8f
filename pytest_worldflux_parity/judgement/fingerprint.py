"""What ``run.json`` seals before the first run, and what has changed since."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from .. import schemas, wire
from ..errors import StoreError
from ..execution.store import relative
from ..inputs.backends import Backend
from ..inputs.command_program import CommandProgram
from ..inputs.context import RunContext
from ..inputs.prepare import PreparedFile
from ..inputs.program_files import program_files
from .assemble import part_key


def read_session(run_dir: Path) -> dict[str, Any]:
    """The run's ``run.json``.

    Raises:
        StoreError: it is absent or not what this plugin writes.
    """
    path = run_dir / "run.json"
    try:
        session = wire.load_object(path)
        schemas.check(session, "session.v1", lambda at: str(path), StoreError)
    except (OSError, ValueError) as error:
        raise StoreError(f"cannot be read: {error}", where=str(path)) from None
    return session


def entry_of(session: Mapping[str, Any], suite_id: str, where: str) -> Mapping[str, Any]:
    """What a session sealed of a suite.

    Raises:
        StoreError: it sealed none of this id, or two.
    """
    found = [e for e in session["suites"].values() if e["suite_id"] == suite_id]
    if len(found) != 1:
        what = "the run has no such suite" if not found else f"the run has {len(found)} suites {suite_id!r}"
        valid = sorted({e["suite_id"] for e in session["suites"].values()})
        raise StoreError(what, where=where, valid=valid, got=suite_id)
    entry: Mapping[str, Any] = found[0]
    return entry


def overrides_of(context: RunContext) -> dict[str, Any]:
    """The tables given on the command line, by system."""
    return {
        s: {"path": relative(o.path, context.root) if o.path else None, "format": o.format}
        for s, o in context.overrides.items()
    }


def fingerprint(prepared: PreparedFile, context: RunContext) -> dict[str, Any]:
    """What decides a suite's runs and verdict, as hashes."""
    suite = prepared.suite
    # Absent where there are none, so that runs which were sealed before there could be any go on.
    overrides = {"overrides": overrides_of(context)} if context.overrides else {}
    return {
        **overrides,
        "suite_id": suite.suite_id,
        "suite_sha256": suite.sha256,
        # The parts of a campaign are its sources, of different systems.
        "tables": {s: t.sha256 for part in prepared.parts for s, t in part.tables.items()},
        **_programs(prepared, context),
        # The seeds of a plan that a pilot sealed are no change of what was asked.
        "seeds": {s: list(v) if v is not None else None for s, v in suite.seeds.items()},
        "device": context.device,
        **_files(prepared, context),
        "upstream_lock_sha256": wire.file_sha256(context.lock_path),
        "suite_policy_sha256": wire.file_sha256(context.lock_path.with_name("suite_policy.json")),
    }


def _programs(prepared: PreparedFile, context: RunContext) -> dict[str, Any]:
    """The programs on both sides and what components are compared with."""
    if prepared.campaign is None:
        return sealed_parts(prepared, context.root)
    found = {s: x for part in prepared.parts for s, x in part.sources.items()}
    return {
        "sources": {s: {k: v for k, v in x.items() if k != "checkout"} for s, x in found.items()},
        "golden": None,
    }


def _files(prepared: PreparedFile, context: RunContext) -> dict[str, Any]:
    """The project's files that commands name, by side; no key where there is no command.

    They are no part of a request: a word may also name what the program is going to write.
    """
    found = {}
    for part in prepared.parts:
        for system, program in part.backends.items():
            if isinstance(program, CommandProgram):
                root, folder = _place(program, context)
                values = {"family": part.suite.family, "device": context.device, "repo_root": str(root)}
                side = f"{part.label}.{system}".lstrip(".")
                output = context.run_dir.parent
                found[side] = program_files(program.sides, folder, root, output, values)
    return {"files": found} if found else {}


def _place(program: CommandProgram, context: RunContext) -> tuple[Path, Path]:
    """The project whose files a command names, and the manifest's folder in it."""
    if context.candidate is None or program.system != "worldflux":
        return context.root, program.folder
    return context.candidate, context.candidate / program.folder.relative_to(context.root)


def comparable(
    before: dict[str, Any], now: dict[str, Any], prepared: PreparedFile
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Two fingerprints as they are to be compared.

    A campaign is not judged, so it may go on with other seeds and with a source more or less; what both
    times have must be the same.
    """
    if prepared.campaign is None:
        return before, now
    kept: list[dict[str, Any]] = []
    for one, other in ((before, now), (now, before)):
        shared = {k: {s: v for s, v in one[k].items() if s in other[k]} for k in ("tables", "sources")}
        kept.append({**one, **shared, "seeds": {}})
    return kept[0], kept[1]


def changes(before: dict[str, Any], now: dict[str, Any], prepared: PreparedFile) -> list[str]:
    """The names of what differs between two fingerprints; of a side also which one, and its program."""
    before, now = comparable(before, now, prepared)
    changed = sorted(k for k in before.keys() | now.keys() if before.get(k) != now.get(k))
    return [text for key in changed for text in _names_of_change(key, before, now, prepared)]


def _names_of_change(
    key: str, before: dict[str, Any], now: dict[str, Any], prepared: PreparedFile
) -> list[str]:
    if key == "golden":
        return ["the golden of the component match"]
    if key == "overrides":
        return ["what the command line gives in place of the suite's own tables"]
    # Files of a program's folder are told of by what they are of.
    if key == "trees":
        return []
    if key == "files":
        return list(_changed_files(before.get(key) or {}, now.get(key) or {}))
    if key not in ("sources", "tables", "programs"):
        return [key]
    old, new = before.get(key) or {}, now.get(key) or {}
    sides = sorted(s for s in old.keys() | new.keys() if old.get(s) != new.get(s))
    if key == "tables":
        return [f"the {s} table" for s in sides]
    if key == "programs":
        return [f"the {_side(s, prepared)} program" for s in sides]
    adapters = {s: b.adapter for part in prepared.parts for s, b in part.backends.items()}
    named = {s: adapters.get(s.rpartition(".")[2], "no longer named") for s in sides}
    return [f"the source of the {_side(s, prepared)} side (backend {named[s]})" for s in sides]


def _side(key: str, prepared: PreparedFile) -> str:
    """The system of a program; where there are several parts, also of which."""
    return key if len(prepared.parts) > 1 else key.rpartition(".")[2]


def _changed_files(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Files of programs that are not as they were sealed; one that came later was not sealed."""
    for side in sorted(before.keys() & now.keys()):
        for name, sha256 in sorted(before[side].items()):
            if now[side].get(name) != sha256:
                what = f"a script in {name}" if name.endswith("/") else name
                yield f"{what}, which the {side} command names,"


def sealed_parts(prepared: PreparedFile, root: Path) -> dict[str, Any]:
    """What ``run.json`` says of a suite's programs, so that a bundle can be judged without them."""
    programs, sources, golden, trees = {}, {}, {}, {}
    for part in prepared.parts:
        for system, backend in part.backends.items():
            key = f"{part_key(part)}.{system}"
            programs[key] = {"adapter": backend.adapter, "kind": backend.kind, "name": backend.name}
            sources[key] = {k: v for k, v in part.sources[system].items() if k != "checkout"}
            if isinstance(backend, Backend):
                place = Path(relative(backend.folder, root))
                files = wire.tree_files(backend.folder)
                trees[key] = {(place / name).as_posix(): sha256 for name, sha256 in files.items()}
                trees[key].update(_beside(backend, root))
        if part.match is not None:
            golden[part_key(part)] = {
                **part.match.golden.identity,
                "path": relative(Path(part.match.golden.folder), root),
                "backend": part.match.backend.name,
                "tree_sha256": part.match.backend.tree_sha256,
            }
    return {"programs": programs, "sources": sources, "golden": golden, "trees": trees}


def _beside(backend: Backend, root: Path) -> dict[str, str]:
    """Files beside a backend's folder that its command line names or imports first: path -> sha256.

    A program ``{backend_dir}/../program.py``; of ``-m backends.name`` each package's ``__init__.py``.
    """
    words = [*backend.argv, *(backend.match.argv if backend.match else ())]
    named = [Path(os.path.normpath(w.replace("{backend_dir}", str(backend.folder)))) for w in words]
    for module in (after for before, after in pairwise(words) if before == "-m"):
        parts = module.split(".")
        named += [root.joinpath(*parts[:i], "__init__.py") for i in range(1, len(parts))]
    inside = [p for p in named if p.is_relative_to(root) and not p.is_relative_to(backend.folder)]
    found = {p.relative_to(root).as_posix(): wire.file_sha256(p) for p in inside if p.is_file()}
    return {name: sha256 for name, sha256 in found.items() if sha256 is not None}
