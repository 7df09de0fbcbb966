"""Panels in words: what a screen reader speaks and a test reads."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from labkit.render import shapes
from labkit.views import (
    Arrows,
    Band,
    Bars,
    Contour,
    Curve,
    Graph,
    Image,
    Mesh,
    Panel,
    Points,
    Raster,
    Surface,
    Text,
)


def describe(panels: Sequence[Panel]) -> str:
    """One sentence for each panel, a line each: "Sharpness over step: sharpness 4.98"."""
    return "\n".join(map(sentence, panels))


def sentence(panel: Panel) -> str:
    """What one panel shows: its axes, and of each mark the newest value or the range."""
    said = list(dict.fromkeys(SAY[type(mark)](mark) for mark in panel.marks))
    axes = f" ({panel.y} over {panel.x})" if panel.x and panel.y else ""
    head = (panel.title or "Figure") + axes
    if any(isinstance(mark, Text) for mark in panel.marks):
        return f"{head}: " + "\n".join(said)
    return f"{head}: {', '.join(said) or 'nothing yet'}."


def number(value: float) -> str:
    """A number in three or four digits."""
    if not np.isfinite(value):
        return "unknown" if np.isnan(value) else "infinity" if value > 0 else "minus infinity"
    if 1e3 <= abs(value) < 1e6:
        return f"{value:.0f}"
    if value == 0 or 1e-4 <= abs(value) < 1e3:
        return "0" if value == 0 else f"{value:#.3g}".rstrip(".")
    return f"{value:.2e}"


def _last(values: Any) -> str:
    finite = shapes.array(values)[np.isfinite(shapes.array(values))]
    return number(float(finite[-1])) if finite.size else "unknown"


def _range(values: Any) -> str:
    finite = shapes.array(values)[np.isfinite(shapes.array(values))]
    if not finite.size:
        return "not known yet"
    low, high = number(float(finite.min())), number(float(finite.max()))
    return low if low == high else f"{low} to {high}"


def _count(many: int, what: str) -> str:
    return f"{many} {what}" + "s" * (many != 1)


def _named(label: str, what: str) -> str:
    return f"{label} {what}" if label else what


def _points(mark: Points) -> str:
    if len(mark.x) == 1:
        return _named(mark.label or "point", f"at ({_last(mark.x)}, {_last(mark.y)})")
    return _named(mark.label, _count(len(mark.x), "point"))


def _graph(mark: Graph) -> str:
    edges = _count(len(np.reshape(mark.edges, (-1, 2))), "edge")
    return _named(mark.label, f"{_count(len(mark.x), 'node')} and {edges}")


def _image(mark: Image) -> str:
    rows, columns = np.shape(mark.pixels)[:2]
    return _named(mark.label, f"picture of {rows} by {columns} pixels")


def _mesh(mark: Mesh) -> str:
    return _named(mark.label, _count(len(mark.faces), "triangle"))


SAY: dict[type, Callable[[Any], str]] = {
    Curve: lambda mark: _named(mark.label or "curve", _last(mark.y)),
    Band: lambda mark: _named(mark.label or "band", f"{_last(mark.low)} to {_last(mark.high)}"),
    Points: _points,
    Arrows: lambda mark: _named(mark.label, _count(len(mark.x), "arrow")),
    Bars: lambda mark: _named(
        mark.label, f"{_count(len(mark.height), 'bar')} of {_range(mark.height)}"
    ),
    Raster: lambda mark: _named(mark.label or "field", _range(mark.z)),
    Contour: lambda mark: _named(mark.label or "field", _range(mark.z)),
    Surface: lambda mark: _named(mark.label or "surface", _range(mark.z)),
    Mesh: _mesh,
    Graph: _graph,
    Image: _image,
    Text: lambda mark: mark.text,
}
