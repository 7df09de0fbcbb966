"""A network with one hidden layer, as a matrix whose rows are its units.

    f(x)  =  b + sum_j a_j v_j relu(<u_j, x> + c_j),        row j  =  (u_j, c_j, v_j)

What is cut from a network is a unit, with all that goes in and out of it: here a row.  a_j is 1,
or the gate of unit j.  A row of zeros stays one under any gradient: nothing goes in or out.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Int, Key

from labkit.data import digits
from labkit.errors import refusal
from labkit.method import pytree, static


class Units(NamedTuple):
    rows: Float[Array, "units inputs+1+classes"]
    bias: Float[Array, " classes"]  # b


@pytree
class HiddenUnits:
    """Labels `y` from `x`, by cross-entropy; watched on a part held out."""

    x: Float[Array, "samples inputs"]
    y: Int[Array, " samples"]
    x_test: Float[Array, "tests inputs"]
    y_test: Int[Array, " tests"]
    units: int = static(default=64)
    classes: int = static(default=10)

    def check(self) -> None:
        if self.units < 1:
            raise refusal("units", self.units, "a whole number, 1 or more")

    def start(self, key: Key[Array, ""]) -> Units:
        """Weights from N(0, 2 / inputs) and N(0, 1 / units), biases 0."""
        inner, outer = jr.split(key)
        inputs, dtype = self.x.shape[1], self.x.dtype
        u = jr.normal(inner, (self.units, inputs), dtype) * (2.0 / inputs) ** 0.5
        v = jr.normal(outer, (self.units, self.classes), dtype) * self.units**-0.5
        rows = jnp.concatenate([u, jnp.zeros((self.units, 1), dtype), v], axis=1)
        return Units(rows, jnp.zeros(self.classes, dtype))

    def predict(
        self, w: Units, x: Float[Array, "samples inputs"], gates: Float[Array, " units"]
    ) -> Float[Array, "samples classes"]:
        """f(x) with the units multiplied by their gates."""
        u, c, v = jnp.split(w.rows, [x.shape[1], x.shape[1] + 1], axis=1)
        hidden = jax.nn.relu(x @ u.T + c.T) * gates[None]
        return hidden @ v + w.bias[None]

    def loss(self, w: Units, gates: Float[Array, " units"] | None = None) -> Float[Array, ""]:
        """Mean cross-entropy; all gates are open when not given."""
        gates = jnp.ones(self.units, self.x.dtype) if gates is None else gates
        odds = jax.nn.log_softmax(self.predict(w, self.x, gates))
        return -jnp.take_along_axis(odds, self.y[:, None], axis=1).mean()

    def score(self, w: Units, gates: Float[Array, " units"] | None = None) -> Float[Array, ""]:
        """The share of what was held out whose largest output is its class."""
        gates = jnp.ones(self.units, self.x.dtype) if gates is None else gates
        return (self.predict(w, self.x_test, gates).argmax(axis=1) == self.y_test).mean()


def digit_units(units: int = 64, samples: int = 400) -> HiddenUnits:
    """The digits, standardised pixels, 64 - units - 10; 75 weights a unit."""
    split = digits(samples)
    part = jnp.asarray(split.x, float), jnp.asarray(split.y)
    return HiddenUnits(*part, jnp.asarray(split.x_test, float), jnp.asarray(split.y_test), units)
