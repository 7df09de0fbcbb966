"""What the usual views say of a record."""

import numpy as np
import pytest

from labkit.record import Record
from labkit.views import Curve, Panel, Points, bars, drag, heat, lines, panels, path, text


RECORD = Record(
    np.array([0, 2, 4]),
    {
        "loss": np.array([4.0, 2.0, 1.0]),
        "gradient_norm": np.array([3.0, np.nan, 1.0]),
        "time": np.array([0.1, 0.2, 0.3]),
        "w": np.array([[0.0, 1.0], [1.0, 2.0], [2.0, 4.0]]),
        "matrix": np.arange(18.0).reshape(3, 2, 3),
        "picture": np.arange(6.0).reshape(1, 3, 2),
        "heights": np.arange(6.0).reshape(3, 2),
        "places": np.array([[5, 6], [7, 8], [9, 10]]),
        "said": np.array(["one", "two", "three"], object),
    },
)


def test_lines_are_columns_over_the_steps():
    panel = lines("loss")(RECORD)
    [curve] = panel.marks
    assert isinstance(curve, Curve)
    np.testing.assert_array_equal(curve.x, [0, 2, 4])
    np.testing.assert_array_equal(curve.y, [4, 2, 1])
    assert (curve.label, curve.role) == ("loss", "loss")
    assert (panel.title, panel.x, panel.y) == ("loss", "step", "loss")
    assert (panel.log_x, panel.log_y) == (False, False)


def test_lines_show_gaps_where_nothing_is_known():
    [curve] = lines("gradient_norm")(RECORD).marks
    assert np.isnan(curve.y[1])
    assert curve.label == "gradient norm"
    assert curve.role == "gradient_norm"


def test_several_lines_share_their_axes_and_each_has_its_label():
    panel = lines("loss", "time", labels={"time": "t [s]"}, title="Both", log=True)(RECORD)
    assert [curve.label for curve in panel.marks] == ["loss", "t [s]"]
    assert (panel.title, panel.y, panel.log_y, panel.log_x) == ("Both", "value", True, False)
    assert lines("loss", "time")(RECORD).title == "loss, time"


def test_lines_over_another_column():
    panel = lines("loss", over="time", log_x=True, y="L", y_range=(0.0, 5.0))(RECORD)
    np.testing.assert_array_equal(panel.marks[0].x, RECORD["time"])
    assert (panel.x, panel.y, panel.log_x, panel.y_range) == ("time", "L", True, (0.0, 5.0))
    assert lines("loss", over="time", x="seconds")(RECORD).x == "seconds"


def test_a_column_of_several_numbers_is_as_many_curves():
    curves = lines("w")(RECORD).marks
    assert [(curve.label, curve.role) for curve in curves] == [("w 1", "w 1"), ("w 2", "w 2")]
    np.testing.assert_array_equal(curves[1].y, [1, 2, 4])
    assert len(lines("matrix")(RECORD).marks) == 6


def test_a_path_ends_in_a_point_where_it_is_now():
    panel = path("w", x="u", y="v")(RECORD)
    walk, head = panel.marks
    np.testing.assert_array_equal([walk.x, walk.y], RECORD["w"].T)
    assert isinstance(head, Points)
    assert (head.x.tolist(), head.y.tolist()) == ([2.0], [4.0])
    assert (panel.title, panel.x, panel.y) == ("w", "u", "v")
    assert walk.role == head.role == "path"  # a colour that no field has, whatever the name


def test_a_path_lies_over_the_ground_and_keeps_its_axes():
    mark = Curve(np.zeros(2), np.zeros(2))
    ground = lambda record: Panel("Ground", [mark], "u", "v", x_range=(0.0, 1.0))
    panel = path("w", under=ground)(RECORD)
    assert panel.marks[0] is mark
    assert len(panel.marks) == 3
    assert (panel.title, panel.x, panel.x_range) == ("Ground", "u", (0.0, 1.0))
    assert path("w", under=ground, title="Own")(RECORD).title == "Own"


@pytest.mark.parametrize("name, shape", [("matrix", (2, 3)), ("picture", (3, 2))])
def test_heat_is_the_newest_matrix_with_rows_along_y(name, shape):
    panel = heat(name)(RECORD)
    [raster] = panel.marks
    np.testing.assert_array_equal(raster.z, RECORD[name][-1])
    assert raster.z.shape == (len(raster.y), len(raster.x)) == shape
    assert (panel.x, panel.y, raster.label) == ("column", "row", name)


def test_bars_are_the_newest_row():
    panel = bars("heights")(RECORD)
    [mark] = panel.marks
    assert (mark.x.tolist(), mark.height.tolist()) == ([1, 2], [4.0, 5.0])
    assert (panel.x, panel.y, mark.role) == ("index", "heights", "heights")
    [mark] = bars("heights", over="places")(RECORD).marks
    assert mark.x.tolist() == [9, 10]


def test_what_is_dragged_edits_the_field_that_it_shows():
    panel = drag("problem.heights", (0.0, 9.0), x="bar")(RECORD)
    [mark] = panel.marks
    assert (mark.x.tolist(), mark.y.tolist()) == ([1, 2], [4.0, 5.0])
    assert (mark.edits, mark.role) == ("problem.heights", "iterates")
    assert (panel.title, panel.x, panel.y) == ("Drag the heights", "bar", "heights")
    assert panel.y_range == (0.0, 9.0)


def test_text_is_the_newest_entry():
    panel = text("said", title="Saying")(RECORD)
    assert panel.title == "Saying"
    assert panel.marks[0].text == "three"


def test_a_view_of_the_past_is_a_view_of_the_record_as_it_was():
    assert text("said")(RECORD.until(2)).marks[0].text == "two"
    np.testing.assert_array_equal(lines("loss")(RECORD.until(2)).marks[0].y, [4, 2])


def test_panels_are_what_each_view_says():
    own = lambda record: Panel(f"{len(record)} rows", [])
    assert [panel.title for panel in panels(RECORD, [lines("loss"), own])] == ["loss", "3 rows"]


@pytest.mark.parametrize(
    "view", [lines("no"), lines("loss", over="no"), path("no"), heat("no"), bars("no"), text("no")]
)
def test_a_view_of_a_column_that_is_not_there_says_which_there_are(view):
    with pytest.raises(KeyError, match=r"there is no column 'no'; there are: .*loss"):
        view(RECORD)
