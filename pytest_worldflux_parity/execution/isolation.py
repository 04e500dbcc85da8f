"""Walls around a program: what it sees of the machine, by bubblewrap.

The system is there to be read; of the project, the runs, the home and the temporary folders nothing is but
what the program needs: its copy, its interpreter, its checkout, what its backend declares. It writes into the
folder of its attempt, its cache and private temporary folders. No process of others, no network unless the
backend needs it, no right of root.

Mounts are made from the outermost folder to the innermost, so the innermost says what a path is.
"""

from __future__ import annotations

import glob
import os
import shutil
import site
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from .. import schemas, wire
from ..errors import BackendError, IsolationError, SourceError, StoreError
from ..inputs.backends import FILE as BACKEND
from ..inputs.backends import Backend, Needs, own_python
from ..inputs.command_program import CommandProgram
from ..inputs.context import Isolate, RunContext
from ..inputs.files.git import ask_git
from ..inputs.installed.interpreter import interpreter_at
from ..inputs.interpreters import packages
from ..suite.suite import ArtifactSide
from .around import (
    NOTHING_AROUND,
    TEMPORARY,
    Around,
    look_around,
    resolve_links,
    sealed_around,
    shared_folders,
)
from .compiled import caches_below
from .devices import ask_command

if TYPE_CHECKING:
    from ..inputs.prepare import PreparedSuite

PROGRAM, BY = "bwrap", "bubblewrap"
# What an attempt says of its own walls, in its folder; read where nobody saw its end.
WALLS_FILE = "isolation.json"
# What a program finds in the folder of its results and cannot change.
ASKED_FILES = ("request.json", "match_request.json", WALLS_FILE, "slurm_job.json", "slurm_node.json")
# Sockets of services are here, and a read-only mount does not stop whoever connects to one.
EMPTY_FOLDERS = ("/run",)
# Where names are resolved to addresses, of a program that has the network.
NAME_SERVICE = "/run/systemd/resolve"
GPUS = ("/dev/nvidia*", "/dev/dri", "/dev/kfd", "/dev/dxg")
# What makes a folder an environment of Python.
VENV_PARTS = ("bin", "include", "lib", "lib64", "share", "pyvenv.cfg")
# The walls make these themselves: those of the machine show all processes, disks and settings.
KERNEL_FOLDERS = ("/proc", "/sys", "/dev")
# What everything on the machine runs from, root's services too; data stands elsewhere.
SYSTEM_FOLDERS = (
    "/bin", "/boot", "/etc", "/lib", "/lib32", "/lib64", "/run", "/sbin", "/usr", "/var/spool/cron"
)  # fmt: skip
# What a project is judged by. Of its other folders, those are code or data that these files say.
RUNS_FOLDER = "reports/parity"
JUDGING = ("suites", "tests", RUNS_FOLDER)
COLLECTED = (BACKEND, "conftest.py", "test_*.py", "*_test.py")
_PLUGIN_FOLDER = Path(__file__).parents[1]
# As containers have it: a lock or a queue fits, a batch of images does not.
SMALL_SHM = 64 * 2**20
TRIED_SEC = 60.0


@dataclass(frozen=True)
class Walls:
    """What a session asks for; it travels to the nodes of a cluster.

    Attributes:
        hidden: folders of which a program sees what it needs alone: the project.
        runs: folders of runs: no program sees one, nor may declare something in it.
        key: the file that evidence is signed with; no program sees it, wherever it is.
        tables: files that no program sees either: what it is compared with.
        goldens: folders of golden outputs. others: checkouts that the other side runs from.
        backends: the folders of all backends. suites: the suite, and its folder.
        programs: what the programs of all sides run from, as far as it is known on the controller.
        theirs: what the other side names and needs outside of its folder.
        compiled: the folder of all caches of compiled code; None: the project's.
        around: where links of the project lead, as the run sealed it.
    """

    mode: Isolate = "off"
    hidden: tuple[Path, ...] = ()
    runs: tuple[Path, ...] = ()
    key: Path | None = None
    tables: tuple[Path, ...] = ()
    goldens: tuple[Path, ...] = ()
    others: tuple[Path, ...] = ()
    backends: tuple[Path, ...] = ()
    suites: tuple[Path, ...] = ()
    programs: tuple[Path, ...] = ()
    theirs: tuple[Path, ...] = ()
    compiled: Path | None = None
    around: Around = NOTHING_AROUND

    @property
    def secret(self) -> tuple[Path, ...]:
        """The files that no program sees."""
        return self.tables if self.key is None else (self.key, *self.tables)


