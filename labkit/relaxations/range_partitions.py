"""How much work an input is, counted: sorting and convex hulls by algorithms that adapt to it.

Cut n items into ranges of n_1, ..., n_k items, each of them easy.  The entropy of the cut,

    H = sum_j n_j / n  log(n / n_j),

says how hard the whole is, if the cut is the best there is.  A sequence is cut into ascending
runs: natural merge sort, its runs merged in the order of Huffman's code, makes no more than
n (H / log 2 + 2) comparisons, n - 1 of them to find the runs.  Points of the plane are cut
into sets that lie below an edge of their hull: marriage before conquest finds the edge above
the median, drops what lies below it, and goes on at both sides.

Everything here is NumPy and counts; nothing is timed.

Sources: Takaoka 2009 (sorting by runs); Kirkpatrick and Seidel 1986, Afshani, Barbay and Chan
2017 (hulls).
"""

import heapq
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from labkit.errors import refusal


def entropy_of(sizes: Sequence[int] | np.ndarray) -> float:
    """H of a cut into parts of these sizes, in nats; parts of size 0 do not count."""
    sizes = np.asarray(sizes, float)
    shares = sizes[sizes > 0] / sizes.sum()
    return float((shares * np.log(1 / shares)).sum())


def run_lengths(values: Float[np.ndarray, " n"]) -> Int[np.ndarray, " runs"]:
    """Lengths of the longest ascending runs, ties included: of all cuts into runs the best."""
    ends = np.flatnonzero(np.diff(values) < 0) + 1
    return np.diff(np.concatenate([[0], ends, [len(values)]])).astype(int)


class Sorted(NamedTuple):
    """A sequence in order, and what it took."""

    values: Float[np.ndarray, " n"]
    comparisons: int


def natural_merge_sort(values: Float[np.ndarray, " n"]) -> Sorted:
    """Find the runs, then merge the two shortest until one is left.

    Raises ValueError for NaN, which has no place in an order.
    """
    if np.isnan(values).any():
        raise refusal("values", values, "numbers")
    lengths = run_lengths(values)
    runs = np.split(np.asarray(values), np.cumsum(lengths)[:-1])
    heap = [(len(run), i, run.tolist()) for i, run in enumerate(runs)]
    heapq.heapify(heap)
    comparisons, names = max(len(values) - 1, 0), len(heap)
    while len(heap) > 1:
        one, other = heapq.heappop(heap)[2], heapq.heappop(heap)[2]
        merged, made = _merged(one, other)
        comparisons, names = comparisons + made, names + 1
        heapq.heappush(heap, (len(merged), names, merged))
    return Sorted(np.array(heap[0][2]), comparisons)


def _merged(one: list, other: list) -> tuple[list, int]:
    out, i, j = [], 0, 0
    while i < len(one) and j < len(other):
        if other[j] < one[i]:
            out.append(other[j])
            j += 1
        else:
            out.append(one[i])
            i += 1
    return out + one[i:] + other[j:], i + j


class Hull(NamedTuple):
    """The corners of a convex hull, counterclockwise from the leftmost, and what they took."""

    corners: Int[np.ndarray, " h"]
    work: int  # points over all calls: a call costs a fixed number of operations a point


def convex_hull(points: Float[np.ndarray, "n 2"]) -> Hull:
    """Marriage before conquest, the upper hull and then the lower.

    Raises ValueError without points, and for points that are not finite.
    """
    points = np.asarray(points, float)
    if not len(points) or not np.isfinite(points).all():
        raise refusal("points", points, "one finite point or more")
    upper, above = _upper(points)
    lower, below = _upper(points * np.array([1.0, -1.0]))
    back = upper[::-1]  # its ends are those of the lower hull, unless points there share their x
    back = back[int(back[0] == lower[-1]) : len(back) - int(back[-1] == lower[0])]
    return Hull(np.array([*lower, *back]), above + below)


def _upper(points: np.ndarray) -> tuple[list[int], int]:
    """The upper hull from left to right, and the points looked at."""
    order = np.lexsort((points[:, 1], points[:, 0]))
    x = points[order, 0]
    order = order[np.append(x[1:] > x[:-1], True)]  # of equal x only the highest
    work = len(points)

    def chain(among: np.ndarray) -> list[int]:
        # `among` holds its own leftmost and rightmost point, first and last.
        nonlocal work
        work += len(among)
        if len(among) <= 2:
            return list(among)
        left, right = _bridge(points, among, len(among) // 2)
        first, last = _above(points, among[: left + 1]), _above(points, among[right:])
        return chain(first) + chain(last)

    return list(dict.fromkeys(chain(order))), work


def _bridge(points: np.ndarray, among: np.ndarray, middle: int) -> tuple[int, int]:
    """The edge of the upper hull over the gap before place `middle`, as places in `among`.

    Linear programming finds it in linear time; here by walking over all of the hull.
    """
    hull: list[int] = []
    for place in range(len(among)):
        while len(hull) > 1 and not _turns_right(points[among[[hull[-2], hull[-1], place]]]):
            hull.pop()
        hull.append(place)
    right = next(i for i, place in enumerate(hull) if place >= middle)
    return hull[right - 1], hull[right]


def _turns_right(three: np.ndarray) -> bool:
    (a, b, c), cross = three, lambda u, v: u[0] * v[1] - u[1] * v[0]
    return cross(b - a, c - b) < 0


def _above(points: np.ndarray, among: np.ndarray) -> np.ndarray:
    """The ends of `among`, and what lies above the line between them."""
    if len(among) <= 2:
        return among
    (x0, y0), (x1, y1) = points[among[0]], points[among[-1]]
    x, y = points[among[1:-1]].T
    over = (y - y0) * (x1 - x0) > (y1 - y0) * (x - x0)
    return np.concatenate([among[:1], among[1:-1][over], among[-1:]])
