"""Conversion, worst case, filter and refinement, and S090's claim."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import median_filter

from labkit import Descent, Record, replace, run
from labkit.dynamics.nonsmooth import max_coordinate, max_residual
from labkit.dynamics.sampled_descent import SampledDescent
from labkit.dynamics.schedule_refinement import (
    ScheduleRefinement,
    claim,
    converted,
    demo,
    example,
    refined,
    say,
    smoothed,
)
from labkit.dynamics.schedules import Given, Paced, Schedule, decay, factors
from labkit.problems import LeastSquares


# One program a length, in place of one an operation.
converted, decay, refined, smoothed = map(jax.jit, (converted, decay, refined, smoothed))
RANDOM = np.random.default_rng(0)
SMALL = LeastSquares(jnp.array(RANDOM.normal(size=(20, 3))), jnp.array(RANDOM.normal(size=20)))


def both_sides(f, slope, z, weights, u):
    """f(x_T) - f(u) and the weighted regret of z, for x converted from z."""
    x = np.asarray(converted(jnp.array(z), jnp.array(weights)))
    regret = sum(w * slope(x_t) @ (z_t - u) for w, x_t, z_t in zip(weights, x, z, strict=True))
    return f(x[-1]) - f(u), regret / sum(weights)


def test_the_last_of_a_converted_sequence_is_no_worse_than_its_regret(double):
    """200 random sequences, weights and piecewise linear f = max_i (a_i . x - b_i)."""
    worst = -np.inf
    for seed in range(200):
        random = np.random.default_rng(seed)
        a, b = random.normal(size=(6, 3)), random.normal(size=6)
        f = lambda x, a=a, b=b: np.max(a @ x - b)
        slope = lambda x, a=a, b=b: a[np.argmax(a @ x - b)]
        z, weights = random.normal(size=(15, 3)).cumsum(0), random.uniform(0.01, 2, 15)
        left, right = both_sides(f, slope, z, weights, random.normal(size=3))
        worst = max(worst, left - right)
    assert worst <= 1e-12  # float64
    assert worst > -1.0  # and not because one side is far away


def test_for_a_linear_f_the_two_sides_are_equal_since_the_last_is_the_mean(double):
    random = np.random.default_rng(1)
    a, z, weights = random.normal(size=3), random.normal(size=(15, 3)), random.uniform(0, 1, 15)
    left, right = both_sides(lambda x: a @ x, lambda x: a, z, weights, random.normal(size=3))
    np.testing.assert_allclose(left, right, atol=1e-12)
    last = converted(jnp.array(z), jnp.array(weights))[-1]
    np.testing.assert_allclose(last, weights @ z / weights.sum(), atol=1e-12)


def test_converted_gradient_descent_is_gradient_descent_on_the_schedule(double):
    """z_{t+1} = z_t - w_t g_t makes x_{t+1} = x_t - w_t (w_{t+1} + ...) / (w_1 + ...) g_t."""
    random = np.random.default_rng(2)
    problem, weights = max_residual(10, 4), random.uniform(0.1, 1, 25)
    a, b = (jnp.asarray(np.asarray(v), float) for v in (problem.a, problem.b))
    slope = jax.jit(jax.grad(lambda w: jnp.max(jnp.abs(a @ w - b))))
    z = [jnp.zeros(4)]
    for t in range(24):
        x = converted(jnp.stack([*z, *[z[-1]] * (25 - len(z))]), jnp.array(weights))[t]
        z.append(z[-1] - weights[t] * slope(x))
    schedule, w = decay(jnp.array(weights)), jnp.zeros(4)
    for t in range(24):
        w = w - schedule[t] * slope(w)
    np.testing.assert_allclose(converted(jnp.stack(z), jnp.array(weights))[-1], w, atol=1e-12)


@pytest.mark.parametrize("steps", [16, 64, 256])
def test_the_worst_case_of_linear_decay_is_met(steps):
    """eta_t = D / (G sqrt(T)) (1 - t / T) on the first of the largest coordinates."""
    problem, rate = max_coordinate(steps, 3.0), 3.0 / np.sqrt(steps)
    linear = Paced(Given(decay(jnp.ones(steps))), rate)
    record = run(Descent(problem, linear), steps - 1, every=steps - 1)
    gap = record.last("loss") - problem.loss(problem.solution)
    np.testing.assert_allclose(gap * np.sqrt(steps) / 3.0, 1.0, rtol=1e-5)


def test_no_run_with_linear_decay_is_worse_than_that():
    steps, most = 60, 0.0
    for seed in range(20):
        problem = max_residual(25, 8, height=0.1 * (seed % 2), seed=seed)
        D, G = jnp.linalg.norm(problem.solution), problem.lipschitz
        rule = Paced(Given(decay(jnp.ones(steps))), D / (G * np.sqrt(steps)))
        record = run(Descent(problem, rule), steps - 1, every=steps - 1)
        gap = record.last("loss") - problem.loss(problem.solution)
        most = max(most, float(gap * np.sqrt(steps) / (D * G)))
    assert 0.0 < most <= 1.0


@pytest.mark.parametrize("steps, width", [(100, 0.1), (100, 0.3), (37, 0.2), (40, 0.0)])
def test_the_filter_is_scipys_nearest_at_the_start_and_reflecting_at_the_end(steps, width):
    norms = np.random.default_rng(3).uniform(0.1, 3, steps)
    size = 2 * int(np.floor(width * steps / 2 + 1e-9)) + 1
    start, end = (median_filter(norms, size, mode=mode) for mode in ("nearest", "reflect"))
    wanted = np.where(np.arange(steps) < steps // 2, start, end)
    np.testing.assert_allclose(smoothed(jnp.array(norms), width), wanted, rtol=1e-6)


def test_equal_norms_ask_for_linear_decay():
    seen = refined(smoothed(jnp.full(50, 0.7)))
    np.testing.assert_allclose(seen, np.arange(49, -1, -1) / 49, atol=1e-6)


@pytest.mark.parametrize("power", [1.0, 2.0])
def test_a_schedule_is_that_of_its_norms_whatever_their_unit(power):
    norms = np.random.default_rng(4).uniform(0.1, 3, 30)
    weights = norms**-power
    naive = np.array([w * weights[t + 1 :].sum() for t, w in enumerate(weights)])
    for unit in (1.0, 1e-12, 1e12):
        seen = refined(jnp.array(unit * norms), power)
        np.testing.assert_allclose(seen, naive / naive.max(), atol=1e-6)


def test_a_norm_of_zero_gives_numbers():
    seen = refined(jnp.array([1.0, 0.5, 0.0, 0.2]))
    assert jnp.isfinite(seen).all()
    np.testing.assert_allclose(seen.max(), 1.0)


@pytest.mark.parametrize("form", ["sgd", "adam"])
def test_a_row_holds_the_run_with_its_schedule(form):
    begin = Schedule("cosine", steps=24)
    method = ScheduleRefinement(SMALL, begin, lr=0.1, width=0.2, samples=4, form=form)
    record = run(method, 2)
    np.testing.assert_allclose(record["factors"][0], factors(begin), atol=1e-6)
    for row in (1, 2):
        before = smoothed(jnp.array(record["norms"][row - 1]), 0.2)
        wanted = refined(before, 1.0 if form == "adam" else 2.0)
        np.testing.assert_allclose(record["factors"][row], wanted, atol=1e-5)
    if form == "sgd":
        rule = Paced(Given(jnp.array(record["factors"][2])), 0.1)
        init_key = jax.random.split(jax.random.key(0))[0]  # what the refinement hands on
        again = run(SampledDescent(SMALL, rule, 4), 24, key=init_key)
        np.testing.assert_allclose(record["losses"][2], again["loss"][1:], rtol=1e-4)
        np.testing.assert_allclose(record["norms"][2], again["norm"][1:], rtol=1e-4)


def test_the_claim_holds_on_the_demonstration():
    claim(demo()).check()
    assert "Refinement 6" in say(demo())


@pytest.mark.parametrize("seed", [1, 2])
def test_the_claim_holds_on_other_seeds(seed):
    claim(of(seed)).check()


def of(seed):
    begins = {name: Given(factors(Schedule(name, steps=800))) for name in ("linear", "constant")}
    made = lambda begin: run(dataclasses.replace(example(), begin=begin), 6, key=seed)
    return made(begins["linear"]).beside(constant=made(begins["constant"]))


def changed(**columns):
    return Record(demo().steps, {**demo().columns, **columns})


def test_the_claim_refuses_norms_without_their_square():
    once = [demo()["factors"][0], *[refined(jnp.array(s), 1.0) for s in demo()["smoothed"][:-1]]]
    assert not claim(changed(factors=np.array(once))).holds


def test_the_claim_refuses_weights_turned_over():
    """1 / w in place of w: large steps where the gradients are large."""
    over = [demo()["factors"][0], *[refined(1 / jnp.array(s)) for s in demo()["smoothed"][:-1]]]
    assert not claim(changed(factors=np.array(over))).holds


def test_the_claim_refuses_linear_decay_that_is_no_better_than_a_constant():
    assert not claim(changed(final_loss=demo()["constant.final_loss"])).holds


def test_a_width_and_a_problem_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"width = 0\.5 is refused; accepted: .* at most 0\.3"):
        run(replace(example(), {"width": 0.5}), 1)
    with pytest.raises(ValueError, match="problem = 'MaxResidual' is refused"):
        run(ScheduleRefinement(max_residual()), 1)  # pyright: ignore
