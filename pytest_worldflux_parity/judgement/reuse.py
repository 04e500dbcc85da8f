"""Results of earlier runs that count in this one: what such a run wrote, of the same program, the first.

What is kept of an earlier run is a small run directory: its ``run.json``, the log with its sessions, and the
attempts that count. Before a run they stand where the earlier one left them (:mod:`~..session.reuse`), after
it in the run that counts them, or in its evidence; the same is asked of both.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from .. import schemas, wire
from ..errors import ParityError, StoreError
from ..execution.attempt_files import AttemptFiles
from ..execution.attempts import request_id
from ..execution.chain import HASH_BEFORE
from ..execution.records import (
    REUSED,
    REUSED_FOLDER,
    SUCCESS,
    line_sha256,
    reused_line,
    reused_place,
    unreadable,
)
from ..execution.store import Line, Stored, SuiteStore, attempt_place
from ..inputs.context import REUSE, RunContext
from ..inputs.prepare import PreparedSuite
from ..inputs.trees import Tree
from ..suite.pairs import RunKey
from ..suite.suite import BackendSide
from .fingerprint import entry_of, read_session
from .gates import Finding, line_finding
from .run_log import UNCHAINED, run_log, sealed_log
from .stored_lines import line_findings

NOT_SHOWN, FOR_CLAIM = "reuse_not_shown", "results_reused"
ONLY_WITHOUT_CLAIM = (
    "a claim counts its looks, so results are reused for quick suites and `claim: none` alone"
)
# Of ``run.json``, per program: what it is, its files, and what it names, reads and has installed.
_SEALED = {"sources": "another source", "trees": "other files", "programs": "another program or packages"}
_HEAD_DIGITS = 12


@dataclass(frozen=True)
class Wanted:
    """A run that a session asks for.

    Attributes:
        run: system, task and seed. program: the key of its program in ``run.json``.
    """

    request_id: str
    run: RunKey
    adapter: str
    program: str


def list_wanted(prepared: PreparedSuite, context: RunContext, systems: Container[str]) -> Iterator[Wanted]:
    """The runs of the live ``systems`` that a part asks for."""
    for pair in prepared.pairs:
        for system in prepared.suite.live_systems:
            side = prepared.suite.sides[system]
            if system in pair.systems and system in systems and isinstance(side, BackendSide):
                asked = request_id(prepared, pair, system, context)
                run = system, pair.task.id, pair.seed
                yield Wanted(asked, run, side.adapter, f"{prepared.key}.{system}")


@dataclass(frozen=True)
class EarlierLog:
    """The log of one suite in an earlier run.

    Attributes:
        run_dir: where its run stands, or is kept. files: of its attempts.
        session: its ``run.json``, of the sha256 ``session_sha256``; entry: what that says of the suite.
    """

    run_dir: Path
    suite_id: str
    session: Mapping[str, Any]
    session_sha256: str
    entry: Mapping[str, Any]
    stored: Stored = field(repr=False)
    files: AttemptFiles = field(repr=False)

    @property
    def run_id(self) -> str:
        return str(self.session["run_id"])

    @property
    def name(self) -> str:
        """Under which it is kept: another log, or a longer one, has another name."""
        return f"{self.stored.chain.head[:_HEAD_DIGITS]}.{self.run_id}"

    @cached_property
    def answers(self) -> Mapping[str, list[Line]]:
        """request_id -> the attempts at it that this run made itself, oldest first."""
        found: dict[str, list[Line]] = {}
        for line in self.stored.lines:
            if REUSED not in line:
                found.setdefault(line["request_id"], []).append(line)
        return found

    def success(self, asked: str) -> Line | None:
        """The first success of a request that this run made itself."""
        return next((line for line in self.answers.get(asked, ()) if line["status"] == SUCCESS), None)

    def age(self, line: Line) -> tuple[str, str, str]:
        """By which the earliest success is told: when it was stored, and of two at once which run's."""
        return str(line.get("timestamp")), self.run_id, self.name


def read_log(run_dir: Path, suite_id: str, files: AttemptFiles) -> EarlierLog:
    """The log of a suite in an earlier run.

    Raises:
        StoreError: something of it cannot be read.
    """
    session = read_session(run_dir)
    sha256 = wire.file_sha256(run_dir / "run.json") or ""
    entry = entry_of(session, suite_id, str(run_dir / "run.json"))
    return EarlierLog(run_dir, suite_id, session, sha256, entry, SuiteStore(run_dir, suite_id).read(), files)


