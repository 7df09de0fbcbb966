"""Entropies of soft partitions against hard ones, NumPy and finite differences, and S025."""

import dataclasses
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from labkit import fan, run
from labkit.relaxations import gathered_points
from labkit.relaxations.partition_entropy import (
    PartitionEntropy,
    claim,
    demo,
    half_space_cells,
    noisy_runs,
    partition_entropy,
    row_entropy,
    say,
    soft_cells,
    soft_runs,
    work,
)
from labkit.relaxations.range_partitions import convex_hull, entropy_of, run_lengths


ANCHORS = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [10.0, 10.0]])
SIZES = [40, 20, 30, 10]
cells = jax.jit(soft_cells)
runs = jax.jit(soft_runs, static_argnums=2)


def clusters():
    """Points around four anchors 10 apart."""
    random = np.random.default_rng(0)
    return np.repeat(ANCHORS, SIZES, axis=0) + 0.5 * random.normal(size=(100, 2))


def naive_shares(x, anchors, tau):
    """Softmax of - |x - c|^2 / tau^2, point by point."""
    away = np.array([[np.sum((a - c) ** 2) for c in anchors] for a in x]) / tau**2
    weights = np.exp(away.min(axis=1, keepdims=True) - away)
    return weights / weights.sum(axis=1, keepdims=True)


def test_shares_are_a_softmax_of_squared_distances(double):
    x = clusters()[::9]
    for tau in (0.3, 3.0, 30.0):
        np.testing.assert_allclose(
            cells(x, ANCHORS, tau), naive_shares(x, ANCHORS, tau), atol=1e-14
        )


def test_separated_clusters_have_the_entropy_of_their_sizes(double):
    """1.27985 nats; at tau = 1 the nearest other anchor has a share of about e^-70."""
    h = partition_entropy(cells(clusters(), ANCHORS, 1.0))
    assert h == pytest.approx(entropy_of(SIZES), abs=1e-9)


def test_entropy_lies_between_zero_and_the_logarithm_of_the_cells(double):
    x = clusters()
    for tau in (1e-3, 1.0, 5.0, 20.0, 1e3):
        assert -1e-15 <= partition_entropy(cells(x, ANCHORS, tau)) <= np.log(4) + 1e-12
    assert partition_entropy(cells(x, ANCHORS, 1e6)) == pytest.approx(np.log(4), abs=1e-9)


def test_a_scale_of_points_anchors_and_tau_changes_nothing(double):
    x = clusters()
    np.testing.assert_allclose(
        cells(7.0 * x, 7.0 * ANCHORS, 7.0 * 4.0), cells(x, ANCHORS, 4.0), atol=1e-12
    )


def test_the_slope_is_right_and_finite_where_shares_underflow(double):
    x = clusters()[::9]
    of = lambda x: partition_entropy(soft_cells(x, ANCHORS, 4.0))
    slope = jax.jit(jax.grad(of))(x)
    for i, d in product((0, 5, 11), (0, 1)):
        step = np.zeros_like(x)
        step[i, d] = 1e-5
        expected = float(of(x + step) - of(x - step)) / 2e-5
        assert float(slope[i, d]) == pytest.approx(expected, abs=1e-8)
    hard = lambda x: partition_entropy(soft_cells(x, ANCHORS, 1e-3))
    assert np.isfinite(jax.grad(hard)(x)).all()
    empty = lambda x: partition_entropy(soft_cells(x, ANCHORS + 1e3, 0.1))
    assert np.isfinite(jax.grad(empty)(x)).all()


def test_in_one_cell_all_points_have_one_slope_in_their_shares(double):
    """- (log q_j + 1) / n: nothing draws the points of one cell together."""
    shares = np.random.default_rng(0).dirichlet(np.ones(4), 12)
    slope = jax.grad(partition_entropy)(jnp.asarray(shares))
    expected = -(np.log(shares.mean(axis=0)) + 1) / 12
    np.testing.assert_allclose(slope, np.tile(expected, (12, 1)), atol=1e-14)


def test_cells_of_half_spaces_are_products_of_their_sides(double):
    random = np.random.default_rng(0)
    x, normals, offsets = random.normal(size=(7, 2)), random.normal(size=(3, 2)), np.ones(3) / 5
    got = half_space_cells(jnp.asarray(x), jnp.asarray(normals), jnp.asarray(offsets), 0.5)
    side = 1 / (1 + np.exp(-(x @ normals.T + offsets) / 0.5))
    for cell, signs in enumerate(product((0, 1), repeat=3)):
        expected = np.prod(np.where(np.array(signs), side, 1 - side), axis=1)
        np.testing.assert_allclose(got[:, cell], expected, atol=1e-14)
    hard = half_space_cells(jnp.asarray(x), jnp.asarray(normals), jnp.asarray(offsets), 1e-6)
    number = (x @ normals.T + offsets > 0) @ np.array([4, 2, 1])
    assert np.array_equal(np.argmax(hard, axis=1), number)


