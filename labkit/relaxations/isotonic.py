"""Isotonic regression by halves, and the projection on a permutahedron.

    v  =  argmin  sum_i (v_i - s_i)^2      over      v_1 >= v_2 >= ... >= v_n

The answer has one value a block of neighbours: their mean.  The classic algorithm pools
neighbours one pair at a time, as many steps after one another as there are values.  Here two
solved halves, l and r, are put together.  Where l ends below the start of r, the end of l and
the start of r are pooled at the one level v with

    g(v)  =  sum_i [v - l_i]+  -  sum_i [r_i - v]+  =  0

and nothing else changes.  g rises, so that l_i is pooled where g(l_i) < 0 and r_i where
g(r_i) > 0: two searches by bisection.  So log2 n rounds do it, whatever the values, and each
does all rows of a batch at once.

The derivative of v needs no rule: with the blocks known, v is the mean of s over each.

Sources: Best, Active and Shi 1990 (blocks and their means); Blondel, Teboul, Berthet and
Djolonga 2020 (the projection).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int


class Blocks(NamedTuple):
    """Where neighbours are pooled, in each column of an array [n, batch]."""

    label: Int[Array, "n batch"]  # the same within a block and nowhere else
    size: Float[Array, "n batch"]  # of the block that an entry belongs to
    offset: Float[Array, "n batch"]  # of its place from the middle of its block


def isotonic(s: Float[Array, "... n"]) -> Float[Array, "... n"]:
    """The non-increasing sequence nearest to s in squares, along the last axis."""
    s = jnp.asarray(s, jnp.result_type(s, float))
    columns = s.reshape(-1, s.shape[-1]).T if s.size else s.reshape(0, 1)
    return mean(blocks(columns), columns).T.reshape(s.shape)


def blocks(s: Float[Array, "n batch"]) -> Blocks:
    """The blocks of the isotonic regression of each column.  They have no derivative."""
    s = jax.lax.stop_gradient(s)
    largest = jnp.abs(s).max(axis=0, keepdims=True, initial=jnp.finfo(s.dtype).tiny)
    # XLA divides by multiplying with the inverse, which must not vanish nor overflow.
    nearer_one = jnp.where(largest > 1.0, 1.0 / 16.0, 16.0)
    label = _labels((s * nearer_one) / (largest * nearer_one))
    before, behind = _sums(label, jnp.ones_like(s))
    return Blocks(label, before + behind - 1.0, 0.5 * (before - behind))


def mean(blocks: Blocks, a: Float[Array, "n batch"]) -> Float[Array, "n batch"]:
    """The mean of a over each block, in the place of each entry: linear in a."""
    share = a / blocks.size  # first, so that no sum is larger than its largest entry
    before, behind = _sums(blocks.label, share)
    return jnp.where(blocks.size == 1.0, a, before + (behind - share))


def _sums(label: Array, a: Array) -> tuple[Array, Array]:
    """The sums of a over the same block, up to each entry and from it on.

    Each pass looks twice as far as the one before.  In a scan, or XLA makes one loop of them
    all that reads every pass again.
    """
    n = len(a)
    far = [1 << k for k in range(max(n - 1, 0).bit_length())]
    padded = lambda b, value: jnp.pad(b, ((n, n), (0, 0)), constant_values=value)
    labels = padded(label, -1)

    def farther(sums, apart):
        before, behind = sums
        from_ = lambda b, start: jax.lax.dynamic_slice_in_dim(b, start, n)
        lower, higher = n - apart, n + apart
        reach = jnp.where(from_(labels, lower) == label, from_(padded(before, 0), lower), 0.0)
        after = jnp.where(from_(labels, higher) == label, from_(padded(behind, 0), higher), 0.0)
        return (before + reach, behind + after), None

    return jax.lax.scan(farther, (a, a), jnp.array(far, jnp.int32))[0]


def _labels(s: Float[Array, "n batch"]) -> Int[Array, "n batch"]:
    """A label of the block of each entry, for columns of |s| <= 1.

    Labels rather than levels that are equal: what is computed twice may be rounded twice.
    """
    n, batch = s.shape
    if n < 2:
        return jnp.zeros(s.shape, jnp.int32)
    full = 1 << (n - 1).bit_length()
    s = jnp.pad(s, ((0, full - n), (0, 0)), constant_values=-2.0)  # never pooled
    label = jnp.broadcast_to(jnp.arange(full, dtype=jnp.int32)[:, None], s.shape)
    half = 1
    while half < full:
        left, right = jnp.swapaxes(s.reshape(-1, 2, half, batch), 0, 1)
        i, j = jnp.swapaxes(label.reshape(-1, 2, half, batch), 0, 1)
        find = _by_table if half <= 16 else _by_search  # up to 16 the table is as quick
        v, end, start = find(left, right)
        pool = jnp.where(end, i, full).min(axis=1, keepdims=True)
        start &= pool < full
        s = jnp.stack([jnp.where(end, v, left), jnp.where(start, v, right)], axis=1)
        label = jnp.stack([jnp.where(end, pool, i), jnp.where(start, pool, j)], axis=1)
        s, label = s.reshape(-1, batch), label.reshape(-1, batch)
        half *= 2
    return label[:n]


def _by_table(left: Array, right: Array) -> tuple[Array, Array, Array]:
    """The level of the pool of each pair [pairs, half, batch], and what belongs to it.

    The level is the least over p, of the largest over q, of the mean of the last p entries
    of left and the first q of right.
    """
    count = np.arange(1, left.shape[1] + 1)
    ends, starts = jnp.cumsum(left[:, ::-1], axis=1), jnp.cumsum(right, axis=1)
    share = jnp.asarray(1.0 / (count[:, None] + count), left.dtype)[None, :, :, None]
    means = (ends[:, :, None] + starts[:, None]) * share
    v = means.max(axis=2).min(axis=1)[:, None]
    falls = left[:, -1:] < right[:, :1]
    return v, falls & (left < v), falls & (right > v)


def _by_search(left: Array, right: Array) -> tuple[Array, Array, Array]:
    """The same, by bisection for how many of each side are pooled."""
    pairs, half, batch = left.shape
    ends = left[:, ::-1]

    def g(v):
        below, above = jnp.maximum(v - left, 0.0), jnp.maximum(right - v, 0.0)
        return below.sum(axis=1, keepdims=True) - above.sum(axis=1, keepdims=True)

    at = lambda a, index: jnp.take_along_axis(a, index, axis=1, mode="promise_in_bounds")
    # p and q grow by a power of two, ever smaller, where so many are pooled; 1 comes twice.
    steps = [*(1 << np.arange(half.bit_length() - 1)[::-1]), 1]

    def grow(counts, step):
        p, q = counts
        p = jnp.where(g(at(ends, p + step - 1)) < 0.0, p + step, p)
        q = jnp.where(g(at(right, q + step - 1)) > 0.0, q + step, q)
        return (p, q), None

    none = jnp.zeros((pairs, 1, batch), jnp.int32)
    (p, q), _ = jax.lax.scan(grow, (none, none), jnp.array(steps, jnp.int32))
    place = jnp.arange(half, dtype=jnp.int32)[None, :, None]
    end, start = place >= half - p, place < q
    total = jnp.where(end, left, 0.0).sum(axis=1) + jnp.where(start, right, 0.0).sum(axis=1)
    return total[:, None] / jnp.maximum(p + q, 1), end, start
