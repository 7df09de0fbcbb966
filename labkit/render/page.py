"""Where things go: a cell for each panel, with room of its own for every part of it.

Both renderers place axes, titles, legends and colour bars by these pixels, counted from the
top left corner of the page, so that nothing overlaps in either.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from labkit.render import look
from labkit.views import Contour, Graph, Image, Mesh, Panel, Raster, Surface, Text


class Box(NamedTuple):
    """A rectangle in pixels."""

    left: float
    top: float
    width: float
    height: float

    @property
    def right(self) -> float:
        return self.left + self.width

    @property
    def bottom(self) -> float:
        return self.top + self.height


class Cell(NamedTuple):
    """The room of one panel."""

    title: Box
    axes: Box
    bars: list[Box]  # the strip of each colour bar, its ticks and title not counted
    legend: Box
    columns: int  # of the legend


class Page(NamedTuple):
    """The rooms of all panels."""

    width: float
    height: float
    cells: list[Cell]


TITLE, BELOW, LEFT, RIGHT, BAR, STRIP = 24, 50, 76, 14, 84, 12
MARGIN, GAP, PLOT = 8, 12, 280
LEGEND_LINE, LEGEND_PAD, SYMBOL = 22, 12, 56  # a legend's line, around it, beside a label
WIDTHS = {1: 560, 2: 860, 3: 1080}  # narrower than this, tick labels begin to touch


def kind_of(panel: Panel) -> str:
    """What sort of axes a panel needs: "text", "space" or "plane"."""
    if any(isinstance(mark, Surface | Mesh) for mark in panel.marks):
        return "space"
    if panel.marks and all(isinstance(mark, Text) for mark in panel.marks):
        return "text"
    return "plane"


def bare(panel: Panel) -> bool:
    """Whether ticks would say nothing: a picture or a graph without words along its axes."""
    pictured = any(isinstance(mark, Image | Graph) for mark in panel.marks)
    return pictured and not (panel.x or panel.y)


def scaled(panel: Panel) -> list[int]:
    """The marks that have a colour bar.  Contours over a raster share its colours' meaning."""
    if kind_of(panel) != "plane":
        return []
    rasters = [i for i, mark in enumerate(panel.marks) if isinstance(mark, Raster)]
    return rasters or [i for i, mark in enumerate(panel.marks) if isinstance(mark, Contour)]


def entries(panel: Panel, columns: int = 1) -> dict[int, int]:
    """The marks that stand in the legend and the column each is in, read row by row.

    Each label stands there once; one that only repeats the title or an axis does not.
    """
    found: dict[str, int] = {}
    for i, mark in enumerate(panel.marks):
        label = label_of(panel, i)
        if label and not isinstance(mark, Raster | Contour | Surface | Image):
            found.setdefault(label, i)
    said = f"{panel.title}\n{panel.y}"
    if len(found) == 1 and re.search(rf"(?<!\w){re.escape(*found)}(?!\w)", said, re.IGNORECASE):
        return {}
    return {mark: place % columns for place, mark in enumerate(found.values())}


def label_of(panel: Panel, mark: int) -> str:
    """What a mark is called."""
    return getattr(panel.marks[mark], "label", "")


def label_lines(label: str, width: float) -> list[str]:
    """A legend's label, broken where it would leave its panel."""
    return [line.strip() for line in look.wrap(label, width - SYMBOL, look.TEXT_SIZE)]


def page(panels: Sequence[Panel], width: float | None = None, head: float = MARGIN) -> Page:
    """Rows of at most three panels, fewer on a narrow page, below a strip as high as `head`."""
    columns = min(len(panels), 3) if len(panels) != 4 else 2
    if width:
        columns = max(1, min(columns, int(width // 300)))
    width, top, cells = width or WIDTHS.get(columns, WIDTHS[1]), head, []
    across = (width - 2 * MARGIN) / max(columns, 1)
    for start in range(0, len(panels), max(columns, 1)):
        row = panels[start : start + columns]
        heads = max(len(title_lines(panel, across - _left(panel))) for panel in row) * TITLE
        legends = [_legend(panel, across) for panel in row]
        for i, (panel, (rows, many)) in enumerate(zip(row, legends, strict=True)):
            left = MARGIN + i * across
            cells.append(_cell(panel, Box(left, top, across, heads), rows, many))
        lowest = max(lines * LEGEND_LINE + LEGEND_PAD * (lines > 0) for lines, _ in legends)
        below = 0 if all(kind_of(panel) != "plane" or bare(panel) for panel in row) else BELOW
        top += heads + PLOT + below + lowest + GAP
    return Page(width, max(top - GAP + MARGIN, 4 * MARGIN), cells)


def title_lines(panel: Panel, width: float) -> list[str]:
    """The title of a panel, broken to its width."""
    lines = look.wrap(panel.title, width - 2 * MARGIN, look.TITLE_SIZE)
    return [line.strip() for line in lines] or [""]


def _cell(panel: Panel, head: Box, rows: int, columns: int) -> Cell:
    kind, bars = kind_of(panel), len(scaled(panel))
    quiet = kind != "plane" or bare(panel)
    left = head.left + _left(panel)
    right = head.right - (MARGIN if quiet else RIGHT) - bars * BAR
    axes = Box(left, head.bottom, right - left, PLOT)
    strips = [Box(right + 8 + i * BAR, axes.top, STRIP, PLOT) for i in range(bars)]
    low = axes.bottom + (MARGIN if quiet else BELOW)
    height = rows * LEGEND_LINE + LEGEND_PAD * (rows > 0)
    legend = Box(head.left + MARGIN, low, head.width - 2 * MARGIN, height)
    title = Box(left, head.top, head.right - left, head.height)
    return Cell(title, axes, strips, legend, columns)


def _left(panel: Panel) -> int:
    """The room on the left of the axes."""
    return MARGIN if kind_of(panel) != "plane" or bare(panel) else LEFT


def _legend(panel: Panel, width: float) -> tuple[int, int]:
    """Lines and columns of a legend."""
    labels = [label_lines(label_of(panel, i), width - 2 * MARGIN) for i in entries(panel)]
    if not labels:
        return 0, 1
    longest = max(len(line) for lines in labels for line in lines)
    each = SYMBOL + 0.6 * look.TEXT_SIZE * longest
    columns = max(1, min(len(labels), int((width - 2 * MARGIN) // each)))
    tall = max(map(len, labels))
    return -(-len(labels) // columns) * tall, columns
