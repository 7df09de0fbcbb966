"""Points on a sphere under a loss: what is seen, and against S097."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from metric_family import naive

from labkit import Adam, replace, run
from labkit.relaxations import metric_losses
from labkit.relaxations.metric_losses import FreeEmbeddings, claim, demo, say, seen_from
from labkit.relaxations.pair_losses import supervised_contrastive
from labkit.rules import Scheduled


LABELS = np.arange(12) // 3
# The corners of a simplex in three dimensions.
CORNERS = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / np.sqrt(3)


@functools.cache
def under_triplets():
    """The points under the triplet loss."""
    return run(replace(metric_losses.example(), {"name": "triplet"}), 200, every=4)


def test_what_is_seen_is_what_the_points_say():
    record, margin = demo(), 0.5
    for row in (0, 3, 20):
        z = np.asarray(record["z"][row], float)
        np.testing.assert_allclose(np.linalg.norm(z, axis=1), 1.0, rtol=1e-5)
        squares, cosines = ((z[:, None] - z[None]) ** 2).sum(-1), z @ z.T
        same, other = LABELS[:, None] == LABELS, LABELS[:, None] != LABELS
        # float32
        np.testing.assert_allclose(record["within"][row], cosines[same].min(), atol=1e-5)
        np.testing.assert_allclose(record["nearest"][row], cosines[other].max(), atol=1e-5)
        np.testing.assert_allclose(record["farthest"][row], cosines[other].min(), atol=1e-5)
        found = naive("supervised contrastive", z, LABELS, None)
        np.testing.assert_allclose(record["loss"][row], found, rtol=1e-5)
        breaks = [
            squares[a, p] - squares[a, k] + margin > 0
            for a, p, k in np.ndindex(12, 12, 12)
            if a != p and same[a, p] and other[a, k]
        ]
        np.testing.assert_allclose(record["active"][row], np.mean(breaks), rtol=1e-5)
        for a in range(12):
            far = max(squares[a, same[a]])
            near = min(squares[a, other[a]])
            active = far - near + margin > 0
            nearest = np.where(other[a], squares[a], np.inf).argmin()
            assert record["hardest"][row][a] == (nearest if active else -1)


def test_the_force_is_the_slope_of_the_loss_along_the_sphere():
    record, step = demo(), 1e-5
    z = np.asarray(record["z"][0], float)
    force = np.asarray(record["force"][0], float)
    np.testing.assert_allclose((force * z).sum(axis=1), 0.0, atol=1e-5)  # along the sphere
    for point, along in np.ndindex(12, 3):
        move = np.zeros_like(z)
        move[point, along] = step
        ends = [naive("supervised contrastive", z + s * move, LABELS, None) for s in (1, -1)]
        slope = (ends[0] - ends[1]) / (2 * step)  # the loss makes its points unit by itself
        np.testing.assert_allclose(force[point, along], -12 * slope, atol=2e-5)


def test_the_simplex_is_a_minimum_of_the_supervised_contrastive_loss(double):
    z = jnp.asarray(CORNERS[LABELS])
    loss = lambda flat: supervised_contrastive(flat.reshape(12, 3), LABELS, 0.5)
    slope, curvature = (jax.jit(f(loss))(z.ravel()) for f in (jax.grad, jax.hessian))
    np.testing.assert_allclose(slope, 0.0, atol=1e-14)
    flat = 12 + 3  # moves along the rays, and turns of the whole, change nothing
    values = np.linalg.eigvalsh(curvature)
    np.testing.assert_allclose(values[:flat], 0.0, atol=1e-12)
    assert values[flat] > 1e-2
    # its value in closed form: two others at cosine 1, nine at -1/3
    wanted = np.log(2 * np.exp(2) + 9 * np.exp(-2 / 3)) - 2
    np.testing.assert_allclose(loss(z.ravel()), wanted, rtol=1e-12)


def test_the_claim_holds_on_the_demonstration():
    claim(demo()).check()
    # In float32 Adam's steps keep the points in motion by some 1e-5.
    assert np.abs(claim(demo()).seen).max() < 2e-4
    assert "a simplex has 1 and -0.333" in say(demo())


def test_the_claim_refuses_points_on_their_way():
    assert not claim(demo().until(100)).holds


def test_the_claim_refuses_the_loss_with_its_sign_turned():
    climbing = FreeEmbeddings(rule=Scheduled(Adam(0.05), lambda step: -(0.995**step)))
    record = run(climbing, 800, every=4)
    assert not claim(record).holds
    assert record.last("loss") > record["loss"][0]


def test_a_loss_with_a_hinge_stops_when_the_margin_is_kept_and_its_claim_is_refused():
    record = under_triplets()
    done = record["loss"] == 0
    assert done.any()
    assert (record["active"][done] == 0).all()
    np.testing.assert_array_equal(record["force"][done], 0.0)
    assert (record["hardest"][done] == -1).all()
    assert not claim(record).holds  # far from collapsed, far from a simplex


def test_a_sphere_is_turned_and_tilted_and_a_circle_lies_as_it_is():
    z = np.random.default_rng(0).normal(size=(5, 3))
    turned = seen_from(z, 0.7)
    np.testing.assert_allclose(turned @ turned.T, z @ z.T)  # a rotation
    np.testing.assert_array_equal(seen_from(z[:, :2], 0.7)[:, :2], z[:, :2])


@pytest.mark.slow
def test_both_cosines_are_found_to_a_millionth(double):
    """With tau 0.5, as the minimiser is known; float64, 5000 steps."""
    record = run(metric_losses.example(), 5000, every=100)
    assert np.abs(claim(record).seen).max() < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("name", ["normalised softmax", "ArcFace", "CosFace"])
def test_normalised_softmaxes_find_the_simplex_too(name):
    record = run(replace(metric_losses.example(), {"name": name}), 2000, every=100)
    assert np.abs(claim(record).seen).max() < 1e-2
