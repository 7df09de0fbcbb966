"""Sorting with gradients, by optimal transport of the inputs to the places.

    P = argmax  <rho, P x> + tau H(P)  over doubly stochastic P,        rho = 1, 2, ..., n

Without the entropy H this is the rearrangement inequality: the largest <rho, P x> is that of
the sorted values, so P is the permutation that sorts as tau goes to 0, whatever the values.
With it, P = exp(rho x' / tau + u 1' + 1 v'), by Sinkhorn's iteration.  Rows and columns both
sum to one, so that P x has the sum of x, and its range at most.  With smallest gap d, P x is
d exp(-d / (2 tau)) away from the sorted values in the limit: an exchange of two neighbours
is shared by two entries.  The smaller tau, the more iterations it takes.

Transport with squared costs (y_i - x_j)^2 / 2 to any even grid y = a + b rho, b > 0, is the
same problem with softness b tau: the squares are constant in rows or columns.  The paper
takes the grid 1/n, ..., 1 and costs without the half, so its epsilon is 2 tau / n; and before
that it squashes standardised x into (0, 1), which is another x, not another method.

Source: F023, Differentiable Ranks and Sorting Using Optimal Transport.
"""

from functools import cache
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.lax import stop_gradient
from jaxtyping import Array, Float

from labkit.claims import Claim
from labkit.errors import check_positive
from labkit.method import Scalar, knob, pytree, size
from labkit.record import Record
from labkit.relaxations import soft_sort
from labkit.relaxations.neural_sort import centred
from labkit.relaxations.order import Order, order
from labkit.run import run
from labkit.sweep import Sweep, sweep
from labkit.transport import marginal_error, sinkhorn
from labkit.views import Curve, Panel, View


def sinkhorn_permutation(
    x: Float[Array, "... n"], tau: Scalar, iterations: int = 100, *, implicit: bool = True
) -> Float[Array, "... n n"]:
    """P, doubly stochastic after enough iterations, with P x in softly ascending order.

    `tau` > 0 is in units of x.  Rows sum to 1 at once, columns in the end: see
    `labkit.transport.marginal_error`, and there also what `implicit` means.
    """
    check_positive("tau", tau, "in units of x")
    x = jnp.asarray(x, jnp.result_type(x, float))
    n = x.shape[-1]
    if not n:
        return jnp.zeros((*x.shape, 0), x.dtype)
    y, h = centred(x, about=jnp.median(x, axis=-1, keepdims=True))
    # Of a tau below the rounding of x only the rounding would be seen.
    rounding = jnp.finfo(x.dtype).eps * jnp.abs(stop_gradient(y)).max(axis=-1, keepdims=True)
    tau = jnp.maximum(tau / h, rounding)[..., None]
    places = jnp.arange(1 - n, n, 2, dtype=x.dtype) / 2  # rho less its mean
    scores = jnp.einsum("i,...j->...ij", places, y)
    return sinkhorn(scores, tau, iterations, implicit=implicit)


def sinkhorn_sort(
    x: Float[Array, "... n"], tau: Scalar, iterations: int = 100, *, implicit: bool = True
) -> Float[Array, "... n"]:
    """x in softly ascending order: P x."""
    return sinkhorn_order(x, tau, iterations, implicit=implicit).values


def sinkhorn_order(
    x: Float[Array, "... n"], tau: Scalar, iterations: int = 100, *, implicit: bool = True
) -> Order:
    """Values, permutation and ranks of x in softly ascending order."""
    return order(sinkhorn_permutation(x, tau, iterations, implicit=implicit), x)


@pytree
class SinkhornSort:
    """What can be seen of the sort of `values` by transport at a softness tau."""

    values: Float[Array, " n"] = knob((3.0, 1.0, 2.2, 0.0, 4.5), -1.0, 6.0)
    iterations: int = size(200, 1, 1000, about="of Sinkhorn")

    def __call__(self, tau: Float[Array, ""]) -> dict[str, Any]:
        soft = sinkhorn_order(self.values, tau, self.iterations)
        return {
            "values": self.values,
            "sorted": soft.values,
            "error": jnp.abs(soft.values - jnp.sort(self.values)).max(),
            "permutation": soft.permutation,
            "marginal_error": marginal_error(soft.permutation),
        }


def example() -> Sweep:
    """The sort of five values by transport, walked from tau 0.1 to tau 10."""
    return sweep(SinkhornSort(), over=jnp.logspace(-1.0, 1.0, 41), name="tau")


@cache
def demo() -> Record:
    """The example, from nearly hard to soft."""
    return run(example())


def _lacking(record: Record) -> Panel:
    lacks = np.maximum(record["marginal_error"], 1e-8)  # nothing is seen of less in float32
    curve = Curve(record["tau"], lacks, "marginal error", "sinkhorn")
    return Panel("Error of a column sum", [curve], "softness tau", "largest error", True, True)


views: list[View] = [*soft_sort.views, _lacking]


def say(record: Record) -> str:
    """How far from sorted and from doubly stochastic, in a sentence."""
    small, large = record["error"][0], record.last("error")
    softness = f"from {record['tau'][0]:.3g} to {record.last('tau'):.3g}"
    head = f"As tau goes {softness}, the distance to the hard sort goes from {small:.3g} to"
    lacks = record["marginal_error"].max()
    return f"{head} {large:.3g}; the sums of columns are up to {lacks:.2g} off."


def claim(record: Record) -> Claim:
    """F023: P is the optimum of the transport, at every tau.

    Three numbers, each 1 at the worst tau: the sum of a column; tau log(p_ij p_kl / p_il p_kj)
    over x_j - x_l, for neighbours i = k + 1, j and l in order, which says P = exp(rho x' / tau
    + u 1' + 1 v'); and whether <rho, P x> is at most tau n log n below that of the sorted values.
    """
    tau, n = record["tau"], record["permutation"].shape[1]
    places, order = np.arange(1, n + 1), np.argsort(record.last("values"), kind="stable")
    x, p = record.last("values")[order], record["permutation"][:, :, order].astype(float)
    sums = p.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.diff(np.diff(np.log(p), axis=1), axis=2) * tau[:, None, None] / np.diff(x)
    slopes = logs[np.isfinite(logs)]  # no entry of the four is 0
    lost = places @ x - record["sorted"] @ places
    below = (lost >= -1e-5 * n * places @ np.abs(x)) & (lost <= tau * n * np.log(n))
    farthest = lambda seen: seen.flat[np.argmax(np.abs(seen - 1))] if seen.size else np.nan
    # The iteration is not quite done at the smallest tau: columns are off by some 0.005.
    sentence = "Column sums; logarithms of P against x / tau; share of tau within tau n log n"
    seen = [farthest(sums), farthest(slopes), below.mean()]
    return Claim(seen, 1.0, 0.01, sentence, kind="exact")
