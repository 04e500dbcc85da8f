"""The facts of a judged run -> what a release policy does not admit of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from ..judgement.facts import Facts, Program
from ..judgement.gates import Finding
from ..judgement.gates.fixture import is_fixture_table
from ..judgement.reuse import ONLY_WITHOUT_CLAIM
from .release_policy import SuiteRule

DAY = 86400.0
# Code of a finding -> the name that admits it, where that is another.
NAMES = {"table_without_runs": "candidate_table"}
_TABLE_SCHEMA = "worldflux.parity.campaign_table.v1"


def admission_findings(rule: SuiteRule, facts: Facts, now: datetime | None = None) -> list[Finding]:
    """What is a finding of a suite that a release needs, or of a claim, and is not admitted by name.

    Args:
        now: None: the time that it is.
    """
    claim = facts.claim != "none"
    if not (rule.required or claim):
        return []
    found = [
        *_choice_findings(facts),
        *_record_findings(facts, rule),
        *_program_findings(facts),
        *(_claim_findings(facts) if claim else ()),
    ]
    found += _candidate_table_findings(facts)
    # What shows nothing of a candidate is admitted by no name.
    if facts.comparison != "programs":
        text = f"the suite says `comparison: {facts.comparison}`, and a release rests on two programs"
        return [Finding("not_independent", text)]
    if facts.reused:
        return [Finding("results_reused", f"{'; '.join(facts.reused)}: {ONLY_WITHOUT_CLAIM}")]
    kept = [_with_name(f) for f in found if NAMES.get(f.code, f.code) not in rule.admit]
    return [*kept, *_official_table_findings(facts), *_bound_findings(rule, facts, now or datetime.now(UTC))]


def _with_name(finding: Finding) -> Finding:
    name = NAMES.get(finding.code, finding.code)
    return replace(finding, detail=f"{finding.detail} (no `admit: [{name}]` in the policy)")


def _choice_findings(facts: Facts) -> Iterator[Finding]:
    """What the command line chose, and what of recipes the suite leaves out, or compares under two names."""
    for what, text in facts.choices.items():
        if what != "lock" or not facts.same_lock:
            yield Finding("overrides", text)
    for recipes in facts.recipes.values():
        if recipes.terms.ignored:
            yield Finding("recipe_ignored", "; ".join(recipes.terms.ignored_texts()))
        if recipes.terms.twins:
            yield Finding("recipe_mapped", ", ".join(recipes.terms.mapped_texts()))


def _record_findings(facts: Facts, rule: SuiteRule) -> Iterator[Finding]:
    """What the log holds beside the runs that count."""
    for system, own in facts.attempts.items():
        if own.exceed(rule.failed_attempts):
            may = f"{rule.failed_attempts:.1%} of them" if rule.failed_attempts else "none"
            text = f"{own.counted} of {own.total} attempts did not succeed, and {may} may have ({own.line()})"
            yield Finding("failed_attempts", text, system=system)
    if facts.lost_lines:
        yield Finding("lost_lines", f"{facts.lost_lines} lines of the log are torn or cannot be read")


def _program_findings(facts: Facts) -> Iterator[Finding]:
    """What is not known of the programs, or was not held apart, or not compared."""
    for program in facts.programs:
        if program.system == "official" and program.commit is None:
            text = f"the official {_kind_of_side(program)} {program.adapter} is of no commit that is known"
            yield Finding("oracle_commit_unknown", text)
    if all(program.is_table for program in facts.programs):
        return
    if not facts.isolation.is_whole:
        yield Finding("no_isolation", facts.isolation.sentence)
    for part, compared in facts.components.items():
        # Of a family whose golden the lock pins; of another the card says that there is none.
        if compared.left_out:
            yield Finding("component_match_missing", f"{part}: {compared.left_out}")


def _kind_of_side(program: Program) -> str:
    return "table" if program.is_table else "program"


def _claim_findings(facts: Facts) -> Iterator[Finding]:
    """What may well be so, and what a claim has to say of itself.

    The commit is one of these: what ran is held against the checkout by its files, whatever their commit.
    """
    if facts.project is None:
        yield Finding("no_project_commit", "the run says of no commit of the project")
    elif facts.project["changed"]:
        yield Finding("project_changed", f"the project had changes beside {facts.project['commit']}")
    if facts.resumed:
        yield Finding("resumed", "the run was resumed")
    if repeated := sum(own.repeated for own in facts.attempts.values()):
        yield Finding("repeated_attempts", f"{repeated} runs were repeated after they had succeeded")
    yield from (Finding("warnings", text) for text in facts.warnings)


def _official_table_findings(facts: Facts) -> Iterator[Finding]:
    """An official table is held by the lock, and its curves end where the candidate's do."""
    for program in _measured_tables(facts, "official"):
        if not program.pinned:
            text = f"the lock pins no sha256 of {program.adapter}: add it to oracle_files"
            yield Finding("table_not_pinned", text, system="official")
    yield from (Finding("frames_apart", f"latest with latest, {text}") for text in facts.apart)


