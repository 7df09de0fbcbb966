"""The error-free sort against the published rule, comparator by comparator; and S091."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from labkit import replace, run
from labkit.record import Record
from labkit.relaxations.error_free_sort import (
    claim,
    demo,
    error_free_order,
    error_free_permutation,
    error_free_sort,
    example,
    say,
)
from labkit.relaxations.network import comparators
from labkit.relaxations.sorting_network import network_order, network_sort


TAU = 0.2
RANDOM = np.random.default_rng(0).normal(size=(100, 8))


def published(x, tau):
    """min* = min~ + sg(min - min~), and P likewise, with f of Cauchy; x is some soft x*."""
    sg, p = jax.lax.stop_gradient, jnp.eye(len(x))
    for i, j in np.concatenate(comparators(len(x))):
        a, b, upper, lower = x[i], x[j], p[i], p[j]
        s = 0.5 + jnp.arctan(jnp.pi * (b - a) / tau) / jnp.pi
        soft = s * jnp.stack([a, b]) + (1 - s) * jnp.stack([b, a])
        rows = s * jnp.stack([upper, lower]) + (1 - s) * jnp.stack([lower, upper])
        hard = jnp.sort(jnp.stack([a, b]))
        whole = jnp.where(a <= b, jnp.stack([upper, lower]), jnp.stack([lower, upper]))
        pair = np.array([i, j])
        x = x.at[pair].set(soft + sg(hard - soft))
        p = p.at[pair].set(rows + sg(whole - rows))
    return x, p


def ours(x, tau, blend=1.0):
    found = error_free_order(x, tau, blend=blend)
    return found.values, found.permutation


def test_it_is_the_published_rule(double):
    x = jnp.asarray(RANDOM[0, :4])
    twice = lambda f: jax.jit(jax.jacfwd(lambda x: 2 * (f(x, TAU),), has_aux=True))
    seen = [jax.tree.leaves(twice(f)(x)) for f in (ours, published)]
    for one, other in zip(*seen, strict=True):  # both slopes, values and P
        np.testing.assert_allclose(one, other, atol=1e-12)


def test_the_outputs_are_sorted_and_a_soft_network_is_off(double):
    """Errors of the soft network on these vectors: at least 0.11, median 0.12."""
    x = jnp.asarray(RANDOM)
    found = jax.jit(functools.partial(error_free_order, tau=TAU))(x)
    np.testing.assert_array_equal(found.values, np.sort(x))
    assert set(np.unique(found.permutation)) == {0.0, 1.0}
    np.testing.assert_array_equal(np.einsum("bij,bj->bi", found.permutation, x), np.sort(x))
    np.testing.assert_array_equal(found.ranks, np.argsort(np.argsort(x)) + 1)
    assert np.abs(network_sort(x, TAU) - np.sort(x)).max(1).min() > 0.05


def test_every_output_has_a_gradient_in_every_input(double):
    slopes = jax.jit(jax.vmap(jax.jacrev(lambda x: error_free_sort(x, TAU))))(RANDOM)
    assert slopes.min() > 0
    np.testing.assert_allclose(slopes.sum(1), 1.0, atol=1e-12)
    np.testing.assert_allclose(slopes.sum(2), 1.0, atol=1e-12)


def test_on_two_values_the_gradient_is_that_of_the_soft_swap(double):
    for x in (jnp.array([0.4, 0.1]), jnp.array([0.1, 0.4]), jnp.ones(2)):
        soft = jax.jacrev(lambda x: network_sort(x, TAU))(x)
        np.testing.assert_array_equal(jax.jacrev(lambda x: error_free_sort(x, TAU))(x), soft)


def test_blend_0_is_the_soft_network_and_a_half_lies_between_on_one_swap():
    x = jnp.asarray(RANDOM[1], jnp.float32)
    soft = network_order(x, 0.5)
    for one, other in zip(ours(x, 0.5, 0.0), soft[:2], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)  # float32
    gradient = lambda f: jax.grad(lambda x: jnp.sum(f(x) ** 2))(x)
    blended = gradient(lambda x: error_free_sort(x, 0.5, blend=0.0))
    np.testing.assert_allclose(blended, gradient(lambda x: network_sort(x, 0.5)), atol=1e-5)
    pair = jnp.array([1.0, 0.7])
    halfway = error_free_sort(pair, 0.5, blend=0.5)
    np.testing.assert_allclose(halfway, (jnp.sort(pair) + network_sort(pair, 0.5)) / 2, rtol=1e-6)


def test_it_is_exact_in_float32_at_ties_and_extremes():
    both = lambda x: 2 * (ours(x, 1.0),)
    gradient = jax.jit(jax.jacfwd(both, has_aux=True))
    for x in ([1.0] * 4, [3e38, -3e38, 0.0, 1.0], [2e-38, 0.0, -2e-38, 2.0]):
        x = jnp.array(x, jnp.float32)
        slopes, (values, p) = gradient(x)
        np.testing.assert_array_equal(values, np.sort(x))
        np.testing.assert_array_equal(p.sum(0), 1.0)
        assert all(np.isfinite(part).all() for part in slopes)
    for n in (0, 1):
        np.testing.assert_array_equal(error_free_sort(jnp.ones(n), 1.0), np.ones(n))
        assert error_free_permutation(jnp.ones(n), 1.0).shape == (n, n)


def test_a_softness_that_is_not_above_zero_is_refused():
    with pytest.raises(ValueError, match=r"tau = 0.0 is refused; accepted: a number above 0"):
        error_free_sort(jnp.ones(2), 0.0)
    with pytest.raises(ValueError, match=r"tau = -1.0 is refused"):
        error_free_order(jnp.ones(2), -1.0)


def test_the_claim_holds_on_the_demonstration():
    claim(demo()).check()
    assert "up to 0 off" in say(demo())


def test_the_error_falls_with_the_blend_and_is_nothing_at_the_inputs():
    error = demo()["layer_error"]
    assert (np.diff(error[:, -1]) < 0).all()
    np.testing.assert_array_equal(error[:, 0], 0.0)
    np.testing.assert_array_equal(error[-1], 0.0)
    np.testing.assert_allclose(demo()["bias"], error[:, -1], atol=1e-6)


def test_the_claim_refuses_a_soft_network():
    almost = replace(example(), {})
    record = run(almost, len(almost.over) - 2)  # to blend 0.95
    assert not claim(record).holds


@pytest.mark.parametrize("column", ["gradient", "permutation", "error"])
def test_the_claim_refuses_what_is_only_hard_or_sorts_another_way(column):
    """No gradient at all; shares of a soft network; a soft network that is never off."""
    wrong = {"gradient": 0.0, "permutation": demo()["permutation"][:1], "error": 0.0}
    told = np.broadcast_to(wrong[column], demo()[column].shape)
    assert not claim(Record(demo().steps, {**demo().columns, column: told})).holds
