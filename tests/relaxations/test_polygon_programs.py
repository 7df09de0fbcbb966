"""Small linear programs against HiGHS, its multipliers, hulls, and a greedy knapsack."""

import jax
import numpy as np
import pytest
from scipy.optimize import linprog
from scipy.spatial import HalfspaceIntersection

from labkit.relaxations.lattice import all_routes
from labkit.relaxations.polygon_programs import (
    Programs,
    knapsack,
    margin_matrix,
    packing,
    polygon,
    random_region,
    solve,
    standard,
)


def test_the_best_vertex_is_that_of_highs_and_so_is_its_basis():
    A, b = random_region(0)
    region = standard(A, b)
    random = np.random.default_rng(1)
    for c in random.normal(0, 1, (10, 7)):
        x, basis = solve(A, b, c)
        k = int(np.argmin(np.asarray(region.vertices, float) @ c))
        np.testing.assert_allclose(region.vertices[k], x, atol=1e-5)  # float32
        np.testing.assert_allclose(region.margins[k], margin_matrix(A, basis), atol=1e-4)


def test_reduced_costs_are_the_costs_less_the_multipliers_of_highs_and_split_the_cost():
    A, b = random_region(2)
    random = np.random.default_rng(3)
    c, x = random.normal(0, 1, 7), random.uniform(0, 1, 7)  # A x is what it is: some feasible x
    best, basis = solve(A, b, c)
    s, rest = margin_matrix(A, basis) @ c, np.setdiff1d(np.arange(7), basis)
    y = linprog(c, A_eq=A, b_eq=b, method="highs").eqlin.marginals
    np.testing.assert_allclose(s, (c - A.T @ y)[rest], atol=1e-9)
    at = best.copy()
    at[basis] = np.linalg.solve(A[:, basis], A @ x)
    at[rest] = 0
    np.testing.assert_allclose(c @ x, c @ at + s @ x[rest], atol=1e-9)


def certified(seeds):
    """For each seed a cost with s >= 1 at an observed basis: whether it has that optimum."""
    for seed in seeds:
        A, b = random_region(seed)
        random = np.random.default_rng(seed)
        x, basis = solve(A, b, random.normal(0, 1, 7))
        rest = np.setdiff1d(np.arange(7), basis)
        other = np.zeros(7)
        other[basis] = random.normal(0, 3, 3)
        other[rest] = 1 + random.exponential(1, 4) - margin_matrix(A, basis) @ other
        assert (margin_matrix(A, basis) @ other).min() >= 1 - 1e-9
        yield np.abs(solve(A, b, other).x - x).max()


def test_any_cost_with_a_margin_of_one_has_the_observed_vertex_for_its_optimum():
    assert max(certified(range(10))) < 1e-9


@pytest.mark.slow
def test_and_so_on_two_hundred_programs():
    assert max(certified(range(200))) < 1e-9


def test_a_margin_suffices_and_at_a_degenerate_vertex_is_not_needed():
    """Shortest paths as a program: 4 of 8 entries of a basis are 0, and it is one of several."""
    k, roads, routes = 3, 12, all_routes(3)
    A = np.zeros((k * k, roads))
    for e in range(roads):
        (i, j), down = divmod(e, k - 1) if e < 6 else divmod(e - 6, k), e >= 6
        A[i * k + j, e], A[(i + down) * k + j + (not down), e] = 1, -1
    A, b = A[:-1], np.eye(k * k)[0][:-1]  # one row follows from the others
    np.testing.assert_allclose(routes @ A.T, np.tile(b, (6, 1)))
    with pytest.raises(ValueError, match=r"x = (?s:.*) is refused; accepted: a vertex with 8"):
        solve(A, b, np.random.default_rng(0).uniform(1, 2, roads))
    x, random = routes[0], np.random.default_rng(1)
    tree = np.flatnonzero(x).tolist()
    for e in range(roads):  # any tree with the route in it is a basis
        if np.linalg.matrix_rank(A[:, [*tree, e]]) > len(tree):
            tree.append(e)
    M = margin_matrix(A, np.array(sorted(tree)))
    costs = random.normal(0, 1, (4000, roads))
    sure = (costs @ M.T >= 0).all(axis=1)
    best = (costs @ routes.T).argmin(axis=1) == 0
    assert sure.sum() > 20
    assert best[sure].all()
    assert best.sum() > 2 * sure.sum()


