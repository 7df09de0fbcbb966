"""What one hidden unit climbs while the others leave it alone: stage II of grokking.

Stage I: the top layer fits the labels on random features, which makes it a ridge solution,

    V  =  (F~'F~ + eta)^-1 F~'Y~,        and then the signal that comes back to the features is

    G_F  =  (Y~ - F~V) V'  =  eta (F~F~' + eta)^-1 Y~Y~' F~ (F~'F~ + eta)^-1

Where the top layer can fit all, without weight decay it is 0.  With much decay it is Y~Y~'F~ / eta:
a column a unit, and none depends on another.  So in stage II each unit climbs an energy of its own,

    dw/dt  =  grad E(w),        E(w) = 1/2 |Y~' sigma(X w)|^2        on  |w| = 1.

For sigma(x) = x^2 and the whole table its maxima are single frequencies, and the height of each is
known (`groups`): M/4 on a cyclic group of odd order.  Later the other units hold frequencies
(`held`), which are then gone from the residual that takes the place of Y~: nobody climbs those.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from labkit.errors import refusal
from labkit.landscapes.group_arithmetic import GroupArithmetic, Weights, power
from labkit.method import knob, method, size
from labkit.record import Record
from labkit.views import Curve, Mark, Panel, Raster, View


class State(NamedTuple):
    w: Float[Array, "inputs K"]  # columns of length 1


def ridge(
    f: Float[Array, "pairs K"], y: Float[Array, "pairs M"], eta: float
) -> Float[Array, "K M"]:
    """V = (F~'F~ + eta)^-1 F~'Y~, both centred: the top layer at the end of stage I."""
    return jnp.linalg.solve(f.T @ f + eta * jnp.eye(f.shape[1], dtype=f.dtype), f.T @ y)


def top_error(problem: GroupArithmetic, w: Weights) -> Float[Array, ""]:
    """|F~'Y~ - (F~'F~ + eta) V| / |F~'Y~|: 0 where the top layer is the ridge solution."""
    f = problem.centred(problem.features(w.w))
    wanted = f.T @ problem.centred(jnp.asarray(problem.y))
    off = wanted - f.T @ (f @ w.v) - problem.eta * w.v
    return jnp.linalg.norm(off) / jnp.linalg.norm(wanted)


def back_signal(
    f: Float[Array, "pairs K"], y: Float[Array, "pairs M"], eta: float
) -> Float[Array, "pairs K"]:
    """G_F = eta (F~F~' + eta)^-1 Y~Y~' F~ (F~'F~ + eta)^-1, which needs no V."""
    pairs, units = (jnp.eye(n, dtype=f.dtype) for n in f.shape)
    left = jnp.linalg.solve(f @ f.T + eta * pairs, y)
    return eta * left @ (y.T @ jnp.linalg.solve(f.T @ f + eta * units, f.T).T)


def energy(
    problem: GroupArithmetic, w: Float[Array, "inputs K"], y: Float[Array, "pairs M"]
) -> Float[Array, " K"]:
    """E(w) = 1/2 |Y~' sigma(X w)|^2 of each unit, Y~ centred over the pairs that count."""
    return 0.5 * jnp.sum((y.T @ problem.features(w)) ** 2, axis=0)


def normal_energy(problem: GroupArithmetic, w: Float[Array, "inputs K"]) -> Float[Array, " K"]:
    """E over the whole table, of units scaled to length 1; 0 for a unit of no length."""
    y = problem.y - problem.y.mean(axis=0, keepdims=True)
    return energy(problem, unit(w), jnp.asarray(y))


def unit(w: Float[Array, "inputs K"]) -> Float[Array, "inputs K"]:
    """Columns scaled to length 1; those of no length stay."""
    most = jnp.max(jnp.abs(w), axis=0, keepdims=True)
    near = w / jnp.where(most > 0, most, 1.0)  # first: the square of a small number may be 0
    return near / jnp.maximum(jnp.linalg.norm(near, axis=0, keepdims=True), 1.0)


