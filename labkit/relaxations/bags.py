"""Bags of features, a few of them informative and the rest clutter that all classes share.

`synthetic` bags hold 16 vectors: the 4 parts of a class and 12 pieces of clutter, each with
noise.  A class is a choice of 4 parts out of 8, so that a class never seen is made of parts
that were; parts and clutter are random unit vectors.  `canvases` are digits somewhere on a
larger ground of random pixels; their features are `patches` of 3x3 pixels less their mean,
those with their centre on the digit the informative ones.

Bags come class by class, as many of each: [classes, bags, n, d].
"""

from itertools import combinations
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from labkit.data import digit_images
from labkit.errors import refusal


PARTS, CLUTTER, CHOSEN, EXTRA = 8, 24, 4, 12


class Bags(NamedTuple):
    """Features of each bag, and which of them are informative."""

    x: Float[np.ndarray, "classes bags n d"]
    informative: Bool[np.ndarray, "classes bags n"]


def synthetic(
    seed: int, classes: int = 30, bags: int = 8, features: int = 12, noise: float = 0.1
) -> Bags:
    """`classes` choices of parts, no two the same, with `bags` of each."""
    choices = np.array(list(combinations(range(PARTS), CHOSEN)))
    if not 1 <= classes <= len(choices):
        raise refusal("classes", classes, f"a whole number from 1 to {len(choices)}")
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(PARTS + CLUTTER, features))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    chosen = random.permutation(choices)[:classes, None]
    clutter = PARTS + random.integers(CLUTTER, size=(classes, bags, EXTRA))
    which = np.concatenate([np.repeat(chosen, bags, axis=1), clutter], axis=-1)
    which = random.permuted(which, axis=-1)
    x = vectors[which] + noise * random.normal(size=(*which.shape, features))
    return Bags(x.astype(np.float32), which < PARTS)


class Canvases(NamedTuple):
    """Cluttered pictures, ink from 0 to 1, and where the digit lies in each."""

    images: Float[np.ndarray, "classes bags side side"]
    digit: Bool[np.ndarray, "classes bags side side"]


def canvases(seed: int, bags: int = 8, side: int = 12, clutter: float = 0.6) -> Canvases:
    """`bags` digits of each of the ten classes, on random pixels from 0 to `clutter`."""
    if side < 8:
        raise refusal("side", side, "a whole number of pixels, 8 or more")
    random, (drawn, labels) = np.random.default_rng(seed), digit_images()
    images = clutter * random.uniform(size=(10, bags, side, side))
    digit = np.zeros(images.shape, bool)
    for kind in range(10):
        rows = random.choice(np.flatnonzero(labels == kind), size=bags, replace=False)
        for bag, row in enumerate(rows):
            top, left = random.integers(side - 7, size=2)
            where = (kind, bag, slice(top, top + 8), slice(left, left + 8))
            images[where], digit[where] = drawn[row], True
    return Canvases(images.astype(np.float32), digit)


def patches(images: Float[np.ndarray, "... h w"]) -> Float[np.ndarray, "... n 9"]:
    """Each 3x3 patch less its mean, row by row: a flat one is 0.  n = (h - 2) (w - 2)."""
    windows = np.lib.stride_tricks.sliding_window_view(images, (3, 3), axis=(-2, -1))
    flat = windows.reshape(*windows.shape[:-4], -1, 9)
    return flat - flat.mean(axis=-1, keepdims=True)


def canvas_bags(seen: Canvases) -> Bags:
    """The patches of canvases, informative where their centre is on the digit."""
    centres = seen.digit[..., 1:-1, 1:-1]
    return Bags(patches(seen.images), centres.reshape(*centres.shape[:-2], -1))


def strokes(count: int = 8, seed: int = 0) -> Float[np.ndarray, "count 9"]:
    """`count` directions that stand for the patches of clean digits, by spherical k-means."""
    random = np.random.default_rng(seed)
    found = patches(digit_images()[0][:200]).reshape(-1, 9)
    lengths = np.linalg.norm(found, axis=1)
    found = found[lengths > 0.5] / lengths[lengths > 0.5, None]
    centres = found[random.choice(len(found), count, replace=False)]
    for _ in range(10):
        nearest = np.argmax(found @ centres.T, axis=1)
        sums = np.eye(count)[nearest].T @ found
        centres = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-9)
    return centres.astype(np.float32)
