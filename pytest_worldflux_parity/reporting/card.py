"""The claim card: what a person needs to believe a pass, the same in terminal, report and commands."""

from __future__ import annotations

from collections.abc import Iterator

from ..errors import printable
from ..execution.chain import EMPTY
from ..judgement.facts import Facts, Program, Rule
from ..judgement.gates.compared import Compared
from ..judgement.gates.recipes import spelt_range
from ..judgement.judgement_input import ONE_PROGRAM
from ..judgement.run_log import RunLog
from ..suite.suite import SYSTEMS
from .components import STANDINGS
from .escaping import escape
from .estimates import interval_text
from .labels import describe_labels, with_labels

NOT_SHOWN = (
    "that nobody with rights over the machine, and no signer, has lied; that what the suite does not "
    "measure is alike; what a program leaves out of its own reports; without a signature, or a head that was "
    "published, that the log was not made anew"
)
_HASH_DIGITS = 12


def card(facts: Facts, signer: str) -> Iterator[tuple[str, str]]:
    """(what, text) of each row.

    Args:
        signer: who vouches for the evidence, or that nobody does.
    """
    for what, text in _card_rows(facts, signer):
        yield with_labels(what, facts.labels), with_labels(text, facts.labels)


def _card_rows(facts: Facts, signer: str) -> Iterator[tuple[str, str]]:
    yield "suite", f"{facts.suite_id}, {facts.track}, sha256 {facts.suite_sha256[:_HASH_DIGITS]}"
    yield "claim", "none: this is no claim" if facts.claim == "none" else facts.claim
    if facts.labels:
        yield "labels", describe_labels(facts.labels)
    if facts.comparison != "programs":
        yield "comparison", f"{ONE_PROGRAM[facts.comparison]}: nothing is shown of another program"
    for program in facts.programs:
        yield _name_of_side(program.system, program.part), _describe_program(program)
    if facts.common:
        yield "programs", "; ".join(facts.common)
    if facts.environments:
        yield "packages", "; ".join(facts.environments)
    if facts.ignored:
        yield "ignored", f"{'; '.join(facts.ignored)}: no part of what was sealed"
    for part, compared in facts.components.items():
        yield f"components of {part}", _describe_components(compared)
    for part, recipes in facts.recipes.items():
        if recipes.sentence:
            yield _name_of_side("recipe", part), recipes.sentence
    counts = ", ".join(f"{s} {spelt_range(*facts.seeds[s])}" for s in SYSTEMS)
    yield "seeds", f"{facts.tasks} tasks; seeds a task: {counts}"
    if facts.saturated:
        yield "saturated", f"{'; '.join(facts.saturated)}: they hardly vary, and count as runs"
    for rule in facts.rules:
        yield f"metric {rule.metric}", _describe_rule(rule)
    yield (
        "budget",
        "; ".join(f"step {s}, within {t:.1%}" for s, t in facts.budgets) or "none: latest with latest",
    )
    if facts.curves:
        yield "points", "; ".join(facts.curves)
    yield "chosen", "; ".join(facts.choices.values()) or "nothing other than the suite"
    for system in SYSTEMS:
        if facts.attempts[system].total:
            yield f"attempts of {system}", facts.attempts[system].line()
    if facts.log.head != EMPTY:
        yield "log", _describe_log(facts.log)
    if facts.reused:
        yield "reused", f"{'; '.join(facts.reused)}; runs elsewhere, or taken away, are not seen"
    if facts.resumed:
        yield "resumed", "the run was resumed"
    if facts.lost_lines:
        yield "records", f"{facts.lost_lines} lines of the log are torn or cannot be read"
    if facts.warnings:
        yield "warnings", "; ".join(facts.warnings)
    yield "isolation", facts.isolation.sentence
    if facts.isolation.declared:
        yield "needs", facts.isolation.declared
    yield "run", _describe_run(facts)
    yield "signed", signer
    yield "not shown", NOT_SHOWN


def card_lines(facts: Facts, signer: str, *, beside: bool = False) -> Iterator[str]:
    """The card as aligned lines; ``beside`` a verdict that tells metrics and warnings, without these."""
    told = ("metric ", "warnings") if beside else ()
    rows = [row for row in card(facts, signer) if not row[0].startswith(told)]
    width = max(len(what) for what, _ in rows)
    yield from (printable(f"{what.ljust(width)}  {text}") for what, text in rows)


def card_section(facts: Facts, signer: str) -> Iterator[str]:
    """The card as a section of a report in markdown."""
    yield from ("", f"## Claim card: {escape(facts.suite_id)}", "", "| | |", "|---|---|")
    yield from (f"| {escape(what)} | {escape(text)} |" for what, text in card(facts, signer))


def _name_of_side(system: str, part: str) -> str:
    return f"{system} of {part}" if part else system


def _describe_program(program: Program) -> str:
    where = f" of {program.repo}" if program.repo else ""
    commit = f" at {program.commit[:_HASH_DIGITS]}" if program.commit else ", commit not known"
    commit += f" (version {program.version})" if program.version else ""
    kind = "table" if program.is_table else "program"
    # The candidate is the project's own; its commit is that of the run.
    shown = commit if program.system == "official" or program.commit else ""
    made = f"; made by {program.maker}" if program.maker else ""
    reading = f"; {program.reading}" if program.reading else ""
    sha256 = program.tree_sha256[:_HASH_DIGITS]
    return f"{kind} {program.adapter}{where}{shown}, sha256 {sha256}{made}{reading}"


def _describe_components(compared: Compared) -> str:
    found = compared.found
    if found is None or found.result is None:
        return compared.sentence
    matched = sum(c.passed for c in found.result.components)
    golden = f"golden {found.golden.manifest_sha256[:_HASH_DIGITS]}, {STANDINGS[found.golden.standing]}"
    return f"{compared.sentence}, {matched} match; {golden}"


def _describe_rule(rule: Rule) -> str:
    ends = "no interval" if rule.interval is None else f"intervals within {interval_text(rule.interval)}"
    word = "shown" if rule.passed else "not shown"
    return f"{rule.rule}, margin {rule.margin:.1%}, alpha {rule.alpha:.3g}, {ends}: {word}"


def _describe_log(log: RunLog) -> str:
    sessions = f"{log.sessions} session{'s' * (log.sessions != 1)}" if log.sessions else "sessions not known"
    sessions += f", {log.unended} without an end" if log.unended else ""
    gap = f"; {log.unchained} lines without a hash" if log.unchained else ""
    return f"head {log.head}, of {sessions}{gap}"


def _describe_run(facts: Facts) -> str:
    machine = facts.machine.get("platform", "machine not known")
    if facts.project is None:
        project = "project of no commit"
    else:
        changed = ", with changes" if facts.project["changed"] else ""
        project = f"project at {facts.project['commit'][:_HASH_DIGITS]}{changed}"
    return f"{facts.run_id}, {facts.time}, {facts.device}, {machine}, {project}"
