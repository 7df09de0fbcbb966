"""Simple points: pixels whose removal does not change the topology.

Whether a pixel is simple, its neighbours say.  In an image its Yokoi number is 1,

    C = sum over k in {E, N, W, S} of  z_k - z_k z_{k+1} z_{k+2},      z = 1 - neighbour,

with the eight neighbours in circular order: C counts the arcs of background at a face, or, as
many, the pieces that the neighbours make.  In a volume a voxel is simple when its 26 neighbours
hold one piece (joined through corners), and one piece of background touches a face of it
(joined through faces, within the 18 that share an edge or a face with it).  A neighbourhood is
a number of 27 bits there, and a piece grows from one bit by shifts, in all voxels at once.

Pixels two apart along every axis are not in each other's neighbourhood.  So simple points of
one such subfield may go at the same time: 4 subfields an image, 8 a volume, make a pass.
"""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from labkit.errors import refusal


CIRCLE = [(1, 2), (0, 2), (0, 1), (0, 0), (1, 0), (2, 0), (2, 1), (2, 2)]  # from E by N, W, S
CUBE = list(product(range(3), repeat=3))  # bit k of a neighbourhood is voxel CUBE[k]


def _bits(chosen) -> int:
    return sum(1 << k for k, place in enumerate(CUBE) if chosen(np.array(place) - 1))


CENTRE = _bits(lambda p: abs(p).sum() == 0)
FACES = _bits(lambda p: abs(p).sum() == 1)
NEAR = _bits(lambda p: 1 <= abs(p).sum() <= 2)  # the 18 neighbours through faces and edges
SHIFTS = [(9, 0), (3, 1), (1, 2)]  # one step along an axis moves this many bits
UP = [_bits(lambda p, axis=axis: p[axis] < 1) for _, axis in SHIFTS]  # may move up an axis
DOWN = [_bits(lambda p, axis=axis: p[axis] > -1) for _, axis in SHIFTS]


def yokoi_number(neighbours: Bool[Array, "9 ..."]) -> Int[Array, "..."]:
    """C, from the 3 x 3 neighbourhoods row by row."""
    z = [1 - jnp.asarray(neighbours[3 * i + j], jnp.int32) for i, j in CIRCLE]
    return jnp.stack([z[k] - z[k] * z[k + 1] * z[(k + 2) % 8] for k in (0, 2, 4, 6)]).sum(0)


def is_simple(neighbours: Bool[Array, "m ..."]) -> Bool[Array, "..."]:
    """Whether pixels with these 9 neighbourhood entries, or voxels with these 27, are simple."""
    if len(neighbours) == 9:
        return yokoi_number(neighbours) == 1
    if len(neighbours) != 27:
        raise refusal("neighbours", neighbours.shape, "9 or 27 entries along the first axis")
    one = jnp.uint32(1)
    weights = one << jnp.arange(27, dtype=jnp.uint32)
    shape = (27,) + (1,) * (neighbours.ndim - 1)
    solid = jnp.where(neighbours, weights.reshape(shape), jnp.uint32(0)).sum(0, dtype=jnp.uint32)
    solid = solid & ~jnp.uint32(CENTRE)
    empty = ~solid & jnp.uint32(NEAR)
    at_faces = empty & jnp.uint32(FACES)
    one_piece = (solid > 0) & (_piece(solid, solid, corners=True) == solid)
    outside = _piece(at_faces, empty, corners=False)
    return one_piece & (at_faces > 0) & (at_faces & ~outside == 0)


def _piece(seeds: Array, allowed: Array, *, corners: bool) -> Array:
    """The bits of `allowed` that can be reached from the lowest bit of `seeds`."""

    def grown(reached):
        wider = reached
        for (shift, _), up, down in zip(SHIFTS, UP, DOWN, strict=True):
            source = wider if corners else reached  # through corners: along axis after axis
            above = (source & jnp.uint32(up)) << shift
            wider = wider | above | ((source & jnp.uint32(down)) >> shift)
        return wider & allowed

    pair = lambda reached: (grown(reached), reached)
    start = seeds & (~seeds + jnp.uint32(1))
    last, _ = jax.lax.while_loop(lambda p: (p[0] != p[1]).any(), lambda p: pair(p[0]), pair(start))
    return last


def neighbourhoods(solid: Bool[Array, "..."], dimensions: int, stride: int = 1) -> Array:
    """[3^dimensions, ...]: each pixel's neighbours, or those of every `stride`-th; 0 outside."""
    before = [(0, 0)] * (solid.ndim - dimensions)
    padded = jnp.pad(solid, before + [(1, 1)] * dimensions)
    views = []
    for place in product(range(3), repeat=dimensions):
        ends = zip(place, solid.shape[-dimensions:], strict=True)
        views.append(padded[(..., *(slice(p, p + n, stride) for p, n in ends))])
    return jnp.stack(views)


def end_points(solid: Bool[Array, "..."], dimensions: int) -> Bool[Array, "..."]:
    """Pixels with one neighbour or none."""
    return solid & (neighbourhoods(solid, dimensions).sum(0) <= 2)


def thinned(solid: Bool[Array, "..."], dimensions: int = 2) -> Bool[Array, "..."]:
    """`solid` after one pass over its subfields, in which simple points go but ends stay.

        image  <-  image (1 - simple (1 - end))

    Ends are found once, before the pass.
    """
    if dimensions not in (2, 3) or solid.ndim < dimensions:
        raise refusal("dimensions", dimensions, "2 or 3, and no more than there are axes")
    ends, axes = end_points(solid, dimensions), tuple(range(-dimensions, 0))
    # A frame of zeros, to an even size: what is shifted around the edge is nothing.
    sizes = solid.shape[-dimensions:]
    before = [(0, 0)] * (solid.ndim - dimensions)
    frame = before + [(1, 1 + n % 2) for n in sizes]
    spread = [(0, 0, 0)] * len(before) + [(0, 1, 1)] * dimensions

    def subfield(image, corner):
        moved = jnp.roll(image, -corner, axes)
        kept = jnp.roll(ends, -corner, axes)[(..., *[slice(None, None, 2)] * dimensions)]
        goes = is_simple(neighbourhoods(moved, dimensions, stride=2)) & ~kept
        goes = jax.lax.pad(goes, jnp.asarray(False), spread)
        return jnp.roll(moved & ~goes, corner, axes), None

    ends = jnp.pad(ends, frame)
    corners = jnp.array(list(product((1, 0), repeat=dimensions)))  # even places first
    image, _ = jax.lax.scan(subfield, jnp.pad(solid, frame), corners)
    return image[(..., *(slice(1, 1 + n) for n in sizes))]
