"""What recipe parsers share: keys that are known, values of the right type, values within their range."""

from __future__ import annotations

import difflib
import math
from typing import Any, Callable, Dict, Iterable, Mapping, Sequence, Tuple

from .program import Refused
from .request import RunRequest

# What holds of a value, and the words for it.
Range = Tuple[Callable[[Any], bool], str]
FROM_ONE: Range = (lambda n: n >= 1, "1 or more")
FROM_TWO: Range = (lambda n: n >= 2, "2 or more")
FROM_ZERO: Range = (lambda n: n >= 0, "0 or more")
ABOVE_ZERO: Range = (lambda n: n > 0, "above 0")
FRACTION: Range = (lambda n: 0 <= n <= 1, "0 to 1")
BELOW_ONE: Range = (lambda n: 0 <= n < 1, "0 up to, not including, 1")
_KINDS = {bool: "a bool", int: "a int", float: "a float", str: "a str"}


class RecipeError(Refused):
    """A recipe that cannot be run; the text is one line that names key, value and what is valid."""


def suggest(word: object, valid: Iterable[str]) -> str:
    """``did you mean 'x'? `` where one of ``valid`` is close to ``word``, else nothing."""
    near = difflib.get_close_matches(str(word), list(valid), n=1, cutoff=0.4)
    return f"did you mean {near[0]!r}? " if near else ""


def check_keys(keys: Iterable[object], known: Sequence[str], valid: str = "") -> None:
    """Make sure that every key is known.

    Args:
        valid: words for what is known, where these are fewer.

    Raises:
        RecipeError: one is not; the nearest is named.
    """
    for key in keys:
        if key not in known:
            name = str(key) if str(key).isprintable() else repr(key)
            raise RecipeError(
                f"recipe.{name} is not a known key; {suggest(key, known)}valid: {valid or ', '.join(known)}"
            )


def coerce(key: str, value: Any, like: Any) -> Any:
    """``value`` in the type of ``like``, a bool, int, float, str, or tuple of whole numbers.

    Raises:
        RecipeError: it has another type, is not finite, or is a list of something else.
    """
    if isinstance(like, tuple):
        listed = isinstance(value, (list, tuple)) and len(value) > 0
        if not listed or any(isinstance(n, bool) or not isinstance(n, int) or n < 1 for n in value):
            raise RecipeError(f"recipe.{key} is {value!r}; valid: a list of whole numbers of 1 or more")
        return tuple(value)
    kind, given = type(like), value
    # A bool is an int in Python, but true is not a number of steps, and "false" is not a bool.
    whole = isinstance(value, float) and value.is_integer()
    if not isinstance(value, bool) and (
        (kind is float and isinstance(value, int)) or (kind is int and whole)
    ):
        value = kind(value)
    if not isinstance(value, kind) or isinstance(value, bool) is not (kind is bool):
        hint = " (YAML reads 1e-3 as text; write 1.0e-3)" if kind is float and isinstance(value, str) else ""
        raise RecipeError(f"recipe.{key} is {given!r}; valid: {_KINDS[kind]}{hint}")
    if kind is float and not math.isfinite(value):
        raise RecipeError(f"recipe.{key} is {given!r}; valid: a finite number")
    return value


def read_recipe(request: RunRequest, defaults: Mapping[str, Any]) -> Dict[str, Any]:
    """The recipe that is asked and, of what it leaves out, the defaults; each value in its default's type.

    Raises:
        RecipeError: it has a key that no default has, or a value of another type.
    """
    check_keys(request.recipe, tuple(defaults))
    return {**defaults, **{key: coerce(key, value, defaults[key]) for key, value in request.recipe.items()}}


def check_values(
    values: Mapping[str, Any], choices: Mapping[str, Sequence[str]], ranges: Mapping[str, Range]
) -> None:
    """Make sure that values are what they may be.

    Args:
        choices, ranges: by key, or by the last word of a dotted key.

    Raises:
        RecipeError: one is not; its key is named.
    """
    for key, value in values.items():
        name = key.rpartition(".")[2]
        words = choices.get(key) or choices.get(name)
        if words and value not in words:
            raise RecipeError(f"recipe.{key} is {value!r}; supported here: {', '.join(words)}")
        limit = ranges.get(key) or ranges.get(name)
        if limit and not isinstance(value, (bool, str)) and not limit[0](value):
            raise RecipeError(f"recipe.{key} is {value!r}; valid: {limit[1]}")


def check_relations(relations: Iterable[Tuple[Any, str]]) -> None:
    """Make sure that values fit each other.

    Args:
        relations: pairs of what must hold and the words for it.

    Raises:
        RecipeError: the words of the first that does not hold.
    """
    for holds, text in relations:
        if not holds:
            raise RecipeError(f"recipe: {text}")


def recipe_with_evaluations(request: RunRequest, frames: int) -> Dict[str, Any]:
    """The recipe with ``eval_freq`` (steps of so many ``frames``) and ``eval_episodes`` of the protocol.

    Raises:
        Refused: recipe and protocol disagree.
    """
    recipe = dict(request.recipe)
    for key, name, unit in (("eval_freq", "eval_interval", frames), ("eval_episodes", "eval_episodes", 1)):
        asked = request.eval_protocol.get(name)
        if asked is None:
            continue
        if isinstance(asked, int):
            recipe.setdefault(key, asked // unit)
        if recipe.get(key) is None or recipe[key] * unit != asked:
            raise Refused(
                f"eval_protocol.{name} is {asked!r} and recipe.{key} is {recipe.get(key)!r}, each of {unit}; "
                "they must agree"
            )
    return recipe


def refuse_evaluations(request: RunRequest) -> None:
    """Make sure that no evaluations are asked of a program that scores its training episodes.

    Raises:
        Refused: they are.
    """
    for key in ("eval_interval", "eval_episodes"):
        if request.eval_protocol.get(key) is not None:
            raise Refused(
                f"eval_protocol.{key}: this program is scored by its training episodes; leave it out"
            )
