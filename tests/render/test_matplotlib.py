"""Stills: everything is drawn, labelled, apart from each other, and from any thread."""

import itertools
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from matplotlib.text import Text as Words

from labkit.render import Still
from labkit.render.matplotlib import figure
from labkit.views import Curve, Panel, Text


def boxes(drawn):
    """The axes with all their labels, the legends and the titles, in pixels."""
    drawn.canvas.draw()
    pen = drawn.canvas.get_renderer()
    parts = [*drawn.axes, *drawn.legends, *drawn.texts]
    return [part.get_tightbbox(pen) for part in parts], drawn.bbox


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_all_marks_with_any_data_are_drawn_without_a_warning(unusual, theme):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        png, _, _ = Still(unusual, theme).png()
    assert png.startswith(b"\x89PNG")


def test_both_axes_of_every_panel_are_labelled(sheet):
    panels = [panel for panel in sheet() if panel.x]
    labels = [(a.get_xlabel(), a.get_ylabel()) for a in figure(panels).axes if a.get_xlabel()]
    assert labels == [(panel.x, panel.y) for panel in panels]


def test_axes_legends_colour_bars_and_titles_do_not_overlap(sheet):
    flat = [panel for panel in sheet() if panel.title not in ("Surface", "Mesh")]
    for panels in (flat, flat[:1], flat[:2], flat[:4], flat[1:3]):
        found, page = boxes(figure(panels))
        for one, other in itertools.combinations(found, 2):
            across = min(one.x1, other.x1) - max(one.x0, other.x0)
            up = min(one.y1, other.y1) - max(one.y0, other.y0)
            assert min(across, up) < 1, (one, other)  # a pixel: an edge may be shared
        assert all(box.x0 > -1 and box.x1 < page.x1 + 1 for box in found)
        assert all(box.y0 > -1 and box.y1 < page.y1 + 1 for box in found)


def test_a_gap_in_the_data_is_a_gap_in_the_line():
    y = np.array([1.0, 2, np.nan, 3])
    (line,) = figure([Panel("t", [Curve(np.arange(4), y)], "x", "y")]).axes[0].lines
    np.testing.assert_array_equal(line.get_ydata(), y)


def test_words_are_drawn_as_they_are_written():
    panels = [
        Panel(r"$\alpha$ costs $5", [Curve(np.ones(2), np.ones(2), "$x$")], "$w$", "<b>"),
        Panel("", [Text("$a$\n  <i> & b_1^2 {")]),
    ]
    drawn = figure(panels)
    drawn.canvas.draw()
    written = [text for text in drawn.findobj(Words) if "$" in text.get_text()]
    assert len(written) == 4
    assert not any(text.get_parse_math() for text in written)


def test_threads_draw_what_one_thread_draws(sheet):
    several = [sheet()[:3], sheet()[3:6], sheet()[6:9], sheet()[9:]] * 2
    alone = [Still(panels).png()[0] for panels in several]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(lambda panels: Still(panels).png()[0], several))
    assert together == alone


def test_no_panels_are_an_empty_figure():
    assert figure([]).axes == []
