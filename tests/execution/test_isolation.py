"""What a program within walls sees and reaches, and that it ends as it does without them."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import sysconfig
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_worldflux_parity import schemas
from pytest_worldflux_parity.errors import BackendError, IsolationError, RunFailed
from pytest_worldflux_parity.execution import isolation, runner
from pytest_worldflux_parity.execution.around import look_around
from pytest_worldflux_parity.execution.isolation import Room, Walls
from pytest_worldflux_parity.execution.runner import Start
from pytest_worldflux_parity.inputs.backends import Backend, Needs, own_python
from tests.conftest import wait_until
from tests.execution.walls import (
    USERS,
    ended,
    environment,
    needs_walls,
    open_folder,
    processes,
    python_as,
)

__all__ = ["open_folder"]

# Runs a program within walls, as the runner does: CODE, FOLDER, ROOM (a dict of lists of paths, and needs).
RUNS = """
import json, os, sys
from pathlib import Path
from pytest_worldflux_parity.execution import isolation, runner
from pytest_worldflux_parity.inputs.backends import Needs
code, folder, asked = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])
needs = Needs(**asked.pop("needs", {}))
own = {name: tuple(map(Path, paths)) for name, paths in asked.items()}
python = Path(sys.executable)
seen = isolation.interpreter_folders(python, own.get("hidden", ()))
room = isolation.Room(**{**own, "read": (*seen, *own.get("read", ()))}, needs=needs)
command, env = [str(python), "-c", code], dict(os.environ)
start = runner.Start(command, env, room=room)
status = runner.execute(start, folder, 60, where="x", hint="")
logs = [(folder / name).read_text() for name in ("stdout.log", "stderr.log")]
print(json.dumps({"status": status, "said": logs[0], "errors": logs[1]}))
"""

# What a program tries; each answer is what came of it, or the name of the error.
TRIES = """
import json, os, socket, sys
def tried(what):
    try:
        return what()
    except OSError as error:
        return type(error).__name__
def listed(path):
    return tried(lambda: sorted(os.listdir(path)))
def read(path):
    return tried(lambda: open(path).read())
def written(path):
    return tried(lambda: open(path, "a").write("x"))
"""


def say(folder: Path, expression: str, user: str = "this user", **room: Any) -> Any:
    """What a program within walls says to an expression."""
    room = {"write": [folder], "hidden": [folder.parent], **room}
    code = f"{TRIES}\nprint(json.dumps({expression}))"
    asked = {k: [str(p) for p in v] if k != "needs" else v for k, v in room.items()}
    found = ended(user, RUNS, code, folder, json.dumps(asked), cwd=folder)
    assert found["status"] == 0, found
    return json.loads(found["said"])


@pytest.fixture
def project(open_folder: Path) -> Path:
    """A project with two attempts, one of which is the program's own."""
    for name in ("attempt", "other", "goldens"):
        (open_folder / "project" / name).mkdir(parents=True)
        (open_folder / "project" / name / "file").write_text(name)
        (open_folder / "project" / name).chmod(0o777)
    (open_folder / "home").mkdir()
    (open_folder / "home" / "letters").touch()
    (open_folder / "secret").write_text("a key")
    return open_folder / "project"


@needs_walls
@pytest.mark.parametrize("user", USERS)
def test_a_program_sees_its_own_folder_and_the_system(project: Path, user: str) -> None:
    # A name that nobody else has in the machine's own folder.
    own, new = project / "attempt", f"/tmp/{uuid.uuid4()}"
    said = say(own, f"""{{
        "project": listed("{project}"), "own": listed("{own}"), "other": read("{project}/other/file"),
        "write": [written(p) for p in ("new", "{project}/x", "/etc/x", "/usr/x", "{new}")],
        "home": listed(os.path.expanduser("~")),
        "temporary": [listed("/var/tmp"), listed("/run"), listed("/dev/shm")],
        "disks": [d for d in listed("/dev") if d.startswith(("sd", "vd", "nvme", "mem", "kmem"))],
        "processes": len([p for p in listed("/proc") if p.isdigit()]),
        "rights": [os.access(p, os.W_OK) for p in ("/proc/sys/kernel/hostname", "/proc/sysrq-trigger")],
        "capabilities": [l.split()[1] for l in open("/proc/self/status") if l.startswith("CapEff")],
        "temporary_folder": os.environ["TMPDIR"],
        "network": tried(lambda: socket.create_connection(("192.0.2.1", 9), 1)),
        "user": os.getuid(),
    }}""", user)  # fmt: skip
    assert said["project"] == ["attempt"]
    assert said["own"] == ["file", "stderr.log", "stdout.log"]
    assert said["other"] == "FileNotFoundError"
    # Read-only before it is anybody's who may not write.
    assert said["write"] == [1, "OSError", "OSError", "OSError", 1]
    assert said["home"] == []
    assert said["temporary"] == [[], [], []]
    assert not said["disks"]
    assert said["processes"] <= 3
    assert said["rights"] == [False, False]
    assert said["capabilities"] == ["0" * 16]
    assert said["temporary_folder"] == "/tmp"
    assert said["network"] == "OSError"
    assert said["user"] == (os.getuid() if user == "this user" else 65534)
    assert not (project / "x").exists()
    assert not Path(new).exists()


