"""Marks as plotly traces: what stays, and apart from it the arrays and texts that change."""

import base64
import struct
import zlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

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


class Trace(NamedTuple):
    """One trace: plotly's structure, its arrays by attribute, its texts by attribute."""

    fixed: dict
    arrays: dict[str, Any]
    texts: Mapping[str, Any] = MappingProxyType({})
    named: bool = True  # whether it may stand in the legend for its mark


class Setting(NamedTuple):
    """What a mark is drawn in."""

    panel: Panel
    theme: Theme
    style: Style
    bar: dict | None  # of the colour bar, where the mark has one
    pattern: str  # of bars, as a second cue


def traces(mark: Mark, at: Setting) -> list[Trace]:
    """The traces of one mark."""
    return DRAW[type(mark)](mark, at)


def scale(colors: list[str]) -> list[list]:
    """Colours as plotly's colour scale."""
    return [[i / (len(colors) - 1), color] for i, color in enumerate(colors)]


def png(pixels: np.ndarray) -> str:
    """A colour picture [rows, columns, 3] in [0, 1] as the address that holds it whole."""
    bytes_ = np.rint(255 * np.clip(np.nan_to_num(shapes.array(pixels)), 0, 1)).astype(np.uint8)
    rows, columns = bytes_.shape[:2]
    lines = np.zeros((rows, 1 + 3 * columns), np.uint8)  # each line begins with its filter: none
    lines[:, 1:] = bytes_.reshape(rows, -1)
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", columns, rows, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(lines.tobytes(), 1)),
        (b"IEND", b""),
    ]
    body = b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in parts
    )
    return "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n" + body).decode()


def _curve(mark: Curve, at: Setting) -> list[Trace]:
    arrays = _places(mark, at.panel)
    if _in_space(at.panel):
        line = {"color": at.style.color, "width": 6}
        fixed = {"type": "scatter3d", "mode": "lines", "line": line}
        return [Trace(fixed, arrays | {"z": shapes.drape(at.panel, mark)})]
    # A few markers on each line are its third cue, and show a line of one point.
    fixed = {
        "type": "scatter",
        "line": {"color": at.style.color, "dash": at.style.dash, "width": 2.5},
        "marker": {
            "color": at.style.color,
            "symbol": at.style.marker,
            "size": 7,
            "maxdisplayed": 9,
        },
        "connectgaps": False,
    }
    mode = "lines" if shapes.segments(mark.x, mark.y) else "lines+markers"
    return [Trace(fixed, arrays, {"mode": mode})]


def _points(mark: Points, at: Setting) -> list[Trace]:
    marker = {"color": at.style.color, "symbol": at.style.marker, "size": 14 if mark.edits else 9}
    marker["line"] = {"color": at.theme.background, "width": 1.5}
    arrays = _places(mark, at.panel)
    if mark.weight is not None:
        arrays["marker.size"] = 18 * np.sqrt(shapes.weights(mark.weight))
    if _in_space(at.panel):
        marker |= {"symbol": "circle", "size": 6}
        fixed = {"type": "scatter3d", "mode": "markers", "marker": marker}
        return [Trace(fixed, arrays | {"z": shapes.drape(at.panel, mark)})]
    return [Trace({"type": "scatter", "mode": "markers", "marker": marker}, arrays)]


def _band(mark: Band, at: Setting) -> list[Trace]:
    x, y = shapes.outline(mark.x, mark.low, mark.high)
    fixed = {
        "type": "scatter",
        "mode": "lines",
        "fill": "toself",
        "fillcolor": faded(at.style.color, 0.25),
        "line": {"color": at.style.color, "width": 0.5},
        "hoverinfo": "skip",
    }
    return [Trace(fixed, {"x": x, "y": y})]


def _arrows(mark: Arrows, at: Setting) -> list[Trace]:
    x, y = shapes.array(mark.x), shapes.array(mark.y)
    fixed = {
        "type": "scatter",
        "mode": "lines+markers",
        "line": {"color": at.style.color, "width": 1.5},
        "marker": {
            "color": at.style.color,
            "symbol": "arrow",
            "angleref": "previous",
            "opacity": 1,
            "line": {"width": 0},
        },
        "hoverinfo": "skip",
    }
    arrays = {
        "x": shapes.broken(x, x + shapes.array(mark.u)),
        "y": shapes.broken(y, y + shapes.array(mark.v)),
        "marker.size": np.tile([0.0, 9.0, 0.0], len(x)),  # a head, and nothing at the tail
    }
    return [Trace(fixed, arrays)]


def _bars(mark: Bars, at: Setting) -> list[Trace]:
    pattern = {"shape": at.pattern, "fillmode": "overlay", "fgcolor": at.theme.background}
    fill = {"color": at.style.color, "pattern": pattern}
    x = np.asarray(mark.x)
    places = x if x.dtype.kind in "biuf" else np.arange(len(x))
    return [Trace({"type": "bar", "marker": fill}, {"x": places, "y": mark.height})]


