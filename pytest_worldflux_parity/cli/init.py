"""``init``: a project that runs, with a toy in the place of each program."""

from __future__ import annotations

import argparse
import keyword
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from ..errors import ParityError
from ..schemas.formats import is_label
from ..schemas.json_text import utc_now
from ..suite.suite_file import parse_yaml
from .options import DEFAULT_BACKENDS, DEFAULT_LOCK, DEFAULT_POLICY, ROOT_FILES, argument, command
from .schema import format_schema

# Beside the project's files, so that editors need no network and know the version that reads them.
SCHEMAS = ".schemas"
# What is asked, by its option -> the question, and the answer where none is given.
NAMES_ASKED = {
    "reference": ("the program that is compared with", "official_toy"),
    "candidate": ("the program that is judged", "own_toy"),
    "family": ("the algorithm that both are", "toy"),
}
_ADMITTED = re.compile(r"[a-z][a-z0-9_]{0,60}")
# Where these are, somebody has said already what pytest, or git, is to do.
_SAID_ALREADY = {
    "pytest.ini": tuple(name for name in ROOT_FILES if name != ".git"),
    ".gitignore": (".gitignore",),
}


@command(
    "init",
    argument("folder", nargs="?", type=Path, default=Path(), metavar="DIR", help="default: this folder"),
    *(
        argument(f"--{key}", metavar="NAME", help=f"{text} (default: {name})")
        for key, (text, name) in NAMES_ASKED.items()
    ),
    argument("--release", action="store_true", help="also a lock, a policy, and the commands of a release"),
)  # fmt: skip
def init(options: argparse.Namespace) -> None:
    """Write the project, and say what to do next.

    Raises:
        ParityError: a name is none, a file is there already, or the folder cannot be written.
    """
    given = {key: getattr(options, key) for key in NAMES_ASKED}
    names = {key: _ask(key) if name is None else name for key, name in given.items()}
    _refuse_odd_words(names)
    named = given["reference"] is not None and given["candidate"] is not None
    labelled = named and all(map(is_label, names.values()))
    files = dict(_render_files(names, options.release, labelled))
    folder: Path = options.folder
    left = [name for name, others in _SAID_ALREADY.items() if any((folder / o).exists() for o in others)]
    for name in left:
        if name != "pytest.ini" or not (folder / name).exists():
            del files[name]
    _write_files(folder, files)
    for name in files:
        print(f"wrote {folder / name}")
    for name in left:
        print(f"left as it is: {name}, since {', '.join(_SAID_ALREADY[name])} may say it")
    print("\n".join(["next:", *_next_commands(folder, names)]))


def _ask(key: str) -> str:
    """The answer that a person types; without one, or without a person, the default."""
    text, default = NAMES_ASKED[key]
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return default
    try:
        return input(f"{text} [{default}]: ").strip() or default
    except EOFError:
        return default


def _refuse_odd_words(names: Mapping[str, str]) -> None:
    """Make sure that every name can be that of a folder, of a key, and of a word in YAML.

    Raises:
        ParityError: one cannot, or both programs have one.
    """
    for key, name in names.items():
        if not _can_be_named(name):
            what = f"{name!r} is no name, or a word of Python or YAML"
            hint = f"small letters, digits and '_', such as --{key} {NAMES_ASKED[key][1]}"
            raise ParityError(what, where=f"--{key}", hint=hint)
    if names["reference"] == names["candidate"]:
        hint = f"--candidate own_{names['candidate']}"
        raise ParityError(f"is {names['candidate']!r}, as --reference is", where="--candidate", hint=hint)


def _can_be_named(text: str) -> bool:
    try:
        is_text = parse_yaml(text.encode(), "")[0] == text
    except (ParityError, UnicodeEncodeError):
        return False
    return is_text and not keyword.iskeyword(text) and _ADMITTED.fullmatch(text) is not None


def _render_files(names: Mapping[str, str], release: bool, labelled: bool) -> Iterator[tuple[str, str]]:
    """(path below the project, text) of everything that is written.

    Args:
        labelled: whether texts are to call the programs by their names.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader(__package__ or "", "templates")
    # Nothing of it is HTML.
    environment = Environment(
        loader=loader, undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True
    )
    known = {
        **names,
        "release": release,
        "labelled": labelled,
        "schemas": f"../../{SCHEMAS}",
        "now": utc_now(),
    }

    def render(template: str, **more: str) -> str:
        return environment.get_template(f"{template}.jinja").render(known, **more)

    yield f"suites/quick/{names['family']}.yaml", render("suite.yaml")
    for side, system in (("reference", "official"), ("candidate", "worldflux")):
        folder = f"{DEFAULT_BACKENDS}/{names[side]}"
        yield f"{folder}/backend.yaml", render("backend.yaml", name=names[side], system=system)
        yield f"{folder}/main.py", render(f"{side}.py", name=names[side])
    for name in ("suite.v1", "suite.proof_v1", "backend.v1"):
        yield f"{SCHEMAS}/{name}.json", format_schema(name) + "\n"
    yield ".github/workflows/parity.yml", render("workflow.yml")
    yield "pytest.ini", render("pytest.ini")
    yield ".gitignore", render("gitignore")
    if release:
        yield DEFAULT_LOCK, render("upstream_lock.json")
        yield DEFAULT_POLICY, render("suite_policy.json")


def _write_files(folder: Path, files: Mapping[str, str]) -> None:
    """Write all of them, or none where one is there.

    Raises:
        ParityError: one is there, or cannot be written.
    """
    for name in files:
        if (folder / name).is_symlink() or (folder / name).exists():
            raise ParityError(
                "is there already, and nothing is written over",
                where=str(folder / name),
                hint="name another DIR, or move it away",
            )
    for name, text in files.items():
        path = folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(path, "x", encoding="utf-8") as handle:
                handle.write(text)
        except OSError as error:
            raise ParityError(f"cannot be written: {error.strerror}", where=str(path)) from None


def _next_commands(folder: Path, names: Mapping[str, str]) -> Iterator[str]:
    """What to type: the toys are compared first; each program is tried alone once it is in their place."""
    if folder != Path():
        yield f"  cd {folder}"
    yield "  pytest --parity=quick"
    for side in ("candidate", "reference"):
        yield f"  worldflux-parity check-backend {names[side]} --suite suites/quick/{names['family']}.yaml"
