"""A judgement and its run -> what a person needs to know to believe a pass: the facts of the claim card.

Nothing is decided here. A release policy admits or refuses what stands here, by its name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from packaging.utils import canonicalize_name

from ..execution.store import Stored
from ..inputs.prepare import PreparedFile, PreparedSuite
from ..suite.suite import SYSTEMS, ArtifactSide, Comparison
from .circumstances import Circumstances
from .fingerprint import entry_of
from .gates.compared import Compared
from .gates.coverage import apart_findings
from .gates.programs import not_shown, overlap
from .judgement_input import Evidence
from .proof.results import JudgedCell
from .proof_verdict import ProofJudgement
from .quick import Judged, Judgement
from .run_log import Attempts, RunLog
from .stats.shown_effect import Ends, ShownEffect, of_contrast, of_drop, of_test
from .walls import NOTHING, Isolation


@dataclass(frozen=True)
class Program:
    """One side: a program that ran, or a table.

    Attributes:
        tree_sha256: of the program's folder as it was sealed, or of the table. commit: None where none is
            known.
        provenance: what a table says of where its rows come from.
        reading: how the suite has a table read, in words; empty where it says nothing of that.
        pinned: whether an official table is the one that the lock file pins.
    """

    system: str
    part: str
    adapter: str
    repo: str | None
    commit: str | None
    tree_sha256: str
    is_table: bool = False
    provenance: Mapping[str, Any] = field(default_factory=dict)
    reading: str = ""
    pinned: bool = False


@dataclass(frozen=True)
class Rule:
    """How one metric was judged; margins are relative.

    Attributes:
        interval: of its effect, the widest of its tasks; None where there is none.
    """

    metric: str
    rule: str
    margin: float
    alpha: float
    interval: tuple[float, float] | None
    passed: bool


@dataclass(frozen=True)
class Facts:
    """What a pass rests on.

    Attributes:
        choices: what was asked other than by the suite (:func:`.context.chosen`).
        seeds: system -> the fewest and the most seeds of a task.
        attempts: system -> how its attempts ended. log: what the run's log says of itself.
        lost_lines: torn or unreadable lines of the log.
        apart: tasks whose latest steps are far apart on the two sides, a sentence each.
        isolation: what kept programs in their folders.
        comparison: ``programs``, or how one program is compared on purpose.
        common: what the two programs of each part have in common, or that nothing shows which they are.
        environments: the packages of each program that pins some. ignored: files that are no part of one.
        saturated: tasks of a side whose runs are equal and hardly vary; they count.
        curves: where the points of the judged curves of each side stand, a sentence each.
        same_lock: whether the lock file of a judge is, by its bytes, the one that the run was sealed with.
    """

    suite_id: str
    suite_sha256: str
    track: str
    claim: str
    verdict: str
    programs: tuple[Program, ...]
    components: Mapping[str, Compared]
    tasks: int
    seeds: Mapping[str, tuple[int, int]]
    rules: tuple[Rule, ...]
    budgets: tuple[tuple[int, float], ...]
    choices: Mapping[str, str]
    attempts: Mapping[str, Attempts]
    log: RunLog
    lost_lines: int
    resumed: bool
    warnings: tuple[str, ...]
    apart: tuple[str, ...]
    run_id: str
    time: str
    device: str
    machine: Mapping[str, Any]
    project: Mapping[str, Any] | None
    fixture: bool
    isolation: Isolation = NOTHING
    comparison: Comparison = "programs"
    common: tuple[str, ...] = ()
    environments: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    saturated: tuple[str, ...] = ()
    curves: tuple[str, ...] = ()
    same_lock: bool = False


def facts_of(
    prepared: PreparedFile,
    judgement: Judgement | ProofJudgement,
    stored: Stored,
    session: Mapping[str, Any],
    circumstances: Circumstances,
) -> Facts:
    """The facts of a judged run.

    Args:
        stored: its log. session: its ``run.json``.
    """
    parts = _parts(judgement)
    suite = prepared.suite
    proof = prepared.proof
    entry = entry_of(session, prepared.suite_id, "run.json")
    return Facts(
        suite_id=prepared.suite_id,
        suite_sha256=suite.sha256,
        track="quick" if proof is None else "proof",
        claim="none" if proof is None else proof.claim,
        verdict=judgement.verdict,
        programs=tuple(
            program
            for part, evidence in zip(prepared.parts, parts, strict=True)
            for program in _programs(part, entry, evidence.table.pinned is True)
        ),
        components={p.key: e.compared for p, e in zip(prepared.parts, parts, strict=True)},
        tasks=sum(len(p.suite.tasks) for p in prepared.parts),
        seeds={s: _seeds(parts, s) for s in SYSTEMS},
        rules=tuple(_rules(judgement)),
        budgets=tuple(sorted(_budgets(prepared.parts))),
        choices=session.get("choices", {}),
        attempts=parts[0].attempts,
        log=parts[0].log,
        lost_lines=stored.torn + len(stored.unreadable),
        resumed=circumstances.resumed,
        warnings=(*judgement.warnings, *(proof.warnings if proof is not None else ())),
        apart=tuple(f.line() for e in parts for f in apart_findings(e.suite, e.observed)),
        run_id=session["run_id"],
        time=session["generated_at_utc"],
        device=entry["device"],
        machine=circumstances.machine,
        project=session.get("project"),
        fixture=any(e.fixtures for e in parts),
        isolation=judgement.evidence.isolation,
        comparison=suite.comparison,
        environments=tuple(_environments(entry)),
        ignored=tuple(_ignored(entry)),
        common=(*(text for evidence in parts for text in _common(evidence)), *_installed_beside(entry)),
        saturated=tuple(s.line() for evidence in parts for s in evidence.repeats.saturated),
        curves=tuple(text for e in parts for s in SYSTEMS if (text := _curves(e, s))),
    )


def _parts(judgement: Judgement | ProofJudgement) -> tuple[Evidence, ...]:
    return (judgement.evidence,) if isinstance(judgement, Judgement) else judgement.evidence.parts


def _programs(part: PreparedSuite, entry: Mapping[str, Any], pinned: bool) -> Iterator[Program]:
    """The sides of a part; ``pinned``: whether its official table is the one that the lock file pins."""
    for system in SYSTEMS:
        key = f"{part.key}.{system}"
        if system in part.tables:
            table, side = part.tables[system], part.suite.sides[system]
            stated = table.provenance.get("commit")
            commit = getattr(side, "commit", None) or (stated if isinstance(stated, str) else None)
            name = entry["tables"].get(system, table.sha256)
            repo = getattr(side, "repo", None)
            about = (system, part.label, table.path.name, repo, commit, name)
            own = pinned and system == "official"
            reading = side.in_words if isinstance(side, ArtifactSide) else ""
            yield Program(*about, is_table=True, provenance=table.provenance, reading=reading, pinned=own)
        elif key in entry.get("programs", {}):
            source = entry["sources"][key]
            yield Program(
                system,
                part.label,
                entry["programs"][key]["adapter"],
                source.get("repo"),
                source.get("commit"),
                str(source.get("backend_tree_sha256", "")),
            )


def _environments(entry: Mapping[str, Any]) -> Iterator[str]:
    for key, program in sorted((entry.get("programs") or {}).items()):
        found = program.get("environment")
        if found and not found["pinned"]:
            yield f"{key}: nothing pinned"
        elif found:
            off = len(found["not_as_pinned"])
            pins = f"{off} of {len(found['pinned'])} not as pinned" if off else "as pinned"
            count = f"{len(found['packages'])} packages, sha256 {found['sha256'][:12]}"
            yield f"{key}: Python {found['python']}, {count}, {pins}"


def _installed_beside(entry: Mapping[str, Any]) -> Iterator[str]:
    """Packages that the official program names, and that the candidate's environment has beside its own."""
    programs = entry.get("programs") or {}
    for key, official in sorted(programs.items()):
        part, _, system = key.rpartition(".")
        candidate = programs.get(f"{part}.worldflux")
        if system != "official" or not candidate:
            continue
        there = (candidate.get("environment") or {}).get("packages", {})
        for name in sorted(_packages_named(official) - _packages_named(candidate)):
            if name in there:
                yield f"the candidate's environment has {name} too, which the official program names"


