"""What ``run.json`` seals before the first run, and what has changed since."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from .. import schemas, wire
from ..errors import StoreError
from ..execution.store import relative
from ..inputs.backends import Backend
from ..inputs.command_program import CommandProgram
from ..inputs.context import RunContext
from ..inputs.prepare import PreparedFile, PreparedSuite, prepare
from ..inputs.program_files import SCRIPTS, named_by_command, program_files
from ..inputs.trees import OUTSIDE, Tree, backend_tree
from .run_log import SEALED


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


def prepare_sealed(path: Path, context: RunContext) -> PreparedFile:
    """As :func:`..inputs.prepare.prepare`; programs that the run has sealed have the sources that it sealed.

    They run from copies of that: what has come beside them since is no part of what a request asks for.

    Raises:
        ParityError: something that the suite names, or the run's ``run.json``, is not what it must be.
    """
    file = prepare(path, context)
    if not (context.run_dir / "run.json").exists():
        return file
    entries = read_session(context.run_dir)["suites"].values()
    entry = next((e for e in entries if e["suite_id"] == file.suite_id), None)
    if entry is None:
        return file
    return replace(file, parts=tuple(_sealed_part(part, file, entry) for part in file.parts))


def _sealed_part(part: PreparedSuite, file: PreparedFile, entry: Mapping[str, Any]) -> PreparedSuite:
    key = "{1}" if file.campaign is not None else "{0}.{1}"
    sealed = {s: (entry.get("sources") or {}).get(key.format(part.key, s), {}) for s in part.sources}
    backends = {s: _sealed_program(b, sealed[s].get("backend_tree_sha256")) for s, b in part.backends.items()}
    match, golden = part.match, (entry.get("golden") or {}).get(part.key)
    if match is not None and golden is not None:
        match = replace(match, backend=_sealed_program(match.backend, golden["tree_sha256"]))
    sources = {s: {**source, **sealed[s]} for s, source in part.sources.items()}
    return replace(part, sources=sources, backends=backends, match=match)


_Program = TypeVar("_Program", Backend, CommandProgram, Backend | CommandProgram)


def _sealed_program(program: _Program, sha256: str | None) -> _Program:
    return replace(program, sealed_tree=sha256) if sha256 and isinstance(program, Backend) else program


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
        **_programs_document(prepared, context),
        # The seeds of a plan that a pilot sealed are no change of what was asked.
        "seeds": {s: list(v) if v is not None else None for s, v in suite.seeds.items()},
        "device": context.device,
        "upstream_lock_sha256": wire.file_sha256(context.lock_path),
        "suite_policy_sha256": wire.file_sha256(context.lock_path.with_name("suite_policy.json")),
    }


def _programs_document(prepared: PreparedFile, context: RunContext) -> dict[str, Any]:
    """The programs on both sides and what components are compared with."""
    if prepared.campaign is None:
        return sealed_parts(prepared, context)
    found = {s: x for part in prepared.parts for s, x in part.sources.items()}
    sources = {s: {k: v for k, v in x.items() if k != "checkout"} for s, x in found.items()}
    return {"sources": sources, "golden": None, "trees": _trees_document(prepared, context)}


def _trees_document(prepared: PreparedFile, context: RunContext) -> dict[str, Any]:
    """The files that each program runs from, by its key."""
    found = {key: tree_of(program, context) for key, program in programs_of(prepared)}
    return {key: dict(sorted(tree.files.items())) for key, tree in found.items()}


def programs_of(prepared: PreparedFile) -> Iterator[tuple[str, Backend | CommandProgram]]:
    """Every program of a suite file, by the key that ``run.json`` has it under."""
    for part in prepared.parts:
        for system, program in part.backends.items():
            yield f"{part.key}.{system}", program
        if part.match is not None:
            yield part.match_key, part.match.backend


def tree_of(program: Backend | CommandProgram, context: RunContext) -> Tree:
    """The files that a program runs from.

    Raises:
        BackendError: a file that a backend names is absent.
    """
    if isinstance(program, Backend):
        return backend_tree(program, context.root)
    # They are no part of a request: a word may also name what the program is going to write.
    root, folder = _find_place(program, context)
    values = _known_placeholders(program, root, context)
    return Tree(program_files(program.sides, folder, root, context.run_dir.parent, values))


def command_named(program: CommandProgram, context: RunContext) -> dict[str, Any] | None:
    """What a command names as its program, as :func:`..inputs.named.named` has it of a backend."""
    root, folder = _find_place(program, context)
    files = named_by_command(program.sides, folder, root, _known_placeholders(program, root, context))
    row: dict[str, Any] = {
        "kind": "files",
        "name": program.name,
        "repository": None,
        "version": None,
        "paths": [],
    }
    return {"sources": [{**row, "commit": program.commit}], "files": files} if files else None


def _known_placeholders(program: CommandProgram, root: Path, context: RunContext) -> dict[str, str]:
    """The placeholders of a command that are known before anything runs."""
    return {"family": program.family, "device": context.device, "repo_root": str(root)}


def _find_place(program: CommandProgram, context: RunContext) -> tuple[Path, Path]:
    """The project whose files a command names, and the manifest's folder in it."""
    if context.candidate is None or program.system != "worldflux":
        return context.root, program.folder
    return context.candidate, context.candidate / program.folder.relative_to(context.root)


