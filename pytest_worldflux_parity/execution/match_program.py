"""A golden folder and a backend -> one run of its match program -> a :class:`Match` to compare.

The program runs once per folder and request, by whichever process gets there first: the others
wait at a file lock and read what it left. A run that delivered is kept by a resumed session while
golden, backend and request are the same.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import schemas, wire
from ..errors import BackendError, MatchError, StoreError
from ..inputs.backends import Backend
from ..inputs.golden import read_arrays, write_given
from ..inputs.golden_data import Match, Perturbation
from ..inputs.matches import MatchSpec
from ..schemas.json_text import utc_now
from . import runner
from .attempt_end import clean_document, clean_texts
from .cleaning import cleaner
from .launching import Sealed, start_backend
from .left_files import LARGEST_BYTES, read_left
from .runner import Start
from .store import locked, new_attempt_folder, numbered_attempts, translated, write_document

MATCH_FOLDER = "component_match"
REPORT = "component_match_report.json"
MATCH_REQUEST_SCHEMA = "worldflux.parity.match_request.v1"
MATCH_RUN_SCHEMA = "worldflux.parity.match_run.v1"
# What the program is given: weights and inputs, so that it cannot hand back what it should compute.
GIVEN = "golden"
_MATCH_RUN_FILE = "match_run.json"
_RETIRED = "match_run.failed.json"
_DELIVERED = ("match.json", "outputs.npz", "perturbed.npz")


@dataclass(frozen=True)
class MatchRun:
    """One run of a match program.

    Attributes:
        error: why it delivered nothing that can be compared, in one line; empty where it did.
        isolation: what kept it in its folder; None where nobody knows.
    """

    folder: Path
    error: str
    artifacts_sha256: Mapping[str, str]
    duration_sec: float
    isolation: Mapping[str, Any] | None = None


def match_once(spec: MatchSpec, folder: Path, root: Path, sealed: Sealed) -> MatchRun:
    """The run that answers ``spec``: one that is there, or a new one.

    Args:
        folder: where the runs of this match stand; made where absent.
        sealed: the backend as it was sealed.

    Raises:
        BackendError: the backend's own environment is absent.
        StoreError: the folder cannot be written.
    """
    with locked(folder):
        return last_run(spec, folder) or run_match(spec, folder, root, sealed)


def last_run(spec: MatchSpec, folder: Path) -> MatchRun | None:
    """The first run for this request that delivered, else the last that did not; None without any."""
    runs = [run for path in _runs_in(folder) if (run := _read_run(path, spec.request_id)) is not None]
    return next((run for run in runs if not run.error), runs[-1] if runs else None)


def _runs_in(folder: Path) -> list[Path]:
    return [path for _, path in numbered_attempts(folder)]


def _read_run(folder: Path, request_id: str) -> MatchRun | None:
    """What the plugin wrote at the end of a run; None of one that was killed, or of another request."""
    path = folder / _MATCH_RUN_FILE
    try:
        document = wire.load_object(path)
    except (OSError, wire.WireError):
        return None
    schemas.check(document, "match_run.v1", lambda at: f"{path}: {'.'.join(map(str, at))}", StoreError)
    if document["request_id"] != request_id:
        return None
    error, files, seconds = (document[name] for name in ("error", "artifacts_sha256", "duration_sec"))
    return MatchRun(folder, error, files, seconds, document.get("isolation"))


def retire_failed(spec: MatchSpec, folder: Path) -> None:
    """Let a resumed session try again where the program delivered nothing.

    Raises:
        StoreError: the folder cannot be written.
    """
    for path in _runs_in(folder):
        run = _read_run(path, spec.request_id)
        if run is not None and run.error:
            with translated(path):
                (path / _MATCH_RUN_FILE).rename(path / _RETIRED)


def run_match(spec: MatchSpec, folder: Path, root: Path, sealed: Sealed) -> MatchRun:
    """Run the match program now, in a new folder below ``folder``.

    Raises:
        BackendError: the backend's own environment is absent.
        GoldenError: the golden is no longer what was read.
        StoreError: the folder cannot be written.
    """
    # Asked before there is a folder: what is absent is no run that failed.
    spec.backend.interpreter(root)
    out_dir = new_attempt_folder(folder.resolve())[1]
    clean = cleaner(root, folder.resolve().parent.parent, os.environ, own=out_dir)
    begun = time.monotonic()
    error, return_code = "", None
    command: Sequence[str] = ()
    isolation: Mapping[str, Any] | None = None
    try:
        path = out_dir / "match_request.json"

        def words(own: Backend, python: Path) -> list[str]:
            return own.command(python, path, program="match")

        with start_backend(spec.backend, words, out_dir, spec.threads, root, sealed) as start:
            command, isolation = start.command, start.isolation
            return_code = _execute_match(spec, start, out_dir)
        runner.check_exit(return_code, out_dir, spec.backend.adapter)
        _read_match(out_dir, spec)
        with translated(out_dir):
            clean_document(out_dir / "match.json", spec.backend.adapter, clean)
    except BackendError as problem:
        error = clean.text(problem.line())
    with translated(out_dir):
        clean_texts(out_dir, clean)
    files, seconds = {} if error else _delivered_hashes(out_dir), round(time.monotonic() - begun, 3)
    run = MatchRun(out_dir, error, files, seconds, isolation)
    document = {
        "schema_version": MATCH_RUN_SCHEMA,
        "generated_at_utc": utc_now(),
        "request_id": spec.request_id,
        "adapter": spec.backend.adapter,
        "command": clean.document([*command]),
        "error": error,
        "return_code": return_code,
        "duration_sec": run.duration_sec,
        "artifacts_sha256": dict(run.artifacts_sha256),
        "isolation": clean.document(isolation),
    }
    write_document(out_dir / _MATCH_RUN_FILE, document, "match_run.v1")
    return run


def _execute_match(spec: MatchSpec, start: Start, out_dir: Path) -> int:
    assert spec.backend.match is not None
    with translated(out_dir):
        write_given(spec.golden, out_dir / GIVEN)
    request = {
        "schema_version": MATCH_REQUEST_SCHEMA,
        "golden": str(out_dir / GIVEN),
        "out_dir": str(out_dir),
        "device": spec.device,
        "threads": spec.threads,
    }
    write_document(out_dir / "match_request.json", request, "match_request.v1")
    with translated(out_dir):
        hint = "raise match.deadline_sec in backend.yaml, or look at the log"
        deadline = spec.backend.match.deadline_sec
        return runner.execute(start, out_dir, deadline, where=spec.backend.adapter, hint=hint)


def _delivered_hashes(folder: Path) -> dict[str, str]:
    with translated(folder):
        return {
            name: hashlib.sha256(read_left(folder / name, LARGEST_BYTES[name])).hexdigest()
            for name in _DELIVERED
        }


def read_match(run: MatchRun, spec: MatchSpec) -> Match:
    """What a run that delivered left, which must still be what it was.

    Raises:
        MatchError: a file is gone, is no longer what it was, or is not what a match program writes.
    """
    try:
        changed = [
            n for n, own in _delivered_hashes(run.folder).items() if run.artifacts_sha256.get(n) != own
        ]
    except StoreError as error:
        raise MatchError(error.what, where=error.where) from None
    if changed:
        raise MatchError(f"{changed[0]} is not the file that the match program left", where=str(run.folder))
    return _read_match(run.folder, spec)


def _read_match(folder: Path, spec: MatchSpec) -> Match:
    backend = spec.backend
    document = _match_document(folder, backend.adapter)
    tree = document["source"]["tree_sha256"]
    if tree != backend.tree_sha256:
        raise MatchError(
            f"match.json is of the source tree {tree[:16]}..., the backend's folder is another",
            where=backend.adapter,
            hint="state wire.tree_sha256 of the backend's folder, or start a new run",
        )
    components = [c.name for c in spec.golden.components]
    planted = [row["component"] for row in document["perturbations"]]
    return Match(
        mapping=document["mapping"],
        parameters={name: tuple(shape) for name, shape in document["parameters"].items()},
        perturbations=tuple(Perturbation(**row) for row in document["perturbations"]),
        outputs=read_arrays(folder / "outputs.npz", MatchError, _most_bytes(spec, components)),
        perturbed=read_arrays(folder / "perturbed.npz", MatchError, _most_bytes(spec, planted)),
        packages=document["packages"],
        tree_sha256=tree,
    )


def _most_bytes(spec: MatchSpec, components: Iterable[str]) -> int:
    """What these components' outputs may unpack to: as the widest numbers, and as much again.

    A name that the golden does not have adds nothing.
    """
    outputs = spec.golden.outputs
    own = {c.name: sum(8 * outputs[k].size + 4096 for k in c.keys().values()) for c in spec.golden.components}
    return (1 << 20) + 2 * sum(own.get(name, 0) for name in components)


def _match_document(folder: Path, adapter: str) -> dict[str, Any]:
    path = folder / "match.json"
    try:
        document = wire.object_in(read_left(path, LARGEST_BYTES[path.name]), str(path))
        # 1e400 is JSON, but no number that a report could hold.
        wire.canonical_json(document)
    except FileNotFoundError:
        raise MatchError("exit status 0 but no match.json", where=adapter) from None
    except (OSError, wire.WireError) as error:
        what = f"match.json: {error}".replace(f"{path}: ", "")
        raise MatchError(what, where=adapter) from None
    schemas.check(document, "match.v1", lambda at: f"{adapter}: match.json", MatchError)
    return document
