"""Routes through a lattice whose travel times are random: a hard problem that can be enumerated.

From one corner of k x k crossings to the opposite one, by roads to the right and down; x holds
a one for each road that is taken.  There are 2 k (k - 1) roads and (2k - 2)! / ((k - 1)!)^2
routes.  The time of a road is normal, with a mean and a variance, independent of the others:

    P(later than T)  =  Phi((mean . x - T) / sqrt(variance . x))

which no sum over roads equals.  What a solver can do is a linear cost c:

    x(c)  =  argmin_x c . x          by dynamic programming, diagonal by diagonal

A fast road is, with even odds, a gamble: its variance is then the larger the smaller its mean.
Where being on time has odds above one half, some lam >= 0 has the best route as that of least
mean + lam variance, since P is then least at a corner of the points (mean . x, variance . x).

Source: Nikolova, Kelner, Brand and Mitzenmacher 2006, Stochastic shortest paths via
quasi-convex maximization.
"""

import itertools
from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.scipy.special import ndtr
from jaxtyping import Array, Float, Int, Key

from labkit.method import Scalar, knob, pytree, size


class Trip(NamedTuple):
    """One instance: what is known of the roads, and when to be there."""

    mean: Float[Array, "... roads"]
    variance: Float[Array, "... roads"]
    deadline: Float[Array, "..."]


@pytree
class Lattice:
    """Trips through k x k crossings; `deadline` is the least mean time and `slack`."""

    slack: Scalar = knob(3.0, 0.0, 6.0, about="time to the deadline, past the least mean time")
    gamble: Scalar = knob(2.0, 0.0, 4.0, within=(0.0, 100.0), about="variance of a fast road")
    k: int = size(5, 2, 8, about="crossings a side")

    @property
    def answers(self) -> Float[np.ndarray, "routes roads"]:
        """All routes there are."""
        return all_routes(self.k)

    def draw(self, key: Key[Array, ""], count: int) -> Trip:
        """Trips, on a leading axis: means even in 1 to 3, and half of the roads gambles."""
        even, coin = jr.uniform(key, (2, count, 2 * self.k * (self.k - 1)))
        mean = 1.0 + 2.0 * even
        variance = 0.05 + jnp.where(coin < 0.5, self.gamble * (3.0 - mean), 0.0)
        least = (mean @ self.answers.T).min(axis=1)
        return Trip(mean, variance, least + self.slack)

    def start(self, trip: Trip) -> Float[Array, " roads"]:
        """The cost to begin with: the mean times."""
        return trip.mean

    def features(self, trip: Trip) -> Float[Array, "roads 3"]:
        """What a model may know of each road: mean, variance, and the slack of the trip."""
        slack = jnp.broadcast_to(self.slack - 3.0, trip.mean.shape)
        return jnp.stack([trip.mean - 2.0, trip.variance - 1.0, slack], axis=-1)

    def solve(self, c: Float[Array, " roads"]) -> Float[Array, " roads"]:
        """x(c), the route of least cost: the derivative of that cost in c."""
        return jax.grad(least_cost)(c, self.k)

    def loss(self, trip: Trip, x: Float[Array, "... roads"]) -> Float[Array, "..."]:
        """The chance to be late."""
        z = (x @ trip.mean - trip.deadline) / jnp.sqrt(x @ trip.variance)
        return ndtr(z)


def least_cost(c: Float[Array, " roads"], k: int) -> Float[Array, ""]:
    """min_x c . x.  Where two routes tie, the derivative is one of them."""
    c = jnp.append(c, jnp.inf)  # where there is no road

    def step(v: Array, roads: tuple[Array, Array]) -> tuple[Array, None]:
        across, down = (v + c[index] for index in roads)
        down = jnp.roll(down, 1)  # from the row above; the last row has no road down
        return jnp.where(across <= down, across, down), None

    corner = jnp.where(jnp.arange(k) == 0, 0.0, jnp.inf).astype(c.dtype)
    across, down = _diagonals(k)
    v, _ = jax.lax.scan(step, corner, (jnp.asarray(across), jnp.asarray(down)))
    return v[-1]


@cache
def _diagonals(k: int) -> tuple[Int[np.ndarray, "steps k"], Int[np.ndarray, "steps k"]]:
    """The road to the right, and that down, from row i of each diagonal; the last is none."""
    none, half = 2 * k * (k - 1), k * (k - 1)
    across, down = np.full((2, 2 * k - 2, k), none)
    for t, i in np.ndindex(*across.shape):
        j = t - i
        if 0 <= j < k - 1:
            across[t, i] = i * (k - 1) + j
        if 0 <= j < k and i < k - 1:
            down[t, i] = half + i * k + j
    return across, down


@cache
def all_routes(k: int) -> Float[np.ndarray, "routes roads"]:
    """Every route as ones and zeros: first the k (k - 1) roads to the right, then those down."""
    across, down = _diagonals(k)
    routes = []
    for places in itertools.combinations(range(2 * k - 2), k - 1):
        x, i = np.zeros(2 * k * (k - 1), np.float32), 0
        for t in range(2 * k - 2):
            x[(down if t in places else across)[t, i]] = 1.0
            i += t in places
        routes.append(x)
    return np.stack(routes)


def as_field(c: Float[np.ndarray, " roads"]) -> Float[np.ndarray, "rows columns"]:
    """Costs as cells between the crossings; NaN where there is no road."""
    k = crossings(len(c))
    field = np.full((2 * k - 1, 2 * k - 1), np.nan)
    field[::2, 1::2] = c[: k * (k - 1)].reshape(k, k - 1)
    field[1::2, ::2] = c[k * (k - 1) :].reshape(k - 1, k)
    return field


def as_walk(x: Float[np.ndarray, " roads"]) -> tuple[np.ndarray, np.ndarray]:
    """The crossings of a route, in order: columns and rows."""
    k, i, j = crossings(len(x)), 0, 0
    columns, rows = [0], [0]
    for _ in range(2 * k - 2):
        down = i < k - 1 and x[k * (k - 1) + i * k + j] > 0.5
        i, j = i + down, j + (not down)
        columns.append(j)
        rows.append(i)
    return np.array(columns), np.array(rows)


def crossings(roads: int) -> int:
    """k, from the number of roads 2 k (k - 1)."""
    return round((1 + np.sqrt(1 + 2 * roads)) / 2)
