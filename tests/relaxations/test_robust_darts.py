"""The watched curvature against the dense Hessian, Taylor's theorem, a made series, and S074."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import spearmanr
from tiny_cells import SMOOTH, small, weights

from labkit import fan, replace, run
from labkit.record import Record
from labkit.relaxations import robust_darts as module
from labkit.relaxations.cell_search import CellSearch
from labkit.relaxations.cells import USUAL, one_hot
from labkit.relaxations.robust_darts import (
    NOISY,
    claim,
    demo,
    remainder,
    returned,
    say,
    sharpness,
    smoothed,
    stop,
    stopped,
)


@pytest.fixture
def tiny(double):
    return CellSearch(small(SMOOTH)), *weights()


def test_lanczos_is_the_dense_hessian_which_is_indefinite_with_one_null_an_edge(tiny):
    problem, w, alpha = tiny
    dense = jax.jit(jax.hessian(lambda a: problem.validation(w, a)))(alpha).reshape(6, 6)
    exact = np.linalg.eigvalsh(np.asarray(dense))[::-1]
    pairs = jax.jit(sharpness, static_argnames="count")(problem, w, alpha, count=2)
    np.testing.assert_allclose(pairs.values, exact[:2], atol=1e-10)
    # two operations: three directions (1, -1), and three (1, 1) that change nothing
    assert np.sort(np.abs(exact))[2] < 1e-14
    assert np.sort(np.abs(exact))[3] > 1e-7
    shift = np.kron(np.eye(3), np.ones(2))
    np.testing.assert_allclose(np.asarray(dense) @ shift.T, 0, atol=1e-14)


def test_the_remainder_of_the_taylor_model_falls_eightfold_per_halving(tiny):
    t = jnp.array([0.05, 0.025, 0.0125])
    loss, model = jax.jit(remainder)(*tiny, t)
    ratio = np.abs(loss - model)[:-1] / np.abs(loss - model)[1:]
    np.testing.assert_allclose(ratio, 8, atol=0.8)  # of fourth order: a few per cent at 0.05


def test_a_series_stops_at_the_epoch_that_can_be_told_by_hand():
    flat = np.ones(12)
    assert stop(flat) is None
    rising = np.append(flat, 2.0 * np.ones(6))
    # means at epochs 12, 13, ...: 1.2, 1.4; the mean five earlier is 1, and 1 < 0.75 m from 1.4 on
    assert stop(rising) == 13
    assert stop(rising, ratio=0.55) == 16  # 1.8 is not enough, 2 is
    assert stop(rising[::-1]) is None
    assert stop(2 * rising) == 13
    assert stop(np.append(1.0, 4.0 * np.ones(3))) is None  # too short to know


def test_means_are_those_of_a_loop():
    values = np.random.default_rng(0).normal(size=9)
    loop = [values[max(0, i - 4) : i + 1].mean() for i in range(9)]
    np.testing.assert_allclose(smoothed(values), loop)


def test_what_is_returned_is_of_some_rows_before_the_stop():
    series = np.append(np.ones(12), 2.0 * np.ones(6))
    cells = np.stack([np.full(3, row) for row in range(18)])
    columns = {"sharpness": series, "cell": cells, "wait": np.full(18, 5.0)}
    record = Record(np.arange(18) * 5, columns | {"ratio": np.full(18, 0.75)})
    assert stopped(record) == 13
    assert returned(record).tolist() == [8, 8, 8]
    never = Record(record.steps, {**record.columns, "ratio": np.full(18, 0.3)})
    assert returned(never).tolist() == [17, 17, 17]


def test_noise_is_drawn_anew_with_each_key_and_hides_the_input():
    space = small(NOISY)
    w = weights(4)[0]
    scores = jax.jit(lambda key: space.scores(w, one_hot([0, 0, 0]), space.train.x, key))
    one, again, other = (np.asarray(scores(jax.random.key(k))) for k in (1, 1, 2))
    assert (one == again).all()
    assert np.abs(one - other).max() > 0.1
    head = np.asarray(w.head)
    values = np.linalg.lstsq(head.T, (one - np.asarray(w.shift)).T, rcond=None)[0]
    assert 0.8 < values.std() < 2.2  # two draws of variance 1 added: 1.41, of 36 numbers
    still = [np.asarray(scores(None)) for _ in range(2)]
    assert (still[0] == still[1]).all()


def test_a_ratio_above_1_is_refused():
    with pytest.raises(ValueError, match=r"ratio = 1.5 is refused; accepted: a finite number"):
        run(replace(module.example(), {"ratio": 1.5}), 1)


def test_the_claim_holds_on_the_demonstration():
    claim(demo()).check()
    assert "to be stopped at" in say(demo())


def test_the_claim_refuses_the_other_end_of_the_spectrum():
    """The most negative eigenvalue does not rise with the jump."""
    turned = {**demo().columns, "sharpness": -demo()["sharpness"]}
    assert not claim(Record(demo().steps, turned)).holds


@pytest.mark.slow
def test_over_ten_seeds_sharp_ends_lose_more_and_a_penalty_keeps_them_flat():
    """Reported: correlation over seeds, medians at four penalties, noise kept or not."""
    penalties = (0.0, 0.001, 0.003, 0.01)
    runs = fan(module.example(), 200, over={"l2": penalties, "key": range(10)}, every=5)
    sharp, gap = (runs.column(n)[:, -1].reshape(4, 10) for n in ("sharpness", "gap"))
    plain = spearmanr(sharp[0], gap[0])[0]
    print(f"over seeds {plain:.2f}, over all {spearmanr(sharp.ravel(), gap.ravel())[0]:.2f}")
    print("medians", np.median(sharp, axis=1).round(3), np.median(gap, axis=1).round(3))
    within = [spearmanr(r["sharpness"], r["gap"])[0] for r in runs.records[:10]]
    print("within runs", np.round(within, 2))
    assert np.median(within) > 0.6
    assert plain > 0
    assert (np.diff(np.median(sharp, axis=1)) < 0).all()
    assert (np.diff(np.median(gap, axis=1)) < 0).all()
    cells = runs.column("cell")[:10, -1].astype(int)
    print("noise kept on", (cells == 0).sum(), "of 30 edges")
    assert NOISY[1:] == USUAL[1:]
