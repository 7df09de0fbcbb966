"""Pictures of graphs that are learnt: matrices, and nodes on an axis with arcs between them."""

import numpy as np

from labkit.record import Record
from labkit.relaxations.structural_equations import (
    by_variance,
    is_edge,
    structural_distance,
    varsortability,
)
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
    return Panel("True graph: drag from node to node", [graph], equal=True)


def learnt(record: Record) -> Panel:
    """The weights as they are."""
    return matrix(record.last("W"), "Learnt weights")


def learners(record: Record) -> Panel:
    """The weights of several learners, side by side."""
    A = np.asarray(record.last("A"))
    gap = np.full((*A.shape[:2], 1), np.nan)
    z = np.concatenate(np.concatenate([A, gap], axis=2), axis=1)[:, :-1]
    K, d = A.shape[:2]
    across = 0.5 + (np.arange(z.shape[1]) + 1) / (d + 1)  # learner k is around k
    raster = Raster(z, across, np.arange(1, d + 1), "weight")
    title, x = "The learners, side by side", "learner, and in it to node"
    return Panel(title, [raster], x, "from node", x_range=(0.5, K + 0.5))


def disagreement(record: Record) -> Panel:
    """How far the weights of the learners deviate from their mean."""
    return matrix(np.asarray(record.last("A")).std(axis=0), "Where they disagree (deviation)")


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
    names = _together(p)
    marks.append(Graph(p, np.zeros(len(p)), np.zeros((0, 2), int), names, "nodes", "nodes"))
    far = 0.6 * max(float(np.ptp(p)), 1e-3)
    return Panel("Priorities", marks, "priority", "right above, wrong below", y_range=(-far, far))


def _together(p: np.ndarray) -> list[str]:
    """The names of nodes; those too close for a name each have one in common."""
    order, names = np.argsort(p), [""] * len(p)
    gaps = np.diff(p[order])
    for group in np.split(order, np.flatnonzero(gaps > 0.05 * np.ptp(p)) + 1):
        names[group[len(group) // 2]] = ", ".join(str(1 + node) for node in group)
    return names


def _bows(p: np.ndarray, edges: np.ndarray, side: float) -> tuple[np.ndarray, np.ndarray]:
    """Half circles from node to node, on one side of the axis, with NaN between them."""
    turn = np.append(np.linspace(0.0, np.pi, 25), np.nan)
    start, end = (p[nodes][:, None] for nodes in np.nonzero(edges))
    x = (start + end) / 2 - np.cos(turn)[None] * (end - start) / 2
    y = side * np.sin(turn)[None] * np.abs(end - start) / 2
    return x.ravel(), y.ravel()


def cycles(record: Record) -> Panel:
    """h and its bound along the steps, and tau."""
    floor = lambda name: np.maximum(record[name].astype(float), 1e-30)
    marks = [
        Curve(record.steps, floor("h"), "h(W)", "h"),
        Curve(record.steps, floor("bound"), "bound, for any priorities", "threshold"),
        Curve(record.steps, record["tau"], "tau", "tau"),
    ]
    return Panel("Cycles, never penalised", marks, "step", "h (1e-30 where below), tau", log_y=True)


def distances(record: Record) -> Panel:
    """The structural distance, beside that of sorting by variance; on standardized data too."""
    names = {"distance": "as given", "standardized.distance": "standardized"}
    marks = []
    for name, label in names.items():
        if name in record:
            marks.append(Curve(record.steps, record[name], label, f"{label} orientation"))
            sorted_by = np.full(len(record), sorting(record, name.replace("distance", ""))[0])
            by = f"sorting by variance, {label}"
            marks.append(Curve(record.steps, sorted_by, by, f"{label} sorting"))
    return Panel("Distance to the true graph", marks, "step", "pairs joined wrongly")


def sorting(record: Record, prefix: str = "") -> tuple[float, float]:
    """The structural distance of sorting by variance, and the varsortability."""
    C, graph = record.last(prefix + "C"), record.last(prefix + "truth") != 0
    found = structural_distance(is_edge(by_variance(C)), graph)
    return float(found), varsortability(graph, np.diagonal(C))
