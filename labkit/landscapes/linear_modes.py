"""The exact learning curve of one mode of a deep linear network.

With whitened inputs and a balanced start, in which each of the N layers holds the N-th root
of the strength u of a mode, the modes do not feel each other, and one of size s obeys

    tau du/dt  =  N u^(2 - 2/N) (s - u),        time in units of tau

    one layer     u = s + (u0 - s) exp(-t)
    two layers    u = s / (1 + (s / u0 - 1) exp(-2 s t)),    half of s at  ln(s / u0 - 1) / (2 s)
    N layers      t = integral of dy u^(2/N - 1) / (N s),    y = ln(u / |s - u|)

In y, which two layers walk at the even speed 2 s, the integrand is smooth from the first plateau
to the last digit; it is summed once and read backwards.  The loss is sum (s - u)^2 / 2, a
staircase when the s differ: drag them, and it is drawn anew without any training.

Source: S163, Exact solutions to the nonlinear dynamics of learning in deep linear neural networks.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from labkit.method import Scalar, knob, pytree, size
from labkit.record import Record
from labkit.sweep import Sweep, sweep
from labkit.views import Bars, Curve, Mark, Panel, Points, View


CELLS = 2048  # of the sum over y: the curve is exact to 1e-5 of s
BEYOND = 25.0  # where y has nothing more to say: u is s to 1e-11


def learning_time(
    u: Float[Array, " r"], s: Float[Array, " r"], u0: Scalar, layers: int
) -> Float[Array, " r"]:
    """When modes of sizes `s` that start at `u0` have come to `u`, which is between the two.

    Negative for a `u` on the far side of `u0`, and not a number for one beyond s.
    """
    start, end = _y(u0, s), jnp.log(u / jnp.where(s < u0, u - s, s - u))
    if layers == 1:
        return jnp.log((s - u0) / (s - u))
    if layers == 2:
        return (end - start) / (2.0 * s)
    return jax.vmap(lambda a, b, s: _times(a, b, s, u0, layers)[1][-1])(start, end, s)


def half_time(s: Float[Array, " r"], u0: Scalar, layers: int) -> Float[Array, " r"]:
    """When half of each mode is learned: 0 where it is so from the start."""
    return jnp.where(u0 < s / 2.0, learning_time(s / 2.0, s, u0, layers), 0.0)


def mode_strength(t: Scalar, s: Float[Array, " r"], u0: Scalar, layers: int) -> Float[Array, " r"]:
    """u at time `t` of modes of sizes `s` > 0 that start at `u0` > 0, below s or above."""
    if layers == 1:
        return s + (u0 - s) * jnp.exp(-t)
    start = _y(u0, s)
    if layers == 2:
        return _strength(start + 2.0 * s * t, s, u0)
    return jax.vmap(lambda start, s: _deep(t, start, s, u0, layers))(start, s)


def _deep(t: Scalar, start: Array, s: Array, u0: Scalar, layers: int) -> Array:
    end = jnp.maximum(start, 0.0) + BEYOND
    y, times = _times(start, end, s, u0, layers)
    late = y[-1] + (t - times[-1]) * layers * s ** (2.0 - 2.0 / layers)  # at an even speed by now
    return _strength(jnp.where(t < times[-1], jnp.interp(t, times, y), late), s, u0)


def _times(start: Array, end: Array, s: Array, u0: Scalar, layers: int) -> tuple[Array, Array]:
    """y from `start` to `end`, and the times at which it is there, by Simpson's rule."""
    speed = lambda y: layers * s * _strength(y, s, u0) ** (1.0 - 2.0 / layers)  # dy/dt
    y = jnp.linspace(start, end, CELLS + 1)
    middle = (y[1:] + y[:-1]) / 2.0
    cells = (1.0 / speed(y[:-1]) + 4.0 / speed(middle) + 1.0 / speed(y[1:])) / 6.0
    times = jnp.cumsum(cells) * (end - start) / CELLS
    return y, jnp.concatenate([jnp.zeros_like(times[:1]), times])


