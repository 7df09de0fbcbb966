"""Linear models against the normal equations, finite differences and scikit-learn."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from jax.test_util import check_grads
from sklearn.linear_model import LogisticRegression as Reference
from sklearn.linear_model import Ridge

from labkit.data import breast_cancer, synthetic
from labkit.method import check
from labkit.problems import LeastSquares, LogisticRegression


@pytest.fixture(scope="module")
def least_squares():
    x, y, _ = synthetic.linear(0, samples=30, features=4, noise=0.5)
    return LeastSquares(jnp.asarray(x), jnp.asarray(y[:, 0]), ridge=0.1)


@pytest.fixture(scope="module")
def logistic():
    split = breast_cancer(100)
    return LogisticRegression(jnp.asarray(split.x), jnp.asarray(split.y), ridge=0.05)


def test_least_squares_is_the_mean_over_samples(least_squares):
    w = np.array([0.1, -0.2, 0.3, 0.4])
    by_hand = 0.05 * w @ w
    for x, y in zip(np.asarray(least_squares.x), np.asarray(least_squares.y), strict=True):
        by_hand += 0.5 * (x @ w - y) ** 2 / 30
    assert least_squares.loss(jnp.asarray(w, jnp.float32)) == pytest.approx(by_hand, rel=1e-5)


def test_the_gradient_vanishes_at_the_solution_of_the_normal_equations(least_squares):
    np.testing.assert_allclose(jax.grad(least_squares.loss)(least_squares.minimum), 0, atol=1e-6)


def test_the_ridge_solution_is_that_of_scikit_learn(least_squares):
    # scikit-learn's penalty stands beside the sum over samples, ours beside the mean.
    reference = Ridge(alpha=0.1 * 30, fit_intercept=False)
    reference.fit(np.asarray(least_squares.x), np.asarray(least_squares.y))
    np.testing.assert_allclose(least_squares.minimum, reference.coef_, atol=1e-5)


def test_with_more_unknowns_than_samples_the_minimum_is_the_smallest_interpolant():
    x, y, _ = synthetic.sparse(0, samples=10, features=20, nonzero=2)
    found = LeastSquares(jnp.asarray(x), jnp.asarray(y[:, 0])).minimum
    # The normal equations square the condition number, about 10, of x.
    np.testing.assert_allclose(found, np.linalg.pinv(x) @ y[:, 0], atol=1e-4)


def test_the_gradient_of_the_logistic_loss_vanishes_at_the_optimum_of_scikit_learn(logistic):
    x, y = np.asarray(logistic.x, float), np.asarray(logistic.y)
    reference = Reference(C=1.0 / (len(x) * 0.05), fit_intercept=False, tol=1e-10)
    w = jnp.asarray(reference.fit(x, y).coef_[0], jnp.float32)
    np.testing.assert_allclose(jax.grad(logistic.loss)(w), 0.0, atol=1e-5)
    np.testing.assert_allclose(
        logistic.predict(w, logistic.x), reference.predict_proba(x)[:, 1], atol=1e-5
    )
    assert logistic.accuracy(w) == pytest.approx(reference.score(x, y))


def test_both_hessians_are_the_second_derivatives(least_squares, logistic):
    w = 0.1 * jnp.ones(4)
    np.testing.assert_allclose(
        jax.jit(jax.hessian(least_squares.loss))(w), least_squares.hessian, atol=1e-5
    )
    w = 0.1 * jr.normal(jr.key(0), (30,))
    np.testing.assert_allclose(
        jax.jit(jax.hessian(logistic.loss))(w), logistic.hessian(w), atol=1e-5
    )


def test_gradients_agree_with_finite_differences(least_squares, logistic):
    for problem in (least_squares, logistic):
        w = 0.1 * jr.normal(jr.key(1), problem.start(jr.key(0)).shape)
        check_grads(jax.jit(problem.loss), (w,), order=1, modes=["rev"], atol=0.01, rtol=0.01)


def test_a_logistic_loss_stays_finite_far_on_the_wrong_side():
    problem = LogisticRegression(jnp.ones((1, 1)), jnp.array([1]), ridge=0.0)
    assert problem.loss(jnp.array([-1e4])) == pytest.approx(1e4)


def test_a_batch_stands_for_the_samples_and_their_mean_is_the_loss(least_squares, logistic):
    for problem in (least_squares, logistic):
        w = problem.start(jr.key(0)) + 0.1
        half = jax.tree.map(lambda a: a[:10], problem.data)
        assert problem.loss(w, half) == pytest.approx(
            float(problem.example_losses(w)[:10].mean()), rel=1e-5
        )


def test_shapes_that_do_not_fit_and_labels_that_are_none_are_refused():
    with pytest.raises(ValueError, match="shapes of x and y"):
        check(LeastSquares(jnp.ones((3, 2)), jnp.ones((3, 1))))
    with pytest.raises(ValueError, match="labels 0 and 1"):
        check(LogisticRegression(jnp.ones((3, 2)), jnp.array([0, 1, 2])))
