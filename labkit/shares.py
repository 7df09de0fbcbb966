"""What the soft choices among n items have in common: scores, shares, and one derivative.

With v = s / tau the scores in units of the softness, each of them makes shares p of a fixed
total, whose derivative is

    dp = q (dv - <q, dv> / sum q)

with weights q >= 0 of its own.  Entmax needs exponential and logarithm of a power,

    exp_e(y) = [1 + e y]_+ ^ (1 / e),        log_e(x) = (x^e - 1) / e

which are the usual ones at e = 0.
"""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float

from labkit.errors import check_positive
from labkit.method import Scalar


def prepared(scores: Float[Array, "... n"], tau: Scalar) -> tuple[Array, Array]:
    """Scores and tau in one floating dtype.  Raises ValueError when tau is not above 0."""
    check_positive("tau", tau, "in units of the scores")
    scores = jnp.asarray(scores, jnp.result_type(scores, float))
    # What is smaller counts as 0 in a product, and 0 / 0 is no number.
    return scores, jnp.maximum(jnp.asarray(tau, scores.dtype), jnp.finfo(scores.dtype).tiny)


def relative(
    scores: Float[Array, "... n"], tau: Scalar, to: Float[Array, "... 1"] | None = None
) -> Float[Array, "... n"]:
    """Scores in units of tau, from the largest of them or from `to`.

    What would overflow is held finite: no choice tells it from infinity.
    """
    to = scores.max(axis=-1, keepdims=True, initial=-jnp.inf) if to is None else to
    most = float(jnp.finfo(scores.dtype).max) / 8
    return jnp.clip((scores - to) / tau, -most, most)


def keep_total(q: Float[Array, "... n"], change: Float[Array, "... n"]) -> Float[Array, "... n"]:
    """q (change - <q, change> / sum q): what moves when the sum of the shares may not."""
    if not q.shape[-1]:
        return q
    # Where q is 0 nothing moves, whatever the change: it may have overflowed there.
    change = jnp.where(q > 0, change, 0.0)
    # From the change of the largest share: what it gives to small ones keeps its digits.
    top = jnp.argmax(q, axis=-1, keepdims=True)
    change = change - jnp.take_along_axis(change, top, axis=-1)
    total = q.sum(axis=-1, keepdims=True)
    mean = (q * change).sum(axis=-1, keepdims=True) / jnp.where(total > 0, total, 1.0)
    return q * (change - mean)


def power_exp(y: Array, e: Array) -> Array:
    """[1 + e y]_+ ^ (1 / e), which is exp(y) at e = 0."""
    small = e < 1e-12  # far below rounding: e y^2 / 2 is what is left out
    power = jnp.log1p(jnp.maximum(e * y, -1.0)) / jnp.where(small, 1.0, e)
    return jnp.exp(jnp.where(small, y, power))


def power_log(log_x: Array, e: Array) -> Array:
    """(x^e - 1) / e, which is log x at e = 0."""
    small = e < 1e-12
    return jnp.where(small, log_x, jnp.expm1(e * log_x) / jnp.where(small, 1.0, e))


def power_log_slope(log_x: Array, e: Array) -> Array:
    """The derivative of (x^e - 1) / e in e; log(x)^2 / 2 at e = 0."""
    y = e * log_x
    near = jnp.abs(y) < 0.1  # where the difference would lose its digits
    far = jnp.where(near, 1.0, y)
    series = sum(y**k / (math.factorial(k) * (k + 2)) for k in range(8))
    return log_x**2 * jnp.where(near, series, (1.0 + (far - 1.0) * jnp.exp(far)) / far**2)
