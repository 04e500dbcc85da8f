"""Adam and gradient clipping over lists of tensors.

``torch.optim`` imports the compiler on its first step, two seconds that a short run does not have;
this calls the same fused kernel.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class Adam:
    """Adam (Kingma & Ba 2015) with one learning rate per group of tensors.

    Args:
        groups: pairs of tensors and their learning rate.
        eps: added to the root of the second moment.
    """

    betas = (0.9, 0.999)

    def __init__(self, groups: Sequence[tuple[Sequence[Tensor], float]], eps: float) -> None:
        self.eps = eps
        self.groups = [(list(tensors), lr) for tensors, lr in groups]
        self.parameters = [p for tensors, _ in self.groups for p in tensors]
        self.first = [torch.zeros_like(p) for p in self.parameters]
        self.second = [torch.zeros_like(p) for p in self.parameters]
        self.count = torch.zeros((), device=self.parameters[0].device)

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor]) -> None:
        """Move every tensor by its gradient, both in the order of the groups."""
        self.count += 1
        at = 0
        for tensors, lr in self.groups:
            part = slice(at, at + len(tensors))
            at += len(tensors)
            torch._fused_adam_(
                tensors,
                list(gradients[part]),
                self.first[part],
                self.second[part],
                [],
                [self.count] * len(tensors),
                lr=lr,
                beta1=self.betas[0],
                beta2=self.betas[1],
                weight_decay=0.0,
                eps=self.eps,
                amsgrad=False,
                maximize=False,
            )


def take_gradients(parameters: Sequence[Tensor]) -> list[Tensor]:
    """The gradients that a backward pass left; the parameters are left without."""
    gradients = []
    for p in parameters:
        assert p.grad is not None, f"no gradient reached a parameter of shape {tuple(p.shape)}"
        gradients.append(p.grad)
        p.grad = None
    return gradients


def clip(gradients: list[Tensor], limit: float) -> Tensor:
    """Scale ``gradients`` in place to a joint norm of at most ``limit``; the norm before, a scalar."""
    norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    # On a GPU, asking whether the norm is above the limit would wait for it.
    if norm.is_cuda or norm > limit:
        torch._foreach_mul_(gradients, (limit / (norm + 1e-6)).clamp(max=1.0))
    return norm
