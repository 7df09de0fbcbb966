"""Descent on the components of a graph under two filtrations at once.

H(x, y) counts the components of what has come by scale x and codensity y (`signed_measures`).
The loss asks for k of them, all over a box [0, R] x [0, D]:

    L  =  mean over the box of |H - k|
       =  k + sum_ij nu_ij (R - x_i)_+ (D - y_j)_+ / (R D),      nu = Moebius of |H - k| - k

The weights nu are whole numbers.  They stay as they are while the order of the grades does, so

    dL/dx_i  =  -1[x_i < R] sum_j nu_ij (D - y_j)_+ / (R D)

is exact almost everywhere, and goes on to the points through the one vertex or edge whose grade
x_i is.  With scale alone, H(x) is single linkage's count of clusters, and one outlier is as good
a cluster as many points are.  What to look for is what two grades make of it.

Source: S063, Differentiability and Optimization of Multiparameter Persistent Homology.
"""

from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from labkit.claims import Claim
from labkit.method import Latest, Padded, knob, method, replace
from labkit.record import Record
from labkit.relaxations import staircase_views
from labkit.relaxations.filtered_graphs import Cloud
from labkit.relaxations.signed_measures import (
    SignedMeasure,
    count_at,
    hilbert_function,
    moebius,
    on_grid,
    signed_measure,
)
from labkit.run import run


GRID = 41  # places along each side of the box where H is seen


class State(NamedTuple):
    w: Float[np.ndarray, "n 2"]  # points
    grades: Float[np.ndarray, "vertices+edges 2"]
    measure: SignedMeasure
    loss: float
    grad: Float[np.ndarray, "n 2"]  # of the loss in w


@jax.jit
def _grades(problem: Any, w) -> Any:
    return problem.grades(w)


@jax.jit
def _pulled(problem: Any, w, slopes) -> Any:
    _, pull = jax.vjp(problem.grades, w)
    return pull(slopes)[0]


def grades_of(problem: Any, w: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "all 2"]:
    """The grades in double precision, on the host."""
    with jax.enable_x64(True):
        return np.asarray(_grades(problem, jnp.asarray(w)))


def count_loss(
    measure: SignedMeasure, grades: np.ndarray, k: float, box: tuple[float, float]
) -> tuple[float, Float[np.ndarray, "all 2"]]:
    """L, and its gradient in the grades; the box is [0, R] x [0, D]."""
    x, y, mu = on_grid(measure, grades)
    h = mu.cumsum(axis=0).cumsum(axis=1)
    nu = moebius(abs(h - k) - k)
    (R, D), a, b = box, grades[x, 0], grades[y, 1]
    right, above = R - np.clip(a, 0, R), D - np.clip(b, 0, D)
    slopes = np.zeros_like(grades)
    slopes[x, 0] = -(nu @ above) * ((a > 0) & (a < R)) / (R * D)
    slopes[y, 1] = -(right @ nu) * ((b > 0) & (b < D)) / (R * D)
    return float(k + right @ nu @ above / (R * D)), slopes


