"""Rare classes as drawn: their shares, their best line, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from labkit.method import check
from labkit.relaxations.imbalanced import RareTable, TwoGaussians, rare_breast_cancer


def table(kept=(8, 3), held=(4, 2)):
    """Rows that say where they come from: negatives 0 to 19, positives 100 to 109."""
    rows = lambda first, n: jnp.stack([first + jnp.arange(float(n)), jnp.ones(n)], axis=1)
    return RareTable(rows(0.0, 20), rows(100.0, 10), kept, held)


@jax.jit
def gaussians(share, apart, key):
    return TwoGaussians(share=share, apart=apart, samples=4000).draw(key)


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5])
def test_the_share_of_positives_is_the_one_asked_for(share, key):
    for part in gaussians(share, 1.0, key):
        assert part.y.sum() == round(4000 * share)


def test_the_gaussians_stand_apart_along_the_first_axis(key):
    train, test = gaussians(0.5, 2.0, key)
    for x, y in (train, test):
        x, y = np.asarray(x), np.asarray(y) == 1
        means = [x[~y].mean(axis=0), x[y].mean(axis=0)]
        # 2,000 samples a class: a mean is known to 0.022, the largest of eight to 0.08
        np.testing.assert_allclose(means, [[0, 0], [2, 0]], atol=0.08)
        np.testing.assert_allclose(np.cov(x[y].T), np.eye(2), atol=0.13)
    assert not np.array_equal(train.x, test.x)


def test_the_closed_forms_of_both_lines_are_the_best_there_are():
    share, apart, t = 0.05, 1.5, np.linspace(-3, 6, 9001)
    recall, specificity = norm.cdf(apart - t), norm.cdf(t)
    mean = np.sqrt(recall * specificity)
    np.testing.assert_allclose(t[mean.argmax()], apart / 2, atol=1e-3)
    np.testing.assert_allclose(mean.max(), norm.cdf(apart / 2), atol=1e-6)
    right = share * recall + (1 - share) * specificity
    best = apart / 2 + np.log((1 - share) / share) / apart
    np.testing.assert_allclose(t[right.argmax()], best, atol=1e-3)


def test_a_row_of_a_table_is_drawn_once_and_for_one_part():
    drawn = jax.jit(lambda key: table().draw(key))
    seen = set()
    for seed in range(5):
        train, test = drawn(jax.random.key(seed))
        np.testing.assert_allclose(train.x.mean(axis=0), 0.0, atol=1e-5)
        np.testing.assert_allclose(train.x[:, 0].std(), 1.0, rtol=1e-5)
        assert np.isfinite(test.x).all()  # the second feature is constant
        rows = np.concatenate([train.x[:, 0], test.x[:, 0]])
        assert len(np.unique(np.round(rows, 4))) == 17
        positive = np.concatenate([train.y, test.y]) == 1
        assert rows[positive].min() > rows[~positive].max()
        assert (len(train.y), train.y.sum(), len(test.y), test.y.sum()) == (11, 3, 6, 2)
        seen.add(tuple(np.round(rows, 3)))
    assert len(seen) == 5


@pytest.mark.parametrize("kept, held", [((17, 3), (4, 2)), ((8, 9), (4, 2)), ((0, 3), (4, 2))])
def test_a_table_with_too_few_rows_is_refused(kept, held):
    with pytest.raises(
        ValueError, match=r"kept and held = .* is refused; accepted: counts of both"
    ):
        check(table(kept, held))


@pytest.mark.slow
def test_the_tumours_are_ten_benign_to_a_malignant_one():
    problem = rare_breast_cancer(10)
    assert (len(problem.negatives), len(problem.positives)) == (357, 212)
    assert (problem.kept, problem.held) == ((238, 23), (119, 12))
    check(problem)


@pytest.mark.parametrize("ratio", [1, 51, 2.5])
def test_a_ratio_out_of_range_is_refused(ratio):
    with pytest.raises(ValueError, match=r"ratio = .* accepted: a whole number from 2 to 50"):
        rare_breast_cancer(ratio)
