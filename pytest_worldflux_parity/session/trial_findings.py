"""What is found of a program that is tried alone: of its record, by who asks, and of how it behaves."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from ..execution.records import is_readable, log_path, record_of
from ..execution.store import Line
from ..inputs.prepare import stated
from ..inputs.scores.curves import Result
from ..judgement.assemble import named_sides
from ..judgement.gates import Finding
from ..judgement.gates.codes import CODES
from ..judgement.gates.coverage import coverage
from ..judgement.gates.environments import environment_findings
from ..judgement.gates.programs import find_not_shown
from ..judgement.gates.recipes import STATED, recipe_findings
from ..judgement.gates.repeats import find_repeats
from ..judgement.gates.validity import conflicting_successes, record_findings
from ..judgement.proof.validity import ALIKE, findings_by_asker
from ..judgement.required_files import missing_findings
from ..judgement.stats.measurements import observe
from ..suite.proof import Requirements, parse_requirements
from .trial import FIRST_RUN, Trial, run_once

Asker = Literal["quick", "proof", "claim", "program"]
RowStatus = Literal["ok", "finding", "not tried"]
# What a run that was made shorter on purpose lacks.
_SHORT = ("budget_not_reached", "metric_absent", "no_point_at_budget", "points_missing")
# What stands in a project and is no program's to leave alone.
_NOT_LOOKED_AT = (".git", ".worldflux", "__pycache__", ".pytest_cache")


@dataclass(frozen=True)
class TrialRow:
    """One thing that was looked at.

    Attributes:
        name: the code of a finding, or what was tried. to_mend: what to do about it; empty where nothing.
    """

    asked_by: Asker
    name: str
    status: RowStatus
    detail: str
    to_mend: str = ""


def look_at_record(trial: Trial, line: Line, quick_only: bool) -> Iterator[TrialRow]:
    """Everything that quick, proof and claim find in the record of one run, each thing once."""
    if not is_readable(line):
        folder = trial.context_of(FIRST_RUN).run_dir
        yield TrialRow(
            "quick", "failed", "finding", str(line.get("error")), f"Read its log: {folder / log_path(line)}"
        )
        return
    groups: dict[Asker, list[Finding]] = {"quick": [*_find_quick(trial, line)]}
    if not quick_only:
        groups.update(_find_beyond(trial, line))
    told: set[tuple[str, str]] = set()
    for asker, findings in groups.items():
        new = [f for f in dict.fromkeys(findings) if (f.code, f.detail) not in told]
        told |= {(f.code, f.detail) for f in new}
        yield from (_row_of(asker, finding, trial) for finding in new)
        if not new:
            yield TrialRow(asker, "record", "ok", f"nothing {'more ' if told else ''}stands against it")
        yield from _tell_of_other_side(trial, line, asker)


def _row_of(asker: Asker, finding: Finding, trial: Trial) -> TrialRow:
    if finding.code in _SHORT and any(trial.changes.values()):
        text = f"{finding.detail}; --set or --eval changed what is asked"
        return TrialRow(asker, finding.code, "not tried", text)
    if finding.code == "unknown_env_backend" and trial.proof is None:
        return TrialRow(asker, finding.code, "not tried", f"{finding.detail}, once it is a proof")
    return TrialRow(asker, finding.code, "finding", finding.detail, CODES[finding.code].to_do)


def _find_quick(trial: Trial, line: Line) -> Iterator[Finding]:
    suite, key = trial.part.suite, (trial.system, trial.pair.task.id, trial.pair.seed)
    yield from record_findings(suite, line)
    record = record_of(line)
    assert record is not None
    # A gate stops at the first metric that a record lacks.
    for metric in suite.metrics:
        one = replace(suite, metrics=(metric,))
        yield from coverage(observe(one, [(*key[1:], key[0])], {key: Result.of(record)}, {}, {}), 1)
    for what in STATED:
        found = stated(trial.part, [trial.pair], {key: record}, what)
        # What is asked otherwise than the suite asks, the table was not asked either.
        wished = {at: {**said, **trial.changes[what]} if at != key else said for at, said in found.items()}
        terms = suite.recipe_terms if what == "effective_recipe" else None
        yield from recipe_findings([trial.pair], wished, what, {key}, terms)


def _required_of(trial: Trial) -> Requirements:
    """What the suite asks where it is a proof, else what every proof does."""
    if trial.proof is not None:
        return trial.proof.requirements[trial.pair.task.id]
    return parse_requirements({"family": trial.part.suite.family}, (), str)


def _find_beyond(trial: Trial, line: Line) -> Iterator[tuple[Asker, list[Finding]]]:
    """What a proof asks beyond a quick suite, and a claim beyond that: of record, files and program."""
    part, task = trial.part, trial.pair.task
    commit = part.sources["official"].get("commit") if trial.system == "official" else None
    found = findings_by_asker(line, task, _required_of(trial), commit)
    if trial.proof is not None:
        files = missing_findings(part, trial.proof, trial.context_of(FIRST_RUN), trial.pair, line)
        found["proof"].extend(files)
    named = named_sides(part, trial.entry, trial.context)
    yield "proof", [*found["proof"], *find_not_shown({trial.system: named.get(trial.system)})]
    yield "claim", [*found["claim"], *environment_findings(trial.entry, part.key)]


def _tell_of_other_side(trial: Trial, line: Line, asker: Asker) -> Iterator[TrialRow]:
    """What a program that runs beside this one has to state alike; it was not asked."""
    metadata = line["metrics"]["metadata"]
    recipe = metadata.get("effective_recipe")
    if asker == "quick" and not trial.part.tables and isinstance(recipe, dict):
        keys = f"a recipe of the same {len(recipe)} keys and values: {', '.join(sorted(recipe))}"
        yield TrialRow(asker, "other_side", "not tried", f"it has to state {keys}")
    if asker == "proof":
        said = ", ".join(f"{key} {metadata.get(key, 'absent')!r}" for key in ALIKE)
        yield TrialRow(asker, "other_side", "not tried", f"it has to state the same: {said}")


# --- how it behaves ---

# The first one, and those that BEHAVIOURS takes.
TRIAL_RUNS = 5
BEHAVIOURS = ("deterministic", "heeds_seed", "survives_end", "leaves_processes", "writes_elsewhere")


def try_behaviour(trial: Trial, first: Line) -> Iterator[TrialRow]:
    """The same seed twice, another seed, an end in the middle, and a home that cannot be written."""
    if not first["success"]:
        yield from (TrialRow("program", name, "not tried", "its run failed") for name in BEHAVIOURS)
        return
    line = run_once(trial, "again")
    again = _compare_again(first, line)
    yield again
    other = run_once(trial, "other_seed", seed=trial.pair.seed + 1)
    yield _compare_seeds(trial, first, other)
    # The first run compiles what all others find.
    half = min(float(run["duration_sec"]) for run in (first, line, other) if run) / 2
    yield _end_in_the_middle(trial, first, half, again.status == "ok")
    yield _look_for_processes(trial.context.run_dir)
    yield _look_elsewhere(trial)


def _ok(name: str, text: str) -> TrialRow:
    return TrialRow("program", name, "ok", text)


def _found(name: str, text: str, to_mend: str) -> TrialRow:
    return TrialRow("program", name, "finding", text, to_mend)


def _why_failed(line: Line | None) -> str:
    """Why a run left no record; empty where it left one."""
    if line is None:
        return "it was ended from outside"
    return "" if line["success"] else str(line["error"])


def _compare_again(first: Line, again: Line | None) -> TrialRow:
    name = "deterministic"
    if again is None or not again["success"]:
        text = f"the same seed failed the second time: {_why_failed(again)}"
        return _found(name, text, CODES["failed"].to_do)
    if any(conflicting_successes([first, again])):
        text = f"the same seed twice: {'; '.join(_differences(first, again))}"
        return _found(name, text, CODES["conflicting_success"].to_do)
    curve, scalars = _values_stated(first)
    text = f"the same seed twice gave the same {len(curve)} points and {len(scalars)} other numbers"
    return _ok(name, text)


def _values_stated(line: Line) -> tuple[Mapping[int, float], Mapping[str, float]]:
    record = record_of(line)
    assert record is not None
    return {p.step: p.value for p in record.curve}, record.scalars


def _differences(first: Line, other: Line) -> Iterator[str]:
    """Where two runs differ: of the curve the first step, of other numbers each."""
    (curve, scalars), (later, others) = map(_values_stated, (first, other))
    steps = [step for step in sorted({*curve, *later}) if curve.get(step) != later.get(step)]
    if steps:
        values = f"{curve.get(steps[0], 'none')} and {later.get(steps[0], 'none')}"
        yield f"{len(steps)} points differ, the first at step {steps[0]}: {values}"
    for name in sorted({*scalars, *others}):
        if scalars.get(name) != others.get(name):
            yield f"{name}: {scalars.get(name, 'none')} and {others.get(name, 'none')}"


def _compare_seeds(trial: Trial, first: Line, other: Line | None) -> TrialRow:
    name, seed = "heeds_seed", trial.pair.seed + 1
    if other is None or not other["success"]:
        return _found(name, f"seed {seed} failed: {_why_failed(other)}", CODES["failed"].to_do)
    results = {
        (trial.system, trial.pair.task.id, n): Result.of(record)
        for n, line in ((trial.pair.seed, first), (seed, other))
        if (record := record_of(line)) is not None
    }
    repeats = find_repeats(trial.part.suite, results, results)
    if repeats.repeated:
        return _found(name, f"seed {seed}: {repeats.repeated[0].detail}", CODES["repeated_run"].to_do)
    if _values_stated(first) == _values_stated(other):
        text = f"seeds {trial.pair.seed} and {seed} gave the same numbers, which hardly vary"
        return _found(name, text, CODES["repeated_run"].to_do)
    return _ok(name, f"seed {seed} gave other numbers than seed {trial.pair.seed}")


def _end_in_the_middle(trial: Trial, first: Line, half: float, repeats: bool) -> TrialRow:
    """End a run after ``half`` seconds and start it again; where runs repeat, hold it against the first."""
    name = "survives_end"
    hint = "Have it begin anew, whatever an earlier start has left."
    ended = f"ended after {half:.2g} s and started again, it"
    if run_once(trial, "ended", end_after=half) is not None:
        return TrialRow("program", name, "not tried", f"it ended by itself within {half:.2g} s")
    line = run_once(trial, "ended")
    if line is None or not line["success"]:
        return _found(name, f"{ended} failed: {_why_failed(line)}", hint)
    if repeats and (differences := [*_differences(first, line)]):
        return _found(name, f"{ended} gave other numbers: {'; '.join(differences)}", hint)
    return _ok(name, f"{ended} gave {'the same numbers' if repeats else 'an answer'}")


def _look_for_processes(folder: Path) -> TrialRow:
    """What a start of the trial has left, though all that it started was ended: it works below a folder."""
    name = "leaves_processes"
    if not Path("/proc/self/cwd").exists():
        return TrialRow("program", name, "not tried", "this system has no /proc")
    left = []
    for path in Path("/proc").glob("[0-9]*/cwd"):
        with suppress(OSError):
            if path.readlink().is_relative_to(folder.resolve()):
                left.append(path.parent.name)
    if left:
        hint = "Have it end what it starts, also at SIGTERM."
        return _found(name, f"still running below {folder}: {', '.join(left)}", hint)
    return _ok(name, "no process of its own goes on")


def _look_elsewhere(trial: Trial) -> TrialRow:
    """Run it with a home that nobody may write, and look for what came there and into the project."""
    name, hint = "writes_elsewhere", "Have it write below `request.out_dir` alone."
    if trial.context.isolate == "require":
        return TrialRow("program", name, "not tried", "--isolate=require: nothing runs without walls")
    with tempfile.TemporaryDirectory(prefix="parity_home_") as folder:
        home = Path(folder)
        os.chmod(home, stat.S_IRUSR | stat.S_IXUSR)
        before = dict(_files_outside(trial))
        line = run_once(trial, "read_only_home", variables={"HOME": folder}, is_open=True)
        after = dict(_files_outside(trial))
        os.chmod(home, stat.S_IRWXU)
        wrote = sorted(str(path.relative_to(home)) for path in home.rglob("*"))
    changed = sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))
    found = [f"in the home {_name_three(wrote)}"] if wrote else []
    found += [f"in the project {_name_three(changed)}"] if changed else []
    if found:
        return _found(name, f"it wrote {' and '.join(found)}", hint)
    if why := _why_failed(line):
        return _found(name, f"with a read-only home it failed: {why}", hint)
    return _ok(name, "with a read-only home it wrote nowhere but in its folder")


def _files_outside(trial: Trial) -> Iterator[tuple[str, tuple[int, int]]]:
    """Path -> time and size of the project's files, but for runs and what the program says that it writes."""
    root = trial.context.root
    _, written = trial.backend.needs.places(trial.backend.folder, root)
    left_out = {trial.context.run_dir.parent, *written}
    for folder, names, files in os.walk(root):
        here = Path(folder)
        names[:] = [n for n in names if n not in _NOT_LOOKED_AT and here / n not in left_out]
        for name in files:
            with suppress(OSError):
                found = (here / name).lstat()
                yield str((here / name).relative_to(root)), (found.st_mtime_ns, found.st_size)


def _name_three(names: Iterable[str]) -> str:
    every = [*names]
    return ", ".join(every[:3]) + (f" and {len(every) - 3} more" if len(every) > 3 else "")


def trial_document(trial: Trial, rows: Iterable[TrialRow], folder: Path | None) -> dict[str, Any]:
    """The rows for machines, as ``check_backend.v1`` has them."""
    every = [{**vars(row), "to_mend": row.to_mend or None} for row in rows]
    return {
        "schema_version": "worldflux.parity.check_backend.v1",
        "adapter": trial.backend.adapter,
        "system": trial.system,
        "suite_id": trial.part.suite.suite_id,
        "task_id": trial.pair.task.id,
        "seed": trial.pair.seed,
        "device": trial.context.device,
        "clean": not any(row["status"] == "finding" for row in every),
        "rows": every,
        "folder": None if folder is None else str(folder),
    }
