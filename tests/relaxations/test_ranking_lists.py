"""Lists to rank: what is in them, and a scorer that learns by each of the losses."""

import jax.numpy as jnp
import numpy as np
import pytest

from labkit import Adam, Descent, run
from labkit.models import MLP
from labkit.relaxations.neural_ndcg import soft_ndcg
from labkit.relaxations.ranking_lists import (
    Lists,
    Ranking,
    digits_lists,
    synthetic_lists,
    wine_lists,
)


def test_lists_are_graded_as_told_and_the_same_for_the_same_seed():
    made = synthetic_lists(3, lists=50, items=20, features=4)
    assert made.x.shape == (50, 20, 4)
    counts = np.bincount(np.asarray(made.grades, int).ravel())
    np.testing.assert_array_equal(counts, 200)  # fifths of a thousand
    assert ((made.mask.sum(axis=1) >= 10) & (made.mask.sum(axis=1) <= 20)).all()
    np.testing.assert_array_equal(synthetic_lists(3, lists=50, items=20, features=4).x, made.x)
    for lists, grades in ((digits_lists(0, 5), 5), (wine_lists(0, 5, test=True), 3)):
        assert set(np.unique(lists.grades)) <= set(range(grades))


def test_more_items_than_there_are_are_refused():
    with pytest.raises(ValueError, match=r"items = 1000 is refused; accepted: 2 to 142"):
        wine_lists(0, items=1000)


def learned(objective):
    """NDCG before and after a hundred steps, and the same of the loss."""
    lists = synthetic_lists(0, lists=8, items=8, features=4, noise=0.1)
    problem = Ranking(MLP((4, 1)), lists, objective=objective, rounds=5)
    start = lambda state: problem.ndcg(state.w)
    record = run(Descent(problem, Adam(lr=0.05)), 100, every=100, probes={"ndcg": start})
    return record["ndcg"], record["loss"]


def test_the_metric_itself_is_learned():
    metric, loss = learned("NeuralNDCG")
    assert loss[1] < 0.5 * loss[0]
    assert metric[1] > max(metric[0], 0.95)


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["transposed", "RankNet", "ListNet", "squared error"])
def test_every_other_objective_learns_to_rank_too(objective):
    metric, loss = learned(objective)
    assert loss[1] < loss[0]
    assert metric[1] > max(metric[0], 0.95)


def test_the_loss_is_what_the_soft_metric_lacks():
    lists = synthetic_lists(0, lists=8, items=8, features=4)
    problem = Ranking(MLP((4, 1)), lists, tau=0.5, rounds=5)
    w = [{"weights": jnp.ones((4, 1)), "bias": jnp.zeros(1)}]
    soft = soft_ndcg(lists.x.sum(axis=-1), lists.grades, 0.5, 5, lists.mask)
    np.testing.assert_allclose(problem.loss(w), 1 - soft.mean(), atol=1e-5)


@pytest.mark.slow
def test_on_digits_a_linear_scorer_ranks_better_for_the_metric_than_for_squared_errors():
    """Held-out NDCG, five draws of lists: the mean and the worst difference."""
    test, apart = digits_lists(99, 100, test=True), []
    for seed in range(5):
        found = {}
        for objective in ("NeuralNDCG", "squared error"):
            problem = Ranking(MLP((64, 1), scale=0.1), digits_lists(seed), objective=objective)
            w = run(Descent(problem, Adam(lr=0.02)), 300, every=300).state.w
            found[objective] = float(problem.ndcg(w, Lists(*test)))
        apart.append(found["NeuralNDCG"] - found["squared error"])
    assert np.mean(apart) > 0.005, apart
