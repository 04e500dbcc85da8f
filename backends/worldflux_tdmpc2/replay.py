"""Replay of sub-trajectories that never cross an episode."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .noise import Noise


class Batch(NamedTuple):
    """Observations (T + 1, B, ...), and the actions (T, B, A) and rewards (T, B) between them."""

    obs: Tensor
    action: Tensor
    reward: Tensor


class Replay:
    """A ring of observations; the oldest are overwritten, one by one.

    Sub-trajectories are drawn as torchrl's ``SliceSampler`` draws them for the official program: an
    episode uniformly among those that still hold one, then its start uniformly within the episode.

    Args:
        capacity: observations held (an episode of n steps has n + 1).
        length: observations in a sub-trajectory, T + 1.
    """

    def __init__(
        self,
        capacity: int,
        obs_shape: tuple[int, ...],
        obs_dtype: torch.dtype,
        action_dim: int,
        length: int,
        device: torch.device,
    ) -> None:
        self.capacity, self.length, self.device = capacity, length, device
        self._obs = torch.empty(capacity, *obs_shape, dtype=obs_dtype)
        # Row i holds what led to observation i; the row of a first observation is never read.
        self._action = torch.zeros(capacity, action_dim)
        self._reward = torch.zeros(capacity)
        self._next = 0
        self._held = 0
        self._episodes: deque[tuple[int, int]] = deque()
        self.noise = Noise(torch.device("cpu"))
        self._offsets = torch.arange(length).unsqueeze(1)
        self._starts = self._spans = torch.empty(0)

    def add(self, obs: np.ndarray, action: np.ndarray, reward: np.ndarray) -> None:
        """Add an episode: n + 1 observations, n actions, n rewards.

        Raises:
            ValueError: the episode does not fit into the ring.
        """
        size = len(obs)
        if size > self.capacity:
            raise ValueError(f"an episode of {size} observations does not fit a replay of {self.capacity}")
        self._forget(size - (self.capacity - self._held))
        rows = (self._next + torch.arange(size)) % self.capacity
        self._obs[rows] = torch.as_tensor(obs)
        self._action[rows[1:]] = torch.as_tensor(action)
        self._reward[rows[1:]] = torch.as_tensor(reward)
        self._episodes.append((self._next, size))
        self._next = (self._next + size) % self.capacity
        self._held += size
        self._index()

    def sample(self, batch_size: int) -> Batch:
        """Draw ``batch_size`` sub-trajectories.

        Raises:
            ValueError: no episode is long enough.
        """
        return self.gather(self.draw_starts(batch_size))

    def draw_starts(self, batch_size: int) -> Tensor:
        """Rows (B,) at which sub-trajectories begin."""
        if not len(self._starts):
            raise ValueError(f"no episode in the replay has {self.length} observations")
        episode = self.noise.below(len(self._starts), batch_size)
        within = (self.noise.uniform(batch_size) * self._spans[episode]).long()
        return self._starts[episode] + within

    def gather(self, starts: Tensor) -> Batch:
        """The sub-trajectories that begin at ``starts`` (B,)."""
        rows = (starts + self._offsets) % self.capacity
        after = rows[1:]
        return Batch(
            *(t.to(self.device, non_blocking=True) for t in (
                self._obs[rows], self._action[after], self._reward[after]
            ))
        )  # fmt: skip

    def _forget(self, rows: int) -> None:
        while rows > 0:
            start, size = self._episodes.popleft()
            gone = min(rows, size)
            if gone < size:
                self._episodes.appendleft(((start + gone) % self.capacity, size - gone))
            rows -= gone
            self._held -= gone

    def _index(self) -> None:
        usable = [(s, n - self.length + 1) for s, n in self._episodes if n >= self.length]
        self._starts = torch.tensor([s for s, _ in usable], dtype=torch.long)
        self._spans = torch.tensor([n for _, n in usable], dtype=torch.float32)
