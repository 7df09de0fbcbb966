"""A schedule drawn by hand, its bound, and a real run, side by side.

Drag the knots.  Row by row the learning rate is another multiple of gamma*, the best one of
the bound; the row at 1 is drawn over the steps, all rows at their last step over the rate.
Only the shape of what is drawn counts: gamma* makes up for its height.

Source: S062, The Surprising Agreement Between Convex Optimization Theory and Learning-Rate
Scheduling for Large Model Training.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from labkit.dynamics.nonsmooth import ConvexProblem, check_known, max_residual
from labkit.dynamics.schedule_bound import ScheduleBound
from labkit.dynamics.schedules import Drawn, factors
from labkit.loop import unroll
from labkit.method import pytree
from labkit.record import Record
from labkit.sweep import Sweep, sweep
from labkit.views import Curve, Panel, Points, View


@pytree
class DrawnSchedule:
    """What a run with the drawn schedule does at `rate` times gamma*, all of its steps."""

    problem: ConvexProblem
    schedule: Drawn = Drawn()

    def check(self) -> None:
        """Raise ValueError for a problem without a known solution."""
        check_known(self.problem)

    def __call__(self, rate: Float[Array, ""]) -> dict[str, Any]:
        method = ScheduleBound(self.problem, self.schedule, rate)
        _, seen = unroll(method, self.schedule.steps - 1)
        return {
            "gap": seen["gap"],
            "bound": seen["bound"],
            "gamma": seen["gamma"][0],
            "unit": seen["unit"][0],
            "factors": factors(self.schedule),
            "knots": jnp.asarray(self.schedule.knots),
        }


def example(problem: ConvexProblem | None = None, steps: int = 200) -> Sweep:
    """A schedule with a cooldown, at thirteen rates from 0.1 to 10 of gamma*."""
    function = DrawnSchedule(problem or max_residual(), Drawn(steps=steps))
    return sweep(function, over=jnp.logspace(-1.0, 1.0, 13), name="rate")


def _at_best(record: Record) -> int:
    """The row of gamma*."""
    return int(np.argmin(np.abs(np.log(record["rate"]))))


def _lowest(record: Record) -> int:
    """The row of the rate with which the run ends lowest."""
    return int(np.argmin(record["gap"][:, -1]))


def _schedule(record: Record) -> Panel:
    knots, shape = record.last("knots"), record.last("factors")
    T = len(shape)
    places = 1.0 + np.linspace(0.0, T, len(knots))
    marks = [
        Curve(np.arange(1, T + 1), shape, "schedule", "iterates"),
        Points(places, knots, "drag the knots", "start", "function.schedule.knots"),
    ]
    return Panel("Schedule", marks, "step t", "factor", y_range=(-0.1, 1.1))


def _run(record: Record) -> Panel:
    row = _at_best(record)
    t = np.arange(1, record["gap"].shape[1] + 1)
    marks = [
        Curve(t, record["bound"][row], "bound", "predicted"),
        Curve(t, record["gap"][row], "run", "loss"),
        Curve(t, record["gap"][_lowest(record)], "run at its best rate", "loss 2"),
    ]
    return Panel("f(w) - f(u) at gamma*", marks, "step t", "gap", log_y=True)


def _rates(record: Record) -> Panel:
    gamma = record["rate"] * record["gamma"][0] / record["rate"][0]
    marks = [
        Curve(gamma, record["bound"][:, -1], "bound", "predicted"),
        Curve(gamma, record["gap"][:, -1], "run", "loss"),
        Points(gamma[[i := _at_best(record)]], record["bound"][[i], -1], "gamma*", "optimum"),
    ]
    return Panel("After the last step", marks, "learning rate", "gap", log_x=True, log_y=True)


views: list[View] = [_schedule, _run, _rates]


def say(record: Record) -> str:
    """The bound, gamma* and the gap at it."""
    row = _at_best(record)
    bound, gap = record["bound"][row, -1], record["gap"][row, -1]
    lowest = record["rate"][_lowest(record)]
    return (
        f"At gamma* = {record['gamma'][row]:.3g} the bound is {bound:.3g}, "
        f"{bound / record['unit'][row]:.4g} D G / sqrt(T), and the run ends {gap:.3g} above "
        f"the minimum; of the rates tried, {lowest:.3g} gamma* ends lowest."
    )
