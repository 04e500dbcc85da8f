"""What a session seals of programs beside the files that they run from: what they name, and packages."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from .. import wire
from ..errors import StoreError
from ..execution.cleaning import cleaner
from ..execution.isolation import RUNS_FOLDER
from ..inputs.backends import Backend, backend_files
from ..inputs.context import RunContext
from ..inputs.installed import Installed, against_pins, contents, document, interpreter_at, look
from ..inputs.installed.files import CODE, project_files, sha256_of_all
from ..inputs.interpreters import Packages, packages
from ..inputs.named import named, written_since
from ..inputs.prepare import PreparedFile, PreparedSuite
from ..inputs.read_files import ALL_DATA, HASHED, read_files, read_since
from ..inputs.trees import Tree
from ..judgement.fingerprint import command_named

_PACKAGE = Path(__file__).parents[1]
_LISTED = 3
# Texts for people, which no program runs.
_FOR_PEOPLE = (".md", ".rst")


def describe_programs(entry: dict[str, Any], prepared: PreparedFile, context: RunContext) -> dict[str, Any]:
    """A suite's entry of ``run.json`` with what its programs name and have installed.

    Raises:
        BackendError: what a program names is absent or not what is said of it.
        SourceError: git cannot read a checkout.
    """
    if "programs" not in entry:
        return entry
    programs = {key: dict(program) for key, program in entry["programs"].items()}
    clean = cleaner(context.root, context.run_dir, os.environ)
    for part in prepared.parts:
        for system, program in part.backends.items():
            if isinstance(program, Backend):
                found = _describe_backend(program, part.sources[system], prepared, context)
            else:
                found = {"named": command_named(program, context)}
            # Sentences on packages, and where a checkout is from, name places of this machine.
            programs[f"{part.key}.{system}"].update(clean.document(found))
    return {**entry, "programs": programs}


def _describe_backend(
    backend: Backend, source: Mapping[str, Any], prepared: PreparedFile, context: RunContext
) -> dict[str, Any]:
    names = backend.program
    wants = bool(names and names.packages)
    # An environment that is built on nodes, or that this session does not need, cannot be seen here.
    is_missing = bool(backend.missing_of_environment(context.root))
    # Of a program that starts otherwise nobody knows which Python runs it, if any.
    unknown = is_missing or backend.argv[0] != "{python}"
    python = None if unknown else backend.interpreter(context.root)
    # Who pins nothing has a list of names and versions sealed, which costs no look at files.
    installed = _look_at(python, context.root) if python and (backend.requirements or wants) else None
    # The project's own packages are sealed with its files; that does not keep a program from being one.
    every = _look_at(python, None) if python and wants else installed
    known = python is not None or not wants
    found: dict[str, Any] = {"named": named(backend, context.root, source, every) if known else None}
    if names is not None and names.ignore:
        found["ignored"] = list(names.ignore)
    if backend.needs.read:
        found["read"] = read_files(backend, context.root, _unread_folders(context))
    if python is not None and not backend.requirements:
        found["environment"] = _list_packages(packages(python), context.root)
    elif backend.requirements and backend.argv[0] != "{python}":
        found["environment"] = _unseen_packages(backend)
    elif installed is not None:
        claims = prepared.proof is not None and prepared.proof.claim != "none"
        found["environment"] = {
            **document(installed),
            "pinned": sorted(_required_names(backend.requirements)),
            "not_as_pinned": against_pins(installed, backend.requirements),
            "unlike_record": _unlike_record(installed) if claims else None,
        }
    return found


def _unread_folders(context: RunContext) -> list[Path]:
    """What is no part of what a program declares to read: runs change while they run, backends are sealed."""
    backends = (path.parent for at in context.backend_folders for path in backend_files(at))
    return [context.run_dir.parent, context.root / RUNS_FOLDER, *context.backend_folders, *backends]


@lru_cache(maxsize=4)
def _look_at(python: Path, root: Path | None) -> Installed:
    """What is installed, but for what stands in a project."""
    return look(interpreter_at(python), leave_out=[_PACKAGE] if root is None else [root, _PACKAGE])


def _list_packages(there: Packages, root: Path) -> dict[str, Any]:
    """An environment of which nothing is pinned; of its files those of editable projects are looked at.

    Projects within the project are sealed with its files.
    """
    seen = {
        "python": there.version,
        "packages": there.versions,
        "projects": dict(_hash_projects(there, root)),
    }
    nothing: dict[str, Any] = {"pinned": [], "not_as_pinned": [], "unlike_record": None}
    return {**seen, "sha256": wire.content_hash(seen), **nothing}


def _hash_projects(there: Packages, root: Path) -> Iterator[tuple[str, str]]:
    for place in sorted({path.resolve() for path in (*there.projects, *there.mapped.values())}):
        if not place.is_relative_to(root.resolve()):
            files, _ = project_files(str(place))
            yield place.name, wire.content_hash(sha256_of_all(files))


def _unseen_packages(backend: Backend) -> dict[str, Any]:
    """The packages of a program of which nobody knows which Python runs it, and which it pins."""
    what = (
        f"its argv begins with {backend.argv[0]}: nothing shows which packages it runs with ({{python}} does)"
    )
    pinned = sorted(_required_names(backend.requirements))
    known: dict[str, Any] = {"python": "unknown", "packages": {}, "sha256": "", "unlike_record": None}
    return {**known, "pinned": pinned, "not_as_pinned": [what]}


@cache
def plugin_files() -> str:
    """sha256 over what the plugin gives to programs, as it was when it was first asked for."""
    given = [*sorted((_PACKAGE / "wire").glob("*.py")), _PACKAGE / "execution" / "boot.py"]
    return wire.content_hash([[path.name, wire.file_sha256(path)] for path in given])


def plugin_changed() -> list[str]:
    """What the plugin gives to programs, where it is no longer what this session began with."""
    same = plugin_files() == plugin_files.__wrapped__()
    return [] if same else ["what the plugin gives to programs (wire, boot)"]


def forget_environments() -> None:
    """Forget what was seen of environments: what is asked next is how they are now."""
    _look_at.cache_clear()


def _unlike_record(installed: Installed) -> list[str]:
    """Files whose content is not what was installed, every one of them read; the first are named."""
    return [f"{installed.shown(path)} {how}" for path, how in sorted(contents(installed).items())][:20]


def _required_names(requirements: tuple[str, ...]) -> Iterator[str]:
    for text in requirements:
        try:
            yield canonicalize_name(Requirement(text.partition("#")[0].strip()).name)
        except InvalidRequirement:
            continue


def find_written_meanwhile(
    prepared: PreparedFile, context: RunContext, sealed: Mapping[str, Any], sealed_at: str
) -> list[str]:
    """What was sealed, was written to since, and is read where it stands, by system.

    Args:
        sealed: the suite's entry of ``run.json``; what came beside is told of by :func:`compare_with_sealed`.
    """
    try:
        time_ns = int(datetime.fromisoformat(sealed_at).timestamp() + 1) * 10**9
    except ValueError:
        raise StoreError(f"generated_at_utc is {sealed_at!r}, no time", where="run.json") from None
    found = []
    for part, system, program in _backends_of(prepared):
        entry = sealed.get("programs", {}).get(f"{part.key}.{system}", {})
        named = (entry.get("named") or {}).get("files", ())
        written = written_since(program, context.root, part.sources[system], time_ns)
        names = [name for name in written if name in named and not name.endswith(_FOR_PEOPLE)]
        read = read_since(program, context.root, _unread_folders(context), time_ns)
        names += [name for name in read if name in entry.get("read", ())]
        if names:
            found.append(f"what the {system} program reads ({_list_few(names)}), written to meanwhile,")
    return found


def _backends_of(prepared: PreparedFile) -> Iterator[tuple[PreparedSuite, str, Backend]]:
    """(part, system, backend) of every backend of a suite file."""
    for part in prepared.parts:
        for system, program in part.backends.items():
            if isinstance(program, Backend):
                yield part, system, program


def compare_with_sealed(before: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """What differs of programs: what changed or is gone, and what came beside them or is none of theirs."""
    changed: list[str] = []
    noted: list[str] = []
    old, new = before.get("programs") or {}, now.get("programs") or {}
    for key in sorted(old.keys() & new.keys()):
        system = key.rpartition(".")[2]
        copied = dict(Tree((now.get("trees") or {}).get(key) or {}).copied).keys()
        for found, beside in (
            _named_since(old[key].get("named"), new[key].get("named"), system, copied),
            _read_since(old[key].get("read"), new[key].get("read"), system),
            _packages_since(old[key].get("environment"), new[key].get("environment"), system),
        ):
            changed += found
            noted += beside
    return changed, noted


def _differing(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    return sorted(path for path in old.keys() | new.keys() if old.get(path) != new.get(path))


def _named_since(
    before: Mapping[str, Any] | None, now: Mapping[str, Any] | None, system: str, copied: Collection[str]
) -> tuple[list[str], list[str]]:
    """Where nothing can be seen of what was named, nothing is said: its absence has its own error.

    Args:
        copied: paths of which programs have copies, and of what comes there none.
    """
    if not before or not now:
        return [], []
    old = before["files"]
    # What is copied is run as it was sealed, and what came there is told of by the tree; a checkout is read
    # where it stands, with code that came there.
    differ = [path for path in _differing(old, now["files"]) if path in old or path not in copied]
    told = [p for p in differ if p.endswith(_FOR_PEOPLE) or (p not in old and not p.endswith(CODE))]
    other = [path for path in differ if path not in told]
    changed = [f"what the {system} program names ({_list_few(other)})"] if other else []
    return changed, [f"{_list_few(told)} changed or came beside the {system} program"] if told else []


def _read_since(
    old: Mapping[str, str] | None, new: Mapping[str, str] | None, system: str
) -> tuple[list[str], list[str]]:
    """What is declared to be read; data that came is told of. Runs of earlier versions say nothing of it."""
    if old is None or new is None:
        return [], []
    differ, harmless = _differing(old, new), (*_FOR_PEOPLE, ALL_DATA)
    told = [p for p in differ if p.endswith(harmless) or (p not in old and not p.lower().endswith(HASHED))]
    other = [path for path in differ if path not in told]
    changed = [f"what the {system} program declares to read ({_list_few(other)})"] if other else []
    return changed, [f"{_list_few(told)}, which the {system} program reads, changed or came"] if told else []


def _packages_since(
    old: Mapping[str, Any] | None, new: Mapping[str, Any] | None, system: str
) -> tuple[list[str], list[str]]:
    if not old or not new:
        return [], []
    if old["unlike_record"] is not None and (new["unlike_record"] or []) != old["unlike_record"]:
        return [f"the packages of the {system} program ({_list_few(new['unlike_record'] or [])})"], []
    if old["sha256"] == new["sha256"]:
        return [], []
    before_projects, projects = old.get("projects", {}), new.get("projects", {})
    if edited := sorted(n for n in before_projects.keys() & projects if before_projects[n] != projects[n]):
        return [f"the editable projects of the {system} program ({_list_few(edited)})"], []
    versions = old["packages"], new["packages"]
    moved = {n: f"{n} {versions[0].get(n)} -> {versions[1].get(n)}" for n in _differing(*versions)}
    own, told = [text for n, text in moved.items() if n in old["pinned"]], [*moved.values()]
    if old["python"] != new["python"]:
        (own if old["pinned"] else told).insert(0, f"Python {old['python']} -> {new['python']}")
    if own:
        return [f"the packages of the {system} program ({_list_few(own)})"], []
    if not told:
        return [f"files among the packages of the {system} program"], []
    return [], [f"of the {system} program's environment there changed {_list_few(told)}"]


def _list_few(names: list[str]) -> str:
    more = len(names) - _LISTED
    return ", ".join(names[:_LISTED]) + (f" and {more} more" if more > 0 else "")
