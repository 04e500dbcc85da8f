"""A proof manifest of the earlier system -> a proof suite with a part for each pair of programs.

``parity.suite.v2`` says everything twice, per suite and per task; ``parity.manifest.v1`` says less and gets
the defaults of its day. Its tasks name no recipe and no budget in frames: the latest points are compared, and
what its ``train_budget`` says is looked for in the records.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ..errors import SuiteError
from .commands import CommandSide
from .proof import CANONICAL_PROFILES, ProofSuite, Requirements, parse_shortcuts
from .proof_settings import (
    Design,
    HolmScope,
    MetricRule,
    ProofSettings,
    parse_bayesian_rule,
    parse_seed_policy,
)  # fmt: skip
from .suite import SYSTEMS, At, BackendSide, Locate, Metric, Suite, Task
from .words import refuse_words

V1, V2 = "parity.manifest.v1", "parity.suite.v2"
WEEK_SEC = 604_800
TRANSFORMS: Mapping[str, tuple[str, Design]] = {
    "paired_log_ratio": ("log_ratio", "paired"),
    "normalized_difference": ("normalized_difference", "unpaired"),
}
V1_DEFAULTS: Mapping[str, Any] = {
    "family": "mixed",
    "primary_metric": "final_return_mean",
    "secondary_metrics": ["auc_return"],
    "higher_is_better": True,
    "effect_transform": "paired_log_ratio",
    "holm_scope": "all_metrics",
}
V1_LEVELS: Mapping[str, float] = {"alpha": 0.05, "equivalence_margin": 0.05, "noninferiority_margin": 0.05}


class _ManifestTask(NamedTuple):
    """One task: what is run, what must be shown of it, and how both systems are run."""

    task: Task
    family: str
    rules: tuple[MetricRule, ...]
    requirements: Requirements
    sides: Mapping[str, CommandSide]


def parse_manifest(data: Mapping[str, Any], locate: Locate) -> ProofSuite:
    """A :class:`ProofSuite` from a mapping that its JSON Schema accepts.

    Raises:
        SuiteError: what a schema cannot say is wrong.
    """
    first = data["schema_version"] == V1
    root = _with_levels({**(V1_DEFAULTS if first else {}), **data}, first, locate)
    tasks = tuple(
        _parse_manifest_task(row, root, ("tasks", i), locate) for i, row in enumerate(data["tasks"])
    )
    _refuse_repeated_tasks(tasks, locate)
    defaults = data.get("defaults", {})
    settings = ProofSettings(
        suite_id=root["suite_id"],
        holm_scope=_require_one_scope(root, data["tasks"], locate),
        bayesian=parse_bayesian_rule(data.get("statistical", {}).get("bayesian", {}), locate),
        seed_policy=parse_seed_policy(data["seed_policy"], locate),
        component_match_required=defaults.get("component_report_required", False),
    )
    groups: dict[tuple[object, ...], list[_ManifestTask]] = {}
    for one in tasks:
        sides = (one.sides[s] for s in SYSTEMS)
        programs = ((s.adapter, s.adapter_id, s.backend_kind, s.source_commit) for s in sides)
        groups.setdefault((one.family, *programs), []).append(one)
    return ProofSuite(
        settings=settings,
        claim=defaults.get("parity_claim_level") or "none",
        parts=tuple(_make_part(own, settings) for own in groups.values()),
        rules={one.task.id: one.rules for one in tasks},
        requirements={one.task.id: one.requirements for one in tasks},
        component_match="golden" if settings.component_match_required else "none",
        warnings=tuple(_warn_of_manifest(first, defaults, tasks)),
    )


def _make_part(tasks: Sequence[_ManifestTask], settings: ProofSettings) -> Suite:
    """The part of tasks that are run by the same two programs."""
    rules = {rule.name: rule for one in tasks for rule in one.rules}
    return Suite(
        suite_id=settings.suite_id,
        family=tasks[0].family,
        track="proof",
        tasks=tuple(one.task for one in tasks),
        seeds=dict.fromkeys(SYSTEMS, settings.seed_policy.at_first),
        sides={
            s: BackendSide(tasks[0].sides[s].adapter, {one.task.id: one.sides[s] for one in tasks})
            for s in SYSTEMS
        },
        metrics=tuple(_judged_metric(rule, tasks) for rule in rules.values()),
        component_match="golden" if settings.component_match_required else "none",
    )


def _judged_metric(rule: MetricRule, tasks: Sequence[_ManifestTask]) -> Metric:
    """A rule as the metric of a part, for what takes values from records."""
    own = tuple(one.task.id for one in tasks if any(r.name == rule.name for r in one.rules))
    margin, confidence = rule.equivalence_margin, 1 - rule.alpha
    return Metric(rule.name, "equivalence", margin, confidence, rule.higher_is_better, tasks=own)


def _with_levels(root: Mapping[str, Any], first: bool, locate: Locate) -> dict[str, Any]:
    """``root`` with alpha and margins, which stand in it, in its ``defaults``, or in both alike."""
    full, defaults = dict(root), root.get("defaults", {})
    for key, usual in V1_LEVELS.items():
        if key in root and key in defaults and root[key] != defaults[key]:
            raise SuiteError(
                f"{key} is {root[key]} here and {defaults[key]} in defaults",
                where=locate((key,)),
                hint="name it once",
            )
        value = root.get(key, defaults.get(key, usual if first else None))
        if value is None:
            raise SuiteError(f"key {key!r} is missing", where=locate(()), hint=f"add `{key}:`")
        full[key] = value
    return full


def _parse_manifest_task(
    own: Mapping[str, Any], root: Mapping[str, Any], at: At, locate: Locate
) -> _ManifestTask:
    merged = {**root, **own}
    family = merged["family"]
    if family == "mixed":
        raise SuiteError(
            f"task {own['task_id']!r} has no family", where=locate(at), hint="add `family:` to the task"
        )
    place = at if "validity_requirements" in own else ()
    refuse_words(merged.get("validity_requirements", {}), (*place, "validity_requirements"), locate)
    _check_window(merged.get("eval_protocol", {}), at if "eval_protocol" in own else (), locate)
    sides = {s: _parse_command_side(own[s]) for s in SYSTEMS}
    deadlines = [s.timeout_sec for s in sides.values() if s.timeout_sec is not None]
    return _ManifestTask(
        task=Task(
            id=own["task_id"],
            eval_protocol=merged.get("eval_protocol", {}),
            seeds=_parse_own_seeds(own, root, at, locate),
            deadline_sec=float(max(deadlines, default=WEEK_SEC)),
        ),
        family=family,
        rules=_rules_of_task(merged, own, at, locate),
        requirements=_requirements_of_task(merged, family),
        sides=sides,
    )


def _requirements_of_task(merged: Mapping[str, Any], family: str) -> Requirements:
    own = merged.get("validity_requirements", {})
    claimed = (merged.get("defaults", {}).get("parity_claim_level") or "none") != "none"
    return Requirements(
        policy_mode=own.get("policy_mode"),
        environment_backend=own.get("environment_backend"),
        model_profile=CANONICAL_PROFILES.get(family) if claimed else None,
        forbidden_shortcuts=parse_shortcuts(own.get("forbidden_shortcuts", ())),
        train_budget=merged.get("train_budget", {}),
    )


def _check_window(protocol: Mapping[str, Any], at: At, locate: Locate) -> None:
    """The one key of an older protocol by which numbers are computed; the others are for programs."""
    window = protocol.get("eval_window", 1)
    if isinstance(window, bool) or not re.fullmatch(r"0*[1-9][0-9]{0,11}", str(window)):
        raise SuiteError(
            f"eval_window is {window!r}, not a positive number of points",
            where=locate((*at, "eval_protocol", "eval_window")),
            hint="write a whole number, or leave it out: 1",
        )


def _parse_own_seeds(
    own: Mapping[str, Any], root: Mapping[str, Any], at: At, locate: Locate
) -> tuple[int, ...] | None:
    if "seed_policy" not in own:
        return None
    if root["seed_policy"]["mode"] != "fixed":
        hint = "write `mode: fixed`, or leave the task's seed_policy out"
        where = locate((*at, "seed_policy"))
        raise SuiteError("auto_power gives every task its seeds", where=where, hint=hint)
    return tuple(sorted(own["seed_policy"]["values"]))


def _rules_of_task(
    merged: Mapping[str, Any], own: Mapping[str, Any], at: At, locate: Locate
) -> tuple[MetricRule, ...]:
    """A rule per metric, the primary one first; metrics that are required beside them come last."""
    primary, secondary = merged["primary_metric"], merged["secondary_metrics"]
    if primary in secondary:
        where = locate((*at, "secondary_metrics") if "secondary_metrics" in own else ("secondary_metrics",))
        raise SuiteError(f"{primary!r} is the primary metric and a secondary one", where=where)
    names = dict.fromkeys([primary, *secondary, *own.get("required_metrics", ())])
    effect, design = TRANSFORMS[merged["effect_transform"]]
    return tuple(
        MetricRule(
            name=name,
            effect=effect,
            design=design,
            alpha=merged["alpha"],
            equivalence_margin=merged["equivalence_margin"],
            noninferiority_margin=merged["noninferiority_margin"],
            higher_is_better=merged["higher_is_better"],
        )
        for name in names
    )


def _parse_command_side(own: Mapping[str, Any]) -> CommandSide:
    return CommandSide(
        adapter=own["adapter"],
        command=tuple(own["command"]),
        backend_kind=own.get("backend_kind"),
        adapter_id=own.get("adapter_id", own["adapter"]),
        cwd=own.get("cwd", "."),
        env=own.get("env", {}),
        timeout_sec=own.get("timeout_sec"),
        artifact_requirements={k: tuple(v) for k, v in own.get("artifact_requirements", {}).items()},
        source_commit=own.get("source", {}).get("commit"),
    )


def _refuse_repeated_tasks(tasks: Sequence[_ManifestTask], locate: Locate) -> None:
    seen: dict[str, str] = {}
    for i, task in enumerate(one.task for one in tasks):
        # Both names of an Atari task mean the same.
        key = task.id.replace("atari100k_", "atari_", 1) if task.id.startswith("atari100k_") else task.id
        if key in seen:
            where = locate(("tasks", i, "task_id"))
            raise SuiteError(f"task {task.id!r} is {seen[key]!r} again", where=where, hint="name it once")
        seen[key] = task.id


def _require_one_scope(
    root: Mapping[str, Any], tasks: Sequence[Mapping[str, Any]], locate: Locate
) -> HolmScope:
    scope: HolmScope = root["holm_scope"]
    for i, task in enumerate(tasks):
        if task.get("holm_scope", scope) != scope:
            raise SuiteError(
                f"holm_scope is {task['holm_scope']} here and {scope} for the suite",
                where=locate(("tasks", i, "holm_scope")),
                hint="name one scope: a correction is over the whole suite",
            )
    return scope


def _warn_of_manifest(first: bool, defaults: Mapping[str, Any], tasks: Sequence[_ManifestTask]) -> list[str]:
    found = []
    if first:
        found.append(f"{V1} is the predecessor of {V2}: what it does not say has the defaults of its day")
    if defaults.get("eps"):
        found.append("eps is not used: a score is never shifted to make a logarithm possible")
    if any(r.design == "paired" for t in tasks for r in t.rules):
        found.append(
            "seeds are paired, as paired_log_ratio asks; a seed number that two programs share gives them "
            "no shared randomness, so the unpaired design would lose nothing"
        )
    return found
