"""A space of architectures so small that each of them can be trained.

A cell is a triangle.  Each of its three edges holds one operation from R^width to R^width:

    n = op_1(x),   out = op_2(x) + op_3(n),   scores = out V + c
    zero 0,   identity h,   tanh tanh(h W + b),   relu max(0, h W + b)

Four operations on three edges are 64 cells.  In 7 of them nothing of x reaches the output, and
the scores are constant.  A supernet holds the weights of every operation on every edge, and
mixes them by shares p:

    edge_e(h) = sum_o p_eo op_o(h; W_eo, b_eo)

At one-hot shares it is a cell, and the weights of the others have no gradient.  Two operations
more are not in the usual 64 cells: softplus, for whoever needs a smooth supernet, and noise,
numbers from N(0, 1) in the place of h, drawn anew for each key (without a key, always the same).

What each cell is worth once it is trained on its own stands in `cell_table`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Int, Key

from labkit.data import digits
from labkit.errors import refusal, unknown
from labkit.method import pytree, static


EDGES = ("x to n", "x to out", "n to out")
OPERATIONS = {
    "zero": lambda h, weights, bias: jnp.zeros_like(h),
    "identity": lambda h, weights, bias: h,
    "tanh": lambda h, weights, bias: jnp.tanh(h @ weights + bias[None]),
    "relu": lambda h, weights, bias: jax.nn.relu(h @ weights + bias[None]),
    "softplus": lambda h, weights, bias: jax.nn.softplus(h @ weights + bias[None]),
    "noise": lambda h, weights, bias: h,  # a supernet hands it noise instead of h
}
USUAL = ("zero", "identity", "tanh", "relu")


class Samples(NamedTuple):
    """What a batch is made of."""

    x: Float[Array, "samples width"]
    y: Int[Array, " samples"]


class Weights(NamedTuple):
    """The parameters of a supernet, of all operations also where they use none."""

    weights: Float[Array, "3 operations width width"]
    bias: Float[Array, "3 operations width"]
    head: Float[Array, "width classes"]
    shift: Float[Array, " classes"]


@pytree
class Supernet:
    """All cells at once, with samples to train, to choose and to test them."""

    train: Samples
    validation: Samples
    test: Samples
    operations: tuple[str, ...] = static(default=USUAL)

    def check(self):
        """Raise ValueError unless the operations are known, and each is there once."""
        for name in self.operations:
            if name not in OPERATIONS:
                raise unknown("operation", name, OPERATIONS)
        if not self.operations or len(set(self.operations)) < len(self.operations):
            raise refusal("operations", self.operations, "one name or more, all different")

    def start(self, key: Key[Array, ""]) -> Weights:
        """Weights from N(0, 1 / fan_in), biases from zero."""
        width, classes = self.train.x.shape[1], 10
        shape = (len(EDGES), len(self.operations), width, width)
        on_edges, on_head = jr.split(key)
        draw = lambda key, shape: jr.normal(key, shape, self.train.x.dtype) / np.sqrt(width)
        zeros = lambda *shape: jnp.zeros(shape, self.train.x.dtype)
        head = draw(on_head, (width, classes))
        return Weights(draw(on_edges, shape), zeros(*shape[:-1]), head, zeros(classes))

    def scores(
        self,
        w: Weights,
        shares: Float[Array, "3 operations"],
        x: Float[Array, "samples width"],
        key: Key[Array, ""] | None = None,
    ) -> Float[Array, "samples classes"]:
        """What the supernet says of each class, before any softmax; `key` is for noise alone."""
        draws = {}
        if "noise" in self.operations:
            key = jr.key(0) if key is None else key
            draws["noise"] = jr.normal(key, (len(EDGES), *x.shape), x.dtype)

        def edge(e, h):
            results = [
                shares[e, o] * OPERATIONS[name](of, w.weights[e, o], w.bias[e, o])
                for o, name in enumerate(self.operations)
                for of in [draws[name][e] if name in draws else h]
            ]
            return sum(results[1:], results[0])

        return (edge(1, x) + edge(2, edge(0, x))) @ w.head + w.shift[None]

    def loss(
        self,
        w: Weights,
        shares: Float[Array, "3 operations"],
        batch: Samples,
        key: Key[Array, ""] | None = None,
    ) -> Float[Array, ""]:
        """Mean cross entropy."""
        scores = jax.nn.log_softmax(self.scores(w, shares, batch.x, key))
        return -jnp.mean(jnp.take_along_axis(scores, batch.y[:, None], axis=1))

    def accuracy(
        self,
        w: Weights,
        shares: Float[Array, "3 operations"],
        batch: Samples,
        key: Key[Array, ""] | None = None,
    ) -> Float[Array, ""]:
        """The share of samples whose class has the highest score."""
        return jnp.mean(jnp.argmax(self.scores(w, shares, batch.x, key), axis=1) == batch.y)


@pytree
class Cell:
    """The problem of training the weights at fixed shares: a cell alone, where they are one-hot."""

    space: Supernet
    shares: Float[Array, "3 operations"]

    def start(self, key: Key[Array, ""]) -> Weights:
        """The weights of the supernet."""
        return self.space.start(key)

    def loss(self, w: Weights, batch: Samples | None = None) -> Float[Array, ""]:
        """Mean cross entropy on the training samples, or on `batch`."""
        return self.space.loss(w, self.shares, self.space.train if batch is None else batch)


def digit_cells(
    train: int = 800, *, width: int = 8, operations: tuple[str, ...] = USUAL
) -> Supernet:
    """Cells on `width` principal components of the digits, each of variance 1 in training.

    Of the 1,438 digits of the training part the first `train` train the weights, and the rest
    validate; the 359 of the test part are for the very end.

    Raises ValueError: `train` or `width` out of range.
    """
    split = digits()
    if not width <= train < len(split.x):
        raise refusal("train", train, f"{width} (the width) to {len(split.x) - 1}")
    if not 1 <= width <= split.x.shape[1]:
        raise refusal("width", width, f"1 to {split.x.shape[1]}, the number of pixels")
    mean = split.x[:train].mean(axis=0)
    _, spread, axes = np.linalg.svd(split.x[:train] - mean, full_matrices=False)
    onto = axes[:width].T * (np.sqrt(train) / spread[:width])
    of = lambda x, y: Samples(jnp.asarray((x - mean) @ onto, float), jnp.asarray(y))
    space = Supernet(
        of(split.x[:train], split.y[:train]),
        of(split.x[train:], split.y[train:]),
        of(split.x_test, split.y_test),
        operations,
    )
    space.check()
    return space


def one_hot(
    cells: Int[Array, "... 3"] | Sequence, operations: int = len(USUAL)
) -> Float[Array, "... 3 operations"]:
    """The shares of cells, given as the index of the operation on each edge."""
    return jax.nn.one_hot(jnp.asarray(cells), operations, dtype=float)


def all_cells(operations: int = len(USUAL)) -> Int[np.ndarray, "cells 3"]:
    """Every cell, the operation on the last edge changing fastest."""
    return np.indices((operations,) * len(EDGES)).reshape(len(EDGES), -1).T


def is_constant(cells: Int[np.ndarray, "... 3"], operations: Sequence[str] = USUAL) -> np.ndarray:
    """Which cells give the same scores whatever x: zero cuts every way from x to out."""
    cut = np.asarray(cells) == tuple(operations).index("zero")
    return cut[..., 1] & (cut[..., 0] | cut[..., 2])


def multiply_adds(
    shares: Float[Array, "... 3 operations"], width: int = 8, operations: Sequence[str] = USUAL
) -> Float[Array, "..."]:
    """Expected products a sample: width^2 for each operation with a matrix, times its share.

    An edge behind a zero is counted like any other.
    """
    each = [
        0.0 if name in ("zero", "identity", "noise") else float(width**2) for name in operations
    ]
    return jnp.sum(jnp.asarray(shares) @ jnp.asarray(each), axis=-1)
