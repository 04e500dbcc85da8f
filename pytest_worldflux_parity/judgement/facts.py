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
from .gates.programs import find_not_shown, overlap
from .gates.recipes import ComparedRecipes, spelt_range
from .judgement_input import Evidence
from .metric_rules import span_of_intervals
from .proof.results import JudgedCell
from .proof_verdict import ProofJudgement
from .quick import Judgement
from .run_log import AttemptCounts, RunLog
from .stats.shown_effect import Ends, to_relative
from .walls import NO_ISOLATION, Isolation


@dataclass(frozen=True)
class Program:
    """One side: a program that ran, or a table.

    Attributes:
        tree_sha256: of the program's folder as it was sealed, or of the table. commit: None where none is
            known.
        provenance: what a table says of where its rows come from.
        reading: how the suite has a table read, in words; empty where it says nothing of that.
        pinned: whether an official table is the one that the lock file pins.
        maker: which commit made a table, where that is not ``commit``.
        version: the locked version that the commit is of, in words; empty where it is of none.
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
    maker: str = ""
    version: str = ""


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
        reused: what counts of earlier runs, a sentence of each part.
        recipes: part -> how much of the recipes of its sides was compared.
        labels: system -> what texts for people call it.
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
    attempts: Mapping[str, AttemptCounts]
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
    isolation: Isolation = NO_ISOLATION
    comparison: Comparison = "programs"
    common: tuple[str, ...] = ()
    environments: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    saturated: tuple[str, ...] = ()
    curves: tuple[str, ...] = ()
    recipes: Mapping[str, ComparedRecipes] = field(default_factory=dict)
    same_lock: bool = False
    reused: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)


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
    parts = (judgement.evidence,) if isinstance(judgement, Judgement) else judgement.evidence.parts
    suite = prepared.suite
    proof = prepared.proof
    budgets = [task.budget for part in prepared.parts for task in part.suite.tasks]
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
            for program in _list_programs(part, entry, evidence)
        ),
        components={p.key: e.compared for p, e in zip(prepared.parts, parts, strict=True)},
        tasks=sum(len(p.suite.tasks) for p in prepared.parts),
        seeds={s: _count_seeds(parts, s) for s in SYSTEMS},
        rules=tuple(_list_rules(judgement)),
        budgets=tuple(sorted({(b.step, b.tolerance) for b in budgets if b is not None})),
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
        labels=suite.labels,
        environments=tuple(_describe_environments(entry)),
        ignored=tuple(_describe_ignored(entry)),
        common=(
            *(text for evidence in parts for text in _describe_common(evidence)),
            *_find_installed_beside(entry),
        ),
        reused=tuple(text for e in parts if (text := e.reused)),
        saturated=tuple(s.line() for evidence in parts for s in evidence.repeats.saturated),
        recipes={e.label: e.recipe for e in parts},
        curves=tuple(text for e in parts for s in SYSTEMS if (text := _describe_curves(e, s))),
    )


def _list_programs(part: PreparedSuite, entry: Mapping[str, Any], evidence: Evidence) -> Iterator[Program]:
    """The sides of a part."""
    pin = evidence.table
    for system in SYSTEMS:
        found = evidence.versions.sides.get(system)
        version = found.line if found else ""
        key, side = f"{part.key}.{system}", part.suite.sides[system]
        if system in part.tables:
            table = part.tables[system]
            stated = table.provenance.get("commit")
            yield Program(
                system,
                part.label,
                table.path.name,
                getattr(side, "repo", None),
                getattr(side, "commit", None) or (stated if isinstance(stated, str) else None),
                entry["tables"].get(system, table.sha256),
                is_table=True,
                provenance=table.provenance,
                reading=side.in_words if isinstance(side, ArtifactSide) else "",
                pinned=pin.pinned is True and system == "official",
                maker=pin.maker if system == "official" else "",
                version=version,
            )
        elif key in entry.get("programs", {}):
            source = entry["sources"][key]
            tree = str(source.get("backend_tree_sha256", ""))
            adapter = entry["programs"][key]["adapter"]
            repo, commit = source.get("repo"), source.get("commit")
            yield Program(system, part.label, adapter, repo, commit, tree, version=version)


def _sealed_programs(entry: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """What was sealed of each program, by its key."""
    return sorted((entry.get("programs") or {}).items())


def _describe_environments(entry: Mapping[str, Any]) -> Iterator[str]:
    for key, program in _sealed_programs(entry):
        found = program.get("environment")
        if found and not found["pinned"]:
            yield f"{key}: nothing pinned"
        elif found:
            off = len(found["not_as_pinned"])
            pins = f"{off} of {len(found['pinned'])} not as pinned" if off else "as pinned"
            count = f"{len(found['packages'])} packages, sha256 {found['sha256'][:12]}"
            yield f"{key}: Python {found['python']}, {count}, {pins}"


def _find_installed_beside(entry: Mapping[str, Any]) -> Iterator[str]:
    """Packages that the official program names, and that the candidate's environment has beside its own."""
    programs = dict(_sealed_programs(entry))
    for key, official in programs.items():
        candidate = programs.get(f"{key.removesuffix('official')}worldflux")
        if not key.endswith(".official") or not candidate:
            continue
        there = (candidate.get("environment") or {}).get("packages", {})
        for name in sorted(_named_packages(official) - _named_packages(candidate)):
            if name in there:
                yield f"the candidate's environment has {name} too, which the official program names"


