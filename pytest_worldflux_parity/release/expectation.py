"""What a judge expects of evidence: suite, lock, programs and goldens of a checkout or one of its commits.

What a document says of itself decides nothing: its records are judged under what stands here.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import DocumentError, ParityError, SourceError
from ..inputs.backends import load_backends
from ..inputs.command_program import COMMIT, project_commit
from ..inputs.context import RunContext
from ..inputs.prepare import PreparedFile, prepare
from ..judgement.circumstances import Circumstances
from ..suite import proof_file, suite_file
from ..suite.suite import ArtifactSide, Override


@dataclass(frozen=True)
class Expectation:
    """Where a judge's own files are.

    Attributes:
        root: whose ``suites`` and programs are expected. code: where the candidate's table is; the same
            folder where no other commit was named.
        name: of it in messages. lock, policy: files. backends: folders below ``root`` and ``code``.
        suites: the folder below ``root`` whose suites are expected.
        rehearsal: whether these are made up, with the lock file that stands beside them.
    """

    root: Path
    code: Path
    name: str
    lock: Path
    policy: Path
    backends: tuple[Path, ...]
    suites: Path = Path("suites")
    rehearsal: bool = False

    def rehearsed(self) -> Expectation:
        """The same of a lock file of made-up tables, with the suites that stand beside it."""
        return replace(self, suites=self.lock.resolve().parent.relative_to(self.root), rehearsal=True)

    def has(self, path: Path) -> bool:
        """Whether a file of the candidate that a suite names is there."""
        return self._own(Path(os.path.normpath(path))).exists()

    def _own(self, path: Path) -> Path:
        """Where a file of the candidate is that a suite below ``root`` names."""
        return self.code / path.relative_to(self.root) if path.is_relative_to(self.root) else path

    def suite_path(self, suite_id: str, track: str) -> Path | None:
        """The suite of an id and a track; None where there is none that can be read.

        Raises:
            DocumentError: there are two that differ.
        """
        found = [p for p in sorted((self.root / self.suites).glob("**/*.y*ml")) if _is(p, suite_id, track)]
        if len({p.read_bytes() for p in found}) > 1:
            names = " and ".join(p.relative_to(self.root).as_posix() for p in found)
            raise DocumentError(f"{names} have the id {suite_id!r}, and differ", where=self.name)
        return found[0] if found else None

    def prepared(
        self,
        suite: Path,
        suite_id: str,
        session: Mapping[str, Any],
        run_dir: Path,
        circumstances: Circumstances,
        *,
        chosen: bool = False,
    ) -> tuple[PreparedFile, RunContext]:
        """A suite as it is expected, and the context in which a run's records are judged.

        Args:
            session: the run's ``run.json``. run_dir: with the records.
            chosen: whether the seeds and tables of the run's command line stand in place of the suite's.

        Raises:
            ParityError: something that the suite names is absent or broken.
        """
        entry = next(e for e in session["suites"].values() if e["suite_id"] == suite_id)
        seeds = session["seeds_override"] if chosen else None
        given = entry.get("overrides", {}) if chosen else {}
        context = RunContext(
            root=self.root,
            track=session["track"],
            run_id=session["run_id"],
            run_dir=run_dir,
            device=entry["device"],
            lock_path=self.lock,
            backend_folders=tuple(self.root / b for b in self.backends),
            resume=circumstances.resumed,
            names=circumstances.names,
            choices={k: v for k, v in session.get("choices", {}).items() if chosen or k == "lock"},
            seeds=tuple(seeds) if seeds is not None else None,
            overrides={s: _override(o, self.code) for s, o in given.items()},
        )
        if self.code != self.root:
            self._bring_table(suite)
        return prepare(suite, context), context

    def _bring_table(self, suite: Path) -> None:
        """The candidate's table, which is a part of the code, into a folder of another commit."""
        side = suite_file.load(suite).sides["worldflux"] if suite_file.read(suite).track == "quick" else None
        if not isinstance(side, ArtifactSide):
            return
        there = Path(os.path.normpath(side.path))
        own = self._own(there)
        if own.exists() and own != there:
            there.parent.mkdir(parents=True, exist_ok=True)
            if there.is_dir() and not there.is_symlink():
                shutil.rmtree(there)
            there.unlink(missing_ok=True)
            os.symlink(own, there)


def _override(given: Mapping[str, Any], root: Path) -> Override:
    return Override(root / given["path"] if given["path"] else None, given["format"])


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
    root: Path,
    ref: str,
    *,
    lock: Path | None = None,
    policy: Path | None = None,
    backends: Sequence[Path] = (Path("backends"),),
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
        _bring_candidate(root, there, backends)
        expected = of_checkout(there, lock=lock, policy=policy, backends=backends)
        yield replace(expected, code=root, name=f"the commit {ref}")


def _bring_candidate(root: Path, there: Path, backends: Sequence[Path]) -> None:
    """The candidate's programs, and of which commit they are, from a checkout into a folder of another one.

    Raises:
        BackendError: the checkout's backends cannot be read.
    """
    for folder in _candidates(there, backends):
        shutil.rmtree(folder)
    for folder in _candidates(root, backends):
        shutil.copytree(folder, there / folder.relative_to(root), symlinks=True, dirs_exist_ok=True)
    (there / COMMIT).write_text(project_commit(root), encoding="utf-8")


def _candidates(root: Path, backends: Sequence[Path]) -> list[Path]:
    """The folders of a checkout's candidates."""
    folders = [place for b in backends if (place := root / b).is_relative_to(root) and place.is_dir()]
    return [b.folder for b in load_backends(folders).values() if b.system == "worldflux"]


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
