"""What this machine has of what parity runs need, and the command that mends what it lacks.

Only metadata is looked at: no library is imported and nothing is fetched. Isolation is tried, by a start.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from ..errors import GoldenError, ParityError
from ..execution import isolation
from ..inputs import checkouts, context, lock, prepare
from ..inputs.backends import Backend, load_backends
from ..inputs.table_pins import PIN_TABLE, pinned_files
from ..release.release_policy import read_policy
from ..schemas.json_text import read_json
from ..suite import suite_file
from ..suite.suite import ArtifactSide, BackendSide, is_suite_name
from .options import DEFAULT_LOCK, DEFAULT_POLICY

DISTRIBUTION = "pytest-worldflux-parity"
LEAST_FREE = 2 << 30
GPU_WAIT_SEC = 1.5
GPU_QUERY = ("--query-gpu=name,memory.total,driver_version", "--format=csv,noheader")

Status = Literal["ok", "absent", "wrong"]


@dataclass(frozen=True)
class Check:
    """One line: what was looked at and what was found.

    Attributes:
        status: ``absent``: it is not there; ``wrong``: it is, and is not what it must be.
        needed: by the suites that everyone runs first.
        mend: the command that mends it; empty where it is ok.
    """

    area: str
    name: str
    status: Status
    detail: str
    needed: bool = False
    mend: str = ""


@dataclass(frozen=True)
class Place:
    """The project that is looked at.

    Attributes:
        output: the folder of the run directories.
        suites: the folder of the suites that must be able to run.
    """

    root: Path
    backend_folders: tuple[Path, ...]
    lock_path: Path
    output: Path
    suites: Path


@dataclass
class Needs:
    """What the suites want: adapters that they run, and checks of the suites themselves."""

    adapters: set[str] = field(default_factory=set)
    checks: list[Check] = field(default_factory=list)


def examine(place: Place) -> list[Check]:
    """All checks, in the order in which they are to be mended. Raises nothing for what is wrong."""
    needs = _needs(place)
    checks = [_interpreter(), *_packages(place)]
    backends, broken = _backends(place)
    checks += broken
    checks += _extras(place, [b for b in backends if b.adapter in needs.adapters])
    for backend in backends:
        checks += _environment(backend, place.root, backend.adapter in needs.adapters)
    checks += _gpus()
    checks.append(_isolation())
    checks += [_disk(place.output), _writable(place.output)]
    checks += [*_locked(place, backends, needs.adapters), _policy(place)]
    return [*checks, *needs.checks]


def ready(checks: Iterable[Check]) -> bool:
    """Whether all is there that the suites need."""
    return all(c.status == "ok" for c in checks if c.needed)


# --- the suites that everyone runs first ---


def _needs(place: Place) -> Needs:
    needs = Needs()
    paths = sorted(p for p in place.suites.glob("*") if is_suite_name(p))
    if not paths:
        text = f"no suite is in {_shown(place.suites, place.root)}"
        needs.checks.append(
            Check("suites", place.suites.name, "absent", text, True, "worldflux-parity doctor --suites DIR")
        )
    for path in paths:
        needs.checks.append(_suite(path, place, needs))
    return needs


def _suite(path: Path, place: Place, needs: Needs) -> Check:
    name = _shown(path, place.root)
    try:
        suite = suite_file.load(path)
        needs.adapters |= {s.adapter for s in suite.sides.values() if isinstance(s, BackendSide)}
        for system, side in suite.sides.items():
            if isinstance(side, ArtifactSide) and not side.path.exists():
                mend = prepare.mend_absent(Path(os.path.normpath(side.path)), system, _context(place))
                return Check("suites", name, "absent", f"no table {side.path.name}", True, mend)
    except ParityError as error:
        return Check(
            "suites", name, "wrong", error.what, True, error.mend or f"correct {error.where or name}"
        )
    return Check("suites", name, "ok", "can be read, and its tables are there", True)


def _context(place: Place) -> context.RunContext:
    return context.RunContext(
        place.root, "quick", "", place.output, "cpu", place.lock_path, place.backend_folders
    )


# --- interpreters and packages ---


def _interpreter() -> Check:
    return Check("python", "interpreter", "ok", f"{platform.python_version()}, {sys.executable}", True)


def _packages(place: Place) -> Iterator[Check]:
    wanted = [r for r in _declared(place.root) if r.marker is None]
    yield _fit("python", "packages", wanted, None, True, f"pip install {DISTRIBUTION}")


def _extras(place: Place, needed: Sequence[Backend]) -> Iterator[Check]:
    """The extras of the project; those of backends have all that these require."""
    declared = _declared(place.root)
    names = dict.fromkeys(e for r in declared for e in _extras_of(r))
    wanted = {b.extra for b in needed if b.environment == "shared"}
    for extra in names:
        own = [r for r in declared if extra in _extras_of(r) and canonicalize_name(r.name) != DISTRIBUTION]
        if own:
            mend = f'pip install "{DISTRIBUTION}[{extra}]"'
            yield _fit("python", f"extra {extra}", own, None, extra in wanted, mend)


def _declared(root: Path) -> list[Requirement]:
    """The requirements of this project, those of an extra with a marker that says so."""
    try:
        found = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        found = _of_checkout(root)
    return [Requirement(text) for text in found]


def _of_checkout(root: Path) -> list[str]:
    """The same where the plugin runs from a checkout that is not installed."""
    for folder in (Path(__file__).resolve().parents[2], root):
        try:
            project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8")).get(
                "project", {}
            )
        except (OSError, ValueError):
            continue
        if project.get("name") == DISTRIBUTION:
            extras = project.get("optional-dependencies", {})
            return [
                *project.get("dependencies", ()),
                *(f'{r} ; extra == "{name}"' for name, own in extras.items() for r in own),
            ]
    return []


def _extras_of(requirement: Requirement) -> list[str]:
    text = str(requirement.marker or "")
    return [text.partition("extra == ")[2].split('"')[1]] if "extra == " in text else []


def _fit(
    area: str, name: str, wanted: Sequence[Requirement], paths: Sequence[str] | None, needed: bool, mend: str
) -> Check:
    """Whether what is installed, here or on ``paths``, is what is wanted."""
    found = {r.name: _version(r.name, paths) for r in wanted}
    lacking = [
        f"{r.name}{r.specifier} ({'absent' if (v := found[r.name]) is None else f'is {v}'})"
        for r in wanted
        if found[r.name] is None or not r.specifier.contains(str(found[r.name]), prereleases=True)
    ]
    if not lacking:
        return Check(area, name, "ok", f"{len(wanted)} packages", needed)
    status: Status = "absent" if all(v is None for v in found.values()) else "wrong"
    return Check(area, name, status, f"lacks {', '.join(lacking)}", needed, mend)


def _version(name: str, paths: Sequence[str] | None) -> str | None:
    if paths is None:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            return None
    return next((d.version for d in metadata.distributions(name=name, path=list(paths))), None)


# --- backends ---


def _backends(place: Place) -> tuple[list[Backend], list[Check]]:
    try:
        return list(load_backends(place.backend_folders).values()), []
    except ParityError as error:
        mend = error.mend or f"correct {error.where}"
        return [], [Check("backends", "backend.yaml", "wrong", error.what, True, mend)]


def _environment(backend: Backend, root: Path, needed: bool) -> Iterator[Check]:
    """The environment of a backend's own, by the metadata of what is installed in it."""
    if backend.environment == "shared":
        # What a backend asks for beyond the project's extras, as those of others do.
        if not backend.extra:
            wanted = _requirements(backend)
            mend = f"pip install {shlex.join(backend.requirements)}"
            yield _fit("backends", backend.name, wanted, None, needed, mend)
        return
    create = f"worldflux-parity env create {backend.name}"
    lacks = backend.environment_lack(root)
    folder = backend.environment_dir(root)
    if lacks:
        status: Status = "wrong" if folder.is_dir() else "absent"
        create += "" if _has_python(backend) else f" --python /path/to/python{backend.python}"
        yield Check("backends", backend.name, status, f"its environment {lacks}", needed, create)
        return
    paths = [str(p) for p in folder.glob("lib/python*/site-packages")]
    # What is complete is not built again, so it has to go first.
    mend = f"rm -r {shlex.quote(_shown(folder.resolve(), root.resolve()))} && {create}"
    yield _fit("backends", backend.name, _requirements(backend), paths, needed, mend)


