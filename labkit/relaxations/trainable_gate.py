"""A 0/1 gate with any derivative one likes: a step, plus a saw-tooth too small to matter.

    TG(w)  =  b(w) + s(w) g(w),        b = 1 where w > 0, else 0,      s = (M w - floor(M w)) / M
    TG'    =  g + s g'

Each tooth is 1 / M high and as wide, of slope 1: nothing is added to the value, |TG - b| <=
max |g| / M, but g to the derivative, |TG' - g| <= max |g'| / M.  Nothing has to be told to the
differentiation: the derivative of floor is 0.  A straight-through estimator with the same g is
the limit of M, and trains in the same way.

Each unit of a network is multiplied by a gate, and what is minimised is

    L(w, gates)  +  strength |mean TG - budget|

The penalty pulls at all gates alike, the loss holds those back that it needs.  Budget, M, tau and
strength may be turned in mid-run: look how gates close and open again.  The share of open gates
does not settle at the budget but goes to and fro across it: the absolute value has no slope 0.
A small budget needs more strength, or the loss holds more gates open than it allows.

g(w) = 4 sigma'(w / tau) is 1 at 0, and everywhere where tau is large.

Source: S111, Plug-in, Trainable Gate for Streamlining Arbitrary Neural Networks.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.nn import sigmoid
from jaxtyping import Array, Float

from labkit.adaptive import Adam
from labkit.claims import Claim
from labkit.errors import check_positive
from labkit.method import Scalar, choice, knob, method
from labkit.record import Record
from labkit.relaxations.hidden_units import HiddenUnits, Units, digit_units
from labkit.relaxations.straight_through import straight_through
from labkit.rules import Rule
from labkit.run import run
from labkit.views import Curve, Panel, Points, Raster, View, lines


def bell(w: Float[Array, "..."], tau: Scalar) -> Float[Array, "..."]:
    """4 sigma'(w / tau), which is 1 at 0; tau > 0 is in units of w.  |g'| <= 0.385 / tau."""
    check_positive("tau", tau, "in units of w")
    open_ = sigmoid(w / tau)
    return 4.0 * open_ * (1.0 - open_)


def saw_tooth(w: Float[Array, "..."], M: Scalar) -> Float[Array, "..."]:
    """(M w - floor(M w)) / M, of slope 1; in floating point 0 where M w has no fraction left."""
    return (M * w - jnp.floor(M * w)) / M


def trainable_gate(
    w: Float[Array, "..."], M: Scalar, g: Callable[[Array], Array] = jnp.ones_like
) -> Float[Array, "..."]:
    """b(w) + s(w) g(w): open where w > 0, with the derivative g.  M is in teeth per unit of w."""
    check_positive("M", M, "in teeth per unit of w")
    w = jnp.asarray(w, jnp.result_type(w, float))
    return (w > 0).astype(w.dtype) + saw_tooth(w, M) * g(w)


class State(NamedTuple):
    w: Units
    gate: Float[Array, " units"]  # open above 0
    rule: Any


@method
class TrainableGate:
    """A network and its gates, trained together from the start."""

    problem: HiddenUnits
    rule: Rule = Adam(0.003)
    budget: float = knob(0.5, 0.05, 1.0, live=True, within=(0.0, 1.0), about="share to be open")
    strength: float = knob(1.0, 0.0, 5.0, live=True, about="of the pull to the budget")
    M: float = knob(1e5, 10.0, 1e7, log=True, live=True, about="teeth per unit of w")
    tau: float = knob(100.0, 0.05, 100.0, log=True, live=True, about="width of g; large: g = 1")
    gate_lr: float = knob(0.5, 0.01, 5.0, log=True, live=True, about="learning rate of the gates")
    start: float = knob(0.5, 0.0, 2.0, about="all gates at step 0")
    kind: str = choice("saw-tooth", "straight-through", "real", about="what multiplies a unit")

    steps = 300

    def init(self, key) -> State:
        w = self.problem.start(key)
        gate = jnp.full(self.problem.units, self.start, w.bias.dtype)
        return State(w, gate, self.rule.init(w))

    def step(self, state: State, key) -> State:
        grads, slopes = jax.grad(self.objective, (0, 1))(state.w, state.gate)
        updates, rule = self.rule.update(grads, state.rule, state.w)
        w = jax.tree.map(jnp.add, state.w, updates)
        return State(w, state.gate - self.gate_lr * slopes, rule)

    def objective(self, w: Units, gate: Float[Array, " units"]) -> Float[Array, ""]:
        """The loss and the pull to the budget; with real gates, that of their L1 norm to 0."""
        gates = self.gates(gate)
        off = jnp.abs(gates) if self.kind == "real" else jnp.abs(gates.mean() - self.budget)
        return self.problem.loss(w, gates) + self.strength * off.mean()

    def gates(self, gate: Float[Array, " units"]) -> Float[Array, " units"]:
        """What multiplies the units."""
        if self.kind == "saw-tooth":
            return trainable_gate(gate, self.M, lambda w: bell(w, self.tau))
        if self.kind == "straight-through":
            soft = 4.0 * self.tau * sigmoid(gate / self.tau)  # whose derivative is g
            return straight_through(gate > 0, soft)
        return gate

    def observe(self, state: State) -> dict[str, Any]:
        gates = self.gates(state.gate)
        return {
            "loss": self.problem.loss(state.w, gates),
            "accuracy": self.problem.score(state.w, gates),
            "open": (state.gate > 0).mean(dtype=state.gate.dtype),
            "budget": jnp.asarray(self.budget, state.gate.dtype),
            "gate": state.gate,
        }


def example(units: int = 64) -> TrainableGate:
    """64 hidden units on 400 digits, half of them to be open."""
    return TrainableGate(digit_units(units))


@cache
def demo() -> Record:
    """The example beside the same network with all gates open: nothing pulls at them."""
    full = TrainableGate(digit_units(), strength=0.0)
    return run(example()).beside(full=run(full))


def _gates(record: Record) -> Panel:
    gate, units = record.last("gate"), np.arange(1, record.last("gate").size + 1)
    is_open = gate > 0
    marks = [
        Curve(units[[0, -1]], np.zeros(2), "closed below", "threshold"),
        Points(units[is_open], gate[is_open], "open", "accuracy"),
        Points(units[~is_open], gate[~is_open], "closed", "iterates"),
    ]
    return Panel("Gates", marks, "unit", "w of its gate")


def _history(record: Record) -> Panel:
    z = (record["gate"] > 0).T.astype(float)
    marks = [Raster(z, record.steps, np.arange(1, len(z) + 1), "open", limits=(0, 1))]
    return Panel("When they close", marks, "step", "unit")


views: list[View] = [
    _gates,
    _history,
    lines(
        "open",
        "budget",
        title="Share of open gates",
        y="share",
        y_range=(0.0, 1.05),
        roles={"budget": "threshold", "open": "accuracy"},
    ),
    lines(
        "accuracy",
        title="Accuracy on digits held out",
        y="share",
        y_range=(0.0, 1.02),
        beside=["full.accuracy"],
        labels={"accuracy": "gated", "full.accuracy": "all gates open"},
        roles={"full.accuracy": "ghost"},
    ),
]


def say(record: Record) -> str:
    """How many gates are open beside the budget, and the accuracy."""
    is_open, budget = record.last("open"), record.last("budget")
    count = f"{np.sum(record.last('gate') > 0)} of {record.last('gate').size} gates are open"
    now = f"Step {record.steps[-1]}: {count}, {is_open:.0%} for a budget of {budget:.0%}"
    return f"{now}; accuracy {record.last('accuracy'):.1%}."


def claim(record: Record) -> Claim:
    """S111: the network ends at its budget, and about as accurate as with all gates open.

    Over the last quarter of the run: how far the mean share of open gates is from the budget, as
    a part of it, and what is lost of the mean accuracy, over 0.02.
    """
    late = record.steps >= 0.75 * record.steps[-1]
    off = abs(record["open"][late].mean() / record.last("budget") - 1.0)
    lost = (record["full.accuracy"] - record["accuracy"])[late].mean()
    # One gate is 3 % of the budget, and a few of them cross at a time.
    sentence = "Mean share open off the budget, over 10 %; mean accuracy lost, over 2 points"
    return Claim([off / 0.1, lost / 0.02], 1.0, 0.0, sentence, relation="<=")
