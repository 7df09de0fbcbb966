"""The two photographs: range, and shrinking by means of blocks."""

import numpy as np
import pytest

from labkit.data import china, flower


@pytest.mark.parametrize("photo", [china, flower])
def test_a_photo_has_three_colours_between_zero_and_one(photo):
    image = photo()
    assert image.shape == (427, 640, 3)
    assert image.dtype == np.float32
    assert image.min() >= 0.0
    assert image.max() <= 1.0
    assert image.std() > 0.1  # a picture, not a blank


def test_shrinking_takes_the_mean_of_each_block():
    whole, small = china(), china(8)
    assert small.shape == (53, 80, 3)
    np.testing.assert_allclose(small[5, 7], whole[40:48, 56:64].mean(axis=(0, 1)), atol=1e-6)


@pytest.mark.parametrize("shrink", [0, -1, 1.5, 428])
def test_a_shrinking_that_leaves_nothing_is_refused(shrink):
    with pytest.raises(ValueError, match=r"shrink = .* is refused"):
        flower(shrink)
