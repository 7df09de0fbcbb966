"""Sets of images whose order is known, and nothing else of them.

    digit_sets   digits of different classes, to be put in the order of what they show
    fragments    the four quarters of one digit, to be put back in their places

Every generator takes a seed first, as in `synthetic`; with `held_out` it draws from the test
part of the digits.  Pixels are grey, from 0 (paper) to 1 (ink).
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from labkit.data.synthetic import Seed, _at_least, _generator
from labkit.data.tables import digits
from labkit.errors import refusal


class Sets(NamedTuple):
    """Members of sets, and the place of each in its set, from 0."""

    x: Float[np.ndarray, "sets members features"]
    place: Int[np.ndarray, "sets members"]


def digit_sets(seed: Seed, sets: int = 200, members: int = 5, *, held_out: bool = False) -> Sets:
    """Images of `members` different digits each; the smallest digit has place 0."""
    random, (x, y) = _generator(seed), _images(held_out)
    _at_least("sets", sets, 1)
    if not 1 <= members <= 10:
        raise refusal("members", members, "1 to 10, since there are ten digits")
    shown = random.permuted(np.tile(np.arange(10), (sets, 1)), axis=1)[:, :members]
    rows = [random.choice(np.flatnonzero(y == digit), shown.shape) for digit in range(10)]
    chosen = np.choose(shown, rows)
    return Sets(x[chosen], np.argsort(np.argsort(shown, axis=1), axis=1).astype(np.int32))


def fragments(seed: Seed, sets: int = 200, *, held_out: bool = False) -> Sets:
    """The quarters, 4 x 4 pixels each, of one image a set, shuffled.

    Places go from the upper left (0) and the upper right to the lower left and right (3).
    """
    random, (x, _) = _generator(seed), _images(held_out)
    if not 1 <= sets <= len(x):
        raise refusal("sets", sets, f"1 to {len(x)}, the number of images")
    image = x[random.permutation(len(x))[:sets]].reshape(sets, 2, 4, 2, 4)
    quarters = image.transpose(0, 1, 3, 2, 4).reshape(sets, 4, 16)
    place = random.permuted(np.tile(np.arange(4), (sets, 1)), axis=1)
    return Sets(np.take_along_axis(quarters, place[:, :, None], axis=1), place.astype(np.int32))


def assembled(quarters: Float[np.ndarray, "... 4 16"]) -> Float[np.ndarray, "... 8 8"]:
    """The image of four quarters in their places."""
    quarters = np.asarray(quarters)
    rows = quarters.reshape(*quarters.shape[:-2], 2, 2, 4, 4)
    return np.swapaxes(rows, -3, -2).reshape(*quarters.shape[:-2], 8, 8)


def strip(images: Float[np.ndarray, "k 8 8"]) -> Float[np.ndarray, "8 width"]:
    """The images side by side with a gap between them, black on white."""
    framed = np.pad(1.0 - np.clip(images, 0.0, 1.0), ((0, 0), (0, 0), (0, 1)), constant_values=0.7)
    return np.hstack(list(framed))[:, :-1]


def _images(held_out: bool) -> tuple[np.ndarray, np.ndarray]:
    """Each pixel from its least to its largest value in the training part."""
    split = digits()
    low, span = split.x.min(axis=0), np.ptp(split.x, axis=0)
    x, y = (split.x_test, split.y_test) if held_out else (split.x, split.y)
    return np.clip((x - low) / np.where(span == 0, 1.0, span), 0.0, 1.0), y
