"""What a record must show beyond a quick run before a proof may rest on it: findings, with their codes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ...suite.proof import CANONICAL_PROFILES, Requirements
from ...suite.suite import SYSTEMS, Task
from ...suite.words import KNOWN, is_never, refusal
from ...wire import content_hash
from ..gates import Finding

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
STATED = {
    "recipe_hash": "missing_recipe_hash",
    "artifact_manifest": "missing_artifact_manifest",
    "env_backend": "missing_env_backend",
    "eval_protocol_hash": "missing_eval_protocol_hash",
    "adapter_id": "adapter_id_mismatch",
    "backend_kind": "backend_kind_mismatch",
}


def requirement_findings(
    line: Mapping[str, Any], task: Task, required: Requirements, commit: str | None
) -> list[Finding]:
    """Findings about one successful line by itself.

    Args:
        commit: the locked commit that the official program must be of; None where none is locked.
    """
    metadata = line["metrics"].get("metadata")
    about = {"task_id": line["task_id"], "seed": line["seed"], "system": line["system"]}
    problems = _problems(line, metadata if isinstance(metadata, Mapping) else {}, task, required, commit)
    return [Finding(code, detail, **about) for code, detail in problems]


def _problems(
    line: Mapping[str, Any],
    metadata: Mapping[str, Any],
    task: Task,
    required: Requirements,
    commit: str | None,
) -> Iterator[tuple[str, str]]:
    for key, code in STATED.items():
        if not metadata.get(key):
            yield code, f"metadata.{key} is absent"
    for key in ("mode", "policy_mode"):
        if metadata.get(key) is None:
            yield f"missing_{key}", f"metadata.{key} is absent; known: {', '.join(KNOWN[key])}"
    yield from _modes(metadata, required)
    yield from _profile(metadata, required)
    yield from _artifacts(line["system"], metadata, required)
    yield from _source(line, metadata, required, commit)
    yield from _budget(line["metrics"], metadata, task, required)


def _modes(metadata: Mapping[str, Any], required: Requirements) -> Iterator[tuple[str, str]]:
    mode = metadata.get("policy_mode")
    if required.policy_mode is not None and mode != required.policy_mode:
        yield "policy_mode_mismatch", f"policy_mode is {mode!r}, not {required.policy_mode!r}"
    backend = metadata.get("env_backend")
    if required.environment_backend is not None and backend != required.environment_backend:
        yield (
            "environment_backend_mismatch",
            f"env_backend is {backend!r}, not {required.environment_backend!r}",
        )
    for key, value in required.forbidden_shortcuts:
        if key in metadata and _text(metadata[key]).casefold() == value.casefold():
            yield "forbidden_shortcut_detected", f"{key} is {value!r}"


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _named(profile: object) -> object:
    """A profile without its family, which the earlier system writes before it: ``tdmpc2:proof_5m``."""
    family, _, name = profile.partition(":") if isinstance(profile, str) else ("", "", "")
    return name if name and CANONICAL_PROFILES.get(family) == name else profile


def _profile(metadata: Mapping[str, Any], required: Requirements) -> Iterator[tuple[str, str]]:
    profile = _named(metadata.get("model_profile"))
    if required.model_profile is None:
        return
    if not profile:
        yield (
            "canonical_profile_missing",
            f"model_profile is absent, and {required.model_profile!r} is wanted",
        )
    elif profile != required.model_profile:
        yield "model_profile_mismatch", f"model_profile is {profile!r}, not {required.model_profile!r}"


def _artifacts(system: str, metadata: Mapping[str, Any], required: Requirements) -> Iterator[tuple[str, str]]:
    manifest = metadata.get("artifact_manifest")
    for kind in required.artifacts.get(system, ()):
        if not isinstance(manifest, Mapping) or not manifest.get(kind):
            yield "missing_artifact", f"artifact_manifest names no {kind!r}"


def _source(
    line: Mapping[str, Any], metadata: Mapping[str, Any], required: Requirements, commit: str | None
) -> Iterator[tuple[str, str]]:
    """That the official program is the locked one, and as its commit has it."""
    source = metadata.get("source")
    source = source if isinstance(source, Mapping) else {}
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


def _budget(
    metrics: Mapping[str, Any], metadata: Mapping[str, Any], task: Task, required: Requirements
) -> Iterator[tuple[str, str]]:
    """That training went on for as long as the suite says."""
    steps = [p.get("step", 0) for p in metrics.get("curve", ()) if isinstance(p, dict)]
    last = max(steps, default=0)
    if task.budget is not None and last < task.budget.step * (1 - task.budget.tolerance):
        yield "budget_not_reached", f"the curve ends at {last} frames, the budget is {task.budget.step}"
    spent = metadata.get("train_budget")
    spent = spent if isinstance(spent, Mapping) else {}
    for key, wanted in required.train_budget.items():
        if not isinstance(wanted, (int, float)) or isinstance(wanted, bool):
            continue
        got = spent.get(key)
        if not isinstance(got, (int, float)) or got < wanted:
            yield "budget_not_reached", f"train_budget.{key} is {got}, and {wanted} are wanted"


def alike_findings(lines: Iterable[Mapping[str, Any]]) -> list[Finding]:
    """Findings for (task, seed) of which the two sides do not state the same.

    What one of them alone states is not the same; what none of them states is not compared.
    """
    found: dict[tuple[str, int], dict[str, Mapping[str, Any]]] = {}
    for line in lines:
        metadata = line["metrics"].get("metadata")
        if isinstance(metadata, Mapping):
            found.setdefault((line["task_id"], line["seed"]), {})[line["system"]] = metadata
    return [
        Finding(code, f"{key} is {_shown(pair, key)}", task, seed)
        for (task, seed), pair in sorted(found.items())
        if len(pair) == len(SYSTEMS)
        for key, code in {**ALIKE, **_budgets_apart(pair)}.items()
        if not _same(*(_named(m.get(key)) for m in pair.values()))
    ]


def _budgets_apart(pair: Mapping[str, Mapping[str, Any]]) -> Mapping[str, str]:
    """The code of budgets that are not the same, where both sides name a number of the same thing."""
    said = (m.get("train_budget") for m in pair.values())
    one, other = (own if isinstance(own, Mapping) else {} for own in said)
    numbers = [k for k in one.keys() & other.keys() if {type(one[k]), type(other[k])} <= {int, float}]
    return {"train_budget": "steps_apart"} if any(one[k] != other[k] for k in numbers) else {}


def _same(one: object, other: object) -> bool:
    """Whether two values are the same to the last type: 1 and true are two."""
    return type(one) is type(other) and one == other


def _shown(pair: Mapping[str, Mapping[str, Any]], key: str) -> str:
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
        required, metadata = requirements.get(line["task_id"]), line["metrics"].get("metadata")
        word = metadata.get("env_backend") if isinstance(metadata, Mapping) else None
        # Silence and what is never admitted have findings of their own, whatever the suite names.
        if required is None or not word or is_never(word):
            continue
        if text := refusal("env_backend", word, required.environment_backend):
            mend = "or name yours in the suite: `validity: {environment_backend: ...}`"
            about = {"task_id": line["task_id"], "seed": line["seed"], "system": line["system"]}
            yield Finding("unknown_env_backend", f"metadata.{text}; {mend}", **about)
