"""Graphs without cycles and without a constraint: weights times a smooth orientation.

    W = H o S,     S_uv = sigma((p_v - p_u - eps) / tau),     S_uu = 0

Each node has a priority p; an edge goes to the node of higher priority, by more than eps, in the
limit of tau to 0.  `tau` > 0 is in units of the priorities, as eps is.  Along a cycle the
differences of priorities add up to 0, and sigma(x) < exp(x): a cycle of L edges has at most
the weight exp(-L eps / tau) times that of its H, for every p, ties included.  So

    h(W) <= h(exp(-eps / tau) H)            (h as in `acyclicity`)

goes to 0 with tau by itself, and a step costs d^2 where h costs d^3.  Trained are H and p, by

    F(W) + l1 |H|_1 + l2 |H| + lp |p|,      tau from its start to `tau_end` on a cosine

(F of `structural_equations`, norms not squared).  The released code is followed; where tau starts
and ends and the size of the steps are ours.

What to look for: nodes slide along the priority axis and arcs flip while tau is large; then the
order stands.  How many edges are right depends on the scale of the data more than on the method:
turn `standardize`.

Source: S039, Constraint-Free Structure Learning with Smooth Acyclic Orientations.
"""

from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float
from scipy.linalg import expm

from labkit.adaptive import Adam
from labkit.claims import Claim
from labkit.errors import check_positive, refusal
from labkit.method import Scalar, knob, method
from labkit.record import Record
from labkit.relaxations.acyclicity import acyclicity, topological_order
from labkit.relaxations.graph_views import arcs, cycles, distances, drawn_graph, sorting
from labkit.relaxations.structural_equations import (
    StructuralEquations,
    covariance,
    is_edge,
    random_equations,
    score,
    structural_distance,
)
from labkit.run import run
from labkit.views import View


def orientation(p: Float[Array, " d"], tau: Scalar, eps: Scalar) -> Float[Array, "d d"]:
    """S: how much of an edge from u to v there is.  `tau` > 0 and `eps` >= 0 in units of p."""
    check_positive("tau", tau, "in units of the priorities")
    p = jnp.asarray(p)
    S = jax.nn.sigmoid((p[None, :] - p[:, None] - eps) / tau)
    return S * (1.0 - jnp.eye(len(p), dtype=S.dtype))


def cycle_bound(H: Float[Array, "d d"], tau: Scalar, eps: Scalar) -> Float[Array, ""]:
    """h(exp(-eps / tau) H), above h(H o S) for any priorities."""
    return acyclicity(jnp.exp(-eps / tau) * H)


class Parameters(NamedTuple):
    H: Float[Array, "d d"]  # weights before they are oriented
    p: Float[Array, " d"]  # priorities


class State(NamedTuple):
    C: Float[Array, "d d"]  # second moments of the data
    params: Parameters
    rule: Any  # state of Adam
    count: Float[Array, ""]  # steps so far


