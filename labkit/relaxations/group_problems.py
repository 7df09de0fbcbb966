"""Regression with coefficients in groups, few of which are not 0.

y  =  X beta + noise,        beta of J groups, `active` of them from N(0, 1)
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from labkit.method import pytree
from labkit.relaxations.hidden_units import Units


@pytree
class GroupedRegression:
    """1/2 mean (y - X beta)^2, watched on samples held out; `truth` is what made them."""

    x: Float[Array, "samples J size"]
    y: Float[Array, " samples"]
    x_test: Float[Array, "tests J size"]
    y_test: Float[Array, " tests"]
    truth: Float[Array, "J size"]

    def start(self, key) -> Units:
        """Zeros."""
        return Units(jnp.zeros_like(self.truth), jnp.zeros(0, self.truth.dtype))

    def loss(self, w: Units) -> Float[Array, ""]:
        """Half the mean squared error."""
        return 0.5 * ((self.y - jnp.einsum("njs,js->n", self.x, w.rows)) ** 2).mean()

    def score(self, w: Units) -> Float[Array, ""]:
        """The share of the variance held out that is explained."""
        left = self.y_test - jnp.einsum("njs,js->n", self.x_test, w.rows)
        return 1.0 - (left**2).mean() / (self.y_test**2).mean()


def grouped(
    seed: int = 0,
    samples: int = 60,
    groups: int = 24,
    members: int = 3,
    active: int = 4,
    noise: float = 0.5,
    correlation: float = 0.5,
) -> GroupedRegression:
    """Gaussian inputs, any two with this correlation."""
    random = np.random.default_rng(seed)
    shape = (samples + 400, groups, members)
    x = (1 - correlation) ** 0.5 * random.normal(size=shape)
    x += correlation**0.5 * random.normal(size=(len(x), 1, 1))
    truth = np.zeros((groups, members))
    truth[random.permutation(groups)[:active]] = random.normal(size=(active, members))
    y = np.einsum("njs,js->n", x, truth) + noise * random.normal(size=len(x))
    part = lambda rows: (jnp.asarray(x[rows], float), jnp.asarray(y[rows], float))
    return GroupedRegression(
        *part(slice(samples)), *part(slice(samples, None)), jnp.asarray(truth, float)
    )
