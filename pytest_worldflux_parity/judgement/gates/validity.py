"""Validity: the records are what the suite asked for, and both sides did the same thing."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator, Mapping
from typing import Any

from ...execution.records import record_of, unreadable
from ...suite.pairs import Pair, RunKey
from ...suite.suite import SYSTEMS, Suite
from ...suite.words import is_never, refusal
from ...wire import RunRecord, eval_protocol_hash
from . import Finding, fixture

# Protocol keys that name what is compared; each program also says how it measured.
PROTOCOL_KEYS = ("eval_interval", "eval_episodes", "eval_window", "windows")
# What a record says of its run -> code of a finding for a word that nobody knows.
WORDS = {"mode": "unknown_mode", "policy_mode": "unknown_policy_mode"}
# Codes of findings for words that are known, and that no verdict rests on.
NEVER = {
    "mode": "mock_mode_forbidden",
    "policy_mode": "random_policy_forbidden",
    "env_backend": "env_backend_forbidden",
}
# A placeholder as long as a hash is none.
_HASH = re.compile(r"(?!0+$)[0-9a-f]{7,64}")
_TREE = re.compile(r"(?!0+$)[0-9a-f]{64}")
# What both sides state and must state alike -> code and word of a finding.
STATED = {
    "effective_recipe": ("recipe_mismatch", "recipe"),
    "eval_protocol": ("eval_protocol_mismatch", "protocol"),
}


def record_findings(suite: Suite, line: Mapping[str, Any]) -> list[Finding]:
    """Findings about one successful line by itself."""
    about = {"task_id": line["task_id"], "seed": line["seed"], "system": line["system"]}
    record = record_of(line)
    known = line["task_id"] in {t.id for t in suite.tasks}
    if (why := unreadable(line)) or record is None or not known:
        text = f"the stored record is not a valid parity.v1 record: {why or 'its task is not of the suite'}"
        return [Finding("unreadable_record", text, **about)]
    return [Finding(code, detail, **about) for code, detail in _problems(suite, line, record)]


def _problems(suite: Suite, line: Mapping[str, Any], record: RunRecord) -> Iterable[tuple[str, str]]:
    metadata = record.metadata
    for key in ("adapter_id", "backend_kind"):
        got, wanted = metadata.get(key), line[f"expected_{key}"]
        # A program need not state them; what it states must hold.
        if got is not None and got != wanted:
            yield f"{key}_mismatch", f"{got!r}, not {wanted!r}"
    yield from word_problems(metadata)
    # A campaign judges nothing; what a command does not state stays open in the provenance of its table.
    judged = suite.track != "campaign"
    if judged:
        yield from source_problems(metadata.get("source"))
    task = suite.task(line["task_id"])
    effective = metadata.get("effective_recipe")
    if isinstance(effective, dict) and effective:
        for text in differences(task.recipe, effective, only_first=True):
            yield "recipe_mismatch", f"declared and effective recipe differ: {text}"
    elif judged or task.recipe:
        yield "missing_recipe_metadata", "metadata.effective_recipe is absent"
    protocol = metadata.get("eval_protocol")
    asked = {k: v for k, v in task.eval_protocol.items() if k in PROTOCOL_KEYS}
    for text in differences(asked, protocol if isinstance(protocol, dict) else {}, only_first=True):
        yield "eval_protocol_mismatch", f"declared and effective protocol differ: {text}"
    expected_hash = eval_protocol_hash(suite.family, line["task_id"], task.eval_protocol)
    if metadata.get("eval_protocol_hash") not in (None, expected_hash):
        yield "eval_protocol_hash_mismatch", "the record was measured by another protocol"


def word_problems(metadata: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """(code, text) for what a record says of its run in words that a verdict cannot rest on.

    What it does not say at all is for the track to ask. In which environments a program runs is an open set:
    a proof says which words it admits there.
    """
    for key, code in NEVER.items():
        word = metadata.get(key)
        if word is None:
            continue
        if is_never(word):
            # Made-up numbers are told apart from runs that did nothing.
            made_up = key == "mode" and word == fixture.MODE
            yield "fixture_forbidden" if made_up else code, f"metadata.{refusal(key, word)}"
        elif key in WORDS and (text := refusal(key, word)):
            yield WORDS[key], f"metadata.{text}"


def source_problems(source: object) -> Iterable[tuple[str, str]]:
    """(code, text) for what a record says of its program's source and what names none."""
    if not source or not isinstance(source, Mapping):
        yield "missing_source_provenance", "metadata.source says nothing about the program's source"
        return
    for key, form, what in (("tree_sha256", _TREE, "sha256"), ("commit", _HASH, "commit")):
        value = source.get(key)
        if value is not None and not (isinstance(value, str) and form.fullmatch(value)):
            text = f"metadata.source.{key} is {value!r}, which is no {what} in hexadecimal digits"
            yield "missing_source_provenance", text


