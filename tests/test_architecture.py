"""The rules of the layout, read off the syntax trees: who may import whom, and how long a function is.

``ROOMS`` is the whole order: imports only point to the right of a room's own place.
"""

from __future__ import annotations

import ast
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests import sizes
from tests.sizes import CHECKOUT, PACKAGE, sources

NAME = PACKAGE.name

ROOMS = (
    "plugin",
    "cli",
    "session",
    "release",
    "evidence",
    "reporting",
    "judgement",
    "execution",
    "inputs",
    "suite",
    "schemas",
    "wire",
    "errors",
)
# Besides the rooms: the face of the package, its marker for type checkers, and its page.
BESIDE = {"__init__.py", "py.typed", "README.md"}
MOST_ENTRIES = 16
MOST_FLOORS = 9

# What decides: modules and folders, by their dotted names within the package.
PURE = (
    "errors",
    "suite.suite",
    "suite.pairs",
    "suite.campaign",
    "suite.claims",
    "suite.proof",
    "suite.proof_settings",
    "suite.manifest",
    "suite.commands",
    "suite.seed_plan",
    "suite.words",
    "inputs.golden_data",
    "inputs.scores.curves",
    "execution.retry",
    "execution.records",
    "judgement.stats",
    "judgement.gates",
    "judgement.proof",
    "judgement.judgement_input",
    "judgement.walls",
    "judgement.all_gates",
    "judgement.metric_rules",
    "judgement.quick",
    "judgement.proof_verdict",
    "reporting",
    "release.statements",
)
# They write what others of their folder have made.
NOT_PURE = ("reporting.missing_suite", "reporting.component_report")
# What pure modules may import from outside: nothing that reads, writes, waits or tells the time.
PURE_IMPORTS = frozenset(
    [
        "__future__",
        "bisect",
        "collections",
        "contextlib",
        "dataclasses",
        "difflib",
        "functools",
        "hashlib",
        "html",
        "itertools",
        "math",
        "re",
        "typing",
        "numpy",
        "scipy",
    ]
)
# Suites name paths, and never look at one.
PURE_EXTRA = {
    "reporting": {"jinja2", "markupsafe"},
    "suite": {"pathlib"},
}
FILE_METHODS = frozenset(
    [
        "read_text",
        "read_bytes",
        "write_text",
        "write_bytes",
        "open",
        "exists",
        "is_file",
        "is_dir",
        "mkdir",
        "resolve",
        "stat",
        "glob",
        "rglob",
        "iterdir",
        "unlink",
        "rename",
    ]
)
HEAVY = ("numpy", "scipy", "jsonschema", "yaml")


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def dotted(path: Path) -> str:
    """The name of a module within the package; that of a package is its folder's."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room(name: str) -> str:
    return name.partition(".")[0]


def folder_of(name: str) -> str:
    """The folder in which a module stands; a package stands in itself, a module of the root alone."""
    return name if name in FOLDERS else name.rpartition(".")[0] or name


def is_below(name: str, tops: tuple[str, ...]) -> bool:
    return any(name == top or name.startswith(f"{top}.") for top in tops)


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """(line, absolute dotted name) of everything that a module imports, also within functions."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = path.relative_to(CHECKOUT).parent.parts[: -node.level + 1 or None] if node.level else ()
            base = ".".join((*package, *(node.module or "").split("."))).strip(".")
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def reached(name: str) -> str | None:
    """The module of ours that an import reaches."""
    parts = name.split(".")
    if parts[0] != NAME or len(parts) == 1:
        return None
    within = parts[1:]
    while within and ".".join(within) not in NAMES:
        within.pop()
    return ".".join(within) or None


def named(path: Path) -> str:
    return path.relative_to(CHECKOUT).as_posix()


MODULES = [p for p in sources(PACKAGE) if p != PACKAGE / "__init__.py"]
NAMES = {dotted(p): p for p in MODULES}
FOLDERS = {dotted(p) for p in MODULES if p.name == "__init__.py"}
PURE_MODULES = [p for n, p in NAMES.items() if is_below(n, PURE) and n not in NOT_PURE]


