"""The networks of the world model, as plain layers over named tensors.

No ``torch.nn.Module``: at the sizes of a quick suite its bookkeeping costs as much as the arithmetic.
Shapes: N rows, D features, Q members of the ensemble. Initialisation is the official program's
(common/init.py as it takes effect): truncated normal of 0.02 with biases of zero, but for convolutions,
which its initialiser does not reach and which begin as PyTorch's; zero last weights for reward and Q. The
Q-functions of official versions before 2026-07 begin as PyTorch's as well (``q_init``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from .activations import mish, simnorm
from .recipe import Recipe

Activation = Callable[[Tensor], Tensor]


class Layer:
    """Named tensors and what they do to rows; subclasses list ``names`` in order."""

    names: tuple[str, ...] = ("weight", "bias")
    weight: Tensor
    bias: Tensor

    def __init__(self, *tensors: Tensor) -> None:
        for name, tensor in zip(self.names, tensors, strict=True):
            setattr(self, name, tensor)

    def named(self) -> Iterator[tuple[str, Tensor]]:
        """Pairs of name and tensor."""
        return ((name, getattr(self, name)) for name in self.names)

    def __call__(self, x: Tensor) -> Tensor:
        """Rows (N, in) to rows (N, out)."""
        return F.linear(x, self.weight, self.bias)


class NormedLayer(Layer):
    """Linear, LayerNorm, activation (official common/layers.py NormedLinear, without dropout)."""

    names = ("weight", "bias", "gain", "offset")
    gain: Tensor
    offset: Tensor

    def __init__(self, *tensors: Tensor, activation: Activation = mish) -> None:
        super().__init__(*tensors)
        self.activation = activation

    def __call__(self, x: Tensor) -> Tensor:
        """Rows (N, in) to rows (N, out)."""
        x = F.linear(x, self.weight, self.bias)
        return self.activation(F.layer_norm(x, self.gain.shape, self.gain, self.offset))


class Convolution(Layer):
    """A convolution without padding."""

    def __init__(self, *tensors: Tensor, stride: int) -> None:
        super().__init__(*tensors)
        self.stride = stride

    def __call__(self, x: Tensor) -> Tensor:
        """Images (N, channels, height, width) to images."""
        return F.conv2d(x, self.weight, self.bias, self.stride)


class Network:
    """Layers applied one after the other."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self.layers = list(layers)

    def named(self) -> Iterator[tuple[str, Tensor]]:
        """Pairs (``<layer>.<name>``, tensor)."""
        return ((f"{i}.{n}", p) for i, layer in enumerate(self.layers) for n, p in layer.named())

    def parameters(self) -> list[Tensor]:
        """All tensors, in the order of :meth:`named`."""
        return [p for _, p in self.named()]

    def __call__(self, x: Tensor) -> Tensor:
        """Rows to rows."""
        for layer in self.layers:
            x = layer(x)
        return x


class PixelEncoder(Network):
    """64x64 images to a SimNorm latent, with random shifts of up to 3 pixels (paper, appendix)."""

    pad = 3

    def __init__(self, layers: Sequence[Layer], group: int) -> None:
        super().__init__(layers)
        self.group = group

    def __call__(self, x: Tensor) -> Tensor:
        """uint8 (..., channels, 64, 64) to (..., latent)."""
        lead = x.shape[:-3]
        x = random_shift(x.reshape(-1, *x.shape[-3:]), self.pad).float().div(255.0).sub(0.5)
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        return simnorm(self.layers[-1](x).flatten(1), self.group).view(*lead, -1)


def random_shift(x: Tensor, pad: int) -> Tensor:
    """Images (N, C, S, S), each moved by its own whole number of pixels within ``pad``.

    What moves in repeats the border (Yarats et al. 2021, DrQ-v2; official common/layers.py ShiftAug).
    """
    n, channels, size, _ = x.shape
    shift = torch.randint(-pad, pad + 1, (2, n, 1), device=x.device)
    rows, columns = (torch.arange(size, device=x.device) + shift).clamp_(0, size - 1)
    pixel = (rows.unsqueeze(2) * size + columns.unsqueeze(1)).view(n, 1, -1)
    return x.flatten(2).gather(2, pixel.expand(n, channels, -1)).view_as(x)