def source_findings(lines: Iterable[Mapping[str, Any]]) -> list[Finding]:
    """Findings for records that state another source tree than the first one of their side, or none where
    that states one: one side is one program, in one run and over a resume."""
    first: dict[str, tuple[Mapping[str, Any], str | None]] = {}
    findings = []
    for line in lines:
        tree = _stated_source(line).get("tree_sha256")
        kept, own = first.setdefault(line["system"], (line, tree))
        if tree != own:
            text = f"its source tree is {_short(tree)}, and that of {kept['task_id']} seed {kept['seed']} "
            about = (line["task_id"], line["seed"], line["system"])
            findings.append(Finding("source_trees_differ", f"{text}is {_short(own)}", *about))
    return findings


def sealed_findings(lines: Iterable[Mapping[str, Any]], sealed: Mapping[str, str]) -> Iterator[Finding]:
    """Findings for records whose program ran from other files than were sealed.

    Args:
        sealed: system -> sha256 of its program's files; a line of an earlier version states none.
    """
    for line in lines:
        own, wanted = line.get("program_sha256"), sealed.get(line["system"])
        if own is not None and wanted is not None and own != wanted:
            text = f"its program ran from files of the sha256 {_short(own)}, sealed are {_short(wanted)}"
            about = (line["task_id"], line["seed"], line["system"])
            yield Finding("source_trees_differ", text, *about)


def other_commits(lines: Iterable[Mapping[str, Any]]) -> list[str]:
    """A warning for each side whose records state one tree, of several commits."""
    commits: dict[str, set[str]] = {}
    for line in lines:
        if (commit := _stated_source(line).get("commit")) is not None:
            commits.setdefault(line["system"], set()).add(str(commit))
    return [
        f"the records of the {system} side state {len(own)} commits: {', '.join(map(_short, sorted(own)))}"
        for system, own in sorted(commits.items())
        if len(own) > 1
    ]


def _stated_source(line: Mapping[str, Any]) -> Mapping[str, Any]:
    record = record_of(line)
    source = record.metadata.get("source") if record is not None else None
    return source if isinstance(source, Mapping) else {}


def _short(value: object) -> str:
    return "not stated" if value is None else str(value)[:12]


def differences(left: Mapping[str, Any], right: Mapping[str, Any], only_first: bool = False) -> list[str]:
    """The keys on which two recipes differ, as ``key: left != right``.

    ``only_first``: keys that only ``right`` has do not count (it states more than was asked).
    Numbers are equal by value (1 and 1.0), lists element by element.
    """
    keys = set(left) if only_first else set(left) | set(right)
    absent = "absent"
    return [
        f"{key}: {left.get(key, absent)!r} != {right.get(key, absent)!r}"
        for key in sorted(keys)
        if key not in left or key not in right or left[key] != right[key]
    ]


def conflicting_successes(lines: Iterable[Mapping[str, Any]]) -> list[Finding]:
    """A second success for one request with other numbers: somebody reran until it was good, or the
    program is not deterministic. The first one counts, and the second is reported."""
    first: dict[str, Mapping[str, Any]] = {}
    findings = []
    for line in lines:
        if record_of(line) is None:
            continue
        kept = first.setdefault(line["request_id"], line)
        if _numbers(kept) != _numbers(line):
            findings.append(
                Finding(
                    "conflicting_success",
                    f"attempt {line['attempt']} answers the same request as attempt {kept['attempt']} "
                    "with another curve",
                    line["task_id"],
                    line["seed"],
                    line["system"],
                )
            )
    return findings


def _numbers(line: Mapping[str, Any]) -> tuple[Any, Any]:
    return line["metrics"].get("curve"), line["metrics"].get("scalars")


def recipe_findings(
    pairs: Iterable[Pair],
    stated: Mapping[RunKey, Mapping[str, Any]],
    what: str,
    ran: Container[RunKey] = frozenset(),
) -> list[Finding]:
    """Findings for pairs whose two sides did not effectively use the same recipe, or protocol.

    A program that ran and states nothing is held against all that the other one states; a table of which
    nothing is known is not compared.

    Args:
        ran: (system, task, seed) of the sides that have the record of a run.
        stated: (system, task, seed) -> effective recipe or protocol. Seeds of a table share their
            task's: the caller enters it for every seed of the pair.
        what: ``effective_recipe`` or ``eval_protocol``.
    """
    code, word = STATED[what]
    findings = []
    for pair in pairs:
        official, worldflux = ((s, pair.task.id, pair.seed) for s in SYSTEMS)
        if not all(key in stated or key in ran for key in (official, worldflux)):
            continue
        unequal = differences(stated.get(official, {}), stated.get(worldflux, {}))
        if unequal:
            detail = f"official and worldflux {word} differ: {'; '.join(unequal)}"
            findings.append(Finding(code, detail, pair.task.id, pair.seed))
    return findings
