"""The layers against XLA's convolution and plain NumPy."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from labkit.models.layers import convolve, dense, layers, mean_pool


@pytest.mark.parametrize("sides", [(3, 3), (1, 1), (5, 3), (2, 4)])
def test_shifted_slices_are_the_convolution_of_xla(sides):
    image = jr.normal(jr.key(0), (2, 6, 7, 3))
    weights = jr.normal(jr.key(1), (*sides, 3, 4))
    expected = jax.lax.conv_general_dilated(
        image, weights, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    # The sums have up to 5 * 3 * 3 terms of size 1, added in another order.
    np.testing.assert_allclose(jax.jit(convolve)(image, weights), expected, atol=1e-5)


def test_a_convolution_commutes_with_vmap_over_weights():
    image, weights = jr.normal(jr.key(0), (2, 4, 4, 1)), jr.normal(jr.key(1), (3, 3, 3, 1, 2))
    together = jax.jit(jax.vmap(convolve, (None, 0)))(image, weights)
    one_by_one = [jax.jit(convolve)(image, w) for w in weights]
    np.testing.assert_allclose(together, one_by_one, atol=1e-5)


def test_pooling_takes_the_mean_of_each_block_of_four():
    image = np.arange(32.0).reshape(1, 4, 8, 1)
    pooled = mean_pool(jnp.asarray(image))
    expected = [[image[0, r : r + 2, c : c + 2].mean() for c in (0, 2, 4, 6)] for r in (0, 2)]
    np.testing.assert_array_equal(pooled[0, :, :, 0], expected)


def test_starting_weights_have_the_promised_deviation_and_biases_are_zero():
    first, drawn = layers(jr.key(0), [(7, 8), (3, 3, 40, 50)], scale=0.5)
    assert first["weights"].shape == (7, 8)
    # 18,000 draws: the deviation of the sample is within 0.5% of the true one, one in two.
    assert np.std(drawn["weights"]) == pytest.approx(0.5 / np.sqrt(3 * 3 * 40), rel=0.03)
    assert drawn["bias"].shape == (50,)
    assert not drawn["bias"].any()


def test_a_dense_layer_holds_its_weights_as_inputs_by_outputs():
    params = {"weights": jnp.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), "bias": jnp.ones(3)}
    np.testing.assert_array_equal(dense(params, jnp.array([[1.0, 10.0]])), [[42.0, 53.0, 64.0]])
