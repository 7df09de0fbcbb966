"""The best order of the nodes, by swaps: look where the loss pulls and no cycle would close.

For an order of the nodes the best W is known: each node regressed on those before it (`regressed`).
So what is searched is the order, by its score F(W_order).  Of a pair, i after j in the order, two
slopes tell what an edge from i to j would do: dF / dW_ij how much the loss wants it, and

    dh_ij = [(I - |W|)^-1]_ji,     the weight of all walks from j to i,

how much of a cycle it closes.  Candidates are the pairs of smallest dh, `small` of them, among
those with dF not 0.  Each is tried: i and j change places, and only the nodes from the place of j
to that of i are regressed anew.  The best one is taken if it lowers the score; if none does, the
candidates are the `large` pairs of smallest dh; if none does there, it ends.  (In the released
code the large set has one chance in all; here, as many as it needs.)

What to look for: with all pairs allowed a local optimum in swaps is nearly always the global one
for six nodes; with few it is not.  The best score need not be the true graph: it is where all
noise has one variance, and not on standardized data.

Source: S127, Optimizing NOTEARS Objectives via Topological Swaps.
"""

from functools import cache
from typing import Any, NamedTuple

import jax.random as jr
import numpy as np
from jaxtyping import Bool, Float, Int

from labkit.claims import Claim
from labkit.method import choice, method, size
from labkit.record import Record
from labkit.relaxations.acyclicity import returning_walks
from labkit.relaxations.graph_views import drawn_graph
from labkit.relaxations.orders import every_order
from labkit.relaxations.structural_equations import (
    StructuralEquations,
    covariance,
    fitted,
    is_edge,
    random_equations,
    regressed,
    score,
    structural_distance,
    varsortability,
)
from labkit.run import run
from labkit.views import Curve, Panel, Points, Raster, View


Matrix = Float[np.ndarray, "d d"]
Order = Int[np.ndarray, " d"]


def slopes(C: Matrix, W: Matrix) -> tuple[Matrix, Matrix]:
    """dF / dW and dh / d|W| at an acyclic W."""
    return -C @ (np.eye(len(C)) - W), returning_walks(np.abs(W))


def candidates(C: Matrix, W: Matrix, order: Order, count: int) -> Bool[np.ndarray, "d d"]:
    """The `count` pairs i, j of smallest dh, among those with i after j and dF not 0."""
    loss, cycles = slopes(C, W)
    place = np.argsort(order)
    allowed = (place[:, None] > place[None, :]) & (np.abs(loss) > 1e-9 * np.abs(C).max())
    pairs = np.argwhere(allowed)
    chosen = pairs[np.argsort(cycles[allowed], kind="stable")][:count]
    mask = np.zeros_like(allowed)
    mask[tuple(chosen.T)] = True
    return mask


def swapped(C: Matrix, W: Matrix, order: Order, i: int, j: int) -> tuple[Order, Matrix]:
    """The order with i and j in each other's places, and its W, refitted between them.

    What is before or after both keeps its regression: the nodes before it are the same.
    """
    first, last = sorted(np.argsort(order)[[i, j]])
    order, W = order.copy(), W.copy()
    order[[first, last]] = order[[last, first]]
    for place in range(first, last + 1):
        node, before = order[place], order[:place]
        W[:, node] = 0.0
        W[before, node] = np.linalg.solve(C[np.ix_(before, before)], C[before, node])
    return order, W


class State(NamedTuple):
    C: Matrix  # of the data
    order: Order
    W: Matrix  # the best of this order
    score: float
    tried: Bool[np.ndarray, "d d"]  # pairs of the last search
    tries: int  # in all
    stuck: bool  # whether no candidate lowered the score


def searched(state: State, count: int, but: np.ndarray | None = None) -> State:
    """The best of the candidates, taken if it is better; pairs in `but` are known not to be."""
    tried = candidates(state.C, state.W, state.order, count)
    fresh = tried if but is None else tried & ~but
    best = state._replace(tried=tried, tries=state.tries + int(fresh.sum()), stuck=True)
    least = state.score - 1e-10 * abs(state.score)  # less than that is rounding
    for i, j in np.argwhere(fresh):
        order, W = swapped(state.C, state.W, state.order, i, j)
        value = float(score(state.C, W))
        if value < least:
            least = value
            best = best._replace(order=order, W=W, score=value, stuck=False)
    return best


