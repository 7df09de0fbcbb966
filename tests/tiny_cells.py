"""A supernet so small that its programs compile quickly."""

import jax.numpy as jnp
import numpy as np

from labkit.relaxations.cells import Samples, Supernet, Weights


SMOOTH, KINKED = ("tanh", "softplus"), ("tanh", "relu")  # two each: half as much to compile


def small(operations):
    """A supernet of 12 samples of width 3."""
    draw = np.random.default_rng(0)
    part = lambda: Samples(jnp.asarray(draw.normal(size=(12, 3)), float), jnp.arange(12) % 10)
    return Supernet(part(), part(), part(), operations)


def weights(operations=2):
    """Weights and logits for it, from NumPy."""
    draw = np.random.default_rng(1)
    shapes = (3, operations, 3, 3), (3, operations, 3), (3, 10), (10,)
    w = Weights(*(jnp.asarray(0.6 * draw.normal(size=shape), float) for shape in shapes))
    return w, jnp.asarray(draw.normal(size=(3, operations)), float)
