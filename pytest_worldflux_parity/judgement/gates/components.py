"""Component match: from the same weights and inputs, the two programs compute the same numbers.

A golden folder holds what the official code computed; a match program computes the same with our
code. It never compares: everything is decided here, on arrays. Three questions, and all must hold:
do the outputs agree, is every parameter mapped one to one, and does the comparison see the mistakes
planted into each component: every one of them, and in every output at least one.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from ...inputs.golden_data import Array, Arrays, Component, Golden, Match, Perturbation
from . import Finding
from .differences import Difference, difference, distance, explain_incomparable
from .initialisation import measure_distributions


@dataclass(frozen=True)
class ComponentResult:
    """One component's outputs against the official ones."""

    component: Component
    differences: tuple[Difference, ...]
    extra: tuple[str, ...] = ()

    @cached_property
    def worst(self) -> Difference:
        """The output that is furthest beyond its tolerance; of many updates, the first that is beyond."""
        beyond = [d for d in self.differences if self.excess(d) > 1]
        if beyond and self.component.stage == "lockstep":
            return beyond[0]
        return max(self.differences, key=self.excess)

    def excess(self, difference: Difference) -> float:
        """How far an output differs, in tolerances."""
        return difference.badness / self.component.limit(difference.output)

    @property
    def within(self) -> bool:
        """Whether every output is within its tolerance."""
        return all(self.excess(d) <= 1 for d in self.differences)

    @property
    def passed(self) -> bool:
        return not self.extra and self.within

    @property
    def shape_match(self) -> bool:
        return all(d.shape == d.golden_shape for d in self.differences)

    def line(self) -> str:
        """Component, output, largest difference, tolerance."""
        name, worst = self.component.name, self.worst
        if worst.problem:
            # What is missing hides no number that differs.
            known = [d for d in self.differences if 1 < self.excess(d) < math.inf]
            other = max(known, key=self.excess, default=None)
            also = f"; {other.output} differs by {other.relative:.3g}" if other else ""
            return f"{name}: output {worst.output} {worst.problem}{also}"
        if self.extra:
            return f"{name}: output {self.extra[0]} is not one of the golden's"
        return f"{name}: {worst.text(self.component.limit(worst.output))}"


@dataclass(frozen=True)
class PerturbationResult:
    """Whether the comparison sees a planted mistake.

    Attributes:
        output, relative: the output that moved most and by how much; None where nothing is comparable.
        problem: why it shows nothing, other than that no output moved.
        moves: output -> by how much it moved; empty where it shows nothing.
    """

    perturbation: Perturbation
    tolerance: float
    output: str | None = None
    relative: float | None = None
    problem: str = ""
    moves: Mapping[str, float] = field(default_factory=dict)

    @property
    def caught(self) -> bool:
        return not self.problem and self.relative is not None and self.relative > self.tolerance

    def line(self) -> str:
        p = self.perturbation
        if self.problem:
            return f"{p.component}: {p.name} ({p.what}): {self.problem}"
        return (
            f"{p.component}: {p.name} ({p.what}) moves no output by more than {self.relative or 0:.2g} of "
            f"its largest magnitude, tolerance {self.tolerance:g}"
        )


@dataclass(frozen=True)
class Sensitivity:
    """Whether the comparison was shown to see a mistake in one output.

    Attributes:
        relative: by how much the planted mistake moved it that moved it most; None where none could show it.
        declared: why it need not be shown; empty where it must.
    """

    output: str
    tolerance: float
    relative: float | None
    declared: str = ""

    @property
    def shown(self) -> bool:
        return self.relative is not None and self.relative > self.tolerance


