"""Nearest points of polytopes, against non-negative least squares over all their corners."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import nnls

from labkit.polytopes import chains, nearest, rows, subsets
from labkit.thresholds import capped


STEPWISE = np.abs(np.subtract.outer(np.arange(3), np.arange(3))) <= 1
CORNERS = {
    "subsets": np.array([np.isin(range(5), c) for c in itertools.combinations(range(5), 2)], float),
    "chains": np.array(
        [
            np.eye(3)[list(path)].ravel()
            for path in itertools.product(range(3), repeat=3)
            if max(np.abs(np.diff(path))) <= 1
        ]
    ),
    "rows": np.random.default_rng(5).normal(size=(12, 4)),
}
ORACLES = {"subsets": subsets(2), "chains": chains(STEPWISE), "rows": rows(CORNERS["rows"])}
found = {name: jax.jit(jax.vmap(lambda z, o=o: nearest(z, o))) for name, o in ORACLES.items()}
each = pytest.mark.parametrize("name", ORACLES)


def places(name, count=40):
    """Points near the polytope and far from it, as float32 has them."""
    rng = np.random.default_rng(1)
    d = CORNERS[name].shape[1]
    return (rng.normal(size=(count, d)) * np.logspace(-1, 1.5, count)[:, None]).astype(np.float32)


def naive(z, corners):
    """min |B x|^2 + (sum x - 1)^2 over x >= 0, B = corners - z: x is the mixture, but for its sum.

    (With x = t w and sum w = 1, the best t leaves |B w|^2 / (1 + |B w|^2), least at the w
    whose mixture is nearest.)
    """
    system = np.vstack([corners.T - z[:, None].astype(float), np.ones(len(corners))])
    x, _ = nnls(system, np.r_[np.zeros(len(z)), 1.0])
    return x / x.sum() @ corners


@each
def test_an_oracle_finds_the_best_corner(name):
    g = places(name)
    best = jax.jit(jax.vmap(ORACLES[name]))(g)
    np.testing.assert_allclose(
        (np.asarray(best) * g).sum(axis=1), (g @ CORNERS[name].T).max(axis=1), rtol=1e-5
    )
    known = (np.asarray(best)[:, None] == CORNERS[name].astype(best.dtype)[None]).all(-1).any(-1)
    assert known.all()


@each
def test_the_point_is_the_nearest_one(name):
    z = places(name)
    exact = [naive(point, CORNERS[name]) for point in z]
    # The corners that are not 0 and 1 take part in products of size 100, in float32.
    tolerance = 1e-4 if name == "rows" else 5e-6
    np.testing.assert_allclose(found[name](z).marginals, exact, atol=tolerance)


@each
def test_it_is_a_mixture_of_known_corners(name):
    mixture = jax.tree.map(np.asarray, found[name](places(name)))
    assert mixture.weights.min() > -1e-5
    np.testing.assert_allclose(mixture.weights.sum(axis=1), 1.0, atol=1e-5)
    mixed = np.einsum("pi,pid->pd", mixture.weights, mixture.structures)
    np.testing.assert_allclose(mixed, mixture.marginals, atol=1e-5)
    corners = CORNERS[name].astype(mixture.structures.dtype)
    known = (mixture.structures[:, :, None] == corners[None, None]).all(-1).any(-1)
    assert known[mixture.weights > 1e-5].all()


def test_the_derivative_is_the_projection_on_the_face(double):
    """Against differences, off the borders of faces; and it is symmetric and idempotent."""
    z = places("chains", 12).astype(float)
    step = 1e-6 * np.random.default_rng(2).normal(size=z.shape)
    mu = lambda z: nearest(z, ORACLES["chains"]).marginals
    both = jax.jit(jax.vmap(lambda z: (mu(z), jax.jacobian(mu)(z))))
    values, slopes = (
        part.reshape(3, 12, *part.shape[1:]) for part in both(np.r_[z, z + step, z - step])
    )
    slope, difference = slopes[0], (values[1] - values[2]) / 2
    np.testing.assert_allclose(np.einsum("pij,pj->pi", slope, step), difference, atol=1e-13)
    np.testing.assert_allclose(slope, np.swapaxes(slope, 1, 2), atol=1e-12)
    np.testing.assert_allclose(slope @ slope, slope, atol=1e-12)


def test_where_all_scores_tie_the_derivative_is_still_whole():
    """At the centre of all pairs a single mixture of few of them says too little."""
    slope = jax.jit(jax.jacobian(lambda z: nearest(z, subsets(2)).marginals))
    np.testing.assert_allclose(slope(np.zeros(5)), np.eye(5) - 0.2, atol=1e-5)
    three = np.zeros((5, 5))
    three[:3, :3] = np.eye(3) - 1 / 3
    np.testing.assert_allclose(slope(10 * np.array([1.0, 1, 1, 0, 0])), three, atol=1e-5)


def test_scores_that_tie_are_shared_alike():
    """At whole numbers, where many corners are equally good; the shares have a threshold."""
    z = np.random.default_rng(3).integers(-2, 3, size=(40, 5)) / np.float32(2)
    np.testing.assert_allclose(found["subsets"](z).marginals, capped(z, 1.0, 2), atol=2e-6)


def test_extremes_give_numbers():
    z = np.array([[1e18, -1e18, 0, 1, 1], [1e-38, 0, 0, -1e-38, 0], [0.0] * 5], np.float32)
    mixture = found["subsets"](np.resize(z, (40, 5)))  # a shape that is compiled already
    assert all(jnp.isfinite(part).all() for part in mixture)
    np.testing.assert_allclose(mixture.marginals.sum(axis=1), 2.0, rtol=1e-5)


def test_one_number_and_none():
    one = jax.jit(lambda z: nearest(z, rows(np.ones((1, 1)))))
    assert one(jnp.array([3.0])).marginals == 1.0
    none = jax.jit(lambda z: nearest(z, subsets(0)))
    for part, shape in zip(none(jnp.zeros((2, 0))), [(0,), (1,), (1, 0)], strict=True):
        assert part.shape == (2, *shape)


@pytest.mark.parametrize("allowed", [np.ones((2, 3)), np.ones(3), np.array([[1, 0], [0, 0]])])
def test_a_grammar_that_ends_is_refused(allowed):
    with pytest.raises(ValueError, match=r"allowed = (?s:.*) is refused; accepted: a square"):
        chains(allowed)
