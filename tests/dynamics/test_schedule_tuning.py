"""What the bound is good for: cooldowns, longer runs, and other schedules."""

import jax.numpy as jnp
import numpy as np

from labkit import fan, run
from labkit.dynamics.nonsmooth import max_residual
from labkit.dynamics.schedule_bound import ScheduleBound, best_rate, best_value, terms
from labkit.dynamics.schedule_tuning import Extended, best_factor, cooldowns, example, say
from labkit.dynamics.schedules import Given, Schedule, factors


def test_a_longer_cooldown_has_a_lower_bound_and_all_of_it_is_linear_decay():
    record = run(cooldowns(400))
    assert (np.diff(record["bound"]) < 1e-5).all()  # float32; it is flat in the end
    linear = terms(factors(Schedule("linear", steps=400)))
    np.testing.assert_allclose(record.last("bound"), 20 * best_value(linear), rtol=1e-5)
    np.testing.assert_allclose(record.last("gamma"), 20 * best_rate(linear), rtol=1e-5)
    fifth = np.argmin(np.abs(record["cooldown"] - 0.2))
    np.testing.assert_allclose(record["bound"][fifth], 2.1865, atol=1e-3)


def test_an_extension_is_the_short_run_until_its_cooldown_would_begin():
    long, short = factors(Extended(0.5, 0.25, 20, 60)), factors(Schedule("wsd", 0.25, 20))
    u = np.arange(60)
    wanted = np.where(u < 16, 1.0, 0.5 * np.minimum(1.0, (60 - u) / 15))
    np.testing.assert_allclose(long, wanted, atol=1e-6)
    np.testing.assert_allclose(long[:16], short[:16])


def test_the_bound_of_an_extension_is_least_at_a_factor_below_one():
    """And there below that of a run tuned anew for the whole length."""
    record = run(example())
    row = np.argmin(record["bound"])
    assert 0.3 < best_factor(record) < 0.5  # four times the steps; 0.40 with finer steps too
    assert record["bound"][row] < record["anew.bound"][row]
    whole = np.argmin(np.abs(record["factor"] - 1.0))
    assert record["bound"][row] < 0.8 * record["bound"][whole]
    assert "factor of 0.4" in say(record)


def test_the_gaps_of_extensions_are_those_of_runs_and_below_their_bounds():
    record = run(example())
    assert (record["gap"] <= record["bound"]).all()
    assert (record["anew.gap"] <= record["anew.bound"]).all()
    anew = run(ScheduleBound(max_residual(), Schedule("wsd", 0.2, 800)), 800, every=800)
    np.testing.assert_allclose(record["anew.gap"], anew.last("gap"), atol=2e-5)
    np.testing.assert_allclose(record["anew.bound"], anew.last("bound"), rtol=1e-4)


def test_the_best_rate_carries_over_from_one_decaying_schedule_to_another():
    """In multiples of gamma* the best of nine rates is the same or next to it: five problems."""
    rates = np.logspace(-1, 1, 9).tolist()
    for seed in range(5):
        best = []
        for shape in ("wsd", "cosine", "linear"):
            given = Given(jnp.asarray(factors(Schedule(shape, steps=200))))
            method = ScheduleBound(max_residual(seed=seed), given)
            lanes = fan(method, 199, over={"rate": rates}, every=199)
            best.append(np.argmin(lanes.column("gap")[:, -1]))
        assert max(best) - min(best) <= 2, (seed, best)
