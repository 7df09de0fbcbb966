"""Gradient flow: where gradient descent would go with infinitely small steps.

    dw/dt  =  -lr grad L(w),        time in steps of gradient descent

by the classical Runge-Kutta method of order four.  It is stable while lr * sharpness is below
2.785 times the number of its steps, so there are `substeps` of them or more: lr * sharpness / 2,
up to 100.  The flow does not know of 2 / lr: its sharpness
rises past that threshold, and there gradient descent, which followed it until then, departs.

A rule with a metric D of its own has a flow as well, the "stable flow", in which the state of
the rule moves with the weights:  dw/dt = -2 / edge D^(-1) grad L(w).

Source: F002, the gradient flow of Cohen, Kaur, Li, Kolter and Talwalkar 2021.
"""

from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from labkit import curvature, krylov, rules
from labkit.claims import Claim
from labkit.dynamics import edge_of_stability
from labkit.dynamics.edge_of_stability import crossing
from labkit.method import method, size
from labkit.problems import Problem, digits_network
from labkit.record import Record
from labkit.rules import FlowRule, Sgd
from labkit.run import run
from labkit.runge_kutta import runge_kutta
from labkit.views import lines


MOST = 100  # substeps: beyond, the flow is too stiff to be followed


class State(NamedTuple):
    w: PyTree  # parameters
    rule: Any  # state of the rule
    pairs: krylov.Eigenpairs  # the largest of the Hessian there, in the rule's metric


@method
class GradientFlow:
    """The flow of `rule` on `problem`, in time that counts steps."""

    problem: Problem
    rule: FlowRule = Sgd(lr=0.4)
    substeps: int = size(2, 1, 16, about="least Runge-Kutta steps a step")

    def check(self) -> None:
        rules.check_flow(self.rule)

    def init(self, key) -> State:
        w = self.problem.start(key)
        return self.at(w, self.rule.init(w))

    def at(self, w: PyTree, rule: Any, pairs: krylov.Eigenpairs | None = None) -> State:
        """Time 0 at the weights `w`, where the optimizer has the state `rule`.

        A rule updates its state before it uses it, so the flow starts after one update.
        `pairs` is the largest eigenpair there, where it is known.
        """
        rule = self.rule.update(jax.grad(self.problem.loss)(w), rule, w)[1]
        if pairs is None:
            pairs = curvature.top_eigenpairs(*self._in_metric(w, rule), 1)
        return State(w, rule, pairs)

    def step(self, state: State, key) -> State:
        del key
        place = (state.w, state.rule)
        stiff = jnp.ceil(state.pairs.values[0] / self.rule.edge())  # lr * sharpness / 2
        count = jnp.clip(jnp.nan_to_num(stiff), self.substeps, MOST).astype(jnp.int32)
        substep = lambda _, place: runge_kutta(self._slope, place, 1.0 / count)
        w, rule = jax.lax.fori_loop(0, count, substep, place)
        matmat = curvature.hessian(*self._in_metric(w, rule))
        return State(w, rule, krylov.block_krylov(matmat, state.pairs.vectors, blocks=2))

    def observe(self, state: State) -> dict[str, Array]:
        return {
            "loss": self.problem.loss(state.w),
            "sharpness": state.pairs.values[0],
            "residual": state.pairs.residuals[0],
            "threshold": jnp.asarray(self.rule.edge(), state.pairs.values.dtype),
        }

    def _in_metric(self, w: PyTree, rule: Any) -> tuple[curvature.Loss, Array]:
        """The loss around `w` in the metric of the rule there."""
        loss = curvature.rescaled(self.problem.loss, w, self.rule.metric(rule))
        return loss, jnp.zeros_like(ravel_pytree(w)[0])

    def _slope(self, place: tuple[PyTree, Any]) -> tuple[PyTree, Any]:
        w, rule = place
        grads = jax.grad(self.problem.loss)(w)
        squares = jax.tree.map(jnp.square, grads)
        return rules.velocity(self.rule, rule, grads), self.rule.rate(rule, squares)


def distance(record: Record, name: str = "descent.w") -> Float[np.ndarray, " rows"]:
    """Distance in parameters between this record's `w` and the column `name`, row by row."""
    return np.linalg.norm(record["w"] - record[name], axis=1)


def travelled(record: Record, name: str = "w", start: int = 0) -> float:
    """Length of the path of a column of parameters, from row `start` to the end."""
    return float(np.linalg.norm(np.diff(record[name][start:], axis=0), axis=1).sum())


def example() -> GradientFlow:
    """Gradient flow on 300 digits, in steps of lr 0.4."""
    return GradientFlow(digits_network(samples=300), Sgd(lr=0.4))


@cache
def demo() -> Record:
    """The example beside the gradient descent of `edge_of_stability.demo`."""
    record = run(example(), 500, every=3, probes={"w": lambda s: ravel_pytree(s.w)[0]})
    return record.beside(descent=edge_of_stability.demo())


views = [
    lines(
        "loss",
        title="Loss along the flow",
        y="loss",
        log=True,
        labels={"loss": "flow", "descent.loss": "descent"},
        roles={"loss": "gradient flow", "descent.loss": "descent"},
        beside=["descent.loss"],
    ),
    lines(
        "sharpness",
        "threshold",
        title="Sharpness along the flow",
        y="largest eigenvalue",
        labels={"sharpness": "flow", "descent.sharpness": "descent"},
        roles={"sharpness": "gradient flow", "descent.sharpness": "descent"},
        beside=["descent.sharpness"],
    ),
]


def say(record: Record) -> str:
    """How far past the threshold the flow is."""
    sharpness, threshold = record.last("sharpness"), record.last("threshold")
    return (
        f"After the time of {record.steps[-1]} steps the flow has sharpness {sharpness:.3g}, "
        f"{sharpness / threshold:.0%} of the threshold {threshold:.3g} of gradient descent."
    )


def claim(record: Record) -> Claim:
    """F002: descent follows the flow to the edge, then departs; the flow's sharpness goes on.

    Four numbers, each to be at least 1: 5 % of the way to the crossing over the distance
    there; the distance at the end over twice that; the flow's over descent's sharpness at the
    end; and that sharpness over the threshold.
    """
    first = crossing(record)
    if first is None:
        seen = np.full(4, np.nan)
    else:
        apart = distance(record)
        sharper = record.last("sharpness") / record.last("descent.sharpness")
        past = record.last("sharpness") / record.last("threshold")
        there = max(apart[first], np.finfo(np.float32).tiny)
        near = 0.05 * travelled(record.until(record.steps[first])) / there
        seen = np.array([near, apart[-1] / (2 * there), sharper, past])
    sentence = "5 % of the way / distance, its growth / 2, sharpness / descent's, / threshold"
    return Claim(seen, 1.0, 0.0, sentence, relation=">=")
