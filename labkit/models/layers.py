"""What models are made of: a layer's parameters, and what it does with them.

    layer = {"weights": [..., inputs, outputs], "bias": [outputs]}

`convolve` gathers the shifted copies of an image and multiplies once by a matrix.  It
gives what XLA's convolution gives; but on a CPU that convolution is several times slower
inside a loop or under `vmap`, where labkit mostly runs.
"""

import math
from collections.abc import Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Key

from labkit.method import Scalar


class Model(Protocol):
    """What a problem knows of any model: `params` is a pytree of float arrays."""

    def init(self, key: Key[Array, ""]) -> Any: ...

    def apply(self, params: Any, x: Float[Array, "samples ..."]) -> Float[Array, "samples ..."]: ...


ACTIVATIONS = {
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
    "gelu": jax.nn.gelu,
    "silu": jax.nn.silu,
    "softplus": jax.nn.softplus,
    "identity": lambda x: x,  # a deep linear network
}


def layers(
    key: Key[Array, ""], shapes: Sequence[tuple[int, ...]], scale: Scalar = 1.0
) -> list[dict[str, Array]]:
    """For each of `shapes` weights, drawn from N(0, scale^2 / fan_in), and a bias of zeros.

    The fan-in is the product of all sides but the last.
    """
    sizes = [math.prod(shape) for shape in shapes]
    # One draw for all: each draw of its own takes half a second to compile.
    draws = jnp.split(jr.normal(key, (sum(sizes),)), np.cumsum(sizes)[:-1])
    return [
        {
            "weights": scale / math.sqrt(math.prod(shape[:-1])) * draw.reshape(shape),
            "bias": jnp.zeros(shape[-1:]),
        }
        for shape, draw in zip(shapes, draws, strict=True)
    ]


def dense(
    layer: dict[str, Array], x: Float[Array, "samples inputs"]
) -> Float[Array, "samples outputs"]:
    """x W + b."""
    return x @ layer["weights"] + layer["bias"][None]


def convolve(
    image: Float[Array, "samples height width inputs"],
    weights: Float[Array, "rows columns inputs outputs"],
) -> Float[Array, "samples height width outputs"]:
    """out[i, j] = sum_{r, c} image[i + r - R, j + c - C] W[r, c], zeros outside the image.

    The offsets R = (rows - 1) // 2 and C = (columns - 1) // 2 keep the image's size ("SAME").
    """
    height, width = image.shape[1:3]
    rows, columns, inputs, outputs = weights.shape
    above, left = (rows - 1) // 2, (columns - 1) // 2
    margins = ((0, 0), (above, rows - 1 - above), (left, columns - 1 - left), (0, 0))
    padded = jnp.pad(image, margins)
    shifted = [
        padded[:, r : r + height, c : c + width] for r in range(rows) for c in range(columns)
    ]
    patches = jnp.concatenate(shifted, axis=-1)  # the last axis in the order of the weights
    return patches @ weights.reshape(rows * columns * inputs, outputs)


def mean_pool(
    image: Float[Array, "samples height width channels"],
) -> Float[Array, "samples height/2 width/2 channels"]:
    """The means of 2x2 blocks, smooth where a maximum has kinks.  The sides must be even."""
    samples, height, width, channels = image.shape
    blocks = image.reshape(samples, height // 2, 2, width // 2, 2, channels)
    return blocks.mean(axis=(2, 4))
