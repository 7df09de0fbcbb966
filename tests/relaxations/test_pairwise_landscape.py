"""Spaces of architectures and what is asked of them, against loops and enumerations."""

import itertools

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from labkit import check
from labkit.relaxations.architecture_queries import (
    Queries,
    drawn,
    expected_rank,
    linear_proxy,
    median_rank,
    one_at_a_time,
    unseen,
)
from labkit.relaxations.cell_table import cell_table
from labkit.relaxations.pairwise_landscape import (
    Known,
    PairwiseLandscape,
    TabulatedSpace,
    codes,
    measured_cells,
    rounded,
)
from labkit.relaxations.search_controls import SearchControl, all_known


SMALL = PairwiseLandscape(strength=0.6, edges=3, operations=4)
terms = jax.jit(lambda space: space.terms())


def test_the_quality_is_the_sum_over_edges_and_pairs():
    u, v = map(np.asarray, terms(SMALL))
    quality = np.asarray(all_known(SMALL).quality)
    for place, a in enumerate(itertools.product(range(4), repeat=3)):
        pairs = sum(v[e, f, a[e], a[f]] for e in range(3) for f in range(e + 1, 3))
        expected = sum(u[e, a[e]] for e in range(3)) + 0.6 * pairs
        np.testing.assert_allclose(quality[place], expected, atol=1e-5)  # float32, of six terms


def test_a_correlated_landscape_is_a_mixture_of_two():
    at = lambda c: np.asarray(terms(PairwiseLandscape(correlation=c, edges=3, operations=4))[1])
    np.testing.assert_allclose(at(0.6), 0.6 * at(1.0) + 0.8 * at(0.0), atol=1e-6)
    # 144 pairs of independent numbers: a deviation of 1 / 12
    assert abs(np.corrcoef(at(1.0).ravel(), at(0.0).ravel())[0, 1]) < 4 / 12


def test_codes_and_places_are_those_of_a_count_in_digits():
    every = np.arange(64)
    z = np.asarray(codes(SMALL, jnp.asarray(every)))
    digits = np.stack(np.unravel_index(every, (4, 4, 4)), axis=1)
    np.testing.assert_array_equal(z.argmax(axis=-1), digits)
    np.testing.assert_array_equal(z.sum(axis=-1), 1.0)
    np.testing.assert_array_equal(rounded(jnp.asarray(z)), every)


def test_a_rank_counts_those_better_by_more_than_the_error_of_a_difference():
    quality, error = np.array([1.0, 0.9, 0.5, 0.86]), np.array([0.06, 0.08, 0.0, 0.0])
    known = Known(jnp.asarray(quality), jnp.asarray(error))
    # 1 and 0.9 are 0.1 apart, with an error of exactly 0.1 but for rounding; 0.86 is 0.14 below 1
    rank = jax.jit(lambda known, i: known.rank(i))
    assert [int(rank(known, i)) for i in (0, 2, 3)] == [1, 4, 2]
    plain = Known(jnp.asarray(quality), jnp.zeros(4))
    assert [int(rank(plain, i)) for i in range(4)] == [1, 2, 4, 3]


def test_ranks_of_cells_are_those_of_their_table():
    table, known = cell_table(), all_known(measured_cells())
    cells = range(0, 64, 7)
    assert [int(known.rank(i)) for i in cells] == [table.rank(table.cells[i]) for i in cells]


def test_a_price_takes_off_the_share_of_multiply_adds():
    free, dear = (np.asarray(measured_cells(p).quality) for p in (0.0, 0.3))
    matrices = (cell_table().cells >= 2).sum(axis=1)  # tanh and relu
    np.testing.assert_allclose(free - dear, 0.3 * matrices / 3, atol=1e-6)


def test_a_table_of_another_size_is_refused():
    with pytest.raises(
        ValueError, match=r"error = \(3,\) is refused; accepted: \(4,\), one number"
    ):
        check(TabulatedSpace(np.zeros(4), np.zeros(3), edges=2, operations=2))


def test_queries_are_kept_in_order_and_never_beyond_the_budget():
    known = Known(jnp.array([0.0, 3.0, 1.0, 7.0, 2.0]), jnp.zeros(5))
    new = jnp.array([3, 1, 0])
    ask = jax.jit(lambda key, known: drawn(key, known, 2, 4).ask(known, new))
    queries = jax.tree.map(np.asarray, ask(jr.key(0), known))
    first = queries.index[:2]
    assert len(set(first)) == 2
    np.testing.assert_array_equal(queries.index, [*first, 3, 1])
    np.testing.assert_array_equal(queries.value, np.array([0.0, 3, 1, 7, 2])[[*first, 3, 1]])
    assert int(queries.count) == 4
    assert int(queries.best) == 3
    look = jax.jit(lambda queries: (queries.seen(5), queries.standing(known)))
    seen, standing = look(queries)
    np.testing.assert_array_equal(np.flatnonzero(seen), sorted({*first, 3, 1}))
    assert {n: float(v) for n, v in standing.items()} == {"queries": 4, "best_rank": 1, "regret": 0}


