"""A proof suite -> its parts, one per family, and how the whole is decided.

``worldflux.parity.suite.v1`` with ``track: proof``. What is said at the top holds for every group, what a
group says holds for its tasks. Each group becomes a :class:`~.suite.Suite` of one
family, which is run and whose records are checked as those of any other suite.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from ..errors import SuiteError
from .commands import CommandSide
from .manifest import Manifest, ManifestTask, bayesian_rule, seed_policy
from .proof_settings import MetricRule, ProofSettings, ProofTask, SeedPolicy
from .seed_plan import SeedPlan, with_seeds
from .suite import SYSTEMS, BackendSide, Comparison, Locate, Metric, Suite, Task, parse_suite
from .words import refuse_words

ComponentMatch = Literal["golden", "live", "none"]

# What a claim rests on: the models that the published scores are of.
CANONICAL_PROFILES = {"dreamerv3": "official_xl", "tdmpc2": "proof_5m"}
WEEK_SEC = 604_800
_SHARED = ("suite_id", "claim", "statistical", "seed_policy", "groups", "description")


@dataclass(frozen=True)
class Requirements:
    """What the records of a task must say of themselves, beside what every record must.

    Attributes:
        policy_mode, environment_backend, model_profile: None where any will do.
        forbidden_shortcuts: (key, value) that no record's metadata may hold.
        artifacts: system -> kinds that its artifact manifest must name.
        official_changes: sha256 of changes to the official program that are admitted.
        train_budget: numbers that the records' own must reach.
    """

    policy_mode: str | None = None
    environment_backend: str | None = None
    model_profile: str | None = None
    forbidden_shortcuts: tuple[tuple[str, str], ...] = ()
    artifacts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    official_changes: tuple[str, ...] = ()
    train_budget: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ProofSuite:
    """A proof suite as everything downstream sees it.

    Attributes:
        claim: ``none`` for a run that is not evidence for a public claim, else the level claimed.
        parts: one suite per group, of one family each; they share id, path and sha256.
        rules: task -> its metrics, the primary one first.
        commands: (system, task) -> how it is run, where the suite says so itself.
        warnings: what a reader should be told of the suite.
    """

    settings: ProofSettings
    claim: str
    parts: tuple[Suite, ...]
    rules: Mapping[str, tuple[MetricRule, ...]]
    requirements: Mapping[str, Requirements]
    component_match: ComponentMatch
    commands: Mapping[tuple[str, str], CommandSide] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def suite_id(self) -> str:
        return self.settings.suite_id

    @property
    def is_claim(self) -> bool:
        return self.claim != "none"

    @property
    def comparison(self) -> Comparison:
        """What is compared: two programs, or one on purpose."""
        return self.parts[0].comparison

    @property
    def families(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(p.family for p in self.parts))

    def tasks(self, plan: SeedPlan | None = None) -> tuple[ProofTask, ...]:
        """The tasks with the seeds that are expected now: of the policy, or of a sealed plan.

        Raises:
            StatisticsError: the plan names other tasks.
        """
        policy = self.settings.seed_policy
        tasks = tuple(
            ProofTask(t.id, part.family, dict.fromkeys(SYSTEMS, _seeds_of(t, policy)), self.rules[t.id])
            for part in self.parts
            for t in part.tasks
        )
        return tasks if plan is None else with_seeds(tasks, plan)

    def planned(self, plan: SeedPlan | None) -> ProofSuite:
        """The suite whose parts run the seeds of a sealed plan.

        Raises:
            StatisticsError: the plan names other tasks.
        """
        if plan is None:
            return self
        seeds = {t.id: t.seeds["official"] for t in self.tasks(plan)}
        parts = (replace(p, tasks=tuple(replace(t, seeds=seeds[t.id]) for t in p.tasks)) for p in self.parts)
        return replace(self, parts=tuple(parts))

    def with_seeds(self, seeds: Sequence[int]) -> ProofSuite:
        """The suite with seeds of the command line: fewer or others than it asks for, so it is no claim."""
        policy = SeedPolicy("fixed", tuple(seeds), min_seeds=self.settings.seed_policy.min_seeds)
        both = dict.fromkeys(SYSTEMS, tuple(seeds))
        return replace(
            self.without_claim("--parity-seeds takes the place of its seeds"),
            settings=replace(self.settings, seed_policy=policy),
            parts=tuple(
                replace(p, seeds=both, tasks=tuple(replace(t, seeds=None) for t in p.tasks))
                for p in self.parts
            ),
        )

    def without_claim(self, why: str) -> ProofSuite:
        """The suite as one that claims nothing; where it claimed something, a warning says why."""
        if not self.is_claim:
            return self
        lost = f"the suite claims {self.claim}, and this run claims nothing: {why}"
        return replace(self, claim="none", warnings=(*self.warnings, lost))


def _seeds_of(task: Task, policy: SeedPolicy) -> tuple[int, ...]:
    """The seeds of a task before any plan: its own, where a fixed policy lets it have some."""
    return task.seeds if policy.mode == "fixed" and task.seeds else policy.at_first


def parse_proof(data: Mapping[str, Any], folder: Path, locate: Locate) -> ProofSuite:
    """A :class:`ProofSuite` from a mapping that ``suite.proof_v1`` accepts.

    Raises:
        SuiteError: what a schema cannot say is wrong.
    """
    _refuse_claim_of_one(data, locate)
    policy = seed_policy(data["seed_policy"], locate)
    statistical = data.get("statistical", {})
    groups = _groups(data)
    parts, rules, requirements = [], {}, {}
    for at, group in groups:
        part = _part(group, data["suite_id"], policy, folder, at, locate)
        own = _rules(group["metrics"], statistical)
        required = _requirements(group, at, locate)
        for task in part.tasks:
            if task.id in rules:
                raise SuiteError(f"task {task.id!r} is named twice", where=locate((*at, "tasks")))
            rules[task.id], requirements[task.id] = own, required
        parts.append(part)
    component_match = data.get("component_match", "golden")
    return ProofSuite(
        settings=ProofSettings(
            suite_id=data["suite_id"],
            holm_scope=statistical.get("holm_scope", "all_metrics"),
            bayesian=bayesian_rule(statistical.get("bayesian", {}), locate),
            seed_policy=policy,
            component_match_required=component_match != "none",
        ),
        claim=data["claim"],
        parts=tuple(parts),
        rules=rules,
        requirements=requirements,
        component_match=component_match,
    )


def _refuse_claim_of_one(data: Mapping[str, Any], locate: Locate) -> None:
    if "comparison" in data and data["claim"] != "none":
        what = f"comparison is {data['comparison']!r}: one program on purpose, of which no claim can be"
        raise SuiteError(what, where=locate(("claim",)), mend="write `claim: none`, or leave comparison out")


def _groups(data: Mapping[str, Any]) -> list[tuple[tuple[str | int, ...], dict[str, Any]]]:
    """Where each group stands, and the group with what holds for all of them."""
    common = {k: v for k, v in data.items() if k not in _SHARED}
    if "groups" not in data:
        return [((), common)]
    merged: list[tuple[tuple[str | int, ...], dict[str, Any]]] = []
    for i, own in enumerate(data["groups"]):
        nested = {k: {**common.get(k, {}), **own.get(k, {})} for k in ("recipe", "eval_protocol", "validity")}
        merged.append((("groups", i), {**common, **own, **nested}))
    return merged


def _part(
    group: Mapping[str, Any],
    suite_id: str,
    policy: SeedPolicy,
    folder: Path,
    at: tuple[str | int, ...],
    locate: Locate,
) -> Suite:
    missing = next((k for k in ("family", "tasks", "metrics") if k not in group), None)
    if missing:
        raise SuiteError(f"key {missing!r} is missing", where=locate(at), mend=f"add `{missing}:`")
    plain = {k: v for k, v in group.items() if k not in ("validity", "metrics", "component_match")}
    judged = [{"name": m["name"], "rule": "equivalence", "margin": m["margin"]} for m in group["metrics"]]
    part = parse_suite(
        {**plain, "suite_id": suite_id, "track": "proof", "metrics": judged, "seeds": list(policy.at_first)},
        folder,
        lambda path: locate((*at, *path)),
    )
    if policy.mode != "fixed" and any(t.seeds for t in part.tasks):
        mend = "write `mode: fixed`, or leave the seeds of tasks out"
        raise SuiteError("auto_power gives every task its seeds", where=locate((*at, "tasks")), mend=mend)
    directions = {m["name"]: m.get("higher_is_better", True) for m in group["metrics"]}
    return replace(
        part,
        metrics=tuple(replace(m, higher_is_better=directions[m.name]) for m in part.metrics),
        component_match="none" if group.get("component_match") == "none" else "golden",
    )


def _rules(metrics: Sequence[Mapping[str, Any]], statistical: Mapping[str, Any]) -> tuple[MetricRule, ...]:
    return tuple(
        MetricRule(
            name=m["name"],
            effect=m.get("effect", "normalized_difference"),
            design=m.get("design", "unpaired"),
            alpha=statistical.get("alpha", 0.05),
            equivalence_margin=m["margin"],
            noninferiority_margin=m.get("noninferiority_margin", m["margin"]),
            higher_is_better=m.get("higher_is_better", True),
        )
        for m in metrics
    )


def _requirements(group: Mapping[str, Any], at: tuple[str | int, ...], locate: Locate) -> Requirements:
    own = group.get("validity", {})
    refuse_words(own, (*at, "validity"), locate)
    return Requirements(
        policy_mode=own.get("policy_mode", "trained"),
        environment_backend=own.get("environment_backend"),
        model_profile=own.get("model_profile", CANONICAL_PROFILES.get(group["family"])),
        forbidden_shortcuts=shortcuts(own.get("forbidden_shortcuts", ())),
        artifacts={s: tuple(kinds) for s, kinds in own.get("artifacts", {}).items()},
        official_changes=tuple(own.get("official_changes", ())),
    )


def shortcuts(texts: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """``key=value`` texts as pairs."""
    return tuple((key, value) for key, _, value in (t.partition("=") for t in texts))


def from_manifest(manifest: Manifest, folder: Path) -> ProofSuite:
    """A manifest of the earlier system as a proof suite: a part for each pair of programs.

    Its tasks name no recipe and no budget in frames: the latest points are compared, and what its
    ``train_budget`` says is looked for in the records.

    Args:
        folder: of the manifest; its programs start in folders relative to it.
    """
    groups: dict[tuple[object, ...], list[ManifestTask]] = {}
    for task in manifest.tasks:
        programs = (
            (side.adapter, side.adapter_id, side.backend_kind, side.source_commit)
            for side in (task.sides[s] for s in SYSTEMS)
        )
        groups.setdefault((task.family, *programs), []).append(task)
    return ProofSuite(
        settings=manifest.settings,
        claim=manifest.claim_level or "none",
        parts=tuple(_manifest_part(tasks, manifest, folder) for tasks in groups.values()),
        rules={t.id: t.rules for t in manifest.tasks},
        requirements={t.id: _manifest_requirements(t, manifest) for t in manifest.tasks},
        component_match="golden" if manifest.settings.component_match_required else "none",
        commands={(s, t.id): t.sides[s] for t in manifest.tasks for s in SYSTEMS},
        warnings=manifest.warnings,
    )


def _manifest_part(tasks: Sequence[ManifestTask], manifest: Manifest, folder: Path) -> Suite:
    """The part of tasks that are run by the same two programs."""
    first = tasks[0]
    rules = {r.name: r for t in tasks for r in t.rules}
    metrics = (
        replace(m, tasks=tuple(t.id for t in tasks if any(r.name == m.name for r in t.rules)))
        for m in judged_metrics(tuple(rules.values()))
    )
    return Suite(
        suite_id=manifest.suite_id,
        family=first.family,
        track="proof",
        tasks=tuple(_manifest_run(t) for t in tasks),
        seeds=dict.fromkeys(SYSTEMS, manifest.settings.seed_policy.at_first),
        sides={s: BackendSide(first.sides[s].adapter) for s in SYSTEMS},
        metrics=tuple(metrics),
        component_match="golden" if manifest.settings.component_match_required else "none",
    )


def _manifest_run(task: ManifestTask) -> Task:
    deadlines = [s.timeout_sec for s in task.sides.values() if s.timeout_sec is not None]
    return Task(
        id=task.id,
        eval_protocol=task.eval_protocol,
        seeds=task.seeds,
        deadline_sec=float(max(deadlines, default=WEEK_SEC)),
    )


def _manifest_requirements(task: ManifestTask, manifest: Manifest) -> Requirements:
    own = task.validity_requirements
    claimed = (manifest.claim_level or "none") != "none"
    return Requirements(
        policy_mode=own.get("policy_mode"),
        environment_backend=own.get("environment_backend"),
        model_profile=CANONICAL_PROFILES.get(task.family) if claimed else None,
        forbidden_shortcuts=shortcuts(own.get("forbidden_shortcuts", ())),
        train_budget=task.train_budget,
    )


def judged_metrics(rules: Sequence[MetricRule]) -> tuple[Metric, ...]:
    """Rules as the metrics of a part, for what takes values from records."""
    return tuple(
        Metric(r.name, "equivalence", r.equivalence_margin, 1 - r.alpha, r.higher_is_better) for r in rules
    )
