"""Two classes that a line separates: which line?

Points z_i = s_i x_i, labels s_i = +-1 put into them, are separated by w when all w . z_i > 0,
and then a longer w is always better:

    L(w) = log mean_i exp(-w . z_i)

has no minimum.  (The logarithm of the exponential loss: the same directions of descent,
without gradients that vanish.)  The length of w goes to infinity and its direction decides.
Steepest descent in a norm, with steps lr / sqrt(t) long, comes to the direction of the largest
margin in that norm,

    margin(w) = min_i w . z_i / |w|,

gradient descent in l2, sign descent in l-infinity, coordinate descent (AdaBoost) in l1.  The
margin in a norm is the distance of the nearest point from the line in its dual norm.

Source: S054, Optimizers Qualitatively Alter Solutions And We Should Leverage This; Telgarsky
2013; Gunasekar, Lee, Soudry and Srebro 2018.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from labkit.descent import Descent
from labkit.descent import State as DescentState
from labkit.dynamics.geometries import Steepest
from labkit.errors import refusal
from labkit.method import Latest, knob, method, pytree
from labkit.record import Record
from labkit.views import Curve, Mark, Panel, Points, View


NORMS = ("l2", "l1", "linf")
NAMES = {"l2": "gradient", "l1": "coordinate", "linf": "sign"}
POINTS = (
    (1.0, 0.6), (1.9, 1.3), (2.4, 0.8), (0.7, 2.5),
    (-0.6, -2.2), (-1.4, -1.5), (-2.2, -0.8), (-2.4, -2.0),
)  # fmt: skip
ORDER = {"l1": 1, "l2": 2, "linf": np.inf}


@pytree
class Separable:
    """log mean_i exp(-s_i w . x_i): the first half of the points has the label +1, the rest -1."""

    x: Float[Array, "points n"] = knob(POINTS, -3.0, 3.0, about="the points")

    def check(self):
        """Raise ValueError unless there are two points or more."""
        if np.ndim(self.x) != 2 or len(self.x) < 2:
            raise refusal("x", self.x, "points [points, n], two or more")

    @property
    def z(self) -> Float[Array, "points n"]:
        """The points with their labels put into them, s_i x_i."""
        points = jnp.asarray(self.x)
        half = jnp.arange(len(points)) < len(points) // 2
        return jnp.where(half[:, None], points, -points)

    def start(self, key: Key[Array, ""]) -> Float[Array, " n"]:
        """Zero, whatever the key."""
        del key
        return jnp.zeros_like(self.z[0])

    def loss(self, w: Float[Array, " n"], batch: None = None) -> Float[Array, ""]:
        """log mean_i exp(-w . z_i)."""
        del batch
        return jax.nn.logsumexp(-self.z @ w) - jnp.log(len(self.z))


class State(NamedTuple):
    lanes: tuple[DescentState, ...]  # one a norm, in the order of NORMS


@method
class Margins:
    """Steepest descent on separable points in l2, l1 and l-infinity at once."""

    problem: Separable = Separable()
    lr: float = knob(0.5, 0.05, 2.0, log=True, about="length of the first step")

    steps = 10_000

    def init(self, key) -> State:
        return State(tuple(descent.init(key) for descent in self._descents()))

    def step(self, state: State, key) -> State:
        both = zip(self._descents(), state.lanes, strict=True)
        return State(tuple(descent.step(lane, key) for descent, lane in both))

    def observe(self, state: State) -> dict[str, Any]:
        w = jnp.stack([lane.w for lane in state.lanes])
        z, lengths = self.problem.z, [_length(v, norm) for v, norm in zip(w, NORMS, strict=True)]
        least = jnp.min(w @ z.T, axis=1)
        return {
            "w": w,
            "margin": least / jnp.where(least == 0, 1.0, jnp.stack(lengths)),
            "loss": jnp.stack([lane.loss for lane in state.lanes]),
            "points": Latest(self.problem.x),
            "z": Latest(z),
        }

    def _descents(self) -> list[Descent]:
        return [Descent(self.problem, Steepest(self.lr, norm, "falling")) for norm in NORMS]


def _length(w: Float[Array, " n"], norm: str) -> Float[Array, ""]:
    return jnp.linalg.norm(w, ORDER[norm])


def widest(z: Float[np.ndarray, "points n"], norm: str) -> tuple[Float[np.ndarray, " n"], float]:
    """The direction of the largest margin min_i w . z_i over |w| <= 1, and that margin.

    l1 and l-infinity are linear programs.  l2 is the point of the hull of the z_i nearest 0,
    found by non-negative least squares.  Margin 0: no w separates the points; not a number: they
    are not known yet.
    """
    from scipy.optimize import linprog, nnls

    z = np.asarray(z, float)
    points, n = z.shape
    if not np.isfinite(z).all():
        return np.full(n, np.nan), float("nan")
    if norm == "l2":  # the nearest point is sum_i c_i z_i; ask for sum_i c_i = 1 in another row
        rows = np.vstack([z.T, np.ones(points)])
        c = nnls(rows, np.eye(n + 1)[n])[0]
        near = z.T @ (c / c.sum())
        size = float(np.linalg.norm(near))
        apart = size > 1e-7 * np.abs(z).max()
        return (near / size, size) if apart else (np.zeros(n), 0.0)
    below = np.zeros(points)
    if norm == "l1":  # w = up - down, at least 0, of sum 1 at most
        sides = np.hstack([-z, z, np.ones((points, 1))])
        whole = np.append(np.ones(2 * n), 0.0)
        bounds = [(0, None)] * (2 * n) + [(0, None)]
        answer = linprog(
            -np.eye(2 * n + 1)[-1], np.vstack([sides, whole]), np.append(below, 1.0), bounds=bounds
        )
        return answer.x[:n] - answer.x[n : 2 * n], float(answer.x[-1])
    if norm == "linf":
        bounds = [(-1, 1)] * n + [(0, None)]
        sides = np.hstack([-z, np.ones((points, 1))])
        answer = linprog(-np.eye(n + 1)[-1], sides, below, bounds=bounds)
        return answer.x[:n], float(answer.x[-1])
    raise refusal("norm", norm, "l1, l2 or linf")


def ratios(record: Record) -> Float[np.ndarray, "rows 3"]:
    """The margins over the largest there are, in the order of NORMS."""
    best = np.array([widest(record.last("z"), norm)[1] for norm in NORMS])
    return record["margin"] / np.where(best > 0, best, np.nan)


def _plane(record: Record) -> Panel:
    points, z = record.last("points"), record.last("z")
    half, reach = len(points) // 2, 3.2
    marks: list[Mark] = []
    for norm, w in zip(NORMS, record.last("w"), strict=True):
        marks.append(_line(w, reach, NAMES[norm], NAMES[norm]))
    for norm in NORMS:
        best = widest(z, norm)[0]
        marks.append(_line(best, reach, "largest margin", "optimum"))
    marks.append(Points(points[:, 0], points[:, 1], "drag the points", "data", "problem.x"))
    marks.append(Points(points[:half, 0], points[:half, 1], "label +1", "loss"))
    marks.append(Points(points[half:, 0], points[half:, 1], "label -1", "start"))
    sides = (-reach, reach)
    return Panel("Three lines", marks, "x1", "x2", equal=True, x_range=sides, y_range=sides)


def _line(w: np.ndarray, reach: float, label: str, role: str) -> Curve:
    """The line w . x = 0, from edge to edge; nothing where w is 0."""
    size = np.linalg.norm(w)
    along = np.array([-w[1], w[0]]) / size if size > 0 else np.full(2, np.nan)
    ends = 2.0 * reach * np.array([-1.0, 1.0])
    return Curve(ends * along[0], ends * along[1], label, role)


def _short(record: Record) -> Panel:
    # A ratio may round to 1 and a little more; below 1e-6 nothing is known in float32.
    missing = np.maximum(1.0 - ratios(record)[1:], 1e-6)
    marks = [
        Curve(record.steps[1:], column, NAMES[norm], NAMES[norm])
        for norm, column in zip(NORMS, missing.T, strict=True)
    ]
    return Panel("What the margin lacks", marks, "step", "1 - margin / largest", True, True)


views: list[View] = [_plane, _short]


def example() -> Margins:
    """Eight points in the plane, where the three norms want three lines."""
    return Margins()


def say(record: Record) -> str:
    """The margins beside the largest, in a sentence."""
    if np.isnan(record.last("z")).any():
        return "Nothing is known yet."
    shares = ratios(record)[-1]
    if not np.isfinite(shares).all():
        return f"Step {record.steps[-1]}: no line through 0 separates these points."
    said = ", ".join(f"{NAMES[n]} {share:.4f}" for n, share in zip(NORMS, shares, strict=True))
    return f"Step {record.steps[-1]}: margin / largest in its own norm: {said}."
