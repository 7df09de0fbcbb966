"""The contract: fields and their names, what is refused, and the one kind of number."""

import math
import re
from typing import Any, NamedTuple

import equinox
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from jaxtyping import Array

from labkit.method import (
    cast,
    check,
    choice,
    fields,
    knob,
    method,
    pytree,
    replace,
    resolve,
    size,
    static,
)
from labkit.problems import Surface


@pytree
class Slope:
    lr: float = knob(0.5, 0.0, 1.0, log=True, live=True, about="step size")


@pytree
class Place:
    at: Any = knob((1.0, 2.0), -3.0, 3.0)
    width: int = size(2, 1, 9)


class State(NamedTuple):
    x: Array


@method
class Walk:
    """A method with a field of each kind."""

    place: Place = Place()
    rules: tuple = (Slope(), Slope(lr=0.25))
    noise: float = knob(0.0, 0.0, 1.0, within=(-1.0, 2.0))
    kind: str = choice("plain", "fancy", "none", about="which walk")
    rounds: int = size(3, 2, 8)
    shape: tuple = static(default=(4,))
    offset: float = 7.0  # a leaf without a control

    def init(self, key):
        return State(jnp.asarray(self.place.at))

    def step(self, state, key):
        return State(state.x - self.rules[0].lr * state.x + self.noise)

    def observe(self, state):
        return {"x": state.x}


WALK = Walk()


class _Still:
    """What makes any class a method."""

    def init(self, key):
        return jnp.zeros(())

    def step(self, state, key):
        return state

    def observe(self, state):
        return {"x": state}


def avals(tree):
    """What `jit` keys its programs on."""
    return [jax.typeof(leaf) for leaf in jax.tree.leaves(tree)]


# ------------------------------------------------------------------ fields


def test_fields_are_found_in_parts_and_in_tuples_of_parts_under_dotted_names():
    assert list(fields(WALK)) == [
        "place.at",
        "place.width",
        "rules.0.lr",
        "rules.1.lr",
        "noise",
        "kind",
        "rounds",
    ]


def test_a_field_carries_what_a_control_needs():
    known = fields(WALK)
    lr, kind, rounds = known["rules.1.lr"], known["kind"], known["rounds"]
    assert (lr.kind, lr.value, lr.low, lr.high) == ("knob", 0.25, 0.0, 1.0)
    assert (lr.log, lr.live, lr.about, lr.label) == (True, True, "step size", "lr")
    assert (kind.kind, kind.value, kind.options) == ("choice", "plain", ("plain", "fancy", "none"))
    assert (rounds.kind, rounds.value, rounds.low, rounds.high) == ("size", 3, 2, 8)
    assert not rounds.live
    assert fields(replace(WALK, {"place.at": [0.0, 0.0]}))["place.at"].value == [0.0, 0.0]


def test_a_knob_of_several_numbers_is_a_fresh_array_in_each_object():
    first, second = Place(), Place()
    assert first.at.dtype == float
    assert first.at is not second.at


def test_knobs_are_leaves_and_sizes_choices_and_statics_are_structure():
    leaves = jax.tree.leaves(WALK)
    assert len(leaves) == 5  # at, two lr, noise, offset
    for changes in ({"rounds": 4}, {"kind": "fancy"}, {"place.width": 3}):
        assert jax.tree.structure(replace(WALK, changes)) != jax.tree.structure(WALK)
    turned = replace(WALK, {"noise": 0.5, "rules.0.lr": 0.1, "place.at": [5.0, 6.0]})
    assert jax.tree.structure(cast(turned)) == jax.tree.structure(cast(WALK))
    assert jax.tree.structure(Walk(shape=(5,))) != jax.tree.structure(WALK)


def test_a_method_passes_through_jit_and_comes_back_whole():
    back = jax.jit(lambda walk: walk)(WALK)
    assert isinstance(back, Walk)
    assert (back.kind, back.rounds, back.shape, back.place.width) == ("plain", 3, (4,), 2)
    assert back.rules[1].lr == 0.25


def test_what_is_compiled_in_has_nothing_to_turn():
    @method
    class Holder(_Still):
        part: Any = static(default=Slope())

    assert fields(Holder()) == {}
    # Were it cast, each run would hold another part and be another program.
    assert cast(Holder()).part is Holder().part


