"""No bytecode runs but what a start or the session has compiled, whatever lies beside the sources."""

from __future__ import annotations

import errno
import importlib.util
import json
import marshal
import os
import py_compile
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_worldflux_parity import wire
from pytest_worldflux_parity.errors import BackendError
from pytest_worldflux_parity.execution import bytecode, copies, isolation, launching, runner
from pytest_worldflux_parity.execution.bytecode import find_altered
from pytest_worldflux_parity.execution.ray import bootstrap
from pytest_worldflux_parity.inputs.backends import Backend, load_backends
from pytest_worldflux_parity.inputs.trees import backend_tree, base_of
from tests.execution.walls import needs_walls

VERSION = f"python{sys.version_info.major}.{sys.version_info.minor}"
BACKEND = """
adapter: own
kind: fake
family: fake
system: worldflux
argv: ["{python}", "-m", "backends.own"]
environment: shared
requirements: []
"""
# Tells what `seen` of its own modules and of packages is.
MAIN = """
import json, sys
from backends.own import values
import lib
json.dump({"lib": lib.value, "own": values.value}, open(sys.argv[1] + ".seen", "w"))
"""
HONEST, PLANTED = "value = 'honest'\n", "value = 'planted'\n"


class Programs:
    """A project with one backend, and a virtual environment in which ``lib`` is installed."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        made = [sys.executable, "-I", "-m", "venv", "--without-pip", str(folder / "venv")]
        subprocess.run(made, check=True)
        self.site = folder / "venv" / "lib" / VERSION / "site-packages"
        self.root, self.place, self.out = folder / "project", folder / ".program", folder / "out"
        # What the last start compiled for itself.
        self.compiled: set[str] = set()
        self.out.mkdir()
        self.package = self.root / "backends" / "own"
        self.write(self.package / "backend.yaml", BACKEND)
        self.write(self.package / "__init__.py", "")
        self.write(self.package / "__main__.py", MAIN)
        self.write(self.package / "values.py", HONEST)
        self.write(self.site / "lib.py", HONEST)
        python = folder / "venv" / "bin" / "python"
        monkeypatch.setattr(Backend, "interpreter", lambda self, root: python)

    def write(self, path: Path, text: str) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def sealed(self) -> launching.Sealed:
        return launching.seal_program_now(self.backend(), self.root, self.place)

    def backend(self) -> Backend:
        return load_backends([self.root / "backends"])["own"]

    def request(self) -> wire.RunRequest:
        return wire.RunRequest(
            request_id="0" * 64, run_id="r", suite_id="s", family="fake", task_id="alpha", seed=1,
            system="worldflux", adapter="own", device="cpu", recipe={}, eval_protocol={},
            out_dir=str(self.out), deadline_sec=60.0,
        )  # fmt: skip

    def start(
        self,
        sealed: launching.Sealed,
        fails: bool = False,
        backend: Backend | None = None,
        meanwhile: Callable[[Path], object] = lambda folder: None,
    ) -> dict[str, Any]:
        """What a start has seen."""
        with launching.start_program(backend or self.backend(), self.request(), self.root, sealed) as start:
            # Of a command there is no boot file; it starts in its copy.
            boot = [Path(w).parent for w in start.command if w.endswith("/boot.py")]
            folder = boot[0] if boot else Path(start.env["PYTHONPATH"].split(":")[0]).parent
            meanwhile(folder)
            done = subprocess.run(
                start.command,
                env=start.env,
                cwd=self.out,
                capture_output=True,
                text=True,
                check=False,
                timeout=120,
            )
            assert (done.returncode != 0) == fails, done.stderr
            self.compiled = {p.name.partition(".")[0] for p in (folder / "bytecode").rglob("*.pyc")}
        return {} if fails else json.loads((self.out / "request.json.seen").read_text("utf-8"))

    def layers(self) -> list[Path]:
        return sorted((self.place / "bytecode").glob("*/*"))


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Programs:
    # What these programs compile would not be worth a process.
    monkeypatch.setattr(bytecode, "WORTH_BYTES", 1)
    return Programs(tmp_path.resolve(), monkeypatch)


def plant(source: Path, at: Path, mode: str) -> None:
    """Put bytecode of another text where Python takes it for that of ``source``."""
    code = marshal.dumps(compile(PLANTED, str(source), "exec"))
    found = source.stat()
    text = source.read_bytes()
    fields = {
        "timestamped": (0).to_bytes(4, "little")
        + int(found.st_mtime).to_bytes(4, "little")
        + len(text).to_bytes(4, "little"),
        "checked": (3).to_bytes(4, "little") + importlib.util.source_hash(text),
        "unchecked": (1).to_bytes(4, "little") + b"whatever",
    }
    at.parent.mkdir(parents=True, exist_ok=True)
    at.write_bytes(importlib.util.MAGIC_NUMBER + fields[mode] + code)


def beside(source: Path) -> Path:
    return source.parent / "__pycache__" / f"{source.stem}.{sys.implementation.cache_tag}.pyc"


MODES = ["timestamped", "checked", "unchecked"]


@pytest.mark.parametrize("mode", MODES)
def test_what_lies_beside_packages_does_not_run(programs: Programs, mode: str) -> None:
    lib = programs.site / "lib.py"
    plant(lib, beside(lib), mode)
    python = programs.backend().interpreter(programs.root)
    plain = subprocess.run(
        [python, "-c", "import lib; print(lib.value)"], capture_output=True, text=True, check=True
    )
    assert plain.stdout == "planted\n", "it would run"
    sealed = programs.sealed()
    for _ in range(2):
        assert programs.start(sealed) == {"lib": "honest", "own": "honest"}


@pytest.mark.parametrize("mode", MODES)
def test_what_lies_beside_a_checkout_does_not_run(programs: Programs, mode: str) -> None:
    checkout = programs.write(programs.root / "checkout" / "theirs.py", HONEST)
    plant(checkout, beside(checkout), mode)
    first = f"import sys\nsys.path.insert(0, {str(checkout.parent)!r})\nimport theirs\n"
    main = MAIN.replace('"own": values.value', '"own": theirs.value')
    programs.write(programs.package / "__main__.py", first + main)
    sealed = programs.sealed()
    for _ in range(2):
        assert programs.start(sealed)["own"] == "honest"


def test_bytecode_without_source_is_no_part_of_a_program(programs: Programs) -> None:
    (programs.package / "values.py").unlink()
    programs.write(programs.root / "values.py", PLANTED)
    py_compile.compile(str(programs.root / "values.py"), str(programs.package / "values.pyc"))
    programs.start(programs.sealed(), fails=True)


def test_later_starts_compile_nothing(programs: Programs) -> None:
    sealed = programs.sealed()
    first = programs.start(sealed)
    assert {"lib", "values"} <= programs.compiled
    again = programs.start(sealed)
    assert again == first == {"lib": "honest", "own": "honest"}
    assert not programs.compiled
    assert len(programs.layers()) == 1
    assert not find_altered(programs.place)
    # The time of a source says nothing, what is in it does.
    os.utime(programs.site / "lib.py", (1, 1))
    programs.start(sealed)
    assert not programs.compiled


def test_a_source_that_has_changed_is_compiled_anew(programs: Programs) -> None:
    """Also where neither its size nor its time says so."""
    sealed, lib = programs.sealed(), programs.site / "lib.py"
    programs.start(sealed)
    before = lib.stat()
    lib.write_text(HONEST.replace("honest", "better"), encoding="utf-8")
    os.utime(lib, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert programs.start(sealed)["lib"] == "better"
    assert programs.compiled == {"lib"}
    assert programs.start(sealed)["lib"] == "better"
    assert not programs.compiled


def test_what_a_start_needs_more_is_added(programs: Programs) -> None:
    programs.write(programs.site / "more.py", HONEST)
    sealed = programs.sealed()
    programs.start(sealed)
    with_more = replace(programs.backend(), argv=("{python}", "-c", "import sys, lib, more\n" + MAIN))
    programs.start(sealed, backend=with_more)
    assert programs.compiled == {"more"}
    programs.start(sealed, backend=with_more)
    assert not programs.compiled
    assert len(programs.layers()) == 2


def test_few_modules_are_not_worth_a_process(programs: Programs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bytecode, "WORTH_BYTES", 10**9)
    programs.start(programs.sealed())
    assert not programs.layers()


def test_another_program_has_layers_of_its_own(programs: Programs) -> None:
    programs.start(programs.sealed())
    kept = [*(programs.place / "bytecode").iterdir()]
    programs.write(programs.package / "more.py", HONEST)
    tree = backend_tree(programs.backend(), programs.root)
    source = copies.seal_copy(programs.place, tree, base_of(programs.backend(), programs.root))
    programs.start(launching.Sealed(tree, source, programs.place))
    assert "lib" in programs.compiled
    assert len([*(programs.place / "bytecode").iterdir()]) == len(kept) + 1


def layer_file(programs: Programs, name: str) -> Path:
    [path] = (programs.place / "bytecode").rglob(f"{name}.*.pyc")
    return path


@pytest.mark.parametrize("times", ["new", "old"])
def test_a_file_that_was_changed_does_not_run_and_its_layer_is_named(programs: Programs, times: str) -> None:
    sealed = programs.sealed()
    programs.start(sealed)
    path, lib = layer_file(programs, "lib"), programs.site / "lib.py"
    before, layers = path.stat(), programs.layers()
    plant(lib, path, "checked")
    if times == "old":
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert programs.start(sealed)["lib"] == "honest"
    assert find_altered(programs.place) == [layers[0].relative_to(programs.place).as_posix()]


def test_a_file_that_was_changed_and_changed_back_is_named(programs: Programs) -> None:
    programs.start(programs.sealed())
    path = layer_file(programs, "lib")
    data = path.read_bytes()
    path.write_bytes(b"")
    path.write_bytes(data)
    assert find_altered(programs.place) == [programs.layers()[0].relative_to(programs.place).as_posix()]


def test_a_file_that_was_added_does_not_run_and_its_layer_is_named(programs: Programs) -> None:
    sealed = programs.sealed()
    programs.start(sealed)
    extra = programs.write(programs.site / "extra.py", HONEST)
    layers = programs.layers()
    plant(extra, layer_file(programs, "lib").with_name(beside(extra).name), "unchecked")
    code = "import sys, json, extra\njson.dump(extra.value, open(sys.argv[1] + '.seen', 'w'))"
    assert (
        programs.start(sealed, backend=replace(programs.backend(), argv=("{python}", "-c", code))) == "honest"
    )
    assert find_altered(programs.place) == [layers[0].relative_to(programs.place).as_posix()]


def test_a_program_learns_nothing_of_sources_that_it_names_and_may_not_read(programs: Programs) -> None:
    """Nor of one that a link among its packages leads to."""
    secret = programs.write(programs.root / "secret" / "scores.py", "value = 'secret'\n")
    (programs.site / "linked").symlink_to(secret.parent)

    def named(folder: Path) -> None:
        two_lines = Path(f"{programs.site}/linked\n{secret.parent}")
        for at in (secret.parent, programs.site / "linked", folder / "program" / "secret", two_lines):
            path = Path(f"{folder}/bytecode{at}/{beside(secret).name}")
            path.parent.mkdir(parents=True)
            path.write_bytes(b"\0" * 99)

    programs.start(programs.sealed(), meanwhile=named)
    assert programs.layers()
    assert not list((programs.place / "bytecode").rglob("scores.*"))


@pytest.mark.parametrize("option", [("-O",), ("-OO",), ("-X", "faulthandler")])
def test_options_of_python_have_bytecode_of_their_own(programs: Programs, option: tuple[str, ...]) -> None:
    backend = programs.backend()
    other = replace(backend, argv=("{python}", *option, *backend.argv[1:]))
    sealed = programs.sealed()
    programs.start(sealed, backend=other)
    assert {"lib", "values"} <= programs.compiled
    programs.start(sealed, backend=other)
    assert not programs.compiled


@needs_walls
def test_a_program_within_walls_reads_its_layers_and_cannot_write_them(programs: Programs) -> None:
    write = "for at, _, _ in os.walk(os.environ['LAYERS']): open(at + '/planted', 'w')\n"
    main = f"import os\ntry:\n    {write}except OSError as error:\n    print(error.errno)\n"
    code = main + "import lib\n"
    backend = replace(programs.backend(), argv=("{python}", "-c", code))
    walls = isolation.Walls("require", hidden=(programs.root, programs.place))
    sealed = replace(programs.sealed(), walls=walls)
    said = []
    for _ in range(2):
        with launching.start_program(backend, programs.request(), programs.root, sealed) as start:
            env = {**start.env, "LAYERS": str(programs.place / "bytecode")}
            status = runner.execute(replace(start, env=env), programs.out, 60, where="", hint="")
            [plan] = (programs.place / "starts").glob("*/boot.json")
            compiled = [*plan.parent.rglob("lib.*.pyc")]
        assert status == 0, runner.log_tail(programs.out)
        said.append(((programs.out / "stdout.log").read_text("utf-8"), len(compiled)))
    assert said == [("", 1), (f"{errno.EROFS}\n", 0)]
    assert not find_altered(programs.place)


def test_bytes_that_a_program_wrote_are_never_taken(programs: Programs) -> None:
    """Its own folder for bytecode is its own: what it plants there, nobody else reads."""
    sealed, lib = programs.sealed(), programs.site / "lib.py"

    def planted(folder: Path) -> None:
        plant(lib, Path(f"{folder}/bytecode{lib.parent}/lib.{sys.implementation.cache_tag}.pyc"), "unchecked")

    assert programs.start(sealed, meanwhile=planted)["lib"] == "planted", "it harms itself"
    assert programs.start(sealed)["lib"] == "honest"


def test_a_program_that_changed_its_copy_changes_no_other_start(programs: Programs) -> None:
    sealed = programs.sealed()

    def changed(folder: Path) -> None:
        path = folder / "program" / "backends" / "own" / "values.py"
        before = path.stat()
        path.write_text("value = 'sneaky'\n", encoding="utf-8")
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    assert programs.start(sealed, meanwhile=changed)["own"] == "sneaky"
    assert programs.start(sealed)["own"] == "honest"


# A module of its own: children do not import the main module of a package.
WORK = """
import multiprocessing, sys