def _requirements(backend: Backend) -> list[Requirement]:
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


def _isolation() -> Check:
    why = isolation.tried()
    if why is None:
        return Check("isolation", "bubblewrap", "ok", "a start was tried, and programs can be isolated")
    status: Status = "absent" if shutil.which(isolation.PROGRAM) is None else "wrong"
    return Check("isolation", "bubblewrap", status, why.what, mend=why.mend)


def _gpus() -> Iterator[Check]:
    program = shutil.which("nvidia-smi")
    if program is None:
        yield Check("devices", "gpu", "ok", "no NVIDIA driver: runs are on the CPU")
        return
    try:
        done = subprocess.run(
            [program, *GPU_QUERY],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=GPU_WAIT_SEC,
            check=False,
        )
        lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
        problem = "" if done.returncode == 0 else (done.stdout + done.stderr).strip().partition("\n")[0]
    except (OSError, subprocess.TimeoutExpired) as error:
        lines, problem = [], f"{type(error).__name__}: nvidia-smi gave no answer"
    if problem or not lines:
        text = problem or "the driver lists no GPU"
        yield Check("devices", "gpu", "wrong", text, mend="nvidia-smi, and mend the driver; or --device cpu")
    yield from (
        Check("devices", f"gpu {i}", "ok", line) for i, line in enumerate(lines if not problem else ())
    )


