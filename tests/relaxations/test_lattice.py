"""The lattice against enumeration, walking, SciPy, and a grid of mean-variance costs."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from labkit import check
from labkit.relaxations.lattice import Lattice, Trip, all_routes, as_field, as_walk


K, LATTICE = 4, Lattice(k=4)
solve = jax.jit(jax.vmap(LATTICE.solve))
draw = jax.jit(lambda key: LATTICE.draw(key, 400))


@pytest.mark.parametrize("k, routes", [(2, 2), (4, 20), (5, 70), (7, 924)])
def test_all_routes_are_there_once_and_lead_from_corner_to_corner(k, routes):
    found = all_routes(k)
    assert found.shape == (routes, 2 * k * (k - 1)) == (math.comb(2 * k - 2, k - 1), found.shape[1])
    assert len(np.unique(found, axis=0)) == routes
    for x in found[:: max(1, routes // 20)]:
        columns, rows = as_walk(x)
        assert (columns[-1], rows[-1]) == (k - 1, k - 1)
        # Each step of the walk is along a road that is taken, and no other road is.
        taken = as_field(x)
        between = taken[rows[1:] + rows[:-1], columns[1:] + columns[:-1]]
        assert (between == 1).all()
        assert np.nansum(taken) == 2 * k - 2


def test_dynamic_programming_finds_what_enumeration_finds():
    c = np.random.default_rng(0).normal(0, 1, (50, 24)).astype(np.float32)  # also below 0
    routes = all_routes(K)
    np.testing.assert_array_equal(solve(c), routes[(c @ routes.T).argmin(axis=1)])


def test_of_routes_that_tie_one_is_taken():
    x = np.asarray(solve(np.ones((50, 24), np.float32)))[0]
    assert (all_routes(K) == x).all(axis=1).any()


def test_the_chance_to_be_late_is_that_of_draws_of_the_times():
    trip = jax.tree.map(lambda a: a[0], draw(jax.random.key(0)))
    mean, variance, deadline = (np.asarray(part, float) for part in trip)
    assert np.isclose(deadline, (all_routes(K) @ mean).min() + 3)
    random = np.random.default_rng(0)
    times = random.normal(mean, np.sqrt(variance), (40_000, 24)) @ all_routes(K)[::7].T
    late = LATTICE.loss(trip, jnp.asarray(all_routes(K)[::7]))
    # 5 standard errors of a share of 40,000.
    np.testing.assert_allclose(late, (times > deadline).mean(axis=0), atol=5 * 0.5 / 200)


def test_half_of_the_roads_are_gambles_and_more_so_the_faster_they_are():
    trips = draw(jax.random.key(1))
    mean, variance = np.asarray(trips.mean), np.asarray(trips.variance)
    risky = variance > 0.05
    np.testing.assert_allclose(variance[risky], (0.05 + 2 * (3 - mean))[risky], rtol=1e-5)
    assert abs(risky.mean() - 0.5) < 5 * 0.5 / np.sqrt(risky.size)
    assert mean.min() >= 1
    assert mean.max() <= 3


def test_some_sum_of_mean_and_variance_has_the_best_route_wherever_being_on_time_is_likely():
    """So that a linear cost with the optimum for its answer exists, and 61 calls find it."""
    random, routes, likely = np.random.default_rng(2), all_routes(5), 0
    for _ in range(40):
        mean, variance = random.uniform(1, 3, 40), random.uniform(0.05, 4, 40)
        m, v = routes @ mean, routes @ variance
        late = norm.cdf((m - m.min() - 3) / np.sqrt(v))
        grid = [late[(m + lam * v).argmin()] for lam in np.linspace(0, 3, 61)]
        likely += late.min() < 0.5
        assert min(grid) == late.min()
    assert likely == 40


def test_a_model_is_told_mean_variance_and_slack():
    trip = Trip(jnp.full(24, 2.5), jnp.full(24, 3.0), jnp.array(9.0))
    np.testing.assert_allclose(LATTICE.features(trip)[0], [0.5, 2.0, 0.0], atol=1e-6)


def test_a_lattice_of_one_crossing_is_refused():
    with pytest.raises(ValueError, match="k = 1 is refused; accepted: a whole number, 2 or more"):
        check(Lattice(k=1))
