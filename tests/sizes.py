"""How large the package is: ``python -m tests.sizes`` prints lines of code, names and lengths of functions.

A line of code is one that holds a token other than a comment, docstrings aside.
"""

from __future__ import annotations

import ast
import io
import statistics
import tokenize
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
PACKAGE = CHECKOUT / "pytest_worldflux_parity"
BLANK = (
    *(tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT),
    tokenize.ENDMARKER,
)
Documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def sources(folder: Path) -> list[Path]:
    """The modules below a folder."""
    return sorted(folder.rglob("*.py"))


def count_code(path: Path) -> int:
    """Lines of code of a module."""
    text = path.read_text(encoding="utf-8")
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in BLANK:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, Documented) and ast.get_docstring(node, clean=False) is not None:
            docstring = node.body[0]
            lines -= set(range(docstring.lineno, (docstring.end_lineno or docstring.lineno) + 1))
    return len(lines)


def top_level_names(path: Path) -> set[str]:
    """The functions, classes and values that a module defines."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found.add(node.name)
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return found


def names_in_two_files(folder: Path) -> dict[str, list[str]]:
    """Top-level name -> the modules that define it, where there are two or more."""
    places: defaultdict[str, list[str]] = defaultdict(list)
    for path in sources(folder):
        for name in top_level_names(path):
            places[name].append(path.relative_to(folder).as_posix())
    return {name: files for name, files in sorted(places.items()) if len(files) > 1}


def function_lengths(*folders: Path) -> dict[str, int]:
    """Place of each function -> its lines, its signature and docstring included."""
    return {
        f"{path.relative_to(CHECKOUT)}:{node.lineno} {node.name}": _length(node)
        for folder in folders
        for path in sources(folder)
        for node in _functions(path)
    }


def _functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


def _length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    assert node.end_lineno
    return node.end_lineno - node.lineno + 1


def main() -> None:
    """Print the numbers of the package, and the names."""
    for name, files in names_in_two_files(PACKAGE).items():
        print(f"{name}: {', '.join(files)}")
    lengths = sorted(function_lengths(PACKAGE).values())
    print(f"lines of code: {sum(map(count_code, sources(PACKAGE)))}")
    print(f"names in two files or more: {len(names_in_two_files(PACKAGE))}")
    print(f"functions: median {statistics.median(lengths)}, longest {lengths[-1]}")


if __name__ == "__main__":
    main()
