"""What the kernel's half of the live figure sends, remembers and answers; no browser."""

import json
import subprocess
import sys
import threading

import numpy as np
import pytest

from labkit.render.plotly import spec
from labkit.views import Curve, Panel, Points
from widgets import live_view, page
from widgets.gestures import Edit
from widgets.live_view import LiveView, hear_at_once
from widgets.page import plotly_js


X = np.linspace(0, 1, 5)


def lines(shift=0.0, title="two lines", theme="light", names=("loss", "sharpness")):
    curves = [Curve(X, X + shift, names[0], names[0]), Curve(X, 2 * X, names[1], names[1])]
    return spec([Panel(title, curves, "step", "value")], theme)


class Clock:
    def __init__(self):
        self.now = 100.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(live_view, "time", clock)
    return clock


@pytest.fixture
def sent(monkeypatch):
    """Everything that views sent, as (head, buffers)."""
    messages = []
    monkeypatch.setattr(
        LiveView, "send", lambda _, head, buffers=None: messages.append((head, buffers or []))
    )
    return messages


@pytest.fixture
def view(clock, sent):
    view = LiveView(lines(), "at rest")
    yield view
    view.close()


def tell(view, kind, page="a", **content):
    """What a page's message does."""
    view._handle_custom_msg({"kind": kind, "page": page, **content}, [])


def unpack(head, buffers):
    return {
        (trace, path): np.frombuffer(data, "<f4").reshape(shape)
        for (trace, path, shape), data in zip(head["arrays"], buffers, strict=True)
    }


def test_the_first_frame_travels_with_the_creation_and_is_complete(view, sent):
    head, buffers = view.first["head"], view.first["buffers"]
    arrays = unpack(head, buffers)
    assert set(arrays) == {(0, "x"), (0, "y"), (1, "x"), (1, "y")}
    np.testing.assert_array_equal(arrays[1, "y"], np.float32(2 * X))
    assert head["seq"] == 1
    assert head["words"] == "at rest"
    assert head["label"] == "two lines"
    assert [trace["type"] for trace in head["structure"]["data"]] == ["scatter", "scatter"]
    assert not sent
    json.dumps(head)  # or it could not be sent


def test_the_share_button_is_taken_out_of_every_figure(view):
    removed = view.first["head"]["structure"]["config"]["modeBarButtonsToRemove"]
    assert "sendChartToCloud" in removed


