"""The soak of the benchmarks, shortened: a real kernel, moves as a page sends them."""

import sys
from pathlib import Path


sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import soak


CHOICE = """Explorer(
    labkit.Descent(labkit.problems.Quadratic(jax.numpy.array([1.0, 0.1])), labkit.Momentum(0.05)),
    [labkit.views.lines("loss")], pace=None,
)"""


def test_some_hundred_moves_raise_nothing_leave_nothing_behind_and_take_no_memory():
    scenes = {name: soak.SCENES[name] for name in ("sweep", "descent", "board")}
    seen = soak.soak(300, samples=2, scenes=scenes | {"choice": CHOICE})
    assert seen.errors == []
    assert seen.left == []
    assert seen.widgets == 0
    assert seen.moves >= 300
    assert seen.frames > 60  # two pages, a picture a drag
    assert seen.growth < soak.MOST
