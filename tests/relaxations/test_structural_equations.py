"""Simulated graphs and data against loops, closed forms and networkx."""

import itertools

import jax
import networkx as nx
import numpy as np
import pytest

from labkit.method import check, replace
from labkit.relaxations.structural_equations import (
    StructuralEquations,
    by_variance,
    covariance,
    fitted,
    is_edge,
    population,
    random_equations,
    regressed,
    sample,
    score,
    structural_distance,
    varsortability,
)


CHAIN = np.array([[0, 1, 0], [0, 0, 1], [0, 0, 0]], bool)


@pytest.mark.parametrize("kind", ["erdos-renyi", "scale-free"])
def test_random_graphs_have_no_cycle_and_about_as_many_edges_as_asked(kind):
    drawn = [random_equations(seed, 10, 2.0, kind) for seed in range(30)]
    graphs = [np.asarray(equations.graph) for equations in drawn]
    assert all(nx.is_directed_acyclic_graph(nx.DiGraph(graph)) for graph in graphs)
    # 20 edges wanted of 45 pairs: the mean of 30 deviates by 0.6; a scale-free one has 17.
    mean = np.mean([graph.sum() for graph in graphs])
    assert abs(mean - (20 if kind == "erdos-renyi" else 17)) < 2
    sizes = np.abs(np.concatenate([np.asarray(e.w)[np.asarray(e.graph)] for e in drawn]))
    assert sizes.min() >= 0.5
    assert sizes.max() <= 2.0
    firsts = {int(np.argmin(graph.sum(axis=0))) for graph in graphs}
    assert len(firsts) > 3  # the labels tell nothing of the order


def test_scale_free_graphs_have_nodes_of_many_more_edges():
    most = lambda kind: np.mean(
        [np.asarray(random_equations(s, 20, 2.0, kind).graph).sum(0).max() for s in range(20)]
    )
    assert most("scale-free") > 1.3 * most("erdos-renyi")  # seen: 12.5 and 7.6


def test_each_node_is_its_equation_and_the_moments_are_those_of_the_population():
    """Against a loop over the nodes in topological order, and against the closed form."""
    equations = random_equations(0, 5, samples=20_000, ratio=3.0)
    W, C = np.asarray(equations.w, float), population(equations)
    order = list(nx.topological_sort(nx.DiGraph(np.asarray(equations.graph))))
    by_path = np.zeros((5, 5))  # of node j, its part of the noise of i
    for node in order:
        by_path[:, node] = by_path @ W[:, node] + np.eye(5)[node]
    np.testing.assert_allclose(C, by_path.T @ np.diag(equations.variances) @ by_path, rtol=1e-9)
    seen = np.asarray(covariance(jax.random.key(0), equations))
    scale = np.sqrt(np.outer(np.diagonal(C), np.diagonal(C)))
    # An entry deviates by sqrt(2 / n) = 0.01 of its scale at most.
    np.testing.assert_allclose(seen / scale, C / scale, atol=0.05)


