"""Derivatives by single weights against hand formulas, SciPy and scikit-learn."""

import dataclasses

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.inspection import permutation_importance

from labkit import check, run
from labkit.landscapes import loss_sensitivity
from labkit.landscapes.loss_sensitivity import LossSensitivity, importance
from labkit.landscapes.ranked_inputs import diabetes, ranks, spearman, synthetic, wine


TABLE = synthetic(40)
spearman = jax.jit(spearman)
W, B = jnp.array([0.7, -0.3, 0.2, 0.05]), jnp.array(0.1)
EXACT = {"float32": 2e-5, "float64": 1e-12}[str(W.dtype)]  # of means of 40 terms of size 1 to 30


def by_hand(w, b, x, y):
    """The three derivatives of mean (tanh z - y)^2 by each weight, in NumPy."""
    t = np.tanh(x @ w + b)
    one = 1 - t**2
    two, three = -2 * t * one, -2 * one**2 + 4 * t**2 * one
    rest = t - y
    terms = 2 * rest * one, 2 * (one**2 + rest * two), 2 * (3 * one * two + rest * three)
    return np.stack([(d[:, None] * x**k).mean(axis=0) for k, d in enumerate(terms, 1)])


def test_derivatives_of_a_tanh_unit_are_the_hand_formula():
    seen = jax.jit(LossSensitivity(TABLE).derivatives)(W, B)
    exact = by_hand(*(np.asarray(a, float) for a in (W, B, TABLE.x, TABLE.y)))
    np.testing.assert_allclose(seen, exact, rtol=10 * EXACT, atol=10 * EXACT)


def test_a_linear_unit_has_the_same_second_derivative_for_all_and_no_third():
    seen = jax.jit(LossSensitivity(TABLE, "identity").derivatives)(W, B)
    x = np.asarray(TABLE.x, float)
    np.testing.assert_allclose(seen[1], 2 * (x**2).mean(axis=0), rtol=EXACT)
    np.testing.assert_allclose(seen[1], 2.0, rtol=EXACT)  # standardized
    np.testing.assert_array_equal(seen[2], 0.0)


@pytest.mark.parametrize("ties", [False, True])
def test_rank_correlation_is_that_of_scipy(ties):
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(30, 3)), rng.normal(size=30)
    x, y = (np.round(x), np.round(y)) if ties else (x, y)
    seen = spearman(jnp.asarray(x, float), jnp.asarray(y, float))
    exact = [spearmanr(column, y).statistic for column in x.T]
    np.testing.assert_allclose(seen, exact, atol=EXACT)


def test_equal_values_share_a_rank_and_a_constant_has_no_order():
    np.testing.assert_array_equal(ranks(jnp.array([[3.0], [1.0], [3.0]]))[:, 0], [2.5, 1, 2.5])
    assert spearman(jnp.ones((3, 1)), jnp.arange(3.0))[0] == 0


class Unit(RegressorMixin, BaseEstimator):
    """One unit as scikit-learn sees an estimator."""

    def __init__(self, w, b):
        self.w, self.b = w, b

    def fit(self, x, y):
        return self

    def predict(self, x):
        return np.tanh(x @ self.w + self.b)


def test_importance_is_that_of_scikit_learn():
    method = LossSensitivity(TABLE, starts=1)
    state = run(method, 3).state
    seen = importance(method, state, jr.key(0), shuffles=400)[0]
    x, y = np.asarray(TABLE.x), np.asarray(TABLE.y)
    unit = Unit(np.asarray(state.w[0]), float(state.b[0])).fit(x, y)
    other = permutation_importance(
        unit, x, y, scoring="neg_mean_squared_error", n_repeats=400, random_state=0
    )
    # Both are means of 400 shuffles: five standard errors of their difference.
    error = 5 * np.sqrt(2 / 400) * other.importances_std
    assert (np.abs(seen - other.importances_mean) < error + 1e-6).all()


def test_the_descent_is_that_of_numpy():
    method = LossSensitivity(TABLE, starts=2, lr=0.2)
    first, last = run(method, 0).state, run(method, 5).state
    x, y = np.asarray(TABLE.x, float), np.asarray(TABLE.y, float)
    for start in range(2):
        w, b = np.asarray(first.w[start], float), float(first.b[start])
        for _ in range(5):
            t = np.tanh(x @ w + b)
            back = 2 * (t - y) * (1 - t**2) / len(x)
            w, b = w - 0.2 * x.T @ back, b - 0.2 * back.sum()
        np.testing.assert_allclose(last.w[start], w, atol=EXACT)
        np.testing.assert_allclose(last.b[start], b, atol=EXACT)


def test_the_claim_holds_on_the_demo():
    assert loss_sensitivity.claim(loss_sensitivity.demo()).holds


def test_the_claim_refuses_a_polynomial_with_a_wrong_factor_or_sign():
    record = loss_sensitivity.demo()
    h, third = record.last("h"), record.last("orders")[0, 2, 0]
    second = record.last("orders")[0, 1, 0]
    for off in (third * h**3 * (1 / 3 - 1 / 6), -third * h**3 / 3, second * h**2 / 2):
        # The even part of the error sees the second order; the third shows without averaging.
        columns = {**record.columns, "taylor": record["taylor"] + np.abs(off)[None]}
        assert not loss_sensitivity.claim(dataclasses.replace(record, columns=columns)).holds


def test_orders_of_derivatives_agree_with_rank_as_reported():
    """On diabetes the second derivative of a tanh unit turns the order round, in five starts."""
    agreement = loss_sensitivity.demo().last("agreement")
    assert agreement.shape == (5, 3)
    assert (agreement[:, 1] < 0).all()
    assert (agreement[:, 2] > agreement[:, 0]).all()


def test_noise_moves_the_rank_of_the_second_input():
    quiet, loud = (spearman(t.x, t.y)[1] for t in (synthetic(noise=0.0), synthetic(noise=5.0)))
    assert abs(quiet) < 0.2
    assert loud > 0.7


def test_targets_are_within_reach_of_a_tanh():
    for table in (diabetes(), wine(), synthetic()):
        np.testing.assert_allclose(jnp.abs(table.y).max(), 0.9, rtol=1e-5)
        assert len(table.names) == table.x.shape[1]


def test_a_feature_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="feature = 4 is refused; accepted: 0 to 3"):
        check(LossSensitivity(TABLE, feature=4))
