"""Pictures of a random set on its way to one set."""

import numpy as np
from jaxtyping import Float

from labkit.record import Record
from labkit.views import Bars, Curve, Mark, Panel, Points, Raster, View


def to_nearest(points: Float[np.ndarray, "n 2"], p: Float[np.ndarray, " n"]) -> np.ndarray:
    """Lines [3 n, 2] from each point to the nearest of those with p above 1/2, NaN between."""
    likely = points[p > 0.5] if (p > 0.5).any() else points[[np.argmax(p)]]
    nearest = np.argmin(((points[:, None] - likely[None]) ** 2).sum(axis=-1), axis=1)
    ends = [points, likely[nearest], np.full_like(points, np.nan)]
    return np.stack(ends, axis=1).reshape(-1, 2)


def _map(record: Record) -> Panel:
    points, p = np.asarray(record.last("points")), np.asarray(record.last("p"))
    lines, x, y = to_nearest(points, p), points[:, 0], points[:, 1]
    marks = [
        Curve(lines[:, 0], lines[:, 1], "to the likely site", "edge model"),
        Points(x, y, "point (drag)", "data", "odds.problem.points"),
        Points(x, y, "area: probability", "predicted", weight=p),
    ]
    span = (-0.08, 1.08)
    return Panel("Sites", marks, "x", "y", equal=True, x_range=span, y_range=span)


def size_bars(record: Record) -> Panel:
    """The law of the size of the set, k marked where there is one."""
    shares = np.asarray(record.last("size_shares"))
    most = len(shares) - 1
    marks: list[Mark] = [Bars(np.arange(most + 1), shares, "probability", "predicted")]
    if "k" in record:
        k = record.last("k")
        most = min(most, 3 * k + 2)
        marks.append(Curve(np.array([k, k]), np.array([0.0, 1.0]), "k", "threshold"))
    span = (-0.6, most + 0.6)
    return Panel("Size of the set", marks, "items", "probability", x_range=span, y_range=(0, 1.05))


def strip(record: Record) -> Panel:
    """The probabilities as a film, a row for each item."""
    p = np.asarray(record["p"]).T
    items = np.arange(1, len(p) + 1)
    raster = Raster(p, record.steps, items, "probability", limits=(0.0, 1.0))
    return Panel("Probabilities", [raster], "step", "item")


def tree(record: Record) -> Panel:
    """The expected cost, and at each change its two alternatives, whose mean it was."""
    steps, cost = record.steps, np.asarray(record["cost"])
    [rows] = np.nonzero(np.asarray(record["item"]) >= 0)
    ends, p = np.asarray(record["alternatives"])[rows], np.asarray(record["before"])[rows]
    mean, gap = (1 - p) * ends[:, 0] + p * ends[:, 1], np.full(len(rows), np.nan)
    branch = lambda side: np.stack([mean, ends[:, side], gap], axis=1).ravel()
    x = np.stack([steps[rows] - 1, steps[rows], gap], axis=1).ravel()
    marks = [
        Curve(x, branch(0), "if out", "gumbel"),
        Curve(x, branch(1), "if in", "score function"),
        Curve(steps, cost, "expected cost", "loss"),
    ]
    for name, role in (("greedy", "baseline"), ("optimum", "optimum")):
        if name in record:
            level = np.full(2, record.last(name))
            marks.append(Curve(steps[[0, -1]], level, name, role))
    first = max(0, rows[0] - 8) if len(rows) else 0  # of descent only what leads up to rounding
    shown = np.concatenate([mark.y[-2:] for mark in marks[2:]] + [cost[first:], ends.ravel()])
    margin = 0.05 * np.ptp(shown) + 1e-3
    return Panel(
        "Cost, and both alternatives",
        marks,
        "step",
        "cost",
        x_range=(float(steps[first]), float(steps[-1]) + 0.5),
        y_range=(shown.min() - margin, shown.max() + margin),
    )


views: list[View] = [_map, size_bars, strip, tree]