@dataclass(frozen=True)
class MatchResult:
    """What a comparison came to.

    Attributes:
        components: in data-flow order.
        mapped: official parameters that are mapped as they must.
        own: our parameters; covered: those of them that stand for an official one.
        mapping_findings, other_findings: what is wrong beside differences and perturbations.
    """

    components: tuple[ComponentResult, ...]
    perturbations: tuple[PerturbationResult, ...]
    mapped: int
    own: int
    covered: int
    mapping_findings: tuple[Finding, ...] = ()
    other_findings: tuple[Finding, ...] = ()

    @property
    def first_divergence(self) -> ComponentResult | None:
        """The first component in data-flow order that differs; later ones may only follow it."""
        return next((c for c in self.components if not c.passed), None)

    @cached_property
    def findings(self) -> tuple[Finding, ...]:
        """All that is wrong, the first divergence first."""
        found = [_mismatch(c, first=c is self.first_divergence) for c in self.components if not c.passed]
        uncaught = [Finding("perturbation_not_caught", p.line()) for p in self.perturbations if not p.caught]
        unseen = [Finding("output_not_sensitive", line) for c in self.components if (line := self.unseen(c))]
        return (*found, *self.mapping_findings, *uncaught, *self.other_findings, *unseen)

    def sensitivity(self, result: ComponentResult) -> tuple[Sensitivity, ...]:
        """Of each output of a component, whether a planted mistake moved it."""
        component = result.component
        planted = [p.moves for p in self.perturbations if p.perturbation.component == component.name]
        return tuple(
            Sensitivity(
                output,
                component.limit(output),
                max((moves[output] for moves in planted if output in moves), default=None),
                component.declared(output),
            )
            for output in component.outputs
        )

    def unseen(self, result: ComponentResult) -> str:
        """Why the outputs of a component are not all shown to be sensitive; empty where they are.

        Where no planted mistake was caught at all, that is what is told.
        """
        name = result.component.name
        if not any(p.caught for p in self.perturbations if p.perturbation.component == name):
            return ""
        unseen = [s for s in self.sensitivity(result) if not s.shown and not s.declared]
        if not unseen:
            return ""
        listed = ", ".join(s.output for s in unseen[:5]) + (", ..." if len(unseen) > 5 else "")
        return (
            f"{name}: no perturbation moves {len(unseen)} of {len(result.component.outputs)} outputs beyond "
            f"the tolerance of {unseen[0].tolerance:g}: {listed}"
        )

    @property
    def passed(self) -> bool:
        return not self.findings

    def of(self, component: str) -> tuple[ComponentResult, list[PerturbationResult]]:
        """One component with its perturbations."""
        result = next(c for c in self.components if c.component.name == component)
        return result, [p for p in self.perturbations if p.perturbation.component == component]


@dataclass(frozen=True)
class ComponentEvidence:
    """What the verdict on components rests on.

    Attributes:
        result: None where nothing could be compared.
        error: why the match program left nothing, in one line; empty where it did, or was not run.
        not_run: why components are not judged though nothing failed; empty where they are.
        about: where the match stands and what ran it, for documents.
        isolation: what kept the match program in its folder; None where nobody knows.
    """

    golden: Golden
    result: MatchResult | None = None
    error: str = ""
    not_run: str = ""
    about: Mapping[str, Any] | None = None
    isolation: Mapping[str, Any] | None = None

    @property
    def findings(self) -> tuple[Finding, ...]:
        if self.error:
            return (Finding("match_failed", self.error),)
        return self.result.findings if self.result else ()

    @property
    def passed(self) -> bool | None:
        """Whether all components match; None where all that the suite declares do, and there are more."""
        held = self.result is not None and self.result.passed and not self.not_run
        return None if held and self.golden.part else held


def _mismatch(result: ComponentResult, *, first: bool) -> Finding:
    stage = f" (stage {result.component.stage}, the first that diverges in data-flow order)" if first else ""
    return Finding("component_mismatch", f"{result.line()}{stage}")


def compare(golden: Golden, match: Match) -> MatchResult:
    """Everything that a match must show, from what its program left.

    What it left of components that are not compared is passed over.
    """
    names = {c.name for c in golden.components}
    undeclared = names - {c.name for c in golden.compared}
    planted = tuple(p for p in match.perturbations if p.component not in undeclared)
    unmapped = dict(_find_unmapped(golden.parameters, match))
    uses = Counter(match.mapping.values())
    return MatchResult(
        components=tuple(_compare_component(c, golden, match.outputs) for c in golden.compared),
        perturbations=tuple(_check_perturbation(p, golden, match) for p in planted),
        mapped=sum(n not in unmapped and uses[match.mapping[n]] == 1 for n in golden.parameters),
        own=len(match.parameters),
        covered=len(
            {match.mapping[name] for name in golden.parameters.keys() & match.mapping.keys()}
            & match.parameters.keys()
        ),
        mapping_findings=tuple(_check_mapping(golden, match, unmapped, uses)),
        other_findings=(*_find_unasked(names, match.outputs), *_check_planted(names, golden, match)),
    )


def _compare_component(component: Component, golden: Golden, outputs: Arrays) -> ComponentResult:
    ours, official = _outputs_of(component, outputs), _outputs_of(component, golden.outputs)
    extra = tuple(name for name in ours if name not in official)
    return ComponentResult(component, measure_outputs(component, official, ours), extra)


def measure_outputs(component: Component, golden: Arrays, ours: Arrays) -> tuple[Difference, ...]:
    """How the outputs of a component differ, in listed order.

    Args:
        golden, ours: by name of output; ``ours`` may lack some.
    """
    if component.rule == "distribution":
        return measure_distributions({name: golden[name] for name in component.outputs}, ours)
    return tuple(difference(name, golden[name], ours.get(name)) for name in component.outputs)