def test_only_the_first_view_of_a_kernel_carries_plotly():
    code = (
        "import sys, numpy; from labkit.render.plotly import spec; from labkit.views import *\n"
        "from widgets.live_view import LiveView\n"
        "x = numpy.arange(3.); s = spec([Panel('t', [Curve(x, x)], 'x', 'y')])\n"
        "views = [LiveView(s) for _ in range(3)]\n"
        "print([len(view.boot) > 1_000_000 for view in views], 'plotly' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[True, False, False] False"


def test_a_push_sends_the_arrays_that_changed_and_no_structure(view, sent):
    assert view.push(lines(0.5), "moved") == 2
    [(head, buffers)] = sent
    assert "structure" not in head
    assert head["seq"] == 2
    assert head["words"] == "moved"
    assert head["texts"] == {}
    arrays = unpack(head, buffers)
    assert list(arrays) == [(0, "y")]
    np.testing.assert_allclose(arrays[0, "y"], X + 0.5, rtol=1e-6)


def test_a_gap_that_stays_is_not_sent_again(clock, sent):
    gap = lambda: spec([Panel("gap", [Curve(X, np.where(X == 0.5, np.nan, X))], "x", "y")])
    view = LiveView(gap())
    view.push(gap())
    assert sent[-1][0]["arrays"] == []
    view.close()


def test_arrays_that_the_caller_writes_over_later_are_seen_to_change(view, sent):
    made = lines()
    view.push(made)
    made.arrays[0, "y"][:] = 7.0
    view.push(made)
    np.testing.assert_array_equal(unpack(*sent[-1])[0, "y"], np.full(5, 7.0))


def test_a_changed_title_is_a_text_and_not_a_new_structure(view, sent):
    view.push(lines(title="other words"))
    [(head, _)] = sent
    assert "structure" not in head
    assert list(head["texts"].values()) == ["<b>other words</b>"]
    assert head["label"] == "other words"


@pytest.mark.parametrize("other", [lines(theme="dark"), lines(names=("loss", "threshold"))])
def test_a_new_structure_goes_with_all_its_arrays(view, sent, other):
    view.push(other)
    [(head, _)] = sent
    assert head["structure"]["data"] == other.data
    assert len(head["arrays"]) == len(other.arrays)


def test_a_page_that_lost_frames_is_sent_everything_and_only_that_page(view, sent):
    view.push(lines(0.1))
    view.push(lines(0.2), "latest")
    sent.clear()
    tell(view, "hello", page="late", seq=0)
    [(head, buffers)] = sent
    assert head["to"] == "late"
    assert head["seq"] == 3
    assert head["words"] == "latest"
    np.testing.assert_allclose(unpack(head, buffers)[0, "y"], X + 0.2, rtol=1e-6)


def test_a_page_that_has_everything_is_sent_nothing(view, sent):
    tell(view, "hello", seq=1)
    assert not sent


def test_after_a_page_came_neither_library_nor_first_frame_stay_behind(view):
    view.boot = b"library"
    tell(view, "hello", seq=1)
    assert view.boot == b""
    assert view.first == {}


def test_two_frames_may_be_in_flight(view, clock):
    assert view.in_flight == 1  # the first frame
    assert view.ready()
    view.push(lines(0.1))
    assert not view.ready()
    tell(view, "drawn", seq=2)
    assert view.in_flight == 0
    assert view.ready()


def test_the_quickest_page_sets_the_pace(view):
    view.push(lines(0.1))
    tell(view, "drawn", page="quick", seq=2)
    tell(view, "drawn", page="slow", seq=1)
    assert view.in_flight == 0


def test_without_a_page_frames_come_ever_more_rarely_and_never_stall(view, clock):
    pushed = []
    for _ in range(3600):
        clock.now += 1.0
        if view.ready():
            view.push(lines(clock.now))
            pushed.append(clock.now)
    gaps = np.diff(pushed)
    assert gaps[:3].tolist() == [1, 2, 4]
    assert max(gaps) == gaps[-1] == 64
    assert len(pushed) < 70  # what a server may have to keep of an hour
    tell(view, "drawn", seq=len(pushed) + 1)  # the page was only hidden
    assert view.ready()


def test_a_slow_page_is_not_taken_for_a_lost_one(view, clock):
    view.push(lines(0.1))
    clock.now += 5
    tell(view, "drawn", seq=0)  # it has just been heard of
    assert not view.ready()


def test_frames_that_nobody_acknowledges_are_complete(view, sent, clock):
    view.push(lines(0.1))
    clock.now += 2
    view.push(lines(0.2))
    assert "structure" not in sent[0][0]
    assert "structure" in sent[1][0]


def test_the_library_is_answered_once_to_a_page_that_asks_in_vain(view, sent, clock):
    for _ in range(5):
        tell(view, "library", page="reloaded")
    [(head, [library])] = sent
    assert head == {"kind": "library", "to": "reloaded"}
    assert library == plotly_js()
    tell(view, "library", page="other")
    clock.now += 60
    tell(view, "library", page="reloaded")
    assert len(sent) == 3


def test_what_a_hand_does_is_reported(view):
    seen = []
    view.on_edit(seen.append)
    tell(view, "edit", gesture="drag", field="w0", at=[2], to=[1.5, -1])
    tell(view, "edit", gesture="join", field="links", at=[1, 4], to=[])
    assert seen == [Edit("drag", "w0", (2,), (1.5, -1.0)), Edit("join", "links", (1, 4), ())]


def test_what_can_be_dragged_is_told_to_the_page(clock):
    start = Points(np.array([0.5]), np.array([0.5]), "start", "start", "w0")
    view = LiveView(spec([Panel("plane", [start], "w1", "w2")]))
    [edit] = view.first["head"]["structure"]["edits"]
    axes = {"xaxis": "x", "yaxis": "y"}
    assert edit == {"gesture": "drag", "trace": 0, "field": "w0", "directed": False} | axes
    view.close()


def test_the_theme_of_the_page_is_observed_and_the_next_view_begins_in_it(view, clock, monkeypatch):
    monkeypatch.setattr(LiveView, "page_theme", "light")
    seen = []
    view.observe(lambda change: seen.append(change["new"]), "theme")
    tell(view, "look", theme="dark", width=800)
    assert seen == ["dark"]
    assert view.width == 800
    after = LiveView(lines())
    assert after.theme == "dark"
    after.close()


def test_a_width_stays_when_a_page_is_heard_late_that_had_none_yet(view):
    tell(view, "look", theme="light", width=800)
    tell(view, "look", theme="light", width=0)
    assert view.width == 800


def test_a_push_after_close_does_nothing(view, sent):
    view.close()
    assert view.push(lines(1.0)) == 1
    tell(view, "hello", seq=0)
    view.close()
    assert not sent


def test_threads_push_in_the_order_of_their_numbers(view, sent):
    def work():
        for i in range(50):
            view.push(lines(float(i)))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [head["seq"] for head, _ in sent] == list(range(2, 202))


def test_a_hundred_views_leave_neither_widgets_nor_threads(clock):
    from ipywidgets.widgets.widget import _instances

    before = len(_instances), threading.active_count()
    for _ in range(100):
        view = LiveView(lines())
        view.push(lines(1.0))
        view.close()
    assert (len(_instances), threading.active_count()) == before


def test_a_control_is_heard_where_the_page_sent_its_message(view):
    class Comm:
        def _reply_subshell_for(self, data, addressed):
            return None  # the main thread, where a cell may be running

    class Widget:
        comm = Comm()

    hear_at_once(Widget())
    assert Widget.comm._reply_subshell_for({}, "subshell 1") == "subshell 1"


def test_without_plotly_the_view_says_what_to_install(monkeypatch):
    monkeypatch.setattr(page.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ImportError, match="extra `lab`"):
        plotly_js()


def test_the_script_stays_small_for_each_view_stores_it_and_names_no_server():
    script = LiveView._esm
    assert len(script) < 60_000
    assert "http" not in script
