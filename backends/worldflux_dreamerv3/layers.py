"""Layers as functions of a flat dict of parameters.

A layer says once what its parameters are: where it takes them. :func:`find_parameters` traces what networks
compute and notes every parameter on the way. Parameters are float32 and are cast to the dtype of the layer's
input; a layer ``name`` owns ``name/kernel``, ``name/bias`` and, where a norm follows it, ``name/scale`` (and
``name/shift``). Sources: official embodied/jax/nets.py; RMSNorm is Zhang & Sennrich 2019.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .recipe import Coder, Style

sg = jax.lax.stop_gradient
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


class Noted(dict[str, jax.Array]):
    """Stands in for parameters while these are found: empty, it notes what is asked of it."""

    def __init__(self) -> None:
        super().__init__()
        self.parameters: Parameters = {}


def parameter(params: Params, name: str, shape: tuple[int, ...], init: str, scale: float = 1.0) -> jax.Array:
    """The parameter ``name``, of this shape, which starts as ``init`` says, times ``scale``."""
    if isinstance(params, Noted):
        params.parameters[name] = Parameter(shape, init, scale)
        return jnp.zeros(shape)
    return params[name]


def find_parameters(compute: Callable[[Params], Any]) -> Parameters:
    """The parameters that ``compute`` asks for, in that order; nothing is computed or allocated."""
    noted = Noted()
    jax.eval_shape(lambda: compute(noted))
    return noted.parameters


def initial_values(parameters: Parameters, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Float32 arrays drawn one after the other in the order of ``parameters``, with nothing to compile."""
    return {name: _draw_initial(parameter, rng) for name, parameter in parameters.items()}


def _draw_initial(parameter: Parameter, rng: np.random.Generator) -> np.ndarray:
    shape = parameter.shape
    if parameter.init in ("zeros", "ones") or parameter.scale == 0:
        return np.full(shape, float(parameter.init == "ones"), np.float32)
    distribution, fan = parameter.init.rsplit("_", 1)
    deviation = parameter.scale * math.sqrt(1 / _count_fan(shape, fan))
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


def _count_fan(shape: tuple[int, ...], fan: str) -> float:
    # All leading axes count as space, for block kernels too (official nets.py, compute_fans).
    space = math.prod(shape[:-2])
    inputs, outputs = shape[-2] * space, shape[-1] * space
    return {"in": inputs, "out": outputs, "avg": (inputs + outputs) / 2}[fan]


# ---------------------------------------------------------------- computation


def symlog(x: jax.Array) -> jax.Array:
    """Symmetric logarithm sign(x) ln(1 + |x|) (paper, equation 9)."""
    return jnp.sign(x) * jnp.log1p(jnp.abs(x))


def linear(
    params: Params, name: str, x: jax.Array, outputs: int, style: Style, outscale: float = 1.0
) -> jax.Array:
    """Affine map of the last axis."""
    kernel = parameter(params, f"{name}/kernel", (x.shape[-1], outputs), style.winit, outscale)
    bias = parameter(params, f"{name}/bias", (outputs,), "zeros")
    return x @ kernel.astype(x.dtype) + bias.astype(x.dtype)


def block_linear(
    params: Params, name: str, own: jax.Array, shared: jax.Array | None, outputs: int, style: Style
) -> jax.Array:
    """Affine map with a block-diagonal kernel (paper, appendix B).

    Args:
        own: what each block reads of its own (N, G, I).
        shared: what all blocks read after that (N, S), or None.

    Returns:
        The blocks' outputs side by side (N, outputs).
    """
    blocks, inputs = own.shape[1], own.shape[2] + (0 if shared is None else shared.shape[-1])
    kernel = parameter(params, f"{name}/kernel", (blocks, inputs, outputs // blocks), style.winit)
    bias = parameter(params, f"{name}/bias", (outputs,), "zeros").astype(own.dtype)
    if has_small_blocks(kernel):
        dense = params.get(f"{name}/dense", dense_kernel(kernel, own.shape[-1]))
        flat = own.reshape(len(own), -1)
        x = flat if shared is None else jnp.concatenate([flat, shared], -1)
        return x @ dense.astype(x.dtype) + bias
    parts = [own[:, g] for g in range(blocks)]
    if shared is not None:
        parts = [jnp.concatenate([part, shared], -1) for part in parts]
    kernel = kernel.astype(own.dtype)
    if jax.default_backend() == "cpu":
        biases = jnp.split(bias, blocks)
        return jnp.concatenate([x @ k + b for x, k, b in zip(parts, kernel, biases, strict=True)], -1)
    y = jnp.einsum("gni,gio->ngo", jnp.stack(parts), kernel)
    return y.reshape(len(own), -1) + bias


def has_small_blocks(kernel: jax.Array) -> bool:
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
    small = [name for name in names if has_small_blocks(params[f"{name}/kernel"])]
    return params | {f"{name}/dense": dense_kernel(params[f"{name}/kernel"], own) for name in small}


def conv(
    params: Params,
    name: str,
    x: jax.Array,
    outputs: int,
    style: Coder,
    stride: int = 1,
    outscale: float = 1.0,
) -> jax.Array:
    """Convolution of images (N, H, W, C) with padding SAME and kernels of ``style.kernel`` pixels."""
    shape = (style.kernel, style.kernel, x.shape[-1], outputs)
    kernel = parameter(params, f"{name}/kernel", shape, style.winit, outscale).astype(x.dtype)
    bias = parameter(params, f"{name}/bias", (outputs,), "zeros").astype(x.dtype)
    y = jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return y + bias


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
    scale = parameter(params, f"{name}/scale", x.shape[-1:], "ones")
    square = jnp.square(y).mean(-1, keepdims=True)
    if kind == "rms":
        y = y * (jax.lax.rsqrt(square + NORM_EPS) * scale)
    else:
        mean = y.mean(-1, keepdims=True)
        variance = jnp.maximum(0, square - jnp.square(mean))
        y = (y - mean) * (jax.lax.rsqrt(variance + NORM_EPS) * scale)
        y = y + parameter(params, f"{name}/shift", x.shape[-1:], "zeros")
    return y.astype(x.dtype)


def activate(params: Params, name: str, x: jax.Array, style: Style) -> jax.Array:
    """Norm, then nonlinearity."""
    return ACTIVATIONS[style.act](norm(params, name, x, style.norm))


def layer(params: Params, name: str, x: jax.Array, outputs: int, style: Style) -> jax.Array:
    """Linear map, norm, nonlinearity."""
    return activate(params, name, linear(params, name, x, outputs, style), style)


def mlp(params: Params, name: str, x: jax.Array, layers: int, units: int, style: Style) -> jax.Array:
    """Layers ``name0``, ``name1``, ... one after the other."""
    for i in range(layers):
        x = layer(params, f"{name}{i}", x, units, style)
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