def find_doubt(origin: EarlierLog) -> str:
    """Why nothing of a log can be believed; empty where it is whole."""
    stored = origin.stored
    if problems := run_log(stored, sealed_log(origin.entry)).problems:
        return problems[0]
    if stored.chain.unchained:
        return UNCHAINED.format(stored.chain.unchained)
    if stored.unreadable or stored.repeated:
        return f"{len(stored.unreadable) + len(stored.repeated)} lines of its log cannot be read"
    if any(line.get("run_id") != origin.run_id for line in stored.lines):
        return f"its log has lines of another run than {origin.run_id!r}"
    return ""


def find_difference(earlier: Mapping[str, Any], entry: Mapping[str, Any], program: str) -> str:
    """How the program of an earlier run is another than the one that is sealed now; empty where it is not.

    Args:
        earlier, entry: what the earlier run, and the one that counts its results, sealed of the suite.
    """
    for kind, text in _SEALED.items():
        own, other = ((one.get(kind) or {}).get(program) for one in (entry, earlier))
        if own is None or own != other:
            return f"it ran {text}"
    environment = entry["programs"][program].get("environment") or {}
    if not environment.get("sha256"):
        return "nothing shows which packages its program ran with"
    return f"it ran on {earlier['device']}" if entry["device"] != earlier["device"] else ""


def find_line_doubt(origin: EarlierLog, line: Line, wanted: Wanted, device: str) -> str:
    """Why a success is not shown to be what its program wrote; empty where it is."""
    if why := unreadable(line):
        return f"its line cannot be read: {why}"
    found = line_findings(line, wanted.run, wanted.adapter, device, origin.files, origin.run_id)
    if found:
        return found[0].line()
    if line.get("program_sha256") != Tree(origin.entry["trees"][wanted.program]).sha256:
        return "nothing shows that its program ran from the files that were sealed"
    place = attempt_place(line["task_id"], line["seed"], line["system"], line["attempt"])
    path = f"{origin.suite_id}/{place}/request.json"
    try:
        asked = wire.request_from_dict(wire.object_in(origin.files.read(path), path)).request_id
    except (OSError, ParityError, wire.WireError) as error:
        return f"its request cannot be read: {error}"
    return "" if asked == wanted.request_id else "its request.json asks for something else"


# --- what a run has counted ---


@dataclass(frozen=True)
class Reuse:
    """What a part of a suite took from earlier runs.

    Attributes:
        runs: id of each run -> how many of its results count, of ``total``.
        not_named: ids of runs beside them that answered the same requests, and were not named.
        others: every other attempt at these requests that those runs made. findings: what does not hold.
    """

    runs: Mapping[str, int] = field(default_factory=dict)
    total: int = 0
    not_named: tuple[str, ...] = ()
    others: tuple[Line, ...] = ()
    findings: tuple[Finding, ...] = ()

    @property
    def sentence(self) -> str:
        """For card and documents; empty where nothing was taken."""
        count = sum(self.runs.values())
        if not count:
            return ""
        more = sum(line["status"] == SUCCESS for line in self.others)
        of = f"{count} of {self.total} results are reused from {', '.join(self.runs)}"
        told = f"; {more} further successes of the same requests, not used" if more else ""
        beside = f"; not named, and beside: {', '.join(self.not_named)}" if self.not_named else ""
        return f"{of}{told}{beside}"


def judge_reuse(
    prepared: PreparedSuite,
    context: RunContext,
    used: Mapping[RunKey, Line],
    entry: Mapping[str, Any],
    files: AttemptFiles,
) -> Reuse:
    """What the lines that count come from, held against what is kept of the runs that made them.

    Args:
        used: the line of each run that counts. entry: what this run sealed of the suite.
    """
    kept = _Kept(context.run_dir, files, (context.run_id, prepared.suite.suite_id))
    wanted = {w.run: w for w in list_wanted(prepared, context, prepared.suite.live_systems)}
    held: list[_Held] = []
    findings: list[Finding] = []
    for run, line in used.items():
        if REUSED not in line:
            continue
        try:
            held.append(_hold_line(line, wanted.get(run), kept, entry))
        except (OSError, ParityError) as error:
            text = error.line() if isinstance(error, ParityError) else str(error)
            findings.append(line_finding(NOT_SHOWN, text, line))
        if REUSE not in context.choices:
            findings.append(line_finding(NOT_SHOWN, "run.json does not say that results were reused", line))
    others = {line_sha256(line): line for one in held for line in one.others}
    beside = dict.fromkeys(name for one in held for name in one.not_named)
    runs = Counter(one.origin.run_id for one in held)
    return Reuse(runs, len(used), (*beside,), tuple(others.values()), tuple(findings))


