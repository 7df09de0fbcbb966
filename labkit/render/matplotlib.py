"""Panels on paper: stills, posters, files.

Without pyplot and without its settings: a figure is made of objects of its own, so that
several threads may draw at once.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from mpl_toolkits.mplot3d import Axes3D

from labkit.render import look, page, shapes
from labkit.render.look import Theme
from labkit.render.matplotlib_marks import Setting, draw
from labkit.render.page import Box, Cell, Page
from labkit.views import Bars, Image, Panel, Surface, Text


DPI = 100  # a pixel of the page is a hundredth of an inch
STEPS = (1, 2, 2.5, 5, 10)  # between ticks, times a power of ten


def figure(panels: Sequence[Panel], theme: str = "light", width: float | None = None) -> Figure:
    """The panels as a figure; `width` in pixels of the page."""
    colors, room = look.theme_of(theme), page.page(panels, width)
    drawn = Figure(figsize=(room.width / DPI, room.height / DPI), dpi=DPI)
    FigureCanvasAgg(drawn)
    drawn.set_facecolor(colors.background)
    for panel, cell in zip(panels, room.cells, strict=True):
        _title(drawn, panel, cell, room, colors)
        kind = page.kind_of(panel)
        if kind == "plane":
            _plane(drawn, panel, cell, room, colors)
        elif kind == "space":
            _space(drawn, panel, cell, room, colors)
        panes = [mark.text for mark in panel.marks if isinstance(mark, Text)]
        if panes:
            _pane(drawn, "\n\n".join(panes), cell, room, colors)
    return drawn


def _plane(drawn: Figure, panel: Panel, cell: Cell, room: Page, theme: Theme) -> None:
    axes = drawn.add_axes(_place(cell.axes, room), facecolor=theme.background)
    axes.grid(visible=True, color=theme.grid, linewidth=0.8, linestyle="-", alpha=1)
    axes.set_axisbelow(True)
    _scales(axes, panel)
    _marks(drawn, axes, panel, cell, room, theme)
    pictured = any(isinstance(mark, Image) for mark in panel.marks)
    if panel.equal or pictured:
        axes.set_aspect("equal", adjustable="box")
    for edge in ("top", "right"):
        axes.spines[edge].set_visible(False)
    for edge in ("bottom", "left"):
        axes.spines[edge].set_color(theme.ink)
    axes.set_xlabel(panel.x, parse_math=False, **_font(theme))
    axes.set_ylabel(panel.y, parse_math=False, **_font(theme))
    _limits(axes, panel)
    _ticks(axes, panel, theme)
    if pictured and panel.y_range is None:
        axes.invert_yaxis()
    if page.bare(panel):
        axes.set_axis_off()


def _space(drawn: Figure, panel: Panel, cell: Cell, room: Page, theme: Theme) -> None:
    axes = Axes3D(drawn, _place(cell.axes, room), facecolor=theme.background, computed_zorder=False)
    drawn.add_axes(axes)
    up = next((m.label for m in panel.marks if isinstance(m, Surface) and m.label), "z")
    _marks(drawn, axes, panel, cell, room, theme)
    labels = (
        (axes.set_xlabel, panel.x or "x"),
        (axes.set_ylabel, panel.y or "y"),
        (axes.set_zlabel, up),
    )
    for put, label in labels:
        put(label, parse_math=False, **_font(theme))
    for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
        axis.set_major_locator(MaxNLocator(4, steps=STEPS))
        axis.set_major_formatter(FuncFormatter(lambda value, _: look.superscript(value)))
        axis.set_pane_color((0, 0, 0, 0))
        axis.line.set_color(theme.ink)
        axis.set_tick_params(colors=theme.ink, labelsize=_points(look.TICK_SIZE))
    axes.set_box_aspect(None, zoom=0.85)
    axes.view_init(elev=25, azim=-52)


def _marks(drawn: Figure, axes: Axes, panel: Panel, cell: Cell, room: Page, theme: Theme) -> None:
    roles = [look.role_of(mark, i) for i, mark in enumerate(panel.marks)]
    styles, strips = (
        look.styles(roles, theme),
        dict(zip(page.scaled(panel), cell.bars, strict=True)),
    )
    columns, keys = page.entries(panel, cell.columns), {}
    bars = [i for i, mark in enumerate(panel.marks) if isinstance(mark, Bars)]
    for i, mark in enumerate(panel.marks):
        if isinstance(mark, Text):
            continue
        group = (bars.index(i), len(bars)) if i in bars else (0, 1)
        made = draw(mark, Setting(axes, panel, theme, styles[roles[i]], group, i, i in strips))
        if i in strips:
            strip = drawn.add_axes(_place(strips[i], room))
            if made.scaled is None:  # a field without a cell known yet: keep its room, draw nothing
                strip.set_axis_off()
                continue
            bar = drawn.colorbar(made.scaled, cax=strip)
            bar.outline.set_visible(False)
            bar.ax.yaxis.set_major_locator(MaxNLocator(6, steps=STEPS))
            bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: look.superscript(v)))
            bar.ax.tick_params(colors=theme.ink, labelsize=_points(look.TICK_SIZE))
            bar.ax.set_ylabel(page.label_of(panel, i), parse_math=False, **_font(theme))
        if i in columns:
            keys[i] = made.key
    if keys:
        _legend(drawn, panel, cell, room, theme, columns, keys)


def _legend(
    drawn: Figure,
    panel: Panel,
    cell: Cell,
    room: Page,
    theme: Theme,
    columns: dict[int, int],
    keys: dict,
) -> None:
    box, each = cell.legend, cell.legend.width / cell.columns
    for column in range(cell.columns):  # one legend a column: each keeps to its own width
        mine = [i for i in keys if columns[i] == column]
        labels = ["\n".join(page.label_lines(page.label_of(panel, i), each)) for i in mine]
        corner = (box.left + column * each) / room.width, 1 - box.top / room.height
        legend = drawn.legend(
            [keys[i] for i in mine],
            labels,
            loc="upper left",
            bbox_to_anchor=corner,
            borderaxespad=0,
            borderpad=0,
            frameon=False,
            handlelength=2.6,
            labelspacing=0.35,
            labelcolor=theme.ink,
            prop=_font(theme)["fontproperties"],
        )
        for text in legend.get_texts():
            text.set_parse_math(False)


def _title(drawn: Figure, panel: Panel, cell: Cell, room: Page, theme: Theme) -> None:
    lines = "\n".join(page.title_lines(panel, cell.title.width))
    font = _font(theme, look.TITLE_SIZE, weight="bold")
    corner = cell.title.left / room.width, 1 - cell.title.top / room.height
    drawn.text(*corner, lines, va="top", ha="left", parse_math=False, **font)


def _pane(drawn: Figure, text: str, cell: Cell, room: Page, theme: Theme) -> None:
    box = cell.axes
    lines, size = look.fit(text, box.width, box.height)
    font = _font(theme, size, family=look.MONO)
    corner = box.left / room.width, 1 - box.top / room.height
    drawn.text(*corner, "\n".join(lines), va="top", ha="left", parse_math=False, **font)


def _scales(axes: Axes, panel: Panel) -> None:
    # A bar has a foot at 0, which a logarithmic axis can only clip.
    beyond = "clip" if any(isinstance(mark, Bars) for mark in panel.marks) else "mask"
    if panel.log_x:
        axes.set_xscale("log", nonpositive=beyond)
    if panel.log_y:
        axes.set_yscale("log", nonpositive=beyond)


def _limits(axes: Axes, panel: Panel) -> None:
    for asked, put in ((panel.x_range, axes.set_xlim), (panel.y_range, axes.set_ylim)):
        wanted = shapes.limits(asked)
        if wanted:
            put(*wanted)


def _ticks(axes: Axes, panel: Panel, theme: Theme) -> None:
    names = [mark.x for mark in panel.marks if isinstance(mark, Bars)]
    named = bool(names) and np.asarray(names[0]).dtype.kind not in "biuf"
    for axis, name, log in ((axes.xaxis, "x", panel.log_x), (axes.yaxis, "y", panel.log_y)):
        low, high = sorted(axis.get_view_interval())
        if log:
            wide = low > 0 and high / low > 50
            axis.set_major_locator(LogLocator(10, subs=(1,) if wide else (1, 2, 5), numticks=7))
            axis.set_minor_formatter(NullFormatter())
        else:
            most, whole = 5 if name == "x" else 6, shapes.counted(panel, name)
            axis.set_major_locator(MaxNLocator(most, steps=STEPS, integer=whole))
        axis.set_major_formatter(FuncFormatter(lambda value, _: look.superscript(value)))
        axis.set_tick_params(
            which="both", colors=theme.ink, labelsize=_points(look.TICK_SIZE), length=3
        )
    if named:
        labels = [str(name) for name in names[0]]
        axes.set_xticks(range(len(labels)), labels, parse_math=False)


def _place(box: Box, room: Page) -> tuple[float, float, float, float]:
    """A box of the page as matplotlib has it: fractions from the bottom left."""
    down = 1 - box.bottom / room.height
    return box.left / room.width, down, box.width / room.width, box.height / room.height


def _points(pixels: float) -> float:
    return pixels * 72 / DPI


def _font(
    theme: Theme, size: float = look.TEXT_SIZE, weight: str = "normal", family: str = look.FONT
) -> dict:
    # The first family comes with matplotlib: the same picture on every machine.
    name = family.split(",")[0]
    font = FontProperties(family=[name], size=_points(size), weight=weight)
    return {"fontproperties": font, "color": theme.ink}
