"""A column of at most k nonzeros, and the concave function whose supergradient it makes.

    t(s)       =  argmax <s, t> - tau/2 |t|^2     over t >= 0,  sum t = b,  |t|_0 <= k
    D_k(alpha) =  <alpha, a> - sum_j max (<alpha - C_:j, t> - tau/2 |t|^2)

Over one support t is the projection of s / tau on the simplex of mass b, and the support of the k
largest scores is the best: max(s / tau - theta, 0) on these.  It is the derivative of a convex
function of s.  At k = m it is continuous, of slope at most 1 / tau; below, where the scores of
ranks k and k + 1 tie, up to b / k of mass jumps from one to the other.

tau > 0 is in units of score per mass; (c s, c tau) has the same t.  With b = 1, k = m and tau = 1
it is sparsemax.  The derivative in s leaves the choice of the k entries as it is.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from labkit.errors import check_positive, refusal
from labkit.method import Scalar


Terms = tuple[Array, Array, Array]  # C [m, n], a [m], b [n]


def sparse_column(
    scores: Float[Array, "... m"], mass: Scalar, k: int | Array, tau: Scalar
) -> Float[Array, "... m"]:
    """argmax <scores, t> - tau/2 |t|^2 over t >= 0 of sum `mass` with at most k nonzeros.

    `mass` >= 0 is one number or [...]; k may be traced.  Of scores that tie the first is taken.
    """
    check_positive("tau", tau, "in units of score per mass")
    if isinstance(k, int) and k < 1:
        raise refusal("k", k, "a whole number, 1 or more")
    scores = jnp.asarray(scores, jnp.result_type(scores, float))
    if not scores.shape[-1]:
        return scores
    mass = jnp.broadcast_to(jnp.asarray(mass, scores.dtype), scores.shape[:-1])[..., None]
    above = scores - scores.max(axis=-1, keepdims=True)
    # Whatever is more than tau * mass below the top is 0; held there, nothing overflows.
    near = above / tau > -2.0 * mass
    u = jnp.where(near, jnp.where(near, above, 0.0) / tau, -2.0 * mass)
    order, count = jnp.argsort(-u, axis=-1), jnp.cumsum(jnp.ones_like(u), axis=-1)
    excess = jnp.cumsum(jnp.take_along_axis(u, order, axis=-1), axis=-1) - mass
    threshold = jnp.where(count <= k, excess / count, -jnp.inf).max(axis=-1, keepdims=True)
    return jnp.where(jnp.argsort(order, axis=-1) < k, jnp.maximum(u - threshold, 0.0), 0.0)


def semi_dual(
    alpha: Float[Array, " m"], terms: Terms, k: int | Array, tau: Scalar
) -> tuple[Float[Array, ""], Float[Array, "m n"]]:
    """D_k(alpha) and the columns T that attain it; a - T 1 is a supergradient."""
    cost, rows, columns = terms
    scores = alpha[:, None] - cost
    plan = sparse_column(scores.T, columns, k, tau).T
    return alpha @ rows - (scores * plan).sum() + tau / 2 * (plan**2).sum(), plan
