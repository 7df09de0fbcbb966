"""The live figure: valid for plotly, its structure apart from its data, its parts apart."""

import itertools
import json
import re

import numpy as np
import pytest

from labkit.render import page
from labkit.render.plotly import CONFIG, figure, html, spec, structure_key, whole
from labkit.views import Bars, Curve, Graph, Panel, Points, Raster, Surface, Text


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_plotly_accepts_all_marks_with_any_data(unusual, theme):
    drawn = figure(unusual, theme)  # validates every attribute
    json.loads(drawn.to_json())
    assert len(drawn.data) == len(spec(unusual).data)


def test_structure_is_the_same_whatever_the_data(sheet, unusual):
    assert structure_key(spec(unusual)) == structure_key(spec(sheet()))


def test_structure_differs_when_a_mark_or_the_theme_does(sheet):
    keys = {structure_key(spec(p)) for p in (sheet(), sheet()[1:])}
    assert len(keys | {structure_key(spec(sheet(), "dark"))}) == 3


def test_structure_is_json_without_arrays_and_arrays_are_float32(sheet):
    made = spec(sheet())
    json.dumps([made.data, made.layout, made.texts, made.edits])
    assert all(a.dtype == np.float32 and a.flags.c_contiguous for a in made.arrays.values())
    assert all(a.ndim in (1, 2) for a in made.arrays.values())
    assert all(0 <= trace < len(made.data) for trace, _ in made.arrays)


def test_titles_ranges_and_names_are_texts_beside_the_structure():
    def made(title, top, name):
        bars = Bars(np.array([name]), np.ones(1))
        return spec([Panel(title, [bars], "x", "y", y_range=(0, top), log_x=False)])

    one, other = made("step 1", 1.0, "a"), made("step 2", 2.0, "b")
    assert structure_key(one) == structure_key(other)
    assert other.texts["annotations[0].text"] == "<b>step 2</b>"
    assert other.texts["yaxis.range"] == [0, 2]
    assert other.texts["xaxis.ticktext"] == ["b"]


def test_a_logarithmic_range_is_in_powers_of_ten():
    panel = Panel("t", [Curve(np.ones(2), np.ones(2))], "x", "y", log_y=True, y_range=(0.01, 100))
    assert spec([panel]).texts["yaxis.range"] == [-2, 2]
    with pytest.raises(ValueError, match="above 0"):
        spec([panel._replace(y_range=(0.0, 1.0))])


def test_a_logarithmic_axis_over_little_more_than_a_power_of_ten_has_few_ticks():
    def ticks(*ends, **wanted):
        curve = Curve(np.array(ends), np.array(ends))
        made = spec([Panel("t", [curve], "x", "y", log_x=True, log_y=True, **wanted)])
        return [made.texts[f"{axis}.nticks"] for axis in ("xaxis", "yaxis")], structure_key(made)

    # Plotly takes the digits 1, 2 and 5 where a tick has more than 0.3 powers of ten, else all.
    short, key = ticks(0.0, 0.0008, 0.012)
    assert short == [3, 3]
    assert ticks(0.0, 0.0008, 1.2) == ([4, 5], key)
    assert ticks(2.0, 5.0) == ([4, 5], key)  # within one, ticks are those of a linear axis
    assert ticks(2.0, 5.0, y_range=(1.0, 10.0))[0] == [4, 3]
    assert ticks(np.nan, 0.0) == ([4, 5], key)  # nothing has a place


def test_between_few_whole_numbers_stand_no_halves():
    def ticks(*values):
        curve = Curve(np.array(values), np.array(values))
        made = spec([Panel("t", [curve], "x", "y")])
        assert made.texts["xaxis.nticks"] == made.texts["yaxis.nticks"]
        return made.texts["xaxis.nticks"], structure_key(made)

    for last in range(1, 6):
        # Plotly takes the length of the axis, a little more than its numbers, over this number, and
        # the next of 0.5, 1, 2 above that.
        assert 0.5 < 1.05 * last / ticks(0.0, last, np.nan)[0] <= 1.0
    free, key = ticks(0.0, 1.5)
    assert free == 0  # as plotly likes
    assert ticks(0.0, 3.0)[1] == key
    assert [ticks(*some)[0] for some in [(0.0, 40.0), (2.0,), (np.nan,), ()]] == [0, 0, 0, 0]


