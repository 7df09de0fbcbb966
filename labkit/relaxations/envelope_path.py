"""The proximal map of a k-support envelope along lam, and the unit ball of the envelope.

    x(lam)  =  argmin 1/2 |x - v|^2 + lam S_k(x)

From small lam, where nearly all groups stay, to large, where k do if there is a gap:

    exactly k stay    from    lam  =  |v|_(k+1) / (|v|_(k) - |v|_(k+1))    on

The ball { S_k <= 1/2 } is an octahedron at k = 1, a round ball at k = J; k may lie between.
"""

from functools import cache
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from labkit.method import Latest, knob, pytree
from labkit.record import Record
from labkit.relaxations.group_envelope import envelope, prox, shares
from labkit.sweep import Sweep, sweep
from labkit.views import Curve, Mark, Mesh, Panel, Points, View


@pytree
class EnvelopePath:
    """What is left of `v`, each entry a group of its own, at one lam."""

    v: Float[Array, " J"] = knob((1.6, 1.3, 1.0, 0.8, 0.4, 0.2), -2.0, 2.0)
    k: float = knob(2.0, 1.0, 6.0, within=(1e-3, 1e6), about="groups to be left, also between")

    def __call__(self, lam: Float[Array, ""]) -> dict[str, Any]:
        v = jnp.asarray(self.v)
        x = prox(v[:, None], self.k, lam)[:, 0]
        out, _ = directions()
        length = (2.0 * envelope(jnp.abs(jnp.asarray(out, v.dtype)), self.k)) ** -0.5
        return {
            "v": v,
            "x": x,
            "eta": shares(jnp.abs(v), self.k, lam),
            "active": (x != 0).sum().astype(v.dtype),
            "k": jnp.asarray(self.k, v.dtype),
            "ball": Latest(length[:, None] * jnp.asarray(out, v.dtype)),
        }


@cache
def directions(around: int = 36, down: int = 18) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors [n, 3] of a sphere and its triangles [m, 3]."""
    angle = 2 * np.pi * np.arange(around) / around
    height = np.pi * np.arange(down + 1)[:, None] / down
    x, y = np.sin(height) * np.cos(angle), np.sin(height) * np.sin(angle)
    out = np.stack([x, y, np.cos(height) + 0 * angle], axis=-1).reshape(-1, 3)
    row, column = (index.ravel() for index in np.mgrid[:down, :around])
    corner = lambda r, c: r * around + c % around
    a, b = corner(row, column), corner(row, column + 1)
    c, d = corner(row + 1, column), corner(row + 1, column + 1)
    return out, np.concatenate([np.stack([a, b, d], 1), np.stack([a, d, c], 1)])


def example() -> Sweep:
    """Six groups of one entry, lam from 0.01 to 100."""
    return sweep(EnvelopePath(), over=jnp.logspace(-2.0, 2.0, 81), name="lam")


def enough(v: Float[np.ndarray, " J"], k: float) -> float:
    """The least lam from which exactly k entries stay; NaN where there is no gap, or no k.

    0 where no more than k are there.
    """
    norms = np.sort(np.abs(np.asarray(v, float)))[::-1]
    place = round(float(k))
    if place == np.count_nonzero(norms) and abs(place - k) <= 1e-6:
        return 0.0
    if abs(place - k) > 1e-6 or place >= len(norms) or norms[place - 1] <= norms[place]:
        return np.nan
    return float(norms[place] / (norms[place - 1] - norms[place]))


def _drag(record: Record) -> Panel:
    v, place = record.last("v"), np.arange(1, len(record.last("v")) + 1)
    middle = len(record) // 2
    marks = [
        Points(place, record["x"][middle], f"x at lam = {record['lam'][middle]:.2g}", "prediction"),
        Points(place, v, "v: drag", "iterates", "function.v"),
    ]
    return Panel("Drag v", marks, "group", "value", y_range=(-2.2, 2.2))


def _path(record: Record) -> Panel:
    lam, eta = record["lam"], record["eta"]
    marks = [Curve(lam, row, f"group {i}", f"iterates {i}") for i, row in enumerate(eta.T, 1)]
    return Panel("Shares of the groups", marks, "lam", "eta", log_x=True, y_range=(-0.05, 1.05))


def _active(record: Record) -> Panel:
    lam, k = record["lam"], float(record.last("k"))
    at = enough(record.last("v"), k)
    marks: list[Mark] = [
        Curve(lam, np.full(len(lam), k), "k", "threshold"),
        Curve(lam, record["active"], "groups that stay", "iterates"),
    ]
    if lam[0] < at < lam[-1]:
        marks.append(Curve(np.full(2, at), np.array([0.0, k]), "from here on k", "optimum"))
    top = len(record.last("v")) + 0.5
    return Panel("How many stay", marks, "lam", "groups", log_x=True, y_range=(0.0, top))


def _ball(record: Record) -> Panel:
    mesh = Mesh(record.last("ball"), directions()[1], "S = 1/2")
    return Panel(f"Unit ball in three dimensions, k = {record.last('k'):.3g}", [mesh])


views: list[View] = [_drag, _path, _active, _ball]


def say(record: Record) -> str:
    """How many groups stay at either end, and from where on there are k."""
    v, k, active = record.last("v"), float(record.last("k")), record["active"]
    ends = f"{active[0]:.0f} groups stay at lam {record['lam'][0]:.3g}, {active[-1]:.0f} at the end"
    at = enough(v, k)
    if np.isnan(at):
        return f"k = {k:.3g}: {ends}; no lam leaves just k."
    here = f"from lam {at:.3g} on there are k" if at else "there are no more than k"
    return f"k = {k:.3g}: {ends}; {here}."
