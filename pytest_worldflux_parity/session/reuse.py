"""Before a run: which of its results earlier runs have made already, and what is kept of those runs.

The earliest success of a request counts. Whoever names one of several runs does not choose by that: those
that stand beside it are looked at too, and are told of. Where an earlier result may be there and cannot be
believed, the run is made anew.
"""

from __future__ import annotations

import glob
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from ..errors import ParityError, StoreError, SuiteError
from ..execution.attempt_files import AttemptFolders
from ..execution.chain import prefix_of
from ..execution.left_files import LEFT_LOGS, MOST_RECORD, open_left, read_left
from ..execution.records import REUSED_FOLDER, line_sha256, reused_line
from ..execution.sessions import SESSIONS
from ..execution.store import Line, SuiteStore, attempt_place, relative, translated
from ..inputs.context import REUSE, RunContext
from ..inputs.prepare import PreparedFile, PreparedSuite
from ..judgement.fingerprint import fingerprint, prepare_sealed, read_session
from ..judgement.required_files import missing_files
from ..judgement.reuse import (
    ONLY_WITHOUT_CLAIM,
    EarlierLog,
    Wanted,
    find_difference,
    find_doubt,
    find_line_doubt,
    list_wanted,
    read_log,
)
from ..judgement.run_log import run_log
from ..judgement.stored_lines import unlisted_attempts
from ..suite.pairs import Pair
from .earlier import earlier_logs
from .programs import describe_programs, plugin_files


@dataclass(frozen=True)
class Found:
    """A result that an earlier run made.

    Attributes:
        line: of its log. named, beside: the other runs that answered its request.
    """

    origin: EarlierLog
    line: Line
    named: tuple[EarlierLog, ...]
    beside: tuple[EarlierLog, ...]


@dataclass(frozen=True)
class ReusePlan:
    """What a suite takes from earlier runs.

    Attributes:
        left_out: ids of runs that answered requests of the suite, and whose answers do not count: nobody
            names them, or they cannot be believed.
        told: sentences on all of that.
    """

    suite_id: str
    found: tuple[Found, ...]
    left_out: tuple[str, ...]
    told: tuple[str, ...]

    @property
    def choice(self) -> str:
        """As the verdict tells of it; empty where nothing is taken."""
        runs = dict.fromkeys(one.origin.run_id for one in self.found)
        more = f" and not of {', '.join(self.left_out)}" if self.left_out else ""
        return f"results of the earlier runs {', '.join(runs)}{more} (--parity-reuse)" if runs else ""


def refuse_reuse(file: PreparedFile, context: RunContext) -> None:
    """Refuse that a suite takes results of earlier runs which must not.

    Raises:
        SuiteError: it claims parity, or is a campaign.
    """
    claims = file.proof is not None and file.proof.is_claim
    if context.reuse and (claims or file.campaign is not None):
        what = ONLY_WITHOUT_CLAIM if claims else "a campaign goes on with its own run, and takes no results"
        hint = "leave --parity-reuse (parity_reuse) out" + ("" if claims else ", or name --parity-resume")
        raise SuiteError(what, where=str(file.suite.path), hint=hint)


def plan_reuse(file: PreparedFile, entry: Mapping[str, Any], context: RunContext) -> ReusePlan:
    """What a suite takes from earlier runs, as they are now.

    Args:
        entry: what the session seals of the suite.

    Raises:
        StoreError: the run's own log cannot be read.
    """
    search = _Search(file, entry, context)
    runs = [(part, pair, wanted) for part in file.parts for pair, wanted in _list_not_begun(part, context)]
    found = tuple(one for run in runs if (one := search.choose(*run)) is not None)
    counts = Counter(one.origin.run_id for one in found)
    of_runs = "".join(f", {count} of {run}" for run, count in counts.items())
    told = [f"{file.suite_id}: {len(found)} of {len(runs)} runs are reused{of_runs}", *search.sentences()]
    return ReusePlan(file.suite_id, found, tuple(dict.fromkeys(search.left_out)), tuple(told))


def plan_all(
    files: Mapping[str, PreparedFile], entries: Mapping[str, Mapping[str, Any]], context: RunContext
) -> Sequence[ReusePlan]:
    """The plans of suites, by their node ids; nothing where no earlier run is named."""
    return [plan_reuse(file, entries[n], context) for n, file in files.items()] if context.reuse else []


def foretell(context: RunContext, paths: Mapping[str, Path]) -> Iterator[str]:
    """What a session of suites would take from earlier runs; nothing is written.

    Raises:
        ParityError: a suite or what it names is not what it must be.
    """
    for path in paths.values():
        file = prepare_sealed(path, context)
        entry = describe_programs(fingerprint(file, context), file, context)
        yield from plan_reuse(file, entry, context).told


