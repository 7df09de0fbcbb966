"""The bound against its formula term by term, a table of values, and runs; and S062's claim."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.test_util import check_grads

from labkit import Descent, Record, check, fan, replace, run
from labkit.dynamics.drawn_schedule import DrawnSchedule
from labkit.dynamics.nonsmooth import max_residual, sparse_logistic
from labkit.dynamics.schedule_bound import (
    ScheduleBound,
    Terms,
    all_terms,
    best_rate,
    best_value,
    claim,
    demo,
    example,
    say,
    terms,
    value,
)
from labkit.dynamics.schedule_tuning import Extension
from labkit.dynamics.schedules import Given, Schedule, factors
from labkit.problems import Quadratic


SHAPES = ("linear", "cosine", "wsd", "root", "constant")
# One program a length of schedule, in place of one an operation.
all_terms, best_rate, best_value, factors, terms, value = map(
    jax.jit, (all_terms, best_rate, best_value, factors, terms, value)
)


def naive(s, norms, gamma, distance):
    """Omega_t of the last t, sum by sum, as the formula reads."""
    eta, T = gamma * np.asarray(s, float), len(s)
    squares = (eta * norms) ** 2
    omega = (distance**2 + sum(squares)) / (2 * sum(eta))
    for k in range(T - 1):
        after, here, heat = sum(eta[k + 1 :]), sum(eta[k:]), sum(squares[k:])
        omega += 0.5 * eta[k] / after * heat / here
    return omega


def units(shape, steps):
    """The bound at gamma* in units of D G / sqrt(T)."""
    return float(best_value(terms(factors(Schedule(shape, 0.2, steps))))) * np.sqrt(steps)


@pytest.mark.parametrize("seed", range(3))
def test_the_sums_are_those_of_the_formula(seed, double):
    random = np.random.default_rng(seed)
    s, norms = random.uniform(0.01, 1, 30), random.uniform(0.5, 2, 30)
    known = all_terms(jnp.array(s), jnp.array(norms))
    for t in (1, 2, 17, 30):
        wanted = naive(s[:t], norms[:t], 0.3, 1.7)
        seen = value(Terms(known.a[t - 1], known.b[t - 1]), 0.3, 1.7)
        np.testing.assert_allclose(seen, wanted, rtol=1e-12)  # float64, positive sums


@pytest.mark.parametrize(
    "steps, wanted",
    [
        (100, (2.0361, 2.0911, 2.2303, 2.2531, 2.4854)),
        (400, (2.0126, 2.0677, 2.1865, 2.4453, 2.7509)),
        (4000, (2.0018, 2.0609, 2.1637, 2.7539, 3.1418)),
    ],
)
def test_the_bounds_of_the_usual_schedules_are_those_known(steps, wanted):
    """To the digits of the table; in the order linear, cosine, wsd, root, constant."""
    seen = [units(shape, steps) for shape in SHAPES]
    np.testing.assert_allclose(seen, wanted, atol=1e-3)
    assert seen == sorted(seen)


@pytest.mark.parametrize("steps", [1, 2, 100, 3000])
def test_the_bound_of_a_constant_schedule_has_a_closed_form(steps, double):
    seen = best_value(terms(jnp.ones(steps), 1.5), 0.7)
    wanted = 1.5 * 0.7 * np.sqrt((1 + np.sum(1 / np.arange(1, steps))) / steps)
    np.testing.assert_allclose(seen, wanted, rtol=1e-10)


def test_only_the_constant_and_the_root_keep_a_logarithm():
    """Eight times the steps: with a logarithm the bound in units of 1 / sqrt(T) grows."""
    grows = {shape: units(shape, 3200) / units(shape, 400) for shape in SHAPES}
    assert all(grows[shape] > 1.08 for shape in ("constant", "root"))
    assert all(grows[shape] <= 1.0 for shape in ("linear", "cosine", "wsd"))


def test_the_best_rate_is_where_the_bound_is_least():
    known = terms(factors(Schedule("wsd", 0.2, 50)), 1.3)
    gamma, least = best_rate(known, 2.0), best_value(known, 2.0)
    np.testing.assert_allclose(value(known, gamma, 2.0), least, rtol=1e-6)
    around = [value(known, c * gamma, 2.0) for c in (0.9, 1.1)]
    assert min(around) > least
    np.testing.assert_allclose(jax.grad(lambda g: value(known, g, 2.0))(gamma), 0.0, atol=1e-4)


def test_the_height_of_a_schedule_does_not_count():
    s = factors(Schedule("cosine", steps=60))
    np.testing.assert_allclose(best_value(terms(1e-6 * s)), best_value(terms(s)), rtol=1e-5)


@pytest.mark.parametrize("zeros", [1, 2, 7])
def test_steps_of_zero_at_the_end_are_bounded_as_the_iterate_that_they_leave(zeros, double):
    """w_t with t past the zeros is w_{m+1}; the step m + 1, which it does not feel, is as m."""
    s = np.array([1.0, 0.6, 0.0, 0.3, *np.zeros(zeros)])
    seen = value(terms(jnp.array(s)), 0.2, 1.0)
    np.testing.assert_allclose(seen, naive([*s[:4], 0.3], 1.0, 0.2, 1.0), rtol=1e-12)
    slope = jax.grad(lambda s: best_value(terms(s)))(jnp.array(s))
    assert jnp.isfinite(slope).all()


def test_the_gradient_is_that_of_finite_differences(double):
    s = jnp.array(np.random.default_rng(0).uniform(0.2, 1, 9))
    check_grads(lambda s: best_value(terms(s, 1.5)), (s,), order=1, modes=("rev", "fwd"))


def test_the_method_sees_the_gap_and_the_bound_of_its_steps():
    problem = max_residual(12, 5)
    method = ScheduleBound(problem, Schedule("wsd", 0.4, 20), 0.7)
    record = run(method, 100)
    assert len(record) == 20  # the schedule is at its end
    assert "schedule is at its end" in record.events[-1].sentence
    s = np.asarray(factors(method.schedule), float)
    w, D, G = np.zeros(5), np.linalg.norm(problem.solution), float(problem.lipschitz)
    a, b = np.asarray(problem.a, float), np.asarray(problem.b, float)
    gammas = np.logspace(-3, 1, 4001)
    gamma = 0.7 * gammas[np.argmin([naive(s, G, g, D) for g in gammas])]
    np.testing.assert_allclose(record["gamma"], gamma, rtol=3e-3)  # the grid's mesh is 2.3e-3
    gamma = float(record["gamma"][0])
    for t in range(20):
        r = a @ w - b
        worst = np.argmax(np.abs(r))
        np.testing.assert_allclose(record["gap"][t], abs(r[worst]) - 0.1, atol=1e-5)
        np.testing.assert_allclose(record["bound"][t], naive(s[: t + 1], G, gamma, D), rtol=1e-5)
        w = w - gamma * s[t] * np.sign(r[worst]) * a[worst]


@pytest.mark.parametrize("shape", [*SHAPES, "stairs", "any"])
def test_no_run_is_above_its_bound(shape):
    """Six problems, five rates; at every step.  "any": factors drawn at random, some 0."""
    random = np.random.default_rng(1)
    noise = np.maximum(random.uniform(-0.3, 1, 60), 0)
    schedule = Given(jnp.array(noise)) if shape == "any" else Schedule(shape, 0.3, 60)
    method = ScheduleBound(max_residual(25, 8, height=0.0), schedule)
    problems = [max_residual(25, 8, height, seed) for seed in range(3) for height in (0.0, 0.2)]
    for problem in problems:
        one = dataclasses.replace(method, problem=problem)
        lanes = fan(one, 59, over={"rate": [0.1, 0.5, 1.0, 3.0, 10.0]})
        gap, bound = lanes.column("gap"), lanes.column("bound")
        assert gap.shape == (5, 60)
        assert (gap <= bound).all()
        assert gap.max() > 0.1  # there was something to bound


def test_a_sparse_logistic_run_is_below_its_bound():
    record = run(ScheduleBound(sparse_logistic(), Schedule("wsd", steps=200), 3.0), 200)
    assert (record["gap"] <= record["bound"]).all()
    assert (record["gap"] > -1e-6).all()  # the solution is one


def test_the_claim_holds_on_the_demonstration():
    claim(demo()).check()
    assert "below its bound" in say(demo())


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_claim_holds_on_other_problems(seed):
    problem = max_residual(seed=seed)
    runs = {
        name: run(ScheduleBound(problem, Schedule(name)), 400)
        for name in ("wsd", "constant", "linear")
    }
    claim(runs.pop("wsd").beside(**runs)).check()


def changed(**columns):
    return Record(demo().steps, {**demo().columns, **columns})


def test_the_claim_refuses_a_bound_without_its_last_sum():
    """Of the constant that is D G / sqrt(T): no logarithm."""
    short = demo()["constant.bound"] * 0 + demo().last("unit")
    assert not claim(changed(**{"constant.bound": short})).holds


def test_the_claim_refuses_a_run_uphill():
    """The rule with its sign turned."""
    uphill = run(Descent(example().problem, optax.sgd(-float(demo()["gamma"][0]))), 399)
    assert not claim(changed(gap=uphill["loss"] - 0.1)).holds


def test_the_claim_refuses_a_schedule_without_a_cooldown():
    constant = {name: demo()[f"constant.{name}"] for name in ("factor", "gap", "bound")}
    assert not claim(changed(**constant)).holds


def test_what_the_bound_cannot_use_is_refused():
    with pytest.raises(ValueError, match=r"rate = -1\.0 is refused"):
        run(replace(example(), {"rate": -1.0}), 1)
    quadratic = Quadratic(jnp.ones(2))
    for method in (ScheduleBound(quadratic), DrawnSchedule(quadratic), Extension(quadratic)):  # pyright: ignore
        with pytest.raises(ValueError, match="problem = 'Quadratic' is refused; accepted: a conv"):
            check(method)
