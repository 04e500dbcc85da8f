"""What is shipped to a node, what runs there and what comes back, without a cluster."""

from __future__ import annotations

import errno
import io
import os
import pickle
import shutil
import stat
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_worldflux_parity import wire
from pytest_worldflux_parity.errors import ParityError, RunFailed
from pytest_worldflux_parity.execution import runner
from pytest_worldflux_parity.execution.engine import Launch
from pytest_worldflux_parity.execution.isolation import Walls
from pytest_worldflux_parity.execution.launching import Sealed, seal_program_now
from pytest_worldflux_parity.execution.ray import bootstrap, node, shipping
from pytest_worldflux_parity.execution.ray.delivery import LEFT_OUT_FILE, Delivery
from pytest_worldflux_parity.execution.ray.node import Ended, FilePart, Host, Parcel, Started
from pytest_worldflux_parity.execution.ray.placement import Node, cluster_width, reserve_on
from pytest_worldflux_parity.execution.retention import FAILED_RECORD
from pytest_worldflux_parity.execution.store import answer_in
from pytest_worldflux_parity.inputs.backends import Backend, load_backends, read_backend
from pytest_worldflux_parity.inputs.command_program import COMMIT, CommandProgram, project_commit
from pytest_worldflux_parity.inputs.files.project_files import everything, tracked
from pytest_worldflux_parity.inputs.trees import Tree, backend_tree
from pytest_worldflux_parity.suite.commands import CommandSide
from pytest_worldflux_parity.suite.suite import Resources
from tests.conftest import FAKES, alive, wait_until

HOST = Host("0123456789abcdef", "far-away")

ENGINE = "pytest_worldflux_parity.execution.ray.engine"


@pytest.fixture(autouse=True)
def guardian_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The guardian of the test's process stays its child."""
    monkeypatch.setattr(node, "detach", lambda: None)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    shutil.copytree(FAKES, root / "backends", ignore=shutil.ignore_patterns("__pycache__"))
    return root


def unpack(archive: shipping.Archive, folder: Path) -> Path:
    return bootstrap.unpack_archive(archive.data, archive.name, folder)


def request(root: Path, folder: Path, **changes: Any) -> wire.RunRequest:
    fields: dict[str, Any] = {
        "request_id": "0" * 64, "run_id": "r", "suite_id": "s", "family": "fake", "task_id": "alpha",
        "seed": 1, "system": "worldflux", "adapter": "fake_worldflux", "device": "cpu", "recipe": {},
        "eval_protocol": {}, "out_dir": str(folder), "deadline_sec": 60.0,
    }  # fmt: skip
    return wire.RunRequest(**{**fields, **changes})


def parcel(
    root: Path, folder: Path, keep: tuple[str, ...] = ("*",), largest: int = 10**6, **changes: Any
) -> Parcel:
    program = load_backends([root / "backends"])["fake_worldflux"]
    tree = backend_tree(program, root)
    return Parcel(request(root, folder, **changes), program, root, tree, keep, largest)


def run(sent: Parcel, tmp_path: Path) -> tuple[Ended, Path]:
    """Run a parcel on a node of this process, and what is in the folder on the controller then."""
    archive = shipping.pack_folder(sent.root, everything(sent.root))
    cache, folder = tmp_path / "cache", Path(sent.request.out_dir)
    folder.mkdir()
    delivery = Delivery(folder, sent.request)
    place = unpack(archive, tmp_path / "unpacked" / folder.name)
    return told(sent, {sent.root: place}, cache, delivery), folder


def told(sent: Parcel, places: dict[Path, Path], cache: Path, delivery: Delivery) -> Ended:
    events = node.run_on_node(pickle.loads(pickle.dumps(sent)), places, cache, HOST)
    assert next(events) == Started()
    for event in events:
        if isinstance(event, Ended):
            delivery.finish(event)
            assert next(events, None) is None
            assert not list(cache.glob("sessions/*/attempts/*"))
            return event
        assert isinstance(event, FilePart)
        delivery.take(event)
    raise AssertionError("no end")


def files(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir() or p.is_symlink()}


# --- archives