def seen(_=None):
    import lib
    from backends.own import values
    return [lib.value, values.value, sys.prefix]

def grandchild(_=None):
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.map(seen, [0])[0]
"""
CHILDREN = """
import json, multiprocessing, subprocess, sys
from concurrent.futures import ProcessPoolExecutor
from backends.own.work import grandchild, seen

if __name__ == "__main__":
    found = {}
    for how in ("spawn", "fork", "forkserver"):
        with multiprocessing.get_context(how).Pool(1) as pool:
            found[how] = pool.map_async(seen, [0]).get(60)[0]
    for name, work in (("futures", seen), ("grandchild", grandchild)):
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            found[name] = list(pool.map(work, [0], timeout=60))[0]
    out = subprocess.check_output([sys.executable, "-m", "backends.own.helper"], text=True)
    found["program"] = json.loads(out)
    json.dump(found, open(sys.argv[1] + ".seen", "w"))
"""
HELPER = """
import json, sys
import lib
from backends.own import values
from pytest_worldflux_parity import wire
print(json.dumps([lib.value, values.value, sys.prefix]))
"""


def test_children_read_no_other_bytecode(programs: Programs) -> None:
    lib = programs.site / "lib.py"
    plant(lib, beside(lib), "unchecked")
    programs.write(programs.package / "__main__.py", CHILDREN)
    programs.write(programs.package / "work.py", WORK)
    programs.write(programs.package / "helper.py", HELPER)
    sealed = programs.sealed()
    right = ["honest", "honest", str(programs.site.parents[2])]
    for _ in range(2):
        seen = programs.start(sealed)
        assert seen == dict.fromkeys(seen, right)


def test_a_command_reads_no_bytecode_beside_sources(programs: Programs) -> None:
    """Of a program that is started by another than Python: what Python it starts compiles anew."""
    lib = programs.site / "lib.py"
    plant(lib, beside(lib), "timestamped")
    python = programs.backend().interpreter(programs.root)
    shell = replace(programs.backend(), argv=("sh", "-c", f'{python} -m backends.own "$0"'))
    assert programs.start(programs.sealed(), backend=shell) == {"lib": "honest", "own": "honest"}


def test_a_backend_cannot_name_another_folder_for_bytecode(programs: Programs) -> None:
    backend = programs.backend()
    moved = replace(backend, argv=("{python}", "-X", "pycache_prefix=/tmp", *backend.argv[1:]))
    with pytest.raises(BackendError, match="an option of Python"), ExitStack():
        programs.start(programs.sealed(), backend=moved)


def test_what_a_node_keeps_is_the_sessions_alone(tmp_path: Path) -> None:
    """And goes once nothing of that session runs there."""
    cache = tmp_path / "cache"
    with bootstrap.session_folder(cache, "first") as first:
        with bootstrap.session_folder(cache, "first") as again:
            assert again == first
        with bootstrap.session_folder(cache, "second") as second:
            assert second != first
            assert first.is_dir(), "something of it runs"
    with bootstrap.session_folder(cache, "second"):
        assert not first.exists()
