"""Roundings against NumPy loops and enumeration; learned ones against all there are; S123."""

import itertools
from dataclasses import replace as with_fields

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from labkit import Adam, check, replace, run
from labkit.relaxations import quantized_network as network
from labkit.relaxations.learned_rounding import (
    LearnedRounding,
    claim,
    demo,
    example,
    say,
    stretched,
    unstretched,
)
from labkit.relaxations.roundings import (
    Layer,
    Neuron,
    enumerated,
    nearest,
    neighbours,
    neuron,
    random_layer,
    stochastic,
)


between = jax.jit(neighbours)
tried = jax.jit(enumerated)


def levels(w, bits, power):
    """The grid of one output, by a loop."""
    top = 2 ** (bits - 1) - 1
    ints = range(-top, top + 1)
    return np.array([np.abs(w).max() * np.sign(i) * abs(i / top) ** power for i in ints])


@pytest.mark.parametrize("bits, power", [(2, 1.0), (3, 1.0), (4, 2.0)])
def test_neighbours_are_the_lines_of_the_grid_and_nearest_the_nearer(double, bits, power):
    w = np.random.default_rng(0).normal(size=(10, 3))
    low, high = map(np.asarray, between(w, float(bits), power))
    near = np.asarray(nearest(jnp.asarray(w), float(bits), power))
    for output in range(3):
        grid = levels(w[:, output], bits, power)
        for i, value in enumerate(w[:, output]):
            below = grid[grid <= value + 1e-12]
            place = min(len(below) - 1, len(grid) - 2)  # the largest has the last two lines
            assert low[i, output] == pytest.approx(grid[place], abs=1e-12)
            assert high[i, output] == pytest.approx(grid[place + 1], abs=1e-12)
            best = grid[np.abs(grid - value).argmin()]
            assert near[i, output] == pytest.approx(best, abs=1e-12)
    assert ((low <= w + 1e-12) & (w <= high + 1e-12)).all()


def test_stochastic_rounding_is_right_in_the_mean(double):
    w = jnp.asarray(np.random.default_rng(0).normal(size=(10, 3)))
    draw = jax.jit(jax.vmap(lambda key: stochastic(key, w, 3.0)))
    drawn = np.asarray(draw(jr.split(jr.key(0), 4000)))
    low, high = map(np.asarray, between(w, 3.0, 1.0))
    assert ((drawn == low[None]) | (np.abs(drawn - high[None]) < 1e-12)).all()
    error = (high - low) / 2 / np.sqrt(4000)  # at most, one standard error
    assert (np.abs(drawn.mean(axis=0) - w) < 4.5 * error).all()


def test_enumeration_is_that_of_a_loop_over_all_corners(double):
    x, w = map(np.asarray, random_layer(outputs=2, inputs=4).terms())
    low, high = map(np.asarray, between(w, 3.0, 1.0))
    seen = np.asarray(tried((x, w), between(w, 3.0, 1.0)))
    by_hand = [
        [((x @ (np.where(up, high[:, o], low[:, o]) - w[:, o])) ** 2).mean() for o in range(2)]
        for up in itertools.product([0, 1], repeat=4)
    ]
    # The loop has the last weight fastest, the rows the first.
    order = [int("".join(map(str, up[::-1])), 2) for up in itertools.product([0, 1], repeat=4)]
    np.testing.assert_allclose(seen[order], by_hand, rtol=1e-10)


def test_the_stretched_sigmoid_reaches_its_ends_and_is_undone(double):
    h = np.linspace(0.0, 1.0, 11)
    np.testing.assert_allclose(stretched(unstretched(jnp.asarray(h))), h, atol=1e-12)
    assert stretched(jnp.asarray(-3.0)) == 0.0
    assert stretched(jnp.asarray(3.0)) == 1.0


