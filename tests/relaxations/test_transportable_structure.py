"""Learners that are pulled together: sampling, multipliers, symmetries, and S085."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import expm
from scipy.stats import beta

from labkit import run
from labkit.method import check, replace
from labkit.record import Record
from labkit.relaxations.notears import notears
from labkit.relaxations.structural_equations import is_edge, random_equations, structural_distance
from labkit.relaxations.structure_domains import (
    domains,
    shifted,
    transport,
    transport_matrix,
    transport_panel,
    voted,
)
from labkit.relaxations.transportable_structure import (
    State,
    TransportableStructure,
    agreed,
    claim,
    demo,
    example,
    kept,
    say,
    spread,
    views,
)


@pytest.mark.parametrize("k, parameters", [(0, (1, 3)), (1, (3, 3)), (2, (3, 1))])
def test_rows_are_kept_by_a_beta_density_over_its_largest_value(k, parameters):
    at = (np.arange(200) + 0.5) / 200
    density = beta(*parameters).pdf(at)
    # The largest value on a grid of 200 is within a hundredth of the largest.
    np.testing.assert_allclose(kept(jnp.asarray(at), k, 3, 1.0), density / density.max(), atol=0.02)
    np.testing.assert_allclose(kept(jnp.asarray(at), k, 3, 0.0), 1.0, rtol=1e-6)


def test_the_total_is_the_sum_of_the_losses_and_of_the_pulls():
    rng = np.random.default_rng(0)
    A, X = rng.normal(size=(3, 4, 4)), rng.normal(size=(3, 20, 4))
    A[:, np.eye(4, dtype=bool)] = 0.0
    rho, alpha = np.array([1.0, 2.0, 3.0]), np.array([0.1, 0.2, 0.3])
    C = np.einsum("kni,knj->kij", X, X) / 20
    wanted = 0.0
    for k in range(3):
        h = np.trace(expm(A[k] ** 2)) - 4
        wanted += np.linalg.norm(X[k] - X[k] @ A[k]) ** 2 / 40 + 0.05 * np.abs(A[k]).sum()
        wanted += rho[k] / 2 * h**2 + alpha[k] * h
        wanted += 3.0 * np.linalg.norm(A[k] - A.mean(axis=0)) ** 2
    state = State(*map(jnp.asarray, (C, A)), None, jnp.zeros(3), *map(jnp.asarray, (rho, alpha, 0)))
    seen = jax.jit(example().total)(jnp.asarray(A), state)
    np.testing.assert_allclose(seen, wanted, rtol=1e-4)
    apart = np.sqrt(((A - A.mean(axis=0)) ** 2).sum() / (A**2).sum())
    np.testing.assert_allclose(spread(jnp.asarray(A)), apart, rtol=1e-5)


@pytest.fixture(scope="module")
def begun():
    """A state, and 400 steps from any state at any pull, as one program for the tests here."""
    with jax.enable_x64(True):
        method = TransportableStructure(random_equations(0, 5, samples=100), inner=50)

        def many(state, lam):
            turned = replace(method, {"lam": lam})
            return jax.lax.fori_loop(0, 400, lambda _, s: turned.step(s, None), state)

        state = jax.jit(method.init)(jax.random.key(0))
        yield state, jax.jit(many)


def test_without_a_pull_each_learner_is_on_its_own(begun, double):
    """What the others see does not change a bit of it; with a pull it does."""
    state, many = begun
    other = state._replace(C=state.C.at[1:].multiply(2.0))
    np.testing.assert_array_equal(many(state, 0.0).A[0], many(other, 0.0).A[0])
    assert np.abs(many(state, 1.0).A[0] - many(other, 1.0).A[0]).max() > 1e-3


def test_other_names_of_the_nodes_rename_the_result(begun, double):
    state, many = begun
    names = np.array([3, 0, 4, 1, 2])
    renamed = state._replace(C=state.C[:, names][:, :, names])
    wanted = np.asarray(many(state, 3.0).A)[:, names][:, :, names]
    np.testing.assert_allclose(many(renamed, 3.0).A, wanted, atol=1e-10)


def test_multipliers_grow_as_those_of_notears(begun, double):
    state, many = begun
    after = many(state, 0.0)
    assert (np.asarray(after.alpha) > 0).all()
    powers = np.log10(np.asarray(after.rho))
    np.testing.assert_allclose(powers, np.rint(powers), atol=1e-9)
    assert float(after.count) == 400


def test_what_is_agreed_has_no_cycle_and_votes_are_counted():
    A = np.zeros((3, 3, 3))
    A[:, 0, 1], A[:, 1, 2], A[:2, 2, 0] = 1.0, 0.8, 0.9  # a cycle, its last edge 0.6 on average
    found = agreed(A)
    np.testing.assert_allclose(found, [[0, 1.0, 0], [0, 0, 0.8], [0, 0, 0]])
    assert voted(A).sum() == 3
    assert voted(A * np.array([1.0, 0.1, 1.0])[:, None, None])[2, 0] == 0


def test_the_learners_are_where_notears_is_on_the_same_data():
    """One learner on all rows against the augmented Lagrangian by L-BFGS-B: the same graph."""
    method = replace(example(), {"skew": 0.0})  # all parts are all rows
    record = run(method, every=2000)
    C = np.asarray(record.state.C, float)
    np.testing.assert_allclose(C[0], C[1], rtol=1e-6)
    W = notears(C[0], l1=0.05)
    # One ends at h = 7e-5, the other at 1e-8: weights differ by 0.03 at most over four graphs.
    np.testing.assert_allclose(record.last("A")[2], W, atol=0.06)
    # Equal data, and so equal learners but for the rounding of sums.
    assert record.last("spread") < 1e-2


def test_domains_differ_in_their_roots_alone():
    one, other = domains(0)
    roots = ~np.asarray(one.graph).any(axis=0)
    np.testing.assert_allclose(np.asarray(other.variances) / one.variances, np.where(roots, 4.0, 1))
    assert np.array_equal(shifted(one, 1.0).variances, one.variances)
    C = [np.diag([1.0, 2.0]) + 0.5, np.eye(2)]
    graphs = [np.array([[0, 1], [0, 0]], bool), np.zeros((2, 2), bool)]
    # Of x2 given x1: 2.5 - 0.25 / 1.5; in the second domain the edge is of no use.
    wanted = [[(1.5 + 2.5 - 0.25 / 1.5) / 2, 1.0], [2.0, 1.0]]
    scores = transport_matrix(C, graphs)
    np.testing.assert_allclose(scores, wanted)
    assert transport_panel(scores).x == "scored in domain"


@pytest.mark.slow
def test_a_pull_does_not_make_structures_travel_better_in_small_systems():
    """Ten graphs of each kind: reported, and no gain of a pull over plain NOTEARS is seen."""
    for kind in ("erdos-renyi", "scale-free"):
        seen = [transport(seed, kind=kind) for seed in range(10)]
        for name in seen[0]:
            apart, wrong = np.array([tuple(one[name]) for one in seen]).T
            print(kind, name, np.median(apart), apart.mean(), np.median(wrong), wrong.mean())
        apart = {name: np.mean([one[name].apart for one in seen]) for name in seen[0]}
        assert apart["lam 3"] >= apart["NOTEARS"] - 1


def test_bad_numbers_are_refused():
    with pytest.raises(ValueError, match=r"lam = -1.0 is refused; accepted: a finite number at l"):
        check(replace(example(), {"lam": -1.0}))
    with pytest.raises(ValueError, match=r"learners = 0 is refused; accepted: a whole number, 1"):
        check(replace(example(), {"learners": 0}))


def test_the_claim_holds_on_the_demonstration():
    claim(demo()).check()
    assert "0 where they agree" in say(demo())
    assert len([view(demo()) for view in views]) == 5
    W = agreed(demo().last("A"))
    assert structural_distance(is_edge(W), demo().last("truth") != 0) == 0


def told(**columns):
    names = {name.replace("_dot_", "."): values for name, values in columns.items()}
    return Record(demo().steps, {**demo().columns, **names})


def test_the_claim_refuses_learners_without_a_pull_or_pushed_apart():
    assert not claim(told(strong_dot_spread=demo()["apart.spread"])).holds
    assert not claim(told(spread=demo()["weak.spread"])).holds
    assert not claim(told(weak_dot_spread=1.5 * demo()["apart.spread"])).holds


def test_the_claim_refuses_cycles():
    assert not claim(told(strong_dot_h=demo()["strong.h"] + 0.05)).holds
