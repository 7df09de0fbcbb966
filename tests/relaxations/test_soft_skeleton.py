"""The soft skeleton: topology kept, derivatives let through, and S120 with its controls."""

from dataclasses import replace as changed
from functools import cache

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy import ndimage

from labkit import check, replace, run
from labkit.method import cast
from labkit.record import Record
from labkit.relaxations.morphological_skeleton import (
    eroded,
    morphological_skeleton,
    peeled,
)
from labkit.relaxations.shapes import VOLUMES, betti, blob, letter, two_holes, vessels
from labkit.relaxations.simple_points import end_points, is_simple, neighbourhoods, thinned
from labkit.relaxations.soft_skeleton import (
    MARGIN,
    SoftSkeleton,
    binarised,
    claim,
    demo,
    example,
    say,
    skeleton,
    soft_skeleton,
)


KEY = jr.key(3)


@cache
def images():
    """50 blobs, the disc with two holes, letters and vessels."""
    shapes = [*map(blob, range(50)), two_holes(), *map(letter, "ABEi"), *map(vessels, range(5))]
    return np.stack(shapes)


once, single = jax.jit(thinned), jax.jit(skeleton)


@cache
def skeletons():
    """After six passes."""
    image = images()
    for _ in range(6):
        image = np.asarray(once(image))
    return image


@cache
def volumes():
    return np.stack([volume() for volume in VOLUMES.values()])


def test_pieces_and_holes_of_sixty_images_are_kept():
    for image, kept in zip(images(), skeletons(), strict=True):
        assert betti(kept) == betti(image)
        assert not (kept & ~image).any()


def test_a_second_skeleton_is_the_first_and_six_passes_are_enough():
    np.testing.assert_array_equal(once(skeletons()), skeletons())


def test_a_skeleton_is_thin():
    """Not one of the 20,857 squares of 2 x 2 in the images is left."""
    squares = lambda s: s[:, :-1, :-1] & s[:, 1:, :-1] & s[:, :-1, 1:] & s[:, 1:, 1:]
    assert squares(images()).sum() > 20_000
    assert squares(skeletons()).sum() == 0


def test_topology_agrees_with_scikit_image_and_the_length_nearly():
    morphology = pytest.importorskip("skimage.morphology")
    ratios, aways = [], []
    for image, kept in zip(images(), skeletons(), strict=True):
        other = morphology.skeletonize(image)
        assert betti(other) == betti(kept)
        ratios.append(kept.sum() / other.sum())
        aways.append(ndimage.distance_transform_edt(~other)[kept].mean())
    # 0.77 to 1.31 times as many pixels, 0.23 to 0.88 of a pixel away in the mean.
    assert 0.7 < min(ratios) < max(ratios) < 1.4
    assert max(aways) < 1


@pytest.mark.slow
def test_pieces_tunnels_and_cavities_of_volumes_are_kept():
    kept = np.asarray(jax.jit(lambda v: skeleton(v, 3))(volumes()))
    for solid, left in zip(volumes(), kept, strict=True):
        assert betti(left) == betti(solid)
    assert kept[0].sum() < 60  # a torus of 24^3 is left as a ring
    assert kept[3].sum() == 8  # and each ball as one voxel


def test_the_morphological_skeleton_breaks_all_of_fifty_blobs():
    broken = np.asarray(jax.jit(lambda x: morphological_skeleton(x, 8))(images() * 1.0))[:51]
    assert all(betti(s) != betti(i) for s, i in zip(broken, images()[:51], strict=True))


def test_morphology_is_that_of_scipy():
    image = np.random.default_rng(0).uniform(size=(9, 11)).astype(np.float32)
    cross = ndimage.generate_binary_structure(2, 1)
    least = ndimage.grey_erosion(image, footprint=cross, mode="constant", cval=np.inf)
    ours, taken = jax.jit(lambda image: (eroded(image), peeled(image)))(image)
    np.testing.assert_array_equal(ours, least)
    most = ndimage.grey_dilation(least, size=3, mode="constant", cval=-np.inf)
    np.testing.assert_array_equal(taken, np.maximum(image - most, 0))


@cache
def drawn():
    """Ten draws of a grey disc at tau 1.7: gradients of a weighted sum, skeletons, noise."""
    weights = np.random.default_rng(1).normal(size=GREY.shape)

    def of(key, image):
        total = lambda x: (weights * soft_skeleton(key, x, tau=1.7)).sum()
        kept = soft_skeleton(key, image, tau=1.7)
        return jax.grad(total)(image), kept, jr.logistic(key, image.shape, image.dtype)

    image = jnp.asarray(GREY, float)
    found = jax.jit(jax.vmap(of, (0, None)))(jr.split(KEY, 10), image)
    return weights, *map(np.asarray, found)


GREY = ndimage.gaussian_filter(two_holes().astype(float), 0.7)


