"""Every random number of training and planning, from one place, so that a match can give them instead."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


class Noise:
    """Draws from PyTorch's generator of ``device``."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def normal(self, *shape: int) -> Tensor:
        """Standard normals."""
        return torch.randn(*shape, device=self.device)

    def permutation(self, n: int) -> Tensor:
        """The numbers below ``n`` in a random order: (n,)."""
        return torch.randperm(n, device=self.device)

    def exponential(self, n: int) -> Tensor:
        """Standard exponentials (n,)."""
        return torch.empty(n, device=self.device).exponential_()

    def dropout(self, shape: tuple[int, ...], p: float) -> Tensor | None:
        """See :func:`dropout_scale`."""
        return dropout_scale(shape, p, self.device)

    def below(self, limit: int, size: int) -> Tensor:
        """Whole numbers (size,) from 0 up to, not including, ``limit``."""
        return torch.randint(limit, (size,), device=self.device)

    def uniform(self, size: int) -> Tensor:
        """Numbers (size,) in [0, 1)."""
        return torch.rand(size, device=self.device)


def dropout_scale(shape: tuple[int, ...], p: float, device: torch.device) -> Tensor | None:
    """Independent scales, 0 with probability ``p`` and 1 / (1 - p) else; None where ``p`` is 0.

    On a CPU the gaps between zeros are drawn, which are geometric, not every element: 20 times faster.
    """
    if p == 0:
        return None
    scale = torch.full(shape, 1 / (1 - p), device=device)
    if device.type != "cpu":
        return F.dropout(torch.ones(shape, device=device), p)
    total = scale.numel()
    draws = int(total * p + 8 * math.sqrt(total * p)) + 16
    zeros = _bernoulli_positions(p, draws)
    while zeros[-1] < total:
        zeros = torch.cat([zeros, _bernoulli_positions(p, draws) + zeros[-1] + 1])
    scale.view(-1)[zeros[zeros < total]] = 0.0
    return scale


def _bernoulli_positions(p: float, draws: int) -> Tensor:
    return torch.empty(draws, dtype=torch.long).geometric_(p).cumsum(0) - 1
