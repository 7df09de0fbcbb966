"""Metric learning without a network: points on a sphere, moved by the loss itself.

    z = w / |w|,        w  <-  w + Adam's step on  L(z, labels, proxies)

A network that can put each example anywhere leaves only the question where a loss wants it.
Points of a class come together, and the classes spread.  The minimiser of the supervised
contrastive loss is known: each class is one point, and the k classes are the corners of a
simplex, with cosine -1 / (k - 1) between any two (in k - 1 dimensions or more).  A loss with a
hinge, contrastive or triplet, stops as soon as its margin is kept.

The force on a point is -n times the gradient along the sphere.  `active` is the share of
triplets that break the margin by d_ap^2 - d_an^2 + margin > 0, whatever the loss.

Source: S097, Deep Metric Learning for Computer Vision: A Brief Overview.
"""

from functools import cache
from typing import Any

import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float

from labkit.adaptive import Adam
from labkit.claims import Claim
from labkit.descent import Descent, State
from labkit.method import Latest, knob, method, pytree, size
from labkit.record import Record
from labkit.relaxations.embedding_loss import EmbeddingLoss
from labkit.relaxations.pair_losses import pairs, squared_distances, unit
from labkit.rules import Rule, Scheduled
from labkit.run import run
from labkit.views import Arrows, Band, Curve, Panel, Points, View, heat, lines


def decay(step: Float[Array, ""]) -> Float[Array, ""]:
    """0.995^t: Adam's steps do not shrink by themselves, and would go round the minimum."""
    return 0.995**step


@pytree
class FreePoints:
    """`each` points of `classes` classes anywhere in `dimension` directions, a proxy a class."""

    loss_of: EmbeddingLoss = EmbeddingLoss()
    classes: int = size(4, 2, 8)
    each: int = size(3, 2, 8, about="points a class")
    dimension: int = size(3, 2, 8)

    @property
    def labels(self) -> np.ndarray:
        return np.arange(self.classes * self.each) // self.each

    def start(self, key) -> dict[str, Array]:
        draw = jr.normal(key, (self.classes * (self.each + 1), self.dimension))
        return {"points": draw[: -self.classes], "proxies": draw[-self.classes :]}

    def loss(self, w: dict[str, Array], batch=None) -> Float[Array, ""]:
        del batch
        return self.loss_of(unit(w["points"]), self.labels, unit(w["proxies"]))


@method
class FreeEmbeddings:
    """Points on a sphere, moved by a loss of metric learning."""

    problem: FreePoints = FreePoints()
    rule: Rule = Scheduled(Adam(0.05), decay)
    turn: float = knob(0.5, 0.0, 6.3, live=True, about="of the picture, in radians")

    def init(self, key) -> State:
        return self._descent().init(key)

    def step(self, state: State, key) -> State:
        return self._descent().step(state, key)

    def observe(self, state: State) -> dict[str, Any]:
        labels, margin = self.problem.labels, self.problem.loss_of.margin
        z, (same, other) = unit(state.w["points"]), pairs(labels)
        cosines, squares = z @ z.T, squared_distances(z, z)
        broken = squares[:, :, None] - squares[:, None, :] + margin > 0
        triplets = same[:, :, None] & other[:, None, :]
        negatives = jnp.where(other, squares, jnp.inf)
        farthest = jnp.where(same, squares, -jnp.inf).max(axis=1)
        active = farthest - negatives.min(axis=1) + margin > 0
        # w = |w| z, and the gradient in w is that along the sphere, over |w|.
        size = lambda name: jnp.linalg.norm(state.w[name], axis=1, keepdims=True)
        force = lambda name: -len(labels) * size(name) * state.grad[name]
        return {
            "loss": state.loss,
            "z": z,
            "force": force("points"),
            "proxies": unit(state.w["proxies"]),
            "proxy_force": force("proxies"),
            "labels": jnp.asarray(labels),
            "cosines": Latest(cosines),
            "within": jnp.where(same, cosines, 1.0).min(),
            "nearest": jnp.where(other, cosines, -1.0).max(),
            "farthest": jnp.where(other, cosines, 1.0).min(),
            "threshold": jnp.asarray(-1.0 / (self.problem.classes - 1), z.dtype),
            "active": jnp.sum(triplets & broken) / triplets.sum(),
            "hardest": jnp.where(active, negatives.argmin(axis=1), -1),
            "turn": jnp.asarray(self.turn, z.dtype),
        }

    def _descent(self) -> Descent:
        return Descent(self.problem, self.rule)


