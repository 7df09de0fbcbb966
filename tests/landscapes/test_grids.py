"""Grids against the loss, one point after the other; the known defects of others among them."""

import equinox
import flax.linen as flax
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from labkit import from_loss
from labkit.landscapes import grids
from labkit.landscapes.grids import loss_on_plane, on_plane
from labkit.landscapes.planes import Plane, random_plane
from labkit.models import MLP, ConvNet
from labkit.problems import Classification, Quadratic, digits_network


A, B = np.linspace(-1.0, 1.0, 5), np.linspace(-0.5, 1.0, 4)
ROUNDING = 1e-5  # float32: sums over samples in another order


def naive(loss, plane, a=A, b=B):
    """One point after the other."""
    at = jax.jit(lambda plane, x, y: loss(plane.at(x, y)))
    return np.array([[float(at(plane, x, y)) for x in a] for y in b])


def test_a_slice_of_a_quadratic_is_its_closed_form():
    h = jnp.linspace(0.1, 3.0, 50)
    plane = random_plane(jr.key(1), jr.normal(jr.key(0), (50,)), "raw")
    w, u, v = (np.asarray(axis, float) for axis in (plane.origin, plane.first, plane.second))
    closed = np.array([[0.5 * np.sum(h * (w + x * u + y * v) ** 2) for x in A] for y in B])
    seen = np.asarray(loss_on_plane(Quadratic(h), plane, A, B))
    assert np.abs(seen - closed).max() / np.ptp(closed) < ROUNDING


@pytest.mark.parametrize("cache", [2**20, 2**12])
@pytest.mark.parametrize("model", [MLP((64, 5, 10), activation="relu"), ConvNet(filters=(2, 3))])
def test_blocks_and_lanes_change_nothing(model, cache, monkeypatch):
    """37 samples, whole and in blocks that do not divide them."""
    monkeypatch.setattr(grids, "CACHE", dict.fromkeys(("cpu", "gpu"), cache))
    small = digits_network(samples=37)
    problem = Classification(model, small.x, small.y, "cross_entropy")
    w = problem.start(jr.key(0))
    sizes = [grids._block(problem, w, 37)]
    assert (sizes[0] == 37) == (cache == 2**20)
    plane = random_plane(jr.key(1), w)
    points = jnp.stack(jnp.meshgrid(A, B), axis=-1).reshape(-1, 2).astype(float)
    seen = jax.jit(grids.losses)(problem, plane, points)
    np.testing.assert_allclose(seen.reshape(4, 5), naive(problem.loss, plane), rtol=ROUNDING)


def test_every_row_reads_the_same_coordinate_and_every_column_the_other():
    """Rows walked in a snake would be shifted against each other."""
    plane = Plane(jnp.zeros(2), jnp.array([1.0, 0.0]), jnp.array([0.0, 1.0]))
    seen = on_plane(lambda w: {"first": w[0], "both": w}, plane, A, B)
    np.testing.assert_allclose(seen["first"], np.tile(A, (4, 1)), rtol=ROUNDING)
    np.testing.assert_allclose(seen["both"][..., 1], np.tile(B[:, None], (1, 5)), rtol=ROUNDING)


def test_an_axis_may_end_at_zero_or_have_one_point():
    plane = Plane(jnp.zeros(2), jnp.array([1.0, 0.0]), jnp.array([0.0, 1.0]))
    seen = on_plane(jnp.sum, plane, np.linspace(0.0, 1.0, 3), np.linspace(-1.0, 0.0, 3))
    np.testing.assert_allclose(np.asarray(seen)[:, 0], [-1.0, -0.5, 0.0], atol=ROUNDING)
    assert on_plane(jnp.sum, plane, A, np.zeros(1)).shape == (1, 5)
    with pytest.raises(ValueError, match=r"b = .* is refused; accepted: an array of one"):
        on_plane(jnp.sum, plane, A, np.zeros(0))


def test_several_metrics_at_once_are_those_of_the_problem():
    problem = digits_network(samples=40, width=4)
    plane = random_plane(jr.key(1), problem.start(jr.key(0)))
    np.testing.assert_array_equal(
        on_plane(problem.accuracy, plane, A, B), naive(problem.accuracy, plane)
    )


def test_rescaled_relu_units_look_the_same_when_filter_normalized_and_else_do_not():
    """Weights into a unit times s, those out of it over s: the same network."""
    problem = digits_network(samples=60, width=8, depth=1, activation="relu", scale=1.0)
    w = problem.start(jr.key(0))
    s = jnp.exp(jnp.linspace(-1.5, 1.5, 8))
    into = {"bias": w[0]["bias"] * s, "weights": w[0]["weights"] * s[None]}
    scaled = [into, {**w[1], "weights": w[1]["weights"] / s[:, None]}]
    np.testing.assert_allclose(problem.loss(scaled), problem.loss(w), rtol=ROUNDING)

    def sliced(w, normalization):
        plane = random_plane(jr.key(2), w, normalization)
        still = jax.tree.map(jnp.zeros_like, w[1])  # through the incoming layer alone
        axes = [[axis[0], still] for axis in (plane.first, plane.second)]
        return np.asarray(loss_on_plane(problem, Plane(w, *axes), A, B))

    for normalization, same in (("filter", True), ("raw", False)):
        before, after = sliced(w, normalization), sliced(scaled, normalization)
        apart = np.abs(after - before).max() / np.ptp(before)
        assert apart < 1e-4 if same else apart > 0.1


def test_models_of_other_libraries_are_sliced_with_their_data_as_arguments():
    x, y = jr.normal(jr.key(0), (20, 6)), jr.normal(jr.key(1), (20, 1))
    mlp = equinox.nn.MLP(6, 1, 4, 1, key=jr.key(2))
    layer = flax.Dense(1)
    problems = [
        from_loss(lambda m, d: jnp.mean((jax.vmap(m)(d[0]) - d[1]) ** 2), mlp, (x, y)),
        from_loss(
            lambda p, d: jnp.mean((layer.apply(p, d[0]) - d[1]) ** 2),
            layer.init(jr.key(3), x),
            (x, y),
        ),
    ]
    for problem in problems:
        plane = random_plane(jr.key(1), problem.start(jr.key(0)))
        np.testing.assert_allclose(
            loss_on_plane(problem, plane, A, B), naive(problem.loss, plane), rtol=ROUNDING
        )


def test_another_plane_or_other_data_compile_nothing(compilations):
    problem = digits_network(samples=30, width=4)
    loss_on_plane(problem, random_plane(jr.key(1), problem.start(jr.key(0))), A, B)
    other = Classification(problem.model, problem.x + 1.0, problem.y, problem.criterion)
    plane = random_plane(jr.key(2), problem.start(jr.key(3)))
    before = compilations.count
    loss_on_plane(other, plane, A, B)
    assert compilations.count == before
