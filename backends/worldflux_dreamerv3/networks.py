"""Encoder of observations and decoder of latent states (official dreamerv3/rssm.py; paper, appendix B).

Vectors go through symlog and an MLP, images through convolutions; leading axes are free. ``stoch`` is flat
here: (..., stoch * classes).
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np

from .layers import Params, activate, block_linear, conv, enlarge, layer, linear, mlp, pool, spread, symlog
from .recipe import Coder, Decoder, Encoder, RecipeError
from .spaces import Spaces

SMALLEST_MAP, LARGEST_MAP = 3, 16


def vector_sizes(spaces: Spaces) -> dict[str, int]:
    """Sizes of the vector observations, in the order of their names."""
    vectors = {key: math.prod(space.shape) for key, space in sorted(spaces.items()) if not space.image}
    for key in vectors:
        if spaces[key].classes is not None:
            raise RecipeError(f"observation {key!r} is discrete, which this program does not support")
    return vectors


def image_shapes(spaces: Spaces) -> dict[str, tuple[int, ...]]:
    """Shapes (height, width, channels) of the image observations, in the order of their names."""
    return {key: space.shape for key, space in sorted(spaces.items()) if space.image}


def find_map_size(images: dict[str, tuple[int, ...]], config: Coder) -> tuple[int, int]:
    """Height and width of the innermost feature map.

    Raises:
        RecipeError: the images do not fit the convolutions.
    """
    height, width = next(iter(images.values()))[:2]
    halvings = len(config.depths) - int(config.outer)
    factor = 2**halvings
    small = (height // factor, width // factor)
    if height % factor or width % factor or not SMALLEST_MAP <= min(small) <= max(small) <= LARGEST_MAP:
        raise RecipeError(
            f"images of {height}x{width} pixels become {small[0]}x{small[1]} after {halvings} "
            f"halvings; valid: multiples of {factor} that become {SMALLEST_MAP} to {LARGEST_MAP}"
        )
    return small


# ---------------------------------------------------------------- encoder


def encode(params: Params, obs: dict[str, jax.Array], spaces: Spaces, config: Encoder, dtype) -> jax.Array:
    """Tokens (..., E) of observations {key: (..., *shape)}.

    Raises:
        RecipeError: an observation that is neither a vector of floats nor an image that fits.
    """
    lead = next(obs[key].shape[: obs[key].ndim - len(space.shape)] for key, space in spaces.items())
    parts = []
    if vectors := vector_sizes(spaces):
        x = jnp.concatenate([obs[key].reshape(*lead, -1) for key in vectors], -1)
        x = (symlog(x) if config.symlog else x).astype(dtype)
        parts.append(mlp(params, "encoder/vector", x, config.layers, config.units, config))
    if images := image_shapes(spaces):
        find_map_size(images, config)
        pixels = jnp.concatenate([obs[key] for key in images], -1)
        pixels = pixels.reshape(-1, *pixels.shape[len(lead) :])
        parts.append(encode_images(params, pixels, config, dtype).reshape(*lead, -1))
    return jnp.concatenate(parts, -1) if len(parts) > 1 else parts[0]


def encode_images(params: Params, pixels: jax.Array, config: Encoder, dtype) -> jax.Array:
    """Tokens (N, E) of images (N, H, W, C)."""
    x = pixels.astype(dtype) / 255 - 0.5
    for i, depth in enumerate(config.depths):
        full = config.outer and i == 0
        x = conv(params, f"encoder/conv{i}", x, depth, config, 2 if config.strided and not full else 1)
        x = x if config.strided or full else pool(x)
        x = activate(params, f"encoder/conv{i}", x, config)
    return x.reshape(len(x), -1)


# ---------------------------------------------------------------- decoder


def decode(
    params: Params, deter: jax.Array, stoch: jax.Array, spaces: Spaces, config: Decoder
) -> dict[str, jax.Array]:
    """Predicted means {key: (..., *shape)}: of symlog values for vectors, 0 to 1 for images; float32.

    Raises:
        RecipeError: as :func:`encode`, or ``bspace`` does not divide the innermost depth.
    """
    lead, means = deter.shape[:-1], {}
    if vectors := vector_sizes(spaces):
        x = jnp.concatenate([stoch, deter], -1)
        x = mlp(params, "decoder/vector", x, config.layers, config.units, config)
        for key, size in vectors.items():
            mean = linear(params, f"decoder/out/{key}", x, size, config, config.outscale)
            means[key] = mean.reshape(*lead, *spaces[key].shape)
    if images := image_shapes(spaces):
        depths = [shape[-1] for shape in images.values()]
        rows = deter.reshape(-1, deter.shape[-1]), stoch.reshape(-1, stoch.shape[-1])
        x = decode_map(params, *rows, find_map_size(images, config), config)
        pixels = decode_images(params, x, sum(depths), config)
        for key, part in zip(images, jnp.split(pixels, np.cumsum(depths)[:-1], -1), strict=True):
            means[key] = part.reshape(*lead, *part.shape[1:])
    return {key: mean.astype(jnp.float32) for key, mean in means.items()}


def decode_images(params: Params, x: jax.Array, channels: int, config: Decoder) -> jax.Array:
    """Images (N, H, W, channels) of innermost feature maps (N, h, w, C)."""
    double = spread if config.strided else enlarge
    for i, depth in reversed(list(enumerate(config.depths[:-1]))):
        x = conv(params, f"decoder/conv{i}", double(x), depth, config)
        x = activate(params, f"decoder/conv{i}", x, config)
    x = x if config.outer else double(x)
    return jax.nn.sigmoid(conv(params, "decoder/image", x, channels, config, outscale=config.outscale))


def decode_map(
    params: Params, deter: jax.Array, stoch: jax.Array, size: tuple[int, int], config: Decoder
) -> jax.Array:
    """The innermost feature map (N, h, w, C): a block-linear part of ``deter``, an MLP of ``stoch``."""
    n, blocks, channels = len(deter), config.bspace, config.depths[-1]
    if channels % blocks:
        raise RecipeError(
            f"recipe.agent.dec.simple.bspace ({blocks}) must divide the innermost depth ({channels})"
        )
    outputs = math.prod(size) * channels
    own = deter.reshape(n, blocks, -1)
    x = block_linear(params, "decoder/space_deter", own, None, outputs, config)
    x = x.reshape(n, blocks, *size, -1).transpose(0, 2, 3, 1, 4).reshape(n, *size, -1)
    y = layer(params, "decoder/space_stoch", stoch, 2 * config.units, config)
    y = linear(params, "decoder/space_map", y, outputs, config)
    return activate(params, "decoder/space", x + y.reshape(x.shape), config)
