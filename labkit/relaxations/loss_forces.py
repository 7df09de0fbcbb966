"""What each loss of metric learning does to one batch, for the sake of one anchor.

    f_j  =  - grad_{z_j} L_a(z),   along the circle,     L_a the terms of the anchor a alone

The anchor is point 1.  A positive should be pulled towards it and a negative pushed off;
losses differ in whom they see.  Contrastive sees pairs, each by its own distance; a triplet
only what breaks its margin; batch-hard mining one point of each kind; the exponentials of
lifted structure, N-pair and supervised contrastive see all, the nearest negatives most; and
to a proxy loss the rest of the batch does not exist: it moves the anchor, and its proxies.

Source: S097, Deep Metric Learning for Computer Vision: A Brief Overview.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from labkit.method import knob, pytree, replace
from labkit.record import Record
from labkit.relaxations.embedding_loss import EmbeddingLoss
from labkit.relaxations.pair_losses import MINING, unit
from labkit.sweep import Sweep, sweep
from labkit.views import Band, Bars, Graph, Panel, Points, Raster, Text, View


LABELS = np.array([0, 0, 0, 1, 1, 2, 2])
NAMES = (
    "contrastive", *(f"triplet, {mining}" for mining in MINING), "lifted structure", "N-pair",
    "supervised contrastive", "Proxy-NCA", "normalised softmax", "SphereFace", "ArcFace",
    "CosFace",
)  # fmt: skip
DEGREES = (90.0, 60.0, -20.0, 115.0, 135.0, 190.0, 255.0)


def _on_circle(degrees) -> list[list[float]]:
    radians = np.deg2rad(degrees)
    return np.column_stack([np.cos(radians), np.sin(radians)]).round(3).tolist()


@pytree
class LossForces:
    """The forces on seven points of a circle: an anchor, two positives, four negatives."""

    points: Float[Array, "7 2"] = knob(_on_circle(DEGREES), -1.2, 1.2)
    margin: float = knob(0.5, 0.0, 1.0, within=(0.0, float("inf")))
    tau: float = knob(0.5, 0.05, 2.0, log=True, about="softness")

    def __call__(self, index: Float[Array, ""]) -> dict[str, Any]:
        z = unit(self.points)
        centres = jnp.stack([z[label == LABELS].sum(axis=0) for label in range(3)])
        branches = [lambda z, w, name=name: self.forces(name, z, w) for name in NAMES]
        loss, force = jax.lax.switch(index.astype(int) - 1, branches, z, unit(centres))
        # The way round the circle, counter-clockwise, then that part of it towards the anchor.
        along = jnp.stack([-z[:, 1], z[:, 0]], axis=1)
        push = (force * along).sum(axis=1)
        return {"z": z, "cost": loss, "push": push, "pull": push * jnp.sign(along @ z[0])}

    def forces(self, name: str, z: Float[Array, "7 2"], proxies: Float[Array, "3 2"]):
        """The anchor's terms of a loss, and the force on each point."""
        kind, _, mining = name.partition(", ")
        loss = replace(EmbeddingLoss(margin=self.margin, tau=self.tau), {"name": kind})
        loss = replace(loss, {"mining": mining or MINING[0]})
        anchor = jnp.arange(len(LABELS)) == 0
        cost = lambda z: loss(z, jnp.asarray(LABELS), proxies, anchor)
        value, slope = jax.value_and_grad(cost)(z)
        return value, -slope


def example() -> Sweep:
    """The twelve losses on one batch, one after the other."""
    return sweep(LossForces(), over=jnp.arange(1.0, len(NAMES) + 1), name="loss")


def shares(record: Record) -> Float[np.ndarray, "losses 7"]:
    """The pull on each point over the largest force of that loss; 0 where there is none."""
    largest = np.abs(record["push"]).max(axis=1, keepdims=True)
    return record["pull"] / np.where(largest > 0, largest, 1.0)


def _circle(record: Record) -> Panel:
    across = np.cos(np.linspace(np.pi, 0.0, 61))
    disc = Band(across, -np.sqrt(1 - across**2), np.sqrt(1 - across**2), "", "ghost")
    x, y = record.last("z").T
    names, alone = [str(i) for i in range(1, len(x) + 1)], np.zeros((0, 2), int)
    marks = [
        disc,
        Graph(x, y, alone, names, "", "data"),
        Points(x, y, "drag any", "data", "function.points"),
    ]
    kinds = ("1: anchor", 0, 1, "minimum"), ("2, 3: positives", 1, 3, "accuracy")
    for label, first, end, role in (*kinds, ("4 to 7: negatives", 3, 7, "sharpness")):
        marks.append(Points(x[first:end], y[first:end], label, role))
    return Panel("The batch", marks, "z1", "z2", equal=True)


def _others(record: Record) -> Panel:
    raster = Raster(shares(record)[:, 1:], np.arange(2, 8), record["loss"], "towards the anchor")
    return Panel("Who is pulled (+) and pushed (-)", [raster], "point", "loss")


def _anchor(record: Record) -> Panel:
    push = [Bars(record["loss"], record["push"][:, 0], "force on the anchor", "gradient")]
    return Panel("Where the anchor goes", push, "loss", "force, counter-clockwise")


def _names(record: Record) -> Panel:
    named = [f"{int(k):2d} {NAMES[int(k) - 1]}" for k in record["loss"]]
    return Panel("The losses", [Text("\n".join(named))])


views: list[View] = [_circle, _others, _anchor, _names]


def say(record: Record) -> str:
    """How many points each kind of loss moves, in a sentence."""
    moved = (np.abs(record["push"][:, 1:]) > 1e-6).sum(axis=1)
    most, least = moved.max(), moved.min()
    return f"Beside the anchor, the {len(moved)} losses move from {least} to {most} of the points."
