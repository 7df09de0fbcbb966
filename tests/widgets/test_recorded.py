"""Figures recorded for a page without a kernel: what they hold, and when a widget is one."""

import base64
import json
import re

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

from labkit import knob, method, replace, run
from labkit.landscapes import surface_descent
from labkit.relaxations import soft_sort
from labkit.render.plotly import spec
from labkit.views import Curve, Panel, Text, lines
from widgets import Explorer, recorded
from widgets.camera import Camera, Frame, Reel
from widgets.live_view import known


X = np.linspace(0, 1, 50)


def curve(rows, title="loss", **more):
    return [Panel(title, [Curve(X[:rows], X[:rows] ** 2, "loss")], "step", "loss", **more)]


def picture(made, look, at):
    """What a page shows at a frame: structure, arrays and texts, as recorded.js gathers them."""
    frames = made["looks"][look]["frames"]
    base = max(i for i in range(at + 1) if "structure" in frames[i])
    refs, texts = {}, {}
    for frame in frames[base : at + 1]:
        refs |= frame["arrays"]
        texts |= frame["texts"]
    arrays = {}
    for name, (place, *shape) in refs.items():
        trace, path = name.split(" ")
        numbers = np.frombuffer(base64.b64decode(made["buffers"][place]), "<f4")
        arrays[int(trace), path] = numbers[: int(np.prod(shape))].reshape(shape)
    structure = made["structures"][frames[base]["structure"]]
    return structure, arrays, {path: made["texts"][place] for path, place in texts.items()}


@pytest.fixture(scope="module")
def descent():
    method = replace(surface_descent.example(), {"lr": 0.01})
    return Camera(method, surface_descent.views, surface_descent.say, steps=80)


@pytest.fixture
def static(monkeypatch):
    monkeypatch.setenv("LABKIT_STATIC", "1")


def test_a_page_shows_at_each_frame_in_each_look_what_the_renderer_draws(descent):
    frames = [*descent.reel().frames[::9], Frame("other", "other", curve(5))]  # another structure
    made = json.loads(json.dumps(recorded.recording(Reel(frames, 0))))
    assert {look["theme"] for look in made["looks"]} == {"light", "dark"}
    for look, about in enumerate(made["looks"]):
        for at in (0, 3, len(frames) - 1, 1):
            structure, arrays, texts = picture(made, look, at)
            expected = spec(frames[at].panels, about["theme"], about["width"])
            assert structure["data"] == expected.data
            assert structure["layout"] == json.loads(json.dumps(expected.layout))
            assert arrays.keys() == expected.arrays.keys()
            for name, values in expected.arrays.items():
                np.testing.assert_array_equal(arrays[name], values)
            expected_texts = {path: known(value) for path, value in expected.texts.items()}
            assert texts == json.loads(json.dumps(expected_texts))


def test_nothing_in_a_recording_can_be_dragged(descent):
    made = recorded.recording(descent.reel())
    assert [structure["edits"] for structure in made["structures"]] == [[]] * len(
        made["structures"]
    )


def test_a_run_looked_back_at_costs_no_more_numbers_than_its_last_frame():
    frames = [Frame(str(rows), "", curve(rows)) for rows in range(1, 51)]
    made = recorded.recording(Reel(frames, 49))
    last = sum(4 * values.size for values in spec(frames[-1].panels).arrays.values())
    assert sum(len(base64.b64decode(data)) for data in made["buffers"]) <= last


def test_frames_of_a_recording_that_would_be_large_are_thinned_and_the_first_seen_stays():
    noise = np.random.default_rng(0).normal(size=(41, 20_000))
    frames = [
        Frame(str(i), "", [Panel("noise", [Curve(np.arange(20_000.0), y)])])
        for i, y in enumerate(noise)
    ]
    made = recorded.recording(Reel(frames, 33))
    assert len(made["labels"]) < 41
    assert made["labels"][made["start"]] == "33"
    assert made["labels"] == sorted(made["labels"], key=int)


def test_a_run_is_walked_along_as_it_had_been_at_its_rows(descent):
    frames, start = descent.reel()
    whole = run(descent.method, 80)
    assert len(frames) == 60
    assert start == 59
    assert frames[0].label == "step 0"
    assert frames[-1].label == "step 80"
    assert frames[-1].words == surface_descent.say(whole)
    step = int(frames[30].label.split()[1])
    assert frames[30].words == surface_descent.say(whole.until(step))


def test_over_a_knob_each_frame_is_the_finished_run_at_that_value(descent):
    frames, start = descent.reel(over="lr")
    assert frames[start].words == surface_descent.say(run(descent.method, 80))
    assert frames[start].label == "lr = 0.01"
    assert len({frame.label for frame in frames}) == len(frames) >= 3
    lr = float(frames[0].label.split("=")[1])
    at = run(replace(descent.method, {"lr": lr}), 80)
    assert frames[0].words == surface_descent.say(at)


