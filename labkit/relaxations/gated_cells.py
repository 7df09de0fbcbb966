"""The cells of `cells` with a gate before every operation, priced by their multiply-adds.

    edge_e(h) = sum_o g_eo op_o(h),        price of an operation: products / width^2

An edge without survivors is zero.  The identity costs nothing, and so no price removes it.  What
a gate loses a matrix can give back, relu(h W) most of all: loss + decay |w|^2 makes that dear.
Where each edge has one survivor at most, the cell is one of the table's 64.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from labkit.method import knob, pytree
from labkit.relaxations.cells import (
    EDGES,
    USUAL,
    Supernet,
    Weights,
    digit_cells,
    multiply_adds,
)


OPEN = ("identity", "tanh", "relu")  # zero is what remains when all gates are shut


@pytree
class GatedCells:
    """A supernet whose gates are free of one another, trained with a decay of its weights."""

    space: Supernet
    decay: float = knob(1e-4, 1e-5, 0.1, log=True, about="of the squared weights")

    @property
    def prices(self) -> Float[Array, "3 operations"]:
        """One for each product of width by width."""
        names, width = self.space.operations, self.space.train.x.shape[1]
        single = jnp.eye(len(names))[:, None]
        each = multiply_adds(single, width, names) / width**2
        return jnp.broadcast_to(each[None], (len(EDGES), len(names)))

    def start(self, key) -> Weights:
        """The weights of the supernet."""
        return self.space.start(key)

    def loss(self, w: Weights, g: Float[Array, "3 operations"]) -> Float[Array, ""]:
        """Cross entropy on the training samples, and the decay."""
        squares = sum(jnp.vdot(part, part) for part in w)
        return self.space.loss(w, g, self.space.train) + self.decay * squares

    def error(
        self, w: Weights, g: Float[Array, "3 operations"], alive: Bool[Array, "3 operations"]
    ) -> Float[Array, ""]:
        """The share of wrong classes among the validation samples, with gates as they are."""
        del alive
        return 1.0 - self.space.accuracy(w, g, self.space.validation)


def gated_cells(train: int = 800) -> GatedCells:
    """On digits, with the three operations other than zero."""
    return GatedCells(digit_cells(train, operations=OPEN))


def as_cell(survivors: Float[np.ndarray, "3 3"]) -> tuple[int, ...] | None:
    """The row of the table, as operations of `USUAL`; None where an edge has several survivors."""
    alive = np.asarray(survivors) > 0
    if (alive.sum(axis=1) > 1).any():
        return None
    return tuple(USUAL.index(OPEN[row.argmax()]) if row.any() else 0 for row in alive)
