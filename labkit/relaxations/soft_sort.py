"""Sorting with gradients, by a softmax: SoftSort.

    P = softmax(-|s_i - x_j| / tau) over j,        s = sort(x), descending or ascending

Row i of P says which inputs share place i; it is a row of a permutation as tau goes to 0,
and P x the sorted values.  Rows sum to one, columns only in that limit.  The largest entry
of each row is the right one at any tau.  With smallest gap d between the values, the share
of each row in wrong places is at most (n - 1) exp(-d / tau); and the distance of P x to the
sorted values is d exp(-d / tau) in the limit, from the two values that are closest.

Source: F004, SoftSort: A Continuous Relaxation for the argsort Operator.
"""

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from labkit.claims import Claim
from labkit.errors import check_positive
from labkit.method import Scalar, knob, pytree
from labkit.record import Record
from labkit.relaxations.network import hard_sort
from labkit.relaxations.order import Order, order
from labkit.run import run
from labkit.sweep import Sweep, sweep
from labkit.views import Panel, Raster, View, drag, lines


def soft_permutation(x: Float[Array, "... n"], tau: Scalar) -> Float[Array, "... n n"]:
    """P, rows summing to one, such that P x is x in softly ascending order.

    `tau` > 0 is in units of x.
    """
    check_positive("tau", tau, "in units of x")
    apart = jnp.abs(jnp.sort(x)[..., :, None] - x[..., None, :])
    # Each row has a distance 0, so that no exponential overflows and no sum vanishes.
    weights = jnp.exp(-apart / tau)
    return weights / weights.sum(axis=-1, keepdims=True)


def soft_sort(x: Float[Array, "... n"], tau: Scalar) -> Float[Array, "... n"]:
    """x in softly ascending order: P x, in O(n log^2 n).

    P is not formed.  Along the sorted values a weight is the product of the weights of the
    gaps in between, so that the sums over all values below, N and R, follow from the last:

        N_i  =  sum_{j <= i} w_ij  =  1 + w N_{i-1},      w = exp(-gap / tau)
        R_i  =  sum_{j <= i} w_ij (s_i - s_j)  =  w (R_{i-1} + gap N_{i-1})
    """
    check_positive("tau", tau, "in units of x")
    x = jnp.asarray(x, jnp.result_type(x, float))
    if x.shape[-1] < 2:
        return x
    s, _ = hard_sort(x.reshape(-1, x.shape[-1]).T)
    gap = jnp.diff(s, axis=0)
    far = gap >= 120.0 * tau  # where a weight is nothing, so are its derivatives
    w = jnp.where(far, 0.0, jnp.exp(-jnp.where(far, 0.0, gap) / tau))

    def next_(sums, neighbour):
        w, wg = neighbour
        N, R = 1.0 + w * sums[0], w * sums[1] + wg * sums[0]
        return (N, R), (N, R)

    first = (jnp.ones_like(s[0]), jnp.zeros_like(s[0]))
    gaps = (w, w * jnp.where(far, 0.0, gap))
    _, below = jax.lax.scan(next_, first, gaps)
    _, above = jax.lax.scan(next_, first, gaps, reverse=True)
    N, R = (jnp.concatenate([f[None], a]) for f, a in zip(first, below, strict=True))
    M, Q = (jnp.concatenate([a, f[None]]) for f, a in zip(first, above, strict=True))
    return (s + (Q - R) / (N + M - 1.0)).T.reshape(x.shape)


def soft_order(x: Float[Array, "... n"], tau: Scalar) -> Order:
    """Values, permutation and ranks of x in softly ascending order."""
    return order(soft_permutation(x, tau), x)


@pytree
class SoftSort:
    """What can be seen of the soft sort of `values` at a softness tau."""

    values: Float[Array, " n"] = knob((3.0, 1.0, 2.2, 0.0, 4.5), -1.0, 6.0)

    def __call__(self, tau: Float[Array, ""]) -> dict[str, Any]:
        p = soft_permutation(self.values, tau)
        error = jnp.abs(p @ self.values - jnp.sort(self.values)).max()
        return {"values": self.values, "sorted": p @ self.values, "error": error, "permutation": p}


def example() -> Sweep:
    """The soft sort of five values, walked from tau 0.01 to tau 10."""
    return sweep(SoftSort(), over=jnp.logspace(-2.0, 1.0, 41), name="tau")


@cache
def demo() -> Record:
    """The example, from hard to soft."""
    return run(example())


def _permutation(record: Record) -> Panel:
    row = int(np.argmin(np.abs(np.log(record["tau"] / 0.3))))  # neither hard nor blurred
    p, places = record["permutation"][row], np.arange(1, record["permutation"].shape[1] + 1)
    title = f"Soft permutation, tau {record['tau'][row]:.2g}"
    return Panel(title, [Raster(p, places, places, "share")], "input", "place")


views: list[View] = [
    drag("function.values", (-1.5, 6.5), y="value"),
    lines("sorted", over="tau", log_x=True, title="Soft order", x="softness tau", y="value"),
    _permutation,
]


def say(record: Record) -> str:
    """How far from sorted, in a sentence."""
    small, large = record["error"][0], record.last("error")
    softness = f"from {record['tau'][0]:.3g} to {record.last('tau'):.3g}"
    error = f"from {small:.3g} to {large:.3g}"
    return f"As tau goes {softness}, the distance to the hard sort goes {error}."


def claim(record: Record) -> Claim:
    """F004: the distance to the hard sort is below its bound, and has its limit.

    Two numbers: 1 where the distance is at most (n - 1) exp(-d / tau) times the range, at
    each tau; and its largest ratio to d exp(-d / tau) where that is small.
    """
    values, tau, error = record.last("values"), record["tau"], record["error"]
    gap, n = np.diff(np.sort(values)).min(), len(values)
    rounding = 1e-5 * np.abs(values).max()  # of float32 in a product of n terms
    below = error <= (n - 1) * np.exp(-gap / tau) * np.ptp(values) + rounding
    small = (np.exp(-gap / tau) > 1e-4) & (np.exp(-gap / tau) < 3e-3)
    ratios = error[small] / (gap * np.exp(-gap / tau[small]))
    seen = [below.mean(), ratios[np.argmax(np.abs(ratios - 1))] if len(ratios) else np.nan]
    # What the next gap adds, and rounding beside so small a distance, are below 5 %.
    sentence = "Share of tau where the distance is below its bound; distance / its limit"
    return Claim(seen, 1.0, 0.05, sentence, kind="exact")
