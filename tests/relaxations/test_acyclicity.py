"""h and its slope against scipy, finite differences, counted walks and networkx."""

import itertools

import jax
import jax.numpy as jnp
import networkx as nx
import numpy as np
import pytest
from scipy.linalg import expm

from labkit.relaxations.acyclicity import (
    acyclicity,
    cycle,
    exponential_less_one,
    log_determinant,
    returning_walks,
    topological_order,
)
from labkit.relaxations.structural_equations import random_equations


W = np.random.default_rng(0).normal(size=(5, 5))
both = jax.jit(jax.value_and_grad(acyclicity))


@pytest.mark.parametrize("size", [0.01, 1.0, 3.0])
def test_it_is_the_trace_of_the_exponential(size, double):
    A = (size * W) ** 2
    np.testing.assert_allclose(exponential_less_one(jnp.asarray(A)), expm(A) - np.eye(5), rtol=1e-9)
    value, slope = both(jnp.asarray(size * W))
    np.testing.assert_allclose(value, np.trace(expm(A)) - 5, rtol=1e-9)
    np.testing.assert_allclose(slope, expm(A).T * 2 * size * W, rtol=1e-9)


def test_its_slope_is_that_of_finite_differences(double):
    step, direction = 1e-5, np.random.default_rng(1).normal(size=(5, 5))
    at = lambda t: float(both(jnp.asarray(0.7 * W + t * direction))[0])
    slope = np.vdot(both(jnp.asarray(0.7 * W))[1], direction)
    np.testing.assert_allclose(slope, (at(step) - at(-step)) / (2 * step), rtol=1e-6)


def test_value_and_slope_vanish_exactly_on_acyclic_graphs_in_single_precision():
    for seed in range(5):
        acyclic = np.asarray(random_equations(seed, 5).w, np.float32)
        value, slope = both(jnp.asarray(acyclic))
        assert float(value) == 0.0
        assert not np.asarray(slope).any()


def test_a_faint_cycle_is_measured_to_all_digits():
    """Two edges of weight 1e-6 make h = 2 (1e-12 1e-12) / 2, far below a rounding of d."""
    faint = np.zeros((5, 5), np.float32)
    faint[0, 1] = faint[1, 0] = 1e-6
    np.testing.assert_allclose(float(both(jnp.asarray(faint))[0]), 1e-24, rtol=1e-4)


def test_the_log_determinant_has_the_slope_of_finite_differences(double):
    A, step = 0.1 * np.abs(W), 1e-6
    s = 1.3
    value = jax.jit(log_determinant)
    slope = returning_walks(A, s)
    for i, j in itertools.product(range(5), repeat=2):
        move = np.zeros((5, 5))
        move[i, j] = step
        seen = (float(value(A + move, s)) - float(value(A - move, s))) / (2 * step)
        assert seen == pytest.approx(slope[i, j], abs=1e-8)
    assert float(value(np.zeros((5, 5)), s)) == pytest.approx(0.0, abs=1e-12)


def test_its_slope_counts_the_walks_back():
    """Against a sum over all paths of an acyclic graph, each with the product of its weights."""
    equations = random_equations(1, 5)
    A = np.abs(np.asarray(equations.w, float))
    graph = nx.DiGraph(A != 0)
    for i, j in itertools.permutations(range(5), 2):
        paths = nx.all_simple_paths(graph, j, i)
        walks = sum(np.prod([A[a, b] for a, b in itertools.pairwise(path)]) for path in paths)
        assert returning_walks(A)[i, j] == pytest.approx(walks, abs=1e-12)


def test_both_are_zero_where_there_is_an_order_and_above_elsewhere():
    for seed in range(20):
        graph = np.random.default_rng(seed).random((5, 5)) < 0.25
        np.fill_diagonal(graph, False)
        acyclic = nx.is_directed_acyclic_graph(nx.DiGraph(graph))
        order = topological_order(graph)
        assert (order is None) != acyclic
        assert (float(both(jnp.asarray(graph, jnp.float32))[0]) > 0) != acyclic
        if order is not None:
            place = np.argsort(order)
            assert all(place[i] < place[j] for i, j in np.argwhere(graph))
            assert cycle(graph) == []
        else:
            trip = cycle(graph)
            assert trip[0] == trip[-1]
            assert len(set(trip)) == len(trip) - 1
            assert all(graph[i, j] for i, j in itertools.pairwise(trip))
