"""Choosing with gradients, and with exact zeros: sparsemax and entmax.

    sparsemax:  p = [v - theta]_+,                                 v = s / tau,  sum p = 1
    entmax:     p = [(alpha - 1) v - theta]_+ ^ (1 / (alpha - 1)),   1 <= alpha <= 2

Sparsemax is the point of the simplex nearest to v.  Entmax is softmax at alpha 1, sparsemax
at alpha 2, and between them for other alpha.  Above alpha 1 only some items have a share, the
support; the rest have exactly none.  The derivative is that of `softmax` with another q:

    dp = q (dv - <q, dv> / sum q),         q = p^(2 - alpha) on the support, 0 outside

What to look for: sparsemax is the hard choice from tau = the gap of the two largest scores
down, not only in the limit; and from there on its gradient is exactly zero.  It is zero, at
any tau, for each item outside the support.

Source: F019, From Softmax to Sparsemax: A Sparse Model of Attention and Multi-Label Classification.
(Entmax: Peters, Niculae and Martins 2019; its derivative in alpha: Correia et al. 2019.)
"""

import math
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from labkit.claims import Claim
from labkit.errors import refusal
from labkit.method import Scalar, knob, pytree
from labkit.record import Record
from labkit.relaxations.softmax import dragged, items, softmax
from labkit.run import run
from labkit.shares import keep_total, power_exp, power_log, power_log_slope, prepared, relative
from labkit.sweep import Sweep, sweep
from labkit.views import View, lines


def sparsemax(scores: Float[Array, "... n"], tau: Scalar) -> Float[Array, "... n"]:
    """The point of the simplex nearest to scores / tau, by sorting.

    `tau` > 0 is in units of the scores.
    """
    return _sparsemax(*prepared(scores, tau))


def entmax(scores: Float[Array, "... n"], tau: Scalar, alpha: Scalar) -> Float[Array, "... n"]:
    """Shares between those of softmax, `alpha` = 1, and of sparsemax, `alpha` = 2.

    `tau` > 0 is in units of the scores.  It has a derivative in alpha too.
    """
    if not isinstance(alpha, Tracer) and not 1 <= alpha <= 2:
        # Beyond 2, a share leaves zero with an infinite slope.
        raise refusal("alpha", alpha, "a number from 1 (softmax) to 2 (sparsemax)")
    scores, tau = prepared(scores, tau)
    return _entmax(scores, tau, jnp.asarray(alpha, scores.dtype))


@jax.custom_jvp
def _sparsemax(scores, tau):
    if not scores.shape[-1]:
        return scores
    # The largest is 0, so that theta is at least -1 and nothing below has a share.
    v = jnp.maximum(relative(scores, tau), -1.0)
    down = -jnp.sort(-v, axis=-1)
    total, count = jnp.cumsum(down, axis=-1), jnp.cumsum(jnp.ones_like(v), axis=-1)
    support = (1.0 + count * down > total).sum(axis=-1, keepdims=True)
    theta = (jnp.take_along_axis(total, support - 1, axis=-1) - 1.0) / support
    return jnp.maximum(v - theta, 0.0)


@_sparsemax.defjvp
def _sparsemax_jvp(primals, tangents):
    (scores, tau), (ds, dtau) = primals, tangents
    p = _sparsemax(scores, tau)
    q = (p > 0).astype(p.dtype)
    return p, keep_total(q, (ds - relative(scores, tau) * dtau) / tau)


@jax.custom_jvp
def _entmax(scores, tau, alpha):
    # p = [1 + e (v - c)]_+ ^ (1 / e), which is exp(v - c) at e = 0.  What falls as c grows is
    # the sum of p, from at least 1 at c = 0 to at most 1 where all p are below 1 / n.
    v, e, n = relative(scores, tau), alpha - 1.0, max(scores.shape[-1], 1)
    zero = jnp.zeros_like(v[..., :1])
    most = -power_log(jnp.asarray(-math.log(n), v.dtype), e)

    def narrow(_, bounds):
        low, high = bounds
        # The sum to the power e is convex in c: Newton's step from the left stays there.
        p = power_exp(v - low, e)
        total, slope = p.sum(axis=-1, keepdims=True), _weights(p, alpha).sum(-1, keepdims=True)
        step = power_log(jnp.log(total), e) * total ** (1.0 - e) / slope
        low = jnp.clip(low + step, low, high)
        middle = (low + high) / 2
        left = power_exp(v - middle, e).sum(axis=-1, keepdims=True) >= 1.0
        return jnp.where(left, middle, low), jnp.where(left, high, middle)

    c, _ = jax.lax.fori_loop(0, 24, narrow, (zero, zero + most))
    p = power_exp(v - c, e)
    return p / p.sum(axis=-1, keepdims=True)


