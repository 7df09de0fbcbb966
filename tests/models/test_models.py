"""Both models against naive forward passes, and their refusals."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from labkit.method import check
from labkit.models import MLP, ConvNet


def naive(model_params, x, activation):
    for index, layer in enumerate(model_params):
        out = np.zeros((len(x), layer["bias"].size))
        for sample in range(len(x)):
            for unit in range(layer["bias"].size):
                total = sum(x[sample] * np.asarray(layer["weights"])[:, unit])
                out[sample, unit] = total + layer["bias"][unit]
        x = out if index == len(model_params) - 1 else activation(out)
    return x


@pytest.mark.parametrize(
    "name, activation",
    [("tanh", np.tanh), ("relu", lambda z: np.maximum(z, 0.0)), ("identity", lambda z: z)],
)
def test_the_mlp_is_the_naive_forward_pass(name, activation):
    model = MLP((3, 4, 5, 2), activation=name)
    params = jax.jit(model.init)(jr.key(0))
    x = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    np.testing.assert_allclose(model.apply(params, x), naive(params, x, activation), atol=1e-5)


def test_the_default_network_of_the_digits_has_3466_weights():
    params = jax.eval_shape(MLP((64, 32, 32, 10)).init, jr.key(0))
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 3466


def xla_forward(params, x):
    """The network from XLA's own convolution and pooling."""
    for name in ("first", "second"):
        x = jax.lax.conv_general_dilated(
            x,
            params[name]["weights"],
            window_strides=(1, 1),
            padding="SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        x = jax.nn.relu(x + params[name]["bias"][None, None, None])
        zero = jnp.zeros((), x.dtype)
        x = jax.lax.reduce_window(x, zero, jax.lax.add, (1, 2, 2, 1), (1, 2, 2, 1), "VALID") / 4
    return x.reshape(len(x), -1) @ params["dense"]["weights"] + params["dense"]["bias"][None]


def test_the_convolutional_network_is_its_layers_in_order_and_takes_flat_images():
    model = ConvNet()
    params = jax.jit(model.init)(jr.key(0))
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 1898
    flat = jr.normal(jr.key(1), (5, 64))
    square = flat.reshape(5, 8, 8, 1)
    expected = jax.jit(xla_forward)(params, square)
    np.testing.assert_allclose(jax.jit(model.apply)(params, flat), expected, atol=1e-5)
    assert jax.eval_shape(model.apply, params, square).shape == (5, 10)


def test_the_scale_multiplies_the_starting_weights_and_compiles_once():
    traced = []
    init = jax.jit(lambda model: (traced.append(model), model.init(jr.key(0)))[1])
    half, whole = init(MLP((3, 4, 2), scale=0.5)), init(MLP((3, 4, 2), scale=1.0))
    for small, large in zip(half, whole, strict=True):
        np.testing.assert_allclose(2.0 * small["weights"], large["weights"], rtol=1e-6)
    assert len(traced) == 1


@pytest.mark.parametrize("sizes", [(3,), (3, 0), [3, 4], (3, 2.5)])
def test_sizes_that_make_no_network_are_refused(sizes):
    with pytest.raises(ValueError, match=r"sizes = .* is refused"):
        check(MLP(sizes))


@pytest.mark.parametrize("wrong", [{"side": 6}, {"filters": (8,)}, {"activation": "tan"}])
def test_a_convolutional_network_that_cannot_be_is_refused(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} = .* is refused"):
        check(ConvNet(**wrong))
