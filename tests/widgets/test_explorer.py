"""A method with its controls and its figure, without a page: what is said to the kernel is said."""

import gc
import threading
import time
import weakref

import board
import ipywidgets
import jax.numpy as jnp
import numpy as np
import pytest
import rewriter
from ipywidgets.widgets.widget import _instances
from patience import until

import widgets.cells
from labkit import Descent, Momentum, Sgd, chain, choice, knob, method, replace, run, size
from labkit.dynamics import edge_of_stability
from labkit.landscapes import surface_descent
from labkit.problems import Quadratic, sine_network
from labkit.relaxations import soft_sort
from labkit.render.text import describe
from labkit.views import lines
from widgets import Explorer
from widgets.scheduler import scheduler
from widgets.sliders import LogSlider, Slider


WATCHED = edge_of_stability.EdgeOfStability(sine_network(samples=8, width=4, depth=1), Sgd(0.1))
HEAVY = Descent(Quadratic(jnp.array([1.0, 0.1])), Momentum(0.1))


@method
class EveryKind:
    """One field of each kind."""

    plain: float = knob(0.3, 0.0, 1.0, about="between 0 and 1")
    wide: float = knob(0.02, 0.001, 10.0, log=True)
    pair: jnp.ndarray = knob((1.0, 2.0), -5.0, 5.0)
    many: jnp.ndarray = knob(range(20), 0.0, 20.0)
    rounds: int = size(3, 1, 9)
    form: str = choice("round", "square")

    steps = 20

    def init(self, key):
        return jnp.zeros(())

    def step(self, state, key):
        return state + self.plain

    def observe(self, state):
        return {"state": state}


def comes_to_rest(explorer):
    """Wait until its run is over, or waits for a person, and that is drawn."""
    quiet = lambda: not explorer.player.playing and explorer.player not in scheduler._queue
    until(explorer, quiet)


def parts(widget):
    """The widget and all it contains."""
    yield widget
    for child in getattr(widget, "children", ()):
        yield from parts(child)


def control(explorer, label):
    """The control with this label."""
    (found,) = (w for w in parts(explorer) if getattr(w, "description", "") == label)
    return found


def says(explorer):
    """What stands beside the buttons, as HTML."""
    (found,) = (w for w in parts(explorer) if isinstance(w, ipywidgets.HTML))
    return found.value


def from_page(explorer, **content):
    """As if the page had sent this."""
    explorer.view._handle_custom_msg({"page": "a page", **content}, [])


def frames(explorer):
    """The heads of the frames that are sent from now on, in a list that grows."""
    sent = []
    send = explorer.view.send
    explorer.view.send = lambda head, buffers=None: (sent.append(head), send(head, buffers))
    return sent


def test_each_kind_of_field_has_its_control(explore):
    explorer = explore(EveryKind(), [lines("state")])
    kinds = {name: type(control(explorer, name)) for name in ("plain", "wide", "rounds", "form")}
    assert kinds == {
        "plain": Slider,
        "wide": LogSlider,
        "rounds": ipywidgets.BoundedIntText,
        "form": ipywidgets.Dropdown,
    }
    plain, wide, rounds = (control(explorer, name) for name in ("plain", "wide", "rounds"))
    assert (plain.min, plain.max, plain.value) == (0.0, 1.0, 0.3)
    assert (wide.min, wide.max, wide.value) == (-3.0, 1.0, 0.02)
    assert (rounds.min, rounds.max, rounds.value) == (1, 9, 3)
    assert control(explorer, "form").options == ("round", "square")
    assert plain.tooltip == "between 0 and 1 (plain)"
    boxes = [w for w in parts(explorer) if isinstance(w, ipywidgets.FloatText)]
    assert [box.value for box in boxes] == [1.0, 2.0]  # twenty are too many for boxes


def test_two_fields_of_one_name_have_their_full_names(explore):
    rule = chain(Momentum(0.1), Momentum(0.2))
    explorer = explore(Descent(Quadratic(jnp.ones(2)), rule), [lines("loss")])
    labels = [getattr(w, "description", "") for w in parts(explorer)]
    found = [control(explorer, label).value for label in labels if label.endswith(".lr")]
    assert found == [0.1, 0.2]