def test_standard_units_are_those_of_what_was_asked():
    queries = Queries(jnp.arange(5), jnp.array([1.0, 4.0, 2.5, 99.0, -99.0]), jnp.array(3))
    values, mean, deviation = jax.jit(lambda queries: queries.standard())(queries)
    asked = np.array([1.0, 4.0, 2.5])
    np.testing.assert_allclose([mean, deviation], [asked.mean(), asked.std()], rtol=1e-5)
    np.testing.assert_allclose(values[:3], (asked - asked.mean()) / asked.std(), rtol=1e-5)


def test_what_is_drawn_anew_has_not_been_seen():
    seen = jnp.arange(20) % 3 > 0
    new = np.asarray(unseen(jr.key(1), seen, 7))
    assert sorted(new) == list(range(0, 20, 3))


def test_the_mean_rank_of_random_search_is_that_of_an_enumeration():
    ranks = [1 + min(chosen) for chosen in itertools.combinations(range(9), 4)]
    np.testing.assert_allclose(np.mean(ranks), expected_rank(9, 4))


def test_random_search_has_the_mean_and_the_median_rank_that_are_told():
    rng = np.random.default_rng(0)
    ranks = 1 + np.array([rng.choice(15625, 80, replace=False).min() for _ in range(2000)])
    # The rank is nearly exponential: its mean is known to 1 / sqrt(2000) = 2 %, the median alike.
    np.testing.assert_allclose(ranks.mean(), expected_rank(15625, 80), rtol=0.09)
    np.testing.assert_allclose(np.median(ranks), median_rank(15625, 80), rtol=0.12)


def test_one_edge_at_a_time_tells_a_linear_proxy_everything():
    """25 queries, the rank of all codes; on 50 of 50 additive landscapes the best is found."""
    space = PairwiseLandscape(strength=0.0)
    asked = one_at_a_time(6, 5)
    z = np.asarray(codes(space, jnp.asarray(asked)))
    apart = (z.argmax(axis=-1) != z[0].argmax(axis=-1)).sum(axis=1)
    assert sorted(apart) == [0] + [1] * 24
    assert np.linalg.matrix_rank(z.reshape(25, 30)) == 25
    for draw in range(50):
        quality = np.asarray(all_known(PairwiseLandscape(float(draw), 0.0)).quality)
        u = linear_proxy(z, quality[asked])
        assert int(rounded(jnp.asarray(u))) == quality.argmax()


def test_as_many_and_six_more_at_random_may_not_be_enough():
    rng = np.random.default_rng(0)
    short = 0
    for _ in range(1500):
        z = np.eye(5)[rng.integers(5, size=(31, 6))].reshape(31, 30)
        short += np.linalg.matrix_rank(z) < 25
    # Of which 31 draws miss an operation: 6 * 5 * 0.8^31 = 3 % or a little more in all.
    assert 0.01 < short / 1500 < 0.06


def control(kind, **changes):
    return SearchControl(PairwiseLandscape(edges=3, operations=4), kind, **changes)


@pytest.mark.parametrize("kind", ["random", "evolution"])
def test_controls_ask_for_different_ones_up_to_the_budget(kind):
    search = control(kind, first=6, each=4, budget=20, population=8)
    state = search.init(jr.key(0))
    for step in range(5):
        state = search.step(state, jr.key(step))
    assert len(state.index) == len(set(state.index)) == 20
    assert search.done(state)
    best = np.asarray(state.known.quality)[state.index].max()
    seen = search.observe(state)
    np.testing.assert_allclose(seen["regret"], state.known.quality.max() - best)
    assert seen["best_rank"] == 1 + (state.known.quality > best).sum()


def test_a_child_differs_on_one_edge_from_the_best_of_those_drawn():
    search = control("evolution", first=12, each=1, budget=30, population=5, drawn=5)
    state = search.init(jr.key(0))
    alive = state.index[-5:]
    parent = alive[np.asarray(state.known.quality)[alive].argmax()]
    for seed in range(6):
        child = search.step(state, jr.key(seed)).index[-1]
        digits = [np.array(np.unravel_index(i, (4, 4, 4))) for i in (child, parent)]
        assert (digits[0] != digits[1]).sum() == 1


def test_controls_refuse_more_than_there_is():
    with pytest.raises(ValueError, match="budget = 80 is refused; accepted: at most 64"):
        check(control("random"))
    with pytest.raises(ValueError, match="drawn = 9 is refused; accepted: at most 8"):
        check(control("evolution", budget=60, population=8, drawn=9))
