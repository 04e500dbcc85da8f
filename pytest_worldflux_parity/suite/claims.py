"""What a suite must hold to that claims parity, wherever its claim comes from: one table of bounds.

A claim is read by people who did not choose its settings, so none of them may be so wide that nearly
anything passes. Who wants them wider writes ``claim: none``, and the run is no evidence for a claim.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ..errors import SuiteError
from .proof import CANONICAL_PROFILES, ProofSuite
from .suite import At, Locate, Suite

# By which a setting is found in its file: a key, and the value that stands there; None: any value.
SettingPlace = tuple[str, Any]
# What programs are given says nothing of the claim, whatever its keys are called.
NOT_SETTINGS = ("recipe", "eval_protocol", "train_budget", "env")


@dataclass(frozen=True)
class Bound:
    """The largest or smallest value of a setting, with the words in which an error names both."""

    what: str
    side: Literal["at most", "at least"]
    limit: float

    def admits(self, value: float) -> bool:
        """Whether a claim may have this value."""
        return value <= self.limit if self.side == "at most" else value >= self.limit


BOUNDS: Mapping[str, Bound] = {
    "alpha": Bound("alpha is", "at most", 0.05),
    "margin": Bound("a relative margin is", "at most", 0.3),
    "noninferiority_margin": Bound("a non-inferiority margin is", "at most", 0.3),
    "probability_threshold_equivalence": Bound("the probability of equivalence is", "at least", 0.95),
    "probability_threshold_noninferiority": Bound("the probability of non-inferiority is", "at least", 0.975),
    "draws": Bound("the draws of the Bayesian check are", "at least", 10_000),
    "seeds": Bound("the seeds of a task are", "at least", 5),
    "tolerance": Bound("budget.tolerance is", "at most", 0.05),
    "retries": Bound("retries are", "at most", 1),
    "bins": Bound("the parts of a budget in which episodes are averaged are", "at least", 10),
}


@dataclass(frozen=True)
class Violation:
    """One setting that a claim may not have.

    Attributes:
        what: the bound and the value, in one clause.
        places: by what the setting is found in the suite's file, the likeliest first.
        hint: what to do to it in a suite that claims.
    """

    what: str
    places: tuple[SettingPlace, ...]
    hint: str


def violations(suite: ProofSuite) -> tuple[Violation, ...]:
    """Everything for which a suite may not claim parity, each once; nothing where it claims none.

    A margin is relative to the official mean. Budgets, seeds, margins and alpha are looked at task by task.
    """
    if not suite.is_claim:
        return ()
    found = [*_find_beyond_bounds(suite), *_find_left_out(suite), *_find_admitted(suite)]
    return tuple(dict.fromkeys(found))


def refuse_beyond_bounds(suite: ProofSuite, document: Mapping[str, Any], locate: Locate) -> None:
    """Refuse a suite that claims parity and violates a bound.

    Args:
        document: the file that the suite was read from, of any format.
        locate: tells where a value of it stands.

    Raises:
        SuiteError: one line with every violation, its place, its bound and what mends it.
    """
    by_place: dict[At, Violation] = {}
    for violation in violations(suite):
        # A margin that stands once and is meant twice is told once.
        by_place.setdefault(_find_place(violation.places, document), violation)
    if not by_place:
        return
    (where, first), *others = ((locate(at), v) for at, v in by_place.items())
    told = [first.what, *(f"{v.what} ({at})" for at, v in others)]
    no_claim = "claim: none" if "claim" in document else "parity_claim_level: none"
    mends = dict.fromkeys(v.hint for v in by_place.values())
    raise SuiteError("; ".join(told), where=where, hint=f"{', '.join(mends)}, or write `{no_claim}`")


def _find_beyond_bounds(suite: ProofSuite) -> Iterator[Violation]:
    for name, value, places in _list_settings(suite):
        bound = BOUNDS[name]
        if not bound.admits(value):
            what = f"for a claim {bound.what} {bound.side} {bound.limit:g}, and here {value:g}"
            yield Violation(what, places, f"write `{_write_bound(places[0][0], bound)}`")


def _write_bound(key: str, bound: Bound) -> str:
    """A setting as it may stand."""
    limit = int(bound.limit) if bound.limit == int(bound.limit) else bound.limit
    return f"{key}: {list(range(int(limit))) if key in ('values', 'seeds') else limit}"


def _list_settings(suite: ProofSuite) -> Iterator[tuple[str, float, tuple[SettingPlace, ...]]]:
    """(name of the bound, value, where it may stand) of everything that has a bound."""
    relative = "equivalence_margin" if suite.commands else "margin"
    for rule in (rule for rules in suite.rules.values() for rule in rules):
        margin, beside = rule.equivalence_margin, rule.noninferiority_margin
        yield "alpha", rule.alpha, (("alpha", rule.alpha),)
        yield "margin", margin, ((relative, margin),)
        yield "noninferiority_margin", beside, (("noninferiority_margin", beside), (relative, beside))
    bayesian = suite.settings.bayesian
    for key in ("probability_threshold_equivalence", "probability_threshold_noninferiority", "draws"):
        yield key, getattr(bayesian, key), ((key, getattr(bayesian, key)),)
    yield from _count_seeds(suite)
    for part in suite.parts:
        yield "retries", part.retries, (("retries", part.retries),)
        yield from _list_budget_settings(part)


def _count_seeds(suite: ProofSuite) -> Iterator[tuple[str, float, tuple[SettingPlace, ...]]]:
    """How many seeds each task has at the first look, which a plan never makes fewer."""
    policy = suite.settings.seed_policy
    if policy.mode == "auto_power":
        places = (("pilot_seeds", policy.pilot_seeds), ("min_seeds", policy.min_seeds))
        yield "seeds", max(policy.pilot_seeds, policy.min_seeds), places
        return
    own = {t.id for part in suite.parts for t in part.tasks if t.seeds}
    for task in suite.tasks():
        for seeds in task.seeds.values():
            keys = ("seeds", "values") if task.id in own else ("values", "seeds")
            yield "seeds", len(seeds), tuple((key, seeds) for key in keys)


def _list_budget_settings(part: Suite) -> Iterator[tuple[str, float, tuple[SettingPlace, ...]]]:
    for task in part.tasks:
        if task.budget is not None:
            yield "tolerance", task.budget.tolerance, (("tolerance", task.budget.tolerance),)
        if task.points is not None and task.points.kind == "episodes":
            yield "bins", task.points.bins, (("bins", task.points.bins),)


def _find_left_out(suite: ProofSuite) -> Iterator[Violation]:
    """The checks that a claim may not do without. Manifests have no words for the points of a curve."""
    if not suite.commands and any(part.unsaid_points for part in suite.parts):
        what = "for a claim the suite says what the points of its curves are"
        hint = "write `points: evaluations` with `eval_interval`, or `points: episodes`"
        yield Violation(what, (("metrics", None),), hint)
    for part in suite.parts:
        asked = {key for task in part.tasks for key in task.recipe}
        if ignored := sorted(asked & part.recipe_terms.ignored.keys()):
            what = f"for a claim every key that the suite asks for is compared, and {ignored[0]!r} is ignored"
            yield Violation(what, (("recipe_ignore", None),), "take it out of recipe_ignore")
    if any(part.components for part in suite.parts):
        what = "for a claim all components are compared, and a part of them is named"
        yield Violation(what, (("components", None),), "leave components out")
    if suite.component_match == "none":
        hint = "write `component_report_required: true`" if suite.commands else "leave component_match out"
        places = (("component_match", None), ("component_report_required", None))
        yield Violation("for a claim components must be compared", places, hint)
    bayesian = suite.settings.bayesian
    if not (bayesian.enable and bayesian.dual_pass_required):
        hint = "write `enable: true, dual_pass_required: true`"
        off = (("enable", False), ("dual_pass_required", False))
        yield Violation("for a claim the Bayesian check must agree", off, hint)


def _find_admitted(suite: ProofSuite) -> Iterator[Violation]:
    """The programs of which no claim can be: other models, and official programs that were changed."""
    for part in suite.parts:
        canonical = CANONICAL_PROFILES.get(part.family)
        for own in (suite.requirements[t.id] for t in part.tasks):
            if own.model_profile != canonical:
                what = f"a claim of {part.family} rests on the profile {canonical}, and this is "
                place = ("model_profile", own.model_profile)
                yield Violation(what + str(own.model_profile), (place,), "leave model_profile out")
            if own.official_changes:
                what = "a claim rests on the unchanged official program, and changes to it are admitted here"
                yield Violation(what, (("official_changes", None),), "leave official_changes out")


def _find_place(places: tuple[SettingPlace, ...], document: Mapping[str, Any]) -> At:
    """Where a setting stands in a file; what holds everything, where the file leaves it out."""
    for key, value in places:
        for at, found in _walk_settings(document, ()):
            if at[-1] == key and (value is None or _is_same_setting(found, value)):
                return at
    return ()


def _is_same_setting(found: Any, value: Any) -> bool:
    """Seeds stand in any order in a file."""
    if isinstance(value, tuple):
        return isinstance(found, list) and sorted(map(str, found)) == sorted(map(str, value))
    return bool(found == value)


def _walk_settings(value: Any, at: At) -> Iterator[tuple[At, Any]]:
    rows: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, Mapping | list):
        rows = value.items() if isinstance(value, Mapping) else enumerate(value)
    for key, inner in rows:
        if key not in NOT_SETTINGS:
            yield (*at, key), inner
            yield from _walk_settings(inner, (*at, key))
