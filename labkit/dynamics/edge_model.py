"""The edge model: descent as a centre that moves and an offset that jumps from side to side.

At the edge the iterates jump between two walls, w[t] = m +- x u.  One step of the rule from
both sides, split into what they have in common and what not, gives

    m  <-  m + rule((g+ + g-) / 2)               g+- = grad L(m +- x u)
    x  <-  x + rule(u.(g+ - g-) / 2)             (kept up to a floor)
    u  <-  H(m) u / |H(m) u|                     one step of the power method

For a rule that is linear in the gradients the split is exact but for what turns out of u;
with momentum the centre has a trace and the offset another.  Let s = u.(g+ - g-) / (2 x) be
the slope across, and a[t] = (-1)^t x[t], the turning sign taken out.  Then

    gradient descent    a[t+1] = (lr s - 1) a[t]
    heavy ball          a[t+1] = (lr s - 1 - beta) a[t] - beta a[t-1]
    nesterov            a[t+1] = (1 + beta) (lr s - 1) a[t] + beta (lr s - 1) a[t-1]

and `average` is the heavy ball with lr (1 - beta).  The radius |x| grows while s is above the
edge of the rule (or below 0).  A large radius feels the walls, which push the centre to where
it is flatter.  Two gradients and one Hessian product a step: the cheapest picture of the
regime.  It has one direction; where several are at the edge, those beyond the first are left
to the centre, which then jumps in them as descent does.

With momentum the offset below the edge is an oscillation that dies down slowly and passes
through 0; the floor is on the offset and the step its trace would take, together.  Bursts are
rarer and larger than those of gradient descent, when they come hangs on rounding, and the
centre is farther from descent: at beta 0.9 on the digits by 3 to 20 % of the way.  The power
method finds the curvature that is largest in size, here the positive one.

Source: F003, labkit's own reconstruction of an edge flow, not checked against a paper.
"""

from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from labkit import curvature, krylov
from labkit.claims import Claim
from labkit.dynamics import edge_of_stability
from labkit.dynamics.edge_of_stability import crossing, settled
from labkit.dynamics.gradient_flow import distance, travelled
from labkit.errors import refusal
from labkit.method import method
from labkit.problems import Problem, digits_network
from labkit.record import Record
from labkit.rules import EdgeRule, Momentum, Sgd
from labkit.run import run
from labkit.views import lines


FLOOR = 1e-4  # of the offset: what rounding leaves of it when the valley is stable


class State(NamedTuple):
    centre: PyTree  # m, parameters
    rule: Any  # state of the rule at the centre
    direction: PyTree  # u, a unit vector
    offset: Float[Array, ""]  # x, of either sign; the radius is |x|
    memory: Any  # state of the rule across


@method
class EdgeModel:
    """Centre, direction and offset of the descent on `problem` by a linear rule.

    `check` refuses other rules than Sgd and Momentum.
    """

    problem: Problem
    rule: EdgeRule = Sgd(lr=0.4)

    def check(self) -> None:
        if not isinstance(self.rule, Sgd | Momentum):
            accepted = "Sgd or Momentum, whose steps are linear in the gradients"
            raise refusal("rule", self.rule, accepted)

    def init(self, key) -> State:
        centre = self.problem.start(key)
        return self.at(centre, curvature.top_eigenpairs(self.problem.loss, centre, 1))

    def at(self, centre: PyTree, pairs: krylov.Eigenpairs) -> State:
        """As if a run began at `centre`, where `pairs` has the largest eigenvalue."""
        direction = ravel_pytree(centre)[1](pairs.vectors[:, 0])
        offset = jnp.full_like(pairs.values[0], FLOOR)
        return State(centre, self.rule.init(centre), direction, offset, self.rule.init(offset))

    def step(self, state: State, key) -> State:
        del key
        slope = jax.grad(self.problem.loss)
        m, u, x = state.centre, state.direction, state.offset
        plus, minus = slope(_moved(m, x, u)), slope(_moved(m, -x, u))
        mean = jax.tree.map(lambda a, b: (a + b) / 2.0, plus, minus)
        across = _dot(u, _moved(plus, -1.0, minus)) / 2.0
        move, rule = self.rule.update(mean, state.rule, m)
        swing, memory = self.rule.update(across, state.memory, x)
        turned = curvature.hvp(self.problem.loss, m, u)
        norm = jnp.copysign(jnp.sqrt(_dot(turned, turned)), _dot(turned, u))
        direction = jax.tree.map(lambda a, b: jnp.where(norm != 0, a / norm, b), turned, u)
        return State(_moved(m, 1.0, move), rule, direction, *self._kept_up(x + swing, memory))

    def _kept_up(self, x: Array, memory: Any) -> tuple[Array, Any]:
        """Offset and memory, scaled up together where both have died down.

        The memory counts by the step it would take alone, so that an offset which only
        passes through 0 stays as it is.
        """
        alone = self.rule.update(jnp.zeros_like(x), memory, x)[0]
        x = jnp.where((x == 0) & (alone == 0), FLOOR, x)
        scale = jnp.maximum(FLOOR / jnp.hypot(x, alone), 1.0)
        return scale * x, jax.tree.map(lambda a: scale * a, memory)

    def observe(self, state: State) -> dict[str, Array]:
        m, u, x = state.centre, state.direction, state.offset
        loss = self.problem.loss
        sharpness = _dot(u, curvature.hvp(loss, m, u))
        walls = (loss(_moved(m, x, u)) + loss(_moved(m, -x, u))) / 2
        threshold = jnp.asarray(self.rule.edge(), sharpness.dtype)
        seen = {"loss": loss(m), "loss_on_the_walls": walls, "radius": jnp.abs(x)}
        return {**seen, "sharpness": sharpness, "threshold": threshold}


