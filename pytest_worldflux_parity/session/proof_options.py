"""What a session says to its proof suites: earlier reports, a key, and what their evidence is made of."""

from __future__ import annotations

import glob
import os
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from .. import wire
from ..errors import StoreError
from ..evidence import check_inputs, read_sign_key, refuse_names
from ..evidence.statement import SIGNED
from ..execution.store import relative
from ..inputs.backends import FILE as BACKEND_FILE
from ..inputs.backends import Backend
from ..inputs.context import RunContext
from ..inputs.golden import ARRAYS, MANIFEST
from ..inputs.prepare import PreparedFile
from ..judgement.judge_proof import part_key
from ..judgement.proof.stability import read_report
from ..reporting.proof_documents import EQUIVALENCE

BUNDLE = "evidence_bundle.zip"
CASES = ("components", "coverage", "validity", "equivalence", "stability", "evidence")


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
                yield f"inputs/golden/{part_key(part)}/{name}", Path(part.match.golden.folder) / name
        for backend in programs:
            yield f"inputs/backends/{backend.name}/{BACKEND_FILE}", backend.folder / BACKEND_FILE
    for i, document in enumerate(history.values()):
        yield f"inputs/history/{i}.json", wire.canonical_json(document).encode()


def read_history(context: RunContext, own: Path) -> dict[str, Mapping[str, Any]]:
    """Name -> earlier equivalence report, of all files that ``--parity-history`` names but this run's own.

    Raises:
        StoreError: a pattern names no file, or a file cannot be read or is no equivalence report.
    """
    found: dict[str, Mapping[str, Any]] = {}
    for pattern in context.history:
        paths = [Path(p) for p in sorted(glob.glob(str(context.root / pattern), recursive=True))]
        if not paths:
            raise StoreError(
                "--parity-history names no file", where=pattern, mend="name files that are there"
            )
        for path in paths:
            if path.resolve() == own.resolve():
                continue
            found[relative(path, context.root)] = _history_document(path)
    return found


def _history_document(path: Path) -> Mapping[str, Any]:
    try:
        document = wire.load_object(path)
    except (OSError, wire.WireError) as error:
        raise StoreError(f"--parity-history: cannot be read: {error}", where=str(path)) from None
    report = read_report(document, str(path))
    if isinstance(report, str):
        what, mend = f"--parity-history: it is no equivalence report: {report}", f"name an {EQUIVALENCE}"
        raise StoreError(what, where=str(path), mend=mend)
    return document


def check_options(context: RunContext, suites: Iterable[PreparedFile]) -> None:
    """Refuse, before anything runs, what would otherwise be refused after the last run.

    Raises:
        StoreError: ``--parity-history`` names nothing that can be read, or signed evidence of the run would
            become unsigned.
        EvidenceError: ``--parity-sign-key`` is no key that can sign, or what a proof suite asks for names
            a path or a secret of this machine, or what no evidence can hold.
    """
    read_history(context, Path())
    for prepared in suites:
        refuse_unsigning(context.run_dir / prepared.suite_id / BUNDLE, context)
        inputs = dict(evidence_inputs(prepared, context, {}))
        refuse_names(inputs, str(prepared.suite.path))
        check_inputs(inputs, run_dir=context.run_dir, root=context.root, environ=os.environ)
    if context.sign_key is not None:
        read_sign_key(context.sign_key)


def refuse_unsigning(bundle: Path, context: RunContext) -> None:
    """Refuse to put unsigned evidence in the place of signed evidence, or beside it what contradicts it.

    Raises:
        StoreError: a signed bundle stands there and no key is given.
    """
    if context.sign_key is not None or not bundle.exists():
        return
    try:
        with zipfile.ZipFile(bundle) as archive:
            signed = SIGNED in archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return
    if signed:
        mend = "give --parity-sign-key; or begin a new run, or judge into another folder with --output"
        raise StoreError(
            "the evidence here is signed, and would become unsigned", where=str(bundle), mend=mend
        )
