"""Fewer equations than weights: which of all solutions of x w = y?

    least_norm     the solution of the least l1, l2 or l-infinity norm, or nearest a start
    preconditioned where preconditioned descent comes to
    straight       the solution where steepest descent meets one equation
    touching       the solution nearest a start in the Bregman distance of a potential
    ball, circle   all weights as near in a norm, in that distance

A solution is the nearest one exactly where its ball, grown about the start, first touches the
solutions.  `Line` is the picture of it: one equation for two weights.

Source: S054, Optimizers Qualitatively Alter Solutions And We Should Leverage This; for the
norms, linear programs as in Chen, Donoho and Saunders 1998 (basis pursuit).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from labkit.data.synthetic import sparse
from labkit.dynamics.geometries import Potential, steepest
from labkit.errors import refusal
from labkit.method import Scalar, knob, pytree
from labkit.problems import LeastSquares


@pytree
class Line:
    """L(w) = 1/2 (a . w - b)^2 for two weights: zero on the line with `foot` nearest to 0.

    a is the direction of the foot, b its distance from 0.
    """

    foot: Float[Array, "2"] = knob((1.1, 0.55), -2.0, 2.0, about="point of the line nearest 0")
    w0: Float[Array, "2"] = knob((0.0, 0.0), -2.0, 2.0, about="the start")

    def check(self):
        """Raise ValueError for a foot at 0, through which there are many lines."""
        if np.shape(self.foot) != (2,) or not np.linalg.norm(self.foot) > 1e-3:
            raise refusal("foot", self.foot, "two numbers, not both 0")
        if np.shape(self.w0) != (2,):
            raise refusal("w0", self.w0, "two numbers")

    @property
    def x(self) -> Float[Array, "1 2"]:
        """The equation's left side, of length 1."""
        return (self.foot / jnp.linalg.norm(self.foot))[None]

    @property
    def y(self) -> Float[Array, "1"]:
        """Its right side."""
        return jnp.linalg.norm(self.foot)[None]

    def start(self, key: Key[Array, ""]) -> Float[Array, "2"]:
        """`w0`, whatever the key."""
        del key
        return jnp.asarray(self.w0)

    def loss(self, w: Float[Array, "2"], batch: None = None) -> Float[Array, ""]:
        """1/2 (a . w - b)^2."""
        del batch
        return 0.5 * jnp.sum((self.x @ w - self.y) ** 2)


class Sparse(NamedTuple):
    """Fewer equations than weights, solved by a sparse truth, and points to test on."""

    problem: LeastSquares
    x_test: Float[Array, "tests n"]
    y_test: Float[Array, " tests"]

    def error(self, w: Float[Array, " n"]) -> float:
        """The mean squared error of w on the test points, over that of w = 0."""
        return float(jnp.mean((self.x_test @ w - self.y_test) ** 2) / jnp.mean(self.y_test**2))


def sparse_truth(seed: int = 0, samples: int = 18, weights: int = 49, nonzero: int = 3) -> Sparse:
    """Gaussian x, `nonzero` true weights of +1 or -1, no noise; 200 points to test on."""
    data = sparse(seed, samples + 200, weights, nonzero)
    x, y = jnp.asarray(data.x, float), jnp.asarray(data.y[:, 0], float)
    return Sparse(LeastSquares(x[:samples], y[:samples]), x[samples:], y[samples:])


def least_norm(
    x: Float[np.ndarray, "m n"],
    y: Float[np.ndarray, " m"],
    norm: str,
    start: Float[np.ndarray, " n"] | None = None,
) -> Float[np.ndarray, " n"]:
    """The solution w of x w = y with the least |w - start|, start being 0 unless given.

    "l2" is a closed form, "l1" and "linf" are linear programs; one of several such solutions
    is returned; not a number where x or y is not known.  Raises ValueError for another norm, and
    where there is no solution.
    """
    from scipy.optimize import linprog

    x, y = np.asarray(x, float), np.asarray(y, float)
    m, n = x.shape
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return np.full(n, np.nan)
    start = np.zeros(n) if start is None else np.asarray(start, float)
    y = y - x @ start
    if norm == "l2":
        return start + np.linalg.pinv(x) @ y
    if norm == "l1":  # w = up - down, both at least 0
        answer = linprog(np.ones(2 * n), A_eq=np.hstack([x, -x]), b_eq=y)
        found = None if answer.x is None else answer.x[:n] - answer.x[n:]
    elif norm == "linf":  # -t <= w <= t
        sides = np.block([[np.eye(n), -np.ones((n, 1))], [-np.eye(n), -np.ones((n, 1))]])
        goal, bounds = np.eye(n + 1)[n], [(None, None)] * n + [(0, None)]
        equal = np.hstack([x, np.zeros((m, 1))])
        answer = linprog(goal, A_ub=sides, b_ub=np.zeros(2 * n), A_eq=equal, b_eq=y, bounds=bounds)
        found = None if answer.x is None else answer.x[:n]
    else:
        raise refusal("norm", norm, "l1, l2 or linf")
    if found is None:
        raise refusal("y", y, "right sides for which x w = y has a solution")
    return start + found


