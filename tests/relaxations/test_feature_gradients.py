"""Moments against loops over chains and their expectations; what is selected; and S115."""

import itertools
from math import comb

import jax
import jax.random as jr
import numpy as np
import pytest

from labkit import check, run
from labkit.record import Record
from labkit.relaxations import feature_gradients as module
from labkit.relaxations import feature_moments
from labkit.relaxations.feature_gradients import FeatureGradients, claim, demo, found, say
from labkit.relaxations.feature_moments import coefficients, moments
from labkit.relaxations.feature_tables import Table, exclusive_or, planted, table, tumours


random = np.random.default_rng(0)
X, Y, S = random.normal(size=(9, 4)), random.normal(size=9), random.uniform(size=4)
three = jax.jit(lambda x, y, s, rows: moments(x, y, s, 3, rows))


def by_chains(x, y, s, order):
    """Chain by chain, as the formula reads."""
    products, n, wanted = (x * s) @ x.T, len(y), []
    for k in range(1, order + 1):
        chains = itertools.combinations(range(n), k + 1)
        terms = [
            y[c[0]] * np.prod([products[a, b] for a, b in itertools.pairwise(c)]) * y[c[-1]]
            for c in chains
        ]
        wanted.append(sum(terms) / comb(n, k + 1))
    return np.array(wanted)


def test_the_cumulative_sums_are_the_loop_over_chains():
    found_ = np.asarray(three(X, Y, S, 9.0))
    small = 1e-10 if found_.dtype == np.float64 else 1e-5  # of numbers about 1
    np.testing.assert_allclose(found_, by_chains(X, Y, S, 3), atol=small)


def test_rows_that_are_nought_do_not_count():
    there = np.arange(9) < 6
    few = three(X * there[:, None], Y * there, S, 6.0)
    np.testing.assert_allclose(few, by_chains(X[:6], Y[:6], S, 3), atol=1e-5)
    mixed = np.array([0, 8, 3, 6, 1, 7, 2, 5, 4])  # the others need not be the last
    few = three((X * there[:, None])[mixed], (Y * there)[mixed], S, 6.0)
    kept = mixed[mixed < 6]
    np.testing.assert_allclose(few, by_chains(X[kept], Y[kept], S, 3), atol=1e-5)


def test_moments_have_the_expectation_of_the_formula():
    """Correlated features, any weights: 2,000 data sets of 15 samples and 20 features."""
    root = np.eye(20) + 0.3 * random.normal(size=(20, 20)) / np.sqrt(20)
    sigma, s = root @ root.T, random.uniform(0.2, 1.0, 20)
    beta = random.normal(size=20) / 3
    x = random.normal(size=(2000, 15, 20)) @ root.T
    y = x @ beta + random.normal(size=(2000, 15))
    several = jax.jit(jax.vmap(lambda x, y, s: moments(x, y, s, 3), (0, 0, None)))
    for weights, cov in ((s, sigma), (np.ones(20), np.eye(20))):
        data = (x, y)
        if cov is not sigma:  # the same numbers, uncorrelated
            x_ = x @ np.linalg.inv(root).T
            data = (x_, x_ @ beta + (y - x @ beta))
        m = np.asarray(several(*data, weights), float)
        steps = [np.linalg.matrix_power(np.diag(weights) @ cov, k) for k in (1, 2, 3)]
        wanted = np.array([beta @ cov @ step @ beta for step in steps])
        z = (m.mean(axis=0) - wanted) / (m.std(axis=0) / np.sqrt(2000))
        assert np.abs(z).max() < 3.5  # of six in all; chains of high order have long tails
    np.testing.assert_allclose(wanted, beta @ beta, rtol=1e-6)  # for Sigma = S = 1, every one


def test_coefficients_turn_the_powers_into_lambda():
    at = np.linspace(0.5, 2.0, 50)
    off = []
    for order in (1, 2, 4):
        a = coefficients(0.5, 2.0, order)
        off.append(np.abs(sum(a[k - 1] * at ** (k + 1) for k in range(1, order + 1)) - at).max())
    assert off[0] > 2 * off[1] > 4 * off[2]
    a = coefficients(1.0, 1.0, 1)
    np.testing.assert_allclose(a, 1)  # one eigenvalue: m_1 is all there is to know
    double = coefficients(1.0, 4.0, 3)  # features in other units
    np.testing.assert_allclose(double, coefficients(0.5, 2.0, 3) / 2 ** np.arange(1, 4), rtol=1e-6)


