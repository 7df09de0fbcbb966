"""What a hand does to the array field behind a mark.

drag    a point of the figure to (x, y)
paint   cells of a raster to 0 or 1
join    two nodes of a graph, or part them
"""

from typing import Literal, NamedTuple

import numpy as np


class Edit(NamedTuple):
    """One gesture, or the part of it since the last report."""

    gesture: Literal["drag", "paint", "join"]
    field: str  # its dotted name
    at: tuple[int, ...]  # the point; or the cells, row by row
    to: tuple[float, ...]  # x and y of a drag, the value that is painted, nothing of a join


def edited(
    value: np.ndarray, edit: Edit, low: float, high: float, *, alone: bool = False
) -> np.ndarray:
    """The field after the gesture, what it changed held between `low` and `high`.

    A field of two numbers is one point when it is `alone`.
    """
    value = np.array(value, float)
    to = np.clip(edit.to, low, high)
    if edit.gesture == "paint":
        value.flat[list(edit.at)] = to[0]
    elif edit.gesture == "join":
        value.flat[list(edit.at)] = float(value.flat[edit.at[0]] < 0.5)
    elif value.shape == (2,) and alone:
        value[:] = to
    elif value.ndim == 1:
        value[edit.at[0]] = to[1]
    else:
        value[edit.at[0]] = to
    return value