def test_the_objective_is_that_of_numpy_and_a_run_starts_at_the_weights(double):
    method = LearnedRounding(random_layer(outputs=3), lam=2.0, beta=3.0)
    x, w = map(np.asarray, method.problem.terms())
    start = method.init(jr.key(0))
    h = np.asarray(stretched(start.v))
    low, high = map(np.asarray, between(w, 3.0, 1.0))
    np.testing.assert_allclose(low + h * (high - low), w, atol=1e-12)
    v = np.random.default_rng(0).normal(size=w.shape)
    h = np.clip(1.2 / (1 + np.exp(-v)) - 0.1, 0, 1)
    off = ((x @ (low + h * (high - low) - w)) ** 2).mean(axis=0)
    c = ((x @ (np.asarray(nearest(jnp.asarray(w), 3.0)) - w)) ** 2).mean(axis=0)
    by_hand = (off / c).sum() + 2.0 * 0.5**2 * (1 - np.abs(2 * h - 1) ** 3).sum()
    seen = jax.jit(method.objective)(v, np.zeros(3), 0.5)
    assert seen == pytest.approx(by_hand, rel=1e-10)
    cosine = replace(method, {"criterion": "cosine", "lam": 0.0})
    one, other = x @ w, x @ (low + h * (high - low))
    norms = np.linalg.norm(one, axis=0) * np.linalg.norm(other, axis=0)
    near = x @ np.asarray(nearest(jnp.asarray(w), 3.0))
    same = np.linalg.norm(one, axis=0) * np.linalg.norm(near, axis=0)
    ratio = (1 - (one * other).sum(0) / norms) / (1 - (one * near).sum(0) / same)
    assert jax.jit(cosine.objective)(v, np.zeros(3), 0.5) == pytest.approx(ratio.sum(), rel=1e-9)


def test_a_neurons_inputs_have_the_correlation_it_says(double):
    x, _ = with_fields(neuron(), correlation=0.3).terms()
    np.testing.assert_allclose(x.T @ x / 64, 0.7 * np.eye(10) + 0.3, atol=1e-12)


def test_with_orthonormal_inputs_nearest_is_the_best_and_is_learned():
    """Ten sets of weights: with X'X = 1 an output's error is the sum of those of its weights."""
    q, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(64, 10)))
    w = np.random.default_rng(1).normal(size=(10, 40))
    layer = Layer(jnp.asarray(8.0 * q, float), jnp.asarray(w, float))
    record = run(LearnedRounding(layer), every=1000)
    near = record.last("nearest")
    np.testing.assert_allclose(record.last("best"), near, rtol=1e-4)
    assert record.last("flips") == 0
    np.testing.assert_allclose(record.last("learned"), near, rtol=1e-4)
    # The claim needs something to cancel.
    assert not claim(record).holds


def test_s123_learned_rounding_beats_the_nearest_and_never_the_best():
    record = demo()
    assert claim(record).holds, str(claim(record))
    assert say(record).startswith("Step 1000: rounded now, the error is ")
    best, learned, near = (record.last(n) for n in ("best", "learned", "nearest"))
    assert (best <= learned * (1 + 1e-5)).all()
    assert (learned <= near * (1 + 1e-5)).all()
    x, w = map(np.asarray, random_layer().terms())
    low, high = record.last("low"), record.last("high")
    hard = low + np.round(record.last("h")) * (high - low)
    np.testing.assert_allclose(((x @ (hard - w)) ** 2).mean(0), record.last("hard"), rtol=1e-3)


def test_the_claim_refuses_roundings_that_stay_undecided():
    record = run(LearnedRounding(random_layer(), lam=0.0), every=1000)
    assert record.last("undecided") > 0.1
    assert not claim(record).holds


def test_mixed_bits_are_the_best_that_the_budget_allows():
    cost = np.array([[4.0, 2.0, 0.5], [9.0, 1.0, 0.5], [1.0, 0.9, 0.8]])
    sizes, choices = [100, 50, 10], [2, 3, 4]
    for mean in (2.0, 2.7, 3.5, 4.0):
        found = network.mixed_bits(cost, sizes, choices, mean)
        worth = {}
        for way in itertools.product(range(3), repeat=3):
            bits = [choices[i] for i in way]
            if np.dot(sizes, bits) <= mean * 160 + 1e-6:
                worth[tuple(bits)] = sum(row[i] for row, i in zip(cost, way, strict=True))
        assert worth[found] == min(worth.values())
    with pytest.raises(ValueError, match=r"mean = 1.5 is refused; accepted: 2 or more"):
        network.mixed_bits(cost, sizes, choices, 1.5)


def test_bad_input_is_refused_in_a_sentence():
    with pytest.raises(ValueError, match=r"bits = 1 is refused; accepted: a whole number, 2 or"):
        neighbours(jnp.ones((2, 1)), 1)
    with pytest.raises(ValueError, match=r"inputs = 13 is refused; accepted: 12 at most"):
        enumerated((jnp.ones((2, 13)), jnp.ones((13, 1))), neighbours(jnp.ones((13, 1)), 3))
    with pytest.raises(ValueError, match=r"w = (?s:.*) is refused; accepted: as many"):
        check(LearnedRounding(Neuron(jnp.ones((8, 4)))))
    with pytest.raises(KeyError, match="there is no way 'best'; there are: learned, logits"):
        network.quantized(jr.key(0), "best", 3)


