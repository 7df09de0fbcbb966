"""Pooling that leaves clutter out: weights from a transport of part of the mass.

n features of mass 1 / n each may go to m prototypes at costs c_ij, and the share mu of the
mass has to; what stays behind of feature j is rho_j.

    min  <c, pi> + tau sum pi (log pi - 1) + tau sum rho (log rho - 1)    over pi, rho >= 0,
         sum_i pi_ij + rho_j = 1 / n,     sum_ij pi_ij = mu

With K = exp(-c / tau), k_j = sum_i K_ij and s_j = sigma(u + log k_j), one number u decides:

    mean_j s_j = mu,   pi_ij = (s_j / n) K_ij / k_j,   rho_j = (1 - s_j) / n,   w_j = s_j / (n mu)

and the bag is pooled to sum_j w_j f_j.  tau > 0 is in units of the costs: as it goes to 0, the
n mu cheapest features share the weight.  At mu = 1 all have the same: average pooling.

The released code (tau = 1 / 20) starts at rho = 1 / n and makes 100 rounds of

    v  <-  mu / sum_j rho_j k_j,      rho_j  <-  (1 / n) / (1 + v k_j),         u = log v

each of which keeps the share r = sum s^2 / sum s >= mu of the error in u.  Here Newton's
method within a bracket finds u, and the derivative has a closed form, q_j = s_j (1 - s_j):

    ds  =  q dlog k + (n dmu - <q, dlog k>) q / sum q

Look at the mass that the rounds move, and at the error of their unrolled derivative.

Source: S041, Generalized Sum Pooling for Metric Learning.
"""

from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.nn import log_sigmoid, logsumexp, sigmoid, softmax
from jaxtyping import Array, Bool, Float

from labkit.claims import Claim
from labkit.errors import check_positive, refusal
from labkit.method import Scalar, knob, method
from labkit.record import Record
from labkit.relaxations import bags
from labkit.relaxations.pair_losses import unit
from labkit.run import run
from labkit.views import Image, Panel, View, lines


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
    scaled, log_k = _scaled(cost, mu, tau)
    moved, left = _split(log_k, jnp.asarray(mu, log_k.dtype))
    n = log_k.shape[-1]
    plan = moved[..., None, :] / n * softmax(scaled, axis=-2)
    return Transport(moved / (n * mu), plan, left / n)


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
    log_k = _scaled(cost, mu, tau)[1]
    u = jnp.full(log_k.shape[:-1], -jnp.inf, log_k.dtype)  # rho = 1 / n
    u = jax.lax.fori_loop(0, rounds, lambda _, u: released_round(u, log_k, mu), u)
    return sigmoid(u[..., None] + log_k) / (log_k.shape[-1] * mu)


def released_round(u: Float[Array, "..."], log_k: Weights, mu: Scalar) -> Float[Array, "..."]:
    """log v after one round of the released iteration, from log v = u."""
    log_left = log_sigmoid(-(u[..., None] + log_k))  # log n rho
    return jnp.log(mu * log_k.shape[-1]) - logsumexp(log_left + log_k, axis=-1)


class Bracket(NamedTuple):
    """What Newton's method knows: u is between `low` and `high`."""

    u: Float[Array, "..."]
    low: Float[Array, "..."]
    high: Float[Array, "..."]
    step: Float[Array, "..."]  # the last one


def bracket(log_k: Weights, mu: Scalar) -> Bracket:
    """All s would be above mu, or below it, outside of the first one."""
    odds = jnp.log(mu) - jnp.log1p(-jnp.asarray(mu))
    low, high = odds - log_k.max(axis=-1), odds - log_k.min(axis=-1)
    return Bracket(odds - log_k.mean(axis=-1), low, high, high - low)


def newton_round(at: Bracket, log_k: Weights, mu: Scalar) -> Bracket:
    """One step on log odds of the mean of s, or half of the bracket where that is the better.

    The log odds are those of mu; were all log k equal, they would be linear in u.  Newton's
    step is taken where it stays in the bracket and is at most half of the last one.
    """
    s, rest = sigmoid(at.u[..., None] + log_k), sigmoid(-at.u[..., None] - log_k)
    mean, other = s.mean(axis=-1), rest.mean(axis=-1)
    excess = jnp.log(mean) - jnp.log(other) - (jnp.log(mu) - jnp.log1p(-jnp.asarray(mu)))
    low = jnp.where(excess > 0, at.low, at.u)
    high = jnp.where(excess > 0, at.u, at.high)
    slope = (s * rest).mean(axis=-1) / (mean * other)
    step = -excess / jnp.where(slope > 0, slope, 1.0)
    fine = (slope > 0) & (at.u + step >= low) & (at.u + step <= high)
    fine &= jnp.abs(step) <= 0.5 * jnp.abs(at.step)
    u = jnp.where(fine, at.u + step, 0.5 * (low + high))
    return Bracket(jnp.where(excess == 0, at.u, u), low, high, u - at.u)
