"""All orders of a few nodes: their scores, and a walk among them.

The orders are the corners of the permutohedron, one for each of d!, joined where two neighbours
in the order change places.
"""

from itertools import permutations

import numpy as np
from jaxtyping import Float

from labkit.record import Record
from labkit.views import Curve, Graph, Panel, Points


def every_order(C: Float[np.ndarray, "d d"]) -> dict[tuple[int, ...], float]:
    """The score of each of the d! orders."""
    C = np.asarray(C, float)
    kept: dict[tuple[int, frozenset], float] = {}

    def unexplained(node: int, before: tuple[int, ...]) -> float:
        known = (node, frozenset(before))
        if known not in kept:
            at = list(before)
            weights = np.linalg.solve(C[np.ix_(at, at)], C[at, node])
            kept[known] = C[node, node] - C[at, node] @ weights
        return kept[known]

    value = lambda order: sum(unexplained(node, order[:k]) for k, node in enumerate(order)) / 2
    return {order: value(order) for order in permutations(range(len(C)))}


def walk(record: Record) -> Panel:
    """The run among the orders of four nodes, corners of the permutohedron.

    Corners are joined where two neighbours in the order have changed places.
    """
    corners = np.array(list(permutations(range(4))))
    places = np.argsort(corners, axis=1) - 1.5
    x, y = (places @ np.array([[-0.23, 0.79], [-0.06, -0.11], [0.81, -0.12], [-0.52, -0.56]])).T
    joined = np.argwhere(np.triu(np.abs(places[:, None] - places[None]).sum(axis=2) == 2))
    scores = every_order(record.last("C"))
    best = [int(np.argmin([scores[tuple(int(i) for i in c)] for c in corners]))]
    way = [int(np.flatnonzero((corners == order).all(axis=1))[0]) for order in record["order"]]
    names = ["".join(str(1 + i) for i in corner) for corner in corners]
    marks = [
        Graph(x, y, joined, names, "an order", "ghost"),
        Curve(x[way], y[way], "swaps", "path"),
        Points(x[best], y[best], "best of all", "optimum"),
        Points(x[way[-1:]], y[way[-1:]], "now", "path"),
    ]
    return Panel("A walk on the permutohedron", marks, "across", "up")
