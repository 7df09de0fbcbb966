"""What a search has asked so far, and how good the best of it is.

Entries beyond the count mean nothing yet, so that shapes stay as they are.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from labkit.relaxations.pairwise_landscape import Known


class Queries(NamedTuple):
    """What has been measured, in order.  Entries from `count` on mean nothing yet."""

    index: Int[Array, " budget"]
    value: Float[Array, " budget"]
    count: Int[Array, ""]

    @property
    def asked(self) -> Bool[Array, " budget"]:
        """Which entries mean something."""
        return jnp.arange(len(self.index)) < self.count

    @property
    def best(self) -> Int[Array, ""]:
        """The architecture of the highest value."""
        return self.index[jnp.where(self.asked, self.value, -jnp.inf).argmax()]

    def standard(self) -> tuple[Float[Array, " budget"], Float[Array, ""], Float[Array, ""]]:
        """The values in standard units; their mean and deviation."""
        share = self.asked / self.count
        mean = share @ self.value
        deviation = jnp.sqrt(share @ (self.value - mean) ** 2)
        return (self.value - mean) / jnp.where(deviation > 0, deviation, 1.0), mean, deviation

    def seen(self, total: int) -> Bool[Array, " N"]:
        """Which architectures of all have been measured."""
        return jnp.zeros(total, bool).at[self.index].max(self.asked)

    def ask(self, known: Known, index: Int[Array, " several"]) -> "Queries":
        """With further ones; those beyond the budget are not asked."""
        at = self.count + jnp.arange(len(index))
        return Queries(
            self.index.at[at].set(index, mode="drop"),
            self.value.at[at].set(known.quality[index], mode="drop"),
            jnp.minimum(self.count + len(index), len(self.index)),
        )

    def standing(self, known: Known) -> dict[str, Array]:
        """How good the best of them is, among all there are."""
        return {
            "queries": self.count,
            "best_rank": known.rank(self.best),
            "regret": known.best - known.quality[self.best],
        }


def drawn(key: Key[Array, ""], known: Known, several: int, budget: int) -> Queries:
    """The first queries: `several` different architectures, drawn at random."""
    nothing = Queries(
        jnp.zeros(budget, int), jnp.zeros(budget, known.quality.dtype), jnp.zeros((), int)
    )
    return nothing.ask(known, unseen(key, jnp.zeros(len(known.quality), bool), several))


def unseen(key: Key[Array, ""], seen: Bool[Array, " N"], several: int) -> Int[Array, " several"]:
    """Different architectures, drawn at random from those not seen."""
    order = jnp.where(seen, -1.0, jr.uniform(key, seen.shape))
    return jax.lax.top_k(order, several)[1]


def expected_rank(total: int, queries: int) -> float:
    """Of the best of so many different ones, drawn at random."""
    return (total + 1) / (queries + 1)


def one_at_a_time(edges: int, operations: int) -> Int[np.ndarray, " n"]:
    """The first architecture and those that differ from it on one edge: 1 + E (O - 1) of them."""
    steps = [o * operations ** (edges - 1 - e) for e in range(edges) for o in range(1, operations)]
    return np.array([0, *steps])


def median_rank(total: int, queries: int) -> float:
    """Of the same: about half of all draws are better."""
    return total * -math.expm1(-math.log(2.0) / queries)


def linear_proxy(
    z: Float[np.ndarray, "n edges operations"], values: Float[np.ndarray, " n"]
) -> Float[np.ndarray, "edges operations"]:
    """The u of least squares and least norm such that sum_e u_e[a_e] gives the values.

    Codes are one-hot on each edge, so that a constant needs no entry of its own.
    """
    flat = np.asarray(z, float).reshape(len(z), -1)
    return np.linalg.lstsq(flat, np.asarray(values, float))[0].reshape(z.shape[1:])
