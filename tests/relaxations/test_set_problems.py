"""Problems of sets against enumeration, loops and networkx."""

import itertools

import jax
import jax.numpy as jnp
import networkx as nx
import numpy as np
import pytest

from labkit import check
from labkit.relaxations.set_problems import Coverage, Facilities, blocks, scattered
from labkit.relaxations.small_graphs import IndependentSet, circle, graph, petersen, random_graph


SITES = Facilities(jnp.asarray(scattered(9, seed=3)), k=3)
COVER = blocks(sets=10, elements=25, reach=5)


def total_distance(problem, chosen):
    """To the nearest of the chosen points, in loops."""
    x = np.asarray(problem.points, float)
    return sum(min(np.linalg.norm(a - x[i]) for i in chosen) for a in x)


def left_over(problem, chosen):
    covers, weights = np.asarray(problem.covers), np.asarray(problem.weights, float)
    return sum(w for row, w in zip(covers, weights, strict=True) if not row[list(chosen)].any())


COSTS = {"facilities": (SITES, total_distance), "coverage": (COVER, left_over)}
each = pytest.mark.parametrize("problem, cost", COSTS.values(), ids=COSTS)


@each
def test_the_optimum_is_that_of_all_sets_of_k(problem, cost):
    sets = itertools.combinations(range(problem.items), problem.k)
    best = min(cost(problem, chosen) for chosen in sets)
    assert problem.optimum() == pytest.approx(best, abs=1e-6)  # what the solver calls feasible


@each
def test_greedy_adds_the_best_item_k_times(problem, cost):
    chosen = []
    for _ in range(problem.k):
        left = [i for i in range(problem.items) if i not in chosen]
        chosen.append(min(left, key=lambda i: cost(problem, [*chosen, i])))
    assert problem.greedy() == pytest.approx(cost(problem, chosen), rel=1e-6)
    assert problem.greedy() > problem.optimum() - 1e-6


@each
def test_the_expected_cost_of_a_certain_set_is_its_cost_and_its_penalty(problem, cost):
    expected = jax.jit(problem.expected)
    for chosen in ([0, 4, 7], [1], [0, 1, 2, 3, 5]):
        x = jnp.zeros(problem.items).at[jnp.array(chosen)].set(1.0)
        wanted = cost(problem, chosen) + 2.0 * abs(len(chosen) - problem.k)
        assert expected(x) == pytest.approx(wanted, rel=1e-5)  # float32 sums


def test_no_larger_set_asks_for_more_than_the_sets_of_one_more():
    """The largest saving of the least useful site, over all sets of more than k."""
    most = 0.0
    for extra in range(SITES.k + 1, SITES.items + 1):
        for chosen in itertools.combinations(range(SITES.items), extra):
            cost = total_distance(SITES, chosen)
            without = ([i for i in chosen if i != j] for j in chosen)
            most = max(most, min(total_distance(SITES, rest) - cost for rest in without))
    assert SITES.least_saving() == pytest.approx(most, rel=1e-6)


@pytest.mark.parametrize("adjacency", [petersen(), random_graph(12, 0.3, seed=2), np.zeros((3, 3))])
def test_the_largest_independent_set_is_the_largest_clique_of_what_is_not_joined(adjacency):
    problem = IndependentSet(jnp.asarray(adjacency))
    other = nx.complement(nx.from_numpy_array(adjacency))
    size = max(map(len, nx.find_cliques(other)))
    assert -problem.optimum() == pytest.approx(size, abs=1e-6)
    assert -size <= problem.greedy() < 0


def test_an_edge_inside_costs_more_than_a_node_brings():
    problem = IndependentSet(jnp.asarray(graph(3, [(0, 1), (1, 2)])), beta=1.5)
    cost = lambda *x: float(problem.expected(jnp.array(x)))
    assert cost(1.0, 0.0, 1.0) == pytest.approx(-2.0)
    assert cost(1.0, 1.0, 1.0) == pytest.approx(-3.0 + 1.5 * 2)


def test_graphs_are_what_they_are_called():
    assert nx.is_isomorphic(nx.from_numpy_array(petersen()), nx.petersen_graph())
    assert random_graph(40, 0.3).sum() / (40 * 39) == pytest.approx(0.3, abs=0.05)
    x, y = circle(5)
    np.testing.assert_allclose(x**2 + y**2, 1.0)
    assert (x[0], y[0]) == (0.0, 1.0)


@pytest.mark.parametrize(
    "problem, told",
    [
        (Facilities(jnp.ones((2, 2)), k=3), r"shape of points = .* accepted: \(n, 2\), n at least"),
        (Facilities(jnp.ones((4, 3))), r"shape of points = .* accepted: \(n, 2\)"),
        (Coverage(jnp.ones((3, 2)), jnp.ones(2)), r"shape of covers = .* accepted: \(2, sets\)"),
        (Coverage(jnp.full((3, 2), 0.5), jnp.ones(3)), "covers = (?s:.*) zeros and ones"),
        (IndependentSet(jnp.ones((2, 2))), r"adjacency = (?s:.*) a symmetric matrix"),
        (IndependentSet(jnp.ones(3)), r"adjacency = (?s:.*) a symmetric matrix"),
    ],
)
def test_what_is_no_problem_is_refused(problem, told):
    with pytest.raises(ValueError, match=told):
        check(problem)
