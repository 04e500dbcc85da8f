"""What the official code draws and computes on its way, kept as it happens.

Functions are wrapped from outside: a wrapper calls the original with the arguments it got, keeps a copy
of what came back, and returns that. Nothing is computed otherwise than without it.
"""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import torch

DRAWS = ("randn", "randn_like", "randperm", "rand", "randint")


class Kept:
    """Copies of tensors by name, in the order in which they came."""

    def __init__(self) -> None:
        self._lists: dict[str, list[Any]] = {}

    def add(self, name: str, value: Any) -> None:
        """Keep ``value``; tensors are copied."""
        kept = value.detach().clone() if isinstance(value, torch.Tensor) else value
        self._lists.setdefault(name, []).append(kept)

    def __getitem__(self, name: str) -> list[Any]:
        return self._lists.get(name, [])


def replace_attribute(owner: Any, name: str, around: Callable[..., Any]) -> Any:
    """Within, ``owner.name`` is ``around(original, *args, **kwargs)``."""
    original = getattr(owner, name)

    @functools.wraps(original)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return around(original, *args, **kwargs)

    return mock.patch.object(owner, name, wrapper)


@contextlib.contextmanager
def keep_results(kept: Kept, owner: Any, name: str, label: str | None = None) -> Iterator[None]:
    """Within, what ``owner.name`` returns is kept as ``label``."""

    def keep(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        kept.add(label or name, result)
        return result

    with replace_attribute(owner, name, keep):
        yield


@contextlib.contextmanager
def keep_draws() -> Iterator[Kept]:
    """Within, every random number drawn is kept, by the function's name; dropout is not among them."""
    kept = Kept()
    with contextlib.ExitStack() as stack:
        for name in DRAWS:
            stack.enter_context(keep_results(kept, torch, name))
        stack.enter_context(keep_results(kept, torch.Tensor, "exponential_"))
        yield kept


@contextlib.contextmanager
def keep_dropout_masks(kept: Kept, label: str, ensemble: Any) -> Iterator[None]:
    """Within, what dropout lets through (Q, rows, D) of an ensemble's first layer is kept, as booleans."""

    def keep(_module: Any, inputs: tuple[Any, ...], output: Any) -> None:
        before, after = put_members_first(inputs[0]), put_members_first(output)
        if bool((before == 0).any()):
            raise RuntimeError("a number before dropout is 0, so what dropout did to it cannot be seen")
        kept.add(label, (after != 0).flatten(1, -2))

    handle = ensemble.module[0].dropout.register_forward_hook(keep)
    try:
        yield
    finally:
        handle.remove()


def put_members_first(batched: Any) -> torch.Tensor:
    """A tensor inside ``torch.vmap`` as it is outside, the mapped dimension first."""
    functorch = torch._C._functorch
    return functorch.get_unwrapped(batched).movedim(functorch.maybe_get_bdim(batched), 0)


def find_locals(depth: int = 1) -> dict[str, Any]:
    """The local variables of the function that called the wrapped one, seen from ``around``."""
    return sys._getframe(depth + 2).f_locals
