"""Losses of orders against loops, and what is learned from orders alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from labkit import Descent, fan
from labkit.adaptive import Adam
from labkit.data.sets import digit_sets
from labkit.method import check
from labkit.models import MLP
from labkit.models.attention import SelfAttention
from labkit.relaxations.learning_to_order import (
    LEAST,
    EachAlone,
    Ordering,
    accuracy,
    true_permutation,
)
from labkit.relaxations.sorting_network import network_permutation


RANDOM = np.random.default_rng(0)
X = jnp.asarray(RANDOM.normal(size=(12, 4, 2)), jnp.float32)
PLACE = jnp.asarray(RANDOM.permuted(np.tile(np.arange(4), (12, 1)), axis=1), jnp.int32)
SCORER = EachAlone(MLP((2, 3, 1)))


def test_the_loss_of_orders_is_the_mean_logarithm_of_the_right_shares():
    problem = Ordering(SCORER, X, PLACE)
    w = problem.start(jax.random.key(0))
    p = network_permutation(problem.predict(w, X), 1.0, network="odd_even")
    shares = [p[s, PLACE[s, j], j] for s in range(12) for j in range(4)]
    np.testing.assert_allclose(problem.loss(w), -np.mean(np.log(shares)), rtol=1e-4)  # and LEAST


def test_the_loss_of_instances_is_an_entropy_and_a_distance():
    problem = Ordering(SCORER, X, PLACE, criterion="instances")
    w = problem.start(jax.random.key(0))
    scores = np.asarray(problem.predict(w, X))
    p = np.asarray(network_permutation(jnp.asarray(scores), 1.0, network="odd_even"))
    truth = np.asarray(true_permutation(PLACE))
    entropy = -np.mean(truth * np.log(p + LEAST) + (1 - truth) * np.log(1 - p + LEAST))
    ordered = np.stack([x[np.argsort(s)] for x, s in zip(X, scores, strict=True)])
    target = np.stack([x[np.argsort(q)] for x, q in zip(X, PLACE, strict=True)])
    distance = np.mean((ordered - target) ** 2)
    loss, gradient = jax.jit(jax.value_and_grad(problem.loss))(w)
    np.testing.assert_allclose(loss, entropy + distance, rtol=1e-5)
    assert np.abs(gradient[0]["weights"]).max() > 0


def test_accuracy_counts_members_and_whole_sets():
    scores = jnp.array([[0.1, 0.5, 0.9], [0.5, 0.1, 0.9]])
    place = jnp.array([[0, 1, 2], [0, 1, 2]])
    np.testing.assert_allclose(accuracy(scores, place), [4 / 6, 1 / 2], rtol=1e-6)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"shape of place = .* is refused"):
        check(Ordering(SCORER, X, PLACE[:2]))
    with pytest.raises(ValueError, match="sorter = 'softsort' is refused"):
        check(Ordering(SCORER, X, PLACE, sorter="softsort", criterion="instances"))


@pytest.mark.slow
@pytest.mark.parametrize("sorter", ["cauchy", "logistic", "optimal", "softsort"])
def test_digits_are_put_in_order_by_scores_learned_from_orders_alone(sorter):
    """Five digits a set, 300 sets, three seeds: 0.73 to 0.79 of the members were in place."""
    seen, held = digit_sets(0, 300), digit_sets(1, 300, held_out=True)
    scorer = EachAlone(MLP((64, 16, 1)))
    problem = Ordering(scorer, jnp.asarray(seen.x), jnp.asarray(seen.place), sorter=sorter)
    runs = fan(Descent(problem, Adam(lr=0.01)), 200, over={"key": 3}, every=200)
    for record in runs.records:
        scores = problem.predict(record.state.w, jnp.asarray(held.x))
        members, sets = accuracy(scores, jnp.asarray(held.place))
        assert members > 0.65  # 0.2 by chance
        assert sets > 0.35  # 1 / 120 by chance


def test_attention_scores_are_permuted_with_the_members(double):
    model = SelfAttention(5, 4)
    params = model.init(jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (2, 6, 5))
    order = np.array([3, 0, 5, 1, 2, 4])
    apply = jax.jit(model.apply)
    scores = np.asarray(apply(params, x))
    assert scores.shape == (2, 6)
    np.testing.assert_allclose(apply(params, x[:, order]), scores[:, order], atol=1e-12)
    moved = apply(params, x.at[:, 5].add(1.0))
    assert np.abs(moved - scores)[:, :5].min() > 1e-6  # it does look at the others


def test_attention_is_that_of_a_loop(double):
    model = SelfAttention(5, 4)
    w = jax.tree.map(np.asarray, model.init(jax.random.key(0)))
    x = np.random.default_rng(0).normal(size=(1, 3, 5))
    layer = lambda name, h: h @ w[name]["weights"] + w[name]["bias"]
    h = layer("embed", x[0])
    q, k, v = (layer(name, h) for name in ("query", "key", "value"))
    mixed = np.zeros((3, 4))
    for i in range(3):
        alike = np.exp([q[i] @ k[j] / 2 for j in range(3)])  # the root of a width of 4
        mixed[i] = h[i] + sum(alike[j] * v[j] for j in range(3)) / alike.sum()
    expected = layer("score", np.tanh(layer("hidden", mixed)))[:, 0]
    found = jax.jit(model.apply)(w, x)[0]
    np.testing.assert_allclose(found, expected, atol=1e-12)
