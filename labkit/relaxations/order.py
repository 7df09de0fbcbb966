"""What a soft sort gives back, whichever operator made it.

    P_ij               the share of input j in place i, places in ascending order
    values_i   =  sum_j P_ij x_j
    ranks_j    =  sum_i i P_ij            1 for the smallest
    apply(y)_i =  sum_j P_ij y_j          whatever comes along with the inputs

Every operator has one softness tau > 0, in units of x: f(c x, c tau) = c f(x, tau).  As tau
goes to 0, P becomes the permutation that sorts.  For a descending order, sort -x.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int


class Order(NamedTuple):
    """Inputs x [... n] in soft ascending order."""

    values: Float[Array, "... n"]  # soft, ascending
    permutation: Float[Array, "... n n"]  # place, input: each row sums to 1
    ranks: Float[Array, "... n"]  # of each input, from 1

    def apply(self, payload: Float[Array, "..."]) -> Float[Array, "..."]:
        """`payload` [batch axes of x, n, any further axes], mixed into the same order."""
        payload = jnp.asarray(payload)
        n, batch = self.permutation.shape[-1], self.permutation.shape[:-2]
        flat = payload.reshape(*batch, n, -1) if payload.size else payload
        return jnp.einsum("...ij,...jd->...id", self.permutation, flat).reshape(payload.shape)

    def rounded(self) -> Int[Array, "... n"]:
        """The input with the largest share of each place; not always a permutation."""
        return rounded(self.permutation)


def order(permutation: Float[Array, "... n n"], x: Float[Array, "... n"]) -> Order:
    """The order that a soft permutation makes of x."""
    n = permutation.shape[-1]
    places = jnp.arange(1, n + 1, dtype=permutation.dtype)
    values = jnp.einsum("...ij,...j->...i", permutation, x)
    return Order(values, permutation, jnp.einsum("...ij,i->...j", permutation, places))


def rounded(permutation: Float[Array, "... n n"]) -> Int[Array, "... n"]:
    """The input with the largest share of each place; not always a permutation."""
    if not permutation.shape[-1]:
        return jnp.zeros(permutation.shape[:-1], jnp.int32)
    return jnp.argmax(permutation, axis=-1)
