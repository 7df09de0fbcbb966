"""A discrete choice made by gradients on two levels: weights train, logits validate.

    w      <-  w - lr grad_w L_train(w, alpha)
    alpha  <-  alpha - rate d/d alpha L_val(w', alpha),      w' = w - xi grad_w L_train(w, alpha)

The best weights for each alpha are out of reach, so one step of length xi stands for them, and
w' is differentiated along with L_val:

    d/d alpha  =  grad_alpha L_val(w', alpha) - xi (d grad_w L_train / d alpha)' v,
    v          =  grad_w L_val(w', alpha)

First order leaves out the second term (xi = 0).  The second order takes the mixed derivative as
the difference of two gradients at w +- epsilon v, epsilon = 0.01 / |v|, or exactly, through the
step.  Where operations have kinks the difference is off by some per cent of that term.

On `ScalarToy`, where the minimum over w is w = alpha, the descent comes to rest at
alpha = 2 / (1 + 2 xi): the true optimum is 1, at xi = 1/2.  On a supernet the logits are shares of
operations that race, and the largest stays.

Source: S037, DARTS: Differentiable Architecture Search.
"""

from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, PyTree

from labkit.adaptive import Adam
from labkit.claims import Claim
from labkit.method import choice, knob, method, pytree
from labkit.record import Record
from labkit.relaxations.cell_search import CellSearch, course, jump, race, told
from labkit.relaxations.cells import digit_cells
from labkit.relaxations.hypergradient import MODES, Bilevel, hypergradient
from labkit.rules import Rule, Sgd
from labkit.run import run
from labkit.views import Curve, Panel, Points, View


@pytree
class ScalarToy:
    """L_train = (w - alpha)^2, L_val = alpha w - 2 alpha + 1, of two numbers."""

    alpha0: float = knob(2.0, -3.0, 3.0, about="alpha at the start")
    w0: float = knob(-2.0, -3.0, 3.0, about="w at the start")

    def start(self, key) -> tuple[Array, Array]:
        """The two numbers, whatever the key."""
        del key
        return jnp.asarray(self.w0, float), jnp.asarray(self.alpha0, float)

    def train(self, w, alpha, key=None) -> Array:
        """(w - alpha)^2."""
        del key
        return (w - alpha) ** 2

    def validation(self, w, alpha, key=None) -> Array:
        """alpha w - 2 alpha + 1."""
        del key
        return alpha * w - 2.0 * alpha + 1.0

    def seen(self, w, alpha) -> dict[str, Array]:
        """Where it is, and both losses there."""
        losses = {"train": self.train(w, alpha), "validation": self.validation(w, alpha)}
        return {"place": jnp.stack([alpha, w]), **losses}


class State(NamedTuple):
    w: PyTree  # weights
    alpha: PyTree  # logits
    rules: tuple  # states of the two rules


@method
class Darts:
    """Full-batch search on a problem of two levels: first alpha moves, then w."""

    problem: Bilevel
    weights: Rule = Adam(lr=0.02)
    architecture: Rule = Adam(lr=0.02, beta1=0.5, beta2=0.999)
    xi: float = knob(0.02, 0.0, 1.0, live=True, about="how far w looks ahead")
    mode: str = choice(*MODES, about="of the second term")

    def init(self, key) -> State:
        w, alpha = self.problem.start(key)
        return State(w, alpha, (self.weights.init(w), self.architecture.init(alpha)))

    def step(self, state: State, key) -> State:
        w, alpha, (on_w, on_alpha) = state
        first, second = jr.split(key)
        slope = hypergradient(self.problem, w, alpha, self.xi, self.mode, first)
        change, on_alpha = self.architecture.update(slope, on_alpha, alpha)
        alpha = jax.tree.map(jnp.add, alpha, change)
        slope = jax.grad(self.problem.train)(w, alpha, second)
        change, on_w = self.weights.update(slope, on_w, w)
        return State(jax.tree.map(jnp.add, w, change), alpha, (on_w, on_alpha))

    def observe(self, state: State) -> dict[str, Any]:
        dtype = jnp.result_type(*jax.tree.leaves(state.w))
        return {"xi": jnp.asarray(self.xi, dtype), **self.problem.seen(state.w, state.alpha)}


def example() -> Darts:
    """The two numbers by plain descent, looking half a unit ahead: where the bias is none."""
    return toy(0.5)


def toy(xi: float) -> Darts:
    """The two numbers by plain descent."""
    return Darts(ScalarToy(), Sgd(lr=0.1), Sgd(lr=0.1), xi=xi)


def supernet(xi: float = 0.02, mode: str = "finite difference") -> Darts:
    """The cells of the digits; watch it with `search_views`."""
    return Darts(CellSearch(digit_cells()), xi=xi, mode=mode)


@cache
def demo() -> Record:
    """The example beside the same search of first order, xi = 0."""
    return run(example(), 200, every=2).beside(first=run(toy(0.0), 200, every=2))


search_views: list[View] = [race(), course(), jump]


def _plane(record: Record) -> Panel:
    alpha, w = record["place"].T
    line, rest = np.linspace(-3.0, 3.0, 2), 2.0 / (1.0 + 2.0 * record.last("xi"))
    first = []
    if "first.place" in record:
        along, up = record["first.place"].T
        first = [Curve(along, up, "first order", "descent")]
    marks = [
        Curve(line, line, "best w for each alpha", "ghost"),
        Curve(alpha, w, "search", "path"),
        Points(alpha[-1:], w[-1:], "now", "path"),
        *first,
        Points(np.array([rest]), np.array([rest]), "2 / (1 + 2 xi)", "prediction"),
        Points(np.ones(1), np.ones(1), "optimum of the two levels", "optimum"),
    ]
    return Panel("Both numbers", marks, "alpha", "w")


def _bias(record: Record) -> Panel:
    xi = np.linspace(0.0, 1.0, 101)
    now = record.last("xi")
    marks = [
        Curve(xi, 2.0 / (1.0 + 2.0 * xi), "2 / (1 + 2 xi)", "prediction"),
        Points(np.array([now]), record.last("place")[:1], "alpha now", "path"),
        Points(np.array([0.5]), np.ones(1), "optimum of the two levels", "optimum"),
    ]
    return Panel("Where alpha comes to rest", marks, "xi", "alpha", y_range=(-0.5, 3.0))


views: list[View] = [_plane, _bias]


def say(record: Record) -> str:
    """The cell as it stands and what the supernet loses by it, in a sentence."""
    if "place" in record:
        alpha, w = record.last("place")
        return f"Step {record.steps[-1]}: alpha {alpha:.4f}, w {w:.4f}."
    return (
        f"Step {record.steps[-1]}: {told(record.last('cell'))}; "
        f"validation loss {record.last('supernet'):.3f}, "
        f"{record.last('discrete'):.3g} with these operations alone."
    )


def claim(record: Record) -> Claim:
    """S037: the search comes to rest where the step ahead says, not at the best of two levels."""
    seen = [record.last(name)[0] for name in ("place", "first.place")]
    expected = [2.0 / (1.0 + 2.0 * record.last(name)) for name in ("xi", "first.xi")]
    sentence = "Where alpha comes to rest, with the step ahead and without, against 2 / (1 + 2 xi)"
    return Claim(seen, expected, 1e-4, sentence, kind="exact")
