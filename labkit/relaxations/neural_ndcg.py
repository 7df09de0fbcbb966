"""A ranking metric as the loss, with the sort inside it made soft: NeuralNDCG.

    P      =  the NeuralSort of the scores, highest first, rows summing to 1
    NDCG~  =  sum_i d_i (P' g)_i / best DCG,        P' = P with columns and rows scaled in turn

with gains g = 2^grade - 1 and discounts d_i = 1 / log2(1 + i).  Without the scaling an item
could count for two places, or for none; it takes `rounds` of Sinkhorn.  The transposed variant
scales the transpose of P; both are d' P' g once the rounds have converged.

NDCG~ becomes NDCG as tau goes to 0: with smallest gap D of the scores, each row of P is at most
4 sum_k exp(-k^2 D / tau) from a unit vector, summed over absolute values.  Tied scores share
their places, so that the limit is then the expectation of NDCG over their orders.  tau is in
units of the scores: NDCG~ is the same of (s + c, tau) and of (c s, c tau).

Padded items are put far below all others, which NeuralSort then sorts as if there were no more.

Source: S093, NeuralNDCG: Direct Optimisation of a Ranking Metric via Differentiable Relaxation
of Sorting.
"""

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import stop_gradient
from jaxtyping import Array, Float

from labkit.claims import Claim
from labkit.errors import check_positive, refusal
from labkit.method import Scalar, knob, pytree, size
from labkit.record import Record
from labkit.relaxations.neural_sort import neural_permutation
from labkit.relaxations.ranking_metrics import (
    Mask,
    Scores,
    discounts,
    gains,
    lists,
    ndcg,
    normalised,
)
from labkit.run import run
from labkit.sweep import Sweep, sweep
from labkit.views import Arrows, Bars, Panel, Points, Raster, View, lines


def soft_ndcg(
    scores: Scores,
    grades: Scores,
    tau: Scalar = 1.0,
    rounds: int = 50,
    mask: Mask | None = None,
    *,
    transposed: bool = False,
) -> Float[Array, "..."]:
    """NDCG~ of each list; the loss is what it lacks to 1.  `tau` > 0 is in units of the scores."""
    scores, grades, there = lists(scores, grades, mask)
    return _of(ranking(scores, tau, there), gains(grades, there), rounds, transposed)


def _of(p: Array, gain: Array, rounds: int, transposed: bool = False) -> Float[Array, "..."]:
    """NDCG~ of a soft permutation [place, item]."""
    discount = discounts(gain.shape[-1])
    if transposed:
        shares = doubly_stochastic(jnp.swapaxes(p, -2, -1), rounds)
        return normalised(jnp.einsum("...j,...ji,i->...", gain, shares, discount), gain)
    shares = doubly_stochastic(p, rounds)
    return normalised(jnp.einsum("i,...ij,...j->...", discount, shares, gain), gain)


def ranking(scores: Scores, tau: Scalar, mask: Mask | None = None) -> Float[Array, "... n n"]:
    """P of the scores in descending order [place, item], padded items in the last places."""
    check_positive("tau", tau, "in units of the scores")
    scores, _, there = lists(scores, 0.0, mask)
    lowest = jnp.where(there, stop_gradient(scores), jnp.inf).min(axis=-1, keepdims=True)
    # 200 tau further nothing is shared: exp(-200) is 0 beside 1.
    below = jnp.where(jnp.isfinite(lowest), lowest, 0.0) - 200.0 * tau
    return neural_permutation(-jnp.where(there, scores, below), tau)


def doubly_stochastic(p: Float[Array, "... n n"], rounds: int) -> Float[Array, "... n n"]:
    """P with its columns, then its rows, divided by their sums, `rounds` times."""
    if rounds < 0:
        raise refusal("rounds", rounds, "a whole number, 0 or more")

    def one(p, _):
        p = p / p.sum(axis=-2, keepdims=True)
        return p / p.sum(axis=-1, keepdims=True), None

    return jax.lax.scan(one, p, None, length=rounds)[0]


