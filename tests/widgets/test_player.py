"""Play, stop, step, reset and turn, without a page."""

import threading
import time
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest

import widgets.player
from labkit import Descent, Momentum, Sgd, choice, knob, method, run, size
from labkit.landscapes.surface_descent import SurfaceDescent
from labkit.problems import Quadratic
from labkit.relaxations import soft_sort
from widgets.errors import told
from widgets.player import OPENING, Player
from widgets.scheduler import Scheduler


PATIENCE = 30.0  # seconds: a machine may be busy


class State(NamedTuple):
    count: jnp.ndarray


@method
class Gated:
    """Counts; its compilation waits until it is let go.  Another width is another program."""

    width: int = size(1, 1, 1000)

    gate = threading.Event()

    def init(self, key):
        return State(jnp.zeros(()))

    def step(self, state, key):
        assert self.gate.wait(PATIENCE)  # while it is traced
        return State(state.count + 1.0)

    def observe(self, state):
        return {"count": state.count}


@method(host=True)
class Stairs:
    """Counts in Python; stops where it is told, and falls where it is told."""

    up: float = knob(1.0, 0.0, 5.0, live=True)
    falls: float = knob(1e9, 0.0, 1e9)
    way: str = choice("up", "down")

    inside = threading.Event()
    go = threading.Event()

    def init(self, key):
        return State(np.zeros(()))

    def step(self, state, key):
        self.inside.set()
        assert self.go.wait(PATIENCE)
        if state.count >= self.falls:
            raise RuntimeError("there is no further step")
        return State(state.count + self.up)

    def observe(self, state):
        return {"count": state.count}


@method
class Misshapen:
    """Its step has another shape than its state, with one of the variants."""

    variant: str = choice("bad", "good")

    def init(self, key):
        return State(jnp.zeros(2))

    def step(self, state, key):
        return State(jnp.zeros(3 if self.variant == "bad" else 2))

    def observe(self, state):
        return {"count": state.count}


class Eyes:
    """What a player shows: (record, status), in order."""

    def __init__(self):
        self.shown = []

    def __call__(self, record, status):
        self.shown.append((record, status))

    @property
    def records(self):
        return [record for record, _ in self.shown if record is not None]

    @property
    def statuses(self):
        return [status for _, status in self.shown]

    def until(self, holds):
        end = time.monotonic() + PATIENCE
        while not holds():
            assert time.monotonic() < end, f"not within {PATIENCE} s: {self.statuses[-5:]}"
            time.sleep(0.005)


@pytest.fixture
def eyes():
    return Eyes()


@pytest.fixture
def players(eyes):
    """`players(method, ...)` makes one that is closed in the end; all share a scheduler."""
    scheduler, made = Scheduler(), []

    def make(method, show=eyes, **options):
        made.append(Player(method, show, scheduler=scheduler, **{"pace": None} | options))
        return made[-1]

    Stairs.inside.clear()
    Stairs.go.set()
    Gated.gate.clear()
    yield make
    Stairs.go.set()
    Gated.gate.set()
    for player in made:
        player.close()
    scheduler.end()


QUADRATIC = Quadratic(jnp.array([1.0, 0.1]))
DESCENT = Descent(QUADRATIC, Momentum(0.01))


def step(player):
    """Where its run stands; -1 before the first row."""
    return player.record.steps[-1] if len(player.record) else -1


def threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("labkit")]


def test_nothing_is_shown_before_it_begins(players, eyes):
    player = players(DESCENT)
    time.sleep(0.05)
    assert not eyes.shown
    assert player.record.steps.size == 0


def test_the_first_rows_are_seen_and_then_it_waits(players, eyes):
    player = players(DESCENT)
    player.begin()
    eyes.until(lambda: player.status == "ready")
    np.testing.assert_array_equal(eyes.records[-1]["loss"], run(DESCENT, OPENING - 1)["loss"])
    assert len(player.record) == OPENING


def test_a_sweep_is_seen_whole(players, eyes):
    player = players(soft_sort.example())
    player.begin()
    eyes.until(lambda: player.status == "finished")
    np.testing.assert_array_equal(eyes.records[-1]["sorted"], soft_sort.demo()["sorted"])


def test_the_first_rows_of_all_players_are_seen(players):
    all_eyes = [Eyes() for _ in range(4)]
    made = [players(DESCENT, show) for show in all_eyes]
    for player in made:
        player.begin()
    for player, show in zip(made, all_eyes, strict=True):
        show.until(lambda player=player: player.status == "ready")
        assert len(show.records[-1]) == OPENING


