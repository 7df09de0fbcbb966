"""The slope of a validation loss in alpha through one step of the weights, in three modes.

d/d alpha of L_val(w', alpha),      w' = w - xi grad_w L_train(w, alpha)
"""

from typing import Any, Protocol

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Key, PyTree

from labkit.method import Scalar


MODES = ("finite difference", "exact", "first order")


class Bilevel(Protocol):
    """What a search asks of a problem of two levels; `key` is for what is random in it."""

    def start(self, key: Key[Array, ""]) -> tuple[PyTree, PyTree]: ...

    def train(self, w: PyTree, alpha: PyTree, key: Any = None) -> Float[Array, ""]: ...

    def validation(self, w: PyTree, alpha: PyTree, key: Any = None) -> Float[Array, ""]: ...

    def seen(self, w: PyTree, alpha: PyTree) -> dict[str, Array]: ...


def hypergradient(
    problem: Bilevel, w: PyTree, alpha: PyTree, xi: Scalar, mode: str = "exact", key: Any = None
) -> PyTree:
    """d/d alpha of L_val(w - xi grad_w L_train(w, alpha), alpha), in one of three modes."""
    on_train, on_validation = (None, None) if key is None else jr.split(key)
    train = lambda w, alpha: problem.train(w, alpha, on_train)
    validation = lambda w, alpha: problem.validation(w, alpha, on_validation)
    if mode == "first order":
        return jax.grad(validation, 1)(w, alpha)
    ahead = lambda alpha: _moved(w, -xi, jax.grad(train)(w, alpha))
    if mode == "exact":
        return jax.grad(lambda alpha: validation(ahead(alpha), alpha))(alpha)
    v, direct = jax.grad(validation, (0, 1))(ahead(alpha), alpha)
    return _moved(direct, -xi, mixed_difference(train, w, alpha, v))


def mixed_difference(train: Any, w: PyTree, alpha: PyTree, v: PyTree) -> PyTree:
    """(d grad_w L_train / d alpha)' v, as the difference of grad_alpha at w +- 0.01 v / |v|."""
    squares = jnp.stack([jnp.sum(a * a) for a in jax.tree.leaves(v)]).sum()
    epsilon = 0.01 * jax.lax.rsqrt(jnp.maximum(squares, jnp.finfo(squares.dtype).tiny))
    slope = lambda e: jax.grad(train, 1)(_moved(w, e, v), alpha)
    sides = jax.vmap(slope)(jnp.stack([epsilon, -epsilon]))  # one gradient to compile, not two
    return jax.tree.map(lambda g: (g[0] - g[1]) / (2.0 * epsilon), sides)


def _moved(w: PyTree, scale: Any, v: PyTree) -> PyTree:
    return jax.tree.map(lambda a, b: a + scale * b, w, v)
