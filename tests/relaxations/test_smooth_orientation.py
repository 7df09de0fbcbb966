"""Smooth orientations against a loop and the bound on cycles, and S039."""

import jax
import jax.numpy as jnp
import networkx as nx
import numpy as np
import pytest
from scipy.linalg import expm

from labkit import run
from labkit.method import check, replace
from labkit.record import Record
from labkit.relaxations import hand_orientation
from labkit.relaxations.acyclicity import acyclicity
from labkit.relaxations.smooth_orientation import (
    Parameters,
    SmoothOrientation,
    claim,
    cycle_bound,
    demo,
    orientation,
    say,
    views,
)
from labkit.relaxations.structural_equations import (
    by_variance,
    covariance,
    is_edge,
    random_equations,
    regressed,
    score,
    structural_distance,
)


oriented = jax.jit(orientation)


def sides(H, p, tau, eps):
    """h(H o S) and its bound."""
    return acyclicity(H * orientation(p, tau, eps)), cycle_bound(H, tau, eps)


both_sides = jax.jit(sides)


def test_an_orientation_is_a_sigmoid_of_each_difference():
    p, tau, eps = np.array([0.3, -0.2, 0.35]), 0.1, 0.02
    wanted = np.zeros((3, 3))
    for u in range(3):
        for v in range(3):
            if u != v:
                wanted[u, v] = 1 / (1 + np.exp(-(p[v] - p[u] - eps) / tau))
    seen = np.asarray(oriented(p, tau, eps))
    np.testing.assert_allclose(seen, wanted, rtol=1e-5)
    together = (seen + seen.T)[~np.eye(3, dtype=bool)]
    assert (together < 1).all()  # where eps > 0; with eps = 0 the two add up to 1
    level = np.asarray(oriented(p, tau, 0.0))
    np.testing.assert_allclose((level + level.T)[~np.eye(3, dtype=bool)], 1.0, rtol=1e-6)
    np.testing.assert_allclose(oriented(7 * p, 7 * tau, 7 * eps), seen, rtol=1e-5)


def test_its_limit_is_whether_the_priority_is_higher_by_more_than_eps():
    p, eps = np.array([0.3, -0.2, 0.305]), 0.01
    hard = (p[None, :] - p[:, None] > eps).astype(float)
    np.testing.assert_allclose(oriented(p, 1e-5, eps), hard, atol=1e-6)


def test_no_priorities_make_a_cycle_heavier_than_the_bound(double):
    """Twenty draws, a third of them with ties, at eight tau; h falls all the way to 0."""
    taus = np.logspace(0, -3, 8)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        H, p = rng.normal(size=(6, 6)), rng.normal(size=6)
        p = np.round(p) if seed % 3 == 0 else p
        h, bound = np.array([both_sides(H, p, tau, 0.01) for tau in taus]).T
        assert (h <= bound * (1 + 1e-9)).all()
        assert (np.diff(h) <= 0).all()
        assert h[-1] <= 1e-8  # of two nodes in a tie: exp(-4 eps / tau) H^2 H^2, below 1e-16
        S = np.asarray(oriented(p, taus[3], 0.01))
        np.testing.assert_allclose(h[3], np.trace(expm((H * S) ** 2)) - 6, rtol=1e-6, atol=1e-12)


def test_the_bound_is_reached_by_a_tie():
    """Two equal priorities at small tau: sigma(-eps / tau) is exp(-eps / tau) but for itself."""
    H, tau, eps = np.array([[0.0, 1.5], [0.7, 0.0]], np.float32), 0.002, 0.01
    h, bound = both_sides(H, np.zeros(2), tau, eps)
    np.testing.assert_allclose(float(h / bound), (1 + np.exp(-eps / tau)) ** -4, rtol=1e-4)


def test_the_loss_is_that_of_the_rows_with_three_penalties_on_what_is_not_oriented():
    equations = random_equations(0, 4, samples=20)
    method = SmoothOrientation(equations, l1=0.3, l2=0.5, lp=0.7)
    rng = np.random.default_rng(0)
    X, H, p = rng.normal(size=(20, 4)), rng.normal(size=(4, 4)), rng.normal(size=4)
    W = H * np.asarray(orientation(p, 0.2, 0.01))
    wanted = np.linalg.norm(X - X @ W) ** 2 / 40
    wanted += 0.3 * np.abs(H).sum() + 0.5 * np.linalg.norm(H) + 0.7 * np.linalg.norm(p)
    C = jnp.asarray(X.T @ X / 20)
    params = Parameters(jnp.asarray(H), jnp.asarray(p))
    np.testing.assert_allclose(method.loss(params, C, 0.2), wanted, rtol=1e-5)
    zero = jax.grad(method.loss)(jax.tree.map(jnp.zeros_like, params), C, 0.2)
    assert all(np.isfinite(np.asarray(leaf)).all() for leaf in zero)


