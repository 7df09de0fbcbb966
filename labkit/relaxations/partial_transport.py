"""Transport of a part of the mass: which features go, and a derivative in closed form.

n features of mass 1 / n each may go to m prototypes at costs c_ij, and the share mu of the
mass has to; what stays behind of feature j is rho_j.

    min  <c, pi> + tau sum pi (log pi - 1) + tau sum rho (log rho - 1)    over pi, rho >= 0,
         sum_i pi_ij + rho_j = 1 / n,     sum_ij pi_ij = mu

With K = exp(-c / tau), k_j = sum_i K_ij and s_j = sigma(u + log k_j), one number u decides:

    mean_j s_j = mu,   pi_ij = (s_j / n) K_ij / k_j,   rho_j = (1 - s_j) / n,   w_j = s_j / (n mu)

tau > 0 is in units of the costs.  As it goes to 0, the n mu cheapest features share the
weights w; at mu = 1 all have the same.  Newton's method within a bracket finds u.  Derivatives
do not go through it: with q_j = s_j (1 - s_j)

    ds  =  q dlog k + (n dmu - <q, dlog k>) q / sum q

`released_round` is one round of the iteration of the paper's code, for comparison.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.nn import log_sigmoid, logsumexp, sigmoid, softmax
from jaxtyping import Array, Float

from labkit.errors import check_positive, refusal
from labkit.method import Scalar
from labkit.relaxations.pair_losses import unit


MOST = 300  # rounds of the search: halving alone needs fewer, in any precision
Costs = Float[Array, "... m n"]
Weights = Float[Array, "... n"]


class Transport(NamedTuple):
    """Who goes where; each feature has mass 1 / n."""

    weights: Weights  # w, of sum 1
    plan: Costs  # pi, of sum mu
    residual: Weights  # rho, of sum 1 - mu


def costs(features: Float[Array, "... n d"], prototypes: Float[Array, "m d"]) -> Costs:
    """Squared distances of unit vectors, 2 - 2 cos: from 0 to 4; for a zero feature 2."""
    return 2.0 - 2.0 * jnp.einsum("id,...jd->...ij", unit(prototypes), unit(features))


def transport(cost: Costs, mu: Scalar, tau: Scalar) -> Transport:
    """The share `mu` in (0, 1] of the mass of n features, moved to m prototypes."""
    _check(cost, mu, tau)
    return _transport(cost, mu, tau)


def pool(
    features: Float[Array, "... n d"], prototypes: Float[Array, "m d"], mu: Scalar, tau: Scalar
) -> Float[Array, "... d"]:
    """sum_j w_j f_j: the features themselves, with weights from their directions."""
    weights = transport(costs(features, prototypes), mu, tau).weights
    return jnp.einsum("...j,...jd->...d", weights, features)


def released_weights(cost: Costs, mu: Scalar, tau: Scalar, rounds: int = 100) -> Weights:
    """The weights after `rounds` of the released iteration, which a derivative goes through.

    The iteration is that of the code, in the log domain, where K cannot vanish.
    """
    log_k = scaled_costs(cost, mu, tau)[1]
    one = lambda _, u: released_round(u, log_k, mu)
    u = jax.lax.fori_loop(0, rounds, one, released_start(log_k))
    return sigmoid(u[..., None] + log_k) / (log_k.shape[-1] * mu)


def released_start(log_k: Weights) -> Float[Array, "..."]:
    """A log v so low that nothing goes, to rounding: rho = 1 / n."""
    return jax.lax.stop_gradient(-log_k.max(axis=-1) - 100.0)


def released_round(u: Float[Array, "..."], log_k: Weights, mu: Scalar) -> Float[Array, "..."]:
    """log v after one round of the released iteration, from log v = u."""
    log_left = log_sigmoid(-(u[..., None] + log_k))  # log n rho
    return jnp.log(mu * log_k.shape[-1]) - logsumexp(log_left + log_k, axis=-1)


class Bracket(NamedTuple):
    """What the search for u knows: it is between `low` and `high`."""

    u: Float[Array, "..."]
    low: Float[Array, "..."]
    high: Float[Array, "..."]
    step: Float[Array, "..."]  # the last one


def bracket(log_k: Weights, mu: Scalar) -> Bracket:
    """Outside of it, all s are below mu or all above.  Equal log k are solved at once."""
    odds = _target(mu, log_k.dtype)
    low, high = odds - log_k.max(axis=-1), odds - log_k.min(axis=-1)
    return Bracket(odds - log_k.mean(axis=-1), low, high, high - low)


def newton_round(at: Bracket, log_k: Weights, mu: Scalar) -> Bracket:
    """A step of Newton's method on the log odds of mean s, which rise by at most 1 with u.

    It is taken where it stays in the bracket and is at most half of the last one; elsewhere
    the bracket is halved.
    """
    s, rest = sigmoid(at.u[..., None] + log_k), sigmoid(-at.u[..., None] - log_k)
    mean, other = s.mean(axis=-1), rest.mean(axis=-1)
    excess = jnp.log(mean) - jnp.log(other) - _target(mu, log_k.dtype)
    low, high = jnp.where(excess > 0, at.low, at.u), jnp.where(excess > 0, at.u, at.high)
    slope = (s * rest).mean(axis=-1) / (mean * other)
    step = -excess / jnp.where(slope > 0, slope, 1.0)
    fine = (slope > 0) & (at.u + step >= low) & (at.u + step <= high)
    fine &= jnp.abs(step) <= 0.5 * jnp.abs(at.step)
    u = jnp.where(fine, at.u + step, 0.5 * (low + high))
    u = jnp.where(excess == 0, at.u, u)
    return Bracket(u, low, high, u - at.u)


@jax.custom_jvp
def split(log_k: Weights, mu: Float[Array, ""]) -> tuple[Weights, Weights]:
    """s and 1 - s, each to full precision: the parts of a feature that go and that stay.

    The derivative is given as a forward rule, `custom_jvp`: it is linear in what it is
    applied to, so that JAX makes the backward one of it, and second derivatives too.
    """
    far = lambda at: jnp.abs(at.step) > jnp.finfo(log_k.dtype).eps * (1.0 + jnp.abs(at.u))
    going = lambda now: far(now[1]).any() & (now[0] < MOST)
    one = lambda now: (now[0] + 1, newton_round(now[1], log_k, mu))
    u = jax.lax.while_loop(going, one, (0, bracket(log_k, mu)))[1].u
    return sigmoid(u[..., None] + log_k), sigmoid(-u[..., None] - log_k)


@split.defjvp
def _derivative(primals, tangents):
    (log_k, mu), (dlog_k, dmu) = primals, tangents
    s, rest = split(log_k, mu)
    q = s * rest
    total = q.sum(axis=-1, keepdims=True)
    share = q / jnp.where(total > 0, total, 1.0)  # all hard: nothing moves
    ds = q * dlog_k + (q.shape[-1] * dmu - (q * dlog_k).sum(axis=-1, keepdims=True)) * share
    return (s, rest), (ds, -ds)


def _target(mu: Scalar, dtype: np.dtype) -> Float[Array, ""]:
    """The log odds of mu; at 1, where u would be infinite, those of the number below."""
    mu = jnp.clip(jnp.asarray(mu, dtype), None, 1.0 - jnp.finfo(dtype).eps)
    return jnp.log(mu) - jnp.log1p(-mu)


def scaled_costs(cost: Costs, mu: Scalar, tau: Scalar) -> tuple[Costs, Weights]:
    """-c / tau with its largest entry 0, and log k less that of the feature at the border.

    At the border, that many features from the cheapest one, u is found: near 0 then, where
    floating point has room, however small tau.  Both shifts change u alone.
    """
    _check(cost, mu, tau)
    cost = jnp.asarray(cost, jnp.result_type(cost, float))
    n = cost.shape[-1]
    if not n:
        return cost, cost.sum(axis=-2)
    least = jax.lax.stop_gradient(cost.min(axis=(-2, -1), keepdims=True))
    held = float(jnp.finfo(cost.dtype).max) ** 0.75 * jax.lax.stop_gradient(tau)
    scaled = -jnp.minimum(cost - least, held) / tau
    log_k = logsumexp(scaled, axis=-2)
    place = n - 1 - jnp.clip(jnp.floor(n * jnp.asarray(mu)).astype(int), 0, n - 1)
    border = jnp.take(jnp.sort(jax.lax.stop_gradient(log_k), axis=-1), place, axis=-1)
    return scaled, log_k - border[..., None]


@jax.jit
def _transport(cost: Costs, mu: Scalar, tau: Scalar) -> Transport:
    scaled, log_k = scaled_costs(cost, mu, tau)
    if not log_k.size:
        return Transport(log_k, scaled, log_k)
    moved, left = split(log_k, jnp.asarray(mu, log_k.dtype))
    n = log_k.shape[-1]
    plan = moved[..., None, :] / n * softmax(scaled, axis=-2)
    return Transport(moved / (n * mu), plan, left / n)


def _check(cost: Costs, mu: Scalar, tau: Scalar) -> None:
    check_positive("tau", tau, "in units of the costs")
    if not isinstance(mu, Tracer) and not 0.0 < float(mu) <= 1.0:
        raise refusal("mu", mu, "a share of the mass above 0, at most 1")
    if not np.shape(cost)[-2]:
        raise refusal("number of prototypes", 0, "1 or more")
