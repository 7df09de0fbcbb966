"""Choosing with gradients: softmax, a soft argmax.

    p = softmax(s / tau),       M = tau log sum_i exp(s_i / tau),       dM / ds = p

p says how much of each item is chosen, and M is the soft maximum.  With the largest score
ahead of the second by a gap,

    |p - onehot|_1  <=  2 (n - 1) exp(-gap / tau),      max s  <=  M  <=  max s + tau log n

so that both are hard in the limit of tau to 0, where ties share alike.  The derivative is

    dp = q (dv - <q, dv> / sum q),      v = s / tau,  q = p,       or  J = (diag p - p p') / tau

and the other soft choices differ from softmax in q alone.  What to look for: q vanishes as
exp(-gap / tau), and beyond 87 to 103 gaps per tau it is exactly zero in float32.  From there
on no gradient says that anything is wrong with the choice.

With p as the outputs of a network and tau 1, the gradient of -log p_y in s is p - onehot(y):
that is how the source trains a classifier.

Source: F014, Training Stochastic Model Recognition Algorithms as Networks Can Lead to Maximum
Mutual Information Estimation of Parameters.
"""

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from labkit.claims import Claim
from labkit.method import Scalar, knob, pytree
from labkit.record import Record
from labkit.run import run
from labkit.shares import keep_total, prepared, relative
from labkit.sweep import Sweep, sweep
from labkit.views import Curve, Panel, View, drag, lines


def softmax(scores: Float[Array, "... n"], tau: Scalar) -> Float[Array, "... n"]:
    """Shares p of the items, positive and of sum 1.  `tau` > 0 is in units of the scores."""
    return _softmax(*prepared(scores, tau))


def soft_max(scores: Float[Array, "... n"], tau: Scalar) -> Float[Array, "..."]:
    """The soft maximum M; its gradient in the scores is `softmax`, and in tau the entropy of it.

    Of no scores at all it is -inf, as the maximum is.
    """
    return _soft_max(*prepared(scores, tau))


@jax.custom_jvp
def _softmax(scores, tau):
    weights = jnp.exp(relative(scores, tau))
    return weights / weights.sum(axis=-1, keepdims=True)


@_softmax.defjvp
def _softmax_jvp(primals, tangents):
    (scores, tau), (ds, dtau) = primals, tangents
    p = _softmax(scores, tau)
    return p, keep_total(p, (ds - relative(scores, tau) * dtau) / tau)


@jax.custom_jvp
def _soft_max(scores, tau):
    above = jnp.log(jnp.exp(relative(scores, tau)).sum(axis=-1))
    return scores.max(axis=-1, initial=-jnp.inf) + tau * above


@_soft_max.defjvp
def _soft_max_jvp(primals, tangents):
    (scores, tau), (ds, dtau) = primals, tangents
    p, z = _softmax(scores, tau), relative(scores, tau)
    entropy = jnp.log(jnp.exp(z).sum(axis=-1)) - (p * z).sum(axis=-1)
    return _soft_max(scores, tau), (p * ds).sum(axis=-1) + entropy * dtau


@pytree
class Softmax:
    """What can be seen of the softmax of `scores` at a softness tau."""

    scores: Float[Array, " n"] = knob((3.0, 1.0, 2.2, 0.0, 4.5), -1.0, 6.0)

    def __call__(self, tau: Float[Array, ""]) -> dict[str, Any]:
        first, second = jnp.argsort(-self.scores)[:2]
        towards = jnp.zeros_like(self.scores).at[second].set(1.0)
        p, dp = jax.jvp(lambda s: softmax(s, tau), (self.scores,), (towards,))
        return {
            "scores": self.scores,
            "shares": p,
            "distance": jnp.abs(p.at[first].add(-1.0)).sum(),
            "soft_maximum": soft_max(self.scores, tau),
            "slope": -dp[first],  # what the first item loses to the second
        }


def example() -> Sweep:
    """The softmax of five scores, walked from tau 0.001 to tau 10."""
    return sweep(Softmax(), over=jnp.logspace(-3.0, 1.0, 81), name="tau")


@cache
def demo() -> Record:
    """The example, from hard to soft."""
    return run(example())


