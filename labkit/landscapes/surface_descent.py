"""Descent on a landscape of two parameters, where everything can be seen.

    w  <-  w + update(grad L(w))

Drag the start: on Himmelblau's function a small move decides between four minima.  Steps
are at right angles to the level lines, short where it is flat; with too large a step the
path jumps from wall to wall.

Source: F006, Méthode générale pour la résolution des systèmes d'équations simultanées.
"""

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from labkit.claims import Claim
from labkit.descent import Descent, State
from labkit.method import Latest, method
from labkit.problems import EdgeToy, Surface
from labkit.record import Record
from labkit.rules import Rule, Sgd, as_rule
from labkit.run import run
from labkit.views import Panel, Points, Raster, View, lines, path


CELLS = 81  # of the picture, along each side


@method
class SurfaceDescent:
    """Descent by `rule` on a loss of two parameters, its landscape underneath."""

    problem: Surface | EdgeToy = Surface("himmelblau", jnp.array([-0.5, -1.0]))
    rule: Rule = Sgd(lr=0.01)

    steps = 200

    def __post_init__(self):
        object.__setattr__(self, "rule", as_rule(self.rule))

    def init(self, key) -> State:
        return Descent(self.problem, self.rule).init(key)

    def step(self, state: State, key) -> State:
        return Descent(self.problem, self.rule).step(state, key)

    def observe(self, state: State) -> dict[str, Any]:
        # The box may hang on a knob, so that it is seen rather than known.
        u, v = (jnp.linspace(low, high, CELLS) for low, high in self.problem.box)
        loss = jax.vmap(
            jax.vmap(lambda u, v: self.problem.loss(jnp.stack([u, v])), (0, None)), (None, 0)
        )
        return {
            "w": state.w,
            "loss": state.loss,
            "gradient": state.grad,
            "landscape": Latest(loss(u, v)),
            "u": Latest(u),
            "v": Latest(v),
        }


def example() -> SurfaceDescent:
    """Gradient descent on Himmelblau's function."""
    return SurfaceDescent()


@cache
def demo() -> Record:
    """The example, to its end."""
    return run(example())


def _landscape(record: Record) -> Panel:
    z, u, v = (record.last(name) for name in ("landscape", "u", "v"))
    height = np.log10(1.0 + z - z.min())  # so that valleys are seen beside high walls
    first = record["w"][:1]
    start = Points(first[:, 0], first[:, 1], "start: drag it", "threshold", "problem.w0")
    ground = [Raster(height, u, v, "log10(1 + L - lowest)"), start]
    box = (u[0], u[-1]), (v[0], v[-1])
    return Panel("Descent on the landscape", ground, "u", "v", x_range=box[0], y_range=box[1])


views: list[View] = [path("w", under=_landscape), lines("loss", title="Loss")]


def say(record: Record) -> str:
    """Where it is, in a sentence."""
    (u, v), loss = record.last("w"), record.last("loss")
    return f"Step {record.steps[-1]}: loss {loss:.3g} at u = {u:.3g}, v = {v:.3g}."


def claim(record: Record) -> Claim:
    """F006: the loss falls at every step, and the gradient vanishes where it ends.

    Two numbers: the largest rise of the loss between two rows, and the size of the last
    gradient over that of the first.
    """
    with np.errstate(all="ignore"):  # a run that diverged is refused, as not a number
        loss, gradient = record["loss"], np.linalg.norm(record["gradient"], axis=1)
        seen = [np.diff(loss).max() / np.ptp(loss), gradient[-1] / gradient[0]]
    sentence = "Largest rise of the loss / its range, last gradient / first"
    return Claim(seen, 0.0, 1e-4, sentence, relation="<=")
