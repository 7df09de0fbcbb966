"""Something without iterations, as a method: step k looks at one value of many.

The axis is whatever a student should walk along: a temperature, the rows of a plane
through the weights, the probes of a stochastic estimate.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from labkit.errors import refusal
from labkit.method import is_part, method, static


class State(NamedTuple):
    index: Int[Array, ""]  # into the values


@method
class Sweep:
    """`function(value)` for each value in `over`; the knobs of `function` are its knobs."""

    function: Callable[[Array], Mapping[str, Any]]
    over: Float[Array, "k ..."]
    name: str = static(default="value")  # of the column that holds the values

    @property
    def steps(self) -> int:
        """From the first value to the last."""
        return len(self.over) - 1

    def init(self, key) -> State:
        del key
        return State(jnp.zeros((), jnp.int32))

    def step(self, state: State, key) -> State:
        del key
        return State(jnp.minimum(state.index + 1, len(self.over) - 1))

    def observe(self, state: State) -> dict[str, Any]:
        value = self.over[state.index]
        return {self.name: value, **self.function(value)}


def sweep(function: Any, over: Any, name: str = "value") -> Sweep:
    """Walk `function` along the values in `over` [k, ...]; their column is called `name`.

    `function` is a dataclass made with `pytree` that has `__call__(value) -> dict`, whose
    knobs can then be turned, or a plain function.  Raises ValueError when there are no values.
    """
    over = jnp.asarray(over)
    if over.ndim == 0 or len(over) == 0:
        raise refusal("over", over, "an array of one value or more")
    return Sweep(function if is_part(function) else jax.tree_util.Partial(function), over, name)
