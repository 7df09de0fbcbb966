"""Two colour photographs, 427 pixels high and 640 wide.

Source: the sample images that scikit-learn bundles (no download).
"""

import numpy as np
from jaxtyping import Float

from labkit.errors import refusal


def china(shrink: int = 1) -> Float[np.ndarray, "height width 3"]:
    """A Chinese temple: edges, texture and sky.  Red, green and blue in [0, 1]."""
    return _photo("china.jpg", shrink)


def flower(shrink: int = 1) -> Float[np.ndarray, "height width 3"]:
    """A flower before a blurred ground.  Red, green and blue in [0, 1]."""
    return _photo("flower.jpg", shrink)


def _photo(name: str, shrink: int) -> Float[np.ndarray, "height width 3"]:
    """The photograph, each block of `shrink` x `shrink` pixels replaced by its mean.

    Rows and columns that fill no block are cut off.  Raises ValueError when `shrink` is no
    whole number or leaves nothing.
    """
    from sklearn.datasets import load_sample_image

    image = np.asarray(load_sample_image(name), np.float32) / np.float32(255.0)
    most = min(image.shape[:2])
    if not (isinstance(shrink, int | np.integer) and 1 <= shrink <= most):
        raise refusal("shrink", shrink, f"a whole number from 1 to {most}")
    height, width = image.shape[0] // shrink, image.shape[1] // shrink
    blocks = image[: height * shrink, : width * shrink]
    return blocks.reshape(height, shrink, width, shrink, 3).mean(axis=(1, 3))