def test_the_colours_of_a_raster_stay_where_they_are_put():
    def ends(**how):
        raster = Raster(np.full((2, 2), 0.5), np.arange(2), np.arange(2), **how)
        [trace] = spec([Panel("t", [raster])]).data
        return trace.get("zmin"), trace.get("zmax")

    assert ends() == (None, None)
    assert ends(limits=(0.0, 2.0)) == (0.0, 2.0)
    assert ends(edits="cells") == (0.0, 1.0)


def test_names_of_low_nodes_stand_below_them():
    def sides(*y):
        graph = Graph(np.arange(3.0), np.array(y), np.array([[0, 1]]), "abc")
        places = spec([Panel("t", [graph])]).texts["data[1].textposition"]
        return [place.split()[0] for place in places]

    assert sides(0.0, 2.0, 3.0) == ["bottom", "top", "top"]
    assert sides(1.0, 1.0, 1.0) == ["top"] * 3  # all on one line
    assert sides(np.nan, 0.0, 1.0) == ["top", "bottom", "top"]
    assert sides(np.nan, np.nan, np.nan) == ["top"] * 3


def test_on_little_more_than_a_decade_numbers_are_asked_for_so_that_not_all_are_written():
    def numbers(last, first=20.0):
        curve = Curve(np.array([0.0, first, last]), np.array([np.nan, first, last]))
        texts = spec([Panel("t", [curve], "x", "y", log_x=True, log_y=True)]).texts
        return texts["xaxis.nticks"], texts["yaxis.nticks"]

    for last in (210.0, 230.0, 300.0, 550.0, 700.0):
        assert all(np.log10(last / 20) / many > 0.3 for many in numbers(last))
    assert numbers(2e5) == numbers(10.0, 0.001) == (4, 5)
    assert numbers(0.1, 0.001) == (3, 5)  # 0.001 and 0.002 would touch


def test_what_is_0_has_no_place_on_a_logarithmic_axis():
    marks = [mark(np.arange(2.0), np.arange(2.0)) for mark in (Curve, Points)]
    for log in (True, False):
        made = spec([Panel("t", marks, "x", "y", log_y=log)])
        for trace in (0, 1):
            assert made.arrays[trace, "x"].tolist() == [0.0, 1.0]
            assert np.isnan(made.arrays[trace, "y"][0]) == log


def test_words_are_escaped_and_keep_their_lines():
    text = spec([Panel("a<b", [Text("if a < b:\n  '$x$ & $y$'")])]).texts
    assert text["annotations[0].text"] == "<b>a&lt;b</b>"
    pane = text["annotations[1].text"]
    assert pane.startswith("if\u00a0a\u00a0&lt;\u00a0b:<br>\u00a0\u00a0'&#36;x&#36;")
    assert not re.search(r"[$&](?!lt;|amp;|#36;)", pane)


def test_a_long_text_shrinks_and_at_last_says_what_is_missing():
    text = "\n".join(map(str, range(400)))
    made = spec([Panel("t", [Text(text)])])
    assert made.texts["annotations[1].font.size"] < 14
    assert "lines more" in made.texts["annotations[1].text"].replace("\u00a0", " ")


def test_every_flat_panel_has_axes_with_its_labels_and_domain(sheet):
    made = spec(sheet())
    flat = [panel for panel in sheet() if page.kind_of(panel) == "plane"]
    axes = [a for name, a in made.layout.items() if name.startswith("xaxis")]
    assert [axis["title"]["text"] for axis in axes] == [panel.x for panel in flat]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 9])
