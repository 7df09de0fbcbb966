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

import jax.numpy as jnp
from jax.lax import stop_gradient
from jaxtyping import Array, Float

from labkit.errors import check_positive
from labkit.method import Scalar
from labkit.relaxations.neural_sort import centred
from labkit.relaxations.order import Order, order
from labkit.transport import sinkhorn


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
