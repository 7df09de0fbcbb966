"""Descent on batches: each step sees a few samples, drawn with replacement.

    w  <-  w + update(grad L_B(w)),        B: `samples` rows of the data

The gradient that is seen is the one that led to w; at the start there is none yet: zeros.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PyTree

from labkit.dynamics.schedules import Given, Paced
from labkit.errors import refusal
from labkit.fan import fan
from labkit.method import method, size
from labkit.problems import Problem
from labkit.rules import Rule, as_rule


class SampledProblem(Problem, Protocol):
    """A problem with data to draw from: a pytree of arrays [samples, ...]."""

    @property
    def data(self) -> Any: ...


class State(NamedTuple):
    w: PyTree  # parameters
    rule: Any  # state of the rule
    grad: PyTree  # of the loss on the batch, at the w before


@method
class SampledDescent:
    """Descent on `problem` by `rule`, from batches of its data."""

    problem: SampledProblem
    rule: Rule
    samples: int = size(16, 1, 256, about="of a batch")

    def __post_init__(self):
        object.__setattr__(self, "rule", as_rule(self.rule))

    def check(self) -> None:
        """Raise ValueError when the problem has no data to draw from."""
        if getattr(self.problem, "data", None) is None:
            raise refusal("problem", type(self.problem).__name__, "a problem with data")

    def init(self, key) -> State:
        w = self.problem.start(key)
        return State(w, self.rule.init(w), jax.tree.map(jnp.zeros_like, w))

    def step(self, state: State, key) -> State:
        data = self.problem.data
        rows = jr.randint(key, (self.samples,), 0, len(jax.tree.leaves(data)[0]))
        grad = jax.grad(self.problem.loss)(state.w, jax.tree.map(lambda a: a[rows], data))
        updates, rule = self.rule.update(grad, state.rule, state.w)
        return State(jax.tree.map(jnp.add, state.w, updates), rule, grad)

    def observe(self, state: State) -> dict[str, Array]:
        """The loss on all data; two norms of the gradient on the batch."""
        leaves = jax.tree.leaves(state.grad)
        return {
            "loss": self.problem.loss(state.w),
            "norm": jnp.sqrt(sum(jnp.vdot(g, g) for g in leaves)),
            "norm1": sum((jnp.sum(jnp.abs(g)) for g in leaves), start=jnp.zeros(())),
        }


def final_losses(
    problem: SampledProblem,
    schedules: Mapping[str, Float[np.ndarray, " T"]],
    lrs: Sequence[float],
    seeds: int = 4,
    samples: int = 16,
) -> Float[np.ndarray, "schedules lrs seeds"]:
    """The loss on all data after T steps with each schedule; infinite where a run ended early."""
    shapes = [np.asarray(shape, float) for shape in schedules.values()]
    steps = len(shapes[0])
    paced = Paced(Given(jnp.asarray(shapes[0])), lrs[0])
    method = SampledDescent(problem, paced, samples)
    over = {"factors": shapes, "lr": list(lrs), "key": seeds}
    runs = fan(method, steps, over=over, every=steps).records
    ends = [r.last("loss") if r.steps[-1] == steps else np.inf for r in runs]
    return np.nan_to_num(ends, nan=np.inf).reshape(len(shapes), len(lrs), seeds)
