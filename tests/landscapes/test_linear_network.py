"""Tasks against dense linear algebra and per-sample sums; starts against their definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from labkit import check, data
from labkit.landscapes.linear_network import (
    LinearNetwork,
    Task,
    digits_task,
    encoder,
    hierarchy,
    orthogonal,
)


FAMILIES = ("decoupled", "gaussian", "orthogonal", "pretrained")


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_the_features_of_the_hierarchy_are_those_of_the_nodes_above_an_item(levels, double):
    items, rows = 2**levels, []
    for depth in range(levels + 1):
        for node in range(2**depth):
            rows.append([float(item >> (levels - depth) == node) for item in range(items)])
    task = hierarchy(levels)
    np.testing.assert_allclose(task.best * np.sqrt(items), rows, atol=1e-12)
    np.testing.assert_allclose(
        np.sort(task.s)[::-1], np.linalg.svd(np.array(rows) / np.sqrt(items))[1], rtol=1e-12
    )
    for basis in (task.u, task.v):
        np.testing.assert_allclose(basis.T @ basis, np.eye(items), atol=1e-12)


@pytest.mark.parametrize("whitened", [True, False])
def test_the_task_of_the_digits_is_their_regression(whitened, double):
    task, table = digits_task(whitened=whitened), data.digits()
    x = table.x - table.x.mean(axis=0)
    axes = np.linalg.eigh(x.T @ x)[1][:, ::-1][:, :10]
    x = x @ axes * np.sign((axes.T @ np.linalg.svd(x)[2][:10].T).diagonal())[None]
    x /= x.std(axis=0) if whitened else np.sqrt(x.var(axis=0).mean())
    y = np.eye(10)[table.y]
    covariance = np.eye(10) if whitened else np.asarray(task.inputs)
    np.testing.assert_allclose(x.T @ x / len(x), covariance, atol=1e-4)  # data are float32
    best = np.linalg.lstsq(x, y - y.mean(axis=0), rcond=None)[0].T
    np.testing.assert_allclose(task.best, best, atol=1e-5)
    assert len(task.s) == 9
    # The loss is the mean squared error of the samples, less that of the regression.
    w = np.random.default_rng(0).normal(size=(10, 10))
    error = lambda w: 0.5 * ((y - y.mean(axis=0) - x @ w.T) ** 2).sum(axis=1).mean()
    np.testing.assert_allclose(task.loss(jnp.asarray(w)), error(w) - error(best), rtol=1e-4)


@pytest.mark.parametrize("layers", [1, 2, 4])
def test_the_gradient_is_the_products_above_and_below_around_the_error(layers, key, double):
    """-(above)' (Sigma_yx - W Sigma_xx) (below)', in NumPy."""
    root = np.random.default_rng(1).normal(size=(4, 4))
    task = hierarchy()
    inputs = jnp.asarray(root @ root.T)
    task = Task(task.s, task.left, task.right, inputs)
    network = LinearNetwork(task, layers=layers, width=5, family="gaussian", u0=1.0)
    w = [np.asarray(m) for m in network.start(key)]
    product = lambda several: np.linalg.multi_dot([np.eye(len(several[-1])), *several[::-1]])
    whole = product([np.eye(4), *w])
    error = np.asarray(task.best) @ inputs - whole @ inputs
    for i, gradient in enumerate(jax.grad(network.loss)(network.start(key))):
        above = product([np.eye(w[i].shape[0]), *w[i + 1 :]])
        below = product([np.eye(4), *w[:i]])
        np.testing.assert_allclose(gradient, -above.T @ error @ below.T, atol=1e-10)


@pytest.mark.parametrize("layers", [1, 2, 5])
def test_a_decoupled_start_has_its_strength_in_every_mode_and_is_balanced(layers, key):
    network = LinearNetwork(hierarchy(), layers=layers, u0=0.03)
    w = network.start(key)
    start = 0.03 * network.task.u @ network.task.v.T
    np.testing.assert_allclose(network.product(w), start, atol=1e-6)
    modes = network.task.u.T @ network.product(w) @ network.task.v
    np.testing.assert_allclose(modes, 0.03 * np.eye(4), atol=1e-6)
    for balance in network.balance(w)[1:-1]:
        np.testing.assert_allclose(balance, 0.0, atol=1e-6)
    np.testing.assert_allclose(network.task.modes(network.product(w)), 0.03, rtol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_imbalance_moves_strength_to_the_last_layer_and_keeps_the_map(family, key):
    even = LinearNetwork(hierarchy(), layers=3, family=family, u0=0.1)
    odd = LinearNetwork(hierarchy(), layers=3, family=family, u0=0.1, imbalance=1.5)
    w, other = jax.jit(even.start)(key), jax.jit(odd.start)(key)
    np.testing.assert_allclose(odd.product(other), even.product(w), atol=1e-6)
    norm = np.linalg.norm
    ratio = norm(other[-1]) / norm(other[0]) / (norm(w[-1]) / norm(w[0]))
    np.testing.assert_allclose(np.log(ratio), 1.5, rtol=1e-5)


def test_orthogonal_weights_keep_lengths_and_gaussian_ones_have_glorots_variance(key):
    shapes = [(20, 4), (20, 20), (7, 20)]
    square = LinearNetwork(hierarchy(), layers=3, width=20, family="orthogonal", u0=0.5)
    for w, shape in zip(jax.jit(square.start)(key), shapes, strict=True):
        assert w.shape == shape
        values = np.linalg.svd(np.asarray(w), compute_uv=False)
        np.testing.assert_allclose(values, 0.5 ** (1 / 3), rtol=1e-5)
    wide = LinearNetwork(hierarchy(), layers=3, width=64, family="gaussian", u0=1.0)
    for w in jax.jit(wide.start)(
        key
    ):  # of 256 numbers or more the variance is known to 9 % (1 sigma)
        np.testing.assert_allclose(w.var() * sum(w.shape) / 2, 1.0, atol=0.3)


def test_orthogonal_matrices_have_no_preferred_signs():
    """The raw QR factor has a signed diagonal of R: its entries would not average to zero."""
    q = jax.vmap(lambda k: orthogonal(k, 3, 3))(jax.random.split(jax.random.key(0), 2000))
    # The mean of 2000 entries of variance 1/3 is within 0.013 of zero (1 sigma).
    np.testing.assert_allclose(q.mean(axis=0), 0.0, atol=0.06)
    np.testing.assert_allclose((q**2).mean(axis=0), 1 / 3, atol=0.04)


def test_an_encoder_learns_to_give_back_white_inputs(key):
    a = encoder(0.05 * jax.random.normal(key, (8, 4)), jnp.eye(4))
    np.testing.assert_allclose(a.T @ a, np.eye(4), atol=1e-4)


def test_a_step_of_an_encoder_is_downhill_on_its_error(key):
    """L(A) = tr (I - A'A) C (I - A'A) / 2, by automatic derivative."""
    root, a = jax.random.normal(key, (2, 4, 4))
    inputs, off = root @ root.T, lambda a: jnp.eye(4) - a.T @ a
    slope = jax.grad(lambda a: 0.5 * jnp.trace(off(a) @ inputs @ off(a)))(a)
    step = (encoder(a, inputs, steps=1) - a) * 4 * jnp.trace(inputs)
    np.testing.assert_allclose(step, -slope, rtol=1e-3, atol=1e-3 * jnp.abs(slope).max())


def test_a_narrow_encoder_finds_the_directions_of_largest_variance(key):
    q = orthogonal(jax.random.key(7), 5, 5)
    inputs = q @ jnp.diag(jnp.array([4.0, 3.0, 0.2, 0.1, 0.05])) @ q.T
    a = encoder(0.05 * jax.random.normal(key, (2, 5)), inputs, steps=1000)
    # What remains of the others shrinks with the gap of the variances, at these steps to 1e-3.
    np.testing.assert_allclose(a.T @ a, q[:, :2] @ q[:, :2].T, atol=0.01)


def test_pretrained_layers_keep_what_the_inputs_have(key):
    network = LinearNetwork(hierarchy(), layers=4, family="pretrained", u0=0.01)
    *hidden, last = network.start(key)
    carried = np.linalg.svd(network.product(tuple(hidden)), compute_uv=False)
    np.testing.assert_allclose(carried, 1.0, atol=1e-3)
    np.testing.assert_allclose(np.linalg.svd(last, compute_uv=False), 0.01, rtol=1e-4)


@pytest.mark.parametrize(
    "make, name",
    [
        (lambda: LinearNetwork(hierarchy(3)), None),
        (lambda: LinearNetwork(hierarchy(3), width=5), "width"),
        (lambda: LinearNetwork(family="none"), "family"),
        (lambda: LinearNetwork(Task(left=jnp.eye(4))), "shape of left"),
        (lambda: LinearNetwork(Task(inputs=jnp.eye(2))), "shape of inputs"),
        (lambda: LinearNetwork(Task(jnp.array([1.0, -1.0]))), "task.s"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(make, name):
    if name is None:
        check(make())
        return
    with pytest.raises(ValueError, match=rf"{name} = (?s:.*) is refused; accepted: "):
        check(make())
