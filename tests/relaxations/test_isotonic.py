"""Isotonic regression by halves against scipy's pools, the best blocks, and its derivative."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.optimize import isotonic_regression

from labkit.relaxations.isotonic import blocks, isotonic, mean


regression = jax.jit(isotonic)
small = st.floats(-8, 8, width=16)  # coarse: ties happen


def pooled(s):
    """Each row by scipy's pool of adjacent violators, in double precision."""
    rows = [isotonic_regression(row, increasing=False).x for row in np.asarray(s, float)]
    return np.array(rows).reshape(np.shape(s))


@pytest.mark.parametrize("n", [1, 2, 5, 33, 130])  # 33 and 130 have halves that are searched
def test_it_is_that_of_the_pool_of_adjacent_violators(n):
    s = 3 * np.random.default_rng(n).normal(size=(20, n)).astype(np.float32)
    s[10:] += np.linspace(0, 5, n, dtype=np.float32)  # larger pools
    s[15:] = np.round(s[15:])  # ties
    np.testing.assert_allclose(regression(s), pooled(s), atol=3e-6)  # float32, |s| to 15


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(np.float32, (1, 7), elements=small))
def test_any_values_with_ties_are_pooled_right(s):
    np.testing.assert_allclose(regression(s), pooled(s), atol=3e-6)


@pytest.mark.parametrize("s", [np.zeros(64), np.arange(64.0), -np.arange(64.0)])
def test_constant_rising_and_falling_sequences(s):
    expected = np.full(64, s.mean()) if s[-1] > 0 else s
    np.testing.assert_allclose(regression(s.astype(np.float32)), expected, rtol=1e-6)


@pytest.mark.parametrize("factor", [1e38, 1e-30])
def test_extremes_of_the_dtype_are_pooled_as_ordinary_numbers_are(factor):
    s = np.array([1.0, 3.0, 2.0, -2.0, 0.5], np.float32)
    scaled = np.asarray(regression(s[None] * np.float32(factor)))[0] / np.float32(factor)
    np.testing.assert_allclose(scaled, pooled(s[None])[0], rtol=1e-5)


def test_nothing_has_no_blocks():
    assert isotonic(jnp.zeros((3, 0))).shape == (3, 0)
    assert isotonic(jnp.zeros(0)).shape == (0,)


def test_the_blocks_are_those_of_equal_levels():
    s = 2 * np.random.default_rng(0).normal(size=(50, 24)).astype(np.float32)
    found = jax.jit(blocks)(s.T)
    level = pooled(s)
    for row in range(len(s)):
        same = np.abs(level[row][:, None] - level[row]) < 1e-9
        label = np.asarray(found.label[:, row])
        np.testing.assert_array_equal(label[:, None] == label, same)
        np.testing.assert_array_equal(found.size[:, row], same.sum(0))
        middle = same @ np.arange(24) / same.sum(0)
        np.testing.assert_allclose(found.offset[:, row], np.arange(24) - middle, atol=1e-6)


def test_the_derivative_is_the_mean_over_each_block(double):
    s = jnp.asarray(np.random.default_rng(1).normal(size=12))  # in double precision
    slope = jax.jit(jax.jacrev(isotonic))(s)
    step = 1e-6
    moved = pooled(np.asarray(s) + step * np.eye(12)) - pooled(np.asarray(s) - step * np.eye(12))
    np.testing.assert_allclose(slope, moved.T / (2 * step), atol=1e-8)  # linear on either side
    np.testing.assert_allclose(slope.sum(0), 1.0, atol=1e-12)
    np.testing.assert_allclose(slope, slope.T, atol=1e-12)
    means = jax.jit(lambda s: mean(blocks(s[:, None]), s[:, None])[:, 0])(s)
    np.testing.assert_allclose(means, pooled(s[None])[0], atol=1e-12)
