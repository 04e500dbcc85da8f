"""What this machine has of what parity runs need, and the command that mends what it lacks.

Only metadata is looked at: no library is imported and nothing is fetched. Isolation is tried, by a start.
"""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from .. import wire
from ..errors import GoldenError, ParityError
from ..execution import devices, isolation
from ..inputs import checkouts, lock, prepare
from ..inputs.backends import Backend
from ..inputs.table_pins import PIN_TABLE, pinned_files
from ..release.release_policy import read_policy
from ..schemas.json_text import read_json
from ..suite import is_suite_name, suite_file
from ..suite.suite import BackendSide
from .options import DEFAULT_LOCK, DEFAULT_POLICY, Project

DISTRIBUTION = "pytest-worldflux-parity"
LEAST_FREE = 2 << 30

CheckStatus = Literal["ok", "absent", "wrong"]


@dataclass(frozen=True)
class Check:
    """One line: what was looked at and what was found.

    Attributes:
        status: ``absent``: it is not there; ``wrong``: it is, and is not what it must be.
        needed: by the suites that everyone runs first.
        hint: the command that mends it; empty where it is ok.
    """

    area: str
    name: str
    status: CheckStatus
    detail: str
    needed: bool = False
    hint: str = ""


def examine(project: Project, output: Path, suites: Path) -> list[Check]:
    """All checks, in the order in which they are to be mended. Raises nothing for what is wrong.

    Args:
        output: the folder of the run directories.
        suites: the folder of the suites that must be able to run.
    """
    adapters: set[str] = set()
    of_suites = list(_check_suites(project, suites, adapters))
    backends: list[Backend] = []
    found = _check_by("backends", "backend.yaml", True, lambda: backends.extend(project.backends()))
    return [
        Check("python", "interpreter", "ok", f"{platform.python_version()}, {sys.executable}", True),
        *_check_packages([b for b in backends if b.adapter in adapters]),
        *([] if found.status == "ok" else [found]),
        *(check for b in backends for check in _check_environment(b, project.root, b.adapter in adapters)),
        *_check_gpus(),
        _check_isolation(),
        _check_space(output),
        _check_writable(output),
        *_check_lock(project, backends, adapters),
        _check_policy(project),
        *of_suites,
    ]


def is_ready(checks: Iterable[Check]) -> bool:
    """Whether all is there that the suites need."""
    return all(c.status == "ok" for c in checks if c.needed)


def checks_document(checks: Sequence[Check]) -> dict[str, Any]:
    """The form of ``doctor --json``."""
    rows = [{**asdict(check), "hint": check.hint or None} for check in checks]
    return {"schema_version": "worldflux.parity.doctor.v1", "ready": is_ready(checks), "checks": rows}


def _check_by(area: str, name: str, needed: bool, look: Callable[[], str | None], hint: str = "") -> Check:
    """``ok`` with what a look finds; wrong where it raises."""
    try:
        return Check(area, name, "ok", look() or "", needed)
    except ParityError as error:
        hint = hint or error.hint or f"correct {error.where or name}"
        return Check(area, name, "wrong", error.what, needed, hint)
    except OSError as error:
        return Check(area, name, "wrong", str(error), needed, hint)


# --- the suites that everyone runs first ---


def _check_suites(project: Project, suites: Path, adapters: set[str]) -> Iterator[Check]:
    """Each suite of a folder; ``adapters`` gets those of the programs that they run."""
    paths = sorted(p for p in suites.glob("*") if is_suite_name(p))
    if not paths:
        text = f"no suite is in {_relative_name(suites, project.root)}"
        yield Check("suites", suites.name, "absent", text, True, "worldflux-parity doctor --suites DIR")
    for path in paths:
        yield _check_suite(path, project, adapters)


def _check_suite(path: Path, project: Project, adapters: set[str]) -> Check:
    name, absent = _relative_name(path, project.root), []

    def look() -> str:
        for system, side in suite_file.load(path).sides.items():
            if isinstance(side, BackendSide):
                adapters.add(side.adapter)
            elif not side.path.exists():
                table = Path(os.path.normpath(side.path))
                absent.append((table.name, prepare.mend_absent(table, system, project.context("quick"))))
        return "can be read, and its tables are there"

    found = _check_by("suites", name, True, look)
    for table, hint in absent:
        return Check("suites", name, "absent", f"no table {table}", True, hint)
    return found


# --- packages ---


def _check_packages(needed: Sequence[Backend]) -> Iterator[Check]:
    """What the project requires, and its extras; those of backends have all that these require."""
    try:
        declared = [Requirement(text) for text in metadata.requires(DISTRIBUTION) or ()]
    except metadata.PackageNotFoundError:
        text, hint = f"{DISTRIBUTION} is not installed", f"pip install {DISTRIBUTION}"
        yield Check("python", "packages", "absent", text, True, hint)
        return
    of_extra: dict[str, list[Requirement]] = {}
    for requirement in declared:
        extra = str(requirement.marker or "").partition('extra == "')[2].rpartition('"')[0]
        if not extra or canonicalize_name(requirement.name) != DISTRIBUTION:
            of_extra.setdefault(extra, []).append(requirement)
    wanted = {b.extra for b in needed if b.environment == "shared"}
    yield _check_installed("python", "packages", of_extra.pop("", ()), True, f"pip install {DISTRIBUTION}")
    for extra, requirements in of_extra.items():
        hint = f'pip install "{DISTRIBUTION}[{extra}]"'
        yield _check_installed("python", f"extra {extra}", requirements, extra in wanted, hint)