@method
class SmoothOrientation:
    """A graph learnt from a sample of `equations` by descent on weights and priorities."""

    equations: StructuralEquations
    rule: Adam = Adam(lr=0.02, beta2=0.999)
    tau: float = knob(1.0, 0.01, 2.0, log=True, live=True, about="softness at the start")
    tau_end: float = knob(5e-4, 1e-4, 0.1, log=True, live=True, about="softness at the end")
    eps: float = knob(0.01, 0.0, 0.1, within=(0.0, np.inf), about="by how much p has to be larger")
    length: float = knob(3000.0, 100.0, 10_000.0, log=True, about="steps of the cosine")
    l1: float = knob(0.01, 0.0, 0.2, live=True, about="weight of |H|_1")
    l2: float = knob(0.005, 0.0, 0.2, live=True, about="weight of |H|")
    lp: float = knob(0.001, 0.0, 0.2, live=True, about="weight of |p|")

    steps = 3000

    def check(self) -> None:
        if np.asarray(self.tau_end) > np.asarray(self.tau):
            raise refusal("tau_end", float(self.tau_end), f"at most tau, {float(self.tau):g}")

    def init(self, key) -> State:
        d = len(self.equations.variances)
        data, weights, priorities = jr.split(key, 3)
        C = covariance(data, self.equations)
        H = jr.uniform(weights, (d, d), C.dtype, -1.0, 1.0) * jnp.sqrt(3.0 / d)
        p = jr.normal(priorities, (d,), C.dtype) * self.eps / jnp.sqrt(2.0)
        params = Parameters(H, p)
        return State(C, params, self.rule.init(params), jnp.zeros((), C.dtype))

    def softness(self, state: State) -> Array:
        """tau, on its cosine."""
        done = jnp.minimum(state.count / self.length, 1.0)
        return self.tau_end + (self.tau - self.tau_end) * (1.0 + jnp.cos(jnp.pi * done)) / 2.0

    def w(self, params: Parameters, tau: Scalar) -> Array:
        """W = H o S."""
        return params.H * orientation(params.p, tau, self.eps)

    def loss(self, params: Parameters, C: Array, tau: Scalar) -> Array:
        """F(W) with its three penalties."""
        H, p = params
        penalties = self.l1 * jnp.abs(H).sum() + self.l2 * _norm(H) + self.lp * _norm(p)
        return score(C, self.w(params, tau)) + penalties

    def step(self, state: State, key) -> State:
        slope = jax.grad(self.loss)(state.params, state.C, self.softness(state))
        updates, rule = self.rule.update(slope, state.rule, state.params)
        params = jax.tree.map(jnp.add, state.params, updates)
        return State(state.C, params, rule, state.count + 1.0)

    def observe(self, state: State) -> dict[str, Any]:
        H, p = state.params
        tau, truth = self.softness(state), self.equations.w
        W = self.w(state.params, tau)
        return {
            "H": H,
            "W": W,
            "priorities": p,
            "tau": tau,
            "h": acyclicity(W),
            "bound": cycle_bound(H, tau, self.eps),
            "eps": jnp.asarray(self.eps, W.dtype),
            "score": score(state.C, W),
            "distance": structural_distance(is_edge(W), truth != 0).astype(W.dtype),
            "truth": truth,
            "C": state.C,
        }


def _norm(a: Array) -> Array:
    """The length of an array; its derivative at 0 is 0."""
    squares = (a * a).sum()
    return jnp.sqrt(jnp.where(squares > 0, squares, 1.0)) * (squares > 0)


def example(standardize: float = 0.0) -> SmoothOrientation:
    """Ten nodes with about two edges each, 500 samples."""
    equations = random_equations(1, nodes=10)
    return SmoothOrientation(equations.scaled(standardize))


@cache
def demo() -> Record:
    """The example, every 30 steps seen, beside its twin on standardized data."""
    raw, standardized = (run(example(power), every=30) for power in (0.0, 1.0))
    return raw.beside(standardized=standardized)


views: list[View] = [drawn_graph, arcs, cycles, distances]


def say(record: Record) -> str:
    """How many pairs are joined wrongly, beside what sorting by variance does, in a sentence."""
    edges = int((record.last("truth") != 0).sum())
    wrong, sortable = sorting(record)
    said = (
        f"tau {record.last('tau'):.2g}: {record.last('distance'):.0f} pairs joined wrongly, "
        f"sorting by variance {wrong:.0f}, of {edges} edges; varsortability {sortable:.2f}"
    )
    if "standardized.C" in record:
        there, _ = sorting(record, "standardized.")
        said += f".  Standardized: {record.last('standardized.distance'):.0f}, sorting {there:.0f}"
    return f"{said}."


def claim(record: Record) -> Claim:
    """S039: whatever the priorities, h(W) is below h(exp(-eps / tau) H), and W ends without cycles.

    Three numbers: the largest h(W) over its bound along the run; h(W) at the end; and whether
    the edges there, |W| > 0.3, have no topological order.
    """
    largest = 0.0
    rows = zip(record["W"], record["H"], record["tau"], record["eps"], strict=True)
    for W, H, tau, eps in rows:
        bound = _trace(np.exp(-float(eps) / float(tau)) * H)
        largest = max(largest, _trace(W) / max(bound, 1e-60))
    end = record.last("W")
    seen = [largest - 1, _trace(end), topological_order(is_edge(end)) is None]
    sentence = "Largest h(W) / bound - 1, h(W) at the end, whether there is a cycle"
    return Claim(seen, 0.0, 1e-5, sentence, kind="exact", relation="<=")


def _trace(W: np.ndarray) -> float:
    """tr exp(W o W) - d, of the cycles alone: the diagonal of W o W + (W o W)^2 / 2 + ..."""
    A = np.asarray(W, float) ** 2
    if np.trace(expm(A)) - len(A) > 1e-6:
        return float(np.trace(expm(A)) - len(A))
    term, total = A, np.trace(A)
    for k in range(2, 60):
        term = term @ A / k
        total += np.trace(term)
    return float(total)
