"""A trainable gate under a microscope, down to the grain of floating point.

    TG(w)  =  b(w) + s(w) g(w),        s  =  (M w - floor(M w)) / M

Nothing but a step is seen of it, until the window is as narrow as some teeth, 1 / M each.  Within
a tooth the values rise by g; differences over more than a tooth see no slope at all.  Narrower
still, floats are seen: w has spacings of its own, 1 + s g those of 1, and M w has no fraction left
once |w| >= 2^23 / M in single precision.  The derivative by the rules stays g throughout.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from labkit.method import knob, pytree
from labkit.record import Record
from labkit.relaxations.trainable_gate import bell, trainable_gate
from labkit.sweep import Sweep, sweep
from labkit.views import Curve, Mark, Panel, Points, View


@pytree
class GateMicroscope:
    """What can be seen of a gate in a window around `at`."""

    at: float = knob(0.3, -100.0, 100.0, about="the middle of the window")
    width: float = knob(4e-5, 1e-7, 4.0, log=True, about="of the window, in units of w")
    M: float = knob(1e5, 1.0, 1e7, log=True, about="teeth per unit of w")
    tau: float = knob(100.0, 0.05, 100.0, log=True, about="width of g; large: g = 1")

    def __call__(self, place: Float[Array, ""]) -> dict[str, Any]:
        offset = place * self.width
        w = self.at + offset
        gate = lambda w: trainable_gate(w, self.M, lambda w: bell(w, self.tau))
        value, slope = jax.value_and_grad(gate)(w)
        step = (w > 0).astype(w.dtype)
        return {
            "offset": offset,
            "w": w,
            "gate": value,
            "above": value - step,
            "slope": slope,
            "g": bell(w, self.tau),
            "M": jnp.asarray(self.M, w.dtype),
        }


def example(places: int = 241) -> Sweep:
    """Four teeth around 0.3."""
    return sweep(GateMicroscope(), over=jnp.linspace(-0.5, 0.5, places), name="place")


def secants(record: Record) -> np.ndarray:
    """Differences of the gate over those of w between neighbouring places; NaN over none."""
    rise, run = np.diff(record["gate"]), np.diff(record["w"])
    return np.divide(rise, run, out=np.full(len(run), np.nan, run.dtype), where=run > 0)


def grain(record: Record) -> float:
    """From one float to the next, in the middle of the window."""
    w = record["w"]
    return float(np.spacing(np.abs(w[len(w) // 2])))


def _value(record: Record) -> Panel:
    title = f"The gate around {record['w'][len(record) // 2]:.4g}"
    marks = [Curve(record["offset"], record["gate"], "TG", "iterates")]
    return Panel(title, marks, "w from there", "TG", y_range=(-0.2, 1.2))


def _teeth(record: Record) -> Panel:
    x, y = record["offset"], record["above"]
    marks: list[Mark] = [Curve(x, y, "TG - b", "iterates")]
    floats, first = np.unique(record["w"], return_index=True)
    if len(floats) < 40:  # each is seen by itself
        at = record["w"][len(x) // 2]
        marks.append(Points(floats - at, y[first], "a float each", "start"))
    return Panel("What is added to the step", marks, "w from there", "TG - b")


def _slopes(record: Record) -> Panel:
    x = record["offset"]
    between, small = (x[1:] + x[:-1]) / 2, np.full(len(x) - 1, 0.06)
    marks = [
        Points(between, secants(record), "differences between places", "data", weight=small),
        Curve(x, record["slope"], "derivative by the rules", "gradient"),
    ]
    return Panel("Its slope", marks, "w from there", "d TG / d w", y_range=(-1.0, 2.5))


views: list[View] = [_value, _teeth, _slopes]


def say(record: Record) -> str:
    """Teeth in the window, floats to a tooth, and the two slopes in the middle."""
    width, M = float(np.ptp(record["offset"])), float(record.last("M"))
    middle = len(record) // 2
    floats = 1.0 / (M * grain(record))
    window = f"{width * M:.3g} teeth in the window, {floats:.3g} floats to a tooth"
    seen = np.unique(record["above"]).size
    steps = secants(record)[middle : middle + 1]  # none yet in a first row
    between = f"{steps[0]:.3g}" if np.isfinite(steps).any() else "none between floats"
    return (
        f"{window}; {seen} different values of TG - b in {len(record)} places; derivative "
        f"{record['slope'][middle]:.3g}, difference {between}."
    )
