"""Pictures of graphs that are learnt: matrices, and nodes on an axis with arcs between them."""

import numpy as np

from labkit.record import Record
from labkit.relaxations.structural_equations import is_edge
from labkit.views import Curve, Graph, Mark, Panel, Raster


def matrix(W: np.ndarray, title: str) -> Panel:
    """The weights of edges from row to column."""
    places = np.arange(1, len(W) + 1)
    raster = Raster(np.asarray(W), places, places, "weight")
    return Panel(title, [raster], "to node", "from node", equal=True)


def drawn_graph(record: Record) -> Panel:
    """The true graph; to drag from node to node adds an edge, or takes it away."""
    truth = record.last("truth") != 0
    turn = np.pi / 2 - 2 * np.pi * np.arange(len(truth)) / len(truth)
    edges, names = np.argwhere(truth), [str(1 + node) for node in range(len(truth))]
    at = (np.cos(turn), np.sin(turn), edges, names)
    graph = Graph(*at, "true graph", "nodes", "equations.adjacency", directed=True)
    return Panel("True graph: drag to draw", [graph])


def learnt(record: Record) -> Panel:
    """The weights as they are."""
    return matrix(record.last("W"), "Learnt weights")


def kinds_of_edges(truth: np.ndarray, found: np.ndarray) -> list[tuple[str, str, np.ndarray]]:
    """(label, role, edges) of the edges that are right, turned round, missing and too many.

    Those turned round point as they do in `found`.
    """
    return [
        ("right", "right arc", truth & found),
        ("turned round", "turned arc", found & truth.T & ~truth),
        ("missing", "missing arc", truth & ~found & ~found.T),
        ("too many", "spare arc", found & ~truth & ~truth.T),
    ]


def arcs(record: Record) -> Panel:
    """Nodes where their priority puts them, and edges between them as arcs.

    Above the axis are the edges of the true graph that are right, or missing; below it those that
    are turned round, or too many.
    """
    p = record.last("priorities")
    marks: list[Mark] = []
    for label, role, edges in kinds_of_edges(record.last("truth") != 0, is_edge(record.last("W"))):
        x, y = _bows(p, edges, 1.0 if label in ("right", "missing") else -1.0)
        marks.append(Curve(x, y, label, role))
    names = [str(1 + node) for node in range(len(p))]
    marks.append(Graph(p, np.zeros(len(p)), np.zeros((0, 2), int), names, "nodes", "nodes"))
    far = 0.6 * max(float(np.ptp(p)), 1e-3)
    return Panel("Priorities", marks, "priority", "right above, wrong below", y_range=(-far, far))


def _bows(p: np.ndarray, edges: np.ndarray, side: float) -> tuple[np.ndarray, np.ndarray]:
    """Half circles from node to node, on one side of the axis, with NaN between them."""
    turn = np.append(np.linspace(0.0, np.pi, 25), np.nan)
    start, end = (p[nodes][:, None] for nodes in np.nonzero(edges))
    x = (start + end) / 2 - np.cos(turn)[None] * (end - start) / 2
    y = side * np.sin(turn)[None] * np.abs(end - start) / 2
    return x.ravel(), y.ravel()
