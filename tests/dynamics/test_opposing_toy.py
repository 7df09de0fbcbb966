"""The toy of opposing signals, against its population written out example by example."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from labkit import check
from labkit.dynamics.opposing_toy import Examples, OpposingToy


TOY = OpposingToy(rho=0.2, M=3.0)
# Shares 0.2, 0.2, 0.3, 0.3 as ten examples: (s, o)
POPULATION = [(1, 1)] * 2 + [(-1, 1)] * 2 + [(1, 0)] * 3 + [(-1, 0)] * 3
PLACES = np.random.default_rng(0).normal(size=(20, 3))


def squares(w, M=3.0):
    """(f - s)^2 / 2 of each example of the population."""
    a, b_s, b_o = np.asarray(w, float)
    return np.array([(a * (b_s * s + b_o * M * o) - s) ** 2 / 2 for s, o in POPULATION])


@pytest.mark.parametrize("w", PLACES[:5])
def test_loss_and_group_losses_are_the_means_over_the_examples(w):
    # float32: a few units in the last place of sums of ten
    np.testing.assert_allclose(TOY.loss(jnp.array(w)), squares(w).mean(), rtol=1e-5)
    groups = [squares(w)[0], squares(w)[2]]
    np.testing.assert_allclose(TOY.group_losses(jnp.array(w)), groups, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("w", PLACES[:3])
def test_the_loss_on_a_batch_of_the_whole_population_is_the_loss(w):
    batch = Examples(*jnp.array(POPULATION, float).T)
    np.testing.assert_allclose(TOY.loss(jnp.array(w), batch), TOY.loss(jnp.array(w)), rtol=1e-5)


def test_the_valley_is_the_second_derivative_along_the_feature():
    places = jnp.array(PLACES)
    hessian = jax.jit(jax.vmap(jax.hessian(TOY.loss)))(places)
    np.testing.assert_allclose(jax.vmap(TOY.valley)(places), hessian[:, 2, 2], rtol=1e-5)


def test_with_the_feature_balanced_the_valley_is_an_eigenvalue():
    hessian = jax.jit(jax.hessian(TOY.loss))(jnp.array([0.7, 0.3, 0.0]))
    values = np.linalg.eigvalsh(np.asarray(hessian, float))
    valley = 2 * 0.2 * 0.7**2 * 3.0**2
    assert np.abs(values - valley).min() < 1e-5  # float32 Hessian with entries near 1


def test_one_group_less_the_other_is_twice_p_times_what_the_feature_adds():
    for w in PLACES:
        first, second = TOY.group_losses(jnp.array(w))
        a, b_s, b_o = w
        # float32 difference of squares of up to 50
        np.testing.assert_allclose(first - second, 2 * (a * b_s - 1) * a * b_o * 3.0, atol=1e-4)


def test_along_the_feature_the_gradients_oppose_until_it_outweighs_the_error():
    """Opposite signs exactly while |a b_o M| < |p|."""
    slopes = jax.jit(jax.vmap(jax.jacrev(TOY.group_losses)))(jnp.array(PLACES))[:, :, 2]
    a, b_s, b_o = PLACES.T
    smaller = np.abs(a * b_o * 3.0) < np.abs(a * b_s - 1)
    assert 3 < smaller.sum() < 17  # both cases are there
    np.testing.assert_array_equal(np.prod(slopes, axis=1) < 0, smaller)


def test_examples_are_drawn_with_their_shares(key):
    s, o = TOY.draw(key, 20_000)
    # four deviations of a share of 0.2 to 0.5 among 20,000: 0.015
    assert np.mean(s) == pytest.approx(0.0, abs=0.03)
    assert np.mean((s > 0) & (o > 0)) == pytest.approx(0.2, abs=0.015)
    assert np.mean((s < 0) & (o > 0)) == pytest.approx(0.2, abs=0.015)


def test_the_gradient_on_draws_is_that_of_the_population_on_average(key):
    w = jnp.array([0.7, 0.3, 0.2])
    drawn = jax.grad(TOY.loss)(w, TOY.draw(key, 40_000))
    # gradients of one example deviate by about 1: four deviations of the mean are 0.02
    np.testing.assert_allclose(drawn, jax.grad(TOY.loss)(w), atol=0.03)


def test_without_outliers_only_the_signal_is_left(key):
    for toy in (OpposingToy(outliers="removed"), OpposingToy(rho=0.0)):
        w = jnp.array([0.7, 0.3, 0.2])
        np.testing.assert_allclose(toy.loss(w), (0.21 - 1) ** 2 / 2, rtol=1e-6)
        assert toy.valley(w) == 0.0
        assert not toy.draw(key, 50).o.any()
        # they are looked at all the same
        np.testing.assert_allclose(toy.group_losses(w), OpposingToy().group_losses(w))


@pytest.mark.parametrize(
    "toy, sentence",
    [
        (OpposingToy(w0=jnp.ones(2)), r"three numbers, \(a, b_s, b_o\)"),
        (OpposingToy(rho=0.6), "rho = 0.6 is refused; .*at most 0.5"),
        (OpposingToy(outliers="some"), "one of kept, removed"),
    ],
)
def test_what_is_no_toy_is_refused(toy, sentence):
    with pytest.raises(ValueError, match=sentence):
        check(toy)
