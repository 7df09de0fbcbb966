"""Data whose graph is known: linear structural equations, and what makes their graph easy to find.

    x_j = sum_i W_ij x_i + e_j,      so that   x = e (I - W)^-1,      e_j of variance v_j

W_ij is the weight of the edge from i to j, of a directed graph without cycles.  The squared loss
of any W knows of the data only their second moments C = X' X / n:

    F(W) = 1 / (2 n) |X - X W|^2 = 1/2 tr (I - W)' C (I - W)

In such a model a node has the noise of its ancestors on top of its own, and its variance tends
to grow along the edges.  `varsortability` says how much: of all directed paths, counted once for
each length and pair of ends, the share whose end varies more than its start (ties count half).
Near 1, which is the rule in simulated data, nobody needs an algorithm: `by_variance` sorts the
nodes by their variance and regresses each on those before it.  `standardize` divides x_j by the
power of its deviation: at 1 all variances are the same, and that way is closed.

Sources: Zheng, Aragam, Ravikumar and Xing 2018, DAGs with NO TEARS (the simulation); Reisach,
Seiler and Weichwald 2021, Beware of the Simulated DAG! (varsortability, sorting by variance).
"""

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Bool, Float, Key

from labkit.errors import check_positive, refusal
from labkit.method import Scalar, knob, pytree, size
from labkit.relaxations.acyclicity import cycle


Kind = Literal["erdos-renyi", "scale-free"]
Matrix = Float[Array, "d d"] | Float[np.ndarray, "d d"]

THRESHOLD = 0.3  # of a fitted weight that counts as an edge, as in the sources


@pytree
class StructuralEquations:
    """A graph, a weight for each edge that it might have, and the noise of its nodes."""

    weights: Matrix  # of the edge from i to j, if there is one
    variances: Float[Array, " d"] | Float[np.ndarray, " d"]  # of the noise
    adjacency: Matrix = knob(
        ((0.0, 1.0), (0.0, 0.0)), 0.0, 1.0, about="at least 1/2 for an edge from row to column"
    )
    standardize: float = knob(0.0, 0.0, 1.0, about="power of its deviation that divides a node")
    samples: int = size(500, 2, 100_000)

    def check(self) -> None:
        shape = np.shape(self.weights)
        if np.shape(self.adjacency) != shape:
            raise refusal("adjacency", np.shape(self.adjacency), f"the shape of weights, {shape}")
        check_positive("variances", self.variances, "one a node")
        round_trip = cycle(np.asarray(self.adjacency) >= 0.5)
        if round_trip:
            told = " -> ".join(str(1 + node) for node in round_trip)
            raise refusal("adjacency", told, "a graph without a cycle")

    @property
    def graph(self) -> Any:
        """Whether there is an edge from i to j, [d, d]."""
        return self.adjacency >= 0.5

    @property
    def w(self) -> Any:
        """W [d, d]: the weights of the edges that there are."""
        return self.weights * self.graph

    def scaled(self, standardize: float) -> "StructuralEquations":
        """The same with data on another scale: 0 as they come, 1 with all variances 1."""
        return dataclasses.replace(self, standardize=standardize)


@jax.jit
def sample(key: Key[Array, ""], equations: StructuralEquations) -> Float[Array, "n d"]:
    """Rows of normal noise carried along the edges, centred, and `standardize`d."""
    W, v = equations.w, jnp.asarray(equations.variances)
    e = jr.normal(key, (equations.samples, len(v)), W.dtype) * jnp.sqrt(v)[None]
    x = e
    for _ in range(max(len(v) - 1, 1).bit_length()):  # (I - W)^-1 = (I + W) (I + W^2) (I + W^4) ...
        x, W = x + x @ W, W @ W
    x = x - x.mean(axis=0, keepdims=True)
    return x / x.std(axis=0, keepdims=True) ** equations.standardize


@jax.jit
def covariance(key: Key[Array, ""], equations: StructuralEquations) -> Float[Array, "d d"]:
    """C = X' X / n of a sample."""
    x = sample(key, equations)
    return x.T @ x / len(x)


def population(equations: StructuralEquations) -> Float[np.ndarray, "d d"]:
    """C of infinitely many samples: (I - W)^-T diag(v) (I - W)^-1, `standardize`d."""
    inverse = np.linalg.inv(np.eye(len(equations.variances)) - np.asarray(equations.w, float))
    C = inverse.T @ np.diag(equations.variances) @ inverse
    scale = np.diagonal(C) ** (np.asarray(equations.standardize, float) / 2)
    return C / np.outer(scale, scale)


