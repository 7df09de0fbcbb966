"""Choosing the k largest with gradients: three soft top-k, of one softness tau.

    sorted_top_k      sum of the last k rows of a soft permutation (of `soft_sort`)
    capped_top_k      p_i = clip((s_i - t) / tau, 0, 1)
    logistic_top_k    p_i = sigma((s_i - t) / tau)

The shares p have the sum k; in the last two a threshold t sees to it.  Each is the k-hot
choice in the limit of tau to 0, the second one from tau = the gap between the k-th and the
next score down.  The threshold follows the scores, dt / ds_i = w_i / sum w, so that

    dp = w (dv - <w, dv> / sum w),      v = s / tau,      w = p (1 - p), or 1 where 0 < p < 1

What to look for: the rows of a soft permutation may choose an item more than once, p_i > 1.

Which is whose: the source moves the scores to the two values 1 and 0, k of them to 1, by
transport with entropy.  At cost |s_i - y|^2 and regularization eps, its plan is the third one
with tau = eps / 2, and no iteration is needed; Amos, Koltun and Kolter (2019) have it as a
projection.  The second is SparseMAP (F020) of the subsets of k items, a projection on the
capped simplex (Wang and Lu 2015).  Rows of a soft permutation were added up by Grover et al.
(2019).

Source: F021, Differentiable Top-k with Optimal Transport.
"""

from functools import cache
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from labkit.claims import Claim
from labkit.errors import refusal
from labkit.method import Scalar, knob, pytree, size
from labkit.record import Record
from labkit.relaxations.soft_sort import soft_permutation
from labkit.relaxations.softmax import dragged, items
from labkit.run import run
from labkit.shares import prepared
from labkit.sweep import Sweep, sweep
from labkit.thresholds import capped, logistic
from labkit.views import Curve, Panel, View


def sorted_top_k(scores: Float[Array, "... n"], k: int, tau: Scalar) -> Float[Array, "... n"]:
    """How much of each item is in the last k places of a soft order; may be above 1.

    `k` is from 0 to n, `tau` > 0 in units of the scores.
    """
    scores, tau = prepared(scores, tau)
    n = _checked(scores, k)
    return soft_permutation(scores, tau)[..., n - k :, :].sum(axis=-2)


def capped_top_k(scores: Float[Array, "... n"], k: int, tau: Scalar) -> Float[Array, "... n"]:
    """clip((s - t) / tau, 0, 1) with sum k: the nearest point of the capped simplex to s / tau."""
    scores, tau = prepared(scores, tau)
    n = _checked(scores, k)
    return capped(scores, tau, k) if 0 < k < n else jnp.full_like(scores, bool(k))


def logistic_top_k(scores: Float[Array, "... n"], k: int, tau: Scalar) -> Float[Array, "... n"]:
    """sigma((s - t) / tau) with sum k: transport with entropy 2 tau to the values 0 and 1."""
    scores, tau = prepared(scores, tau)
    n = _checked(scores, k)
    return logistic(scores, tau, k)[0] if 0 < k < n else jnp.full_like(scores, bool(k))


def _checked(scores: Array, k: int) -> int:
    n = scores.shape[-1]
    if not isinstance(k, int) or not 0 <= k <= n:
        raise refusal("k", k, f"a whole number from 0 to {n}, the number of scores")
    return n


@pytree
class TopK:
    """The three soft choices of the k largest `scores` at a softness tau."""

    scores: Float[Array, " n"] = knob((3.0, 1.0, 2.4, 0.0, 3.6), -1.0, 6.0)
    k: int = size(3, 1, 4)

    def __call__(self, tau: Float[Array, ""]) -> dict[str, Any]:
        of = lambda operator: operator(self.scores, self.k, tau)
        shares = {"sorted": of(sorted_top_k), "capped": of(capped_top_k)}
        return {"scores": self.scores, **shares, "logistic": of(logistic_top_k)}


