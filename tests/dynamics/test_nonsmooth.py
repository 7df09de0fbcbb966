"""Convex problems with kinks: minima by linear programming, subgradients by sampling."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linprog, minimize

from labkit.dynamics.nonsmooth import max_coordinate, max_residual, sparse_logistic


PROBLEMS = {
    "residual": max_residual(12, 5),
    "coordinate": max_coordinate(6, 2.0),
    "sparse": sparse_logistic(0.02, samples=80),
}
each = pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)


@each
def test_the_gradient_is_a_subgradient_of_bounded_length(problem, key):
    """f(v) >= f(w) + g . (v - w), at kinks too: w = 0 and the solution are such."""
    random = np.random.default_rng(0)
    n = len(problem.solution)
    points = [np.zeros(n), *random.normal(size=(20, n)), np.asarray(problem.solution)]
    points = jnp.array(np.array(points))
    values = np.asarray(jax.vmap(problem.loss)(points), float)
    slopes = np.asarray(jax.vmap(jax.grad(problem.loss))(points), float)
    moves = np.asarray(points)[None] - np.asarray(points)[:, None]
    below = values[:, None] + np.einsum("in,ijn->ij", slopes, moves)
    assert (values[None] >= below - 1e-5).all()  # float32, of values to 10
    assert np.linalg.norm(slopes, axis=1).max() <= float(problem.lipschitz) * (1 + 1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_the_least_largest_residual_is_that_of_linear_programming(seed):
    problem = max_residual(15, 6, height=0.3, seed=seed)
    a, b = np.asarray(problem.a, float), np.asarray(problem.b, float)
    ones = np.ones((15, 1))  # min s with -s <= a w - b <= s
    rows, right = np.block([[a, -ones], [-a, -ones]]), np.concatenate([b, -b])
    found = linprog(np.r_[np.zeros(6), 1.0], rows, right, bounds=[(None, None)] * 7)
    np.testing.assert_allclose(found.fun, 0.3, atol=1e-5)  # data of float32
    np.testing.assert_allclose(problem.loss(problem.solution), 0.3, atol=1e-6)


def test_the_first_of_tied_coordinates_is_the_one_that_falls(key):
    problem = max_coordinate(5)
    slope = jax.grad(problem.loss)
    np.testing.assert_array_equal(slope(problem.start(key)), [1, 0, 0, 0, 0])
    np.testing.assert_array_equal(slope(jnp.array([-1.0, 2, 2, 0, 2])), [0, 1, 0, 0, 0])


def test_the_sparse_solution_is_that_of_a_smooth_problem_in_twice_as_many_numbers():
    """w = p - q with p, q >= 0, and |w|_1 = sum p + q: solved by L-BFGS-B."""
    problem = PROBLEMS["sparse"]
    x, signs = np.asarray(problem.x, float), 2.0 * np.asarray(problem.y) - 1

    def loss(pq):
        p, q = np.split(pq, 2)
        return np.mean(np.logaddexp(0, -signs * (x @ (p - q)))) + 0.02 * pq.sum()

    found = minimize(loss, np.zeros(60), method="L-BFGS-B", bounds=[(0, None)] * 60)
    seen = float(problem.loss(problem.solution))
    # no lower than the other solver, whose own stopping leaves 1e-5
    np.testing.assert_allclose(seen, found.fun, atol=3e-5)
    assert (np.asarray(problem.solution) == 0).sum() > 10


def test_too_few_rows_are_refused():
    with pytest.raises(ValueError, match="rows = 5 is refused; accepted: more than n = 5"):
        max_residual(5, 5)
