"""Plotly's axes, scenes, legends and titles, each in its place on the page."""

from typing import Any

import numpy as np

from labkit.errors import refusal
from labkit.render import look, page, shapes
from labkit.render.look import Theme
from labkit.render.page import Box, Cell, Page
from labkit.render.plotly_marks import escape
from labkit.views import Bars, Image, Mesh, Panel, Surface


# Text on its way into the layout, by path: `Spec.texts`.
Texts = dict[str, Any]


def sheet(room: Page, theme: Theme) -> dict:
    """The page itself.  Its width is left open, so that the figure fills what it is given."""
    return {
        "height": room.height,
        "autosize": True,
        "margin": dict.fromkeys("ltrb", 0) | {"pad": 0, "autoexpand": False},
        "paper_bgcolor": theme.background,
        "plot_bgcolor": theme.background,
        "font": {"family": look.FONT, "size": look.TEXT_SIZE, "color": theme.ink},
        "modebar": {"color": theme.ink, "activecolor": theme.ink, "bgcolor": theme.background},
        "hovermode": "closest",
        "hoverlabel": {"namelength": -1},
        "barmode": "group",
        "template": {},  # the plotly package would bring a look of its own
        "uirevision": "kept",  # zoom, hidden curves and camera survive new data
        "annotations": [],
    }


def plane(layout: dict, texts: Texts, panel: Panel, cell: Cell, room: Page, theme: Theme) -> dict:
    """Put a pair of axes into the layout; returns what a trace says to be drawn in them."""
    tail = _tail(layout, "xaxis")
    pictured = any(isinstance(mark, Image) for mark in panel.marks)
    across, up = _domain(cell.axes, room)
    for letter, anchor, domain, log, label, wanted in (
        ("x", "y", across, panel.log_x, panel.x, shapes.limits(panel.x_range)),
        ("y", "x", up, panel.log_y, panel.y, shapes.limits(panel.y_range)),
    ):
        axis = _axis(label, theme) | {
            "type": "log" if log else "linear",
            "domain": domain,
            "anchor": anchor + tail,
            "visible": not page.bare(panel),
            "showline": True,
            "automargin": False,
        }
        axis["title"]["standoff"] = 6
        if log:
            axis["tickformat"] = "~g"
        most = _most_ticks if log else _whole_ticks
        texts[f"{letter}axis{tail}.nticks"] = most(panel, letter)
        if panel.equal or pictured:
            # Not "domain": plotly.js 4.1 loses the height of such axes when their data grow.
            axis["constrain"] = "range"
            axis |= {"scaleanchor": "x" + tail, "scaleratio": 1} if letter == "y" else {}
        if wanted:
            texts[f"{letter}axis{tail}.range"] = _range(wanted, log)
        elif pictured and letter == "y":
            axis["autorange"] = "reversed"  # row 0 of a picture is its top
        layout[f"{letter}axis{tail}"] = axis
    for mark in panel.marks:
        if isinstance(mark, Bars) and np.asarray(mark.x).dtype.kind not in "biuf":
            texts[f"xaxis{tail}.tickvals"] = list(range(len(mark.x)))
            texts[f"xaxis{tail}.ticktext"] = [escape(str(name)) for name in mark.x]
    return {"xaxis": "x" + tail, "yaxis": "y" + tail}


def space(layout: dict, panel: Panel, cell: Cell, room: Page, theme: Theme) -> dict:
    """Put a scene into the layout; returns what a trace says to be drawn in it."""
    name = "scene" + _tail(layout, "scene")
    up = next((m.label for m in panel.marks if isinstance(m, Surface) and m.label), "z")
    labels = {"xaxis": panel.x or "x", "yaxis": panel.y or "y", "zaxis": up}
    axes = {axis: _axis(label, theme) | {"nticks": 5} for axis, label in labels.items()}
    across, upward = _domain(cell.axes, room)
    layout[name] = axes | {
        "bgcolor": theme.background,
        "aspectmode": "data" if any(isinstance(m, Mesh) for m in panel.marks) else "cube",
        "camera": {"eye": {"x": 1.45, "y": -1.85, "z": 1.05}},
        "domain": {"x": across, "y": upward},
    }
    return {"scene": name}