def test_entropy_of_soft_runs_goes_to_that_of_the_runs(double):
    """At tau = 1e-3 of values that differ by more the breaks are hard.

    NEAR then leaves exp(-1 / 0.09) = 1.5e-5 of an item to each neighbour of its run: seen 1e-5
    nats.  A tie is half a break, whatever tau.
    """
    for seed in range(5):
        values = np.random.default_rng(seed).permutation(48) / 10
        exact = entropy_of(run_lengths(values))
        assert partition_entropy(runs(values, 1e-3, 48)) == pytest.approx(exact, abs=1e-4)
        assert abs(partition_entropy(runs(values, 0.1, 48)) - exact) > 1e-3
    tied = np.repeat(np.arange(12.0), 4)
    assert partition_entropy(runs(tied, 1e-3, 48)) > 1.0 > entropy_of(run_lengths(tied)) == 0.0


def test_attention_is_focused_by_entropy_and_not_by_its_l1_norm(double):
    """Rows of softmax have the L1 norm 1, so it has no slope; entropy falls along its own."""
    scores = jnp.asarray(np.random.default_rng(0).normal(size=(3, 8)))
    rows = lambda scores: jax.nn.softmax(scores, axis=-1)
    flat = jax.grad(lambda s: jnp.abs(rows(s)).sum())(scores)
    assert np.abs(flat).max() < 1e-15
    before, slope = jax.value_and_grad(lambda s: row_entropy(rows(s)))(scores)
    p = np.asarray(rows(scores))
    assert before == pytest.approx(-(p * np.log(p)).sum(axis=1).mean(), abs=1e-12)
    assert row_entropy(rows(scores - 10 * slope)) < before - 0.1


def test_a_bad_softness_is_refused():
    for tau in (0.0, -1.0, np.nan):
        with pytest.raises(ValueError, match="tau"):
            soft_cells(jnp.zeros((2, 2)), jnp.zeros((2, 2)), tau)
        with pytest.raises(ValueError, match="tau"):
            soft_runs(jnp.zeros(3), tau, 2)


def test_a_step_is_adam_on_the_loss_that_is_written_down(double):
    """The first step of Adam is lr in the direction of the sign, to eps."""
    method = PartitionEntropy(values=noisy_runs(3), lam=0.01, tau=0.1)
    state = method.init(jax.random.key(0))
    moved = np.asarray(method.step(state, None).y - state.y)

    def loss(y):
        h = -np.sum([q * np.log(q) for q in naive_runs(y, 0.1).mean(axis=0) if q > 0])
        return np.mean((y - noisy_runs(3)) ** 2) / 2 + 0.01 * h

    def naive_runs(y, tau):
        t = np.concatenate([[0], np.cumsum(1 / (1 + np.exp((y[1:] - y[:-1]) / tau)))])
        return naive_shares(np.minimum(t, 23)[:, None], np.arange(24.0)[:, None], 0.3)

    y = noisy_runs(3)
    for i in (0, 7, 20, 40):
        step = np.zeros_like(y)
        step[i] = 1e-6
        slope = (loss(y + step) - loss(y - step)) / 2e-6
        # Adam's eps of 1e-8 beside slopes of some 1e-6
        assert moved[i] == pytest.approx(-0.005 * slope / (abs(slope) + 1e-8), rel=1e-3)


def test_the_demonstration_bears_the_claim_out():
    claim(demo()).check()
    assert "runs have become" in say(demo())


def test_the_claim_is_refused_when_the_entropy_is_raised():
    turned = dataclasses.replace(
        demo(), columns={**demo().columns, "down": demo()["up"], "up": demo()["down"]}
    )
    assert not claim(turned).holds


def test_the_claim_is_refused_when_nothing_moves():
    still = np.broadcast_to(demo()["down"][:1], demo()["down"].shape)
    assert not claim(dataclasses.replace(demo(), columns={**demo().columns, "down": still})).holds


def test_comparisons_are_within_their_bound_in_every_row():
    assert all(work(y).comparisons <= work(y).bound for y in demo()["y"])


@pytest.mark.slow
def test_over_sixty_other_sequences_fewer_comparisons_are_made():
    lanes = fan(PartitionEntropy(), over={"values": [noisy_runs(seed) for seed in range(30, 90)]})
    first, last = ([work(y[row]) for y in lanes.column("y")] for row in (0, -1))
    changes = [b.comparisons - a.comparisons for a, b in zip(first, last, strict=True)]
    # seen over 40 sequences: mean -13.2, standard error 2.5
    assert np.mean(changes) + 3 * np.std(changes, ddof=1) / np.sqrt(60) < 0


def test_a_gathered_cloud_keeps_its_hull_and_lowers_the_entropy_of_its_cells():
    """Seen at lam = 1 on four other clouds: area -2.9 to 0.6 %, entropy down by .3 to .7."""
    record = run(gathered_points.example(), every=100)
    before, after = record["y"][0], record["y"][-1]
    assert record["hard_entropy"][-1] < record["hard_entropy"][0]
    changed = gathered_points.area(after) / gathered_points.area(before) - 1
    assert abs(changed) < 0.05
    assert "looked at" in gathered_points.say(record)


def test_the_hull_of_a_circle_takes_less_when_its_points_gather():
    record = run(gathered_points.example("circle"), every=100)
    assert convex_hull(record["y"][-1]).work < convex_hull(record["y"][0]).work
    with pytest.raises(ValueError, match="shape = 'square'"):
        gathered_points.example("square")