def _check_installed(
    area: str, name: str, wanted: Sequence[Requirement], needed: bool, hint: str, paths: Sequence[str] = ()
) -> Check:
    """Whether what is installed, here or on ``paths``, is what is wanted."""
    found = {r.name: _installed_version(r.name, paths or sys.path) for r in wanted}
    missing = [
        f"{r.name}{r.specifier} ({'absent' if (v := found[r.name]) is None else f'is {v}'})"
        for r in wanted
        if found[r.name] is None or not r.specifier.contains(str(found[r.name]), prereleases=True)
    ]
    if not missing:
        return Check(area, name, "ok", f"{len(wanted)} packages", needed)
    status: CheckStatus = "absent" if all(v is None for v in found.values()) else "wrong"
    return Check(area, name, status, f"lacks {', '.join(missing)}", needed, hint)


def _installed_version(name: str, paths: Sequence[str]) -> str | None:
    return next((d.version for d in metadata.distributions(name=name, path=list(paths))), None)


def _check_environment(backend: Backend, root: Path, needed: bool) -> Iterator[Check]:
    """The environment of a backend's own, by the metadata of what is installed in it."""
    if backend.environment == "shared":
        # What a backend asks for beyond the project's extras, as those of others do.
        if not backend.extra:
            hint = f"pip install {shlex.join(backend.requirements)}"
            yield _check_installed("backends", backend.name, _requirements_of(backend), needed, hint)
        return
    create = f"worldflux-parity env create {backend.name}"
    folder = backend.environment_dir(root)
    if lack := backend.missing_of_environment(root):
        status: CheckStatus = "wrong" if folder.is_dir() else "absent"
        create += "" if _has_python(backend) else f" --python /path/to/python{backend.python}"
        yield Check("backends", backend.name, status, f"its environment {lack}", needed, create)
        return
    paths = [str(p) for p in folder.glob("lib/python*/site-packages")]
    # What is complete is not built again, so it has to go first.
    hint = f"rm -r {shlex.quote(_relative_name(folder.resolve(), root.resolve()))} && {create}"
    yield _check_installed("backends", backend.name, _requirements_of(backend), needed, hint, paths)


def _requirements_of(backend: Backend) -> list[Requirement]:
    found = []
    for text in backend.requirements:
        try:
            found.append(Requirement(text))
        except InvalidRequirement:
            continue
    return found


def _has_python(backend: Backend) -> bool:
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    return backend.python in ("", here) or shutil.which(f"python{backend.python}") is not None


# --- isolation, devices and disk ---


def _check_isolation() -> Check:
    why = isolation.why_no_walls()
    if why is None:
        return Check("isolation", "bubblewrap", "ok", "a start was tried, and programs can be isolated")
    status: CheckStatus = "absent" if shutil.which(isolation.PROGRAM) is None else "wrong"
    return Check("isolation", "bubblewrap", status, why.what, hint=why.hint)


def _check_gpus() -> Iterator[Check]:
    """The GPUs that a session would find."""
    found, why = devices.look_for_gpus()
    if why:
        yield Check("devices", "gpu", "wrong", why, hint="nvidia-smi, and mend the driver; or --device cpu")
    elif not found:
        yield Check("devices", "gpu", "ok", "no NVIDIA driver: runs are on the CPU")
    for i, gpu in enumerate(found):
        memory = f", {gpu.memory_gb:.0f} GB" if gpu.memory_gb is not None else ""
        yield Check("devices", f"gpu {i}", "ok", f"{gpu.uuid}{memory}")


def _nearest_existing(folder: Path) -> Path:
    """The folder, or the nearest above it that is there."""
    return next(p for p in (folder, *folder.parents) if p.exists())


def _check_space(output: Path) -> Check:
    free = shutil.disk_usage(_nearest_existing(output)).free
    text = f"{free / 2**30:.1f} GiB free in {output}"
    if free >= LEAST_FREE:
        return Check("disk", "space", "ok", text, True)
    hint = f"free {LEAST_FREE >> 30} GiB, or choose another folder with --parity-output DIR"
    return Check("disk", "space", "wrong", text, True, hint)


def _check_writable(output: Path) -> Check:
    folder = _nearest_existing(output)
    try:
        with tempfile.TemporaryFile(dir=folder):
            return Check("disk", "run directory", "ok", f"{folder} can be written", True)
    except OSError as error:
        text, hint = (
            f"{folder} cannot be written: {error.strerror}",
            f"chmod u+w {folder}, or --parity-output DIR",
        )
        return Check("disk", "run directory", "wrong", text, True, hint)


