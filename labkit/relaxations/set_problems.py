"""Choose a set of items: problems small enough for the optimum to be known.

    Facilities   k of n points as sites: the total distance of all points to their nearest
    Coverage     k of n sets: the weight of what none of them covers

Each has `expected(p)`, the expected cost of a random set plus `beta` times how far it is
expected to break its rule; `optimum()` by an integer program; and `greedy()`.  So has
`IndependentSet` in `small_graphs`.
"""

import itertools
import math
from typing import Any, Protocol

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.optimize import Bounds, LinearConstraint, milp

from labkit.errors import refusal
from labkit.method import Latest, knob, pytree, size
from labkit.relaxations.expectations import (
    expected_minimum,
    expected_miss,
    uncovered,
)


class SetProblem(Protocol):
    """A cost of sets of `items` items."""

    @property
    def items(self) -> int: ...

    def expected(self, p: Float[Array, " n"]) -> Float[Array, ""]:
        """E (cost + beta * violation) of a random set, linear in each p_i."""
        ...

    def optimum(self) -> float:
        """The least cost of a set that keeps the rule."""
        ...

    def greedy(self) -> float:
        """The cost of the set that grows by the best item at a time."""
        ...

    def seen(self) -> dict[str, Any]:
        """What a record keeps of the problem itself."""
        ...


def scattered(n: int, seed: int = 0) -> Float[np.ndarray, "n 2"]:
    """n random points of the unit square."""
    return np.random.default_rng(seed).uniform(size=(n, 2))


@pytree
class Facilities:
    """Open k of the points as sites; every point goes to the nearest site."""

    points: Float[Array, "n 2"] = knob(scattered(30).tolist(), 0.0, 1.0)
    k: int = size(4, 1, 12, about="sites to open")
    beta: float = knob(2.0, 0.0, 4.0, within=(0.0, np.inf), about="for each site too many")

    def check(self) -> None:
        shape = np.shape(self.points)
        if len(shape) != 2 or shape[1] != 2 or shape[0] < self.k:
            raise refusal("shape of points", shape, f"(n, 2), n at least k = {self.k}")

    @property
    def items(self) -> int:
        """One for each point."""
        return len(self.points)

    def expected(self, p: Float[Array, " n"]) -> Float[Array, ""]:
        """E (total distance) + beta E | |X| - k |; to no site at all it is as far as it can be."""
        x = jnp.asarray(self.points)
        squares = ((x[:, None] - x[None]) ** 2).sum(axis=-1)
        away = squares > 0
        d = jnp.where(away, jnp.sqrt(jnp.where(away, squares, 1.0)), 0.0)
        return expected_minimum(d, p).sum() + self.beta * expected_miss(p, self.k)

    def distances(self) -> Float[np.ndarray, "n n"]:
        """From each point to each site."""
        x = np.asarray(self.points, float)
        return np.sqrt(((x[:, None] - x[None]) ** 2).sum(axis=-1))

    def optimum(self) -> float:
        """Of y_i, which sites are open, and x_ui, who goes where: x_ui <= y_i, sum_i x_ui = 1."""
        d, n = self.distances(), self.items
        everyone = np.kron(np.eye(n), np.ones(n))
        only_open = np.concatenate([np.eye(n * n), -np.tile(np.eye(n), (n, 1))], axis=1)
        rules = [
            LinearConstraint(np.concatenate([everyone, np.zeros((n, n))], axis=1), 1, 1),
            LinearConstraint(only_open, -np.inf, 0),
            LinearConstraint(np.repeat([0.0, 1.0], [n * n, n])[None], self.k, self.k),
        ]
        return least_cost(np.concatenate([d.ravel(), np.zeros(n)]), rules, whole=n)

    def greedy(self) -> float:
        """The site that saves most, k times."""
        d, nearest = self.distances(), np.full(self.items, np.inf)
        for _ in range(self.k):
            best = np.minimum(d, nearest[:, None]).sum(axis=0).argmin()
            nearest = np.minimum(nearest, d[:, best])
        return float(nearest.sum())

    def least_saving(self) -> float:
        """The largest saving of the least useful site in any set of k + 1.

        Above this beta a set that no single change improves has k sites.  What a site saves can
        only shrink as a set grows, so that larger sets ask for no more.  Raises ValueError
        where there are too many such sets to look at.
        """
        d, most = self.distances(), 0.0
        if math.comb(self.items, self.k + 1) > 10**6:
            raise refusal("k", self.k, "a k with a million sets of k + 1, or fewer")
        for chosen in itertools.combinations(range(self.items), self.k + 1):
            two = np.sort(d[:, chosen], axis=1)[:, :2]
            saved = np.bincount(d[:, chosen].argmin(axis=1), np.diff(two)[:, 0], len(chosen))
            most = max(most, saved.min())
        return most

    def seen(self) -> dict[str, Any]:
        """The points, and k."""
        return {"points": Latest(self.points), "k": jnp.asarray(self.k)}


