"""Descent on a surface against a loop in NumPy, and against F006."""

import jax.numpy as jnp
import numpy as np
import pytest

from labkit import Sgd, replace, run
from labkit.landscapes import surface_descent
from labkit.landscapes.surface_descent import SurfaceDescent, claim
from labkit.problems import EdgeToy, Surface


def himmelblau_slope(u, v):
    """By hand: 4 u a + 2 b, 2 a + 4 v b with a = u^2 + v - 11, b = u + v^2 - 7."""
    a, b = u**2 + v - 11, u + v**2 - 7
    return np.array([4 * u * a + 2 * b, 2 * a + 4 * v * b])


def test_the_path_is_that_of_a_loop_in_numpy():
    record = run(surface_descent.example(), 30)
    w = [np.array([-0.5, -1.0])]
    for _ in range(30):
        w.append(w[-1] - 0.01 * himmelblau_slope(*w[-1]))
    np.testing.assert_allclose(record["w"], w, atol=1e-4)  # float32, where slopes reach 40


@pytest.mark.parametrize("start, minimum", [((2, 2), 0), ((-2, 2), 1), ((-2, -2), 2), ((2, -2), 3)])
def test_the_start_decides_which_minimum_is_found(start, minimum):
    method = replace(surface_descent.example(), {"w0": np.array(start, float)})
    end = run(method).last("w")
    np.testing.assert_allclose(end, method.problem.minima[minimum], atol=1e-3)


def test_the_landscape_is_the_loss_on_a_grid():
    record = run(surface_descent.example(), 0)
    z, u, v = (record.last(name) for name in ("landscape", "u", "v"))
    assert z.shape == (81, 81)
    a = u[None, :] ** 2 + v[:, None] - 11
    b = u[None, :] + v[:, None] ** 2 - 7
    np.testing.assert_allclose(z, a**2 + b**2, rtol=1e-4, atol=1e-3)  # u along x, v along y


def test_the_toy_ends_on_its_orbit_at_the_edge():
    record = run(SurfaceDescent(EdgeToy(), Sgd(0.2)), 3000)
    ends = np.sort(record["w"][-2:, 0])
    np.testing.assert_allclose(record["w"][-2:, 1], 10.0, atol=1e-2)  # v = 2 / lr
    np.testing.assert_allclose(ends, np.sort(EdgeToy().orbit(0.2)[:, 0]), atol=2e-2)


def test_the_claim_holds_on_the_demonstration():
    record = surface_descent.demo()
    claim(record).check()
    assert "loss" in surface_descent.say(record)


@pytest.mark.parametrize("lr", [0.02, 0.012])
def test_the_claim_refuses_a_step_beyond_two_over_the_curvature(lr):
    """The largest curvature at the minimum it comes to is 134, and 2 / 134 = 0.0149."""
    method = replace(surface_descent.example(), {"lr": lr})
    assert claim(run(method)).holds == (lr < 2 / 134)


def test_the_claim_refuses_a_turned_sign():
    from labkit import pytree

    @pytree
    class Ascent:
        def init(self, params):
            del params

        def update(self, grads, state, params=None):
            del params
            return 1e-4 * grads, state

    assert not claim(run(SurfaceDescent(rule=Ascent()), 30)).holds


def test_two_numbers_are_asked_for_as_the_start():
    with pytest.raises(ValueError, match=r"w0 = .* is refused; accepted: two numbers"):
        run(SurfaceDescent(Surface("beale", jnp.zeros(3))))