OPEN = Walls()


def walls_of(context: RunContext, prepared: PreparedSuite | None = None, system: str = "") -> Walls:
    """What a session asks for, and what the suite knows that a program of the system is not to see."""
    tables = [o.path for o in context.overrides.values() if o.path is not None]
    backends = [
        p.parent for at in context.backend_folders for n in (BACKEND, f"*/{BACKEND}") for p in at.glob(n)
    ]
    goldens, others, programs, theirs, suites = [], [], [], [], []
    if prepared is not None:
        theirs = [p for of, one in sides_of(prepared) if of != system for p in _places_of(one, context.root)]
        suite = prepared.suite.path
        suites = [p for p in (suite, suite.parent) if not _holds_hidden(p, [context.root])]
        if context.isolate != "off":
            programs = [p for _, one in sides_of(prepared) for p in runs_from(one, context.root)]
        tables += [side.path for side in prepared.suite.sides.values() if isinstance(side, ArtifactSide)]
        goldens = [*_golden_folders(prepared)]
        others = [*_other_checkouts(prepared, system)]
    tables = [Path(os.path.abspath(path)) for path in tables]
    hidden = (
        context.root,
        *context.backend_folders,
        *backends,
        # A table of some formats is a folder of files.
        *(path for path in tables if path.is_dir()),
        *goldens,
        *others,
    )
    output = context.run_dir.parent
    around = _around_run(context, prepared, (*hidden, output)) if context.isolate != "off" else NOTHING_AROUND
    return Walls(
        context.isolate,
        hidden=(*hidden, output, *around.runs),
        runs=(output, context.root / RUNS_FOLDER, *around.runs),
        key=context.sign_key,
        tables=tuple(path for path in tables if not path.is_dir()),
        goldens=tuple(goldens),
        others=tuple(others),
        backends=tuple(backends),
        suites=tuple(suites),
        programs=tuple(dict.fromkeys(programs)),
        theirs=tuple(theirs),
        around=around,
    )


def _around_run(context: RunContext, prepared: PreparedSuite | None, hidden: Sequence[Path]) -> Around:
    """What stands around the project, as the run sealed it; where nothing is sealed yet, as it is now."""
    if (sealed := sealed_around(context.run_dir)) is not None:
        return sealed
    sides = [one for _, one in sides_of(prepared)] if prepared is not None else []
    places = [one.needs.places(one.folder, context.root) for one in sides]
    read, written = (tuple(p for two in places for p in two[i]) for i in (0, 1))
    return look_around(tuple(hidden), read, (*written, caches_below(context.root)))


def sides_of(prepared: PreparedSuite) -> Iterator[tuple[str, Backend | CommandProgram]]:
    """The programs of a suite, with the side that each is of."""
    yield from prepared.backends.items()
    if prepared.match is not None:
        yield "worldflux", prepared.match.backend


def _places_of(program: Backend | CommandProgram, root: Path) -> Iterator[Path]:
    """The files and folders that a program names beside its own folder and its checkouts."""
    for paths in program.needs.places(program.folder, root):
        yield from paths
    if isinstance(program, Backend) and program.program is not None:
        yield from (Path(os.path.normpath(program.folder / name)) for name in program.program.files)


def _golden_folders(prepared: PreparedSuite) -> Iterator[Path]:
    """The golden folders of a suite's programs."""
    found = [*prepared.backends.values(), *([prepared.match.backend] if prepared.match else [])]
    for program in dict.fromkeys(p.golden_dir for p in found if isinstance(p, Backend) and p.match):
        yield Path(os.path.abspath(program))