def planted_moves(
    component: Component, golden: Arrays, ours: Arrays, perturbed: Arrays
) -> tuple[Difference, ...]:
    """By how much a planted mistake moves each output: off the golden, and off ours.

    A component that is wrong anyway is off the golden without any perturbation: that proves nothing.
    """
    away = measure_outputs(component, golden, perturbed)
    if component.rule == "distribution":
        here = measure_outputs(component, golden, ours)
        held = {d.output for d in here if d.badness <= component.limit(d.output)}
        return tuple(d if d.relative is None or d.output in held else replace(d, relative=0.0) for d in away)
    return tuple(_least(d, golden[d.output], ours.get(d.output), perturbed) for d in away)


def _least(away: Difference, official: Array, ours: Array | None, perturbed: Arrays) -> Difference:
    """A difference from the golden, or from ours where that is less, on the scale of the official output."""
    if away.relative is None or ours is None or explain_incomparable(official, ours):
        return away
    return replace(away, relative=min(away.relative, distance(perturbed[away.output], ours, official)[2]))


def _outputs_of(component: Component, arrays: Arrays, prefix: str = "") -> dict[str, Array]:
    """The outputs of a component by their names."""
    start = f"{prefix}{component.name}/"
    return {key.removeprefix(start): array for key, array in arrays.items() if key.startswith(start)}


def _find_unmapped(official: Mapping[str, tuple[int, ...]], match: Match) -> Iterator[tuple[str, Finding]]:
    """The official parameters that are not mapped to one of ours of their size, and why."""
    for name, shape in official.items():
        ours = match.mapping.get(name)
        if ours is None:
            what = f"official parameter {name} is mapped to none of ours"
            yield name, Finding("parameter_unmapped", what)
        elif ours not in match.parameters:
            what = f"{name} is mapped to {ours}, which our program does not have"
            yield name, Finding("parameter_unknown", what)
        elif math.prod(match.parameters[ours]) != math.prod(shape):
            what = f"{name} is of shape {tuple(shape)}, ours, {ours}, of {tuple(match.parameters[ours])}"
            yield name, Finding("parameter_size_mismatch", what)


def _check_mapping(
    golden: Golden, match: Match, unmapped: Mapping[str, Finding], uses: Mapping[str, int]
) -> Iterator[Finding]:
    """Why the mapping is not one to one and complete; of a part of the components it need not be complete."""
    # Nobody says which parameters a component has.
    yield from (f for n, f in unmapped.items() if n in match.mapping or not golden.part)
    for name in match.mapping:
        if name not in golden.parameters:
            yield Finding("parameter_unknown", f"{name} is mapped, and is no official parameter")
    for ours, count in uses.items():
        if count > 1:
            yield Finding("parameter_mapped_twice", f"{ours} stands for {count} official parameters")
    for ours in match.parameters:
        if ours not in uses and not golden.part:
            yield Finding("parameter_not_covered", f"our parameter {ours} stands for no official one")


def _check_perturbation(p: Perturbation, golden: Golden, match: Match) -> PerturbationResult:
    component = next((c for c in golden.components if c.name == p.component), None)
    if component is None:
        return PerturbationResult(p, 0.0, problem="the golden has no such component")
    official, ours = _outputs_of(component, golden.outputs), _outputs_of(component, match.outputs)
    found = planted_moves(component, official, ours, _outputs_of(component, match.perturbed, f"{p.name}/"))
    for d in found:
        if d.relative is None:
            # What a planted mistake breaks altogether says nothing of how fine the comparison is.
            what = f"output {d.output} {d.problem}"
            return PerturbationResult(p, component.limit(d.output), d.output, problem=what)
    most = max(found, key=lambda d: d.badness / component.limit(d.output))
    by_output = {d.output: d.badness for d in found}
    return PerturbationResult(p, component.limit(most.output), most.output, most.relative, moves=by_output)


def _find_unasked(names: set[str], outputs: Arrays) -> Iterator[Finding]:
    for key in outputs:
        if key.partition("/")[0] not in names:
            yield Finding("output_unexpected", f"{key} belongs to no component of the golden")


def _check_planted(names: set[str], golden: Golden, match: Match) -> Iterator[Finding]:
    """Why the planted mistakes are not one or more in every component, each with its outputs."""
    perturbed = {p.component for p in match.perturbations}
    for component in golden.compared:
        if component.name not in perturbed:
            yield Finding("perturbation_missing", f"{component.name} was never perturbed")
    for name, count in Counter(p.name for p in match.perturbations).items():
        if count > 1:
            yield Finding("perturbation_repeated", f"{count} perturbations are called {name}")
    wanted = {
        f"{p.name}/{key}"
        for p in match.perturbations
        for c in golden.components
        if c.name == p.component
        for key in c.keys().values()
    }
    for key in match.perturbed:
        if key not in wanted:
            yield Finding("output_unexpected", f"perturbed output {key} belongs to no perturbation")
