"""The tightest convex function below "half the squared norm, with at most k groups".

    F(x)    =  1/2 sum_j d_j |x_j|^2   where at most k groups x_j are not 0, infinity elsewhere
    F*(y)   =  1/2  the sum of the k largest |y_j|^2 / d_j
    S_k(x)  =  F**(x)  =  min  1/2 sum_j d_j |x_j|^2 / eta_j    over 0 <= eta <= 1, sum eta <= k

With d = 1 it is (sum |x_j|)^2 / 2 at k = 1 and |x|^2 / 2 at k = J; between, half the squared
k-support norm.  k need not be whole.  Shares eta are the same in the proximal map

    argmin  1/2 |x - v|^2 + lam S_k(x)  =  v_j eta_j / (eta_j + lam d_j),
    eta_j   =  clip(sqrt(d_j) |v_j| t - lam d_j, 0, 1),        sum eta = k

whose sum is a line between its breaks in t, and so found exactly.  (lam = 0 gives those of S_k.)
Where k or fewer groups are not 0, all of theirs are 1.  With d = 1 and whole k exactly k groups
stay if and only if  |v|_(k) / |v|_(k+1)  >=  1 + 1 / lam: a gap is needed, and a small one will
not do at small lam.

Source: Argyriou, Foygel and Srebro 2012 (k-support norm); the weights stand as in F.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from labkit.errors import check_positive
from labkit.method import Scalar


Weights = Array | float  # d, above 0: one number, or one for each group


def conjugate(norms: Float[Array, "... J"], k: Scalar, d: Weights = 1.0) -> Float[Array, "..."]:
    """F*(y) of the norms |y_j|: half the sum of the k largest |y_j|^2 / d_j."""
    _check(k, d)
    squares = -jnp.sort(-(norms**2) / jnp.broadcast_to(d, norms.shape), axis=-1)
    place = jnp.cumsum(jnp.ones_like(squares), axis=-1)
    return 0.5 * (jnp.clip(k + 1.0 - place, 0.0, 1.0) * squares).sum(axis=-1)


def envelope(norms: Float[Array, "... J"], k: Scalar, d: Weights = 1.0) -> Float[Array, "..."]:
    """S_k of the norms |x_j|.  Its derivative, where it has one, is d_j |x_j| / eta_j."""
    _check(k, d)
    d = jnp.broadcast_to(jnp.asarray(d, norms.dtype), norms.shape)
    # At the best eta the derivative in eta counts for nothing.
    eta = jax.lax.stop_gradient(_shares(norms, k, jnp.zeros_like(d), d))
    some = eta > 0
    return 0.5 * jnp.where(some, d * norms**2 / jnp.where(some, eta, 1.0), 0.0).sum(axis=-1)


def shares(
    norms: Float[Array, "... J"], k: Scalar, lam: Scalar, d: Weights = 1.0
) -> Float[Array, "... J"]:
    """eta of the proximal map at groups of these norms; 0 for a group that is 0."""
    _check(k, d)
    check_positive("lam", lam, "the weight of the envelope beside half a squared distance")
    d = jnp.broadcast_to(jnp.asarray(d, norms.dtype), norms.shape)
    return _shares(norms, k, lam * d, d)


def prox(
    v: Float[Array, "... J size"], k: Scalar, lam: Scalar, d: Weights = 1.0
) -> Float[Array, "... J size"]:
    """argmin 1/2 |x - v|^2 + lam S_k(x), group by group; a row is a group."""
    norms = jnp.linalg.norm(v, axis=-1)
    eta = shares(norms, k, lam, d)
    return v * (eta / (eta + lam * jnp.broadcast_to(d, norms.shape)))[..., None]


def _shares(norms: Array, k: Scalar, shift: Array, d: Array) -> Array:
    """clip(sqrt(d) z t - shift, 0, 1) with sum k, or with all that can be where that is less."""
    u = jnp.sqrt(d) * norms
    u = u / jnp.maximum(u.max(axis=-1, keepdims=True), jnp.finfo(u.dtype).tiny)
    some = u > 0
    divided = lambda a: jnp.where(some, a / jnp.where(some, u, 1.0), 0.0)
    breaks = jnp.sort(jnp.concatenate([divided(shift), divided(1.0 + shift)], axis=-1), axis=-1)
    at = lambda index: jnp.take_along_axis(breaks, index, axis=-1)
    total = lambda t: jnp.clip(u * t - shift, 0.0, 1.0).sum(axis=-1, keepdims=True)

    # Between two breaks the sum may stay k: then the first will do.  At the second a group that
    # is to be 0 is so only up to rounding.
    nearly = k * (1.0 - 4.0 * u.shape[-1] * float(jnp.finfo(u.dtype).eps))

    def halve(_, bounds):
        low, high = bounds
        middle = (low + high) // 2
        enough = total(at(middle)) >= nearly
        return jnp.where(enough, low, middle + 1), jnp.where(enough, middle, high)

    last = breaks.shape[-1] - 1
    first = jnp.zeros_like(u[..., :1], jnp.int32)
    _, place = jax.lax.fori_loop(0, last.bit_length(), halve, (first, first + last))
    left, right = at(jnp.maximum(place - 1, 0)), at(place)
    has, span = total(left), total(right) - total(left)
    part = jnp.clip((k - has) / jnp.where(span > 0, span, 1.0), 0.0, 1.0)
    return jnp.clip(u * (left + (right - left) * part) - shift, 0.0, 1.0)


def _check(k: Scalar, d: Weights) -> None:
    check_positive("k", k, "the number of groups")
    check_positive("d", d, "the weights of the groups")