def _moved(w: PyTree, by: Float[Array, ""] | float, along: PyTree) -> PyTree:
    return jax.tree.map(lambda a, b: a + by * b, w, along)


def _dot(a: PyTree, b: PyTree) -> Float[Array, ""]:
    return jnp.stack(jax.tree.leaves(jax.tree.map(jnp.vdot, a, b))).sum()


def example() -> EdgeModel:
    """The model of gradient descent with lr 0.4 on 300 digits."""
    return EdgeModel(digits_network(samples=300), Sgd(lr=0.4))


@cache
def demo() -> Record:
    """The example beside the gradient descent of `edge_of_stability.demo`."""
    record = run(example(), 500, every=3, probes={"w": lambda s: ravel_pytree(s.centre)[0]})
    return record.beside(descent=edge_of_stability.demo())


views = [
    lines(
        "loss",
        "loss_on_the_walls",
        title="Loss",
        y="loss",
        log=True,
        labels={"loss": "centre", "loss_on_the_walls": "walls"},
        roles={"loss": "iterates"},
    ),
    lines(
        "sharpness",
        "threshold",
        title="Sharpness of the centre",
        y="largest eigenvalue",
        labels={"sharpness": "centre", "descent.sharpness": "descent"},
        roles={"sharpness": "iterates"},
        beside=["descent.sharpness"],
    ),
    # The range is fixed: at the floor, rounding would fill an axis that fits itself.
    lines("radius", title="From centre to wall", log=True, y_range=(FLOOR / 2, 1.0)),
]


def say(record: Record) -> str:
    """Sharpness and radius, in a sentence."""
    sharpness, threshold = record.last("sharpness"), record.last("threshold")
    if not np.isfinite(record.last("radius")):
        where = "it has diverged"
    elif record.last("radius") > 10 * FLOOR:
        where = "the walls are felt"
    else:
        where = "the radius grows" if sharpness > threshold else "the valley is stable"
    return (
        f"Step {record.steps[-1]}: sharpness of the centre {sharpness:.3g}, threshold "
        f"{threshold:.3g}, radius {record.last('radius'):.2g}: {where}."
    )


def claim(record: Record) -> Claim:
    """F003: the centre's sharpness settles at 2 / lr, and it stays with gradient descent.

    Three numbers: median sharpness / threshold, less 1, over 0.05; the distance to the
    midpoint of gradient descent at the end over 8 % of the way from the crossing; and ten
    times the floor over the median radius: a centre that feels no walls, and so is gradient
    descent itself, would also pass the first two.
    """
    first, late = crossing(record), settled(record)
    if first is None or not len(late):
        seen = np.full(3, np.nan)
    else:
        off = abs(np.median(late["sharpness"] / late["threshold"]) - 1.0) / 0.05
        away = distance(record)[-1] / (0.08 * travelled(record, start=first))
        seen = np.array([off, away, 10 * FLOOR / np.median(late["radius"])])
    sentence = "Sharpness off its threshold / 5 %, distance / 8 % of the way, 10 floors / radius"
    return Claim(seen, 1.0, 0.0, sentence, relation="<=")
