"""Every generator: its truth holds, its seed fixes it, its arrays are float32 and int32."""

import jax.random as jr
import numpy as np
import pytest

from labkit.data import synthetic


GENERATORS = [
    synthetic.clusters,
    synthetic.moons,
    synthetic.spirals,
    synthetic.linear,
    synthetic.sparse,
    lambda seed: synthetic.chebyshev(seed, noise=0.1),
]


@pytest.mark.parametrize("make", GENERATORS)
def test_a_seed_fixes_the_data_and_is_the_key_of_that_seed(make):
    for one, again, keyed in zip(make(3), make(3), make(jr.key(3)), strict=True):
        np.testing.assert_array_equal(one, again)
        np.testing.assert_array_equal(one, keyed)
    assert any(not np.array_equal(a, b) for a, b in zip(make(3), make(4), strict=True))


@pytest.mark.parametrize("make", GENERATORS)
def test_numbers_are_float32_and_labels_int32(make):
    data = make(0)
    assert all(isinstance(array, np.ndarray) for array in data)
    labelled = isinstance(data, synthetic.Labelled)
    assert data.x.dtype == np.float32
    assert data.y.dtype == (np.int32 if labelled else np.float32)


def test_clusters_without_spread_are_points_at_their_centres():
    x, y = synthetic.clusters(0, samples=30, classes=3, features=4, spread=0.0)
    assert len(np.unique(x, axis=0)) == 3
    np.testing.assert_array_equal(np.bincount(y), [10, 10, 10])


def test_the_deviation_of_a_cluster_is_its_spread():
    x, _ = synthetic.clusters(0, samples=20_000, classes=1, spread=0.3)
    # The deviation of 20,000 samples is uncertain by 0.5%.
    np.testing.assert_allclose(x.std(axis=0), 0.3, rtol=0.03)


def test_moons_without_noise_lie_on_two_circles_of_radius_one():
    x, y = synthetic.moons(0, noise=0.0)
    centres = np.where(y[:, None] == 0, [[0.0, 0.0]], [[1.0, 0.5]])
    np.testing.assert_allclose(np.linalg.norm(x - centres, axis=1), 1.0, atol=1e-6)
    assert (x[y == 0][:, 1] >= 0).all()
    assert (x[y == 1][:, 1] <= 0.5).all()


def test_the_arms_of_the_spiral_have_angles_that_grow_with_the_radius():
    x, y = synthetic.spirals(0, turns=1.5, noise=0.0)
    radius = np.linalg.norm(x, axis=1)
    angle = 3.0 * np.pi * radius + np.pi * y
    np.testing.assert_allclose(x, radius[:, None] * np.c_[np.cos(angle), np.sin(angle)], atol=1e-5)


def test_linear_data_without_noise_give_back_their_truth():
    x, y, truth = synthetic.linear(0, noise=0.0)
    found = np.linalg.lstsq(x, y[:, 0], rcond=None)[0]
    np.testing.assert_allclose(found, truth, atol=1e-5)


def test_the_noise_of_linear_data_has_the_deviation_asked_for():
    x, y, truth = synthetic.linear(0, samples=20_000, noise=0.5)
    assert np.std(y[:, 0] - x @ truth) == pytest.approx(0.5, rel=0.03)


def test_the_sparse_truth_has_its_nonzeros_and_fits_every_sample():
    x, y, truth = synthetic.sparse(0, samples=20, features=50, nonzero=4)
    np.testing.assert_array_equal(np.sort(np.abs(truth)), [0.0] * 46 + [1.0] * 4)
    np.testing.assert_allclose(x @ truth, y[:, 0], atol=1e-5)
    assert np.linalg.matrix_rank(x) == 20 < x.shape[1]


@pytest.mark.parametrize("degree", [0, 1, 2, 5])
def test_chebyshev_targets_obey_the_recurrence_of_the_polynomials(degree):
    x, y, clean = synthetic.chebyshev(0, degree=degree)
    t, following = np.ones_like(x), x
    for _ in range(degree):
        t, following = following, 2.0 * x * following - t
    np.testing.assert_allclose(y, t, atol=1e-5)
    np.testing.assert_array_equal(y, clean)


@pytest.mark.parametrize(
    "make, wrong",
    [
        (synthetic.clusters, {"samples": 2}),
        (synthetic.clusters, {"classes": 0}),
        (synthetic.moons, {"samples": 1}),
        (synthetic.spirals, {"samples": 1}),
        (synthetic.linear, {"samples": 0}),
        (synthetic.sparse, {"features": 4}),
        (synthetic.chebyshev, {"degree": -1}),
    ],
)
def test_sizes_that_make_no_data_are_refused(make, wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} = .* is refused"):
        make(0, **wrong)
