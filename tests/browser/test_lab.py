"""The lab as people meet it: JupyterLab, a browser, a keyboard and a mouse."""

import itertools
import time
from pathlib import Path

import board
import numpy as np
import pytest

from labkit import replace, run
from labkit.landscapes import surface_descent
from labkit.relaxations import soft_sort
from labkit.render.plotly import spec
from widgets.ghost import Ghost


AT_ONCE = 3.0  # seconds: what a person still calls at once, on a busy machine
SORT = "explorer = Explorer(soft_sort.example(), soft_sort.views, say=soft_sort.say); explorer"
DESCENT = """explorer = Explorer(
    surface_descent.example(), surface_descent.views, say=surface_descent.say, pace=None
)
explorer"""
EDGE = """explorer = Explorer(
    edge_of_stability.example(), edge_of_stability.views, say=edge_of_stability.say,
    every=2, pace=None,
)
explorer"""

pytestmark = pytest.mark.browser


def assert_shows(widget, record, views):
    """The numbers in the page are those of the record, to float32; a ghost may be anything."""
    expected = spec(Ghost(views).behind([view(record) for view in views])).arrays
    drawn = widget.arrays()
    for name, values in expected.items():
        if name[1] in ("x", "y", "z") and np.isfinite(values).any():
            scale = np.nanmax(np.abs(values))
            # The kernel compiled the same program by itself: a few roundings of float32.
            np.testing.assert_allclose(drawn[name], values, rtol=1e-4, atol=1e-5 * scale)


def idle(notebook):
    """Whether the kernel's runs are at rest."""
    return notebook.ask("len(scheduler._queue)") == "0"


def test_nothing_starts_by_itself(bench):
    widget = bench.show(EDGE)
    widget.settle()
    assert widget.status == "ready"
    assert bench.ask("explorer.method.rule.lr") == "0.4"
    assert idle(bench)


def test_a_box_under_the_keyboard_draws_what_run_gives(bench):
    widget = bench.show(SORT)
    box = widget.place.locator("input[type=number]").nth(1)  # after the seed
    before = widget.seq
    box.focus()
    for _ in range(3):
        bench.page.keyboard.press("ArrowUp")
    widget.wait_until(lambda: widget.seq > before, "a new frame")
    widget.settle()
    value = float(box.input_value())
    assert value > 3.0
    method = replace(soft_sort.example(), {"values": [value, 1.0, 2.2, 0.0, 4.5]})
    assert_shows(widget, run(method), soft_sort.views)


def test_a_slider_under_the_keyboard_draws_what_run_gives(bench):
    widget = bench.show(DESCENT)
    widget.press("reset")
    widget.settle()
    before = widget.value("lr", log=True)
    widget.press("play")
    widget.settle()
    widget.key("lr", "ArrowRight", times=4)  # the run is over: it starts again
    widget.wait_until(lambda: widget.words.startswith("Step 200"), "it runs to its end")
    widget.settle()
    lr = widget.value("lr", log=True)
    assert lr > before
    record = run(replace(surface_descent.example(), {"lr": lr}))
    assert widget.words == surface_descent.say(record)
    assert_shows(widget, record, surface_descent.views)


def test_sharpness_comes_to_the_edge_and_follows_it_when_lr_is_turned_in_mid_run(bench):
    widget = bench.show(EDGE)
    widget.settle()  # while it compiles the button is Stop
    widget.press("play")
    widget.wait_until(lambda: widget.curve("threshold")[0][-1] > 400, "400 steps")
    sharpness = widget.curve("at the iterate")[1]
    assert sharpness[0] < 2.5
    assert 0.8 < np.median(sharpness[-50:]) / 5.0 < 1.3  # it hovers at 2 / lr

    widget.key("lr", "ArrowRight", times=12)
    lr = widget.value("lr", log=True)
    assert lr > 0.5
    steps = widget.curve("threshold")[0][-1]
    below = lambda: widget.curve("threshold")[1][-1] < 4.0
    widget.wait_until(below, "the line moves")
    assert widget.status == "running"
    went_on = lambda: widget.curve("threshold")[0][-1] > steps + 200
    widget.wait_until(went_on, "the run goes on")
    steps, threshold = widget.curve("threshold")
    sharpness = widget.curve("at the iterate")[1]
    assert steps[0] == 0
    assert threshold[0] == pytest.approx(5.0, rel=1e-5)
    assert threshold[-1] == pytest.approx(2.0 / lr, rel=1e-5)
    assert 0.8 < np.median(sharpness[-30:]) * lr / 2.0 < 1.3

    widget.press("play")  # which is Stop now
    widget.wait_until(lambda: widget.status == "stopped", "it stops", AT_ONCE)
    widget.settle()
    seq = widget.seq
    bench.page.wait_for_timeout(700)
    assert widget.seq == seq
    assert idle(bench)


