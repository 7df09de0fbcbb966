"""Sparsemax and entmax against their equations, solved by halving, and against F019."""

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
from labkit.relaxations.softmax import softmax
from labkit.relaxations.sparsemax import claim, demo, entmax, example, say, sparsemax


S = np.array([3.0, 1.0, 2.2, 0.0, 4.5])
numbers = st.floats(-100, 100, width=32)
sparse, between = jax.jit(sparsemax), jax.jit(entmax)
sparse_jacobian, between_jacobian = jax.jit(jax.jacobian(sparsemax)), jax.jit(jax.jacobian(entmax))


def naive(s, tau, alpha):
    """[(alpha - 1) v - theta]_+ ^ (1 / (alpha - 1)), theta by halving, in float64."""
    v = (alpha - 1) * np.asarray(s, float) / tau
    shares = lambda theta: np.maximum(v - theta, 0.0) ** (1 / (alpha - 1))
    low, high = v.max() - 1, v.max()
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if shares(middle).sum() > 1 else (low, middle)
    return shares(low)


@pytest.mark.parametrize("tau", [0.3, 2.0, 5.0, 50.0])
def test_shares_are_those_of_the_equation(tau):
    np.testing.assert_allclose(sparse(S, tau), naive(S, tau, 2.0), atol=2e-6)  # float32, 15 tau
    for alpha in (1.2, 1.5, 1.9, 2.0):
        np.testing.assert_allclose(between(S, tau, alpha), naive(S, tau, alpha), atol=2e-6)


def test_sparsemax_of_two_items_is_a_clipped_line():
    for gap in (-3.0, -0.4, 0.0, 0.7, 1.9, 2.1):
        p = sparse(np.array([gap, 0.0, -99, -99, -99]), 2.0)[0]
        np.testing.assert_allclose(p, np.clip((1 + gap / 2) / 2, 0, 1), atol=1e-6)


def test_entmax_is_softmax_at_one_end_and_sparsemax_at_the_other():
    for tau in (0.5, 3.0):
        np.testing.assert_allclose(between(S, tau, 1.0), softmax(S, tau), atol=1e-6)
        np.testing.assert_allclose(between(S, tau, 1.0 + 1e-6), softmax(S, tau), atol=2e-5)
        np.testing.assert_allclose(between(S, tau, 2.0), sparse(S, tau), atol=1e-6)


@pytest.mark.parametrize("alpha", [1.0, 1.3, 1.5, 2.0])
def test_the_jacobian_is_that_of_the_formula(alpha):
    p, tau = np.asarray(between(S, 3.0, alpha), float), 3.0
    q = np.where(p > 0, np.where(p > 0, p, 1.0) ** (2 - alpha), 0.0)
    exact = (np.diag(q) - np.outer(q, q) / q.sum()) / tau
    np.testing.assert_allclose(between_jacobian(S, tau, alpha), exact, atol=1e-6)
    if alpha == 2:
        np.testing.assert_allclose(sparse_jacobian(S, tau), exact, atol=1e-6)


def test_derivatives_are_those_of_finite_differences(double):
    check_grads(sparse, (jnp.asarray(S), 3.0), order=2, modes=["rev"])
    check_grads(between, (jnp.asarray(S), 3.0, 1.4), order=1)


def test_the_derivative_in_alpha_goes_on_to_softmax():
    """There it is p (sum p log^2 p - log^2 p) / 2."""
    slope = jax.jit(jax.jacobian(entmax, argnums=2))
    p = np.asarray(softmax(S, 2.0), float)
    square = np.log(p) ** 2
    exact = p * (p @ square - square) / 2
    np.testing.assert_allclose(slope(S, 2.0, 1.0), exact, atol=1e-5)
    # Its own derivative in alpha is below 10.
    np.testing.assert_allclose(slope(S, 2.0, 1.0 + 1e-4), exact, atol=1e-3)


def test_from_the_gap_down_it_is_the_hard_choice_without_a_gradient():
    for tau in (0.1, 1.49):
        np.testing.assert_array_equal(sparse(S, tau), np.eye(5)[4])
        np.testing.assert_array_equal(sparse_jacobian(S, tau), np.zeros((5, 5)))
    assert sparse(S, 1.52)[0] > 0


