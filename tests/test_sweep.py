"""A sweep is a method without iterations: step k looks at value k."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from labkit.fan import fan
from labkit.loop import unroll
from labkit.method import check, fields, knob, pytree, replace
from labkit.run import run, stream
from labkit.sweep import sweep


@pytree
class Power:
    factor: float = knob(2.0, 0.0, 5.0)

    def __call__(self, value):
        return {"square": self.factor * value**2}


VALUES = np.array([0.0, 0.5, 1.0, 3.0])


def test_a_sweep_sees_every_value_once_and_in_order():
    record = run(sweep(Power(), VALUES))
    assert record.steps.tolist() == [0, 1, 2, 3]
    # Halves and squares of small numbers: exact in binary.
    np.testing.assert_array_equal(record["value"], VALUES)
    np.testing.assert_array_equal(record["square"], 2.0 * VALUES**2)


def test_the_column_of_the_values_has_the_name_it_is_given():
    record = run(sweep(Power(), VALUES, "temperature"))
    assert set(record) == {"temperature", "square"}


def test_a_longer_run_stays_at_the_last_value():
    assert run(sweep(Power(), VALUES), 6)["value"].tolist() == [0, 0.5, 1, 3, 3, 3, 3]


def test_the_knobs_of_the_function_are_turned_and_compile_nothing(compilations):
    method = sweep(Power(), VALUES)
    assert list(fields(method)) == ["function.factor"]
    run(method)
    before = compilations.count
    turned = run(replace(method, {"factor": 3}))
    np.testing.assert_array_equal(turned["square"], 3.0 * VALUES**2)
    run(sweep(Power(), 2.0 * VALUES))  # other values are data
    assert compilations.count == before


def test_a_knob_of_the_function_is_checked():
    with pytest.raises(ValueError, match=r"function\.factor = nan is refused"):
        check(sweep(Power(float("nan")), VALUES))


def test_values_may_be_rows_whole_numbers_or_a_list():
    rows = np.arange(6.0).reshape(3, 2)
    record = run(sweep(lambda row: {"sum": row.sum()}, rows))
    np.testing.assert_array_equal(record["value"], rows)
    assert record["sum"].tolist() == [1.0, 5.0, 9.0]
    whole = run(sweep(lambda n: {"twice": 2 * n}, range(3)))
    assert whole["twice"].tolist() == [0, 2, 4]
    assert whole["twice"].dtype.kind == "i"
    assert run(sweep(Power(), [4.0]))["square"].tolist() == [32.0]


@pytest.mark.parametrize(
    "function",
    [
        lambda value: {"double": value + value},
        functools.partial(lambda factor, value: {"double": factor * value}, 2.0),
        jax.jit(lambda value: {"double": 2 * value}),
    ],
)
def test_any_function_can_be_swept(function):
    np.testing.assert_array_equal(run(sweep(function, VALUES))["double"], 2 * VALUES)


def test_chunks_and_unroll_see_the_same():
    method = sweep(Power(), VALUES)
    *_, pieces = stream(method, chunk=1)
    np.testing.assert_array_equal(pieces["square"], run(method)["square"])
    np.testing.assert_array_equal(unroll(method, 3)[1]["square"], run(method)["square"])


def test_a_sweep_can_be_fanned_over_its_knobs():
    fanned = fan(sweep(Power(), VALUES), over={"factor": [1.0, 4.0]})
    np.testing.assert_array_equal(fanned.column("square"), [VALUES**2, 4 * VALUES**2])


def test_a_value_where_the_function_is_not_finite_ends_the_sweep():
    record = run(sweep(lambda v: {"log": jnp.log(v - 1.0)}, np.array([3.0, 2.0, 1.0, 4.0])))
    assert record.steps.tolist() == [0, 1, 2]
    assert "where log ceased to be finite" in record.events[0].sentence


@pytest.mark.parametrize("over", [[], np.zeros((0, 3)), 1.0])
def test_a_sweep_over_nothing_is_refused(over):
    with pytest.raises(ValueError, match=r"over = .* is refused; accepted: an array of one value"):
        sweep(Power(), over)
