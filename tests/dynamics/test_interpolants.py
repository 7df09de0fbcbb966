"""Nearest solutions against scipy's general solver, scans of the line, and each other."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize

from labkit import check
from labkit.dynamics.geometries import Difference, DifferenceFlow, Ellipsoid, SquaredNorm
from labkit.dynamics.interpolants import (
    Line,
    ball,
    circle,
    least_norm,
    preconditioned,
    sparse_truth,
    straight,
    touching,
)


RNG = np.random.default_rng(1)
X = RNG.normal(size=(4, 9))
Y = RNG.normal(size=4)
ORDER = {"l1": 1, "l2": 2, "linf": np.inf}
FOOT, START = np.array([1.1, 0.55]), np.array([-0.4, 0.3])


def on_the_line(count=400_001):
    """(a, b, many points with a . w = b)."""
    b = np.linalg.norm(FOOT)
    a = FOOT / b
    t = np.linspace(-4, 4, count)[:, None]
    return a, b, FOOT + t * np.array([-a[1], a[0]])


@pytest.mark.parametrize("norm", ["l1", "l2", "linf"])
@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_no_other_solution_has_a_smaller_norm(norm, shift):
    start = np.full(9, shift)
    w = least_norm(X, Y, norm, start)
    np.testing.assert_allclose(X @ w, Y, atol=1e-7)  # the accuracy of linprog
    free = np.linalg.svd(X)[2][4:]  # directions along which X w does not change
    others = w + RNG.normal(size=(4000, 5)) * 10.0 ** RNG.uniform(-4, 0, (4000, 1)) @ free
    lengths = np.linalg.norm(others - start, ORDER[norm], axis=1)
    assert lengths.min() >= np.linalg.norm(w - start, ORDER[norm]) - 1e-7


def test_the_least_l1_and_linf_norms_are_those_of_the_dual_problems():
    """min |w| over X w = y equals max y . u over |X' u|_* <= 1, by a solver that is no LP's."""
    for norm, dual in (("l1", np.inf), ("linf", 1)):
        w = least_norm(X, Y, norm)
        smooth = lambda u, dual=dual: -(Y @ u) / np.linalg.norm(X.T @ u, dual)
        starts = RNG.normal(size=(30, 4))
        best = min(minimize(smooth, u, method="Nelder-Mead").fun for u in starts)
        assert -best == pytest.approx(np.linalg.norm(w, ORDER[norm]), rel=1e-3)  # of that solver


def test_an_equation_without_a_solution_and_an_unknown_norm_are_refused():
    with pytest.raises(ValueError, match="norm = 'l3' is refused; accepted: l1, l2 or linf"):
        least_norm(X, Y, "l3")
    with pytest.raises(ValueError, match=r"y = .* is refused; accepted: right sides for which"):
        least_norm(np.array([[1.0, 1.0], [1.0, 1.0]]), np.array([1.0, 2.0]), "l1")


def test_the_preconditioned_solution_minimises_its_quadratic_form(double):
    p = np.diag(RNG.uniform(0.1, 2.0, 9))
    w = np.asarray(preconditioned(jnp.asarray(X), jnp.asarray(Y), jnp.asarray(p)))
    # by substitution: w = P^1/2 v, with v of least l2 norm
    root = np.sqrt(p)
    np.testing.assert_allclose(w, root @ np.linalg.pinv(X @ root) @ Y, atol=1e-10)
    l2 = np.linalg.pinv(X) @ Y
    assert np.linalg.norm(w - l2) > 0.1  # so that the test discriminates


@pytest.mark.parametrize("norm", ["l1", "l2", "linf"])
def test_the_straight_way_ends_at_the_nearest_point_of_the_line(norm):
    a, b, points = on_the_line()
    end = np.asarray(straight(jnp.asarray(a), b, norm, jnp.asarray(START)))
    distances = np.linalg.norm(points - START, ORDER[norm], axis=1)
    np.testing.assert_allclose(end, points[distances.argmin()], atol=1e-4)  # of the scan


def bregman(w, psi_dual, start):
    """D(w, start) by integration of the dual weights along the straight way from the start."""
    t = (np.arange(2000) + 0.5) / 2000
    way = start + t[:, None, None] * (w - start)
    return ((psi_dual(way) - psi_dual(start)) * (w - start)).sum(-1).mean(0)


@pytest.mark.parametrize("name", ["ellipsoid", "p 1.5", "p 3", "multiplicative"])
def test_where_a_potential_touches_is_the_nearest_point_of_the_line(name, double):
    """Against a scan of the line, the Bregman distance integrated from the dual weights."""
    p = np.array([1.0, 0.2])
    beta = 2 * 0.3 * np.sqrt(0.3**2 + np.abs(START))  # 2 u0 v0
    norm_dual = lambda w, p: (
        np.sign(w) * np.abs(w) ** (p - 1) * np.linalg.norm(w, p, axis=-1, keepdims=True) ** (2 - p)
    )
    potential, dual = {
        "ellipsoid": (Ellipsoid(jnp.diag(jnp.asarray(p))), lambda w: w / p),
        "p 1.5": (SquaredNorm(1.5), lambda w: norm_dual(w, 1.5)),
        "p 3": (SquaredNorm(3.0), lambda w: norm_dual(w, 3.0)),
        "multiplicative": (
            DifferenceFlow(Difference(0.3, 2.0), jnp.asarray(START)),
            lambda w: np.arcsinh(w / beta) / 4,
        ),
    }[name]
    a, b, points = on_the_line(2001)
    theta = touching(jnp.asarray(a), b, potential, jnp.asarray(START))
    end = np.asarray(potential.primal(theta))
    assert a @ end == pytest.approx(b, abs=1e-9)
    distances = bregman(points, dual, START)
    np.testing.assert_allclose(end, points[distances.argmin()], atol=5e-3)  # 0.004 apart
    edge = np.asarray(circle(theta, potential, jnp.asarray(START)))
    around = bregman(edge, dual, START)
    np.testing.assert_allclose(around, distances.min(), rtol=2e-3)  # of the midpoint rule
    assert (edge @ a).max() <= b + 1e-9  # it touches the line and does not cross it


def test_a_flow_that_ends_in_finite_time_has_its_nearest_point_too(double):
    """With a = 3, u = u0 / (1 - 3 u0 theta) is infinite at theta = 1 / (3 u0)."""
    flow = DifferenceFlow(Difference(0.2, 3.0), jnp.zeros(2))
    a, b, _ = on_the_line()
    theta = np.asarray(touching(jnp.asarray(a), b, flow, jnp.zeros(2)))
    assert (theta < 1 / 0.6).all()
    by_hand = [(0.2 / (1 - 0.6 * t)) ** 3 - (0.2 / (1 + 0.6 * t)) ** 3 for t in theta]
    assert a @ by_hand == pytest.approx(b, abs=1e-9)
    assert np.cross(np.append(theta, 0), np.append(a, 0))[2] == pytest.approx(0, abs=1e-9)


def test_balls_are_as_far_everywhere_as_they_should_be():
    for norm, order in ORDER.items():
        edge = np.asarray(ball(jnp.array([1.0, 0.5]), norm, jnp.asarray(START, jnp.float32)))
        radius = np.linalg.norm(np.array([1.0, 0.5]) - START, order)
        np.testing.assert_allclose(np.linalg.norm(edge - START, order, axis=1), radius, rtol=1e-5)


def test_a_line_is_zero_at_its_foot_and_along_it():
    line = Line(FOOT, START)
    assert float(line.loss(jnp.asarray(FOOT))) == pytest.approx(0.0, abs=1e-12)
    along = np.array([-0.55, 1.1])
    assert float(line.loss(jnp.asarray(FOOT + along))) == pytest.approx(0.0, abs=1e-12)
    off = FOOT * (1 + 1 / np.linalg.norm(FOOT))  # one further out
    assert float(line.loss(jnp.asarray(off))) == pytest.approx(0.5, rel=1e-5)  # float32


def test_a_line_through_nothing_is_refused():
    with pytest.raises(ValueError, match=r"foot = .* is refused; accepted: two numbers, not both"):
        check(Line(np.zeros(2)))
    with pytest.raises(ValueError, match=r"w0 = .* is refused; accepted: two numbers"):
        check(Line(FOOT, np.zeros(3)))


def test_the_sparse_truth_solves_its_equations_and_its_test():
    case = sparse_truth(2, samples=10, weights=16, nonzero=2)
    assert case.problem.x.shape == (10, 16)
    assert case.error(jnp.zeros(16)) == 1.0
    truth = least_norm(case.problem.x, case.problem.y, "l1")
    if np.sum(np.abs(truth) > 1e-6) == 2:  # basis pursuit found it, as it mostly does
        assert case.error(jnp.asarray(truth)) < 1e-6