def _list_not_begun(part: PreparedSuite, context: RunContext) -> Iterator[tuple[Pair, Wanted]]:
    """The runs that nobody has begun; what a live match begins from has to be of this run."""
    store = SuiteStore(context.run_dir, part.suite.suite_id)
    stored = store.read()
    systems = [s for s in context.systems if s in part.backends and not (part.live and s == "official")]
    pairs = {(pair.task.id, pair.seed): pair for pair in part.pairs}
    for wanted in list_wanted(part, context, systems):
        system, task, seed = wanted.run
        begun = stored.attempts(task, seed, system) or store.started(task, seed, system)
        if system in pairs[task, seed].systems and not begun:
            yield pairs[task, seed], wanted


class _Search:
    """The logs of earlier runs, and why results of them do not count.

    Attributes:
        told: (run, why) -> how many results do not count. left_out: ids of runs that may have been first.
        beside: run -> how many of the requests it answered, that is not named.
    """

    def __init__(self, file: PreparedFile, entry: Mapping[str, Any], context: RunContext) -> None:
        self._file = file
        self._entry = entry
        self._context = context
        self.told: Counter[tuple[str, str]] = Counter()
        self.beside: Counter[str] = Counter()
        self.left_out: list[str] = []
        self._logs = [*self._read_logs()]
        self._doubt = cache(lambda index: _find_doubt_here(self._logs[index][0]))

    def _read_logs(self) -> Iterator[tuple[EarlierLog, bool]]:
        """Every log of an earlier run, and whether it is named."""
        for run_dir, is_named in find_runs(self._context):
            try:
                session = read_session(run_dir)
                entries = session["suites"].values() if session["track"] != "campaign" else ()
                for entry in entries:
                    path = run_dir / entry["suite_id"] / "parity_runs.jsonl"
                    if path.exists() and (is_named or self._may_be_same(entry)):
                        yield read_log(run_dir, entry["suite_id"], AttemptFolders(run_dir)), is_named
            except ParityError as error:
                self.told[run_dir.name, error.line()] += 1

    def _may_be_same(self, earlier: Mapping[str, Any]) -> bool:
        """Whether a program of an earlier run is one of this; else its log says nothing."""
        programs = self._entry.get("programs", {})
        return any(not find_difference(earlier, self._entry, program) for program in programs)

    def choose(self, part: PreparedSuite, pair: Pair, wanted: Wanted) -> Found | None:
        """The earliest success of a request; None where there is none that counts."""
        same = [
            index
            for index, (origin, is_named) in enumerate(self._logs)
            if wanted.request_id in origin.answers and self._is_same(origin, is_named, wanted)
        ]
        logs = [self._logs[index] for index in same]
        answers = [(o, is_named, line) for o, is_named in logs if (line := o.success(wanted.request_id))]
        for other in (o for o, is_named, _ in answers if not is_named):
            self.beside[other.run_id] += 1
            self.left_out.append(other.run_id)
        candidates = [(o, line) for o, is_named, line in answers if is_named]
        if not candidates:
            return None
        # Of several one that cannot be believed may be the earliest.
        origin, line = min(candidates, key=lambda one: one[0].age(one[1]))
        for index in same:
            if doubt := self._doubt(index):
                self._leave_out(self._logs[index][0], doubt)
                return None
        if doubt := self._find_doubt_of(origin, line, part, pair, wanted):
            self._leave_out(origin, doubt)
            return None
        others = {n: tuple(o for o, named in logs if named is n and o is not origin) for n in (True, False)}
        return Found(origin, line, others[True], others[False])

    def _leave_out(self, log: EarlierLog, why: str) -> None:
        self.told[log.run_id, why] += 1
        self.left_out.append(log.run_id)

    def sentences(self) -> Iterator[str]:
        """What does not count, and why."""
        for (run, why), count in self.told.items():
            yield f"{count} result{'s' * (count != 1)} of {run} not reused: {why}"
        for run, count in self.beside.items():
            said = f"{run} stands beside and answered {count} of these requests"
            yield f"{said}, and --parity-reuse does not name it"

    def _is_same(self, origin: EarlierLog, is_named: bool, wanted: Wanted) -> bool:
        """Whether a run is of the program that is sealed now; of one that is named it is told."""
        why = find_difference(origin.entry, self._entry, wanted.program)
        if not why and origin.session.get("plugin_sha256") != plugin_files():
            why = "it ran with another version of the plugin"
        if why and is_named and origin.success(wanted.request_id) is not None:
            self.told[origin.run_id, why] += 1
        return not why

    def _find_doubt_of(
        self, origin: EarlierLog, line: Line, part: PreparedSuite, pair: Pair, wanted: Wanted
    ) -> str:
        if doubt := find_line_doubt(origin, line, wanted, self._context.device):
            return doubt
        within = (line.get("isolation") or {}).get("by")
        if self._context.isolate == "require" and within != "bubblewrap":
            return "it ran open, and --parity-isolate=require"
        if self._file.proof is None:
            return ""
        folder = _attempt_folder(origin, line)
        missing = missing_files(part, self._file.proof, self._context, pair, line, folder)
        return next(missing, "")


