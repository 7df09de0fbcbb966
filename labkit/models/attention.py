"""One block of self-attention over the members of a set, and a score for each.

    h = x W + b,   A = softmax(Q K' / sqrt(width)),   h <- h + A V,   score = w . tanh(h W' + b')

There is no code for the position: permute the members and the scores are permuted alike.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from labkit.method import knob, pytree, size
from labkit.models.layers import layers


@pytree
class SelfAttention:
    """A score for each member of a set, which depends on the other members too."""

    inputs: int = size(16, 1, 64)
    width: int = size(16, 1, 64)
    scale: float = knob(1.0, 0.1, 3.0, log=True, about="of the starting weights")

    def init(self, key: Key[Array, ""]) -> dict[str, dict[str, Array]]:
        """One entry a layer, drawn with `key`."""
        names = ("embed", "query", "key", "value", "hidden", "score")
        ends = [(self.inputs, self.width), *[(self.width, self.width)] * 4, (self.width, 1)]
        return dict(zip(names, layers(key, ends, self.scale), strict=True))

    def apply(
        self, params: dict[str, dict[str, Array]], x: Float[Array, "sets members inputs"]
    ) -> Float[Array, "sets members"]:
        """The score of each member."""
        layer = lambda name, x: x @ params[name]["weights"] + params[name]["bias"][None, None]
        h = layer("embed", x)
        alike = layer("query", h) @ layer("key", h).swapaxes(1, 2) / math.sqrt(self.width)
        h = h + jax.nn.softmax(alike, axis=-1) @ layer("value", h)
        return layer("score", jnp.tanh(layer("hidden", h)))[..., 0]
