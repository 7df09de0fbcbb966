"""Small linear programs, all of whose vertices are known, with costs that depend on features.

    min c . x    over  A x = b,  x >= 0          A [m, n]

At a vertex m entries, the basis B, are above 0, and the rest N are 0.  It is the best one if the
reduced costs are not below 0:

    s  =  c_N - A_N' A_B^-T c_B  =  M c,           c . x  =  c . x_B  +  s . x_N    for each x

where one basic entry is 0 as well, the vertex is degenerate: it has several bases, and s >= 0 at
one of them suffices but is not needed.  Such programs are refused here.

Packing, G x <= h and x >= 0, has slacks for its last entries, which cost nothing: c, x and M then
have the columns of x alone.  In two variables it is a polygon; with one row of weights and
x <= 1, a fractional knapsack.

Source: Bertsimas and Tsitsiklis 1997, Introduction to Linear Optimization.
"""

import itertools
from typing import NamedTuple

import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Int, Key
from scipy.optimize import linprog

from labkit.errors import refusal
from labkit.method import Scalar, knob, pytree, size


class Optimum(NamedTuple):
    """An optimal vertex, and where it is above 0."""

    x: Float[np.ndarray, " n"]
    basis: Int[np.ndarray, " m"]


def solve(
    A: Float[np.ndarray, "m n"], b: Float[np.ndarray, " m"], c: Float[np.ndarray, " n"]
) -> Optimum:
    """The optimal vertex and its basis, by HiGHS.

    Raises ValueError where there is none, and where the vertex is degenerate.
    """
    found = linprog(c, A_eq=A, b_eq=b, bounds=(0, None), method="highs-ds")
    if found.status != 0:
        raise refusal("c", c, f"a program with an optimum ({found.message})")
    basis = np.flatnonzero(found.x > 1e-9 * np.abs(found.x).max())
    if len(basis) != len(A):
        accepted = f"a vertex with {len(A)} entries above 0, one for each row of A"
        raise refusal("x", found.x, accepted)
    return Optimum(found.x, basis)


def margin_matrix(
    A: Float[np.ndarray, "m n"], basis: Int[np.ndarray, " m"]
) -> Float[np.ndarray, "k n"]:
    """M, which makes the reduced costs of N = all but the basis out of the costs."""
    rest = np.setdiff1d(np.arange(A.shape[1]), basis)
    matrix = np.zeros((len(rest), A.shape[1]))
    matrix[np.arange(len(rest)), rest] = 1.0
    matrix[:, basis] = -np.linalg.solve(A[:, basis], A[:, rest]).T
    return matrix


class Data(NamedTuple):
    """Observations: features, the vertex that was chosen, and the cost, which is not seen."""

    z: Float[Array, "samples features"]
    chosen: Int[Array, " samples"]  # which vertex
    c: Float[Array, "samples d"]


@pytree
class Region:
    """Where x may be, as all its vertices."""

    vertices: Float[Array, "v d"]
    margins: Float[Array, "v k d"]  # M of each vertex

    def best(self, c: Float[Array, "... d"]) -> Int[Array, "..."]:
        """Which vertex is the optimum."""
        return (c @ self.vertices.T).argmin(axis=-1)

    def regret(self, c: Float[Array, "... d"], chosen: Int[Array, "..."]) -> Float[Array, "..."]:
        """What the vertices that were chosen cost more than the best ones."""
        costs = c @ self.vertices.T
        mine = jnp.take_along_axis(costs, chosen[..., None], axis=-1)[..., 0]
        return mine - costs.min(axis=-1)


@pytree
class Programs:
    """Programs over one region, of costs c = (B z)^degree with noise, for z = (1, normal).

    A power keeps the sign.  Noise multiplies each cost by a number even in 1 - noise to
    1 + noise.  B is normal, drawn with the data.
    """

    region: Region
    noise: Scalar = knob(0.0, 0.0, 1.0, within=(0.0, 10.0))
    degree: Scalar = knob(1.0, 1.0, 5.0, within=(0.1, 10.0), about="1: the model is right")
    features: int = size(4, 1, 20)

    def draw(self, key: Key[Array, ""], samples: int) -> Data:
        """Observations with one B."""
        d, p = self.region.vertices.shape[1], self.features
        draws, shakes = jr.split(key)
        normal = jr.normal(draws, (d + samples, p))
        z = normal[d:].at[:, 0].set(1.0)
        u = z @ normal[:d].T
        noise = 1.0 + self.noise * jr.uniform(shakes, u.shape, minval=-1.0)
        c = noise * jnp.sign(u) * jnp.abs(u) ** self.degree
        return Data(z, self.region.best(c), c)


def standard(A: Float[np.ndarray, "m n"], b: Float[np.ndarray, " m"]) -> Region:
    """All vertices of A x = b, x >= 0, by trying each basis.

    Raises ValueError where one is degenerate, where there is none, and where the region has no
    end: not every cost would have its least value at a vertex.
    """
    return _region(A, b, A.shape[1])


def packing(G: Float[np.ndarray, "m d"], h: Float[np.ndarray, " m"]) -> Region:
    """All vertices of G x <= h, x >= 0; costs and vertices without the slacks."""
    return _region(np.concatenate([G, np.eye(len(G))], axis=1), h, G.shape[1])


def _region(A: np.ndarray, b: np.ndarray, d: int) -> Region:
    ones = np.ones(A.shape[1])  # a direction x >= 0 with A x = 0 goes on for ever
    away = linprog(-ones, A_eq=A, b_eq=np.zeros(len(A)), bounds=(0, 1))
    if away.status == 0 and away.fun < -1e-9:
        raise refusal("A", A, "rows whose region is bounded")
    vertices, margins = [], []
    for basis in map(list, itertools.combinations(range(A.shape[1]), len(A))):
        if abs(np.linalg.det(A[:, basis])) < 1e-9:
            continue
        x = np.zeros(A.shape[1])
        x[basis] = np.linalg.solve(A[:, basis], b)
        if (x[basis] > -1e-9).all() and (x[basis] < 1e-9).any():
            raise refusal("b", b, f"right sides without a degenerate vertex, as {x} is")
        if (x >= 0).all():
            vertices.append(x[:d])
            margins.append(margin_matrix(A, np.array(basis))[:, :d])
    if not vertices:
        raise refusal("b", b, "right sides with a feasible x")
    return Region(jnp.asarray(np.array(vertices)), jnp.asarray(np.array(margins)))


def random_region(
    seed: int, m: int = 3, n: int = 7
) -> tuple[Float[np.ndarray, "m n"], Float[np.ndarray, " m"]]:
    """A and b of a bounded region: A is positive, and b is A times a positive x."""
    random = np.random.default_rng(seed)
    A = random.uniform(0.2, 1.0, (m, n))
    return A, A @ random.uniform(0.5, 1.5, n)


def knapsack(seed: int, items: int = 5) -> Region:
    """Parts of items into a sack that holds half of their weight; costs below 0 are values."""
    weights = np.random.default_rng(seed).uniform(0.5, 1.5, items)
    G = np.concatenate([weights[None], np.eye(items)])
    return packing(G, np.array([0.5 * weights.sum(), *np.ones(items)]))


def polygon() -> Region:
    """Six corners in the plane."""
    G = np.array([[1.0, 0.2], [1.0, 1.0], [0.45, 1.0], [-0.2, 1.0]])
    return packing(G, np.array([2.2, 2.9, 2.3, 1.8]))
