"""Sorting networks: which wires are compared, layer by layer, and how values go through.

Every comparator puts the smaller of its two values on the wire of lower index.  Then wires
may be left out at the upper end: to sort n < 2^k values take the network of 2^k wires with
plus infinity on the spare ones; no comparator ever moves that, and so those that touch a
spare wire are simply dropped.

    odd_even   neighbours (0, 1)(2, 3).. and (1, 2)(3, 4).. in turn: n layers
    bitonic    blocks of 2, 4, 8, .. are merged, the first step of each merge between
               mirrored wires, the others at half the distance of the one before:
               k (k + 1) / 2 layers
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from labkit.errors import refusal


Wires = Float[Array, "n batch"]  # the batch runs along the rows, as the processor likes it
Shares = Float[Array, "n batch n"]  # of each input, on each wire


class Rule(NamedTuple):
    """What a comparator does; `softness` is whatever its numbers are."""

    swap: Callable  # (a, b, softness, family) -> (low, high), the values
    mix: Callable  # (a, b, p, q, softness, family) -> the shares that go with them


class Sorted(NamedTuple):
    """What comes out of a network."""

    values: Float[Array, "... n"]
    permutation: Float[Array, "... n n"] | None  # place, input
    wires: Float[Array, "layers+1 ... n"] | None  # before and after each layer


class Tables(NamedTuple):
    """Each layer compares row i with row i + n // 2, then gathers the rows for the next one."""

    order: Int[np.ndarray, "layers+1 n"]  # the wire of each row, in each layer and at the end
    gather: Int[np.ndarray, "layers n"]  # from the rows of that layer, for the next one
    active: Bool[np.ndarray, "layers n//2"]  # rows that are compared at all


def comparators(n: int, network: str = "bitonic") -> list[Int[np.ndarray, "pairs 2"]]:
    """The pairs (lower wire, higher wire) of each layer, as plain index lists."""
    if network == "odd_even":
        partners = [_neighbours(n, layer % 2) for layer in range(n)]
    elif network == "bitonic":
        partners = _bitonic(n)
    else:
        raise refusal("network", network, "bitonic or odd_even")
    wires = np.arange(n)
    pairs = [np.stack([wires, partner], axis=1)[wires < partner] for partner in partners]
    return [layer for layer in pairs if len(layer)]


def partners(n: int, network: str) -> np.ndarray:
    """The wire that each one is compared with [layers, n], itself where with none."""
    layers = comparators(n, network)
    partner = np.tile(np.arange(n), (len(layers), 1))
    for row, pairs in zip(partner, layers, strict=True):
        row[pairs] = pairs[:, ::-1]
    return partner


