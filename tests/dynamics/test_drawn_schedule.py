"""The drawn schedule sees what a run of it sees, and its knots are dragged."""

import time

import numpy as np
import pytest

from labkit import fields, replace, run
from labkit.dynamics.drawn_schedule import example, say, views
from labkit.dynamics.nonsmooth import max_residual, sparse_logistic
from labkit.dynamics.schedule_bound import ScheduleBound
from labkit.dynamics.schedules import Drawn, Schedule
from labkit.views import Points
from widgets import Explorer
from widgets.gestures import Edit


STEPS = 40
KNOTS = Drawn().knots
METHOD = example(max_residual(12, 5), STEPS)


def test_each_row_is_a_run_at_its_rate():
    record = run(METHOD)
    for row in (0, 6, 12):
        method = ScheduleBound(max_residual(12, 5), Drawn(steps=STEPS), record["rate"][row])
        one = run(method, STEPS)
        for name in ("gap", "bound"):
            np.testing.assert_allclose(record[name][row], one[name], rtol=1e-4, atol=1e-6)
    assert (record["gap"] <= record["bound"]).all()


def test_linear_knots_have_the_bound_of_linear_decay():
    drawn = run(replace(METHOD, {"knots": np.linspace(1, 0, 6)}))
    linear = run(ScheduleBound(max_residual(12, 5), Schedule("linear", steps=STEPS)), STEPS)
    np.testing.assert_allclose(drawn["bound"][6], linear["bound"], rtol=1e-4)


def test_the_height_of_the_knots_does_not_count():
    low = run(replace(METHOD, {"knots": 0.25 * np.asarray(KNOTS)}))
    np.testing.assert_allclose(low["gap"], run(METHOD)["gap"], rtol=1e-3, atol=1e-5)


def test_the_points_edit_the_knots_where_they_stand():
    record = run(METHOD)
    (points,) = (m for m in views[0](record).marks if isinstance(m, Points))
    assert points.edits in fields(METHOD)
    np.testing.assert_allclose(points.y, record.last("knots"))
    assert points.x[0] == 1
    assert points.x[-1] == STEPS + 1


@pytest.mark.parametrize("knots", [[0, 0, 0, 0, 0, 1.0], [1, 1, 0, 0, 0, 0.0]])
def test_knots_at_zero_do_not_break_the_picture(knots):
    record = run(replace(METHOD, {"knots": np.asarray(knots, float)}))
    assert np.isfinite(record["gap"]).all()
    for view in views:
        view(record)
    assert isinstance(say(record), str)


def test_it_draws_a_sparse_logistic_run_too():
    record = run(example(sparse_logistic(samples=60), STEPS))
    assert "gamma*" in say(record)
    assert (record["gap"] <= record["bound"]).all()


def test_a_knot_that_is_dragged_draws_the_whole_again():
    """As a hand does it: the last knot up, and the cooldown is gone."""
    explorer = Explorer(METHOD, views, say=say)
    try:
        explorer._edited(Edit("drag", "function.schedule.knots", (5,), (0.0, 0.9)))
        knots = np.array([1, 1, 1, 1, 0.5, 0.9])
        np.testing.assert_array_equal(
            fields(explorer.method)["function.schedule.knots"].value, knots
        )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            record = explorer.record
            if len(record) == 13 and record.last("knots")[-1] > 0.8:
                break
            time.sleep(0.05)
        wanted = run(replace(METHOD, {"knots": knots}))
        np.testing.assert_allclose(explorer.record["bound"], wanted["bound"], rtol=1e-5)
    finally:
        explorer.close()
