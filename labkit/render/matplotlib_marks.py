"""Marks as matplotlib's artists."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, ListedColormap, Normalize
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator

from labkit.render import look, shapes
from labkit.render.look import Style, Theme
from labkit.views import (
    Arrows,
    Band,
    Bars,
    Contour,
    Curve,
    Graph,
    Image,
    Mark,
    Mesh,
    Panel,
    Points,
    Raster,
    Surface,
)


class Setting(NamedTuple):
    """What a mark is drawn in."""

    axes: Any  # Axes, or Axes3D
    panel: Panel
    theme: Theme
    style: Style
    group: tuple[int, int]  # which of how many kinds of bars
    order: int  # of the mark among the marks: later ones lie on top
    scaled: bool  # whether it has a colour bar


class Drawn(NamedTuple):
    """What was drawn: its sample for the legend, and what a colour bar measures."""

    key: Any = None
    scaled: ScalarMappable | None = None


DASHES = {
    "solid": "-",
    "dash": (0, (4, 2)),
    "dot": (0, (1, 1.4)),
    "dashdot": (0, (4, 1.5, 1, 1.5)),
    "longdash": (0, (8, 3)),
}
MARKERS = {
    "circle": "o",
    "square": "s",
    "diamond": "D",
    "triangle-up": "^",
    "triangle-down": "v",
    "x": "X",
    "cross": "P",
    "star": "*",
}


def draw(mark: Mark, at: Setting) -> Drawn:
    """Draw one mark."""
    return DRAW[type(mark)](mark, at)


def colors(part: tuple[float, float] = (0.0, 1.0)) -> LinearSegmentedColormap:
    """The colours of fields, or part of them."""
    return LinearSegmentedColormap.from_list("field", look.cividis(part))


def _curve(mark: Curve, at: Setting) -> Drawn:
    style: dict[str, Any] = {
        "color": at.style.color,
        "linestyle": DASHES[at.style.dash],
        "linewidth": 2,
        "marker": MARKERS[at.style.marker],
        "markersize": 5,
        "markeredgewidth": 0,
        "zorder": 3 + 0.01 * at.order,
    }
    x, y = shapes.array(mark.x), shapes.array(mark.y)
    if _in_space(at):
        plain = {"color": at.style.color, "linewidth": 2, "zorder": 5}
        at.axes.plot(x, y, shapes.drape(at.panel, mark), **plain)
        return Drawn(Line2D([], [], color=at.style.color, linewidth=2))
    x, y = shapes.placed(x, at.panel.log_x), shapes.placed(y, at.panel.log_y)
    if shapes.segments(x, y):
        style["marker"] = ""
    # A few markers on each line are its third cue, and show a line of one point.
    at.axes.plot(x, y, markevery=max(1, len(x) // 8), **style)
    return Drawn(Line2D([], [], **style))


def _points(mark: Points, at: Setting) -> Drawn:
    style: dict[str, Any] = {
        "color": at.style.color,
        "linestyle": "none",
        "marker": MARKERS[at.style.marker],
        "markersize": (10 if mark.edits else 7) * (1.6 if at.style.marker == "star" else 1),
        "markeredgecolor": at.theme.background,
        "markeredgewidth": 1,
        "zorder": 4 + 0.01 * at.order,
    }
    x, y = shapes.array(mark.x), shapes.array(mark.y)
    if _in_space(at):
        at.axes.plot(x, y, shapes.drape(at.panel, mark), **style | {"zorder": 6})
    elif mark.weight is not None:
        look_ = {"color": at.style.color, "marker": MARKERS[at.style.marker]}
        area = shapes.weights(mark.weight)
        width = np.where(area < 0.1, 0.0, 1.0)  # a rim would hide a small dot
        edge = {"edgecolors": at.theme.background, "linewidths": width, "zorder": style["zorder"]}
        seen = shapes.placed(x, at.panel.log_x), shapes.placed(y, at.panel.log_y)
        at.axes.scatter(*seen, s=13**2 * area, **look_, **edge)
    else:
        at.axes.plot(shapes.placed(x, at.panel.log_x), shapes.placed(y, at.panel.log_y), **style)
    return Drawn(Line2D([], [], **style))


def _band(mark: Band, at: Setting) -> Drawn:
    x, low, high = (shapes.array(values) for values in (mark.x, mark.low, mark.high))
    style: dict[str, Any] = {"facecolor": at.style.color, "alpha": 0.25, "linewidth": 0}
    sound = shapes.placed(low, at.panel.log_y), shapes.placed(high, at.panel.log_y)
    at.axes.fill_between(
        shapes.placed(x, at.panel.log_x), *sound, zorder=2 + 0.01 * at.order, **style
    )
    return Drawn(Patch(**style))


def _arrows(mark: Arrows, at: Setting) -> Drawn:
    x, y, u, v = (shapes.array(values) for values in (mark.x, mark.y, mark.u, mark.v))
    style: dict[str, Any] = {"color": at.style.color, "zorder": 3 + 0.01 * at.order}
    if x.size:
        size = {"angles": "xy", "scale_units": "xy", "scale": 1, "width": 0.006}
        at.axes.quiver(x, y, u, v, **size, **style)
        at.axes.update_datalim(np.stack([x + u, y + v], axis=1))
        at.axes.autoscale_view()
    return Drawn(Line2D([], [], color=at.style.color, marker=">", markevery=(1, 1)))


def _bars(mark: Bars, at: Setting) -> Drawn:
    x, tall = np.asarray(mark.x), shapes.array(mark.height)
    places = shapes.array(x) if x.dtype.kind in "biuf" else np.arange(len(x), dtype=float)
    gaps = np.diff(np.unique(places[np.isfinite(places)]))
    which, of = at.group
    wide = 0.8 * (gaps.min() if gaps.size else 1.0) / of
    hatch = look.PATTERNS[which % len(look.PATTERNS)] * 2
    style: dict[str, Any] = {
        "facecolor": at.style.color,
        "hatch": hatch,
        "edgecolor": at.theme.background,
    }
    shift = wide * (which - (of - 1) / 2)
    at.axes.bar(places + shift, tall, wide, zorder=3, linewidth=0, **style)
    return Drawn(Patch(linewidth=0, **style))


def _raster(mark: Raster, at: Setting) -> Drawn:
    z = np.ma.masked_invalid(shapes.array(mark.z))
    if not z.size:
        return Drawn()
    low, high = shapes.painted(mark) or shapes.span(z.filled(np.nan))
    x = shapes.cell_edges(mark.x, at.panel.log_x)
    y = shapes.cell_edges(mark.y, at.panel.log_y)
    look_: dict[str, Any] = {"cmap": colors(), "norm": Normalize(low, high), "rasterized": True}
    mesh = at.axes.pcolormesh(x, y, z, shading="flat", zorder=1, **look_)
    return Drawn(scaled=mesh)


def _contour(mark: Contour, at: Setting) -> Drawn:
    z = np.ma.masked_invalid(shapes.array(mark.z))
    low, high = shapes.span(z.filled(np.nan))
    scale = ScalarMappable(Normalize(low, high), colors(at.theme.field_part))
    levels = np.asarray(MaxNLocator(mark.levels).tick_values(low, high))
    levels = levels[(levels > low) & (levels < high)]
    if min(z.shape) < 2 or not np.ma.count(z) or np.ma.max(z) == np.ma.min(z) or not levels.size:
        return Drawn(scaled=scale if z.size else None)  # a plain: no line of equal height
    if at.scaled:
        style: dict[str, Any] = {"cmap": scale.cmap, "norm": scale.norm, "linewidths": 1.3}
    else:  # over a raster: one colour, or they would be lost in it
        style = {"colors": at.theme.over_field, "linewidths": 0.8, "alpha": 0.7}
        style["linestyles"] = "solid"
    at.axes.contour(mark.x, mark.y, z, levels, zorder=2, **style)
    return Drawn(scaled=scale)


def _surface(mark: Surface, at: Setting) -> Drawn:
    z = shapes.array(mark.z)
    if min(z.shape) >= 2 and np.isfinite(z).any():
        x, y = np.meshgrid(mark.x, mark.y)
        norm = Normalize(*shapes.span(z))
        at.axes.plot_surface(x, y, z, cmap=colors(), norm=norm, rcount=60, ccount=60, linewidth=0)
    return Drawn()


def _mesh(mark: Mesh, at: Setting) -> Drawn:
    corners = shapes.array(mark.vertices).reshape(-1, 3)
    faces = np.asarray(mark.faces, int).reshape(-1, 3)
    if len(faces):
        norm = Normalize(*shapes.span(corners[:, 2]))
        style = {"cmap": colors(), "norm": norm, "linewidth": 0.3, "edgecolor": at.theme.ink}
        at.axes.plot_trisurf(*corners.T, triangles=faces, **style)
        at.axes.set_aspect("equal")
    return Drawn(Patch(facecolor=look.cividis()[len(look.CIVIDIS) // 2]))


def _graph(mark: Graph, at: Setting) -> Drawn:
    x, y = shapes.array(mark.x), shapes.array(mark.y)
    lines = shapes.links(x, mark.edges), shapes.links(y, mark.edges)
    at.axes.plot(*lines, color=at.theme.ghost, linewidth=1.2, linestyle="-", marker="", zorder=2)
    if mark.directed:
        for start, end in np.reshape(np.asarray(mark.edges, int), (-1, 2)):
            ends = {"xytext": (x[start], y[start]), "xy": (x[end], y[end])}
            arrow = {"arrowstyle": "-|>", "color": at.theme.ghost, "shrinkB": 6, "zorder": 2}
            at.axes.annotate("", **ends, arrowprops=arrow | {"mutation_scale": 14})
    style: dict[str, Any] = {
        "color": at.style.color,
        "linestyle": "none",
        "marker": MARKERS[at.style.marker],
        "markersize": 10,
        "markeredgewidth": 0,
    }
    at.axes.plot(x, y, zorder=3, **style)
    at.axes.margins(0.12)
    for name, left, up, below in zip(mark.names, x, y, shapes.low_nodes(y), strict=False):
        if np.isfinite(left) and np.isfinite(up):
            offset: dict[str, Any] = {"xytext": (0, 8), "va": "bottom"}
            if below:
                offset = {"xytext": (0, -8), "va": "top"}
            offset |= {"textcoords": "offset points", "ha": "center"}
            at.axes.annotate(
                str(name),
                (left, up),
                **offset,
                color=at.theme.ink,
                path_effects=[withStroke(linewidth=3, foreground=at.theme.background)],
                zorder=5,
                fontsize=look.TICK_SIZE * 0.75,
                fontfamily=look.FONT.split(",")[0],
                parse_math=False,
            )
    return Drawn(Line2D([], [], **style))


def _image(mark: Image, at: Setting) -> Drawn:
    pixels = np.clip(np.nan_to_num(shapes.array(mark.pixels)), 0, 1)
    if pixels.size:
        rows, columns = pixels.shape[:2]
        extent = (-0.5, columns - 0.5, -0.5, rows - 0.5)
        grey = {"cmap": ListedColormap([(g, g, g) for g in np.linspace(0, 1, 256)])}
        how = {"origin": "lower", "interpolation": "nearest", "aspect": "auto", "zorder": 1}
        at.axes.imshow(pixels, extent=extent, vmin=0, vmax=1, **grey, **how)
    return Drawn()


def _in_space(at: Setting) -> bool:
    return any(isinstance(mark, Surface | Mesh) for mark in at.panel.marks)


DRAW: dict[type, Callable[[Any, Setting], Drawn]] = {
    Curve: _curve,
    Band: _band,
    Points: _points,
    Arrows: _arrows,
    Bars: _bars,
    Raster: _raster,
    Contour: _contour,
    Surface: _surface,
    Mesh: _mesh,
    Graph: _graph,
    Image: _image,
}