@pytest.mark.parametrize("width", [None, 500, 1400])
def test_legends_titles_axes_and_colour_bars_have_rooms_of_their_own(sheet, count, width):
    panels = (sheet()[:4] * 3)[:count]
    room = page.page(panels, width)
    rooms = []
    for cell in room.cells:
        around = cell.axes._replace(
            left=cell.axes.left - page.LEFT, width=cell.axes.width + page.LEFT
        )
        bars = [bar._replace(width=page.BAR - 8) for bar in cell.bars]
        rooms += [cell.title, around, *bars, cell.legend]
    for one, other in itertools.combinations(rooms, 2):
        across = min(one.right, other.right) - max(one.left, other.left)
        down = min(one.bottom, other.bottom) - max(one.top, other.top)
        assert min(across, down) < 1e-6
    assert all(box.left >= 0 and box.right <= room.width + 1e-6 for box in rooms)
    assert all(box.top >= 0 and box.bottom <= room.height for box in rooms)


def test_a_legend_has_as_many_lines_as_its_room(sheet):
    made, room = spec(sheet()[:1]), page.page(sheet()[:1])
    columns = {}
    for trace in made.data:
        if trace["showlegend"]:
            lines = trace["name"].count("<br>") + 1
            column = columns.setdefault(trace["legendgroup"], [])
            column.append(max(1.3 * 14 * lines, 16) + 3)  # as plotly.js measures an entry
    assert max(map(sum, columns.values())) + 10 <= room.cells[0].legend.height + page.GAP


def test_a_broken_title_or_label_begins_its_lines_with_a_word():
    panel = Panel("Loss on the line from A to B", [])
    broken = [page.title_lines(panel, wide) for wide in range(100, 400, 10)]
    broken += [page.label_lines(panel.title, wide) for wide in range(100, 400, 10)]
    assert max(map(len, broken)) > 2
    for lines in broken:
        assert all(line == line.strip() for line in lines)
        assert " ".join(lines) == panel.title


def test_dragged_points_say_field_trace_and_axes(sheet):
    made = spec(sheet())
    (edit,) = made.edits
    assert edit["field"] == "start"
    assert made.data[edit["trace"]]["xaxis"] == edit["xaxis"] == "x2"
    assert edit["yaxis"] == "y2"


def test_what_is_painted_and_joined_says_so_and_a_painted_cell_keeps_its_colour():
    z = np.zeros((2, 3))
    nodes = np.arange(3.0)
    painted = Panel("p", [Raster(z, np.arange(3), np.arange(2), "", "cells")], "x", "y")
    one_way = Graph(nodes, nodes**2, np.array([[0, 2]]), edits="links", directed=True)
    made = spec([painted, Panel("g", [one_way])])
    gestures = [(edit["gesture"], edit["field"], edit["directed"]) for edit in made.edits]
    assert gestures == [("paint", "cells", False), ("join", "links", True)]
    cells, nodes = (made.data[edit["trace"]] for edit in made.edits)
    assert (cells["type"], cells["zmin"], cells["zmax"]) == ("heatmap", 0, 1)
    assert nodes["mode"] == "markers+text"


def test_an_arrow_of_a_graph_points_from_the_first_node_to_the_second():
    one_way = Graph(np.array([0.0, 1.0]), np.array([0.0, 2.0]), np.array([[1, 0]]), directed=True)
    made = spec([Panel("g", [one_way])])
    np.testing.assert_allclose(made.arrays[0, "x"], [1, 0.2, 0, np.nan], rtol=1e-6)
    np.testing.assert_allclose(made.arrays[0, "y"], [2, 0.4, 0, np.nan], rtol=1e-6)
    assert np.flatnonzero(made.arrays[0, "marker.size"]).tolist() == [1]  # a head, seen from 1
    assert made.data[0]["marker"]["angleref"] == "previous"


def test_what_is_only_pairs_of_ends_has_no_markers():
    gap, x = np.nan, np.arange(6.0)
    lines = {"lines": [0, 1, gap, 2, 3, gap], "lines+markers": [0, 1, gap, 2, 3, 4]}
    curves = [Curve(x, np.array(y), mode) for mode, y in lines.items()]
    for trace in whole(spec([Panel("t", curves, "x", "y")]))["data"]:
        assert trace["mode"] == trace["name"]


