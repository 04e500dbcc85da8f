"""Which files of a run go into a bundle, under which names, and in which form."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import EvidenceError, TamperedError
from ..execution.records import REUSED_FOLDER
from ..execution.store import named_by, safe_name
from . import container
from .reading import read_content
from .statement import SIGNED, UNSIGNED

RUN, INPUTS = "run/", "inputs/"
TABLES = f"{INPUTS}tables/"
EQUIVALENCE, VERDICT = "equivalence_report.json", "run.json"
# Of a proof, and of a quick run ``run.json`` and its components.
REPORTS = (
    VERDICT,
    "coverage_report.json",
    "validity_report.json",
    "component_match_report.json",
    EQUIVALENCE,
    "equivalence_report.md",
    "stability_report.json",
)
# The bundle itself, beside the documents of a suite.
BUNDLE = "evidence_bundle.zip"
LINES = "parity_runs.jsonl"
SESSIONS = "sessions.jsonl"
# Of the attempts: a folder for each task.
ATTEMPTS = "attempts"
ENVIRONMENT = "environment.json"
CIRCUMSTANCES = "circumstances.json"
# What the run was sealed with, and what was recorded from the official code: not only files name these by
# their hash, but also requests, whose ids are hashes themselves.
VERBATIM = (
    f"{INPUTS}suite.yaml", f"{INPUTS}upstream_lock.json", f"{INPUTS}suite_policy.json", f"{INPUTS}golden/",
    f"{INPUTS}backends/", TABLES,
)  # fmt: skip
_RECORDED = re.compile(rf"{RUN}[^/]+/component_match[^/]*/golden/manifest\.json")

_OF_MATCH = (
    "match_request.json", "match.json", "outputs.npz", "perturbed.npz", "match_run.json",
    "match_run.failed.json",
)  # fmt: skip
# Recorded from a run's own checkpoint; what a match program is given of a golden is not collected.
_OF_GOLDEN = ("manifest.json", "arrays.npz")


def _any_of(names: Iterable[str]) -> str:
    return "|".join(map(re.escape, names))


def table_member(system: str, path: Path) -> str:
    """The member for a file of a side's table; ``path``: its name, below that of the table's folder."""
    return f"{TABLES}{system}/{'/'.join(map(safe_name, path.parts))}"


def place_of(member: str) -> str:
    """Where a member is unpacked: files of tables under the names that they had, which may name tasks.

    Raises:
        TamperedError: no file of a table is named so.
    """
    if not member.startswith(TABLES):
        return member
    system, *parts = member.removeprefix(TABLES).split("/")
    try:
        return "/".join((TABLES + system, *map(named_by, parts)))
    except ValueError as error:
        raise TamperedError(f"{member}: {error}") from None


# A suite of an earlier run of which results count, within the folder of the suite that counts them.
_KEPT = f"{REUSED_FOLDER}/[^/]+/[^/]+/"

# Every member that is written here, but for the statement: what else stands in a bundle, nobody reads.
_KNOWN = (
    re.escape(ENVIRONMENT),
    rf"{INPUTS}(suite\.yaml|upstream_lock\.json|suite_policy\.json)",
    rf"{INPUTS}golden/[^/]+/({_any_of(_OF_GOLDEN)})",
    rf"{INPUTS}backends/[^/]+/backend\.yaml",
    rf"{TABLES}[^/]+/.+",
    rf"{INPUTS}history/\d+\.json",
    rf"{RUN}run\.json",
    rf"{RUN}[^/]+/({_any_of((LINES, SESSIONS, CIRCUMSTANCES, 'seed_plan.json', *REPORTS))})",
    rf"{RUN}[^/]+/({_KEPT})?{ATTEMPTS}/[^/]+/\d+\.jsonl",
    rf"{RUN}[^/]+/{REUSED_FOLDER}/[^/]+/run\.json",
    rf"{RUN}[^/]+/{_KEPT}({_any_of((LINES, SESSIONS))})",
    rf"{RUN}[^/]+/component_match[^/]*/golden/({_any_of(_OF_GOLDEN)})",
    rf"{RUN}[^/]+/component_match[^/]*/(.+/)?({_any_of(_OF_MATCH)})",
)


def unknown_members(names: Iterable[str]) -> Iterator[str]:
    """The members among names that this plugin does not write."""
    known = re.compile(
        "|".join(f"(?:{pattern})" for pattern in (*_KNOWN, re.escape(SIGNED), re.escape(UNSIGNED)))
    )
    return (name for name in names if not known.fullmatch(name))


# Documents of a run and its inputs, in bytes at the most; attempts, their log, arrays and tables are bounded
# by what any member may have.
MOST_DOCUMENT = 64 << 20
_LARGE_MEMBER = re.compile(
    rf"{RUN}[^/]+/({_KEPT})?({re.escape(LINES)}|{ATTEMPTS}/.+)|{INPUTS}(tables|history)/.+|.+\.npz"
)


def most_bytes(name: str) -> int:
    """What a member of this name may unpack to."""
    large = _LARGE_MEMBER.fullmatch(name) or (name.startswith(RUN) and name.endswith(REPORTS))
    return container.MAX_MEMBER_BYTES if large else MOST_DOCUMENT


@dataclass(frozen=True)
class Member:
    """One file of a bundle before it is written.

    Attributes:
        source: where its bytes are.
    """

    name: str
    source: Path | bytes

    @property
    def is_text(self) -> bool:
        return not self.name.endswith((".npz", ".gz"))

    @property
    def is_verbatim(self) -> bool:
        return self.name.startswith(VERBATIM) or _RECORDED.fullmatch(self.name) is not None

    def original(self) -> bytes:
        """All of its bytes as they are.

        Raises:
            EvidenceError: they cannot be read, or are too many.
        """
        return self.source if isinstance(self.source, bytes) else read_content(self.source)

    def text(self) -> str:
        """As :meth:`original`, as a text."""
        return self.original().decode("utf-8", "replace")


def run_members(run_dir: Path, suite_id: str) -> Iterator[Member]:
    """The members that come from a run directory, but for its attempts and their log.

    Raises:
        EvidenceError: the run was not judged, or a folder cannot be read.
    """
    folder, below = run_dir / suite_id, f"{RUN}{suite_id}/"
    verdict = next((n for n in (EQUIVALENCE, VERDICT) if (folder / n).is_file()), EQUIVALENCE)
    for path in (run_dir / "run.json", folder / verdict):
        if not path.is_file():
            hint = "the bundle is built after the verdict, from what it rests on"
            raise EvidenceError(f"{path.name} is absent", where=str(path), hint=hint)
    yield Member(f"{RUN}run.json", run_dir / "run.json")
    for name in (SESSIONS, CIRCUMSTANCES, "seed_plan.json", *REPORTS):
        if (folder / name).exists():
            yield Member(f"{below}{name}", folder / name)
    yield from match_members(run_dir, suite_id)
    for kept, suite in kept_logs(run_dir, suite_id):
        place = f"{RUN}{kept.relative_to(run_dir).as_posix()}"
        yield Member(f"{place}/run.json", kept / "run.json")
        for name in (LINES, SESSIONS):
            yield Member(f"{place}/{suite}/{name}", kept / suite / name)


def kept_logs(run_dir: Path, suite_id: str) -> Iterator[tuple[Path, str]]:
    """(run directory, suite) of each log of an earlier run that is kept, in the order of their names."""
    found = (run_dir / suite_id / REUSED_FOLDER).glob(f"*/*/{LINES}")
    places = {path.parents[1]: path.parent.name for path in found if not path.parents[1].name.startswith(".")}
    yield from sorted(places.items(), key=lambda place: f"{place[0].name}/")


def expected_names(suite_id: str, tasks: Iterable[str], match_folders: Iterable[str]) -> Iterator[str]:
    """Names of the members that a run of a suite is going to leave, as far as they can be told before it.

    Args:
        match_folders: of its component matches, within the folder of the suite.
    """
    below = f"{RUN}{suite_id}/"
    yield from (f"{below}{name}" for name in (LINES, SESSIONS, CIRCUMSTANCES, *REPORTS))
    yield from (f"{below}{ATTEMPTS}/{safe_name(task)}/0001.jsonl" for task in tasks)
    for folder in match_folders:
        yield from (f"{below}{folder}/golden/{name}" for name in _OF_GOLDEN)
        yield from (f"{below}{folder}/attempt_1/{name}" for name in _OF_MATCH)


def refuse_names(names: Iterable[str], where: str) -> None:
    """Refuse names that the members of one bundle cannot have; asked before the first run and after the last.

    Raises:
        EvidenceError: one of them cannot stand in it, or two cannot stand side by side.
    """
    for problem in container.name_problems([*names, SIGNED, UNSIGNED]):
        hint = "rename it: in the suite, or the folder that it is named after"
        raise EvidenceError(f"evidence cannot hold {problem}", where=where, hint=hint)


def match_members(run_dir: Path, suite_id: str) -> Iterator[Member]:
    """Those of component matches: what was recorded from a run's own checkpoint, and what matches left."""
    folder, below = run_dir / suite_id, f"{RUN}{suite_id}/"
    for part in sorted(p.name for p in folder.glob("component_match*") if p.is_dir()):
        for path in (folder / part / "golden" / file for file in _OF_GOLDEN):
            if path.is_file():
                yield Member(_member_name(below, path, folder), path)
        for path in _files_named(folder / part, _OF_MATCH):
            yield Member(_member_name(below, path, folder), path)


def input_members(inputs: Mapping[str, Path | bytes]) -> Iterator[Member]:
    """The members that the caller names.

    Raises:
        EvidenceError: a name does not stand below ``inputs/``.
    """
    for name, source in inputs.items():
        if not name.startswith(INPUTS):
            raise EvidenceError(f"an input is named {INPUTS}...", where=name, got=name)
        # Whoever judges names it, by a link or not; a run's own files are none.
        yield Member(name, source.resolve() if isinstance(source, Path) else source)


def _files_named(folder: Path, names: Iterable[str]) -> Iterator[Path]:
    """The files of these names below a folder, in order."""
    wanted = frozenset(names)
    for here, folders, files in os.walk(folder):
        # A hidden folder is a lock or a half-written thing, never part of a result.
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        yield from (Path(here, f) for f in sorted(files) if f in wanted)


def _member_name(below: str, path: Path, folder: Path) -> str:
    return below + path.relative_to(folder).as_posix()
