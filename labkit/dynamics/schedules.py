"""Learning-rate schedules over T steps: named shapes, drawn ones, and ones that are given.

A schedule says the factor of step t = 1 ... T, and `Paced` is the rule that uses it:

    w  <-  w - lr factor_t g

Factors are leaves or made from leaves, so that a schedule can be turned, drawn, optimized
and fanned without compiling again.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from labkit.errors import refusal
from labkit.method import Scalar, choice, knob, pytree, size


class AnySchedule(Protocol):
    """What a rule and a bound know of a schedule."""

    @property
    def steps(self) -> int: ...

    def at(self, t: Int[Array, ""]) -> Float[Array, ""]: ...


def factors(schedule: AnySchedule) -> Float[Array, " steps"]:
    """The factors of all steps 1 ... T."""
    return jax.vmap(schedule.at)(jnp.arange(1, schedule.steps + 1))


@pytree
class Schedule:
    """A shape by its name, 1 at its largest; u = (t - 1) / T is the share of the way.

    constant  1                       wsd     min(1, (1 - u) / cooldown)
    linear    1 - u                   cosine  (1 + cos(pi u)) / 2
    root      1 / sqrt(t)             stairs  1, then 1/10 from u = 1/2, 1/100 from 3/4

    wsd (warm-up, stable, decay) is here without the warm-up.
    """

    shape: str = choice("wsd", "constant", "linear", "cosine", "root", "stairs")
    cooldown: Scalar = knob(0.2, 0.02, 1.0, within=(0.0, 1.0), about="share of the steps, in wsd")
    steps: int = size(400, 2, 4000, about="T")

    def at(self, t: Int[Array, ""]) -> Float[Array, ""]:
        """The factor of step t."""
        t = jnp.asarray(t, jnp.result_type(float))
        u = (t - 1.0) / self.steps
        shapes: dict[str, Callable[[], Array]] = {
            "constant": lambda: jnp.ones_like(u),
            # From whole numbers: 1 - u is off by a rounding, which a short cooldown enlarges.
            "wsd": lambda: jnp.minimum(1.0, (self.steps - t + 1.0) / (self.cooldown * self.steps)),
            "linear": lambda: (self.steps - t + 1.0) / self.steps,
            "cosine": lambda: (1.0 + jnp.cos(jnp.pi * u)) / 2.0,
            "root": lambda: 1.0 / jnp.sqrt(t),
            "stairs": lambda: jnp.where(u < 0.5, 1.0, jnp.where(u < 0.75, 0.1, 0.01)),
        }
        return shapes[self.shape]()


@pytree
class Drawn:
    """Straight lines between `knots` at even places, the first at step 1, the last after T.

    Knots (1, 0) are linear decay.
    """

    knots: Float[Array, " k"] = knob((1.0, 1.0, 1.0, 1.0, 0.5, 0.0), 0.0, 1.0, within=(0.0, 1e6))
    steps: int = size(200, 2, 1000, about="T")

    def check(self) -> None:
        """Raise ValueError when nothing is left of the schedule."""
        if not np.any(np.asarray(self.knots) > 0):
            raise refusal("knots", self.knots, "at least one above 0")

    def at(self, t: Int[Array, ""]) -> Float[Array, ""]:
        """The factor of step t."""
        u = (jnp.asarray(t, jnp.result_type(float)) - 1.0) / self.steps
        knots = jnp.asarray(self.knots)
        return jnp.interp(u, jnp.linspace(0.0, 1.0, len(knots)), knots)


@pytree
class Given:
    """Factors one by one: optimized, refined, or those of a schedule of optax."""

    factors: Float[Array, " steps"] = knob((1.0, 0.5), 0.0, 1.0, within=(0.0, 1e6))

    @property
    def steps(self) -> int:
        """T."""
        return len(self.factors)

    def at(self, t: Int[Array, ""]) -> Float[Array, ""]:
        """The factor of step t; after the last, that of the last."""
        return jnp.asarray(self.factors)[jnp.clip(t - 1, 0, self.steps - 1)]


class PacedState(NamedTuple):
    count: Int[Array, ""]  # steps taken


@pytree
class Paced:
    """w <- w - lr factor_t g."""

    schedule: AnySchedule = Schedule()
    lr: Scalar = knob(0.1, 0.001, 10.0, log=True, about="learning rate where the factor is 1")

    def init(self, params: PyTree) -> PacedState:
        del params
        return PacedState(jnp.zeros((), jnp.int32))

    def update(self, grads: PyTree, state: PacedState, params: PyTree = None):
        del params
        lr = self.lr * self.schedule.at(state.count + 1)
        return jax.tree.map(lambda g: (-lr * g).astype(g.dtype), grads), PacedState(state.count + 1)


def decay(weights: Float[Array, " steps"]) -> Float[Array, " steps"]:
    """w_t sum_{p > t} w_p / sum_p w_p: steps for which the last iterate is as good as the mean.

    For equal weights that is linear decay, 1 - t / T; its last step is 0.
    """
    tail = jnp.cumsum(weights[::-1])[::-1]
    return weights * (tail - weights) / tail[0]
