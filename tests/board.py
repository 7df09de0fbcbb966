"""A method that only shows what a hand made: cells that are painted, nodes that are joined."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from labkit import knob, sweep
from labkit.method import pytree
from labkit.views import Graph, Panel, Raster


ROWS, COLUMNS, NODES = 4, 6, 5


@pytree
class Board:
    """The two arrays as they stand."""

    cells: Float[Array, "rows columns"] = knob(np.zeros((ROWS, COLUMNS)), 0.0, 1.0)
    links: Float[Array, "nodes nodes"] = knob(np.zeros((NODES, NODES)), 0.0, 1.0)

    def __call__(self, t):
        return {"cells": jnp.asarray(self.cells), "links": jnp.asarray(self.links)}


def board():
    """The board as a sweep of one row."""
    return sweep(Board(), [0.0], "t")


def cells(record):
    """What is painted."""
    z = record.last("cells")
    return Panel("Cells", [Raster(z, np.arange(COLUMNS), np.arange(ROWS), "", "cells")], "x", "y")


def links(record):
    """What is joined."""
    turn = 2 * np.pi * np.arange(NODES) / NODES
    edges = np.argwhere(np.triu(record.last("links")) > 0.5)
    return Panel("Links", [Graph(np.cos(turn), np.sin(turn), edges, edits="links")], equal=True)


views = [cells, links]
