"""Graphs whose vertices and edges have two grades, made of points or of values.

A cloud of points has each pair joined by an edge; its grades are (scale, codensity):

    vertex i  (0, q_i),      q_i = 1 - mean_j exp(-|p_i - p_j|^2 / (2 h^2)),  j != i,
    edge ij   (|p_i - p_j|, max(q_i, q_j)).

Points with many others around come first, and an outlier last.  Without the density the second
grade is 0 for all, and there is one filtration, that of single linkage.

On a given graph, values f [vertices, 2] are the grades of the vertices, and the larger of its
two ends, one coordinate at a time, those of an edge.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from labkit.errors import refusal
from labkit.method import choice, knob, pytree, static


def two_circles(
    seed: int = 0, each: int = 8, outliers: int = 1, noise: float = 0.04
) -> Float[np.ndarray, "n 2"]:
    """Points around two circles at (-0.6, 0) and (0.6, 0), and outliers above them."""
    random = np.random.default_rng(seed)
    angle = 2 * np.pi * (np.arange(each) + random.uniform(size=(2, 1))) / each
    circles = 0.3 * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    circles[0, :, 0] -= 0.6
    circles[1, :, 0] += 0.6
    far = np.stack([random.uniform(-0.5, 0.5, outliers), random.uniform(1.0, 1.4, outliers)], 1)
    near = circles.reshape(-1, 2) + noise * random.normal(size=(2 * each, 2))
    return np.concatenate([near, far])


@pytree
class Cloud:
    """Points, by scale and codensity or by scale alone."""

    points: Any = knob(two_circles().round(3).tolist(), -1.5, 1.5, about="[n, 2]")
    bandwidth: float = knob(0.4, 0.1, 2.0, log=True, about="h of the density")
    by: str = choice("scale and density", "scale")

    def check(self) -> None:
        if np.ndim(self.points) != 2 or np.shape(self.points)[1] != 2 or len(self.points) < 2:
            raise refusal("points", self.points, "two points in the plane or more")

    @property
    def start(self) -> Float[Array, "n 2"]:
        """The points themselves."""
        return self.points

    @property
    def edges(self) -> np.ndarray:
        """All pairs."""
        return np.stack(np.triu_indices(len(self.points), 1), axis=1)

    def grades(self, points: Float[Array, "n 2"]) -> Float[Array, "vertices+edges 2"]:
        """Of the vertices, then of the edges."""
        i, j = self.edges.T
        squares = ((points[i] - points[j]) ** 2).sum(axis=1)
        near = jnp.exp(-squares / (2 * self.bandwidth**2))
        n = len(points)
        q = 1 - jnp.zeros(n, near.dtype).at[i].add(near).at[j].add(near) / (n - 1)
        if self.by == "scale":
            q = jnp.zeros_like(q)
        # Of points in one place the root has no slope: none is taken.
        lengths = jnp.where(squares > 0, jnp.sqrt(jnp.where(squares > 0, squares, 1.0)), 0.0)
        scale = jnp.concatenate([jnp.zeros(n, q.dtype), lengths])
        return jnp.stack([scale, jnp.concatenate([q, jnp.maximum(q[i], q[j])])], axis=1)


@pytree
class VertexFunction:
    """Two values at each vertex of a graph."""

    values: Any = knob(((0.0, 0.0), (1.0, 1.0)), 0.0, 1.0, about="[vertices, 2]")
    edges: tuple = static(default=((0, 1),))

    def check(self) -> None:
        edges, most = np.asarray(self.edges), len(self.values)
        if edges.ndim != 2 or edges.shape[1] != 2 or not ((edges >= 0) & (edges < most)).all():
            raise refusal("edges", edges, "pairs of indices of the vertices")

    @property
    def start(self) -> Float[Array, "vertices 2"]:
        """The values themselves."""
        return self.values

    def grades(self, values: Float[Array, "vertices 2"]) -> Float[Array, "vertices+edges 2"]:
        """Of the vertices, then of the edges."""
        return jnp.concatenate([values, values[np.asarray(self.edges)].max(axis=1)])
