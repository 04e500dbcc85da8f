"""What a proof suite would cost: official scores that are known, and durations of runs that were made."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from statistics import fmean

from ..errors import ParityError, StatisticsError
from ..inputs import checkouts, lock
from ..inputs.prepare import table_results
from ..inputs.scores import load_table, task_key
from ..inputs.scores.curves import Result
from ..inputs.scores.guessing import Guess
from ..judgement.foreign_records import read_lines
from ..judgement.proof.planning import SuitePlan, plan_suite
from ..judgement.stats.measurements import measure
from ..suite.proof import ProofSuite
from ..suite.suite import Budget, Task


def locked_tables(proof: ProofSuite, root: Path, lock_path: Path) -> Iterator[tuple[Path, Guess]]:
    """Path and format of the locked oracle tables that were fetched, published ones only.

    They are scores of the canonical profiles at full budgets, so a suite that claims nothing, and may train
    anything, has none.

    Raises:
        SourceError: the lock file is there and is not a lock.
    """
    if not proof.is_claim:
        return
    entries = lock.read_lock(lock_path).suites.values() if lock_path.exists() else ()
    # Suites that are judged against one table lock it each.
    tables = dict.fromkeys(
        (checkouts.oracle_path(e, root), e.oracle_format) for e in entries if e.oracle_in == "source"
    )
    yield from ((path, Guess(form)) for path, form in tables if path.exists())


def official_scores(
    proof: ProofSuite, tables: Iterable[tuple[Path, Guess]]
) -> dict[tuple[str, str], list[float]]:
    """(metric, task) -> the official scores, one a seed, of the tasks that the tables hold.

    A table that ends before the suite's budget, at half of it or later, is read at its end: what is planned
    is the spread; so is one with fewer points than the suite asks of a run. An earlier end tells nothing of
    the spread at the budget.

    Raises:
        ScoreTableError: a table cannot be read.
    """
    found: dict[tuple[str, str], list[float]] = {}
    for path, own in tables:
        table = load_table(path, own.format, duplicates="last", **own.keywords)
        for part in proof.parts:
            tasks = {task_key(task.id): task for task in part.tasks}
            for (name, _), result in sorted(table_results(part, table, "official").items()):
                task = tasks.get(task_key(name))
                for metric in part.metrics_of(task.id) if task else ():
                    assert task is not None
                    value = known_value(result, metric.name, task)
                    if value is not None:
                        found.setdefault((metric.name, task.id), []).append(value)
    return found


def known_value(result: Result, metric: str, task: Task) -> float | None:
    """A metric at the budget of a task, or at an earlier end of the curve; None where that is too early."""
    tried = [task]
    if task.budget is not None and result.curve and 2 * result.curve[-1].step >= task.budget.step:
        early = replace(task, budget=Budget(result.curve[-1].step))
        tried += [early, replace(early, points=None)]
    for at in tried:
        try:
            return measure(result, metric, at).value
        except StatisticsError:
            continue
    return None


def durations(runs: Iterable[Path]) -> dict[tuple[str, str], float]:
    """(system, task) -> mean seconds of the successful runs in ``parity_runs.jsonl`` files."""
    found: dict[tuple[str, str], list[float]] = {}
    for path in runs:
        # A duration that cannot be read is not known, and nothing more rests on it.
        with suppress(ParityError):
            for line in read_lines(path):
                seconds = line.get("duration_sec")
                if line.get("status") == "success" and isinstance(seconds, (int, float)) and seconds > 0:
                    key = str(line.get("system")), str(line.get("task_id"))
                    found.setdefault(key, []).append(float(seconds))
    return {key: fmean(values) for key, values in found.items()}


def plan_of(
    proof: ProofSuite, tables: Iterable[tuple[Path, Guess]], runs: Iterable[Path] = ()
) -> SuitePlan | None:
    """The plan of a suite, or None where no official score of its tasks is known.

    Raises:
        ParityError: a table cannot be read.
    """
    scores = official_scores(proof, tables)
    if not scores:
        return None
    return plan_suite(proof.settings, proof.tasks(), scores, durations(runs))


def advice(suite: Path) -> str:
    """What to do where nothing is known."""
    return (
        "no official score of these tasks is known here, so nothing can be said of seeds, margins and hours; "
        "worldflux-parity fetch-oracles, or "
        f"worldflux-parity plan {suite} --official TABLE (or a run: reports/parity/ID)"
    )
