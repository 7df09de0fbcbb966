"""A subset of features made soft, and descent on what it leaves unexplained.

    s = sigma(theta / tau)                    how much each feature is in; in for s > 1/2
    z(s) = sum_k a_k m_k(s)                   the variance explained (`feature_moments`)
    loss = 1 - z   or, for classes y = +-1,   (1 - sqrt(z)) / 2
    theta  <-  Adam on  (1 - w) loss + w mean(s),      w = C / (1 + C)

The moments need an order of the samples, which is drawn anew at each step: the mean over orders
is the estimate from all chains.  tau only sets how far a step of theta goes (the public code has
tau = 1/2).  Products of features, as columns, let it see what no single column shows.

What to look for: features rise and sink within some tens of steps.  Drag the number of samples
below that of features.  High orders fail first: their moments scatter.

Source: S115, Feature Gradients: Scalable Feature Selection via Discrete Relaxation.
"""

from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Key

from labkit.adaptive import Adam, AdamState
from labkit.claims import Claim
from labkit.method import choice, knob, method, size
from labkit.record import Record
from labkit.relaxations.feature_moments import HIGHEST, moments
from labkit.relaxations.feature_tables import Table, planted
from labkit.run import run
from labkit.views import Bars, Curve, Panel, View


class State(NamedTuple):
    theta: Float[Array, " d"]
    rule: AdamState
    m: Float[Array, " order"]  # moments in the newest order of the samples
    z: Float[Array, ""]
    gradient: Float[Array, " d"]


@method
class FeatureGradients:
    """Select features of `problem`; `penalty` and `rows` may be turned meanwhile."""

    problem: Table
    order: int = size(4, 1, HIGHEST, about="moments used")
    loss: str = choice("regression", "classification")
    penalty: float = knob(1.0, 0.05, 20.0, log=True, live=True, about="C: price of a feature")
    rows: float = knob(200.0, 10.0, 200.0, live=True, within=(7.0, 1e9), about="samples, at most")
    tau: float = knob(1.0, 0.1, 10.0, log=True, about="softness of s, in units of theta")
    lr: float = knob(0.1, 0.01, 1.0, log=True, live=True, about="of Adam")

    def init(self, key) -> State:
        theta = jnp.zeros_like(self.problem.x[0])
        return State(theta, Adam(self.lr).init(theta), *self._look(key, theta))

    def step(self, state: State, key) -> State:
        updates, rule = Adam(self.lr).update(state.gradient, state.rule)
        theta = state.theta + updates
        return State(theta, rule, *self._look(key, theta))

    def observe(self, state: State) -> dict[str, Any]:
        return {
            "s": jax.nn.sigmoid(state.theta / self.tau),
            "z": state.z,
            "m": state.m,
            "known": self.problem.known,
            "rows": jnp.minimum(self.rows, len(self.problem.y)),
        }

    def _look(self, key: Key[Array, ""], theta: Array) -> tuple[Array, Array, Array]:
        """Moments, z and the gradient of the objective, for a new order of the samples."""
        n = len(self.problem.y)
        rows = jnp.floor(jnp.minimum(self.rows, n))
        chosen = jr.permutation(key, n)
        there = (chosen < rows)[:, None]
        x, y = jnp.where(there, self.problem.x[chosen], 0.0), self.problem.y[chosen] * there[:, 0]

        def objective(theta: Array) -> tuple[Array, tuple[Array, Array]]:
            s = jax.nn.sigmoid(theta / self.tau)
            m = moments(x, y, s, self.order, rows)
            z = self.problem.fits[self.order - 1, : self.order] @ m
            w = self.penalty / (1 + self.penalty)
            if self.loss == "regression":
                unexplained = 1 - z
            else:  # the root is steep at 0
                unexplained = (1 - jnp.sqrt(jnp.clip(z, 1e-3, 1.0))) / 2
            return (1 - w) * unexplained + w * s.mean(), (m, z)

        gradient, (m, z) = jax.grad(objective, has_aux=True)(theta)
        return m, z, gradient


def example() -> FeatureGradients:
    """Five features of forty, 200 samples."""
    return FeatureGradients(planted(0))


@cache
def demo() -> Record:
    """The example over 300 steps."""
    return run(example(), 300, every=2)


def found(record: Record) -> int:
    """How many of the known features are among as many with the largest s."""
    s, known = record.last("s"), record.last("known")
    return int(known[np.argsort(-s)[: known.sum()]].sum())


def _features(record: Record) -> Panel:
    s, known, marks = record["s"], record.last("known"), []
    kinds = {"others": (~known, "ghost"), "to be found": (known, "plan")}
    for label, (which, role) in kinds.items():
        gap = np.full((which.sum(), 1), np.nan)
        steps = np.tile(np.append(record.steps, np.nan), which.sum())
        marks.append(Curve(steps, np.hstack([s[:, which].T, gap]).ravel(), label, role))
    marks.append(Curve(record.steps, np.full(len(record), 0.5), "in or out", "threshold"))
    return Panel("Features rise and sink", marks, "step", "s", y_range=(-0.02, 1.02))


def _now(record: Record) -> Panel:
    s, known = record.last("s"), record.last("known")
    at = np.arange(1, len(s) + 1)
    marks = [
        Bars(at[known], s[known], "to be found", "plan"),
        Bars(at[~known], s[~known], "others", "ghost"),
        Curve(at, np.full(len(s), 0.5), "in or out", "threshold"),
    ]
    title = f"s now, from {record.last('rows'):.0f} samples"
    return Panel(title, marks, "feature", "s", y_range=(0, 1))


def _explained(record: Record) -> Panel:
    steps, one = record.steps, np.ones(len(record))
    marks = [
        Curve(steps, record["z"], "z, in this order of the samples", "loss"),
        Curve(steps, one, "all of it", "threshold"),
    ]
    return Panel("Variance explained, estimated", marks, "step", "z")


views: list[View] = [_features, _now, _explained]


def say(record: Record) -> str:
    """What is selected, in a sentence."""
    s, known = record.last("s"), record.last("known")
    return (
        f"Step {record.steps[-1]}, {record.last('rows'):.0f} samples of {len(s)} features: "
        f"{(s > 0.5).sum()} are in; of the {known.sum()} to be found {found(record)} are on top."
    )


def claim(record: Record) -> Claim:
    """S115: the features that matter are the ones that come out on top, and in.

    Two numbers: the share of the known features among as many with the largest s; and the
    least s among them less the largest of the others.
    """
    s, known = record.last("s"), record.last("known")
    seen = [found(record) / known.sum(), s[known].min() - s[~known].max()]
    sentence = "Share of the known features on top; least s of them less the largest other"
    return Claim(seen, [1.0, 0.3], 0.0, sentence, relation=">=")