def example() -> FreeEmbeddings:
    """Twelve points of four classes on the sphere, supervised contrastive with tau 0.5."""
    return FreeEmbeddings()


@cache
def demo() -> Record:
    """The example over 800 steps, every fourth seen."""
    return run(example(), 800, every=4)


TILT = 0.35  # of the sphere towards the eye, in radians


def seen_from(z: Float[np.ndarray, "n d"], turn: float) -> Float[np.ndarray, "n 3"]:
    """Across, up and towards the eye: of a sphere turned and tilted, of a circle as it lies."""
    if z.shape[1] == 2:
        return np.column_stack([z, np.zeros(len(z))])
    x, y, up = z[:, :3].T
    x, y = np.cos(turn) * x - np.sin(turn) * y, np.sin(turn) * x + np.cos(turn) * y
    near = np.sin(TILT) * up - np.cos(TILT) * y
    return np.column_stack([x, np.cos(TILT) * up + np.sin(TILT) * y, near])


def _sphere(record: Record) -> Panel:
    at = seen_from(record.last("z"), record.last("turn"))
    across = np.cos(np.linspace(np.pi, 0.0, 61))
    marks: list = [Band(across, -np.sqrt(1 - across**2), np.sqrt(1 - across**2), "", "ghost")]
    hardest = record.last("hardest")
    pairs = [at[[a, hardest[a], a]] * [[1], [1], [np.nan]] for a in np.flatnonzero(hardest >= 0)]
    to = np.concatenate([np.zeros((0, 3)), *pairs])
    marks.append(Curve(to[:, 0], to[:, 1], "nearest negative, while active", "threshold"))
    marks.append(_arrows(at, record))
    read = bool(np.any(record["proxy_force"]))  # a loss between points moves no proxies
    there = seen_from(record.last("proxies"), record.last("turn"))[: None if read else 0]
    marks.append(Points(there[:, 0], there[:, 1], "proxies" if read else "", "midpoint"))
    labels = record.last("labels")
    for label in np.unique(labels):
        x, y, _ = at[labels == label].T
        marks.append(Points(x, y, f"class {label + 1}", f"class {label + 1}"))
    return Panel("Points on the sphere", marks, "across", "up", equal=True)


def _arrows(at: np.ndarray, record: Record) -> Arrows:
    """Forces, one scale for the whole run, as the root: they differ by powers of ten."""
    force = seen_from(record.last("force"), record.last("turn"))
    size = np.linalg.norm(force, axis=1, keepdims=True)
    longest = max(np.linalg.norm(record["force"], axis=-1).max(), np.finfo(np.float32).tiny)
    tip = 0.5 * force / np.sqrt(np.maximum(size, 1e-12) * longest)
    return Arrows(at[:, 0], at[:, 1], tip[:, 0], tip[:, 1], "force (root of its size)", "gradient")


CURVES = {
    "within": "same class, least",
    "nearest": "two classes, most",
    "farthest": "two classes, least",
    "threshold": "simplex",
}

views: list[View] = [
    _sphere,
    heat("cosines", title="Cosine of each pair", x="point", y="point", label="cosine"),
    lines(*CURVES, title="Within a class and between classes", y="cosine", labels=CURVES),
    lines("active", title="Active triplets", y="share of all", y_range=(-0.05, 1.05)),
]


def say(record: Record) -> str:
    """How far the classes are apart, in a sentence."""
    return (
        f"Step {record.steps[-1]}: cosines in a class from {record.last('within'):.3f}, between "
        f"classes {record.last('farthest'):.3f} to {record.last('nearest'):.3f}; a simplex has "
        f"1 and {record.last('threshold'):.3f}."
    )


def claim(record: Record) -> Claim:
    """S097: the minimiser of the supervised contrastive loss is a simplex of collapsed classes.

    Three numbers, 0 there: 1 less the least cosine in a class; and how far the largest and the
    least cosine between classes are from -1 / (k - 1).
    """
    apart = [record.last(name) - record.last("threshold") for name in ("nearest", "farthest")]
    seen = [1.0 - record.last("within"), *apart]
    sentence = "Cosines in a class from 1; between classes from -1 / (k - 1), most and least"
    return Claim(seen, 0.0, 1e-3, sentence)
