"""What an environment shows and takes: one :class:`Space` per observation and per action."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Keys that every environment shows and that are no input of the encoder (official dreamerv3/agent.py).
BOOKKEEPING = ("is_first", "is_last", "is_terminal", "reward")


@dataclass(frozen=True)
class Space:
    """Shape and dtype of one value; ``classes`` is the number of choices of a discrete one, else None."""

    shape: tuple[int, ...]
    dtype: np.dtype
    low: float = -np.inf
    high: float = np.inf
    classes: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "dtype", np.dtype(self.dtype))

    @property
    def image(self) -> bool:
        """Whether this is a picture: uint8 of (height, width, channels)."""
        return self.dtype == np.uint8 and len(self.shape) == 3


Spaces = dict[str, Space]


def inputs(obs_space: Spaces) -> Spaces:
    """The observations that are encoded and reconstructed, in the order of their names."""
    return {key: obs_space[key] for key in sorted(obs_space) if key not in BOOKKEEPING}
