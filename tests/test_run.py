"""The runner: chunks, strides, ends, continuations, and what it compiles and keeps."""

import functools
import gc
import warnings
import weakref
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import rewriter
from jax.test_util import check_grads

from labkit import loop as heart
from labkit.descent import Descent
from labkit.loop import (
    FOREVER,
    MOST_BYTES,
    MOST_ROWS,
    PROGRAMS,
    advance,
    initial,
    most_rows,
    unroll,
)
from labkit.method import Latest, Padded, fields, knob, method, replace, static
from labkit.problems import from_loss
from labkit.record import load
from labkit.rules import Sgd
from labkit.run import Run, blank, run, stream


class State(NamedTuple):
    x: Any
    count: Any


@method
class Walk:
    """x <- rate x + noise e, e normal: a method whose every row depends on its keys."""

    rate: float = knob(0.9, 0.0, 2.0)
    noise: float = knob(0.1, 0.0, 1.0)
    start: Any = knob((1.0, -2.0), -3.0, 3.0)
    stop: float = knob(1e9, 0.0, 1e12)
    bad: float = knob(1e9, 0.0, 1e12)

    steps = 12

    def init(self, key):
        return State(self.start + self.noise * jr.normal(key, (2,)), jnp.zeros((), jnp.int32))

    def step(self, state, key):
        x = self.rate * state.x + self.noise * jr.normal(key, (2,))
        return State(jnp.where(state.count + 1 == self.bad, jnp.nan, x), state.count + 1)

    def observe(self, state):
        return {"x": state.x, "count": state.count, "even": state.count % 2 == 0}

    def done(self, state):
        """The count has come to its end.

        Only the first line is a sentence of the record.
        """
        return state.count >= self.stop


@method
class Plain:
    """The least: x <- x + 1, without keys, without an end."""

    def init(self, key):
        return jnp.zeros(())

    def step(self, state, key):
        return state + 1.0

    def observe(self, state):
        return {"x": state}


WALK = Walk()


def assert_same(one, other):
    """Bit for bit: the chunks and the stride must not change the numbers at all."""
    assert list(one) == list(other)
    np.testing.assert_array_equal(one.steps, other.steps)
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)
        assert one[name].dtype == other[name].dtype
    assert one.events == other.events


def last(records):
    *_, record = records
    return record


# ------------------------------------------------------------------ chunks and strides


@pytest.mark.parametrize("limit", [None, 8, 5])
@pytest.mark.parametrize("chunk", [1, 5, 12, 40, None])
def test_the_chunk_changes_nothing(chunk, limit):
    pieces = last(stream(WALK, 40, chunk=chunk, limit=limit))
    assert_same(pieces, run(WALK, 40, limit=limit))


def test_a_run_longer_than_one_call_records_is_what_its_pieces_are():
    record = run(WALK, 3 * MOST_ROWS + 7)
    assert len(record) == 3 * MOST_ROWS + 8
    np.testing.assert_array_equal(record["count"], np.arange(len(record)))
    assert_same(last(stream(WALK, 3 * MOST_ROWS + 7, chunk=100)), record)


@pytest.mark.parametrize("every", [1, 3, 4, 7, 12, 13, 1000, FOREVER, 2**40])
def test_every_row_is_that_of_the_full_record_and_the_end_is_always_seen(every):
    whole, record = run(WALK, 12), run(WALK, 12, every=every)
    assert record.steps.tolist() == sorted({*range(0, 12, every), 12})
    np.testing.assert_array_equal(record["x"], whole["x"][record.steps])
    assert_same(last(stream(WALK, 12, every=every, chunk=1)), record)


@pytest.mark.parametrize("limit", [2, 3, 8, 20, 41, 100])
def test_a_record_with_a_limit_holds_the_start_the_end_and_evenly_spaced_rows(limit):
    whole, record = run(WALK, 40), run(WALK, 40, limit=limit)
    assert len(record) <= limit
    assert (record.steps[0], record.steps[-1]) == (0, 40)
    np.testing.assert_array_equal(record["x"], whole["x"][record.steps])
    strides = set(np.diff(record.steps[:-1]).tolist())  # the last row may be nearer
    assert len(strides) <= 1
    assert all(stride & (stride - 1) == 0 for stride in strides)  # 1, 2, 4, ...


