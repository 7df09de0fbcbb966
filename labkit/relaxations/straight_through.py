"""Hard forward, soft backward: the straight-through estimator.

    y = hard + (soft - stop_gradient(soft))

The value is the hard one, the derivative that of the soft one.  Written this way it is exact
in floating point: soft - soft is 0 for every finite number, while soft + (hard - soft) may
lose digits of `hard` wherever soft is much larger.

With a hard choice drawn from p = softmax(s) and soft = p, the gradient of f(y) in s is
J grad f(e_i), J = diag(p) - p p'.  Its mean, sum_i p_i J grad f(e_i), is exact for a linear f,
whose slope is the same at every corner.  For f(y) = <c, y> - bend / 2 (1 - |y|^2), whose
corners do not know of the bend, the bias is exactly bend J p.  No softness makes it small.
The straight-through Gumbel-softmax takes soft = softmax((s + g) / tau) with the noise g that
made the hard choice: its bias falls with tau, at the price of variance.

The paper has binary neurons, which are two choices with scores a and 0.

Source: F016, Estimating or Propagating Gradients Through Stochastic Neurons for
Conditional Computation.
"""

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Key

from labkit.claims import Claim
from labkit.errors import check_positive, refusal
from labkit.estimates import Payoff
from labkit.method import Scalar, knob, pytree, size
from labkit.record import Record
from labkit.relaxations.gumbel_softmax import gumbel_softmax, perturbed
from labkit.relaxations.softmax import softmax
from labkit.run import run
from labkit.sweep import Sweep, sweep
from labkit.views import Curve, Panel, View, drag


def straight_through(hard: Float[Array, "..."], soft: Float[Array, "..."]) -> Float[Array, "..."]:
    """The value of `hard`, to the last bit, with the derivatives of `soft`, which is finite."""
    if jnp.shape(hard) != jnp.shape(soft):
        raise refusal("hard", jnp.shape(hard), f"the shape of soft, {jnp.shape(soft)}")
    hard = jnp.asarray(hard, jnp.result_type(soft))
    return jax.lax.stop_gradient(hard) + (soft - jax.lax.stop_gradient(soft))


def straight_through_argmax(scores: Float[Array, "... n"], tau: Scalar) -> Float[Array, "... n"]:
    """One-hot at the largest score, with the derivatives of softmax(scores / tau)."""
    check_positive("tau", tau, "in units of the scores")
    return straight_through(_largest(scores), softmax(scores, tau))


def straight_through_draw(
    key: Key[Array, ""], scores: Float[Array, "... n"], tau: Scalar = 1.0
) -> Float[Array, "... n"]:
    """One-hot, drawn from softmax(scores), with the derivatives of softmax(scores / tau).

    Only with `tau` 1, in units of the noise, is the gradient of a linear f exact in the mean.
    """
    check_positive("tau", tau, "in units of the noise")
    return straight_through(_largest(perturbed(key, scores)), softmax(scores, tau))


def straight_through_gumbel(
    key: Key[Array, ""], scores: Float[Array, "... n"], tau: Scalar
) -> Float[Array, "... n"]:
    """One-hot, drawn from softmax(scores), with the derivatives of the Gumbel-softmax.

    `tau` > 0 is in units of the noise, whose standard deviation is 1.28.
    """
    soft = gumbel_softmax(key, scores, tau)
    return straight_through(_largest(perturbed(key, scores)), soft)


def _largest(scores: Float[Array, "... n"]) -> Float[Array, "... n"]:
    n = scores.shape[-1]
    return jax.nn.one_hot(scores.argmax(axis=-1), n, dtype=scores.dtype) if n else scores