def test_play_and_stop_are_heard_while_a_cell_is_busy(bench):
    widget = bench.show(EDGE)
    widget.settle()
    bench.add("began = time.time(); time.sleep(8)", wait=False)
    bench.page.wait_for_timeout(300)
    before = widget.seq
    widget.press("play")
    widget.wait_until(lambda: widget.seq > before + 3, "it plays", AT_ONCE)
    widget.press("play")
    widget.wait_until(lambda: widget.status == "stopped", "it stops", AT_ONCE)
    widget.settle(0.5)
    assert bench.page.evaluate("() => window.ran") is None, "the cell had ended"
    bench.page.wait_for_function("() => window.ran")


def test_a_start_that_is_dragged_moves_the_path_and_the_boxes(bench):
    widget = bench.show(DESCENT)
    widget.settle()
    boxes = widget.place.locator("input[type=number]")
    starts = [trace for trace, name in widget.arrays() if name == "x"][1]
    widget.drag(starts, 0, 60, -90)
    ended = lambda: widget.words.startswith("Step 200")
    widget.wait_until(ended, "it runs to its end")
    widget.settle()
    u, v = (float(boxes.nth(i).input_value()) for i in (1, 2))
    assert u > 0.0
    assert v > 0.0
    arrays = widget.arrays()
    assert arrays[starts, "x"] == pytest.approx([u], rel=1e-5)
    assert arrays[starts, "y"] == pytest.approx([v], rel=1e-5)
    record = run(replace(surface_descent.example(), {"w0": [u, v]}))
    assert_shows(widget, record, surface_descent.views)


def test_cells_are_painted_and_nodes_joined_with_the_mouse(bench):
    source = Path(board.__file__).read_text(encoding="utf-8")
    widget = bench.show(source + "\nexplorer = Explorer(board(), views); explorer")
    widget.settle()
    widget.view.scroll_into_view_if_needed()
    at = lambda column, row: widget.spot(0, column, row)
    widget.stroke(at(1, 1), at(4, 1))  # four cells, in fewer steps
    painted = lambda: np.argwhere(widget.arrays()[0, "z"]).tolist()
    widget.wait_until(lambda: painted() == [[1, 1], [1, 2], [1, 3], [1, 4]], "a stroke is painted")
    widget.stroke(at(2, 1), at(2, 1))  # a click on what is painted takes it away
    widget.wait_until(lambda: painted() == [[1, 1], [1, 3], [1, 4]], "a cell is erased")
    nodes = max(trace for trace, _ in widget.arrays())
    widget.stroke(widget.point(nodes, 0), widget.point(nodes, 2))
    joined = lambda: np.isfinite(widget.arrays().get((nodes - 1, "x"), [])).sum()
    widget.wait_until(lambda: joined() == 2, "two nodes are joined")
    widget.stroke(widget.point(nodes, 2), widget.point(nodes, 0))
    widget.wait_until(lambda: joined() == 0, "they are parted")


def test_looking_back_draws_what_had_been_seen(bench):
    widget = bench.show(DESCENT)
    widget.press("play")
    widget.wait_until(lambda: "finished" in widget.status, "the run ends")
    widget.settle()
    whole = widget.curve("w")[0]
    widget.key("look back", "ArrowLeft", times=7)
    left = len(whole) - 7
    widget.wait_until(lambda: len(widget.curve("w")[0]) == left, "seven rows less")
    widget.settle()
    np.testing.assert_array_equal(widget.curve("w")[0], whole[:-7])
    widget.press("reset")
    widget.wait_until(lambda: len(widget.curve("w")[0]) == 12, "the first rows")


def test_the_run_before_stays_in_grey_and_the_code_makes_this_one_again(bench):
    bench.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    widget = bench.show(DESCENT)
    widget.press("play")
    widget.wait_until(lambda: widget.status == "finished", "the run ends")
    widget.settle()
    former = widget.curve("w")
    widget.key("lr", "ArrowRight", times=4)
    widget.wait_until(lambda: widget.words.startswith("Step 200"), "it runs to its end again")
    widget.settle()
    shown = lambda: any(np.array_equal(values, former[0]) for values in widget.arrays().values())
    assert shown()
    widget.press("code")
    box = widget.place.locator("input[type=text]")
    box.wait_for()
    space = {"surface_descent": surface_descent}
    exec(box.input_value(), space)
    assert_shows(widget, space["record"], surface_descent.views)
    copied = bench.page.evaluate("() => navigator.clipboard.readText()")
    assert copied == box.input_value()
    widget.press("ghost")
    widget.wait_until(lambda: not shown(), "the grey curve goes")


def test_what_is_refused_is_said_and_the_controls_stay_usable(bench):
    widget = bench.show(DESCENT)
    widget.settle()
    bench.ask("explorer.turn(lr=-1)")
    says = "lr = -1 is refused; accepted: a finite number above 0 (SurfaceDescent)."
    widget.wait_until(lambda: says in widget.status, "it says so", AT_ONCE)
    widget.press("play")
    widget.wait_until(lambda: widget.words.startswith("Step 200"), "it runs to its end")
    widget.settle()
    assert widget.status == "finished"