def _other_checkouts(prepared: PreparedSuite, system: str) -> Iterator[Path]:
    """The checkouts that programs of other systems run from, and that one of this system does not."""
    found: dict[str, set[Path]] = {}
    for name, program in prepared.backends.items():
        of = found.setdefault(name, set())
        if checkout := prepared.sources.get(name, {}).get("checkout"):
            of.add(resolve_links(Path(checkout)))
        if isinstance(program, Backend):
            of.update(map(resolve_links, program.checkouts))
    yield from sorted(
        {p for name, of in found.items() if name != system for p in of} - found.get(system, set())
    )


@dataclass(frozen=True)
class Room:
    """What one program sees beside the system.

    Attributes:
        write: folders that it may write; they must be there.
        read: files and folders within what is hidden; those that are absent are left out.
        linked: folders elsewhere that links of the project lead to: they are as much of it.
    """

    write: tuple[Path, ...] = ()
    read: tuple[Path, ...] = ()
    hidden: tuple[Path, ...] = ()
    linked: tuple[Path, ...] = ()
    secret: tuple[Path, ...] = ()
    needs: Needs = field(default_factory=Needs)


# --- what is in force ---


def are_walls_in_force(walls: Walls, where: str) -> bool:
    """Whether a program is started within walls here.

    Raises:
        IsolationError: they are required, and cannot be had on this machine.
    """
    if walls.mode == "off":
        return False
    why = why_no_walls()
    if why is not None and walls.mode == "require":
        raise IsolationError(f"--parity-isolate=require, and {why.what}", where=where, hint=why.hint)
    return why is None


def describe_walls(room: Room | None, walls: Walls) -> dict[str, Any]:
    """What was in force, as records say it: by what, else why nothing was, and what the backend needed."""
    if room is not None:
        return {"by": BY, "why": "", "key_hidden": walls.key is not None, "needs": room.needs.document()}
    why = None if walls.mode == "off" else why_no_walls()
    said = why.what if why else f"--parity-isolate={walls.mode}"
    return {"by": "none", "why": said, "key_hidden": False, "needs": {}}


def read_walls_left(folder: Path, walls: Isolate) -> dict[str, Any] | None:
    """What was in force for an attempt whose end nobody saw; None where that cannot be known."""
    try:
        found = wire.load_object(folder / WALLS_FILE)
        schemas.check(found, "isolation.v1", str, StoreError)
    except (OSError, wire.WireError, StoreError):
        return None
    return believe_walls(found, walls)


_Said = TypeVar("_Said", bound=Mapping[str, Any])


def believe_walls(said: _Said | None, walls: Isolate) -> _Said | None:
    """What an attempt's folder says of its walls; None where programs run open and it speaks for some.

    A program that ran open may have written it.
    """
    return None if said is not None and said["by"] == BY and walls == "off" else said


@cache
def why_no_walls() -> IsolationError | None:
    """Why no program can be walled in on this machine; None where one was, a moment ago."""
    if shutil.which(PROGRAM) is None:
        return IsolationError("bubblewrap is not installed", hint="apt-get install bubblewrap")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        python = own_python()
        seen = (*interpreter_folders(python, [folder]),)
        room = Room(write=(folder,), read=seen, hidden=(folder,))
        code = "import os; open('written', 'w').close(); os.listdir('/proc/self'); os.stat('/dev/null')"
        command = [str(python), "-I", "-S", "-c", code]
        walled, env = wrap_command(command, os.environ, folder, room)
        try:
            done = ask_command(walled, TRIED_SEC, env)
        except (OSError, subprocess.TimeoutExpired) as error:
            return IsolationError(f"bubblewrap does not start: {error}", hint=_hint_for(""))
        if done.returncode == 0 and (folder / "written").exists():
            return None
    said = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
    return IsolationError(f"bubblewrap does not start here: {said}", hint=_hint_for(said))


# sysctl -> the value with which an ordinary user may not build walls -> the one that mends it.
_SYSCTLS = {
    "kernel/unprivileged_userns_clone": ("0", "1"),
    "kernel/apparmor_restrict_unprivileged_userns": ("1", "0"),
    "user/max_user_namespaces": ("0", "15000"),
}
_CONTAINERS = ("/.dockerenv", "/run/.containerenv", "/var/run/secrets/kubernetes.io")


