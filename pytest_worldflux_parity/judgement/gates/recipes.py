"""Whether both sides effectively used the same recipe, on the terms of their suite, and how much of it."""

from __future__ import annotations

import difflib
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ...suite.pairs import Pair, RunKey
from ...suite.recipe_terms import RecipeTerms
from ...suite.suite import SYSTEMS
from . import Finding

Stated = Mapping[RunKey, Mapping[str, Any]]
# What both sides state and must state alike -> code and word of a finding.
STATED = {
    "effective_recipe": ("recipe_mismatch", "recipe"),
    "eval_protocol": ("eval_protocol_mismatch", "protocol"),
}


@dataclass(frozen=True)
class ComparedRecipes:
    """How much of the recipes of two sides was compared.

    Attributes:
        counts: the fewest and the most keys of a pair; None where no pair states the recipes of both sides.
        keys: what the official side states, and the candidate.
    """

    terms: RecipeTerms
    counts: tuple[int, int] | None
    keys: tuple[frozenset[str], frozenset[str]] = (frozenset(), frozenset())

    @property
    def sentence(self) -> str:
        """How many keys were compared, which were not, or under two names; empty where nothing is known."""
        if self.counts is None:
            return ""
        told = [f"{spelt_range(*self.counts)} key{'s' * (self.counts != (1, 1))} compared"]
        if self.terms.ignored:
            told.append(f"{len(self.terms.ignored)} ignored: {'; '.join(self.terms.ignored_texts())}")
        if self.terms.twins:
            told.append(f"{len(self.terms.twins)} mapped: {', '.join(self.terms.mapped_texts())}")
        return ", ".join(told)

    @property
    def nothing(self) -> str:
        """That a pair has no key at all that was compared; empty where each has one."""
        if self.counts is None or self.counts[0]:
            return ""
        ignored = f"; recipe_ignore leaves out {len(self.terms.ignored)}" if self.terms.ignored else ""
        return f"not one key of the recipe is compared{ignored}"

    def warnings(self) -> Iterator[str]:
        """What a reader should know of recipes that count as the same."""
        if self.terms.ignored:
            count = len(self.terms.ignored)
            texts = "; ".join(self.terms.ignored_texts())
            yield f"{count} key{'s' * (count != 1)} of the recipe not compared, as the suite says: {texts}"
        if scaled := self.terms.scaled_texts():
            yield f"numbers that differ count as the same recipe, as the suite says: {', '.join(scaled)}"
        if self.counts is not None:
            either = self.keys[0] | self.keys[1]
            for key in (k for k in self.terms.ignored if k not in either):
                yield f"recipe_ignore names {key!r}, which neither side states{_hint_at(key, either)}"

    def findings(self) -> Iterator[Finding]:
        """Keys that are mapped, and that neither side states."""
        for key, twin in self.terms.twins.items() if self.counts is not None else ():
            if key not in self.keys[0] and twin.name not in self.keys[1]:
                text = f"recipe_map names {key!r} as {twin.name!r}, and neither side states either"
                yield Finding("recipe_key_unknown", text + _hint_at(key, self.keys[0]))


def _hint_at(key: str, there: Iterable[str]) -> str:
    close = difflib.get_close_matches(key, sorted(there), n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""


def compare_recipes(pairs: Iterable[Pair], stated: Stated, terms: RecipeTerms) -> ComparedRecipes:
    """How much of the recipes that two sides state is compared."""
    counts: list[int] = []
    keys: tuple[set[str], set[str]] = (set(), set())
    for pair in pairs:
        both = [stated.get((system, pair.task.id, pair.seed)) for system in SYSTEMS]
        if both[0] is None or both[1] is None:
            continue
        one, other = terms.align(both[0], both[1])
        counts.append(len(one.keys() & other.keys()))
        for known, recipe in zip(keys, both, strict=True):
            known.update(recipe or ())
    ends = (min(counts), max(counts)) if counts else None
    return ComparedRecipes(terms, ends, (frozenset(keys[0]), frozenset(keys[1])))


def spelt_range(least: int, most: int) -> str:
    """``3``, or ``3 to 5``."""
    return str(least) if least == most else f"{least} to {most}"


def unknown_to_table(pairs: Iterable[Pair], stated: Stated, terms: RecipeTerms) -> Iterator[Finding]:
    """Findings for keys that are mapped, and that no recipe of an official table has: no run brings them."""
    rows = [own for p in pairs if (own := stated.get(("official", p.task.id, p.seed))) is not None]
    there = {key for recipe in rows for key in recipe}
    for key in terms.twins if rows else ():
        if key not in there:
            text = f"recipe_map names {key!r}, and no recipe of the official table has it"
            yield Finding("recipe_key_unknown", text + _hint_at(key, there), system="official")


def recipe_differences(left: Mapping[str, Any], right: Mapping[str, Any]) -> list[str]:
    """The keys on which two recipes differ, as ``key: left != right``.

    Numbers are equal by value (1 and 1.0), lists element by element.
    """
    return [
        f"{key}: {left.get(key, 'absent')!r} != {right.get(key, 'absent')!r}"
        for key in sorted(left.keys() | right.keys())
        if key not in left or key not in right or left[key] != right[key]
    ]


def recipe_findings(
    pairs: Iterable[Pair],
    stated: Stated,
    what: str,
    ran: Container[RunKey] = frozenset(),
    terms: RecipeTerms | None = None,
) -> Iterator[Finding]:
    """Findings for pairs whose two sides did not effectively use the same recipe, or protocol.

    A program that ran and states nothing is held against all that the other one states; a table of which
    nothing is known is not compared.

    Args:
        ran: (system, task, seed) of the sides that have the record of a run.
        stated: (system, task, seed) -> effective recipe or protocol. Seeds of a table share their
            task's: the caller enters it for every seed of the pair.
        what: ``effective_recipe`` or ``eval_protocol``.
        terms: on which recipes are compared; None: all keys, under their own names.
    """
    code, word = STATED[what]
    for pair in pairs:
        official, worldflux = ((s, pair.task.id, pair.seed) for s in SYSTEMS)
        if not all(key in stated or key in ran for key in (official, worldflux)):
            continue
        sides = (terms or RecipeTerms()).align(stated.get(official, {}), stated.get(worldflux, {}))
        if unequal := recipe_differences(*sides):
            detail = f"official and worldflux {word} differ: {'; '.join(unequal)}"
            yield Finding(code, detail, pair.task.id, pair.seed)
