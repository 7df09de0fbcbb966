"""Schedules against optax's, NumPy's interpolation and loops; the rule that follows them."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from labkit import Descent, check, run
from labkit.dynamics.schedules import Drawn, Given, Paced, Schedule, decay, factors
from labkit.problems import Quadratic


T = 40
OPTAX = {
    "constant": optax.constant_schedule(1.0),
    "linear": optax.linear_schedule(1.0, 0.0, T),
    "cosine": optax.cosine_decay_schedule(1.0, T),
    "stairs": optax.piecewise_constant_schedule(1.0, {T // 2: 0.1, 3 * T // 4: 0.1}),
    "wsd": optax.join_schedules(
        [optax.constant_schedule(1.0), optax.linear_schedule(1.0, 0.0, T // 5)], [4 * T // 5]
    ),
    "root": lambda count: 1 / jnp.sqrt(count + 1.0),
}


@pytest.mark.parametrize("name", OPTAX)
def test_each_shape_is_that_of_optax(name):
    """Whose count is t - 1."""
    theirs = [OPTAX[name](count) for count in range(T)]
    np.testing.assert_allclose(factors(Schedule(name, 0.2, T)), theirs, atol=2e-6)  # float32


def test_every_shape_begins_at_one_and_never_rises():
    for name in OPTAX:
        shape = np.asarray(factors(Schedule(name, 0.3, 17)))
        assert shape[0] == 1.0
        assert (np.diff(shape) <= 1e-7).all(), name
        assert (shape > 0).all(), name


def test_a_cooldown_over_all_steps_is_linear_and_over_none_constant():
    for name, cooldown in (("linear", 1.0), ("constant", 0.0)):
        wsd = factors(Schedule("wsd", cooldown, T))
        np.testing.assert_allclose(wsd, factors(Schedule(name, steps=T)), rtol=1e-6)


def test_a_drawn_schedule_is_numpys_interpolation():
    knots = np.array([0.2, 1.0, 0.4, 0.0])
    wanted = np.interp(np.arange(T) / T, np.linspace(0, 1, 4), knots)
    np.testing.assert_allclose(factors(Drawn(jnp.array(knots), T)), wanted, atol=1e-6)
    linear = factors(Schedule("linear", steps=T))
    np.testing.assert_allclose(factors(Drawn(jnp.array([1.0, 0.0]), T)), linear, atol=1e-6)


def test_a_paced_run_is_that_of_a_loop_in_numpy():
    h, lr, shape = np.array([2.0, 0.5]), 0.3, np.array([1.0, 0.2, 0.7, 0.0])
    record = run(
        Descent(Quadratic(jnp.array(h)), Paced(Given(jnp.array(shape)), lr)),
        4,
        probes={"w": lambda s: s.w},
    )
    w = [np.ones(2)]
    for factor in shape:
        w.append(w[-1] - lr * factor * h * w[-1])
    np.testing.assert_allclose(record["w"], w, rtol=1e-6)


def test_a_schedule_of_optax_enters_as_given_factors():
    given = Given(jax.vmap(OPTAX["cosine"])(jnp.arange(T)))
    problem = Quadratic(jnp.array([2.0, 0.5]))
    ours = run(Descent(problem, Paced(given, 0.3)), T)
    theirs = run(Descent(problem, optax.sgd(optax.cosine_decay_schedule(0.3, T))), T)
    np.testing.assert_allclose(ours["loss"], theirs["loss"], rtol=1e-4)  # factors to float32


def test_equal_weights_decay_linearly():
    np.testing.assert_allclose(decay(jnp.ones(10)), np.arange(9, -1, -1) / 10, atol=1e-7)


def test_weights_decay_as_their_sums_say():
    weights = np.random.default_rng(0).uniform(0.1, 1, 12)
    naive = [w * sum(weights[t + 1 :]) / sum(weights) for t, w in enumerate(weights)]
    np.testing.assert_allclose(decay(jnp.array(weights)), naive, atol=1e-6)


@pytest.mark.parametrize(
    "schedule, name",
    [
        (Schedule(cooldown=1.5), "cooldown"),
        (Schedule(shape="triangle"), "shape"),
        (Schedule(steps=1), "steps"),
        (Drawn(jnp.array([1.0, -0.1])), "knots"),
        (Drawn(jnp.zeros(3)), "knots"),
        (Given(jnp.array([1.0, jnp.nan])), "factors"),
    ],
)
def test_what_is_no_schedule_is_refused(schedule, name):
    with pytest.raises(ValueError, match=f"{name} = (?s:.*) is refused; accepted: "):
        check(schedule)
