"""Exercises that check themselves.

The cell of an exercise names its task in its first line and holds a solution between two
marks; the cell after it checks the answer:

    # Exercise 1: the largest curvature at which lr 0.1 is stable
    ### BEGIN SOLUTION
    largest = 2 / 0.1
    ### END SOLUTION

    expect(largest, 20.0, hint="It is stable while lr * curvature < 2.")

A student's copy has `stub` of the first cell.
"""

import re
from typing import Any

import numpy as np


SOLUTION = re.compile(
    r"^(?P<indent>[ \t]*)### BEGIN SOLUTION\n(?P<code>.*?)^[ \t]*### END SOLUTION[ \t]*$",
    re.DOTALL | re.MULTILINE,
)


def expect(answer: Any, expected: Any, *, tolerance: float = 1e-9, hint: str) -> None:
    """Say that `answer` is right: a number, an array or a text.

    Numbers may be off by `tolerance`, which by default is for rounding alone; of texts, case
    and spaces at the ends do not count.
    Raises AssertionError, which gives the hint, when it is wrong.
    """
    if not _same(answer, expected, tolerance):
        raise AssertionError(f"Not yet: {_short(answer)} is not the answer.  Hint: {hint}")
    within = f" to within {tolerance:.3g}" if tolerance > 1e-9 else ""
    print(f"Right: {_short(answer)} is as expected{within}.")


def stub(cell: str) -> str:
    """`cell` with each solution replaced by an error that names the task, its first line."""
    task = cell.partition("\n")[0].lstrip("# ")
    return SOLUTION.sub(lambda found: f"{found['indent']}raise NotImplementedError({task!r})", cell)


def _same(answer: Any, expected: Any, tolerance: float) -> bool:
    if isinstance(expected, str):
        return isinstance(answer, str) and answer.strip().lower() == expected.strip().lower()
    try:
        given, wanted = np.asarray(answer, float), np.asarray(expected, float)
    except (TypeError, ValueError):  # no numbers at all
        return False
    return given.shape == wanted.shape and bool((np.abs(given - wanted) <= tolerance).all())


def _short(answer: Any) -> str:
    try:
        return np.array2string(np.asarray(answer, float), precision=4, threshold=6)
    except (TypeError, ValueError):
        return repr(answer)
