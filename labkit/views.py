"""What a picture says, and nothing of how it is drawn.

A view turns a record into a `Panel`: titled axes with marks on them.  `labkit.render` draws
panels, with matplotlib, with plotly, or in words.  A view is any function of a record, so a
method with a picture of its own writes one; `lines`, `path`, `heat`, `bars` and `drag` make the
usual.

The `role` of a mark names what it shows ("loss", "threshold"): the same thing has the same
colour in every picture.  A mark with `edits` changes that array field under the hand: points are
dragged, a raster is painted, nodes of a graph are joined.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from labkit.record import Record


class Curve(NamedTuple):
    """A line through (x, y), broken where y is NaN."""

    x: np.ndarray  # [n]
    y: np.ndarray  # [n]
    label: str = ""
    role: str = ""


class Band(NamedTuple):
    """The region between two curves over the same x."""

    x: np.ndarray  # [n]
    low: np.ndarray  # [n]
    high: np.ndarray  # [n]
    label: str = ""
    role: str = ""


class Points(NamedTuple):
    """Dots.  With `edits`, point i is dragged to change row i of that array field.

    A field of two numbers is one point; a field [n] is n points (i, value), dragged in y;
    a field [n, 2] is n points.  `weight` [n], from 0 to 1, is the area of each dot as a share of
    the largest.
    """

    x: np.ndarray  # [n]
    y: np.ndarray  # [n]
    label: str = ""
    role: str = ""
    edits: str = ""
    weight: np.ndarray | None = None  # [n]


class Arrows(NamedTuple):
    """Arrows from (x, y) to (x + u, y + v)."""

    x: np.ndarray  # [n]
    y: np.ndarray  # [n]
    u: np.ndarray  # [n]
    v: np.ndarray  # [n]
    label: str = ""
    role: str = ""


class Bars(NamedTuple):
    """Upright bars of the given heights around x."""

    x: np.ndarray  # [n], numbers or names
    height: np.ndarray  # [n]
    label: str = ""
    role: str = ""


class Raster(NamedTuple):
    """A field as coloured cells; z[i, j] is at (x[j], y[i]), NaN where not known yet.

    With `edits`, the pointer paints cells of that field [rows, columns]: they become 1, or 0
    where a stroke begins on a cell that is 0.5 or more; their colours go from 0 to 1.
    """

    z: np.ndarray  # [rows, columns]
    x: np.ndarray  # [columns]
    y: np.ndarray  # [rows]
    label: str = ""  # beside the colour bar
    edits: str = ""
    limits: tuple[float, float] | None = None  # of the colours; of z where None


class Contour(NamedTuple):
    """A field as lines of equal height, `levels` of them."""

    z: np.ndarray  # [rows, columns]
    x: np.ndarray  # [columns]
    y: np.ndarray  # [rows]
    label: str = ""
    levels: int = 15


class Surface(NamedTuple):
    """A field as a surface in three dimensions."""

    z: np.ndarray  # [rows, columns]
    x: np.ndarray  # [columns]
    y: np.ndarray  # [rows]
    label: str = ""  # of the height axis


class Mesh(NamedTuple):
    """Triangles in three dimensions."""

    vertices: np.ndarray  # [n, 3]
    faces: np.ndarray  # [m, 3], indices
    label: str = ""


class Graph(NamedTuple):
    """Nodes joined by edges.

    With `edits`, to drag from one node to another joins them, or parts them: the entry of that
    adjacency matrix [n, n] becomes 1, or 0 where it was 0.5 or more.  Edges are `directed` from
    the first node to the second; otherwise both entries change.
    """

    x: np.ndarray  # [n]
    y: np.ndarray  # [n]
    edges: np.ndarray  # [m, 2], indices
    names: Sequence[str] = ()  # [n]
    label: str = ""
    role: str = ""
    edits: str = ""
    directed: bool = False


class Image(NamedTuple):
    """A picture: grey [rows, columns] or colour [rows, columns, 3], each in [0, 1]."""

    pixels: np.ndarray
    label: str = ""


class Text(NamedTuple):
    """A pane of text, line breaks kept."""

    text: str


Mark = (
    Curve | Band | Points | Arrows | Bars | Raster | Contour
    | Surface | Mesh | Graph | Image | Text
)  # fmt: skip


class Panel(NamedTuple):
    """One pair of axes.  `x` and `y` are what is written along them, with units."""

    title: str
    marks: Sequence[Mark]
    x: str = ""
    y: str = ""
    log_x: bool = False
    log_y: bool = False
    equal: bool = False  # one unit is as long along x as along y
    x_range: tuple[float, float] | None = None
    y_range: tuple[float, float] | None = None


View = Callable[[Record], Panel]


def panels(record: Record, views: Sequence[View]) -> list[Panel]:
    """What the views say of a record."""
    return [view(record) for view in views]


def lines(
    *names: str,
    title: str = "",
    x: str = "step",
    y: str = "",
    over: str = "",
    log: bool = False,
    log_x: bool = False,
    labels: Mapping[str, str] | None = None,
    y_range: tuple[float, float] | None = None,
    roles: Mapping[str, str] | None = None,
    beside: Sequence[str] = (),
) -> View:
    """Columns as curves over the steps, or over the column named `over`.

    A column [rows, k] becomes k curves.  Labels and roles are the names of the columns unless
    given.  Columns in `beside` are drawn where a record has them: those of a run to compare with.
    """

    def view(record: Record) -> Panel:
        along = record[over] if over else record.steps
        shown = [*names, *(name for name in beside if name in record)]
        marks = [
            curve
            for name in shown
            for label in [(labels or {}).get(name) or _words(name)]
            for role in [(roles or {}).get(name) or name]
            for curve in _curves(record[name], along, label, role)
        ]
        up = y or (_words(names[0]) if len(names) == 1 else "value")
        across = _words(over) if over and x == "step" else x
        head = title or ", ".join(map(_words, names))
        return Panel(head, marks, across, up, log_x, log, y_range=y_range)

    return view


def _curves(values: np.ndarray, along: np.ndarray, label: str, role: str) -> list[Curve]:
    if values.ndim == 1:
        return [Curve(along, values, label, role)]
    several = values.reshape(len(values), -1).T
    return [Curve(along, row, f"{label} {i}", f"{role} {i}") for i, row in enumerate(several, 1)]


def path(
    name: str, *, title: str = "", x: str = "w1", y: str = "w2", under: View | None = None
) -> View:
    """A column [rows, 2] as a path in the plane, its head marked, over the marks of `under`."""

    def view(record: Record) -> Panel:
        places = record[name]
        ground = under(record) if under else Panel(_words(name), [], x, y)
        walk = Curve(places[:, 0], places[:, 1], _words(name), "path")
        head = Points(places[-1:, 0], places[-1:, 1], "now", "path")
        return ground._replace(title=title or ground.title, marks=[*ground.marks, walk, head])

    return view


def heat(name: str, *, title: str = "", x: str = "column", y: str = "row", label: str = "") -> View:
    """The newest matrix of a column [rows, m, n] as a raster."""

    def view(record: Record) -> Panel:
        z = np.asarray(record.last(name))
        raster = Raster(z, np.arange(z.shape[1]), np.arange(z.shape[0]), label or _words(name))
        return Panel(title or _words(name), [raster], x, y)

    return view


def bars(name: str, *, title: str = "", x: str = "index", y: str = "", over: str = "") -> View:
    """The newest array of a column [rows, n] as bars, at the places of the column `over`."""

    def view(record: Record) -> Panel:
        heights = np.asarray(record.last(name))
        at = np.asarray(record.last(over)) if over else np.arange(1, len(heights) + 1)
        marks = [Bars(at, heights, _words(name), name)]
        return Panel(title or _words(name), marks, x, y or _words(name))

    return view


def drag(
    edits: str, y_range: tuple[float, float], *, title: str = "", x: str = "index", y: str = ""
) -> View:
    """An array field [n] as points that are dragged; `edits` is its dotted name.

    The record has a column of the same name without what stands before the dot.
    """
    name = edits.rpartition(".")[2]

    def view(record: Record) -> Panel:
        values = np.asarray(record.last(name))
        points = Points(np.arange(1, len(values) + 1), values, _words(name), "iterates", edits)
        head = title or f"Drag the {_words(name)}"
        return Panel(head, [points], x, y or _words(name), y_range=y_range)

    return view


def text(name: str, *, title: str = "") -> View:
    """The newest entry of a column of texts."""
    return lambda record: Panel(title or _words(name), [Text(str(record.last(name)))])


def _words(name: str) -> str:
    return name.replace("_", " ").replace(".", " ")
