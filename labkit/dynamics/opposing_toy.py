"""The smallest problem with opposing signals: two linear layers, three weights.

An example has a sign s = +-1, which is also what is to be predicted, and an outlier feature o:

    f = a (b_s s + b_o M o)

A share rho of the examples has (s = 1, o = 1), as large a share has (s = -1, o = 1), and the
rest has o = 0.  With p = a b_s - 1 the mean of the squared errors over 2 is

    l_+ = (p + a b_o M)^2 / 2,   l_- = (p - a b_o M)^2 / 2        the two groups of outliers
    L = (1 - 2 rho) p^2 / 2 + rho (l_+ + l_-) = p^2 / 2 + rho a^2 M^2 b_o^2

The cross terms cancel: to the loss the feature is a valley along b_o = 0, of the curvature
2 rho a^2 M^2.  What is learnt of the signal, a b_s -> 1, makes a larger and so the valley
narrower: it sharpens.  One group's loss less the other's is 2 p a b_o M.

Source: S113, Outliers with Opposing Signals Have an Outsized Effect on Neural Network
Optimization; this instance is labkit's own.
"""

from typing import NamedTuple

import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Key

from labkit.errors import refusal
from labkit.method import Scalar, choice, knob, pytree


Weights = Float[Array, "3"]  # a, b_s, b_o


class Examples(NamedTuple):
    """What a batch is made of."""

    s: Float[Array, " samples"]
    o: Float[Array, " samples"]


@pytree
class OpposingToy:
    """The toy; with its outliers removed only p^2 / 2 is left."""

    rho: float = knob(0.1, 0.01, 0.4, within=(0.0, 0.5), about="share of each outlier group")
    M: float = knob(5.0, 1.0, 8.0, about="size of the outlier feature")
    outliers: str = choice("kept", "removed", about="whether the two groups are trained on")
    w0: Weights = knob((0.3, 0.01, 1e-3), -2.0, 2.0, about="the start, (a, b_s, b_o)")

    def check(self):
        """Raise ValueError unless the start is three numbers."""
        if np.shape(self.w0) != (3,):
            raise refusal("w0", self.w0, "three numbers, (a, b_s, b_o)")

    @property
    def share(self) -> Scalar:
        """rho, or 0 when the outliers are removed: what enters the loss."""
        return self.rho if self.outliers == "kept" else 0.0

    def start(self, key: Key[Array, ""]) -> Weights:
        """`w0`, whatever the key."""
        del key
        return jnp.asarray(self.w0)

    def loss(self, w: Weights, batch: Examples | None = None) -> Float[Array, ""]:
        """L(w) over the whole population, or the mean over a batch of examples."""
        a, b_s, b_o = w
        if batch is None:
            return 0.5 * (a * b_s - 1.0) ** 2 + self.share * (a * b_o * self.M) ** 2
        f = a * (b_s * batch.s + b_o * self.M * batch.o)
        return 0.5 * jnp.mean((f - batch.s) ** 2)

    def draw(self, key: Key[Array, ""], samples: int) -> Examples:
        """That many examples, at random from the population."""
        sign, kind = jr.split(key)
        s = jr.rademacher(sign, (samples,), float)
        o = jr.bernoulli(kind, 2.0 * self.share, (samples,)).astype(s.dtype)
        return Examples(s, o)

    def group_losses(self, w: Weights) -> Float[Array, "2"]:
        """(l_+, l_-), whether or not the groups are trained on."""
        p, added = w[0] * w[1] - 1.0, self.feature_weight(w)
        return 0.5 * jnp.stack([p + added, p - added]) ** 2

    def feature_weight(self, w: Weights) -> Float[Array, ""]:
        """a b_o M: what the outlier feature adds to the output."""
        return w[0] * w[2] * self.M

    def valley(self, w: Weights) -> Float[Array, ""]:
        """2 rho a^2 M^2, the curvature along b_o; of all examples, as the loss has them."""
        return 2.0 * self.share * (w[0] * self.M) ** 2
