"""Encoder of observations and decoder of latent states (official dreamerv3/rssm.py; paper, appendix B).

Vectors go through symlog and an MLP, images through convolutions; leading axes are free. ``stoch`` is flat
here: (..., stoch * classes).
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from .layers import (
    Parameters,
    Params,
    Style,
    activate,
    block_linear,
    block_parameters,
    conv,
    conv_parameters,
    enlarge,
    layer,
    layer_parameters,
    linear,
    linear_parameters,
    mlp,
    mlp_parameters,
    norm_parameters,
    pool,
    spread,
    symlog,
)
from .recipe import Decoder, Encoder, RecipeError
from .spaces import Spaces

SMALLEST_MAP, LARGEST_MAP = 3, 16


def _vectors(spaces: Spaces) -> dict[str, int]:
    """Sizes of the vector observations, in the order of their names."""
    vectors = {key: math.prod(space.shape) for key, space in sorted(spaces.items()) if not space.image}
    for key in vectors:
        if spaces[key].classes is not None:
            raise RecipeError(f"observation {key!r} is discrete, which this program does not support")
    return vectors


def _images(spaces: Spaces) -> dict[str, tuple[int, ...]]:
    """Shapes (height, width, channels) of the image observations, in the order of their names."""
    return {key: space.shape for key, space in sorted(spaces.items()) if space.image}


def _halvings(config: Encoder | Decoder) -> int:
    """How often the convolutions halve an image."""
    return len(config.depths) - int(config.outer)


def _map_size(images: dict[str, tuple[int, ...]], config: Encoder | Decoder) -> tuple[int, int]:
    """Height and width of the innermost feature map."""
    height, width = next(iter(images.values()))[:2]
    factor = 2 ** _halvings(config)
    small = (height // factor, width // factor)
    if height % factor or width % factor or not SMALLEST_MAP <= min(small) <= max(small) <= LARGEST_MAP:
        raise RecipeError(
            f"images of {height}x{width} pixels become {small[0]}x{small[1]} after {_halvings(config)} "
            f"halvings; valid: multiples of {factor} that become {SMALLEST_MAP} to {LARGEST_MAP}"
        )
    return small


# ---------------------------------------------------------------- encoder


def encoder_parameters(spaces: Spaces, config: Encoder) -> Parameters:
    """Parameters of :func:`encode`.

    Raises:
        RecipeError: an observation that is neither a vector of floats nor an image that fits.
    """
    style, parameters = _style(config), {}
    if vectors := _vectors(spaces):
        size = sum(vectors.values())
        parameters |= mlp_parameters("encoder/vector", size, config.units, config.layers, style)
    if images := _images(spaces):
        _map_size(images, config)
        channels = sum(shape[-1] for shape in images.values())
        for i, depth in enumerate(config.depths):
            name = f"encoder/conv{i}"
            parameters |= conv_parameters(name, channels, depth, config.kernel, style)
            parameters |= norm_parameters(name, depth, style)
            channels = depth
    return parameters


def token_size(spaces: Spaces, config: Encoder) -> int:
    """Length of the vector that :func:`encode` makes of one step."""
    size = 0
    if vectors := _vectors(spaces):
        size += config.units if config.layers else sum(vectors.values())
    if images := _images(spaces):
        size += math.prod(_map_size(images, config)) * config.depths[-1]
    return size


def encode(params: Params, obs: dict[str, jax.Array], spaces: Spaces, config: Encoder, dtype) -> jax.Array:
    """Tokens (..., E) of observations {key: (..., *shape)}."""
    lead = next(obs[key].shape[: obs[key].ndim - len(space.shape)] for key, space in spaces.items())
    parts = []
    if vectors := _vectors(spaces):
        parts.append(_encode_vectors(params, [obs[key].reshape(*lead, -1) for key in vectors], config, dtype))
    if images := _images(spaces):
        pixels = jnp.concatenate([obs[key] for key in images], -1)
        pixels = pixels.reshape(-1, *pixels.shape[len(lead) :])
        parts.append(_encode_images(params, pixels, config, dtype).reshape(*lead, -1))
    return jnp.concatenate(parts, -1) if len(parts) > 1 else parts[0]


def _encode_vectors(params: Params, vectors: list[jax.Array], config: Encoder, dtype) -> jax.Array:
    x = jnp.concatenate(vectors, -1)
    x = (symlog(x) if config.symlog else x).astype(dtype)
    return mlp(params, "encoder/vector", x, config.layers, _style(config))


def _encode_images(params: Params, pixels: jax.Array, config: Encoder, dtype) -> jax.Array:
    x = pixels.astype(dtype) / 255 - 0.5
    for i in range(len(config.depths)):
        full = config.outer and i == 0
        x = conv(params, f"encoder/conv{i}", x, stride=2 if config.strided and not full else 1)
        x = x if config.strided or full else pool(x)
        x = activate(params, f"encoder/conv{i}", x, _style(config))
    return x.reshape(len(x), -1)


# ---------------------------------------------------------------- decoder


def decoder_parameters(spaces: Spaces, config: Decoder, deter: int, stoch: int) -> Parameters:
    """Parameters of :func:`decode` for latents of ``deter`` and flat ``stoch`` numbers."""
    style, parameters = _style(config), {}
    if vectors := _vectors(spaces):
        inputs = deter + stoch
        parameters |= mlp_parameters("decoder/vector", inputs, config.units, config.layers, style)
        last = config.units if config.layers else inputs
        for key, size in vectors.items():
            parameters |= linear_parameters(f"decoder/out/{key}", last, size, style, config.outscale)
    if images := _images(spaces):
        parameters |= _image_decoder_parameters(images, config, deter, stoch)
    return parameters


def _image_decoder_parameters(
    images: dict[str, tuple[int, ...]], config: Decoder, deter: int, stoch: int
) -> Parameters:
    style, (*inner, channels) = _style(config), config.depths
    size = math.prod(_map_size(images, config)) * channels
    if channels % config.bspace:
        raise RecipeError(
            f"recipe.agent.dec.simple.bspace ({config.bspace}) must divide the innermost depth ({channels})"
        )
    parameters = block_parameters("decoder/space_deter", deter, size, config.bspace, style)
    parameters |= layer_parameters("decoder/space_stoch", stoch, 2 * config.units, style)
    parameters |= linear_parameters("decoder/space_map", 2 * config.units, size, style)
    parameters |= norm_parameters("decoder/space", channels, style)
    for i, depth in reversed(list(enumerate(inner))):
        parameters |= conv_parameters(f"decoder/conv{i}", channels, depth, config.kernel, style)
        parameters |= norm_parameters(f"decoder/conv{i}", depth, style)
        channels = depth
    out = sum(shape[-1] for shape in images.values())
    return parameters | conv_parameters("decoder/image", channels, out, config.kernel, style, config.outscale)


def decode(
    params: Params, deter: jax.Array, stoch: jax.Array, spaces: Spaces, config: Decoder
) -> dict[str, jax.Array]:
    """Predicted means {key: (..., *shape)}: of symlog values for vectors, 0 to 1 for images; float32."""
    lead, means = deter.shape[:-1], {}
    if vectors := _vectors(spaces):
        x = jnp.concatenate([stoch, deter], -1)
        x = mlp(params, "decoder/vector", x, config.layers, _style(config))
        for key in vectors:
            means[key] = linear(params, f"decoder/out/{key}", x).reshape(*lead, *spaces[key].shape)
    if images := _images(spaces):
        rows = deter.reshape(-1, deter.shape[-1]), stoch.reshape(-1, stoch.shape[-1])
        pixels = _decode_images(params, *rows, _map_size(images, config), config)
        stops = [sum(shape[-1] for shape in list(images.values())[: i + 1]) for i in range(len(images) - 1)]
        for key, part in zip(images, jnp.split(pixels, stops, -1), strict=True):
            means[key] = part.reshape(*lead, *part.shape[1:])
    return {key: mean.astype(jnp.float32) for key, mean in means.items()}


def _decode_images(
    params: Params, deter: jax.Array, stoch: jax.Array, size: tuple[int, int], config: Decoder
) -> jax.Array:
    style = _style(config)
    x = _feature_map(params, deter, stoch, size, config)
    for i in reversed(range(len(config.depths) - 1)):
        x = conv(params, f"decoder/conv{i}", _double(x, config))
        x = activate(params, f"decoder/conv{i}", x, style)
    x = conv(params, "decoder/image", x if config.outer else _double(x, config))
    return jax.nn.sigmoid(x)


def _feature_map(
    params: Params, deter: jax.Array, stoch: jax.Array, size: tuple[int, int], config: Decoder
) -> jax.Array:
    """The innermost feature map (N, h, w, C): a block-linear part of ``deter``, an MLP of ``stoch``."""
    style, n, blocks = _style(config), len(deter), config.bspace
    x = block_linear(params, "decoder/space_deter", deter.reshape(n, blocks, -1)).reshape(
        n, blocks, *size, -1
    )
    x = x.transpose(0, 2, 3, 1, 4).reshape(n, *size, -1)
    y = linear(params, "decoder/space_map", layer(params, "decoder/space_stoch", stoch, style))
    return activate(params, "decoder/space", x + y.reshape(x.shape), style)


def _double(x: jax.Array, config: Decoder) -> jax.Array:
    return spread(x) if config.strided else enlarge(x)


def _style(config: Encoder | Decoder) -> Style:
    return Style(config.act, config.norm, config.winit)
