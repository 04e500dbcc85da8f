"""What a record must show beyond a quick run before a proof may rest on it: findings, with their codes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ...execution.records import filled_of, is_readable, known_metadata
from ...suite.proof import CANONICAL_PROFILES, ProofSuite, Requirements
from ...suite.recipe_terms import RecipeTerms
from ...suite.suite import SYSTEMS, Suite, Task
from ...suite.words import KNOWN, is_never, refusal
from ...wire import content_hash
from ..gates import Finding, line_finding
from ..gates.validity import record_findings

# What both sides must state alike, and the code of a finding where they do not, or where one is silent.
ALIKE = {
    "policy_impl": "policy_impl_mismatch",
    "env_backend": "environment_backend_mismatch",
    "model_id": "model_id_mismatch",
    "model_profile": "model_profile_mismatch",
    "recipe_hash": "recipe_mismatch",
}
# What a record says that was run without a change.
NO_CHANGES = content_hash([])
# What every record must state, but what the plugin fills in of runs that it made itself.
STATED = {
    "recipe_hash": "missing_recipe_hash",
    "artifact_manifest": "missing_artifact_manifest",
    "env_backend": "missing_env_backend",
    "eval_protocol_hash": "missing_eval_protocol_hash",
    "adapter_id": "adapter_id_mismatch",
    "backend_kind": "backend_kind_mismatch",
}


def lone_findings(
    suite: Suite, line: Mapping[str, Any], proof: ProofSuite | None = None, commit: str | None = None
) -> list[Finding]:
    """Everything that one successful line breaks by itself: a pair fails by it the moment that it ends.

    Args:
        suite: the part that the line is of. proof: the whole, where it is a proof.
        commit: as of :func:`requirement_findings`.
    """
    found = record_findings(suite, line)
    return found if proof is None else [*found, *proof_findings(proof, suite, line, commit)]


def proof_findings(
    proof: ProofSuite, suite: Suite, line: Mapping[str, Any], commit: str | None
) -> list[Finding]:
    """What a proof asks of one successful line beyond :func:`.record_findings`; a claim asks more.

    What cannot be read, or is of no task of the suite, has a finding of its own.
    """
    required = proof.requirements.get(line["task_id"])
    task = next((t for t in suite.tasks if t.id == line["task_id"]), None)
    if required is None or task is None or not is_readable(line):
        return []
    found = findings_by_asker(line, task, required, commit)
    return [*found["proof"], *(found["claim"] if proof.is_claim else ())]


def findings_by_asker(
    line: Mapping[str, Any], task: Task, required: Requirements, commit: str | None
) -> dict[str, list[Finding]]:
    """What ``proof`` asks of one readable line beyond :func:`.record_findings`, and ``claim`` beyond that.

    Args:
        commit: as of :func:`requirement_findings`.
    """
    return {
        "proof": requirement_findings(line, task, required, commit),
        "claim": [*unknown_backends([line], {task.id: required})],
    }


def requirement_findings(
    line: Mapping[str, Any], task: Task, required: Requirements, commit: str | None
) -> list[Finding]:
    """Findings about one successful line by itself.

    Args:
        commit: the locked commit that the official program must be of; None where none is locked.
    """
    return [line_finding(code, detail, line) for code, detail in _find_gaps(line, task, required, commit)]


def _mapping_at(document: Any, key: str) -> Mapping[str, Any]:
    """What stands at a key, where that is a mapping; else an empty one."""
    found = document.get(key)
    return found if isinstance(found, Mapping) else {}


def _find_gaps(
    line: Mapping[str, Any], task: Task, required: Requirements, commit: str | None
) -> Iterator[tuple[str, str]]:
    metadata = known_metadata(line)
    for key, code in STATED.items():
        if not metadata.get(key):
            yield code, f"metadata.{key} is absent"
    for key in ("mode", "policy_mode"):
        if metadata.get(key) is None:
            yield f"missing_{key}", f"metadata.{key} is absent; known: {', '.join(KNOWN[key])}"
    yield from _check_modes(metadata, required)
    yield from _check_profile(metadata, required)
    yield from _check_artifacts(line["system"], metadata, required)
    yield from _check_source(line, metadata, required, commit)
    yield from _check_budget(line["metrics"], metadata, task, required)


def _check_modes(metadata: Mapping[str, Any], required: Requirements) -> Iterator[tuple[str, str]]:
    mode, backend = metadata.get("policy_mode"), metadata.get("env_backend")
    if required.policy_mode not in (None, mode):
        yield "policy_mode_mismatch", f"policy_mode is {mode!r}, not {required.policy_mode!r}"
    if required.environment_backend not in (None, backend):
        what = f"env_backend is {backend!r}, not {required.environment_backend!r}"
        yield "environment_backend_mismatch", what
    for key, value in required.forbidden_shortcuts:
        if key in metadata and _text_of(metadata[key]).casefold() == value.casefold():
            yield "forbidden_shortcut_detected", f"{key} is {value!r}"


def _text_of(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _without_family(profile: object) -> object:
    """A profile without its family, which the earlier system writes before it: ``tdmpc2:proof_5m``."""
    family, _, name = profile.partition(":") if isinstance(profile, str) else ("", "", "")
    return name if name and CANONICAL_PROFILES.get(family) == name else profile


def _check_profile(metadata: Mapping[str, Any], required: Requirements) -> Iterator[tuple[str, str]]:
    profile, wanted = _without_family(metadata.get("model_profile")), required.model_profile
    if wanted is not None and not profile:
        yield "canonical_profile_missing", f"model_profile is absent, and {wanted!r} is wanted"
    elif wanted not in (None, profile):
        yield "model_profile_mismatch", f"model_profile is {profile!r}, not {wanted!r}"


def _check_artifacts(
    system: str, metadata: Mapping[str, Any], required: Requirements
) -> Iterator[tuple[str, str]]:
    for kind in required.artifacts.get(system, ()):
        if not _mapping_at(metadata, "artifact_manifest").get(kind):
            yield "missing_artifact", f"artifact_manifest names no {kind!r}"


def _check_source(
    line: Mapping[str, Any], metadata: Mapping[str, Any], required: Requirements, commit: str | None
) -> Iterator[tuple[str, str]]:
    """That the official program is the locked one, and as its commit has it."""
    source = _mapping_at(metadata, "source")
    if not (source.get("tree_sha256") or source.get("commit")):
        yield "missing_source_provenance", "metadata.source names neither a tree nor a commit"
    if source.get("dirty"):
        yield "source_tree_dirty", "the program ran from a tree that differs from its commit"
    if line["system"] != "official":
        return
    stated = line["source_commit"] or source.get("commit")
    if commit is not None and stated != commit:
        yield "source_commit_mismatch", f"the program is of commit {stated}, the lock names {commit}"
    changed = source.get("changes_sha256")
    unchanged = not source.get("changes") and changed in (None, NO_CHANGES)
    if not unchanged and changed not in required.official_changes:
        what = f"the official program was changed, sha256 {changed}, and the suite does not admit that"
        yield "official_change_not_admitted", what


def _check_budget(
    metrics: Mapping[str, Any], metadata: Mapping[str, Any], task: Task, required: Requirements
) -> Iterator[tuple[str, str]]:
    """That training went on for as long as the suite says."""
    steps = [p.get("step", 0) for p in metrics.get("curve", ()) if isinstance(p, dict)]
    last = max(steps, default=0)
    if task.budget is not None and last < task.budget.step * (1 - task.budget.tolerance):
        yield "budget_not_reached", f"the curve ends at {last} frames, the budget is {task.budget.step}"
    for key, wanted in required.train_budget.items():
        got = _mapping_at(metadata, "train_budget").get(key)
        if type(wanted) in (int, float) and not (isinstance(got, (int, float)) and got >= wanted):
            yield "budget_not_reached", f"train_budget.{key} is {got}, and {wanted} are wanted"


def keys_beside(suite: Suite) -> tuple[str, ...]:
    """What records of a suite do not state alike: under names of their own no two hashes are the same."""
    return ("recipe_hash",) if suite.recipe_terms != RecipeTerms() else ()


def alike_findings(lines: Iterable[Mapping[str, Any]], beside: Iterable[str] = ()) -> list[Finding]:
    """Findings for (task, seed) of which the two sides do not state the same.

    What one of them alone states is not the same; what none of them states is not compared. Nor is the hash
    of a recipe that the plugin made for one side: the recipes are compared by their keys.

    Args:
        beside: keys that are not compared here.
    """
    found: dict[tuple[str, int], dict[str, Mapping[str, Any]]] = {}
    filled: dict[tuple[str, int], set[str]] = {}
    for line in lines:
        metadata, key = line["metrics"].get("metadata"), (line["task_id"], line["seed"])
        if isinstance(metadata, Mapping):
            found.setdefault(key, {})[line["system"]] = metadata
            filled.setdefault(key, set(beside)).update(filled_of(line))
    return [
        Finding(code, f"{key} is {_quote_sides(pair, key)}", task, seed)
        for (task, seed), pair in sorted(found.items())
        if len(pair) == len(SYSTEMS)
        for key, code in {**ALIKE, **_budgets_apart(pair)}.items()
        if key not in filled[task, seed]
        and not _is_same(*(_without_family(m.get(key)) for m in pair.values()))
    ]


def _budgets_apart(pair: Mapping[str, Mapping[str, Any]]) -> Mapping[str, str]:
    """The code of budgets that are not the same, where both sides name a number of the same thing."""
    one, other = (_mapping_at(metadata, "train_budget") for metadata in pair.values())
    numbers = [k for k in one.keys() & other.keys() if {type(one[k]), type(other[k])} <= {int, float}]
    return {"train_budget": "steps_apart"} if any(one[k] != other[k] for k in numbers) else {}


def _is_same(one: object, other: object) -> bool:
    """Whether two values are the same to the last type: 1 and true are two."""
    return type(one) is type(other) and one == other


def _quote_sides(pair: Mapping[str, Mapping[str, Any]], key: str) -> str:
    said = ((s, pair[s].get(key)) for s in SYSTEMS)
    return " and ".join(f"{'absent' if value is None else repr(value)} ({s})" for s, value in said)


def unknown_backends(
    lines: Iterable[Mapping[str, Any]], requirements: Mapping[str, Requirements]
) -> Iterator[Finding]:
    """Findings for environments that neither this plugin knows nor the suite names.

    Args:
        requirements: by task.
    """
    for line in lines:
        required = requirements.get(line["task_id"])
        word = _mapping_at(line["metrics"], "metadata").get("env_backend")
        # Silence and what is never admitted have findings of their own, whatever the suite names.
        if required is None or not word or is_never(word):
            continue
        if text := refusal("env_backend", word, required.environment_backend):
            hint = "or name yours in the suite: `validity: {environment_backend: ...}`"
            yield line_finding("unknown_env_backend", f"metadata.{text}; {hint}", line)
