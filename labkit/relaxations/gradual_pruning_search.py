"""Search by gates that die one after the other as a price on them rises.

    g = sigmoid(a),       min over w and a of    L_train(w, g) + lambda R(g)
    R  =  sum_o c_o g_o                           linear
    R  =  sum_o c_o log(1 + g_o / mean g)         log

Weights and gates are trained together on the same data: one level.  After each epoch the gates
below xi are pruned for good; where none was, lambda grows by a factor.  A run therefore walks
through nested sets of survivors, cheaper and cheaper ones: a front of cost and error, from one
search.  A linear R pulls every gate down, also those that are needed; a log R does not notice a
factor common to all of them.

What to look for: on curves made of three of eight functions the walk passes through exactly these
three.  Where an operation has a scale k of its own, (g, k) -> (g / c, c k) leaves the loss as it
is and divides the linear R by c: then the price means nothing.

Source: S069, GOLD-NAS: Gradual, One-Level, Differentiable.
"""

import dataclasses
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PyTree

from labkit.adaptive import Adam
from labkit.claims import Claim
from labkit.method import choice, knob, method, size
from labkit.record import Record
from labkit.relaxations.candidates import (
    NAMES,
    TRUTH,
    best_subsets,
    candidates,
    lasso_subsets,
    linear_cost,
    log_cost,
)
from labkit.run import run
from labkit.views import Curve, Panel, Points, View, lines


class Gated(Protocol):
    """What the search knows of a problem with gates."""

    @property
    def prices(self) -> Float[Array, "edges operations"]: ...

    def start(self, key) -> PyTree: ...

    def loss(self, w: PyTree, g: Float[Array, "edges operations"]) -> Float[Array, ""]: ...

    def error(
        self,
        w: PyTree,
        g: Float[Array, "edges operations"],
        alive: Bool[Array, "edges operations"],
    ) -> Float[Array, ""]: ...


class State(NamedTuple):
    w: PyTree
    a: Float[Array, "edges operations"]
    rule: Any  # of Adam, for both
    alive: Bool[Array, "edges operations"]
    lam: Float[Array, ""]


@method
class GradualPruning:
    """A step is an epoch: `updates` steps of Adam, then those below `xi` are pruned."""

    problem: Gated
    lr: float = knob(0.05, 0.005, 0.2, log=True, about="of weights and gates")
    first: float = knob(0.001, 1e-5, 0.1, log=True, about="lambda to begin with")
    growth: float = knob(1.3, 1.0, 3.0, live=True, within=(1.0, 100.0), about="of lambda")
    xi: float = knob(0.05, 0.0, 0.3, live=True, within=(0.0, 1.0), about="gates below it die")
    least: float = knob(1.0, 0.0, 8.0, within=(0.0, 1e12), about="cost at which to stop")
    updates: int = size(20, 1, 200, about="an epoch")
    penalty: str = choice("linear", "log")

    def init(self, key) -> State:
        w, prices = self.problem.start(key), self.problem.prices
        a = jnp.zeros_like(prices)
        lam = jnp.asarray(self.first, prices.dtype)
        return State(w, a, Adam(self.lr).init((w, a)), jnp.ones(prices.shape, bool), lam)

    def step(self, state: State, key) -> State:
        del key  # the full batch: nothing is random

        def loss(both):
            w, a = both
            g = gates(a, state.alive)
            return self.problem.loss(w, g) + state.lam * self.cost(g, state.alive)

        def update(_, now):
            both, rule = now
            change, rule = Adam(self.lr).update(jax.grad(loss)(both), rule)
            return jax.tree.map(jnp.add, both, change), rule

        now = (state.w, state.a), state.rule
        (w, a), rule = jax.lax.fori_loop(0, self.updates, update, now)
        alive = state.alive & (gates(a, state.alive) >= self.xi)
        none = (alive == state.alive).all()
        return State(w, a, rule, alive, jnp.where(none, self.growth, 1.0) * state.lam)

    def done(self, state: State) -> Array:
        """What is left costs no more than the least."""
        return (self.problem.prices * state.alive).sum() <= self.least

    def cost(
        self, g: Float[Array, "edges operations"], alive: Bool[Array, "edges operations"]
    ) -> Float[Array, ""]:
        """R(g)."""
        if self.penalty == "linear":
            return linear_cost(self.problem.prices, g)
        return log_cost(self.problem.prices, g, alive)

    def observe(self, state: State) -> dict[str, Any]:
        g = gates(state.a, state.alive)
        return {
            "g": g,
            "survivors": state.alive.astype(g.dtype),
            "lam": state.lam,
            "cost": (self.problem.prices * state.alive).sum(),
            "loss": self.problem.loss(state.w, g),
            "error": self.problem.error(state.w, g, state.alive),
        }


