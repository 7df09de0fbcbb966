"""The score function estimator against enumerations of all draws, and F017."""

import itertools

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from labkit import check, replace
from labkit.record import Record
from labkit.relaxations import score_function as module
from labkit.relaxations.score_function import (
    claim,
    demo,
    exact_gradient,
    exact_variance,
    from_draws,
    say,
    score_function,
)


SCORES, WORTH = np.array([1.0, 0.0, -0.5]), np.array([1.0, -0.5, 0.3])
BASELINES = ("leave-one-out", "none")
both = pytest.mark.parametrize("baseline", BASELINES)


def odds(scores):
    weights = np.exp(np.asarray(scores, float))
    return weights / weights.sum()


def naive(drawn, values, baseline):
    """Draw by draw, as the formula reads."""
    p, terms = odds(SCORES), []
    for k, i in enumerate(drawn):
        others = [values[j] for j in range(len(drawn)) if j != k]
        b = np.mean(others) if baseline == "leave-one-out" else 0.0
        terms.append((values[k] - b) * (np.eye(3)[i] - p))
    return np.mean(terms, axis=0)


@both
def test_an_estimate_is_that_of_the_formula(baseline):
    drawn = np.array([0, 2, 1, 0, 0])
    found = from_draws(jnp.asarray(SCORES), jnp.asarray(drawn), jnp.asarray(WORTH)[drawn], baseline)
    np.testing.assert_allclose(found, naive(drawn, WORTH[drawn], baseline), atol=1e-6)


def test_leave_one_out_it_is_the_sample_covariance():
    drawn = np.array([0, 2, 1, 0, 0, 1])
    found = from_draws(jnp.asarray(SCORES), jnp.asarray(drawn), jnp.asarray(WORTH)[drawn])
    wanted = np.cov(WORTH[drawn], np.eye(3)[drawn].T)[0, 1:]
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def everything(samples, estimate, offset=0.0):
    """Mean and variance of an estimate over all draws of so many samples, by their odds."""
    tuples = np.array(list(itertools.product(range(3), repeat=samples)))
    weight = np.prod(odds(SCORES)[tuples], axis=1)
    found = np.array([estimate(drawn, WORTH[drawn] + offset) for drawn in tuples])
    mean = weight @ found
    return mean, weight @ ((found - mean) ** 2).sum(axis=1)


@both
@pytest.mark.parametrize("samples, offset", [(2, 0.0), (3, 0.0), (3, 2.0)])
def test_mean_and_variance_over_all_draws_are_the_exact_ones(baseline, samples, offset):
    mean, variance = everything(samples, lambda d, v: naive(d, v, baseline), offset)
    p, values = jnp.asarray(odds(SCORES)), jnp.asarray(WORTH + offset)
    np.testing.assert_allclose(mean, exact_gradient(p, values), atol=1e-6)
    np.testing.assert_allclose(variance, exact_variance(p, values, samples, baseline), rtol=1e-5)


def test_the_exact_gradient_is_that_of_the_mean():
    wanted = jax.grad(lambda s: jax.nn.softmax(s) @ WORTH)(jnp.asarray(SCORES))
    found = exact_gradient(jnp.asarray(odds(SCORES)), jnp.asarray(WORTH))
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_a_mean_over_all_draws_is_a_baseline_that_shortens_the_gradient():
    """It holds the draw itself: a factor 1 - 1 / K."""
    own = lambda d, v: np.mean((v - v.mean())[:, None] * (np.eye(3)[d] - odds(SCORES)), axis=0)
    exact = exact_gradient(jnp.asarray(odds(SCORES)), jnp.asarray(WORTH))
    np.testing.assert_allclose(everything(3, own)[0], (1 - 1 / 3) * exact, atol=1e-6)


