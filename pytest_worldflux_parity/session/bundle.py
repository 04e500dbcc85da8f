"""The evidence of a suite that was judged: what it is made of, and the bundle beside the documents."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .. import wire
from ..errors import EvidenceError, ParityError, StoreError
from ..evidence import BundleInfo, build, check_inputs
from ..evidence.members import BUNDLE, table_member
from ..evidence.statement import SIGNED
from ..execution.key_forms import names_secret
from ..execution.store import translated
from ..inputs.backends import FILE as BACKEND_FILE
from ..inputs.backends import Backend
from ..inputs.command_program import CommandProgram
from ..inputs.context import RunContext
from ..inputs.golden import ARRAYS, MANIFEST
from ..inputs.prepare import PreparedFile


def evidence_inputs(
    prepared: PreparedFile, context: RunContext, history: Mapping[str, Mapping[str, Any]]
) -> Iterator[tuple[str, Path | bytes]]:
    """Name within the bundle -> what a run was judged with and its folder does not hold."""
    yield "inputs/suite.yaml", prepared.suite.path
    for name, path in (
        ("upstream_lock.json", context.lock_path),
        ("suite_policy.json", context.lock_path.with_name("suite_policy.json")),
    ):
        if path.exists():
            yield f"inputs/{name}", path
    for part in prepared.parts:
        programs = [b for b in part.backends.values() if isinstance(b, Backend)]
        if part.match is not None:
            programs.append(part.match.backend)
            for name in (MANIFEST, ARRAYS):
                yield f"inputs/golden/{part.key}/{name}", Path(part.match.golden.folder) / name
        for backend in programs:
            yield f"inputs/backends/{backend.name}/{BACKEND_FILE}", backend.folder / BACKEND_FILE
        for system, table in part.tables.items():
            for name in table.files:
                # The name of one file is empty.
                member = table_member(system, Path(os.path.basename(os.path.normpath(table.path)), name))
                yield member, table.path / name if name else table.path
    for i, document in enumerate(history.values()):
        yield f"inputs/history/{i}.json", wire.canonical_json(document).encode()


def refuse_secrets(prepared: PreparedFile, context: RunContext) -> None:
    """Refuse before the first run what the evidence of a suite would show to its readers.

    Raises:
        EvidenceError: what it holds as it is has a secret in it.
    """
    if prepared.campaign is not None:
        return
    for system, name in _secret_variables(prepared):
        raise EvidenceError(
            f"the {system} command is given {name} with a value, and evidence would show it",
            where=str(prepared.suite.path),
            hint=f"take it out of `env`, and set {name} where pytest is started: programs are given it",
        )
    inputs = dict(evidence_inputs(prepared, context, {}))
    check_inputs(inputs, run_dir=context.run_dir, root=context.root, environ=os.environ)


def _secret_variables(prepared: PreparedFile) -> Iterator[tuple[str, str]]:
    """(system, name) of the variables by which a manifest hands a secret to a command."""
    for part in prepared.parts:
        for system, program in part.backends.items():
            for side in program.sides.values() if isinstance(program, CommandProgram) else ():
                yield from ((system, name) for name, value in side.env.items() if names_secret(name, value))


def make_bundle(
    prepared: PreparedFile,
    context: RunContext,
    history: Mapping[str, Mapping[str, Any]],
) -> tuple[BundleInfo | None, str]:
    """The evidence, or why there is none: a verdict without it stands."""
    path = context.run_dir / prepared.suite_id / BUNDLE
    try:
        with translated(path):
            path.unlink(missing_ok=True)
        bundle = build(
            path,
            run_dir=context.run_dir,
            suite_id=prepared.suite_id,
            inputs=dict(evidence_inputs(prepared, context, history)),
            predicate={"run_id": context.run_id, "device": context.device},
            root=context.root,
            environ=os.environ,
            sign_key=context.sign_key,
        )
    except ParityError as error:
        return None, error.line()
    return bundle, ""


def signature_line(bundle: BundleInfo | None, error: str) -> str:
    """Whether the evidence is signed and with which key, or why there is none."""
    if bundle is None:
        return f"none: {error}"
    if not bundle.signed:
        return "unsigned: whoever changes the bundle can make its hashes anew"
    return f"signed, key {bundle.keyid}"


def refuse_unsigning(suite_id: str, context: RunContext) -> None:
    """Refuse to put unsigned evidence in the place of signed evidence, or beside it what contradicts it.

    Raises:
        StoreError: a signed bundle stands there and no key is given.
    """
    bundle = context.run_dir / suite_id / BUNDLE
    if context.sign_key is not None or not bundle.exists():
        return
    try:
        with zipfile.ZipFile(bundle) as archive:
            signed = SIGNED in archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return
    if signed:
        hint = "give --parity-sign-key; or begin a new run, or judge into another folder with --output"
        raise StoreError(
            "the evidence here is signed, and would become unsigned", where=str(bundle), hint=hint
        )