def test_a_run_does_not_hold_up_the_first_rows_of_what_was_compiling(players, eyes):
    late_eyes = Eyes()
    late, playing = players(Gated(), late_eyes), players(DESCENT)
    late.begin()
    late_eyes.until(lambda: "compiling" in late_eyes.statuses)
    playing.play()
    eyes.until(lambda: len(eyes.records) > 2)
    Gated.gate.set()
    late_eyes.until(lambda: late.status == "ready")
    assert len(late_eyes.records[-1]) == OPENING
    at = step(playing)
    assert playing.playing
    eyes.until(lambda: step(playing) > at)


def test_play_goes_to_the_end_and_play_again_starts_anew(players, eyes):
    player = players(DESCENT, steps=40)
    player.play()
    eyes.until(lambda: player.status == "finished")
    np.testing.assert_array_equal(eyes.records[-1]["loss"], run(DESCENT, 40)["loss"])
    shown = len(eyes.shown)
    player.play()
    eyes.until(lambda: player.status == "finished" and len(eyes.shown) > shown)
    np.testing.assert_array_equal(eyes.records[-1].steps, np.arange(41))


def test_what_is_touched_pauses_what_played_and_says_so(players, eyes):
    other_eyes = Eyes()
    player, other = players(DESCENT), players(DESCENT, other_eyes)
    player.play()
    eyes.until(lambda: len(eyes.records) > 2)
    other.play()
    other_eyes.until(lambda: len(other_eyes.records) > 2)
    assert not player.playing
    assert eyes.statuses[-1] == "paused while another widget runs"
    paused = step(player)
    player.play()
    eyes.until(lambda: step(player) > paused)
    assert player.record.steps[0] == 0
    assert not other.playing


def test_stop_stops_and_keeps_what_was_seen(players, eyes):
    player = players(DESCENT)
    player.play()
    eyes.until(lambda: len(eyes.records) > 2)
    player.stop()
    assert eyes.statuses[-1] == "stopped"
    time.sleep(0.2)  # the slice that was under way
    rows, shown = len(player.record), len(eyes.shown)
    time.sleep(0.2)
    assert (len(player.record), len(eyes.shown)) == (rows, shown)
    assert rows > 0
    player.play()
    eyes.until(lambda: len(eyes.shown) > shown + 2)
    assert player.record.steps[0] == 0


def test_step_shows_as_many_rows_more(players, eyes):
    player = players(DESCENT)
    player.begin()
    eyes.until(lambda: player.status == "ready")
    player.step()
    eyes.until(lambda: len(player.record) == OPENING + 1 and not player.playing)
    player.step(3)
    eyes.until(lambda: len(player.record) == OPENING + 4 and not player.playing)
    assert player.status == "stopped"


def test_it_waits_where_it_is_told_and_step_and_play_go_on(players, eyes):
    tenth = lambda record: "a tenth step" if record.steps[-1] % 10 == 0 < record.steps[-1] else ""
    player = players(DESCENT, pause=tenth)
    player.play()
    eyes.until(lambda: player.status == "a tenth step")
    assert not player.playing
    assert eyes.records[-1].steps[-1] == 10  # drawn, and not a row more
    player.step()
    eyes.until(lambda: len(player.record) == 12 and not player.playing)
    assert player.status == "stopped"
    player.turn({"lr": 0.02})  # as after a stop by hand, a live knob turns and nothing starts
    assert not player.playing
    player.play()
    eyes.until(lambda: player.status == "a tenth step")
    np.testing.assert_array_equal(player.record.steps, np.arange(21))


def test_a_run_that_ends_where_it_would_wait_ends(players, eyes):
    at_the_end = lambda record: "wait" if record.steps[-1] == 10 else ""
    player = players(DESCENT, steps=10, pause=at_the_end)
    player.play()
    eyes.until(lambda: player.status == "finished")


def test_an_error_in_where_to_wait_is_said(players, eyes):
    player = players(DESCENT, pause=lambda record: record["no such"])
    player.play()
    eyes.until(lambda: "there is no column" in player.status)


def test_stop_answers_at_once_while_it_compiles_and_the_result_is_not_run(players, eyes):
    player = players(Gated(width=2))
    player.play()
    eyes.until(lambda: "compiling" in eyes.statuses)
    began = time.monotonic()
    player.stop()
    assert time.monotonic() - began < 0.5
    assert player.status == eyes.statuses[-1] == "stopped"
    Gated.gate.set()
    eyes.until(lambda: not player._compiling)
    time.sleep(0.1)
    assert not eyes.records
    assert player.status == "stopped"
    player.step()
    eyes.until(lambda: len(player.record) == 1 and not player.playing)