def test_ten_thousand_steps_stay_within_the_limit_and_double_their_stride():
    record = run(WALK, 10_000, limit=100)
    stride = 128  # the least power of two with 10,000 / stride rows within 100
    assert record.steps.tolist() == [*range(0, 10_000, stride), 10_000]


def test_a_limited_run_that_goes_on_keeps_to_multiples_of_its_stride():
    first = run(WALK, 6)
    rest = run(WALK, 40, after=first, limit=6)
    assert len(rest) <= 6
    assert rest.steps[-1] == 46
    np.testing.assert_array_equal(rest["x"], run(WALK, 46)["x"][rest.steps])


def test_no_steps_show_the_start():
    record = run(WALK, 0)
    assert record.steps.tolist() == [0]
    np.testing.assert_array_equal(record["x"][0], initial(WALK, jr.split(jr.key(0))[0]).x)


def test_a_stream_begins_with_the_start_and_grows_by_the_chunk():
    lengths = [len(record) for record in stream(WALK, 12, chunk=5)]
    assert lengths == [1, 6, 11, 13]
    assert [record.steps[-1] for record in stream(WALK, 0)] == [0]


def test_records_a_stream_has_given_out_stay_as_they_were():
    records = list(stream(WALK, 40, chunk=3, limit=10))
    final = run(WALK, 40)
    for record in records:
        np.testing.assert_array_equal(record["x"], final["x"][record.steps])


def test_the_steps_of_the_method_are_the_default():
    assert run(WALK).steps[-1] == Walk.steps
    with pytest.raises(ValueError, match="steps = None is refused; accepted: a whole number"):
        run(Plain())


@pytest.mark.parametrize(
    "options, sentence",
    [
        ({"steps": -1}, "steps = -1"),
        ({"steps": 2.5}, "steps = 2.5"),
        ({"steps": "9"}, "steps = '9'"),
        ({"steps": 3, "every": 0}, "every = 0"),
        ({"steps": 3, "every": 1.0}, "every = 1.0"),
        ({"steps": 3, "limit": 1}, "limit = 1"),
        ({"steps": 3, "chunk": 0}, "chunk = 0"),
    ],
)
def test_what_cannot_be_run_is_refused_in_a_sentence(options, sentence):
    with pytest.raises(ValueError, match=f"{sentence} is refused; accepted: "):
        list(stream(WALK, **options))


def test_a_method_that_check_refuses_does_not_start():
    with pytest.raises(ValueError, match="rate = nan is refused"):
        run(replace(WALK, {"rate": np.nan}), 3)


def test_more_steps_than_there_can_be_end_with_the_last():
    assert Run(WALK, 2**40).end == FOREVER
    far = advance(Plain(), jnp.zeros(()), jr.key(0), FOREVER - 2, rows=9, every=FOREVER)
    assert far.steps[: int(far.rows)].tolist() == [FOREVER]


@pytest.mark.parametrize("asked", [1, 3])
@pytest.mark.parametrize("walker", [WALK, replace(WALK, {"stop": 27}), rewriter.Addition(9.0, 9.0)])
def test_walking_between_rows_changes_nothing_that_is_seen(walker, asked):
    walked, pieces = Run(walker, 41, every=asked, limit=2), 0
    while not walked.finished:
        while walked.walk(5):
            pieces += 1
            assert walked.step < min(walked.next, walked.end)
        walked.advance(1)
    assert pieces > 0
    assert_same(walked.record, run(walker, 41, every=asked, limit=2))


@pytest.mark.parametrize("limit", [None, 3])
def test_a_knob_that_is_turned_between_rows_can_be_turned_there_again(limit):
    by_hand = Run(WALK, 60, every=2, limit=3)
    by_hand.advance(5)
    assert by_hand.every > 4
    assert by_hand.walk(3)
    assert by_hand.step % by_hand.every
    by_hand.turn(replace(by_hand.given, {"rate": 0.5}))
    by_hand.advance(99)
    record = by_hand.record
    again = run(WALK, 60, every=2, limit=limit, turns=record.meta["turns"])
    np.testing.assert_array_equal(record.last("x"), again.last("x"))
    assert again.meta["turns"] == record.meta["turns"]
    if limit:
        assert_same(again, record)


# ------------------------------------------------------------------ ends