def test_an_archive_holds_all_that_counts(root: Path, tmp_path: Path) -> None:
    """Links, modes and empty folders come along, Python's caches do not."""
    (root / "empty").mkdir()
    (root / "link").symlink_to("backends")
    (root / "tool").write_text("#!/bin/sh\n")
    (root / "tool").chmod(0o755)
    (root / "__pycache__").mkdir()
    (root / "__pycache__" / "x.pyc").write_text("")
    there = unpack(shipping.pack_folder(root, everything(root)), tmp_path / "unpacked")
    assert there.name == "project"
    assert files(there) | {"__pycache__/x.pyc"} == files(root)
    assert (there / "empty").is_dir()
    assert os.readlink(there / "link") == "backends"
    assert stat.S_IMODE((there / "tool").stat().st_mode) == 0o755


def test_others_of_the_machine_see_nothing_of_the_cache(root: Path, tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        run(parcel(root, tmp_path / "attempt"), tmp_path)
    finally:
        os.umask(before)
    for name in ("", "sessions", "sessions/none", "sessions/none/attempts"):
        assert stat.S_IMODE((tmp_path / "cache" / name).stat().st_mode) == 0o700


def test_the_project_is_what_git_says(root: Path, tmp_path: Path) -> None:
    (root / ".gitignore").write_text("data\n.worldflux\n")
    for name in ("data/big", ".worldflux/sources/x", "scripts/train.py", "reports/r.json"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("")
    outside = {"data/big", ".worldflux/sources/x"}
    everywhere = {p.relative_to(root).as_posix() for p in tracked(root) if p.is_file()}
    assert "data/big" in everywhere
    assert not {n for n in everywhere if n.startswith((".worldflux", "reports"))}
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    assert {p.relative_to(root).as_posix() for p in tracked(root)} == files(root) - outside - {
        n for n in files(root) if n.startswith(".git/")
    }


def shipped(
    cargo_root: Path, program: Path, place: Path, monkeypatch: pytest.MonkeyPatch, **more: Any
) -> set[str]:
    """The files that an attempt with a backend sends away, its own package aside."""
    engine = pytest.importorskip(ENGINE, reason="ray is not installed")
    sent: list[shipping.Archive] = []

    def put(archive: shipping.Archive) -> bootstrap.Shipped:
        sent.append(archive)
        return archive.name, []

    monkeypatch.setattr(engine._Cargo, "_put", staticmethod(put))
    cargo = engine._Cargo(cargo_root, more.pop("sign_key", None))
    backend = read_backend(program / "backend.yaml")
    launch = Launch(
        request(cargo_root, cargo_root, **more), cargo_root, backend,
        seal_program_now(backend, cargo_root, place), Resources(), "", (), -1,
    )  # fmt: skip
    del sent[:]
    cargo.of(launch)
    names: set[str] = set()
    for archive in sent:
        with tarfile.open(fileobj=io.BytesIO(archive.data)) as tar:
            names.update(m.name.partition("/")[2] for m in tar if m.isfile())
    return names


def test_of_a_backend_outside_of_the_project_its_own_folder_goes(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is beside it may be a home."""
    home = tmp_path / "home"
    shutil.copytree(root / "backends" / "fake_worldflux", home / "mine")
    (home / "mine" / "backend.yaml").write_text(
        (home / "mine" / "backend.yaml").read_text().replace("program:", "# program:")
    )
    for name in (".ssh/id_ed25519", "papers/draft", "common.py", "mine/.env.local", "mine/sub/key.pem"):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text("PRIVATE")
    own = {f"home/mine/{n}" for n in files(root / "backends" / "fake_worldflux")}
    assert shipped(root, home / "mine", tmp_path / "place", monkeypatch) == own


def test_no_key_leaves_with_a_program(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = root / "backends" / "fake_worldflux"
    for name in (".env", "x/server.pem", ".envrc", "sign.key", "part.py"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("PRIVATE")
    sent = shipped(root, folder, tmp_path / "place", monkeypatch)
    assert {"backends/fake_worldflux/part.py", "backends/fake_worldflux/backend.yaml"} <= sent
    assert not [n for n in sent if n.rpartition("/")[2] in (".env", ".envrc", "server.pem")]


def test_what_is_too_large_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipping, "LARGEST_ARCHIVE", 1000)
    with pytest.raises(ParityError, match="would have to be shipped to each node; to mend: keep data out"):
        shipping.pack_folder(root, everything(root))


# --- a node


def test_an_attempt_leaves_what_it_would_leave_here(root: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    sent = parcel(root, tmp_path / "attempt", recipe={"behaviour": "litters", "elsewhere": str(elsewhere)})
    end, folder = run(sent, tmp_path)
    assert end.outcome.error == ""
    assert end.outcome.record == wire.read_record(folder / "metrics.json")
    left = {
        "run/config.yaml",
        "run/models/final.pt",
        "replay/chunk.npz",
        "progress.csv",
        "data",
        "replay/data",
    }
    assert files(folder) == left | {
        "metrics.json",
        "request.json",
        "stdout.log",
        "stderr.log",
        "isolation.json",
    }
    assert os.readlink(folder / "data") == str(elsewhere)
    assert wire.read_request(str(folder / "request.json")) == sent.request
    assert not [word for word in end.command if word.startswith(str(root))], "nothing here was run"


def test_minimal_retention_brings_what_the_record_lists(root: Path, tmp_path: Path) -> None:
    recipe = {"behaviour": "litters", "elsewhere": "/"}
    _, folder = run(parcel(root, tmp_path / "attempt", keep=("progress.csv",), recipe=recipe), tmp_path)
    own = {"metrics.json", "request.json", "stdout.log", "stderr.log"}
    assert files(folder) == own | {"run/config.yaml", "progress.csv"}


def test_what_is_too_large_stays_on_the_node_and_is_named(root: Path, tmp_path: Path) -> None:
    recipe = {"behaviour": "litters", "elsewhere": "/"}
    end, folder = run(parcel(root, tmp_path / "attempt", largest=2500, recipe=recipe), tmp_path)
    assert len(end.left_out) == 2
    assert end.outcome.success
    text = (folder / LEFT_OUT_FILE).read_text()
    assert all(f"1000 bytes: {name}\n" in text for name in end.left_out)
    assert not set(end.left_out) & files(folder)


def test_what_a_gate_asks_for_comes_back_whatever_its_size(root: Path, tmp_path: Path) -> None:
    """The checkpoint that a live match begins from: without it the run could not be mended by a resume."""
    recipe = {"behaviour": "litters", "elsewhere": "/"}
    plain = parcel(root, tmp_path / "attempt", keep=("*",), largest=0, recipe=recipe)
    end, folder = run(replace(plain, asked=("run/*",)), tmp_path)
    assert {"run/config.yaml", "run/models/final.pt"} <= files(folder)
    assert set(end.left_out) - {"isolation.json"} == {
        "replay/chunk.npz",
        "progress.csv",
        "data",
        "replay/data",
    }


def test_a_launch_that_keeps_all_is_not_limited(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the engine sends it, under both retentions."""
    engine = pytest.importorskip(ENGINE, reason="ray is not installed")
    sent: list[Parcel] = []
    remote = SimpleNamespace(remote=lambda *asked: sent.append(pickle.loads(asked[-1])))
    monkeypatch.setattr(engine.ray, "remote", lambda **_: lambda _: remote)
    made = object.__new__(engine.RayEngine)
    made._cargo = SimpleNamespace(package=None, of=lambda launch: {})
    made._largest, made._session = 0, "s"
    for retention in ("full", "minimal"):
        made._context = SimpleNamespace(root=root, retention=retention)
        one = parcel(root, tmp_path)
        launch = Launch(request(root, tmp_path / retention), tmp_path, one.program,
                        Sealed(one.tree, root, tmp_path), Resources(), "", ("*",), -1)  # fmt: skip
        made._submitted(launch, reserve_on([Node("a", 1, 1)], Resources(), device="cpu", threads=1))
        recipe = {"behaviour": "litters", "elsewhere": "/"}
        asked = replace(sent[-1], request=replace(sent[-1].request, recipe=recipe))
        end, folder = run(asked, tmp_path)
        assert end.left_out == {}
        assert "run/models/final.pt" in files(folder)


def test_a_file_that_cannot_be_read_does_not_come_short(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record beside a torn artifact would be a success that lacks what it lists."""

    def torn(path: Path, offset: int) -> Iterator[bytes]:
        if path.name == "final.pt":
            yield b"half of it"
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        yield from whole(path, offset)

    whole = node._read_from
    monkeypatch.setattr(node, "_read_from", torn)
    recipe = {"behaviour": "litters", "elsewhere": "/"}
    end, folder = run(parcel(root, tmp_path / "attempt", recipe=recipe), tmp_path)
    assert (end.outcome.kind, end.unfit, end.outcome.success) == ("failed", "", False)
    assert "final.pt: Input/output error" in end.outcome.error
    assert not (folder / "metrics.json").exists()


def test_a_file_that_is_gone_when_it_is_read_raises(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        list(node._read_from(tmp_path / "absent", 0))


def test_a_run_that_shares_a_gpu_takes_its_share_of_the_memory(root: Path, tmp_path: Path) -> None:
    """XLA takes nine tenths of what it may have at once; what somebody set stands."""
    name = "XLA_PYTHON_CLIENT_MEM_FRACTION"
    words = ("-c", f"import os; print(os.environ.get({name!r}))")
    seen: list[str] = []
    for share, set_to in ((0.25, {}), (1.0, {}), (0.25, {name: "0.7"})):
        side = CommandSide("x", (sys.executable, *words), "fake", "x", ".", set_to, None, {}, None)
        program = CommandProgram(root, "x", "command", "fake", "worldflux", {"alpha": side})
        sent = replace(parcel(root, tmp_path / f"a{len(seen)}"), program=program, tree=Tree({}), share=share)
        _, folder = run(sent, tmp_path)
        seen.append((folder / "stdout.log").read_text().strip())
    assert seen == ["0.225", "None", "0.7"]


def test_a_failure_says_what_it_says_here(root: Path, tmp_path: Path) -> None:
    end, folder = run(parcel(root, tmp_path / "attempt", recipe={"behaviour": "crash"}), tmp_path)
    assert (end.outcome.kind, end.outcome.return_code, end.metrics) == ("failed", 3, None)
    assert end.outcome.error == "fake_worldflux: exit status 3: ValueError: the replay buffer is empty"
    assert "program: crash for alpha seed 1" in (folder / "stderr.log").read_text()


def test_an_attempt_that_is_left_runs_on_nowhere(root: Path, tmp_path: Path) -> None:
    """As by Ctrl-C or a cancelled task: the program and its children have ended once the generator has."""
    recipe = {"behaviour": "family", "until": str(tmp_path / "never")}
    sent, cache = parcel(root, tmp_path / "attempt", recipe=recipe), tmp_path / "cache"
    events = node.run_on_node(sent, {root: root}, cache, HOST)
    assert isinstance(next(events), Started)
    told: list[Any] = []

    def pids() -> list[int]:
        texts = [p.read_text() for p in cache.glob("sessions/*/attempts/*/*pid")]
        return [int(t) for t in texts if t]

    follower = threading.Thread(target=lambda: told.append(next(events)))
    follower.start()
    wait_until(lambda: len(pids()) == 3, "the program and its children")
    follower.join()
    running = pids()
    events.close()
    wait_until(lambda: not [p for p in running if alive(p)], "their end", 10)
    assert isinstance(told[0], FilePart)
    assert not list(cache.glob("sessions/*/attempts/*"))


def test_what_a_killed_session_left_is_removed(root: Path, tmp_path: Path) -> None:
    left = tmp_path / "cache" / "sessions" / "0badcafe"
    left.mkdir(parents=True)
    (left / "replay").write_text("")
    left.with_suffix(".lock").write_text("")
    run(parcel(root, tmp_path / "attempt"), tmp_path)
    assert not left.exists()


def own_environment(root: Path, **changes: str) -> Backend:
    path = root / "backends" / "fake_worldflux" / "backend.yaml"
    text = path.read_text().replace("environment: shared", 'environment: own\npython: "3.4"')
    path.write_text(text)
    return replace(load_backends([root / "backends"])["fake_worldflux"], **changes)


def test_an_environment_that_cannot_be_built_is_one_line_of_the_node(root: Path, tmp_path: Path) -> None:
    sent = replace(parcel(root, tmp_path / "attempt"), program=own_environment(root))
    end, _ = run(sent, tmp_path)
    assert (end.outcome.kind, end.unfit) == ("node_lost", "program"), "another node may have that Python"
    assert end.outcome.error.startswith("node far-away: ")
    assert "the environment of backend fake_worldflux cannot be built: " in end.outcome.error
    assert "to mend: on the node, put python3.4 on the PATH" in end.outcome.error
    assert "\n" not in end.outcome.error


def test_a_cache_that_cannot_be_written_is_the_nodes_lack(root: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    sent = parcel(root, tmp_path / "attempt")
    *_, end = node.run_on_node(sent, {root: root}, tmp_path / "file" / "cache", HOST)
    assert isinstance(end, Ended)
    assert (end.outcome.kind, end.unfit) == ("node_lost", "node")
    assert end.outcome.error.startswith("node far-away: ")


def test_a_placeholder_without_a_value_is_no_nodes_lack(root: Path, tmp_path: Path) -> None:
    side = CommandSide("x", ("prog", "{worldflux_sha}"), "fake", "x", ".", {}, None, {}, None)
    program = CommandProgram(root, "x", "command", "fake", "worldflux", {"alpha": side})
    end, _ = run(replace(parcel(root, tmp_path / "attempt"), program=program), tmp_path)
    assert (end.outcome.kind, end.unfit) == ("failed", ""), end


def test_an_environment_is_built_on_the_node_once(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the cache, by its requirements: a later version of the project leaves it in peace."""
    program = own_environment(root)
    built: list[Path] = []

    def create(backend: Backend, place: Path) -> bool:
        folder = backend.environment_dir(place)
        (folder / "bin").mkdir(parents=True)
        (folder / "bin" / "python").symlink_to(sys.executable)
        marker = {"requirements_sha256": backend.requirements_sha256}
        (folder / "complete.json").write_text(wire.canonical_json(marker))
        built.append(folder)
        return True

    monkeypatch.setattr(node.venvs, "create", create)
    for name in ("first", "second"):
        end, _ = run(replace(parcel(root, tmp_path / name), program=program), tmp_path)
        assert end.outcome.error == ""
        assert end.command[0].startswith(str(built[0]))
    other = replace(program, requirements=("x==1",))
    run(replace(parcel(root, tmp_path / "third"), program=other), tmp_path)
    assert len(set(built)) == 2
    assert all(p.is_relative_to(tmp_path / "cache" / "environments") for p in built)


def test_paths_of_the_controller_are_exchanged(root: Path, tmp_path: Path) -> None:
    """Of the checkout, of a manifest's folder and of the project, whose copy knows its commit."""
    checkout = root / ".worldflux" / "sources" / "o+n" / "c0ffee"
    there, elsewhere, folder = tmp_path / "there" / "project", tmp_path / "c" / "c0ffee", tmp_path / "attempt"
    there.mkdir(parents=True)
    commit = "d00d" * 10
    (there / COMMIT).write_text(commit)
    words = ("prog", "--root", "{repo_root}", "--sha", "{worldflux_sha}", "--out", "{metrics_out}")
    side = CommandSide("x", words, "fake", "x", "../scripts", {}, None, {}, None)
    program = CommandProgram(
        root / "suites", "fake_worldflux", "command", "fake", "worldflux", {"alpha": side}
    )
    asked = request(root, folder, source={"checkout": str(checkout), "commit": "c0ffee"})
    sent = Parcel(asked, program, root, Tree({}), (), 0)
    moved, copy, place = node.move_paths(sent, {checkout: elsewhere, root: there}, tmp_path / "cache", folder)
    assert moved.source == {"checkout": str(elsewhere), "commit": "c0ffee"}
    assert isinstance(copy, CommandProgram)
    assert copy.working_folder(moved, place) == there / "scripts"
    metrics = str(folder / "metrics.json")
    assert copy.command(moved, place) == ["prog", "--root", str(there), "--sha", commit, "--out", metrics]
    assert project_commit(there) == commit


# --- what comes back


@pytest.mark.parametrize("name", ["/etc/x", "../x", "a/../../x", "", "a\0b"])
def test_a_node_writes_nowhere_else(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "attempt"
    folder.mkdir()
    delivery = Delivery(folder, request(tmp_path, folder))
    for event in (FilePart(name, b"x", first=False), FilePart(name, b"x"), FilePart(name, link="/")):
        with pytest.raises(RunFailed, match="a node sent a file named"):
            delivery.take(event)
    assert {p.name for p in tmp_path.rglob("*")} == {"attempt", "request.json", "stdout.log", "stderr.log"}


@pytest.mark.parametrize("name", ["request.json", "metrics.json", "./metrics.json"])
def test_what_the_controller_writes_is_no_file_of_a_node(tmp_path: Path, name: str) -> None:
    """Another record or request is as good as a forged result; below a folder such a name is any other."""
    (tmp_path / "attempt").mkdir()
    delivery = Delivery(tmp_path / "attempt", request(tmp_path, tmp_path / "attempt"))
    asked = (tmp_path / "attempt" / "request.json").read_bytes()
    for event in (
        FilePart(name, b"{}", first=False),
        FilePart(name, b"{}"),
        FilePart(name, link="/dev/null"),
    ):
        with pytest.raises(RunFailed, match="a node sent a file named"):
            delivery.take(event)
    assert (tmp_path / "attempt" / "request.json").read_bytes() == asked
    delivery.take(FilePart(f"run/{name}", b"{}"))
    assert files(tmp_path / "attempt") == {"request.json", "stdout.log", "stderr.log", f"run/{Path(name)}"}


def test_a_record_is_not_written_through_a_link_that_a_node_sent(tmp_path: Path) -> None:
    victim, folder = tmp_path / "victim", tmp_path / "attempt"
    victim.write_text("precious")
    folder.mkdir()
    delivery = Delivery(folder, request(tmp_path, folder))
    for name in (".metrics.json.partial", FAILED_RECORD, LEFT_OUT_FILE):
        delivery.take(FilePart(name, link=str(victim)))
    failed = runner.Outcome(None, "", 1, 0.0)
    delivery.finish(Ended(failed, metrics=b"other", left_out={"x": 1}))
    assert victim.read_text() == "precious"
    assert (folder / FAILED_RECORD).read_bytes() == b"other"


def test_no_link_is_made_below_another(tmp_path: Path) -> None:
    folder, outside = tmp_path / "attempt", tmp_path / "outside"
    folder.mkdir()
    outside.mkdir()
    delivery = Delivery(folder, request(tmp_path, folder))
    delivery.take(FilePart("a", link=str(outside)))
    delivery.take(FilePart("a/b/c", link="anywhere"))
    with pytest.raises(RunFailed, match="a node sent a link below another"):
        delivery.finish(Ended(runner.Outcome(None, "", 1, 0.0), metrics=b"{}"))
    assert not list(outside.iterdir())
    assert not (folder / "metrics.json").exists()


def test_the_record_of_a_failed_attempt_is_no_record_before_its_line(root: Path, tmp_path: Path) -> None:
    """Who finds metrics.json after the controller was killed takes the attempt for a success."""
    program = root / "backends" / "program.py"
    text = program.read_text()
    assert "def crash(request):\n" in text
    program.write_text(text.replace("def crash(request):\n", "def crash(request):\n    ok(request)\n"))
    end, folder = run(parcel(root, tmp_path / "attempt", recipe={"behaviour": "crash"}), tmp_path)
    assert (end.outcome.kind, end.outcome.return_code) == ("failed", 3)
    assert (folder / FAILED_RECORD).read_bytes() == end.metrics
    assert wire.read_record(folder / FAILED_RECORD).success
    assert answer_in(folder) is None


def test_nothing_is_written_through_a_link_that_a_node_sent(tmp_path: Path) -> None:
    folder, outside = tmp_path / "attempt", tmp_path / "outside"
    folder.mkdir()
    outside.mkdir()
    delivery = Delivery(folder, request(tmp_path, folder))
    delivery.take(FilePart("data", link=str(outside)))
    delivery.take(FilePart("data/x", b"x"))
    delivery.finish(Ended(runner.Outcome(None, "", 1, 0.0)))
    assert not list(outside.iterdir())


# --- where a run may go


def test_reservations() -> None:
    nodes = [Node("a", 8, 2, 24.0), Node("b", 4, 4, 80.0), Node("c", 16, 0)]
    one = reserve_on(nodes, Resources(), device="cuda", threads=2)
    assert (one.cpus, one.gpus, one.only) == (2, 1, "")
    assert one.never == ("c",)
    third = reserve_on(nodes, Resources(), device="cuda", threads=1, slots=3)
    assert 3 * third.gpus <= 1 < 3 * third.gpus + 0.001
    assert round(third.share, 3) == 0.333
    alone = reserve_on(nodes, Resources(), device="cuda", threads=1, slots=3, alone="gpus")
    assert (alone.gpus, alone.share) == (1, 1)
    machine = reserve_on(nodes, Resources(), device="cuda", threads=1, alone="machine")
    assert (machine.only, machine.cpus) == ("a", 8)
    assert reserve_on(nodes, Resources(), device="cpu", threads=1, slots=3).share == 1
    big = reserve_on(nodes, Resources(1, 40.0), device="cuda", threads=1, slots=4)
    assert (big.never, big.gpus) == (("a", "c"), 0.5)
    assert reserve_on(nodes, Resources(3), device="cuda", threads=1, slots=4).gpus == 3
    avoiding = reserve_on(nodes, Resources(), device="cuda", threads=1, avoided=["a"])
    assert avoiding.never == ("a", "c")
    assert reserve_on(nodes, Resources(), device="cuda", threads=1, avoided=["a", "b"]).never == ("c",)
    with pytest.raises(
        ParityError, match=r"5 GPU\(s\) are asked for on one node, and the node with the most has 4"
    ):
        reserve_on(nodes, Resources(5), device="cuda", threads=1)
    with pytest.raises(ParityError, match=r"1 GPU\(s\) of 90 GB"):
        reserve_on(nodes, Resources(1, 90.0), device="cuda", threads=1)
    assert (
        cluster_width(nodes, "cuda", 1),
        cluster_width(nodes, "cpu", 1),
        cluster_width([], "cuda", 1),
    ) == (6, 28, 1)


def test_a_node_hides_what_the_controller_does(root: Path, tmp_path: Path) -> None:
    """It may be the same machine, or share its files."""
    asked = Walls("require", hidden=(root,), runs=(root / "runs",), tables=(root / "table",))
    walls = node._walls_here(replace(parcel(root, tmp_path), walls=asked), tmp_path / "cache")
    assert {tmp_path / "cache", root} <= {*walls.hidden}
    assert {tmp_path / "cache" / "sessions", root / "runs"} <= {*walls.runs}
    assert walls.tables == (root / "table",)


def engine_on(nodes: list[Node], root: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A Ray engine that has joined a cluster of such nodes."""
    module = pytest.importorskip(ENGINE, reason="ray is not installed")
    listed = [
        {"Alive": True, "NodeID": n.node_id, "Resources": {"CPU": n.cpus, "GPU": n.gpus}} for n in nodes
    ]
    monkeypatch.setattr(module.ray, "nodes", lambda: listed)
    monkeypatch.setattr(module, "_join_cluster", lambda address: False)
    monkeypatch.setattr(module._Cargo, "_put", staticmethod(lambda archive: None))
    return module.RayEngine(
        SimpleNamespace(engine_settings={}, root=root, backend_folders=(), sign_key=None, device="cpu")
    )


def launch_of(root: Path, **changes: Any) -> Launch:
    sent = parcel(root, root, **changes)
    sealed = Sealed(sent.tree, root, root / ".program")
    return Launch(sent.request, root, sent.program, sealed, Resources(), "", (), -1)


def test_what_a_node_lacks_is_told_once_and_keeps_away_whom_it_concerns(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that no node can build leaves the nodes to the others, and fails once that is known."""
    engine = engine_on([Node("a", 4, 0), Node("b", 4, 0)], root, monkeypatch)
    module = sys.modules[type(engine).__module__]
    one, two, three = (launch_of(root, seed=i) for i in range(3))
    other = launch_of(root, adapter="fake_official", system="official")

    def lost(launch: Launch, node_id: str, unfit: str) -> bool:
        flight = module._RayFlight(launch.request.adapter, None, None, 0.0, node_id, f"host-{node_id}")
        told: bool = engine._is_told(launch, flight, module._Lost(f"{node_id} has no pip", unfit=unfit))
        return told

    assert lost(one, "a", "program")
    assert not lost(two, "a", "program"), "it was on its way there"
    assert engine._reserved(three).never == ("a",)
    assert engine._reserved(other).never == ()
    assert not lost(one, "b", "program"), "a run pays for one such node at the most"
    monkeypatch.setattr(module, "NODE_WAIT_SEC", 0.0)
    for launch in (one, two, three):
        with pytest.raises(
            ParityError, match=r"cannot be used: 2 \(a has no pip \| b has no pip\); to mend: "
        ):
            engine._reserved(launch)
    assert engine._reserved(other).never == ()
    assert lost(other, "a", "node")
    assert engine._reserved(other).never == ("a",)


def test_runs_that_no_node_fits_wait_together(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not one after the other: a thousand of them are told as soon as the first; a new node serves all."""
    engine = engine_on([], root, monkeypatch)
    module = sys.modules[type(engine).__module__]
    clock = [0.0]
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    waits: list[float] = []

    def wait(seconds: float) -> bool:
        waits.append(seconds)
        clock[0] += 10.0
        return False

    monkeypatch.setattr(engine._stopping, "wait", wait)
    for seed in range(3):
        with pytest.raises(ParityError, match="no node of the cluster has a CPU"):
            engine._reserved(launch_of(root, seed=seed))
    assert len(waits) == 4, "of the first alone"
    node = {"Alive": True, "NodeID": "n", "Resources": {"CPU": 1.0}}
    monkeypatch.setattr(module.ray, "nodes", lambda: [node])
    assert engine._reserved(launch_of(root)).cpus == 1
    monkeypatch.setattr(module.ray, "nodes", list)
    with pytest.raises(ParityError):
        engine._reserved(launch_of(root))
    assert len(waits) == 8


class Stream:
    """What Ray gives of a task that tells things and, unless it is killed, does not end."""

    def __init__(self) -> None:
        self.cancelled: list[bool] = []

    def completed(self) -> str:
        return "its end"

    def __next__(self) -> str:
        assert not self.cancelled, "waits for the end of the task, whenever that is"
        return "told"

    def wait(self, refs: list[Any], timeout: float, fetch_local: bool = True) -> tuple[list[Any], list[Any]]:
        ended = refs != ["its end"] or True in self.cancelled
        return (refs, []) if ended else ([], refs)

    def cancel(self, _: Any, force: bool) -> None:
        self.cancelled.append(force)

    def get(self, _: Any, timeout: float) -> Any:
        raise sys.modules["ray"].exceptions.GetTimeoutError


def flight_on(node_id: str, engine: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An attempt of a fake stream, in place of Ray, that is on a node."""
    module, stream = sys.modules[type(engine).__module__], Stream()
    for name in ("wait", "cancel", "get"):
        monkeypatch.setattr(module.ray, name, getattr(stream, name))
    return module._RayFlight("fake_official", stream, None, 0.0, node_id, "host")


@pytest.mark.parametrize("moment", ["before", "while something is fetched"])
def test_an_attempt_that_does_not_heed_ctrl_c_is_ended_with_its_worker(
    root: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    engine = engine_on([Node("a", 4, 0)], root, monkeypatch)
    flight = flight_on("a", engine, monkeypatch)
    seen = iter([moment == "before", True])
    monkeypatch.setattr(engine._stopping, "is_set", lambda: next(seen))
    with pytest.raises(KeyboardInterrupt):
        next(engine._events(flight))
    assert flight.stream.cancelled == [False, True]


def test_what_a_lost_node_held_is_not_waited_for(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = engine_on([Node("a", 4, 0)], root, monkeypatch)
    flight = flight_on("b", engine, monkeypatch)
    with pytest.raises(ParityError, match="its node was lost") as lost:
        next(engine._events(flight))
    assert lost.value.died == "b"  # type: ignore[attr-defined]
    assert not flight.stream.cancelled


@given(
    st.lists(st.tuples(st.integers(0, 64), st.integers(0, 8)), max_size=5),
    st.integers(1, 4), st.integers(1, 16), st.integers(1, 64), st.sampled_from(["", "gpus", "machine"]),
    st.sets(st.sampled_from("01234")), st.sampled_from(["cpu", "cuda"]),
)  # fmt: skip
def test_what_is_reserved_can_be_had(
    sizes: list[tuple[int, int]],
    gpus: int,
    threads: int,
    slots: int,
    alone: Any,
    avoided: set[str],
    device: str,
) -> None:
    """Some node can give it, none that is to be avoided where another can, and slots never overfill a GPU."""
    nodes = [Node(str(i), cpus, count) for i, (cpus, count) in enumerate(sizes)]
    wanted = gpus if device == "cuda" else 0
    able = [n for n in nodes if n.cpus and n.gpus >= wanted]
    if not able:
        with pytest.raises(ParityError):
            reserve_on(nodes, Resources(gpus), device=device, threads=threads, slots=slots, alone=alone)
        return
    got = reserve_on(
        nodes, Resources(gpus), device=device, threads=threads, slots=slots, alone=alone, avoided=avoided
    )
    assert [n for n in nodes if got.fits(n)]
    better = {n.node_id for n in able} - avoided
    if better:
        assert {n.node_id for n in nodes if got.fits(n)} <= better
    assert got.gpus == wanted or (wanted == 1 and slots * got.gpus <= 1)
    assert 0 < got.cpus <= max(threads, max(n.cpus for n in able))


def events_are_plain() -> Iterator[Any]:
    yield from (Started(("a",)), FilePart("x"), Ended(None))  # type: ignore[arg-type]


def test_events_travel() -> None:
    assert [pickle.loads(pickle.dumps(e)) for e in events_are_plain()] == list(events_are_plain())
