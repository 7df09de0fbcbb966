"""Estimates of the gradient of a mean payoff, and what is known of their errors."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from labkit.method import Scalar, knob, pytree


@pytree
class Payoff:
    """f(y) = <worth, y> - bend / 2 (1 - |y|^2): at the corners `worth`, whatever the bend."""

    worth: Float[Array, " n"] = knob((1.0, -0.5, 0.3), -2.0, 2.0, about="f at each corner")
    bend: Scalar = knob(-2.0, -4.0, 4.0, about="curvature of f between the corners")

    def __call__(self, y: Float[Array, "... n"]) -> Float[Array, "..."]:
        return y @ self.worth - self.bend / 2 * (1 - (y * y).sum(axis=-1))

    def gradient(self, scores: Float[Array, " n"]) -> Float[Array, " n"]:
        """Of the expectation of f over corners drawn from softmax(scores), exactly."""
        p = jax.nn.softmax(scores)
        return p * (self.worth - p @ self.worth)

    def variance(self, scores: Float[Array, " n"]) -> Float[Array, ""]:
        """The limit of tau times the variance of a Gumbel-softmax gradient, as tau goes to 0."""
        p = jax.nn.softmax(scores)
        apart = self.worth[:, None] - self.worth[None, :]
        twice = p[:, None] * p[None, :] * (apart**2 / 3 + self.bend**2 / 15)
        return (twice.sum() - jnp.trace(twice)) / 2

    def bias(self, scores: Float[Array, " n"]) -> Float[Array, " n"]:
        """bend J p, J = diag(p) - p p': of straight-through, and of Gumbel-softmax over tau."""
        p = jax.nn.softmax(scores)
        return self.bend * p * (p - p @ p)


class Moments(NamedTuple):
    """What is known of the errors of many estimates of a vector [n]."""

    count: Float[Array, ""]
    total: Float[Array, "... n"]  # of the errors
    squares: Float[Array, "..."]  # total of their squared lengths

    def add(self, errors: Float[Array, "draws ... n"]) -> "Moments":
        """With further errors."""
        squares = (errors * errors).sum(axis=(0, -1))
        count = self.count + errors.shape[0]
        return Moments(count, self.total + errors.sum(axis=0), self.squares + squares)

    @property
    def mean(self) -> Float[Array, "... n"]:
        """The estimated bias."""
        return self.total / self.count

    @property
    def variance(self) -> Float[Array, "..."]:
        """Of one estimate, summed over the n entries."""
        return (self.squares - self.count * (self.mean**2).sum(axis=-1)) / (self.count - 1)


def no_moments(*shape: int) -> Moments:
    """Of no estimates yet, of vectors [shape]."""
    return Moments(jnp.zeros(()), jnp.zeros(shape), jnp.zeros(shape[:-1]))