def test_a_strangers_dataclass_is_not_searched_for_knobs():
    class Stranger(equinox.Module):
        weight: Array
        lr: float = knob(0.5, 0.0, 1.0)  # looks like ours, and is not
        part: Slope = Slope()

    @pytree
    class Task:
        model: Any
        noise: float = knob(0.1, 0.0, 1.0)

    @method
    class Fit(_Still):
        task: Any
        linear: Any

    fit = Fit(Task(Stranger(jnp.ones(2))), equinox.nn.Linear(2, 2, key=jr.key(0)))
    assert list(fields(fit)) == ["task.noise"]
    check(fit)
    assert replace(fit, {"noise": 0.5}).task.model is fit.task.model
    assert type(cast(fit).linear) is equinox.nn.Linear


def test_a_class_that_lacks_a_part_of_the_contract_is_no_method():
    with pytest.raises(TypeError, match=r"Half is no method yet: it lacks step, observe\."):

        @method
        class Half:
            def init(self, key):
                return key


def test_a_host_method_says_so_and_others_do_not():
    assert method(host=True)(type("Hosted", (_Still,), {})).host is True
    assert WALK.host is False


# ------------------------------------------------------------------ replace


def test_replace_changes_a_nested_field_and_leaves_the_original():
    changed = replace(WALK, {"rules.1.lr": 0.75, "place.width": 5})
    assert (changed.rules[1].lr, changed.place.width) == (0.75, 5)
    assert (WALK.rules[1].lr, WALK.place.width) == (0.25, 2)
    assert changed.rules[0] is WALK.rules[0]
    assert type(changed.rules) is tuple


def test_the_last_parts_of_a_name_are_enough_where_one_field_has_them():
    assert resolve(WALK, {"at": 1, "1.lr": 2, "noise": 3}) == {
        "place.at": 1,
        "rules.1.lr": 2,
        "noise": 3,
    }
    assert replace(WALK, {"width": 4}).place.width == 4


def test_a_name_that_is_a_field_itself_wins_over_a_longer_one_that_ends_so():
    @method
    class Twice(_Still):
        part: Slope = Slope()
        lr: float = knob(0.9, 0.0, 1.0)

    changed = replace(Twice(), {"lr": 0.1})
    assert (changed.lr, changed.part.lr) == (0.1, 0.5)


def test_an_ambiguous_name_is_refused_with_the_names_that_would_have_worked():
    with pytest.raises(ValueError, match=r"a name in full: rules\.0\.lr or rules\.1\.lr"):
        replace(WALK, {"lr": 0.1})


@pytest.mark.parametrize("name", ["nois", "rules.0", "place", "offset", "shape", "", "rules.2.lr"])
def test_a_name_of_no_field_is_refused(name):
    with pytest.raises(KeyError, match="there is no field of Walk"):
        replace(WALK, {name: 0.1})


def test_a_near_miss_is_told_what_was_meant():
    with pytest.raises(KeyError, match="Did you mean 'noise'"):
        resolve(WALK, {"nois": 0.1})


# ------------------------------------------------------------------ check


def test_the_defaults_are_accepted():
    assert check(WALK) is None


@pytest.mark.parametrize(
    "value", [1, 1.0, True, np.float32(0.5), np.int64(1), jnp.ones(()), 1e-300]
)
def test_any_kind_of_number_is_accepted_for_a_knob(value):
    check(replace(WALK, {"rules.0.lr": value}))


@pytest.mark.parametrize("value", [-1, 0, math.nan, math.inf, -math.inf])
def test_a_log_knob_takes_finite_numbers_above_0(value):
    sentence = f"rules.0.lr = {value!r} is refused; accepted: a finite number above 0 (Walk)."
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        check(replace(WALK, {"rules.0.lr": value}))


def test_a_number_is_no_array_and_an_array_no_number():
    with pytest.raises(ValueError, match=r"rules.0.lr = \[.*\] is refused; accepted: one number"):
        check(replace(WALK, {"rules.0.lr": [0.1, 0.2]}))
    surface = Surface("beale", 1.0)
    with pytest.raises(ValueError, match=r"w0 = 1\.0 is refused; accepted: an array of 1 axes"):
        check(surface)


@pytest.mark.parametrize("value", [-1.5, 2.5, math.nan, math.inf])
def test_a_knob_says_its_bounds(value):
    accepted = "a finite number at least -1 and at most 2"
    with pytest.raises(ValueError, match=f"noise = {value!r} is refused; accepted: {accepted}"):
        check(replace(WALK, {"noise": value}))


def test_a_knob_is_accepted_beyond_its_slider_and_at_its_bounds():
    for value in (-1.0, 2.0, 1.5):  # the slider ends at 1
        check(replace(WALK, {"noise": value}))