def example() -> Sweep:
    """The three largest of five scores, walked from tau 0.05 to tau 20."""
    return sweep(TopK(), over=jnp.logspace(np.log10(0.05), np.log10(20.0), 61), name="tau")


@cache
def demo() -> Record:
    """The example, from hard to soft."""
    return run(example())


def hard(scores: np.ndarray, k: int) -> np.ndarray:
    """1 for the k largest of the last axis, 0 for the others."""
    place = np.argsort(np.argsort(-scores, axis=-1, kind="stable"), axis=-1)
    return (place < k).astype(float)


def _largest(record: Record) -> Panel:
    tau = record["tau"]
    labels = {"sorted": "soft order", "capped": "capped", "logistic": "logistic"}
    marks = [Curve(tau, record[name].max(axis=1), label, name) for name, label in labels.items()]
    marks.append(Curve(tau, np.ones(len(tau)), "one item", "threshold"))
    return Panel("The largest share", marks, "softness tau", "share", log_x=True)


views: list[View] = [
    dragged,
    items("capped", "Capped simplex"),
    items("logistic", "Logistic (transport with entropy)"),
    _largest,
]


def say(record: Record) -> str:
    """From which tau on the capped choice is spread, and how large a share gets, in a sentence."""
    tau, p = record["tau"], record["capped"]
    spread = ((p > 0) & (p < 1)).any(axis=1)
    until = f"hard to tau {tau[~spread].max():.3g}" if (~spread).any() else "never hard"
    top = record["sorted"].max()
    return (
        f"{round(p[-1].sum())} of {p.shape[1]} chosen: capped is {until}, logistic at no tau; "
        f"the soft order chooses one item up to {top:.3g} times."
    )


def claim(record: Record) -> Claim:
    """F021: three soft choices of k items, each solving its equation; the second hard from a gap.

    Five numbers: the largest distance of a sum from k over all tau; of the shares from rows of
    a soft permutation, and of the thresholds, as the items tell them, from each other; and
    the share of tau where the capped choice is hard when it should not be or the other way
    round.
    """
    s, tau = record.last("scores").astype(float)[None], record["tau"].astype(float)[:, None]
    p = {name: record[name].astype(float) for name in ("sorted", "capped", "logistic")}
    k = round(p["capped"][-1].sum())
    sums = max(np.abs(q.sum(axis=1) - k).max() for q in p.values())
    weights = np.exp(-np.abs(np.sort(s)[0, -k:, None] - s)[None] / tau[..., None])
    rows = (weights / weights.sum(axis=2, keepdims=True)).sum(axis=1)
    even = _apart(s - tau * p["capped"], p["capped"], 0.0)
    inner = np.clip(p["logistic"], 0.01, 0.99)  # outside, 1 - p is short of digits
    smooth = _apart(s - tau * (np.log(inner) - np.log1p(-inner)), p["logistic"], 0.01)
    ranked = np.sort(s[0])
    gap = ranked[-k] - ranked[-k - 1]
    is_hard = (np.abs(p["capped"] - hard(s, k)) < 1e-6).all(axis=1)
    clear = np.abs(gap / tau[:, 0] - 1) > 1e-5  # at the gap itself rounding decides
    against = (is_hard != (gap >= tau[:, 0]))[clear].mean()
    seen = [sums, np.abs(rows - p["sorted"]).max(), even, smooth, against]
    sentence = "Miss of the sums, of sorted, capped, logistic; share of tau hard against the rule"
    # Float32: a threshold is known to 20 tau times the rounding of a share.
    return Claim(seen, 0.0, 1e-4, sentence, kind="exact")


def _apart(t: np.ndarray, p: np.ndarray, end: float) -> float:
    """By how much the items miss having one threshold.

    Each tells t, but one with p near 0 only that it is no less, with p near 1 no more.
    """
    least = np.where(p < 1 - end, t, -np.inf).max(axis=1)
    most = np.where(p > end, t, np.inf).min(axis=1)
    return np.maximum(least - most, 0.0).max()