@pytree
class NeuralNdcg:
    """What can be seen of NDCG~ of one list at a softness tau."""

    scores: Float[Array, " n"] = knob((2.0, 0.3, 1.2, -0.8, 1.5, -1.6), -3.0, 3.0)
    grades: Float[Array, " n"] = knob((1.0, 3.0, 0.0, 2.0, 4.0, 0.0), 0.0, 4.0)
    rounds: int = size(50, 0, 200, about="of columns, then rows")

    def __call__(self, tau: Float[Array, ""]) -> dict[str, Any]:
        gain = jnp.exp2(self.grades) - 1.0
        p, pull = jax.vjp(lambda s: ranking(s, tau), self.scores)
        value, slope = jax.value_and_grad(_of)(p, gain, self.rounds)
        scaled = doubly_stochastic(p, self.rounds)
        return {
            "scores": self.scores,
            "grades": self.grades,
            "ndcg_soft": value,
            "ndcg_transposed": _of(p, gain, self.rounds, transposed=True),
            "ndcg_true": ndcg(self.scores, self.grades),
            "slope": pull(slope)[0],
            "permutation": scaled,
            "column_error": jnp.abs(scaled.sum(axis=0) - 1.0).max(),
        }


def example() -> Sweep:
    """One list of six items, walked from tau 0.01 to tau 10."""
    return sweep(NeuralNdcg(), over=jnp.logspace(-2.0, 1.0, 41), name="tau")


@cache
def demo() -> Record:
    """The example, from nearly the metric itself to a blur."""
    return run(example())


def _shown(record: Record) -> int:
    """A row that is neither hard nor blurred: the one with the longest gradient."""
    return int(np.argmax(np.abs(record["slope"]).max(axis=1)))


def _scores(record: Record) -> Panel:
    row, scores = _shown(record), record.last("scores")
    slope, at = record["slope"][row], np.arange(1, len(scores) + 1)
    push = slope / max(np.abs(slope).max(), 1e-30)
    marks = [
        Points(at, scores, "scores", "iterates", "function.scores"),
        Arrows(at, scores, 0.0 * push, push, "where the gradient moves them", "gradient"),
    ]
    title = f"Drag the scores (arrows: tau {record['tau'][row]:.2g})"
    return Panel(title, marks, "item", "score", y_range=(-3.5, 3.5))


def _grades(record: Record) -> Panel:
    grades = record.last("grades")
    at = np.arange(1, len(grades) + 1)
    marks = [
        Bars(at, grades, "grades", "data"),
        Points(at, grades, "drag", "target", "function.grades"),
    ]
    return Panel("Drag the grades", marks, "item", "grade", y_range=(-0.2, 4.4))


def _permutation(record: Record) -> Panel:
    row, n = _shown(record), record["permutation"].shape[1]
    at = np.arange(1, n + 1)
    raster = Raster(record["permutation"][row], at, at, "share")
    return Panel(f"Who has which place, tau {record['tau'][row]:.2g}", [raster], "item", "place")


views: list[View] = [
    _scores,
    _grades,
    lines(
        "ndcg_soft",
        "ndcg_true",
        over="tau",
        log_x=True,
        title="The metric and its relaxation",
        x="softness tau",
        y="NDCG",
        labels={"ndcg_soft": "soft", "ndcg_true": "true"},
        roles={"ndcg_soft": "neuralsort", "ndcg_true": "threshold"},
    ),
    _permutation,
]


def say(record: Record) -> str:
    """The metric beside its relaxation, in a sentence."""
    tau, soft = record["tau"], record["ndcg_soft"]
    head = f"NDCG is {record.last('ndcg_true'):.4f}; as tau goes from {tau[0]:.3g} to {tau[-1]:.3g}"
    return f"{head}, NDCG~ goes from {soft[0]:.4f} to {soft[-1]:.4f}."


def claim(record: Record) -> Claim:
    """S093: both variants are NDCG to rounding where tau is at most a sixteenth of the gaps."""
    gap = np.diff(np.sort(record.last("scores"))).min()
    hard = record["tau"] <= gap / 16
    soft = np.stack([record[name][hard] for name in ("ndcg_soft", "ndcg_transposed")])
    seen = np.abs(soft - record["ndcg_true"][hard]).max() if hard.any() else np.nan
    # 4 exp(-16) is 5e-7; the rest is float32.
    sentence = "Largest distance of NDCG~ from NDCG where tau is at most gap / 16"
    return Claim(seen, 0.0, 2e-6, sentence, kind="exact")
