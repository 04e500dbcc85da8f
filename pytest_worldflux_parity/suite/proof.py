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
from .proof_settings import (
    MetricRule,
    ProofSettings,
    ProofTask,
    SeedPolicy,
    parse_bayesian_rule,
    parse_seed_policy,
)  # fmt: skip
from .seed_plan import SeedPlan, with_seeds
from .suite import SYSTEMS, At, Comparison, Locate, Suite, Task, parse_suite
from .words import refuse_words

ComponentMatch = Literal["golden", "live", "none"]

# What a claim rests on: the models that the published scores are of.
CANONICAL_PROFILES = {"dreamerv3": "official_xl", "tdmpc2": "proof_5m"}
# What a group says of these stands beside what all have.
_MERGED = ("recipe", "recipe_map", "recipe_ignore", "eval_protocol", "validity")
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
        warnings: what a reader should be told of the suite.
    """

    settings: ProofSettings
    claim: str
    parts: tuple[Suite, ...]
    rules: Mapping[str, tuple[MetricRule, ...]]
    requirements: Mapping[str, Requirements]
    component_match: ComponentMatch
    warnings: tuple[str, ...] = ()

    @property
    def commands(self) -> dict[tuple[str, str], CommandSide]:
        """(system, task) -> how it is run, where the suite says so itself."""
        return {(s, t): c for part in self.parts for s in SYSTEMS for t, c in part.commands(s).items()}

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
    def labels(self) -> Mapping[str, str]:
        """System -> what texts for people call it."""
        return self.parts[0].labels

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
    policy = parse_seed_policy(data["seed_policy"], locate)
    statistical = data.get("statistical", {})
    groups = _merge_groups(data)
    parts, rules, requirements = [], {}, {}
    for at, group in groups:
        part = _parse_part(group, data["suite_id"], policy, folder, at, locate)
        own = _rules_of_metrics(group["metrics"], statistical)
        required = parse_requirements(group, at, locate)
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
            bayesian=parse_bayesian_rule(statistical.get("bayesian", {}), locate),
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
        raise SuiteError(what, where=locate(("claim",)), hint="write `claim: none`, or leave comparison out")


def _merge_groups(data: Mapping[str, Any]) -> list[tuple[At, dict[str, Any]]]:
    """Where each group stands, and the group with what holds for all of them."""
    common = {k: v for k, v in data.items() if k not in _SHARED}
    if "groups" not in data:
        return [((), common)]
    merged: list[tuple[At, dict[str, Any]]] = []
    for i, own in enumerate(data["groups"]):
        nested = {k: {**common.get(k, {}), **own.get(k, {})} for k in _MERGED}
        merged.append((("groups", i), {**common, **own, **nested}))
    return merged


def _parse_part(
    group: Mapping[str, Any],
    suite_id: str,
    policy: SeedPolicy,
    folder: Path,
    at: At,
    locate: Locate,
) -> Suite:
    missing = next((k for k in ("family", "tasks", "metrics") if k not in group), None)
    if missing:
        raise SuiteError(f"key {missing!r} is missing", where=locate(at), hint=f"add `{missing}:`")
    plain = {k: v for k, v in group.items() if k not in ("validity", "metrics")}
    judged = [{"name": m["name"], "rule": "equivalence", "margin": m["margin"]} for m in group["metrics"]]
    part = parse_suite(
        {**plain, "suite_id": suite_id, "track": "proof", "metrics": judged, "seeds": list(policy.at_first)},
        folder,
        lambda path: locate((*at, *path)),
    )
    if policy.mode != "fixed" and any(t.seeds for t in part.tasks):
        hint = "write `mode: fixed`, or leave the seeds of tasks out"
        raise SuiteError("auto_power gives every task its seeds", where=locate((*at, "tasks")), hint=hint)
    directions = {m["name"]: m.get("higher_is_better", True) for m in group["metrics"]}
    return replace(
        part,
        metrics=tuple(replace(m, higher_is_better=directions[m.name]) for m in part.metrics),
        component_match="none" if group.get("component_match") == "none" else "golden",
    )


def _rules_of_metrics(
    metrics: Sequence[Mapping[str, Any]], statistical: Mapping[str, Any]
) -> tuple[MetricRule, ...]:
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


def parse_requirements(group: Mapping[str, Any], at: At, locate: Locate) -> Requirements:
    """What a group asks of its records; one that says ``family`` alone asks what every proof does.

    Raises:
        SuiteError: it names a word that no record could answer and be admitted.
    """
    own = group.get("validity", {})
    refuse_words(own, (*at, "validity"), locate)
    return Requirements(
        policy_mode=own.get("policy_mode", "trained"),
        environment_backend=own.get("environment_backend"),
        model_profile=own.get("model_profile", CANONICAL_PROFILES.get(group["family"])),
        forbidden_shortcuts=parse_shortcuts(own.get("forbidden_shortcuts", ())),
        artifacts={s: tuple(kinds) for s, kinds in own.get("artifacts", {}).items()},
        official_changes=tuple(own.get("official_changes", ())),
    )


def parse_shortcuts(texts: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """``key=value`` texts as pairs."""
    return tuple((key, value) for key, _, value in (t.partition("=") for t in texts))