@settings(max_examples=25, deadline=None)
@given(hnp.arrays(np.float32, 5, elements=numbers), st.sampled_from([0.01, 1.0, 100.0]))
def test_shares_sum_to_one_in_any_order_and_unit(s, tau):
    # Shares of float32 at scores over tau of up to 10,000, of which the gap is known to 1e-3.
    for choice in (lambda s, tau: sparse(s, tau), lambda s, tau: between(s, tau, 1.5)):
        p = np.asarray(choice(s, np.float32(tau)))
        assert (p >= 0).all()
        np.testing.assert_allclose(p.sum(), 1.0, rtol=1e-6)
        assert p[np.argmax(s)] == p.max()
        np.testing.assert_allclose(choice(s[::-1], np.float32(tau)), p[::-1], atol=1e-6)
        np.testing.assert_allclose(choice(8 * s, np.float32(8 * tau)), p, atol=2e-3)


@pytest.mark.parametrize(
    "s",
    [[1e38, -1e38, 0, 1, 2], [3e38, -3e38, 3e38, 0, 0], [1e-38, 0, -1e-38, 0, 1e-45], [7.0] * 5],
)
def test_ties_share_and_extremes_give_numbers(s):
    s = np.array(s, np.float32)
    ties = (s == s.max()) if s.max() > 1 else np.ones(5)
    np.testing.assert_allclose(sparse(s, 1.0), ties / ties.sum(), atol=1e-6)
    np.testing.assert_allclose(between(s, 1.0, 1.5), ties / ties.sum(), atol=1e-6)
    assert jnp.isfinite(sparse_jacobian(s, 1.0)).all()
    assert jnp.isfinite(between_jacobian(s, 1.0, 1.5)).all()


@pytest.mark.parametrize("shape", [(0,), (3, 0), (1,), (2, 1)])
def test_of_one_item_or_of_none_it_is_all(shape):
    np.testing.assert_array_equal(sparse(np.zeros(shape), 1.0), np.ones(shape))
    np.testing.assert_array_equal(between(np.zeros(shape), 1.0, 1.5), np.ones(shape))


def test_a_batch_is_chosen_row_by_row():
    batch = np.stack([S, -S])
    for choice in (sparse, lambda s, tau: between(s, tau, 1.5)):
        found = choice(batch, 2.0)
        np.testing.assert_allclose(found, [choice(S, 2.0), choice(-S, 2.0)], atol=1e-6)


def test_what_cannot_be_is_refused():
    for alpha in (0.9, 2.1, np.nan):
        with pytest.raises(ValueError, match=r"alpha = .* is refused; accepted: a number from 1"):
            entmax(S, 1.0, alpha)
    for choice in (sparsemax, lambda s, tau: entmax(s, tau, 1.5)):
        with pytest.raises(ValueError, match=r"tau = .* is refused; accepted: a number above 0"):
            choice(S, 0.0)


@pytest.mark.parametrize("alpha", [1.0, 1.5, 1.9])
def test_the_claim_holds_on_the_demonstration_and_at_other_alpha(alpha):
    claim(demo() if alpha == 1.5 else run(replace(example(), {"alpha": alpha}))).check()
    assert "Sparsemax is one-hot to tau 1.4" in say(demo())


def told(**columns):
    return Record(demo().steps, {**demo().columns, **columns})


@pytest.mark.parametrize("factor", [1.1, 0.9])
def test_the_claim_refuses_another_softness(factor):
    assert not claim(told(tau=demo()["tau"] * factor)).holds


def test_the_claim_refuses_other_choices_in_their_place():
    record = demo()
    for other in ("softmax", "entmax"):
        p = record[other]
        support = {"sparsemax_support": (p > 0).sum(axis=1)}
        assert not claim(told(sparsemax=p, **support)).holds
    assert not claim(told(alpha=np.full(len(record), 1.6))).holds


def test_the_claim_refuses_a_threshold_left_out():
    v = np.asarray(S) / demo()["tau"][:, None]
    p = np.maximum(v, 0) / np.maximum(v, 0).sum(axis=1, keepdims=True)
    assert not claim(told(sparsemax=p)).holds


def test_a_tau_that_counts_as_zero_gives_the_hard_choice():
    """1e-45 is above 0 and below what float32 multiplies with."""
    scores = np.array([0.0, 2.0, 1.0], np.float32)
    for choose in (softmax, sparsemax):
        p, slope = jax.jit(lambda s, f=choose: (f(s, 1e-45), jax.jacobian(f)(s, 1e-45)))(scores)
        np.testing.assert_array_equal(p, [0.0, 1.0, 0.0])
        assert np.isfinite(slope).all()