@pytest.mark.parametrize(
    "label, value", [("plain", 0.7), ("wide", 0.5), ("rounds", 5), ("form", "square")]
)
def test_a_control_that_is_moved_sets_its_field(explore, label, value):
    explorer = explore(EveryKind(), [lines("state")])
    comes_to_rest(explorer)
    control(explorer, label).value = value
    assert getattr(explorer.method, label) == value
    until(explorer, lambda: explorer.status == "finished")
    expected = run(replace(EveryKind(), {label: value}))
    np.testing.assert_array_equal(explorer.record["state"], expected["state"])


def test_a_number_of_an_array_is_set_in_its_box(explore):
    explorer = explore(EveryKind(), [lines("state")])
    first = control(explorer, "pair")
    first.value = -3.0
    np.testing.assert_array_equal(explorer.method.pair, [-3.0, 2.0])


def test_nothing_starts_by_itself(explore):
    explorer = explore(HEAVY, [lines("loss")])
    comes_to_rest(explorer)
    time.sleep(0.1)
    assert explorer.status == "ready"
    assert explorer.record.steps[-1] == 11


@pytest.mark.parametrize("value", [0.3, 0.3004, 0.0, 1.0, 0.9999, 0.002])
def test_a_page_that_puts_a_slider_on_its_tick_turns_nothing(explore, value):
    explorer = explore(replace(EveryKind(), {"plain": value, "wide": 0.01 + value}), [])
    comes_to_rest(explorer)
    turned = []
    explorer.player.turn = turned.append
    plain, wide = control(explorer, "plain"), control(explorer, "wide")
    on_tick = lambda s, at: s.min + round((at - s.min) / s.step) * s.step  # as noUiSlider does
    inside = plain.min < value < plain.max
    plain.value = on_tick(plain, value) if inside else value
    wide.value = 10.0 ** on_tick(wide, np.log10(0.01 + value))
    assert not turned
    plain.value = 0.5
    assert turned == [{"plain": 0.5}]


@pytest.mark.parametrize("value", [0.1234, 0.77, 3.0, 1e9])
def test_what_is_turned_from_a_cell_stands_on_a_tick(explore, value):
    explorer = explore(EveryKind(), [lines("state")])
    explorer.turn(plain=value, wide=value)
    plain, wide = control(explorer, "plain"), control(explorer, "wide")
    assert (plain.value, wide.value) == (value, value)
    for slider, at in ((plain, value), (wide, np.log10(value))):
        ticks = (at - slider.min) / slider.step
        assert ticks == pytest.approx(round(ticks), abs=1e-6)


def test_a_slider_reaches_what_was_set_beyond_its_range(explore):
    explorer = explore(HEAVY, [lines("loss")])
    explorer.turn(lr=1e9)
    assert control(explorer, "lr").value == 1e9
    assert control(explorer, "lr").max == pytest.approx(9.0)
    until(explorer, lambda: "diverged" in explorer.status)
    assert explorer.method.rule.lr == 1e9


def test_a_point_that_is_dragged_gives_what_run_gives(explore):
    explorer = explore(surface_descent.example(), surface_descent.views)
    comes_to_rest(explorer)
    from_page(explorer, kind="edit", gesture="drag", field="problem.w0", at=[0], to=[1.5, 2.5])
    until(explorer, lambda: explorer.status == "finished")
    expected = run(replace(surface_descent.example(), {"w0": [1.5, 2.5]}))
    np.testing.assert_allclose(explorer.record["w"], expected["w"], rtol=1e-6)
    boxes = [w for w in parts(explorer) if isinstance(w, ipywidgets.FloatText)]
    assert [box.value for box in boxes] == [1.5, 2.5]


def test_a_value_that_is_dragged_gives_what_run_gives(explore):
    explorer = explore(soft_sort.example(), soft_sort.views)
    comes_to_rest(explorer)
    edit = {"kind": "edit", "gesture": "drag", "field": "function.values", "at": [2]}
    from_page(explorer, **edit, to=[3.4, 5.0])
    comes_to_rest(explorer)
    expected = run(replace(soft_sort.example(), {"values": [3.0, 1.0, 5.0, 0.0, 4.5]}))
    np.testing.assert_allclose(explorer.record["sorted"], expected["sorted"], rtol=1e-6)
    from_page(explorer, **edit, to=[3.4, 99.0])  # no farther than its range
    assert explorer.method.function.values[2] == 6.0


