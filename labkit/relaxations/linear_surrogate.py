"""A linear cost whose best answer is good for another cost: SurCo.

    x(c) = argmin_{x in X} c . x,        minimise f(x(c)) in c

X is combinatorial and f is not linear, but a solver for linear costs is at hand.  It is called
and never differentiated; c learns by a gradient of `solver_gradients`,

    perturbed    sum_k (f_k - mean f) z_k / ((K - 1) tau),    K calls of the solver a step
    black box    -(x(c) - x(c + lam grad f)) / lam,           two

with tau in units of the cost.  Three ways to a c: learn it for each instance, from its `start`
(*zero*); ask a model trained on a distribution of instances (*prior*, `surrogate_prior`); or
learn it from there (*hybrid*: `prior` is that model).

Look at the answer to the c in the end.  The best answer among all that were seen proves nothing:
a walk against the gradient sees the optimum as well, and so does a random search.

Source: S002, SurCo: Learning Linear Surrogates For Combinatorial Nonlinear Optimization
Problems.
"""

import dataclasses
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float

from labkit.adaptive import Adam
from labkit.claims import Claim
from labkit.method import Latest, Scalar, choice, knob, method, replace, size
from labkit.record import Record
from labkit.relaxations.lattice import Lattice, all_routes, as_field, as_walk, crossings
from labkit.relaxations.solver_gradients import Problem, black_box, perturbed
from labkit.relaxations.surrogate_prior import Prior, reached, untrained
from labkit.rules import Rule
from labkit.run import run
from labkit.views import Bars, Curve, Panel, Raster, View, lines


class State(NamedTuple):
    instance: Any  # of all instances, on a leading axis
    c: Float[Array, "instances n"]  # the linear cost of each
    rule: Any
    answers: Float[Array, "instances answers"]  # f of every x, to compare with
    seen: Float[Array, " instances"]  # the least f of all answers the solver gave
    calls: Float[Array, ""]  # of the solver, an instance


@method
class LinearSurrogate:
    """Linear costs of several instances, learned side by side; the first is shown."""

    problem: Problem = Lattice()
    rule: Rule = Adam(lr=0.1)
    prior: Prior = dataclasses.field(default_factory=untrained)
    gradient: str = choice("perturbed", "black box")
    tau: Scalar = knob(1.0, 0.05, 5.0, log=True, live=True, about="noise, in units of the cost")
    lam: Scalar = knob(100.0, 1.0, 1000.0, log=True, live=True, about="black box: how far to ask")
    turn: Scalar = knob(1.0, -1.0, 1.0, live=True, about="-1 turns the gradient: a control")
    samples: int = size(20, 2, 100, about="calls of the solver a step, perturbed")
    instances: int = size(60, 1, 200)

    def init(self, key) -> State:
        instance = self.problem.draw(key, self.instances)
        c = jax.vmap(lambda one: self.prior(self.problem, one))(instance)
        every = jnp.asarray(self.problem.answers)
        answers = jax.vmap(lambda one: self.problem.loss(one, every))(instance)
        seen = jnp.full(self.instances, jnp.inf)
        return State(instance, c, self.rule.init(c), answers, seen, jnp.zeros(()))

    def step(self, state: State, key) -> State:
        def one(z: Array, instance: Any, c: Array) -> tuple[Array, Array]:
            f, solve = lambda x: self.problem.loss(instance, x), self.problem.solve
            if self.gradient == "perturbed":
                return perturbed(z, c, self.tau, f, solve)
            return black_box(c, self.lam, f, solve)

        z = jr.normal(key, (self.instances, self.samples, state.c.shape[1]), state.c.dtype)
        slope, values = jax.vmap(one)(z, state.instance, state.c)
        updates, rule = self.rule.update(self.turn * slope, state.rule, state.c)
        seen, calls = jnp.minimum(state.seen, values.min(axis=1)), state.calls + values.shape[1]
        return State(state.instance, state.c + updates, rule, state.answers, seen, calls)

    def observe(self, state: State) -> dict[str, Any]:
        x = jax.vmap(self.problem.solve)(state.c)
        value = jax.vmap(self.problem.loss)(state.instance, x)
        optimum = state.answers.min(axis=1)
        return {
            "c": state.c[0],
            "x": x[0],
            "loss": value[0],
            "answers": Latest(state.answers[0]),
            "reached": reached(value, optimum),
            "ever_seen": reached(jnp.minimum(state.seen, value), optimum),
            "excess": (value - optimum).mean(),
            "calls": state.calls,
        }


