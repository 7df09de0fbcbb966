"""Losses of two parameters, to be seen whole.

    rosenbrock   (1 - u)^2 + 100 (v - u^2)^2                 a curved, narrow valley
    himmelblau   (u^2 + v - 11)^2 + (u + v^2 - 7)^2          four equal minima
    beale        (1.5 - u + u v)^2 + (2.25 - u + u v^2)^2 + (2.625 - u + u v^3)^2
                                                             plateaus and steep walls
    saddle       u^2 / 2 + (v^2 - 1)^2 / 4                   a saddle at 0 between two minima

`EdgeToy` is the smallest loss that has an edge of stability:

    L(u, v) = v u^2 / 2 - c v + k v^2 / 2

v is the curvature along u, and grows by itself towards c / k: progressive sharpening.  Past
v = 2 / lr the coordinate u oscillates and grows, until u^2 / 2 outweighs c - k v and pushes v
back.  There is an orbit of two points at the edge, v = 2 / lr, when lr > 2 k / c; gradient
descent settles on it while also lr < 5 k / (2 c), swings about it beyond, and then diverges.

Source: H. H. Rosenbrock, 1960; D. M. Himmelblau, 1972; E. M. L. Beale, 1958; for the toy,
the cubic model of self-stabilization (A. Damian, E. Nichani and J. D. Lee, 2023).
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from labkit.errors import refusal
from labkit.method import choice, knob, pytree


Point = tuple[float, float]
Box = tuple[Point, Point]  # (lowest and highest u), (lowest and highest v)


class Shape(NamedTuple):
    """A function of two numbers, where it is lowest, and the part worth plotting."""

    value: Callable[[Array, Array], Array]
    minima: tuple[Point, ...]
    box: Box


def _rosenbrock(u, v):
    return (1.0 - u) ** 2 + 100.0 * (v - u**2) ** 2


def _himmelblau(u, v):
    return (u**2 + v - 11.0) ** 2 + (u + v**2 - 7.0) ** 2


def _beale(u, v):
    first, second, third = 1.5 - u + u * v, 2.25 - u + u * v**2, 2.625 - u + u * v**3
    return first**2 + second**2 + third**2


def _saddle(u, v):
    return 0.5 * u**2 + 0.25 * (v**2 - 1.0) ** 2


# Three of the minima of Himmelblau's function are roots of a cubic, here to 9 places.
HIMMELBLAU = (
    (3.0, 2.0),
    (-2.805118087, 3.131312518),
    (-3.779310253, -3.283185991),
    (3.584428340, -1.848126527),
)
SHAPES = {
    "rosenbrock": Shape(_rosenbrock, ((1.0, 1.0),), ((-2.0, 2.0), (-1.0, 3.0))),
    "himmelblau": Shape(_himmelblau, HIMMELBLAU, ((-5.0, 5.0), (-5.0, 5.0))),
    "beale": Shape(_beale, ((3.0, 0.5),), ((-4.5, 4.5), (-4.5, 4.5))),
    "saddle": Shape(_saddle, ((0.0, 1.0), (0.0, -1.0)), ((-2.0, 2.0), (-2.0, 2.0))),
}


@pytree
class Surface:
    """One of the four test functions; each of its minima has the value 0."""

    shape: str = choice(*SHAPES)
    w0: Float[Array, "2"] = knob((-1.2, 1.0), -5.0, 5.0, about="the start")

    def check(self):
        """Raise ValueError unless the start is two numbers."""
        _check_start(self.w0)

    def start(self, key: Key[Array, ""]) -> Float[Array, "2"]:
        """`w0`, whatever the key."""
        del key
        return jnp.asarray(self.w0)

    def loss(self, w: Float[Array, "2"], batch: None = None) -> Float[Array, ""]:
        """The function at (u, v) = w."""
        del batch
        return SHAPES[self.shape].value(w[0], w[1])

    @property
    def minima(self) -> Float[np.ndarray, "minima 2"]:
        """Every minimum, one a row."""
        return np.array(SHAPES[self.shape].minima)

    @property
    def box(self) -> Box:
        """The part of the plane worth plotting."""
        return SHAPES[self.shape].box


@pytree
class EdgeToy:
    """Sharpens up to 2 / lr, then balances there: made for lr 0.2, whose edge is 10.

    With lr below 2 k / c = 0.182 it never comes to the edge.  Linearised about its orbit, the
    step (|u|, v) has the determinant 1 - lr k + (lr u)^2, which is below 1, so that the orbit
    attracts, for lr below 5 k / (2 c) = 0.227.
    """

    c: float = knob(2.2, 1.0, 4.0, log=True, about="how fast v grows")
    k: float = knob(0.2, 0.05, 0.5, log=True, about="what holds v back: alone it ends at c / k")
    w0: Float[Array, "2"] = knob((0.1, 8.0), -2.0, 20.0, about="the start, (u, v)")

    def check(self):
        """Raise ValueError unless the start is two numbers."""
        _check_start(self.w0)

    def start(self, key: Key[Array, ""]) -> Float[Array, "2"]:
        """`w0`, whatever the key."""
        del key
        return jnp.asarray(self.w0)

    def loss(self, w: Float[Array, "2"], batch: None = None) -> Float[Array, ""]:
        """L(u, v), without a lower bound where v < 0."""
        del batch
        u, v = w[0], w[1]
        return 0.5 * v * u**2 - self.c * v + 0.5 * self.k * v**2

    @property
    def minima(self) -> Float[Array, "1 2"]:
        """(0, c / k), with the value -c^2 / 2k and the curvatures c / k and k."""
        return jnp.stack([jnp.zeros(()), jnp.asarray(self.c / self.k)])[None]

    def orbit(self, lr: float) -> Float[Array, "2 2"]:
        """The two points (+-u, 2 / lr), u^2 / 2 = c - 2 k / lr, that each step exchanges.

        Not a number when c / k < 2 / lr: then the minimum is stable and there is no orbit.
        """
        u, v = jnp.sqrt(2.0 * (self.c - 2.0 * self.k / lr)), jnp.asarray(2.0 / lr)
        return jnp.stack([jnp.stack([u, v]), jnp.stack([-u, v])])

    @property
    def box(self) -> Box:
        """The part of the plane worth plotting: v from 0 to a little beyond c / k."""
        return ((-2.0, 2.0), (0.0, 1.2 * self.c / self.k))


def _check_start(w0: Float[Array, "2"]) -> None:
    if np.shape(w0) != (2,):
        raise refusal("w0", w0, "two numbers, (u, v)")
