"""Validity: the records are what the suite asked for, and both sides did the same thing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ...execution.records import known_metadata, record_of, unreadable
from ...suite.commands import value_at
from ...suite.suite import Suite
from ...suite.words import is_never, refusal
from ...wire import RunRecord, eval_protocol_hash
from . import Finding, fixture, line_finding
from .recipes import STATED, recipe_differences

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


def record_findings(suite: Suite, line: Mapping[str, Any]) -> list[Finding]:
    """Findings about one successful line by itself."""
    record = record_of(line)
    is_known = line["task_id"] in {t.id for t in suite.tasks}
    if (why := unreadable(line)) or record is None or not is_known:
        text = f"the stored record is not a valid parity.v1 record: {why or 'its task is not of the suite'}"
        return [line_finding("unreadable_record", text, line)]
    return [line_finding(code, detail, line) for code, detail in _find_problems(suite, line, record)]


def _find_problems(suite: Suite, line: Mapping[str, Any], record: RunRecord) -> Iterable[tuple[str, str]]:
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
        yield from source_problems(known_metadata(line).get("source"))
    task = suite.task(line["task_id"])
    effective = metadata.get("effective_recipe")
    if isinstance(effective, dict) and effective:
        asked = suite.recipe_terms.asked_of(line["system"], task.recipe)
        yield from _compare_asked("effective_recipe", asked, effective)
    elif judged or task.recipe:
        yield "missing_recipe_metadata", "metadata.effective_recipe is absent"
    protocol = metadata.get("eval_protocol")
    wanted = {k: v for k, v in task.eval_protocol.items() if k in PROTOCOL_KEYS}
    yield from _compare_asked("eval_protocol", wanted, protocol if isinstance(protocol, dict) else {})
    expected_hash = eval_protocol_hash(suite.family, line["task_id"], task.eval_protocol)
    if metadata.get("eval_protocol_hash") not in (None, expected_hash):
        yield "eval_protocol_hash_mismatch", "the record was measured by another protocol"


def _compare_asked(what: str, asked: Mapping[str, Any], used: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What of a recipe or protocol was asked, and is not what was used; a program may state more."""
    code, word = STATED[what]
    for text in recipe_differences(asked, {k: v for k, v in used.items() if k in asked}):
        yield code, f"declared and effective {word} differ: {text}"


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


def source_findings(lines: Iterable[Mapping[str, Any]]) -> Iterator[Finding]:
    """Findings for records that state another source tree than the first one of their side, or none where
    that states one: one side is one program, in one run and over a resume."""
    first: dict[str, tuple[Mapping[str, Any], str | None]] = {}
    for line in lines:
        tree = _stated_source(line).get("tree_sha256")
        kept, kept_tree = first.setdefault(line["system"], (line, tree))
        if tree != kept_tree:
            text = f"its source tree is {_shorten(tree)}, and that of {kept['task_id']} seed {kept['seed']} "
            yield line_finding("source_trees_differ", f"{text}is {_shorten(kept_tree)}", line)


def sealed_findings(lines: Iterable[Mapping[str, Any]], sealed: Mapping[str, str]) -> Iterator[Finding]:
    """Findings for records whose program ran from other files than were sealed.

    Args:
        sealed: system -> sha256 of its program's files; a line of an earlier version states none.
    """
    for line in lines:
        ran, wanted = line.get("program_sha256"), sealed.get(line["system"])
        if None not in (ran, wanted) and ran != wanted:
            text = f"its program ran from files of the sha256 {_shorten(ran)}, sealed are {_shorten(wanted)}"
            yield line_finding("source_trees_differ", text, line)


def other_commits(lines: Iterable[Mapping[str, Any]]) -> list[str]:
    """A warning for each side whose records state one tree, of several commits."""
    commits: dict[str, set[str]] = {}
    for line in lines:
        if (commit := _stated_source(line).get("commit")) is not None:
            commits.setdefault(line["system"], set()).add(str(commit))
    return [
        f"the records of the {system} side state {len(ids)} commits: {', '.join(map(_shorten, sorted(ids)))}"
        for system, ids in sorted(commits.items())
        if len(ids) > 1
    ]


def _stated_source(line: Mapping[str, Any]) -> Mapping[str, Any]:
    source = value_at(line, "metrics", "metadata", "source") if record_of(line) is not None else None
    return source if isinstance(source, Mapping) else {}


def _shorten(value: object) -> str:
    return "not stated" if value is None else str(value)[:12]


def conflicting_successes(lines: Iterable[Mapping[str, Any]]) -> Iterator[Finding]:
    """A second success for one request with other numbers: somebody reran until it was good, or the
    program is not deterministic. The first one counts, and the second is reported."""
    first: dict[str, Mapping[str, Any]] = {}
    for line in lines:
        if record_of(line) is None:
            continue
        kept = first.setdefault(line["request_id"], line)
        if _numbers_of(kept) != _numbers_of(line):
            same = f"answers the same request as attempt {kept['attempt']} with another curve"
            of = f" of the run {line.get('run_id')}" if line.get("run_id") != kept.get("run_id") else ""
            yield line_finding("conflicting_success", f"attempt {line['attempt']}{of} {same}", line)


def _numbers_of(line: Mapping[str, Any]) -> tuple[Any, Any]:
    return line["metrics"].get("curve"), line["metrics"].get("scalars")