def test_a_method_that_was_replaced_while_it_compiled_is_not_shown(players, eyes):
    player = players(Gated(width=7))
    player.play()
    eyes.until(lambda: "compiling" in eyes.statuses)
    player.turn({"width": 8})
    Gated.gate.set()
    eyes.until(lambda: len(eyes.records) > 2)
    assert all(record.meta["fields"]["width"] == 8 for record in eyes.records)


def test_a_live_knob_changes_the_run_that_goes_on(players, eyes):
    player = players(DESCENT)
    player.play()
    eyes.until(lambda: len(eyes.records) > 2)
    player.turn({"lr": 0.02})
    turned = step(player)
    eyes.until(lambda: step(player) > turned + 50 and player.record.events)
    assert player.record.steps[0] == 0
    assert player.record.events[-1].sentence == "lr = 0.02"
    assert player.method.rule.lr == 0.02
    assert player.playing


def test_a_live_knob_does_what_turning_a_run_does(players, eyes):
    player = players(DESCENT, steps=30)
    player.step(10)
    eyes.until(lambda: len(player.record) == 10 and not player.playing)
    player.turn({"lr": 0.05})
    player.play()
    eyes.until(lambda: player.status == "finished")
    first = run(DESCENT, 9)
    rest = run(Descent(QUADRATIC, Momentum(0.05)), 21, after=first)
    np.testing.assert_allclose(
        player.record["loss"], [*first["loss"], *rest["loss"]], rtol=1e-6, atol=1e-12
    )


def test_any_other_knob_starts_again(players, eyes):
    player = players(SurfaceDescent())
    player.play()
    eyes.until(lambda: player.status == "finished")
    player.turn({"w0": [1.0, 1.0]})
    eyes.until(lambda: player.status == "finished" and player.record["w"][0, 0] == 1.0)
    expected = run(SurfaceDescent(problem=SurfaceDescent().problem), 0)
    assert expected["w"][0, 0] != 1.0
    assert player.record.steps[0] == 0
    assert not player.record.events


def test_a_knob_that_is_turned_after_stop_waits_for_play(players, eyes):
    player = players(DESCENT)
    player.begin()
    eyes.until(lambda: player.status == "ready")
    player.stop()
    player.turn({"lr": 0.05})
    time.sleep(0.1)
    assert len(player.record) == OPENING
    assert not player.playing


def test_a_start_that_is_moved_after_stop_shows_its_first_rows(players, eyes):
    player = players(SurfaceDescent())
    player.begin()
    eyes.until(lambda: player.status == "ready")
    player.stop()
    player.turn({"w0": [1.0, 1.0]})
    eyes.until(lambda: len(player.record) == OPENING and player.record["w"][0, 0] == 1.0)
    assert not player.playing


def test_a_run_that_was_replaced_shows_nothing(players, eyes):
    player = players(Stairs())
    Stairs.go.clear()
    player.play()
    assert Stairs.inside.wait(PATIENCE)
    before = len(eyes.records)
    player.reset(seed=5)
    Stairs.go.set()
    eyes.until(lambda: player.status == "ready" and len(player.record) == OPENING)
    assert len(eyes.records) > before
    assert all(record.steps[0] == 0 and len(record) <= OPENING for record in eyes.records)


def test_an_error_in_a_step_is_said_and_the_next_run_is_well(players, eyes):
    player = players(Stairs(falls=5.0))
    player.play()
    eyes.until(lambda: not player.playing)
    assert player.status.startswith("RuntimeError: there is no further step (in step, line ")
    assert eyes.statuses[-1] == player.status
    player.turn({"falls": 1e9})
    eyes.until(lambda: len(player.record) > 20)
    assert player.status == "running"


@pytest.mark.parametrize("held", [False, True])
def test_a_knob_that_is_turned_in_the_last_slice_begins_a_run(players, eyes, held):
    player = players(Stairs(), steps=1)
    Stairs.go.clear()
    player.play()
    assert Stairs.inside.wait(PATIENCE)
    if held:
        player.stop()
    player.turn({"up": 2.0})
    Stairs.go.set()
    eyes.until(lambda: player.status == "finished")
    assert player.record["count"].tolist() == [0.0, 2.0]
    assert not player.record.events


def test_an_error_in_compiling_is_said_and_another_variant_is_well(players, eyes):
    player = players(Misshapen())
    player.begin()
    eyes.until(lambda: player.status.startswith("TypeError: "))
    assert not player.playing
    player.turn({"variant": "good"})
    eyes.until(lambda: len(player.record) > 20)


