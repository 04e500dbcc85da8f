"""What a judge expects of evidence: suite, lock, programs and goldens of a checkout or one of its commits.

What a document says of itself decides nothing: its records are judged under what stands here.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import DocumentError, ParityError, SourceError
from ..inputs.command_program import COMMIT, project_commit
from ..inputs.context import RETRIED, REUSE, RunContext
from ..inputs.prepare import PreparedFile, prepare
from ..judgement.circumstances import Circumstances
from ..judgement.fingerprint import entry_of
from ..suite import proof_file, suite_file
from ..suite.suite import Override
from .candidate import bring_programs, bring_table
from .commit_files import commit_of, unpack

LEFT_OUT = "links that lead out of the commit are no part of it"


@dataclass(frozen=True)
class Expectation:
    """Where a judge's own files are.

    Attributes:
        root: whose ``suites`` and programs are expected. code: where the candidate is; the same folder
            where no other commit was named.
        name: of it in messages. lock, policy: files. backends: folders below ``root`` and ``code``.
        suites: the folder below ``root`` whose suites are expected.
        rehearsal: whether these are made up, with the lock file that stands beside them.
        commit: whose files ``root`` has; empty for a checkout. left_out: its links that lead out of it.
    """

    root: Path
    code: Path
    name: str
    lock: Path
    policy: Path
    backends: tuple[Path, ...]
    suites: Path = Path("suites")
    rehearsal: bool = False
    commit: str = ""
    left_out: tuple[str, ...] = ()

    def rehearsed(self) -> Expectation:
        """The same of a lock file of made-up tables, with the suites that stand beside it."""
        place = self.lock.resolve().parent
        of = next(root for root in (self.root, self.code) if place.is_relative_to(root))
        return replace(self, suites=place.relative_to(of), rehearsal=True)

    def text(self, text: str) -> str:
        """A text that names the files of a commit as git does, and not by the folder of this moment."""
        return text.replace(f"{self.root}/", f"{self.commit[:12]}:") if self.commit else text

    @contextmanager
    def naming(self) -> Iterator[None]:
        """Errors within name the files of a commit so, and the links that were left out."""
        try:
            yield
        except ParityError as error:
            error.what, error.where, error.hint = map(self.text, (error.what, error.where, error.hint))
            error.valid = tuple(map(self.text, error.valid))
            if self.left_out and LEFT_OUT not in error.what:
                error.what = f"{error.what} ({LEFT_OUT}: {', '.join(self.left_out[:3])})"
            error.args = (error.line(),)
            raise

    def _refuse_left_out(self, path: Path) -> None:
        """Stop where a link that was left out stands at a path, or on the way to it."""
        for link in self.left_out:
            if path.is_relative_to(self.root / link):
                raise SourceError(f"{LEFT_OUT}: {link}", where=self.text(str(path)), hint="commit the file")

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
        found = [
            p for p in sorted((self.root / self.suites).glob("**/*.y*ml")) if _is_suite(p, suite_id, track)
        ]
        if len({p.read_bytes() for p in found}) > 1:
            names = " and ".join(p.relative_to(self.root).as_posix() for p in found)
            raise DocumentError(f"{names} have the id {suite_id!r}, and differ", where=self.name)
        if not found:
            self._refuse_left_out(self.root / self.suites)
            for link in self.left_out:
                # What stood there may have been the suite.
                if (self.root / link).is_relative_to(self.root / self.suites):
                    self._refuse_left_out(self.root / link)
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
        entry = entry_of(session, suite_id, "run.json")
        seeds = session["seeds_override"] if chosen else None
        given = entry.get("overrides", {}) if chosen else {}
        kept = ("lock", RETRIED, REUSE)
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
            choices={k: v for k, v in session.get("choices", {}).items() if chosen or k in kept},
            seeds=tuple(seeds) if seeds is not None else None,
            overrides={s: _override_of(o, self.code) for s, o in given.items()},
            candidate=self.code if self.commit else None,
        )
        with self.naming():
            if self.commit:
                bring_programs(suite, self.code, self.root, self.backends)
                bring_table(suite, self.code, self.root)
            return prepare(suite, context), context


def _override_of(given: Mapping[str, Any], root: Path) -> Override:
    return Override(root / given["path"] if given["path"] else None, given["format"])


def _is_suite(path: Path, suite_id: str, track: str) -> bool:
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
        SourceError: the checkout has no such commit, or more than one, or git cannot be asked; a link that
            leads out of the commit stands where its lock or policy has to be.
    """
    sha = commit_of(root, ref)
    with tempfile.TemporaryDirectory(prefix="worldflux-expected-") as name:
        there = Path(name).resolve() / "files"
        there.mkdir()
        left_out = unpack(root, sha, there, there.with_name("index"))
        # Tables of checkouts are not in the commit; the lock pins them.
        if (root / ".worldflux").is_dir() and not os.path.lexists(there / ".worldflux"):
            os.symlink(root / ".worldflux", there / ".worldflux")
        _write_commit(there, root)
        expected = of_checkout(there, lock=lock, policy=policy, backends=backends)
        title = f"the commit {sha[:12]}" if sha.startswith(ref) else f"the commit {ref} ({sha[:12]})"
        expected = replace(expected, code=root, name=title, commit=sha, left_out=left_out)
        for path in (expected.lock, expected.policy):
            expected._refuse_left_out(path)
        yield expected


def _write_commit(there: Path, root: Path) -> None:
    """Of which commit the candidate is, where programs look for it."""
    (there / COMMIT).unlink(missing_ok=True)
    (there / COMMIT).write_text(project_commit(root), encoding="utf-8")
