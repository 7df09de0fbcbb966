"""Graphs of a few nodes, by adjacency matrix, and the largest set without an edge inside.

The matrix is symmetric with entries 0 and 1 and a diagonal of zeros.
"""

import itertools
from typing import Any

import numpy as np
from jaxtyping import Array, Float
from scipy.optimize import LinearConstraint

from labkit.errors import refusal
from labkit.method import Latest, knob, pytree
from labkit.relaxations.expectations import expected_edges
from labkit.relaxations.set_problems import least_cost


def petersen() -> Float[np.ndarray, "10 10"]:
    """The Petersen graph: 10 nodes of degree 3, no triangle."""
    ring, spokes, star = ([(i, (i + s) % 5) for i in range(5)] for s in (1, 0, 2))
    ends = [*ring, *((i, j + 5) for i, j in spokes), *((i + 5, j + 5) for i, j in star)]
    return graph(10, ends)


def random_graph(n: int, share: float = 0.3, seed: int = 0) -> Float[np.ndarray, "n n"]:
    """Each pair of nodes is joined with probability `share`."""
    pairs = np.array(list(itertools.combinations(range(n), 2)))
    return graph(n, pairs[np.random.default_rng(seed).uniform(size=len(pairs)) < share])


def graph(n: int, edges: Any) -> Float[np.ndarray, "n n"]:
    """The adjacency matrix of n nodes and these pairs of them."""
    adjacency = np.zeros((n, n))
    for i, j in edges:
        adjacency[i, j] = adjacency[j, i] = 1.0
    return adjacency


def circle(n: int) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """x and y of n nodes on a circle of radius 1, the first on top, then clockwise."""
    turn = 2 * np.pi * np.arange(n) / n
    return np.sin(turn), np.cos(turn)


@pytree
class IndependentSet:
    """Nodes without an edge between them, as many as can be; the cost is minus their number."""

    adjacency: Float[Array, "n n"]
    beta: float = knob(1.5, 0.0, 4.0, within=(0.0, np.inf), about="for each edge inside")

    def check(self) -> None:
        check_adjacency(self.adjacency)
        if not np.isin(self.adjacency, (0, 1)).all():
            raise refusal("adjacency", self.adjacency, "zeros and ones")

    @property
    def items(self) -> int:
        """One for each node."""
        return len(self.adjacency)

    def expected(self, p: Float[Array, " n"]) -> Float[Array, ""]:
        """- E |X| + beta E (edges inside X)."""
        return self.beta * expected_edges(self.adjacency, p) - p.sum()

    def optimum(self) -> float:
        """Of y_i, which nodes are in, with y_i + y_j <= 1 along each edge."""
        n, ends = self.items, np.argwhere(np.triu(self.adjacency) > 0)
        rows = np.eye(n)[ends].sum(axis=1)
        rules = [LinearConstraint(rows, -np.inf, 1)] if len(ends) else []
        return least_cost(-np.ones(n), rules, whole=n)

    def greedy(self) -> float:
        """The node with the fewest neighbours left, again and again."""
        adjacency = np.asarray(self.adjacency) > 0
        left, taken = np.ones(self.items, bool), 0
        while left.any():
            degree = np.where(left, (adjacency & left).sum(axis=1), self.items)
            node = degree.argmin()
            left &= ~adjacency[node]
            left[node], taken = False, taken + 1
        return -float(taken)

    def seen(self) -> dict[str, Any]:
        """The graph."""
        return {"adjacency": Latest(self.adjacency)}


def check_adjacency(adjacency: Any) -> None:
    """Refuse what is no symmetric matrix with a diagonal of zeros."""
    a = np.asarray(adjacency, float)
    square = a.ndim == 2 and a.shape[0] == a.shape[1]
    if not square or not np.array_equal(a, a.T) or np.diag(a).any():
        raise refusal("adjacency", adjacency, "a symmetric matrix [n, n] whose diagonal is 0")
