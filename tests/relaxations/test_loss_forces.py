"""The forces of each loss on one batch against differences of its formula."""

import functools

import numpy as np
from metric_family import naive

from labkit import figure, run
from labkit.relaxations import loss_forces
from labkit.relaxations.loss_forces import LABELS, NAMES, say, shares


ROW = {name: row for row, name in enumerate(NAMES)}


@functools.cache
def record():
    return run(loss_forces.example())


def test_each_force_is_the_slope_of_the_anchors_terms_along_the_circle():
    z = np.asarray(record()["z"][0], float)
    angle, step = np.arctan2(z[:, 1], z[:, 0]), 1e-5
    on_circle = lambda angle: np.stack([np.cos(angle), np.sin(angle)], axis=1)
    centres = np.array([z[label == LABELS].sum(axis=0) for label in range(3)])
    anchor = np.arange(7) == 0
    for name, row in ROW.items():
        for point in range(7):
            moved = lambda by, point=point: on_circle(angle + by * (np.arange(7) == point))
            ends = [
                naive(name, moved(sign * step), LABELS, centres, anchors=anchor) for sign in (1, -1)
            ]
            wanted = -(ends[0] - ends[1]) / (2 * step)
            # float32, and forces of up to five
            np.testing.assert_allclose(
                record()["push"][row, point], wanted, atol=2e-4, err_msg=name
            )


def test_each_kind_of_loss_moves_whom_it_sees():
    moved = np.abs(record()["push"]) > 1e-6
    points = lambda name: set(np.flatnonzero(moved[ROW[name]]) + 1)
    assert points("contrastive") == {1, 2, 3, 4}  # negatives within the margin only
    assert points("triplet, batch-hard") == {1, 3, 4}  # farthest positive, nearest negative
    assert points("triplet, semi-hard") == {1, 2, 5}
    for name in ("lifted structure", "N-pair", "supervised contrastive"):
        assert points(name) == {1, 2, 3, 4, 5, 6, 7}
    for name in NAMES[7:]:
        assert points(name) == {1}  # and the proxies


def test_positives_are_pulled_and_negatives_pushed():
    pull = record()["pull"][:, 1:]
    assert (pull[:, :2] >= 0).all()
    others = [row for name, row in ROW.items() if name != "lifted structure"]
    # float32; lifted structure pushes a negative from its positive, and so towards the anchor
    assert (pull[others, 2:] <= 1e-6).all()
    assert np.abs(shares(record())).max() <= 1.0


def test_it_is_drawn_and_said():
    assert str(figure(record(), loss_forces.views))
    assert say(record()) == "Beside the anchor, the 12 losses move from 0 to 6 of the points."
