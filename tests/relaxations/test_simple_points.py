"""Shapes and their Betti numbers; simple points against labelling of their neighbourhoods."""

from functools import cache
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from labkit.relaxations.shapes import (
    VOLUMES,
    betti,
    blob,
    counts,
    euler,
    letter,
    scene,
    two_holes,
    vessels,
)
from labkit.relaxations.simple_points import is_simple, neighbourhoods, thinned, yokoi_number


simple, yokoi = jax.jit(is_simple), jax.jit(yokoi_number)
hoods = jax.jit(lambda image: (neighbourhoods(image, 2), neighbourhoods(image, 2, stride=2)))


def by_labels(around):
    """Whether the centre is simple, from the pieces of solid and of background around it."""
    around = np.array(around, bool)
    centre = (1,) * around.ndim
    around[centre] = False
    _, pieces = ndimage.label(around, np.ones(around.shape))
    steps = np.abs(np.indices(around.shape) - 1).sum(0)
    # The background is joined through faces, within 8 neighbours of a pixel and 18 of a voxel.
    empty = ~around & (steps > 0) & (steps <= 2)
    labels, _ = ndimage.label(empty)
    outside = np.unique(labels[(steps == 1) & empty])
    return pieces == 1 and len(outside) == 1


def one_by_one(solid):
    """One pass over the subfields in plain loops, each point judged and taken away by itself."""
    solid, d = np.pad(solid, 1), solid.ndim
    around = lambda at: solid[tuple(slice(i - 1, i + 2) for i in at)]
    inside = list(product(*[range(1, n - 1) for n in solid.shape]))
    ends = {at for at in inside if solid[at] and around(at).sum() <= 2}
    for corner in product((0, 1), repeat=d):
        for at in inside:
            mine = all((i - 1 - c) % 2 == 0 for i, c in zip(at, corner, strict=True))
            if mine and solid[at] and at not in ends and by_labels(around(at)):
                solid[at] = False
    return solid[(slice(1, -1),) * d]


@pytest.mark.parametrize(
    "solid, expected",
    [
        (two_holes(), (1, 2)),
        (letter("A"), (1, 1)),
        (letter("B"), (1, 2)),
        (letter("E"), (1, 0)),
        (letter("i"), (2, 0)),
        (scene(), (3, 3)),
        (np.zeros((4, 4)), (0, 0)),
        (np.eye(4), (1, 0)),  # joined through corners
        (np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]]), (1, 1)),  # the background is not
        (VOLUMES["torus"](), (1, 1, 0)),
        (VOLUMES["shell"](), (1, 0, 1)),
        (VOLUMES["tree"](), (1, 0, 0)),
        (VOLUMES["balls"](), (8, 0, 0)),
    ],
)
def test_shapes_have_the_topology_they_are_made_for(solid, expected):
    assert betti(solid) == expected
    assert euler(solid) == sum((-1) ** k * b for k, b in enumerate(expected))


def test_pieces_less_holes_is_the_euler_number_of_any_image():
    for seed in range(20):
        pieces, holes = betti(blob(seed))
        assert pieces - holes == euler(blob(seed))
        assert betti(vessels(seed))[0] == 1  # each branch begins on an earlier one


def test_betti_numbers_in_words():
    assert counts(scene()) == "3 pieces, 3 holes"
    assert counts(VOLUMES["shell"]()) == "1 piece, 0 tunnels, 1 cavity"


def test_a_letter_that_is_not_there_is_refused():
    with pytest.raises(KeyError, match="no letter 'Z'"):
        letter("Z")


def test_all_256_neighbourhoods_of_a_pixel():
    around = np.zeros((9, 256), bool)
    around[[0, 1, 2, 3, 5, 6, 7, 8]] = np.array(list(product((0, 1), repeat=8))).T
    around[4] = True
    expected = [by_labels(a.reshape(3, 3)) for a in around.T]
    np.testing.assert_array_equal(simple(jnp.asarray(around)), expected)
    # And by what removal does: a pixel is simple just when pieces and holes stay as they are.
    gone = np.where(np.arange(9)[:, None] == 4, False, around)
    same = [
        betti(a.reshape(3, 3)) == betti(b.reshape(3, 3))
        for a, b in zip(around.T, gone.T, strict=True)
    ]
    np.testing.assert_array_equal(expected, same)


