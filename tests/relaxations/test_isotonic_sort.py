"""Sort and rank by projection against a quadratic program, limits and slopes, and F024."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.optimize import nnls

from labkit.record import Record
from labkit.relaxations.isotonic_sort import (
    claim,
    demo,
    isotonic_order,
    isotonic_rank,
    isotonic_sort,
    say,
)


X = jnp.array([3.0, 1.0, 2.2, 0.0, 4.5])


@jax.jit
def both(x, tau):
    """Values, ranks and their derivatives."""
    operators = (isotonic_sort, isotonic_rank)
    return [f(x, tau) for f in (*operators, *map(jax.jacobian, operators))]


numbers = st.floats(-100, 100, width=32)
order_of, sort_of = jax.jit(isotonic_order), jax.jit(isotonic_sort)
rank_of = jax.jit(isotonic_rank)


def projection(z, w):
    """The point nearest to z among all mixtures of permutations of w, by enumeration."""
    corners = np.array(list(itertools.permutations(np.asarray(w, float))))
    heavy = 1e4  # the shares sum to one, as near as this weight makes them
    shares, _ = nnls(np.vstack([corners.T, heavy * np.ones(len(corners))]), np.append(z, heavy))
    return shares @ corners


@pytest.mark.parametrize("tau", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("gap", [1.0, 0.7])
def test_values_are_the_projection_on_mixtures_of_permutations(tau, gap):
    rho = np.arange(1, 6)
    nearest = projection(rho * gap**2 / tau, X)
    np.testing.assert_allclose(sort_of(X, tau, gap), nearest, atol=1e-4)  # of nnls, weighted


@pytest.mark.parametrize("tau", [0.5, 1.0, 3.0])
def test_ranks_are_the_projection_on_mixtures_of_ranks(tau):
    nearest = projection(np.asarray(X) / tau, np.arange(1, 6))
    np.testing.assert_allclose(rank_of(X, tau), nearest, atol=1e-4)


def test_both_are_exact_up_to_their_thresholds():
    gaps = np.diff(np.sort(X))
    for tau in (0.999 / gaps.max(), 1e-6, 1e-30):
        np.testing.assert_array_equal(sort_of(X, tau), jnp.sort(X))
    for tau in (0.999 * gaps.min(), 1e-6, 1e-30):
        np.testing.assert_array_equal(rank_of(X, tau), jnp.argsort(jnp.argsort(X)) + 1)
    assert np.abs(sort_of(X, 1.01 / gaps.max()) - jnp.sort(X)).max() > 1e-4
    assert np.abs(rank_of(X, 1.01 * gaps.min()) - jnp.argsort(jnp.argsort(X)) - 1).max() > 1e-4


def test_all_is_pooled_in_the_end():
    np.testing.assert_allclose(sort_of(X, 1e6), X.mean(), rtol=1e-5)
    np.testing.assert_allclose(rank_of(X, 1e6), 3.0, rtol=1e-5)


def test_it_scales_with_its_softness_and_moves_with_its_inputs():
    np.testing.assert_allclose(sort_of(7 * X, 7 * 1.5, 7.0), 7 * sort_of(X, 1.5), rtol=1e-5)
    np.testing.assert_allclose(rank_of(7 * X, 7 * 1.5), rank_of(X, 1.5), rtol=1e-5)
    np.testing.assert_allclose(sort_of(X + 3, 1.5), sort_of(X, 1.5) + 3, rtol=1e-5)


@settings(max_examples=40, deadline=None)
@given(hnp.arrays(np.float32, (2, 6), elements=numbers), st.sampled_from([0.01, 1.0, 100.0]))
def test_sums_and_order_are_kept_whatever_the_values(x, tau):
    found = order_of(x, tau)
    slack = 1e-5 * (1 + np.abs(x).max())  # sums of six in float32
    unit = 1e-4 + slack / 10 / tau  # a rounding of x is that many ranks
    np.testing.assert_allclose(found.values.sum(-1), x.sum(-1), atol=6 * slack)
    assert (np.diff(found.values) >= -slack).all()
    np.testing.assert_allclose(found.ranks.sum(-1), 21.0, atol=6 * unit)
    rising = np.take_along_axis(np.asarray(found.ranks), np.argsort(x, -1), -1)
    assert (np.diff(rising) >= -unit).all()
    for axis in (-1, -2):
        np.testing.assert_allclose(found.permutation.sum(axis), 1.0, atol=1e-5)


@pytest.mark.parametrize(
    "x", [[1.0, 1.0, 1.0], [1e38, -1e38, 0.0], [1e-38, 0.0, -1e-38], [2.0], []]
)
@pytest.mark.parametrize("tau", [1e-30, 1.0, 1e30])
def test_ties_and_extremes_give_numbers(x, tau):
    x = jnp.array(x, jnp.float32)
    for seen in both(x, tau):
        assert jnp.isfinite(seen).all()


def test_the_derivatives_are_those_of_finite_differences(double):
    x, step = jnp.asarray(np.array(X), float), 1e-6
    for operator in (isotonic_sort, isotonic_rank):
        value, slopes = jax.jit(operator), jax.jit(jax.jacrev(operator, (0, 1)))
        for tau in (0.9, 2.0):  # off the kinks, some values pooled and some not
            by_x, by_tau = slopes(x, tau)
            moved = [value(x + step * e, tau) - value(x - step * e, tau) for e in np.eye(5)]
            np.testing.assert_allclose(by_x, np.array(moved).T / (2 * step), atol=1e-8)
            moved = value(x, tau + step) - value(x, tau - step)
            np.testing.assert_allclose(by_tau, moved / (2 * step), atol=1e-8)
    slope = jax.jit(jax.jacrev(isotonic_sort))(x, 2.0)
    tangent = jax.jvp(lambda x: sort_of(x, 2.0), (x,), (x**2,))[1]
    np.testing.assert_allclose(tangent, slope @ x**2, atol=1e-9)


def test_the_permutation_is_the_derivative_of_the_values_and_none_of_it_is_negative():
    for tau in (0.1, 1.0, 2.0):
        slope = both(X, tau)[2]
        np.testing.assert_allclose(order_of(X, tau).permutation, slope, atol=1e-6)
        assert (slope >= 0).all()
    payload = jnp.arange(10.0).reshape(5, 2)
    np.testing.assert_array_equal(order_of(X, 0.1).apply(payload), payload[jnp.argsort(X)])


@pytest.mark.parametrize("name, tau, gap", [("tau", 0.0, 1.0), ("gap", 1.0, -1.0)])
def test_a_softness_or_gap_that_is_not_above_zero_is_refused(name, tau, gap):
    with pytest.raises(ValueError, match=rf"{name} = .* is refused; accepted: a number above 0"):
        isotonic_sort(X, tau, gap)


def test_the_claim_holds_on_the_demonstration():
    claim(demo()).check()
    assert "up to tau 0.667" in say(demo())


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_the_claim_refuses_another_softness(factor):
    told = {**demo().columns, "tau": demo()["tau"] * factor}
    assert not claim(Record(demo().steps, told)).holds


def test_the_claim_refuses_a_sort_that_is_never_soft_or_never_exact():
    for error in (0.0, 1.0):
        flat = {**demo().columns, "error": np.full(len(demo()), error)}
        assert not claim(Record(demo().steps, flat)).holds
