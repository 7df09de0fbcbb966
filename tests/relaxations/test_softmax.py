"""The softmax against its formula, its Jacobian and its bounds, and against F014."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from jax.test_util import check_grads

from labkit.record import Record
from labkit.relaxations.softmax import claim, demo, say, soft_max, softmax


S = np.array([3.0, 1.0, 2.2, 0.0, 4.5])
numbers = st.floats(-100, 100, width=32)
five = hnp.arrays(np.float32, 5, elements=numbers)
shares_of, maximum_of = jax.jit(softmax), jax.jit(soft_max)
jacobian = jax.jit(jax.jacobian(softmax))


def naive(s, tau):
    """As the formula reads, in float64."""
    weights = np.exp((s - s.max()) / tau)
    return weights / weights.sum()


@pytest.mark.parametrize("tau", [0.1, 1.0, 10.0])
def test_shares_and_soft_maximum_are_those_of_the_formula(tau):
    np.testing.assert_allclose(shares_of(S, tau), naive(S, tau), rtol=1e-5)  # float32, of 45 tau
    exact = S.max() + tau * np.log(np.exp((S - S.max()) / tau).sum())
    np.testing.assert_allclose(maximum_of(S, tau), exact, rtol=1e-6)


@pytest.mark.parametrize("tau", [0.5, 2.0])
def test_the_jacobian_is_diag_p_less_p_p(tau):
    p = naive(S, tau)
    exact = (np.diag(p) - np.outer(p, p)) / tau
    np.testing.assert_allclose(jacobian(S, tau), exact, atol=1e-6 / tau)  # float32


def test_derivatives_are_those_of_finite_differences(double):
    check_grads(shares_of, (jnp.asarray(S), 0.8), order=2, modes=["rev"])
    check_grads(maximum_of, (jnp.asarray(S), 0.8), order=2, modes=["rev"])


@settings(max_examples=25, deadline=None)
@given(five, st.sampled_from([0.01, 1.0, 100.0]), st.permutations(range(5)))
def test_shares_sum_to_one_within_their_bounds_in_any_order_and_unit(s, tau, order):
    p = np.asarray(shares_of(s, np.float32(tau)), float)
    down = np.sort(s.astype(float))[::-1]
    e = np.exp(-(down[0] - down[1]) / tau)
    onehot = np.arange(5) == np.argmax(s)
    assert (p >= 0).all()
    np.testing.assert_allclose(p.sum(), 1.0, rtol=1e-6)
    # 8 e is 2 (n - 1) e.  The slack is that of five shares and of scores over tau in float32.
    assert np.abs(p - onehot).sum() <= 8 * e * (1 + 2e-7 * np.abs(s).max() / tau) + 1e-6
    top = float(maximum_of(s, np.float32(tau)))
    slack = 1e-6 * (np.abs(s).max() + tau)
    assert down[0] - slack <= top <= down[0] + tau * np.log(5) + slack
    np.testing.assert_allclose(shares_of(s[np.array(order)], tau), p[np.array(order)], rtol=1e-5)
    np.testing.assert_allclose(shares_of(8 * s, np.float32(8 * tau)), p, rtol=1e-4, atol=1e-30)


def test_the_soft_maximum_has_shares_and_entropy_for_derivatives():
    p = naive(S, 0.7)
    in_scores, in_tau = jax.grad(soft_max, argnums=(0, 1))(S, 0.7)
    np.testing.assert_allclose(in_scores, p, rtol=1e-5)
    np.testing.assert_allclose(in_tau, -np.sum(p * np.log(p)), rtol=1e-5)


def test_trained_by_its_logarithm_it_is_pulled_by_the_share_that_is_missing():
    grad = jax.grad(lambda s: -jnp.log(softmax(s, 1.0)[2]))(S)
    np.testing.assert_allclose(grad, naive(S, 1.0) - np.eye(5)[2], atol=1e-6)


def test_ties_share_alike_and_a_barred_item_has_none():
    np.testing.assert_allclose(shares_of(np.array([2.0, 2, 2, 0, 0]), 0.1)[:3], 1 / 3, rtol=1e-6)
    p, slope = (f(np.array([1.0, -np.inf, 1, -np.inf, 1]), 0.5) for f in (shares_of, jacobian))
    np.testing.assert_allclose(p, [1 / 3, 0, 1 / 3, 0, 1 / 3], rtol=1e-6)
    assert jnp.isfinite(slope).all()


@pytest.mark.parametrize(
    "s",
    [[1e38, -1e38, 0, 1, 2], [3e38, -3e38, 3e38, 0, 0], [1e-38, 0, -1e-38, 0, 1e-45], [7.0] * 5],
)
def test_extremes_give_numbers(s):
    s = np.array(s, np.float32)
    assert jnp.isfinite(shares_of(s, 1.0)).all()
    assert jnp.isfinite(maximum_of(s, 1.0))
    assert jnp.isfinite(jacobian(s, 1.0)).all()


@pytest.mark.parametrize("shape", [(0,), (3, 0), (1,), (2, 1)])
def test_of_one_item_or_of_none_it_is_all(shape):
    np.testing.assert_array_equal(shares_of(np.zeros(shape), 1.0), np.ones(shape))
    expected = 0.0 if shape[-1] else -np.inf  # as the maximum of nothing
    np.testing.assert_array_equal(maximum_of(np.zeros(shape), 1.0), np.full(shape[:-1], expected))
    assert np.isfinite(jacobian(np.zeros(shape), 1.0)).all()


def test_beyond_a_depth_the_gradient_is_exactly_zero_in_float32():
    s = np.array([1.0, 0.0, -9.0, -9.0, -9.0], np.float32)
    slopes = np.array([jacobian(s, np.float32(1 / depth))[0, 1] for depth in (40, 80, 110)])
    exact = -np.array([40, 80]) * np.exp([-40.0, -80.0])
    np.testing.assert_allclose(slopes[:2], exact, rtol=1e-4)  # of exp at 80, in float32
    assert (slopes[2] == 0) or jacobian(s, 0.01).dtype == np.float64


@pytest.mark.parametrize("tau", [0.0, -1.0, np.nan])
def test_a_softness_that_is_not_above_zero_is_refused(tau):
    for choice in (softmax, soft_max):
        with pytest.raises(ValueError, match=r"tau = .* is refused; accepted: a number above 0"):
            choice(S, tau)


def test_the_claim_holds_on_the_demonstration():
    claim(demo()).check()
    assert "its gradient is zero from tau" in say(demo())


def told(**columns):
    return Record(demo().steps, {**demo().columns, **columns})


@pytest.mark.parametrize("factor", [2.0, 1.1, 0.9, 0.5])
def test_the_claim_refuses_another_softness(factor):
    assert not claim(told(tau=demo()["tau"] * factor)).holds


def test_the_claim_refuses_a_turned_sign():
    p = np.array([naive(-S, tau) for tau in demo()["tau"]])
    assert not claim(told(shares=p, distance=2 * (1 - p[:, 4]))).holds


def test_the_claim_refuses_the_maximum_itself_and_a_gradient_that_never_dies():
    assert not claim(told(soft_maximum=np.full(len(demo()), S.max()))).holds
    slope = demo()["slope"]
    assert not claim(told(slope=np.maximum(slope, np.finfo(slope.dtype).tiny))).holds
    assert not claim(told(slope=-slope)).holds