def _raster(mark: Raster, at: Setting) -> list[Trace]:
    fixed = {
        "type": "heatmap",
        "colorscale": scale(look.cividis()),
        "showscale": at.bar is not None,
        "hoverongaps": False,
    }
    limits = shapes.painted(mark)
    if limits:
        fixed |= {"zmin": limits[0], "zmax": limits[1]}
    if at.bar:
        fixed["colorbar"] = at.bar
    return [Trace(fixed, _field(mark))]


def _contour(mark: Contour, at: Setting) -> list[Trace]:
    fixed = {
        "type": "contour",
        "ncontours": mark.levels,
        "contours": {"coloring": "lines"},
        "colorscale": scale(look.cividis(at.theme.field_part)),
        "line": {"width": 1.5},
        "showscale": at.bar is not None,
    }
    if at.bar:
        fixed["colorbar"] = at.bar
    else:  # over a raster: one colour, or they would be lost in it
        fixed |= {"contours": {"coloring": "none"}, "opacity": 0.7}
        fixed["line"] = {"width": 1, "color": at.theme.over_field}
    return [Trace(fixed, _field(mark))]


def _surface(mark: Surface, _: Setting) -> list[Trace]:
    fixed = {"type": "surface", "showscale": False, "colorscale": scale(look.cividis())}
    return [Trace(fixed, _field(mark))]


def _mesh(mark: Mesh, _: Setting) -> list[Trace]:
    corners = shapes.array(mark.vertices).reshape(-1, 3)
    faces = np.asarray(mark.faces).reshape(-1, 3)
    arrays = dict(zip("xyzijk", [*corners.T, *faces.T], strict=True))
    fixed = {
        "type": "mesh3d",
        "colorscale": scale(look.cividis()),
        "showscale": False,
        "flatshading": True,
    }
    return [Trace(fixed, arrays | {"intensity": corners[:, 2]})]


def _graph(mark: Graph, at: Setting) -> list[Trace]:
    lines = {
        "type": "scatter",
        "mode": "lines",
        "line": {"color": at.theme.ghost, "width": 1.5},
        "hoverinfo": "skip",
    }
    places = {"x": shapes.links(mark.x, mark.edges), "y": shapes.links(mark.y, mark.edges)}
    if mark.directed:
        lines |= {"mode": "lines+markers"}
        lines["marker"] = {"symbol": "arrow", "angleref": "previous", "color": at.theme.ghost}
        places = dict(zip("xy", shapes.arrowheads(mark.x, mark.y, mark.edges), strict=True))
        places["marker.size"] = np.tile([0.0, 11.0, 0.0, 0.0], len(places["x"]) // 4)
    nodes = {
        "type": "scatter",
        "mode": "markers+text",
        "marker": {"color": at.style.color, "symbol": at.style.marker, "size": 14},
        "textfont": {"shadow": ", ".join([f"0 0 3px {at.theme.background}"] * 3)},
        "cliponaxis": False,
    }
    sides = np.where(shapes.low_nodes(mark.y), "bottom center", "top center").tolist()
    names = {"text": [escape(str(name)) for name in mark.names], "textposition": sides}
    return [Trace(lines, places, named=False), Trace(nodes, {"x": mark.x, "y": mark.y}, names)]


def _image(mark: Image, _: Setting) -> list[Trace]:
    if np.ndim(mark.pixels) == 3:
        return [Trace({"type": "image", "hoverinfo": "skip"}, {}, {"source": png(mark.pixels)})]
    grey = {"type": "heatmap", "zmin": 0, "zmax": 1, "showscale": False}
    return [Trace(grey | {"colorscale": scale(["#000000", "#ffffff"])}, {"z": mark.pixels})]


def _field(mark: Raster | Contour | Surface) -> dict[str, Any]:
    return {"z": mark.z, "x": mark.x, "y": mark.y}


def _places(mark: Curve | Points, panel: Panel) -> dict[str, Any]:
    return {"x": shapes.placed(mark.x, panel.log_x), "y": shapes.placed(mark.y, panel.log_y)}


def _in_space(panel: Panel) -> bool:
    return any(isinstance(mark, Surface | Mesh) for mark in panel.marks)


def faded(color: str, opacity: float) -> str:
    """A colour that lets through what is behind it."""
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"


def escape(text: str) -> str:
    """A text that plotly shows as it is: not as HTML, and a pair of dollars not as TeX."""
    for sign, entity in {"&": "&amp;", "<": "&lt;", ">": "&gt;", "$": "&#36;"}.items():
        text = text.replace(sign, entity)
    return text


DRAW: dict[type, Callable[[Any, Setting], list[Trace]]] = {
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