def preconditioned(
    x: Float[Array, "m n"], y: Float[Array, " m"], p: Float[Array, "n n"]
) -> Float[Array, " n"]:
    """P x' (x P x')^-1 y, where descent preconditioned by P comes to from 0."""
    return p @ x.T @ jnp.linalg.solve(x @ p @ x.T, y)


def straight(
    a: Float[Array, " n"], b: Scalar, norm: str, start: Float[Array, " n"]
) -> Float[Array, " n"]:
    """Where steepest descent in a norm meets a . w = b: the direction of the gradient is a's.

    That solution is the nearest to `start` in the norm.
    """
    dual, along = steepest(a, norm)
    return start + along * (b - a @ start) / dual


def ball(
    through: Float[Array, "2"], norm: str, start: Float[Array, "2"], points: int = 361
) -> Float[Array, "points 2"]:
    """The weights as far from `start` as `through` in a norm: a circle, diamond or square."""
    order = {"l1": 1, "l2": 2, "linf": jnp.inf}[norm]
    rays = _rays(points, through.dtype)
    size = jnp.linalg.norm(through - start, order) / jnp.linalg.norm(rays, order, axis=0)
    return start[None] + (size[None] * rays).T


def touching(
    a: Float[Array, " n"], b: Scalar, potential: Potential, start: Float[Array, " n"]
) -> Float[Array, " n"]:
    """The dual weights of the solution of a . w = b that is nearest `start`: dual(start) + s a.

    a . primal(dual(start) + s a) grows with the number s, which is found by bisection.
    """
    theta = potential.dual(start)
    # Where the weights are infinite, a . w may be no number, which is not below b either.
    below = lambda s: jnp.vdot(a, potential.primal(theta + s * a)) < b
    # Towards the line: s is positive where the start lies below it.
    sign = jnp.where(jnp.vdot(a, start) < b, 1.0, -1.0).astype(theta.dtype)
    s = _border(lambda s: below(s * sign) == (sign > 0), jnp.zeros_like(sign))
    return theta + s * sign * a


def circle(
    theta: Float[Array, "2"], potential: Potential, start: Float[Array, "2"], points: int = 361
) -> Float[Array, "points 2"]:
    """The weights as far from `start` as primal(theta) in the Bregman distance of the potential.

    They are found among the dual weights, where that distance is

        D = psi*(theta_0) - psi*(theta) - primal(theta) . (theta_0 - theta)

    and grows along each ray from theta_0.
    """
    center = potential.dual(start)

    def distance(theta):
        across = jnp.vdot(potential.primal(theta), center - theta)
        return potential.conjugate(center) - potential.conjugate(theta) - across

    rays = _rays(points, theta.dtype)
    along = lambda t: center[:, None] + t[None] * rays
    within = lambda t: jax.vmap(distance, 1)(along(t)) < distance(theta)
    reach = _border(within, jnp.zeros_like(rays[0]))
    return jax.vmap(potential.primal, 1)(along(reach))


def _rays(points: int, dtype: Any) -> Float[Array, "2 points"]:
    """Directions once around."""
    angles = jnp.linspace(0.0, 2.0 * jnp.pi, points, dtype=dtype)
    return jnp.stack([jnp.cos(angles), jnp.sin(angles)])


def _border(inside: Callable[[Array], Array], zero: Array) -> Array:
    """How far `inside` stays true along each ray from 0, by halving among powers of two."""

    def halved(_, powers):
        low, high = powers
        middle = (low + high) / 2.0
        stays = inside(2.0**middle)
        return jnp.where(stays, middle, low), jnp.where(stays, high, middle)

    return 2.0 ** jax.lax.fori_loop(0, 60, halved, (zero - 30.0, zero + 30.0))[0]
