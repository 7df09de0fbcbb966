"""Pictures of components under two filtrations: points, staircase with atoms, slice, loss."""

import numpy as np
from jaxtyping import Float

from labkit.record import Record
from labkit.relaxations.signed_measures import along_slice
from labkit.views import Curve, Panel, Points, Raster, View, lines


MOST = 6  # components that have a colour of their own


def seen_atoms(record: Record) -> Float[np.ndarray, "atoms 3"]:
    """Places and signs of the newest atoms."""
    return record.last("atoms")[: int(record.last("atoms.count"))]


def _cloud(record: Record) -> Panel:
    start, w, now = record.last("start"), record["w"], record.last("w")
    gap = np.full((1, w.shape[1], 2), np.nan)
    ways = np.concatenate([w, gap]).transpose(1, 0, 2).reshape(-1, 2)
    marks = [
        Curve(ways[:, 0], ways[:, 1], "its way", "path"),
        Points(start[:, 0], start[:, 1], "start: drag", "iterates", "problem.points"),
        Points(now[:, 0], now[:, 1], "now", "now"),
    ]
    return Panel("Points", marks, "x", "y", equal=True, x_range=(-1.6, 1.6), y_range=(-1.6, 1.6))


def _staircase(record: Record) -> Panel:
    atoms, x, y = seen_atoms(record), record.last("x"), record.last("y")
    atoms = atoms[(atoms[:, 0] <= x[-1]) & (atoms[:, 1] <= y[-1])]
    born, gone = atoms[atoms[:, 2] > 0], atoms[atoms[:, 2] < 0]
    angle = np.radians(record.last("angle"))
    end = min(x[-1] / np.cos(angle), y[-1] / np.sin(angle))
    marks = [
        Raster(np.minimum(record.last("H"), MOST).T, x, y, f"components ({MOST}: or more)"),
        Curve(
            np.array([0, end * np.cos(angle)]), np.array([0, end * np.sin(angle)]), "slice", "slice"
        ),
        Points(born[:, 0], born[:, 1], "atoms +", "positive"),
        Points(gone[:, 0], gone[:, 1], "atoms -", "negative"),
    ]
    title, x_range, y_range = "Components", (-0.02, 1.02 * x[-1]), (-0.02, 1.02 * y[-1])
    return Panel(title, marks, "scale", "codensity", x_range=x_range, y_range=y_range)


def _slice(record: Record) -> Panel:
    atoms, angle = seen_atoms(record), float(record.last("angle"))
    end = np.hypot(record.last("x")[-1], record.last("y")[-1])
    t = np.linspace(0, end, 200)
    curve = Curve(t, along_slice(atoms, angle, t), "components", "slice")
    return Panel(f"Along the slice at {angle:.0f} degrees", [curve], "t", "components")


views: list[View] = [
    _cloud,
    _staircase,
    _slice,
    lines(
        "loss",
        title="Loss",
        y="mean |H - k|",
        beside=["scale.loss"],
        labels={"loss": "two grades", "scale.loss": "scale alone"},
    ),
]
