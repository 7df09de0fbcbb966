"""A skeleton inside a loss: thinning that keeps the topology, and lets a gradient through.

    a  =  sigma((log(x / (1 - x)) + beta noise) / tau),    noise ~ Logistic(0, 1)
    b  =  1[a > 1/2],  with the derivatives of a                      (straight through)
    b  <-  b (1 - simple(b) (1 - end(b))),     subfield after subfield, pass after pass

x in [0, 1] is an image or a volume.  Each pass takes simple points away (`simple_points`), so
that pieces, holes and cavities stay as they are, to the last pixel; it ends when no point but
ends is simple.  `simple` and `end` are constant around any binary image: their derivatives are
0, and a kept pixel passes on the derivative of a.  (With a minimum in place of the product,
which ties at each kept pixel, the gradient halves at each pass of each subfield.)

tau > 0 and beta are in units of log odds: (c log odds, c beta, c tau) has the same a.  The hard
limit tau -> 0 has no derivative; b itself does not depend on tau.

Beside it runs the `morphological_skeleton`, which has derivatives everywhere and asks for no
simple points.  What to look for is how it falls apart.

Source: S120, A skeletonization algorithm for gradient-based optimization.
"""

from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Bool, Float, Key

from labkit.claims import Claim
from labkit.errors import check_positive
from labkit.method import Latest, Scalar, knob, method, size
from labkit.record import Record
from labkit.relaxations.morphological_skeleton import eroded, joined, peeled
from labkit.relaxations.shapes import betti, counts, scene
from labkit.relaxations.simple_points import end_points, is_simple, neighbourhoods, thinned
from labkit.relaxations.straight_through import straight_through
from labkit.run import run
from labkit.views import Panel, Raster, View


MARGIN = 1e-3  # odds of 0 and of 1 would be infinite: they count as these


def binarised(
    key: Key[Array, ""], image: Float[Array, "..."], beta: Scalar = 0.33, tau: Scalar = 1.0
) -> Float[Array, "..."]:
    """b: 0 or 1 for each pixel in [0, 1], drawn near its odds, with the derivatives of a."""
    check_positive("tau", tau, "in units of log odds")
    inside = MARGIN + (1.0 - 2.0 * MARGIN) * image
    noise = jr.logistic(key, image.shape, image.dtype)
    scores = jnp.log(inside) - jnp.log1p(-inside) + beta * noise
    return straight_through(scores > 0.0, jax.nn.sigmoid(scores / tau))


def skeleton(
    solid: Bool[Array, "..."], dimensions: int = 2, passes: int | None = None
) -> Bool[Array, "..."]:
    """The skeleton of what is solid, after that many passes; until nothing changes if None."""
    if passes is not None:
        step = lambda image, _: (thinned(image, dimensions), None)
        return jax.lax.scan(step, solid, length=passes)[0]
    changed = lambda pair: (pair[0] != pair[1]).any()
    once = lambda image: (thinned(image, dimensions), image)
    return jax.lax.while_loop(changed, lambda pair: once(pair[0]), once(solid))[0]


def soft_skeleton(
    key: Key[Array, ""],
    image: Float[Array, "..."],
    beta: Scalar = 0.33,
    tau: Scalar = 1.0,
    dimensions: int = 2,
    passes: int | None = None,
) -> Float[Array, "..."]:
    """The skeleton of a drawn b, with the derivatives of a on it and 0 elsewhere.

    The last `dimensions` axes are those of the image, all before them a batch.
    """
    b = binarised(key, image, beta, tau)
    return b * jax.lax.stop_gradient(skeleton(b > 0.5, dimensions, passes))


class State(NamedTuple):
    start: Float[Array, "..."]  # b as it was drawn
    slope: Float[Array, "..."]  # of a in x
    skeleton: Bool[Array, "..."]  # what is left of b
    eroded: Float[Array, "..."]  # e
    morphological: Float[Array, "..."]  # s


