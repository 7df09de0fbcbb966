"""Pictures of a rounding that is learned: weights between their lines, errors, all roundings."""

import numpy as np

from labkit.record import Record
from labkit.views import Curve, Mark, Panel, Points, View


def shown(record: Record) -> int:
    """The output that pictures show: the one with most to be gained, as far as that is known."""
    if "best" not in record:
        return 0
    return int(np.argmin(record.last("best") / np.maximum(record.last("nearest"), 1e-30)))


def _weights(record: Record) -> Panel:
    o = shown(record)
    w, h, low, high = (record.last(name)[:, o] for name in ("w", "h", "low", "high"))
    place = np.arange(1, len(w) + 1)
    bars_x = np.stack([place, place, np.full(len(w), np.nan)], 1).ravel()
    bars_y = np.stack([low, high, np.full(len(w), np.nan)], 1).ravel()
    marks = [
        Curve(bars_x, bars_y, "from line to line", "ghost"),
        Points(bars_x, bars_y, "", "ghost"),
        Points(place, w, "w: drag", "data", "problem.w"),
        Points(place, low + h * (high - low), "w_q", "iterates"),
    ]
    top = 1.1 * max(np.abs(low).max(), np.abs(high).max(), 1.0)
    return Panel("Weights between two lines", marks, "weight", "value", y_range=(-top, top))


def _deciding(record: Record) -> Panel:
    o = shown(record)
    h = record["h"][:, :, o].T
    w, low, high = (record.last(name)[:, o] for name in ("w", "low", "high"))
    nearer = (h[:, -1] >= 0.5) == (w - low >= high - w)
    marks = []
    for label, role, which in (
        ("to the nearer line", "start", nearer),
        ("to the farther line", "iterates", ~nearer),
    ):
        gap = np.full((which.sum(), 1), np.nan)
        steps = np.tile(np.append(record.steps, np.nan), which.sum())
        marks.append(Curve(steps, np.hstack([h[which], gap]).ravel(), label, role))
    title = "Each weight: up (1) or down (0)"
    return Panel(title, marks, "step", "h", y_range=(-0.05, 1.05))


def _errors(record: Record) -> Panel:
    names = {"soft": "w_q on its way", "hard": "rounded now", "nearest": "nearest", "best": "best"}
    roles = {"soft": "ghost", "hard": "iterates", "nearest": "start", "best": "optimum"}
    o = shown(record)
    floor = 1e-3 * record.last("nearest")[o]  # at the start w_q is w
    marks: list[Mark] = [
        Curve(record.steps, np.maximum(record[n][:, o], floor), label, roles[n])
        for n, label in names.items()
        if n in record
    ]
    return Panel("Error of the output", marks, "step", "squared error", log_y=True)


def _tried(record: Record) -> Panel:
    if "tried" not in record:
        ratio = record.last("learned") / record.last("nearest")
        marks: list[Mark] = [Points(np.arange(1, len(ratio) + 1), ratio, "learned", "iterates")]
        return Panel("Error, beside that of the nearest", marks, "output", "ratio")
    o = shown(record)
    tried = record.last("tried")[:, o]
    rank = lambda value: 1.0 + np.searchsorted(tried, value * (1 - 1e-5))
    marks = [Curve(np.arange(1, len(tried) + 1), np.maximum(tried, 1e-9), "all roundings", "ghost")]
    for name, role in {"nearest": "start", "hard": "iterates"}.items():
        value = record.last(name)[o]
        label = {"hard": "rounded now"}.get(name, name)
        marks.append(Points(np.array([rank(value)]), np.array([value]), label, role))
    title = f"All {len(tried):,} roundings"
    return Panel(title, marks, "place, from the best", "squared error", log_x=True, log_y=True)


pictures: list[View] = [_weights, _deciding, _errors, _tried]