def legend(layout: dict, cell: Cell, room: Page) -> str:
    """Put a legend for one panel below it; returns its name.

    Plotly breaks a lying legend at the width of the whole page.  Groups stand side by side,
    each an upright column, so one group a column keeps a legend within its panel.
    """
    name = "legend" + _tail(layout, "legend")
    layout[name] = {
        "orientation": "h",
        "traceorder": "grouped",
        "groupclick": "toggleitem",
        "tracegroupgap": 0,
        "x": cell.legend.left / room.width,
        "xanchor": "left",
        "y": 1 - cell.legend.top / room.height,
        "yanchor": "top",
        "bgcolor": "rgba(0,0,0,0)",
        "font": {"size": look.TEXT_SIZE},
    }
    return name


def bar(strip: Box, label: str, room: Page) -> dict:
    """A colour bar in its strip of the page."""
    return {
        "x": strip.left / room.width,
        "xanchor": "left",
        "xpad": 0,
        "y": 1 - (strip.top + strip.height / 2) / room.height,
        "ypad": 0,
        "len": strip.height,
        "lenmode": "pixels",
        "thickness": strip.width,
        "outlinewidth": 0,
        "exponentformat": "power",
        "tickfont": {"size": look.TICK_SIZE},
        "title": {"text": escape(label), "side": "right", "font": {"size": look.TEXT_SIZE}},
    }


def title(layout: dict, texts: Texts, panel: Panel, cell: Cell, room: Page) -> None:
    """Write a panel's title above it."""
    text = "<br>".join(map(escape, page.title_lines(panel, cell.title.width)))
    corner = cell.title.left, cell.title.top
    path = _annotate(layout, room, *corner, {"family": look.FONT, "size": look.TITLE_SIZE})
    texts[f"{path}.text"] = f"<b>{text}</b>"


def pane(layout: dict, texts: Texts, text: str, cell: Cell, room: Page) -> None:
    """Write a pane of text."""
    box = cell.axes
    lines, size = look.fit(text, box.width, box.height)
    path = _annotate(layout, room, box.left, box.top, {"family": look.MONO})
    # A browser would fold spaces into one: they are written as hard ones.
    texts[f"{path}.text"] = "<br>".join(escape(line).replace(" ", "\u00a0") for line in lines)
    texts[f"{path}.font.size"] = size


def _annotate(layout: dict, room: Page, left: float, top: float, font: dict) -> str:
    layout["annotations"].append(
        {
            "showarrow": False,
            "align": "left",
            "xref": "paper",
            "yref": "paper",
            "x": left / room.width,
            "y": 1 - top / room.height,
            "xanchor": "left",
            "yanchor": "top",
            "borderpad": 0,
            "font": font,
        }
    )
    return f"annotations[{len(layout['annotations']) - 1}]"


def _axis(label: str, theme: Theme) -> dict:
    return {
        "title": {"text": escape(label), "font": {"size": look.TEXT_SIZE}},
        "tickfont": {"size": look.TICK_SIZE},
        "exponentformat": "power",
        "gridcolor": theme.grid,
        "linecolor": theme.ink,
        "zeroline": False,
    }


def _domain(box: Box, room: Page) -> tuple[list[float], list[float]]:
    across = [box.left / room.width, box.right / room.width]
    return across, [1 - box.bottom / room.height, 1 - box.top / room.height]


def _range(limits: tuple[float, float], log: bool) -> list[float]:
    if log and not min(limits) > 0:
        raise refusal("range", limits, "numbers above 0 on a logarithmic axis")
    return [float(np.log10(limit)) if log else float(limit) for limit in limits]


def _most_ticks(panel: Panel, letter: str) -> int:
    """How many ticks plotly may think of on a logarithmic axis.

    Over little more than one power of ten it would write every digit, 9 close to 10, with more
    than three.  Along x numbers stand beside each other: few, or they would touch, and fewer where
    1, 2 and 5 are written of numbers below 0.01, which are long.
    """
    seen = shapes.positive(panel, letter)
    decades = np.log10(seen.max() / seen.min()) if seen.size else 0.0
    long = letter == "x" and decades < 2.6 and (seen < 0.01).any()
    return 3 if long or 0.8 <= decades <= 1.6 else {"x": 4, "y": 5}[letter]


def _whole_ticks(panel: Panel, letter: str) -> int:
    """How many ticks plotly may think of on a linear axis; 0: as many as it likes.

    Where few whole numbers are counted it would write halves between them.
    """
    seen = shapes.along(panel, letter)
    span = np.ptp(seen) if seen is not None and seen.size else 0.0
    return max(2, int(2 * span - 1)) if 0 < span <= 5 and shapes.counted(panel, letter) else 0


def _tail(layout: dict, kind: str) -> str:
    """Plotly numbers what there are several of, from the second on."""
    number = sum(name.startswith(kind) for name in layout) + 1
    return "" if number == 1 else str(number)
