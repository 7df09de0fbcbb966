"""NOTEARS: a graph as a smooth program, by an augmented Lagrangian.

    minimise  F(W) + l1 |W|_1    where    h(W) = tr exp(W o W) - d = 0

    W      <-  argmin  F(W) + l1 |W|_1 + rho / 2 h(W)^2 + alpha h(W),  from the W before
    alpha  <-  alpha + rho h(W)   if h fell to a quarter;   otherwise W is dropped, rho <- 10 rho

W = P - N with P, N >= 0 makes the absolute value smooth, and L-BFGS-B does the inner solve.  It
ends with h below 1e-8, never with h = 0: the edges are those with |W| above a threshold.

Source: Zheng, Aragam, Ravikumar and Xing 2018, DAGs with NO TEARS: Continuous Optimization for
Structure Learning.
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.linalg import expm
from scipy.optimize import minimize

from labkit.method import knob, method
from labkit.relaxations.graph_views import drawn_graph, learnt
from labkit.relaxations.structural_equations import (
    StructuralEquations,
    covariance,
    is_edge,
    score,
    structural_distance,
)
from labkit.views import lines


Matrix = Float[np.ndarray, "d d"]

CLOSE, HEAVIEST = 1e-8, 1e16  # the h, or the rho, at which it ends


class State(NamedTuple):
    C: Matrix  # of the data
    W: Matrix
    h: float  # of W; infinite before the first solve
    rho: float
    alpha: float


def outer_step(state: State, l1: float) -> State:
    """One inner solve, and what the multipliers become by it."""
    W = _solved(state, l1)
    h = np.trace(expm(W * W)) - len(W)
    if h > state.h / 4:
        return state._replace(rho=10 * state.rho)
    return State(state.C, W, h, state.rho, state.alpha + state.rho * h)


def begun(C: Matrix) -> State:
    """Before the first solve, at W = 0."""
    C = np.asarray(C, float)
    return State(C, np.zeros_like(C), np.inf, 1.0, 0.0)


def is_done(state: State) -> bool:
    """Whether h is below 1e-8, or rho as large as it may be."""
    return state.h <= CLOSE or state.rho >= HEAVIEST


def notears(C: Matrix, l1: float = 0.1) -> Matrix:
    """The W that the augmented Lagrangian ends with."""
    state = begun(C)
    while not is_done(state):
        state = outer_step(state, l1)
    return state.W


def _solved(state: State, l1: float) -> Matrix:
    d = len(state.C)

    def value_and_slope(halves):
        positive, negative = halves.reshape(2, d, d)
        W = positive - negative
        walks = expm(W * W)
        h = np.trace(walks) - d
        value = score(state.C, W) + l1 * halves.sum() + (state.rho * h / 2 + state.alpha) * h
        slope = -state.C @ (np.eye(d) - W) + (state.rho * h + state.alpha) * walks.T * 2 * W
        return value, np.concatenate([(slope + l1).ravel(), (l1 - slope).ravel()])

    start = np.stack([np.maximum(state.W, 0), np.maximum(-state.W, 0)]).ravel()
    off_diagonal = [(0.0, 0.0 if i == j else None) for i in range(d) for j in range(d)]
    found = minimize(value_and_slope, start, jac=True, method="L-BFGS-B", bounds=2 * off_diagonal)
    positive, negative = found.x.reshape(2, d, d)
    return positive - negative


@method(host=True)
class Notears:
    """A graph learnt from a sample of `equations`, one inner solve a step."""

    equations: StructuralEquations
    l1: float = knob(0.1, 0.001, 1.0, log=True, about="weight of |W|")

    steps = 100

    def init(self, key) -> State:
        return begun(np.asarray(covariance(key, self.equations)))

    def step(self, state: State, key) -> State:
        return outer_step(state, self.l1)

    def done(self, state: State) -> bool:
        """No cycle is left but for h = 1e-8, or rho is at its end."""
        return is_done(state)

    def observe(self, state: State) -> dict[str, Any]:
        graph = np.asarray(self.equations.graph)
        return {
            "W": state.W,
            "truth": np.asarray(self.equations.w),
            "h": np.trace(expm(state.W * state.W)) - len(state.W),
            "rho": state.rho,
            "score": score(state.C, state.W),
            "distance": float(structural_distance(is_edge(state.W), graph)),
        }


views = [
    drawn_graph,
    learnt,
    lines("h", "rho", title="Constraint and its weight", x="inner solves", log=True),
    lines("distance", title="Distance to the true graph", x="inner solves", y="edges"),
]
