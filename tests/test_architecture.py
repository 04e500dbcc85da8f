"""The rules of the layout, read off the syntax trees: who may import whom, and how long a function is.

Data flows down ``LAYERS`` and imports only point up it. A new module has to be put into the list.
"""

from __future__ import annotations

import ast
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
PACKAGE = CHECKOUT / "pytest_worldflux_parity"
NAME = PACKAGE.name

CORE = (
    "errors",
    "wire",
    "suite",
    "plan",
    "curves",
    "retry",
    "records",
    "observations",
    "stats",
    "gates",
    "proof",
    "campaign",
    "verdict",
    "proof_verdict",
    "render",
    "audit",
    "proof_audit",
)
EDGES = (
    "schemas",
    "json_file",
    "run_documents",
    "suite_file",
    "manifest_file",
    "proof_file",
    "campaign_file",
    "scores",
    "backends",
    "command_program",
    "lock",
    "policy",
    "sources",
    "environments",
    "devices",
    "leases",
    "guardian",
    "runner",
    "retention",
    "store",
    "attempt_files",
    "estimates",
    "evidence",
    "golden",
    "matching",
    "prepare",
    "missing_suite",
    "provenance",
    "engines",
    "oracle",
    "integrity",
    "program_files",
    "assemble",
    "proof_run",
    "live_match",
    "foreign_runs",
    "costs",
    "artifacts",
    "sealed",
    "conclude_proof",
    "conclude_campaign",
    "conclude",
    "release_checks",
    "proof_release",
    "doctor",
)
SHELL = ("items", "scheduling", "fleet_loop", "plugin", "commands", "cli")
LAYERS = (*CORE, *EDGES, *SHELL)

# What core modules may import from outside: nothing that reads, writes, waits or tells the time.
CORE_IMPORTS = frozenset(
    [
        "__future__",
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
# Suites name paths, and never look at one; a proof draws in several threads.
CORE_EXTRA = {"suite": {"pathlib"}, "proof": {"pathlib", "concurrent"}, "campaign": {"pathlib"}}
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


def sources(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*.py") if "__pycache__" not in p.parts)


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def unit(path: Path) -> str:
    """The layer of a module: its own name, or that of the package within ours that it belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """(line, absolute dotted name) of everything that a module imports, also within functions."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = path.relative_to(CHECKOUT).parent.parts[: -node.level + 1 or None] if node.level else ()
            base = ".".join((*package, *(node.module or "").split("."))).strip(".")
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def own(name: str) -> str | None:
    """The layer that an import of ours reaches."""
    parts = name.split(".")
    return parts[1] if parts[0] == NAME and len(parts) > 1 else None


def named(path: Path) -> str:
    return path.relative_to(CHECKOUT).as_posix()


MODULES = [p for p in sources(PACKAGE) if p != PACKAGE / "__init__.py"]


def test_every_module_has_its_place() -> None:
    assert {unit(p) for p in MODULES} == set(LAYERS)
    assert len(set(LAYERS)) == len(LAYERS)


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_imports_point_up(path: Path) -> None:
    place = LAYERS.index(unit(path))
    down = [
        f"{path.name}:{line} imports {name}"
        for line, name in imports(path)
        if (reached := own(name)) and reached != unit(path) and LAYERS.index(reached) > place
    ]
    assert not down


@pytest.mark.parametrize("path", [p for p in MODULES if unit(p) in CORE and unit(p) != "wire"], ids=named)
def test_the_core_does_no_io_and_keeps_no_time_and_no_chance(path: Path) -> None:
    allowed = CORE_IMPORTS | CORE_EXTRA.get(unit(path), set()) | {NAME}
    assert not [(line, name) for line, name in imports(path) if name.split(".")[0] not in allowed]
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call):
            called, where = ast.unparse(node.func), f"{path.name}:{node.lineno}"
            assert called not in ("open", "print", "input", "eval", "exec", "__import__"), where
            assert not (isinstance(node.func, ast.Attribute) and node.func.attr in FILE_METHODS), where
            if ".random." in called:
                assert called.endswith(".default_rng"), where
                assert node.args, f"{where}: a generator without a seed"


def test_only_the_shell_imports_pytest() -> None:
    importers = {
        unit(p) for p in MODULES for _, name in imports(p) if name.split(".")[0] in ("pytest", "_pytest")
    }
    assert importers == {"items", "scheduling", "fleet_loop", "plugin"}


def test_the_contract_uses_the_standard_library_of_python_3_9() -> None:
    """And numpy, which programs with arrays have, in the functions that these call and nowhere else."""
    path = PACKAGE / "wire.py"
    assert {name.split(".")[0] for _, name in imports(path)} <= {*sys.stdlib_module_names, "numpy"}
    at_the_top = [node for node in tree(path).body if isinstance(node, (ast.Import, ast.ImportFrom))]
    assert "numpy" not in " ".join(ast.unparse(node) for node in at_the_top)
    lazily = [
        f.name
        for f in ast.walk(tree(path))
        if isinstance(f, ast.FunctionDef) and "import numpy" in ast.unparse(f)
    ]
    assert lazily == ["_arrays", "_save"]
    ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 9))


def test_the_guardian_starts_fast_and_alone() -> None:
    """It is run as a file, by an isolated interpreter without site-packages."""
    assert {name.split(".")[0] for _, name in imports(PACKAGE / "guardian.py")} <= set(
        sys.stdlib_module_names
    )


@pytest.mark.parametrize("path", sources(CHECKOUT / "backends"), ids=named)
def test_backends_import_nothing_of_ours_but_the_contract(path: Path) -> None:
    ours = {name for _, name in imports(path) if name.split(".")[0] == NAME}
    assert ours <= {f"{NAME}.wire"}
    backend = ".".join(path.relative_to(CHECKOUT).parts[:2])
    others = [
        name for _, name in imports(path) if name.startswith("backends.") and not name.startswith(backend)
    ]
    assert not others, "a backend knows no other backend"


def test_no_drawer_for_everything() -> None:
    names = {p.stem for folder in ("pytest_worldflux_parity", "backends") for p in sources(CHECKOUT / folder)}
    assert not names & {"utils", "util", "helpers", "misc", "common"}


@pytest.mark.parametrize("module", ["plugin", "items"])
def test_what_every_session_imports_is_light(module: str) -> None:
    """Plain pytest pays for the plugin alone; a worker runs pairs without the statistics."""
    code = f"import sys, {NAME}.{module}; print(*(m for m in {HEAVY} if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    # Items read suites, which are YAML.
    assert set(done.stdout.split()) <= ({"yaml"} if module == "items" else set())


def functions() -> dict[str, int]:
    """Lines of every function, its signature and docstring included."""
    lengths = {}
    for path in (*sources(PACKAGE), *sources(CHECKOUT / "backends")):
        for node in ast.walk(tree(path)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                assert node.end_lineno
                where = f"{path.relative_to(CHECKOUT)}:{node.lineno} {node.name}"
                lengths[where] = node.end_lineno - node.lineno + 1
    return lengths


def test_functions_are_short() -> None:
    lengths = functions()
    assert len(lengths) > 500
    assert not {where: n for where, n in lengths.items() if n > 80}
    assert statistics.median(lengths.values()) <= 10
    assert statistics.quantiles(lengths.values(), n=10)[-1] <= 35
