"""Vessels segmented with a loss of their centre lines.

    dice(P, L)  =  2 <P, L> / (sum P + sum L)
    precision   =  <S(P), L> / sum S(P),      sensitivity  =  <S(L), P> / sum S(L)
    loss        =  1 - (1 - share) dice - share 2 / (1 / precision + 1 / sensitivity)

P in [0, 1] is what a small network of each pixel's 5 x 5 surroundings says, L the truth, S a
skeleton: the soft one, drawn anew at each step, or the morphological one.  A pixel missing in a
thin branch is little of the overlap, and much of a centre line.  What to look at is not the
loss but what is counted on images never seen: pieces and holes too many or too few.

The loss is that of Shit et al., clDice, 2021, with the skeleton of S120.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float
from scipy import ndimage

from labkit.adaptive import Adam
from labkit.method import Latest, choice, knob, method, pytree, size
from labkit.record import Record
from labkit.relaxations.morphological_skeleton import morphological_skeleton
from labkit.relaxations.shapes import betti, vessels
from labkit.relaxations.soft_skeleton import soft_skeleton
from labkit.views import Panel, Raster, View, lines


@pytree
class Images:
    """Noisy images, the surroundings of each pixel, and the truth."""

    pixels: Float[Array, "m n n"]
    around: Float[Array, "m n n 25"]  # kept: as part of the program they take long to compile
    truth: Float[Array, "m n n"]


def vessel_images(seed: int = 0, m: int = 12, n: int = 24, noise: float = 0.35) -> Images:
    """Blurred vessels of uneven brightness under noise."""
    random = np.random.default_rng(seed)
    truth = np.stack([vessels(1000 * seed + k, n) for k in range(m)]).astype(float)
    light = ndimage.gaussian_filter(random.normal(size=truth.shape), (0, 2, 2))
    light = np.clip(0.75 + 1.2 * light / light.std() * 0.35, 0.15, 1.2)
    pixels = ndimage.gaussian_filter(truth * light, (0, 0.6, 0.6))
    pixels += noise * random.normal(size=truth.shape)
    return Images(*map(jnp.asarray, (pixels, surroundings(pixels), truth)))


def surroundings(pixels: Float[np.ndarray, "m n n"]) -> Float[np.ndarray, "m n n 25"]:
    """The 5 x 5 pixels around each."""
    windows = np.lib.stride_tricks.sliding_window_view(
        np.pad(pixels, ((0, 0), (2, 2), (2, 2))), (5, 5), axis=(1, 2)
    )
    return windows.reshape(*pixels.shape, 25)


def predicted(w: dict, around: Float[Array, "m n n 25"]) -> Float[Array, "m n n"]:
    """P, by one hidden layer."""
    hidden = jnp.tanh(around @ w["in"] + w["bias"][None, None, None])
    return jax.nn.sigmoid(hidden @ w["out"] + w["offset"])


def overlap(a: Array, b: Array) -> Float[Array, ""]:
    """The share of a that is on b."""
    return (a * b).sum() / (a.sum() + 1e-6)


def dice(p: Array, truth: Array) -> Float[Array, ""]:
    """2 <P, L> / (sum P + sum L)."""
    return 2 * (p * truth).sum() / (p.sum() + truth.sum())


class State(NamedTuple):
    w: Any  # weights
    rule: Any


@method
class CenterlineDice:
    """Adam on the loss over `images`; `unseen` are only predicted."""

    images: Images
    unseen: Images
    share: float = knob(0.5, 0.0, 1.0, within=(0.0, 1.0), about="of the centre lines in the loss")
    beta: float = knob(0.33, 0.0, 3.0, within=(0.0, 100.0), about="noise, in log odds")
    skeleton: str = choice("soft", "morphological")
    width: int = size(8, 1, 32, about="hidden units")
    passes: int = size(4, 1, 10, about="of the skeletons")
    rule: Adam = Adam(lr=0.02)

    steps = 300

    def init(self, key) -> State:
        one, two = jr.split(key)
        w = {
            "in": jr.normal(one, (25, self.width)) / 5,
            "bias": jnp.zeros(self.width),
            "out": jr.normal(two, (self.width,)) / jnp.sqrt(self.width),
            "offset": jnp.zeros(()),
        }
        return State(w, self.rule.init(w))

    def step(self, state: State, key) -> State:
        grad = jax.grad(self.loss)(state.w, key)
        update, rule = self.rule.update(grad, state.rule, state.w)
        return State(jax.tree.map(jnp.add, state.w, update), rule)

    def observe(self, state: State) -> dict[str, Any]:
        p, known = (predicted(state.w, of.around) for of in (self.unseen, self.images))
        return {
            "dice": dice(p > 0.5, self.unseen.truth),
            "known_dice": dice(known > 0.5, self.images.truth),
            "prediction": Latest(p),
            "pixels": Latest(self.unseen.pixels),
            "truth": Latest(self.unseen.truth),
        }

    def loss(self, w: dict, key) -> Float[Array, ""]:
        """1 less a mean of dice and centerline dice."""
        p, truth = predicted(w, self.images.around), self.images.truth
        of_p, of_truth = self._skeleton(key, jnp.stack([p, truth]))
        precision, sensitivity = overlap(of_p, truth), overlap(of_truth, p)
        lines = 2 / (1 / (precision + 1e-6) + 1 / (sensitivity + 1e-6))
        return 1 - (1 - self.share) * dice(p, truth) - self.share * lines

    def _skeleton(self, key, image: Float[Array, "... n n"]) -> Float[Array, "... n n"]:
        if self.skeleton == "soft":
            return soft_skeleton(key, image, self.beta, passes=self.passes)
        return morphological_skeleton(image, self.passes)


def example() -> CenterlineDice:
    """A dozen images of vessels, and as many not seen."""
    return CenterlineDice(vessel_images(0), vessel_images(1))


def betti_error(record: Record) -> float:
    """Pieces and holes too many or too few in an unseen image, in the mean."""
    pairs = zip(record.last("prediction"), record.last("truth"), strict=True)
    return float(np.mean([np.abs(np.subtract(betti(p), betti(t))).sum() for p, t in pairs]))


def _image(name: str, title: str) -> View:
    def view(record: Record) -> Panel:
        z = record.last(name)[0]
        raster = Raster(z, np.arange(z.shape[1]), np.arange(z.shape[0]), "grey")
        return Panel(title, [raster], "column", "row", equal=True)

    return view


views: list[View] = [
    lines("dice", "known_dice", title="Dice, above one half", y="dice"),
    _image("pixels", "An unseen image"),
    _image("prediction", "Predicted"),
    _image("truth", "Truth"),
]