def test_from_fewer_samples_than_features_the_estimate_has_no_bias():
    record = run(feature_moments.example())
    z = (record["mean"] - record["truth"]) / (record["deviation"] / np.sqrt(400))
    assert np.abs(z).max() < 4  # of 15 sizes
    below = record["samples"] < record["features"]
    assert record["fitted"][below].min() > 0.999  # while a fit knows nothing
    assert "least squares believes 1.00" in feature_moments.say(record)


def test_bad_tables_ranges_and_orders_are_refused():
    with pytest.raises(ValueError, match=r"columns = \[1\] is refused; accepted: columns, and y"):
        table(X * [1, 0, 1, 1], Y, np.ones(4, bool))
    with pytest.raises(ValueError, match="order = 7 is refused; accepted: 1 to 6"):
        coefficients(0.5, 2.0, 7)
    with pytest.raises(ValueError, match=r"range of the spectrum = \(2.0, 1.0\) is refused"):
        coefficients(2.0, 1.0, 2)
    whole = planted(0, 20, 6)
    short = Table(whole.x, whole.y[:-1], whole.known, whole.spectrum, whole.fits)
    with pytest.raises(ValueError, match=r"shape of x = \(20, 6\) is refused; accepted: \(19, 6\)"):
        check(FeatureGradients(short))


def test_the_claim_holds_on_the_demonstration():
    claim(demo()).check()
    assert "5 are in; of the 5 to be found 5 are on top" in say(demo())


def test_z_nears_the_share_that_five_features_explain():
    """5 / 5.25 = 0.95 of the variance; in this sample, by least squares, 0.97."""
    problem = module.example().problem
    x, y = np.asarray(problem.x[:, :5], float), np.asarray(problem.y, float)
    fitted = 1 - np.linalg.lstsq(x, y, rcond=None)[1][0] / (y @ y)
    late = demo()["z"][-50:]
    assert abs(late.mean() - fitted) < 0.06  # the fit of lambda is off by some per cent


def changed(**columns):
    return Record(demo().steps, {**demo().columns, **columns})


def test_the_claim_refuses_a_turned_gradient():
    """Descent on z instead of 1 - z: what matters sinks first."""
    assert not claim(changed(s=1 - demo()["s"])).holds


def test_the_claim_refuses_a_y_without_the_features():
    problem = module.example().problem
    other = Table(
        problem.x, jr.permutation(jr.key(0), problem.y), problem.known, problem.spectrum,
        problem.fits,
    )  # fmt: skip
    assert not claim(run(FeatureGradients(other), 300, every=2)).holds


@pytest.mark.slow
@pytest.mark.parametrize("samples, features, order", [(200, 40, 4), (60, 40, 4), (80, 200, 1)])
def test_planted_features_come_out_on_top(samples, features, order):
    on_top, chosen = [], []
    for seed in range(5):
        method = FeatureGradients(planted(seed, samples, features), order, rows=1e6)
        record = run(method, 300, every=300, key=seed)
        on_top.append(found(record))
        chosen.append(int((record.last("s") > 0.5).sum()))
    print(samples, features, order, on_top, chosen)
    if samples > features:
        assert on_top == [5] * 5
    else:  # more are in than should be
        assert np.median(on_top) >= 4
        assert min(chosen) > 10


@pytest.mark.slow
def test_a_product_of_two_inputs_is_found_where_no_input_shows():
    for seed in range(5):
        method = FeatureGradients(exclusive_or(seed), 2, rows=1e6)
        record = run(method, 300, every=300)
        s = record.last("s")
        assert s.argmax() == 8
        assert (s > 0.5).sum() == 1


@pytest.mark.slow
def test_measurements_of_tumours_are_told_from_noise_as_by_other_selections():
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.feature_selection import mutual_info_classif
    from sklearn.linear_model import LassoCV, LogisticRegression
    from sklearn.model_selection import cross_val_score

    problem = tumours()
    x, y = np.asarray(problem.x), np.asarray(problem.y) > 0
    forest = RandomForestClassifier(200, random_state=0).fit(x, y)
    scores = {
        "mutual information": mutual_info_classif(x, y, random_state=0),
        "lasso": np.abs(LassoCV(random_state=0, tol=1e-2).fit(x, 1.0 * y).coef_),
        "forest": forest.feature_importances_,
        "random": np.random.default_rng(0).uniform(size=130),
    }
    for order in (1, 2, 4):
        method = FeatureGradients(problem, order, rows=1e6)
        s = run(method, 300, every=300).last("s")
        scores[f"order {order}"] = s
        assert (s[30:] < 0.5).all()
    for name, score in scores.items():
        top = np.argsort(-score)[:10]
        right = cross_val_score(LogisticRegression(), x[:, top], y, cv=5).mean()
        print(f"{name}: noise among ten {(top >= 30).sum()}, accuracy {right:.3f}")
