"""Gradients past a solver against NumPy, a perturbed argmax, and a normal distribution."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy.stats import norm

from labkit.relaxations.perturbed_argmax import perturbed_argmax
from labkit.relaxations.solver_gradients import black_box, perturbed


ANSWERS = np.array([[1, 1, 0, 0], [0, 1, 1, 0], [1, 0, 0, 1], [0, 0, 1, 1]], np.float32)
C = jnp.array([0.3, -0.2, 0.5, 0.4])


def solve(c):
    return jnp.asarray(ANSWERS)[(jnp.asarray(ANSWERS) @ c).argmin()]


def f(x):
    return (x @ jnp.array([1.0, 2.0, 0.5, -1.0])) ** 2 + x[0] * x[3]


def f_numpy(x):
    return (x[0] + 2 * x[1] + x[2] / 2 - x[3]) ** 2 + x[0] * x[3]


def test_the_perturbed_gradient_reads_as_its_formula_and_is_that_of_the_perturbed_payoff():
    payoff = lambda c: f(solve(c))
    mean = lambda c: perturbed_argmax(jr.key(0), c, 0.7, payoff, 50)
    z = jr.normal(jr.key(0), (50, 4))
    both = jax.jit(lambda c, z: (perturbed(z, c, 0.7, f, solve), jax.grad(mean)(c)))
    (slope, values), other = both(C, z)
    z = np.asarray(z, float)
    questions = np.asarray(C, float) + 0.7 * z
    wanted = [np.asarray(f_numpy(ANSWERS[(ANSWERS @ q).argmin()])) for q in questions]
    np.testing.assert_allclose(values, wanted, rtol=1e-6)
    less = np.array(wanted) - np.mean(wanted)
    by_hand = sum(w * row for w, row in zip(less, z, strict=True)) / 49 / 0.7
    np.testing.assert_allclose(slope, by_hand, atol=1e-5)  # rounding of float32 in 50 terms
    np.testing.assert_allclose(other, by_hand, atol=1e-5)


def test_in_the_mean_it_is_the_derivative_of_a_normal_distribution():
    """Of two answers with f = 3 and 1 the second has chance Phi((c_1 - c_2) / (tau sqrt 2))."""
    worth, c, tau = jnp.array([3.0, 1.0]), jnp.array([0.2, -0.1]), 0.5
    payoff, pick = lambda x: x @ worth, lambda c: jnp.eye(2)[c.argmin()]
    z = np.random.default_rng(0).normal(0, 1, (20_000, 5, 2)).astype(np.float32)
    slopes = np.asarray(jax.jit(jax.vmap(lambda z: perturbed(z, c, tau, payoff, pick)[0]))(z))
    width = tau * np.sqrt(2)
    exact = -2 * norm.pdf(0.3 / width) / width * np.array([1, -1])
    errors = slopes.std(axis=0) / np.sqrt(len(slopes))
    # K in place of K - 1 would be off by a fifth: 30 standard errors.
    np.testing.assert_array_less(np.abs(slopes.mean(axis=0) - exact), 4.5 * errors)


def test_the_black_box_gradient_reads_as_its_formula():
    slope, values = jax.jit(lambda c: black_box(c, 0.4, f, solve))(C)
    x = ANSWERS[(ANSWERS @ np.asarray(C)).argmin()]
    total = x @ [1, 2, 0.5, -1]
    ahead = C + 0.4 * (2 * total * np.array([1, 2, 0.5, -1]) + np.array([x[3], 0, 0, x[0]]))
    moved = ANSWERS[(ANSWERS @ ahead).argmin()]
    np.testing.assert_allclose(slope, -(x - moved) / 0.4, atol=1e-6)
    np.testing.assert_allclose(values, [f_numpy(x), f_numpy(moved)], rtol=1e-6)
    assert np.abs(slope).max() > 1


def test_a_linear_f_with_c_for_its_cost_has_no_black_box_gradient_at_all():
    """c + lam c has the answer of c."""
    random = np.random.default_rng(0)
    one = lambda c: black_box(c, 10.0, lambda x: x @ c, solve)[0]
    slopes = jax.jit(jax.vmap(one))(random.normal(0, 1, (10, 4)).astype(np.float32))
    np.testing.assert_array_equal(slopes, 0.0)


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match=r"tau = 0.0 is refused; accepted: a number above 0"):
        perturbed(jnp.ones((5, 4)), C, 0.0, f, solve)
    with pytest.raises(ValueError, match="samples of z = 1 is refused; accepted: 2 or more"):
        perturbed(jnp.ones((1, 4)), C, 1.0, f, solve)
    with pytest.raises(ValueError, match=r"lam = -1.0 is refused; accepted: a number above 0"):
        black_box(C, -1.0, f, solve)
