"""The search on two levels against closed forms, exact derivatives, and S037."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_cells import KINKED, SMOOTH, small, weights

from labkit import fan
from labkit.record import Record
from labkit.relaxations.cell_search import (
    CellSearch,
    discretise,
    entropy,
    random_search,
    regrets,
)
from labkit.relaxations.cell_table import cell_table
from labkit.relaxations.darts import (
    Darts,
    ScalarToy,
    claim,
    demo,
    say,
    supernet,
    toy,
)
from labkit.relaxations.hypergradient import MODES, hypergradient, mixed_difference


@functools.partial(jax.jit, static_argnames="mode")
def slope(problem, w, alpha, xi, mode):
    return hypergradient(problem, w, alpha, xi, mode)


def test_the_toy_comes_to_rest_where_the_bias_curve_says(double):
    xi = np.array([0.0, 0.1, 0.3, 0.5, 0.7])
    runs = fan(toy(0.0), 400, over={"xi": xi}, every=400)
    rest = runs.column("place")[:, -1]
    # The slowest root of the five has modulus 0.90: 400 steps leave 1e-18.
    np.testing.assert_allclose(rest, np.repeat(2 / (1 + 2 * xi), 2).reshape(-1, 2), atol=1e-9)


def test_on_the_toy_each_mode_is_the_formula(double):
    for w, alpha, xi in np.random.default_rng(0).normal(size=(5, 3)):
        ahead = w - xi * 2 * (w - alpha)
        exact = ahead - 2 + alpha * 2 * xi
        for mode, expected in zip(MODES, (exact, exact, w - 2), strict=True):
            # bilinear: the difference quotient has no error but rounding over 0.01
            assert abs(slope(ScalarToy(), w, alpha, xi, mode) - expected) < 1e-12


def slopes(operations):
    """The slope in each mode, in float64."""
    problem = CellSearch(small(operations))
    return {mode: np.asarray(slope(problem, *weights(), 0.5, mode)) for mode in MODES}


def off(a, b):
    return np.linalg.norm(a - b) / np.linalg.norm(b)


def test_on_a_smooth_supernet_the_finite_difference_is_exact_and_first_order_is_not(double):
    found = slopes(SMOOTH)
    # a central difference over 0.01: third derivatives, times 1e-4 / 6
    assert off(found["finite difference"], found["exact"]) < 1e-5
    assert off(found["first order"], found["exact"]) > 0.01


@pytest.mark.slow
def test_kinks_cost_the_finite_difference_some_of_that(double):
    found = slopes(KINKED)
    print(f"relu: {off(found['finite difference'], found['exact']):.1e}")
    assert off(found["finite difference"], found["exact"]) < 0.05


def test_the_last_cut_keeps_the_largest_share_but_never_zero():
    shares = jnp.array([[0.9, 0.04, 0.05, 0.01], [0.1, 0.2, 0.3, 0.4], [0.0, 0.5, 0.5, 0.0]])
    assert discretise(shares).tolist() == [2, 3, 1]
    assert discretise(shares, ("noise", "identity", "tanh", "relu")).tolist() == [0, 3, 1]


def test_entropy_is_that_of_numpy():
    p = np.array([[1.0, 0.0, 0.0], [0.2, 0.3, 0.5]])
    wanted = [0.0, -(p[1] * np.log(p[1])).sum()]
    np.testing.assert_allclose(entropy(jnp.asarray(p, float)), wanted, atol=1e-6)


def test_regrets_are_those_of_the_table_one_by_one():
    table = cell_table()
    cells = table.cells[[5, 27, 63]]
    np.testing.assert_allclose(regrets(table, cells), [table.regret(cell) for cell in cells])


def test_the_control_is_the_mean_over_27_cells_with_one_try_and_better_with_more():
    table = cell_table()
    sound = (table.cells != 0).all(axis=1)
    every = regrets(table, table.cells[sound])
    one, five = (random_search(table, tries) for tries in (1, 5))
    assert abs(one.mean() - every.mean()) < 5 * every.std() / np.sqrt(2000)
    assert five.mean() < 0.7 * one.mean()


def test_a_step_moves_the_logits_first():
    """One step by hand, from the same start."""
    search = toy(0.3)
    state = search.step(search.init(None), jax.random.key(0))
    alpha = 2.0 - 0.1 * ((-2.0 + 0.3 * 8.0) - 2.0 + 2.0 * 0.6)
    np.testing.assert_allclose(state.alpha, alpha, rtol=1e-5)
    np.testing.assert_allclose(state.w, -2.0 - 0.1 * 2 * (-2.0 - alpha), rtol=1e-5)


def test_an_unknown_mode_is_refused():
    with pytest.raises(ValueError, match=r"mode = 'second' is refused; accepted: one of"):
        fan(Darts(ScalarToy(), mode="second"), 1, over={"key": 1})


def test_the_claim_holds_on_the_demonstration():
    claim(demo()).check()
    assert "alpha 1.0000" in say(demo())


def test_the_claim_refuses_a_turned_sign_of_the_second_term():
    """With xi -> -xi in the step the rest is at 2 / (1 - 2 xi), here nowhere."""
    wrong = dict(demo().columns) | {"xi": -0.3 * np.ones(len(demo()))}
    assert not claim(Record(demo().steps, wrong)).holds


def test_the_claim_refuses_a_search_that_never_looks_ahead():
    short = dict(demo().columns) | {"place": demo()["first.place"]}
    assert not claim(Record(demo().steps, short)).holds


@pytest.mark.slow
def test_on_the_digits_the_search_is_no_better_than_a_random_cell():
    """Reported: ten seeds of each order beside one random cell."""
    table = cell_table()
    runs = {mode: fan(supernet(mode=mode), 300, over={"key": 10}, every=300) for mode in MODES[::2]}
    found = {m: regrets(table, r.column("cell")[:, -1].astype(int)) for m, r in runs.items()}
    control = random_search(table, 1)
    for mode, values in found.items():
        error = values.std(ddof=1) / np.sqrt(10)
        print(f"{mode}: regret {values.mean():.4f} +- {error:.4f}, random {control.mean():.4f}")
        assert abs(values.mean() - control.mean()) < 4 * error
        assert np.median(runs[mode].column("gap")[:, -1]) > 1


def test_a_mixed_difference_has_the_sign_of_the_mixed_derivative(double):
    """Of (w - alpha)^2: d/d alpha of 2 (w - alpha) v is -2 v."""
    train = lambda w, alpha: (w - alpha) ** 2
    assert (
        abs(mixed_difference(train, jnp.asarray(0.3), jnp.asarray(1.2), jnp.asarray(5.0)) + 10)
        < 1e-9
    )
