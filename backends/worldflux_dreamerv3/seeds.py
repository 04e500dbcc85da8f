"""Everything random in a run follows from its seed; what is drawn for one purpose never shifts another."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

ENVIRONMENTS, REPLAY, ACTIONS, UPDATES = range(4)


def environment_seeds(seed: int, envs: int) -> list[int]:
    """A seed for each environment of a run."""
    return _words(seed, ENVIRONMENTS, envs).tolist()


def replay_seed(seed: int) -> int:
    """The seed of what replay draws."""
    return int(_words(seed, REPLAY, 1)[0])


def action_key(seed: int, acted: int) -> NDArray[np.uint32]:
    """The two words of the JAX key for the policy's step number ``acted``."""
    return _words(seed, ACTIONS, 2, acted)


def update_key(seed: int, update: int) -> NDArray[np.uint32]:
    """The two words of the JAX key for update number ``update``."""
    return _words(seed, UPDATES, 2, update)


def _words(seed: int, purpose: int, count: int, index: int = 0) -> NDArray[np.uint32]:
    return np.random.SeedSequence([seed, purpose, index]).generate_state(count, np.uint32)