def test_what_is_painted_and_joined_is_what_the_method_gets(explore, compilations):
    explorer = explore(board.board(), board.views)
    comes_to_rest(explorer)
    before = compilations.count
    from_page(explorer, kind="edit", gesture="paint", field="cells", at=[0, 7], to=[1.0])
    from_page(explorer, kind="edit", gesture="join", field="links", at=[1, 5], to=[])
    comes_to_rest(explorer)
    assert np.argwhere(explorer.record.last("cells")).tolist() == [[0, 0], [1, 1]]
    assert np.argwhere(explorer.record.last("links")).tolist() == [[0, 1], [1, 0]]
    assert compilations.count == before


REFUSED = [
    (HEAVY, {"rate": 1.0}, "there is no field of Descent 'rate'"),
    (HEAVY, {"lr": -1}, "rule.lr = -1 is refused; accepted: a finite number above 0"),
    (HEAVY, {"lr": np.nan}, "rule.lr = nan is refused"),
    (HEAVY, {"lr": "fast"}, "rule.lr = 'fast' is refused"),
    (HEAVY, {"beta": 2.0}, "rule.beta = 2.0 is refused"),
    (WATCHED, {"directions": 1000}, "directions = 1000 is refused; accepted: at most"),
    (WATCHED, {"directions": 0}, "directions = 0 is refused"),
    (soft_sort.example(), {"tau": 1.0}, "there is no field of Sweep 'tau'"),
]


@pytest.mark.parametrize("method, changes, sentence", REFUSED, ids=[str(r[1]) for r in REFUSED])
def test_what_is_refused_is_said_and_the_widget_stays_usable(explore, method, changes, sentence):
    explorer = explore(method, [], steps=getattr(method, "steps", 30))
    comes_to_rest(explorer)
    explorer.turn(**changes)
    assert sentence in says(explorer).replace("&#x27;", "'")
    assert explorer.method is method
    explorer.play()
    until(explorer, lambda: explorer.status == "finished")
    assert "refused" not in says(explorer)


def test_a_stepper_that_asks_for_too_much_goes_back(explore):
    explorer = explore(WATCHED, [lines("loss")])
    comes_to_rest(explorer)
    stepper = control(explorer, "directions")
    stepper.max = 1000
    stepper.value = 1000
    assert "directions = 1000 is refused" in says(explorer)
    assert stepper.value == 2


def test_a_run_that_diverges_says_so_and_the_next_is_well(explore):
    explorer = explore(HEAVY, [lines("loss")], steps=400)
    explorer.turn(lr=1e9)
    until(explorer, lambda: "diverged at step" in says(explorer))
    explorer.turn(lr=0.1)
    until(explorer, lambda: "finished" in says(explorer))
    assert np.isfinite(explorer.record["loss"]).all()


def test_the_play_button_is_stop_while_it_plays(explore):
    explorer = explore(HEAVY, [lines("loss")], pace=50.0)
    comes_to_rest(explorer)
    button = control(explorer, "Play")
    button.click()
    assert (button.description, button.icon) == ("Stop", "stop")
    until(explorer, lambda: explorer.record.steps[-1] > 20)
    button.click()
    assert (button.description, button.icon) == ("Play", "play")
    assert "stopped" in says(explorer)
    rows = len(explorer.record)
    control(explorer, "Step").click()
    until(explorer, lambda: len(explorer.record) > rows)
    control(explorer, "Reset").click()
    until(explorer, lambda: explorer.status == "ready" and len(explorer.record) == 12)


def test_a_run_that_waits_says_why_and_goes_on_by_hand(explore):
    third = lambda record: "look here" if record.steps[-1] == 3 else ""
    explorer = explore(HEAVY, [lines("loss")], pause=third)
    until(explorer, lambda: "look here" in says(explorer))
    assert len(explorer.record) == 4
    control(explorer, "Step").click()
    until(explorer, lambda: len(explorer.record) == 5 and "stopped" in says(explorer))
    control(explorer, "Play").click()
    until(explorer, lambda: len(explorer.record) > 20)


