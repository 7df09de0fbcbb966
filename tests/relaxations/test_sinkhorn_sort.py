"""The sort by transport against the closed form of two, a dense optimum, and against F023."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from jax.test_util import check_grads
from scipy.special import expit

from labkit import replace, run
from labkit.record import Record
from labkit.relaxations.sinkhorn_sort import (
    claim,
    demo,
    example,
    say,
    sinkhorn_order,
    sinkhorn_sort,
)
from labkit.transport import marginal_error


X = np.array([3.0, 1.0, 2.2, 0.0, 4.5], np.float32)
order_of = jax.jit(sinkhorn_order, static_argnames="implicit")
slopes_of = jax.jit(
    jax.jacrev(lambda x, tau, implicit: sinkhorn_order(x, tau, 50, implicit=implicit)[:2]),
    static_argnames="implicit",
)


def naive(scores, tau, iterations=20_000):
    """Sinkhorn in float64, one marginal after the other, until nothing changes."""
    m = np.asarray(scores, float) / tau
    for _ in range(iterations):
        before = m
        m = m - np.logaddexp.reduce(m, axis=-2, keepdims=True)
        m = m - np.logaddexp.reduce(m, axis=-1, keepdims=True)
        if np.abs(m - before).max() < 1e-13:
            break
    return np.exp(m)


def test_two_values_mix_as_a_logistic_of_half_their_gap():
    """S_11 + S_22 - S_12 - S_21 is the gap, shared by two entries."""
    for gap, tau in ((1.5, 0.7), (0.2, 2.0)):
        p = order_of(np.array([gap, 0.0], np.float32), tau, 100).permutation
        np.testing.assert_allclose(p[0, 1], expit(gap / (2 * tau)), rtol=1e-5)


@pytest.mark.parametrize("a, b", [(0.0, 1.0), (-3.0, 0.5), (2.0, 4.0)])
def test_it_is_the_transport_with_squared_costs_to_any_even_grid(a, b):
    tau, grid = 0.7, a + b * np.arange(1, 6)
    costs = (grid[:, None] - X[None]) ** 2 / 2
    transport = naive(-costs, b * tau)
    np.testing.assert_allclose(order_of(X, tau, 300).permutation, transport, atol=1e-5)


def test_the_form_of_the_paper_is_the_same_with_another_letter():
    """Costs (y - x)^2 to the grid i / n with its epsilon, x squashed into (0, 1)."""
    squashed = expit((X - X.mean()) / X.std()).astype(np.float32)
    epsilon, n = 0.05, 5
    costs = (np.arange(1, n + 1)[:, None] / n - squashed[None]) ** 2
    ours = order_of(squashed, n * epsilon / 2, 2000)
    np.testing.assert_allclose(ours.permutation, naive(-costs, epsilon), atol=1e-5)
    np.testing.assert_array_equal(ours.rounded(), np.argsort(X))


def test_the_hard_limit_is_the_best_of_all_permutations():
    places = np.arange(1, 6)
    best = max(itertools.permutations(range(5)), key=lambda p: places @ X[list(p)])
    np.testing.assert_array_equal(best, np.argsort(X))
    found = order_of(X, 0.05, 20_000)
    np.testing.assert_array_equal(found.rounded(), best)
    # d exp(-d / (2 tau)) = 2.7e-4 at gap 0.8, and what the iteration lacks.
    np.testing.assert_allclose(found.values, np.sort(X), atol=5e-4)
    np.testing.assert_allclose(order_of(X, 1e6, 10).values, X.mean(), rtol=1e-5)


def test_near_the_limit_the_distance_is_that_of_two_neighbours():
    """One gap of 0.4 among gaps of 2: d exp(-d / (2 tau)), in float64 by the plain loop."""
    x, tau, d = np.array([0.0, 2.0, 4.0, 4.4, 6.4]), 0.05, 0.4
    distance = np.abs(naive(np.outer(np.arange(1, 6), x), tau) @ x - x).max()
    np.testing.assert_allclose(distance, d * np.exp(-d / (2 * tau)), rtol=0.02)  # the share itself
    ours = order_of(x.astype(np.float32), tau, 20_000).values
    np.testing.assert_allclose(np.abs(ours - x).max(), distance, rtol=2e-2)  # the loop's end


@settings(max_examples=20, deadline=None)
@given(
    hnp.arrays(np.float32, 5, elements=st.floats(-50, 50, width=32)),
    st.sampled_from([1.0, 10.0, 100.0]),
)
def test_the_sum_and_the_range_are_kept(x, tau):
    values, p, ranks = map(np.asarray, order_of(x, tau, 300))
    np.testing.assert_allclose(p.sum(axis=1), 1.0, rtol=1e-5)  # rows in float32
    columns = np.abs(p.sum(axis=0) - 1.0)
    assert columns.max() < 0.2  # converges as 1 / iterations where tau is small
    slack = 1e-4 * (1 + np.abs(x).max())
    assert abs(values.sum() - x.sum()) <= columns @ np.abs(x) + slack
    assert x.min() - slack <= values.min() <= values.max() <= x.max() + slack
    assert np.isfinite(ranks).all()


@settings(max_examples=15, deadline=None)
@given(hnp.arrays(np.float32, 5, elements=st.floats(-9, 9, width=32)), st.permutations(range(5)))
def test_the_order_of_the_input_does_not_matter(x, shuffle):
    shuffle = np.array(shuffle)
    one, other = order_of(x, 2.0, 100), order_of(x[shuffle], 2.0, 100)
    np.testing.assert_allclose(one.permutation[:, shuffle], other.permutation, atol=1e-4)


def test_it_scales_with_its_softness_and_moves_with_its_input():
    here = order_of(X, 0.5, 300).values
    np.testing.assert_allclose(order_of(7 * X, 7 * 0.5, 300).values, 7 * here, rtol=1e-5)
    np.testing.assert_allclose(order_of(X + 3, 0.5, 300).values, 3 + here, rtol=1e-5)


def test_the_smaller_the_softness_the_more_iterations_it_takes():
    """Ten times as many leave a tenth: the error falls as 1 / iterations, until tau is felt."""
    left = {
        (tau, k): float(marginal_error(order_of(X, tau, k).permutation))
        for tau in (1.0, 0.02)
        for k in (100, 1000)
    }
    assert left[1.0, 100] < 1e-6
    assert left[0.02, 100] > 1e-2
    assert left[0.02, 1000] < 0.2 * left[0.02, 100]


def test_the_gradient_is_that_of_finite_differences(double):
    x, weights = jnp.asarray(X, float), jnp.arange(5.0) ** 2
    for implicit in (True, False):
        order = lambda x, tau, implicit=implicit: sinkhorn_order(x, tau, 200, implicit=implicit)
        seen = jax.jit(
            lambda x, tau, order=order: weights @ order(x, tau).values + order(x, tau).ranks
        )
        check_grads(seen, (x, 1.0), order=1, modes=("rev",))


@pytest.mark.parametrize("implicit", [True, False])
def test_ties_and_extremes_give_numbers(implicit):
    for x in ([1, 1, 1], [1e38, -1e38, 0], [1e38, 1e38, -1e38], [1e-38, 0, -1e-38]):
        x = np.array(x, np.float32)
        for tau in (1.0, 1e-6):
            assert np.isfinite(order_of(x, tau, 50).values).all()
            assert all(np.isfinite(s).all() for s in slopes_of(x, tau, implicit))
    tied = slopes_of(np.array([1, 1, 3], np.float32), 1.0, implicit)[0]
    np.testing.assert_allclose(tied[:, 0], tied[:, 1], atol=1e-6)


def test_a_batch_is_sorted_list_by_list_and_carries_a_payload():
    x, payload = np.stack([X, -X]), np.arange(30.0, dtype=np.float32).reshape(2, 5, 3)
    found = order_of(x, 0.05, 1000)
    for row in (0, 1):
        np.testing.assert_allclose(
            found.values[row], order_of(x[row], 0.05, 1000).values, rtol=1e-5
        )
    np.testing.assert_allclose(found.ranks, np.argsort(np.argsort(x)) + 1, atol=2e-2)
    hard = np.take_along_axis(payload, np.argsort(x)[..., None], axis=1)
    np.testing.assert_allclose(found.apply(payload), hard, atol=0.2)  # columns are 0.001 off


@pytest.mark.parametrize("shape", [(0,), (3, 0), (2, 1)])
def test_an_order_of_nothing_and_of_one_value_is_itself(shape):
    found = order_of(np.ones(shape, np.float32), 1.0, 10)
    np.testing.assert_array_equal(found.values, np.ones(shape))
    np.testing.assert_array_equal(found.ranks, np.ones(shape))


def test_bad_input_is_refused_in_a_sentence():
    for tau in (0.0, -1.0, np.nan):
        with pytest.raises(ValueError, match=r"tau = .* is refused; accepted: a number above 0"):
            sinkhorn_sort(jnp.asarray(X), tau)
    with pytest.raises(ValueError, match=r"iterations = -1 is refused; accepted: a whole number"):
        sinkhorn_sort(jnp.asarray(X), 1.0, -1)


def test_the_claim_holds_on_the_demonstration():
    claim(demo()).check()
    assert "sums of columns" in say(demo())


def told(permutation):
    """The demonstration, had these been the shares at each tau."""
    x, taus = demo().last("values").astype(float), demo()["tau"]
    p = permutation(np.outer(np.arange(1, 6), x), taus[:, None, None].astype(float))
    return Record(demo().steps, {**demo().columns, "permutation": p, "sorted": p @ x})


def test_the_claim_accepts_the_plain_loop_and_refuses_what_is_no_optimum():
    few = lambda scores, tau: naive(scores, tau, 500)
    assert claim(told(few)).holds
    assert not claim(told(lambda scores, tau: few(scores, 1.1 * tau))).holds
    assert not claim(told(lambda scores, tau: few(-scores, tau))).holds
    assert not claim(told(lambda scores, tau: naive(scores, tau, 5))).holds
    assert not claim(told(lambda scores, tau: np.eye(5) + 0 * tau)).holds


def test_equal_values_can_be_walked_too():
    assert say(run(replace(example(), {"values": np.ones(5)}))).endswith(".")