@method(host=True)
class MultiparameterPersistence:
    """Descent on L from the points of `problem`, which are dragged."""

    problem: Any = Cloud()
    k: float = knob(2.0, 0.0, 6.0, within=(0.0, np.inf), about="components asked for")
    scale: float = knob(0.8, 0.2, 2.0, within=(1e-3, 1e3), about="R, side of the box")
    depth: float = knob(1.0, 0.2, 1.5, within=(1e-3, 1e3), about="D, side of the box")
    angle: float = knob(70.0, 1.0, 89.0, within=(0.1, 89.9), about="of the slice, degrees")
    lr: float = knob(0.03, 0.001, 0.1, log=True, live=True)

    steps = 100

    @property
    def box(self) -> tuple[float, float]:
        """[0, R] x [0, D]."""
        return float(self.scale), float(self.depth)

    def init(self, key) -> State:
        del key
        return self.at(np.asarray(self.problem.start, float))

    def at(self, w: Float[np.ndarray, "n 2"]) -> State:
        """Everything there is to know at w."""
        grades = grades_of(self.problem, w)
        measure = signed_measure(grades, np.asarray(self.problem.edges))
        loss, slopes = count_loss(measure, grades, self.k, self.box)
        with jax.enable_x64(True):
            grad = np.asarray(_pulled(self.problem, jnp.asarray(w), jnp.asarray(slopes)))
        return State(w, grades, measure, loss, grad)

    def step(self, state: State, key) -> State:
        del key
        return self.at(state.w - self.lr * state.grad)

    def observe(self, state: State) -> dict[str, Any]:
        places = state.measure.places(state.grades)
        atoms = np.full((2 * len(state.grades), 3), np.nan)
        atoms[: len(places)] = np.column_stack([places, state.measure.sign])
        x, y = (np.linspace(0, side, GRID) for side in self.box)
        by_atoms = count_at(state.measure, state.grades, x, y)
        by_trees = hilbert_function(state.grades, np.asarray(self.problem.edges), x, y)
        return {
            "w": state.w,
            "start": Latest(np.asarray(self.problem.start, float)),
            "gradient": state.grad,
            "loss": state.loss,
            "mass": int(state.measure.sign.sum()),
            "hilbert_error": int(np.abs(by_atoms - by_trees).max()),
            "slope_error": self.slope_error(state),
            "H": Latest(by_atoms),
            "x": Latest(x),
            "y": Latest(y),
            "atoms": Padded(atoms, len(places)),
            "angle": self.angle,
        }

    def slope_error(self, state: State, h: float = 1e-6) -> float:
        """Of the gradient along itself against a central difference, relative."""
        along = state.grad / max(np.linalg.norm(state.grad), 1e-12)
        ends = [self._loss(state.w + sign * h * along) for sign in (1, -1)]
        slope = np.vdot(state.grad, along)
        return float(abs((ends[0] - ends[1]) / (2 * h) - slope) / max(slope, 1e-12))

    def _loss(self, w: np.ndarray) -> float:
        grades = grades_of(self.problem, w)
        measure = signed_measure(grades, np.asarray(self.problem.edges))
        return count_loss(measure, grades, self.k, self.box)[0]


def example() -> MultiparameterPersistence:
    """Two circles of eight points and an outlier, which are to be two components."""
    return MultiparameterPersistence()


@cache
def demo() -> Record:
    """The example, every fifth step seen; beside it the same descent by scale alone."""
    alone = replace(example(), {"by": "scale"})
    return run(example(), every=5).beside(scale=run(alone, every=5))


views = staircase_views.views


def apart(w: Float[np.ndarray, "... n 2"]) -> Float[np.ndarray, "..."]:
    """How far the means of the two circles of `two_circles` are apart, one outlier left out."""
    n = w.shape[-2] // 2
    return np.linalg.norm(w[..., :n, :].mean(-2) - w[..., n : 2 * n, :].mean(-2), axis=-1)


def say(record: Record) -> str:
    """Atoms and loss, in a sentence."""
    signs = staircase_views.seen_atoms(record)[:, 2]
    return (
        f"Step {record.steps[-1]}: {np.sum(signs > 0)} atoms + and {np.sum(signs < 0)} atoms -, "
        f"signs sum to {record.last('mass')}; H is {record.last('loss'):.3g} off in the mean."
    )


def claim(record: Record) -> Claim:
    """S063: the atoms are H, gathering is its gradient, and one outlier is no component.

    Five numbers, each at most so much: the largest error of H by the atoms; of their sum against
    the one component of all; the median relative error of the slope; how much nearer the two
    circles have come; and how much of their distance is left by scale alone.
    """
    ways = [apart(record[name][[0, -1]]) for name in ("w", "scale.w")]
    kept = [way[1] / way[0] for way in ways]
    errors = [record["hilbert_error"].max(), np.abs(record["mass"] - 1).max()]
    seen = [*errors, np.median(record["slope_error"]), 1 - kept[0], kept[1]]
    most = [0.0, 0.0, 1e-6, 0.15, 0.75]
    sentence = "Errors of H, of the sum, of the slope; approach of the circles; rest by scale alone"
    return Claim(seen, most, 0.0, sentence, relation="<=")