@pytest.mark.slow
def test_over_four_kinds_of_inputs_the_gain_is_that_of_the_correlation():
    """80 neurons each; median learned / nearest, that of the best, and where it was worse.

    Correlation 0.8: 0.647, 0.586, 1 of 80.  Mixed by a random matrix: 0.661, 0.440, 4 of 80.
    """
    for mixed, most in ((False, 0.75), (True, 0.8)):
        ratios = []
        for seed in range(4):
            layer = random_layer(seed, outputs=20, mixed=mixed)
            record = run(LearnedRounding(layer), every=1000)
            near = record.last("nearest")
            ratios.append([record.last("hard") / near, record.last("best") / near])
            assert record.last("undecided") < 1e-6
        hard, best = np.concatenate(ratios, axis=1)
        print(f"mixed {mixed}: {np.median(hard):.3f}, best {np.median(best):.3f}", end="; ")
        print(f"worse {(hard > 1.00001).sum()} of 80, the best {(hard < best * 1.0001).sum()}")
        assert np.median(hard) < most
        assert (hard > 1.00001).mean() <= 0.1
        assert (best <= hard * 1.0001).all()


@pytest.mark.slow
def test_in_a_network_learned_rounding_is_worth_most_at_two_bits():
    """On 359 digits held out: full 0.939.

    Nearest 0.448, 0.900, 0.925 at 2, 3, 4 bits; stochastic 0.34, 0.875, 0.926; learned 0.671,
    0.919, 0.925, and by all layers at once from the logits 0.666, 0.916, 0.936 (with 400 samples
    0.777 and 0.797 at 2 bits); trained further on all data, straight through, 0.850, 0.942, 0.947.
    """
    seen = {}
    for bits in (2.0, 3.0, 4.0):
        for way in network.WAYS:
            several = range(5 if way == "stochastic" else 1)
            found = [network.accuracy(network.quantized(jr.key(s), way, bits)) for s in several]
            seen[way, bits] = np.mean(found)
            print(f"{way} {bits:.0f}: {np.mean(found):.3f}")
    for way in ("learned", "logits"):
        assert seen[way, 2.0] > seen["nearest", 2.0] + 0.1
        rounded = network.quantized(jr.key(0), way, 2.0)
        for layer, full in zip(rounded, network.trained()[1], strict=True):
            low, high = neighbours(full["weights"], 2.0)
            off = np.minimum(*[np.abs(layer["weights"] - line) for line in (low, high)])
            assert off.max() < 1e-5
    assert seen["straight-through", 2.0] > seen["learned", 2.0]
    assert abs(seen["learned", 4.0] - seen["nearest", 4.0]) < 0.03
    for samples in (8, 16, 64, 256):
        several = [network.quantized(jr.key(0), way, 2.0, samples) for way in ("learned", "logits")]
        print(f"{samples} calibration samples:", [round(network.accuracy(n), 3) for n in several])
    choices = (2, 3, 4, 5, 6)
    sizes = [p["weights"].size for p in network.trained()[1]]
    mixed = network.mixed_bits(network.importance(choices), sizes, choices, 2.5)
    found = network.accuracy(network.quantized(jr.key(0), "learned", mixed))
    print(f"bits {mixed}: {found:.3f}")
    assert found > seen["learned", 2.0] + 0.1


@pytest.mark.slow
def test_a_learned_scale_gains_most_and_the_cosine_loses():
    """Median learned / nearest in squared error over 40 neurons; .665 with the defaults.

    Seen: scale .294, power 1.5 .538, lr .1 .665, cosine .886.
    """
    medians = []
    layer = random_layer()
    for changes in (
        {"criterion": "cosine"},
        {"learn": "rounding and scale"},
        {"power": 1.5},
        {"lr": 0.1},
    ):
        record = run(replace(LearnedRounding(layer, Adam(0.03)), changes), every=1000)
        ratio = record.last("hard") / record.last("nearest")
        print(f"{changes}: {np.median(ratio):.3f}, worse {(ratio > 1.00001).sum()} of 40")
        medians.append(np.median(ratio))
    cosine, scale, power, rate = medians
    assert scale < 0.5 < power < cosine
    assert 0.5 < rate < 0.8
    assert example().steps == 400