class Ensemble:
    """Q-functions side by side: 3-layer MLPs with dropout in the first layer.

    ``tensors`` holds, stacked over members: weight (Q, in, out), bias (Q, 1, out) of each layer, and
    gain and offset (Q, 1, out) of the LayerNorm of the first two.
    """

    names = (*(f"{i}.{n}" for i in (0, 1) for n in NormedLayer.names), "2.weight", "2.bias")

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self.tensors = list(tensors)
        width = self.tensors[0].shape[-1]
        # LayerNorm without gain takes a slower path on the CPU than one with a gain of 1.
        self.unit = self.tensors[0].new_ones(width), self.tensors[0].new_zeros(width)

    def __len__(self) -> int:
        return int(self.tensors[0].shape[0])

    def named(self) -> Iterator[tuple[str, Tensor]]:
        """Pairs (``<layer>.<name>``, tensor)."""
        return zip(self.names, self.tensors, strict=True)

    def parameters(self) -> list[Tensor]:
        """All tensors, in the order of :meth:`named`."""
        return self.tensors

    def detached(self) -> Ensemble:
        """The same memory, through which no gradient reaches the parameters."""
        return Ensemble([t.detach() for t in self.tensors])

    def copy(self) -> Ensemble:
        """A detached copy."""
        return Ensemble([t.detach().clone() for t in self.tensors])

    def members(self, index: Tensor) -> Ensemble:
        """The members that ``index`` (K,) names, copied out."""
        return Ensemble([t.index_select(0, index) for t in self.tensors])

    def __call__(self, x: Tensor, dropout: Tensor | None = None) -> Tensor:
        """Logits (Q, N, bins) of all members for rows (N, in); ``dropout`` (Q, N, D) scales layer 0."""
        w0, b0, g0, o0, w1, b1, g1, o1, w2, b2 = self.tensors
        h = torch.baddbmm(b0, x.expand(len(self), *x.shape), w0)
        if dropout is not None:
            h = h * dropout
        h = mish(torch.addcmul(o0, self._standardise(h), g0))
        h = mish(torch.addcmul(o1, self._standardise(torch.baddbmm(b1, h, w1)), g1))
        return torch.baddbmm(b2, h, w2)

    def _standardise(self, h: Tensor) -> Tensor:
        return F.layer_norm(h, self.unit[0].shape, *self.unit)


def build_encoder(recipe: Recipe, obs_shape: tuple[int, ...]) -> Network:
    """The encoder of state vectors or of images (official common/layers.py enc)."""
    if recipe.obs == "rgb":
        return PixelEncoder(_make_convolutions(obs_shape[0], recipe.num_channels), recipe.simnorm_dim)
    hidden = max(recipe.num_enc_layers - 1, 1) * [recipe.enc_dim]
    return _make_mlp([obs_shape[0], *hidden], recipe.latent_dim, last=_to_latent(recipe))


def build_dynamics(recipe: Recipe, action_dim: int) -> Network:
    """Latent and action (N, L + A) to the next latent (N, L)."""
    return _make_mlp(_list_widths(recipe, action_dim), recipe.latent_dim, last=_to_latent(recipe))


def build_reward(recipe: Recipe, action_dim: int) -> Network:
    """Latent and action (N, L + A) to logits over bins; the last weights are zero."""
    network = _make_mlp(_list_widths(recipe, action_dim), recipe.num_bins)
    network.layers[-1].weight.data.zero_()
    return network


def build_policy(recipe: Recipe, action_dim: int) -> Network:
    """Latent (N, L) to mean and raw log std (N, 2A)."""
    return _make_mlp(_list_widths(recipe, 0), 2 * action_dim)


def build_ensemble(recipe: Recipe, action_dim: int) -> Ensemble:
    """The Q-functions; the last weights are zero."""
    widths = [*_list_widths(recipe, action_dim), recipe.num_bins]
    tensors: list[Tensor] = []
    for i, (fan_in, out) in enumerate(pairwise(widths)):
        weight, bias = torch.empty(recipe.num_q, fan_in, out), torch.zeros(recipe.num_q, 1, out)
        if recipe.q_init == "torch_default":
            bound = 1 / math.sqrt(fan_in)
            tensors += [weight.uniform_(-bound, bound), bias.uniform_(-bound, bound)]
        else:
            tensors += [torch.nn.init.trunc_normal_(weight, std=0.02), bias]
        if i < 2:
            tensors += [torch.ones(recipe.num_q, 1, out), torch.zeros(recipe.num_q, 1, out)]
    tensors[-2].zero_()
    return Ensemble(tensors)


def _list_widths(recipe: Recipe, action_dim: int) -> list[int]:
    return [recipe.latent_dim + action_dim, recipe.mlp_dim, recipe.mlp_dim]


def _to_latent(recipe: Recipe) -> Activation:
    return lambda x: simnorm(x, recipe.simnorm_dim)


def _make_mlp(widths: list[int], out: int, last: Activation | None = None) -> Network:
    layers: list[Layer] = [_make_normed_layer(i, o) for i, o in pairwise(widths)]
    if last is not None:
        return Network([*layers, _make_normed_layer(widths[-1], out, last)])
    return Network([*layers, Layer(_truncated_normal(out, widths[-1]), torch.zeros(out))])


def _make_normed_layer(fan_in: int, out: int, activation: Activation = mish) -> NormedLayer:
    weight = _truncated_normal(out, fan_in)
    return NormedLayer(weight, torch.zeros(out), torch.ones(out), torch.zeros(out), activation=activation)


def _truncated_normal(*shape: int) -> Tensor:
    return torch.nn.init.trunc_normal_(torch.empty(*shape), std=0.02)


def _make_convolutions(in_channels: int, channels: int) -> list[Layer]:
    layers: list[Layer] = []
    for size, stride in ((7, 2), (5, 2), (3, 2), (3, 1)):
        bound = 1 / math.sqrt(in_channels * size * size)
        weight = torch.empty(channels, in_channels, size, size).uniform_(-bound, bound)
        layers.append(Convolution(weight, torch.empty(channels).uniform_(-bound, bound), stride=stride))
        in_channels = channels
    return layers
