"""Counted work of sorting and of hulls, against scipy, enumeration and bounds."""

from itertools import combinations

import numpy as np
import pytest
from scipy.spatial import ConvexHull

from labkit.relaxations.range_partitions import (
    convex_hull,
    entropy_of,
    natural_merge_sort,
    run_lengths,
)


def sequence(seed, most=12):
    """Up to `most` ascending runs of 1 to 30 values."""
    random = np.random.default_rng(seed)
    runs = [np.sort(random.normal(size=random.integers(1, 31))) for _ in range(seed % most + 1)]
    return np.concatenate(runs)


def cloud(seed):
    """Normal points for even seeds, points of a circle for odd ones."""
    random = np.random.default_rng(seed)
    n = int(random.integers(3, 150))
    turn = random.uniform(0, 2 * np.pi, n)
    return np.stack([np.cos(turn), np.sin(turn)], 1) if seed % 2 else random.normal(size=(n, 2))


def test_entropy_of_a_cut_is_that_of_its_shares():
    assert entropy_of([40, 20, 30, 10]) == pytest.approx(1.2798542258336676, abs=1e-12)
    assert entropy_of([7]) == 0
    assert entropy_of([5, 0, 5]) == pytest.approx(np.log(2), abs=1e-15)


def test_merge_sort_sorts_within_its_bound():
    for seed in range(300):
        values = sequence(seed)
        done = natural_merge_sort(values)
        assert np.array_equal(done.values, np.sort(values))
        h = entropy_of(run_lengths(values)) / np.log(2)
        assert done.comparisons <= len(values) * (h + 2)


def test_merge_sort_counts_every_comparison():
    """Two runs of n that alternate take 2n - 1 comparisons to merge, after 2n - 1 to find them."""
    n = 10
    values = np.concatenate([np.arange(0, 2 * n, 2), np.arange(1, 2 * n, 2)])
    assert natural_merge_sort(values).comparisons == 2 * (2 * n - 1)
    assert natural_merge_sort(np.arange(n)).comparisons == n - 1


def test_the_longest_runs_have_the_least_entropy_of_all_cuts_into_runs():
    for seed in range(5):
        values = np.random.default_rng(seed).normal(size=8)
        least = np.inf
        for parts in range(8):
            for cut in combinations(range(1, 8), parts):
                pieces = np.split(values, cut)
                if all((np.diff(piece) >= 0).all() for piece in pieces):
                    least = min(least, entropy_of([len(piece) for piece in pieces]))
        assert entropy_of(run_lengths(values)) == pytest.approx(least, abs=1e-12)


def test_the_hull_is_that_of_scipy():
    for seed in range(100):
        points = cloud(seed)
        ours, theirs = list(convex_hull(points).corners), list(ConvexHull(points).vertices)
        assert ours[0] == points[:, 0].argmin()
        assert ours == list(np.roll(theirs, -theirs.index(ours[0])))


def test_the_hull_takes_n_log_h():
    """Halves of at most n / 2 points on either side of an edge: n (log2 h + 2) for each side."""
    for seed in range(100):
        points = cloud(seed)
        found = convex_hull(points)
        assert found.work <= 2 * len(points) * (np.log2(len(found.corners)) + 2)


def test_points_below_the_hull_of_few_corners_are_dropped_at_once():
    random = np.random.default_rng(0)
    corners = np.array([[-9.0, -9.0], [9.0, -9.0], [0.0, 9.0]])
    inside = np.concatenate([corners, random.uniform(-1, 1, (500, 2))])
    turn = random.uniform(0, 2 * np.pi, 503)
    around = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    assert convex_hull(inside).work < 0.5 * convex_hull(around).work


def test_hulls_of_points_on_a_line_or_of_one_point():
    assert convex_hull(np.zeros((5, 2))).corners.size == 1
    assert convex_hull(np.array([[0, 0], [0, 1], [0, 2.0]])).corners.tolist() == [0, 2]
    assert convex_hull(np.array([[1, 1], [0, 0], [3, 3], [2, 2.0]])).corners.tolist() == [1, 2]
