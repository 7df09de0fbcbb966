"""Every loss of the family against its formula in loops, and against what all have in common."""

import numpy as np
import pytest
from metric_family import BETWEEN, MEMBERS, batch, family, naive

from labkit import check
from labkit.relaxations.embedding_loss import EmbeddingLoss


SEEDS = range(4)
ROUNDING = 1e-10  # of float64, in sums of some hundred terms, exponentials of a few units


@pytest.mark.parametrize("seed", SEEDS)
def test_each_loss_is_that_of_its_formula(seed, double):
    z, labels, proxies = batch(seed)
    margin, tau = [(0.5, 0.5), (0.0, 1.0), (1.5, 0.2), (0.2, 2.0)][seed]
    found = family(z, labels, proxies, margin, tau)
    for member in MEMBERS:
        wanted = naive(member, z, labels, proxies, margin, tau)
        np.testing.assert_allclose(found[member][0], wanted, rtol=ROUNDING, err_msg=member)


def test_each_loss_of_one_anchor_is_that_of_its_formula(double):
    z, labels, proxies = batch(7)
    anchors = np.arange(len(z)) == 3
    found = family(z, labels, proxies, anchors=anchors)
    for member in MEMBERS:
        wanted = naive(member, z, labels, proxies, anchors=anchors)
        np.testing.assert_allclose(found[member][0], wanted, rtol=ROUNDING, err_msg=member)


def test_each_gradient_is_that_of_differences_of_the_formula(double):
    z, labels, proxies = batch(5)
    found, step = family(z, labels, proxies), 1e-5
    for member in MEMBERS:
        wanted = np.zeros_like(z)
        for entry in np.ndindex(*z.shape):
            move = np.zeros_like(z)
            move[entry] = step
            ends = [naive(member, z + sign * move, labels, proxies) for sign in (1, -1)]
            wanted[entry] = (ends[0] - ends[1]) / (2 * step)
        # of the difference: step^2 times a third derivative of some hundred
        np.testing.assert_allclose(found[member][1], wanted, atol=1e-7, err_msg=member)


def test_turning_all_points_and_proxies_together_changes_no_loss(double):
    z, labels, proxies = batch(1)
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    before, after = family(z, labels, proxies), family(z @ turn, labels, proxies @ turn)
    without = family(z @ turn, labels, proxies)
    for member in MEMBERS:
        np.testing.assert_allclose(after[member][0], before[member][0], rtol=ROUNDING)
        moved = abs(without[member][0] - before[member][0])
        assert (moved < ROUNDING) == (member in BETWEEN), member  # proxies must turn too


def test_the_order_of_the_points_does_not_matter(double):
    z, labels, proxies = batch(2)
    order = np.random.default_rng(1).permutation(len(z))
    before, after = family(z, labels, proxies), family(z[order], labels[order], proxies)
    for member in MEMBERS:
        np.testing.assert_allclose(after[member][0], before[member][0], rtol=ROUNDING)
        np.testing.assert_allclose(after[member][1], before[member][1][order], atol=ROUNDING)


@pytest.mark.parametrize("alone", [False, True])
def test_what_has_no_positives_or_no_negatives_costs_nothing(alone, double):
    z, _, proxies = batch(3)
    found = family(z, np.arange(8) if alone else np.zeros(8, int), proxies)
    nothing = [m for m in BETWEEN if m.startswith(("triplet", "lifted", "N-pair"))]
    for member in nothing + ["supervised contrastive"] * alone:
        assert found[member][0] == 0.0, member
        np.testing.assert_array_equal(found[member][1], 0.0)
    for value, slope in map(found.get, BETWEEN):
        assert np.isfinite(value)
        assert np.isfinite(slope).all()


