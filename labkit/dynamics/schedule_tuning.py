"""What the bound of a schedule is good for: a cooldown, a longer run, another schedule.

    cooldown    the bound at gamma* over the share of steps that cool down
    extension   a run tuned for T1 steps goes on to T2, at `factor` times its learning rate from
                where its cooldown would have begun; the best factor is below 1
    transfer    gamma of one schedule * gamma* of another / gamma* of the one

Source: S062, The Surprising Agreement Between Convex Optimization Theory and Learning-Rate
Scheduling for Large Model Training.
"""

from typing import Any

import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Int

from labkit.descent import Descent
from labkit.dynamics.nonsmooth import ConvexProblem, check_known, max_residual
from labkit.dynamics.schedule_bound import Terms, best_rate, best_value, terms, value
from labkit.dynamics.schedules import AnySchedule, Paced, Schedule, factors
from labkit.loop import unroll
from labkit.method import Scalar, knob, pytree, size
from labkit.record import Record
from labkit.sweep import Sweep, sweep
from labkit.views import View, lines


@pytree
class Extended:
    """wsd over `first` steps that goes on to `steps`, at `factor` instead of cooling down."""

    factor: Scalar = knob(0.7, 0.1, 2.0, log=True, about="of the learning rate, after the change")
    cooldown: Scalar = knob(0.2, 0.02, 1.0, within=(0.0, 1.0), about="share of the steps")
    first: int = size(200, 2, 4000, about="T1")
    steps: int = size(800, 2, 4000, about="T2")

    def at(self, t: Int[Array, ""]) -> Float[Array, ""]:
        """The factor of step t."""
        before = Schedule("wsd", self.cooldown, self.first).at(t)
        after = Schedule("wsd", self.cooldown, self.steps).at(t)
        # Up to where the first cooldown would begin; both are 1 there.
        return jnp.where((before >= 1.0) & (t <= self.first), before, self.factor * after)


@pytree
class Extension:
    """A run tuned for T1 steps, extended to T2 with another factor, beside its bound."""

    problem: ConvexProblem
    cooldown: Scalar = knob(0.2, 0.02, 1.0, within=(0.0, 1.0), about="share of the steps")
    first: int = size(200, 2, 4000, about="T1")
    steps: int = size(800, 2, 4000, about="T2")

    def check(self) -> None:
        """Raise ValueError for a problem without a known solution."""
        check_known(self.problem)

    def __call__(self, factor: Float[Array, ""]) -> dict[str, Any]:
        extended = Extended(factor, self.cooldown, self.first, self.steps)
        anew = Schedule("wsd", self.cooldown, self.steps)
        gamma, _ = self._tuned(Schedule("wsd", self.cooldown, self.first))
        gamma_anew, bound_anew = self._tuned(anew)
        return {
            "bound": value(self._terms(extended), gamma, self._distance),
            "anew.bound": bound_anew,
            "gap": self._gap(extended, gamma),
            "anew.gap": self._gap(anew, gamma_anew),
        }

    @property
    def _distance(self) -> Float[Array, ""]:
        return jnp.linalg.norm(self.problem.start(jr.key(0)) - self.problem.solution)

    def _terms(self, schedule: AnySchedule) -> Terms:
        return terms(factors(schedule), self.problem.lipschitz)

    def _tuned(self, schedule: AnySchedule) -> tuple[Array, Array]:
        known = self._terms(schedule)
        return best_rate(known, self._distance), best_value(known, self._distance)

    def _gap(self, schedule: AnySchedule, gamma: Scalar) -> Float[Array, ""]:
        state, _ = unroll(Descent(self.problem, Paced(schedule, gamma)), self.steps - 1)
        return state.loss - self.problem.loss(self.problem.solution)


@pytree
class Cooldown:
    """The bound of wsd at gamma*, in units of D G / sqrt(T), for a share that cools down."""

    steps: int = size(400, 2, 4000, about="T")

    def __call__(self, cooldown: Float[Array, ""]) -> dict[str, Any]:
        known = terms(factors(Schedule("wsd", cooldown, self.steps)))
        root = jnp.sqrt(1.0 * self.steps)
        return {"bound": best_value(known) * root, "gamma": best_rate(known) * root}


def cooldowns(steps: int = 400) -> Sweep:
    """All shares from a fiftieth to everything, which is linear decay."""
    return sweep(Cooldown(steps), over=jnp.linspace(0.02, 1.0, 50), name="cooldown")


def example() -> Sweep:
    """200 steps extended to 800, at factors from 0.1 to 2."""
    return sweep(Extension(max_residual()), over=jnp.logspace(-1.0, 0.3, 27), name="factor")


cooldown_views: list[View] = [
    lines("bound", over="cooldown", title="Bound of wsd", y="bound / (D G / sqrt(T))"),
    lines("gamma", over="cooldown", title="Its learning rate", y="gamma* / (D / G / sqrt(T))"),
]


def _against_factor(column: str, title: str, y: str) -> View:
    names = (column, f"anew.{column}")
    labels = {names[0]: "extended", names[1]: "trained anew"}
    return lines(*names, over="factor", log_x=True, title=title, y=y, labels=labels)


views: list[View] = [
    _against_factor("bound", "Bound after T2 steps", "bound"),
    _against_factor("gap", "Run after T2 steps", "f(w) - f(u)"),
]


def best_factor(record: Record) -> float:
    """Where the bound of an extension is least, of those tried."""
    return float(record["factor"][np.argmin(record["bound"])])


def say(record: Record) -> str:
    """The best factor by the bound, and what it brings."""
    row = np.argmin(record["bound"])
    best, anew = record["bound"][row], record["anew.bound"][row]
    return (
        f"The bound is least, {best:.3g}, at a factor of {best_factor(record):.2g}; tuned anew "
        f"for all steps it is {anew:.3g}.  The run ends at {record['gap'][row]:.2g} with it."
    )