def _standing(folder: Path) -> Path:
    """The folder, or the nearest above it that is there."""
    return next(p for p in (folder, *folder.parents) if p.exists())


def _disk(output: Path) -> Check:
    free = shutil.disk_usage(_standing(output)).free
    text = f"{free / 2**30:.1f} GiB free in {output}"
    if free < LEAST_FREE:
        mend = f"free {LEAST_FREE >> 30} GiB, or choose another folder with --parity-output DIR"
        return Check("disk", "space", "wrong", text, True, mend)
    return Check("disk", "space", "ok", text, True)


def _writable(output: Path) -> Check:
    folder = _standing(output)
    try:
        with tempfile.TemporaryFile(dir=folder):
            return Check("disk", "run directory", "ok", f"{folder} can be written", True)
    except OSError as error:
        text = f"{folder} cannot be written: {error.strerror}"
        return Check(
            "disk", "run directory", "wrong", text, True, f"chmod u+w {folder}, or --parity-output DIR"
        )


# --- what is locked ---


def _locked(place: Place, backends: Sequence[Backend], adapters: set[str]) -> Iterator[Check]:
    """Official checkouts, tables of the project, and goldens, held to the lock file."""
    wanted = {b.lock_suite for b in backends if b.adapter in adapters and b.lock_suite}
    # One that the command line names is to be there.
    if not place.lock_path.exists() and not wanted and place.lock_path == place.root / DEFAULT_LOCK:
        text = "none is here, and none is needed: it would pin official sources, tables and goldens"
        yield Check("sources", "lock file", "absent", text)
        return
    try:
        locked = lock.read_lock(place.lock_path)
    except ParityError as error:
        mend = error.mend or f"correct {place.lock_path}"
        yield Check("sources", "lock file", "wrong", error.what, True, mend)
        return
    entries: dict[tuple[str, str], list[lock.LockEntry]] = {}
    for entry in locked.suites.values():
        entries.setdefault((entry.repo, entry.commit), []).append(entry)
    for (repo, commit), same in entries.items():
        needed = any(e.suite_id in wanted for e in same)
        yield _checkout(checkouts.checkout_path(place.root, repo, commit), same, needed)
    yield from (_table(e, place.root) for e in locked.suites.values() if e.oracle_in == "project")
    yield from _goldens(locked, backends, adapters)


