"""Discriminators against MMD, eigenvalues, SciPy's integrator and finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from labkit.landscapes import discriminators
from labkit.landscapes.discriminators import LOSSES, coefficients, flow, labels, slope, train
from labkit.landscapes.point_clouds import ring
from labkit.landscapes.tangent_kernels import Kernel


N, M = 8, 6
REAL = ring(points=N)
FAKE = np.asarray(0.3 * np.random.default_rng(2).normal(size=(M, 2)), np.float32)
KERNELS = {"tangent": Kernel(), "gaussian": Kernel(tangent=0.0)}
values_of = jax.jit(lambda kernel, z: kernel(z, z))
coefficients = jax.jit(coefficients, static_argnums=0)
train = jax.jit(train, static_argnums=3)
at = jax.jit(lambda f, x: f(x))
each_kernel = pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)


def parts(kernel, dtype=np.float64):
    """(K, y, d) in NumPy."""
    z = jnp.concatenate([jnp.asarray(REAL, dtype), jnp.asarray(FAKE, dtype)])
    return np.asarray(values_of(kernel, z)), *map(np.asarray, labels(N, M, z.dtype))


def test_labels_and_weights_are_those_of_two_means():
    y, d = labels(2, 3, jnp.float32)
    np.testing.assert_array_equal(y, [1, 1, -1, -1, -1])
    np.testing.assert_allclose(d, [1 / 2, 1 / 2, 1 / 3, 1 / 3, 1 / 3], rtol=1e-6)


@each_kernel
def test_the_objective_of_ipm_is_t_times_mmd_squared(kernel):
    k, _, _ = parts(kernel, np.float32)
    mmd2 = sum(k[i, j] for i in range(N) for j in range(N)) / N**2
    mmd2 += sum(k[N + i, N + j] for i in range(M) for j in range(M)) / M**2
    mmd2 -= 2 * sum(k[i, N + j] for i in range(N) for j in range(M)) / (N * M)
    f = train(kernel, jnp.asarray(REAL), jnp.asarray(FAKE), "ipm", 3.0)
    between = at(f, REAL).mean() - at(f, FAKE).mean()
    np.testing.assert_allclose(between, 3 * mmd2, rtol=1e-4)  # float32


@each_kernel
@pytest.mark.parametrize("time", [0.01, 1.0, 30.0, 1e5])
def test_least_squares_is_its_closed_form_by_eigenvalues(kernel, time, double):
    """f = (1 - exp(-t K D)) y on the points."""
    k, y, d = parts(kernel)
    values, vectors = np.linalg.eigh(np.sqrt(d)[:, None] * k * np.sqrt(d)[None, :])
    whole = vectors @ (-np.expm1(-time * values) * (vectors.T @ (np.sqrt(d) * y)))
    f = k @ coefficients("lsgan", *map(jnp.asarray, (k, y, d)), time)
    np.testing.assert_allclose(f, whole / np.sqrt(d), atol=1e-9)


def test_least_squares_is_the_flow_of_diffrax(double):
    k, y, d = map(jnp.asarray, parts(Kernel()))
    integrated = flow("lsgan", k, y, d, 5.0, rtol=1e-9)
    closed = coefficients("lsgan", k, y, d, 5.0)
    np.testing.assert_allclose(closed, integrated, atol=1e-6)  # 1e-8 seen


def test_least_squares_ends_at_the_labels(double):
    k, y, d = map(jnp.asarray, parts(Kernel()))
    np.testing.assert_allclose(k @ coefficients("lsgan", k, y, d, 1e7), y, atol=1e-6)


def test_vanilla_is_the_flow_of_scipy(double):
    k, y, d = parts(Kernel())
    slope = lambda t, a: d * y / (1 + np.exp(y * (k @ a)))
    a = solve_ivp(slope, (0.0, 5.0), np.zeros(N + M), rtol=1e-9, atol=1e-11).y[:, -1]
    found = coefficients("vanilla", *map(jnp.asarray, (k, y, d)), 5.0)
    np.testing.assert_allclose(found, a, atol=1e-5)  # its own tolerance is 1e-5


@pytest.mark.parametrize("loss", LOSSES)
def test_the_slope_is_minus_the_derivative_of_the_loss(loss, double):
    value = {
        "ipm": lambda m: -m,
        "lsgan": lambda m: (1 - m) ** 2 / 2,
        "vanilla": lambda m: jnp.log1p(jnp.exp(-m)),
    }[loss]
    for margin in (-2.0, 0.0, 0.5, 3.0):
        np.testing.assert_allclose(slope(loss, margin), -jax.grad(value)(margin), rtol=1e-12)


@pytest.mark.parametrize("loss, share", [("ipm", 1.0), ("lsgan", 1.0), ("vanilla", 0.5)])
def test_every_loss_begins_along_the_witness(loss, share, double):
    k, y, d = map(jnp.asarray, parts(Kernel()))
    begun = coefficients(loss, k, y, d, 1e-6) / 1e-6
    np.testing.assert_allclose(begun, share * d * y, rtol=1e-4)  # 1e-6 of eigenvalues near 10


@each_kernel
def test_the_gradient_is_that_of_finite_differences(kernel, double):
    f = train(kernel, jnp.asarray(REAL, float), jnp.asarray(FAKE, float), "lsgan", 2.0)
    places = jnp.asarray(np.random.default_rng(3).normal(size=(4, 2)))
    # At a point of its own the tangent kernel has a cusp: there it is the mean of both sides,
    # up to the rounding of an angle of 1e-5.
    places = jnp.concatenate([places, f.z[:1], f.z[-1:]])
    gradient = jax.jit(f.gradient)(places)
    for axis, h in enumerate(1e-5 * jnp.eye(2)):
        centred = (at(f, places + h[None, :]) - at(f, places - h[None, :])) / 2e-5
        np.testing.assert_allclose(gradient[:, axis], centred, atol=1e-5)


def test_an_unknown_loss_is_refused():
    with pytest.raises(ValueError, match="loss = 'hinge' is refused; accepted: one of ipm, lsgan"):
        train(Kernel(), jnp.asarray(REAL), jnp.asarray(FAKE), "hinge")
    assert discriminators.LOSSES == ("ipm", "lsgan", "vanilla")