def test_a_polygon_has_the_corners_of_its_half_planes():
    G, h = np.array([[1, 0.2], [1, 1], [0.45, 1], [-0.2, 1]]), np.array([2.2, 2.9, 2.3, 1.8])
    halves = np.c_[np.r_[G, -np.eye(2)], np.r_[-h, 0, 0]]
    wanted = HalfspaceIntersection(halves, np.array([0.5, 0.5])).intersections
    found = np.asarray(polygon().vertices)
    key = lambda points: points[np.lexsort(np.round(points, 4).T)]
    np.testing.assert_allclose(key(found), key(np.unique(wanted.round(9), axis=0)), atol=1e-5)
    # The costs with s >= 0 are those for which no other corner is better.
    costs = np.random.default_rng(0).normal(0, 1, (300, 2))
    chosen = (costs @ found.T).argmin(axis=1)
    sure = (np.einsum("vkd,id->ivk", polygon().margins, costs) >= 0).all(axis=2)
    np.testing.assert_array_equal(sure.sum(axis=1), 1)
    np.testing.assert_array_equal(sure.argmax(axis=1), chosen)


def test_a_knapsack_is_filled_by_value_over_weight():
    region = knapsack(0, items=4)
    weights = np.random.default_rng(0).uniform(0.5, 1.5, 4)
    for value in np.random.default_rng(1).uniform(0.1, 1, (20, 4)):
        x, room = np.zeros(4), weights.sum() / 2
        for item in np.argsort(-value / weights):
            x[item] = min(1.0, room / weights[item])
            room -= x[item] * weights[item]
        found = region.vertices[int((np.asarray(region.vertices) @ -value).argmin())]
        np.testing.assert_allclose(found, x, atol=1e-5)


def test_data_follow_their_model_and_the_chosen_vertex_is_the_best():
    region = polygon()
    draw = jax.jit(
        lambda noise, degree: Programs(region, noise, degree, features=3).draw(
            jax.random.key(0), 40
        )
    )
    plain, cubed, noisy = (jax.tree.map(np.asarray, draw(*o)) for o in ((0.0, 1), (0, 3), (0.5, 1)))
    assert (plain.z[:, 0] == 1).all()
    assert np.linalg.matrix_rank(plain.c, tol=1e-4) == 2
    B = np.linalg.lstsq(plain.z, plain.c, rcond=None)[0]
    np.testing.assert_allclose(plain.z @ B, plain.c, atol=1e-5)
    np.testing.assert_allclose(cubed.c, plain.c**3, rtol=1e-4, atol=1e-6)
    ratio = noisy.c / plain.c
    assert 0.5 - 1e-4 <= ratio.min() < 0.6
    assert 1.4 < ratio.max() <= 1.5 + 1e-4
    np.testing.assert_array_equal(plain.chosen, (plain.c @ np.asarray(region.vertices).T).argmin(1))
    worse = (plain.chosen + 1) % 6
    costs = plain.c @ np.asarray(region.vertices).T
    wanted = costs[np.arange(40), worse] - costs.min(axis=1)
    np.testing.assert_allclose(region.regret(plain.c, worse), wanted, atol=1e-5)


def test_what_cannot_be_is_refused():
    with pytest.raises(
        ValueError, match=r"c = (?s:.*) is refused; accepted: a program with an opt"
    ):
        solve(np.array([[1.0, -1.0]]), np.ones(1), np.array([-1.0, -1.0]))
    with pytest.raises(ValueError, match=r"b = (?s:.*) is refused; accepted: right sides with a f"):
        standard(np.ones((1, 2)), -np.ones(1))
    with pytest.raises(ValueError, match=r"b = (?s:.*) is refused; accepted: right sides without"):
        packing(np.array([[1.0, 1.0], [1.0, 0.0]]), np.array([1.0, 1.0]))  # (1, 0) is on both
