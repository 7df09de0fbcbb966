"""Fits, soft counts and draws without replacement against NumPy, geometry and enumeration."""

import itertools

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from labkit.relaxations.minimal_sets import KINDS, fit, kind_of, soft_count
from labkit.relaxations.set_draws import draw_sets, good_odds, log_odds, pair_odds


random = np.random.default_rng(0)
DATA = {name: random.uniform(-1, 1, (9, d)) for name, d in (("line", 2), ("circle", 2))}
DATA["homography"] = random.uniform(-1, 1, (9, 4))
LOGITS = random.normal(size=14)
NINE = np.arange(14) < 9
each = pytest.mark.parametrize("name", KINDS)
fitted = jax.jit(fit, static_argnums=0)
counted = jax.jit(soft_count, static_argnums=0)
slopes = jax.jit(jax.jacobian(fit, (1, 2)), static_argnums=0)
pairs_odds = jax.jit(pair_odds)
odds_of_good = jax.jit(good_odds, static_argnums=2)


def naive_rows(name, x):
    """The equations of one datum, as they are written in books."""
    if name == "line":
        return [[x[0], x[1], 1]]
    if name == "circle":
        return [[x @ x, x[0], x[1], 1]]
    a = [x[0], x[1], 1]
    u, v = x[2:]
    first = [*a, 0, 0, 0, *(-u * np.array(a))]
    return [first, [0, 0, 0, *a, *(-v * np.array(a))]]


def naive_fit(name, data, weights):
    rows, w = [], []
    for x, weight in zip(data, weights, strict=True):
        rows += naive_rows(name, x)
        w += [weight] * len(naive_rows(name, x))
    a = np.array(rows)
    return np.linalg.eigh(a.T @ np.diag(w) @ a)[1][:, 0]


def naive_distance(name, h, x):
    if name == "line":
        return abs(h @ [*x, 1]) / np.hypot(*h[:2])
    if name == "circle":
        centre = -h[1:3] / (2 * h[0])
        return abs(np.linalg.norm(x - centre) - np.sqrt(centre @ centre - h[3] / h[0]))
    carried = h.reshape(3, 3) @ [*x[:2], 1]
    return np.linalg.norm(carried[:2] / carried[2] - x[2:])


def alike(one, other, atol):
    """Equal up to the sign, which is open."""
    sign = np.sign((np.asarray(one) * other).sum(axis=-1, keepdims=True))
    np.testing.assert_allclose(sign * one, other, atol=atol)


@each
def test_a_minimal_set_lies_on_its_model(name):
    kind, data = KINDS[name], DATA[name]
    h = np.asarray(fitted(kind, data, 1.0 * (np.arange(9) < kind.least)), float)
    off = np.array([naive_distance(name, h, x) for x in data])
    assert off[: kind.least].max() < 1e-4  # float32, and a homography may stretch
    assert off[kind.least :].max() > 0.1


@each
def test_a_fit_is_the_least_eigenvector_and_its_slopes_are_differences(name):
    kind, data = KINDS[name], DATA[name]
    weights = np.linspace(0.3, 1.5, 9)
    (by_data, by_weight), h = slopes(kind, data, weights), fitted(kind, data, weights)
    exact = naive_fit(name, data, weights)
    alike(h, exact, 1e-4)  # float32, and directions are told apart by gaps of about 0.1
    sign, step = np.sign(np.asarray(h) @ exact), 1e-5

    def difference(change):
        ends = [naive_fit(name, *change(s)) for s in (step, -step)]
        ends = [end * np.sign(end @ exact) for end in ends]
        return (ends[0] - ends[1]) / (2 * step)

    for i in (0, 4, 8):
        heavier = difference(lambda s, i=i: (data, weights + s * np.eye(9)[i]))
        np.testing.assert_allclose(sign * by_weight[:, i], heavier, atol=2e-3)
        place = np.zeros_like(data)
        place[i, -1] = 1.0
        moved = difference(lambda s, place=place: (data + s * place, weights))
        np.testing.assert_allclose(sign * by_data[:, i, -1], moved, atol=5e-3)


def test_the_weights_of_a_minimal_set_have_no_slope_but_those_of_others_have():
    by_weight = slopes(KINDS["line"], DATA["line"], 1.0 * (np.arange(9) < 2))[1]
    sizes = np.abs(by_weight).max(axis=0)
    assert sizes[:2].max() < 1e-5 * sizes[2:].max()
    assert sizes[2:].min() > 1e-3 * sizes[2:].max()


