"""Programs proposed by a network from examples, for all tasks at once.

    z = g(truth table; w),    minimise  sum_tables sum_r w_r (error_r + lam E[length]_r)

g gives the logits of `trees` trees for each table, w_r = softmax_r(- loss_r / SHARP) lets the
best of them learn most, and all 2^4 tables of two inputs share the network.  What one task
finds others may use, and a new table costs one pass instead of a run.

Look at how many of the 16 tables are solved, beside logits that are free.

Source: part of S030, From Perception to Programs: Regularize, Overparameterize, and Amortize.
"""

from itertools import product
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from labkit.adaptive import Adam
from labkit.method import Scalar, choice, knob, method, size
from labkit.models import MLP
from labkit.record import Record
from labkit.relaxations.boolean_programs import (
    OPERATIONS,
    Tree,
    all_cases,
    evaluate,
    expected_length,
    rounded,
    softened,
)
from labkit.views import Bars, Panel, View, lines


SHARP = 0.02  # of the loss, below which two trees count as equally good
NODES, LEAVES = 3, 4  # of trees of depth 2
TABLES = np.array(list(product((0.0, 1.0), repeat=4)))


class State(NamedTuple):
    w: Any  # of the network, or the logits themselves
    rule: Any  # of Adam


@method
class AmortizedPrograms:
    """Trees for every table, from one network or each from logits of its own."""

    lam: Scalar = knob(0.01, 0.0, 0.1, live=True, about="weight of the length")
    lr: float = knob(0.02, 0.001, 0.2, log=True, live=True, about="of Adam")
    trees: int = size(4, 1, 16, about="for each table")
    width: int = size(64, 4, 128, about="of the network")
    source: str = choice("network", "free logits")

    steps = 500

    def init(self, key) -> State:
        network = self._network.init(key)
        # Free logits begin where those of the network do.
        w = network if self.source == "network" else self._logits(network, "network")
        return State(w, Adam(self.lr).init(w))

    def step(self, state: State, key) -> State:
        del key
        update, rule = Adam(self.lr).update(jax.grad(self._loss)(state.w), state.rule, state.w)
        return State(jax.tree.map(jnp.add, state.w, update), rule)

    def observe(self, state: State) -> dict[str, Any]:
        hard = rounded(self._logits(state.w, self.source))
        right = self._errors(hard) == 0.0
        length = jax.vmap(jax.vmap(expected_length))(hard)
        solved = right.any(axis=1)
        return {
            "solved": solved.mean(),
            "each": right.mean(axis=1),
            "length": jnp.sum(jnp.where(right, length, 0.0)) / jnp.maximum(right.sum(), 1),
            "loss": self._loss(state.w),
        }

    @property
    def _network(self) -> MLP:
        return MLP((4, self.width, self.trees * (NODES * len(OPERATIONS) + LEAVES * 2)))

    def _logits(self, w: Any, source: str) -> Tree:
        if source == "free logits":
            return w
        out = self._network.apply(w, jnp.asarray(2.0 * TABLES - 1.0, float))
        out = out.reshape(len(TABLES), self.trees, -1)
        nodes, leaves = jnp.split(out, [NODES * len(OPERATIONS)], axis=2)
        shape = (len(TABLES), self.trees)
        return Tree(nodes.reshape(*shape, NODES, -1), leaves.reshape(*shape, LEAVES, 2))

    def _errors(self, trees: Tree) -> Float[Array, "tables trees"]:
        cases = jnp.asarray(all_cases(2), float)
        values = jax.vmap(jax.vmap(lambda tree: evaluate(tree, cases)))(trees)
        return jnp.mean((values - jnp.asarray(TABLES, float)[:, None]) ** 2, axis=2)

    def _loss(self, w: Any) -> Array:
        soft = softened(self._logits(w, self.source), 1.0)
        losses = self._errors(soft) + self.lam * jax.vmap(jax.vmap(expected_length))(soft)
        return jnp.sum(jax.lax.stop_gradient(jax.nn.softmax(-losses / SHARP)) * losses)


def example() -> AmortizedPrograms:
    """Four trees for each of the 16 tables, from one network."""
    return AmortizedPrograms()


def _each(record: Record) -> Panel:
    names = np.array(["".join(map(str, table)) for table in TABLES.astype(int)])
    bars = Bars(names, record.last("each"), "share of its trees", "iterates")
    return Panel("Right programs for each table", [bars], "truth table", "share", y_range=(0, 1))


views: list[View] = [
    _each,
    lines("solved", title="Tables with a right program", y="share", y_range=(0.0, 1.05)),
    lines("length", title="Mean length of right programs", y="nodes that do something"),
]


def say(record: Record) -> str:
    """How many tables have a program, in a sentence."""
    solved = round(16 * float(record.last("solved")))
    length = record.last("length")
    return f"Step {record.steps[-1]}: {solved} of 16 tables solved, with {length:.2f} nodes each."
