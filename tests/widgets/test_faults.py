"""What goes wrong in a method, in a view or with the page is said, and the next turn is well."""

import jax.numpy as jnp
import numpy as np
import pytest
from patience import until

from labkit import Descent, Sgd, choice, knob, method
from labkit.problems import Quadratic
from labkit.views import Curve, Panel, lines
from widgets import live_view
from widgets.scheduler import scheduler


PLACES = ("init", "step", "observe")


@method
class Faulty:
    """Counts; raises while it is traced, where it is told."""

    fails: str = choice("nowhere", *PLACES)
    up: float = knob(1.0, 0.0, 9.0)

    def init(self, key):
        if self.fails == "init":
            raise RuntimeError("no start")
        return jnp.zeros(())

    def step(self, state, key):
        if self.fails == "step":
            raise RuntimeError("no step")
        return state + self.up

    def observe(self, state):
        if self.fails == "observe":
            raise RuntimeError("nothing to see")
        return {"count": state}


@method(host=True)
class FaultyOnHost:
    """Counts in Python; raises in mid-run, where it is told."""

    fails: str = choice("nowhere", *PLACES)

    def init(self, key):
        if self.fails == "init":
            raise RuntimeError("no start")
        return 0.0

    def step(self, state, key):
        if self.fails == "step" and state > 5:
            raise RuntimeError("no step")
        return state + 1.0

    def observe(self, state):
        if self.fails == "observe" and state > 5:
            raise RuntimeError("nothing to see")
        return {"count": state}


def runs(explorer, rows=20):
    """Wait until it runs, and has run for a while."""
    until(explorer, lambda: explorer.status == "running" and len(explorer.record) > rows)


@pytest.mark.parametrize("kind", [Faulty, FaultyOnHost])
@pytest.mark.parametrize("place", PLACES)
def test_an_error_in_a_method_is_said_with_its_place_and_the_next_turn_is_well(
    explore, kind, place
):
    explorer = explore(kind(fails=place), [lines("count")])
    explorer.play()
    until(explorer, lambda: f" (in {place}, line " in explorer.status)
    assert explorer.status.startswith("RuntimeError: no")
    assert explorer.status.endswith(" of test_faults.py)")
    assert not explorer.player.playing
    explorer.turn(fails="nowhere")
    runs(explorer)
    explorer.turn(fails=place)  # and in mid-run
    until(explorer, lambda: "RuntimeError: no" in explorer.status)
    explorer.turn(fails="nowhere")
    runs(explorer)


def low(record):
    """A view that knows counts up to 200."""
    if record.last("count") > 200:
        raise LookupError("too high to draw")
    return Panel("Count", [Curve(record.steps, record["count"])], "step", "count")


def test_an_error_in_a_view_is_said_with_its_place_and_the_next_turn_is_well(explore):
    explorer = explore(Faulty(up=9.0), [low])
    explorer.play()
    until(explorer, lambda: "LookupError: too high to draw (in low, line " in explorer.status)
    assert not explorer.player.playing
    explorer.turn(up=0.0)
    runs(explorer)


def test_a_row_that_cannot_be_drawn_is_said_when_it_is_looked_back_at(explore):
    def later(record):
        if 1 < len(record) < 5:
            raise LookupError("too few rows")
        return Panel("Count", [Curve(record.steps, record["count"])], "step", "count")

    explorer = explore(Faulty(), [later])
    slider = explorer._scrubber.slider
    until(explorer, lambda: slider.max == 11)
    slider.value = 2
    assert "LookupError: too few rows (in later, " in explorer.status
    slider.value = 8
    assert len(explorer.view._arrays[0, "x"][0]) == 1  # a curve
    explorer.play()
    runs(explorer)


def test_an_error_of_one_widget_leaves_the_others_alone(explore):
    well = explore(Faulty(), [lines("count")])
    bad = explore(Faulty(fails="step"), [lines("count")])
    until(bad, lambda: "RuntimeError: no step" in bad.status)
    well.play()
    runs(well)
    assert "RuntimeError: no step" in bad.status


def test_a_run_that_nobody_sees_keeps_its_memory_and_the_next_page_sees_the_newest(
    explore, monkeypatch
):
    monkeypatch.setattr(live_view, "PULSE", 0.05)
    monkeypatch.setattr(live_view, "SILENCE", 0.02)
    sent = []
    descent = Descent(Quadratic(jnp.array([1.0, 0.1])), Sgd(0.01))
    explorer = explore(descent, [lines("loss")], limit=100, every=3)
    explorer.view.send = lambda head, buffers=None: sent.append((head, buffers))
    explorer.play()  # no page draws anything
    until(explorer, lambda: len(explorer.record) and explorer.record.steps[-1] > 3000)
    assert len(explorer.record) <= 100
    assert explorer.status == "running"
    gone = len(sent)
    assert gone < 12  # of hundreds of pictures that there were
    explorer.stop()
    until(explorer, lambda: explorer.player not in scheduler._queue)
    explorer.view._handle_custom_msg({"kind": "hello", "page": "new", "seq": 0}, [])
    head, buffers = sent[-1]
    assert head["to"] == "new"
    assert head["structure"]
    ends = [
        np.frombuffer(data, "<f4")[-1]
        for (_, path, _), data in zip(head["arrays"], buffers, strict=True)
        if path == "x"
    ]
    assert explorer.record.steps[-1] in ends
