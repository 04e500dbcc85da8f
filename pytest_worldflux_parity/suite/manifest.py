"""A proof manifest of the earlier system -> what is run, what is expected, and how it is decided.

``parity.suite.v2`` says everything twice, per suite and per task; ``parity.manifest.v1`` says less and gets
the defaults of its day. Both come here as mappings that a JSON Schema accepts
(:func:`~.manifest_file.load`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ..errors import SuiteError
from .commands import CommandSide
from .proof_settings import BayesianRule, Design, Effect, HolmScope, MetricRule, ProofSettings, SeedPolicy
from .suite import SYSTEMS, Locate
from .words import refuse_words

V1, V2 = "parity.manifest.v1", "parity.suite.v2"
TRANSFORMS: Mapping[str, tuple[Effect, Design]] = {
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


@dataclass(frozen=True)
class ManifestTask:
    """One task: what must be shown of it, and how both systems are run.

    ``seeds``: its own, in place of the suite's.
    """

    id: str
    family: str
    rules: tuple[MetricRule, ...]
    train_budget: Mapping[str, Any]
    eval_protocol: Mapping[str, Any]
    validity_requirements: Mapping[str, Any]
    sides: Mapping[str, CommandSide]
    seeds: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Manifest:
    """A manifest as everything downstream sees it. ``warnings``: what a reader should be told of it."""

    suite_id: str
    family: str
    settings: ProofSettings
    tasks: tuple[ManifestTask, ...]
    claim_level: str | None
    warnings: tuple[str, ...] = ()
    path: str = ""
    sha256: str = ""


def parse_manifest(data: Mapping[str, Any], locate: Locate) -> Manifest:
    """A :class:`Manifest` from a mapping that its JSON Schema accepts.

    Raises:
        SuiteError: what a schema cannot say is wrong.
    """
    first = data["schema_version"] == V1
    root = _with_levels({**(V1_DEFAULTS if first else {}), **data}, first, locate)
    tasks = tuple(_task(row, root, ("tasks", i), locate) for i, row in enumerate(data["tasks"]))
    _refuse_repeats(tasks, locate)
    defaults = data.get("defaults", {})
    settings = ProofSettings(
        suite_id=root["suite_id"],
        holm_scope=_one_scope(root, data["tasks"], locate),
        bayesian=bayesian_rule(data.get("statistical", {}).get("bayesian", {}), locate),
        seed_policy=seed_policy(data["seed_policy"], locate),
        component_match_required=defaults.get("component_report_required", False),
    )
    return Manifest(
        suite_id=root["suite_id"],
        family=root["family"],
        settings=settings,
        tasks=tasks,
        claim_level=defaults.get("parity_claim_level"),
        warnings=tuple(_warnings(first, defaults, tasks)),
    )


def _with_levels(root: Mapping[str, Any], first: bool, locate: Locate) -> dict[str, Any]:
    """``root`` with alpha and margins, which stand in it, in its ``defaults``, or in both alike."""
    full, defaults = dict(root), root.get("defaults", {})
    for key, usual in V1_LEVELS.items():
        if key in root and key in defaults and root[key] != defaults[key]:
            raise SuiteError(
                f"{key} is {root[key]} here and {defaults[key]} in defaults",
                where=locate((key,)),
                mend="name it once",
            )
        value = root.get(key, defaults.get(key, usual if first else None))
        if value is None:
            raise SuiteError(f"key {key!r} is missing", where=locate(()), mend=f"add `{key}:`")
        full[key] = value
    return full


def _task(
    own: Mapping[str, Any], root: Mapping[str, Any], at: tuple[str | int, ...], locate: Locate
) -> ManifestTask:
    merged = {**root, **own}
    family = merged["family"]
    if family == "mixed":
        raise SuiteError(
            f"task {own['task_id']!r} has no family", where=locate(at), mend="add `family:` to the task"
        )
    place = at if "validity_requirements" in own else ()
    refuse_words(merged.get("validity_requirements", {}), (*place, "validity_requirements"), locate)
    _check_window(merged.get("eval_protocol", {}), at if "eval_protocol" in own else (), locate)
    return ManifestTask(
        id=own["task_id"],
        family=family,
        rules=_rules(merged, own, at, locate),
        train_budget=merged.get("train_budget", {}),
        eval_protocol=merged.get("eval_protocol", {}),
        validity_requirements=merged.get("validity_requirements", {}),
        sides={s: _side(own[s]) for s in SYSTEMS},
        seeds=_own_seeds(own, root, at, locate),
    )


def _check_window(protocol: Mapping[str, Any], at: tuple[str | int, ...], locate: Locate) -> None:
    """The one key of an older protocol by which numbers are computed; the others are for programs."""
    window = protocol.get("eval_window", 1)
    if isinstance(window, bool) or not re.fullmatch(r"0*[1-9][0-9]{0,11}", str(window)):
        raise SuiteError(
            f"eval_window is {window!r}, not a positive number of points",
            where=locate((*at, "eval_protocol", "eval_window")),
            mend="write a whole number, or leave it out: 1",
        )


def _own_seeds(
    own: Mapping[str, Any], root: Mapping[str, Any], at: tuple[str | int, ...], locate: Locate
) -> tuple[int, ...] | None:
    if "seed_policy" not in own:
        return None
    if root["seed_policy"]["mode"] != "fixed":
        mend = "write `mode: fixed`, or leave the task's seed_policy out"
        where = locate((*at, "seed_policy"))
        raise SuiteError("auto_power gives every task its seeds", where=where, mend=mend)
    return tuple(sorted(own["seed_policy"]["values"]))


def _rules(
    merged: Mapping[str, Any], own: Mapping[str, Any], at: tuple[str | int, ...], locate: Locate
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


def _side(own: Mapping[str, Any]) -> CommandSide:
    source = own.get("source", {})
    return CommandSide(
        adapter=own["adapter"],
        command=tuple(own["command"]),
        backend_kind=own.get("backend_kind"),
        adapter_id=own.get("adapter_id", own["adapter"]),
        cwd=own.get("cwd", "."),
        env=own.get("env", {}),
        timeout_sec=own.get("timeout_sec"),
        artifact_requirements={k: tuple(v) for k, v in own.get("artifact_requirements", {}).items()},
        source_commit=source.get("commit"),
        source_artifact_path=source.get("artifact_path"),
    )


def _refuse_repeats(tasks: Sequence[ManifestTask], locate: Locate) -> None:
    seen: dict[str, str] = {}
    for i, task in enumerate(tasks):
        # Both names of an Atari task mean the same.
        key = task.id.replace("atari100k_", "atari_", 1) if task.id.startswith("atari100k_") else task.id
        if key in seen:
            where = locate(("tasks", i, "task_id"))
            raise SuiteError(f"task {task.id!r} is {seen[key]!r} again", where=where, mend="name it once")
        seen[key] = task.id


def _one_scope(root: Mapping[str, Any], tasks: Sequence[Mapping[str, Any]], locate: Locate) -> HolmScope:
    scope: HolmScope = root["holm_scope"]
    for i, task in enumerate(tasks):
        if task.get("holm_scope", scope) != scope:
            raise SuiteError(
                f"holm_scope is {task['holm_scope']} here and {scope} for the suite",
                where=locate(("tasks", i, "holm_scope")),
                mend="name one scope: a correction is over the whole suite",
            )
    return scope


def bayesian_rule(own: Mapping[str, Any], locate: Locate) -> BayesianRule:
    """The Bayesian check of a suite, which a schema accepts.

    Raises:
        SuiteError: a dual pass is required and the check is off.
    """
    enable = own.get("enable", True)
    dual = own.get("dual_pass_required", enable)
    if dual and not enable:
        raise SuiteError(
            "dual_pass_required is true, and the Bayesian check is not enabled",
            where=locate(("statistical", "bayesian", "dual_pass_required")),
            mend="set `enable: true`",
        )
    return BayesianRule(**{**own, "enable": enable, "dual_pass_required": dual})


def seed_policy(own: Mapping[str, Any], locate: Locate) -> SeedPolicy:
    """The seed policy of a suite, which a schema accepts.

    Raises:
        SuiteError: nothing could pass with it.
    """
    mode: Literal["fixed", "auto_power"] = own["mode"]
    policy = SeedPolicy(**{**own, "mode": mode, "values": tuple(own.get("values", ()))})
    wrong = _fixed_doubt(policy) if mode == "fixed" else _auto_power_doubt(policy)
    if wrong:
        raise SuiteError(wrong, where=locate(("seed_policy",)))
    return policy


def _fixed_doubt(policy: SeedPolicy) -> str:
    if not policy.values:
        return "a fixed seed policy names its seeds in `values`"
    if len(policy.values) < policy.min_seeds:
        return (
            f"min_seeds is {policy.min_seeds} and there are {len(policy.values)} values, so nothing can pass"
        )
    return ""


def _auto_power_doubt(policy: SeedPolicy) -> str:
    if not max(policy.pilot_seeds, policy.min_seeds) <= policy.max_seeds:
        return (
            f"pilot_seeds {policy.pilot_seeds} and min_seeds {policy.min_seeds} must not be above "
            f"max_seeds {policy.max_seeds}"
        )
    if policy.values and len(policy.values) < policy.max_seeds:
        return (
            f"{len(policy.values)} values are fewer than max_seeds {policy.max_seeds}; leave `values` empty"
        )
    return ""


def _warnings(first: bool, defaults: Mapping[str, Any], tasks: Sequence[ManifestTask]) -> list[str]:
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