def find_runs(context: RunContext) -> list[tuple[Path, bool]]:
    """(run directory, whether it is named) of those that are, and of all that stand beside one of them."""
    named = list_named(context.root, context.reuse)
    folders = dict.fromkeys([context.run_dir.parent.resolve(), *(path.parent for path in named)])
    beside = (path.parent.resolve() for folder in folders for path in sorted(folder.glob("*/run.json")))
    runs = {**dict.fromkeys(beside, False), **dict.fromkeys(named, True)}
    return [(path, is_named) for path, is_named in runs.items() if path != context.run_dir.resolve()]


def list_named(root: Path, patterns: Iterable[str]) -> list[Path]:
    """The run directories that patterns name, from the root of the project."""
    found = (Path(p) for pattern in patterns for p in sorted(glob.glob(str(root / pattern), recursive=True)))
    return [*dict.fromkeys(path.resolve() for path in found if (path / "run.json").is_file())]


def _find_doubt_here(origin: EarlierLog) -> str:
    """As :func:`.find_doubt`, with what only the run's own folder shows."""
    folder = origin.run_dir / origin.suite_id
    try:
        problems = run_log(origin.stored, *earlier_logs(folder)).problems
        unlisted = next(unlisted_attempts(origin.files, origin.suite_id, origin.stored), None)
    except (OSError, ParityError) as error:
        return f"it cannot be read: {error}"
    hint = "; to mend: go on with it, by --parity-resume"
    return find_doubt(origin) or next(iter(problems), "") or (unlisted.line() + hint if unlisted else "")


def _attempt_folder(origin: EarlierLog, line: Line) -> Path:
    store = SuiteStore(origin.run_dir, origin.suite_id)
    return store.attempt_folder(line["task_id"], line["seed"], line["system"], line["attempt"])


# --- what is kept ---


def with_choice(context: RunContext, plans: Iterable[ReusePlan]) -> RunContext:
    """The context of a session whose verdicts tell what it takes."""
    told = "; ".join(dict.fromkeys(plan.choice for plan in plans if plan.choice))
    return replace(context, choices={**context.choices, REUSE: told}) if told else context


def bring(plan: ReusePlan, context: RunContext) -> None:
    """Keep what results come from, and give each its line in the log of the run.

    Raises:
        StoreError: something changed since it was looked at, or cannot be written.
    """
    store = SuiteStore(context.run_dir, plan.suite_id)
    for one in plan.found:
        for origin in (one.origin, *one.named, *one.beside):
            _keep_log(origin, store.folder / REUSED_FOLDER / origin.name)
        _keep_attempt(one, store.folder / REUSED_FOLDER / one.origin.name)
        reused = {
            "run_id": one.origin.run_id,
            "suite_id": one.origin.suite_id,
            "path": relative(one.origin.run_dir, context.root),
            "kept": one.origin.name,
            "line_sha256": line_sha256(one.line),
            "session_sha256": one.origin.session_sha256,
            "named": [origin.name for origin in one.named],
            "not_named": [origin.name for origin in one.beside],
        }
        store.append(reused_line(one.line, context.run_id, plan.suite_id, reused))


def _keep_log(origin: EarlierLog, folder: Path) -> None:
    """Keep the log of an earlier run with its sessions and its ``run.json``, all of it or nothing."""
    if folder.exists():
        return
    stored, source = origin.stored, origin.run_dir / origin.suite_id
    partial = folder.with_name(f".{folder.name}.partial")
    with translated(folder):
        shutil.rmtree(partial, ignore_errors=True)
        (partial / origin.suite_id).mkdir(parents=True)
        shutil.copyfile(origin.run_dir / "run.json", partial / "run.json")
        for name, head in (("parity_runs.jsonl", stored.chain.head), (SESSIONS, stored.sessions.chain.head)):
            # A run that goes on has grown meanwhile.
            data = prefix_of((source / name).read_bytes(), head)
            if data is None:
                raise StoreError("changed while it was looked at", where=str(source / name))
            (partial / origin.suite_id / name).write_bytes(data)
        os.replace(partial, folder)


def _keep_attempt(one: Found, folder: Path) -> None:
    """Keep the record of a result with its request and its logs."""
    line = one.line
    place = attempt_place(line["task_id"], line["seed"], line["system"], line["attempt"])
    target, source = folder / one.origin.suite_id / place, _attempt_folder(one.origin, line)
    with translated(target):
        target.mkdir(parents=True, exist_ok=True)
        for name in ("request.json", "metrics.json"):
            (target / name).write_bytes(read_left(source / name, MOST_RECORD))
        for name in LEFT_LOGS:
            if os.path.lexists(source / name):
                with os.fdopen(open_left(source / name), "rb") as log, open(target / name, "wb") as copy:
                    shutil.copyfileobj(log, copy)
