"""Boolean programs as trees, hard and soft.

A tree of depth d has 2^d - 1 nodes, the root first and the children of node i at 2i + 1 and
2i + 2, and 2^d leaves.  A leaf reads an input, a node combines the values a, b of its children:

    and a b,   or a + b - a b,   nand 1 - a b,   copy a

which on {0, 1} is logic and on [0, 1] the probability of it, for independent bits.  Where nodes
and leaves hold shares of all their choices each value is the mean over them.  Its length is the
number of nodes that do something.  A copy leaves the subtree at its right unread, so

    E[length] = sum_i P(i is read) (1 - copy_i),   P(left) = P(parent),
                                                   P(right) = P(parent) (1 - copy_parent)
"""

from collections.abc import Mapping
from itertools import product
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from labkit.errors import refusal


OPERATIONS = ("and", "or", "nand", "copy")
COPY = OPERATIONS.index("copy")


class Tree(NamedTuple):
    """Shares, or logits, of the choices at each place."""

    nodes: Float[Array, "... nodes operations"]
    leaves: Float[Array, "... leaves inputs"]


def evaluate(tree: Tree, inputs: Float[Array, "cases inputs"]) -> Float[Array, " cases"]:
    """What a tree of shares says of each case, from the leaves to the root."""
    values = tree.leaves @ inputs.T
    while len(values) > 1:
        a, b = values[::2], values[1::2]
        shares = tree.nodes[len(a) - 1 : 2 * len(a) - 1]  # of this level
        results = jnp.stack([a * b, a + b - a * b, 1.0 - a * b, a], axis=1)
        values = jnp.einsum("no,noc->nc", shares, results)
    return values[0]


def expected_length(tree: Tree) -> Float[Array, ""]:
    """The mean number of nodes that do something, where each draws its own operation."""
    does = 1.0 - tree.nodes[:, COPY]
    read, length = jnp.ones_like(does[:1]), 0.0
    while len(read) <= len(does):
        level = does[len(read) - 1 : 2 * len(read) - 1]
        length = length + jnp.sum(read * level)
        read = jnp.stack([read, read * level], axis=1).ravel()
    return jnp.asarray(length)


def softened(logits: Tree, tau: Array | float) -> Tree:
    """Shares softmax(logits / tau) at every place."""
    return jax.tree.map(lambda x: jax.nn.softmax(x / tau, axis=-1), logits)


def rounded(tree: Tree) -> Tree:
    """The likeliest choice at every place."""
    hard = lambda x: jax.nn.one_hot(jnp.argmax(x, axis=-1), x.shape[-1], dtype=x.dtype)
    return jax.tree.map(hard, tree)


def all_cases(inputs: int) -> Float[np.ndarray, "cases inputs"]:
    """Every assignment of 0 and 1 to the inputs, the last changing fastest."""
    return np.array(list(product((0.0, 1.0), repeat=inputs)))


def inputs_of(table: Array | np.ndarray) -> int:
    """How many inputs a truth table has.  Raises ValueError for a length that is no power of 2."""
    count = max(len(table), 1).bit_length() - 1
    if np.ndim(table) != 1 or count < 1 or len(table) != 2**count:
        raise refusal("length of the truth table", len(table), "2, 4, 8, ...: one entry a case")
    return count


def python(tree: Tree, names: str = "abcdefgh") -> str:
    """The likeliest program as a Python expression."""
    nodes, leaves = (np.argmax(np.asarray(part), axis=-1) for part in tree)

    def text(i: int) -> str:
        if i >= len(nodes):
            return names[leaves[i - len(nodes)]]
        operation = OPERATIONS[nodes[i]]
        if operation == "copy":
            return text(2 * i + 1)
        parts = text(2 * i + 1), text(2 * i + 2)
        one, other = (f"({part})" if " " in part else part for part in parts)
        return f"not ({one} and {other})" if operation == "nand" else f"{one} {operation} {other}"

    return text(0)


def table_of(expression: str, inputs: int, names: str = "abcdefgh") -> Float[np.ndarray, " cases"]:
    """The truth table of a Python expression in the first `inputs` names."""
    code = compile(expression, "program", "eval")
    cases = (dict(zip(names, map(bool, case), strict=False)) for case in all_cases(inputs))
    return np.array([float(eval(code, {"__builtins__": {}}, case)) for case in cases])


def shortest(depth: int, inputs: int) -> Mapping[tuple[float, ...], int]:
    """The least length of every truth table that a tree of this depth has: by all programs."""
    cases = all_cases(inputs)
    known = {tuple(column.tolist()): 0 for column in cases.T}
    for _ in range(depth):
        longer = dict(known)
        for (one, m), (other, n) in product(known.items(), repeat=2):
            a, b = np.array(one), np.array(other)
            for result in (a * b, a + b - a * b, 1 - a * b):
                table = tuple(result.tolist())
                longer[table] = min(longer.get(table, m + n + 1), m + n + 1)
        known = longer
    return known