# --- what is locked ---


def _check_lock(project: Project, backends: Sequence[Backend], adapters: set[str]) -> Iterator[Check]:
    """Official checkouts, tables of the project, and goldens, held to the lock file."""
    root, path = project.root, project.lock_path
    wanted = {b.lock_suite for b in backends if b.adapter in adapters and b.lock_suite}
    # One that the command line names is to be there.
    if not path.exists() and not wanted and path == root / DEFAULT_LOCK:
        text = "none is here, and none is needed: it would pin official sources, tables and goldens"
        yield Check("sources", "lock file", "absent", text)
        return
    read: list[lock.Lock] = []
    found = _check_by("sources", "lock file", True, lambda: read.append(lock.read_lock(path)))
    if found.status != "ok":
        yield found
    for locked in read:
        entries: dict[tuple[str, str], list[lock.LockEntry]] = {}
        for entry in locked.suites.values():
            entries.setdefault((entry.repo, entry.commit), []).append(entry)
        for same in entries.values():
            yield _check_checkout(root, same, any(e.suite_id in wanted for e in same))
        yield from (_check_table(e, root) for e in locked.suites.values() if e.oracle_in == "project")
        matched = [(b, b.adapter in adapters) for b in backends if b.match is not None]
        yield from (_check_golden(b, locked, n, v) for b, n in matched for v in _pinned_versions(b, locked))


def _check_policy(project: Project) -> Check:
    """What a release asks for; runs do without."""
    path = project.root / DEFAULT_POLICY
    if not path.exists():
        text = "none is here, and runs need none: a release says in it what it asks for"
        return Check("sources", "policy", "absent", text)

    def look() -> str:
        read_policy(path)
        return f"{_relative_name(path, project.root)} can be read"

    return _check_by("sources", "policy", False, look)


def _check_checkout(root: Path, entries: Sequence[lock.LockEntry], needed: bool) -> Check:
    first = entries[0]
    path = checkouts.checkout_path(root, first.repo, first.commit)
    name, fetch = checkouts.repo_name(first.repo), f"{checkouts.FETCH} --suite {first.suite_id}"
    if not os.path.lexists(path):
        return Check("sources", name, "absent", "no checkout of the locked commit", needed, fetch)

    def look() -> str:
        for entry in entries:
            checkouts.verify_checkout(path, entry)
        return f"{first.commit[:12]}, clean"

    return _check_by("sources", name, needed, look, f"rm -r {shlex.quote(str(path))} && {fetch}")


def _check_table(entry: lock.LockEntry, root: Path) -> Check:
    title = f"table of {entry.suite_id}"
    for name, wanted in entry.oracle_files.items():
        sha256 = wire.file_sha256(root / name)
        if sha256 != wanted:
            text, hint = f"{name} is not the table that is locked", f"git checkout -- {name}"
            return Check("sources", title, "wrong" if sha256 else "absent", text, True, hint)
    if not pinned_files(entry):
        text, hint = f"nothing pins {entry.oracle_path}", f"{PIN_TABLE} SUITE, the file of {entry.suite_id}"
        return Check("sources", title, "wrong", text, False, hint)
    return Check("sources", title, "ok", entry.oracle_path, True)


def _pinned_versions(backend: Backend, locked: lock.Lock) -> list[str]:
    """The versions whose goldens are pinned, the current one first; where none are, one without a name."""
    pin = locked.goldens.get(backend.family)
    return [locked.current_of(pin.suite), *pin.versions] if pin else [""]


def _check_golden(backend: Backend, locked: lock.Lock, needed: bool, version: str) -> Check:
    pin = locked.goldens.get(backend.family)
    other = pin.versions.get(version) if pin else None
    title = f"golden of {backend.family}{f' {version}' if other else ''}"
    folder = Path(os.path.normpath(backend.golden_of(version)))
    wanted = other["manifest_sha256"] if other else pin.manifest_sha256 if pin else None
    problem = _golden_problem(folder, wanted)
    if not problem:
        return Check("goldens", title, "ok", "is the one that is pinned", needed)
    restore, record = (
        f"git checkout -- {shlex.quote(str(folder))}",
        f"worldflux-parity pin-golden {backend.family}",
    )
    status: CheckStatus = "wrong" if folder.is_dir() else "absent"
    return Check("goldens", title, status, problem, needed, restore if pin else record)


def _golden_problem(folder: Path, wanted: str | None) -> str:
    """What is wrong; ``wanted``: the sha256 of the manifest that the lock file pins."""
    try:
        _, manifest = read_json(folder / "manifest.json", GoldenError)
    except ParityError as error:
        return error.what
    if wanted is None:
        return "the lock file pins none"
    if wire.file_sha256(folder / "manifest.json") != wanted:
        return "it is not the one that is pinned"
    arrays = wire.file_sha256(folder / "arrays.npz")
    if arrays is None:
        return "arrays.npz cannot be read"
    stated = manifest.get("arrays_sha256") if isinstance(manifest, dict) else None
    return "" if arrays == stated else "its arrays are not those of its manifest"


def _relative_name(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