def test_a_circle_through_points_of_a_line_is_that_line():
    x = np.linspace(-1, 1, 9)[:, None] * [1, 1] + [0, 0.1]
    h = fitted(KINDS["circle"], x, np.ones(9))
    far = x + np.array([0, 0.5 * np.sqrt(2)])  # half a unit off
    wanted = counted(KINDS["circle"], h, x, 1.0), counted(KINDS["circle"], h, far, 1.0)
    np.testing.assert_allclose(wanted, [9, 9 * 0.75], atol=1e-3)


def test_data_that_coincide_give_numbers():
    for same in (np.ones((9, 2)), np.zeros((9, 2))):
        for weights in (np.ones(9), np.zeros(9)):
            given = KINDS["line"], same, weights
            assert all(np.isfinite(a).all() for a in (fitted(*given), *slopes(*given)))


@each
def test_the_soft_count_is_that_of_the_distances(name):
    kind, data = KINDS[name], DATA[name]
    h = naive_fit(name, data, np.linspace(0.3, 1.5, 9))
    off = np.array([naive_distance(name, h, x) for x in data])
    t = 1.5 * np.median(off)
    wanted = np.maximum(0, 1 - off**2 / t**2).sum()
    for scale in (1.0, -3.0):  # whatever the length of h
        np.testing.assert_allclose(counted(kind, scale * h, data, t), wanted, rtol=1e-3)


def test_pairs_have_the_odds_of_the_formula():
    p = np.exp(LOGITS) / np.exp(LOGITS).sum()
    found = np.asarray(pairs_odds(LOGITS))
    for i, j in itertools.combinations(range(14), 2):
        wanted = p[i] * p[j] * (1 / (1 - p[i]) + 1 / (1 - p[j]))
        np.testing.assert_allclose(found[i, j], wanted, rtol=1e-5)
    np.testing.assert_allclose(found.sum(), 1, rtol=1e-6)
    sure = np.asarray(pairs_odds(np.where(NINE, 0.0, -200.0)))  # of such p, 1 - p is nothing
    np.testing.assert_allclose(sure[:9, :9].sum(), 1, rtol=1e-6)


def test_the_largest_of_logits_and_gumbel_noise_are_drawn_with_these_odds():
    sets = np.sort(draw_sets(jr.key(0), jnp.asarray(LOGITS), 2, 100_000)[0], axis=1)
    pairs = np.array(list(itertools.combinations(range(14), 2)))
    counts = np.bincount(14 * sets[:, 0] + sets[:, 1], minlength=196)
    p = np.asarray(pairs_odds(LOGITS), float)
    i, j = pairs.T
    z = (counts[14 * i + j] - 1e5 * p[i, j]) / np.sqrt(1e5 * p[i, j])
    assert np.abs(z).max() < 4.5  # of 91: less than one in a thousand


@pytest.mark.parametrize("k", [2, 4])
def test_the_odds_of_a_good_set_are_those_of_the_enumeration(k):
    orders = np.array(list(itertools.permutations(range(14), k)))
    odds = np.exp(np.asarray(jax.jit(log_odds)(LOGITS, orders), float))
    np.testing.assert_allclose(odds.sum(), 1, rtol=1e-5)
    wanted = odds[NINE[orders].all(axis=1)].sum()
    # A sum over a grid, in float32.
    np.testing.assert_allclose(odds_of_good(LOGITS, NINE, k), wanted, atol=3e-6)


def test_the_odds_of_a_good_set_at_the_ends():
    odds = lambda logits, good: odds_of_good(logits, good, 2)
    even = np.zeros(14)
    np.testing.assert_allclose(odds(even, NINE), 9 * 8 / (14 * 13), atol=2e-6)  # 0.3956
    assert odds(even, np.ones(14, bool)) == 1
    assert odds(even, np.zeros(14, bool)) == 0
    np.testing.assert_allclose(odds(np.where(NINE, 60.0, -60.0), NINE), 1, atol=1e-5)
    np.testing.assert_allclose(odds(np.where(NINE, -60.0, 60.0), NINE), 0, atol=1e-5)


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="kind = 'plane' is refused; accepted: one of line, circ"):
        kind_of("plane")
    with pytest.raises(ValueError, match=r"threshold = 0.0 is refused; accepted: a number above 0"):
        soft_count(KINDS["line"], jnp.ones(3), jnp.ones((4, 2)), 0.0)
    with pytest.raises(ValueError, match="k = 15 is refused; accepted: from 1 to 14"):
        draw_sets(jr.key(0), jnp.asarray(LOGITS), 15, 3)
