"""Swaps and networks against loops in NumPy, closed forms and the 0-1 principle; S008."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from labkit.record import Record
from labkit.relaxations.network import comparators, partners
from labkit.relaxations.sorting_network import (
    claim,
    demo,
    network_order,
    network_sort,
    say,
)
from labkit.relaxations.swap import ERRORS, response, slope, soft_swap, swap


X = np.array([3.0, 1.0, 2.2, 0.0, 4.5])
MONOTONE = ("cauchy", "optimal", "reciprocal")
KINDS = ("bitonic", "odd_even")


def f(v, family):
    """The four formulas as they read, in float64."""
    if family == "logistic":
        return 1 / (1 + np.exp(-4 * v))
    if family == "reciprocal":
        return 0.5 + v / (1 + 2 * abs(v))
    if family == "cauchy":
        return 0.5 + np.arctan(np.pi * v) / np.pi
    return v + 0.5 if abs(v) <= 0.25 else (1 - 1 / (16 * v) if v > 0 else -1 / (16 * v))


def naive(x, tau, family, kind):
    """Comparator by comparator: the values and P."""
    x, p = np.array(x, float), np.eye(len(x))
    for layer in comparators(len(x), kind):
        for i, j in layer:
            s = f((x[j] - x[i]) / tau, family)
            x[i], x[j] = s * x[i] + (1 - s) * x[j], (1 - s) * x[i] + s * x[j]
            p[[i, j]] = s * p[i] + (1 - s) * p[j], (1 - s) * p[i] + s * p[j]
    return x, p


# One program for each family and network of all the tests that need no more.
@functools.partial(jax.jit, static_argnames=("family", "network"))
def seen(x, tau, family="cauchy", network="bitonic"):
    def both(x):
        out = network_order(x, tau, family=family, network=network)
        return (out.values, out.permutation), (out.values, out.permutation)

    (values, shares), (x, p) = jax.jacfwd(both, has_aux=True)(x)
    return x, p, values, shares


@pytest.mark.parametrize("kind", KINDS)
def test_a_network_sorts_every_array_of_zeros_and_ones(kind):
    """And so, by the 0-1 principle, every array; spare wires of a power of two are dropped."""
    for n in range(13):
        x = (np.arange(2**n)[:, None] >> np.arange(n)[None]) & 1
        for layer in comparators(n, kind):
            low, high = layer.T
            assert (low < high).all()
            assert len(set(layer.ravel())) == layer.size
            a, b = x[:, low], x[:, high]
            x[:, low], x[:, high] = np.minimum(a, b), np.maximum(a, b)
        assert (np.diff(x, axis=1) >= 0).all(), n


def test_a_bitonic_network_has_few_layers():
    assert [len(comparators(n, "bitonic")) for n in (0, 1, 2, 4, 8, 16)] == [0, 0, 1, 3, 6, 10]
    assert len(comparators(16, "odd_even")) == 16
    row = partners(4, "odd_even")[1]
    np.testing.assert_array_equal(row, [0, 2, 1, 3])


@pytest.mark.parametrize("family", ERRORS)
def test_values_permutation_and_slopes_are_those_of_the_formula(family):
    found = seen(jnp.asarray(X, jnp.float32), 0.7, family)
    for part, expected in zip(found[:2], naive(X, 0.7, family, "bitonic"), strict=True):
        np.testing.assert_allclose(part, expected, atol=2e-6)  # float32, over six layers
    for j, step in enumerate(1e-5 * np.eye(5)):
        above, below = (naive(X + e, 0.7, family, "bitonic") for e in (step, -step))
        for part, high, low in zip(found[2:], above, below, strict=True):
            np.testing.assert_allclose(part[..., j], (high - low) / 2e-5, atol=1e-5)  # float32


def test_the_other_network_is_that_of_its_comparators():
    values, p, *_ = seen(jnp.asarray(X, jnp.float32), 0.7, "cauchy", "odd_even")
    for part, expected in zip((values, p), naive(X, 0.7, "cauchy", "odd_even"), strict=True):
        np.testing.assert_allclose(part, expected, atol=2e-6)  # float32, over five layers


@pytest.mark.parametrize("family", ERRORS)
def test_a_swap_and_its_derivatives_are_those_of_the_formula(family, double):
    points = np.random.default_rng(0).uniform(0.2, 2.0, (9, 3))  # a, b, tau

    def formula(a, b, tau):
        s = f((b - a) / tau, family)
        return np.array([s * a + (1 - s) * b, (1 - s) * a + s * b])

    @jax.jit
    def found(z):
        both = lambda z: jnp.stack(soft_swap(z[0], z[1], z[2], family))
        v = (z[1] - z[0]) / z[2]
        return both(z), jax.jacfwd(both)(z), swap(v, family), slope(v, family), response(v, family)

    for point in points:
        values, rates, share, steepness, low = found(point)
        np.testing.assert_allclose(values, formula(*point), atol=1e-14)
        steps = 1e-6 * np.eye(3)
        expected = [(formula(*(point + h)) - formula(*(point - h))) / 2e-6 for h in steps]
        np.testing.assert_allclose(rates, np.transpose(expected), atol=1e-8)  # of differences
        np.testing.assert_allclose(low, rates[0, 0], atol=1e-14)
        v = (point[1] - point[0]) / point[2]
        np.testing.assert_allclose(share, f(v, family), atol=1e-14)
        np.testing.assert_allclose(
            steepness, (f(v + 1e-6, family) - f(v - 1e-6, family)) / 2e-6, atol=1e-8
        )
    *_, share, steepness, low = found(np.ones(3))
    assert (share, steepness, low) == (0.5, 1.0, 0.5)


@pytest.mark.parametrize("family", ERRORS)
def test_a_minimum_is_monotone_but_for_the_logistic_one_and_its_error_is_known(family, double):
    tau, x = 1 / 3, jnp.linspace(-200.0, 200.0, 40_001)  # 0.03 tau apart
    low = lambda a: soft_swap(a, jnp.zeros_like(a), tau, family)[0]
    rates = jax.jvp(low, (x,), (jnp.ones_like(x),))[1]
    if family == "logistic":
        assert -0.0999 < rates.min() < -0.0997
    else:
        assert rates.min() >= -1e-12
    error = jnp.abs(low(x) - jnp.minimum(x, 0.0)).max()
    np.testing.assert_allclose(error, ERRORS[family] * tau, rtol=2e-3)  # of the grid, the range


def test_monotone_networks_have_no_wrong_sign_and_the_logistic_one_many(double):
    """Bitonic, n = 16, tau 0.1: 24 % of the signs are wrong on normal inputs (200 seen)."""
    x = np.random.default_rng(0).normal(size=(50, 16))
    for family in ("cauchy", "logistic"):
        slopes = jax.vmap(jax.jacrev(functools.partial(network_sort, tau=0.1, family=family)))
        found = np.asarray(jax.jit(slopes)(x))
        np.testing.assert_allclose(found.sum(1), 1.0, atol=1e-12)  # the sum is conserved,
        np.testing.assert_allclose(found.sum(2), 1.0, atol=1e-12)  # and so is a shift
        wrong = (found < -1e-12).mean()
        assert wrong == 0 if family in MONOTONE else 0.18 < wrong < 0.3


@pytest.mark.parametrize("kind", KINDS)
def test_rows_and_columns_sum_to_one(kind, double):
    x = jnp.asarray(np.random.default_rng(1).normal(size=(20, 5)))
    found = jax.jit(functools.partial(network_order, network=kind))(x, 0.5)
    p = np.asarray(found.permutation)
    assert p.min() >= 0
    np.testing.assert_allclose(p.sum(-1), 1.0, atol=1e-12)
    np.testing.assert_allclose(p.sum(-2), 1.0, atol=1e-12)
    np.testing.assert_allclose(network_sort(x, 0.5, network=kind), found.values, atol=1e-12)


@settings(max_examples=15, deadline=None)
@given(
    hnp.arrays(np.float32, 5, elements=st.floats(-100, 100, width=32)),
    st.sampled_from([0.01, 1.0, 100.0]),
    st.permutations(range(5)),
)
def test_values_stay_within_the_range_and_scale_with_tau(x, tau, order):
    values, p, slopes, _ = seen(x, tau)
    slack = 1e-5 * (1 + np.abs(x).max())  # of float32
    assert values.min() >= x.min() - slack
    assert values.max() <= x.max() + slack
    np.testing.assert_allclose(values.sum(), x.sum(), atol=20 * slack)
    np.testing.assert_allclose(seen(8 * x, 8 * tau)[0], 8 * values, atol=8 * slack)
    np.testing.assert_allclose(seen(-x[::-1], tau)[0].sum(), -values.sum(), atol=20 * slack)
    assert np.isfinite(p).all()
    assert slopes.min() >= -1e-6  # of float32
    hard = seen(x[np.array(order)], 1e-30)[0]
    np.testing.assert_allclose(hard, np.sort(x), atol=1e-6)


@pytest.mark.parametrize("family", ERRORS)
def test_ties_and_extremes_give_numbers(family):
    for x in ([1.0] * 5, [3e38, -3e38, 0.0, 1, 1], [1e-38, 0, -1e-38, 1, 2], [1e38, 1e38, 1, 0, 0]):
        for tau in (1e-30, 1.0, 3e38):
            found = seen(jnp.array(x, jnp.float32), tau, family)
            assert all(np.isfinite(part).all() for part in found)
    *_, slopes, shares = seen(jnp.ones(5, jnp.float32), 0.5, family)
    np.testing.assert_allclose(slopes.sum(1), 1.0, rtol=1e-6)
    assert jnp.abs(shares).max() > 0.1  # at a tie the slope of P is at its largest


@pytest.mark.parametrize("shape", [(0,), (3, 0), (1,), (2, 1)])
def test_an_order_of_nothing_and_of_one_value_is_itself(shape):
    found = network_order(jnp.ones(shape), 1.0)
    np.testing.assert_array_equal(found.values, np.ones(shape))
    assert found.permutation.shape == (*shape, shape[-1])
    assert found.rounded().shape == found.ranks.shape == shape


def test_an_order_has_values_ranks_and_carries_a_payload():
    x = jnp.stack([jnp.asarray(X), -jnp.asarray(X)])
    found = network_order(x, 1e-4)
    np.testing.assert_allclose(found.values, jnp.sort(x), atol=1e-3)  # six layers of 0.1 tau
    np.testing.assert_allclose(found.ranks, np.argsort(np.argsort(x)) + 1, atol=1e-2)
    np.testing.assert_array_equal(found.rounded(), np.argsort(x))
    np.testing.assert_allclose(found.apply(2 * x), 2 * jnp.sort(x), atol=1e-3)


@pytest.mark.parametrize("tau", [0.0, -1.0, np.nan])
def test_a_softness_that_is_not_above_zero_is_refused(tau):
    with pytest.raises(ValueError, match=r"tau = .* is refused; accepted: a number above 0"):
        network_sort(jnp.asarray(X), tau)


def test_unknown_families_and_networks_are_refused():
    with pytest.raises(ValueError, match="family = 'tanh' is refused; accepted: one of cauchy"):
        swap(jnp.ones(()), "tanh")
    with pytest.raises(ValueError, match="family = 'tanh' is refused"):
        network_sort(jnp.asarray(X), 1.0, family="tanh")
    with pytest.raises(ValueError, match="network = 'bubble' is refused; accepted: bitonic"):
        network_sort(jnp.asarray(X), 1.0, network="bubble")


def test_the_claim_holds_on_the_demonstration():
    claim(demo()).check()
    assert "0.0% of the derivatives have the wrong sign" in say(demo())


def changed(**columns):
    return Record(demo().steps, {**demo().columns, **columns})


def test_the_claim_refuses_a_logistic_network():
    logistic = {name: demo()[f"logistic.{name}"] for name in ("wrong", "swap_error", "promised")}
    assert logistic["wrong"].max() > 0.2
    assert not claim(changed(**logistic)).holds


@pytest.mark.parametrize("factor", [0.5, 0.99, 1.01, 4.0])
def test_the_claim_refuses_another_softness(factor):
    assert not claim(changed(swap_error=factor * demo()["swap_error"])).holds


def test_the_claim_refuses_a_logistic_swap_without_its_dip():
    assert not claim(changed(**{"logistic.lowest": demo()["lowest"]})).holds