def test_a_done_method_stops_between_rows_and_says_so():
    record = run(replace(WALK, {"stop": 7}), 40, every=3)
    assert record.steps.tolist() == [0, 3, 6, 7]
    assert record.events == ((7, "The count has come to its end."),)
    np.testing.assert_array_equal(record["x"], run(WALK, 7)["x"][record.steps])


def test_a_method_that_is_done_at_the_start_shows_the_start():
    record = run(replace(WALK, {"stop": 0}), 40)
    assert record.steps.tolist() == [0]
    assert record.events == ((0, "The count has come to its end."),)


@pytest.mark.parametrize("chunk", [1, 2, 12])
@pytest.mark.parametrize("changes", [{"stop": 7}, {"bad": 7}, {"bad": 8}, {"stop": 8}])
def test_an_end_in_mid_run_does_not_depend_on_the_chunk(chunk, changes):
    ended = replace(WALK, changes)
    assert_same(last(stream(ended, 40, every=2, chunk=chunk)), run(ended, 40, every=2))


def test_a_run_stops_after_the_row_that_is_not_finite_and_keeps_the_others():
    record = run(replace(WALK, {"bad": 5}), 40)
    assert record.steps.tolist() == [0, 1, 2, 3, 4, 5]
    np.testing.assert_array_equal(record["x"][:5], run(WALK, 4)["x"])
    assert np.isnan(record["x"][5]).all()
    says = "diverged at step 5, where x ceased to be finite; all rows are kept"
    assert record.events == ((5, says),)
    assert np.isfinite(record["count"]).all()


def test_only_rows_that_are_seen_can_stop_a_run():
    record = run(replace(WALK, {"bad": 5}), 40, every=4)
    assert record.steps.tolist() == [0, 4, 8]
    assert record.events[0].step == 8


def test_a_start_that_is_not_finite_is_seen_and_ends_the_run():
    @method
    class Lost(Plain):
        def init(self, key):
            return jnp.log(jnp.zeros(()))

    record = run(Lost(), 5)
    assert record.steps.tolist() == [0]
    assert record.events[0].sentence.startswith("diverged at step 0, where x ceased")


def test_a_finished_run_goes_no_further():
    walk = Run(WALK, 3)
    assert walk.advance(99) == 4
    assert walk.advance(99) == 0
    assert walk.finished


# ------------------------------------------------------------------ keys, probes, continuations


def test_a_seed_is_the_key_made_of_it():
    assert_same(run(WALK, 12, key=3), run(WALK, 12, key=jr.key(3)))
    assert_same(run(WALK, 12, key=np.int64(3)), run(WALK, 12, key=3))
    assert not np.array_equal(run(WALK, 12, key=3)["x"], run(WALK, 12, key=4)["x"])


def test_each_step_has_a_key_of_its_own():
    noises = run(replace(WALK, {"rate": 0.0, "noise": 1.0}), 12)["x"]
    assert len(np.unique(noises)) == noises.size


def test_the_key_of_a_step_is_folded_from_its_number():
    init_key, run_key = jr.split(jr.key(5))
    state = WALK.init(init_key)
    for t in range(3):
        state = WALK.step(state, jr.fold_in(run_key, t))
    # Outside a program, where nothing is fused: some rounding of numbers of size one.
    np.testing.assert_allclose(run(WALK, 3, key=5).last("x"), state.x, rtol=0, atol=1e-6)


def test_a_probe_is_a_column_of_the_state():
    probes = {"sum": lambda state: state.x.sum(), "twice": lambda state: 2 * state.count}
    record = run(WALK, 12, every=5, probes=probes)
    np.testing.assert_array_equal(record["twice"], 2 * record["count"])
    # A sum of two numbers is rounded once, in whatever order.
    np.testing.assert_array_equal(record["sum"], record["x"][:, 0] + record["x"][:, 1])
    assert set(run(WALK, 0)) == set(record) - set(probes)


@pytest.mark.parametrize("every", [1, 3])
def test_a_run_that_goes_on_is_the_long_run(every):
    whole = run(WALK, 12, every=every)
    first = run(WALK, 6, every=every)
    rest = run(WALK, 6, every=every, after=first)
    assert [*first.steps, *rest.steps] == whole.steps.tolist()
    np.testing.assert_array_equal(np.concatenate([first["x"], rest["x"]]), whole["x"])


