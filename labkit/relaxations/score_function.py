"""Gradients of the mean of any black box: the score function estimator, or REINFORCE.

    i ~ p = softmax(s),     grad E f(i)  =  E [(f(i) - b) grad log p_i],   grad log p_i = e_i - p

f is only called, never differentiated.  Any b that does not depend on the draw i leaves the
mean as it is.  Among K draws, the mean of f over the K - 1 others is such a b, *leave-one-out*,
and makes the estimate the sample covariance of f and the one-hot e_i:

    1 / (K - 1) sum_k (f_k - mean f) (e_k - mean e)

which does not notice a constant added to f.  Without a baseline that constant enters the
variance squared.  The mean over all K draws is no such b: with it the estimate is too short
by the factor 1 - 1 / K.  A leave-one-out mean is itself noisy: where f is about 0 in the mean,
no baseline at all can be better.

Source: F017, Simple Statistical Gradient-Following Algorithms for Connectionist
Reinforcement Learning.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, Literal

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Int, Key

from labkit.claims import Claim
from labkit.errors import refusal
from labkit.method import knob, pytree, size
from labkit.record import Record
from labkit.run import run
from labkit.sweep import Sweep, sweep
from labkit.views import Curve, Panel, Points, View, drag


Baseline = Literal["leave-one-out", "none"]
BlackBox = Callable[[Int[Array, "samples ..."]], Float[Array, "samples ..."]]


def score_function(
    key: Key[Array, ""],
    scores: Float[Array, "... n"],
    f: BlackBox,
    samples: int,
    baseline: Baseline = "leave-one-out",
) -> Float[Array, "... n"]:
    """An estimate of the gradient of E f(i), i ~ softmax(scores), from that many draws of i.

    `f` is called once, with all draws [samples, ...], and gives a number for each.
    """
    least = 2 if baseline == "leave-one-out" else 1
    if samples < least:
        raise refusal("samples", samples, f"{least} or more with baseline {baseline!r}")
    drawn = jr.categorical(key, scores, shape=(samples, *scores.shape[:-1]))
    return from_draws(scores, drawn, f(drawn), baseline)


def from_draws(
    scores: Float[Array, "... n"],
    drawn: Int[Array, "samples ..."],
    values: Float[Array, "samples ..."],
    baseline: Baseline = "leave-one-out",
) -> Float[Array, "... n"]:
    """The same from draws of softmax(scores) and the values of f there."""
    if baseline not in ("leave-one-out", "none"):
        raise refusal("baseline", baseline, "'leave-one-out' or 'none'")
    ones = jax.nn.one_hot(drawn, scores.shape[-1], dtype=scores.dtype)
    score = ones - jnp.broadcast_to(jax.nn.softmax(scores), ones.shape)
    values = jax.lax.stop_gradient(values)
    if baseline == "leave-one-out":
        others = (values.sum(axis=0, keepdims=True) - values) / (len(values) - 1)
        values = values - others
    return (values[..., None] * score).mean(axis=0)


def exact_gradient(p: Float[Array, " n"], values: Float[Array, " n"]) -> Float[Array, " n"]:
    """Of sum_i p_i values_i in the scores: the covariance of f and the one-hot."""
    return p * (values - p @ values)


def exact_variance(
    p: Float[Array, " n"], values: Float[Array, " n"], samples: int, baseline: Baseline
) -> Float[Array, ""]:
    """Of an estimate, summed over its n entries, by enumerating single draws and pairs."""
    one, gradient = jnp.eye(len(p), dtype=p.dtype), exact_gradient(p, values)
    square = lambda vectors: (vectors * vectors).sum(axis=-1)
    if baseline == "none":
        single = values[:, None] * (one - p[None, :])
        return p @ square(single - gradient[None, :]) / samples
    # A sample covariance is the mean over pairs of h(i, j); variance of such means: Hoeffding.
    apart = lambda a: a[:, None] - a[None, :]
    h = apart(values)[..., None] * apart(one) / 2 - gradient[None, None]
    of_pair = p @ square(h) @ p
    of_one = p @ square(jnp.einsum("j,ijn->in", p, h))
    return (4 * (samples - 2) * of_one + 2 * of_pair) / (samples * (samples - 1))


@pytree
class ScoreFunction:
    """Both baselines on the same draws, for a payoff with a constant added to it."""

    scores: Float[Array, " n"] = knob((1.0, 0.0, -0.5), -3.0, 3.0)
    worth: Float[Array, " n"] = knob((1.0, -0.5, 0.3), -2.0, 2.0, about="f of each choice")
    samples: int = size(4, 2, 100, about="draws for an estimate")
    estimates: int = size(10_000, 2, 100_000, about="for a mean and a variance")

    def check(self) -> None:
        if np.shape(self.scores) != np.shape(self.worth):
            accepted = f"as many numbers as scores ({np.size(self.scores)})"
            raise refusal("worth", self.worth, accepted)

    def __call__(self, offset: Float[Array, ""]) -> dict[str, Any]:
        worth, p = self.worth + offset, jax.nn.softmax(self.scores)
        several = jnp.broadcast_to(self.scores, (self.estimates, len(p)))
        exact = exact_gradient(p, worth)
        seen = {"scores": self.scores, "gradient": exact}
        kinds: dict[str, Baseline] = {"plain": "none", "leave_one_out": "leave-one-out"}
        for name, baseline in kinds.items():
            f = lambda drawn: worth[drawn]
            found = score_function(jr.key(0), several, f, self.samples, baseline)
            seen[name + ".mean"] = found.mean(axis=0)
            seen[name + ".variance"] = found.var(axis=0, ddof=1).sum()
            seen[name + ".exact"] = exact_variance(p, worth, self.samples, baseline)
        seen["estimates"] = jnp.asarray(self.estimates, p.dtype)
        return seen


def example() -> Sweep:
    """Three choices, whose payoff is moved from 4 down to 4 up; four draws an estimate."""
    return sweep(ScoreFunction(), over=jnp.linspace(-4.0, 4.0, 33), name="offset")


@cache
def demo() -> Record:
    """The example."""
    return run(example())


NAMES = {"plain": "no baseline", "leave_one_out": "leave-one-out"}


def _deviation(record: Record) -> Panel:
    marks, along = [], record["offset"]
    for name, label in NAMES.items():
        exact, seen = (np.sqrt(record[f"{name}.{kind}"]) for kind in ("exact", "variance"))
        marks.append(Curve(along, exact, f"{label}, exact", label))
        marks.append(Points(along[::2], seen[::2], f"{label}, of draws", label))
    return Panel("Deviation of an estimate", marks, "added to the payoff", "length")


def _bias(record: Record) -> Panel:
    marks, along = [], record["offset"]
    for name, label in NAMES.items():
        bias = np.linalg.norm(record[name + ".mean"] - record["gradient"], axis=1)
        error = np.sqrt(record[name + ".exact"] / record["estimates"])
        marks.append(Points(along[::2], bias[::2], f"{label}, mean", label))
        marks.append(Curve(along, error, f"{label}, standard error", label))
    return Panel("Distance of the mean", marks, "added to the payoff", "length")


views: list[View] = [_deviation, _bias, drag("function.scores", (-3.5, 3.5), x="choice", y="score")]


def say(record: Record) -> str:
    """Both deviations where the payoff is and far from there, in a sentence."""
    middle = np.argmin(np.abs(record["offset"]))
    plain, other = (np.sqrt(record[name + ".exact"]) for name in NAMES)
    return (
        f"As {record.last('offset'):.2g} is added to the payoff, the deviation goes from "
        f"{plain[middle]:.2g} to {plain[-1]:.2g} without a baseline; leave-one-out it stays "
        f"{other[-1]:.2g}."
    )


def claim(record: Record) -> Claim:
    """F017: both means are the gradient, the variances those of the enumeration.

    Of both, over all offsets: mean along the gradient / its length; variance / the exact one;
    and the largest variance leave-one-out / the smallest.
    """
    seen = []
    for name in NAMES:
        gradient, mean = record["gradient"], record[name + ".mean"]
        along = (mean * gradient).sum(axis=1) / (gradient * gradient).sum(axis=1)
        seen += [along.mean(), (record[name + ".variance"] / record[name + ".exact"]).mean()]
    flat = record["leave_one_out.variance"]
    seen.append(flat.max() / flat.min())
    # 10,000 estimates an offset, all on the same draws.
    sentence = "Mean / gradient and variance / exact, plain and leave-one-out; constancy"
    return Claim(seen, 1.0, 0.1, sentence, kind="measured")