def test_coinciding_opposite_and_vanishing_points_give_numbers(double):
    z, labels, proxies = batch(4)
    z[1], z[2], z[3], z[4], z[5] = z[0], -z[0], proxies[labels[3]], -2 * proxies[labels[4]], 0.0
    z[6] *= 1e-200
    for points in (z, np.zeros_like(z), np.ones_like(z)):
        for member, (value, slope) in family(points, labels, proxies).items():
            assert np.isfinite(value), member
            assert np.isfinite(slope).all(), member


@pytest.mark.parametrize("member", ["SphereFace", "ArcFace", "CosFace"])
def test_without_a_margin_the_softmaxes_are_one(member, double):
    z, labels, proxies = batch(6)
    found = family(z, labels, proxies, margin=0.0)
    for part, plain in zip(found[member], found["normalised softmax"], strict=True):
        np.testing.assert_allclose(part, plain, atol=1e-14)
    wider = family(z, labels, proxies, margin=0.3)
    assert wider[member][0] > found[member][0]  # a margin asks for more


def test_a_triplet_loss_moves_exactly_the_points_of_active_triplets(double):
    z, labels, proxies = batch(0)
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    squares, seen = ((z[:, None] - z[None]) ** 2).sum(-1), set()
    far = lambda a: max(squares[a][[p for p in range(8) if labels[p] == labels[a]]])
    near = lambda a: min(squares[a][labels != labels[a]])
    ends = lambda t: (squares[t[0], t[1]], squares[t[0], t[2]])
    for margin in (0.0, 0.02, 0.1, 0.5):
        found = family(z, labels, proxies, margin=margin)
        active = {
            (a, p, k)
            for a, p, k in np.ndindex(8, 8, 8)
            if a != p and labels[a] == labels[p] and labels[a] != labels[k]
            if squares[a, p] - squares[a, k] + margin > 0
        }
        for mining in ("all", "semi-hard", "batch-hard"):
            kept = active
            if mining == "semi-hard":
                kept = {t for t in active if squares[t[0], t[1]] < squares[t[0], t[2]]}
            if mining == "batch-hard":
                kept = {t for t in active if ends(t) == (far(t[0]), near(t[0]))}
            moved = np.any(found[f"triplet, {mining}"][1] != 0, axis=1)
            members = {point for triplet in kept for point in triplet}
            assert {int(point) for point in np.flatnonzero(moved)} == members
            seen.add(len(members))
    assert min(seen) < 8  # there were points to be left alone


def test_small_softness_leaves_the_nearest_negative(double):
    z, labels, proxies = batch(8)
    tau, s = 1e-3, z @ z.T
    hard = [
        max(0.0, s[a][labels != labels[a]].max() - s[a, p])
        for a, p in np.ndindex(8, 8)
        if a != p and labels[a] == labels[p]
    ]
    found = tau * family(z, labels, proxies, tau=tau)["N-pair"][0]
    assert abs(found - np.mean(hard)) < tau * np.log(9)  # a log of eight exponentials and 1


def test_what_cannot_be_is_refused_in_a_sentence():
    z, labels, proxies = batch(0)
    for change, says in (
        ({"name": "magnet"}, "name = 'magnet' is refused; accepted: one of supervised contrast"),
        ({"mining": "soft"}, "mining = 'soft' is refused; accepted: one of all, semi-hard"),
        ({"margin": -0.1}, "margin = -0.1 is refused; accepted: a finite number at least 0"),
        ({"tau": 0.0}, "tau = 0.0 is refused; accepted: a finite number above 0"),
    ):
        with pytest.raises(ValueError, match=says):
            check(EmbeddingLoss(**change))
    with pytest.raises(ValueError, match=r"proxies = None is refused; accepted: an array"):
        EmbeddingLoss("ArcFace")(z, labels)
    for member in ("lifted structure", "N-pair", "supervised contrastive", "Proxy-NCA", "ArcFace"):
        with pytest.raises(ValueError, match=r"tau = 0\.0 is refused; accepted: a number above 0"):
            EmbeddingLoss(member, tau=0.0)(z, labels, proxies)