def test_a_run_can_go_on_from_where_it_happened_to_end():
    whole, first = run(WALK, 12), run(WALK, 5, every=3)
    rest = run(WALK, 7, every=3, after=first)
    assert rest.steps.tolist() == [6, 9, 12]
    np.testing.assert_array_equal(rest["x"], whole["x"][rest.steps])


def test_a_run_can_go_on_with_another_knob():
    first = run(WALK, 4)
    still = run(replace(WALK, {"rate": 1.0, "noise": 0.0}), 4, after=first)
    np.testing.assert_array_equal(still["x"], np.broadcast_to(first.last("x"), (4, 2)))


def test_a_record_without_its_state_cannot_go_on(tmp_path):
    record = run(WALK, 4)
    for stateless in (load(record.save(tmp_path / "run")), record.until(2)):
        with pytest.raises(ValueError, match="state of after = None is refused; accepted: a "):
            run(WALK, 4, after=stateless)


def test_a_knob_that_is_turned_in_mid_run_is_used_from_the_next_step_on():
    walk = Run(WALK, 8)
    walk.advance(5)
    walk.turn(replace(WALK, {"rate": 1.0, "noise": 0.0}))
    walk.advance(99)
    x = walk.record["x"]
    np.testing.assert_array_equal(x[:5], run(WALK, 4)["x"])
    np.testing.assert_array_equal(x[5:], np.broadcast_to(x[4], (4, 2)))


TURNS = [(3, {"rate": 0.5}), (6, {"rate": 1.0, "noise": 0.0})]


@pytest.mark.parametrize("every", [1, 2, 4])
@pytest.mark.parametrize("chunk", [1, 3, None])
def test_turns_on_the_way_are_those_of_a_hand(every, chunk):
    by_hand = Run(WALK, 13, every=every)
    for step, changes in TURNS:
        while by_hand.next == 0 or by_hand.step < step:
            by_hand.advance(1)
        by_hand.turn(replace(by_hand.given, changes))
    by_hand.advance(99)
    *_, record = stream(WALK, 13, every=every, chunk=chunk, turns=TURNS[::-1])
    assert_same(record, by_hand.record)
    assert record.events == by_hand.record.events
    assert record.events[-1].sentence == "rate = 1, noise = 0"


def test_a_record_tells_how_it_was_made():
    record = run(WALK, 300, limit=40, every=2, turns=TURNS)
    meta = record.meta
    again = replace(WALK, meta["fields"])
    turns = [tuple(turn) for turn in meta["turns"]]
    assert_same(record, run(again, 300, limit=40, every=meta["every"], turns=turns))
    assert meta["turns"][1] == [6, {"rate": 1.0, "noise": 0.0}]
    assert meta["fields"]["rate"] == 0.9


def test_a_turn_at_the_start_comes_after_the_start_was_seen():
    record = run(WALK, 3, turns=[(0, {"rate": 0.5})])
    np.testing.assert_array_equal(record["x"], run(replace(WALK, {"rate": 0.5}), 3)["x"])
    assert record.meta["fields"]["rate"] == 0.9
    assert record.meta["turns"] == [[0, {"rate": 0.5}]]


def test_what_is_turned_before_the_start_was_seen_is_the_start():
    walk = Run(WALK, 3)
    walk.compile()
    walk.turn(replace(WALK, {"start": [5.0, 5.0]}))
    walk.advance(9)
    assert_same(walk.record, run(replace(WALK, {"start": [5.0, 5.0]}), 3))
    assert "turns" not in walk.record.meta


def test_a_turn_that_would_be_refused_is_refused_before_the_run():
    with pytest.raises(ValueError, match="rate = nan is refused"):
        run(WALK, 8, turns=[(5, {"rate": np.nan})])
    with pytest.raises(KeyError, match="speed"):
        run(WALK, 8, turns=[(5, {"speed": 1.0})])


def test_a_turn_that_is_refused_changes_nothing():
    walk = Run(WALK, 8)
    with pytest.raises(ValueError, match="rate = inf"):
        walk.turn(replace(WALK, {"rate": np.inf}))
    walk.advance(99)
    assert_same(walk.record, run(WALK, 8))


def test_the_record_says_which_method_made_it():
    meta = run(WALK, 1).meta
    assert meta["method"] == "Walk"
    assert meta["fields"]["rate"] == 0.9
    assert meta["fields"]["start"] == [1.0, -2.0]


# ------------------------------------------------------------------ unroll