def _packages_named(program: Mapping[str, Any]) -> set[str]:
    sources = (program.get("named") or {}).get("sources", ())
    return {canonicalize_name(row["name"]) for row in sources if row["kind"] == "package"}


def _ignored(entry: Mapping[str, Any]) -> Iterator[str]:
    for key, program in sorted((entry.get("programs") or {}).items()):
        if found := program.get("ignored"):
            yield f"{key}: {', '.join(found)}"


def _common(evidence: Evidence) -> Iterator[str]:
    """What the programs of a part have in common; of tables their own rows say what they are."""
    where = f"{evidence.label}: " if evidence.label else ""
    yield from (f"{where}{finding.line()}" for finding in not_shown(evidence.named))
    common = overlap(evidence.named)
    if common is not None:
        yield f"{where}{common.line() or 'two programs that share no file'}"


def _curves(evidence: Evidence, system: str) -> str:
    """How many points the curves of a side have, the latest first step and the longest gap; or nothing."""
    own = [shape for key, shape in evidence.observed.shapes.items() if key[0] == system]
    if not own:
        return ""
    counts = [shape.points for shape in own]
    first = max(own, key=lambda shape: shape.share(shape.first))
    gap = max(own, key=lambda shape: shape.share(shape.gap))
    name = f"{system} of {evidence.label}" if evidence.label else system
    return (
        f"{name} {spelt_range(min(counts), max(counts))} points a run, the first by "
        f"{first.told(first.first)}, the longest gap {gap.told(gap.gap)}"
    )


