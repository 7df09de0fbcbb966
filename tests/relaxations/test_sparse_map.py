"""SparseMAP beside sparsemax and enumeration, and against F020."""

import itertools

import jax
import numpy as np
import pytest

from labkit.polytopes import rows, subsets
from labkit.record import Record
from labkit.relaxations.soft_top_k import capped_top_k
from labkit.relaxations.sparse_map import claim, demo, say, sparse_map, spelled
from labkit.relaxations.sparsemax import sparsemax


S = np.array([3.0, 1.0, 2.2, 0.0, 4.5])


def test_of_single_items_it_is_sparsemax():
    """At several softnesses, with the derivatives in the scores and in tau."""
    derivatives = lambda f: lambda s, tau: (f(s, tau), jax.jacobian(f, argnums=(0, 1))(s, tau))
    single = lambda s, tau: sparse_map(s, tau, rows(np.eye(5)))
    both = jax.jit(derivatives(single)), jax.jit(derivatives(sparsemax))
    for tau in (0.5, 2.0, 5.0, 30.0):
        for one, other in zip(*(jax.tree.leaves(f(S, tau)) for f in both), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5)


def test_a_batch_of_pairs_is_chosen_row_by_row_and_in_any_unit():
    pairs = jax.jit(lambda s, tau: sparse_map(s, tau, subsets(2)))
    batch = np.stack([S, -S])[None]
    np.testing.assert_allclose(pairs(batch, 2.0), capped_top_k(batch, 2, 2.0), atol=1e-5)
    np.testing.assert_allclose(pairs(8 * batch, 16.0), pairs(batch, 2.0), atol=1e-5)


def test_at_small_tau_it_is_the_best_structure():
    s = demo().last("scores")
    paths = [p for p in itertools.product(range(3), repeat=4) if max(np.abs(np.diff(p))) <= 1]
    best = max(paths, key=lambda path: sum(s[3 * i + label] for i, label in enumerate(path)))
    np.testing.assert_allclose(demo()["marginals"][0], np.eye(3)[list(best)].ravel(), atol=1e-6)
    assert spelled(demo()["marginals"][0]) == "".join(str(1 + label) for label in best)


def test_the_rule_holds_throughout_and_place_by_place_it_does_not():
    """No mixture of sequences goes from a sure 1 to a sure 3; sparsemax by place does."""
    record = demo()
    s = record.last("scores").reshape(4, 3)
    alone = np.asarray(sparsemax(s, record["tau"][0]))
    mu = record["marginals"].reshape(-1, 4, 3)
    # At most all the weight is on 1 here or on 3 there: the two shares together are at most 1.
    jump = lambda p: (p[..., :-1, 0] + p[..., 1:, 2]).max()
    assert jump(alone) == 2.0
    assert jump(mu) <= 1 + 1e-5


def test_a_softness_that_is_not_above_zero_is_refused():
    with pytest.raises(ValueError, match=r"tau = .* is refused; accepted: a number above 0"):
        sparse_map(S, 0.0, subsets(2))


def test_the_claim_holds_on_the_demonstration():
    claim(demo()).check()
    assert "1232 is alone up to tau 0.04" in say(demo())


def told(**columns):
    return Record(demo().steps, {**demo().columns, **columns})


@pytest.mark.parametrize("factor", [1.1, 0.9])
def test_the_claim_refuses_another_softness(factor):
    assert not claim(told(tau=demo()["tau"] * factor)).holds


def test_the_claim_refuses_the_best_structure_alone():
    """As without the square of mu, which is what makes a mixture."""
    count = len(demo())
    alone = {name: np.repeat(demo()[name][:1], count, axis=0) for name in ("marginals", "weights")}
    structures = np.repeat(demo()["structures"][:1], count, axis=0)
    assert not claim(told(**alone, structures=structures)).holds


def test_the_claim_refuses_shares_place_by_place():
    s = demo().last("scores").reshape(4, 3)
    p = [np.asarray(sparsemax(s, tau)).ravel() for tau in demo()["tau"]]
    assert not claim(told(marginals=np.array(p))).holds


def test_the_claim_refuses_a_sequence_that_is_not_allowed():
    structures = demo()["structures"].copy()
    structures[-1, demo()["weights"][-1].argmax()] = np.eye(3)[[0, 2, 0, 2]].ravel()
    assert not claim(told(structures=structures)).holds


def test_far_out_only_the_direction_of_the_scores_counts():
    """Scores of which no square is finite in float32 are told apart all the same."""
    far = np.array([2.1e29, 3.6e29], np.float32)
    np.testing.assert_array_equal(sparse_map(far, 1.0, rows(np.eye(2))), [0.0, 1.0])