def test_a_sweep_without_a_number_is_walked_over_the_first_entry_of_its_array():
    method = soft_sort.example()
    frames, start = Camera(method, soft_sort.views, None, method.steps).reel()
    assert frames[start].label == "values[0] = 3"
    assert len(frames) >= 3


@pytest.mark.parametrize("name", ["w0", "w0[2]", "lr[0]", "w0[x]"])
def test_what_is_no_number_is_not_walked_over(descent, name):
    with pytest.raises(ValueError, match=r"over"):
        descent.reel(over=name)


def test_an_unknown_field_is_not_walked_over(descent):
    with pytest.raises(KeyError, match="lr"):
        descent.reel(over="rate")


@method
class Walk:
    """Goes one step a step."""

    length: float = knob(1.0, 0.5, 2.0)

    def init(self, key):
        return self.length * 0

    def step(self, state, key):
        return state + self.length

    def observe(self, state):
        return {"place": state}

    def check(self):
        """Refuses a part of the slider."""
        if float(self.length) > 1.5:
            raise ValueError("too long")


def test_values_that_a_method_refuses_are_left_out():
    frames, start = Camera(Walk(), [lines("place")], None, steps=3).reel(over="length")
    assert frames[start].label == "length = 1"
    assert all(float(frame.label.split("=")[1]) <= 1.5 for frame in frames)


def test_a_run_without_an_end_is_recorded_as_far_as_a_sensible_number_of_rows():
    frames, _ = Camera(Walk(), [lines("place")], None, steps=2**31 - 2, every=2).reel()
    assert frames[-1].label == "step 600"


def test_a_page_needs_nothing_else(tmp_path):
    explorer = Explorer(Walk(), [lines("place")], steps=5)
    text = explorer.to_html(tmp_path / "walk.html").read_text(encoding="utf-8")
    explorer.close()
    assert not re.search(r'<(?:script|img|link)[^>]+(?:src|href)="(?!data:)', text)
    assert text.count("/**\n* plotly.js v") == 1
    assert '<img alt="" style="max-width: 100%" src="data:image/png;base64,' in text
    assert "length" in text


def test_a_page_shows_the_run_that_was_in_the_widget(tmp_path):
    explorer = Explorer(Walk(), [lines("place")], steps=90, pace=None)
    explorer.player.close()  # nothing more from its own thread
    player = explorer.player
    player._run.turn(replace(Walk(), {"length": 2.0 / 3.0}))
    player._run.advance(40)
    text = explorer.to_html(tmp_path / "walk.html").read_text(encoding="utf-8")
    explorer.close()
    made = json.loads(re.search(r'"application/json">(.*?)</script>', text)[1])
    assert made["labels"][-1] == "step 39"


def test_no_text_in_a_figure_ends_the_recording_early():
    panel = Panel("</script><b>", [Text("</script>")])
    text = recorded.fragment(Reel([Frame("", "</script> & <b>", [panel])], 0))
    assert text.count("</script>") == 1
    made = re.search(r'"application/json">(.*?)</script>', text)[1]
    assert json.loads(made)["words"] == ["</script> & <b>"]
    assert "<p>&lt;/script&gt; &amp; &lt;b&gt;</p>" in text


def test_in_static_mode_a_widget_is_a_recording_and_starts_nothing(static):
    explorer = Explorer(Walk(), [lines("place", title="Place")], steps=5)
    data, _ = explorer._repr_mimebundle_()
    assert len(explorer.record) == 0
    explorer.close()
    assert set(data) == {"text/html", "image/png", "text/plain"}
    assert base64.b64decode(data["image/png"]).startswith(b"\x89PNG")
    assert data["text/plain"].startswith("Place")
    assert "labkit-recorded" in data["text/html"]
    assert "plotly.js v" not in data["text/html"]  # the page holds it, once
    assert len(data["text/html"]) < 200_000


def test_with_a_kernel_a_widget_is_a_widget(monkeypatch):
    monkeypatch.setenv("LABKIT_STATIC", "0")
    explorer = Explorer(Walk(), [lines("place")], steps=5)
    assert "application/vnd.jupyter.widget-view+json" in explorer._repr_mimebundle_()
    explorer.close()


@pytest.mark.notebook
def test_a_notebook_executed_in_static_mode_holds_pictures_and_no_widget(static):
    code = """
    from labkit.relaxations import soft_sort
    from widgets import Explorer
    Explorer(soft_sort.example(), soft_sort.views, say=soft_sort.say)
    """
    cells = [nbformat.v4.new_code_cell("\n".join(map(str.strip, code.splitlines())))]
    book = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(book, store_widget_state=False).execute()
    [shown] = [o for o in book.cells[0].outputs if o.output_type != "stream"]
    assert {"text/html", "image/png", "text/plain"} <= set(shown.data)
    assert not [mime for mime in shown.data if "widget" in mime]
    assert shown.data["text/plain"] == soft_sort.say(run(soft_sort.example()))