def arrows() -> dict[str, set[str]]:
    """Module -> the modules that it imports, for types and within functions too."""
    found = {
        name: {r for _, n in imports(path) if (r := reached(n))} - {name} for name, path in NAMES.items()
    }
    # A package's face names its own modules: that is how they are reached, and no way back up. None of
    # them imports such a face.
    return {
        name: {r for r in to if not (name in FOLDERS and is_below(r, (name,)))} for name, to in found.items()
    }


ARROWS = arrows()


def joined(by: Mapping[str, str]) -> dict[str, set[str]]:
    """The arrows between groups of modules; ``by``: module -> group."""
    groups: dict[str, set[str]] = {group: set() for group in by.values()}
    for name, to in ARROWS.items():
        groups[by[name]] |= {by[r] for r in to} - {by[name]}
    return groups


def floors(graph: Mapping[str, set[str]]) -> int:
    """How many groups stand one on the other in the highest pile."""
    height: dict[str, int] = {}
    for group in TopologicalSorter(graph).static_order():
        height[group] = 1 + max((height[below] for below in graph.get(group, ())), default=0)
    return max(height.values())


def test_the_root_has_the_rooms_and_nothing_else() -> None:
    there = {p.name for p in PACKAGE.iterdir() if p.name != "__pycache__"}
    assert there == {*(r for r in ROOMS if r != "errors"), "errors.py", *BESIDE}
    assert len(there) <= MOST_ENTRIES
    assert len(set(ROOMS)) == len(ROOMS)


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_imports_point_down(path: Path) -> None:
    place = ROOMS.index(room(dotted(path)))
    up = [
        f"{path.name}:{line} imports {name}"
        for line, name in imports(path)
        if (found := reached(name)) and ROOMS.index(room(found)) < place
    ]
    assert not up


@pytest.mark.parametrize("of", ["modules", "folders"])
def test_no_circle(of: str) -> None:
    graph = ARROWS if of == "modules" else joined({name: folder_of(name) for name in NAMES})
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"these import each other: {' -> '.join(error.args[1])}")


def test_no_module_imports_a_face_that_names_modules() -> None:
    for face in FOLDERS:
        own = {r for _, n in imports(NAMES[face]) if (r := reached(n)) and is_below(r, (face,))} - {face}
        within = [name for name in NAMES if name != face and is_below(name, (face,))]
        assert not own or not [name for name in within if face in ARROWS[name]]


def test_the_face_of_the_package_is_a_sentence() -> None:
    """Whoever imports ``wire`` runs it, programs too."""
    (only,) = tree(PACKAGE / "__init__.py").body
    assert isinstance(only, ast.Expr)
    assert isinstance(only.value, ast.Constant)


def test_few_floors() -> None:
    assert floors(joined({name: room(name) for name in NAMES})) <= MOST_FLOORS


@pytest.mark.parametrize("path", PURE_MODULES, ids=named)
def test_what_decides_does_no_io_and_keeps_no_time_and_no_chance(path: Path) -> None:
    name = dotted(path)
    extra = {word for top, words in PURE_EXTRA.items() if is_below(name, (top,)) for word in words}
    allowed = PURE_IMPORTS | extra | {NAME}
    assert not [(line, n) for line, n in imports(path) if n.split(".")[0] not in allowed]
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call):
            called, where = ast.unparse(node.func), f"{path.name}:{node.lineno}"
            assert called not in ("open", "print", "input", "eval", "exec", "__import__"), where
            assert not (isinstance(node.func, ast.Attribute) and node.func.attr in FILE_METHODS), where
            if ".random." in called:
                assert called.endswith(".default_rng"), where
                assert node.args, f"{where}: a generator without a seed"


def test_every_name_of_what_decides_is_there() -> None:
    assert {*PURE, *NOT_PURE} <= set(NAMES)


def test_only_the_plugin_imports_pytest() -> None:
    importers = {
        room(dotted(path))
        for path in MODULES
        for _, name in imports(path)
        if name.split(".")[0] in ("pytest", "_pytest")
    }
    assert importers == {"plugin"}


def test_the_contract_uses_the_standard_library_of_python_3_9() -> None:
    """And what programs have themselves, in the functions that these call and nowhere else."""
    for path in sources(PACKAGE / "wire"):
        outside = {name for _, name in imports(path) if not name.startswith(f"{NAME}.wire")}
        foreign = {"numpy", *(("dm_control", "mujoco") if path.name == "simulation.py" else ())}
        assert {name.split(".")[0] for name in outside} <= {*sys.stdlib_module_names, *foreign}
        at_the_top = [n for n in tree(path).body if isinstance(n, (ast.Import, ast.ImportFrom))]
        assert not [f for f in foreign if f in " ".join(ast.unparse(node) for node in at_the_top)]
        ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 9))


