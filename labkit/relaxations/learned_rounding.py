"""Rounding weights up or down by what it does to the outputs of their layer.

    w_q  =  low + h(V) (high - low),      h(V)  =  clip(1.2 sigma(V) - 0.1, 0, 1)
    minimise   |X w - X w_q|^2 / c  +  lam t^2 sum (1 - |2 h - 1|^beta)

A weight is between two lines of a grid.  V starts where w_q = w; t goes from 0 to 1, and the
second term then pulls every h to 0 or 1.  c is the error of the nearest rounding, so that the two
terms compare.  Nearest rounding makes each |w - w_q| least; learned rounding may take the farther
line where errors cancel in the outputs.  With X'X = I there is nothing to cancel, and nearest is
the best.  Few inputs allow all roundings to be tried: the yardstick.

It is a descent among 2^inputs corners: it may end at a corner worse than the nearest rounding.
`learned` is the better of the two, `hard` what h itself came to.

Source: S123, Gradient-Based Post-Training Quantization: Challenging the Status Quo.
"""

from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from labkit.adaptive import Adam
from labkit.claims import Claim
from labkit.method import Latest, Scalar, choice, knob, method, size
from labkit.record import Record
from labkit.relaxations.rounding_views import pictures, shown
from labkit.relaxations.roundings import (
    Between,
    Problem,
    at,
    enumerated,
    fraction,
    neighbours,
    neuron,
    output_error,
    random_layer,
)
from labkit.rules import Rule
from labkit.run import run


MOST_TRIED = 12  # inputs of which all roundings are tried


def stretched(v: Float[Array, "..."]) -> Float[Array, "..."]:
    """h = clip(1.2 sigma(V) - 0.1, 0, 1), which reaches 0 and 1."""
    return jnp.clip(1.2 * jax.nn.sigmoid(v) - 0.1, 0.0, 1.0)


def unstretched(h: Float[Array, "..."]) -> Float[Array, "..."]:
    """The V of an h in [0, 1]."""
    share = (h + 0.1) / 1.2
    return jnp.log(share) - jnp.log1p(-share)


class State(NamedTuple):
    v: Float[Array, "inputs outputs"]
    gain: Float[Array, " outputs"]  # logarithm of what multiplies the grid
    rule: Any
    count: Float[Array, ""]  # steps so far