@method(host=True)
class TopologicalSwaps:
    """The order of the nodes of `equations`, one swap a step."""

    equations: StructuralEquations
    small: int = size(5, 1, 100, about="candidates tried at first")
    large: int = size(15, 1, 400, about="candidates tried when those are no better")
    begin: str = choice("any order", "by variance", "by variance, reversed")

    steps = 100

    def init(self, key) -> State:
        data, start = jr.split(key)
        C = np.asarray(covariance(data, self.equations), float)
        order = np.asarray(jr.permutation(start, len(C)))
        if self.begin != "any order":
            order = np.argsort(np.diagonal(C), kind="stable")
        return starting(C, order[::-1] if self.begin.endswith("reversed") else order)

    def step(self, state: State, key) -> State:
        after = searched(state, self.small)
        return searched(after, self.large, but=after.tried) if after.stuck else after

    def done(self, state: State) -> bool:
        """No candidate lowers the score."""
        return state.stuck

    def observe(self, state: State) -> dict[str, Any]:
        loss, cycles = slopes(state.C, state.W)
        truth = np.asarray(self.equations.w, float)
        return {
            "order": state.order,
            "W": state.W,
            "score": state.score,
            "score_of_truth": score(state.C, fitted(state.C, truth != 0)),
            "tried": state.tried.astype(float),
            "tries": float(state.tries),
            "slope_of_loss": np.abs(loss),
            "slope_of_cycles": cycles,
            "distance": float(structural_distance(is_edge(state.W), truth != 0)),
            "truth": truth,
            "C": state.C,
        }


def starting(C: Matrix, order: Order) -> State:
    """The state at an order, before any swap."""
    W = regressed(C, order)
    none = np.zeros(C.shape, bool)
    return State(C, np.array(order), W, float(score(C, W)), none, 0, False)


def example() -> TopologicalSwaps:
    """Six nodes with about three edges for two of them, 1000 samples."""
    return TopologicalSwaps(random_equations(1, nodes=6, edges=1.5, samples=1000))


@cache
def demo() -> Record:
    """The example, to its end."""
    return run(example())


def _places(record: Record) -> Panel:
    places = 1 + np.argsort(record["order"], axis=1)
    marks = [
        Curve(record.steps, place, f"node {node}", f"node {node}")
        for node, place in enumerate(places.T, 1)
    ]
    return Panel("The order", marks, "swap", "place of the node")


def _staircase(record: Record) -> Panel:
    marks = [
        Curve(record.steps, record["score"], "of the order", "loss"),
        Curve(record.steps, record["score_of_truth"], "of the true graph", "target"),
    ]
    return Panel("Score", marks, "swap", "score", log_y=True)


def _candidates(record: Record) -> Panel:
    """The pairs that were tried, over dh: both as they stood before the last swap."""
    before = max(len(record) - 2, 0)
    order, names = record["order"][before], np.arange(1, record["order"].shape[1] + 1)
    z = record["slope_of_cycles"][before][np.ix_(order, order)].copy()
    z[np.triu_indices(len(z))] = np.nan
    i, j = np.nonzero(record.last("tried")[np.ix_(order, order)])
    marks = [Raster(z, names, names, "walks from j to i"), Points(1 + j, 1 + i, "tried", "path")]
    return Panel("Pairs tried", marks, "place of j", "place of i, after it", equal=True)


views: list[View] = [drawn_graph, _places, _staircase, _candidates]


def say(record: Record) -> str:
    """Score, swaps and wrong edges, in a sentence."""
    order = " ".join(str(1 + node) for node in record.last("order"))
    truth = record.last("truth") != 0
    sortable = varsortability(truth, np.diagonal(record.last("C")))
    return (
        f"Order {order} after {record.steps[-1]} steps, {record.last('tries'):.0f} orders tried: "
        f"score {record.last('score'):.4f}, of the true graph {record.last('score_of_truth'):.4f}; "
        f"{record.last('distance'):.0f} pairs joined wrongly of {truth.sum()} edges, "
        f"varsortability {sortable:.2f}."
    )


def claim(record: Record) -> Claim:
    """S127: every swap lowers the score, no edge is against the order, and the best order is found.

    Three numbers: the change of the score that was least of a fall, swap by swap, and the largest
    weight against the order, at most 0; the score at the end less the least of all d!, at most
    1e-3 (orders that differ by less cannot be told apart by 1000 samples).
    """
    scores = record["score"]
    kept = (np.diff(record["order"], axis=0) == 0).all(axis=1)
    falls = np.where(kept & (np.diff(scores) == 0), -1.0, np.diff(scores))
    place = np.argsort(record["order"], axis=1)
    against = place[:, :, None] >= place[:, None, :]
    gap = scores[-1] - min(every_order(record.last("C")).values())
    seen = [falls.max(initial=-1.0), np.abs(record["W"] * against).max(), gap]
    sentence = "Least fall of the score, weight against the order, gap to the best of all orders"
    return Claim(seen, [0.0, 0.0, 1e-3], 1e-9, sentence, relation="<=")
