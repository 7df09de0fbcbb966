"""The moving temperature against limits in closed form, NumPy, and S106."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_cells import KINKED, small, weights

from labkit import fan, replace
from labkit.record import Record
from labkit.relaxations import low_temperature_search as module
from labkit.relaxations.cell_search import CellSearch, entropy, random_search, regrets
from labkit.relaxations.cell_table import cell_table
from labkit.relaxations.low_temperature_search import (
    RATE,
    adapted,
    claim,
    demo,
    exponential,
    noisy_slope_norm,
    say,
    slope_norm,
)
from labkit.relaxations.softmax import softmax


LOGITS = np.array([0.9, 0.4, 0.1, -0.6])
TAUS = (5.0, 1.0, 0.3, 0.1, 0.03, 0.01)
norm = jax.jit(slope_norm)
mean_norm = jax.jit(noisy_slope_norm, static_argnames="draws")


def shares(alpha, tau):
    weights = np.exp((alpha - alpha.max()) / tau)
    return weights / weights.sum()


@pytest.mark.parametrize("tau", TAUS)
def test_the_norm_is_that_of_the_whole_jacobian(tau):
    p = shares(LOGITS, tau)
    dense = np.linalg.norm((np.diag(p) - np.outer(p, p)) / tau)
    # float32, no cancellation; absolute below where NumPy itself has 1 - p = 1e-16
    np.testing.assert_allclose(norm(jnp.asarray(LOGITS, float), tau), dense, rtol=2e-4, atol=1e-12)


def test_without_ties_the_slope_is_largest_somewhere_between_and_dies_at_both_ends():
    values = [float(norm(jnp.asarray(LOGITS, float), tau)) for tau in (50.0, *TAUS, 1e-3)]
    assert 0 < np.argmax(values) < len(values) - 1
    assert values[-1] == 0
    assert values[0] < 0.02
    tied = jnp.array([0.9, 0.9, 0.1, -0.6])
    assert norm(tied, 0.001) > 400  # 1 / (2 tau): with a tie it does not die


@pytest.mark.parametrize("noise", [1.0, 0.4])
def test_with_noise_the_mean_slope_has_the_limit_in_closed_form(noise):
    p = shares(LOGITS, noise)
    limit = (1 - (p * p).sum()) / noise
    draws = 400_000
    seen = mean_norm(jax.random.key(0), jnp.asarray(LOGITS, float), 0.03, noise, draws=draws)
    # Each is at most 1 / (2 tau) and 0 but for a share tau of the draws: second moment below
    # limit / (2 tau), so 5 errors are 5 sqrt(limit / (2 tau) / draws); the limit is off by O(tau).
    error = 5 * np.sqrt(limit / 0.06 / draws)
    assert abs(seen - limit) < error + 0.03 * limit


def test_noise_keeps_the_slope_alive_where_the_gap_is_wide_unless_it_shrinks_with_tau():
    tau, alpha = 0.03, jnp.array([0.5, 0.0, -0.3, -0.8])  # a gap of 17 tau at the top
    key, without = jax.random.key(1), norm(jnp.array([0.5, 0.0, -0.3, -0.8]), 0.03)
    alive = mean_norm(key, alpha, tau, 1.0, draws=400_000)
    shrunk = mean_norm(key, alpha, tau, tau, draws=400_000)
    assert alive > 1e4 * without
    assert shrunk < 0.01 * alive


def test_entropy_grows_with_tau_at_the_rate_of_the_variance_of_the_logits(double):
    alpha = jnp.asarray(LOGITS)
    of = lambda tau: entropy(softmax(alpha, tau))
    slope = jax.jit(jax.grad(of))
    for tau in (0.2, 0.7, 3.0):
        p = shares(LOGITS, tau)
        variance = p @ LOGITS**2 - (p @ LOGITS) ** 2
        np.testing.assert_allclose(slope(tau), variance / tau**3, rtol=1e-9)
    level = jnp.zeros(4)
    assert abs(jax.jit(jax.grad(lambda tau: entropy(softmax(level, tau))))(0.7)) < 1e-12


def test_the_jump_by_the_last_cut_goes_to_zero_with_tau_at_fixed_logits():
    space = small(KINKED)
    w, alpha = weights()[0], jnp.array([[0.5, 0.0], [0.1, 0.8], [0.3, -0.2]])
    gap = jax.jit(lambda tau: CellSearch(space, tau=tau).seen(w, alpha)["gap"])
    wide, narrow, least = (float(gap(tau)) for tau in (1.0, 0.1, 0.005))
    assert wide > 0.01
    assert narrow < wide
    assert least < 1e-6  # exp(-100)


def test_the_exponential_schedule_is_a_line_in_the_logarithm():
    at = np.array([float(exponential(k, 2.0, 0.02, 100.0)) for k in (0.0, 50.0, 100.0, 500.0)])
    np.testing.assert_allclose(np.log10(at / 2.0), [0.0, -1.0, -2.0, -2.0], atol=1e-6)


def test_the_adaptive_schedule_follows_the_entropy():
    even, sharp = jnp.full((3, 4), 0.25), jnp.eye(4)[:3]
    turn = lambda p, k: float(adapted(jnp.asarray(0.5), p, k, 100.0, 5.0, 0.02))
    assert turn(even, 0.0) == pytest.approx(0.5)  # on its line
    assert turn(even, 50.0) == pytest.approx(0.5 * np.exp(-RATE / 2), rel=1e-5)
    assert turn(sharp, 50.0) == pytest.approx(0.5 * np.exp(RATE / 2), rel=1e-5)
    assert float(adapted(jnp.asarray(0.02), even, 100.0, 100.0, 5.0, 0.02)) == pytest.approx(0.02)


def test_a_temperature_that_is_not_above_zero_is_refused():
    with pytest.raises(ValueError, match=r"end = -1.0 is refused; accepted: a finite number above"):
        fan(replace(module.example(), {"end": -1.0}), 1, over={"key": 1})


def test_the_claim_holds_on_the_demonstration():
    claim(demo()).check()
    assert "tau 0.05" in say(demo())


def test_the_claim_refuses_a_search_at_tau_1():
    plain = {"gap": demo()["plain.gap"]}
    assert not claim(Record(demo().steps, {**demo().columns, **plain})).holds


@pytest.mark.slow
def test_over_ten_seeds_it_is_the_noise_more_than_the_temperature_that_finds_good_cells():
    """Reported beside plain search, Gumbel-softmax at tau 1, and random search."""
    kinds = {
        "plain": {"end": 1.0, "noise": 0.0},
        "Gumbel-softmax": {"end": 1.0, "noise": 1.0},
        "falling": {"noise": 0.0},
        "falling, noise": {},
        "entropy, noise": {"schedule": "entropy"},
    }
    table, gap, regret = cell_table(), {}, {}
    for name, changes in kinds.items():
        runs = fan(replace(module.example(), changes), 250, over={"key": 10}, every=250)
        gap[name] = runs.column("gap")[:, -1]
        regret[name] = regrets(table, runs.column("cell")[:, -1].astype(int))
        error = regret[name].std(ddof=1) / np.sqrt(10)
        print(f"{name}: regret {regret[name].mean():.4f} +- {error:.4f}, gap {gap[name].round(3)}")
    print("random", [random_search(table, tries).mean().round(4) for tries in (1, 2, 3)])
    assert np.median(gap["falling, noise"]) < np.median(gap["plain"]) / 3
    assert np.median(gap["falling"]) < np.median(gap["plain"])
    assert regret["falling, noise"].mean() < random_search(table, 1).mean()
