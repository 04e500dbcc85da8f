"""Proof manifest of the earlier system -> :class:`~.manifest.Manifest`; errors say file and line."""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from .. import schemas
from ..errors import SuiteError
from .manifest import V1, V2, Manifest, parse_manifest
from .suite import SYSTEMS, Locate
from .suite_file import locator, numeral, parse_yaml

SCHEMAS = {V2: "suite.parity_v2", V1: "suite.parity_manifest_v1"}
_SHELL = ("`", "$(", "${", "\n", "\r", ";", "&", "|", ">", "<")


def load(path: Path) -> Manifest:
    """Read, validate and parse a manifest.

    Raises:
        SuiteError: the file cannot be read, is not YAML, or is not a manifest.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise SuiteError(f"cannot be read: {error.strerror}", where=str(path)) from None
    document, lines = parse_yaml(raw, str(path))
    if not isinstance(document, dict):
        raise SuiteError("a manifest is a mapping of keys", where=f"{path}:1")
    locate = locator(path, lines)
    version = document.get("schema_version")
    if version not in SCHEMAS:
        raise SuiteError(
            f"schema_version is {version!r}", where=locate(("schema_version",)), valid=SCHEMAS, got=version
        )
    if version == V1:
        # It has no name of its own.
        document.setdefault(
            "suite_id", re.sub(r"[^A-Za-z0-9_.-]", "-", path.stem).lstrip("_.-") or "manifest"
        )
    read_as = _with_lists(document, version == V1, locate) + _with_numbers(document, SCHEMAS[version], locate)
    schemas.check(document, SCHEMAS[version], locate, SuiteError)
    manifest = parse_manifest(document, locate)
    return replace(
        manifest,
        warnings=(*manifest.warnings, *read_as),
        path=str(path),
        sha256=hashlib.sha256(raw).hexdigest(),
    )


def _with_lists(document: dict[str, Any], allowed: bool, locate: Locate) -> list[str]:
    """Turn commands that are one string into lists, where the older format allows them; warn of each."""
    warnings = []
    tasks = document.get("tasks")
    for i, task in enumerate(tasks if isinstance(tasks, list) else ()):
        for system in SYSTEMS:
            side = task.get(system) if isinstance(task, Mapping) else None
            command = side.get("command") if isinstance(side, dict) else None
            if not isinstance(side, dict) or not isinstance(command, str):
                continue
            where = locate(("tasks", i, system, "command"))
            if not allowed:
                raise SuiteError(
                    f"the command of {system} is one string, and there is no shell to read it",
                    where=where,
                    mend='write it as a list: ["python3", "program.py", "--seed", "{seed}"]',
                )
            side["command"] = words(command, where)
            warnings.append(f"{where}: the command of {system} is one string; write it as a list")
    return warnings


def _with_numbers(document: dict[str, Any], schema: str, locate: Locate) -> list[str]:
    """Turn texts into the numbers that they stand for, as the earlier system does; warn of each.

    Older readers of YAML make a text of ``1e-08``, and what wrote a manifest anew kept that.
    """
    warnings = []
    for at, text in list(schemas.texts_for_numbers(document, schema)):
        if (number := numeral(text)) is not None:
            holder: Any = document
            for key in at[:-1]:
                holder = holder[key]
            holder[at[-1]] = number
            name = ".".join(map(str, at))
            warnings.append(f"{locate(at)}: {name} is the text {text!r}, and is read as {number}")
    return warnings


def words(command: str, where: str) -> list[str]:
    """A command that is one string as the list that it stands for; there is no shell.

    Raises:
        SuiteError: it holds what only a shell understands, or a quote without its end.
    """
    found = next((mark for mark in _SHELL if mark in command), None)
    if found:
        raise SuiteError(
            f"the command holds {found!r}, which only a shell understands, and there is none",
            where=where,
            mend="write the command as a list",
        )
    try:
        return shlex.split(command)
    except ValueError as error:
        raise SuiteError(f"the command cannot be split: {error}", where=where) from None
