"""Layers as functions of a flat dict of parameters: shapes and initial values first, then what they compute.

Parameters are float32 and are cast to the dtype of the layer's input; a layer ``name`` owns ``name/kernel``,
``name/bias`` and, where a norm follows it, ``name/scale`` (and ``name/shift``). Sources: official
embodied/jax/nets.py; RMSNorm is Zhang & Sennrich 2019.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Params = dict[str, jax.Array]
NORM_EPS = 1e-4
TRUNCATION = 2.0
# One over the deviation of a standard normal that is cut off at two, as the official program rounds it.
TRUNCATED_SCALE = 1.1368
LARGE_BLOCK = 2**13  # numbers in a block's kernel from which on zeros are not multiplied


# ---------------------------------------------------------------- parameters


@dataclass(frozen=True)
class Parameter:
    """Shape of a parameter and how it starts: ``zeros``, ``ones`` or ``<distribution>_<fan>``."""

    shape: tuple[int, ...]
    init: str
    scale: float = 1.0


Parameters = dict[str, Parameter]


@dataclass(frozen=True)
class Style:
    """What the layers of one network have in common."""

    act: str
    norm: str
    winit: str


def linear_parameters(
    name: str, inputs: int, outputs: int, style: Style, outscale: float = 1.0
) -> Parameters:
    """Parameters of :func:`linear`: kernel (inputs, outputs) and bias."""
    kernel = Parameter((inputs, outputs), style.winit, outscale)
    return {f"{name}/kernel": kernel, f"{name}/bias": Parameter((outputs,), "zeros")}


def block_parameters(name: str, inputs: int, outputs: int, blocks: int, style: Style) -> Parameters:
    """Parameters of :func:`block_linear`: kernel (blocks, inputs / blocks, outputs / blocks) and bias."""
    kernel = Parameter((blocks, inputs // blocks, outputs // blocks), style.winit)
    return {f"{name}/kernel": kernel, f"{name}/bias": Parameter((outputs,), "zeros")}


def conv_parameters(
    name: str, inputs: int, outputs: int, size: int, style: Style, outscale: float = 1.0
) -> Parameters:
    """Parameters of :func:`conv`: kernel (size, size, inputs, outputs) and bias."""
    kernel = Parameter((size, size, inputs, outputs), style.winit, outscale)
    return {f"{name}/kernel": kernel, f"{name}/bias": Parameter((outputs,), "zeros")}


def norm_parameters(name: str, features: int, style: Style) -> Parameters:
    """Parameters of :func:`norm`: none, a scale, or a scale and a shift."""
    names = {"none": {}, "rms": {"scale": "ones"}, "layer": {"scale": "ones", "shift": "zeros"}}[style.norm]
    return {f"{name}/{key}": Parameter((features,), init) for key, init in names.items()}


def layer_parameters(name: str, inputs: int, outputs: int, style: Style) -> Parameters:
    """Parameters of :func:`layer`."""
    return linear_parameters(name, inputs, outputs, style) | norm_parameters(name, outputs, style)


def mlp_parameters(name: str, inputs: int, units: int, layers: int, style: Style) -> Parameters:
    """Parameters of :func:`mlp`."""
    parameters: Parameters = {}
    for i in range(layers):
        parameters |= layer_parameters(f"{name}{i}", inputs if i == 0 else units, units, style)
    return parameters


def initial_values(parameters: Parameters, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Float32 arrays drawn one after the other in the order of ``parameters``, with nothing to compile."""
    return {name: _initial(parameter, rng) for name, parameter in parameters.items()}


def _initial(parameter: Parameter, rng: np.random.Generator) -> np.ndarray:
    shape = parameter.shape
    if parameter.init in ("zeros", "ones") or parameter.scale == 0:
        return np.full(shape, float(parameter.init == "ones"), np.float32)
    distribution, fan = parameter.init.rsplit("_", 1)
    deviation = parameter.scale * math.sqrt(1 / _fan(shape, fan))
    if distribution == "uniform":
        return rng.uniform(-deviation, deviation, shape).astype(np.float32)
    values = rng.standard_normal(shape, np.float32)
    if distribution == "trunc_normal":
        deviation *= TRUNCATED_SCALE
        _redraw_tails(values.reshape(-1), rng)
    return values * np.float32(deviation)


def _redraw_tails(values: np.ndarray, rng: np.random.Generator) -> None:
    """Draw again, in place, what lies beyond the truncation: an exact truncated normal."""
    (outside,) = np.nonzero(np.abs(values) > TRUNCATION)
    while len(outside):
        values[outside] = rng.standard_normal(len(outside), np.float32)
        outside = outside[np.abs(values[outside]) > TRUNCATION]


def _fan(shape: tuple[int, ...], fan: str) -> float:
    # All leading axes count as space, for block kernels too (official nets.py, compute_fans).
    space = math.prod(shape[:-2])
    inputs, outputs = shape[-2] * space, shape[-1] * space
    return {"in": inputs, "out": outputs, "avg": (inputs + outputs) / 2}[fan]


# ---------------------------------------------------------------- computation


def symlog(x: jax.Array) -> jax.Array:
    """Symmetric logarithm sign(x) ln(1 + |x|) (paper, equation 9)."""
    return jnp.sign(x) * jnp.log1p(jnp.abs(x))


def linear(params: Params, name: str, x: jax.Array) -> jax.Array:
    """Affine map of the last axis."""
    return x @ params[f"{name}/kernel"].astype(x.dtype) + params[f"{name}/bias"].astype(x.dtype)