def test_a_label_that_stands_in_the_title_is_no_legend():
    for title, legend in (("Drag the values", {}), ("Drag values_1", {0: 0})):
        drag = Panel(title, [Points(np.ones(1), np.ones(1), "values")], "x", "y")
        assert page.entries(drag) == legend


def test_a_graph_without_words_along_its_axes_has_no_ticks():
    nodes = Graph(np.arange(2.0), np.arange(2.0), np.array([[0, 1]]))
    dots = Points(np.ones(1), np.ones(1))
    assert page.bare(Panel("t", [nodes, dots]))
    assert not page.bare(Panel("t", [nodes, dots], "x"))
    assert not page.bare(Panel("t", [dots]))


def test_weighted_points_have_areas_as_their_weights():
    three = Points(np.arange(3), np.zeros(3), weight=np.array([1.0, 0.25, 0.0]))
    sizes = spec([Panel("w", [three], "x", "y")]).arrays[0, "marker.size"]
    np.testing.assert_allclose((sizes / sizes[0]) ** 2, [1, 0.25, 0.02], rtol=1e-5)  # 0 is seen


def test_a_curve_lies_on_the_surface_of_its_panel():
    grid = np.linspace(0, 1, 5)
    plane = Surface(grid[None] + 2 * grid[:, None], grid, grid)
    walk = Curve(np.array([0.1, 0.4, 2.0]), np.array([0.3, 0.9, 0.0]))
    made = spec([Panel("t", [plane, walk], "x", "y")])
    lifted = 0.015 * 3  # above the surface by a part of its height, to be seen
    np.testing.assert_allclose(made.arrays[1, "z"], [0.7 + lifted, 2.2 + lifted, np.nan], 1e-6)


def test_points_beside_a_mesh_are_refused(sheet):
    panel = next(panel for panel in sheet() if panel.title == "Mesh")
    dots = Points(np.ones(1), np.ones(1))
    with pytest.raises(ValueError, match="Points"):
        spec([panel._replace(marks=[*panel.marks, dots])])


def test_a_band_has_one_closed_polygon_for_each_stretch(sheet):
    x, y = (spec(sheet()).arrays[0, name] for name in "xy")
    assert np.isnan(x).sum() == 2
    first = x[: np.flatnonzero(np.isnan(x))[0]]
    assert first[0] == first[-1]
    assert len(x) == len(y)


def test_nothing_without_a_finite_point_is_shown_in_space():
    grid = np.arange(3.0)
    unknown = Panel("t", [Surface(np.full((3, 3), np.nan), grid, grid)], "x", "y")
    assert spec([unknown]).texts["data[0].visible"] is False


def test_whole_puts_arrays_and_texts_in_their_places(sheet):
    made = spec(sheet())
    drawn = whole(made)
    assert drawn["layout"]["annotations"][0]["text"] == "<b>Loss</b>"
    arrows = next(t for t in drawn["data"] if t.get("marker", {}).get("symbol") == "arrow")
    assert len(arrows["marker"]["size"]) == len(arrows["x"])
    assert "text" not in made.layout["annotations"][0]


def test_no_button_uploads_the_chart_and_the_page_needs_no_network(sheet, tmp_path):
    assert "sendChartToCloud" in CONFIG["modeBarButtonsToRemove"]
    text = html(sheet(), tmp_path / "page.html").read_text(encoding="utf-8")
    assert not re.search(r"<script[^>]+src=|<link", text)
    assert '"sendChartToCloud"' in text.rpartition("Plotly.newPlot")[2]


def test_a_narrow_page_has_fewer_panels_in_a_row(sheet):
    lefts = {cell.axes.left for cell in page.page([sheet()[3]] * 3, 400).cells}
    assert len(lefts) == 1
    made = spec([sheet()[0]] * 3, width=650)
    assert made.layout["xaxis3"]["domain"] == made.layout["xaxis"]["domain"]