def test_unroll_sees_what_run_sees():
    record, (state, rows) = run(WALK, 12), unroll(WALK, 12)
    assert set(rows) == set(record)
    # Another program: fused otherwise, so rounded otherwise, 12 steps of numbers of size one.
    np.testing.assert_allclose(rows["x"], record["x"], rtol=0, atol=1e-5)
    np.testing.assert_array_equal(rows["count"], record["count"])
    np.testing.assert_array_equal(state.x, rows["x"][-1])


def test_unroll_does_not_stop_early():
    assert len(unroll(replace(WALK, {"stop": 2}), 6)[1]["x"]) == 7
    assert len(unroll(WALK, 0)[1]["x"]) == 1


def test_the_gradient_through_unroll_is_that_of_finite_differences(double):
    def end(rate, noise, start):
        walk = replace(WALK, {"rate": rate, "noise": noise, "start": start})
        state, rows = unroll(walk, 5)
        return state.x, rows["x"].sum()

    arguments = 0.9, 0.1, np.array([1.0, -2.0])
    # Central differences in float64 are good to about 1e-7 of numbers of size one to ten.
    check_grads(end, arguments, order=1, modes=("fwd", "rev"), rtol=1e-6, atol=1e-6)


def test_unroll_takes_random_keys_in_its_state_outside_compiled_code():
    assert unroll(Keeper(), 3)[1]["u"].shape == (4,)


# ------------------------------------------------------------------ what states and columns may be


@method
class Keeper:
    """A state that holds a random key of its own."""

    def init(self, key):
        return {"key": key, "u": jnp.zeros(())}

    def step(self, state, key):
        key, sub = jr.split(state["key"])
        return {"key": key, "u": jr.uniform(sub)}

    def observe(self, state):
        return {"u": state["u"]}


def test_a_state_may_hold_a_random_key():
    record = run(Keeper(), 12)
    assert len(np.unique(record["u"])) == 13
    assert_same(last(stream(Keeper(), 12, chunk=5)), record)
    rest = run(Keeper(), 4, after=run(Keeper(), 8))
    np.testing.assert_array_equal(rest["u"], record["u"][9:])


@method
class Loose:
    """States and columns of Python numbers and weakly typed arrays."""

    def init(self, key):
        return {"a": 1.0, "n": 3, "w": jnp.asarray(2.0), "none": None, "b": True}  # all weak

    def step(self, state, key):
        strong = jnp.asarray(0.5, jnp.float32)
        return state | {"a": state["a"] * strong, "n": state["n"] + 1, "w": 1.0, "b": False}

    def observe(self, state):
        return {"a": state["a"], "n": state["n"], "one": 1.0, "two": 2, "b": state["b"]}


def test_states_and_columns_may_be_python_numbers(compilations):
    record = run(Loose(), 12)
    np.testing.assert_array_equal(record["a"], 0.5 ** np.arange(13))
    np.testing.assert_array_equal(record["n"], 3 + np.arange(13))
    assert record["one"].tolist() == [1.0] * 13
    assert record["b"].tolist() == [True] + [False] * 12
    assert [record[name].dtype.kind for name in ("a", "n", "one", "two", "b")] == [*"fifib"]
    before = compilations.count
    assert_same(last(stream(Loose(), 12, chunk=5)), record)
    # A weak type, lost in the first chunk, would make a second program for the second.
    assert compilations.count == before


@method
class Shapes:
    """A padded column, one of which the newest row is kept, a matrix, nothing at all."""

    most: int = static(default=4)
    poison: float = knob(0.0, -1.0, 1.0)  # in the padding

    def init(self, key):
        return jnp.zeros((), jnp.int32)

    def step(self, state, key):
        return state + 1

    def observe(self, state):
        values = jnp.where(jnp.arange(self.most) < state % 5, 1.0 * state, jnp.log(self.poison))
        return {
            "padded": Padded(values, state % 5),
            "picture": Latest(jnp.full((2, 3), state)),
            "matrix": jnp.full((2, 2), state),
            "nothing": jnp.zeros(0),
        }


