"""Three soft top-k against their equations, transport and projections, and against F021."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from jax.test_util import check_grads

from labkit import run, sweep
from labkit.polytopes import subsets
from labkit.record import Record
from labkit.relaxations.soft_top_k import (
    TopK,
    capped_top_k,
    claim,
    demo,
    hard,
    logistic_top_k,
    say,
    sorted_top_k,
)
from labkit.relaxations.sparse_map import sparse_map
from labkit.relaxations.sparsemax import sparsemax
from labkit.transport import sinkhorn


S = np.array([3.0, 1.0, 2.4, 0.0, 3.6])
ALL = {"sorted": sorted_top_k, "capped": capped_top_k, "logistic": logistic_top_k}
of = {name: jax.jit(operator, static_argnums=1) for name, operator in ALL.items()}
slope = {name: jax.jit(jax.jacobian(o), static_argnums=1) for name, o in ALL.items()}
each = pytest.mark.parametrize("name", ALL)
CURVES = {
    "capped": lambda y: np.clip(y, 0, 1),
    "logistic": lambda y: 0.5 * (1 + np.tanh(y / 2)),
}


def threshold(s, k, tau, curve):
    """t by halving, in float64."""
    low, high = s.min() - 40 * tau, s.max() + 40 * tau
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if curve((s - middle) / tau).sum() > k else (low, middle)
    return low


@pytest.mark.parametrize("tau", [0.3, 1.0, 3.0, 30.0])
@pytest.mark.parametrize("name", CURVES)
def test_shares_are_those_of_the_equation(name, tau):
    for k in (1, 3, 4):
        t = threshold(S, k, tau, CURVES[name])
        np.testing.assert_allclose(of[name](S, k, tau), CURVES[name]((S - t) / tau), atol=1e-6)


def test_rows_of_a_soft_permutation_are_added_from_the_last():
    weights = np.exp(-np.abs(np.sort(S)[:, None] - S[None]) / 0.8)
    p = weights / weights.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(of["sorted"](S, 3, 0.8), p[2:].sum(axis=0), atol=1e-6)


@each
def test_the_sum_is_k(name):
    for tau in (0.01, 0.5, 7.0):
        np.testing.assert_allclose(of[name](S, 3, tau).sum(), 3, atol=1e-6)


@each
def test_derivatives_are_those_of_finite_differences(name, double):
    check_grads(lambda s, tau: of[name](s, 3, tau), (jnp.asarray(S), 2.1), order=1)


def test_the_threshold_follows_the_scores_as_their_weights_say(double):
    """t = s_0 - tau logit(p_0), and dt / ds_i = w_i / sum w, against differences of halving."""
    tau = 0.9
    p = np.asarray(of["logistic"](S, 3, tau))
    w = p * (1 - p)
    dp = np.asarray(slope["logistic"](S, 3, tau))[0]
    dt = np.eye(5)[0] - tau * dp / w[0]
    np.testing.assert_allclose(dt, w / w.sum(), atol=1e-10)
    t = lambda s: threshold(s, 3, tau, CURVES["logistic"])
    differences = [(t(S + e) - t(S - e)) / 2e-5 for e in 1e-5 * np.eye(5)]
    np.testing.assert_allclose(dt, differences, atol=1e-8)


def test_the_logistic_one_is_transport_with_entropy_to_the_values_one_and_zero(double):
    """At cost |s - y|^2 with twice the softness, as the source has it."""
    cost = (S[:, None] - np.array([1.0, 0.0])[None]) ** 2
    for k in (1, 3):
        plan = sinkhorn(-cost, 2 * 0.8, 500, columns=jnp.array([k, 5.0 - k]))
        np.testing.assert_allclose(of["logistic"](S, k, 0.8), plan[:, 0], atol=1e-9)


def test_the_capped_one_is_a_nearest_point():
    pairs = jax.jit(lambda s, tau: sparse_map(s, tau, subsets(3)))
    for tau in (1.5, 4.0, 40.0):
        np.testing.assert_allclose(of["capped"](S, 3, tau), pairs(S, tau), atol=1e-5)
        np.testing.assert_allclose(of["capped"](S, 1, tau), sparsemax(S, tau), atol=1e-6)


def test_of_two_items_the_logistic_one_keeps_its_digits_at_any_gap():
    """p = sigma(gap / 2 tau); far below rounding of p itself the derivative is right."""
    for gap in (1.0, 30.0, 80.0):
        found = slope["logistic"](np.array([gap, 0.0]), 1, 1.0)[0, 0]
        y = gap / 2
        np.testing.assert_allclose(found, 0.5 * np.exp(-y) / (1 + np.exp(-y)) ** 2, rtol=1e-4)


def test_the_capped_one_is_hard_from_the_gap_down_and_a_soft_order_chooses_more_than_once():
    np.testing.assert_array_equal(of["capped"](S, 3, 1.39), hard(S, 3))
    np.testing.assert_array_equal(slope["capped"](S, 3, 1.39), np.zeros((5, 5)))
    assert of["capped"](S, 3, 1.41)[1] > 0
    assert of["sorted"](S, 3, 0.5).max() > 1.03
    assert of["logistic"](S, 3, 0.5).max() < 1


@each
@settings(max_examples=20, deadline=None)
@given(hnp.arrays(np.float32, 5, elements=st.floats(-100, 100, width=32)), st.sampled_from([0, 5]))
def test_shares_are_in_any_order_and_unit_the_same(name, s, tens):
    tau = np.float32(10.0 ** (tens - 3))
    p = np.asarray(of[name](s, 3, tau))
    assert (p >= 0).all()
    assert name == "sorted" or p.max() <= 1
    np.testing.assert_allclose(p.sum(), 3, rtol=1e-6)
    np.testing.assert_allclose(of[name](s[::-1], 3, tau), p[::-1], atol=1e-5)
    np.testing.assert_allclose(of[name](8 * s, 3, 8 * tau), p, atol=1e-5)
    assert np.sort(p[np.argsort(-s)[:3]]).min() >= np.sort(p)[2] - 1e-5 or name == "sorted"


@each
def test_none_and_all_of_the_items(name):
    for shape in ((5,), (0,), (2, 1)):
        np.testing.assert_array_equal(of[name](np.zeros(shape), 0, 1.0), np.zeros(shape))
        every = of[name](np.zeros(shape), shape[-1], 1.0)
        np.testing.assert_allclose(every, np.ones(shape), rtol=1e-6)
    np.testing.assert_allclose(slope["capped"](S, 5, 1.0), np.zeros((5, 5)))


@each
@pytest.mark.parametrize(
    "s",
    [[1e38, -1e38, 0, 1, 2], [3e38, -3e38, 3e38, 0, 0], [1e-38, 0, -1e-38, 0, 1e-45], [7.0] * 5],
)
def test_ties_share_and_extremes_give_numbers(name, s):
    s = np.array(s, np.float32)
    p = np.asarray(of[name](s, 3, 1.0))
    np.testing.assert_allclose(p.sum(), 3, rtol=1e-6)
    assert np.isfinite(slope[name](s, 3, 1.0)).all()
    ties = [p[i] - p[j] for i in range(5) for j in range(5) if s[i] == s[j]]
    np.testing.assert_allclose(ties, 0, atol=1e-6)


@each
def test_a_batch_is_chosen_row_by_row(name):
    found = of[name](np.stack([S, -S]), 3, 0.9)
    np.testing.assert_allclose(found, [of[name](S, 3, 0.9), of[name](-S, 3, 0.9)], atol=1e-6)


@each
def test_what_cannot_be_is_refused(name):
    for k in (-1, 6, 2.5):
        with pytest.raises(ValueError, match=r"k = .* is refused; accepted: a whole number from 0"):
            ALL[name](S, k, 1.0)
    with pytest.raises(ValueError, match=r"tau = .* is refused; accepted: a number above 0"):
        ALL[name](S, 3, -1.0)


def test_the_claim_holds_on_the_demonstration_and_for_another_k():
    claim(demo()).check()
    claim(run(sweep(TopK(k=1), jnp.logspace(-1, 1, 21), "tau"))).check()
    assert "3 of 5 chosen: capped is hard to tau 1.3" in say(demo())


def told(**columns):
    return Record(demo().steps, {**demo().columns, **columns})


@pytest.mark.parametrize("factor", [1.1, 0.9])
def test_the_claim_refuses_another_softness(factor):
    assert not claim(told(tau=demo()["tau"] * factor)).holds


@each
def test_the_claim_refuses_one_form_in_the_place_of_another(name):
    for other in set(ALL) - {name}:
        assert not claim(told(**{name: demo()[other]})).holds


def test_the_claim_refuses_a_threshold_that_does_not_move():
    """The sum is k at no tau but one: t stands between the third and the fourth score."""
    p = CURVES["logistic"]((S - 1.7)[None] / demo()["tau"][:, None])
    assert not claim(told(logistic=p)).holds