def example() -> LinearSurrogate:
    """Sixty trips through a lattice of 5 x 5 crossings, from the mean times."""
    return LinearSurrogate()


@cache
def demo() -> Record:
    """The example, 200 steps, beside the same with the gradient turned."""
    turned = run(replace(example(), {"turn": -1.0}), 200, every=4)
    return run(example(), 200, every=4).beside(turned=turned)


def _map(record: Record) -> Panel:
    c, x, late = (record.last(name) for name in ("c", "x", "answers"))
    best = all_routes(crossings(len(c)))[int(np.argmin(late))]
    field = as_field(c)
    places = np.arange(len(field)) / 2
    marks = [
        Raster(field, places, places, "linear cost c"),
        Curve(*as_walk(x), "x(c)", "iterates"),
        Curve(*as_walk(best), "optimum", "optimum"),
    ]
    return Panel("A cost for each road", marks, "column", "row", equal=True)


def _histogram(record: Record) -> Panel:
    late, now = record.last("answers"), record.last("loss")
    height, ends = np.histogram(late, bins=20, range=(0.0, 1.0))
    most = [0.0, 1.1 * height.max()]
    marks = [
        Bars((ends[1:] + ends[:-1]) / 2, height, "all routes", "data"),
        Curve(np.full(2, now), np.array(most), "x(c)", "iterates"),
        Curve(np.full(2, late.min()), np.array(most), "optimum", "optimum"),
    ]
    return Panel("All routes", marks, "chance to be late", "routes", x_range=(0.0, 1.0))


views: list[View] = [
    _map,
    _histogram,
    lines(
        "reached",
        "ever_seen",
        over="calls",
        title="Instances at their optimum",
        x="calls of the solver, an instance",
        y="share",
        y_range=(-0.05, 1.05),
        labels={
            "reached": "x(c)",
            "ever_seen": "best seen",
            "turned.reached": "turned, x(c)",
            "turned.ever_seen": "turned, best seen",
        },
        roles={"reached": "iterates", "ever_seen": "best seen"},
        beside=["turned.reached", "turned.ever_seen"],
    ),
]


def say(record: Record) -> str:
    """How many instances are solved, and how good the route is that is shown."""
    first, last, best = record["reached"][0], record.last("reached"), record.last("answers").min()
    return (
        f"After {record.last('calls'):.0f} calls of the solver {last:.0%} of the answers are the "
        f"optimum, {first:.0%} at the start; the one shown has loss {record.last('loss'):.3g}, "
        f"at best {best:.3g}."
    )


def claim(record: Record) -> Claim:
    """S002: c comes to have the optimum for its answer, and not because it was walked past.

    Of instances whose answer to c is the optimum: the share gained; the share that is lost with
    the gradient turned; and of those, how many came past their optimum.
    """
    gain = record.last("reached") - record["reached"][0]
    lost = record["turned.reached"][0] - record.last("turned.reached")
    seen = [gain, lost, record.last("turned.ever_seen")]
    # Of five times forty instances 0.39 are gained, 0.52 lost, 0.99 seen; sixty deviate by 0.06.
    sentence = "Share solved: gained; lost with the gradient turned; then yet once seen"
    return Claim(seen, [0.2, 0.2, 0.9], 0.0, sentence, kind="measured", relation=">=")