def spelt_range(least: int, most: int) -> str:
    """``3``, or ``3 to 5``."""
    return str(least) if least == most else f"{least} to {most}"


def _seeds(parts: Iterable[Evidence], system: str) -> tuple[int, int]:
    """The fewest and the most seeds that a task has values of."""
    counts = [
        len(evidence.observed.runs(system, metric.name, task.id))
        for evidence in parts
        for metric in evidence.suite.metrics
        for task in evidence.suite.judged_tasks(metric)
    ]
    return (min(counts), max(counts)) if counts else (0, 0)


def _rules(judgement: Judgement | ProofJudgement) -> Iterator[Rule]:
    if isinstance(judgement, Judgement):
        for judged in judgement.metrics:
            metric = judged.metric
            if metric is not None:
                widest = _widest(_quick_intervals(judged))
                passed = judged.verdict == "pass"
                yield Rule(metric.name, metric.rule, metric.margin, 1 - metric.confidence, widest, passed)
        return
    own: dict[str, list[JudgedCell]] = {}
    for cell in judgement.decision.cells:
        own.setdefault(cell.cell.rule.name, []).append(cell)
    for name, cells in own.items():
        rule = max((c.cell.rule for c in cells), key=lambda r: r.equivalence_margin)
        alpha = max(c.cell.rule.alpha for c in cells)
        widest = _widest(_effect(c).interval for c in cells)
        passed = all(c.passed for c in cells)
        yield Rule(name, f"TOST, {rule.effect}", rule.equivalence_margin, alpha, widest, passed)


def _quick_intervals(judged: Judged) -> Iterator[Ends]:
    assert judged.metric is not None
    higher, calibrated = judged.metric.higher_is_better, judged.calibrated
    if judged.equivalence is not None:
        yield from ((t.tost.ci_low, t.tost.ci_high) for t in judged.equivalence.tasks)
    elif calibrated is not None and judged.metric.rule == "calibrated":
        tasks = [vars(t) for t in calibrated.tasks]
        yield of_contrast(vars(calibrated), tasks, higher_is_better=higher).interval
    elif judged.documented is not None:
        yield of_drop(vars(judged.documented), higher_is_better=higher).interval


def _effect(judged: JudgedCell) -> ShownEffect:
    ends: Ends = judged.cell.ci90 or (None, None)
    return of_test(judged.cell.rule.effect, None, ends, (None, None))


def _widest(intervals: Iterable[Ends]) -> tuple[float, float] | None:
    """From the lowest to the highest end; None where one has no end, or there is none."""
    found = list(intervals)
    lows, highs = [low for low, _ in found], [high for _, high in found]
    if not found or None in (*lows, *highs):
        return None
    return min(x for x in lows if x is not None), max(x for x in highs if x is not None)


def _budgets(parts: Iterable[PreparedSuite]) -> set[tuple[int, float]]:
    tasks = (task for part in parts for task in part.suite.tasks)
    return {(t.budget.step, t.budget.tolerance) for t in tasks if t.budget is not None}