@functools.cache
def tables_of(n: int, network: str) -> Tables:
    """The tables of a network on n wires."""
    order, active = [], []
    for low, high in (layer.T for layer in comparators(n, network)):
        idle = np.setdiff1d(np.arange(n), np.concatenate([low, high]))
        half = len(idle) // 2  # idle wires take the places of a comparator that does nothing
        order.append(np.concatenate([low, idle[:half], high, idle[half:]]))
        active.append(np.arange(n // 2) < len(low))
    order = np.array([*order, np.arange(n)])
    gather = np.take_along_axis(np.argsort(order[:-1], axis=1), order[1:], axis=1)
    active = np.array(active, bool).reshape(len(gather), n // 2)
    return Tables(order.astype(np.int32), gather.astype(np.int32), active)


def _neighbours(n: int, first: int) -> np.ndarray:
    wires = np.arange(n)
    partner = wires + np.where((wires - first) % 2, -1, 1)
    return np.where((partner >= 0) & (partner < n), partner, wires)


def _bitonic(n: int) -> list[np.ndarray]:
    """The partner of each wire, itself where that is a spare one."""
    wires, partners, block = np.arange(n), [], 2
    while block < 2 * n:
        partners.append(wires ^ (block - 1))  # mirrored within its block
        apart = block // 4
        while apart:
            partners.append(wires ^ apart)
            apart //= 2
        block *= 2
    return [np.where(partner < n, partner, wires) for partner in partners]


def hard_sort(x: Float[Array, "n batch"]) -> tuple[Float[Array, "n batch"], Int[Array, "n batch"]]:
    """Each column in ascending order, and the row that each entry came from.

    By the bitonic network: on a CPU ten times as quick as XLA's own sort of short rows.
    """
    n = len(x)
    rows = jnp.broadcast_to(jnp.arange(n, dtype=jnp.int32)[:, None], x.shape)
    tables = tables_of(n, "bitonic")

    def layer(state, table):
        gather, active = table
        (a, b, rest), (i, j, last) = map(_halves, state)
        swapped = (a > b) & active[:, None]
        values = jnp.concatenate([jnp.where(swapped, b, a), jnp.where(swapped, a, b), rest])
        origin = jnp.concatenate([jnp.where(swapped, j, i), jnp.where(swapped, i, j), last])
        return (_rows(values, gather), _rows(origin, gather)), None

    start = tuple(_rows(a, tables.order[0]) for a in (jax.lax.stop_gradient(x), rows))
    (_, origin), _ = jax.lax.scan(layer, start, (tables.gather, tables.active))
    column = jnp.arange(x.shape[1])[None]
    return x.at[origin, column].get(unique_indices=True, mode="promise_in_bounds"), origin


@functools.partial(
    jax.jit, static_argnames=("rule", "family", "network", "shares", "watch"), inline=True
)
def through(
    x: Float[Array, "... n"],
    softness: Any,
    rule: Rule,
    family: str,
    network: str,
    *,
    shares: bool = False,
    watch: bool = False,
) -> Sorted:
    """x on the wires of a network, from layer to layer; with `shares` the identity as well.

    One gather and one elementwise pass a layer, in a scan: that compiles quickly at any n, and
    runs as fast as layers written out.
    """
    x = jnp.asarray(x, jnp.result_type(x, float))
    *batch, n = x.shape
    tables = tables_of(n, network)
    every_row = bool(tables.active.all())

    def layer(state: list[Array], table: Any) -> Any:
        gather, active = table
        parts = [_halves(rows) for rows in state]
        a, b, _ = parts[0]
        pairs = [rule.swap(a, b, softness, family)]
        pairs += [rule.mix(a, b, p, q, softness, family) for p, q, _ in parts[1:]]
        if every_row:
            active = None
        state = [
            _rows(_joined(part, pair, active), gather)
            for part, pair in zip(parts, pairs, strict=True)
        ]
        return state, state[0] if watch else None

    wires = x.reshape(math.prod(batch), n).T
    state = [_rows(wires, tables.order[0])]
    if shares:
        eye = jnp.eye(n, dtype=x.dtype)[tables.order[0]]
        state.append(jnp.broadcast_to(eye[:, None], (n, math.prod(batch), n)))
    (last, *p), seen = jax.lax.scan(layer, state, (tables.gather, tables.active))
    every = None
    if watch:
        rows = np.argsort(tables.order[1:], axis=1)
        every = jnp.concatenate([wires[None], jnp.take_along_axis(seen, rows[:, :, None], axis=1)])
        every = jnp.swapaxes(every, 1, 2).reshape(len(every), *x.shape)
    matrix = p[0].swapaxes(0, 1).reshape(*x.shape, n) if shares else None
    return Sorted(last.T.reshape(x.shape), matrix, every)


def _rows(rows: Array, order: Any) -> Array:
    return rows.at[order].get(unique_indices=True, mode="promise_in_bounds")


def _halves(rows: Array) -> tuple[Array, Array, Array]:
    """What is compared with what, and the row that is left over where their number is odd."""
    half = len(rows) // 2
    return rows[:half], rows[half : 2 * half], rows[2 * half :]


def _joined(part: tuple[Array, ...], pair: tuple[Array, ...], active: Array | None) -> Array:
    """The rows again, of which only the `active` ones have changed."""
    if active is not None:
        compared = active.reshape(-1, *[1] * (pair[0].ndim - 1))
        pair = tuple(jnp.where(compared, new, old) for new, old in zip(pair, part[:2], strict=True))
    return jnp.concatenate([*pair, part[2]])
