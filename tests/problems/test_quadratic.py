"""The quadratic against a NumPy loop, its own closed forms and finite differences."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from jax.test_util import check_grads

from labkit.method import check
from labkit.problems import Quadratic, random_axes


H = jnp.array([0.5, 2.0, 5.0])
EACH = [Quadratic(H), Quadratic(H, axes=random_axes(jr.key(0), 3))]


def by_hand(problem, w):
    axes = np.eye(3) if problem.axes is None else np.asarray(problem.axes)
    return sum(0.5 * float(H[i]) * float(axes[:, i] @ np.asarray(w)) ** 2 for i in range(3))


@pytest.mark.parametrize("problem", EACH)
def test_the_loss_is_the_sum_over_its_axes(problem):
    w = jnp.array([1.0, -2.0, 0.3])
    assert problem.loss(w) == pytest.approx(by_hand(problem, w), rel=1e-5)


@pytest.mark.parametrize("problem", EACH)
def test_the_gradient_agrees_with_finite_differences(problem):
    check_grads(
        jax.jit(problem.loss), (jnp.array([1.0, -2.0, 0.3]),), order=2, atol=0.02, rtol=0.02
    )


@pytest.mark.parametrize("problem", EACH)
@pytest.mark.parametrize("lr", [0.1, 0.39, 0.41])
def test_gradient_descent_stands_where_the_closed_form_says(problem, lr):
    w = np.array([1.0, -2.0, 0.3])
    hessian = np.asarray(problem.hessian, float)
    for _ in range(20):
        w = w - lr * hessian @ w
    # Twenty factors, each rounded to 1e-7, times numbers of size 2.
    np.testing.assert_allclose(problem.after(jnp.array([1.0, -2.0, 0.3]), lr, 20), w, atol=2e-5)


@pytest.mark.parametrize("problem", EACH)
def test_the_hessian_is_the_second_derivative_and_has_the_curvatures(problem):
    w = jnp.array([1.0, -2.0, 0.3])
    np.testing.assert_allclose(jax.hessian(problem.loss)(w), problem.hessian, atol=1e-5)
    np.testing.assert_allclose(jnp.linalg.eigvalsh(problem.hessian), H, atol=1e-5)


@pytest.mark.parametrize("problem", EACH)
def test_the_loss_and_its_gradient_vanish_at_the_minimum(problem):
    assert problem.loss(problem.minimum) == 0.0
    assert not jax.grad(problem.loss)(problem.minimum).any()


def test_one_number_starts_every_coordinate_and_as_many_start_each():
    key = jr.key(0)
    np.testing.assert_array_equal(Quadratic(H, w0=2.0).start(key), [2.0, 2.0, 2.0])
    np.testing.assert_array_equal(Quadratic(H, w0=H).start(key), H)


def test_random_axes_are_orthonormal():
    axes = random_axes(jr.key(1), 5)
    np.testing.assert_allclose(axes.T @ axes, np.eye(5), atol=1e-5)


@pytest.mark.parametrize(
    "wrong", [{"w0": jnp.ones(2)}, {"axes": jnp.eye(2)}, {"curvatures": jnp.array([-1.0, jnp.nan])}]
)
def test_parts_that_do_not_fit_are_refused(wrong):
    with pytest.raises(ValueError, match="is refused"):
        check(Quadratic(**{"curvatures": H, **wrong}))


def test_a_negative_curvature_is_a_saddle_and_is_accepted():
    check(Quadratic(jnp.array([1.0, -1.0])))