def test_looking_back_stops_the_run_and_shows_what_it_had_seen(explore):
    explorer = explore(HEAVY, [lines("loss")], pace=50.0)
    back = control(explorer, "look back")
    comes_to_rest(explorer)
    until(explorer, lambda: back.max == 11)
    drawn = lambda: len(explorer._panels[0].marks[0].x)
    assert (back.value, drawn()) == (11, 12)
    explorer.play()
    until(explorer, lambda: len(explorer.record) > 20)
    back.value = 4
    assert drawn() == 5
    comes_to_rest(explorer)
    assert "stopped" in says(explorer)
    assert drawn() == 5  # the last frame of the run does not take it away
    rows = len(explorer.record)
    control(explorer, "Step").click()
    until(explorer, lambda: len(explorer.record) == rows + 1 and drawn() == rows + 1)
    until(explorer, lambda: back.value == back.max == rows)
    back.value = 0
    assert drawn() == 1
    back.value = back.max
    assert drawn() == rows + 1


def test_a_knob_that_is_turned_lets_go_of_the_row_that_was_looked_back_at(explore):
    explorer = explore(HEAVY, [lines("loss")], steps=30)
    explorer.play()
    back = control(explorer, "look back")
    until(explorer, lambda: "finished" in says(explorer) and back.max == 30)
    back.value = 3
    explorer.turn(lr=0.05)
    until(explorer, lambda: "finished" in says(explorer) and back.value == 30)
    assert len(explorer._panels[0].marks[0].x) == 31


def test_what_is_said_last_is_how_things_stand(explore, monkeypatch):
    explorer = explore(HEAVY, [lines("loss")])
    comes_to_rest(explorer)
    entered, go = threading.Event(), threading.Event()
    mark = explorer._bar.mark

    def slow(*arguments):
        entered.set()
        assert go.wait(30)
        mark(*arguments)

    monkeypatch.setattr(explorer.player, "_note", "old news")
    monkeypatch.setattr(explorer._bar, "mark", slow)
    late = threading.Thread(target=explorer._mark)
    late.start()
    assert entered.wait(30)
    monkeypatch.setattr(explorer._bar, "mark", mark)
    monkeypatch.setattr(explorer.player, "_note", "good news")
    newest = threading.Thread(target=explorer._mark)
    newest.start()
    newest.join(0.2)  # time enough to be first, if nothing held it
    go.set()
    late.join()
    newest.join()
    assert "good news" in says(explorer)


def test_a_sweep_has_no_past_to_look_back_at(explore):
    explorer = explore(soft_sort.example(), soft_sort.views)
    assert "look back" not in [getattr(w, "description", "") for w in parts(explorer)]


def drawn_curves(explorer):
    """Length of each curve that is drawn in the first panel, ghosts first."""
    arrays = explorer._spec("light", None).arrays
    return [np.isfinite(values).sum() for (_, name), values in arrays.items() if name == "y"]


def test_the_run_before_stays_behind_in_grey_until_its_button_is_released(explore):
    explorer = explore(surface_descent.example(), [lines("loss")], steps=40)
    comes_to_rest(explorer)
    assert drawn_curves(explorer) == [0, 12]
    explorer.play()
    until(explorer, lambda: explorer.status == "finished")
    explorer.reset()
    comes_to_rest(explorer)
    assert drawn_curves(explorer) == [41, 12]
    control(explorer, "Ghost").value = False
    assert drawn_curves(explorer) == [12]


def test_a_run_of_which_nothing_was_seen_yet_leaves_no_ghost(explore):
    explorer = explore(soft_sort.example(), soft_sort.views)
    explorer.turn(values=[1.0, 2.0, 3.0, 4.0, 5.0])  # while it compiles
    comes_to_rest(explorer)
    assert explorer.status == "finished"
    np.testing.assert_array_equal(explorer.record["sorted"][0], [1, 2, 3, 4, 5])