def gates(
    a: Float[Array, "edges operations"], alive: Bool[Array, "edges operations"]
) -> Float[Array, "edges operations"]:
    """sigmoid(a), 0 where pruned."""
    return jnp.where(alive, jax.nn.sigmoid(a), 0.0)


def walk(record: Record) -> list[int]:
    """The last row of each set of survivors, when it has had most time to settle."""
    sets = record["survivors"].reshape(len(record), -1)
    changed = (sets[1:] != sets[:-1]).any(axis=1)
    return [*np.flatnonzero(changed).tolist(), len(record) - 1]


def example() -> GradualPruning:
    """Eight candidate functions of equal cost, three of which are in the curve."""
    return GradualPruning(candidates())


@cache
def demo() -> Record:
    """The example; beside it four more draws, the best of all subsets, and the lasso's."""
    record = together([run(GradualPruning(candidates(seed)), 80) for seed in range(5)])
    columns, problem = dict(record.columns), candidates()
    for name, subsets in (("best", best_subsets(problem)), ("lasso", lasso_subsets(problem))):
        found = [[subset.kept.sum(), subset.error] for subset in subsets]
        columns[name] = np.tile(found, (len(record), 1, 1))
    return dataclasses.replace(record, columns=columns)


def together(runs: Sequence[Record]) -> Record:
    """The first run, and the survivors and errors of all; shorter runs repeat their last row."""
    rows, columns = np.arange(max(map(len, runs))), dict(runs[0].columns)
    for name in ("survivors", "error"):
        several = [one[name][np.minimum(rows, len(one) - 1)] for one in runs]
        columns[f"all.{name}"] = np.stack(several, axis=1)
    own = {n: c[np.minimum(rows, len(c) - 1)] for n, c in columns.items() if n in runs[0]}
    return dataclasses.replace(runs[0], steps=rows, columns={**columns, **own})


def _gates(record: Record) -> Panel:
    g = record["g"].reshape(len(record), -1)
    names = roles = [f"gate {i}" for i in range(1, g.shape[1] + 1)]
    if g.shape[1] == len(NAMES):  # the true functions in colour, the others in grey
        names, kinds = list(NAMES), zip(NAMES, TRUTH > 0, strict=True)
        roles = [name if true else f"ghost {i}" for i, (name, true) in enumerate(kinds, 1)]
    shown = lambda column: np.where(column > 0, column, np.nan)  # a line ends where a gate dies
    marks = [
        Curve(record["lam"], shown(g[:, i]), name, role)
        for i, (name, role) in enumerate(zip(names, roles, strict=True))
    ]
    return Panel("Gates while the price rises", marks, "lambda", "gate", log_x=True)


def _front(record: Record) -> Panel:
    rows = walk(record)
    cost, error = record["cost"][rows], record["error"][rows]
    marks = [Curve(cost, error, "survivors", "pruned"), Points(cost, error, "", "pruned")]
    if "best" in record:
        # All but the empty set, whose error is far above.
        for name, label in (("lasso", "lasso's path"), ("best", "best of all subsets")):
            sizes, errors = record.last(name)[1:].T
            marks.append(Points(sizes, errors, label, "minimum" if name == "best" else "lasso"))
    return Panel("Cost and error", marks, "cost of the survivors", "error", log_y=True)


views: list[View] = [
    _gates,
    _front,
    lines("lam", title="Price", y="lambda", x="epoch", log=True, labels={"lam": "lambda"}),
]


def say(record: Record) -> str:
    """How many are left and how well they do, in a sentence."""
    left, lam = int(record.last("survivors").sum()), record.last("lam")
    several = len(walk(record))
    seen = f"Epoch {record.steps[-1]}, lambda {lam:.3g}: {left} operations left"
    return f"{seen}, {several} different sets so far, error {record.last('error'):.3g}."


def claim(record: Record) -> Claim:
    """S069: every walk is nested, of five sets or more, and passes through the true three.

    Five draws, shares of them: walks that only lose members, that have five sets or more, that
    have the three; and the largest distance of the refitted error there to 0.01, over 0.002.
    """
    sets, errors = record["all.survivors"][:, :, 0] > 0, record["all.error"]
    nested = (sets[1:] <= sets[:-1]).all(axis=(0, 2))
    several = 1 + (sets[1:] != sets[:-1]).any(axis=2).sum(axis=0) >= 5
    true = (sets == (TRUTH > 0)).all(axis=2)
    off = np.abs(np.where(true, errors, 0.01) - 0.01).max() / 0.002
    seen = [1 - nested.mean(), 1 - several.mean(), 1 - true.any(axis=0).mean(), off]
    sentence = "Draws whose walk is not nested, is short, misses the three; error there off / 20 %"
    return Claim(seen, [0.0, 0.0, 0.0, 1.0], 0.0, sentence, relation="<=")
