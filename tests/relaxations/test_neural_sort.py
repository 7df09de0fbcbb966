"""NeuralSort against the direct sum, closed forms and invariances, and against F022."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from jax.test_util import check_grads

from labkit import replace, run
from labkit.record import Record
from labkit.relaxations.neural_sort import (
    bound,
    claim,
    demo,
    example,
    misplaced,
    neural_order,
    neural_sort,
    say,
)


X = np.array([3.0, 1.0, 2.2, 0.0, 4.5], np.float32)
TAUS = (0.1, 1.0, 10.0)
order_of = jax.jit(neural_order)
slopes_of = jax.jit(jax.jacrev(lambda x, tau: neural_order(x, tau)[:2]))


def naive(x, tau, dtype: type = float):
    """Row by row with the direct sum, as the formula reads."""
    x = np.asarray(x, dtype)
    a = np.abs(x[:, None] - x[None]).sum(axis=1)
    rows = [((2 * i - len(x) - 1) * x - a) / dtype(tau) for i in range(1, len(x) + 1)]
    weights = np.exp(np.stack([row - row.max() for row in rows]))
    return weights / weights.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("tau", TAUS)
def test_the_permutation_is_that_of_the_formula(tau):
    found = order_of(X, tau)
    np.testing.assert_allclose(found.permutation, naive(X, tau), atol=1e-6)  # float32
    np.testing.assert_allclose(found.values, naive(X, tau) @ X, atol=1e-5)


def test_on_even_values_each_row_falls_with_the_square_of_the_distance():
    """So NeuralSort is there one half step of Sinkhorn: a softmax of squared costs."""
    d, tau, n = 0.3, 1.7, 24
    k = np.arange(n)[:, None] - np.arange(n)[None]
    weights = np.exp(-d * k**2 / tau)
    found = order_of(d * np.arange(n, dtype=np.float32) + 5.0, tau)
    np.testing.assert_allclose(
        found.permutation, weights / weights.sum(1, keepdims=True), atol=1e-5
    )


def test_hard_and_blurred_are_the_limits():
    np.testing.assert_allclose(order_of(X, 1e-3).values, np.sort(X), atol=1e-6)
    np.testing.assert_allclose(order_of(X, 1e6).values, X.mean(), rtol=1e-4)


@pytest.mark.parametrize("outlier", [False, True])
def test_prefix_sums_lose_no_more_digits_than_the_direct_sum(outlier):
    """In float32, against float64; the direct sum also in float32.  Five draws."""
    ours, direct = [], []
    for seed in range(5):
        x = (10.0 + np.random.default_rng(seed).normal(size=256)).astype(np.float32)
        x[0] = 1e6 if outlier else x[0]
        truth = naive(x, 0.3)
        ours.append(np.abs(order_of(x, 0.3).permutation - truth).max())
        direct.append(np.abs(naive(x, 0.3, np.float32) - truth).max())
    # Seen: at most 4e-5 either way; the direct sum 2e-4, and 0.1 or more with the outlier.
    assert np.max(ours) < 1e-4
    assert np.min(direct) > (0.02 if outlier else np.max(ours))


def test_the_bound_holds_and_does_not_grow_with_the_number_of_values():
    d, tau = 0.5, 0.2
    for n in (5, 24):
        x = np.random.default_rng(n).permutation(d * np.arange(n)).astype(np.float32)
        p = np.asarray(order_of(x, tau).permutation)
        wrong = 1.0 - p[np.arange(n), np.argsort(x)].min()
        most = 2.0 * sum(np.exp(-(k**2) * d / tau) for k in range(1, n))
        assert most / 1.3 < wrong <= most  # the denominator is 1 + most at the largest
        assert most < 0.17


def test_the_largest_share_of_each_place_is_the_right_one():
    for tau in (0.01, 1.0, 100.0):
        np.testing.assert_array_equal(order_of(X, tau).rounded(), np.argsort(X))


def test_near_ties_and_a_tiny_softness_leave_shares():
    """Gaps at rounding, and a tau far below it: rows still sum to one."""
    x = np.sort(np.random.default_rng(0).normal(size=24)).astype(np.float32)
    x[1::2] = np.nextafter(x[::2], np.float32(9.0))
    for tau in (1e-2, 1e-6, 1e-12):
        p = np.asarray(order_of(x, tau).permutation)
        np.testing.assert_allclose(p.sum(axis=1), 1.0, rtol=1e-5)  # of 24 terms in float32


@settings(max_examples=25, deadline=None)
@given(hnp.arrays(np.float32, 5, elements=st.floats(-100, 100, width=32)), st.sampled_from(TAUS))
def test_rows_are_shares_and_values_stay_within_the_range(x, tau):
    values, p, ranks = map(np.asarray, order_of(x, tau))
    assert (p >= 0).all()
    np.testing.assert_allclose(p.sum(-1), 1.0, rtol=1e-5)  # of five terms in float32
    slack = 1e-5 * (1 + np.abs(x).max())
    assert x.min() - slack <= values.min() <= values.max() <= x.max() + slack
    assert np.isfinite(np.concatenate([s.ravel() for s in slopes_of(x, tau)])).all()
    assert (ranks > 0).all()


@settings(max_examples=20, deadline=None)
@given(hnp.arrays(np.float32, 5, elements=st.floats(-9, 9, width=32)), st.permutations(range(5)))
def test_the_order_of_the_input_does_not_matter(x, shuffle):
    shuffle = np.array(shuffle)
    one, other = order_of(x, 1.0), order_of(x[shuffle], 1.0)
    np.testing.assert_allclose(one.permutation[:, shuffle], other.permutation, atol=1e-4)
    np.testing.assert_allclose(one.ranks[shuffle], other.ranks, atol=1e-3)


def test_it_scales_with_its_softness_and_moves_with_its_input():
    scaled, moved = order_of(7 * X, 7 * 0.5), order_of(X + 3, 0.5)
    np.testing.assert_allclose(scaled.values, 7 * order_of(X, 0.5).values, rtol=1e-5)
    np.testing.assert_allclose(moved.values, 3 + order_of(X, 0.5).values, rtol=1e-5)


def test_tied_inputs_have_the_same_derivative_the_mean_of_both_sides(double):
    x, tau, h = np.array([1.0, 0.3, 1.0, -0.4, 0.9]), 0.8, 1e-6
    slope = np.asarray(jax.jacrev(lambda x: neural_sort(x, tau))(x))
    np.testing.assert_allclose(slope[:, 0], slope[:, 2], atol=1e-12)
    step = h * np.eye(5)
    sort = lambda x: naive(x, tau) @ x
    sides = [(sort(x + e) - sort(x - e)) / (2 * h) for e in step]
    np.testing.assert_allclose(slope, np.stack(sides, axis=1), atol=1e-6)  # of order h


@pytest.mark.parametrize(
    "x", [[1, 1, 1], [1e38, -1e38, 0], [1e38, 1e38, -1e38], [1e-38, 0, -1e-38]]
)
def test_ties_and_extremes_give_numbers(x):
    x = np.array(x, np.float32)
    for tau in (1.0, 1e-6):
        found, slope = order_of(x, tau), slopes_of(x, tau)
        np.testing.assert_allclose(found.values, np.sort(x), atol=1e-6)
        assert all(np.isfinite(s).all() for s in slope)


def test_the_gradient_is_that_of_finite_differences(double):
    x, payload = jnp.asarray(X, float), jnp.asarray([0.3, -1.0, 2.0, 0.5, 0.1])
    seen = jax.jit(
        lambda x, tau: jnp.append(neural_sort(x, tau), neural_order(x, tau).apply(payload))
    )
    check_grads(seen, (x, 0.8), order=1, modes=("rev", "fwd"))


def test_a_batch_is_sorted_list_by_list_and_carries_a_payload():
    x, payload = np.stack([X, -X]), np.arange(30.0, dtype=np.float32).reshape(2, 5, 3)
    found = order_of(x, 1e-3)
    for row in (0, 1):
        np.testing.assert_allclose(found.permutation[row], order_of(x[row], 1e-3).permutation)
    np.testing.assert_allclose(found.ranks, np.argsort(np.argsort(x)) + 1, atol=1e-6)
    hard = np.take_along_axis(payload, np.argsort(x)[..., None], axis=1)
    np.testing.assert_allclose(found.apply(payload), hard, atol=1e-4)


@pytest.mark.parametrize("shape", [(0,), (3, 0), (2, 1)])
def test_an_order_of_nothing_and_of_one_value_is_itself(shape):
    found = order_of(np.ones(shape, np.float32), 1.0)
    np.testing.assert_array_equal(found.values, np.ones(shape))
    np.testing.assert_array_equal(found.ranks, np.ones(shape))


@pytest.mark.parametrize("tau", [0.0, -1.0, np.nan])
def test_a_softness_that_is_not_above_zero_is_refused(tau):
    with pytest.raises(ValueError, match=r"tau = .* is refused; accepted: a number above 0"):
        neural_sort(jnp.asarray(X), tau)


def test_the_claim_holds_on_the_demonstration():
    claim(demo()).check()
    assert "sums of columns" in say(demo())
    assert (misplaced(demo()) <= bound(demo()) + 1e-6).all()


def told(permutation):
    """The demonstration, had these been the shares at each tau."""
    x, taus = demo().last("values"), demo()["tau"]
    p = np.stack([permutation(x, t) for t in taus])
    error = np.abs(p @ x - np.sort(x)).max(axis=1)
    columns = {**demo().columns, "permutation": p, "error": error}
    return Record(demo().steps, columns)


@pytest.mark.parametrize("factor", [2.0, 1.3, 0.8, 0.5])
def test_the_claim_refuses_another_softness(factor):
    assert claim(told(naive)).holds
    assert not claim(told(lambda x, tau: naive(x, factor * tau))).holds


def test_the_claim_refuses_a_turned_sign_and_a_dropped_term():
    def without_distances(x, tau):
        logits = (2 * np.arange(1, 6)[:, None] - 6) * x[None] / tau
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        return weights / weights.sum(axis=1, keepdims=True)

    assert not claim(told(lambda x, tau: naive(-x, tau))).holds
    assert not claim(told(without_distances)).holds


def test_equal_values_can_be_walked_too():
    record = run(replace(example(), {"values": np.ones(5)}))
    assert np.isfinite(misplaced(record)).all()
    assert say(record).endswith(".")
