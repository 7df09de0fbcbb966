"""Networks on data: losses by hand, and progressive sharpening up to 2 / lr."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from jax.test_util import check_grads

from labkit.data import digits
from labkit.method import check, fields
from labkit.models import MLP, ConvNet
from labkit.problems import Classification, Regression, digits_network, sine_network


@jax.jit
def start(problem):
    return problem.start(jr.key(0))


@pytest.fixture(scope="module")
def few():
    """Twenty digits and a narrow network: enough for every formula."""
    return digits_network(20, width=4, depth=1)


def test_the_squared_loss_is_half_the_mean_over_samples_of_the_sum_over_outputs(few):
    w = start(few)
    outputs, total = np.asarray(few.predict(w, few.x)), 0.0
    for sample, label in enumerate(np.asarray(few.y)):
        for k in range(10):
            total += 0.5 * (outputs[sample, k] - (k == label)) ** 2
    assert few.loss(w) == pytest.approx(total / 20, rel=1e-5)


def test_the_cross_entropy_is_the_mean_of_minus_log_softmax(few):
    problem = Classification(few.model, few.x, few.y, "cross_entropy")
    w = start(problem)
    outputs = np.asarray(problem.predict(w, few.x), float)
    logs = outputs - np.log(np.exp(outputs).sum(axis=1, keepdims=True))
    expected = -logs[np.arange(20), np.asarray(few.y)].mean()
    assert problem.loss(w) == pytest.approx(expected, rel=1e-5)


def test_the_regression_loss_sums_over_outputs_and_takes_targets_of_either_shape():
    x, y = jr.normal(jr.key(0), (6, 3)), jr.normal(jr.key(1), (6, 2))
    problem = Regression(MLP((3, 2)), x, y)
    w = start(problem)
    expected = 0.5 * ((np.asarray(problem.predict(w, x)) - np.asarray(y)) ** 2).sum() / 6
    assert problem.loss(w) == pytest.approx(expected, rel=1e-5)
    column = Regression(MLP((3, 1)), x, y[:, :1])
    w = start(column)
    assert column.loss(w) == Regression(MLP((3, 1)), x, y[:, 0]).loss(w)


@pytest.mark.parametrize("make", [sine_network, lambda: digits_network(20, width=4, depth=1)])
def test_the_loss_is_the_mean_of_the_example_losses_and_takes_a_batch(make):
    problem = make()
    w = start(problem)
    each = problem.example_losses(w)
    assert each.shape == (20,)
    assert problem.loss(w) == pytest.approx(float(each.mean()), rel=1e-6)
    batch = jax.tree.map(lambda a: a[:7], problem.data)
    assert problem.loss(w, batch) == pytest.approx(float(each[:7].mean()), rel=1e-5)


def test_gradients_agree_with_finite_differences(few):
    for problem in (few, sine_network(width=4, depth=1)):
        w = start(problem)
        loss = jax.jit(problem.loss)
        check_grads(loss, (w,), order=1, modes=["rev"], atol=0.01, rtol=0.01)


def test_the_accuracy_counts_the_largest_outputs(few):
    w = start(few)
    right = np.asarray(few.predict(w, few.x)).argmax(axis=1) == np.asarray(few.y)
    assert few.accuracy(w) == pytest.approx(right.mean())


def test_a_convolutional_network_fits_the_same_problem():
    split = digits(20)
    problem = Classification(ConvNet(), jnp.asarray(split.x), jnp.asarray(split.y), "cross_entropy")
    check(problem)
    loss, gradient = jax.eval_shape(
        jax.value_and_grad(problem.loss), jax.eval_shape(problem.start, jr.key(0))
    )
    assert loss.shape == ()
    assert gradient["dense"]["weights"].shape == (64, 10)


def test_the_controls_of_a_network_are_those_of_its_parts(few):
    assert set(fields(few)) == {"model.activation", "model.scale", "criterion"}


def test_samples_and_labels_that_do_not_fit_are_refused():
    x = jnp.ones((3, 2))
    with pytest.raises(ValueError, match=r"samples of x and y = \(3, 2\)"):
        check(Regression(MLP((2, 1)), x, jnp.ones(2)))
    with pytest.raises(ValueError, match="one whole number a sample"):
        check(Classification(MLP((2, 2)), x, jnp.ones(3)))


def test_the_network_of_the_digits_sharpens_to_the_edge_of_stability_and_stays():
    problem, lr = digits_network(), 0.4
    w, unravel = ravel_pytree(start(problem))
    assert w.size == 3466
    gradient = jax.grad(lambda w: problem.loss(unravel(w)))

    def sharpness(w, v):
        """Power iteration: the largest eigenvalue and its vector."""
        product = jax.linearize(gradient, w)[1]
        v = jax.lax.fori_loop(0, 60, lambda _, v: product(v) / jnp.linalg.norm(product(v)), v)
        return v @ product(v)

    def rows(w, _):
        w = jax.lax.fori_loop(0, 20, lambda _, w: w - lr * gradient(w), w)
        return w, sharpness(w, jnp.ones_like(w) / jnp.sqrt(1.0 * w.size))

    seen = jax.jit(lambda w: jax.lax.scan(rows, w, length=22)[1])(w)
    assert (seen[:3] < 4.0).all()  # below 2 / lr at first
    assert (np.diff(seen[:6]) > 0).all()  # progressive sharpening
    # At the edge the iterates swing around 2 / lr; their mean lies a few per cent above.
    assert np.mean(seen[-10:]) == pytest.approx(2.0 / lr, rel=0.1)


def test_labels_beyond_the_outputs_are_refused():
    problem = Classification(MLP((2, 3)), jnp.zeros((3, 2)), jnp.array([0, 1, 7]))
    with pytest.raises(ValueError, match="y = 7 is refused; accepted: labels below 3"):
        problem.check()


def test_numbers_that_do_not_fit_the_outputs_are_refused():
    problem = Regression(MLP((2, 3)), jnp.zeros((4, 2)), jnp.zeros((4, 2)))
    with pytest.raises(ValueError, match=r"shape of y = \(4, 2\) is refused; accepted: \(4, 3\)"):
        problem.check()
