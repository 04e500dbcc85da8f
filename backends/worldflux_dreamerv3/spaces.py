"""What an environment shows and takes: one :class:`Space` per observation and per action."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


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
_FLAG = Space((), np.dtype(bool), 0, 1, 2)
# What every environment shows and what is no input of the encoder (official dreamerv3/agent.py).
BOOKKEEPING: Spaces = {
    "is_first": _FLAG,
    "is_last": _FLAG,
    "is_terminal": _FLAG,
    "reward": Space((), np.dtype(np.float32)),
}


def select_inputs(obs_space: Spaces) -> Spaces:
    """The observations that are encoded and reconstructed, in the order of their names."""
    return {key: obs_space[key] for key in sorted(obs_space) if key not in BOOKKEEPING}
