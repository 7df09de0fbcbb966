"""A search whose softmax grows sparse, so that little is left for the last cut to take away.

    p = softmax((alpha + noise g) / tau),      tau_k = tau_0 (tau_end / tau_0)^(k / K)

The supernet of a search at tau 1 mixes all operations, and keeping one on each edge makes it
another network.  As tau goes to 0 the mixture becomes that one.  But so does the slope die:

    |dp / d alpha|  =  sqrt(sum p^2 - 2 sum p^3 + (sum p^2)^2) / tau  ->  0,      without ties

Gumbel noise g of a scale that does not shrink with tau keeps it alive.  Two noisy logits tie at
the top with density p_i p_j / noise, p = softmax(alpha / noise), and each tie weighs 2, so that

    E |dp / d alpha|  ->  (1 - sum p^2) / noise        as tau -> 0

Noise of the scale of tau does not help.  With `entropy` as the schedule, tau is multiplied by
exp(rate (target - H) / log n) a step, H the mean entropy of the edges and the target a line
from log n to 0: tau falls as fast as the shares do.  (tau is the paper's T.  The forms of the
noise and of the adaptive schedule are ours.)

Source: S106, Small Temperature is All You Need for Differentiable Architecture Search.
"""

from functools import cache
from typing import Any, NamedTuple

import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Key

from labkit.adaptive import Adam
from labkit.claims import Claim
from labkit.method import Scalar, choice, knob, method, replace
from labkit.record import Record
from labkit.relaxations import darts
from labkit.relaxations.cell_search import CellSearch, entropy, jump, race, told
from labkit.relaxations.cells import Supernet, digit_cells
from labkit.relaxations.darts import Darts
from labkit.relaxations.softmax import softmax
from labkit.rules import Rule
from labkit.run import run
from labkit.views import View, lines


RATE = 0.1  # of the adaptive schedule
DRAWS = 64  # of the noise, to see the mean slope


def slope_norm(scores: Float[Array, "... n"], tau: Scalar) -> Float[Array, "..."]:
    """|dp / d scores|, the Frobenius norm of (diag p - p p') / tau."""
    p = softmax(scores, tau)
    beside = p[..., :, None] * p[..., None, :]
    beside = beside * jnp.broadcast_to(1.0 - jnp.eye(p.shape[-1], dtype=p.dtype), beside.shape)
    diagonal = beside.sum(axis=-1)  # p (1 - p), but no difference of 1 and nearly 1
    return jnp.sqrt((beside**2).sum(axis=(-1, -2)) + (diagonal**2).sum(axis=-1)) / tau


def noisy_slope_norm(
    key: Key[Array, ""], scores: Float[Array, "... n"], tau: Scalar, noise: Scalar, draws: int
) -> Float[Array, "..."]:
    """The mean of the norm over `draws` draws of Gumbel noise of this scale."""
    g = jr.gumbel(key, (draws, *scores.shape), scores.dtype)
    return slope_norm(scores[None] + noise * g, tau).mean(axis=0)


def exponential(count: Scalar, start: Scalar, end: Scalar, over: Scalar) -> Scalar:
    """start (end / start)^(count / over), and `end` from there on."""
    return start * (end / start) ** jnp.minimum(count / over, 1.0)


def adapted(
    tau: Scalar,
    p: Float[Array, "edges n"],
    count: Scalar,
    over: Scalar,
    most: Scalar,
    least: Scalar,
) -> Scalar:
    """tau, a little lower where the mean entropy is above its line, higher where it is below."""
    highest = np.log(p.shape[-1])
    target = highest * (1.0 - jnp.minimum(count / over, 1.0))
    factor = jnp.exp(RATE * (target - entropy(p).mean()) / highest)
    return jnp.clip(tau * factor, jnp.minimum(least, most), jnp.maximum(least, most))


class State(NamedTuple):
    search: darts.State
    tau: Float[Array, ""]
    count: Float[Array, ""]  # steps so far


