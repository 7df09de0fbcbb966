"""The inverse of a linear program: a cost for which what was observed is the optimum.

One vertex of a polygon is observed, no features, no cost.  The cost c^ goes down

    lam / 2 |c^|^2  +  sum_j [1 - s_j]_+,        s = M c^

as in `optimality_margin` with z = 1.  The costs with s >= 0 are a cone: the combinations of
the edges' normals at that vertex, pointing inwards.  Those with s >= 1 are the same cone,
moved away from its corner; c^ walks into it, or stops short of it where lam is large.  c^ and
its multiples have the same optimum: the scale of the cost cannot be observed.

Drag the observed point: the nearest vertex counts.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from labkit.errors import refusal
from labkit.method import Scalar, knob, method
from labkit.record import Record
from labkit.relaxations.decision_losses import margin
from labkit.relaxations.polygon_programs import Region, polygon
from labkit.views import Arrows, Curve, Panel, Points, View


class State(NamedTuple):
    c: Float[Array, " 2"]  # c^


@method
class InverseProgram:
    """The cost of a polygon's program, from one observed vertex."""

    region: Region
    observed: Float[Array, " 2"] = knob((1.2, 1.7), -1.0, 4.0, live=True, about="drag it")
    lr: Scalar = knob(0.03, 0.003, 0.3, log=True, live=True, about="step size")
    lam: Scalar = knob(0.01, 1e-3, 3.0, log=True, live=True, about="weight of |c|^2 / 2")

    def check(self) -> None:
        if self.region.vertices.shape[1] != 2:
            raise refusal("region", self.region.vertices.shape, "a polygon: vertices [v, 2]")

    def init(self, key) -> State:
        del key
        return State(jnp.ones(2))

    def step(self, state: State, key) -> State:
        del key
        M = self.region.margins[self._nearest()]
        loss = lambda c: self.lam / 2 * (c * c).sum() + margin(c, M)
        return State(state.c - self.lr * jax.grad(loss)(state.c))

    def observe(self, state: State) -> dict[str, Any]:
        vertices, nearest = self.region.vertices, self._nearest()
        M = self.region.margins[nearest]
        return {
            "c": state.c,
            "s": M @ state.c,
            "loss": margin(state.c, M),
            "observed": jnp.asarray(self.observed),
            "vertex": vertices[nearest],
            "answer": vertices[self.region.best(state.c)],
            "vertices": vertices,
            "cone": jnp.linalg.inv(M).T,  # row j has s_j = 1 and the other 0
        }

    def _nearest(self) -> Array:
        return ((self.region.vertices - self.observed[None]) ** 2).sum(axis=1).argmin()


def example() -> InverseProgram:
    """Six corners, one of them observed."""
    return InverseProgram(polygon())


def _outline(vertices: np.ndarray) -> np.ndarray:
    """The corners in order, back to the first."""
    around = vertices - vertices.mean(axis=0)
    order = np.argsort(np.arctan2(around[:, 1], around[:, 0]))
    return vertices[np.append(order, order[0])]


def _curve(points: np.ndarray, label: str, role: str) -> Curve:
    return Curve(points[:, 0], points[:, 1], label, role)


def _point(point: np.ndarray, label: str, role: str, edits: str = "") -> Points:
    return Points(point[:1], point[1:], label, role, edits)


def _polygon(record: Record) -> Panel:
    x, answer, c = (record.last(name) for name in ("vertex", "answer", "c"))
    one, other = (x - 0.9 * ray / np.linalg.norm(ray) for ray in record.last("cone"))
    u, v = -0.8 * c / max(np.linalg.norm(c), 1e-9)
    marks = [
        _curve(_outline(record.last("vertices")), "feasible", "data"),
        _curve(np.stack([one, x, other]), "s = 0", "threshold"),
        Arrows(x[:1], x[1:], np.array([u]), np.array([v]), "-c^", "prediction"),
        _point(answer, "x(c^)", "iterates"),
        _point(record.last("observed"), "observed: drag", "optimum", "observed"),
    ]
    return Panel(
        "What was observed", marks, "x1", "x2",
        equal=True, x_range=(-1.0, 3.4), y_range=(-1.0, 3.2),
    )  # fmt: skip


def _costs(record: Record) -> Panel:
    cone, c = record.last("cone"), record["c"]
    one, other = 20.0 * cone / np.linalg.norm(cone, axis=1, keepdims=True)
    edge = lambda corner: np.stack([corner + one, corner, corner + other])
    marks = [
        _curve(edge(np.zeros(2)), "s = 0", "threshold"),
        _curve(edge(cone.sum(axis=0)), "s = 1", "target"),
        _curve(c, "c^", "prediction"),
        _point(c[-1], "now", "prediction"),
    ]
    return Panel(
        "The costs that explain it", marks, "c1", "c2",
        equal=True, x_range=(-4.0, 4.0), y_range=(-4.0, 4.0),
    )  # fmt: skip


views: list[View] = [_polygon, _costs]


def say(record: Record) -> str:
    """Whether c^ explains what was observed."""
    c, s = record.last("c"), record.last("s")
    right = "the observed vertex" if s.min() > 0 else "another vertex, or a tie"
    return f"c^ = ({c[0]:.2f}, {c[1]:.2f}) has least s {s.min():.2f}: its optimum is {right}."