@method
class LearnedRounding:
    """The rounding of one layer; each output has a grid and an error of its own."""

    problem: Problem
    rule: Rule = Adam(0.03)
    bits: Scalar = knob(3.0, 2.0, 8.0, within=(2.0, 16.0), about="of the grid, rounded")
    power: float = knob(1.0, 1.0, 3.0, within=(0.1, 10.0), about="of the grid; 1 is uniform")
    lam: float = knob(4.0, 0.0, 20.0, live=True, within=(0.0, 1e6), about="pull to 0 or 1")
    beta: float = knob(2.0, 1.0, 20.0, live=True, within=(1.0, 100.0), about="of the pull")
    criterion: str = choice("squared", "cosine", about="between the outputs")
    learn: str = choice("rounding", "rounding and scale", about="what moves")
    length: int = size(1000, 1, 10_000, about="steps until t = 1")

    @property
    def steps(self) -> int:
        """Until t = 1."""
        return self.length

    def init(self, key) -> State:
        _, w, between = self._terms()
        free = (unstretched(fraction(w, between)), jnp.zeros(w.shape[1], w.dtype))
        return State(free[0], free[1], self.rule.init(free), jnp.zeros((), w.dtype))

    def step(self, state: State, key) -> State:
        t = jnp.minimum(state.count / self.length, 1.0)
        free = state.v, state.gain
        grads = jax.grad(lambda free: self.objective(free[0], free[1], t))(free)
        if self.learn == "rounding":
            grads = (grads[0], jnp.zeros_like(grads[1]))
        updates, rule = self.rule.update(grads, state.rule, free)
        v, gain = jax.tree.map(jnp.add, free, updates)
        return State(v, gain, rule, state.count + 1.0)

    def objective(
        self, v: Float[Array, "inputs outputs"], gain: Float[Array, " outputs"], t: Array
    ) -> Float[Array, ""]:
        """The sum over outputs of an error, beside that of the nearest, and the pull."""
        (x, w, between), h = self._terms(), stretched(v)
        near = at(between, jnp.round(fraction(w, between)))
        off = lambda w_q: self._error(x, w, w_q)
        c = jnp.maximum(off(near), jnp.finfo(w.dtype).tiny)
        pull = 1.0 - jnp.abs(2.0 * h - 1.0) ** self.beta
        error = off(jnp.exp(gain)[None] * at(between, h))
        return (error / c).sum() + self.lam * t**2 * pull.sum()

    def _terms(self) -> tuple[Array, Array, Between]:
        x, w = self.problem.terms()
        return x, w, neighbours(w, jnp.round(self.bits), self.power)

    def _error(self, x, w, w_q) -> Float[Array, " outputs"]:
        if self.criterion == "squared":
            return output_error(x, w_q - w)
        one, other = x @ w, x @ w_q
        tiny = jnp.finfo(w.dtype).tiny
        lengths = jnp.sqrt((one**2).sum(axis=0) * (other**2).sum(axis=0) + tiny)
        return 1.0 - (one * other).sum(axis=0) / lengths

    def rounded(self, state: State) -> Float[Array, "inputs outputs"]:
        """The better of what h came to and the nearest rounding, for each output."""
        (x, w, between), gain = self._terms(), jnp.exp(state.gain)[None]
        near = at(between, jnp.round(fraction(w, between)))
        hard = gain * at(between, jnp.round(stretched(state.v)))
        better = output_error(x, hard - w) <= output_error(x, near - w)
        return jnp.where(better[None], hard, near)

    def observe(self, state: State) -> dict[str, Any]:
        (x, w, between), h = self._terms(), stretched(state.v)
        near, gain = jnp.round(fraction(w, between)), jnp.exp(state.gain)[None]
        off = lambda h, gain: output_error(x, gain * at(between, h) - w)
        seen = {
            "w": Latest(w),
            "h": h,
            "soft": off(h, gain),
            "hard": off(jnp.round(h), gain),
            "nearest": off(near, jnp.ones_like(gain)),
            "learned": output_error(x, self.rounded(state) - w),
            "flips": (jnp.round(h) != near).mean(dtype=w.dtype),
            "undecided": jnp.minimum(h, 1.0 - h).max(),
            "low": Latest(between.low),
            "high": Latest(between.high),
        }
        if len(w) <= MOST_TRIED:
            tried = enumerated((x, w), between)
            seen |= {"best": tried.min(axis=0), "tried": Latest(jnp.sort(tried, axis=0))}
        return seen


def example() -> LearnedRounding:
    """Ten weights of one neuron, to be dragged, on a grid of three bits."""
    return LearnedRounding(neuron(), length=400)


@cache
def demo() -> Record:
    """Forty neurons of ten inputs each, every fortieth step seen."""
    return run(LearnedRounding(random_layer()), every=40)


views = pictures


def say(record: Record) -> str:
    """The error of the rounding so far, beside the nearest and the best."""
    o = shown(record)
    hard, near = record.last("hard")[o], record.last("nearest")[o]
    if near == 0:
        return f"Step {record.steps[-1]}: all weights lie on lines, and the nearest have no error."
    seen = f"Step {record.steps[-1]}: rounded now, the error is {hard / near:.2f} of the nearest's"
    if "best" in record:
        seen += f", where the best of all has {record.last('best')[o] / near:.2f}"
    return f"{seen}; {record.last('flips'):.0%} of the weights go to the farther line."


def claim(record: Record) -> Claim:
    """S123: learned rounding beats the nearest, and never the best of all.

    Over the outputs: the median of learned / nearest, over 0.75; the share where what h came to
    is worse than the nearest, over 0.1; how far any h is from 0 or 1, over 1e-6; and how far
    learned is below the best, as a part of it.
    """
    near, best, learned = (record.last(name) for name in ("nearest", "best", "learned"))
    worse = (record.last("hard") > near * (1 + 1e-5)).mean()
    seen = [np.median(learned / near) / 0.75, worse / 0.1, record.last("undecided") / 1e-6]
    below = (1.0 - learned / best).max()
    sentence = "Median error / nearest, over 0.75; share worse, over 0.1; undecided; below the best"
    return Claim([*seen, below], [1.0, 1.0, 1.0, 0.0], 1e-4, sentence, relation="<=")