@method
class UnitEnergy:
    """Ascent of every unit on its own energy, `lr` times the gradient a step, on the sphere."""

    problem: GroupArithmetic = GroupArithmetic(width=24, fraction=1.0)
    lr: float = knob(0.02, 1e-3, 0.1, log=True, live=True, about="step of the ascent")
    held: int = size(0, 0, 15, about="frequencies that other units hold")

    steps = 100

    def check(self) -> None:
        most = len(self.problem.known.names) - 1
        if self.held > most:
            raise refusal("held", self.held, f"at most {most}, the frequencies of the group")

    def init(self, key) -> State:
        return State(unit(self.problem.start(key).w))

    def step(self, state: State, key) -> State:
        del key
        slope = jax.grad(lambda w: energy(self.problem, w, self.target).sum())(state.w)
        # Divided by the square of the share seen, as E is: a step is as long for all shares.
        return State(unit(state.w + self.lr / self.problem.fraction**2 * slope))

    @property
    def target(self) -> Float[Array, "pairs M"]:
        """Y~ less its part in the frequencies held, over the pairs seen."""
        held = self.problem.known.projectors[1 : self.held + 1].sum(axis=0)
        y = self.problem.centred(jnp.asarray(self.problem.y))
        return y - y @ jnp.asarray(held, y.dtype)

    def observe(self, state: State) -> dict[str, Array]:
        return {
            "seen_energy": energy(self.problem, state.w, self.target),
            "energy": normal_energy(self.problem, state.w),
            "power": power(self.problem, state.w),
            "ceilings": jnp.asarray(self.problem.ceilings),
        }


def example() -> UnitEnergy:
    """24 units on the whole table of addition modulo 17."""
    return UnitEnergy()


def purity(record: Record) -> Float[np.ndarray, "rows K"]:
    """The share of each unit in its strongest frequency, the mean not counted as one."""
    return record["power"][:, :, 1:].max(axis=2)


def energies(record: Record) -> Panel:
    """E of the units, at length 1 and over the whole table, and the ceilings of frequencies."""
    heights = record["energy"]
    if "lengths" in record:  # what is left of units that decay took has a noisy direction
        lengths = record["lengths"]
        heights = np.where(lengths > 0.05 * lengths.max(axis=1, keepdims=True), heights, np.nan)
    marks: list[Mark] = [
        Curve(record.steps, curve, "" if i else "each unit", "iterates")
        for i, curve in enumerate(heights.T[:32])  # more are no clearer
    ]
    ceilings = np.unique(record.last("ceilings"))
    for i, height in enumerate(ceilings[ceilings > 0], 1):
        flat, label = np.full(2, height), f"ceiling {height:.4g}"
        marks.append(Curve(record.steps[[0, -1]], flat, label, f"threshold {i}"))
    whole = (0.0, 1.1 * ceilings.max()) if ceilings.max() > 0 else None
    return Panel("Energy of each unit", marks, "step", "E at length 1", y_range=whole)


def spectrum(record: Record) -> Panel:
    """Which unit (row) has how much of which frequency (column); short units are dark."""
    share = np.asarray(record.last("power"))
    if "lengths" in record:
        lengths = record.last("lengths")
        share = share * (lengths / max(lengths.max(), 1e-30))[:, None] ** 2
    rows = np.argsort(np.argmax(share, axis=1), kind="stable")
    raster = Raster(share[rows], np.arange(share.shape[1]), np.arange(len(rows)), "share")
    across = "frequency (0: the mean)"
    return Panel("What each unit is made of", [raster], across, "unit, sorted by frequency")


views: list[View] = [energies, spectrum]


def say(record: Record) -> str:
    """How many units are pure, and how high they stand, in a sentence."""
    pure, heights, ceiling = (
        purity(record)[-1],
        record.last("energy"),
        record.last("ceilings").max(),
    )
    of = f", the highest ceiling at {ceiling:.4g}" if ceiling > 0 else ""
    return (
        f"Step {record.steps[-1]}: {np.sum(pure > 0.99)} of {len(pure)} units are a single "
        f"frequency; their energy is between {heights.min():.4g} and {heights.max():.4g}{of}."
    )