def test_it_trains_to_a_graph_without_cycles_and_tau_follows_its_cosine():
    record = demo()
    done = record.steps / 3000
    cosine = 5e-4 + (1.0 - 5e-4) * (1 + np.cos(np.pi * done)) / 2
    np.testing.assert_allclose(record["tau"], cosine, rtol=1e-4, atol=1e-6)
    for name in ("W", "standardized.W"):
        graph = nx.DiGraph(is_edge(record.last(name)))
        assert nx.is_directed_acyclic_graph(graph)
        p = record.last(name.replace("W", "priorities"))
        assert all(p[i] < p[j] for i, j in graph.edges)
    C, graph = record.last("C"), record.last("truth") != 0
    sorting = structural_distance(is_edge(by_variance(C)), graph)
    assert f"{record.last('distance'):.0f} pairs joined wrongly" in say(record)
    assert f"sorting by variance {sorting}" in say(record)
    assert len([view(record) for view in views]) == 4


@pytest.mark.slow
def test_twelve_graphs_as_given_and_standardized():
    """What the notebook says: near the truth on raw data, far from it on standardized data."""
    given, flat, sorting = [], [], []
    for seed in range(12):
        for power, found in ((0.0, given), (1.0, flat)):
            equations = random_equations(seed, 10).scaled(power)
            record = run(SmoothOrientation(equations), every=3000, key=seed)
            assert nx.is_directed_acyclic_graph(nx.DiGraph(is_edge(record.last("W"))))
            found.append(record.last("distance"))
        equations = random_equations(seed, 10)
        C = covariance(jax.random.key(seed), equations)
        sorting.append(structural_distance(is_edge(by_variance(C)), np.asarray(equations.graph)))
    print(sorted(given), sorted(sorting), sorted(flat))
    assert np.median(given) <= 4
    assert np.median(flat) >= 10


def test_weights_by_hand_are_ridge_regressions_and_in_the_limit_regressions():
    sweep = hand_orientation.example()
    hand, tau = sweep.function, 0.1
    C, p = np.asarray(hand.C, float), np.asarray(hand.priorities)
    seen = run(sweep)
    row = int(np.argmin(np.abs(seen["tau"] - tau)))
    S = np.asarray(orientation(p, float(seen["tau"][row]), hand.eps), float)
    H = np.zeros_like(C)
    for j in range(len(p)):  # the normal equations of the rows sqrt(C) (e_j - S_j h), and of ridge
        D = np.diag(S[:, j])
        root = np.linalg.cholesky(C).T
        rows = np.vstack([root @ D, np.sqrt(hand.ridge) * np.eye(len(p))])
        H[:, j] = np.linalg.lstsq(rows, np.append(root[:, j], np.zeros(len(p))), rcond=None)[0]
    np.testing.assert_allclose(seen["W"][row], H * S, atol=2e-3)
    # The hard end; the ridge of 1e-3 moves weights by 1e-3 or so.
    hard = regressed(C, np.argsort(p))
    np.testing.assert_allclose(seen.last("W"), hard, atol=5e-3)
    np.testing.assert_allclose(seen.last("score"), score(C, hard), rtol=1e-3)
    assert "of the true graph" in hand_orientation.say(seen)
    # An order that the true graph allows, by hand: as good as the true graph, on raw data.
    order = list(nx.topological_sort(nx.DiGraph(np.asarray(hand.truth) != 0)))
    good = np.argsort(order) / len(order) - 0.5
    best = run(replace(sweep, {"function.priorities": good}))
    assert best.last("distance") == 0
    assert best.last("score") <= best.last("target") * (1 + 1e-3)


def test_a_softness_that_is_not_above_zero_is_refused():
    with pytest.raises(
        ValueError, match=r"tau = 0.0 is refused; accepted: a number above 0, in un"
    ):
        orientation(np.zeros(2), 0.0, 0.01)
    method = SmoothOrientation(random_equations(0, 3), tau=0.1, tau_end=0.2)
    with pytest.raises(ValueError, match=r"tau_end = 0.2 is refused; accepted: at most tau, 0.1"):
        check(method)


def test_the_claim_holds_on_the_demonstration():
    claim(demo()).check()


def told(**columns):
    return Record(demo().steps, {**demo().columns, **columns})


def test_the_claim_refuses_weights_that_are_not_oriented():
    """W = H, and W with priorities of which only the distance counts."""
    assert not claim(told(W=demo()["H"])).holds
    p, tau = demo()["priorities"], demo()["tau"][:, None, None]
    far = np.abs(p[:, None, :] - p[:, :, None])
    S = 1 / (1 + np.exp(-np.clip((far - 0.01) / tau, -80, 80)))
    assert not claim(told(W=demo()["H"] * S)).holds


def test_the_claim_refuses_an_orientation_without_eps_where_nodes_tie():
    S = np.where(np.eye(10, dtype=bool), 0.0, 0.5)[None]  # sigma(0), of every pair
    assert not claim(told(W=demo()["H"] * S)).holds