def test_a_live_knob_leaves_no_ghost_for_the_run_goes_on(explore):
    explorer = explore(HEAVY, [lines("loss")], steps=10**6)
    explorer.play()
    until(explorer, lambda: len(explorer.record) > 20)
    explorer.turn(lr=0.05)
    assert drawn_curves(explorer)[0] == 0


def test_the_code_makes_the_run_again_with_all_that_was_turned(explore):
    explorer = explore(WATCHED, [lines("loss")], source="start", seed=2)
    comes_to_rest(explorer)
    explorer.turn(lr=0.5)
    until(explorer, lambda: len(explorer.record) > 30)
    explorer.turn(lr=0.2)
    until(explorer, lambda: len(explorer.record) > 60)
    explorer.stop()
    comes_to_rest(explorer)
    control(explorer, "Code").click()
    said = control(explorer, "code").value
    space = {"start": WATCHED}
    exec(said, space)
    np.testing.assert_array_equal(space["record"].steps, explorer.record.steps)
    np.testing.assert_allclose(space["record"]["loss"], explorer.record["loss"], rtol=1e-6)
    assert "turns=[(" in said


def test_the_code_is_shown_until_it_tells_of_a_run_that_is_over(explore):
    explorer = explore(HEAVY, [lines("loss")])
    comes_to_rest(explorer)
    sent = frames(explorer)
    shown = lambda: control(explorer, "code").layout.display is None
    assert not shown()
    control(explorer, "Code").click()
    assert shown()
    assert {"kind": "copy", "text": explorer.code} in sent
    explorer.turn(lr=0.2)
    assert not shown()


def test_how_far_a_run_is_goes_to_the_page(explore):
    explorer = explore(HEAVY, [lines("loss")], steps=200, pace=400.0)
    comes_to_rest(explorer)
    sent, explorer.view.ready = frames(explorer), lambda: True
    explorer.play()
    until(explorer, lambda: explorer.status == "finished")
    comes_to_rest(explorer)
    shares = [head["share"] for head in sent if head["kind"] == "progress"]
    assert shares[-1] is None  # nothing is under way any more
    assert all(0 <= share <= 1 for share in shares[:-1])
    assert shares[:-1] == sorted(shares[:-1])
    assert len(shares) > 3


def test_a_compilation_shows_that_nobody_knows_how_long_it_takes(explore):
    explorer = explore(EveryKind(), [lines("state")])
    comes_to_rest(explorer)
    sent = frames(explorer)
    explorer.turn(rounds=7)
    comes_to_rest(explorer)
    assert -1.0 in [head["share"] for head in sent if head["kind"] == "progress"]
    assert explorer.player.progress is None


def test_another_seed_is_another_run(explore):
    explorer = explore(WATCHED, [lines("loss")])
    comes_to_rest(explorer)
    control(explorer, "seed").value = 3
    comes_to_rest(explorer)
    np.testing.assert_allclose(explorer.record["loss"], run(WATCHED, 11, key=3)["loss"], rtol=1e-5)


def test_the_words_are_the_methods_own_also_in_another_theme(explore):
    explorer = explore(soft_sort.example(), soft_sort.views, say=soft_sort.say)
    sent = frames(explorer)
    comes_to_rest(explorer)
    expected = soft_sort.say(soft_sort.demo())
    assert sent[-1]["words"] == expected
    light = sent[-1]["label"]
    from_page(explorer, kind="look", theme="dark", width=900)
    assert sent[-1]["words"] == expected
    assert sent[-1]["label"] == light
    from_page(explorer, kind="look", theme="light", width=900)


def test_without_words_of_its_own_the_views_are_described(explore):
    explorer = explore(HEAVY, [lines("loss")])
    sent = frames(explorer)
    comes_to_rest(explorer)
    assert sent[-1]["words"] == describe([lines("loss")(explorer.record)])