@needs_walls
@pytest.mark.parametrize("user", USERS)
def test_walls_cannot_be_taken_down_from_within(project: Path, user: str) -> None:
    """Each of these made the project writable, or showed it, while root kept its rights."""
    said = say(project / "attempt", f"""[
        os.system(f"({{c}}) >/dev/null 2>&1") != 0 for c in (
            "mount -o remount,rw /", "umount {project}", "unshare --user --map-root-user true",
            "unshare --mount true", "nsenter --target 1 --mount true", "chroot / true", "mknod disk b 254 0",
            "kill -9 1; kill -0 1 && false", "echo 1 > /proc/sys/vm/drop_caches", "cat {project}/other/file",
        )
    ]""", user)  # fmt: skip
    # Process 1 is the walls' own, and takes no signal from within.
    assert said == [True, True, True, True, True, True, True, True, True, True]


@needs_walls
def test_what_a_program_needs_it_has(project: Path) -> None:
    own = project / "attempt"
    shm = "os.statvfs('/dev/shm').f_blocks * os.statvfs('/dev/shm').f_frsize"
    assert say(
        own, f"[read('{project}/other/file'), written('{project}/other/file')]", read=[project / "other"]
    ) == ["other", "OSError"]
    assert say(own, f"written('{project}/other/file')", write=[own, project / "other"]) == 1
    assert (project / "other" / "file").read_text() == "otherx"
    assert say(own, shm) == isolation.SMALL_SHM
    assert say(own, shm, needs={"dev_shm": True}) > isolation.SMALL_SHM
    connect = "tried(lambda: len(socket.if_nameindex()) > 1 or open('/sys/class/net/lo/operstate').read())"
    assert say(own, connect, needs={"network": True}) in (True, "unknown\n")
    assert say(own, "[name for _, name in socket.if_nameindex()]") == ["lo"]