def test_a_kept_pixel_passes_on_the_derivative_of_the_sigmoid_and_others_none():
    weights, grads, kept, noise = drawn()

    def a(x):
        inside = MARGIN + (1 - 2 * MARGIN) * x
        scores = np.log(inside / (1 - inside)) + 0.33 * noise.astype(float)
        return 1 / (1 + np.exp(-scores / 1.7))

    slope = (a(GREY + 1e-6) - a(GREY - 1e-6)) / 2e-6
    # Against central differences in double precision, of a sigmoid in single.
    np.testing.assert_allclose(grads, weights * kept * slope, rtol=1e-3, atol=1e-6)
    assert set(np.unique(kept)) == {0, 1}


def test_the_gradient_is_finite_and_of_order_one_on_the_skeleton():
    weights, grads, kept, _ = drawn()
    assert np.isfinite(grads).all()
    assert (grads[kept == 0] == 0).all()
    slopes = [np.median((g / weights)[k == 1]) for g, k in zip(grads, kept, strict=True)]
    assert min(slopes) > 0.5


DRAWS = 20_000
draw = jax.jit(jax.value_and_grad(lambda x, beta, tau: _summed(x, beta, tau), has_aux=True))


def _summed(x, beta, tau):
    b = binarised(KEY, x, beta, tau)
    return b.sum(), b


def test_pixels_are_drawn_at_their_odds_whatever_tau():
    """P(b = 1) = sigma(log odds / beta); with no noise it is whether x is above 1/2."""
    x = jnp.broadcast_to(jnp.array([0.1, 0.4, 0.5, 0.8]), (DRAWS, 4))
    (_, draws), _ = draw(x, 1.5, 1.0)
    inside = MARGIN + (1 - 2 * MARGIN) * np.asarray(x[0])
    share = 1 / (1 + (inside / (1 - inside)) ** (-1 / 1.5))
    error = np.sqrt(share * (1 - share) / DRAWS)
    assert (np.abs(draws.mean(0) - share) < 4 * error).all()
    np.testing.assert_array_equal(draw(x, 1.5, 0.1)[0][1], draws)
    (_, hard), slope = draw(x, 0.0, 2.0)
    np.testing.assert_array_equal(hard, np.asarray(x) > 0.5)
    # At a half the log odds have slope 4, the sigmoid 1 / (4 tau).
    np.testing.assert_allclose(slope[:, 2], (1 - 2 * MARGIN) / 2.0, rtol=1e-5)  # float32


def test_a_batch_is_thinned_image_by_image():
    for index in (0, 50, 52):
        np.testing.assert_array_equal(single(images()[index]), skeletons()[index])


def test_a_softness_that_is_not_above_zero_and_an_image_that_is_none_are_refused():
    with pytest.raises(ValueError, match=r"tau = 0.0 is refused; accepted: a number above 0"):
        binarised(KEY, jnp.ones(3), tau=0.0)
    with pytest.raises(ValueError, match=r"image = (?s:.*) is refused"):
        check(SoftSkeleton(np.full((4, 4), 1.5)))


@pytest.mark.slow
def test_a_slab_of_layers_keeps_pieces_and_tunnels():
    record = run(replace(changed(example(), image=letter("A", 16) * 1.0), {"layers": 3}), 4)
    claim(record).check()
    assert betti(record.last("start")) == (1, 1, 0)
    assert "1 piece, 1 tunnel, 0 cavities in the skeleton" in say(record)


def test_the_gradient_that_is_seen_is_that_of_the_sum_of_the_skeleton():
    def both(method, key):
        total = lambda x: soft_skeleton(key, x, method.beta, method.tau, passes=0).sum()
        return jax.grad(total)(method.image), method.observe(method.init(key))["gradient"]

    by_grad, seen = jax.jit(both)(cast(example()), KEY)
    np.testing.assert_allclose(by_grad, seen, rtol=1e-5)  # two programs in float32


def test_the_claim_holds_on_the_demonstration():
    claim(demo()).check()
    assert "3 pieces, 3 holes in the skeleton" in say(demo())
    assert demo()["removable"][0] > 100


@jax.jit
def may_go(image):
    return is_simple(neighbourhoods(image, 2)) & image & ~end_points(image, 2)


def with_rows(rows):
    """The demonstration with another film of what is kept."""
    left = np.asarray(may_go(rows[-1]).sum())
    told = {"skeleton": np.stack(rows), "removable": left[None]}
    return Record(demo().steps, dict(demo().columns) | told)


def test_the_claim_refuses_the_morphological_skeleton_and_no_thinning_at_all():
    film = list(demo()["morphological"] > 0.5)
    assert not claim(with_rows(film)).holds
    assert not claim(with_rows([demo()["skeleton"][0]] * 9)).holds


def test_the_claim_refuses_thinning_without_subfields():
    """Each simple point may go; two at a time may not."""
    film = [demo()["skeleton"][0]]
    for _ in range(8):
        film.append(film[-1] & ~np.asarray(may_go(film[-1])))
    assert not claim(with_rows(film)).holds


def test_the_claim_refuses_joining_through_faces_only():
    """With 4 neighbours in place of 8, thinning keeps another topology."""
    film = [np.asarray(demo()["skeleton"][0])]
    film += [~np.asarray(single(~film[0])) & film[0]] * 8
    assert not claim(with_rows(film)).holds
