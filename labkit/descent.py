"""Descent on a problem by any rule: gradient descent is `Descent(problem, Sgd(lr))`.

w <- w + update(grad L(w)), the full batch at each step.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from labkit.method import method
from labkit.problems import Problem
from labkit.rules import Rule, as_rule
from labkit.views import lines


class State(NamedTuple):
    w: PyTree  # parameters
    rule: Any  # state of the rule
    loss: Float[Array, ""]  # L(w)
    grad: PyTree  # grad L(w), kept so that a step costs one gradient


@method
class Descent:
    """Full-batch descent on `problem` by a rule of ours or of optax."""

    problem: Problem
    rule: Rule

    def __post_init__(self):
        object.__setattr__(self, "rule", as_rule(self.rule))

    def init(self, key) -> State:
        w = self.problem.start(key)
        return State(w, self.rule.init(w), *jax.value_and_grad(self.problem.loss)(w))

    def step(self, state: State, key) -> State:
        del key  # the full batch: nothing is random
        updates, rule = self.rule.update(state.grad, state.rule, state.w)
        w = jax.tree.map(jnp.add, state.w, updates)
        return State(w, rule, *jax.value_and_grad(self.problem.loss)(w))

    def observe(self, state: State) -> dict[str, Array]:
        squares = sum(jnp.vdot(g, g) for g in jax.tree.leaves(state.grad))
        return {"loss": state.loss, "gradient_norm": jnp.sqrt(squares)}


views = [
    lines("loss", title="Loss", log=True),
    lines("gradient_norm", title="Gradient norm", log=True),
]