def test_a_run_that_diverges_says_so_and_the_next_is_well(bench):
    widget = bench.show(DESCENT)
    widget.settle()
    bench.ask("explorer.turn(lr=1e9)")
    widget.wait_until(lambda: "diverged at step" in widget.status, "it says so")
    assert widget.value("lr", log=True) == pytest.approx(1e9)
    assert bench.ask("explorer.method.rule.lr") == "1000000000.0"
    bench.ask("explorer.turn(lr=0.01)")
    widget.wait_until(lambda: widget.words.startswith("Step 200"), "it runs to its end")
    widget.settle()
    assert_shows(widget, run(surface_descent.example()), surface_descent.views)


def test_a_cell_that_is_run_again_ends_its_former_run(bench):
    index = bench.add(EDGE)
    widget = bench.widget(-1)
    widget.press("play")
    before = widget.seq
    widget.wait_until(lambda: widget.seq > before + 3, "it plays")
    bench.ask("globals().update(former=explorer)")
    bench.run(index)
    widget = bench.widget(-1)
    widget.settle()
    assert bench.widgets == 1
    assert widget.status == "ready"
    assert bench.ask("former.player in scheduler._open, former.player.playing") == "False False"
    assert bench.ask("sum(t.name == 'labkit' for t in threading.enumerate())") == "1"
    assert idle(bench)


def test_the_saved_notebook_is_small_and_a_reload_draws_again(lab):
    code = f"from labkit.relaxations import soft_sort\nfrom widgets import Explorer\n{SORT}"
    with lab.open("saved.ipynb", code) as notebook:
        notebook.run_all()
        widget = notebook.widget()
        widget.settle()
        before = widget.arrays()
        text = notebook.save().read_text(encoding="utf-8")
        assert "LiveView" in text  # the state of the widgets is in it
        assert "plotly.js v" not in text
        assert len(text) < 100_000

        notebook.visit()
        widget = notebook.widget()
        widget.settle()
        after = widget.arrays()
        assert before.keys() == after.keys()
        for name, values in before.items():
            np.testing.assert_array_equal(values, after[name])
        assert not notebook.errors


def test_the_theme_of_the_page_is_the_theme_of_the_figure(bench, keep_picture):
    widget = bench.show(DESCENT)
    widget.settle()
    ground = "el => el._fullLayout.paper_bgcolor"
    light = widget._plot(ground)
    bench.command("apputils:change-theme", theme="JupyterLab Dark")
    try:
        widget.wait_until(lambda: widget._plot(ground) != light, "it turns dark")
        keep_picture(bench.page, "dark")
    finally:
        bench.command("apputils:change-theme", theme="JupyterLab Light")
    widget.wait_until(lambda: widget._plot(ground) == light, "it turns light")


def test_on_a_narrow_page_nothing_overlaps_or_sticks_out(bench, keep_picture):
    widget = bench.show(EDGE)
    widget.settle()
    wide = bench.page.viewport_size
    bench.command("application:toggle-left-area")
    bench.page.set_viewport_size({"width": 360, "height": 800})
    try:
        widget.settle()
        keep_picture(bench.page, "narrow")
        place = widget.place.bounding_box()
        parts = widget.place.locator(".widget-inline-hbox, button:visible")
        boxes = [parts.nth(i).bounding_box() for i in range(parts.count())]
        boxes = [box for box in boxes if box]  # the line of code is not there yet
        controls = [box for box in boxes if box["y"] < widget.view.bounding_box()["y"]]
        assert len(controls) >= 8
        for box in controls:
            assert box["x"] >= place["x"] - 1
            assert box["x"] + box["width"] <= place["x"] + place["width"] + 1
        for one, other in itertools.combinations(controls, 2):
            apart = [
                one[at] + one[size] <= other[at] + 1 or other[at] + other[size] <= one[at] + 1
                for at, size in (("x", "width"), ("y", "height"))
            ]
            assert any(apart), (one, other)
        figure = widget.view.bounding_box()  # inside it a figure may be scrolled
        assert figure["x"] + figure["width"] <= place["x"] + place["width"] + 1
    finally:
        bench.page.set_viewport_size(wide)
        bench.command("application:toggle-left-area")


def test_the_words_under_the_figure_are_the_methods_own(bench):
    widget = bench.show(SORT)
    widget.settle()
    assert widget.words == soft_sort.say(run(soft_sort.example()))
    began = time.monotonic()
    spoken = widget.view.locator(".labkit-spoken")
    widget.wait_until(lambda: spoken.text_content() == widget.words, "a reader is told", AT_ONCE)
    assert time.monotonic() - began < AT_ONCE
