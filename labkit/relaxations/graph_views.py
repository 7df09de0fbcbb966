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


def true_graph(record: Record) -> Panel:
    """The weights that made the data."""
    return matrix(record.last("truth"), "True weights")


def drawn_graph(record: Record) -> Panel:
    """The true graph on a circle."""
    truth = record.last("truth") != 0
    turn = np.pi / 2 - 2 * np.pi * np.arange(len(truth)) / len(truth)
    edges, names = np.argwhere(truth), [str(1 + node) for node in range(len(truth))]
    marks = [Graph(np.cos(turn), np.sin(turn), edges, names, "true graph", "nodes")]
    return Panel("True graph", marks, equal=True)


def learnt(record: Record) -> Panel:
    """The weights as they are."""
    return matrix(record.last("W"), "Learnt weights")


def arcs(record: Record) -> Panel:
    """Nodes where their priority puts them, and the edges between them as arcs.

    Above the axis are edges of the true graph that are learnt as they are; below it those that
    are learnt the other way round.  A dotted arc is an edge that no edge stands for, a grey one an
    edge of no truth.
    """
    p, truth = record.last("priorities"), record.last("truth") != 0
    found = is_edge(record.last("W"))
    kinds = {
        "right": (truth & found, 1.0, "right"),
        "turned round": (truth & found.T & ~found, -1.0, "turned"),
        "missing": (truth & ~found & ~found.T, 1.0, "missing"),
        "too many": (found & ~truth & ~truth.T, -1.0, "spare"),
    }
    marks: list[Mark] = []
    for label, (edges, side, role) in kinds.items():
        if edges.any():
            x, y = _bows(p, edges, side)
            marks.append(Curve(x, y, label, role))
    names = [str(1 + node) for node in range(len(p))]
    marks.append(Graph(p, np.zeros(len(p)), np.zeros((0, 2), int), names, "nodes", "nodes"))
    far = 0.55 * max(float(np.ptp(p)), 1e-3)
    return Panel("Priorities", marks, "priority", "arcs", y_range=(-far, far))


def _bows(p: np.ndarray, edges: np.ndarray, side: float) -> tuple[np.ndarray, np.ndarray]:
    """Half circles from node to node, on one side of the axis, with NaN between them."""
    turn = np.append(np.linspace(0.0, np.pi, 25), np.nan)
    start, end = (p[nodes][:, None] for nodes in np.nonzero(edges))
    x = (start + end) / 2 - np.cos(turn)[None] * (end - start) / 2
    y = side * np.sin(turn)[None] * np.abs(end - start) / 2
    return x.ravel(), y.ravel()