class _Kept:
    """The earlier runs that a run keeps, each read once; ``owner``: its id, and its suite's."""

    def __init__(self, run_dir: Path, files: AttemptFiles, owner: tuple[str, str]) -> None:
        self.owner = owner
        self._run_dir = run_dir
        self._files = files
        self._read: dict[str, EarlierLog] = {}

    def origin(self, name: str) -> EarlierLog:
        """One of those that lines name.

        Raises:
            StoreError: it is absent, cannot be believed, or is another one.
        """
        place = f"{self.owner[1]}/{REUSED_FOLDER}/{name}"
        if place not in self._read:
            self._read[place] = self._read_whole(place, name)
        return self._read[place]

    def _read_whole(self, place: str, name: str) -> EarlierLog:
        run_dir = self._run_dir / place
        suites = [entry["suite_id"] for entry in read_session(run_dir)["suites"].values()]
        there = [suite for suite in suites if (run_dir / suite / "parity_runs.jsonl").is_file()]
        if len(there) != 1:
            raise StoreError(f"keeps {len(there)} logs of an earlier run, and not one", where=place)
        origin = read_log(run_dir, there[0], self._files.below(place))
        if doubt := find_doubt(origin):
            raise StoreError(doubt, where=place)
        if origin.name != name:
            raise StoreError(f"is the log {origin.name}", where=place)
        return origin


@dataclass(frozen=True)
class _Held:
    """A line whose origin is what it says; ``others``: the other attempts at its request."""

    origin: EarlierLog
    not_named: tuple[str, ...]
    others: tuple[Line, ...]


def _hold_line(line: Line, wanted: Wanted | None, kept: _Kept, entry: Mapping[str, Any]) -> _Held:
    """Hold a line against the run that made it.

    Raises:
        StoreError: it is not what that run wrote, or not the first.
    """
    where = reused_place(line)
    if wanted is None or (line.get("run_id"), line.get("suite_id")) != kept.owner:
        raise StoreError("the line is of another run or suite", where=where)
    schemas.check(dict(line), "run_line.v1", lambda at: "the reused line", StoreError)
    said = line[REUSED]
    origin = kept.origin(said["kept"])
    original = origin.success(wanted.request_id)
    if original is None or line_sha256(original) != said["line_sha256"]:
        raise StoreError(f"the line is not the first success of {origin.run_id}", where=where)
    again = reused_line(original, line["run_id"], line["suite_id"], said)
    if {**again, HASH_BEFORE: ""} != {**line, HASH_BEFORE: ""}:
        raise StoreError(f"the line is not the one of {origin.run_id}", where=where)
    sealed = (origin.run_id, origin.suite_id, origin.session_sha256)
    if tuple(said[key] for key in ("run_id", "suite_id", "session_sha256")) != sealed:
        raise StoreError(f"run.json is not that of {said['run_id']} when it was counted", where=where)
    doubt = find_difference(origin.entry, entry, wanted.program) or find_line_doubt(
        origin, original, wanted, str(entry["device"])
    )
    if doubt:
        raise StoreError(doubt, where=where)
    named, beside = (tuple(kept.origin(name) for name in said[key]) for key in ("named", "not_named"))
    _refuse_later(origin, original, named, wanted.request_id, where)
    others = [x for o in (origin, *named, *beside) for x in o.answers.get(wanted.request_id, ())]
    # The folder of a run may have been copied.
    others = [x for x in others if line_sha256(x) != said["line_sha256"]]
    return _Held(origin, tuple(o.run_id for o in beside), tuple(others))


def _refuse_later(
    origin: EarlierLog, original: Line, named: Iterable[EarlierLog], asked: str, where: str
) -> None:
    for other in named:
        first = other.success(asked)
        if first is not None and other.age(first) < origin.age(original):
            raise StoreError(f"{other.run_id} has an earlier success of the same request", where=where)
