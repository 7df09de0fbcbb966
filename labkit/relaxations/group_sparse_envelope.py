"""Training down to k groups: a gradient step, and the proximal map of a convex envelope.

    rows  <-  prox( rows - lr grad L ),        prox of  lr lam S_k

S_k is the tightest convex function below half the squared norm with at most k groups not 0
(`group_envelope`).  At the minimum of L + lam S_k each of the strongest groups has eta = 1 and
pays as in ridge regression, lam x; the others share what is left of k.  A group lasso pays
lam |x_j| for each group: it too makes zeros, but which lam leaves k of them is not known before,
and it shrinks the strong groups as much as the weak ones.  A hard top k keeps the k largest after
each step and does not shrink any.

Here groups are the hidden units of a network: a row has all weights that go in and out of one.
A row that is 0 gets no gradient; it is cut for good.  k is promised only where there is a gap
between the groups: look at `active` beside k at small lam.

Source: S121, Learning k-Level Structured Sparse Neural Networks Using Group Envelope
Regularization.
"""

from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from labkit.claims import Claim
from labkit.method import choice, knob, method
from labkit.record import Record
from labkit.relaxations.group_envelope import envelope, prox, shares
from labkit.relaxations.group_problems import GroupedRegression
from labkit.relaxations.hidden_units import HiddenUnits, Units, digit_units
from labkit.run import run
from labkit.views import Bars, Curve, Panel, View, lines


class State(NamedTuple):
    w: Units


@method
class GroupSparseEnvelope:
    """Proximal gradient descent on a problem whose parameters have `rows`."""

    problem: HiddenUnits | GroupedRegression
    k: float = knob(12.0, 1.0, 64.0, live=True, within=(1e-3, 1e6), about="groups to be left")
    lam: float = knob(0.05, 1e-4, 1.0, log=True, live=True, about="weight of the penalty")
    lr: float = knob(0.3, 0.01, 1.0, log=True, live=True, about="learning rate")
    penalty: str = choice("envelope", "group lasso", "top k", "none")

    steps = 300

    def init(self, key) -> State:
        return State(self.problem.start(key))

    def step(self, state: State, key) -> State:
        grads = jax.grad(self.problem.loss)(state.w)
        w = jax.tree.map(lambda w, g: w - self.lr * g, state.w, grads)
        return State(w._replace(rows=self.shrunk(w.rows)))

    def shrunk(self, rows: Float[Array, "J size"]) -> Float[Array, "J size"]:
        """What the penalty leaves of the rows in one step."""
        norms = jnp.linalg.norm(rows, axis=1)
        if self.penalty == "envelope":
            return prox(rows, self.k, self.lr * self.lam)
        if self.penalty == "group lasso":
            some = norms > 0
            left = jnp.maximum(1.0 - self.lr * self.lam / jnp.where(some, norms, 1.0), 0.0)
            return rows * jnp.where(some, left, 0.0)[:, None]
        if self.penalty == "top k":
            rank = jnp.argsort(jnp.argsort(-norms))
            return jnp.where((rank < jnp.round(self.k))[:, None], rows, 0.0)
        return rows

    def observe(self, state: State) -> dict[str, Any]:
        norms = jnp.linalg.norm(state.w.rows, axis=1)
        loss = self.problem.loss(state.w)
        return {
            "loss": loss,
            "objective": loss + self.lam * envelope(norms, self.k),
            "score": self.problem.score(state.w),
            "norms": norms,
            "eta": shares(norms, self.k, self.lr * self.lam),
            "active": (norms > 0).sum().astype(norms.dtype),
            "k": jnp.asarray(self.k, norms.dtype),
        }


def example(units: int = 64) -> GroupSparseEnvelope:
    """64 hidden units on 400 digits, 12 of them to be left."""
    return GroupSparseEnvelope(digit_units(units))


@cache
def demo() -> Record:
    """The example beside the same network with next to no penalty."""
    # By the same program: at k = 64 the envelope is ridge regression, here of lam 1e-12.
    dense = GroupSparseEnvelope(digit_units(), k=64.0, lam=1e-12)
    return run(example()).beside(dense=run(dense))


def _norms(record: Record) -> Panel:
    norms, before = np.sort(record.last("norms"))[::-1], np.sort(record["norms"][0])[::-1]
    place = np.arange(1, len(norms) + 1)
    k = record.last("k")
    marks = [
        Bars(place, norms, "now", "iterates"),
        Curve(place, before, "at step 0", "start"),
        Curve(np.full(2, k + 0.5), np.array([0.0, max(norms[0], before[0])]), "k", "threshold"),
    ]
    return Panel("Norms of the groups", marks, "place", "norm")


views: list[View] = [
    _norms,
    lines(
        "active",
        "k",
        title="Groups that are not 0",
        y="groups",
        roles={"active": "iterates", "k": "threshold"},
    ),
    lines(
        "score",
        title="On what was held out",
        y="share",
        beside=["dense.score"],
        labels={"score": "with the penalty", "dense.score": "without"},
        roles={"score": "accuracy", "dense.score": "ghost"},
        y_range=(0.0, 1.02),
    ),
]


def say(record: Record) -> str:
    """How many groups are left beside k, and the score."""
    left = f"{record.last('active'):.0f} of {record.last('norms').size} groups are left"
    now = f"Step {record.steps[-1]}: {left} for k = {record.last('k'):.3g}"
    return f"{now}; {record.last('score'):.1%} on what was held out."


def claim(record: Record) -> Claim:
    """S121: the groups left at the end are those asked for, and little accuracy is lost.

    The groups left beyond k, as a number, and what is lost of the accuracy, over 0.02.
    """
    beyond = abs(record.last("active") - record.last("k"))
    lost = record.last("dense.score") - record.last("score")
    sentence = "Groups left, less k; accuracy lost at the end, over 2 points"
    return Claim([beyond, lost / 0.02], [0.0, 1.0], 0.0, sentence, relation="<=")