dragged = drag("function.scores", (-1.5, 6.5), x="item", y="score")  # to be dragged


def items(name: str, title: str) -> View:
    """The share of each item over tau: an item looks the same whatever chooses."""
    one = {name: "item"}
    axes = {"over": "tau", "log_x": True, "x": "softness tau", "y": "share"}
    return lines(name, title=title, labels=one, roles=one, **axes)


def _depth(record: Record) -> np.ndarray:
    """gap / tau: by how many tau the largest score is ahead of the second."""
    return np.diff(np.sort(record.last("scores").astype(float)))[-1] / record["tau"].astype(float)


def _maximum(record: Record) -> Panel:
    tau, scores = record["tau"], record.last("scores")
    above = (record["soft_maximum"] - scores.max()) / tau
    bound = np.full(len(tau), np.log(len(scores)))
    marks = [Curve(tau, bound, "log n", "threshold"), Curve(tau, above, "softmax", "softmax")]
    title = "Soft maximum above the maximum"
    return Panel(title, marks, "softness tau", "(M - max s) / tau", True)


def _slope(record: Record) -> Panel:
    tau, slope = record["tau"].astype(float), record["slope"].astype(float)
    law = np.exp(-_depth(record)) / tau
    law, slope = (np.where(y > 1e-60, y, np.nan) for y in (law, slope))
    marks = [
        Curve(tau, law, "exp(-gap / tau) / tau", "predicted"),
        Curve(tau, slope, "as computed", "softmax"),
    ]
    title = "Where the gradient dies"
    return Panel(title, marks, "softness tau", "slope", True, True, y_range=(1e-60, 10.0))


views: list[View] = [
    dragged,
    items("shares", "Softmax"),
    _maximum,
    _slope,
]


def say(record: Record) -> str:
    """The largest share, and where its gradient is exactly zero, in a sentence."""
    top, tau = record["shares"].max(axis=1), record["tau"]
    dead = tau[record["slope"] == 0]
    ends = f"zero from tau {dead.max():.3g} down" if len(dead) else "nowhere zero"
    return (
        f"As tau goes from {tau[0]:.3g} to {tau[-1]:.3g}, the largest share goes from "
        f"{top[0]:.3g} to {top[-1]:.3g}; its gradient is {ends}."
    )


def claim(record: Record) -> Claim:
    """F014: hard as exp(-gap / tau), with a soft maximum; and a gradient that dies in float.

    Shares of the tau where: the distance to the hard choice is between 2 e / (1 + e) and
    2 (n - 1) e, with e = exp(-gap / tau); the soft maximum is <p, s> + tau H(p); the slope is
    that of J until it is too small for a number, and exactly 0 from there on.
    """
    s, p = record.last("scores").astype(float), record["shares"].astype(float)
    tau, depth, n = record["tau"].astype(float), _depth(record), len(s)
    number = np.finfo(record["slope"].dtype)
    e, slack = np.exp(-depth), 4 * n * number.eps  # of n shares
    distance = record["distance"]
    within = (distance >= 2 * e / (1 + e) - slack) & (distance <= 2 * (n - 1) * e + slack)
    entropy = -np.sum(p * np.log(np.where(p > 0, p, 1.0)), axis=1)
    unit = np.abs(s).max() + tau * np.log(n)
    close = np.abs(record["soft_maximum"] - p @ s - tau * entropy) <= slack * unit
    weights = np.exp((s - s.max()) / tau[:, None])
    exact = np.sort(weights / weights.sum(axis=1, keepdims=True))[:, -2:].prod(axis=1) / tau
    alive = depth < -np.log(number.tiny) - np.log(n)
    gone = depth > -np.log(number.smallest_subnormal) + 1
    slope = record["slope"]  # exp(z) is off by the rounding of z, depth times eps
    right = np.abs(slope - exact) <= slack * (1 + depth) * exact
    dies = np.where(gone, slope == 0, right | ~alive)
    sentence = "Share of tau: hard as exp(-gap / tau), soft maximum, slope as J or dead"
    return Claim([within.mean(), close.mean(), dies.mean()], 1.0, 0.0, sentence, kind="exact")