@method
class LowTemperatureSearch:
    """The search of first order with a temperature that moves; "constant" holds it at `start`."""

    space: Supernet
    schedule: str = choice("exponential", "entropy", "constant")
    start: float = knob(1.0, 0.02, 5.0, log=True, live=True, about="tau at first")
    end: float = knob(0.05, 0.02, 5.0, log=True, live=True, about="tau in the end")
    over: float = knob(200.0, 20.0, 1000.0, log=True, live=True, about="steps from first to last")
    noise: float = knob(
        0.3, 0.0, 2.0, live=True, within=(0.0, np.inf), about="scale of the noise on the logits"
    )
    weights: Rule = Adam(lr=0.02)
    architecture: Rule = Adam(lr=0.02, beta1=0.5, beta2=0.999)

    def init(self, key) -> State:
        dtype = self.space.train.x.dtype
        search = self._at(self.start).init(key)
        return State(search, jnp.asarray(self.start, dtype), jnp.zeros((), dtype))

    def step(self, state: State, key) -> State:
        count, tau = state.count + 1.0, jnp.asarray(self.start, state.tau.dtype)
        if self.schedule == "exponential":
            tau = exponential(count, self.start, self.end, self.over)
        if self.schedule == "entropy":
            p = softmax(state.search.alpha, state.tau)
            tau = adapted(state.tau, p, count, self.over, self.start, self.end)
        search = self._at(tau).step(state.search, key)
        return State(search, jnp.asarray(tau), count)

    def observe(self, state: State) -> dict[str, Any]:
        seen = self._at(state.tau).observe(state.search)
        alpha = state.search.alpha
        slopes = noisy_slope_norm(jr.key(0), alpha, state.tau, self.noise, DRAWS)
        return {
            **seen,
            "slope": slope_norm(alpha, state.tau).mean(),
            "noisy_slope": slopes.mean(),
            "noise": jnp.asarray(self.noise, alpha.dtype),
        }

    def _at(self, tau: Scalar) -> Darts:
        problem = CellSearch(self.space, tau=tau, noise=self.noise)
        return Darts(problem, self.weights, self.architecture, mode="first order")


def example() -> LowTemperatureSearch:
    """The cells of the digits, tau from 1 to 0.05 in 200 steps."""
    return LowTemperatureSearch(digit_cells())


@cache
def demo() -> Record:
    """The example beside the same search at tau 1 and without noise."""
    plain = replace(example(), {"end": 1.0, "noise": 0.0})
    return run(example(), 220, every=5).beside(plain=run(plain, 220, every=5))


_slopes = lines(
    "slope",
    "noisy_slope",
    title="Length of dp / d alpha, mean of the edges",
    y="length",
    labels={"slope": "without noise", "noisy_slope": "mean over the noise"},
    roles={"slope": "gradient", "noisy_slope": "gumbel"},
)
_gap = lines(
    "gap",
    "tau",
    title="Jump of the loss by the last cut",
    y="cross entropy, and tau",
    labels={"gap": "jump", "plain.gap": "jump at tau 1"},
    roles={"gap": "sharpness", "tau": "threshold", "plain.gap": "ghost"},
    beside=["plain.gap"],
    log=True,
)

views: list[View] = [race(), jump, _gap, _slopes]


def say(record: Record) -> str:
    """How sharp the shares are and what the last cut would cost, in a sentence."""
    return (
        f"Step {record.steps[-1]}: tau {record.last('tau'):.3g}, "
        f"entropy {np.mean(record.last('entropy')):.2f} nats; {told(record.last('cell'))}: "
        f"loss {record.last('supernet'):.3f} with all, "
        f"{record.last('discrete'):.3f} with these alone."
    )


def claim(record: Record) -> Claim:
    """S106: a small temperature closes the gap between the supernet and the cell cut from it."""
    late = slice(-3, None)
    seen = np.median(record["gap"][late]) / np.median(record["plain.gap"][late])
    sentence = "Jump by the last cut, beside that of the same search at tau 1"
    return Claim(seen, 1 / 3, 0.0, sentence, relation="<=")
