"""What a hand does to an array."""

import numpy as np

from widgets.gestures import Edit, edited


RANGE = -10.0, 10.0  # of the field's control


def test_a_dragged_point_changes_its_row_and_no_other():
    points = np.arange(6.0).reshape(3, 2)
    moved = edited(points, Edit("drag", "points", (1,), (9.0, 8.0)), *RANGE)
    assert moved.tolist() == [[0, 1], [9, 8], [4, 5]]
    assert points[1, 0] == 2  # the method that was shown keeps its array


def test_a_dragged_value_moves_up_and_down_only():
    assert edited(np.zeros(3), Edit("drag", "values", (2,), (7.0, 0.5)), *RANGE).tolist() == [
        0,
        0,
        0.5,
    ]


def test_two_numbers_are_one_point_when_they_are_drawn_as_one():
    drag = Edit("drag", "start", (0,), (7.0, 0.5))
    assert edited(np.zeros(2), drag, *RANGE, alone=True).tolist() == [7, 0.5]
    assert edited(np.zeros(2), drag, *RANGE).tolist() == [0.5, 0]


def test_painted_cells_are_counted_row_by_row():
    painted = edited(np.zeros((2, 3)), Edit("paint", "image", (0, 4), (1.0,)), *RANGE)
    assert painted.tolist() == [[1, 0, 0], [0, 1, 0]]
    assert edited(painted, Edit("paint", "image", (0, 1), (0.0,)), *RANGE).tolist() == [
        [0, 0, 0],
        [0, 1, 0],
    ]


def test_nodes_are_joined_and_parted_both_ways_or_one_way():
    join = Edit("join", "links", (1, 3), ())  # of three nodes: 0 to 1 and 1 to 0
    joined = edited(np.zeros((3, 3)), join, *RANGE)
    assert np.argwhere(joined).tolist() == [[0, 1], [1, 0]]
    assert not edited(joined, join, *RANGE).any()
    one_way = edited(np.zeros((3, 3)), Edit("join", "links", (5,), ()), *RANGE)
    assert np.argwhere(one_way).tolist() == [[1, 2]]


def test_only_what_is_dragged_is_held_within_the_range():
    points = np.array([[3.0, 0.0], [0.5, 0.5]])
    moved = edited(points, Edit("drag", "points", (1,), (2.0, -0.5)), -1.0, 1.0)
    assert moved.tolist() == [[3, 0], [1, -0.5]]