def _named_packages(program: Mapping[str, Any]) -> set[str]:
    sources = (program.get("named") or {}).get("sources", ())
    return {canonicalize_name(row["name"]) for row in sources if row["kind"] == "package"}


def _describe_ignored(entry: Mapping[str, Any]) -> Iterator[str]:
    return (f"{key}: {', '.join(p['ignored'])}" for key, p in _sealed_programs(entry) if p.get("ignored"))


def _describe_common(evidence: Evidence) -> Iterator[str]:
    """What the programs of a part have in common; of tables their own rows say what they are."""
    where = f"{evidence.label}: " if evidence.label else ""
    yield from (f"{where}{finding.line()}" for finding in find_not_shown(evidence.named))
    common = overlap(evidence.named)
    if common is not None:
        yield f"{where}{common.line() or 'two programs that share no file'}"


def _describe_curves(evidence: Evidence, system: str) -> str:
    """How many points the curves of a side have, the latest first step and the longest gap; or nothing."""
    shapes = [shape for key, shape in evidence.observed.shapes.items() if key[0] == system]
    if not shapes:
        return ""
    counts = [shape.points for shape in shapes]
    first = max(shapes, key=lambda shape: shape.share(shape.first))
    gap = max(shapes, key=lambda shape: shape.share(shape.gap))
    name = f"{system} of {evidence.label}" if evidence.label else system
    return (
        f"{name} {spelt_range(min(counts), max(counts))} points a run, the first by "
        f"{first.told(first.first)}, the longest gap {gap.told(gap.gap)}"
    )


def _count_seeds(parts: Iterable[Evidence], system: str) -> tuple[int, int]:
    """The fewest and the most seeds that a task has values of."""
    counts = [
        len(evidence.observed.runs(system, metric.name, task.id))
        for evidence in parts
        for metric in evidence.suite.metrics
        for task in evidence.suite.judged_tasks(metric)
    ]
    return (min(counts), max(counts)) if counts else (0, 0)


def _list_rules(judgement: Judgement | ProofJudgement) -> Iterator[Rule]:
    if isinstance(judgement, Judgement):
        for judged in judgement.metrics:
            if (metric := judged.metric) is not None:
                ends = judged.ruling.interval if judged.ruling else None
                alpha, passed = 1 - metric.confidence, judged.verdict == "pass"
                yield Rule(metric.name, metric.rule, metric.margin, alpha, ends, passed)
        return
    by_metric: dict[str, list[JudgedCell]] = {}
    for cell in judgement.decision.cells:
        by_metric.setdefault(cell.cell.rule.name, []).append(cell)
    for name, cells in by_metric.items():
        rule = max((c.cell.rule for c in cells), key=lambda r: r.equivalence_margin)
        alpha = max(c.cell.rule.alpha for c in cells)
        ends = span_of_intervals(_relative_interval(c) for c in cells)
        passed = all(c.passed for c in cells)
        yield Rule(name, f"TOST, {rule.effect}", rule.equivalence_margin, alpha, ends, passed)


def _relative_interval(judged: JudgedCell) -> Ends:
    low, high = judged.cell.ci90 or (None, None)
    return to_relative(judged.cell.rule.effect, low), to_relative(judged.cell.rule.effect, high)
