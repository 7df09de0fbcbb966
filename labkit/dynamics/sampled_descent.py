"""Descent on batches: each step sees a few samples, drawn with replacement.

    w  <-  w + update(grad L_B(w)),        B: `batch` samples of the data
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Key, PyTree

from labkit.errors import refusal
from labkit.method import method, size
from labkit.problems import Problem
from labkit.rules import Rule, as_rule


class State(NamedTuple):
    w: PyTree  # parameters
    rule: Any  # state of the rule
    grad: PyTree  # of the loss on a batch, at w


@method
class SampledDescent:
    """Descent on `problem` by `rule`, from batches of its data."""

    problem: Problem
    rule: Rule
    batch: int = size(16, 1, 256, about="samples a step")

    def __post_init__(self):
        object.__setattr__(self, "rule", as_rule(self.rule))

    def check(self) -> None:
        """Raise ValueError when the problem has no data to draw from."""
        if getattr(self.problem, "data", None) is None:
            raise refusal("problem", type(self.problem).__name__, "a problem with data")

    def init(self, key) -> State:
        start, first = jr.split(key)
        w = self.problem.start(start)
        return State(w, self.rule.init(w), self._slope(w, first))

    def step(self, state: State, key) -> State:
        updates, rule = self.rule.update(state.grad, state.rule, state.w)
        w = jax.tree.map(jnp.add, state.w, updates)
        return State(w, rule, self._slope(w, key))

    def observe(self, state: State) -> dict[str, Array]:
        """The loss on all data; two norms of the gradient on the batch."""
        leaves = jax.tree.leaves(state.grad)
        return {
            "loss": self.problem.loss(state.w),
            "norm": jnp.sqrt(sum(jnp.vdot(g, g) for g in leaves)),
            "norm1": sum((jnp.sum(jnp.abs(g)) for g in leaves), start=jnp.zeros(())),
        }

    def _slope(self, w: PyTree, key: Key[Array, ""]) -> PyTree:
        data = self.problem.data
        rows = jr.randint(key, (self.batch,), 0, len(jax.tree.leaves(data)[0]))
        return jax.grad(self.problem.loss)(w, jax.tree.map(lambda a: a[rows], data))
