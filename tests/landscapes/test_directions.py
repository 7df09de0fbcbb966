"""Directions against the rule they follow, unit by unit, in every layout."""

import equinox
import flax.linen as flax
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from labkit.landscapes.directions import cosine, random_direction
from labkit.models import MLP, ConvNet


KEY = jr.key(3)
ROUNDING = 1e-5  # float32, over sums of some hundred squares


def unit_lengths(leaf, axis):
    """Naively, unit by unit."""
    return np.array([np.linalg.norm(unit) for unit in np.moveaxis(np.asarray(leaf), axis, 0)])


def own():
    return MLP((5, 4, 3)).init(KEY), {"weights": -1}


def convolutional():
    return ConvNet(filters=(2, 3)).init(KEY), {"weights": -1}


def with_flax():
    class Net(flax.Module):
        @flax.compact
        def __call__(self, x):
            x = flax.Conv(2, (3, 3))(x)
            return flax.Dense(3)(flax.LayerNorm()(x.reshape(len(x), -1)))

    return Net().init(KEY, jnp.ones((1, 4, 4, 1))), {"kernel": -1}


def with_equinox():
    keys = jr.split(KEY)
    layers = [equinox.nn.Conv2d(1, 2, 3, key=keys[0]), equinox.nn.Linear(8, 3, key=keys[1])]
    return equinox.filter(layers, equinox.is_inexact_array), {"weight": 0}


@pytest.mark.parametrize("model", [own, convolutional, with_flax, with_equinox])
def test_each_unit_of_a_filter_normalized_direction_is_as_long_as_its_weights(model):
    w, axes = model()
    d = jax.jit(random_direction)(KEY, w)
    seen = 0
    paths = jax.tree_util.tree_leaves_with_path(w)
    for (path, leaf), moved in zip(paths, jax.tree.leaves(d), strict=True):
        [axis] = [at for name, at in axes.items() if name in jax.tree_util.keystr(path)] or [None]
        if axis is None or leaf.ndim < 2:
            assert (moved == 0).all()  # biases, and the scales and shifts of norms
        else:
            lengths = unit_lengths(leaf, axis) / unit_lengths(moved, axis)
            np.testing.assert_allclose(lengths, 1, rtol=ROUNDING)
            seen += 1
    assert seen >= 2


def test_the_other_axis_of_a_dense_layer_is_not_normalized():
    w, _ = own()
    d = jax.jit(random_direction)(KEY, w)
    wrong = unit_lengths(d[0]["weights"], 0) / unit_lengths(w[0]["weights"], 0)
    assert np.abs(wrong - 1).max() > 0.1


def test_a_layer_is_as_long_as_its_weights_and_a_raw_direction_is_normal():
    w = MLP((60, 50, 2)).init(KEY)
    d = random_direction(KEY, w, "layer")
    for layer, moved in zip(w, d, strict=True):
        ratio = np.linalg.norm(moved["weights"]) / np.linalg.norm(layer["weights"])
        np.testing.assert_allclose(ratio, 1, rtol=ROUNDING)
        assert (moved["bias"] == 0).all()
    raw = np.asarray(random_direction(KEY, w, "raw")[0]["weights"]).ravel()
    # 3000 normal numbers: five standard errors of their mean, variance and fourth moment.
    for power, moment, spread in ((1, 0, 1), (2, 1, 2), (4, 3, 96)):
        assert abs((raw**power).mean() - moment) < 5 * np.sqrt(spread / raw.size)


def test_a_direction_does_not_lean_towards_the_vector_of_ones():
    w = {"weights": jnp.ones((60, 50))}
    along_ones = [cosine(random_direction(jr.key(i), w), w) for i in range(8)]
    # The cosine of n = 3000 normal numbers with any vector has standard deviation 1 / sqrt(n).
    assert np.abs(along_ones).max() < 5 / np.sqrt(3000)


def test_the_layout_can_be_said():
    w = {"weights": jnp.arange(1.0, 7.0).reshape(2, 3)}
    d = random_direction(KEY, w, units=lambda path, leaf: 0)
    np.testing.assert_allclose(
        unit_lengths(d["weights"], 0), unit_lengths(w["weights"], 0), rtol=ROUNDING
    )


def test_what_cannot_be_normalized_is_refused():
    with pytest.raises(ValueError, match="normalization = 'filters' is refused; accepted: one of"):
        random_direction(KEY, own()[0], "filters")
    with pytest.raises(ValueError, match="normalization = 'filter' is refused; accepted: 'raw'"):
        random_direction(KEY, jnp.ones(3))
