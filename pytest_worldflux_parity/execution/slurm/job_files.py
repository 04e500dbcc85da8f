"""The two small files by which a session and a job know of each other, in the folder of an attempt.

``slurm_job.json`` is the session's: which job runs the attempt. It stands there before the job is
submitted, and gets the job's number once there is one. ``slurm_node.json`` is the job's: where and how often
it started, and at last how it ended. Whoever makes the second file first decides whether the attempt is run:
a job that starts, or a later session that finds an attempt of which it does not know the job's number.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ... import schemas, wire
from ...errors import StoreError
from ...schemas.json_text import utc_now
from ..store import translated, write_document

JOB, NODE = "slurm_job.json", "slurm_node.json"
JOB_SCHEMA, NODE_SCHEMA = "worldflux.parity.slurm_job.v1", "worldflux.parity.slurm_node.v1"
JobDocument = dict[str, Any]
CLAIM_SEC = 5.0


def write_job(folder: Path, cluster: str, adapter: str, job_id: str | None, request_id: str = "") -> None:
    """Say which job runs an attempt of a backend for a request; ``job_id`` is None before it has one.

    Raises:
        StoreError: the folder cannot be written.
    """
    document = {
        "schema_version": JOB_SCHEMA,
        "cluster": cluster,
        "adapter": adapter,
        "job_id": job_id,
        "request_id": request_id,
        "host": socket.gethostname(),
        "written_at_utc": utc_now(),
    }
    write_document(folder / JOB, document, "slurm_job.v1")


def read_job_file(folder: Path, name: str) -> JobDocument | None:
    """One of the two files; None where it is not there, not whole yet, or not what we wrote."""
    with contextlib.suppress(OSError, wire.WireError, StoreError):
        document: JobDocument = wire.load_object(folder / name)
        schemas.check(document, "slurm_job.v1" if name == JOB else "slurm_node.v1", str, StoreError)
        return document
    return None


def node_document(job_id: str, **fields: Any) -> JobDocument:
    """A ``slurm_node.json`` of a job that has not run yet."""
    return {
        "schema_version": NODE_SCHEMA,
        "job_id": job_id,
        "revoked": False,
        "starts": [],
        "outcome": None,
        **fields,
    }


def claim_attempt(folder: Path, document: JobDocument) -> bool:
    """Make ``slurm_node.json``; False where it is there already. For a moment it is there and empty.

    Raises:
        StoreError: the folder cannot be written.
    """
    with translated(folder):
        try:
            os.close(os.open(folder / NODE, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))
        except FileExistsError:
            return False
    write_node(folder, document)
    return True


def revoke_attempt(folder: Path) -> bool:
    """Keep a job that has not started from ever running the attempt; False where one has started."""
    return claim_attempt(folder, node_document("", revoked=True))


def read_claim(folder: Path) -> JobDocument | None:
    """``slurm_node.json`` of an attempt that somebody has claimed, who may be in the midst of writing it."""
    end = time.monotonic() + CLAIM_SEC
    while (document := read_job_file(folder, NODE)) is None and time.monotonic() < end:
        time.sleep(0.1)
    return document


def write_node(folder: Path, document: Mapping[str, Any]) -> None:
    """Write ``slurm_node.json``.

    Raises:
        StoreError: the folder cannot be written.
    """
    write_document(folder / NODE, document, "slurm_node.v1")
