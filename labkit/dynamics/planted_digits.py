"""Handwritten digits with opposing signals planted in them.

A bright patch in one corner is put on some of the images of each of two digits.  It is large,
so the network uses it; and it says nothing, since both digits have it: the groups share a
feature and differ in their labels.  The network has one output, the targets are -1 and 1, and

    L = 1/2 mean_i (f(x_i) - y_i)^2

With brightness 0, and nothing removed, these are the images as they are.

Source: S113, Outliers with Opposing Signals Have an Outsized Effect on Neural Network
Optimization; this instance is labkit's own.
"""

from typing import NamedTuple

import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Int, Key

from labkit.data import digits
from labkit.errors import refusal
from labkit.method import choice, knob, pytree, static
from labkit.models import MLP, Model
from labkit.problems.problem import Params


PATCH = (0, 1, 6, 7, 8, 15)  # six pixels in the two upper corners


class Samples(NamedTuple):
    """What a batch is made of."""

    x: Float[Array, "samples pixels"]
    y: Float[Array, " samples"]
    kept: Float[Array, " samples"]  # 0 for an outlier that was removed


@pytree
class PlantedDigits:
    """Tell two digits apart, by one output, where a patch stands on some of both."""

    model: Model
    x: Float[Array, "samples pixels"]  # without the patch
    y: Float[Array, " samples"]  # -1 or 1
    members: Float[Array, "2 samples"]  # 1 where an example is in the group of -1, of 1
    patch: Float[Array, " pixels"]  # 1 where the patch is
    M: float = knob(6.0, 0.0, 8.0, about="brightness of the patch, in standard deviations")
    outliers: str = choice("kept", "removed", about="whether the two groups are trained on")
    pair: tuple[int, int] = static(default=(3, 8))  # the digit of -1, of 1

    @property
    def data(self) -> Samples:
        """All samples: what a batch is drawn from."""
        planted = self.members.sum(axis=0)
        x = self.x + self.M * planted[:, None] * self.patch[None]
        return Samples(x, self.y, jnp.ones_like(self.y) if self._kept else 1.0 - planted)

    @property
    def _kept(self) -> bool:
        return self.outliers == "kept"

    @property
    def labels(self) -> Int[Array, " samples"]:
        """Which digit each image is."""
        return jnp.where(self.y < 0, *self.pair)

    def start(self, key: Key[Array, ""]) -> Params:
        """The model's weights, drawn with `key`."""
        return self.model.init(key)

    def predict(self, w: Params, x: Float[Array, "samples pixels"]) -> Float[Array, "samples 1"]:
        """f(x)."""
        return self.model.apply(w, x)

    def example_losses(self, w: Params, batch: Samples | None = None) -> Float[Array, " samples"]:
        """(f(x_i) - y_i)^2 / 2, of removed examples too."""
        x, y, _ = self.data if batch is None else batch
        return 0.5 * (self.predict(w, x)[:, 0] - y) ** 2

    def loss(self, w: Params, batch: Samples | None = None) -> Float[Array, ""]:
        """L(w) over what is trained on, or over that part of a batch."""
        kept = (self.data if batch is None else batch).kept
        losses = self.example_losses(w, batch)
        return jnp.sum(kept * losses) / jnp.maximum(jnp.sum(kept), 1.0)

    def draw(self, key: Key[Array, ""], samples: int) -> Samples:
        """That many examples, at random."""
        rows = jr.randint(key, (samples,), 0, len(self.y))
        return Samples(*(column[rows] for column in self.data))

    def group_losses(self, w: Params) -> Float[Array, "2"]:
        """The mean loss of the group of -1, and of that of 1."""
        return self.members @ self.example_losses(w) / self.members.sum(axis=1)

    def feature_weight(self, w: Params) -> Float[Array, ""]:
        """What the patch adds to the output, on the mean image."""
        plain = self.x.mean(axis=0)
        both = jnp.stack([plain, plain + self.M * self.patch])
        without, with_patch = self.predict(w, both)[:, 0]
        return with_patch - without


def planted_digits(
    pair: tuple[int, int] = (3, 8),
    each: int = 20,
    *,
    M: float = 6.0,
    width: int = 32,
    seed: int = 0,
) -> PlantedDigits:
    """The training images of two digits, 3 (as -1) and 8 (as 1), `each` of both with the patch.

    `seed` says which of them.  The network is a ReLU MLP with one hidden layer of `width`,
    its weights from N(0, 0.3^2 / fan_in).  Raises ValueError for what is no pair of two
    different digits, or more members than there are images.
    """
    if len(set(pair)) != 2 or not set(pair) <= set(range(10)):
        raise refusal("pair", pair, "two different digits, 0 to 9")
    split = digits()
    rows = np.isin(split.y, pair)
    x, y = split.x[rows], np.where(split.y[rows] == pair[1], 1.0, -1.0)
    fewest = min(int((y == sign).sum()) for sign in (-1.0, 1.0))
    if not 1 <= each <= fewest:
        raise refusal("each", each, f"1 to {fewest}, the images of the rarer digit")
    rng, members = np.random.default_rng(seed), np.zeros((2, len(y)))
    for group, sign in enumerate((-1.0, 1.0)):
        members[group, rng.permutation(np.flatnonzero(y == sign))[:each]] = 1.0
    patch = np.isin(np.arange(64), PATCH)
    model = MLP((64, width, 1), activation="relu", scale=0.3)
    x, y, members, patch = (jnp.asarray(array, float) for array in (x, y, members, patch))
    return PlantedDigits(model, x, y, members, patch, M, pair=pair)


def pictures(x: Float[Array, "samples pixels"]) -> Float[np.ndarray, "samples side side"]:
    """Square images, each pixel from white, at its lowest value, to black, at its highest.

    That undoes the standardisation: a pixel's lowest value was no ink.
    """
    values = np.asarray(x)
    ink = (values - values.min(axis=0)) / np.maximum(np.ptp(values, axis=0), 1e-6)
    side = round(np.sqrt(values.shape[1]))
    return (1.0 - ink).reshape(-1, side, side)