@pytree
class Coverage:
    """Take k of n sets; `covers` [u, i] is 1 where set i has u, which weighs `weights` [u]."""

    covers: Float[Array, "m n"]
    weights: Float[Array, " m"]
    k: int = size(4, 1, 12, about="sets to take")
    beta: float = knob(2.0, 0.0, 4.0, within=(0.0, np.inf), about="for each set too many")

    def check(self) -> None:
        if np.ndim(self.covers) != 2 or np.shape(self.covers)[0] != len(self.weights):
            accepted = f"({len(self.weights)}, sets), a row for each weight"
            raise refusal("shape of covers", np.shape(self.covers), accepted)
        if not np.isin(self.covers, (0, 1)).all():
            raise refusal("covers", self.covers, "zeros and ones")
        if not (np.asarray(self.weights) >= 0).all():
            raise refusal("weights", self.weights, "weights from 0 on")
        if self.k > self.items:
            raise refusal("k", self.k, f"at most {self.items}, the number of sets")

    @property
    def items(self) -> int:
        """One for each set."""
        return self.covers.shape[1]

    def expected(self, p: Float[Array, " n"]) -> Float[Array, ""]:
        """E (weight left uncovered) + beta E | |X| - k |."""
        left = uncovered(self.covers, p) @ self.weights
        return left + self.beta * expected_miss(p, self.k)

    def optimum(self) -> float:
        """Of y_i, which sets are taken, and z_u <= sum_{i covers u} y_i, what they cover."""
        covers, weights = np.asarray(self.covers, float), np.asarray(self.weights, float)
        m, n = covers.shape
        rules = [
            LinearConstraint(np.concatenate([np.eye(m), -covers], axis=1), -np.inf, 0),
            LinearConstraint(np.repeat([0.0, 1.0], [m, n])[None], self.k, self.k),
        ]
        covered = least_cost(np.concatenate([-weights, np.zeros(n)]), rules, whole=n)
        return float(weights.sum() + covered)

    def greedy(self) -> float:
        """The set that covers most of what is left, k times."""
        covers, left = np.asarray(self.covers, float), np.array(self.weights, float)
        for _ in range(self.k):
            left = left * (1 - covers[:, (left @ covers).argmax()])
        return float(left.sum())

    def seen(self) -> dict[str, Any]:
        """k."""
        return {"k": jnp.asarray(self.k)}


def blocks(sets: int = 20, elements: int = 40, reach: int = 5, seed: int = 0) -> Coverage:
    """Random sets: each covers `reach` elements of weights between 0 and 1."""
    rng = np.random.default_rng(seed)
    covers = np.zeros((elements, sets))
    for i in range(sets):
        covers[rng.choice(elements, reach, replace=False), i] = 1.0
    return Coverage(jnp.asarray(covers), jnp.asarray(rng.uniform(size=elements)))


def least_cost(cost: np.ndarray, rules: list[LinearConstraint], whole: int) -> float:
    """The least cost of numbers from 0 to 1, of which the last `whole` are whole."""
    kinds = np.repeat([0, 1], [len(cost) - whole, whole])
    exact = {"mip_rel_gap": 0.0}
    found = milp(cost, constraints=rules, bounds=Bounds(0, 1), integrality=kinds, options=exact)
    if not found.success:
        raise ValueError(f"the integer program has no answer: {found.message}")
    return float(found.fun)
