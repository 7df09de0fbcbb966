"""Expected costs against all 2^n sets one by one, and against convolution."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from labkit.relaxations.expectations import (
    expected_edges,
    expected_minimum,
    expected_miss,
    size_shares,
    uncovered,
)


pytestmark = pytest.mark.usefixtures("double")

N, K = 7, 3  # n + 1 is even, so that a p of 1/2 makes a factor of the transform 0
RNG = np.random.default_rng(0)
D = RNG.uniform(size=(4, N))
D[:, 2] = D[:, 5]  # a tie in each row
COVERS = (RNG.uniform(size=(5, N)) < 0.4).astype(float)
ADJACENCY = np.triu(RNG.uniform(size=(N, N)) < 0.4, 1).astype(float)
ADJACENCY += ADJACENCY.T
PLACES = {
    "inner": RNG.uniform(size=N),
    "halves": np.full(N, 0.5),
    "some decided": np.array([0.0, 1.0, 0.3, 0.5, 1.0, 0.0, 0.8]),
    "nothing": np.zeros(N),
}
each_place = pytest.mark.parametrize("p", PLACES.values(), ids=PLACES)


@jax.jit
def expected(p):
    """Everything at once: one compilation."""
    return {
        "sizes": size_shares(p),
        "miss": expected_miss(p, K),
        "minimum": expected_minimum(jnp.asarray(D), p),
        "uncovered": uncovered(jnp.asarray(COVERS), p),
        "edges": expected_edges(jnp.asarray(ADJACENCY), p),
    }


jacobian = jax.jit(jax.jacrev(expected))


def of_a_set(x):
    """The same of one set, in loops."""
    chosen = np.flatnonzero(x)
    inside = [ADJACENCY[i, j] for i, j in itertools.combinations(chosen, 2)]
    return {
        "sizes": np.eye(N + 1)[len(chosen)],
        "miss": abs(len(chosen) - K),
        "minimum": [min(row[chosen]) if len(chosen) else max(row) for row in D],
        "uncovered": [float(not any(row[chosen])) for row in COVERS],
        "edges": sum(inside),
    }


def enumerated(p):
    """The mean over all sets, each with its probability."""
    total = {}
    for x in itertools.product((0, 1), repeat=N):
        chance = np.prod(np.where(x, p, 1 - p))
        for name, value in of_a_set(np.array(x)).items():
            total[name] = total.get(name, 0) + chance * np.asarray(value, float)
    return total


@each_place
def test_each_is_the_mean_over_all_sets(p):
    seen, wanted = expected(jnp.asarray(p)), enumerated(p)
    for name, value in wanted.items():
        np.testing.assert_allclose(seen[name], value, atol=1e-12, err_msg=name)  # float64


@each_place
def test_each_is_linear_in_each_probability_and_its_slope_is_the_difference_of_both_ends(p):
    slope, here = jacobian(jnp.asarray(p)), expected(jnp.asarray(p))
    for i in range(N):
        out, in_ = (expected(jnp.asarray(np.where(np.arange(N) == i, v, p))) for v in (0.0, 1.0))
        for name in here:
            mean = (1 - p[i]) * out[name] + p[i] * in_[name]
            np.testing.assert_allclose(here[name], mean, atol=1e-12, err_msg=name)
            difference = in_[name] - out[name]
            np.testing.assert_allclose(slope[name][..., i], difference, atol=1e-12, err_msg=name)


def test_the_law_of_the_size_is_a_convolution():
    p, law = np.random.default_rng(1).uniform(size=30), np.ones(1)
    for p_i in p:
        law = np.convolve(law, [1 - p_i, p_i])
    np.testing.assert_allclose(jax.jit(size_shares)(jnp.asarray(p)), law, atol=1e-12)  # float64