def _select_comparable(
    before: dict[str, Any], now: dict[str, Any], prepared: PreparedFile
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Two fingerprints as they are to be compared.

    A campaign is not judged, so it may go on with other seeds and with a source more or less; what both
    times have must be the same.
    """
    # Of what is sealed this alone is not asked for.
    before, now = ({k: v for k, v in one.items() if k != SEALED} for one in (before, now))
    if prepared.campaign is None:
        return before, now
    kept: list[dict[str, Any]] = []
    for one, other in ((before, now), (now, before)):
        shared = {k: {s: v for s, v in one[k].items() if s in other[k]} for k in ("tables", "sources")}
        kept.append({**one, **shared, "seeds": {}})
    return kept[0], kept[1]


def changes(before: dict[str, Any], now: dict[str, Any], prepared: PreparedFile) -> list[str]:
    """The names of what differs between two fingerprints; of a side also which one, and its program.

    A file that has come beside a program does not count: programs run from copies of what was sealed.
    """
    before, now = _select_comparable(before, now, prepared)
    changed = sorted(k for k in before.keys() | now.keys() if before.get(k) != now.get(k))
    texts = [t for key in changed for t in _names_of_change(key, before, now, prepared)]
    return list(dict.fromkeys(texts))


def _names_of_change(
    key: str, before: dict[str, Any], now: dict[str, Any], prepared: PreparedFile
) -> list[str]:
    if key == "golden":
        return ["the golden of the component match"]
    if key == "overrides":
        return ["what the command line gives in place of the suite's own tables"]
    if key not in ("sources", "tables", "programs", "trees"):
        return [key]
    old, new = before.get(key) or {}, now.get(key) or {}
    if key == "trees":
        return list(_name_changed_files(old, new, prepared))
    if key == "sources":
        # Files of a program are told of by their paths, and a commit that changes none of them is no change.
        old, new = ({s: {**x, **_BY_FILES} for s, x in side.items()} for side in (old, new))
    sides = sorted(s for s in old.keys() | new.keys() if old.get(s) != new.get(s))
    if key == "tables":
        return [f"the {s} table" for s in sides]
    if key == "programs":
        return [
            f"the {_name_of_side(s, prepared)} program"
            for s in sides
            if any((old.get(s) or {}).get(k) != (new.get(s) or {}).get(k) for k in _WHO)
        ]
    return [_name_of_source(s, prepared) for s in sides]


def _name_of_source(key: str, prepared: PreparedFile, files: str = "") -> str:
    adapters = {s: b.adapter for part in prepared.parts for s, b in part.backends.items()}
    named = adapters.get(key.rpartition(".")[2], "no longer named")
    return f"the source of the {_name_of_side(key, prepared)} side (backend {named}{files})"


def _name_of_side(key: str, prepared: PreparedFile) -> str:
    """The system of a program; where there are several parts, also of which."""
    return key if len(prepared.parts) > 1 else key.rpartition(".")[2]


def _name_changed_files(
    before: Mapping[str, Any], now: Mapping[str, Any], prepared: PreparedFile
) -> Iterator[str]:
    """Files of programs that are not as they were sealed."""
    programs = dict(programs_of(prepared))
    for key in sorted(before.keys() | now.keys()):
        program = programs.get(key)
        found = find_differing(before.get(key) or {}, now.get(key) or {}, program)
        if isinstance(program, CommandProgram):
            # No request says what lies beside a script, and what came there is not run.
            for name in (name for name, how in found if how != NEW):
                yield f"{name}, which the {_name_of_side(key, prepared)} command names,"
        elif names := [name for name, how in found if how != NEW or key not in before or _is_in_place(name)]:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            yield _name_of_source(key, prepared, f": {names[0]}{more}")


def new_beside(before: Mapping[str, Any], now: Mapping[str, Any], prepared: PreparedFile) -> list[str]:
    """Sentences on the files that have come beside the programs, which ran from copies of what was sealed."""
    programs, found = dict(programs_of(prepared)), []
    old, new = before.get("trees") or {}, now.get("trees") or {}
    for key in sorted(old.keys() & new.keys()):
        found_now = find_differing(old[key], new[key], programs.get(key))
        names = [n for n, how in found_now if how == NEW and not n.startswith(OUTSIDE)]
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            found.append(
                f"{names[0]}{more} came beside the {_name_of_side(key, prepared)} program, which ran without"
            )
    return found


def _is_in_place(name: str) -> bool:
    """Whether programs may import a file where it stands, because no copy holds it."""
    return name.startswith(OUTSIDE) and name.endswith(SCRIPTS)


# Of a source: what the files of its program decide.
_BY_FILES = {"backend_tree_sha256": "", "worldflux_sha": ""}
# Of a program: what else is said of it is compared by who can see it.
_WHO = ("adapter", "kind", "name")
NEW, GONE, CHANGED = "new", "gone", "changed"


def find_differing(
    before: Mapping[str, str], now: Mapping[str, str], program: Backend | CommandProgram | None
) -> Iterator[tuple[str, str]]:
    """(path, how) of the files of a program that are not the same.

    Beside a manifest's script there may be anything, and what comes there counts if it can be imported.
    """
    for name in sorted(before.keys() | now.keys()):
        if before.get(name) == now.get(name):
            continue
        how = GONE if name not in now else NEW if name not in before else CHANGED
        counts = how != NEW or not isinstance(program, CommandProgram) or name.endswith(SCRIPTS)
        if counts:
            yield name, how


def sealed_parts(prepared: PreparedFile, context: RunContext) -> dict[str, Any]:
    """What ``run.json`` says of a suite's programs, so that a bundle can be judged without them."""
    programs, sources, golden = {}, {}, {}
    for part in prepared.parts:
        for system, backend in part.backends.items():
            key = f"{part.key}.{system}"
            programs[key] = {"adapter": backend.adapter, "kind": backend.kind, "name": backend.name}
            sources[key] = {k: v for k, v in part.sources[system].items() if k != "checkout"}
        if part.match is not None:
            golden[part.key] = {
                **part.match.golden.identity,
                "path": relative(Path(part.match.golden.folder), context.root),
                "backend": part.match.backend.name,
                "tree_sha256": part.match.backend.tree_sha256,
            }
    trees = _trees_document(prepared, context)
    return {"programs": programs, "sources": sources, "golden": golden, "trees": trees}
