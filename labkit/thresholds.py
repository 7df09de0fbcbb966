"""Shares under a common threshold that sees to their sum.

    p_i = f((s_i - t) / tau),     sum p = k,     0 < k < n

The sum is right where the n - k smaller scores have as much as the k largest lack: written
so, no digits are lost in 1 - p.  The threshold follows the scores, dt / ds_i = w_i / sum w
with w = f', and so

    dp = w (dv - <w, dv> / sum w),     v = s / tau
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.nn import log_sigmoid, logsumexp, sigmoid
from jaxtyping import Array, Float

from labkit.method import Scalar
from labkit.shares import keep_total, relative


@partial(jax.custom_jvp, nondiff_argnums=(2,))
def capped(scores: Float[Array, "... n"], tau: Scalar, k: int) -> Float[Array, "... n"]:
    """clip((s - t) / tau, 0, 1) with sum k, exactly: the sum is a line between its breaks."""
    z, top, others = _split(scores, tau, k)
    breaks = jnp.sort(jnp.concatenate([z, z - 1.0], axis=-1), axis=-1)
    clip = lambda x: jnp.clip(x, 0.0, 1.0).sum(axis=-1, keepdims=True)
    at = lambda index: jnp.take_along_axis(breaks, index, axis=-1)
    left_over = lambda t: clip(others - t) - clip(1.0 - (top - t))

    def halve(_, bounds):
        low, high = bounds
        middle = (low + high) // 2
        left = left_over(at(middle)) >= 0.0
        return jnp.where(left, middle, low), jnp.where(left, high, middle)

    first = jnp.zeros_like(z[..., :1], jnp.int32)
    count = breaks.shape[-1]
    low, high = jax.lax.fori_loop(0, count.bit_length(), halve, (first, first + count - 1))
    left, right, rest = at(low), at(high), left_over(at(low))
    t = left + (right - left) * (rest / (rest - left_over(right)))
    return jnp.clip(z - t, 0.0, 1.0)


@capped.defjvp
def _capped_jvp(k, primals, tangents):
    p = capped(*primals, k)
    w = ((p > 0) & (p < 1)).astype(p.dtype)
    return p, keep_total(w, _change(primals, tangents, k))


@partial(jax.custom_jvp, nondiff_argnums=(2,))
def logistic(
    scores: Float[Array, "... n"], tau: Scalar, k: int
) -> tuple[Float[Array, "... n"], Float[Array, "... n"]]:
    """p = sigma((s - t) / tau) with sum k, and 1 - p with all its digits."""
    y = _beyond(scores, tau, k)
    return sigmoid(y), sigmoid(-y)


@logistic.defjvp
def _logistic_jvp(k, primals, tangents):
    p, rest = logistic(*primals, k)
    dp = keep_total(p * rest, _change(primals, tangents, k))
    return (p, rest), (dp, -dp)


def _split(scores: Array, tau: Scalar, k: int) -> tuple[Array, Array, Array]:
    """Scores in units of tau from the k-th largest; the top k of them; and the others."""
    order = jnp.sort(scores, axis=-1)
    place = scores.shape[-1] - k
    kth = order[..., place : place + 1]
    above, below = order[..., place:], order[..., :place]
    z, top, others = (relative(s, tau, to=kth) for s in (scores, above, below))
    return z, top, others


def _change(primals, tangents, k: int) -> Array:
    """dv, up to what is the same for all items."""
    (scores, tau), (ds, dtau) = primals, tangents
    return (ds - _split(scores, tau, k)[0] * dtau) / tau


def _beyond(scores: Array, tau: Scalar, k: int) -> Array:
    """(s - t) / tau, with the t at which the others have as much as the top k lack."""
    z, top, others = _split(scores, tau, k)
    both = partial(jnp.sum, axis=-1, keepdims=True)

    def narrow(_, bounds):
        low, high, t = bounds
        # In logarithms: no share is too small to be seen.  Newton's step, or half the way.
        has, lack = log_sigmoid(others - t), log_sigmoid(t - top)
        log_sum = partial(logsumexp, axis=-1, keepdims=True)
        more = log_sum(has) - log_sum(lack)
        low, high = jnp.where(more >= 0, t, low), jnp.where(more >= 0, high, t)
        slope = both(jax.nn.softmax(has) * sigmoid(t - others))
        slope += both(jax.nn.softmax(lack) * sigmoid(top - t))
        newton = t + more / slope
        inside = (newton >= low) & (newton <= high)
        return low, high, jnp.where(inside, newton, low / 2 + high / 2)

    # Below `low` the k + 1 largest alone have more than k; above `high` all have less.
    low = others[..., -1:] - np.log(k)
    high = jnp.zeros_like(low) + np.log(others.shape[-1])
    *_, t = jax.lax.fori_loop(0, 30, narrow, (low, high, low / 2 + high / 2))
    return z - t
