"""Who is whose positive, what mining keeps, and what is safe in single precision.

The values of the losses are tested with the family, in test_embedding_loss.
"""

import jax
import numpy as np
import pytest
from metric_family import batch

from labkit.relaxations.pair_losses import hinges, n_pair, pairs, triplet, triplets, unit


LABELS = np.array([0, 1, 0, 2, 1])
# On a line: distances can be read off.
LINE = np.array([[0.0], [0.3], [1.0], [1.1], [4.0]])


def test_nobody_is_their_own_positive_and_anchors_are_those_asked_for():
    same, other = map(np.asarray, pairs(LABELS))
    np.testing.assert_array_equal(np.argwhere(same), [[0, 2], [1, 4], [2, 0], [4, 1]])
    np.testing.assert_array_equal(other, LABELS[:, None] != LABELS[None])
    asked = pairs(LABELS, np.arange(5) == 2)
    np.testing.assert_array_equal(np.argwhere(asked.same), [[2, 0]])
    np.testing.assert_array_equal(np.argwhere(asked.other), [[2, 1], [2, 3], [2, 4]])


def test_batch_hard_keeps_the_farthest_positive_and_the_nearest_negative():
    kept = np.argwhere(triplets(LINE, LABELS, mining="batch-hard"))
    np.testing.assert_array_equal(kept, [[0, 2, 1], [1, 4, 0], [2, 0, 3], [4, 1, 3]])


def test_semi_hard_keeps_what_is_in_order_but_not_by_the_margin():
    # the anchor 0 has its positive at 1 and negatives at .09, 1.21 and 16, all squared
    of_first = lambda margin: np.argwhere(triplets(LINE, LABELS, margin, "semi-hard")[0])
    np.testing.assert_array_equal(of_first(0.1), np.zeros((0, 2)))
    np.testing.assert_array_equal(of_first(0.5), [[2, 3]])
    np.testing.assert_array_equal(of_first(20.0), [[2, 3], [2, 4]])


def test_all_keeps_every_triplet_once():
    assert np.asarray(triplets(LINE, LABELS)).sum() == 4 * 3  # four positive pairs, 3 negatives


def test_points_that_are_equally_far_are_all_kept():
    ring = np.array([[0.0], [1.0], [-1.0], [2.0]])
    kept = np.argwhere(triplets(ring, np.array([0, 1, 1, 0]), mining="batch-hard")[0])
    np.testing.assert_array_equal(kept, [[3, 1], [3, 2]])


def test_one_triplet_is_a_hinge():
    z, labels, anchor = np.array([[0.0], [1.0], [1.1]]), np.array([0, 0, 1]), np.arange(3) == 0
    np.testing.assert_allclose(triplet(z, labels, 0.5, anchors=anchor), 0.29, rtol=1e-5)  # float32
    assert triplet(z, labels, 0.2, anchors=anchor) == 0.0
    np.testing.assert_allclose(hinges(z, 0.5)[0, 1, 2], 0.29, rtol=1e-5)


def test_n_pair_with_one_negative_is_softplus_of_the_score_difference():
    z = np.random.default_rng(0).normal(size=(3, 4))
    s = z @ z.T
    wanted = np.mean([np.log1p(np.exp(s[0, 2] - s[0, 1])), np.log1p(np.exp(s[1, 2] - s[0, 1]))])
    np.testing.assert_allclose(n_pair(z, np.array([0, 0, 1])), wanted, rtol=1e-5)  # float32


@pytest.mark.parametrize("size", [0.0, 1e-37, 1.0, 1e38])
def test_a_unit_vector_is_one_at_any_size_of_single_precision(size):
    z = np.float32(size) * np.array([0.6, -0.8, 0.0], np.float32)
    u, slope = unit(z), jax.jacobian(unit)(z)
    wanted = [0.6, -0.8, 0.0] if size else [0.0, 0.0, 0.0]
    np.testing.assert_allclose(u, wanted, atol=1e-6)
    assert np.isfinite(slope).all()
    # across, 1 / |z|; along, nothing
    if size == 1.0:
        np.testing.assert_allclose(slope, np.eye(3) - np.outer(wanted, wanted), atol=1e-6)


def test_a_mining_that_is_not_known_is_refused():
    z, labels, _ = batch(0)
    with pytest.raises(ValueError, match="mining = 'hard' is refused; accepted: one of all, semi"):
        triplet(z, labels, mining="hard")


def test_a_direction_has_a_derivative_however_short_the_vector():
    slope = jax.jit(jax.jacobian(unit))
    for length in (1e-25, 1e-3, 1e15):
        z = np.array([0.6, -0.8], np.float32) * np.float32(length)
        across = np.array([[0.64, 0.48], [0.48, 0.36]])  # 1 - z z' / |z|^2
        np.testing.assert_allclose(length * np.asarray(slope(z), float), across, atol=1e-5)
    np.testing.assert_array_equal(slope(np.zeros(2, np.float32)), np.zeros((2, 2)))
