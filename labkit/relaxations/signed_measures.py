"""Components of a graph under two filtrations, as a sum of signed atoms.

Each vertex and each edge has two grades (x, y), an edge none below those of its ends.  The
Hilbert function counts components of what has come by then:

    H(x, y)  =  components of the graph of all with grades <= (x, y)
             =  sum of the signs of the atoms (x_a, y_a) <= (x, y)

With two grades there is no barcode; these atoms there are.  On a grid they are the Moebius
inversion mu = H[i, j] - H[i-1, j] - H[i, j-1] + H[i-1, j-1].  Found without a grid: a vertex is
an atom +1 at its grades.  Edges come by x; the forest that is minimal in y is kept.  Where edge
e joins two trees there is an atom -1 at (x_e, y_e); where it takes the place of a later edge m
there is one more, +1 at (x_e, y_m): components that m joined are joined by e before.

So each coordinate of an atom is a grade of one vertex or edge, and is known by its index: with
the order of the grades constant around generic ones, gathering is differentiating.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from labkit.errors import refusal


Grades = Float[np.ndarray, "vertices+edges 2"]  # vertices first
Edges = Int[np.ndarray, "edges 2"]


class SignedMeasure(NamedTuple):
    """Atom a has the first grade of `x[a]`, the second of `y[a]`, and the sign `sign[a]`."""

    x: Int[np.ndarray, " atoms"]  # indices into the grades
    y: Int[np.ndarray, " atoms"]
    sign: Int[np.ndarray, " atoms"]  # whole numbers, not 0

    def places(self, grades: Grades) -> Float[np.ndarray, "atoms 2"]:
        """Where the atoms are."""
        return np.stack([grades[self.x, 0], grades[self.y, 1]], axis=1)


class Trees:
    """Union-find: which vertices are joined."""

    def __init__(self, vertices: int):
        self.above = list(range(vertices))

    def root(self, v: int) -> int:
        """The name of the tree of v."""
        while self.above[v] != v:
            self.above[v] = v = self.above[self.above[v]]
        return v

    def join(self, edge) -> bool:
        """Whether the ends were in two trees, which are now one."""
        u, v = self.root(int(edge[0])), self.root(int(edge[1]))
        self.above[u] = v
        return u != v


def check_grades(grades: Grades, edges: Edges) -> int:
    """How many vertices there are; refuses an edge that comes before an end of it."""
    vertices = len(grades) - len(edges)
    if vertices < 1 or grades.shape[1:] != (2,):
        raise refusal("grades", grades.shape, "[vertices + edges, 2]")
    if len(edges) and (grades[vertices:] < grades[edges].max(axis=1) - 1e-12).any():
        raise refusal("grades", grades, "none of an edge below those of its ends")
    return vertices


def hilbert_function(grades: Grades, edges: Edges, x, y) -> Int[np.ndarray, "x y"]:
    """H at each (x[i], y[j]), by a union-find for each x."""
    vertices = check_grades(grades, edges)
    order = vertices + np.argsort(grades[vertices:, 1], kind="stable")
    found = np.zeros((len(x), len(y)), int)
    for row, limit in zip(found, x, strict=True):
        trees, joined = Trees(vertices), []
        for e in order[grades[order, 0] <= limit]:
            if trees.join(edges[e - vertices]):
                joined.append(grades[e, 1])
        born = np.sort(grades[:vertices][grades[:vertices, 0] <= limit, 1])
        row[:] = np.searchsorted(born, y, "right") - np.searchsorted(joined, y, "right")
    return found


def moebius(h: Int[np.ndarray, "x y"]) -> Int[np.ndarray, "x y"]:
    """mu, whose double cumulative sum is h."""
    return np.diff(np.diff(h, axis=0, prepend=0), axis=1, prepend=0)


def signed_measure(grades: Grades, edges: Edges) -> SignedMeasure:
    """The atoms of H, without a grid; pairs of one place and opposite signs are left out."""
    vertices = check_grades(grades, edges)
    atoms: dict[tuple, list[int]] = {}  # by place

    def add(x: int, y: int, sign: int) -> None:
        place = grades[x, 0], grades[y, 1]
        atoms.setdefault(place, [x, y, 0])[2] += sign

    for v in range(vertices):
        add(v, v, 1)
    forest: list[int] = []  # by the second grade
    for e in map(int, vertices + np.lexsort((grades[vertices:, 1], grades[vertices:, 0]))):
        place = len(forest)
        while place and grades[forest[place - 1], 1] > grades[e, 1]:
            place -= 1
        forest.insert(place, e)
        trees = Trees(vertices)
        closes = next((m for m in forest if not trees.join(edges[m - vertices])), None)
        if closes is not None:
            forest.remove(closes)
        if closes != e:
            add(e, e, -1)
            if closes is not None:
                add(e, closes, 1)
    left = np.array([atom for atom in atoms.values() if atom[2]], int)
    return SignedMeasure(*left.reshape(-1, 3).T)


def on_grid(measure: SignedMeasure, grades: Grades) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(x, y, mu): the coordinates that occur, as sorted indices into the grades, and mu there."""
    (a, x, i), (b, y, j) = (
        np.unique(coordinates, return_index=True, return_inverse=True)
        for coordinates in measure.places(grades).T
    )
    mu = np.zeros((len(a), len(b)), int)
    mu[i, j] = measure.sign
    return measure.x[x], measure.y[y], mu


def count_at(measure: SignedMeasure, grades: Grades, x, y) -> Int[np.ndarray, "x y"]:
    """H at each (x[i], y[j]), by the atoms."""
    places = measure.places(grades)
    left = (places[:, 0][None] <= np.asarray(x)[:, None]).astype(int)
    below = (places[:, 1][None] <= np.asarray(y)[:, None]).astype(int)
    return (left * measure.sign) @ below.T


def along_slice(
    atoms: Float[np.ndarray, "atoms 3"], angle: float, t: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """H at t (cos angle, sin angle), from places and signs: a Betti curve of one parameter."""
    entered = when_on_slice(atoms[:, :2], angle)
    return ((entered[None] <= t[:, None]) * atoms[:, 2]).sum(axis=1)


def when_on_slice(grades: Float[np.ndarray, "n 2"], angle: float) -> Float[np.ndarray, " n"]:
    """The t from which on t (cos angle, sin angle) is at or above the grades in both."""
    return (grades / [np.cos(np.radians(angle)), np.sin(np.radians(angle))]).max(axis=1)
