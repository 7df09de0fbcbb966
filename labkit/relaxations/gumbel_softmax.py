"""A random choice with gradients: the Gumbel-softmax, or concrete, distribution.

    y = softmax((s + g) / tau),        g = -log(-log u),  u uniform in (0, 1), each its own

The largest entry of s + g is entry i with probability p_i = softmax(s)_i, exactly and at every
tau: tau softens the draw, not the odds.  (So s is in units of the noise: scores and tau may
not be scaled together.)  As tau goes to 0 the draw becomes one-hot.

The gradient of f(y) in s estimates that of sum_i p_i f(e_i).  Where f bends between the
corners e_i, it has a bias, which falls as tau; its variance grows as 1 / tau.  For
f(y) = <c, y> - bend / 2 (1 - |y|^2), which at each corner is c_i whatever the bend,

    bias / tau      ->  bend J p,        J = diag(p) - p p'
    variance * tau  ->  sum_(i<j) p_i p_j ((c_i - c_j)^2 / 3 + bend^2 / 15)

since only draws with two scores within about tau of each other are between the corners.

Source: F015, Categorical Reparameterization with Gumbel-Softmax.
"""

from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Key

from labkit.claims import Claim
from labkit.errors import check_positive, refusal
from labkit.estimates import Moments, Payoff, no_moments
from labkit.method import Latest, Scalar, knob, method, replace, size
from labkit.record import Record
from labkit.relaxations.softmax import softmax
from labkit.run import run
from labkit.views import Curve, Graph, Panel, Points, View


TAUS = np.logspace(-1.5, 1.0, 16)


def gumbel_softmax(
    key: Key[Array, ""], scores: Float[Array, "... n"], tau: Scalar
) -> Float[Array, "... n"]:
    """A soft draw for each leading index: shares of the n choices.

    `tau` > 0 is in units of the noise, whose standard deviation is 1.28.
    """
    check_positive("tau", tau, "in units of the noise")
    return softmax(perturbed(key, scores), tau)


def perturbed(key: Key[Array, ""], scores: Float[Array, "... n"]) -> Float[Array, "... n"]:
    """scores + g; the place of the largest is a draw from softmax(scores)."""
    # JAX draws u from [tiny, 1), so that g lies between -4.5 and 17 in float32.
    return scores + jr.gumbel(key, scores.shape, scores.dtype)


class State(NamedTuple):
    draws: Float[Array, "draws n"]  # the newest, at the tau that is looked at
    chosen: Float[Array, " n"]  # how often each choice was the largest
    moments: Moments  # of the errors of the gradient, for each of TAUS


@method
class GumbelSoftmax:
    """Step by step more draws; the same noise serves every tau."""

    payoff: Payoff
    scores: Float[Array, " n"] = knob((1.0, 0.0, -0.5), -3.0, 3.0)
    tau: float = knob(0.5, 0.03, 10.0, log=True, live=True, about="softness of the draws seen")
    draws: int = size(500, 2, 10_000, about="draws a step")

    def check(self) -> None:
        if np.shape(self.scores) != np.shape(self.payoff.worth):
            accepted = f"as many numbers as scores ({np.size(self.scores)})"
            raise refusal("worth", self.payoff.worth, accepted)

    def init(self, key) -> State:
        n = self.scores.shape[0]
        nothing = State(jnp.zeros((self.draws, n)), jnp.zeros(n), no_moments(len(TAUS), n))
        return self.step(nothing, key)

    def step(self, state: State, key) -> State:
        scores = jnp.broadcast_to(self.scores, (self.draws, *self.scores.shape))
        total = lambda s, tau: self.payoff(gumbel_softmax(key, s, tau)).sum()
        slopes = jax.lax.map(lambda tau: jax.grad(total)(scores, tau), jnp.asarray(TAUS))
        errors = slopes - self.payoff.gradient(self.scores)[None, None]
        y = gumbel_softmax(key, scores, self.tau)
        chosen = jax.nn.one_hot(y.argmax(axis=-1), y.shape[-1]).sum(axis=0)
        moments = state.moments.add(errors.swapaxes(0, 1))
        return State(y, state.chosen + chosen, moments)

    def observe(self, state: State) -> dict[str, Any]:
        return {
            "tau": jnp.asarray(TAUS),
            "bias": state.moments.mean,
            "bias_limit": self.payoff.bias(self.scores),
            "variance": state.moments.variance,
            "variance_limit": self.payoff.variance(self.scores),
            "count": state.moments.count,
            "shares": state.chosen / state.chosen.sum(),
            "odds": softmax(self.scores, 1.0),
            "draws": Latest(state.draws),
            "scores": self.scores,
            "softness": jnp.asarray(self.tau, self.scores.dtype),
        }


