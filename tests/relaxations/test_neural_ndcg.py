"""NDCG~ against NDCG, the bounds of NeuralSort, the library's metric, and against S093."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from sklearn.metrics import ndcg_score

from labkit.record import Record
from labkit.relaxations.neural_ndcg import (
    claim,
    demo,
    doubly_stochastic,
    ranking,
    say,
    soft_ndcg,
)


N, LISTS = 6, 100
soft_of = jax.jit(soft_ndcg, static_argnames=("rounds", "transposed"))
ranking_of = jax.jit(ranking)


def drawn(seed=0):
    """Scores and grades of 100 lists, and the smallest gap of each."""
    random = np.random.default_rng(seed)
    scores = random.normal(size=(LISTS, N))
    return scores, random.integers(0, 5, size=scores.shape), gaps(scores)


def gaps(scores):
    return np.diff(np.sort(scores), axis=1).min(axis=1)


def naive(scores, grades):
    """NDCG by a sort, list by list."""
    found = []
    for s, y in zip(np.asarray(scores), np.asarray(grades, float), strict=True):
        g, d = 2.0**y - 1, 1 / np.log2(2 + np.arange(len(y)))
        best = np.sort(g)[::-1] @ d
        found.append(g[np.argsort(-s, kind="stable")] @ d / best if best else 0.0)
    return np.array(found)


def units(scores, share):
    """The same lists in units in which the smallest gap is `share`: tau is 1 for all."""
    return scores / gaps(scores)[:, None] * share


@pytest.mark.parametrize("share, most", [(16, 1e-6), (32, 1e-12)])
def test_at_a_sixteenth_of_the_smallest_gap_it_is_the_metric(double, share, most):
    """tau = gap / 16 and gap / 32, in float64; at gap / 4 it is not.  A hundred lists."""
    scores, grades, _ = drawn()
    true = naive(scores, grades)
    for transposed in (False, True):
        soft = soft_of(units(scores, share), grades, 1.0, transposed=transposed)
        assert np.abs(soft - true).max() <= most  # 4 sum_k exp(-k^2 share) is 5e-7 and 5e-14
    assert np.abs(soft_of(units(scores, 4), grades, 1.0) - true).max() > 1e-4


def test_rows_lie_as_near_to_unit_vectors_as_the_gap_says():
    scores, _, _ = drawn()
    for share in (1.0, 4.0):
        p = np.asarray(ranking_of(units(scores, share), 1.0))
        hard = np.eye(N)[np.argsort(-scores, axis=1)]
        most = 4 * sum(np.exp(-(k**2) * share) for k in range(1, N))
        assert np.abs(p - hard).sum(axis=-1).max() <= most + 1e-5  # float32
        np.testing.assert_array_equal(p.argmax(axis=-1), np.argsort(-scores, axis=1))


def test_logits_fall_from_the_right_item_by_squares():
    scores, _, _ = drawn()
    p = np.asarray(ranking_of(units(scores, 1.0), 1.0), float)
    order = np.argsort(-scores, axis=1)
    logits = np.log(np.maximum(np.take_along_axis(p, order[:, None], axis=2), 1e-30))
    for place in range(N):
        for k in range(N - place):
            fallen = logits[:, place, place] - logits[:, place, place + k]
            assert (np.minimum(fallen, 60) >= min(k**2, 60) - 1e-3).all()  # float32


def test_it_does_not_see_a_shift_nor_a_common_unit(double):
    scores, grades, _ = drawn()
    here = soft_of(scores, grades, 0.7)
    np.testing.assert_allclose(soft_of(scores + 11.0, grades, 0.7), here, atol=1e-10)
    np.testing.assert_allclose(soft_of(3.0 * scores, grades, 2.1), here, atol=1e-10)


def test_the_variants_differ_until_the_rounds_have_converged(double):
    """After one round by some 0.007 at most, after fifty by 1e-3 or less, without near ties."""
    scores, grades, _ = drawn()
    apart = lambda rounds: np.abs(
        soft_of(scores, grades, 1.0, rounds=rounds)
        - soft_of(scores, grades, 1.0, rounds=rounds, transposed=True)
    ).max()
    assert apart(1) > 1e-3
    assert apart(50) < 0.1 * apart(1)


def test_the_scaling_is_that_of_a_plain_loop_and_makes_columns_right():
    scores, grades, _ = drawn()
    p = loop = np.asarray(ranking_of(scores, 1.0), float)
    for _ in range(50):
        loop = loop / loop.sum(axis=1, keepdims=True)
        loop = loop / loop.sum(axis=2, keepdims=True)
    assert np.abs(p.sum(axis=1) - 1).max() > 0.1  # not doubly stochastic before
    np.testing.assert_allclose(doubly_stochastic(jnp.asarray(p), 50), loop, atol=1e-5)
    best = np.sort(2.0**grades - 1, axis=1)[:, ::-1]
    d = 1 / np.log2(2 + np.arange(N))
    wanted = np.einsum("i,bij,bj->b", d, loop, 2.0**grades - 1) / (best @ d)
    np.testing.assert_allclose(soft_of(scores, grades, 1.0), wanted, atol=1e-5)


def test_ties_have_the_expectation_as_their_limit():
    """Which scikit-learn gives too, that of gains in place of grades."""
    scores = np.random.default_rng(1).integers(0, 3, size=(LISTS, N))
    grades = np.random.default_rng(2).integers(0, 5, size=(LISTS, N))
    wanted = [ndcg_score(g[None], s[None]) for g, s in zip(2.0**grades - 1, scores, strict=True)]
    found = soft_of(scores.astype(np.float32), grades, 1 / 40)
    np.testing.assert_allclose(found, wanted, atol=1e-5)  # float32


def test_padding_changes_nothing():
    scores, grades, _ = drawn()
    random = np.random.default_rng(3)
    shape = (LISTS, 3)
    padded = np.concatenate([scores, 5 * random.normal(size=shape)], axis=1)
    more = np.concatenate([grades, random.integers(0, 5, size=shape)], axis=1)
    mask = np.arange(N + 3) < N
    mask, shuffle = np.broadcast_to(mask, padded.shape), random.permutation(N + 3)
    for transposed in (False, True):
        wanted = soft_of(scores, grades, 1.0, transposed=transposed)
        found = soft_of(
            padded[:, shuffle], more[:, shuffle], 1.0, mask=mask[:, shuffle], transposed=transposed
        )
        np.testing.assert_allclose(found, wanted, atol=2e-5)  # float32


def test_the_gradient_is_that_of_finite_differences_and_not_that_of_padding(double):
    scores, grades, _ = drawn()
    mask = np.arange(N) < 4

    @jax.jit
    def both(s):
        kinds = (soft_ndcg(s, grades[0], 1.0, 5, mask, transposed=t) for t in (False, True))
        return jnp.stack(list(kinds))

    check_grads(both, (jnp.asarray(scores[0]),), order=1, modes=("rev",))
    assert not np.asarray(jax.jacrev(both)(scores[0])[:, 4:]).any()


def test_bad_input_is_refused_in_a_sentence():
    scores, grades, _ = drawn()
    with pytest.raises(ValueError, match=r"tau = 0.0 is refused; accepted: a number above 0"):
        soft_ndcg(scores, grades, 0.0)
    with pytest.raises(ValueError, match=r"rounds = -1 is refused; accepted: a whole number"):
        soft_ndcg(scores, grades, 1.0, -1)
    with pytest.raises(
        ValueError, match=r"shapes of scores, grades and mask = .*\(3,\).* is refused"
    ):
        soft_ndcg(scores, grades, 1.0, mask=np.ones(3, bool))


def test_extremes_and_lists_without_anything_good_give_numbers():
    both = jax.jit(jax.value_and_grad(lambda s, y, m: soft_ndcg(s, y, 1.0, 5, m)))
    values = np.array([[1] * N, [1e38, -1e38, 0, 1, 2, 3], [1e-38, 0, 0, -1e-38, 1, 1]], np.float32)
    for scores in values:
        for grades in (np.zeros(N), np.arange(6.0)):
            for mask in (np.ones(N, bool), np.zeros(N, bool)):
                found, slope = both(scores, grades, mask)
                assert 0.0 <= found <= 1.0 + 1e-5
                assert np.isfinite(slope).all()


def test_the_claim_holds_on_the_demonstration():
    claim(demo()).check()
    assert "NDCG is 0.6858" in say(demo())
    np.testing.assert_allclose(
        demo().last("ndcg_true"), naive(demo()["scores"][:1], demo()["grades"][:1])[0], rtol=1e-5
    )


def test_the_claim_refuses_twice_the_softness_and_the_wrong_end_first():
    record = demo()
    softer = {**record.columns, "tau": record["tau"] / 2}
    assert not claim(Record(record.steps, softer)).holds
    turned = naive(-record["scores"], record["grades"])
    worst_first = {**record.columns, "ndcg_soft": turned, "ndcg_transposed": turned}
    assert not claim(Record(record.steps, worst_first)).holds
    assert not claim(Record(record.steps, {**record.columns, "tau": 1 + record["tau"]})).holds
