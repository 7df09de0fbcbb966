"""Digits with a patch planted, against the same in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from labkit import replace
from labkit.data import digits
from labkit.dynamics.planted_digits import PATCH, pictures, planted_digits
from labkit.problems import count


PLANTED = planted_digits(each=5)
MEMBERS = np.asarray(PLANTED.members) > 0


def test_the_images_are_those_of_the_two_digits():
    split = digits()
    np.testing.assert_array_equal(PLANTED.x, split.x[np.isin(split.y, (3, 8))])
    assert sorted(set(np.asarray(PLANTED.labels))) == [3, 8]
    np.testing.assert_array_equal(PLANTED.labels == 8, PLANTED.y == 1)
    assert count(PLANTED) == 64 * 32 + 32 + 32 + 1


def test_each_group_has_one_digit_and_only_members_have_the_patch():
    assert MEMBERS.sum(axis=1).tolist() == [5, 5]
    assert (np.asarray(PLANTED.y)[MEMBERS[0]] == -1).all()
    assert (np.asarray(PLANTED.y)[MEMBERS[1]] == 1).all()
    added = np.asarray(PLANTED.data.x - PLANTED.x)
    expected = np.zeros_like(added)
    expected[np.ix_(MEMBERS.any(axis=0), PATCH)] = 6.0
    np.testing.assert_allclose(added, expected, atol=1e-5)  # float32 sums of up to 15


def test_with_brightness_0_the_images_are_as_they_are():
    np.testing.assert_array_equal(replace(PLANTED, {"M": 0.0}).data.x, PLANTED.x)


def test_another_seed_plants_in_other_images():
    assert not np.array_equal(planted_digits(each=5, seed=1).members, PLANTED.members)


def test_losses_are_those_of_numpy_and_the_removed_do_not_count(key):
    w = PLANTED.start(key)
    (first, second), planted = w, MEMBERS.any(axis=0)
    x, y = np.asarray(PLANTED.data.x, float), np.asarray(PLANTED.y, float)
    hidden = np.maximum(x @ np.asarray(first["weights"], float) + np.asarray(first["bias"]), 0)
    f = hidden @ np.asarray(second["weights"], float) + np.asarray(second["bias"])
    losses = (f[:, 0] - y) ** 2 / 2
    close = 1e-4  # float32 sums over 285 examples
    np.testing.assert_allclose(PLANTED.example_losses(w), losses, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(PLANTED.loss(w), losses.mean(), rtol=close)
    np.testing.assert_allclose(PLANTED.loss(w, PLANTED.data), losses.mean(), rtol=close)
    groups = [losses[group].mean() for group in MEMBERS]
    np.testing.assert_allclose(PLANTED.group_losses(w), groups, rtol=close)
    without = replace(PLANTED, {"outliers": "removed"})
    np.testing.assert_allclose(without.loss(w), losses[~planted].mean(), rtol=close)
    np.testing.assert_allclose(without.group_losses(w), groups, rtol=close)


def test_the_weight_of_the_feature_is_what_the_patch_adds_to_the_output(key):
    w, x = PLANTED.start(key), PLANTED.x.mean(axis=0)
    lit = x.at[jnp.array(PATCH)].add(6.0)
    outputs = PLANTED.predict(w, jnp.stack([x, lit]))[:, 0]
    # float32 outputs near 1
    np.testing.assert_allclose(PLANTED.feature_weight(w), outputs[1] - outputs[0], atol=1e-5)
    dark = replace(PLANTED, {"M": 0.0})
    np.testing.assert_allclose(dark.feature_weight(w), 0.0, atol=1e-6)


def test_a_draw_is_made_of_the_examples_with_their_labels(key):
    x, y, _ = PLANTED.draw(key, 30)
    all_x = np.asarray(PLANTED.data.x)
    for image, target in zip(x, y, strict=True):
        rows = np.flatnonzero((all_x == np.asarray(image)).all(axis=1))
        assert target in np.asarray(PLANTED.y)[rows]


def test_the_gradient_on_draws_is_that_of_all_examples_on_average(key):
    w = PLANTED.start(key)
    drawn = jax.grad(PLANTED.loss)(w, PLANTED.draw(key, 20_000))
    for a, b in zip(
        jax.tree.leaves(drawn), jax.tree.leaves(jax.grad(PLANTED.loss)(w)), strict=True
    ):
        # single gradients have entries up to about 1.5: four deviations of the mean
        np.testing.assert_allclose(a, b, atol=0.04)


def test_pictures_do_not_depend_on_how_the_pixels_were_standardised():
    x = np.random.default_rng(0).integers(0, 16, (9, 16)).astype(float)
    x[:, 3] = 7.0  # a pixel that is always the same
    seen = pictures(jnp.asarray(x))
    assert seen.shape == (9, 4, 4)
    assert seen.min() == 0.0
    assert seen.max() == 1.0
    scale, shift = np.linspace(1, 3, 16), np.linspace(-1, 1, 16)
    np.testing.assert_allclose(pictures(jnp.asarray(x * scale + shift)), seen, atol=1e-5)
    np.testing.assert_array_equal(seen[:, 0, 3], 1.0)  # no ink where nothing differs


@pytest.mark.parametrize(
    "options, sentence",
    [
        ({"pair": (3, 3)}, "two different digits"),
        ({"pair": (3, 12)}, "two different digits"),
        ({"each": 0}, "1 to 139"),
        ({"each": 400}, "the images of the rarer digit"),
    ],
)
def test_what_cannot_be_planted_is_refused(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        planted_digits(**options)