def example() -> GumbelSoftmax:
    """Three choices, and a payoff that bulges between the corners."""
    return GumbelSoftmax(payoff=Payoff())


@cache
def demo() -> Record:
    """The example, 752,500 draws."""
    return run(replace(example(), {"draws": 2500}), 300, every=10)


def lengths(vectors: Float[np.ndarray, "... n"]) -> Float[np.ndarray, "..."]:
    """Of each vector; NaN for 0, which has no place on a logarithmic axis."""
    length = np.linalg.norm(vectors, axis=-1)
    return np.where(length > 0, length, np.nan)


def _trade(record: Record) -> Panel:
    tau, deviation = record.last("tau"), np.sqrt(record.last("variance"))
    marks = [
        Curve(tau, deviation, "deviation of one draw", "gradient"),
        Curve(tau, lengths(record.last("bias")), "bias", "sharpness"),
        Curve(tau, tau * lengths(record.last("bias_limit")), "limit of the bias", "prediction"),
        Curve(
            tau,
            deviation / np.sqrt(record.last("count")),
            "standard error of the bias",
            "threshold",
        ),
    ]
    title = f"Gradient, over {record.last('count'):,.0f} draws"
    return Panel(title, marks, "softness tau", "length", log_x=True, log_y=True)


def _error(record: Record) -> Panel:
    tau, bias = record.last("tau"), np.linalg.norm(record.last("bias"), axis=-1)
    error = lambda draws: np.sqrt(bias**2 + record.last("variance") / draws)
    marks = [Curve(tau, error(m), f"mean of {m}", f"draws {m}") for m in (1, 10, 100, 1000)]
    axes = {"x": "softness tau", "y": "root mean square error", "log_x": True, "log_y": True}
    return Panel("Error of a mean of draws", marks, **axes)


def _draws(record: Record) -> Panel:
    y = record.last("draws")[:300]
    angle = np.pi / 2 + 2 * np.pi * np.arange(y.shape[1]) / y.shape[1]
    around = np.stack([np.cos(angle), np.sin(angle)], axis=1)  # a triangle for three choices
    corner, at = np.arange(y.shape[1]), y @ around
    edges = np.stack([corner, np.roll(corner, -1)], axis=1)
    names = [f"choice {i}" for i in corner + 1]
    marks = [
        Graph(around[:, 0], around[:, 1], edges, names, "one alone", "data"),
        Points(at[:, 0], at[:, 1], "a draw", "iterates", weight=np.full(len(at), 0.15)),
    ]
    return Panel(f"Draws at tau {record.last('softness'):.2g}", marks, equal=True)


def _scores(record: Record) -> Panel:
    scores, shares = record.last("scores"), record.last("shares")
    at = np.arange(1, len(scores) + 1)
    logs = np.log(np.where(shares > 0, shares, np.nan))
    logs += np.log(np.exp(scores - scores.max()).sum()) + scores.max()
    marks = [
        Points(at, scores, "scores", "iterates", "scores"),
        Points(at, logs, "log share of being largest, shifted", "target"),
    ]
    return Panel("Drag the scores", marks, "choice", "score", y_range=(-3.5, 3.5))


views: list[View] = [_trade, _error, _draws, _scores]


def say(record: Record) -> str:
    """Where bias and deviation of one draw stand at either end, in a sentence."""
    bias, deviation = lengths(record.last("bias")), np.sqrt(record.last("variance"))
    tau = record.last("tau")
    ends = " and ".join(
        f"at tau {tau[i]:.2g} the bias is {bias[i]:.2g} and the deviation of one draw "
        f"{deviation[i]:.2g}"
        for i in (-1, 0)
    )
    return f"After {record.last('count'):,.0f} draws: {ends}."


def claim(record: Record) -> Claim:
    """F015: odds are those of softmax(scores); bias and variance have their limits in tau.

    The numbers: the share of each choice / its probability; bias / (tau bend J p), along that
    direction, and variance * tau / its limit, both from tau below 0.4 carried on to tau = 0.
    """
    tau, count, first = record.last("tau"), record.last("count"), record.last("bias_limit")
    small = tau < 0.4
    tau, bias, variance = (a[small] for a in (tau, record.last("bias"), record.last("variance")))
    along = bias @ first / (first @ first) / tau
    resolved = np.sqrt(variance / count / (first @ first)) / tau
    share = record.last("shares") / record.last("odds")
    spread = variance * tau / record.last("variance_limit")
    limit = lambda ratio: np.polyfit(tau, ratio, 1, w=1 / resolved)[-1]  # of a straight line
    seen = [*share, limit(along), limit(spread)]
    sentence = "Share / odds of each choice; bias / (tau bend J p); variance * tau / its limit"
    # Over nine seeds they were off by at most 0.17: mostly chance, in the bias at small tau.
    return Claim(seen, 1.0, 0.25, sentence, kind="measured")
