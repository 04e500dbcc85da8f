"""What a proof suite asks for, as frozen data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from ..errors import SuiteError
from .suite import SYSTEMS, Locate

DRAWS = 20_000
BASE_SEED = 20260220
EQUIVALENT = 0.95
NONINFERIOR = 0.975
Design = Literal["paired", "pooled", "unpaired"]
DESIGNS = get_args(Design)

HolmScope = Literal["primary", "all_metrics"]


@dataclass(frozen=True)
class BayesianRule:
    """The Bayesian bootstrap beside TOST: pass where both probabilities reach their thresholds."""

    enable: bool = True
    draws: int = DRAWS
    seed: int = BASE_SEED
    probability_threshold_equivalence: float = EQUIVALENT
    probability_threshold_noninferiority: float = NONINFERIOR
    dual_pass_required: bool = True


@dataclass(frozen=True)
class MetricRule:
    """How one metric of one task is judged. Margins are relative: 0.05 is 5 % of the official mean."""

    name: str
    effect: str = "log_ratio"
    design: Design = "unpaired"
    alpha: float = 0.05
    equivalence_margin: float = 0.05
    noninferiority_margin: float = 0.05
    higher_is_better: bool = True


@dataclass(frozen=True)
class SeedPolicy:
    """Which seeds are run.

    Attributes:
        values: the seeds of a fixed policy; of ``auto_power`` the order in which seeds are taken, or
            empty for 0, 1, 2, ...
        min_seeds: with fewer (pairs of) seeds nothing passes. It also bounds the plan from below.
    """

    mode: Literal["fixed", "auto_power"] = "fixed"
    values: tuple[int, ...] = ()
    pilot_seeds: int = 10
    min_seeds: int = 2
    max_seeds: int = 50
    power_target: float = 0.8

    def first(self, count: int) -> tuple[int, ...]:
        """The first ``count`` seeds."""
        return self.values[:count] if self.values else tuple(range(count))

    @property
    def at_first(self) -> tuple[int, ...]:
        """The seeds of the first session: all of a fixed policy, those of the pilot otherwise."""
        return self.values if self.mode == "fixed" else self.first(self.pilot_seeds)


@dataclass(frozen=True)
class ProofTask:
    """One task: the seeds that each system must have, and its metrics, the first being the primary one."""

    id: str
    family: str
    seeds: Mapping[str, tuple[int, ...]]
    rules: tuple[MetricRule, ...]

    @property
    def pairs(self) -> dict[int, tuple[str, ...]]:
        """seed -> the systems that must have it, in rising order of seeds."""
        wanted = sorted(frozenset().union(*self.seeds.values()))
        return {n: tuple(s for s in SYSTEMS if n in self.seeds[s]) for n in wanted}


@dataclass(frozen=True)
class ProofSettings:
    """What is decided for the suite as a whole.

    Attributes:
        holm_scope: the family that p-values are corrected over: the primary metrics of all tasks, or
            every metric of every task. Everything must pass in either.
        component_match_required: whether the component-match gate must hold.
    """

    suite_id: str
    holm_scope: HolmScope = "all_metrics"
    bayesian: BayesianRule = field(default_factory=BayesianRule)
    seed_policy: SeedPolicy = field(default_factory=SeedPolicy)
    component_match_required: bool = False


def parse_bayesian_rule(own: Mapping[str, Any], locate: Locate) -> BayesianRule:
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
            hint="set `enable: true`",
        )
    return BayesianRule(**{**own, "enable": enable, "dual_pass_required": dual})


def parse_seed_policy(own: Mapping[str, Any], locate: Locate) -> SeedPolicy:
    """The seed policy of a suite, which a schema accepts.

    Raises:
        SuiteError: nothing could pass with it.
    """
    policy = SeedPolicy(**{**own, "values": tuple(own.get("values", ()))})
    wrong = _refuse_fixed(policy) if policy.mode == "fixed" else _refuse_auto_power(policy)
    if wrong:
        raise SuiteError(wrong, where=locate(("seed_policy",)))
    return policy


def _refuse_fixed(policy: SeedPolicy) -> str:
    if not policy.values:
        return "a fixed seed policy names its seeds in `values`"
    if len(policy.values) < policy.min_seeds:
        count = len(policy.values)
        return f"min_seeds is {policy.min_seeds} and there are {count} values, so nothing can pass"
    return ""


def _refuse_auto_power(policy: SeedPolicy) -> str:
    first, most, values = f"pilot_seeds {policy.pilot_seeds}", policy.max_seeds, policy.values
    if max(policy.pilot_seeds, policy.min_seeds) > most:
        return f"{first} and min_seeds {policy.min_seeds} must not be above max_seeds {most}"
    if values and len(values) < most:
        return f"{len(values)} values are fewer than max_seeds {most}; leave `values` empty"
    return ""
