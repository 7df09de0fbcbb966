"""Sets of digits: the places are those of what is shown, the parts are kept apart."""

import numpy as np
import pytest

from labkit.data import digits
from labkit.data.sets import assembled, digit_sets, fragments, strip


SPLIT = digits()
LOW, SPAN = SPLIT.x.min(0), np.maximum(np.ptp(SPLIT.x, axis=0), 1e-6)


def labels(x, held_out):
    """What the images show: each is one of the table."""
    table, y = (SPLIT.x_test, SPLIT.y_test) if held_out else (SPLIT.x, SPLIT.y)
    grey = np.clip((table - LOW) / SPAN, 0.0, 1.0)
    assert x.min() >= 0.0
    assert x.max() <= 1.0
    apart = np.abs(grey[None, None] - x[:, :, None]).max(-1)
    assert apart.min(-1).max() < 1e-6  # each is one of the table, to float32
    return y[apart.argmin(-1)]


@pytest.mark.parametrize("held_out", [False, True])
def test_a_set_shows_different_digits_and_the_smallest_has_place_0(held_out):
    sets = digit_sets(3, 40, 5, held_out=held_out)
    shown = labels(sets.x, held_out)
    assert all(len(set(row)) == 5 for row in shown)
    np.testing.assert_array_equal(np.argsort(np.argsort(shown)), sets.place)
    assert set(shown.ravel()) == set(range(10))


def test_the_seed_decides():
    one, same, other = digit_sets(0, 5), digit_sets(0, 5), digit_sets(1, 5)
    np.testing.assert_array_equal(one.x, same.x)
    assert not np.array_equal(one.place, other.place)


def test_fragments_in_their_places_are_an_image():
    sets = fragments(0, 30)
    ordered = np.take_along_axis(sets.x, np.argsort(sets.place)[:, :, None], axis=1)
    images = assembled(ordered).reshape(30, 1, 64)
    assert labels(images, False).shape == (30, 1)  # each is one of the table
    np.testing.assert_array_equal(assembled(ordered)[:, :4, 4:], ordered[:, 1].reshape(30, 4, 4))
    assert (np.sort(sets.place) == np.arange(4)).all()
    assert strip(assembled(ordered)[:3]).shape == (8, 26)


def test_what_makes_no_sets_is_refused():
    with pytest.raises(ValueError, match="members = 11 is refused; accepted: 1 to 10"):
        digit_sets(0, 5, 11)
    with pytest.raises(ValueError, match="sets = 0 is refused"):
        digit_sets(0, 0)
    with pytest.raises(ValueError, match="sets = 5000 is refused; accepted: 1 to"):
        fragments(0, 5000)
