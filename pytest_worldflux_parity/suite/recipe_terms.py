"""On what terms the recipes of two programs are compared: which keys are one thing under two names, and which
are not compared, each with its reason.

A suite's ``recipe`` is written in the official program's names. Without terms both have the same keys.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import SuiteError

Recipe = Mapping[str, Any]


@dataclass(frozen=True)
class Twin:
    """What the candidate calls a key of the official program; its number there is ``times`` as large."""

    name: str
    times: float = 1

    def value_of(self, value: Any) -> Any:
        """The candidate's value for one of the official program; what is no number stays as it is."""
        if self.times == 1 or not _is_real_number(value):
            return value
        product = value * self.times
        return int(product) if isinstance(value, int) and float(product).is_integer() else product


@dataclass(frozen=True)
class RecipeTerms:
    """The ``recipe_map`` and ``recipe_ignore`` of a suite.

    Attributes:
        twins: official key -> what it is for the candidate.
        ignored: key of either side -> why it is not compared.
    """

    twins: Mapping[str, Twin] = field(default_factory=dict)
    ignored: Mapping[str, str] = field(default_factory=dict)

    def asked_of(self, system: str, recipe: Recipe) -> dict[str, Any]:
        """What of a suite's recipe a program is asked: the candidate its own names, and nothing ignored."""
        if system == "official":
            return dict(recipe)
        asked = {key: value for key, value in recipe.items() if key not in self.ignored}
        twins = {key: self.twins.get(key, Twin(key)) for key in asked}
        return {twin.name: twin.value_of(asked[key]) for key, twin in twins.items()}

    def align(self, official: Recipe, worldflux: Recipe) -> tuple[dict[str, Any], dict[str, Any]]:
        """Both recipes in the candidate's units, by names that both have, without what is ignored.

        A key that is mapped is called after both names, so that a candidate who has both is found.
        """
        titles = {key: _title_of(key, twin) for key, twin in self.twins.items()}
        by_twin = {twin.name: titles[key] for key, twin in self.twins.items()}
        left = {
            titles.get(key, key): self.twins.get(key, Twin(key)).value_of(value)
            for key, value in official.items()
            if key not in self.ignored
        }
        right = {by_twin.get(key, key): v for key, v in worldflux.items() if key not in self.ignored}
        for key, twin in self.twins.items():
            title = titles[key]
            if twin.times != 1 and _are_close(left.get(title), right.get(title)):
                # A product is rounded.
                right[title] = left[title]
        return left, right

    def mapped_texts(self) -> Iterator[str]:
        """Each mapped key with both names."""
        return (_title_of(key, twin) for key, twin in self.twins.items())

    def scaled_texts(self) -> list[str]:
        """Those of :meth:`mapped_texts` whose numbers differ by a factor."""
        return [_title_of(key, twin) for key, twin in self.twins.items() if twin.times != 1]

    def ignored_texts(self) -> Iterator[str]:
        """Each reason with the keys that it is given for."""
        for reason in dict.fromkeys(self.ignored.values()):
            keys = ", ".join(key for key, own in self.ignored.items() if own == reason)
            yield f"{keys} ({reason})"


def _title_of(key: str, twin: Twin) -> str:
    return f"{key} as {twin.name}" + (f" times {twin.times:g}" if twin.times != 1 else "")


def _is_real_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _are_close(one: Any, other: Any) -> bool:
    return _is_real_number(one) and _is_real_number(other) and math.isclose(one, other, rel_tol=1e-9)


def parse_recipe_terms(
    data: Mapping[str, Any], recipes: Iterator[Recipe], locate: Callable[[tuple[str | int, ...]], str]
) -> RecipeTerms:
    """The terms of a suite that its schema accepts.

    Args:
        recipes: what its tasks ask.

    Raises:
        SuiteError: a key is mapped to itself or twice, mapped and ignored, asked for under the candidate's
            name, or asked for as what no factor can multiply.
    """
    own = data.get("recipe_map", {})
    twins = {
        key: Twin(t) if isinstance(t, str) else Twin(t["worldflux"], t["times"]) for key, t in own.items()
    }
    ignored = data.get("recipe_ignore", {})
    terms = RecipeTerms(twins, ignored)
    for key, twin in twins.items():
        if fault := _fault_of_twin(key, twin, terms):
            raise SuiteError(fault, where=locate(("recipe_map", key)), hint="name each key once")
    for recipe in recipes:
        _refuse_asked(recipe, terms, locate)
    return terms


def _fault_of_twin(key: str, twin: Twin, terms: RecipeTerms) -> str:
    """What is wrong with a mapped key, or nothing."""
    if twin.name == key and twin.times == 1:
        return f"recipe_map names {key!r} as itself, which it is without"
    others = [other for other, t in terms.twins.items() if t.name == twin.name and other != key]
    if others:
        return f"recipe_map has {twin.name!r} for {key!r} and for {others[0]!r}"
    both = [name for name in (key, twin.name) if name in terms.ignored]
    return f"{both[0]!r} is mapped by recipe_map, and ignored by recipe_ignore" if both else ""


def _refuse_asked(recipe: Recipe, terms: RecipeTerms, locate: Callable[[tuple[str | int, ...]], str]) -> None:
    """Refuse a recipe whose keys the candidate cannot be asked for."""
    by_name = {twin.name: key for key, twin in terms.twins.items()}
    for name, value in recipe.items():
        where = locate(("recipe", name))
        if name in by_name and name not in terms.twins:
            what = f"recipe.{name} is the candidate's name of {by_name[name]!r}"
            raise SuiteError(what, where=where, valid=sorted(terms.twins), got=by_name[name])
        twin = terms.twins.get(name)
        if twin is not None and twin.times != 1 and not _is_real_number(value):
            what = f"recipe.{name} is {value!r}, and recipe_map multiplies it by {twin.times:g}"
            raise SuiteError(what, where=where, hint="map a number, or leave `times` out")
