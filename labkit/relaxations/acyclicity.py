"""How far a weighted graph is from having no cycle, as a smooth number.

    exponential       h(W) = tr exp(W o W) - d             dh / dW = exp(W o W)' o 2 W
    log-determinant   h(A) = d log s - log det(s I - A)    dh / dA = (s I - A)^-T

W o W squares each entry.  The trace of a power of a nonnegative matrix adds up its closed walks
of that length, so each h is 0 exactly on acyclic graphs and above 0 elsewhere.  The second one
wants a nonnegative A, as |W| or W o W, whose eigenvalues are below s.  Its slope at i, j is, for
s = 1, the weight of all walks from j back to i: what an edge from i to j would close.

Both gradients vanish with h (the first on every acyclic W, where each entry of one of its factors
is 0): no multiplier of the constraint h = 0 exists, and methods only come near it.

Here h is summed without subtracting d, so that nothing cancels: on an acyclic graph it is 0, not
a rounding of 0, and where it is 1e-30 its leading digits are right, in single precision too.

Sources: Zheng, Aragam, Ravikumar and Xing 2018, DAGs with NO TEARS (exponential); Bello, Aragam
and Ravikumar 2022, DAGMA (log-determinant).
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from labkit.method import Scalar


HALVINGS, TERMS = 8, 12  # enough for |A| <= 128, beyond which single precision overflows


def exponential_less_one(A: Float[Array, "d d"]) -> Float[Array, "d d"]:
    """exp(A) - I of a nonnegative A: each entry to its own precision."""
    small = A / 2.0**HALVINGS
    identity = jnp.eye(len(A), dtype=A.dtype)
    # small (I + small / 2 (I + small / 3 (...))), then (I + E)^2 - I, again and again.
    inner = lambda k, E: small @ (identity + E) / (TERMS - k)
    E = jax.lax.fori_loop(0, TERMS, inner, jnp.zeros_like(A))
    return jax.lax.fori_loop(0, HALVINGS, lambda _, E: 2.0 * E + E @ E, E)


@jax.custom_jvp
def acyclicity(W: Float[Array, "d d"]) -> Float[Array, ""]:
    """h(W) = tr exp(W o W) - d."""
    return jnp.trace(exponential_less_one(W * W))


@acyclicity.defjvp
def _acyclicity(at, along):
    (W,), (direction,) = at, along
    E = exponential_less_one(W * W)
    slope = (E + jnp.eye(len(W), dtype=W.dtype)).T * 2.0 * W
    return jnp.trace(E), (slope * direction).sum()


def log_determinant(A: Float[Array, "d d"], s: Scalar = 1.0) -> Float[Array, ""]:
    """h(A) = d log s - log det(s I - A); `s` is above the eigenvalues of A."""
    d = len(A)
    return d * jnp.log(s) - jnp.linalg.slogdet(s * jnp.eye(d, dtype=A.dtype) - A)[1]


def returning_walks(A: Float[np.ndarray, "d d"], s: float = 1.0) -> Float[np.ndarray, "d d"]:
    """The slope of `log_determinant`: at i, j the weight of all walks from j to i, for s = 1."""
    return np.linalg.inv(s * np.eye(len(A)) - np.asarray(A, float)).T


def topological_order(graph: np.ndarray) -> list[int] | None:
    """Nodes so ordered that each edge goes forward; None where there is a cycle."""
    order, left = _peeled(np.asarray(graph, bool))
    return None if left else order


def without_cycles(W: Float[np.ndarray, "d d"], threshold: float) -> Float[np.ndarray, "d d"]:
    """W less its entries up to the threshold, which is raised until there is no cycle."""
    W = np.where(np.abs(W) > threshold, W, 0.0)
    while topological_order(W != 0) is None:
        W = np.where(np.abs(W) > np.abs(W[W != 0]).min(), W, 0.0)
    return W


def cycle(graph: np.ndarray) -> list[int]:
    """The nodes of a cycle, the first one again at the end; none in an acyclic graph."""
    graph = np.asarray(graph, bool)
    _, left = _peeled(graph)
    walk = left[:1]
    while left and walk[-1] not in walk[:-1]:  # backwards: each of them has one of them before it
        walk.append(next(node for node in left if graph[node, walk[-1]]))
    return walk[::-1][: len(walk) - walk.index(walk[-1])] if left else []


def _peeled(graph: np.ndarray) -> tuple[list[int], list[int]]:
    """Nodes taken off one by one once nothing points to them, and those where that ended."""
    order: list[int] = []
    left = list(range(len(graph)))
    while free := [node for node in left if not graph[left, node].any()]:
        order += free
        left = [node for node in left if node not in free]
    return order, left