def _candidate_table_findings(facts: Facts) -> Iterator[Finding]:
    for program in _measured_tables(facts, "worldflux"):
        yield from _runless_table_findings(program.adapter, program.provenance)


def _runless_table_findings(name: str, provenance: Mapping[str, Any]) -> Iterator[Finding]:
    if lacking := _missing_provenance(provenance):
        text = f"{name} does not name its runs: its provenance has no {lacking}"
        yield Finding("table_without_runs", text, system="worldflux")


def provenance_findings(rule: SuiteRule, name: str, provenance: Mapping[str, Any]) -> list[Finding]:
    """Of a candidate's table that could not be judged: that it names its runs, where nothing admits it."""
    if is_fixture_table(provenance) or NAMES["table_without_runs"] in rule.admit:
        return []
    return [_with_name(finding) for finding in _runless_table_findings(name, provenance)]


def _measured_tables(facts: Facts, system: str) -> Iterator[Program]:
    """Tables but made-up ones, which have a finding of their own, and may stand in a rehearsal alone."""
    for program in facts.programs:
        if program.is_table and program.system == system and not is_fixture_table(program.provenance):
            yield program


def _missing_provenance(provenance: Mapping[str, Any]) -> str:
    """What a provenance would have to say for somebody to find the runs of a table; empty where it does."""
    inputs = provenance.get("inputs")
    program = inputs.get("program_sha256") if isinstance(inputs, Mapping) else None
    tasks = provenance.get("tasks")
    rows = tasks.values() if isinstance(tasks, Mapping) else ()
    runs = any(isinstance(row, Mapping) and row.get("seeds") for row in rows)
    wanted = {
        f"schema_version {_TABLE_SCHEMA}": provenance.get("schema_version") == _TABLE_SCHEMA,
        "adapter": bool(provenance.get("adapter")),
        "commit, tree or program": any(map(provenance.get, ("commit", "source_tree_sha256"))) or program,
        "command or runs": provenance.get("command") or runs,
    }  # fmt: skip
    return next((name for name, there in wanted.items() if not there), "")


def _bound_findings(rule: SuiteRule, facts: Facts, now: datetime) -> Iterator[Finding]:
    for system, (least, _) in facts.seeds.items():
        if rule.least_seeds is not None and least < rule.least_seeds:
            text = f"a task has {least} seeds, and the policy asks for {rule.least_seeds}"
            yield Finding("too_few_seeds", text, system=system)
    for own in facts.rules:
        if rule.largest_margin is not None and own.margin > rule.largest_margin:
            margin, largest = 100 * own.margin, 100 * rule.largest_margin
            text = f"{own.metric} has the margin {margin:g} %, and {largest:g} % is the largest"
            yield Finding("margin_too_wide", text)
    if (
        rule.largest_age_days is not None
        and not 0 <= (age := _age_in_days(facts.time, now)) <= rule.largest_age_days
    ):
        text = f"the run is of {facts.time}, and {rule.largest_age_days:g} days is the largest age"
        yield Finding("too_old", f"{text}; it is in the future" if age < 0 else text)


def _age_in_days(time: str, now: datetime) -> float:
    """Days since a time; infinite where it is none."""
    try:
        then = datetime.fromisoformat(time)
    except ValueError:
        return float("inf")
    then = then if then.tzinfo else then.replace(tzinfo=UTC)
    return (now - then).total_seconds() / DAY