@pytree
class StraightThrough:
    """Mean and deviation of the gradients of a payoff, at some bend of it."""

    scores: Float[Array, " n"] = knob((1.0, 0.0, -0.5), -3.0, 3.0)
    worth: Float[Array, " n"] = knob((1.0, -0.5, 0.3), -2.0, 2.0, about="f at each corner")
    tau: float = knob(0.5, 0.05, 5.0, log=True, about="softness of the two with Gumbel noise")
    draws: int = size(20_000, 2, 200_000, about="for a mean and a deviation")

    def check(self) -> None:
        if np.shape(self.scores) != np.shape(self.worth):
            accepted = f"as many numbers as scores ({np.size(self.scores)})"
            raise refusal("worth", self.worth, accepted)

    def __call__(self, bend: Float[Array, ""]) -> dict[str, Any]:
        payoff, key, p = Payoff(self.worth, bend), jr.key(0), softmax(self.scores, 1.0)
        exact = payoff.gradient(self.scores)
        # A few corners can be enumerated: no noise in what is said of the plain estimator.
        held = lambda s, hard: payoff(straight_through(hard, softmax(s, 1.0)))
        slopes = jax.vmap(jax.grad(held), (None, 0))(self.scores, jnp.eye(len(p), dtype=p.dtype))
        mean, squares = p @ slopes, p @ (slopes * slopes).sum(axis=1)
        seen = {
            "scores": self.scores,
            "softness": jnp.asarray(self.tau, p.dtype),
            "bias": mean - exact,
            "deviation": jnp.sqrt(jnp.maximum(squares - mean @ mean, 0)),
            "expected": payoff.bias(self.scores),
        }
        several = jnp.broadcast_to(self.scores, (self.draws, len(p)))
        for name, operator in {
            "gumbel_straight_through": straight_through_gumbel,
            "gumbel_softmax": gumbel_softmax,
        }.items():
            total = lambda s, operator=operator: payoff(operator(key, s, self.tau)).sum()
            slopes = jax.grad(total)(several)
            seen[name + ".bias"] = slopes.mean(axis=0) - exact
            seen[name + ".deviation"] = jnp.sqrt(slopes.var(axis=0, ddof=1).sum())
        return seen


def example() -> Sweep:
    """Three choices, and payoffs from one that bulges to one that sags between the corners."""
    return sweep(StraightThrough(), over=jnp.linspace(-4.0, 4.0, 33), name="bend")


@cache
def demo() -> Record:
    """The example."""
    return run(example())


NAMES = {
    "": "straight-through",
    "gumbel_straight_through.": "straight-through Gumbel",
    "gumbel_softmax.": "Gumbel-softmax",
}


def _bias(record: Record) -> Panel:
    length = lambda name: np.linalg.norm(record[name + "bias"], axis=1)
    marks = [Curve(record["bend"], length(name), label, label) for name, label in NAMES.items()]
    title = f"Bias of the gradient, Gumbel at tau {record.last('softness'):.2g}"
    return Panel(title, marks, "bend of the payoff", "length")


def _deviation(record: Record) -> Panel:
    along = record["bend"]
    marks = [Curve(along, record[n + "deviation"], label, label) for n, label in NAMES.items()]
    return Panel("Deviation of one draw", marks, "bend of the payoff", "length")


views: list[View] = [_bias, _deviation, drag("function.scores", (-3.5, 3.5), x="choice", y="score")]


def say(record: Record) -> str:
    """The biases without and with a bend, in a sentence."""
    straight, flat = np.linalg.norm(record["bias"], axis=1), np.argmin(np.abs(record["bend"]))
    gumbel = np.linalg.norm(record["gumbel_straight_through.bias"], axis=1)
    return (
        f"At bend {record['bend'][flat]:.2g} and {record.last('bend'):.2g} the bias is "
        f"{straight[flat]:.2g} and {straight[-1]:.2g} straight through, {gumbel[flat]:.2g} and "
        f"{gumbel[-1]:.2g} with Gumbel noise."
    )


def claim(record: Record) -> Claim:
    """F016: the bias is bend J p, so there is none where f is linear.

    At each bend, the distance between the bias, over all corners by their odds, and bend J p.
    """
    seen = np.linalg.norm(record["bias"] - record["expected"], axis=1)
    # Gradients are of size up to 5, in float32.
    sentence = "Distance of the bias to bend J p, at each bend"
    return Claim(seen, 0.0, 1e-5, sentence, kind="exact")
