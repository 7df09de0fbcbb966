"""Spaces of architectures whose every member is known, so that a find has a rank.

An architecture has one of `operations` on each of its `edges`.  On a pairwise landscape

    quality(a)  =  sum_e u_e[a_e]  +  strength sum_{e < f} v_ef[a_e, a_f],     u, v ~ N(0, 1)

At strength 0 each edge may be chosen alone; the more of it, the more an operation is good or
bad because of the others.  Six edges of five operations are 15,625 architectures, all of which
are evaluated.  A table of measured ones, with standard errors, is a space as well.

A search sees an architecture's quality only by a query.  Its find is judged by the rank,
1 and the number of architectures that are better, by more than a standard error of the
difference where there is one.  The best of q different ones drawn at random has the mean rank
(N + 1) / (q + 1).
"""

from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Int

from labkit.errors import refusal
from labkit.method import knob, pytree, size, static
from labkit.relaxations.cell_table import cell_table
from labkit.relaxations.cells import EDGES, USUAL, all_cells, multiply_adds, one_hot


class Known(NamedTuple):
    """Every architecture, the operation on the last edge changing fastest."""

    quality: Float[Array, " N"]
    error: Float[Array, " N"]  # its standard error, 0 where it is exact

    @property
    def best(self) -> Float[Array, ""]:
        """The highest quality."""
        return self.quality.max()

    def rank(self, index: Int[Array, ""]) -> Int[Array, ""]:
        """1, and the number of architectures that are better."""
        band = jnp.hypot(self.error, self.error[index])
        return 1 + (self.quality - self.quality[index] > band).sum()


class Space(Protocol):
    """What a search knows of any space."""

    @property
    def edges(self) -> int: ...

    @property
    def operations(self) -> int: ...

    def known(self) -> Known: ...


@pytree
class PairwiseLandscape:
    """A landscape drawn at random; `draw` says which.

    One of `correlation` c < 1 is c times that one plus sqrt(1 - c^2) times another.
    """

    draw: float = knob(0.0, 0.0, 99.0, within=(0.0, 2.0**24), about="which landscape")
    strength: float = knob(0.3, 0.0, 1.0, about="of the pairs")
    correlation: float = knob(1.0, 0.0, 1.0, within=(-1.0, 1.0), about="with that draw")
    edges: int = size(6, 1, 8)
    operations: int = size(5, 1, 8)

    def known(self) -> Known:
        """The quality of each architecture, without an error."""
        unary, pairs = self.terms()
        quality = jnp.zeros((self.operations,) * self.edges, unary.dtype)
        along = lambda a, *axes: jnp.expand_dims(a, [i for i in range(self.edges) if i not in axes])
        for e in range(self.edges):
            quality = quality + along(unary[e], e)
            for f in range(e + 1, self.edges):
                quality = quality + self.strength * along(pairs[e, f], e, f)
        quality = quality.ravel()
        return Known(quality, jnp.zeros_like(quality))

    def terms(self) -> tuple[Float[Array, "E O"], Float[Array, "E E O O"]]:
        """u and v, of which only the pairs e < f are used."""
        draw = jnp.asarray(self.draw, jnp.uint32)
        key, c = jr.key(draw), jnp.asarray(self.correlation, float)
        # In one draw, which compiles faster than several.
        n = self.edges * self.operations
        own, other = jr.normal(key, (2, n + n * n), float)
        both = c * own + jnp.sqrt(1.0 - c * c) * other
        pairs = (self.edges, self.edges, self.operations, self.operations)
        return both[:n].reshape(self.edges, self.operations), both[n:].reshape(pairs)


@pytree
class TabulatedSpace:
    """A space whose architectures have been measured: quality and its standard error."""

    quality: Float[Array, " N"]
    error: Float[Array, " N"]
    edges: int = static(default=1)
    operations: int = static(default=1)

    def check(self) -> None:
        N = self.operations**self.edges
        for name, values in (("quality", self.quality), ("error", self.error)):
            if np.shape(values) != (N,):
                raise refusal(name, np.shape(values), f"({N},), one number an architecture")

    def known(self) -> Known:
        """The table."""
        return Known(jnp.asarray(self.quality, float), jnp.asarray(self.error, float))


def measured_cells(price: float = 0.0) -> TabulatedSpace:
    """The 64 trained cells: validation accuracy, less `price` times the share of multiply-adds.

    The dearest cells have a share of 1.
    """
    table, cost = cell_table(), np.asarray(multiply_adds(one_hot(jnp.asarray(all_cells()))), float)
    quality = table.mean - price * cost / cost.max()
    return TabulatedSpace(jnp.asarray(quality), jnp.asarray(table.error), len(EDGES), len(USUAL))


def count(space: Space) -> int:
    """How many architectures there are."""
    return space.operations**space.edges


def codes(space: Space, index: Int[Array, "..."]) -> Float[Array, "... edges operations"]:
    """One-hot codes of architectures, given by their place in the table."""
    powers = _powers(space.edges, space.operations)
    index, powers = jnp.broadcast_arrays(jnp.asarray(index)[..., None], powers)
    # Of whole numbers from 0 on, where `//` and `%` would think of signs, and compile slowly.
    operation = jax.lax.rem(jax.lax.div(index, powers), jnp.full_like(index, space.operations))
    return jax.nn.one_hot(operation, space.operations, dtype=float)


def rounded(code: Float[Array, "... edges operations"]) -> Int[Array, "..."]:
    """The architecture with the largest entry of each edge, as its place in the table."""
    return code.argmax(axis=-1) @ _powers(code.shape[-2], code.shape[-1])


def _powers(edges: int, operations: int) -> Int[Array, " edges"]:
    return jnp.asarray(operations ** np.arange(edges - 1, -1, -1))
