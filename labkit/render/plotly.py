"""Panels for the browser: live, under the pointer, turned in space, exported.

`spec` writes what plotly.js reads as plain Python, so that a live view sends the structure
once and from then on only arrays and texts; it imports no plotly.
"""

import copy
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from labkit.render import look, page
from labkit.render import plotly_layout as place
from labkit.render.look import Theme
from labkit.render.page import Cell, Page
from labkit.render.plotly_marks import Setting, escape, traces
from labkit.views import Bars, Graph, Panel, Points, Raster, Text


if TYPE_CHECKING:
    import plotly.graph_objects as go


# What goes beside data and layout.  The button left out would send the chart to a company.
CONFIG = {
    "displaylogo": False,
    "responsive": True,
    "modeBarButtonsToRemove": [
        "sendChartToCloud",
        "select2d",
        "lasso2d",
        "zoomIn2d",
        "zoomOut2d",
        "autoScale2d",
        "resetCameraDefault3d",  # to where plotly begins, not we
    ],
}
GESTURES = {Points: "drag", Raster: "paint", Graph: "join"}  # of marks with `edits`
BUTTONS = 26  # pixels above the titles, where plotly's buttons appear


class Spec(NamedTuple):
    """A figure for plotly.js, what changes apart from what stays.

    `data` and `layout` are structure: equal for records that differ only in values and length.
    `arrays[trace, attribute]` is float32 [n] or [rows, columns]; an attribute may be a path
    ("marker.size").  `texts[path]` is a string, a number or a list of them that belongs into
    the layout ("annotations[0].text", "xaxis.range") or, where the path begins with
    "data[i].", into trace i.  `edits` names what changes under the hand: gesture, trace, field,
    xaxis, yaxis.
    """

    data: list[dict]
    layout: dict
    arrays: dict[tuple[int, str], np.ndarray]
    texts: dict[str, Any]
    label: str  # the figure's name for a screen reader
    edits: list[dict]


def spec(panels: Sequence[Panel], theme: str = "light", width: float | None = None) -> Spec:
    """The figure of these panels.  It fills the width it is given; `width` is that, where known."""
    colors, room = look.theme_of(theme), page.page(panels, width, BUTTONS)
    label = "; ".join(filter(None, (panel.title for panel in panels))) or "figure"
    made = Spec([], place.sheet(room, colors), {}, {}, label, [])
    for panel, cell in zip(panels, room.cells, strict=True):
        place.title(made.layout, made.texts, panel, cell, room)
        kind = page.kind_of(panel)
        if kind == "plane":
            axes = place.plane(made.layout, made.texts, panel, cell, room, colors)
            _marks(made, panel, cell, room, colors, axes)
        elif kind == "space":
            axes = place.space(made.layout, panel, cell, room, colors)
            _marks(made, panel, cell, room, colors, axes)
        panes = [mark.text for mark in panel.marks if isinstance(mark, Text)]
        if panes:
            place.pane(made.layout, made.texts, "\n\n".join(panes), cell, room)
    for name in ("xaxis", "yaxis"):  # without any, plotly would draw a pair of its own
        made.layout.setdefault(name, {"visible": False})
    return made


def structure_key(made: Spec) -> str:
    """Equal for two specs when the second needs only new arrays and texts."""
    structure = json.dumps([made.data, made.layout, made.edits], sort_keys=True)
    return hashlib.sha1(structure.encode(), usedforsecurity=False).hexdigest()


def whole(made: Spec) -> dict[str, Any]:
    """Data and layout with their arrays and texts put in: what plotly reads at once."""
    drawn = {"data": copy.deepcopy(made.data), "layout": copy.deepcopy(made.layout)}
    for (trace, attribute), values in made.arrays.items():
        indices = attribute in ("i", "j", "k")
        _put(drawn["data"][trace], attribute, values.astype(int) if indices else values)
    for path, value in made.texts.items():
        inside = path.startswith("data[")
        _put(drawn if inside else drawn["layout"], path, value)
    return drawn


def figure(panels: Sequence[Panel], theme: str = "light") -> "go.Figure":
    """The panels as a figure of the plotly package."""
    import plotly.graph_objects as go

    return go.Figure(whole(spec(panels, theme)))


def html(panels: Sequence[Panel], path: str | Path, theme: str = "light") -> Path:
    """Write a page that needs nothing else, plotly.js included; returns its path."""
    path, drawn = Path(path), figure(panels, theme)
    background = look.theme_of(theme).background
    text = drawn.to_html(include_plotlyjs=True, config=CONFIG, default_height=drawn.layout.height)
    text = text.replace("<body>", f'<body style="margin:0;background:{background}">', 1)
    path.write_text(text, encoding="utf-8")
    return path


def _marks(
    made: Spec, panel: Panel, cell: Cell, room: Page, theme: Theme, axes: dict[str, str]
) -> None:
    roles = [look.role_of(mark, i) for i, mark in enumerate(panel.marks)]
    styles = look.styles(roles, theme)
    strips = dict(zip(page.scaled(panel), cell.bars, strict=True))
    columns = page.entries(panel, cell.columns)
    legend = place.legend(made.layout, cell, room) if columns else ""
    bars = [i for i, mark in enumerate(panel.marks) if isinstance(mark, Bars)]
    for i, mark in enumerate(panel.marks):
        if isinstance(mark, Text):
            continue
        bar = place.bar(strips[i], page.label_of(panel, i), room) if i in strips else None
        pattern = look.PATTERNS[bars.index(i) % len(look.PATTERNS)] if i in bars else ""
        field = getattr(mark, "edits", "")
        for trace in traces(mark, Setting(panel, theme, styles[roles[i]], bar, pattern)):
            if field and trace.named and "xaxis" in axes:
                gesture = GESTURES[type(mark)]
                edit = {"gesture": gesture, "trace": len(made.data), "field": field} | axes
                made.edits.append(edit | {"directed": getattr(mark, "directed", False)})
            named = {"name": escape(getattr(mark, "label", "")), "showlegend": False}
            if i in columns and trace.named:
                lines = page.label_lines(page.label_of(panel, i), cell.legend.width / cell.columns)
                group = f"{legend} {columns[i]}"
                named = {"name": "<br>".join(map(escape, lines)), "showlegend": True}
                named |= {"legend": legend, "legendgroup": group}
            if trace.fixed["type"] == "image":
                named.pop("showlegend")  # plotly's images know of no legend
            _keep(made, trace.fixed | axes | named, trace.arrays, trace.texts)
            if "scene" in axes:  # a scene without a finite point would break plotly.js
                shown = all(np.isfinite(values).any() for values in trace.arrays.values())
                made.texts[f"data[{len(made.data) - 1}].visible"] = bool(shown)


def _keep(made: Spec, fixed: dict, arrays: dict, texts: Mapping) -> None:
    number = len(made.data)
    made.data.append(fixed)
    for attribute, values in arrays.items():
        made.arrays[number, attribute] = np.ascontiguousarray(values, np.float32)
    for attribute, value in texts.items():
        made.texts[f"data[{number}].{attribute}"] = value


def _put(tree: Any, path: str, value: Any) -> None:
    *way, last = re.findall(r"[^.\[\]]+", path)
    for name in way:
        tree = tree[int(name)] if isinstance(tree, list) else tree.setdefault(name, {})
    tree[last] = value
