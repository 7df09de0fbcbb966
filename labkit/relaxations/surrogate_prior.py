"""A model of the linear cost, trained on a distribution of instances: SurCo-prior.

    c_e  =  start_e + net(features of e)

The same small network for each entry e of c.  It learns from the gradients in c that a solver
gives, pulled back to its weights, on fresh instances in each step; an instance it has not seen
then costs one call of the solver.  The last layer starts from zero: an untrained model gives
the start itself.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Key

from labkit.adaptive import Adam
from labkit.method import Scalar, knob, method, size
from labkit.models import MLP
from labkit.relaxations.lattice import Lattice
from labkit.relaxations.solver_gradients import Problem, perturbed
from labkit.rules import Rule
from labkit.views import View, lines


NET = MLP((3, 8, 1))


class Prior(NamedTuple):
    """Weights of the network, and the cost that it gives to an instance."""

    weights: Any

    def __call__(self, problem: Problem, instance: Any) -> Float[Array, " n"]:
        known = problem.features(instance)
        return problem.start(instance) + NET.apply(self.weights, known)[:, 0]


def untrained(key: Key[Array, ""] | None = None) -> Prior:
    """The model that gives the start of each instance."""
    *hidden, last = NET.init(jr.key(0) if key is None else key)
    return Prior([*hidden, jax.tree.map(jnp.zeros_like, last)])


def optimum(problem: Problem, instance: Any) -> Float[Array, ""]:
    """The least f there is, by looking at every answer."""
    return problem.loss(instance, jnp.asarray(problem.answers)).min()


def reached(value: Float[Array, "..."], least: Float[Array, "..."]) -> Float[Array, ""]:
    """The share of values that are the optimum, to rounding."""
    return (value <= least + 1e-5 * jnp.abs(least) + 1e-6).mean()


class State(NamedTuple):
    prior: Prior
    rule: Any
    tested: Any  # instances that are never trained on
    optimum: Float[Array, " tests"]  # of each
    calls: Float[Array, ""]  # of the solver, so far


@method
class PriorTraining:
    """A model trained on `batch` fresh instances a step."""

    problem: Problem = Lattice()
    rule: Rule = Adam(lr=0.03)
    tau: Scalar = knob(1.0, 0.05, 5.0, log=True, about="softness, in units of the cost")
    samples: int = size(20, 2, 100, about="calls of the solver an instance and step")
    batch: int = size(16, 1, 64, about="instances a step")
    tests: int = size(100, 1, 500, about="instances to look at")

    def init(self, key) -> State:
        tested = self.problem.draw(key, self.tests)
        least = jax.vmap(lambda one: optimum(self.problem, one))(tested)
        prior = untrained()
        return State(prior, self.rule.init(prior), tested, least, jnp.zeros(()))

    def step(self, state: State, key) -> State:
        draws, noise = jr.split(key)
        instances = self.problem.draw(draws, self.batch)
        n = self.problem.answers.shape[1]
        z = jr.normal(noise, (self.batch, self.samples, n))

        def one(instance: Any, z: Array) -> Prior:
            c, back = jax.vjp(lambda prior: prior(self.problem, instance), state.prior)
            f = lambda x: self.problem.loss(instance, x)
            slope, _ = perturbed(z, c, self.tau, f, self.problem.solve)
            return back(slope)[0]

        grads = jax.tree.map(lambda g: g.mean(axis=0), jax.vmap(one)(instances, z))
        updates, rule = self.rule.update(grads, state.rule, state.prior)
        prior = jax.tree.map(jnp.add, state.prior, updates)
        calls = state.calls + self.batch * self.samples
        return state._replace(prior=prior, rule=rule, calls=calls)

    def observe(self, state: State) -> dict[str, Any]:
        def value(instance: Any) -> Array:
            return self.problem.loss(
                instance, self.problem.solve(state.prior(self.problem, instance))
            )

        values = jax.vmap(value)(state.tested)
        excess = values - state.optimum
        return {
            "excess": excess.mean(),
            "reached": reached(values, state.optimum),
            "calls": state.calls,
        }


def example() -> PriorTraining:
    """A model of roads, trained on trips through a lattice."""
    return PriorTraining()


views: list[View] = [
    lines("reached", title="Unseen instances solved", y="share", y_range=(0.0, 1.0)),
    lines("excess", title="Loss past the optimum, unseen", y="mean excess"),
]


def say(record) -> str:
    """How good the first and the last model are on unseen instances."""
    first, last = record["reached"][0], record.last("reached")
    return f"Of unseen instances {last:.0%} are solved by one call; at the start {first:.0%}."
