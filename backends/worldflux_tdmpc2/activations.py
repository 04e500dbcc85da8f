"""Mish and SimNorm, and two-hot regression over symlog bins.

PyTorch's own CPU kernels for Mish and for a softmax over groups of 8 are five times slower than the
same formulas written out, and they were a third of a training step; elsewhere PyTorch's are used.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def mish(x: Tensor) -> Tensor:
    """``x * tanh(softplus(x))`` (Misra 2019), any shape."""
    if x.is_cuda or torch.compiler.is_compiling():
        return F.mish(x)
    return _Mish.apply(x) if x.requires_grad else _mish_and_slope(x, slope=False)[0]


def simnorm(x: Tensor, group: int) -> Tensor:
    """Softmax within groups of ``group`` neighbours of the last dimension (paper, section 3.1)."""
    if x.is_cuda or torch.compiler.is_compiling():
        return F.softmax(x.view(*x.shape[:-1], -1, group), dim=-1).view(x.shape)
    return _SimNorm.apply(x, group) if x.requires_grad else _grouped_softmax(x, group)[0]


def symlog(x: Tensor) -> Tensor:
    """``sign(x) log(1 + |x|)`` (Hafner et al. 2023, equation 9)."""
    return torch.sign(x) * torch.log1p(torch.abs(x))


def symexp(x: Tensor) -> Tensor:
    """The inverse of :func:`symlog`."""
    return torch.sign(x) * torch.expm1(torch.abs(x))


class TwoHot:
    """Scalars as weights on two neighbours of ``num_bins`` bins, even in symlog space.

    Paper, section 3.1; official common/math.py.
    """

    def __init__(self, num_bins: int, low: float, high: float, device: torch.device) -> None:
        self.low, self.high, self.num_bins = low, high, num_bins
        self.bin_size = (high - low) / (num_bins - 1)
        self.bins = torch.linspace(low, high, num_bins, device=device)

    def locate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Bins and their weights, both (..., 2), for ``x`` of shape (...)."""
        position = (symlog(x).clamp(self.low, self.high) - self.low) / self.bin_size
        below = position.floor().clamp(max=self.num_bins - 2)
        above_weight = position - below
        # What is not a number has no bin; its weights carry it into the loss, where it is seen.
        index = below.nan_to_num(0.0).long()
        return torch.stack([index, index + 1], -1), torch.stack([1 - above_weight, above_weight], -1)

    def cross_entropy(self, logits: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        """Cross-entropy of ``logits`` (Q, ..., num_bins) and ``x`` (...), times ``weight`` (...), summed.

        The members of an ensemble share their targets.
        """
        bins, share = self.locate(x)
        return _CrossEntropy.apply(logits, bins, share * weight.unsqueeze(-1), weight)

    def decode(self, logits: Tensor) -> Tensor:
        """The scalars (...) that ``logits`` (..., num_bins) stand for."""
        return symexp(F.softmax(logits, dim=-1) @ self.bins)


def _mish_and_slope(x: Tensor, slope: bool) -> tuple[Tensor, Tensor | None]:
    # With e = exp(x): tanh(softplus(x)) = n / (n + 2), n = e (e + 2). Above 20 that is 1 in float32.
    e = x.clamp(max=20.0).exp_()
    n = (e + 2).mul_(e)
    d = n + 2
    tanh = n.div_(d)
    y = tanh * x
    if not slope:
        return y, None
    # dy/dx = tanh + x * 4 e (1 + e) / d^2
    ratio = torch.addcmul(e, e, e).div_(d).div_(d)
    return y, tanh.addcmul_(ratio, x, value=4)


class _Mish(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y, slope = _mish_and_slope(x, slope=True)
        ctx.slope = slope
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad * ctx.slope


class _CrossEntropy(torch.autograd.Function):
    """Only the two bins that have weight are read on the way, and changed on the way back."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, bins: Tensor, share: Tensor, weight: Tensor) -> Tensor:
        log_p = F.log_softmax(logits, dim=-1)
        bins = bins.expand(*logits.shape[:-1], 2)
        ctx.save_for_backward(log_p, bins, share, weight)
        return -(log_p.gather(-1, bins) * share).sum()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        log_p, bins, share, weight = ctx.saved_tensors
        change = log_p.exp().mul_(weight.unsqueeze(-1))
        change.scatter_add_(-1, bins, -share.expand(bins.shape))
        return change.mul_(grad), None, None, None


def _grouped_softmax(x: Tensor, group: int) -> tuple[Tensor, Tensor]:
    rows = x.reshape(-1, group)
    e = (rows - rows.amax(-1, keepdim=True)).exp_()
    # A product with ones sums a short row faster than a reduction over it does.
    ones = x.new_ones(group, group)
    p = e.div_(e @ ones)
    return p.view(x.shape), ones


class _SimNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, group: int) -> Tensor:
        p, ctx.ones = _grouped_softmax(x, group)
        ctx.save_for_backward(p)
        return p

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (p,) = ctx.saved_tensors
        product = (grad * p).view(-1, ctx.ones.shape[0])
        total = (product @ ctx.ones).view(p.shape)
        return grad.sub(total).mul_(p), None