def test_a_constant_matters_to_the_plain_estimate_alone():
    drawn = jnp.array([0, 2, 1, 0, 0])
    values = jnp.asarray(WORTH)[drawn]
    one, other = (from_draws(jnp.asarray(SCORES), drawn, values + c) for c in (0.0, 7.0))
    np.testing.assert_allclose(one, other, atol=1e-5)
    p = jnp.asarray(odds(SCORES))
    with_, without = (
        [float(exact_variance(p, WORTH + c, 4, b)) for c in (-4.0, -0.2, 4.0)] for b in BASELINES
    )
    np.testing.assert_allclose(with_, with_[0], rtol=1e-4)
    # Not always the lower one: where f is about 0 in the mean, its own noise is too much.
    assert without[1] < with_[1] < min(without[0], without[2])


@both
def test_the_draws_of_any_black_box_average_to_the_gradient(baseline):
    """f looks its values up in NumPy, on the host: nothing of it could be differentiated."""
    table, several = WORTH.astype(np.float32), jnp.tile(jnp.asarray(SCORES)[None], (5000, 1))

    def f(drawn):
        like = jax.ShapeDtypeStruct(drawn.shape, np.float32)
        return jax.pure_callback(lambda i: table[np.asarray(i)], like, drawn)

    estimate = jax.jit(lambda key, s: score_function(key, s, f, 4, baseline))
    found = np.asarray(estimate(jr.key(0), several))
    p = jnp.asarray(odds(SCORES))
    exact, variance = exact_gradient(p, WORTH), exact_variance(p, WORTH, 4, baseline)
    off = np.linalg.norm(found.mean(axis=0) - exact)
    assert off < 4 * np.sqrt(variance / 5000)  # of three entries: at four deviations one in 10^4
    # The fourth moment is that of sums of four draws: the variance is known to about 3 %.
    np.testing.assert_allclose(found.var(axis=0, ddof=1).sum(), variance, rtol=0.15)


@pytest.mark.parametrize("shape", [(1,), (2, 3), (2, 1, 4)])
def test_any_leading_axes_will_do(shape):
    found = score_function(jr.key(0), jnp.zeros(shape), lambda i: 1.0 * i, 3)
    assert found.shape == shape
    np.testing.assert_allclose(np.asarray(found).sum(-1), 0, atol=1e-6)  # softmax knows no shift


def test_too_few_samples_and_unknown_baselines_are_refused():
    call = lambda *a: score_function(jr.key(0), jnp.zeros(3), lambda i: 1.0 * i, *a)
    with pytest.raises(ValueError, match="samples = 1 is refused; accepted: 2 or more"):
        call(1)
    with pytest.raises(ValueError, match="samples = 0 is refused; accepted: 1 or more"):
        call(0, "none")
    with pytest.raises(ValueError, match="baseline = 'mean' is refused; accepted: 'leave-one"):
        call(3, "mean")
    with pytest.raises(ValueError, match=r"worth = .* is refused; accepted: as many numbers"):
        check(replace(module.example(), {"worth": np.ones(5)}))


def test_the_claim_holds_on_the_demonstration():
    claim(demo()).check()
    assert "without a baseline" in say(demo())


def changed(**columns):
    names = {name.replace("__", "."): values for name, values in columns.items()}
    return Record(demo().steps, {**demo().columns, **names})


def test_the_claim_refuses_a_baseline_that_holds_its_own_draw():
    shorter = changed(leave_one_out__mean=0.75 * demo()["leave_one_out.mean"])
    assert not claim(shorter).holds


def test_the_claim_refuses_a_turned_sign():
    assert not claim(changed(plain__mean=-demo()["plain.mean"])).holds


def test_the_claim_refuses_the_variance_of_other_draws_than_told():
    """Three draws an estimate where the record says four."""
    assert not claim(changed(plain__variance=demo()["plain.variance"] * 4 / 3)).holds


def test_the_claim_refuses_a_baseline_that_notices_the_constant():
    assert not claim(changed(leave_one_out__variance=demo()["plain.variance"])).holds