def random_equations(
    seed: int,
    nodes: int,
    edges: float = 2.0,
    kind: Kind = "erdos-renyi",
    ratio: float = 1.0,
    samples: int = 500,
) -> StructuralEquations:
    """Equations on a random graph with about `edges` edges a node, weights in +-[0.5, 2].

    The noise has variance 1, or where `ratio` > 1 variances between 1 and `ratio`.  In a
    scale-free graph each new node points to `edges` of the older ones, chosen by their degree.
    """
    rng = np.random.default_rng(seed)
    if kind not in ("erdos-renyi", "scale-free"):
        raise refusal("kind", kind, "'erdos-renyi' or 'scale-free'")
    if nodes < 2:
        raise refusal("nodes", nodes, "2 or more")
    if kind == "erdos-renyi":
        joined = rng.random((nodes, nodes)) < 2 * edges / (nodes - 1)
    else:
        joined = _attached(rng, nodes, max(1, round(edges)))
    place = rng.permutation(nodes)
    adjacency = np.tril(joined, -1)[np.ix_(place, place)].astype(float)
    weights = rng.uniform(0.5, 2.0, (nodes, nodes)) * rng.choice([-1.0, 1.0], (nodes, nodes))
    variances = ratio ** rng.random(nodes)
    return StructuralEquations(weights, variances, adjacency, samples=samples)


def _attached(rng: np.random.Generator, nodes: int, edges: int) -> Bool[np.ndarray, "d d"]:
    """Whether the newer node (row) points to the older one (column)."""
    joined = np.zeros((nodes, nodes), bool)
    for new in range(1, nodes):
        degrees = 1.0 + joined[:new, :new].sum(axis=0) + joined[:new, :new].sum(axis=1)
        few = min(edges, new)
        joined[new, rng.choice(new, few, replace=False, p=degrees / degrees.sum())] = True
    return joined


def score(C: Matrix, W: Matrix) -> Any:
    """F(W) = 1/2 tr (I - W)' C (I - W), the squared loss a row."""
    xp = jnp if isinstance(W, jax.Array) else np
    left = xp.eye(len(W), dtype=W.dtype) - W
    return (left * (C @ left)).sum() / 2


def is_edge(W: Array | np.ndarray, threshold: Scalar = THRESHOLD) -> Any:
    """|W| > threshold."""
    return abs(W) > threshold


def structural_distance(one: Array | np.ndarray, other: Array | np.ndarray) -> Any:
    """The structural Hamming distance: pairs of nodes not joined alike.

    An edge that is missing, one too many, or one turned round counts 1.
    """
    differ = one != other
    return (differ | differ.T).sum() // 2


def varsortability(
    graph: Bool[np.ndarray, "d d"], variances: Float[np.ndarray, " d"], rounding: float = 1e-5
) -> float:
    """The share of directed paths along which the variance grows; NaN where there is no path.

    Variances that differ by less than `rounding` of themselves are ties.
    """
    graph, variances = np.asarray(graph, bool), np.asarray(variances, float)
    grows = variances[None, :] / variances[:, None]  # of the end over the start
    credit = np.where(grows > 1 + rounding, 1.0, np.where(grows < 1 - rounding, 0.0, 0.5))
    paths, seen, right = graph, 0, 0.0
    for _ in range(len(graph) - 1):
        seen += paths.sum()
        right += credit[paths].sum()
        paths = paths @ graph
    return float(right / seen) if seen else float("nan")


def fitted(C: Float[np.ndarray, "d d"], graph: Bool[np.ndarray, "d d"]) -> Float[np.ndarray, "d d"]:
    """The W of least F(W) on the edges of `graph`: each node regressed on its parents."""
    C, W = np.asarray(C, float), np.zeros(np.shape(C))
    for node, column in enumerate(np.asarray(graph, bool).T):
        parents = np.flatnonzero(column)
        W[parents, node] = np.linalg.solve(C[np.ix_(parents, parents)], C[parents, node])
    return W


def regressed(C: Float[np.ndarray, "d d"], order: Any) -> Float[np.ndarray, "d d"]:
    """The W of least F(W) among those whose edges all go forward in `order`."""
    place = np.argsort(order)
    return fitted(C, place[:, None] < place[None, :])


def by_variance(C: Float[np.ndarray, "d d"]) -> Float[np.ndarray, "d d"]:
    """The sobering baseline: each node regressed on those that vary less."""
    return regressed(C, np.argsort(np.diagonal(C), kind="stable"))
