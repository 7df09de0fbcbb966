"""One panel for each kind of mark, with data as usual and as unusual as they come."""

import numpy as np

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


FIELDS = Raster, Contour, Surface
KINDS = ("usual", "one", "empty", "unknown", "constant", "negative")


def panels(kind: str = "usual") -> list[Panel]:
    """All marks; every kind of data has the same structure."""
    return [
        panel._replace(marks=[_changed(mark, kind) for mark in panel.marks]) for panel in _usual()
    ]


def _usual() -> list[Panel]:
    t = np.arange(40.0)
    y = np.exp(-t / 20)
    y[10:14] = np.nan
    grid = np.linspace(-2, 2, 9)
    z = np.sin(grid)[:, None] * np.cos(grid)
    path, corners = np.stack([np.cos(t / 9), np.sin(t / 9)]), np.eye(4, 3)
    walk = Curve(*path, "iterates", "iterates")
    turn = np.arange(5.0)
    ring = np.stack([turn, (turn + 1) % 5], axis=1).astype(int)
    return [
        Panel(
            "Loss",
            [
                Band(t, 0.8 * y, 1.2 * y, "seeds", "loss"),
                Curve(t, y, "loss", "loss"),
                Curve(t, y / 2, "a rather long name of a central flow's loss", "central flow"),
            ],
            "step",
            "loss",
            log_y=True,
        ),
        Panel(
            "Landscape",
            [
                Raster(z, grid, grid, "loss"),
                Contour(z, grid, grid, "loss"),
                walk,
                Points(path[0, :1], path[1, :1], "start", "start", edits="start"),
            ],
            "w1",
            "w2",
            equal=True,
        ),
        Panel(
            "Field",
            [
                Contour(z, grid, grid, "loss"),
                Arrows(grid, grid, -grid / 3, grid / 4, "gradient", "gradient"),
            ],
            "w1",
            "w2",
        ),
        Panel(
            "Spectrum",
            [Bars(turn + 1, turn + 0.5, "exact", "a"), Bars(turn + 1, turn, "estimate", "b")],
            "index",
            "eigenvalue",
        ),
        Panel("Names", [Bars(np.array(["sgd", "a<b"]), np.ones(2))], "rule", "accuracy"),
        Panel("Surface", [Surface(z, grid, grid, "loss"), walk], "w1", "w2"),
        Panel("Mesh", [Mesh(corners, np.array([[0, 1, 2], [1, 2, 3]]), "body")], "x", "y"),
        Panel("Graph", [Graph(np.cos(turn), np.sin(turn), ring, list("abcde"))]),
        Panel("Grey", [Image(z * 0 + 0.5)]),
        Panel("Colour", [Image(np.ones((4, 6, 3)) / 3)]),
        Panel("Words", [Text("if a < b & c:\n    x = '$1' + '$2'")]),
    ]


def _changed(mark, kind: str):
    if kind == "usual" or isinstance(mark, Mesh | Graph | Text):
        return mark
    return mark._replace(
        **{
            name: _values(values, kind, isinstance(mark, (*FIELDS, Image)), name)
            for name, values in mark._asdict().items()
            if isinstance(values, np.ndarray)
        }
    )


def _values(values: np.ndarray, kind: str, field: bool, name: str) -> np.ndarray:
    if field and name in "xy":
        return values
    if values.dtype.kind == "U":
        return values[:1] if kind == "one" else values[:0] if kind == "empty" else values
    if kind in ("one", "empty"):
        return values if field else values[: kind == "one"]
    return {"unknown": values * np.nan, "constant": values * 0 + 3, "negative": -np.abs(values)}[
        kind
    ]