def block_linear(params: Params, name: str, own: jax.Array, shared: jax.Array | None = None) -> jax.Array:
    """Affine map with a block-diagonal kernel (paper, appendix B).

    Args:
        own: what each block reads of its own (N, G, I).
        shared: what all blocks read after that (N, S), or None.

    Returns:
        The blocks' outputs side by side (N, O).
    """
    kernel = params[f"{name}/kernel"]
    bias = params[f"{name}/bias"].astype(own.dtype)
    if small_blocks(kernel):
        dense = params.get(f"{name}/dense", dense_kernel(kernel, own.shape[-1]))
        flat = own.reshape(len(own), -1)
        x = flat if shared is None else jnp.concatenate([flat, shared], -1)
        return x @ dense.astype(x.dtype) + bias
    parts = [own[:, g] for g in range(len(kernel))]
    if shared is not None:
        parts = [jnp.concatenate([part, shared], -1) for part in parts]
    kernel = kernel.astype(own.dtype)
    if jax.default_backend() == "cpu":
        biases = jnp.split(bias, len(kernel))
        return jnp.concatenate([x @ k + b for x, k, b in zip(parts, kernel, biases, strict=True)], -1)
    y = jnp.einsum("gni,gio->ngo", jnp.stack(parts), kernel)
    return y.reshape(len(own), -1) + bias


def small_blocks(kernel: jax.Array) -> bool:
    """Whether blocks are multiplied as one dense matrix, zeros included.

    A CPU takes several times as long for a batched product as for products one after the other, and for
    small blocks longer than for all of the zeros.
    """
    return jax.default_backend() == "cpu" and kernel[0].size < LARGE_BLOCK


def dense_kernel(kernel: jax.Array, own: int) -> jax.Array:
    """The block kernel (G, own + S, O) as a matrix (G * own + S, G * O)."""
    blocks, inputs, outputs = kernel.shape
    diagonal = jnp.eye(blocks, dtype=kernel.dtype)[:, None, :, None] * kernel[:, :own, None]
    below = kernel[:, own:].transpose(1, 0, 2).reshape(inputs - own, blocks * outputs)
    return jnp.concatenate([diagonal.reshape(blocks * own, blocks * outputs), below])


def with_dense_kernels(params: Params, names: Sequence[str], own: int) -> Params:
    """``params`` with the dense matrices of these block-linear layers: to be made once, outside of a loop."""
    small = [name for name in names if small_blocks(params[f"{name}/kernel"])]
    return params | {f"{name}/dense": dense_kernel(params[f"{name}/kernel"], own) for name in small}


def conv(params: Params, name: str, x: jax.Array, stride: int = 1) -> jax.Array:
    """Convolution of images (N, H, W, C) with padding SAME."""
    kernel = params[f"{name}/kernel"].astype(x.dtype)
    y = jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return y + params[f"{name}/bias"].astype(x.dtype)


def pool(x: jax.Array) -> jax.Array:
    """Largest of each two by two pixels: (N, H, W, C) to (N, H / 2, W / 2, C)."""
    n, h, w, c = x.shape
    return x.reshape(n, h // 2, 2, w // 2, 2, c).max((2, 4))


def enlarge(x: jax.Array) -> jax.Array:
    """Nearest-neighbour upsampling: (N, H, W, C) to (N, 2 H, 2 W, C)."""
    n, h, w, c = x.shape
    return jnp.broadcast_to(x[:, :, None, :, None], (n, h, 2, w, 2, c)).reshape(n, 2 * h, 2 * w, c)


def spread(x: jax.Array) -> jax.Array:
    """Pixels at the odd positions of an image twice as large, zeros between: for transposed convolutions."""
    return jax.lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), (1, 0, 1), (1, 0, 1), (0, 0, 0)))


def norm(params: Params, name: str, x: jax.Array, kind: str) -> jax.Array:
    """Normalise the last axis, in float32; the result has the dtype of ``x``."""
    if kind == "none":
        return x
    y = x.astype(jnp.float32)
    square = jnp.square(y).mean(-1, keepdims=True)
    if kind == "rms":
        y = y * (jax.lax.rsqrt(square + NORM_EPS) * params[f"{name}/scale"])
    else:
        mean = y.mean(-1, keepdims=True)
        variance = jnp.maximum(0, square - jnp.square(mean))
        y = (y - mean) * (jax.lax.rsqrt(variance + NORM_EPS) * params[f"{name}/scale"])
        y = y + params[f"{name}/shift"]
    return y.astype(x.dtype)


def activate(params: Params, name: str, x: jax.Array, style: Style) -> jax.Array:
    """Norm, then nonlinearity."""
    return ACTIVATIONS[style.act](norm(params, name, x, style.norm))


def layer(params: Params, name: str, x: jax.Array, style: Style) -> jax.Array:
    """Linear map, norm, nonlinearity."""
    return activate(params, name, linear(params, name, x), style)


def mlp(params: Params, name: str, x: jax.Array, layers: int, style: Style) -> jax.Array:
    """Layers ``name0``, ``name1``, ... one after the other."""
    for i in range(layers):
        x = layer(params, f"{name}{i}", x, style)
    return x


ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "silu": jax.nn.silu,
    "gelu": jax.nn.gelu,
    "relu": jax.nn.relu,
    "elu": jax.nn.elu,
    "tanh": jnp.tanh,
    "mish": lambda x: x * jnp.tanh(jax.nn.softplus(x)),
    "relu2": lambda x: jnp.square(jax.nn.relu(x)),
    "none": lambda x: x,
}
