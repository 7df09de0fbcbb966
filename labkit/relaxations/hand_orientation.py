"""Orienting a graph by hand: priorities under the pointer, and the best weights that they allow.

    W = H o S(p, tau),       H = argmin  F(H o S) + ridge / 2 |H|^2

with the orientation S of `smooth_orientation`.  Each column of H is a ridge regression on the other
nodes, each of them scaled by how much of an edge there is, so H needs no training; as tau goes to 0
it becomes the regression of each node on those of lower priority.  Swept along tau, from soft to
hard.

What to look for: the score of the hard graph is lowest in an order that the true graph allows, and
equally low in all such orders.  On standardized data that is no longer so.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from labkit.method import knob, pytree
from labkit.record import Record
from labkit.relaxations.acyclicity import acyclicity
from labkit.relaxations.graph_views import kinds_of_edges, learnt
from labkit.relaxations.smooth_orientation import cycle_bound, orientation
from labkit.relaxations.structural_equations import (
    covariance,
    fitted,
    is_edge,
    random_equations,
    score,
    structural_distance,
)
from labkit.sweep import Sweep, sweep
from labkit.views import Arrows, Curve, Mark, Panel, Points, View


MOST = 1e30  # of a bound: at a small ridge it is beyond what float32 can tell


@pytree
class HandOrientation:
    """The best weights for given `priorities` on data with second moments C."""

    C: Float[Array, "d d"]
    truth: Float[Array, "d d"]  # the weights that made the data
    target: Float[Array, ""]  # the score of the true graph
    priorities: Float[Array, " d"] = knob((0.0, 0.2), -1.0, 1.0)
    eps: float = knob(0.01, 0.0, 0.1, within=(0.0, np.inf), about="by how much p has to be larger")
    ridge: float = knob(1e-3, 1e-5, 1.0, log=True, about="weight of |H|^2 / 2")

    def __call__(self, tau: Float[Array, ""]) -> dict[str, Any]:
        C, p = jnp.asarray(self.C), jnp.asarray(self.priorities)
        S = orientation(p, tau, self.eps)
        penalty = self.ridge * jnp.eye(len(p), dtype=C.dtype)

        def column(s: Array, c: Array) -> Array:
            return jnp.linalg.solve(s[:, None] * C * s[None, :] + penalty, s * c)

        H = jax.vmap(column, in_axes=1, out_axes=1)(S, C)
        W, truth, bound = H * S, jnp.asarray(self.truth), cycle_bound(H, tau, self.eps)
        return {
            "priorities": p,
            "W": W,
            "h": acyclicity(W),
            "bound": jnp.where(bound < MOST, bound, MOST),
            "score": score(C, W),
            "target": jnp.asarray(self.target),
            "distance": structural_distance(is_edge(W), truth != 0).astype(W.dtype),
            "truth": truth,
        }


def example(standardize: float = 0.0) -> Sweep:
    """Five nodes in no good order, walked from tau 1 to tau 0.002."""
    equations = random_equations(4, nodes=5, edges=1.4, samples=2000).scaled(standardize)
    C = covariance(jax.random.key(0), equations)
    truth = np.asarray(equations.w)
    target = np.float32(score(np.asarray(C, float), fitted(C, truth != 0)))
    p = jnp.array([-0.6, 0.5, 0.0, -0.3, 0.8])
    hand = HandOrientation(C, jnp.asarray(truth), jnp.asarray(target), priorities=p)
    return sweep(hand, over=jnp.logspace(0.0, np.log10(0.002), 28), name="tau")


def _nodes(record: Record) -> Panel:
    p, at = record.last("priorities"), 1.0 + np.arange(len(record.last("priorities")))
    marks: list[Mark] = []
    for label, role, edges in kinds_of_edges(record.last("truth") != 0, is_edge(record.last("W"))):
        i, j = np.nonzero(edges)
        if label == "missing":
            gap = np.full(len(i), np.nan)
            x, y = (np.stack([a[i], a[j], gap], axis=1).ravel() for a in (at, p))
            marks.append(Curve(x, y, label, role))
        else:
            marks.append(Arrows(at[i], p[i], at[j] - at[i], p[j] - p[i], label, role))
    marks.append(Points(at, p, "nodes", "nodes", "function.priorities"))
    return Panel("Drag a node up or down", marks, "node", "priority", y_range=(-1.15, 1.15))


def _scores(record: Record) -> Panel:
    marks = [
        Curve(record["tau"], record["score"], "by hand", "loss"),
        Curve(record["tau"], record["target"], "the true graph", "target"),
    ]
    return Panel("Score", marks, "softness tau", "score", log_x=True, log_y=True)


def _cycles(record: Record) -> Panel:
    floor = lambda name: np.maximum(record[name].astype(float), 1e-30)
    marks = [
        Curve(record["tau"], floor("h"), "h(W)", "h"),
        Curve(record["tau"], floor("bound"), "bound, for any priorities", "threshold"),
    ]
    return Panel("Cycles", marks, "softness tau", "h, from 1e-30 to 1e30", log_x=True, log_y=True)


views: list[View] = [_nodes, _scores, learnt, _cycles]


def say(record: Record) -> str:
    """The score by hand beside that of the true graph, in a sentence."""
    return (
        f"Score {record.last('score'):.4g} by hand, {record.last('target'):.4g} of the true graph; "
        f"{record.last('distance'):.0f} pairs joined wrongly of "
        f"{(record.last('truth') != 0).sum()} edges."
    )
