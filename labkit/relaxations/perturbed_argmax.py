"""The mean answer of any solver to perturbed questions: a perturbed optimizer.

    y_tau(theta) = E argmax_y <theta + tau Z, y>,    F_tau(theta) = E max_y <theta + tau Z, y>

`solver(theta)` gives a y, of theta's shape, with the largest <theta, y>: the one-hot of an
argmax, an assignment, a path.  It is only called, in JAX or in NumPy (`labkit.on_host`).  Each
entry of Z is standard normal, or Gumbel noise less its mean; tau > 0 is in units of theta.

The density of the perturbed question is smooth in theta and tau, so y_tau is, by the score
function: with density mu, dy_tau / dtheta = E[y (-grad log mu(Z))'] / tau, where -grad log mu
is Z for normal and 1 - exp(-Z - 0.577) for Gumbel noise.  The estimate deviates the more the
smaller tau, until all samples have one answer and it is 0.  On the choices of one item, Gumbel
noise gives softmax(theta / tau).

The Fenchel-Young loss F_tau(theta) - <theta, y> has the gradient y_tau(theta) - y: learning
from given answers y needs no derivative of the solver at all.

Source: F018, Learning with Differentiable Perturbed Optimizers.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, Literal

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Key

from labkit.claims import Claim
from labkit.errors import check_positive, refusal
from labkit.method import Scalar, choice, knob, pytree, size
from labkit.record import Record
from labkit.run import run
from labkit.sweep import Sweep, sweep
from labkit.views import Curve, Panel, Points, View, drag


Noise = Literal["gumbel", "normal"]
Solver = Callable[[Float[Array, "..."]], Float[Array, "..."]]  # theta -> y, one at a time


def perturbed_argmax(
    key: Key[Array, ""],
    theta: Float[Array, "..."],
    tau: Scalar,
    solver: Solver,
    samples: int = 100,
    noise: Noise = "normal",
) -> Float[Array, "..."]:
    """An estimate of y_tau(theta), whose derivatives in theta and tau, of any order, are too.

    Values are means over the samples and derivatives sample covariances, both without bias.
    For several theta, `jax.vmap` this.
    """
    if samples < 2:
        raise refusal("samples", samples, "2 or more")
    asked = _asked(key, theta, tau, samples, noise)
    y = jax.lax.stop_gradient(jax.vmap(solver)(asked))
    mean = y.mean(axis=0)

    def change(part: tuple[Array, Array]) -> Array:
        # In value 0; its k-th derivatives are those of the density over the density.
        density = _density(part[0], theta, tau, noise)
        moves = jnp.exp(density - jax.lax.stop_gradient(density)) - 1
        moves = jnp.expand_dims(moves, tuple(range(1, y.ndim)))
        return (moves * (part[1] - mean[None])).sum(axis=0)

    # In reverse mode, of sums over 16,000 rows and more of sums within a row, XLA's CPU fusions
    # (jaxlib 0.10.2, "ynn") lose a part: a loop keeps them short.
    short = 4000
    whole = samples // short * short
    blocks = [a[:whole].reshape(-1, short, *a.shape[1:]) for a in (asked, y)]
    total = jax.lax.map(change, tuple(blocks)).sum(axis=0) if whole else jnp.zeros_like(mean)
    if whole < samples:
        total = total + change((asked[whole:], y[whole:]))
    return mean + total / (samples - 1)


def fenchel_young(
    key: Key[Array, ""],
    theta: Float[Array, "..."],
    y: Float[Array, "..."],
    tau: Scalar,
    solver: Solver,
    samples: int = 100,
    noise: Noise = "normal",
) -> Float[Array, ""]:
    """F_tau(theta) - <theta, y>, up to a constant the loss of theta where y is wanted.

    Where y is an answer of the solver the constant is 0, and no sample's share of the loss is
    negative; where y is a mean of answers, it is the convex conjugate of F_tau at y.  With
    y = 0 this is F_tau itself.
    """
    moved = theta[None] + tau * _noise(key, theta, samples, noise)
    check_positive("tau", tau, "in units of theta")
    best = jax.lax.stop_gradient(jax.vmap(solver)(jax.lax.stop_gradient(moved)))
    # <tau Z, y>, which is 0 in the mean, is taken off as well: each term is a regret.
    return (moved * (best - y[None])).sum() / samples


def one_hot_solver(theta: Float[Array, "... n"]) -> Float[Array, "... n"]:
    """The solver that picks one of n items."""
    return jax.nn.one_hot(theta.argmax(axis=-1), theta.shape[-1], dtype=theta.dtype)


def _noise(key: Key[Array, ""], theta: Array, samples: int, noise: Noise) -> Array:
    shape = (samples, *theta.shape)
    if noise == "normal":
        return jr.normal(key, shape, theta.dtype)
    if noise == "gumbel":
        return jr.gumbel(key, shape, theta.dtype) - np.euler_gamma
    raise refusal("noise", noise, "'normal' or 'gumbel'")


def _asked(key: Key[Array, ""], theta: Array, tau: Scalar, samples: int, noise: Noise) -> Array:
    """The perturbed questions [samples, ...], held fixed."""
    check_positive("tau", tau, "in units of theta")
    return jax.lax.stop_gradient(theta[None] + tau * _noise(key, theta, samples, noise))


def _density(asked: Array, theta: Array, tau: Scalar, noise: Noise) -> Array:
    """The logarithm of the density of each question [samples, ...], but for a number."""
    z = (asked - theta[None]) / tau
    if noise == "normal":
        logs = -z * z / 2
    else:
        z = z + np.euler_gamma
        logs = -z - jnp.exp(-z)
    return logs.reshape(len(asked), -1).sum(axis=1) - theta.size * jnp.log(tau)


@pytree
class PerturbedArgmax:
    """The argmax of `theta`, perturbed, and its derivatives."""

    theta: Float[Array, " n"] = knob((1.0, 0.6, -0.5), -3.0, 3.0)
    noise: Noise = choice("gumbel", "normal")
    samples: int = size(100, 2, 10_000, about="for an estimate")
    estimates: int = size(100, 2, 10_000, about="for a mean and a deviation")

    def __call__(self, tau: Float[Array, ""]) -> dict[str, Any]:
        def estimate(key, theta):
            y = perturbed_argmax(key, theta, tau, one_hot_solver, self.samples, self.noise)
            return y, y

        keys = jr.split(jr.key(0), self.estimates)
        slopes, shares = jax.vmap(jax.jacfwd(estimate, 1, has_aux=True), (0, None))(
            keys, self.theta
        )
        p = jax.nn.softmax(self.theta / tau)
        return {
            "theta": self.theta,
            "shares": shares.mean(axis=0),
            "softmax": p,
            "slope": slopes.mean(axis=0),
            "softmax_slope": (jnp.diag(p) - jnp.outer(p, p)) / tau,
            "deviation": jnp.sqrt(slopes.var(axis=0, ddof=1).sum()),
            "softening": jnp.linalg.norm(shares.mean(axis=0) - one_hot_solver(self.theta)),
        }


def example() -> Sweep:
    """Three choices with Gumbel noise, from hard to soft."""
    return sweep(PerturbedArgmax(), over=jnp.logspace(-1.5, 1.0, 26), name="tau")


@cache
def demo() -> Record:
    """The example."""
    return run(example())


def _beside(record: Record, seen: np.ndarray, softmax: np.ndarray) -> list[Curve | Points]:
    """Columns [rows, n] as points, beside those of softmax as curves."""
    tau, marks = record["tau"], []
    for i, (points, curve) in enumerate(zip(seen.T, softmax.T, strict=True), 1):
        # Every second: the curve is to be seen between them.
        marks.append(Points(tau[::2], points[::2], f"perturbed {i}", f"choice {i}"))
        marks.append(Curve(tau, curve, f"softmax {i}", f"choice {i}"))
    return marks


def _shares(record: Record) -> Panel:
    marks = _beside(record, record["shares"], record["softmax"])
    return Panel("Share of each choice", marks, "softness tau", "share", log_x=True)


def _slope(record: Record) -> Panel:
    own = lambda name: np.diagonal(record[name], axis1=1, axis2=2)
    marks = _beside(record, own("slope"), own("softmax_slope"))
    return Panel("Slope in its own score", marks, "softness tau", "slope", log_x=True)


def _trade(record: Record) -> Panel:
    marks = [
        Curve(record["tau"], record["softening"], "shares to the hard choice", "sharpness"),
        Curve(record["tau"], record["deviation"], "deviation of a Jacobian", "gradient"),
    ]
    return Panel("Softening and deviation", marks, "softness tau", "length", log_x=True)


views: list[View] = [
    _shares,
    _slope,
    _trade,
    drag("function.theta", (-3.5, 3.5), title="Drag theta", x="choice"),
]


def say(record: Record) -> str:
    """How far the perturbed argmax is from softmax and from hard, in a sentence."""
    apart = np.abs(record["shares"] - record["softmax"]).max()
    worst = np.argmax(record["deviation"])
    return (
        f"The shares are within {apart:.2g} of softmax; a Jacobian deviates most at tau "
        f"{record['tau'][worst]:.2g}, by {record['deviation'][worst]:.2g}."
    )


def claim(record: Record) -> Claim:
    """F018: with Gumbel noise the perturbed argmax is softmax(theta / tau), with its Jacobian.

    Two numbers, over all tau: the shares less 1 / n, along those of softmax less 1 / n, and tau
    times the Jacobian along tau times that of softmax, each / its length.
    """
    tau, n = record["tau"][:, None, None], record["shares"].shape[1]
    shares, softmax = record["shares"] - 1 / n, record["softmax"] - 1 / n
    slope, exact = tau * record["slope"], tau * record["softmax_slope"]
    seen = [(shares * softmax).sum() / (softmax**2).sum(), (slope * exact).sum() / (exact**2).sum()]
    # 10,000 samples a tau, the same noise at each: off by 0.014 at most over seven seeds.
    return Claim(seen, 1.0, 0.05, "Shares / softmax; Jacobian / its Jacobian", kind="measured")
