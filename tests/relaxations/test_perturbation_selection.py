"""Selection by removal against least variance, orthogonal operations, naive removal, and S107."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize
from tiny_cells import small

from labkit import fan, replace, run
from labkit.record import Record
from labkit.relaxations import perturbation_selection as module
from labkit.relaxations.cell_search import (
    CellSearch,
    agreement,
    discretise,
    random_search,
    regrets,
    worth,
)
from labkit.relaxations.cell_table import cell_table
from labkit.relaxations.cells import USUAL
from labkit.relaxations.perturbation_selection import (
    PerturbationSelection,
    best_logits,
    claim,
    demo,
    drops,
    say,
    without,
)


THREE = ("zero", "identity", "tanh")


def test_the_best_mixture_of_two_estimates_prefers_the_closer_one():
    """The variance of the mixture, minimized by another route."""
    variances = np.array([0.7, 0.2])  # of the operation, of skip: x is the closer
    p = lambda a: np.exp(a) / np.exp(a).sum()
    found = minimize(lambda a: p(np.append(a, 0.0)) ** 2 @ variances, 0.0, tol=1e-12).x[0]
    operation, skip = best_logits(jnp.asarray(variances, float))
    assert abs(found - (operation - skip)) < 1e-5
    assert abs((operation - skip) - np.log(0.2 / 0.7)) < 1e-6
    assert operation < skip


def test_with_weights_of_their_own_the_drop_knows_the_operations_and_the_shares_do_not():
    """y = sum_o p_o w_o f_o at least squares: drops are (p_o w_o)^2 E f_o^2 at any shares."""
    draw = np.random.default_rng(0)
    f = np.linalg.qr(draw.normal(size=(50, 4)))[0] * np.sqrt(50) * [1.0, 2.0, 0.5, 1.5]
    y = f @ [0.3, 0.5, 1.2, 0.2] + draw.normal(size=50)
    beta = np.linalg.lstsq(f, y, rcond=None)[0]
    wanted, of_shares = beta**2 * (f**2).mean(axis=0), []
    for alpha in draw.normal(size=(3, 4)):
        p = np.exp(alpha) / np.exp(alpha).sum()
        w = beta / p
        loss = lambda p, w=w: ((y - f @ (p * w)) ** 2).mean()
        found = [
            loss(np.asarray(q)) - loss(p) for q in without(jnp.asarray(p[None], float))[0, :, 0]
        ]
        np.testing.assert_allclose(found, wanted, rtol=1e-4)  # shares in float32
        assert np.argmax(found) == np.argmax(wanted)
        of_shares.append(np.argmax(alpha))
    assert set(of_shares) != {np.argmax(wanted)}  # shares would have missed it


def test_one_share_is_taken_and_the_others_are_kept_or_scaled():
    p = np.random.default_rng(0).dirichlet(np.ones(4), 3)
    for rest in ("kept", "scaled"):
        left = np.asarray(without(jnp.asarray(p, float), rest))
        for e in range(3):
            for o in range(4):
                q = p.copy()
                q[e, o] = 0
                if rest == "scaled":
                    q /= q.sum(axis=1, keepdims=True)
                np.testing.assert_allclose(left[e, o], q, atol=1e-6)
    alone = without(jnp.eye(4)[:3], "scaled")
    assert np.isfinite(alone).all()


@pytest.fixture(scope="module")
def tiny():
    problem = CellSearch(small(THREE))
    w, alpha = jax.jit(problem.start)(jax.random.key(0))
    return problem, w, alpha + jnp.array([0.3, 0.0, 0.8])[None]


@pytest.mark.parametrize("rest", ["kept", "scaled"])
def test_drops_are_those_of_one_removal_after_the_other(tiny, rest):
    problem, w, alpha = tiny
    space, p = problem.space, problem.shares(alpha)
    loss = jax.jit(lambda q: space.loss(w, q, space.validation))
    found = jax.jit(drops, static_argnames=("criterion", "rest"))(problem, w, alpha, "loss", rest)
    for e, o in ((0, 1), (1, 2), (2, 0)):
        q = np.array(p)
        q[e, o] = 0
        if rest == "scaled":
            q /= q.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(found[e, o], loss(jnp.asarray(q)) - loss(p), atol=1e-6)
    zero = np.asarray(found)[:, 0]
    assert (np.abs(zero) < 1e-6).all() if rest == "kept" else (np.abs(zero) > 1e-4).any()


def test_zero_would_be_chosen_where_all_else_does_harm():
    """Its drop of 0 is the largest where the others are negative: it has to be left out."""
    drop = jnp.array([[0.0, -0.2, -0.1]] * 3)
    assert discretise(drop, THREE).tolist() == [2, 2, 2]


def test_edges_are_decided_one_by_one_in_the_order_drawn():
    selection = PerturbationSelection(CellSearch(small(THREE)), search=4.0, tuning=2.0)
    record = run(selection, 20)
    decided = record["decided"]
    count = (decided >= 0).sum(axis=1)
    # decisions in steps 5, 7 and 9, and the end after one more round of training
    assert count.tolist() == [0] * 5 + [1] * 2 + [2] * 2 + [3] * 2
    for before, after in itertools.pairwise(decided):
        kept = before >= 0
        assert (after[kept] == before[kept]).all()
    order = record.state.order
    for made, row in ((1, 5), (2, 7)):
        assert sorted(np.flatnonzero(decided[row] >= 0)) == sorted(np.asarray(order[:made]))
    shares = record.last("shares")
    assert (shares.max(axis=1) == 1).all()
    assert shares.argmax(axis=1).tolist() == decided[-1].tolist()
    assert record.last("gap") < 1e-6


def test_worth_is_the_mean_over_the_cells_with_that_operation():
    table = cell_table()
    for e, o in ((0, 1), (2, 3)):
        rows = table.cells[:, e] == o
        np.testing.assert_allclose(worth(table)[e, o], table.mean[rows].mean())
    assert agreement(worth(table), table) == pytest.approx(1)
    assert agreement(-worth(table), table) == pytest.approx(-1)


def test_an_unknown_criterion_is_refused():
    with pytest.raises(ValueError, match=r"criterion = 'speed' is refused; accepted: one of loss"):
        run(replace(module.example(), {"criterion": "speed"}), 1)


def test_the_claim_holds_on_the_demonstration():
    claim(demo()).check()
    assert "3 of 3 edges decided" in say(demo())


def test_the_claim_refuses_shares_that_are_scaled():
    """Then taking zero away makes the rest louder, which the loss notices."""
    drop = np.array(demo()["drop"])
    drop[..., USUAL.index("zero")] += 1e-3
    assert not claim(Record(demo().steps, {**demo().columns, "drop": drop})).holds


@pytest.mark.slow
def test_over_ten_seeds_the_drop_chooses_no_better_cells_than_the_share():
    """Reported, as regrets beside random search, and as agreement with the table."""
    table = cell_table()
    runs = fan(module.example(), 240, over={"key": 10}, every=150, how="map")
    control = random_search(table, 1).mean()
    for name in ("by_shares", "decided"):
        values = regrets(table, runs.column(name)[:, -1].astype(int))
        error = values.std(ddof=1) / np.sqrt(10)
        print(f"{name}: regret {values.mean():.4f} +- {error:.4f}, a random cell {control:.4f}")
        assert values.mean() < control
    for name in ("alpha", "drop"):
        ranks = [agreement(values, table) for values in runs.column(name)[:, 1]]
        print(f"{name}: median rank correlation {np.median(ranks):.2f}")
