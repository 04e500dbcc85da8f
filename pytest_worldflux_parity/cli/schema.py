"""``schema``: the JSON Schemas of suites, backends and documents, for editors and other readers."""

from __future__ import annotations

import argparse
import json

from .. import schemas
from ..errors import DocumentError
from .options import argument, command


@command(
    "schema",
    argument("name", nargs="?", metavar="NAME", help="print this one (default: list them all)"),
)
def schema_command(options: argparse.Namespace) -> None:
    """Print one, or the name of each with what it is of.

    Raises:
        DocumentError: there is no such schema.
    """
    names = schemas.list_names()
    if options.name is None:
        width = max(map(len, names))
        print(*(f"{name:<{width}}  {schemas.load(name)['title']}" for name in names), sep="\n")
        return
    name = options.name.removesuffix(".json")
    if name not in names:
        raise DocumentError(f"there is no schema {options.name!r}", valid=names, got=options.name)
    print(format_schema(name))


def format_schema(name: str) -> str:
    """A schema as editors read it, indented."""
    return json.dumps(schemas.load(name), indent=2, ensure_ascii=False)
