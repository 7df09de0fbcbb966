"""Points of the plane that a network gathers, and the work of finding their hull.

The entropy H of soft cells (`partition_entropy`) falls as points cross into cells that hold
more: the slope in p_ij is -(log q_j + 1) / n, the same at all places of a cell.  Nothing in it
draws the points of one cell together.  With y = x + f(x; w),

    mean |f|^2 / 2  +  lam H  +  keep mean_u (max_i <y_i, u> - max_i <x_i, u>)^2,   u directions

keeps the hull where it is.  The anchors follow their points by soft k-means.

Look at the entropy, which falls, beside the points that `convex_hull` looks at.  They need not
fall with it: H is the entropy of the anchors' cells, and not of the cut that the hull is found
by.

Source: part of S025, Differentiable Entropy Regularization for Geometry and Neural Networks.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from labkit.adaptive import Adam
from labkit.errors import refusal
from labkit.method import Latest, Scalar, choice, knob, method, size
from labkit.models import MLP
from labkit.record import Record
from labkit.relaxations.partition_entropy import partition_entropy, soft_cells
from labkit.relaxations.range_partitions import convex_hull
from labkit.views import Curve, Panel, Points, View, lines


NETWORK = MLP((2, 24, 2), activation="tanh")
DIRECTIONS = 32  # in which the hull is to stay


def _cloud() -> np.ndarray:
    """60 points, half of them in three clumps."""
    random = np.random.default_rng(3)
    clumps = np.repeat([[-0.5, -0.2], [0.4, 0.5], [0.3, -0.5]], 10, axis=0)
    return np.concatenate([random.normal(0, 0.6, (30, 2)), random.normal(clumps, 0.15)])


class State(NamedTuple):
    w: Any  # of the network, or the displacements themselves
    rule: Any  # of Adam
    anchors: Float[Array, "k 2"]
    y: Float[Array, "n 2"]


def _circle() -> np.ndarray:
    """60 points near a circle: most of them corners of their hull."""
    random = np.random.default_rng(0)
    turn, radius = random.uniform(0, 2 * np.pi, 60), 1 + 0.01 * random.normal(size=60)
    return radius[:, None] * np.stack([np.cos(turn), np.sin(turn)], axis=1)


@method
class GatheredPoints:
    """Points that a network gathers without moving their hull."""

    points: Float[Array, "n 2"] = knob(_cloud().tolist(), -2.1, 2.1, about="where they start")
    lam: Scalar = knob(1.0, 0.0, 3.0, live=True, about="weight of the entropy")
    keep: Scalar = knob(20.0, 0.0, 100.0, live=True, about="weight of the hull")
    tau: Scalar = knob(0.25, 0.03, 3.0, log=True, live=True, about="in units of the points")
    lr: float = knob(0.02, 0.001, 0.1, log=True, live=True, about="of Adam")
    anchors: int = size(4, 1, 12, about="K")
    moved: str = choice("network", "points", about="by what the points are moved")

    steps = 400

    def init(self, key) -> State:
        x = jnp.asarray(self.points, float)
        if self.moved == "network":
            w = NETWORK.init(key)
            w[-1] = jax.tree.map(jnp.zeros_like, w[-1])  # so that nothing has moved yet
        else:
            w = jnp.zeros_like(x)
        anchors = jax.lax.fori_loop(
            0, 20, lambda _, c: self._followed(x, c), far_apart(x, self.anchors)
        )
        return State(w, self._rule.init(w), anchors, x)

    def step(self, state: State, key) -> State:
        del key
        anchors = self._followed(state.y, state.anchors)
        grads = jax.grad(self._loss)(state.w, anchors)
        update, rule = self._rule.update(grads, state.rule, state.w)
        w = jax.tree.map(jnp.add, state.w, update)
        return State(w, rule, anchors, self._move(w))

    def observe(self, state: State) -> dict[str, Any]:
        x, shares = (
            jnp.asarray(self.points, state.y.dtype),
            soft_cells(state.y, state.anchors, self.tau),
        )
        hard = jax.nn.one_hot(jnp.argmax(shares, axis=1), self.anchors, dtype=state.y.dtype)
        return {
            "y": state.y,
            "x": Latest(x),
            "anchors": state.anchors,
            "q": shares.mean(axis=0),
            "entropy": partition_entropy(shares),
            "hard_entropy": partition_entropy(hard),
            "moved": jnp.sqrt(jnp.mean(jnp.sum((state.y - x) ** 2, axis=1))),
            "most": jnp.asarray(np.log(self.anchors), state.y.dtype),
        }

    @property
    def _rule(self) -> Adam:
        return Adam(lr=self.lr)

    def _followed(self, y: Array, anchors: Array) -> Array:
        """A step of soft k-means; an anchor that nobody is near stays where it is."""
        shares = soft_cells(y, anchors, self.tau)
        total = shares.sum(axis=0)[:, None]
        means = shares.T @ y / jnp.where(total > 0, total, 1.0)
        return jnp.where(total > 1e-6 * len(shares), means, anchors)

    def _move(self, w: Any) -> Array:
        x = jnp.asarray(self.points, float)
        return x + (NETWORK.apply(w, x) if self.moved == "network" else w)

    def _loss(self, w: Any, anchors: Array) -> Array:
        x, y = jnp.asarray(self.points, float), self._move(w)
        gap = support(y) - support(x)
        h = partition_entropy(soft_cells(y, anchors, self.tau))
        effort = jnp.mean(jnp.sum((y - x) ** 2, axis=1)) / 2
        return effort + self.lam * h + self.keep * jnp.mean(gap**2)


def support(y: Float[Array, "n 2"]) -> Float[Array, " directions"]:
    """max_i <y_i, u> for directions u all around: what is known of a hull from outside."""
    turn = 2 * np.pi * np.arange(DIRECTIONS) / DIRECTIONS
    return jnp.max(y @ jnp.asarray(np.stack([np.cos(turn), np.sin(turn)]), y.dtype), axis=0)


def far_apart(x: Float[Array, "n d"], k: int) -> Float[Array, "k d"]:
    """k of the points, each as far as can be from those before it; the first nearest the mean."""
    first = x[jnp.argmin(jnp.sum((x - x.mean(axis=0)[None]) ** 2, axis=1))]
    chosen = jnp.tile(first[None], (k, 1))

    def one(j, chosen):
        away = jnp.min(jnp.sum((x[:, None] - chosen[None]) ** 2, axis=2), axis=1)
        return chosen.at[j].set(x[jnp.argmax(away)])

    return jax.lax.fori_loop(1, k, one, chosen)


def example(shape: str = "cloud") -> GatheredPoints:
    """60 points: a cloud, whose hull has few corners, or nearly a circle, whose hull has many.

    Raises ValueError for another shape.
    """
    if shape not in ("cloud", "circle"):
        raise refusal("shape", shape, "cloud or circle")
    if shape == "cloud":
        return GatheredPoints()
    return GatheredPoints(jnp.asarray(_circle()), lam=2.0, keep=0.0, anchors=6, moved="points")


def area(points: Float[np.ndarray, "n 2"]) -> float:
    """What the hull of points encloses."""
    x, y = points[convex_hull(points).corners].T
    return float(abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2)


def _points(record: Record) -> Panel:
    x, y, anchors = record.last("x"), record.last("y"), record.last("anchors")
    found = convex_hull(y)
    ring = y[np.append(found.corners, found.corners[0])]
    small = np.full(len(x), 0.25)
    marks = [
        Curve(ring[:, 0], ring[:, 1], "hull", "threshold"),
        Points(x[:, 0], x[:, 1], "given: drag", "data", "points", small),
        Points(y[:, 0], y[:, 1], "moved", "iterates", weight=small),
        Points(anchors[:, 0], anchors[:, 1], "anchors", "target"),
    ]
    title = f"{len(found.corners)} corners, {found.work} points looked at"
    return Panel(title, marks, "x1", "x2", equal=True)


views: list[View] = [
    _points,
    lines(
        "entropy",
        "hard_entropy",
        title="Entropy of the cells",
        y="nats",
        labels={"entropy": "soft", "hard_entropy": "of the nearest anchors"},
        roles={"entropy": "entropy", "hard_entropy": "target"},
    ),
    lines("moved", title="How far the points moved", y="root mean square"),
]


def say(record: Record) -> str:
    """Entropy, work and hull, then and now, in a sentence."""
    before, after = record["y"][0], record["y"][-1]
    changed = area(after) / max(area(before), 1e-12) - 1.0
    return (
        f"Step {record.steps[-1]}: the entropy of the cells went from "
        f"{record['hard_entropy'][0]:.3f} to {record['hard_entropy'][-1]:.3f}, the points looked "
        f"at from {convex_hull(before).work} to {convex_hull(after).work}; the area of the hull "
        f"changed by {changed:.2%}."
    )
