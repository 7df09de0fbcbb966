"""The schedule whose bound is least, found by differentiating the bound.

    s = exp(logits),      logits  <-  logits + update(grad log bound(s, gamma*))

The bound of `schedule_bound`, at the best learning rate, depends on the shape of a schedule
alone; JAX differentiates its cumulative sums.  From any start the descent comes to about
linear decay; what it gains beyond is little, and the last step, which the last iterate does
not feel, is where it differs.  With gradient norms G_t = (t / T)^trend it finds other shapes,
close to what refinement makes of the same norms: `decay` with weights 1 / G_t^2.

Source: S062, The Surprising Agreement Between Convex Optimization Theory and Learning-Rate
Scheduling for Large Model Training, and optax's Adam.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, Float, Key

from labkit.descent import Descent
from labkit.descent import State as DescentState
from labkit.dynamics.schedule_bound import best_value, terms
from labkit.dynamics.schedules import AnySchedule, Schedule, decay, factors
from labkit.method import knob, method, pytree
from labkit.record import Record
from labkit.rules import Rule, Sgd, as_rule, chain
from labkit.views import Curve, Panel, View, lines


@pytree
class BoundOfSchedule:
    """The problem: the logarithm of the least bound, in units of D G / sqrt(T)."""

    begin: AnySchedule = Schedule("constant")
    rough: float = knob(0.0, 0.0, 2.0, within=(0.0, 10.0), about="noise of the first logits")
    trend: float = knob(0.0, -0.7, 0.7, about="of the gradient norms, (t / T)^trend")

    @property
    def norms(self) -> Float[Array, " T"]:
        """G_t over their root mean square."""
        T = self.begin.steps
        norms = (jnp.arange(1, T + 1) / T) ** self.trend
        return norms / jnp.sqrt(jnp.mean(norms**2))

    def start(self, key: Key[Array, ""]) -> Float[Array, " T"]:
        """Logits of the first schedule, roughened; where that is 0, those of 1/1000."""
        first = jnp.log(jnp.maximum(factors(self.begin), 1e-3))
        return first + self.rough * jr.normal(key, first.shape, first.dtype)

    def loss(self, w: Float[Array, " T"], batch=None) -> Float[Array, ""]:
        """log(bound sqrt(T) / (D G)) at gamma*."""
        del batch
        # The bound does not change with the scale: the largest exponential is 1, and the shift
        # has no slope.  (That of a maximum is 0 / 0 where XLA rounds w twice and finds no tie.)
        return jnp.log(self.units(jnp.exp(w - jax.lax.stop_gradient(jnp.max(w)))))

    def units(self, factors: Float[Array, " T"]) -> Float[Array, ""]:
        """The bound of any schedule for these norms, in units of D G / sqrt(T)."""
        return best_value(terms(factors, self.norms)) * jnp.sqrt(1.0 * self.begin.steps)


class State(NamedTuple):
    descent: DescentState  # of the logits


@method
class OptimalSchedule:
    """Descent of the bound on the logits of the schedule; by default Adam."""

    problem: BoundOfSchedule = BoundOfSchedule()
    rule: Rule = chain(optax.scale_by_adam(), Sgd(0.1))

    def __post_init__(self):
        object.__setattr__(self, "rule", as_rule(self.rule))

    def init(self, key) -> State:
        return State(Descent(self.problem, self.rule).init(key))

    def step(self, state: State, key) -> State:
        return State(Descent(self.problem, self.rule).step(state.descent, key))

    def observe(self, state: State) -> dict[str, Array]:
        w, norms = state.descent.w, self.problem.norms
        linear = factors(Schedule("linear", steps=self.problem.begin.steps))
        refined = decay(1.0 / norms**2)
        return {
            "bound": jnp.exp(state.descent.loss),
            "linear_bound": self.problem.units(linear),
            "refined_bound": self.problem.units(refined),
            "factors": jnp.exp(w - jnp.max(w)),
            "refined": refined / jnp.max(refined),
            "norms": norms,
        }


def example() -> OptimalSchedule:
    """From a constant schedule of 400 steps."""
    return OptimalSchedule()


def _schedule(record: Record) -> Panel:
    t = np.arange(1, record["factors"].shape[1] + 1)
    marks = [
        Curve(t, record["factors"][0], "at the start", "previous"),
        Curve(t, record.last("refined"), "refined for these norms", "predicted"),
        Curve(t, record.last("factors"), "now", "iterates"),
    ]
    return Panel("Schedule", marks, "step t", "factor", y_range=(0.0, 1.1))


views: list[View] = [
    _schedule,
    lines(
        "bound",
        "linear_bound",
        title="Its bound",
        x="step of the descent",
        y="bound / (D G / sqrt(T))",
        labels={"bound": "this schedule", "linear_bound": "linear decay"},
    ),
]


def say(record: Record) -> str:
    """The bound reached beside that of linear decay."""
    seen, linear = record.last("bound"), record.last("linear_bound")
    return (
        f"Step {record.steps[-1]}: bound {seen:.5g} D G / sqrt(T); linear decay has {linear:.5g}."
    )