def test_another_theme_or_width_is_drawn_anew(explore):
    explorer = explore(soft_sort.example(), soft_sort.views)
    comes_to_rest(explorer)
    sent = frames(explorer)
    ground = lambda: sent[-1]["structure"]["layout"]["paper_bgcolor"]
    from_page(explorer, kind="look", theme="dark", width=900)
    dark, height = ground(), sent[-1]["structure"]["layout"]["height"]
    from_page(explorer, kind="look", theme="light", width=900)
    assert ground() != dark
    from_page(explorer, kind="look", theme="light", width=400)
    assert sent[-1]["structure"]["layout"]["height"] > height  # one panel below the other


def test_axes_stand_before_there_is_a_first_row(explore):
    explorer = Explorer(HEAVY, [lines("loss", title="Loss")])
    head = explorer.view.first.get("head") or {}
    explorer.close()
    texts = " ".join(map(str, head["texts"].values()))
    assert "Loss" in texts
    assert head["words"] == "nothing has run yet"


def test_no_number_on_its_way_to_the_page_is_one_that_json_does_not_know(explore):
    explorer = explore(surface_descent.example(), surface_descent.views)
    texts = explorer.view.first.get("head", {}).get("texts", {})
    flat = [v for value in texts.values() for v in (value if isinstance(value, list) else [value])]
    assert all(v is None or isinstance(v, str | bool) or np.isfinite(v) for v in flat)


def test_a_host_method_is_watched_like_any_other(explore):
    explorer = explore(rewriter.Addition(), rewriter.views)
    sent = frames(explorer)
    explorer.turn(left=4.0)
    until(explorer, lambda: explorer.status != "running" and not explorer.player.playing)
    assert explorer.status == "The term is in normal form."
    expected = run(rewriter.Addition(left=4.0), 1000)
    assert list(explorer.record["term"]) == list(expected["term"])
    until(explorer, lambda: any("S(S(S(S(S(S(0))))))" in str(head["texts"]) for head in sent))


def test_an_error_in_what_is_said_is_said(explore):
    def say(record):
        raise RuntimeError("no words")

    explorer = explore(HEAVY, [lines("loss")], say=say)
    until(explorer, lambda: "RuntimeError: no words" in says(explorer))
    assert not explorer.player.playing


def test_a_method_that_cannot_run_is_refused_at_once(capsys):
    with pytest.raises(ValueError, match=r"rule\.lr = -1 is refused"):
        Explorer(Descent(Quadratic(jnp.ones(2)), Sgd(-1)), [])
    gc.collect()  # what is forgotten must not complain that it is not whole
    assert not capsys.readouterr().err


def test_close_ends_the_run_and_leaves_nothing_behind():
    before, threads = set(_instances), threading.active_count()
    explorer = Explorer(HEAVY, [lines("loss")])
    explorer.play()
    explorer.close()
    assert set(_instances) == before
    explorer.close()
    explorer.turn(lr=0.2)
    explorer.play()
    until(explorer, lambda: threading.active_count() <= threads)


def test_thirty_explorers_opened_and_closed_leave_no_thread_and_no_widget():
    before = set(_instances)
    for _ in range(30):
        explorer = Explorer(soft_sort.example(), [])
        explorer.close()
    named = lambda: [t for t in threading.enumerate() if t.name.startswith("labkit")]
    until(explorer, lambda: not named())
    assert set(_instances) == before


def test_a_cell_that_runs_again_closes_what_it_made_before(monkeypatch):
    execution = ["first"]
    monkeypatch.setattr(widgets.cells, "_cell", lambda: ("a cell", execution[0]))
    one, two = Explorer(HEAVY, []), Explorer(HEAVY, [])
    execution[0] = "second"
    three = Explorer(HEAVY, [])
    opened = [e.player in scheduler._open for e in (one, two, three)]
    three.close()
    assert opened == [False, False, True]


def test_a_closed_explorer_is_let_go_with_all_it_holds():
    explorer = Explorer(surface_descent.example(), surface_descent.views)
    held = [weakref.ref(part) for part in (explorer, explorer.player, explorer.view)]
    explorer.close()
    del explorer
    deadline = time.monotonic() + 30
    while any(ref() is not None for ref in held) and time.monotonic() < deadline:
        time.sleep(0.05)  # its thread may be inside a last slice, or a compilation
        gc.collect()
    assert [ref() for ref in held] == [None, None, None]
