"""What each of the 64 cells is worth: every one trained in float32 from 8 seeds, and kept.

    python -m labkit.relaxations.cell_table        trains them anew and writes cells.csv

A search that proposes a cell is judged by what stands here, not by its own supernet.  The
oracle is noisy: seeds of one cell differ by more than half as much as the cells do.  So ranks have
a tie band of one standard error, and constant cells, which anything beats, are left out of
rank correlations.
"""

import csv
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import jax
import jax.random as jr
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from labkit.adaptive import Adam
from labkit.descent import Descent
from labkit.loop import unroll
from labkit.relaxations.cells import (
    USUAL,
    Cell,
    Supernet,
    all_cells,
    digit_cells,
    is_constant,
    one_hot,
)


STEPS, LR, SEEDS = 150, 0.02, 8
FILE = "cells.csv"


class Trained(NamedTuple):
    """How cells do once they are trained."""

    loss: Float[Array, " n"]  # cross entropy on the validation samples
    accuracy: Float[Array, " n"]  # there
    test: Float[Array, " n"]  # accuracy on the test samples


@jax.jit
def train(space: Supernet, cells: Int[Array, "n 3"], seeds: Int[Array, " n"]) -> Trained:
    """Train each cell from its seed: `STEPS` steps of Adam on all training samples."""

    def one(cell, seed):
        shares = one_hot(cell, len(space.operations))
        descent = Descent(Cell(space, shares), Adam(lr=LR))
        w = unroll(descent, STEPS, jr.key(seed))[0].w
        return Trained(
            space.loss(w, shares, space.validation),
            space.accuracy(w, shares, space.validation),
            space.accuracy(w, shares, space.test),
        )

    return jax.vmap(one)(cells, seeds)


class CellTable(NamedTuple):
    """The table: cells in the order of `all_cells`, operations in that of `USUAL`."""

    cells: Int[np.ndarray, "64 3"]
    loss: Float[np.ndarray, "64 seeds"]
    accuracy: Float[np.ndarray, "64 seeds"]
    test: Float[np.ndarray, "64 seeds"]

    @property
    def constant(self) -> Bool[np.ndarray, " 64"]:
        """Cells whose output does not depend on x."""
        return is_constant(self.cells)

    @property
    def mean(self) -> Float[np.ndarray, " 64"]:
        """Validation accuracy, mean over the seeds."""
        return self.accuracy.mean(axis=1)

    @property
    def error(self) -> Float[np.ndarray, " 64"]:
        """Standard error of that mean."""
        return self.accuracy.std(axis=1, ddof=1) / np.sqrt(self.accuracy.shape[1])

    def index(self, cell: Sequence[int]) -> int:
        """The row of a cell, given as the index of the operation on each edge."""
        return int(np.ravel_multi_index(tuple(cell), (len(USUAL),) * 3))

    def regret(self, cell: Sequence[int]) -> float:
        """How much less accurate than the best cell."""
        return float(self.mean.max() - self.mean[self.index(cell)])

    def rank(self, cell: Sequence[int]) -> int:
        """1 and the number of cells that are better by more than a standard error.

        The standard error is of the difference between the two means.
        """
        row = self.index(cell)
        band = np.hypot(self.error, self.error[row])
        return 1 + int((self.mean - self.mean[row] > band).sum())


@cache
def cell_table() -> CellTable:
    """The table as it was trained and kept."""
    with files("labkit.relaxations").joinpath(FILE).open(encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    of = lambda name: np.array([row[name] for row in rows], float).reshape(-1, SEEDS)
    return CellTable(all_cells(), of("loss"), of("accuracy"), of("test"))


def write(path: str | Path) -> Path:
    """Train every cell from every seed, some minutes on a CPU, and write the table."""
    space, cells, path = digit_cells(), all_cells(), Path(path)
    seeds = np.arange(SEEDS)
    with path.open("w", encoding="utf-8", newline="") as out:
        lines = csv.writer(out, lineterminator="\n")
        lines.writerow(["cell", "seed", *Trained._fields])
        for cell in cells:
            found = train(space, np.tile(cell, (SEEDS, 1)), seeds)
            name = " ".join(USUAL[operation] for operation in cell)
            for seed, values in zip(seeds, zip(*map(np.asarray, found), strict=True), strict=True):
                lines.writerow([name, seed, *(f"{value:.5f}" for value in values)])
    return path


if __name__ == "__main__":
    print(write(Path(__file__).with_name(FILE)))
