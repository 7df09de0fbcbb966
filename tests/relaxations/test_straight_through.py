"""Straight-through against bits, enumerations and F016."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from labkit import check, replace
from labkit.estimates import Payoff
from labkit.record import Record
from labkit.relaxations import straight_through as module
from labkit.relaxations.gumbel_softmax import gumbel_softmax
from labkit.relaxations.straight_through import (
    StraightThrough,
    claim,
    demo,
    say,
    straight_through,
    straight_through_argmax,
    straight_through_draw,
    straight_through_gumbel,
)


SCORES = np.array([1.0, 0.0, -0.5])


def odds(scores):
    weights = np.exp(np.asarray(scores, float))
    return weights / weights.sum()


def test_the_value_is_the_hard_one_to_the_last_bit():
    random = np.random.default_rng(0)
    hard = random.normal(size=2000).astype(np.float32)
    soft = (hard * 10.0 ** random.uniform(-20, 20, 2000)).astype(np.float32)
    np.testing.assert_array_equal(jax.jit(straight_through)(hard, soft), hard)
    # The two other ways to write it lose digits.
    assert (soft + (hard - soft) != hard).any()
    assert ((hard + soft) - soft != hard).any()


def test_the_derivative_is_that_of_the_soft_one():
    soft = lambda x: jnp.sin(3 * x)
    y = lambda x: straight_through(jnp.round(x), soft(x))
    for derivative in (jax.grad, jax.jacfwd, lambda f: jax.grad(jax.grad(f))):
        np.testing.assert_allclose(derivative(y)(0.4), derivative(soft)(0.4), rtol=1e-6)


def test_hard_may_be_whole_numbers_but_not_of_another_shape():
    found = straight_through(jnp.array([0, 1]), jnp.array([0.4, 0.6]))
    assert found.dtype == jnp.array(0.4).dtype
    with pytest.raises(ValueError, match=r"hard = \(2,\) is refused; accepted: the shape of soft"):
        straight_through(jnp.zeros(2), jnp.zeros(3))


def test_an_argmax_is_one_hot_with_the_jacobian_of_softmax():
    tau, p = 0.7, odds(SCORES / 0.7)
    y = lambda s: straight_through_argmax(s, tau)
    np.testing.assert_array_equal(y(jnp.asarray(SCORES)), [1.0, 0.0, 0.0])
    wanted = (np.diag(p) - np.outer(p, p)) / tau
    np.testing.assert_allclose(jax.jacobian(y)(jnp.asarray(SCORES)), wanted, atol=1e-6)


@pytest.mark.parametrize("shape", [(3, 0), (2, 1), (2, 3)])
def test_any_leading_axes_and_any_number_of_choices_will_do(shape):
    scores, key = jnp.ones(shape), jr.key(0)
    assert straight_through_argmax(scores, 1.0).shape == shape
    assert straight_through_draw(key, scores).shape == shape
    assert straight_through_gumbel(key, scores, 1.0).shape == shape


def test_draws_have_the_odds_of_softmax_and_both_kinds_are_the_same():
    several = jnp.tile(jnp.asarray(SCORES)[None], (20_000, 1))
    draw = np.asarray(straight_through_draw(jr.key(3), several, 0.5))
    np.testing.assert_array_equal(draw, straight_through_gumbel(jr.key(3), several, 0.5))
    assert set(np.unique(draw)) == {0.0, 1.0}
    expected = 20_000 * odds(SCORES)
    chi_square = ((draw.sum(axis=0) - expected) ** 2 / expected).sum()
    assert chi_square < 13.8  # of two degrees of freedom: exceeded once in a thousand


def test_gumbel_noise_gives_the_derivatives_of_the_gumbel_softmax():
    key, scores, weights = jr.key(5), jnp.asarray(SCORES), jnp.array([1.0, 2.0, -1.0])
    hard = jax.grad(lambda s: straight_through_gumbel(key, s, 0.3) @ weights)(scores)
    soft = jax.grad(lambda s: gumbel_softmax(key, s, 0.3) @ weights)(scores)
    np.testing.assert_allclose(hard, soft, rtol=1e-6)


@pytest.mark.parametrize("tau", [0.0, -1.0, np.nan])
def test_a_softness_that_is_not_above_zero_is_refused(tau):
    scores = jnp.asarray(SCORES)
    for call in (
        lambda: straight_through_argmax(scores, tau),
        lambda: straight_through_draw(jr.key(0), scores, tau),
        lambda: straight_through_gumbel(jr.key(0), scores, tau),
    ):
        with pytest.raises(ValueError, match=r"tau = .* is refused; accepted: a number above 0"):
            call()


def enumerated(f, gradient, scores):
    """Bias of the straight-through gradient, in NumPy: a sum over the corners."""
    p = odds(scores)
    jacobian = np.diag(p) - np.outer(p, p)
    corners = np.eye(len(p))
    mean = sum(p[i] * jacobian @ gradient(corners[i]) for i in range(len(p)))
    return mean - jacobian @ np.array([f(corner) for corner in corners])


@pytest.mark.parametrize("bend", [0.0, 2.0, -3.0])
def test_the_bias_is_that_of_the_enumeration_and_none_where_f_is_linear(bend):
    worth = np.array([1.0, -0.5, 0.3])
    f = lambda y: y @ worth - bend / 2 * (1 - y @ y)
    found = jax.jit(StraightThrough(draws=2))(jnp.asarray(bend))
    wanted = enumerated(f, lambda y: worth + bend * y, SCORES)
    np.testing.assert_allclose(found["bias"], wanted, atol=1e-6)
    np.testing.assert_allclose(found["expected"], wanted, atol=1e-6)
    assert (np.abs(wanted).max() > 0.05) == (bend != 0)


def test_a_payoff_of_third_order_has_another_bias():
    """bend J p is of the quadratic payoff alone; the enumeration knows the rest."""
    f, slope = lambda y: (y**3).sum(), lambda y: 3 * y**2
    bias = enumerated(f, slope, SCORES)
    one = lambda hard: jax.grad(lambda s: (straight_through(hard, jax.nn.softmax(s)) ** 3).sum())(
        jnp.asarray(SCORES)
    )
    mean = odds(SCORES) @ np.asarray(jax.vmap(one)(jnp.eye(3)))
    np.testing.assert_allclose(mean, bias, atol=1e-6)  # the exact gradient is 0: f is 1 throughout


def test_softer_shares_than_the_odds_give_a_bias_to_a_linear_payoff_too():
    """With softmax(scores / tau) the mean slope is that of another temperature."""
    worth, scores = jnp.array([1.0, -0.5, 0.3]), jnp.asarray(SCORES)
    slope = lambda tau: jax.grad(lambda s: straight_through_draw(jr.key(0), s, tau) @ worth)(scores)
    exact = Payoff(worth, 0.0).gradient(scores)
    np.testing.assert_allclose(slope(1.0), exact, atol=1e-6)
    assert np.linalg.norm(slope(2.0) - exact) > 0.1


def test_the_bias_with_gumbel_noise_falls_with_tau():
    method = StraightThrough(draws=200_000)
    bias, error = {}, {}
    call = jax.jit(lambda tau: replace(method, {"tau": tau})(jnp.asarray(2.0)))
    for tau in (0.1, 2.0):
        seen = call(tau)
        bias[tau] = np.linalg.norm(seen["gumbel_straight_through.bias"])
        error[tau] = seen["gumbel_straight_through.deviation"] / np.sqrt(200_000)
    assert bias[0.1] + 5 * error[0.1] < bias[2.0] - 5 * error[2.0]


def test_scores_and_worth_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match=r"worth = .* is refused; accepted: as many numbers"):
        check(replace(module.example(), {"worth": np.ones(5)}))


def test_the_claim_holds_on_the_demonstration():
    claim(demo()).check()
    assert "straight through" in say(demo())


def changed(bias):
    return Record(demo().steps, {**demo().columns, "bias": bias})


def gradient():
    p, worth = odds(SCORES), np.array([1.0, -0.5, 0.3])
    return p * (worth - p @ worth)


def test_the_claim_refuses_a_turned_sign():
    exact = gradient()[None]
    assert not claim(changed(-(demo()["bias"] + exact) - exact)).holds


def test_the_claim_refuses_the_identity_for_a_jacobian():
    """The slope at each corner passed on as it is: c + bend p in the mean."""
    worth, bend = np.array([1.0, -0.5, 0.3]), demo()["bend"][:, None]
    assert not claim(changed(worth[None] + bend * odds(SCORES)[None] - gradient()[None])).holds


def test_the_claim_refuses_a_slope_taken_at_the_soft_point():
    """c + bend p at every draw: the same mean for a quadratic, but not at another softness."""
    p = odds(SCORES / 2)
    jacobian = (np.diag(p) - np.outer(p, p)) / 2
    slopes = np.array([1.0, -0.5, 0.3])[None] + demo()["bend"][:, None] * p[None]
    assert not claim(changed(slopes @ jacobian - gradient()[None])).holds