def _policy(place: Place) -> Check:
    """What a release asks for; runs do without."""
    path = place.root / DEFAULT_POLICY
    if not path.exists():
        text = "none is here, and runs need none: a release says in it what it asks for"
        return Check("sources", "policy", "absent", text)
    try:
        read_policy(path)
    except ParityError as error:
        return Check("sources", "policy", "wrong", error.what, False, error.mend or f"correct {error.where}")
    return Check("sources", "policy", "ok", f"{_shown(path, place.root)} can be read")


def _checkout(path: Path, entries: Sequence[lock.LockEntry], needed: bool) -> Check:
    name, fetch = checkouts.repo_name(entries[0].repo), f"{checkouts.FETCH} --suite {entries[0].suite_id}"
    if not os.path.lexists(path):
        return Check("sources", name, "absent", "no checkout of the locked commit", needed, fetch)
    try:
        for entry in entries:
            checkouts.verify(path, entry)
    except (ParityError, OSError) as error:
        what = error.what if isinstance(error, ParityError) else str(error)
        return Check("sources", name, "wrong", what, needed, f"rm -r {shlex.quote(str(path))} && {fetch}")
    return Check("sources", name, "ok", f"{entries[0].commit[:12]}, clean", needed)


def _table(entry: lock.LockEntry, root: Path) -> Check:
    for name, wanted in entry.oracle_files.items():
        path = root / name
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != wanted:
            status: Status = "wrong" if path.is_file() else "absent"
            text = f"{name} is not the table that is locked"
            return Check(
                "sources", f"table of {entry.suite_id}", status, text, True, f"git checkout -- {name}"
            )
    if not pinned_files(entry):
        text, mend = f"nothing pins {entry.oracle_path}", f"{PIN_TABLE} SUITE, the file of {entry.suite_id}"
        return Check("sources", f"table of {entry.suite_id}", "wrong", text, False, mend)
    return Check("sources", f"table of {entry.suite_id}", "ok", entry.oracle_path, True)


def _goldens(locked: lock.Lock, backends: Sequence[Backend], adapters: set[str]) -> Iterator[Check]:
    for backend in backends:
        if backend.match is None:
            continue
        name, needed = f"golden of {backend.family}", backend.adapter in adapters
        folder = Path(os.path.normpath(backend.golden_dir))
        pin = locked.goldens.get(backend.family)
        problem = _golden_problem(folder, pin)
        if problem:
            mend = (
                f"git checkout -- {shlex.quote(str(folder))}"
                if pin
                else f"worldflux-parity pin-golden {backend.family}"
            )
            yield Check("goldens", name, "wrong" if folder.is_dir() else "absent", problem, needed, mend)
        else:
            yield Check("goldens", name, "ok", "is the one that is pinned", needed)


def _golden_problem(folder: Path, pin: lock.GoldenPin | None) -> str:
    try:
        raw, manifest = read_json(folder / "manifest.json", GoldenError)
        arrays = hashlib.sha256((folder / "arrays.npz").read_bytes()).hexdigest()
    except (ParityError, OSError) as error:
        return error.what if isinstance(error, ParityError) else f"arrays.npz: {error.strerror}"
    if pin is None:
        return "the lock file pins none"
    if hashlib.sha256(raw).hexdigest() != pin.manifest_sha256:
        return "it is not the one that is pinned"
    stated = manifest.get("arrays_sha256") if isinstance(manifest, dict) else None
    return "" if arrays == stated else "its arrays are not those of its manifest"


def _shown(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def document(checks: Sequence[Check]) -> dict[str, Any]:
    """The form of ``doctor --json``."""
    rows = [
        {
            "area": c.area, "name": c.name, "status": c.status, "detail": c.detail, "needed": c.needed,
            "mend": c.mend or None,
        }
        for c in checks
    ]  # fmt: skip
    return {"schema_version": "worldflux.parity.doctor.v1", "ready": ready(checks), "checks": rows}