def test_a_run_that_diverges_says_so_and_the_next_is_well(players, eyes):
    player = players(DESCENT)
    player.turn({"lr": 1e9})
    eyes.until(lambda: not player.playing)
    assert "diverged at step" in player.status
    player.turn({"lr": 0.01})
    eyes.until(lambda: len(player.record) > 20 and np.isfinite(player.record["loss"]).all())


@pytest.mark.parametrize(
    "changes", [{"lr": -1.0}, {"lr": np.nan}, {"lr": "fast"}, {"beta": 1.5}, {"form": "none"}]
)
def test_what_is_refused_changes_nothing(players, eyes, changes):
    player = players(DESCENT)
    with pytest.raises(ValueError, match="is refused; accepted: "):
        player.turn(changes)
    with pytest.raises(KeyError, match="there is no field of Descent 'rate'"):
        player.turn({"rate": 1.0})
    assert player.method is DESCENT
    assert player._rows != np.inf
    assert not eyes.shown


def test_turning_compiles_nothing(players, eyes, compilations):
    player = players(DESCENT, steps=40)
    player.play()
    eyes.until(lambda: player.status == "finished")
    before = compilations.count
    for lr in np.linspace(0.01, 0.1, 5):
        player.turn({"lr": lr, "beta": 0.5})
        eyes.until(lambda: player.status == "finished")
    assert compilations.count == before


def test_the_pace_is_kept_about(players, eyes):
    player = players(DESCENT, pace=40.0)
    player.begin()
    eyes.until(lambda: player.status == "ready")  # compiled
    first = len(player.record)
    player.play()
    time.sleep(1.0)
    player.stop()
    assert 4 <= len(player.record) - first <= 60


def test_frames_wait_for_the_page(players, eyes):
    ready = threading.Event()
    player = players(DESCENT, ready=ready.is_set)
    player.begin()
    eyes.until(lambda: player.status == "ready")
    shown = len(eyes.records)
    player.play()
    eyes.until(lambda: step(player) > 500)
    assert len(eyes.records) == shown
    ready.set()
    eyes.until(lambda: len(eyes.records) > shown)


def test_a_long_run_keeps_to_its_limit(players, eyes):
    player = players(Descent(QUADRATIC, Sgd(0.01)), limit=64)
    player.play()
    eyes.until(lambda: step(player) > 1000)
    player.stop()
    assert len(player.record) <= 64
    assert player.record.steps[0] == 0


def test_rows_that_lie_far_apart_keep_nobody_waiting(eyes, monkeypatch):
    monkeypatch.setattr(widgets.player, "SLICE", 0.001)
    still = Scheduler()
    still.touch = lambda *_, **__: None  # the test works, slice by slice
    live = Descent(QUADRATIC, Sgd(0.01))
    player = Player(live, eyes, limit=2, pace=None, scheduler=still)
    player.play()
    player.work()
    eyes.until(lambda: player._compiled)
    run = player._run
    for _ in range(10_000):
        if run.every >= 2**20 and run.step % run.every:  # as of a run that was left for long
            break
        player.work()
    player.turn({"lr": 0.02})
    player.work()
    [event] = player.record.events
    assert event.step % run.every  # it was heard between two rows
    newest = [record.steps[-1] for record in eyes.records]
    assert len(newest) == len(set(newest))  # no picture is drawn twice
    player.close()


def test_what_is_closed_shows_nothing_more(players, eyes):
    player = players(DESCENT)
    player.play()
    eyes.until(lambda: len(eyes.records) > 2)
    player.close()
    time.sleep(0.2)
    shown = len(eyes.shown)
    player.close()
    player.turn({"lr": 0.02})
    player.play()
    time.sleep(0.1)
    assert len(eyes.shown) == shown


def test_a_hundred_players_opened_and_closed_leave_no_thread(eyes):
    scheduler, before = Scheduler(), threads()
    for _ in range(100):
        player = Player(DESCENT, eyes, scheduler=scheduler)
        player.play()
        player.close()
    eyes.until(lambda: threads() == before)


def test_of_a_long_error_the_first_line_is_said():
    assert told(ValueError("lr = -1 is refused")) == "ValueError: lr = -1 is refused"
    assert told(TypeError("shapes differ\n\nHere is a page of advice.")) == (
        "TypeError: shapes differ ..."
    )
    assert told(KeyError("x" * 10_000)) == "KeyError: '" + "x" * 299 + " ..."
    assert told(RuntimeError()) == "RuntimeError: "