def test_the_yokoi_number_counts_the_pieces_around_a_pixel_with_background_at_a_face():
    around = np.zeros((9, 256), bool)
    around[[0, 1, 2, 3, 5, 6, 7, 8]] = np.array(list(product((0, 1), repeat=8))).T
    pieces = [ndimage.label(a.reshape(3, 3), np.ones((3, 3)))[1] for a in around.T]
    numbers, inner = np.asarray(yokoi(around)), around[[1, 3, 5, 7]].all(axis=0)
    np.testing.assert_array_equal(numbers[~inner], np.array(pieces)[~inner])
    assert (numbers[inner] == 0).all()


@cache
def random_neighbourhoods():
    """Of a voxel, from nearly empty to nearly full."""
    random = np.random.default_rng(0)
    around = random.uniform(size=(27, 2000)) < np.linspace(0.05, 0.95, 2000)
    around[13] = True
    return around


def test_random_neighbourhoods_of_a_voxel():
    around = random_neighbourhoods()
    expected = [by_labels(a.reshape(3, 3, 3)) for a in around.T]
    np.testing.assert_array_equal(simple(jnp.asarray(around)), expected)
    assert 300 < np.sum(expected) < 1700  # both answers are tried


def test_a_simple_voxel_may_go_and_others_that_change_topology_may_not():
    around = random_neighbourhoods()
    with_it = around.T.reshape(-1, 3, 3, 3)
    without = with_it.copy()
    without[:, 1, 1, 1] = False
    told = np.asarray(simple(jnp.asarray(around)))
    same = [betti(a) == betti(b) for a, b in zip(with_it[::4], without[::4], strict=True)]
    np.testing.assert_array_equal(told[::4], same)


def test_neighbourhoods_are_the_pixels_around_and_nothing_outside():
    image = np.random.default_rng(0).uniform(size=(5, 6)) < 0.5
    found, strided = map(np.asarray, hoods(jnp.asarray(image)))
    padded = np.pad(image, 1)
    for i, j in product(range(5), range(6)):
        np.testing.assert_array_equal(found[:, i, j], padded[i : i + 3, j : j + 3].ravel())
    np.testing.assert_array_equal(strided, found[:, ::2, ::2])


@cache
def passes(d):
    """Images or small volumes, and what each pass leaves of them until nothing changes."""
    random = np.random.default_rng(0)
    noise = [random.uniform(size=(12,) * d) < share for share in (0.6, 0.9)]
    hollow = np.zeros((12,) * d, bool)
    hollow[(slice(2, 10),) * d], hollow[(slice(4, 7),) * d] = True, False
    made = [two_holes(12), letter("A", 12)] if d == 2 else [SOLIDS[n](12) for n in SOLIDS]
    once = jax.jit(lambda solid: thinned(solid, d))
    film = [np.stack([*noise, hollow, *made])]
    while len(film) < 2 or (film[-1] != film[-2]).any():
        film.append(np.asarray(once(film[-1])))
    return film


SOLIDS = {name: VOLUMES[name] for name in ("torus", "tree")}


@pytest.mark.parametrize("d", [2, 3])
def test_a_pass_is_what_loops_over_points_one_by_one_leave(d):
    for before, after in zip(passes(d)[0], passes(d)[1], strict=True):
        np.testing.assert_array_equal(after, one_by_one(before))


@pytest.mark.parametrize("d", [2, 3])
def test_passes_end_keep_the_topology_and_take_away_most(d):
    film = passes(d)
    for before, after in zip(film[0], film[-1], strict=True):
        assert betti(after) == betti(before)
        assert after.sum() < before.sum()
    assert betti(film[0][2]) == ((1, 1) if d == 2 else (1, 0, 1))
    assert len(film) <= 8


def test_what_is_no_image_is_refused():
    with pytest.raises(ValueError, match="accepted: 9 or 27 entries"):
        is_simple(jnp.ones((8, 2), bool))
    for dimensions in (1, 3, 4):
        with pytest.raises(ValueError, match=f"dimensions = {dimensions} is refused"):
            thinned(jnp.ones((4, 4), bool), dimensions)
