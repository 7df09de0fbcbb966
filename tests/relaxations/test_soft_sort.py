"""The soft sort against the hard sort, closed forms and invariances, and against F004."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from jax.test_util import check_grads

from labkit import run, sweep
from labkit.record import Record
from labkit.relaxations.soft_sort import (
    SoftSort,
    claim,
    demo,
    say,
    soft_order,
    soft_permutation,
    soft_sort,
)


X = jnp.array([3.0, 1.0, 2.2, 0.0, 4.5])
numbers = st.floats(-100, 100, width=32)
shapes = st.sampled_from([(5,), (2, 3), (1,), (3, 0)])  # few: each is compiled
arrays = hnp.arrays(np.float32, shapes, elements=numbers)
sort, permutation = jax.jit(soft_sort), jax.jit(soft_permutation)


def naive(x, tau):
    """Entry by entry, in float64, as the formula reads."""
    s = np.sort(np.asarray(x, float))
    p = np.array([[np.exp(-abs(s_i - x_j) / tau) for x_j in np.asarray(x, float)] for s_i in s])
    return p / p.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("tau", [0.1, 1.0, 10.0])
def test_the_permutation_is_that_of_the_formula(tau):
    np.testing.assert_allclose(permutation(X, tau), naive(X, tau), atol=1e-6)  # float32


@pytest.mark.parametrize("tau", [0.01, 0.5, 10.0, 1e4])
def test_the_sums_along_the_sorted_values_are_those_of_the_formula(tau):
    x = np.random.default_rng(0).normal(size=(3, 9)).astype(np.float32) + 1000.0
    expected = [naive(row, tau) @ row.astype(float) for row in x]
    np.testing.assert_allclose(sort(x, tau), expected, atol=3e-4)  # float32 of 1000


def test_two_values_mix_as_a_logistic_of_their_gap():
    gap, tau = 1.5, 0.7
    low = sort(jnp.array([gap, 0.0]), tau)[0]
    np.testing.assert_allclose(low, gap / (1 + np.exp(gap / tau)), rtol=1e-5)


def test_hard_and_blurred_are_the_limits():
    np.testing.assert_allclose(sort(X, 1e-3), jnp.sort(X), atol=1e-6)
    np.testing.assert_allclose(sort(X, 1e6), X.mean(), rtol=1e-5)


@settings(max_examples=40, deadline=None)
@given(arrays, st.sampled_from([0.01, 1.0, 100.0]))
def test_rows_are_shares_and_values_stay_within_the_range(x, tau):
    p = np.asarray(permutation(x, tau))
    assert p.shape == (*x.shape, x.shape[-1])
    assert (p >= 0).all()
    np.testing.assert_allclose(p.sum(-1), 1.0, rtol=1e-5)  # of six terms in float32
    soft = np.asarray(sort(x, tau))
    if x.size:
        slack = 1e-5 * (1 + np.abs(x).max())
        assert soft.min() >= x.min() - slack
        assert soft.max() <= x.max() + slack


@settings(max_examples=40, deadline=None)
@given(hnp.arrays(np.float32, 5, elements=numbers), st.permutations(range(5)))
def test_the_order_of_the_input_does_not_matter(x, order):
    one, other = sort(x, 1.0), sort(x[np.array(order)], 1.0)
    np.testing.assert_allclose(one, other, atol=1e-4)  # sums in another order, values to 100


def test_it_scales_with_its_softness():
    np.testing.assert_allclose(sort(7 * X, 7 * 0.5), 7 * sort(X, 0.5), rtol=1e-5)


def test_the_largest_share_of_each_place_is_the_right_one():
    for tau in (0.01, 1.0, 100.0):
        order = jnp.argmax(permutation(X, tau), axis=-1)
        np.testing.assert_array_equal(order, jnp.argsort(X))


def test_ties_and_extremes_give_numbers():
    for x in ([1.0, 1.0, 1.0], [1e38, -1e38, 0.0], [1e-38, 0.0, -1e-38], [2.0], []):
        x = jnp.array(x, jnp.float32)
        slope = jax.jit(jax.jacobian(soft_sort))(x, 1.0)
        assert jnp.isfinite(sort(x, 1.0)).all()
        assert jnp.isfinite(slope).all()


def test_the_gradient_is_that_of_finite_differences(double):
    x = jnp.asarray(np.array(X), float)
    check_grads(lambda x: sort(x, 0.8), (x,), order=1, modes=("rev", "fwd"))
    check_grads(lambda tau: sort(x, tau), (0.8,), order=1, modes=("rev", "fwd"))


def test_an_order_has_values_ranks_and_carries_a_payload():
    x, payload = jnp.stack([X, -X]), jnp.arange(30.0).reshape(2, 5, 3)
    found = soft_order(x, 1e-3)
    np.testing.assert_allclose(found.values, jnp.sort(x), atol=1e-6)
    np.testing.assert_allclose(found.ranks, jnp.argsort(jnp.argsort(x)) + 1, atol=1e-6)
    np.testing.assert_array_equal(found.rounded(), jnp.argsort(x))
    hard = np.take_along_axis(np.asarray(payload), np.argsort(x)[..., None], axis=1)
    np.testing.assert_allclose(found.apply(payload), hard, atol=1e-4)
    np.testing.assert_allclose(found.apply(payload[..., 0]), hard[..., 0], atol=1e-4)


@pytest.mark.parametrize("shape", [(0,), (3, 0), (1,), (2, 1)])
def test_an_order_of_nothing_and_of_one_value_is_itself(shape):
    found = soft_order(jnp.ones(shape), 1.0)
    np.testing.assert_array_equal(found.values, np.ones(shape))
    np.testing.assert_array_equal(found.ranks, np.ones(shape))
    assert found.rounded().shape == shape
    assert found.apply(jnp.ones((*shape, 2))).shape == (*shape, 2)


@pytest.mark.parametrize("tau", [0.0, -1.0, np.nan])
def test_a_softness_that_is_not_above_zero_is_refused(tau):
    with pytest.raises(ValueError, match=r"tau = .* is refused; accepted: a number above 0"):
        soft_sort(X, tau)


def test_the_claim_holds_on_the_demonstration():
    claim(demo()).check()
    assert "distance to the hard sort" in say(demo())


@pytest.mark.parametrize("factor", [2.0, 1.3, 0.8, 0.5])
def test_the_claim_refuses_another_softness(factor):
    """Shares made with another tau than the record says."""
    record = run(sweep(SoftSort(), over=factor * jnp.logspace(-2.0, 1.0, 41), name="tau"))
    told = {**record.columns, "tau": record["tau"] / factor}
    assert not claim(Record(record.steps, told)).holds


def test_the_claim_refuses_a_sort_without_an_error():
    nothing = {**demo().columns, "error": np.zeros(len(demo()))}
    assert not claim(Record(demo().steps, nothing)).holds


def test_the_claim_refuses_a_turned_sign():
    """exp(+ |s - x| / tau) puts each value where it belongs least."""
    tau, s = demo()["tau"], np.sort(X)
    apart = np.abs(s[:, None] - np.asarray(X)[None])
    errors = []
    for t in tau:
        p = np.exp((apart - apart.max()) / t)
        errors.append(np.abs(p @ np.asarray(X) / p.sum(1) - s).max())
    wrong = {**demo().columns, "error": np.array(errors)}
    assert not claim(Record(demo().steps, wrong)).holds
