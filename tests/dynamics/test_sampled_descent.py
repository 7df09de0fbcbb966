"""Descent on batches against the full gradient and a loop."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from labkit import Sgd, run, unroll
from labkit.dynamics.nonsmooth import max_residual
from labkit.dynamics.sampled_descent import SampledDescent, final_losses
from labkit.dynamics.schedules import Given, Paced
from labkit.problems import LeastSquares


RANDOM = np.random.default_rng(0)
X, Y = RANDOM.normal(size=(7, 3)), RANDOM.normal(size=7)
PROBLEM = LeastSquares(jnp.array(X), jnp.array(Y))


def test_the_gradient_of_a_batch_is_that_of_all_on_average():
    method = SampledDescent(PROBLEM, Sgd(1e-9), samples=2)
    record = run(method, 6000, probes={"grad": lambda s: s.grad})
    grads = np.asarray(record["grad"], float)[1:]
    full = X.T @ (X @ np.zeros(3) - Y) / 7
    error = grads.std(axis=0) / np.sqrt(6000)
    assert (np.abs(grads.mean(axis=0) - full) < 4 * error).all()  # one in 16,000 a coordinate
    np.testing.assert_allclose(record["norm"][1:], np.linalg.norm(grads, axis=1), rtol=1e-5)
    np.testing.assert_allclose(record["norm1"][1:], np.abs(grads).sum(axis=1), rtol=1e-5)
    assert record["norm"][0] == 0.0  # none has been seen


def test_steps_are_those_of_a_loop_over_the_same_rows():
    method = SampledDescent(PROBLEM, Sgd(0.3), samples=2)
    state, _ = unroll(method, 5, 3)
    _, run_key = jr.split(jr.key(3))
    w = np.zeros(3)
    for t in range(5):
        rows = np.asarray(jr.randint(jr.fold_in(run_key, t), (2,), 0, 7))
        w -= 0.3 * X[rows].T @ (X[rows] @ w - Y[rows]) / 2
    np.testing.assert_allclose(state.w, w, rtol=1e-4)  # float32


def test_final_losses_are_those_of_single_runs():
    shapes = {"constant": np.ones(12), "falling": np.linspace(1, 0, 12)}
    table = final_losses(PROBLEM, shapes, [0.1, 0.3], seeds=2, samples=3)
    assert table.shape == (2, 2, 2)
    rule = Paced(Given(jnp.array(shapes["falling"])), 0.3)
    one = run(SampledDescent(PROBLEM, rule, samples=3), 12, key=1)
    np.testing.assert_allclose(table[1, 1, 1], one.last("loss"), rtol=1e-5)


def test_a_run_that_diverges_ends_at_infinity():
    steps = 200
    table = final_losses(PROBLEM, {"constant": np.ones(steps)}, [0.1, 100.0], seeds=1)
    assert np.isfinite(table[0, 0, 0])
    assert np.isinf(table[0, 1, 0])


def test_a_problem_without_data_is_refused():
    with pytest.raises(ValueError, match="problem = 'MaxResidual' is refused; accepted: a problem"):
        run(SampledDescent(max_residual(), Sgd(0.1)), 1)  # pyright: ignore
    assert jax.tree.leaves(PROBLEM.data)
