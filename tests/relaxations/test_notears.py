"""The augmented Lagrangian against its own conditions and the graph that made the data."""

import numpy as np
import pytest
from scipy.linalg import expm

from labkit import run
from labkit.relaxations import notears
from labkit.relaxations.structural_equations import (
    is_edge,
    population,
    random_equations,
    structural_distance,
)


def test_it_ends_without_cycles_at_the_true_graph_of_a_population():
    """On the second moments of infinitely many samples, where only the penalty stands between."""
    for seed in (0, 1):
        equations = random_equations(seed, 4, 1.0)
        W = notears.notears(population(equations), l1=0.001)
        assert np.trace(expm(W * W)) - 4 <= 1e-8
        assert structural_distance(is_edge(W), np.asarray(equations.graph)) == 0
        # A weight is short by l1 times entries of the inverse moments of the parents, below 10.
        np.testing.assert_allclose(W, np.asarray(equations.w), atol=0.02)


def test_an_inner_solve_ends_where_the_slope_is_within_the_penalty():
    """|dF + (rho h + alpha) dh| <= l1, with equality and the sign of W where W is not 0."""
    C, l1 = population(random_equations(0, 4, 1.0)), 0.1
    state = notears.begun(C)._replace(rho=2.0, alpha=0.3)
    W = notears.outer_step(state, l1).W
    walks = expm(W * W)
    multiplier = 2.0 * (np.trace(walks) - 4) + 0.3
    slope = (-C @ (np.eye(4) - W) + multiplier * walks.T * 2 * W)[~np.eye(4, dtype=bool)]
    at = W[~np.eye(4, dtype=bool)]
    scale = np.abs(C).max()
    # L-BFGS-B ends at a fall of 2e-9 of the value, a slope of some 1e-4 of the largest.
    assert (np.abs(slope) <= l1 + 2e-3 * scale).all()
    free = np.abs(at) > 1e-3
    np.testing.assert_allclose(slope[free], -l1 * np.sign(at[free]), atol=2e-3 * scale)


def test_multipliers_follow_the_fall_of_h():
    record = run(notears.Notears(random_equations(1, 4, 1.0, samples=200)), 30)
    assert "No cycle is left" in record.events[0].sentence
    grew = record["rho"][1:] > record["rho"][:-1]
    np.testing.assert_allclose((record["rho"][1:] / record["rho"][:-1])[grew], 10.0)
    # Where rho grew, W was dropped; elsewhere h is a quarter of what it was, or less.
    np.testing.assert_array_equal(record["W"][1:][grew], record["W"][:-1][grew])
    fell = ~grew[1:]
    assert (record["h"][2:][fell] <= record["h"][1:-1][fell] / 4 + 1e-15).all()


def test_a_penalty_that_is_not_above_zero_is_refused():
    with pytest.raises(ValueError, match=r"l1 = -1.0 is refused; accepted: a finite number above"):
        run(notears.Notears(random_equations(1, 4), l1=-1.0), 1)
