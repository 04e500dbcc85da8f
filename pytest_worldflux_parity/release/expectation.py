"""What a judge expects of evidence: suite, lock, programs and goldens of a checkout or one of its commits.

What a document says of itself decides nothing: its records are judged under what stands here.
"""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import ParityError, SourceError
from ..inputs.backends import Backend, load_backends
from ..inputs.context import RunContext
from ..inputs.prepare import PreparedFile, PreparedSuite, prepare, source_of
from ..judgement.circumstances import Circumstances
from ..suite import proof_file, suite_file

SUITES = "suites"


@dataclass(frozen=True)
class Expectation:
    """Where a judge's own files are.

    Attributes:
        root: whose ``suites`` and official programs are expected. code: whose candidate is; the same folder
            where no other commit was named.
        name: of it in messages. lock, policy: files. backends: folders below ``root`` and ``code``.
    """

    root: Path
    code: Path
    name: str
    lock: Path
    policy: Path
    backends: tuple[Path, ...]

    def suite_path(self, suite_id: str, track: str) -> Path | None:
        """The suite of an id and a track; None where there is none that can be read."""
        found = [p for p in sorted((self.root / SUITES).glob("**/*.y*ml")) if _is(p, suite_id, track)]
        return found[0] if found else None

    def prepared(
        self, suite: Path, session: Mapping[str, Any], run_dir: Path, circumstances: Circumstances
    ) -> tuple[PreparedFile, RunContext]:
        """A suite as it is expected, and the context in which a run's records are judged.

        No seeds and no tables of the run's command line are in it.

        Args:
            session: the run's ``run.json``. run_dir: with the records.

        Raises:
            ParityError: something that the suite names is absent or broken.
        """
        devices = {e["device"] for e in session["suites"].values()}
        context = RunContext(
            root=self.root,
            track=session["track"],
            run_id=session["run_id"],
            run_dir=run_dir,
            device=sorted(devices)[0],
            lock_path=self.lock,
            backend_folders=tuple(self.root / b for b in self.backends),
            resume=circumstances.resumed,
            names=circumstances.names,
        )
        prepared = prepare(suite, context)
        if self.code != self.root:
            known = load_backends([self.code / b for b in self.backends])
            parts = tuple(_with_candidate(part, known, context) for part in prepared.parts)
            prepared = replace(prepared, parts=parts)
        return prepared, context


def _is(path: Path, suite_id: str, track: str) -> bool:
    try:
        source = suite_file.read(path)
        if source.track != track or track == "campaign":
            return False
        loaded = proof_file.load(path) if track == "proof" else suite_file.load(path)
    except ParityError:
        # Others are for pytest to complain of.
        return False
    return loaded.suite_id == suite_id


def _with_candidate(part: PreparedSuite, known: Mapping[str, Backend], context: RunContext) -> PreparedSuite:
    """A part whose candidate is that of the code, and all else that of the expectation."""
    expected = part.backends.get("worldflux")
    if not isinstance(expected, Backend):
        return part
    own = known.get(expected.adapter)
    if own is None:
        what = f"no backend of the checkout has the adapter id {expected.adapter!r}"
        raise SourceError(what, valid=sorted(known), got=expected.adapter)
    return replace(
        part,
        backends={**part.backends, "worldflux": own},
        sources={**part.sources, "worldflux": source_of(own, context)},
        match=replace(part.match, backend=own) if part.match is not None else None,
    )


def of_checkout(
    root: Path,
    *,
    lock: Path | None = None,
    policy: Path | None = None,
    backends: Sequence[Path] = (Path("backends"),),
) -> Expectation:
    """The expectation of a checkout as its files are; ``lock`` and ``policy`` in place of its own."""
    reports = root / "reports" / "parity"
    return Expectation(
        root=root,
        code=root,
        name="this checkout",
        lock=lock or reports / "upstream_lock.json",
        policy=policy or reports / "suite_policy.json",
        backends=tuple(backends),
    )


@contextmanager
def of_commit(
    root: Path, ref: str, *, lock: Path | None = None, policy: Path | None = None
) -> Iterator[Expectation]:
    """The expectation of another commit of a checkout, whose candidate is expected as its files are.

    Raises:
        SourceError: the checkout has no such commit, or git cannot be asked.
    """
    with tempfile.TemporaryDirectory(prefix="worldflux-expected-") as name:
        there = Path(name).resolve()
        _unpack(_archive(root, ref), there)
        # Tables of checkouts are not in the commit; the lock pins them.
        if (root / ".worldflux").is_dir() and not (there / ".worldflux").exists():
            os.symlink(root / ".worldflux", there / ".worldflux")
        expected = of_checkout(there, lock=lock, policy=policy)
        yield replace(expected, code=root, name=f"the commit {ref}")


def _archive(root: Path, ref: str) -> bytes:
    mend = "name a commit or branch that is there: git fetch, then --expect-from origin/main"
    if ref.startswith("-"):
        raise SourceError("is no name of a commit", where=ref, mend=mend)
    env = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    command = ["git", "-C", str(root), "archive", "--format=tar", f"{ref}^{{commit}}"]
    try:
        done = subprocess.run(command, capture_output=True, env=env, check=False)
    except OSError as error:
        raise SourceError(f"git cannot be asked: {error.strerror}", where=ref) from None
    if done.returncode != 0:
        raise SourceError("is no commit of this checkout", where=ref, mend=mend)
    return done.stdout


def _unpack(data: bytes, into: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        archive.extractall(into, filter="data")