@pytest.mark.parametrize("value", ["fast", "0.1", None, 1j, [1.0, [2.0]], ["1", "2"], object])
def test_what_is_no_number_is_refused_for_a_knob(value):
    with pytest.raises(ValueError, match=r"noise = .* is refused; accepted: a number \(Walk\)"):
        check(replace(WALK, {"noise": value}))


@pytest.mark.parametrize("value", [1, 0, -1, 2.5, 1e9, 3.0, "3", None, True, math.nan])
def test_a_size_is_a_whole_number_and_no_less_than_the_least(value):
    sentence = f"rounds = {value!r} is refused; accepted: a whole number, 2 or more."
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        check(replace(WALK, {"rounds": value}))


@pytest.mark.parametrize("value", [2, 100, np.int64(3), np.int32(4), np.uint8(5)])
def test_a_size_may_be_a_numpy_integer_and_beyond_the_stepper(value):
    check(replace(WALK, {"rounds": value}))


def test_a_numpy_integer_is_the_same_program_as_a_python_one():
    ours, theirs = replace(WALK, {"rounds": 4}), replace(WALK, {"rounds": np.int64(4)})
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    assert hash(jax.tree.structure(ours)) == hash(jax.tree.structure(theirs))


@pytest.mark.parametrize("value", ["Plain", "", None, 0])
def test_an_unknown_choice_is_refused_with_the_known_ones(value):
    sentence = f"kind = {value!r} is refused; accepted: one of plain, fancy, none"
    with pytest.raises(ValueError, match=sentence):
        check(replace(WALK, {"kind": value}))


def test_a_part_deep_inside_is_asked_whether_its_fields_fit_together():
    @pytree
    class Fussy:
        low: float = knob(0.0, 0.0, 1.0)
        high: float = knob(1.0, 0.0, 1.0)

        def check(self):
            if self.low > self.high:
                raise ValueError("low is above high")

    @method
    class Deep(_Still):
        parts: tuple = ((Slope(), Fussy()),)

    check(Deep())
    with pytest.raises(ValueError, match="low is above high"):
        check(replace(Deep(), {"low": 0.75, "high": 0.5}))


# ------------------------------------------------------------------ cast


NUMBERS = (
    1,
    1.0,
    True,
    np.float64(1.0),
    np.float32(1.0),
    np.int64(1),
    np.ones(()),
    jnp.float32(1.0),
    jnp.int32(1),
    jnp.ones(()),
    jnp.ones((), jnp.bfloat16),
)


def test_every_kind_of_number_becomes_the_same_kind_of_leaf():
    kinds = [avals(cast(replace(WALK, {"noise": value, "1.lr": value}))) for value in NUMBERS]
    assert all(kind == kinds[0] for kind in kinds)


def test_one_trace_serves_every_kind_of_number():
    traces = []

    @jax.jit
    def step(walk, state):
        traces.append(walk)
        return walk.step(state, None)

    state = State(jnp.ones(2, jnp.float32))
    seen = [step(cast(replace(WALK, {"noise": value})), state).x for value in NUMBERS]
    assert len(traces) == 1
    # 1 - 0.5 * 1 + 1: exact in binary.
    np.testing.assert_array_equal(seen, np.full((len(NUMBERS), 2), 1.5))


def test_several_numbers_become_the_same_kind_of_array_however_they_are_given():
    given = ([1, 2], (1.0, 2.0), np.array([1, 2]), jnp.array([1.0, 2.0]), np.float32([1.0, 2.0]))
    arrays = [cast(replace(WALK, {"at": value})).place.at for value in given]
    assert {(array.shape, array.dtype.name) for array in arrays} == {((2,), "float64")}
    np.testing.assert_array_equal(arrays, [[1.0, 2.0]] * len(given))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32, jnp.float64])
def test_the_data_decide_the_precision_and_not_the_knob(dtype):
    with jax.enable_x64(True):
        x = jnp.ones(2, dtype)
        assert cast(WALK).step(State(x), None).x.dtype == dtype


def test_cast_changes_no_value_and_nothing_but_knobs():
    walk = cast(replace(WALK, {"noise": 0.125, "rounds": 7}))
    assert (float(walk.noise), walk.rounds, walk.kind, walk.offset) == (0.125, 7, "plain", 7.0)
    assert walk.shape is WALK.shape


def test_a_host_method_gets_plain_floats():
    hosted = method(host=True)(
        type(
            "Hosted",
            (_Still,),
            {"__annotations__": {"rate": float}, "rate": knob(0.5, 0.0, 1.0)},
        )
    )
    for value in (1, np.float32(1.0), jnp.ones(())):
        assert type(cast(replace(hosted(), {"rate": value})).rate) is float
