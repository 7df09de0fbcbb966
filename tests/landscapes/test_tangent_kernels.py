"""The ReLU tangent kernel against integrals, random networks and limits; its derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.distance import cdist

from labkit import check, replace
from labkit.landscapes.tangent_kernels import Kernel, gaussian, relu_tangent


X = np.random.default_rng(0).normal(size=(6, 2))
Z = np.random.default_rng(1).normal(size=(5, 2))
relu_tangent = jax.jit(relu_tangent, static_argnums=3)


def by_integrals(x, z, bias, depth):
    """(K, S) of one pair: each Gaussian mean as an integral over the angle of two weights."""
    phi = 2 * np.pi * np.arange(200_000) / 200_000
    xx, zz, s = x @ x + bias**2, z @ z + bias**2, x @ z + bias**2
    k = s
    for _ in range(depth):
        a = np.arccos(np.clip(s / np.sqrt(xx * zz), -1, 1))
        u, v = np.sqrt(xx) * np.cos(phi), np.sqrt(zz) * np.cos(phi - a)
        mean = lambda f: 2 * np.mean(f)  # of sqrt(2) relu or its slope, twice
        s = mean(2 * np.maximum(u, 0) * np.maximum(v, 0)) + bias**2  # mean of r^2 is 2
        k = k * mean((u > 0) & (v > 0)) + s
        xx, zz = xx + bias**2, zz + bias**2
    return k, s


@pytest.mark.parametrize("bias, depth", [(0.0, 1), (1.0, 1), (0.7, 3)])
def test_the_recursion_is_that_of_gaussian_integrals(bias, depth):
    found = np.array(relu_tangent(jnp.asarray(X), jnp.asarray(Z), bias, depth))
    pairs = [[by_integrals(x, z, bias, depth) for z in Z] for x in X]
    # float32 in arccos, and an integrand with a jump on 200,000 places.
    np.testing.assert_allclose(found, np.moveaxis(np.array(pairs), 2, 0), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("seed", range(5))
def test_a_layer_of_20000_units_has_nearly_this_kernel(seed):
    """K = sum over all weights of the products of their gradients, at the start."""
    random, width, bias = np.random.default_rng(seed), 20_000, 1.0
    w, b, a = random.normal(size=(2, width)), random.normal(size=width), random.normal(size=width)
    pre = X @ w + bias * b
    on, h = pre > 0, np.maximum(pre, 0)
    last = 2 * h @ h.T / width + bias**2
    first = 2 * ((on * a) @ (on * a).T) / width * (X @ X.T + bias**2)
    k, s = relu_tangent(jnp.asarray(X), jnp.asarray(X), bias, 1)
    for seen, limit in ((last, s), (first + last, k)):  # 1.3 % seen at most; 4 % is generous
        assert np.linalg.norm(seen - limit) < 0.04 * np.linalg.norm(limit)


@pytest.mark.parametrize("depth", [1, 3])
def test_a_point_with_itself_has_the_sum_of_the_variances(depth):
    k, s = relu_tangent(jnp.asarray(X), jnp.asarray(X), 0.7, depth)
    variances = [np.sum(X**2, axis=1) + layer * 0.7**2 for layer in range(1, depth + 2)]
    np.testing.assert_allclose(np.diag(k), sum(variances), rtol=2e-3)  # the cusp in float32
    np.testing.assert_allclose(np.diag(s), variances[-1], rtol=1e-5)


@pytest.mark.parametrize("bias, depth", [(0.0, 1), (1.0, 2)])
def test_it_is_a_kernel(bias, depth, double):
    k, s = relu_tangent(jnp.asarray(X), jnp.asarray(X), bias, depth)
    assert np.linalg.eigvalsh(k).min() > -1e-12
    assert np.linalg.eigvalsh(s).min() > -1e-12


def test_without_a_bias_it_grows_with_the_distance_to_the_origin():
    k, _ = relu_tangent(jnp.asarray(3 * X), jnp.asarray(Z), 0.0, 2)
    once, _ = relu_tangent(jnp.asarray(X), jnp.asarray(Z), 0.0, 2)
    np.testing.assert_allclose(k, 3 * once, rtol=1e-4, atol=1e-5)


def along(direction, place, z, bias, depth):
    """K from a place on a line."""
    at = lambda r: relu_tangent((place + r * direction)[None, :], z[None, :], bias, depth)
    return lambda r: at(r)[0][0, 0]


@pytest.mark.parametrize("depth", [1, 2])
def test_at_its_own_centre_the_slope_is_the_mean_of_both_sides(depth, double):
    z, e, h = jnp.asarray(X[0]), jnp.array([0.6, 0.8]), 1e-5
    k = along(e, z, z, 1.0, depth)
    after, before = (k(h) - k(0.0)) / h, (k(0.0) - k(-h)) / h
    assert before - after > 0.1  # a cusp
    slope = jax.grad(k)(0.0)
    np.testing.assert_allclose(
        slope, (after + before) / 2, atol=2e-5
    )  # an angle of 1e-5 and its rounding
    itself = jax.grad(lambda p: relu_tangent(p[None, :], p[None, :], 1.0, depth)[0][0, 0])(z)
    np.testing.assert_allclose(slope, itself @ e / 2, rtol=1e-12)


def test_arccos_alone_has_no_slope_there():
    z = jnp.array([0.6, 0.8])  # of length one
    angle = lambda x: jnp.arccos(jnp.minimum(x @ z, 1.0))
    assert not np.isfinite(jax.grad(angle)(z)).all()


@pytest.mark.parametrize("place", [(0.0, 0.0), (1.0, 0.0), (-1.0, 0.0), (1e-20, 0.0), (1.0, 1e-4)])
@pytest.mark.parametrize("bias", [0.0, 1.0])
def test_the_slope_is_finite_everywhere(place, bias):
    k = along(jnp.array([0.6, 0.8]), jnp.array(place), jnp.array([1.0, 0.0]), bias, 2)
    assert np.isfinite(k(0.0))
    assert np.isfinite(jax.grad(k)(0.0))


def test_elsewhere_the_slope_is_that_of_finite_differences(double):
    for place in X[1:]:
        k = along(jnp.array([0.6, 0.8]), jnp.asarray(place), jnp.asarray(X[0]), 1.0, 2)
        centred = (k(1e-5) - k(-1e-5)) / 2e-5  # its error is some 1e-10
        np.testing.assert_allclose(jax.grad(k)(0.0), centred, rtol=1e-7)


def test_the_mixture_goes_from_one_kernel_to_the_other():
    x, z = jnp.asarray(X, jnp.float32), jnp.asarray(Z, jnp.float32)
    bell, tangent = gaussian(x, z, 0.5), relu_tangent(x, z, 1.0, 1)[0]
    np.testing.assert_allclose(bell, np.exp(-2 * cdist(x, z) ** 2), rtol=1e-5)  # float32
    for share in (0.0, 0.25, 1.0):
        mixed = share * tangent + (1 - share) * bell
        np.testing.assert_allclose(Kernel(tangent=share)(x, z), mixed, rtol=1e-6)


@pytest.mark.parametrize("name, value", [("tangent", 1.5), ("bandwidth", 0.0), ("bias", -1.0)])
def test_a_kernel_that_is_none_is_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} = {value} is refused; accepted: a finite"):
        check(replace(Kernel(), {name: value}))