@pytest.mark.parametrize("chunk", [1, 5, 40])
def test_padded_and_latest_columns_come_out_of_compiled_code(chunk):
    record = last(stream(Shapes(), 12, chunk=chunk, limit=8))
    assert record.steps.tolist() == [0, 2, 4, 6, 8, 10, 12]
    np.testing.assert_array_equal(record["padded.count"], record.steps % 5)
    for step, row in zip(record.steps, record["padded"], strict=True):
        count = step % 5
        np.testing.assert_array_equal(row, [step] * count + [np.nan] * (4 - count))
    assert record["picture"].shape == (1, 2, 3)
    assert (record.last("picture") == 12).all()
    np.testing.assert_array_equal(record["matrix"][:, 1, 0], record.steps)
    assert record["nothing"].shape == (7, 0)
    assert record.events == ()  # what is in the padding may be anything


def test_how_many_rows_a_call_records_is_bounded_by_their_size():
    shape = lambda *s: jax.ShapeDtypeStruct(s, jnp.float32)
    assert most_rows({"x": shape()}) == MOST_ROWS
    assert most_rows({"x": shape(MOST_BYTES // 4 // 10)}) == 10
    assert most_rows({"x": shape(MOST_BYTES)}) == 1
    assert most_rows({"x": Latest(shape(MOST_BYTES)), "y": shape()}) == MOST_ROWS
    assert most_rows({}) == MOST_ROWS


def test_a_method_may_show_nothing():
    @method
    class Silent(Plain):
        def observe(self, state):
            return {}

    record = run(Silent(), 3)
    assert (record.steps.tolist(), list(record)) == ([0, 1, 2, 3], [])


def test_double_precision_is_kept_where_it_is_asked_for(double):
    record = run(WALK, 12)
    assert record["x"].dtype == np.float64
    assert_same(last(stream(WALK, 12, chunk=5)), record)
    exact = run(replace(WALK, {"noise": 0.0}), 12)
    # Twelve products: each rounds by half of 2e-16 of numbers up to 2.
    np.testing.assert_allclose(exact.last("x"), 0.9**12 * np.array([1.0, -2.0]), rtol=1e-14)


def test_single_precision_stays_where_the_data_are_single(double):
    @method
    class Data(Plain):
        x: Any = None
        rate: float = knob(0.5, 0.0, 1.0)

        def init(self, key):
            return self.x

        def step(self, state, key):
            return self.rate * state

    assert run(Data(jnp.ones(2, jnp.float32)), 3)["x"].dtype == np.float32


def test_blank_has_the_columns_of_a_run_and_compiles_nothing(compilations):
    jr.key(0)
    before = compilations.count
    record = blank(WALK)
    assert compilations.count == before
    real = run(WALK, 0)
    assert list(record) == list(real)
    for name in real:
        assert (record[name].shape, record[name].dtype) == (real[name].shape, real[name].dtype)
    assert np.isnan(record["x"]).all()
    assert blank(Shapes())["padded"].shape == (1, 4)
    with pytest.raises(TypeError, match="Countdown runs on the host"):
        blank(Countdown())


# ------------------------------------------------------------------ what is compiled, what is kept


def test_turning_any_knob_steps_every_rows_or_key_compiles_nothing(compilations):
    list(stream(WALK, 12, chunk=5, every=2, key=1))
    before = compilations.count
    for name, field in fields(WALK).items():
        for value in (np.asarray(field.value) * 0.5, np.float32(field.value)):
            run(replace(WALK, {name: value if value.ndim else value[()]}), 12)
    for stop in (3, 3.0, np.float64(3.0), jnp.float32(3.0), True):
        run(replace(WALK, {"stop": stop}), 12)
    run(replace(WALK, {"start": [1, 2]}), 12)
    run(WALK, 5, every=3)
    run(WALK, 300)
    run(WALK, 0)
    run(WALK, 12, key=9, limit=4)
    run(WALK, 6, after=run(WALK, 6))
    list(stream(WALK, 20, chunk=7))
    ready = Run(WALK, 12)
    ready.compile()
    assert compilations.count == before


def test_a_run_that_was_compiled_beforehand_compiles_no_more(compilations):
    @method
    class New(Plain):
        pass

    prepared = Run(New(), 9)
    prepared.compile()
    before = compilations.count
    prepared.advance(99)
    assert compilations.count == before
    assert len(prepared.record) == 10


def cell(refs):
    """What a notebook cell does that is run again: a new loss, with new data closed over."""
    data = jnp.ones(200_000)

    def loss(w):
        return jnp.sum((w - data[:2]) ** 2)

    refs.append((weakref.ref(loss), weakref.ref(data)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of the hidden array, which is meant
        problem = from_loss(loss, jnp.zeros(2))
    return run(Descent(problem, Sgd(0.1)), 2)


def test_a_cell_that_is_run_again_and_again_does_not_fill_the_memory(monkeypatch):
    few = 3
    assert heart._programs.cache_info().maxsize == PROGRAMS
    small = functools.lru_cache(maxsize=few)(heart._programs.__wrapped__)
    monkeypatch.setattr(heart, "_programs", small)
    refs = []
    for _ in range(10):
        cell(refs)
    gc.collect()
    alive = [(loss() is not None, data() is not None) for loss, data in refs]
    # The newest programs are kept, and with them what they were made for; nothing older.
    assert alive == [(False, False)] * (10 - few) + [(True, True)] * few


@pytest.mark.slow
def test_the_programs_of_a_hundred_cells_are_dropped_but_for_the_newest():
    refs = []
    for _ in range(PROGRAMS + 40):
        cell(refs)
    gc.collect()
    assert sum(loss() is not None for loss, _ in refs) <= PROGRAMS
    assert not any(data() is not None for _, data in refs[:40])


# ------------------------------------------------------------------ host methods


@method(host=True)
class Countdown:
    """Words of n letters, then of n - 1: no arrays, no compiled code."""

    n: float = knob(3.0, 0.0, 9.0)
    bad: float = knob(-1.0, -1.0, 9.0)

    def init(self, key):
        return int(self.n)

    def step(self, state, key):
        assert type(self.n) is float
        return state - 1

    def observe(self, state):
        return {
            "word": "ä" * state,
            "letters": np.arange(state),
            "left": np.nan if state == self.bad else state,
            "pairs": [(i, i) for i in range(state)],
            "few": Padded(np.arange(9.0), state),
        }

    def done(self, state):
        """Nothing is left."""
        return state == 0


def test_a_host_method_keeps_the_same_contract():
    record = run(Countdown(), 12)
    assert record.steps.tolist() == [0, 1, 2, 3]
    assert record["word"].tolist() == ["äää", "ää", "ä", ""]
    assert [len(row) for row in record["letters"]] == [3, 2, 1, 0]
    assert record["pairs"][1] == [(0, 0), (1, 1)]
    assert record["left"].tolist() == [3, 2, 1, 0]
    np.testing.assert_array_equal(np.isfinite(record["few"]).sum(axis=1), record["few.count"])
    assert record.events == ((3, "Nothing is left."),)


@pytest.mark.parametrize("chunk", [1, 2, 40])
def test_the_chunk_does_not_change_a_host_run(chunk):
    whole = run(Countdown(9), 12, every=2)
    pieces = last(stream(Countdown(9), 12, every=2, chunk=chunk))
    assert pieces["word"].tolist() == whole["word"].tolist()
    assert pieces.steps.tolist() == whole.steps.tolist() == [0, 2, 4, 6, 8, 9]
    assert pieces.events == whole.events


def test_a_host_run_stops_after_what_is_not_finite():
    record = run(Countdown(9, bad=7), 12)
    assert record.steps.tolist() == [0, 1, 2]
    assert record.events[0].sentence.startswith("diverged at step 2, where left ceased")


def test_a_host_run_thins_goes_on_and_takes_probes():
    limited = run(Countdown(9), 8, limit=4, probes={"twice": lambda state: 2 * state})
    assert limited.steps.tolist() == [0, 4, 8]
    assert limited["twice"].tolist() == [18, 10, 2]
    rest = run(Countdown(9), 2, after=run(Countdown(9), 3))
    assert rest["word"].tolist() == ["ä" * 5, "ä" * 4]


def test_a_host_method_gets_the_keys_a_compiled_one_gets():
    @method(host=True)
    class Hosted:
        def init(self, key):
            return float(jr.uniform(key))

        def step(self, state, key):
            return float(jr.uniform(key))

        def observe(self, state):
            return {"u": state}

    @method
    class Compiled:
        def init(self, key):
            return jr.uniform(key)

        def step(self, state, key):
            return jr.uniform(key)

        def observe(self, state):
            return {"u": state}

    np.testing.assert_array_equal(run(Hosted(), 4, key=7)["u"], run(Compiled(), 4, key=7)["u"])


def test_a_host_run_is_compiled_without_trouble():
    prepared = Run(Countdown(), 2)
    prepared.compile()
    assert prepared.advance(9) == 3
