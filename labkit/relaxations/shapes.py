"""Images and volumes whose topology is known, and how topology is counted.

Pixels are joined through corners too (8 neighbours, 26 in three dimensions), the background
through faces only (4 and 6).  Betti numbers count the pieces, then the holes; in a volume the
pieces, the tunnels and the cavities.  Tunnels are not counted by a labelling, but follow from
the Euler number, pieces - tunnels + cavities.
"""

from itertools import pairwise, product
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from labkit.errors import unknown


Solid = Bool[np.ndarray, "..."]


def betti(solid: np.ndarray) -> tuple[int, ...]:
    """(pieces, holes) of an image, (pieces, tunnels, cavities) of a volume; above 0.5 is solid."""
    solid = np.pad(np.asarray(solid) > 0.5, 1)
    _, pieces = ndimage.label(solid, np.ones((3,) * solid.ndim))
    _, outside = ndimage.label(~solid)
    enclosed = outside - 1
    if solid.ndim == 2:
        return pieces, enclosed
    return pieces, pieces + enclosed - euler(solid), enclosed


def counts(solid: np.ndarray) -> str:
    """The Betti numbers, in words."""
    names = ("piece", "hole") if solid.ndim == 2 else ("piece", "tunnel", "cavity")
    plural = lambda n, name: name if n == 1 else name.replace("cavity", "cavitie") + "s"
    return ", ".join(f"{n} {plural(n, name)}" for n, name in zip(betti(solid), names, strict=True))


def euler(solid: np.ndarray) -> int:
    """The Euler number of the union of closed pixels: corners - edges + faces - cubes."""
    solid = np.pad(np.asarray(solid) > 0.5, 1)
    total = 0
    for along in product((0, 1), repeat=solid.ndim):  # axes along which a cell is long
        cells = solid
        for axis in np.flatnonzero(np.array(along) == 0):
            cells = cells | np.roll(cells, 1, axis)  # a thin cell touches two pixels
        total += (-1) ** sum(along) * int(cells.sum())
    return total


def grid(n: int, dimensions: int) -> Float[np.ndarray, "dimensions ..."]:
    """The centres of n pixels a side in [0, 1] along each axis."""
    at = (np.arange(n) + 0.5) / n
    return np.stack(np.meshgrid(*[at] * dimensions, indexing="ij"))


def strokes(ends: Any, width: Any, n: int = 32) -> Solid:
    """All within `width`, or that of each, of segments [k, 2, dimensions] in the unit cube."""
    ends = np.asarray(ends, float)
    points = grid(n, ends.shape[2])
    solid = np.zeros(points.shape[1:], bool)
    for (start, stop), reach in zip(ends, np.broadcast_to(width, len(ends)), strict=True):
        along = stop - start
        offset = np.moveaxis(points, 0, -1) - start
        share = np.clip(offset @ along / max(along @ along, 1e-12), 0, 1)
        solid |= np.linalg.norm(offset - share[..., None] * along, axis=-1) <= reach
    return solid


LETTERS = {  # corners (height, column) of the strokes of each
    "A": [[(0.15, 0.2), (0.85, 0.5), (0.15, 0.8)], [(0.4, 0.32), (0.4, 0.68)]],
    "B": [
        [(0.85, 0.25), (0.15, 0.25), (0.15, 0.65), (0.32, 0.77), (0.5, 0.62), (0.5, 0.25)],
        [(0.5, 0.62), (0.68, 0.74), (0.85, 0.6), (0.85, 0.25)],
    ],
    "E": [[(0.85, 0.75), (0.85, 0.25), (0.15, 0.25), (0.15, 0.75)], [(0.5, 0.25), (0.5, 0.6)]],
    "i": [[(0.85, 0.5), (0.84, 0.5)], [(0.55, 0.5), (0.15, 0.5)]],
}


def letter(name: str, n: int = 32, width: float = 0.08) -> Solid:
    """A letter in bold: A (one piece, one hole), B (1, 2), E (1, 0) or i (2, 0)."""
    if name not in LETTERS:
        raise unknown("letter", name, LETTERS)
    pairs = [pair for line in LETTERS[name] for pair in pairwise(line)]
    return strokes(pairs, width, n)


def two_holes(n: int = 32) -> Solid:
    """A disc with two holes: (1, 2)."""
    row, column = grid(n, 2)
    away = lambda r, c: np.hypot(row - r, column - c)
    return (away(0.5, 0.5) <= 0.44) & (away(0.4, 0.32) > 0.1) & (away(0.55, 0.68) > 0.13)


def scene() -> Solid:
    """32 x 32: a disc with two holes, an A and a branching line, (3, 3)."""
    image = np.zeros((32, 32), bool)
    image[13:31, 1:19] = two_holes(18)
    image[16:30, 18:32] |= letter("A", 14, 0.09)
    line = [[(0.05, 0.1), (0.25, 0.5)], [(0.25, 0.5), (0.08, 0.92)], [(0.25, 0.5), (0.33, 0.85)]]
    return image | strokes(line, (0.045, 0.05, 0.03))


def blob(seed: int, n: int = 32) -> Solid:
    """Where smoothed noise is above its mean: pieces and holes as they come."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(n, n)), n / 16)
    return noise > noise.mean()


def vessels(seed: int, n: int = 32, branches: int = 6) -> Solid:
    """Thin branches, each from a place on an earlier one."""
    random = np.random.default_rng(seed)
    ends = [np.array([[0.05, random.uniform(0.2, 0.8)], [0.95, random.uniform(0.2, 0.8)]])]
    for _ in range(branches):
        start, stop = ends[random.integers(len(ends))]
        root = start + random.uniform(0.2, 0.9) * (stop - start)
        angle = random.uniform(0, 2 * np.pi)
        tip = root + random.uniform(0.25, 0.5) * np.array([np.cos(angle), np.sin(angle)])
        ends.append(np.array([root, np.clip(tip, 0.05, 0.95)]))
    return strokes(ends, random.uniform(0.03, 0.055, len(ends)), n)


def torus(n: int = 24) -> Solid:
    """A thick ring: (1, 1, 0)."""
    x, y, z = grid(n, 3) - 0.5
    return np.hypot(np.hypot(x, y) - 0.3, z) <= 0.13


def shell(n: int = 24) -> Solid:
    """A hollow ball: (1, 0, 1)."""
    away = np.linalg.norm(grid(n, 3) - 0.5, axis=0)
    return (away >= 0.25) & (away <= 0.42)


def tree(n: int = 24) -> Solid:
    """A stem with branches: (1, 0, 0)."""
    ends = [
        [(0.1, 0.5, 0.5), (0.9, 0.5, 0.5)],
        [(0.4, 0.5, 0.5), (0.75, 0.85, 0.5)],
        [(0.5, 0.5, 0.5), (0.85, 0.2, 0.2)],
        [(0.6, 0.5, 0.5), (0.85, 0.45, 0.85)],
    ]
    return strokes(ends, (0.11, 0.08, 0.08, 0.08), n)


def balls(n: int = 24) -> Solid:
    """Eight balls apart: (8, 0, 0)."""
    return strokes([[c, c] for c in product((0.27, 0.73), repeat=3)], 0.16, n)


VOLUMES = {"torus": torus, "shell": shell, "tree": tree, "balls": balls}