@needs_walls
def test_the_host_is_reached_by_the_loopback_where_the_network_is_needed(project: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        connect = (
            f"tried(lambda: socket.create_connection(('127.0.0.1', {server.getsockname()[1]}), 2).close())"
        )
        assert say(project / "attempt", connect) == "ConnectionRefusedError"
        assert say(project / "attempt", connect, needs={"network": True}) is None


@needs_walls
@pytest.mark.parametrize("where", ["beside the project", "in a folder that is needed", "behind a link"])
def test_no_program_reads_the_key(project: Path, where: str) -> None:
    key = project.parent / "secret"
    named = key
    if where == "behind a link":
        named = project.parent / "link"
        named.symlink_to(key)
    seen = [project.parent] if where == "in a folder that is needed" else []
    said = say(
        project / "attempt",
        f"[read('{key}'), read('{named}'), read('{project}/other/file')]",
        secret=[named],
        read=seen,
    )
    assert "a key" not in said
    # The control: what stands beside it is there to be read.
    assert said[2] == "FileNotFoundError", "what is hidden stays so within what is needed"
    assert (say(project / "attempt", f"read('{key}')", read=seen) == "a key") == bool(seen)


@needs_walls
def test_a_key_in_the_environment_is_dropped(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLDFLUX_SIGN_KEY", str(project.parent / "secret"))
    monkeypatch.setenv("SIGNING", "-----BEGIN PRIVATE KEY-----\nMC4CAQ")
    monkeypatch.setenv("KEPT", "yes")
    names = "[os.environ.get(n) for n in ('WORLDFLUX_SIGN_KEY', 'SIGNING', 'KEPT')]"
    assert say(project / "attempt", names, secret=[project.parent / "secret"]) == [None, None, "yes"]


@needs_walls
def test_links_out_of_the_project_lead_nowhere(project: Path) -> None:
    """A folder elsewhere that the project links to is as much of the project; so is one by two ways."""
    with_link = Path("/opt") if os.access("/opt", os.W_OK) else project.parent
    elsewhere = with_link / f"elsewhere_{os.getpid()}"
    elsewhere.mkdir()
    try:
        (elsewhere / "golden").write_text("official")
        code = f"[listed('{elsewhere}'), read('{elsewhere}/golden')]"
        before = say(project / "attempt", code)
        (project / "goldens" / "linked").symlink_to(elsewhere)
        found = look_around((project,), (), ())
        assert found.links == {project / "goldens" / "linked": elsewhere}
        after = say(project / "attempt", code, hidden=[project], linked=[elsewhere])
    finally:
        (elsewhere / "golden").unlink()
        elsewhere.rmdir()
    if with_link == Path("/opt"):
        assert before == [["golden"], "official"], "the control: without a link it is the system's"
    assert after[1] == "FileNotFoundError"


@needs_walls
def test_a_run_folder_behind_links_is_found_by_its_name(project: Path) -> None:
    """The program is told of the folder by a path with links in it, within what is hidden."""
    (project / "runs").symlink_to("attempt")
    (project.parent / "link").symlink_to(project)
    own = project.parent / "link" / "runs"
    said = say(own, f"[read('{own}/file'), listed('{project}'), os.getcwd()]", hidden=[project])
    assert said == ["attempt", ["attempt", "runs"], str(project / "attempt")]


@needs_walls
@pytest.mark.parametrize("where", [".venv", ".worldflux/envs/x"])
def test_an_environment_within_the_project_is_seen_and_the_project_is_not(project: Path, where: str) -> None:
    """It has links of its own (lib64), which lead out of nothing."""
    folder = project / where
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    own = project / "attempt"
    python = folder / "bin" / "python"
    seen = isolation.interpreter_folders(python, [project])
    room = Room(write=(own,), read=(*seen,), hidden=(project,))
    code = "import os, sys; print(sys.prefix, sorted(os.listdir(sys.argv[1])))"
    status = runner.execute(
        Start([str(python), "-c", code, str(project)], os.environ, room=room), own, 60, where="x", hint=""
    )
    assert (status, (own / "stdout.log").read_text()) == (
        0,
        f"{folder} ['{folder.relative_to(project).parts[0]}', 'attempt']\n",
    )


@needs_walls
def test_a_project_that_is_an_environment_shows_the_environment_alone(project: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", project], check=True)
    own = project / "attempt"
    python = project / "bin" / "python"
    seen = isolation.interpreter_folders(python, [project])
    room = Room(write=(own,), read=(*seen,), hidden=(project,))
    code = "import os, sys; print(os.path.exists(sys.argv[1]), sys.prefix)"
    status = runner.execute(
        Start([str(python), "-c", code, str(project / "other")], os.environ, room=room),
        own,
        60,
        where="x",
        hint="",
    )
    assert (status, (own / "stdout.log").read_text()) == (0, f"False {project}\n")


def test_an_environment_is_known_without_starting_its_python(tmp_path: Path) -> None:
    for name, beside in (("venv", "pyvenv.cfg"), ("conda", "conda-meta/history"), ("plain", "other")):
        (tmp_path / name / "bin").mkdir(parents=True)
        (tmp_path / name / beside).parent.mkdir(exist_ok=True)
        (tmp_path / name / beside).write_text("home = /opt/python/bin\nversion = 3.11.2\n")
    own = {
        n: [*isolation.program_folders(tmp_path / n / "bin" / "python")] for n in ("venv", "conda", "plain")
    }
    assert own["venv"][1:] == [tmp_path / "venv", Path("/opt/python")]
    assert own["conda"][1:] == [tmp_path / "conda"]
    assert own["plain"] == [tmp_path / "plain" / "bin" / "python"]
    shim = tmp_path / ".pyenv" / "shims" / "python3"
    assert [*isolation.program_folders(shim)] == [shim, tmp_path / ".pyenv"]


@pytest.fixture
def declared(tmp_path: Path) -> tuple[Path, Walls]:
    """A project with the folder of a backend that declares needs, and what a session knows of it."""
    root = tmp_path / "project"
    for name in ("backends/mine/data", "backends/other", "golden", "data", ".worldflux/compiled", ".git"):
        (root / name).mkdir(parents=True)
    for name in ("runs", "checkout", "data"):
        (tmp_path / name).mkdir()
    (root / "table.json").touch()
    (root / "link").symlink_to(tmp_path / "runs")
    (root / "linked").symlink_to("backends/other")
    return root, Walls(
        "require",
        runs=(tmp_path / "runs",),
        backends=(root / "backends" / "mine", root / "backends" / "other"),
        goldens=(root / "golden",),
        tables=(root / "table.json",),
        others=(tmp_path / "checkout",),
    )


def test_what_a_program_needs_is_found_from_its_folder(declared: tuple[Path, Walls]) -> None:
    root, walls = declared
    needs = Needs(
        read=("../../data", "{repo_root}/data", "~/data", "{repo_root}", "data"),
        write=("../../../data", "../../data", "data"),
    )
    read, write = isolation.check_needs(needs, root / "backends" / "mine", root, walls, "mine")
    assert read == [
        root / "data", root / "data", Path.home() / "data", root, root / "backends" / "mine" / "data"
    ]  # fmt: skip
    assert write == [root.parent / "data", root / "data", root / "backends" / "mine" / "data"]
    with pytest.raises(BackendError, match="absent; to mend: mkdir"):
        isolation.check_needs(Needs(write=("absent",)), root / "backends" / "mine", root, walls, "mine")


@pytest.mark.parametrize("kind", ["read", "write"])
@pytest.mark.parametrize(
    ("path", "what"),
    [
        ("../../../runs", "the folder of the runs"),
        ("../../link/r", "the folder of the runs"),
        ("../other", "the folder of another backend"),
        ("../../linked/program.py", "the folder of another backend"),
        ("{repo_root}/golden/arrays.npz", "a golden folder"),
        ("{repo_root}/table.json", "a table of scores"),
        ("../../../checkout/x", "a checkout of the other side"),
        ("{repo_root}/.worldflux/compiled", ".worldflux"),
        ("{repo_root}/.git/objects", ".git"),
        ("/proc", "what the walls make themselves"),
        ("/dev/shm", "what the walls make themselves"),
        ("/sys/class", "what the walls make themselves"),
    ],
)
def test_nobody_needs_what_is_kept_from_programs(
    declared: tuple[Path, Walls], kind: str, path: str, what: str
) -> None:
    root, walls = declared
    with pytest.raises(BackendError) as caught:
        isolation.check_needs(Needs(**{kind: (path,)}), root / "backends" / "mine", root, walls, "mine")
    assert f"which is in {what}: no program sees another's" in caught.value.line()


@pytest.mark.parametrize(
    ("path", "what"),
    [("../..", "the project"), ("/", "the project"), ("..", "the folder of another backend")],
)
def test_nobody_writes_what_holds_what_is_kept(declared: tuple[Path, Walls], path: str, what: str) -> None:
    """Its folders could be given other names."""
    root, walls = declared
    with pytest.raises(BackendError) as caught:
        isolation.check_needs(Needs(write=(path,)), root / "backends" / "mine", root, walls, "mine")
    assert f"which holds {what}: no program writes another's" in caught.value.line()


def test_nobody_reads_all_that_there_is(declared: tuple[Path, Walls]) -> None:
    """The machine's own processes would be there, and by them what is hidden."""
    root, walls = declared
    with pytest.raises(BackendError, match="needs names /, which holds the processes of all"):
        isolation.check_needs(Needs(read=("/",)), root / "backends" / "mine", root, walls, "mine")


def written(root: Path, walls: Walls, path: object) -> list[Path]:
    """The folders that a backend may write which declares one."""
    backend = Backend(root / "backends" / "mine", "mine", "k", "f", "worldflux", ("{python}", "x"), "shared")
    _, write = isolation.needs_of(replace(backend, needs=Needs(write=(str(path),))), root, walls)
    return write


PREFIX = Path(sys.prefix)


@pytest.mark.parametrize(
    ("path", "why"),
    [
        (sysconfig.get_path("purelib"), "is in what a program runs from"),
        (Path(sysconfig.get_path("purelib"), "levels"), "is in what a program runs from"),
        (PREFIX, "holds what a program runs from"),
        (PREFIX.parent, "holds"),
        (sysconfig.get_path("stdlib"), "is in "),
        (Path(isolation.__file__).parents[1], "holds the plugin"),
        (Path(isolation.__file__).parents[1] / "wire", "is in the plugin"),
        ("/etc", "holds the system"),
        ("/usr/lib", ""),
        ("/usr/share", "is in the system"),
        ("/var/spool", "holds the system"),
        ("/proc", "is in what the walls make themselves"),
        ("/sys", "is in what the walls make themselves"),
        ("/dev", "is in what the walls make themselves"),
        ("~", "holds what all programs share"),
        ("/tmp", "holds "),
        ("/home", "holds "),
        ("{home}/tools", "holds what this session runs from"),
        ("{repo_root}/suites", "holds what the project is judged by"),
        ("{repo_root}/suites/quick/new", "is in what the project is judged by"),
        ("{repo_root}/mine/suites", "holds what the project is judged by"),
        ("{repo_root}/tests", "holds what the project is judged by"),
        ("{repo_root}/reports", "holds what the project is judged by"),
        ("{repo_root}/.git", "is in .git"),
        ("{repo_root}/more", "holds files of the project"),
        ("{repo_root}/pytest.ini", "holds files of the project"),
        ("../../../shared/lake/part", "is in what the other side names or needs"),
        ("../../../shared", "holds what the other side names or needs"),
    ],
)
def test_nobody_writes_what_others_run_from_or_read(
    declared: tuple[Path, Walls], path: object, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, walls = declared
    for name in ("suites/quick", "mine/suites", "tests", "more/inner"):
        (root / name).mkdir(parents=True)
    (root / "more" / "inner" / "conftest.py").touch()
    (root / "pytest.ini").touch()
    (root.parent / "shared" / "lake" / "part").mkdir(parents=True)
    (root.parent / "home").mkdir()
    home = root.parent / "home"
    monkeypatch.setenv("HOME", str(home))
    # A link that somebody else may lead elsewhere.
    (home / "tools").mkdir()
    (home / "tools" / "bin").symlink_to("/usr/bin")
    monkeypatch.setenv("PATH", f"{os.environ['PATH']}:{home / 'tools' / 'bin'}")
    path = str(path).replace("{home}", str(home))
    walls = replace(walls, theirs=(root.parent / "shared" / "lake",), suites=(root / "mine" / "suites",))
    with pytest.raises(BackendError) as caught:
        written(root, walls, path)
    line = caught.value.line()
    assert f", which {why}" in line
    assert "no program" in line
    assert "to mend: name a folder elsewhere in needs" in line


@pytest.mark.parametrize("path", ["../../../scratch", "~/.cache/data", "{repo_root}/data", "data"])
def test_what_nobody_else_uses_may_be_written(
    declared: tuple[Path, Walls], path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, walls = declared
    monkeypatch.setenv("HOME", str(root.parent / "home"))
    for folder in (root.parent / "scratch", root.parent / "home" / ".cache" / "data"):
        folder.mkdir(parents=True)
    walls = replace(walls, theirs=(root.parent / "lake",), suites=(root / "suites" / "quick",))
    (found,) = written(root, walls, path)
    assert found.is_dir()


def test_of_the_project_what_git_tracks_is_not_written(declared: tuple[Path, Walls]) -> None:
    root, walls = declared
    for name in ("outputs", "data/raw"):
        (root / name).mkdir(parents=True)
        (root / name / "x.bin").touch()
    (root / ".gitignore").write_text("outputs\n")
    assert written(root, walls, root / "data") == [root / "data"]
    (root / ".git").rmdir()
    for words in (["init", "-q"], ["add", "data", ".gitignore"]):
        subprocess.run(["git", "-C", str(root), *words], check=True)
    assert written(root, walls, root / "outputs") == [root / "outputs"]
    with pytest.raises(BackendError, match="which holds files of the project"):
        written(root, walls, root / "data")
    # Of a folder with a file that git tracks, one that has none.
    (root / "data" / "own").mkdir()
    assert written(root, walls, root / "data" / "own") == [root / "data" / "own"]


def test_what_git_knows_of_a_project_is_found_wherever_it_stands(tmp_path: Path) -> None:
    git = ["git", "-C", str(tmp_path / "whole"), "-c", "user.name=x", "-c", "user.email=x@example.org"]
    (tmp_path / "whole" / "part").mkdir(parents=True)
    assert isolation.git_folders(tmp_path / "whole") == []
    for words in (
        ["init", "-q"],
        ["commit", "-q", "--allow-empty", "-m", "x"],
        ["worktree", "add", "-q", str(tmp_path / "tree")],
    ):
        subprocess.run([*git, *words], check=True, capture_output=True)
    kept = tmp_path / "whole" / ".git"
    assert isolation.git_folders(tmp_path / "whole") == [kept]
    assert isolation.git_folders(tmp_path / "whole" / "part") == [kept]
    assert isolation.git_folders(tmp_path / "tree") == [kept, kept / "worktrees" / "tree"]


# --- whether they can be had ---


@pytest.fixture
def fresh() -> Any:
    """What was tried before does not count, nor after."""
    isolation.why_no_walls.cache_clear()
    yield
    isolation.why_no_walls.cache_clear()


def bwrap_that(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program = folder / "bwrap"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


@pytest.mark.usefixtures("fresh")
def test_a_machine_without_bubblewrap_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    why = isolation.why_no_walls()
    assert why is not None
    assert why.line() == "bubblewrap is not installed; to mend: apt-get install bubblewrap"
    assert not isolation.are_walls_in_force(Walls("auto"), "mine")
    assert isolation.describe_walls(None, Walls("auto")) == {
        "by": "none", "why": "bubblewrap is not installed", "key_hidden": False, "needs": {}
    }  # fmt: skip
    with pytest.raises(IsolationError) as caught:
        isolation.are_walls_in_force(Walls("require"), "node n1")
    said = "node n1: --parity-isolate=require, and bubblewrap is not installed"
    assert caught.value.line() == f"{said}; to mend: apt-get install bubblewrap"
    assert not isolation.are_walls_in_force(Walls("off"), "mine")


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize(
    ("script", "what", "hint"),
    [
        (
            "echo 'bwrap: Unknown option --disable-userns' >&2; exit 1",
            "Unknown option --disable-userns",
            "0.8",
        ),
        ("echo 'bwrap: No permissions to create new namespace' >&2; exit 1", "No permissions", ""),
        ("exit 0", "exit status 0", ""),
    ],
)
def test_a_start_that_does_not_work_says_what_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, what: str, hint: str
) -> None:
    """Also one that ran the program without walls, or nothing at all."""
    bwrap_that(tmp_path, script, monkeypatch)
    why = isolation.why_no_walls()
    assert why is not None
    assert what in why.what
    assert why.hint
    assert hint in why.hint


@pytest.mark.parametrize(
    ("name", "forbids", "command"),
    [
        ("kernel/unprivileged_userns_clone", "0", "sysctl -w kernel.unprivileged_userns_clone=1"),
        (
            "kernel/apparmor_restrict_unprivileged_userns",
            "1",
            "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
        ),
        ("user/max_user_namespaces", "0", "sysctl -w user.max_user_namespaces=15000"),
    ],
)
def test_what_forbids_it_names_the_command_that_allows_it(
    name: str, forbids: str, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(isolation, "_read_setting", lambda path: forbids if str(path).endswith(name) else "")
    assert command in isolation._hint_for("bwrap: setting up uid map: Permission denied")


def test_an_old_env_is_told_which_one_is_wanted() -> None:
    assert "coreutils 8.31" in isolation._hint_for("env: unrecognized option '--ignore-signal=TERM'")


def test_a_container_is_told_how_to_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "_CONTAINERS", ("/",))
    monkeypatch.setattr(isolation, "_read_setting", lambda path: "")
    assert "--security-opt seccomp=unconfined" in isolation._hint_for(
        "bwrap: Can't mount proc on /newroot/proc"
    )


def test_what_was_in_force_stands_in_schemas_alike() -> None:
    """The line, the match run and the file in the attempt's folder say it in the same words."""
    own = schemas.load("isolation.v1")["properties"]
    for name in ("run_line.v1", "match_run.v1"):
        assert schemas.load(name)["properties"]["isolation"]["properties"] == own


def test_what_a_program_wrote_of_its_own_walls_is_not_believed_where_it_runs_open(tmp_path: Path) -> None:
    said = {"by": "bubblewrap", "why": "", "key_hidden": True, "needs": {}}
    (tmp_path / isolation.WALLS_FILE).write_text(json.dumps(said))
    assert isolation.read_walls_left(tmp_path, "off") is None
    assert isolation.read_walls_left(tmp_path, "auto") == said
    (tmp_path / isolation.WALLS_FILE).write_text(json.dumps({"by": "my word"}))
    assert isolation.read_walls_left(tmp_path, "auto") is None
    assert isolation.read_walls_left(tmp_path / "absent", "auto") is None


# --- how programs end ---


def room(folder: Path) -> Room:
    seen = isolation.interpreter_folders(Path(sys.executable), [folder])
    return Room(write=(folder,), read=(*seen,), hidden=(folder,))


def execute(folder: Path, code: str, deadline: float = 60, command: list[str] | None = None) -> int:
    words = command or [sys.executable, "-c", code]
    return runner.execute(Start(words, os.environ, room=room(folder)), folder, deadline, where="x", hint="")


@needs_walls
@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("", 0),
        ("raise SystemExit(7)", 7),
        ("import os; os.kill(os.getpid(), 9)", -signal.SIGKILL),
        ("import os; os.kill(os.getpid(), 11)", -signal.SIGSEGV),
        ("import os; os.abort()", -signal.SIGABRT),
        ("import os; os.kill(os.getpid(), 15)", -signal.SIGTERM),
    ],
)
def test_an_exit_status_is_what_it_is_without_walls(tmp_path: Path, code: str, status: int) -> None:
    assert execute(tmp_path, code) == status


@needs_walls
def test_a_program_that_is_not_there_cannot_be_started(tmp_path: Path) -> None:
    for command in (["/nowhere/python"], ["no-such-program"], ["/etc/passwd"]):
        told = []
        for walls in (None, room(tmp_path)):
            with pytest.raises(RunFailed) as caught:
                runner.execute(Start(command, os.environ, room=walls), tmp_path, 9, where="x", hint="")
            told.append(caught.value.line())
        assert told[0] == told[1]
        assert "cannot be started" in told[0]


GRACE = """
import os, signal, subprocess, sys, time
def end(*_):
    time.sleep(0.3)
    open("last", "w").write("words")
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True, env={})
open("begun", "w").close()
time.sleep(600)
"""
STUBBORN = GRACE.replace("signal.SIGTERM, end", "signal.SIGTERM, signal.SIG_IGN")


@needs_walls
@pytest.mark.parametrize("code", [GRACE, STUBBORN], ids=["it has its grace", "it does not listen"])
def test_a_deadline_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Not even a child of a session of its own, without the mark in its environment."""
    monkeypatch.setattr(runner, "TERM_GRACE_SEC", 2.0)
    with pytest.raises(runner.DeadlinePassed):
        execute(tmp_path, code, 1.5)
    assert (tmp_path / "begun").exists()
    assert (tmp_path / "last").exists() == (code == GRACE)
    wait_until(lambda: not processes(tmp_path, but=()), "the end of all of it")


def kill_walls(session: subprocess.Popen[bytes], folder: Path) -> None:
    walls = set(processes(folder, but=())) - set(processes(folder))
    os.kill(min(walls), signal.SIGKILL)


def kill_program(session: subprocess.Popen[bytes], folder: Path) -> None:
    os.kill(min(processes(folder)), signal.SIGKILL)


def kill_runner(session: subprocess.Popen[bytes], folder: Path) -> None:
    session.kill()


def kill_group(session: subprocess.Popen[bytes], folder: Path) -> None:
    os.killpg(os.getpgid(min(processes(folder, but=()))), signal.SIGKILL)


@needs_walls
@pytest.mark.parametrize("kill", [kill_walls, kill_program, kill_runner, kill_group])
@pytest.mark.parametrize("user", USERS)
def test_whatever_is_killed_nothing_is_left(
    project: Path, user: str, kill: Callable[[subprocess.Popen[bytes], Path], None]
) -> None:
    own = project / "attempt"
    asked = json.dumps({"write": [str(own)], "hidden": [str(project)]})
    command = python_as(user, "-c", RUNS, STUBBORN, own, asked)
    session = subprocess.Popen(
        command, cwd="/", env=environment("/"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        wait_until((own / "begun").exists, "the program")
        wait_until(lambda: len(processes(own)) == 2, "its child")
        kill(session, own)
        out, errors = session.communicate(timeout=60)
        wait_until(lambda: not processes(own, but=()), "the end of all of it")
        if kill is not kill_runner:
            assert json.loads(out.splitlines()[-1])["status"] == -signal.SIGKILL, errors
    finally:
        session.kill()
        session.wait()


@needs_walls
def test_walls_fall_with_the_thread_that_waits_for_them(tmp_path: Path) -> None:
    """A node of Ray runs a program in a thread: it must wait there, and is ended from another."""
    caught: list[BaseException] = []

    def run() -> None:
        try:
            execute(tmp_path, STUBBORN)
        except BaseException as error:
            caught.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    wait_until((tmp_path / "begun").exists, "the program")
    runner.end_running()
    thread.join(60)
    assert [type(error) for error in caught] == [KeyboardInterrupt]
    assert not processes(tmp_path, but=())


# Writes down what it has open, and stays.
HAS = """
import json, os, time
found = {}
for fd in os.listdir("/proc/self/fd"):
    try:
        found[int(fd)] = os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        pass
open("new", "w").write(json.dumps(found))
os.rename("new", "begun")
while not os.path.exists("go"):
    time.sleep(0.01)
"""


def holding(folder: Path, lock: Path, *, walled: bool) -> tuple[threading.Thread, list[int]]:
    """A program that has begun in ``folder``; whoever started it has let go of the lock and the folder."""
    status: list[int] = []
    parent = os.open(lock.parent, os.O_RDONLY)
    with open(lock, "w") as held:
        fcntl.flock(held, fcntl.LOCK_SH)
        descriptors, walls = [held.fileno(), parent], room(folder) if walled else None
        thread = threading.Thread(target=lambda: status.append(runner.execute(
            Start([sys.executable, "-c", HAS], os.environ, room=walls), folder, 60, where="x", hint="",
            keep_open=descriptors,
        )))  # fmt: skip
        thread.start()
        wait_until((folder / "begun").exists, "the program")
    os.close(parent)
    return thread, status


def test_what_an_open_program_inherits_is_held_until_it_has_ended(tmp_path: Path) -> None:
    folder = tmp_path / "attempt"
    folder.mkdir()
    thread, status = holding(folder, tmp_path / "lock", walled=False)
    with open(tmp_path / "lock", "w") as other:
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        (folder / "go").touch()
        thread.join(60)
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert status == [0]


@needs_walls
def test_a_program_within_walls_inherits_nothing(tmp_path: Path) -> None:
    """A folder would lead out of the walls, and a lock could be let go."""
    folder = tmp_path / "attempt"
    folder.mkdir()
    thread, status = holding(folder, tmp_path / "lock", walled=True)
    with open(tmp_path / "lock", "w") as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    (folder / "go").touch()
    thread.join(60)
    assert json.loads((folder / "begun").read_text()) == {
        "0": "/dev/null", "1": str(folder / "stdout.log"), "2": str(folder / "stderr.log")
    }  # fmt: skip
    assert status == [0]


@pytest.mark.parametrize(
    "walls", [False, pytest.param(True, marks=needs_walls)], ids=["open", "within walls"]
)
@pytest.mark.parametrize(
    ("name", "left", "told"),
    [
        ("metrics.json", "os.symlink({key!r}, 'metrics.json')", "a link"),
        ("stderr.log", "os.unlink('stderr.log'); os.symlink({key!r}, 'stderr.log')", "a link"),
        ("metrics.json", "os.mkfifo('metrics.json')", "no file"),
        ("progress.jsonl", "os.symlink('../other/progress.jsonl', 'progress.jsonl')", "a link"),
    ],
)
def test_a_link_in_the_place_of_a_file_is_not_followed(
    tmp_path: Path, name: str, left: str, told: str, walls: bool
) -> None:
    """Who reads it stands outside of the walls, and may read what the program may not."""
    folder, key = tmp_path / "attempt", tmp_path / "key"
    folder.mkdir()
    key.write_text("the key")
    code = f"import os, sys; {left.format(key=str(key))}; sys.exit(3)"
    with pytest.raises(RunFailed) as caught:
        runner.execute(
            Start([sys.executable, "-c", code], os.environ, room=room(folder) if walls else None),
            folder, 60, where="x", hint="",
        )  # fmt: skip
    assert caught.value.what == f"the program left {told} as {name}"
    assert not os.path.lexists(folder / name)
    assert "the key" not in runner.log_tail(folder)


@needs_walls
def test_a_start_within_walls_takes_little_longer(tmp_path: Path) -> None:
    """About 20 ms are allowed; here it is a median of some starts, and a machine under load takes more."""
    times: dict[bool, list[float]] = {False: [], True: []}
    walls = room(tmp_path)
    for _ in range(7):
        for walled in times:
            begun = time.perf_counter()
            runner.execute(
                Start(["/bin/true"], os.environ, room=walls if walled else None),
                tmp_path,
                60,
                where="x",
                hint="",
            )
            times[walled].append(time.perf_counter() - begun)
    more = sorted(times[True])[3] - sorted(times[False])[3]
    assert more < 0.5, times


@needs_walls
def test_an_interpreter_may_be_named_by_way_of_the_project(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As ``../venv/bin/python -m pytest`` names it in the project, which no program sees."""
    folder, name = os.path.split(sys.executable)
    monkeypatch.setattr(sys, "executable", os.path.join(project, os.path.relpath(folder, project), name))
    assert ".." in sys.executable
    python = own_python()
    assert ".." not in python.parts
    assert python.samefile(sys.executable)
    isolation.why_no_walls.cache_clear()
    assert isolation.why_no_walls() is None
    isolation.why_no_walls.cache_clear()