def test_the_guardian_starts_fast_and_alone() -> None:
    """It is run as a file, by an isolated interpreter without site-packages."""
    guardian = PACKAGE / "execution" / "guardian.py"
    assert {name.split(".")[0] for _, name in imports(guardian)} <= set(sys.stdlib_module_names)


@pytest.mark.parametrize("path", sources(CHECKOUT / "backends"), ids=named)
def test_backends_import_nothing_of_ours_but_the_contract(path: Path) -> None:
    ours = {name for _, name in imports(path) if name.split(".")[0] == NAME}
    assert all(is_below(name, (f"{NAME}.wire",)) for name in ours), ours
    backend = ".".join(path.relative_to(CHECKOUT).parts[:2])
    others = [
        name for _, name in imports(path) if name.startswith("backends.") and not is_below(name, (backend,))
    ]
    assert not others, "a backend knows no other backend"
    by_name = {
        node.value
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and node.value.startswith(f"{NAME}.")
    }
    assert by_name <= {f"{NAME}.wire"}


# Each opens a file, or runs a program, and gives or takes text where it is not told otherwise.
OPENS = ("open", "os.fdopen")
STARTS = ("subprocess.run", "subprocess.Popen", "subprocess.check_output")


def _says_no_encoding(call: ast.Call) -> bool:
    """Whether a call reads or writes text in whatever encoding the machine has."""
    called, given = ast.unparse(call.func), {k.arg: k.value for k in call.keywords}
    if "encoding" in given:
        return False
    if called in OPENS:
        mode = given.get("mode", call.args[1] if len(call.args) > 1 else ast.Constant("r"))
        # What is handed on has been named by another.
        return isinstance(mode, ast.Constant) and "b" not in mode.value
    if called in STARTS:
        return "text" in given
    # Ours takes a path first, and writes UTF-8.
    return called.endswith((".read_text", ".write_text")) and called != "store.write_text"


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_every_text_names_its_encoding(path: Path) -> None:
    """What a run leaves is UTF-8 whatever the locale is."""
    calls = (node for node in ast.walk(tree(path)) if isinstance(node, ast.Call))
    assert not [f"{path.name}:{call.lineno}" for call in calls if _says_no_encoding(call)]


def test_no_drawer_for_everything() -> None:
    names = {p.stem for folder in ("pytest_worldflux_parity", "backends") for p in sources(CHECKOUT / folder)}
    assert not names & {"utils", "util", "helpers", "misc", "common"}


@pytest.mark.parametrize("module", ["plugin.hooks", "plugin.items"])
def test_what_every_session_imports_is_light(module: str) -> None:
    """Plain pytest pays for the plugin alone; a worker runs pairs without the statistics."""
    code = f"import sys, {NAME}.{module}; print(*(m for m in {HEAVY} if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    # Items read suites, which are YAML.
    assert set(done.stdout.split()) <= ({"yaml"} if module == "plugin.items" else set())


# The package as it is: what makes it larger says in its commit why, and raises a number here.
MOST_CODE = 30_899
MOST_NAMES_IN_TWO_FILES = 50
COUNT = "python -m tests.sizes counts, and lists the names"


def test_the_package_does_not_grow() -> None:
    code = sum(map(sizes.count_code, sources(PACKAGE)))
    assert code <= MOST_CODE, f"{code} lines of code, at most {MOST_CODE}; {COUNT}"


def test_a_name_lives_in_one_file() -> None:
    names = len(sizes.names_in_two_files(PACKAGE))
    assert names <= MOST_NAMES_IN_TWO_FILES, f"{names} names live in two files or more; {COUNT}"


def test_functions_are_short() -> None:
    lengths = sizes.function_lengths(PACKAGE, CHECKOUT / "backends")
    assert len(lengths) > 500
    assert not {where: n for where, n in lengths.items() if n > 80}
    assert statistics.median(lengths.values()) <= 9, COUNT
    assert statistics.quantiles(lengths.values(), n=10)[-1] <= 21, COUNT
