"""Weights on a grid: the two lines next to each, and ways to choose between them.

    levels  =  s sign(i) |i|^p top^(1 - p),     i = -top ... top,     top = 2^(bits - 1) - 1
    w_q     =  low + h (high - low),            low <= w <= high neighbours,  h in [0, 1]

s = max |w| / top, one for each output; p = 1 is the uniform grid, a larger p puts more lines near
0.  `nearest` takes the nearer line, `stochastic` the upper one with odds that make w_q right in
the mean, `enumerated` tries all 2^inputs.  What counts is not |w - w_q| but what it does to the
outputs, |X (w - w_q)|^2 = e' X'X e: with correlated inputs errors can cancel.
"""

import dataclasses
from typing import NamedTuple

import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Key

from labkit.errors import refusal
from labkit.method import Scalar, knob, pytree


class Between(NamedTuple):
    """The grid lines around each weight."""

    low: Float[Array, "inputs outputs"]
    high: Float[Array, "inputs outputs"]


Terms = tuple[Float[Array, "samples inputs"], Float[Array, "inputs outputs"]]


def neighbours(w: Float[Array, "inputs outputs"], bits: Scalar, power: Scalar = 1.0) -> Between:
    """The lines below and above; for the largest weight the last two."""
    if not isinstance(bits, Tracer) and (bits < 2 or bits != round(float(bits))):
        raise refusal("bits", bits, "a whole number, 2 or more")
    top = jnp.asarray(2.0 ** (bits - 1.0) - 1.0, w.dtype)
    largest = jnp.abs(w).max(axis=0, keepdims=True)
    scale = jnp.where(largest > 0, largest, 1.0)
    # Where on the uniform grid of the numbers i the weight would be.
    place = jnp.sign(w) * top * jnp.abs(w / scale) ** (1.0 / power)
    below = jnp.clip(jnp.floor(place), -top, top - 1)
    line = lambda i: scale * jnp.sign(i) * jnp.abs(i / top) ** power
    return Between(line(below), line(below + 1.0))


def fraction(w: Float[Array, "inputs outputs"], between: Between) -> Float[Array, "inputs outputs"]:
    """Where w is between its lines, from 0 to 1."""
    return jnp.clip((w - between.low) / (between.high - between.low), 0.0, 1.0)


def at(between: Between, h: Float[Array, "inputs outputs"]) -> Float[Array, "inputs outputs"]:
    """low + h (high - low)."""
    return between.low + h * (between.high - between.low)


def nearest(
    w: Float[Array, "inputs outputs"], bits: Scalar, power: Scalar = 1.0
) -> Float[Array, "inputs outputs"]:
    """Each weight at the nearer line."""
    between = neighbours(w, bits, power)
    return at(between, jnp.round(fraction(w, between)))


def stochastic(
    key: Key[Array, ""], w: Float[Array, "inputs outputs"], bits: Scalar, power: Scalar = 1.0
) -> Float[Array, "inputs outputs"]:
    """Each weight at the upper line with odds h = (w - low) / (high - low): right in the mean."""
    between = neighbours(w, bits, power)
    h = fraction(w, between)
    return at(between, (jr.uniform(key, h.shape, h.dtype) < h).astype(h.dtype))


def output_error(
    x: Float[Array, "samples inputs"], error: Float[Array, "inputs outputs"]
) -> Float[Array, " outputs"]:
    """mean over samples of (x e)^2, for each output."""
    return ((x @ error) ** 2).mean(axis=0)


def enumerated(terms: Terms, between: Between) -> Float[Array, "2^inputs outputs"]:
    """The error of every rounding of each output; bit i of the row says whether weight i is up."""
    x, w = terms
    inputs = w.shape[0]
    if inputs > 12:
        raise refusal("inputs", inputs, "12 at most, of which there are 4,096 roundings")
    up = (np.arange(2**inputs)[:, None] >> np.arange(inputs)) & 1
    up = jnp.asarray(up, w.dtype)
    gram = x.T @ x / x.shape[0]
    error = between.low[None] + up[:, :, None] * (between.high - between.low)[None] - w[None]
    return jnp.einsum("rio,ij,rjo->ro", error, gram, error)


@pytree
class Neuron:
    """One output; any two of its inputs have this correlation, exactly.

    x = sqrt(1 - c) q + sqrt(c) q_0 with orthonormal columns: x'x = (1 - c) 1 + c 11'.
    """

    q: Float[Array, "samples inputs+1"]
    w: Float[Array, " inputs"] = knob(
        (0.9, -0.35, 0.42, -0.71, 0.13, 0.64, -0.2, 0.27, -0.55, 0.38), -1.0, 1.0
    )
    correlation: float = knob(0.8, 0.0, 0.99, within=(0.0, 1.0), about="of any two inputs")

    def check(self) -> None:
        if self.q.shape[1] != np.size(self.w) + 1:
            accepted = f"as many weights as inputs ({self.q.shape[1] - 1})"
            raise refusal("w", self.w, accepted)

    def terms(self) -> Terms:
        """Inputs and weights."""
        q, own, common = self.q, (1.0 - self.correlation) ** 0.5, self.correlation**0.5
        return own * q[:, :-1] + common * q[:, -1:], jnp.asarray(self.w, q.dtype)[:, None]


@pytree
class Layer:
    """Several outputs of the same inputs."""

    x: Float[Array, "samples inputs"]
    w: Float[Array, "inputs outputs"]

    def terms(self) -> Terms:
        """Inputs and weights."""
        return self.x, self.w


Problem = Neuron | Layer


def neuron(samples: int = 64, inputs: int = 10) -> Neuron:
    """Ten weights to be dragged; as many as there are `inputs`, where these are fewer."""
    q, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(samples, inputs + 1)))
    one = Neuron(jnp.asarray(q * samples**0.5, float))
    return dataclasses.replace(one, w=one.w[:inputs])


def random_layer(
    seed: int = 0, outputs: int = 40, inputs: int = 10, samples: int = 64, *, mixed: bool = False
) -> Layer:
    """Gaussian weights; inputs of correlation 0.8, or mixed by a random matrix."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(samples, inputs))
    if mixed:
        x = x @ random.normal(size=(inputs, inputs))
    else:
        x = 0.2**0.5 * x + 0.8**0.5 * random.normal(size=(samples, 1))
    return Layer(jnp.asarray(x, float), jnp.asarray(random.normal(size=(inputs, outputs)), float))