def _y(u0: Scalar, s: Array) -> Array:
    # A mode that starts at its size stays there: a floor to the distance keeps y finite.
    return jnp.log(u0 / jnp.maximum(jnp.abs(s - u0), 1e-9 * s))


def _strength(y: Array, s: Array, u0: Scalar) -> Array:
    """u = s / (1 + exp(-y)) below s, s / (1 - exp(-y)) above it."""
    return s / (1.0 + jnp.sign(s - u0) * jnp.exp(-y))


@pytree
class ExactModes:
    """The modes and the loss at a time, from the formulas alone."""

    s: Float[Array, " r"] = knob(
        (3.0, 1.5, 0.75), 0.05, 4.0, within=(1e-3, np.inf), about="singular values of the task"
    )
    u0: float = knob(1e-6, 1e-8, 0.5, log=True, about="strength of each mode at the start")
    layers: int = size(2, 1, 64, about="matrices of weights")

    def __call__(self, t: Float[Array, ""]) -> dict[str, Any]:
        u = mode_strength(t, self.s, self.u0, self.layers)
        loss = 0.5 * jnp.sum((self.s - u) ** 2)
        return {"s": self.s, "theory": u, "theory_loss": loss}


def example() -> Sweep:
    """Three modes, two layers, from time 0 to 15."""
    return sweep(ExactModes(), over=jnp.linspace(0.0, 15.0, 201), name="time")


def task(record: Record) -> Panel:
    """The sizes s of the modes, to be dragged, and how much of each is learned."""
    s, now = record.last("s"), record.last(_seen(record))
    places = np.arange(1, len(s) + 1)
    learned = Bars(places, now, "learned by now", "data")
    marks = [learned, Points(places, s, "size s: drag it", "threshold", "s")]
    y_range = (0.0, max(1.2 * float(np.max(s)), 1.0))
    return Panel("Drag the task", marks, "mode", "strength", y_range=y_range)


def curves(record: Record) -> Panel:
    """Each mode over time; where a network is in the record, crosses are the exact curves."""
    time, name = record["time"], _seen(record)
    marks: list[Mark] = [
        Curve(time, u, f"mode {i}", f"iterates {i}") for i, u in enumerate(record[name].T, 1)
    ]
    if name == "modes":
        few = _few(len(time))
        exact = enumerate(record["theory"].T)
        marks += [Points(time[few], u[few], "" if i else "exact", "threshold") for i, u in exact]
    return Panel("Strength of the modes", marks, "time / tau", "strength u")


def staircase(record: Record) -> Panel:
    """The loss over time, what the curves say, and what other runs in the record had."""
    time, exact, few = record["time"], record["theory_loss"], _few(len(record))
    loss = record["loss" if "loss" in record else "theory_loss"]
    marks: list[Mark] = [Curve(time, loss, "loss", "loss")]
    others = [name for name in record if name.endswith(".loss")]
    marks += [Curve(time, record[name], name.removesuffix(".loss"), name) for name in others]
    if "loss" in record:
        marks += [Points(time[few], exact[few], "exact", "threshold")]
    highest = 1.2 * max(float(loss[0]), float(exact[0]))
    return Panel("Loss", marks, "time / tau", "loss", y_range=(0.0, highest))


def _few(rows: int) -> slice:
    """Some 16 of the rows: marks that are not to hide a line."""
    return slice(None, None, max(1, rows // 16))


def _seen(record: Record) -> str:
    return "modes" if "modes" in record else "theory"


views: list[View] = [task, curves, staircase]


def say(record: Record) -> str:
    """How many modes are learned, in a sentence."""
    s = record.last("s")
    learned = int((record.last(_seen(record)) > s / 2).sum())
    loss = record.last("loss" if "loss" in record else "theory_loss")
    time = record.last("time")
    return f"Time {time:.3g}: {learned} of {len(s)} modes are half learned, the loss is {loss:.3g}."
