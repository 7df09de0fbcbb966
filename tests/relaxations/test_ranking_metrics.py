"""Ranking metrics and losses against loops, enumeration and scikit-learn."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import ndcg_score

from labkit.relaxations import ranking_metrics as metrics


RANDOM = np.random.default_rng(0)
SCORES, GRADES = RANDOM.normal(size=(20, 6)), RANDOM.integers(0, 5, size=(20, 6)).astype(float)
TIED = RANDOM.integers(0, 3, size=(20, 6)).astype(float)
MASK = np.arange(6)[None] < RANDOM.integers(2, 7, size=(20, 1))


def each(loss, scores=SCORES):
    """`loss` of each list cut to what is not padding."""
    lists = zip(scores, GRADES, MASK, strict=True)
    return np.array([loss(s[m], y[m]) for s, y, m in lists])


def dcg(order, grades):
    return sum((2.0 ** grades[j] - 1) / np.log2(2 + i) for i, j in enumerate(order))


def expected(scores, grades):
    """The mean over all orders that agree with the scores."""
    n = len(scores)
    orders = [o for o in itertools.permutations(range(n)) if (np.diff(scores[list(o)]) <= 0).all()]
    best = dcg(np.argsort(-grades), grades)
    return np.mean([dcg(o, grades) for o in orders]) / best if best else 0.0


@pytest.mark.parametrize("scores", [SCORES, TIED], ids=["untied", "tied"])
def test_ndcg_is_its_mean_over_all_orders_that_the_scores_allow(scores):
    found = metrics.ndcg(scores, GRADES, MASK)
    np.testing.assert_allclose(found, each(expected, scores), atol=1e-6)  # float32


@pytest.mark.parametrize("scores", [SCORES, TIED], ids=["untied", "tied"])
def test_ndcg_is_that_of_scikit_learn(scores):
    """It takes gains for grades."""
    wanted = [ndcg_score(g[None], s[None]) for g, s in zip(2**GRADES - 1, scores, strict=True)]
    np.testing.assert_allclose(metrics.ndcg(scores, GRADES), wanted, atol=1e-6)


def test_a_list_without_anything_good_has_none():
    nothing = np.zeros(6)
    assert metrics.ndcg(SCORES[0], nothing) == ndcg_score([nothing], [SCORES[0]]) == 0.0
    assert metrics.ndcg(SCORES[0], GRADES[0], np.zeros(6, bool)) == 0.0


def test_the_losses_are_those_of_their_formulas():
    def ranknet(s, y):
        pairs = [(j, k) for j in range(len(s)) for k in range(len(s)) if y[j] > y[k]]
        return np.mean([np.log1p(np.exp(s[k] - s[j])) for j, k in pairs]) if pairs else 0.0

    def listnet(s, y):
        softmax = lambda v: np.exp(v) / np.exp(v).sum()
        return -softmax(y) @ np.log(softmax(s))

    lists = (SCORES, GRADES, MASK)
    np.testing.assert_allclose(metrics.ranknet(*lists), each(ranknet), rtol=1e-5)
    np.testing.assert_allclose(metrics.listnet(*lists), each(listnet), rtol=1e-5)
    squared = each(lambda s, y: np.mean((s - y) ** 2))
    np.testing.assert_allclose(metrics.squared_error(*lists), squared, rtol=1e-5)


def test_a_mask_of_another_shape_is_refused():
    with pytest.raises(
        ValueError, match=r"shapes of scores, grades and mask = .*\(2,\).* is refused"
    ):
        metrics.ndcg(jnp.asarray(SCORES), GRADES, np.ones(2, bool))