def _hint_for(said: str) -> str:
    if "Unknown option" in said:
        return "install bubblewrap 0.8 or later"
    if "unrecognized option" in said:
        return "install GNU coreutils 8.31 or later, for `env --ignore-signal`"
    for name, (forbids, allows) in _SYSCTLS.items():
        if _read_setting(Path("/proc/sys") / name) == forbids:
            return f"as root: sysctl -w {name.replace('/', '.')}={allows}"
    if any(os.path.exists(path) for path in _CONTAINERS):
        return (
            "start the container with --security-opt seccomp=unconfined --security-opt apparmor=unconfined "
            "--security-opt systempaths=unconfined (Kubernetes: procMount: Unmasked), or run outside of one"
        )
    return "see what `bwrap --unshare-user --ro-bind / / true` says, and ask for user namespaces"


def _read_setting(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return ""


# --- what a program needs to see ---


def interpreter_folders(python: Path, hidden: Sequence[Path]) -> Iterator[Path]:
    """What a Python runs from: its environment, the one below that, and the packages that these find.

    Of an environment that is the project's own folder, or holds it, the parts that make it one; of packages
    that stand in the project nothing: a copy has them.

    Raises:
        BackendError: it cannot be asked.
    """
    asked, found = interpreter_at(python), packages(python)
    yield from (python, asked.python)
    for folder in (asked.prefix, asked.base_prefix):
        yield from (folder / part for part in VENV_PARTS) if _holds_hidden(folder, hidden) else [folder]
    ours = {path for place in hidden for path in found.editable_in(resolve_links(place))}
    for folder in (*found.folders, *found.mapped.values()):
        if not _holds_hidden(folder, hidden) and resolve_links(folder) not in ours:
            yield folder


def runs_from(program: Backend | CommandProgram, root: Path) -> Iterator[Path]:
    """What a program runs from that is not the project's, and that nobody writes, as far as it is here."""
    # Its own environment may be built on a node alone; there it stands in .worldflux.
    with suppress(BackendError):
        python = program.interpreter(root)
        found = packages(python)
        yield from interpreter_folders(python, [root])
        yield from found.stdlib
        yield from (p for p in (*found.projects, *found.mapped.values()) if not _holds_hidden(p, [root]))
    commands = [program.argv] if isinstance(program, Backend) else [s.command for s in program.sides.values()]
    for started in filter(None, (shutil.which(command[0]) for command in commands)):
        yield from (p for p in program_folders(Path(started)) if not _holds_hidden(p, [root]))


def _session_folders(root: Path) -> Iterator[Path]:
    """Where this process, which runs open, finds modules and programs."""
    users = site.getusersitepackages()
    named = (*sys.path, *os.get_exec_path(), *([users] if isinstance(users, str) else users))
    yield from (p for p in map(Path, filter(os.path.isabs, named)) if not _holds_hidden(p, [root]))


def program_folders(path: Path) -> Iterator[Path]:
    """What a program runs from, of a Python its environment. It is not asked: it would run open."""
    yield path
    above = path.parent.parent
    marker = above / "pyvenv.cfg"
    # A shim of pyenv or asdf looks there for what it starts.
    if marker.is_file() or (above / "conda-meta").is_dir() or path.parent.name == "shims":
        yield above
    if marker.is_file():
        said = dict(line.partition(" = ")[::2] for line in marker.read_text(encoding="utf-8").splitlines())
        yield from [Path(said["home"]).parent] if "home" in said else []


def library_folders(env: Mapping[str, str], hidden: Sequence[Path]) -> list[Path]:
    """Where the environment says that shared libraries are."""
    named = (Path(p) for p in env.get("LD_LIBRARY_PATH", "").split(os.pathsep) if os.path.isabs(p))
    return [p for p in named if not _holds_hidden(p, hidden)]


def _holds_hidden(folder: Path, hidden: Sequence[Path]) -> bool:
    return any(resolve_links(h).is_relative_to(resolve_links(folder)) for h in hidden)


def check_needs(
    needs: Needs, folder: Path, root: Path, walls: Walls, where: str
) -> tuple[list[Path], list[Path]]:
    """The files and folders that a backend declares: to read, and to write.

    Args:
        folder: of the backend. root: the project.

    Raises:
        BackendError: one of them is hidden from programs for a reason, or to be written and absent or
            not for programs to change.
    """
    read, write = needs.places(folder, root)
    kept, own = [*_hidden_places(walls, root)], resolve_links(folder)
    for path in (*read, *write):
        real = resolve_links(path)
        for what, place in kept:
            # What is below the backend's own folder is its own, whatever that lies in.
            if real.is_relative_to(place) and not own.is_relative_to(place):
                raise _refuse_declared("needs", path, f"is in {what}: no program sees another's", where)
        if real == Path("/") and path in read:
            raise _refuse_declared(
                "needs", path, "holds the processes of all: no program sees another's", where
            )
    for path in write:
        if held := _not_to_write(resolve_links(path), own, root, walls, kept):
            raise _refuse_declared("needs.write", path, f"{held}: no program writes another's", where)
        if not path.exists():
            raise BackendError(
                f"needs.write names {path}, which is absent", where=where, hint=f"mkdir {path}"
            )
    return read, write


def absent_reads(program: Backend | CommandProgram, root: Path) -> list[Path]:
    """What a program declares to read, and that is not there."""
    return [path for path in program.needs.places(program.folder, root)[0] if not path.exists()]


def _refuse_declared(key: str, path: Path, why: str, where: str) -> BackendError:
    hint = f"name a folder elsewhere in {key}"
    return BackendError(f"{key} names {path}, which {why}", where=where, hint=hint)


def _hidden_places(walls: Walls, root: Path) -> Iterator[tuple[str, Path]]:
    """What nobody may declare: in words, and where it is."""
    for what, places in (
        ("the folder of the runs", walls.runs),
        ("the folder of another backend", walls.backends),
        ("a table of scores", walls.tables),
        ("a golden folder", walls.goldens),
        ("a checkout of the other side", walls.others),
        (".worldflux", (root / ".worldflux",)),
        (".git", git_folders(root)),
        ("what the walls make themselves", map(Path, KERNEL_FOLDERS)),
    ):
        yield from ((what, resolve_links(place)) for place in places)


def _unwritable_places(walls: Walls, root: Path) -> Iterator[tuple[str, Path]]:
    """What nobody may write beside what nobody may see: in words, and where it is."""
    for what, places in (
        ("the system", map(Path, SYSTEM_FOLDERS)),
        ("the plugin", (_PLUGIN_FOLDER,)),
        ("what a program runs from", walls.programs),
        ("what the other side names or needs", walls.theirs),
        ("what this session runs from", _session_folders(root)),
        ("what the project is judged by", (*walls.suites, *(root / name for name in JUDGING))),
    ):
        # Who writes the folder of a link may lead it elsewhere.
        yield from ((what, at) for p in places for at in {Path(os.path.abspath(p)), resolve_links(p)})


def _not_to_write(real: Path, own: Path, root: Path, walls: Walls, kept: list[tuple[str, Path]]) -> str:
    """Why a program may not write a folder; empty where it may. Who writes above a folder renames it."""
    at = resolve_links(root)
    shared = [*map(resolve_links, shared_folders())]
    for what, place in (("the project", at), *(("what all programs share", p) for p in shared), *kept):
        if place != own and place.is_relative_to(real):
            return f"holds {what}"
    for what, place in _unwritable_places(walls, root):
        if place.is_relative_to(real):
            return f"holds {what}"
        if real.is_relative_to(place) and not (own.is_relative_to(place) and real.is_relative_to(own)):
            return f"is in {what}"
    if real.is_relative_to(at) and not real.is_relative_to(own) and _is_of_project(real, at):
        return "holds files of the project"
    return ""


def _is_of_project(real: Path, root: Path) -> bool:
    """Whether a path of the project is more than a folder of data: git tracks of it, or pytest collects."""
    if real.exists() and not real.is_dir():
        return True
    with suppress(SourceError):
        if ask_git(root, "--literal-pathspecs", "ls-files", "-z", "--cached", "--", str(real)).stdout:
            return True
    names = (name for _, _, files in os.walk(real) for name in files)
    return any(fnmatchcase(name, pattern) for name in names for pattern in COLLECTED)


def git_folders(root: Path) -> list[Path]:
    """Where git keeps what it knows of the project: all that was ever committed, also what is hidden now.

    A worktree has it elsewhere, and a project may be a part of what a repository holds.
    """
    found = [root / ".git"] if (root / ".git").is_dir() else []
    with suppress(SourceError):
        said = ask_git(root, "rev-parse", "--git-common-dir", "--git-dir")
        if said.returncode == 0:
            found += [root / os.fsdecode(line) for line in said.stdout.splitlines()]
    return [*dict.fromkeys(resolve_links(path) for path in found)]


def needs_of(program: Backend | CommandProgram, root: Path, walls: Walls) -> tuple[list[Path], list[Path]]:
    """As :func:`check_needs`, of a program; what it runs from here is known here alone."""
    own = replace(walls, programs=(*walls.programs, *runs_from(program, root)))
    return check_needs(program.needs, program.folder, root, own, program.adapter)


def room_of(
    walls: Walls,
    program: Backend | CommandProgram,
    root: Path,
    command: Sequence[str],
    env: Mapping[str, str],
    *,
    read: Iterable[Path],
    write: Iterable[Path],
) -> Room | None:
    """What a program sees; None where it runs open.

    Args:
        root: the project where it runs. command, env: how the program is started.
        read, write: what it needs whatever it declares: its copy, its folder, a checkout.

    Raises:
        BackendError: it declares what it cannot have, or its environment is absent.
        IsolationError: walls are required, and cannot be had on this machine.
    """
    if not are_walls_in_force(walls, program.adapter):
        return None
    hidden = (*walls.hidden, *walls.runs, root, *git_folders(root))
    if isinstance(program, Backend):
        # A manifest's command may read what stands in the project.
        hidden = (*hidden, root / ".worldflux")
    reads, writes = needs_of(program, root, walls)
    # Who reads a folder sees what its links lead to.
    links = walls.around.links.items()
    beside = [at for link, at in links if any(link.is_relative_to(resolve_links(p)) for p in reads)]
    started = shutil.which(command[0], path=env.get("PATH"))
    return Room(
        write=(*write, *writes),
        read=(
            *interpreter_folders(program.interpreter(root), hidden),
            *(program_folders(Path(started)) if started else ()),
            *library_folders(env, hidden),
            *reads,
            *beside,
            *read,
        ),
        hidden=hidden,
        linked=tuple(at for _, at in links if at not in beside and at.is_dir()),
        secret=walls.secret,
        needs=program.needs,
    )


# --- the command line ---


def wrap_command(
    command: Sequence[str], env: Mapping[str, str], cwd: Path, room: Room
) -> tuple[list[str], dict[str, str]]:
    """The command that starts a program within its room, and its environment.

    SIGTERM ends the program and leaves the walls standing, so that it has its grace; whoever started the
    walls takes them down by going, with all that is within. A program that a signal N ends makes the
    exit status 128 + N.
    """
    said = [
        "--die-with-parent", "--unshare-user", "--disable-userns", "--cap-drop", "ALL",
        "--unshare-pid", "--unshare-ipc", *(() if room.needs.network else ("--unshare-net",)),
        "--ro-bind", "/", "/", *_device_words(room), "--proc", "/proc", "--ro-bind", "/proc/sys", "/proc/sys",
        *_mount_options(room, cwd), "--chdir", str(resolve_links(cwd)),
    ]  # fmt: skip
    outside = [_path_of_tool("env"), "--ignore-signal=TERM", _path_of_tool(PROGRAM)]
    # For env, a program whose path holds a = is none.
    inside = ["--", _path_of_tool("env"), "--default-signal=TERM", "/bin/sh", "-c", 'exec "$0" "$@"']
    return [*outside, *said, *inside, *command], _hide_keys(env, room)


def _path_of_tool(name: str) -> str:
    return shutil.which(name) or name


def _device_words(room: Room) -> Iterator[str]:
    """The devices that every program has, and the GPUs: not the disks, which root could read as they are."""
    yield from ("--dev", "/dev")
    for path in sorted(p for pattern in GPUS for p in glob.glob(pattern)):
        yield from ("--dev-bind", path, path)
    if not room.needs.dev_shm:
        yield from ("--size", str(SMALL_SHM))
    yield from ("--tmpfs", "/dev/shm")


def _hide_keys(env: Mapping[str, str], room: Room) -> dict[str, str]:
    """The environment without what names or holds a key; temporary files go to the private folder."""
    secrets = {str(p) for p in room.secret} | {str(resolve_links(p)) for p in room.secret}
    kept = {k: v for k, v in env.items() if "PRIVATE KEY" not in v and not any(s in v for s in secrets)}
    return {**kept, "TMPDIR": TEMPORARY[0]}


# In the order in which two of one path count: what is bound back stays bound.
_Kind = Literal["empty", "private", "read", "write"]
_RANK: Mapping[_Kind, int] = {"empty": 0, "private": 1, "read": 2, "write": 3}


def _mount_options(room: Room, cwd: Path) -> list[str]:
    """The options that make the room's folders what they are."""
    kinds: dict[Path, _Kind] = {}
    links: dict[Path, str] = {}

    def put(path: Path, kind: _Kind) -> None:
        real = _follow_links(Path(os.path.abspath(path)), links)
        if real.exists() and _RANK[kind] >= _RANK[kinds.get(real, "empty")]:
            kinds[real] = kind

    for path, kind in _wanted_kinds(room):
        put(path, kind)
    _follow_links(Path(os.path.abspath(cwd)), links)
    # What is bound with what it lies in needs no mount of its own.
    made = [
        p
        for p, kind in kinds.items()
        if kind not in ("read", "write") or _kind_around(p.parent, kinds) != kind
    ]
    made.sort(key=lambda p: len(p.parts))
    said = [word for path in made for word in _mount_words(path, kinds[path])]
    for link, target in links.items():
        # Elsewhere it is there already.
        if _kind_around(link.parent, kinds) in ("empty", "private") and link not in kinds:
            said += ("--symlink", target, str(link))
    for path in map(resolve_links, room.secret):
        if path.exists() and _kind_around(path, kinds) not in ("empty", "private"):
            said += ("--ro-bind", "/dev/null", str(path))
    # At the end, when all that is mounted below has its place.
    said += [w for p in made if kinds[p] == "empty" for w in ("--remount-ro", str(p))]
    return said


def _wanted_kinds(room: Room) -> Iterator[tuple[Path, _Kind]]:
    """What each path is to be."""
    hidden = [resolve_links(p) for p in room.hidden]
    # What a link leads to may be a part of the interpreter, or of what is needed.
    seen = [resolve_links(path) for path in room.read]
    linked = (t for t in room.linked if not any(t.is_relative_to(path) for path in seen))
    for path in (*map(Path, EMPTY_FOLDERS), *hidden, *linked):
        yield path, "empty"
    # What the system has for all.
    for place in shared_folders():
        if resolve_links(place) != Path("/"):
            yield place, "private"
    for path in (*room.read, *([Path(NAME_SERVICE)] if room.needs.network else [])):
        yield path, "read"
    for path in room.write:
        yield path, "write"


def _mount_words(path: Path, kind: _Kind) -> tuple[str, ...]:
    if kind in ("empty", "private"):
        return ("--tmpfs", str(path))
    return ("--bind" if kind == "write" else "--ro-bind", str(path), str(path))


def _kind_around(path: Path, kinds: Mapping[Path, _Kind]) -> str:
    """What the innermost mount above a path, or at it, is."""
    for above in (path, *path.parents):
        if above in kinds:
            return kinds[above]
    return "system"


def _follow_links(path: Path, links: dict[Path, str]) -> Path:
    """Where an absolute path leads to; the links on the way are added to ``links``."""
    real, left = Path("/"), [*reversed(path.parts[1:])]
    while left:
        part = left.pop()
        if part == "..":
            real = real.parent
        elif (real / part) in links or not (real / part).is_symlink():
            # A link that was met before leads in a circle, or to where it led then.
            real = resolve_links(real / part)
        else:
            links[real / part] = target = os.readlink(real / part)
            real = Path("/") if os.path.isabs(target) else real
            left += [p for p in reversed(Path(target).parts) if p != "/"]
    return real


# --- how it ended ---


def return_code(status: int) -> int:
    """The exit status of a program that ran within walls, as it has it outside: negative of a signal."""
    return 128 - status if 128 < status <= 192 else status
