"""Gumbel-softmax against the odds of softmax, an integral for two choices, and F015."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from labkit import check, replace, run
from labkit.estimates import Payoff, no_moments
from labkit.record import Record
from labkit.relaxations import gumbel_softmax as module
from labkit.relaxations.gumbel_softmax import (
    GumbelSoftmax,
    claim,
    demo,
    gumbel_softmax,
    perturbed,
    say,
)


SCORES = np.array([1.0, 0.0, -0.5, 0.3])
DRAWS = 20_000


def odds(scores):
    weights = np.exp(np.asarray(scores, float))
    return weights / weights.sum()


@pytest.fixture(scope="module")
def draws():
    """Soft draws at three tau, from the same noise."""
    several = jnp.tile(jnp.asarray(SCORES)[None], (DRAWS, 1))
    draw = jax.jit(lambda key, tau: gumbel_softmax(key, several, tau))
    return {tau: np.asarray(draw(jr.key(1), tau)) for tau in (0.01, 1.0, 30.0)}


@pytest.mark.parametrize("tau", [0.01, 1.0, 30.0])
def test_the_largest_entry_has_the_odds_of_softmax_at_any_tau(draws, tau):
    counts = np.bincount(draws[tau].argmax(axis=1), minlength=4)
    expected = DRAWS * odds(SCORES)
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert chi_square < 16.3  # of three degrees of freedom: exceeded once in a thousand


def test_a_softer_draw_has_its_largest_entry_in_the_same_place(draws):
    np.testing.assert_array_equal(draws[0.01].argmax(1), draws[30.0].argmax(1))


def test_a_draw_is_the_softmax_of_scores_and_noise(draws):
    noise = np.asarray(jr.gumbel(jr.key(1), (DRAWS, 4)), float)
    z = (SCORES + noise)[:100] / 1.0
    wanted = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(draws[1.0][:100], wanted, rtol=1e-4)  # float32


def test_draws_are_shares_hard_and_even_in_the_limits(draws):
    for y in draws.values():
        assert (y >= 0).all()
        np.testing.assert_allclose(y.sum(axis=1), 1, rtol=1e-5)
    # Two scores are within 0.1 of each other in less than 10 % of the draws.
    assert (draws[0.01].max(axis=1) > 1 - 1e-4).mean() > 0.9
    assert draws[30.0].max() < 0.6


def test_the_noise_is_finite_wherever_the_uniform_may_fall():
    noise = np.asarray(perturbed(jr.key(0), jnp.zeros((1_000_000,))))
    assert np.isfinite(noise).all()
    # The mean is Euler's constant, the variance pi^2 / 6 = 1.64, the fourth moment 14.6 about.
    assert abs(noise.mean() - np.euler_gamma) < 5 * 1.28e-3
    assert abs(noise.var() - np.pi**2 / 6) < 5 * 3.5e-3


@pytest.mark.parametrize("shape", [(3, 0), (0,), (2, 1), (2, 3, 4)])
def test_any_leading_axes_and_any_number_of_choices_will_do(shape):
    assert gumbel_softmax(jr.key(0), jnp.ones(shape), 0.5).shape == shape


def test_extremes_and_ties_give_numbers():
    """The noise does not help where scores are 1e38 apart, nor where it is far below them."""
    scores = jnp.array(
        [[1e38, -1e38, 0.0], [3e38, 3e38, -3e38], [1e-38, 0.0, 0.0], [1.0, 1.0, 1.0]], jnp.float32
    )
    value = jax.jit(lambda s, tau: gumbel_softmax(jr.key(0), s, tau))
    slope = jax.jit(jax.grad(lambda s, tau: gumbel_softmax(jr.key(0), s, tau)[:, 0].sum()))
    for tau in (1e-30, 1.0, 1e30):
        y = np.asarray(value(scores, tau))
        np.testing.assert_allclose(y.sum(axis=1), 1, rtol=1e-6)
        assert np.isfinite(slope(scores, tau)).all()


@pytest.mark.parametrize("tau", [0.0, -1.0, np.nan])
def test_a_softness_that_is_not_above_zero_is_refused(tau):
    with pytest.raises(ValueError, match=r"tau = .* is refused; accepted: a number above 0"):
        gumbel_softmax(jr.key(0), jnp.asarray(SCORES), tau)


def test_a_payoff_has_its_worth_at_the_corners_whatever_its_bend():
    for bend in (-3.0, 0.0, 2.0):
        np.testing.assert_allclose(Payoff(SCORES, bend)(jnp.eye(4)), SCORES, atol=1e-6)


def test_the_exact_gradient_is_that_of_the_enumeration():
    payoff = Payoff(np.array([1.0, -0.5, 0.3, 0.8]), 2.0)
    mean = lambda s: jax.nn.softmax(s) @ jnp.asarray(payoff.worth)
    wanted = jax.grad(mean)(jnp.asarray(SCORES))
    np.testing.assert_allclose(payoff.gradient(jnp.asarray(SCORES)), wanted, atol=1e-6)


def of_two(gap, worth, bend, tau, nodes=400_001):
    """Bias and variance of the gradient for two choices: an integral over logistic noise."""
    u = (np.arange(nodes) + 0.5) / nodes
    y = 0.5 * (1 + np.tanh((gap + np.log(u / (1 - u))) / (2 * tau)))
    slope = y * (1 - y) / tau * (worth[0] - worth[1] + bend * (2 * y - 1))
    p = 1 / (1 + np.exp(-gap))
    return slope.mean() - p * (1 - p) * (worth[0] - worth[1]), 2 * slope.var()


@pytest.fixture(scope="module")
def two():
    """A record of two choices, 400,000 draws."""
    scores, worth = (0.7, 0.0), (0.8, -0.4)
    method = GumbelSoftmax(Payoff(np.array(worth), -2.0), np.array(scores), draws=4000)
    return run(method, 99, every=99)


def test_bias_and_variance_are_those_of_the_integral(two):
    count = two.last("count")
    for i, tau in enumerate(two.last("tau")):
        bias, variance = of_two(0.7, (0.8, -0.4), -2.0, tau)
        error = np.sqrt(variance / 2 / count)  # of the first entry; the second is its negative
        assert abs(two.last("bias")[i, 0] - bias) < 5 * error + 1e-6
        # Fourth moments grow as tau^-3: the variance is known to sqrt(1 / (0.03 * 400,000)), 0.9 %.
        np.testing.assert_allclose(two.last("variance")[i], variance, rtol=0.05)


def test_the_limits_are_those_of_the_integral(two):
    for bend in (-2.0, 3.0):
        bias, variance = of_two(0.7, (0.8, -0.4), bend, 1e-3)
        payoff = Payoff(np.array([0.8, -0.4]), bend)
        np.testing.assert_allclose(bias / 1e-3, payoff.bias(jnp.array([0.7, 0.0]))[0], rtol=0.01)
        p = odds([0.7, 0.0])
        # The mean squared has no part in the limit.
        limit = p[0] * p[1] * (1.2**2 / 3 + bend**2 / 15)
        np.testing.assert_allclose(variance * 1e-3, limit, rtol=0.01)
        if bend == -2.0:
            np.testing.assert_allclose(two.last("variance_limit"), limit, rtol=1e-4)


def test_a_linear_payoff_has_a_bias_of_second_order():
    small, large = (of_two(0.7, (0.8, -0.4), 0.0, tau)[0] for tau in (0.05, 0.1))
    np.testing.assert_allclose(large / small, 4, rtol=0.1)


def test_moments_are_those_of_numpy():
    errors = np.random.default_rng(0).normal(1.0, 2.0, (60, 5, 3)).astype(np.float32)
    moments = no_moments(5, 3)
    for part in np.split(errors, 3):
        moments = moments.add(jnp.asarray(part))
    np.testing.assert_allclose(moments.mean, errors.mean(axis=0), rtol=1e-4)
    np.testing.assert_allclose(moments.variance, errors.var(axis=0, ddof=1).sum(-1), rtol=1e-4)


def test_scores_and_worth_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match=r"worth = .* is refused; accepted: as many numbers"):
        check(replace(module.example(), {"worth": np.ones(5)}))


def test_the_claim_holds_on_the_demonstration():
    claim(demo()).check()
    assert "752,500 draws" in say(demo())


def changed(**columns):
    return Record(demo().steps, {**demo().columns, **columns})


def test_the_claim_refuses_a_turned_sign():
    assert not claim(changed(bias=-demo()["bias"])).holds


def test_the_claim_refuses_a_gradient_without_one_over_tau():
    """Its variance is tau^2 times as large, and it is off by (1 - tau) times the gradient."""
    tau, odds_ = demo()["tau"], demo()["odds"][-1]
    exact = odds_ * (np.array([1.0, -0.5, 0.3]) - odds_ @ np.array([1.0, -0.5, 0.3]))
    bias = tau[..., None] * (demo()["bias"] + exact) - exact
    assert not claim(changed(bias=bias)).holds
    assert not claim(changed(variance=demo()["variance"] * tau**2)).holds


def test_the_claim_refuses_noise_of_another_scale():
    """With noise twice as large the odds are softmax(scores / 2)."""
    wide = replace(module.example(), {"draws": 2500, "scores": np.array([0.5, 0.0, -0.25])})
    other = run(wide, 300, every=300)
    told = changed(shares=np.repeat(other["shares"][-1:], len(demo()), axis=0))
    assert not claim(told).holds