@method
class SoftSkeleton:
    """Passes over a painted image; with `layers` above 1, over a slab of it, a volume."""

    image: Any = knob(
        scene().astype(float).tolist(),
        0.0,
        1.0,
        within=(0.0, 1.0),
        about="what is painted, [rows, columns]",
    )
    beta: float = knob(0.33, 0.0, 3.0, within=(0.0, 100.0), about="noise, in log odds")
    tau: float = knob(1.0, 0.2, 5.0, log=True, about="softness of the gradient, in log odds")
    layers: int = size(1, 1, 9, about="of a slab; 1: an image")

    steps = 8

    @property
    def dimensions(self) -> int:
        """Of what is thinned."""
        return 2 if self.layers == 1 else 3

    def init(self, key) -> State:
        image = jnp.asarray(self.image)
        if self.dimensions == 3:
            image = jnp.broadcast_to(image[None], (self.layers, *image.shape))
        b, pull = jax.vjp(lambda image: binarised(key, image, self.beta, self.tau), image)
        (slope,) = pull(jnp.ones_like(b))
        return State(b, slope, b > 0.5, b, peeled(b, self.dimensions))

    def step(self, state: State, key) -> State:
        del key  # drawn once
        e = eroded(state.eroded, self.dimensions)
        s = joined(state.morphological, peeled(e, self.dimensions))
        kept = thinned(state.skeleton, self.dimensions)
        return State(state.start, state.slope, kept, e, s)

    def observe(self, state: State) -> dict[str, Any]:
        around = neighbourhoods(state.skeleton, self.dimensions)
        inner = state.skeleton & ~end_points(state.skeleton, self.dimensions)
        return {
            "image": Latest(self.image),
            "start": Latest(state.start),
            "skeleton": state.skeleton,
            "removable": (is_simple(around) & inner).sum(),
            "gradient": state.slope * state.skeleton,  # of the sum of the skeleton
            "morphological": state.morphological,
        }


def example() -> SoftSkeleton:
    """A disc with two holes, a letter and a branching line."""
    return SoftSkeleton()


@cache
def demo() -> Record:
    """The example, pass after pass."""
    return run(example())


def _picture(title: str, values: np.ndarray, label: str, edits: str = "") -> Panel:
    """As it is, or where it is a volume the sum over its layers."""
    z = np.asarray(values, float)
    z = z if z.ndim == 2 else z.sum(axis=0)
    raster = Raster(z, np.arange(z.shape[1]), np.arange(z.shape[0]), label, edits)
    return Panel(title, [raster], "column", "row", equal=True)


def _painted(record: Record) -> Panel:
    image = record.last("image")
    return _picture(f"Paint: {counts(image)}", image, "grey", "image")


def _skeleton(record: Record) -> Panel:
    kept, start = np.asarray(record.last("skeleton"), float), record.last("start")
    over = 0.3 * (start if kept.ndim == 2 else start / len(start)) + 0.7 * kept
    return _picture(f"Skeleton: {counts(kept)}", over, "kept")


def _morphological(record: Record) -> Panel:
    s = record.last("morphological")
    return _picture(f"Morphological: {counts(s)}", s, "kept")


def _gradient(record: Record) -> Panel:
    return _picture("Gradient of the skeleton's sum", record.last("gradient"), "slope")


views: list[View] = [_painted, _skeleton, _morphological, _gradient]


def say(record: Record) -> str:
    """Topology before and after, in a sentence."""
    start, kept = record.last("start"), record.last("skeleton")
    return (
        f"Pass {record.steps[-1]}: {counts(start)} drawn, {counts(kept)} in the skeleton of "
        f"{np.sum(kept)} pixels ({record.last('removable')} could still go), "
        f"{counts(record.last('morphological'))} in the morphological one."
    )


def claim(record: Record) -> Claim:
    """S120: each pass keeps every Betti number, and in the end only ends are simple.

    Betti numbers of each row less those of what was drawn; and the simple points that are left.
    """
    drawn = np.array(betti(record.last("start")))
    off = np.array([betti(kept) for kept in record["skeleton"]]) - drawn
    seen = [*np.abs(off).max(axis=0), record.last("removable")]
    sentence = "Largest change of each Betti number over the passes; points that could still go"
    return Claim(seen, 0.0, 0.0, sentence, kind="exact")