@_entmax.defjvp
def _entmax_jvp(primals, tangents):
    (scores, tau, alpha), (ds, dtau, dalpha) = primals, tangents
    p = _entmax(scores, tau, alpha)
    # In alpha: (p^e - 1) / e = v - c, so that dp = q (dv - m dalpha - dc) with m the
    # derivative of the left side in e.
    log_p = jnp.log(jnp.where(p > 0, p, 1.0))
    m = power_log_slope(log_p, alpha - 1.0)
    dv = (ds - relative(scores, tau) * dtau) / tau
    return p, keep_total(_weights(p, alpha), dv - m * dalpha)


def _weights(p: Array, alpha: Scalar) -> Array:
    """q = p^(2 - alpha) on the support, 0 outside."""
    return jnp.where(p > 0, jnp.where(p > 0, p, 1.0) ** (2.0 - alpha), 0.0)


@pytree
class Entmax:
    """Softmax, entmax and sparsemax of the same `scores` at a softness tau."""

    scores: Float[Array, " n"] = knob((3.0, 1.0, 2.2, 0.0, 4.5), -1.0, 6.0)
    alpha: float = knob(1.5, 1.0, 2.0, within=(1.0, 2.0), about="1: softmax, 2: sparsemax")

    def __call__(self, tau: Float[Array, ""]) -> dict[str, Any]:
        shares = {
            "softmax": softmax(self.scores, tau),
            "entmax": entmax(self.scores, tau, self.alpha),
            "sparsemax": sparsemax(self.scores, tau),
        }
        support = {f"{name}_support": jnp.sum(p > 0) for name, p in shares.items()}
        return {"scores": self.scores, "alpha": jnp.asarray(self.alpha), **shares, **support}


def example() -> Sweep:
    """The three choices of five scores, walked from tau 0.1 to tau 10."""
    return sweep(Entmax(), over=jnp.logspace(-1.0, 1.0, 61), name="tau")


@cache
def demo() -> Record:
    """The example, from hard to soft."""
    return run(example())


NAMES = {f"{name}_support": name for name in ("softmax", "entmax", "sparsemax")}
views: list[View] = [
    dragged,
    items("sparsemax", "Sparsemax"),
    items("entmax", "Entmax"),
    lines(
        *NAMES,
        over="tau",
        log_x=True,
        title="Support",
        x="softness tau",
        y="items with a share",
        labels=NAMES,
        roles=NAMES,
    ),
]


def say(record: Record) -> str:
    """From which tau on each is spread, in a sentence."""
    tau, several = record["tau"], record["sparsemax_support"] > 1
    until = f"to tau {tau[~several].max():.3g}" if (~several).any() else "nowhere"
    counts = ", ".join(f"{name} {record.last(column)}" for column, name in NAMES.items())
    return f"Sparsemax is one-hot {until}; at tau {tau[-1]:.3g} items with a share: {counts}."


def claim(record: Record) -> Claim:
    """F019: both solve their equations, and sparsemax is hard from tau = the gap down.

    Four numbers: the largest miss of the equations of sparsemax and entmax, in units of the
    scores (on the support v - (p^e - 1) / e is one constant, outside it v is no larger); the
    largest distance of a sum from 1; and the share of tau where sparsemax is one-hot when
    it should not be or the other way round.
    """
    s, tau = record.last("scores").astype(float), record["tau"].astype(float)
    misses = [
        np.max(tau * _miss(record[name].astype(float), s / tau[:, None], e))
        for name, e in (("sparsemax", 1.0), ("entmax", float(record.last("alpha")) - 1.0))
    ]
    sums = [np.abs(record[name].sum(axis=1) - 1).max() for name in ("sparsemax", "entmax")]
    gap = np.diff(np.sort(s))[-1]
    clear = np.abs(gap / tau - 1) > 1e-5  # at the gap itself rounding decides
    hard = (record["sparsemax_support"] == 1) == (gap >= tau)
    # Shares of float32 with e from 0 to 1: a logarithm of them is off by 1e-4 at the most.
    seen = [*misses, max(sums), 1 - hard[clear].mean()]
    sentence = "Miss of sparsemax, of entmax, of the sums; share of tau hard against the rule"
    return Claim(seen, 0.0, 1e-4 * (1 + np.abs(s).max()), sentence, kind="exact")


def _miss(p: np.ndarray, v: np.ndarray, e: float) -> np.ndarray:
    """By how much p [k, n] misses being the choice of v [k, n], row by row."""
    log_p = np.log(np.where(p > 0, p, 1.0))
    c = v - (np.expm1(e * log_p) / e if e else log_p)
    inside = np.where(p > 0, c, np.nan)
    low, high = np.nanmin(inside, axis=1), np.nanmax(inside, axis=1)
    outside = np.where(p > 0, -np.inf, v + (1 / e if e else np.inf)).max(axis=1)
    return np.maximum(high - low, np.maximum(outside - high, 0.0))
