"""Gradient flow against closed forms, against diffrax, and against F002."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from labkit import run
from labkit.dynamics import gradient_flow
from labkit.dynamics.gradient_flow import GradientFlow, claim, travelled
from labkit.problems import Quadratic, sine_network
from labkit.record import Record
from labkit.rules import Sgd


def test_on_a_quadratic_each_weight_decays_exponentially():
    h, lr = np.array([1.0, 3.0]), 0.2
    record = run(GradientFlow(Quadratic(jnp.array(h)), Sgd(lr)), 10, probes={"w": lambda s: s.w})
    exact = np.exp(-lr * np.arange(11)[:, None] * h)
    # of order four: z^5 / 120 a substep at z = lr h / 2 = 0.3, so 4e-4 after twenty
    np.testing.assert_allclose(record["w"], exact, rtol=6e-4)


def test_the_error_is_of_order_four_in_the_step(double):
    problem = Quadratic(jnp.array([1.0, 2.0]))
    exact = np.exp(-8.0 * 0.5 * np.array([1.0, 2.0]))

    def error(substeps):
        flow = GradientFlow(problem, Sgd(0.5), substeps=substeps)
        return np.abs(run(flow, 8, probes={"w": lambda s: s.w})["w"][-1] - exact).max()

    # halving the step divides the error by 16, to within the next order
    assert 12 < error(1) / error(2) < 22


def test_it_is_the_flow_that_an_independent_solver_finds():
    problem = sine_network(samples=8, width=4, depth=1)
    flow = GradientFlow(problem, Sgd(0.2))
    record, w0 = run(flow, 50), run(flow, 0).state.w
    field = lambda t, w, _: jax.tree.map(jnp.negative, jax.grad(problem.loss)(w))
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(field), diffrax.Tsit5(), 0.0, 10.0, 0.01, w0,
        stepsize_controller=diffrax.PIDController(rtol=1e-6, atol=1e-7), max_steps=10_000,
    )  # fmt: skip
    ours, theirs = ravel_pytree(record.state.w)[0], ravel_pytree(solution.ys)[0]
    # both are in float32, over a few hundred evaluations
    np.testing.assert_allclose(ours, theirs, atol=2e-5)


def test_the_loss_never_rises_along_the_flow():
    loss = gradient_flow.demo()["loss"]
    assert (np.diff(loss) <= 1e-6 * loss[0]).all()  # rounding of float32


def test_the_claim_holds_on_the_demonstration():
    record = gradient_flow.demo()
    claim(record).check()
    assert "of the threshold" in gradient_flow.say(record)


def test_the_claim_refuses_a_flow_that_is_gradient_descent():
    """Euler with steps of lr is descent itself: it does not depart, and stays at the edge."""
    record = gradient_flow.demo()
    columns = {n.removeprefix("descent."): v for n, v in record.columns.items() if "." in n}
    euler = Record(record.steps, {**record.columns, **columns})
    assert not claim(euler).holds


def test_the_claim_refuses_a_record_that_never_came_to_the_edge():
    assert not claim(gradient_flow.demo().until(60)).holds


def test_the_way_travelled_is_the_sum_of_the_steps():
    record = run(
        GradientFlow(Quadratic(jnp.array([1.0, 1.0])), Sgd(0.1)), 20, probes={"w": lambda s: s.w}
    )
    exact = np.sqrt(2.0) * (1 - np.exp(-2.0))  # along a straight line
    assert travelled(record) == pytest.approx(exact, rel=1e-4)  # of float32
