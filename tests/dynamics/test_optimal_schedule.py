"""The schedule found by differentiating its bound, against L-BFGS in double precision."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize

from labkit import fan, replace, run
from labkit.dynamics.optimal_schedule import BoundOfSchedule, example, say
from labkit.dynamics.schedules import Given, Schedule


@pytest.fixture(scope="module")
def reached():
    return run(example(), 300, every=10)


def test_it_comes_below_linear_decay(reached):
    """At T = 400, where linear decay has 2.0126 and the optimum is 2.0037."""
    np.testing.assert_allclose(reached.last("linear_bound"), 2.0126, atol=1e-4)
    assert reached.last("bound") < 2.0040
    assert reached["bound"][0] > 2.75  # it began as a constant
    assert "linear decay has 2.0126" in say(reached)


def test_from_rough_starts_it_comes_to_the_same():
    lanes = fan(example(), 300, over={"rough": [1.0], "key": 5}, every=300)
    np.testing.assert_allclose(lanes.column("bound")[:, -1], 2.0037, atol=1e-3)
    assert (lanes.column("bound")[:, 0] > 2.5).all()


def test_the_schedule_it_finds_is_linear_but_for_its_end(reached):
    seen = reached.last("factors")
    line = np.polyfit(np.arange(390), seen[:390], 1)
    assert np.abs(np.polyval(line, np.arange(390)) - seen[:390]).max() < 0.01
    np.testing.assert_allclose(line[0], -1 / 400, rtol=0.02)
    assert seen[-1] > seen[-2]  # the last iterate does not feel it


@pytest.mark.parametrize("trend", [-0.5, 0.0, 0.5])
def test_it_comes_to_the_optimum_of_another_solver(trend, double):
    problem = BoundOfSchedule(Schedule("constant", steps=30), trend=trend)
    slope = jax.jit(jax.value_and_grad(problem.loss))
    both = lambda w: tuple(np.asarray(part, float) for part in slope(jnp.asarray(w)))
    tight = {"maxiter": 5000, "maxfun": 20000, "ftol": 1e-15, "gtol": 1e-9}
    found = minimize(both, np.zeros(30), jac=True, method="L-BFGS-B", options=tight)
    ours = run(dataclasses.replace(example(), problem=problem), 1500, every=1500)
    # Adam at a fixed rate does not come closer to where the logits of a step run away.
    np.testing.assert_allclose(ours.last("bound"), np.exp(found.fun), rtol=1e-3)
    assert ours.last("bound") >= np.exp(found.fun) - 1e-9


@pytest.mark.parametrize("trend", [-0.5, 0.5])
def test_for_norms_with_a_trend_it_is_close_to_the_refined_schedule(trend):
    record = run(replace(example(), {"trend": trend}), 300, every=300)
    apart = np.abs(record.last("factors") - record.last("refined"))[:-2]
    assert apart.max() < 0.05  # of factors up to 1; seen: 0.04
    assert record.last("bound") <= record.last("refined_bound")
    assert record.last("refined_bound") < 1.01 * record.last("bound")
    assert record.last("bound") < 0.6 * record.last("linear_bound")


def test_falling_norms_ask_for_a_warm_up():
    falling = run(replace(example(), {"trend": -0.5}), 300, every=300).last("factors")
    assert falling[0] < 0.1
    assert 150 < np.argmax(falling) < 300


def test_a_start_with_zeros_has_logits(key):
    problem = BoundOfSchedule(Given(jnp.array([1.0, 0.0, 0.5])))
    assert jnp.isfinite(problem.start(key)).all()
    np.testing.assert_allclose(jnp.exp(problem.start(key)), [1.0, 1e-3, 0.5], rtol=1e-5)
