"""The operators of this part by name, to be put side by side: one signature, one softness.

An operator takes (x [n], tau, key) and gives what the hard thing gives, softly, and the same
once more after rounding:

    sort    values in ascending order               rounded: by the largest share of each place
    rank    of each value, from 1                   rounded: to whole numbers
    choose  shares of the largest                   rounded: to the largest share
    top_k   which are the two largest               rounded: to the two largest

`key` serves those that draw.  All go to the hard thing as tau goes to 0.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from labkit.relaxations.error_free_sort import error_free_order
from labkit.relaxations.gumbel_softmax import gumbel_softmax, perturbed
from labkit.relaxations.isotonic_sort import isotonic_order
from labkit.relaxations.neural_sort import neural_order
from labkit.relaxations.order import Order
from labkit.relaxations.perturbed_argmax import one_hot_solver, perturbed_argmax
from labkit.relaxations.sinkhorn_sort import sinkhorn_order
from labkit.relaxations.soft_sort import soft_order
from labkit.relaxations.soft_top_k import capped_top_k, logistic_top_k, sorted_top_k
from labkit.relaxations.softmax import softmax
from labkit.relaxations.sorting_network import network_order
from labkit.relaxations.sparsemax import entmax, sparsemax
from labkit.relaxations.straight_through import straight_through, straight_through_argmax


Operator = Callable  # (x [n], tau, key) -> (soft [n], rounded [n])


class Task(NamedTuple):
    """What is relaxed: the hard thing, the signs of its slopes, and who relaxes it."""

    hard: Callable[[Array], Array]  # x [n] -> [n]
    signs: Callable[[int], np.ndarray]  # n -> [n, n]: of d output_i / d x_j, of any good operator
    operators: dict[str, Operator]


def ranks(x: Array) -> Array:
    """The hard ranks of x, from 1."""
    return 1.0 + jnp.argsort(jnp.argsort(x)).astype(x.dtype)


def largest(x: Array, k: int = 1) -> Array:
    """Which of x are the k largest, as noughts and ones."""
    return (ranks(x) > x.shape[-1] - k).astype(x.dtype)


def _sort(order: Callable[..., Order], **options) -> Operator:
    def operator(x, tau, key):
        del key
        found = order(x, tau, **options)
        return found.values, x[found.rounded()]

    return operator


def _rank(order: Callable[..., Order], **options) -> Operator:
    def operator(x, tau, key):
        del key
        found = order(x, tau, **options).ranks
        return found, jnp.round(found)

    return operator


def _choose(shares: Callable, k: int = 1) -> Operator:
    def operator(x, tau, key):
        found = shares(x, tau, key)
        return found, largest(found, k)

    return operator


def score_function_draw(key: Array, scores: Array) -> Array:
    """One-hot, drawn from softmax(scores), with the derivative y (grad log p)' of one draw."""
    y = jax.lax.stop_gradient(largest(perturbed(key, scores)))
    log_p = y @ jax.nn.log_softmax(scores)
    return y * jnp.exp(log_p - jax.lax.stop_gradient(log_p))


def _perturbed_ranks(x: Array, tau: Array, key: Array) -> tuple[Array, Array]:
    found = perturbed_argmax(key, x, tau, ranks, samples=16)
    return found, jnp.round(found)


_networks = {
    family: {"family": family} for family in ("logistic", "reciprocal", "cauchy", "optimal")
}
_everywhere = lambda n: np.ones((n, n))  # no value of a sort falls where an input rises
_rivals = lambda n: 2.0 * np.eye(n) - 1.0  # what is good for one is bad for the others

TASKS = {
    "sort": Task(
        jnp.sort,
        _everywhere,
        {
            "softsort": _sort(soft_order),
            "neuralsort": _sort(neural_order),
            "sinkhorn": _sort(sinkhorn_order),
            "isotonic": _sort(isotonic_order),
            **{family: _sort(network_order, **options) for family, options in _networks.items()},
            "error-free": _sort(error_free_order),
        },
    ),
    "rank": Task(
        ranks,
        _rivals,
        {
            "softsort": _rank(soft_order),
            "neuralsort": _rank(neural_order),
            "sinkhorn": _rank(sinkhorn_order),
            "isotonic": _rank(isotonic_order),
            "cauchy": _rank(network_order),
            "perturbed": _perturbed_ranks,
        },
    ),
    "choose": Task(
        largest,
        _rivals,
        {
            "softmax": _choose(lambda x, tau, key: softmax(x, tau)),
            "sparsemax": _choose(lambda x, tau, key: sparsemax(x, tau)),
            "entmax": _choose(lambda x, tau, key: entmax(x, tau, 1.5)),
            "straight-through": _choose(lambda x, tau, key: straight_through_argmax(x, tau)),
            "gumbel": _choose(lambda x, tau, key: gumbel_softmax(key, x / tau, 1.0)),
            "score function": _choose(lambda x, tau, key: score_function_draw(key, x / tau)),
            "perturbed": _choose(
                lambda x, tau, key: perturbed_argmax(key, x, tau, one_hot_solver, samples=16)
            ),
        },
    ),
    "top_k": Task(
        lambda x: largest(x, 2),
        _rivals,
        {
            "sorted": _choose(lambda x, tau, key: sorted_top_k(x, 2, tau), 2),
            "capped": _choose(lambda x, tau, key: capped_top_k(x, 2, tau), 2),
            "logistic": _choose(lambda x, tau, key: logistic_top_k(x, 2, tau), 2),
            "straight-through": _choose(
                lambda x, tau, key: straight_through(largest(x, 2), logistic_top_k(x, 2, tau)), 2
            ),
        },
    ),
}