def test_standardize_divides_by_a_power_of_the_deviation():
    equations = random_equations(0, 5, samples=200)
    raw, half, whole = (
        np.asarray(sample(jax.random.key(1), equations.scaled(power))) for power in (0.0, 0.5, 1.0)
    )
    np.testing.assert_allclose(whole.std(axis=0), 1.0, rtol=1e-5)
    np.testing.assert_allclose(half, raw / np.sqrt(raw.std(axis=0)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(raw.mean(axis=0), 0.0, atol=1e-4 * np.abs(raw).max())


def test_the_score_is_the_squared_loss_a_row():
    X = np.random.default_rng(0).normal(size=(30, 4))
    W = np.random.default_rng(1).normal(size=(4, 4))
    loss = 0.5 / 30 * np.linalg.norm(X - X @ W) ** 2
    np.testing.assert_allclose(score(X.T @ X / 30, W), loss, rtol=1e-12)


def test_regressions_are_those_of_the_rows():
    X = np.random.default_rng(0).normal(size=(40, 4)) @ np.diag([1.0, 2.0, 3.0, 4.0])
    X[:, 2] += X[:, 0]
    order = [3, 0, 2, 1]
    wanted = np.zeros((4, 4))
    for place, node in enumerate(order):
        before = order[:place]
        wanted[before, node] = np.linalg.lstsq(X[:, before], X[:, node], rcond=None)[0]
    C = X.T @ X / 40
    np.testing.assert_allclose(regressed(C, order), wanted, atol=1e-12)
    np.testing.assert_allclose(by_variance(C), regressed(C, np.argsort(X.var(axis=0))), atol=1e-12)
    only = fitted(C, np.array([[0, 0, 1, 0]] + 3 * [[0] * 4], bool))
    np.testing.assert_allclose(only[0, 2], X[:, 0] @ X[:, 2] / (X[:, 0] @ X[:, 0]), rtol=1e-12)
    assert (only != 0).sum() == 1


def test_the_true_graph_attains_half_the_number_of_nodes_where_variances_are_equal():
    """The population optimum, over all orders: those of the graph give d / 2, the others more."""
    equations = random_equations(3, 5)
    C, graph = population(equations), np.asarray(equations.graph)
    np.testing.assert_allclose(score(C, fitted(C, graph)), 2.5, rtol=1e-9)
    for order in itertools.permutations(range(5)):
        place = np.argsort(order)
        allowed = all(place[i] < place[j] for i, j in np.argwhere(graph))
        value = score(C, regressed(C, order))
        assert value == pytest.approx(2.5, rel=1e-9) if allowed else value > 2.5 + 1e-6


def test_the_structural_distance_counts_each_pair_once():
    turned = np.array([[0, 0, 1], [1, 0, 0], [0, 0, 0]], bool)
    # 1 -> 2 turned round, 2 -> 3 missing, 1 -> 3 too many.
    assert structural_distance(CHAIN, turned) == 3
    assert structural_distance(CHAIN, CHAIN) == 0
    assert structural_distance(CHAIN, CHAIN | CHAIN.T) == 2
    assert is_edge(np.array([-0.31, 0.3, 0.0])).tolist() == [True, False, False]


def test_varsortability_counts_paths_by_their_length_and_ends():
    assert varsortability(CHAIN, [1.0, 2.0, 3.0]) == 1.0
    assert varsortability(CHAIN, [3.0, 2.0, 1.0]) == 0.0
    assert varsortability(CHAIN, [1.0, 1.0, 1.0]) == 0.5
    # 1 -> 2 grows, 2 -> 3 and 1 -> 2 -> 3 do not.
    assert varsortability(CHAIN, [2.0, 3.0, 1.0]) == pytest.approx(1 / 3)
    assert np.isnan(varsortability(np.zeros((2, 2)), [1.0, 2.0]))
    graph = np.asarray(random_equations(4, 7).graph)
    variances = np.random.default_rng(0).random(7)
    ends = set()
    for i, j in itertools.permutations(range(7), 2):
        paths = nx.all_simple_paths(nx.DiGraph(graph), i, j)
        ends |= {(i, j, len(path)) for path in paths}
    share = np.mean([variances[j] > variances[i] for i, j, _ in ends])
    assert varsortability(graph, variances) == pytest.approx(share)


def test_sorting_by_variance_finds_what_varsortability_promises_and_nothing_more():
    """On the population: right where it is 1, wrong on the same graphs standardized."""
    sortable, wrong = 0, []
    for seed in range(20):
        equations = random_equations(seed, 6, 1.5)
        graph, C = np.asarray(equations.graph), population(equations)
        if varsortability(graph, np.diagonal(C)) == 1.0:
            sortable += 1
            assert structural_distance(is_edge(by_variance(C)), graph) == 0
        flat = population(equations.scaled(1.0))
        assert varsortability(graph, np.diagonal(flat)) == 0.5
        wrong.append(structural_distance(is_edge(by_variance(flat)), graph))
    assert sortable >= 5  # seen: 8
    assert np.median(wrong) >= 3  # of 8 edges


def test_a_cycle_is_refused_in_a_sentence_that_names_it():
    equations = random_equations(0, 3)
    round_trip = np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]], float)
    with pytest.raises(ValueError, match=r"adjacency = '(\d -> ){3}\d' is refused; accepted: a gr"):
        check(replace(equations, {"adjacency": round_trip}))
    with pytest.raises(ValueError, match=r"adjacency = '2 -> 2' is refused"):
        check(replace(equations, {"adjacency": np.diag([0.0, 1.0, 0.0])}))
    with pytest.raises(ValueError, match=r"adjacency = \(2, 2\) is refused; accepted: the shape"):
        check(replace(equations, {"adjacency": np.zeros((2, 2))}))
    with pytest.raises(ValueError, match=r"variances = .* is refused; accepted: a number above 0"):
        check(StructuralEquations(np.eye(2), np.array([1.0, 0.0])))
    with pytest.raises(ValueError, match="kind = 'small world' is refused"):
        random_equations(0, 3, kind="small world")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="nodes = 1 is refused"):
        random_equations(0, 1)
