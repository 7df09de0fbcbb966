"""The point of a polytope nearest to a given one, when all that is known is an oracle.

    mu = argmin |mu - z|^2   over mu in conv(Y)

Y holds structures as vectors: the subsets of k items, the label sequences that a grammar
allows, the rows of a matrix.  An oracle finds the structure of largest score, argmax <g, y>
over y in Y, as sorting or Viterbi's algorithm does.

The active-set algorithm keeps a few structures and the mixture of them nearest to z.  The
oracle at g = z - mu says which structure to add; those whose weight would turn negative are
dropped.  It ends after finitely many steps.  Near z, mu moves on the face of the hull that
holds it, so that

    dmu / dz = the projection onto the directions of that face

Only the last solve is differentiated, never the search.

Source: Wolfe 1976, Finding the nearest point in a polytope.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from labkit.errors import refusal


Oracle = Callable[[Float[Array, " d"]], Float[Array, " d"]]  # g to a y of largest <g, y>


class Mixture(NamedTuple):
    """mu as a mixture: mu = sum_i weights_i structures_i."""

    marginals: Float[Array, "... d"]  # mu
    weights: Float[Array, "... m"]  # of sum 1; 0 where there is no structure
    structures: Float[Array, "... m d"]


def nearest(z: Float[Array, "... d"], oracle: Oracle) -> Mixture:
    """The point of the hull nearest to z, and the structures that it mixes.

    The point is unique, its mixture need not be.
    """
    z = jnp.asarray(z, jnp.result_type(z, float))
    if not z.shape[-1]:
        return Mixture(z, jnp.ones((*z.shape[:-1], 1), z.dtype), z[..., None, :])
    if z.ndim == 1:  # as below, with less to compile
        return _mixture(z, oracle)
    rows = z.reshape(math.prod(z.shape[:-1]), z.shape[-1])
    found = jax.vmap(lambda z: _mixture(z, oracle))(rows)
    return jax.tree.map(lambda a: a.reshape(*z.shape[:-1], *a.shape[1:]), found)


def subsets(k: int) -> Oracle:
    """The subsets of k items, as vectors of k ones."""
    return lambda g: jnp.zeros_like(g).at[jax.lax.top_k(g, k)[1]].set(1.0)


def rows(structures: Float[Array, "m d"]) -> Oracle:
    """The rows of a matrix."""
    return lambda g: jnp.asarray(structures, g.dtype)[jnp.argmax(structures @ g)]


def chains(allowed: Bool[np.ndarray, "c c"]) -> Oracle:
    """Sequences of labels, one-hot at each place; label j may follow i where allowed[i, j].

    The scores [places * c] are those of the labels place by place.  (Viterbi's algorithm.)
    """
    allowed = np.asarray(allowed)
    if allowed.ndim != 2 or len(set(allowed.shape)) > 1 or not allowed.any(axis=1).all():
        raise refusal("allowed", allowed, "a square matrix in which each label may be followed")
    labels = len(allowed)

    def oracle(g: Float[Array, " d"]) -> Float[Array, " d"]:
        barred = jnp.where(allowed, 0.0, -jnp.inf).astype(g.dtype)
        places = g.reshape(-1, labels)

        def back(ahead, here):  # the best score from here on, by the label of this place
            return (total := here + (barred + ahead[None]).max(axis=1)), total

        def along(label, total):
            label = jnp.argmax(total + barred[label])
            return label, label

        last, totals = jax.lax.scan(back, places[-1], places[:-1], reverse=True)
        first = jnp.argmax(last)
        ahead = jnp.concatenate([totals[1:], places[-1:]])
        _, path = jax.lax.scan(along, first, ahead[: len(places) - 1])
        path = jnp.concatenate([first[None], path])
        return jax.nn.one_hot(path, labels, dtype=g.dtype).reshape(-1)

    return oracle


class _Active(NamedTuple):
    structures: Array  # [m, d]; of at most d + 1, as they are affinely independent
    weights: Array  # [m]
    active: Array  # [m] bool
    done: Array  # []
    steps: Array  # [], taken; while the face is completed, failed in a row


def _solve(structures: Array, active: Array, z: Array) -> tuple[Array, Array]:
    """The point of the affine hull of the active structures nearest to z, and its weights."""
    base = jnp.argmax(active)
    apart = jnp.where(active[:, None], structures - structures[base][None], 0.0)
    # A difference of 0 has a 1 on the diagonal, and so the weight 0.
    gram = apart @ apart.T + jnp.diag((~active).astype(z.dtype).at[base].set(1.0))
    weights = jnp.linalg.solve(gram, apart @ (z - structures[base]))
    mu = structures[base] + weights @ apart
    return mu, weights.at[base].add(1.0 - weights.sum())


def _mixture(z: Float[Array, " d"], oracle: Oracle) -> Mixture:
    fixed = jax.lax.stop_gradient(z)
    found = _face(_search(fixed, oracle), fixed, oracle)
    mu, weights = _solve(found.structures, found.active, z)
    return Mixture(mu, weights, found.structures)


def _search(z: Array, oracle: Oracle) -> _Active:
    """The structures whose mixture is nearest to z."""
    d, eps = len(z), float(jnp.finfo(z.dtype).eps)

    def step(search: _Active) -> _Active:
        old, active = search.weights, search.active
        _, new = _solve(search.structures, active, z)
        outside = active & (new < -8 * eps)
        stop = jnp.where(outside, old / jnp.where(outside, old - new, 1.0), 1.0).min()
        weights = old + stop * (new - old)
        active &= weights > 8 * eps
        weights = jnp.where(active, weights, 0.0)
        mu = weights @ search.structures
        y = oracle(z - mu)
        gain = (z - mu) * (y - mu)
        better = gain.sum() > 8 * eps * jnp.abs(gain).sum()  # beyond the rounding of the sum
        known = (active & (search.structures == y[None]).all(axis=1)).any()
        done = ~outside.any() & active.any() & (~better | known | active.all())
        place = (jnp.arange(d + 1) == jnp.argmin(active)) & ~outside.any() & ~done
        structures = jnp.where(place[:, None], y[None], search.structures)
        return _Active(structures, weights, active | place, done, search.steps + 1)

    none = jnp.zeros(d + 1, z.dtype)  # of weight: mu is 0, and the first y is the best for z
    structures = jnp.zeros((d + 1, d), z.dtype)
    start = _Active(structures, none, none > 0, jnp.array(False), jnp.array(0))
    going = lambda search: ~search.done & (search.steps < 20 * (d + 1))
    return jax.lax.while_loop(going, step, start)


def _face(search: _Active, z: Array, oracle: Oracle) -> _Active:
    """With structures of weight 0 added until all directions of the face are there.

    They are missing only where scores tie; without them, so would a part of the derivative.
    """
    d, eps = len(z), float(jnp.finfo(z.dtype).eps)
    mu = search.weights @ search.structures
    generic = jnp.cos(jnp.arange(1.0, d + 1.0) ** 2).astype(z.dtype)

    def step(search: _Active) -> _Active:
        near, _ = _solve(search.structures, search.active, mu + generic)
        across = (mu + generic - near) / (jnp.abs(mu + generic - near).max() + eps)
        # To one side of the directions that are there, and once that fails to the other.
        side = jnp.where(search.steps == 0, 1.0, -1.0).astype(z.dtype)
        y = oracle(z - mu + side * eps**0.5 * (1.0 + jnp.abs(z - mu).max()) * across)
        gain = (z - mu) * (y - mu)
        on_face = gain.sum() >= -32 * eps * (1.0 + jnp.abs(gain).sum())
        new = on_face & (jnp.abs((y - mu) @ across) > eps**0.5)
        failed = jnp.where(new, 0, search.steps + 1)
        place = (jnp.arange(d + 1) == jnp.argmin(search.active)) & new
        structures = jnp.where(place[:, None], y[None], search.structures)
        active = search.active | place
        return _Active(structures, search.weights, active, (failed == 2) | active.all(), failed)

    start = search._replace(done=search.active.all(), steps=jnp.array(0))
    found = jax.lax.while_loop(lambda search: ~search.done, step, start)
    return found._replace(structures=jnp.where(found.active[:, None], found.structures, 0.0))
