"""One task after the other: how much of the first does an optimizer destroy?

A network learns the digits, then the same digits with their pixels shuffled.  Each task is
learned until its loss is `target`, so that optimizers are compared at equal success and not
at equal numbers of steps.  The interference is what the second task costs the first,

    interference = (accuracy on task 1 before task 2)  -  (the same after it)

With G the gradient of a weight matrix, L = sum G G' and R = sum G' G over the steps so far,

    full        W <- W - lr L^-1/4 G R^-1/4       (Shampoo)
    diagonal    the same with the diagonals of L and R alone
    none        W <- W - lr G

What "full" has and "diagonal" has not is the knowledge of which inputs vary together.

Source: S054, Optimizers Qualitatively Alter Solutions And We Should Leverage This; Gupta,
Koren and Singer 2018.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Bool, Float, PyTree

from labkit.method import choice, knob, method, pytree
from labkit.problems import Classification, digits_network
from labkit.record import Record
from labkit.views import lines


class FactorState(NamedTuple):
    left: list[Array]  # L of each weight matrix, or its diagonal
    right: list[Array]  # R likewise


@pytree
class Factored:
    """Descent preconditioned by both sides of each gradient matrix; a bias is one column."""

    lr: float = knob(0.3, 0.01, 1.0, log=True, live=True, about="learning rate")
    form: str = choice("full", "diagonal", "none", about="of the preconditioner")

    def init(self, params: PyTree) -> FactorState:
        # A little of the identity keeps the roots of the first step finite.
        sides = [_matrix(p).shape for p in jax.tree.leaves(params)]
        start = {"full": jnp.eye, "diagonal": jnp.ones, "none": lambda n: jnp.ones(())}[self.form]
        return FactorState(*([1e-6 * start(sizes[i]) for sizes in sides] for i in (0, 1)))

    def update(self, grads: PyTree, state: FactorState, params: PyTree = None):
        del params
        leaves, structure = jax.tree.flatten(grads)
        after = [self._one(*each) for each in zip(leaves, *state, strict=True)]
        updates, left, right = zip(*after, strict=True)
        return structure.unflatten(updates), FactorState(list(left), list(right))

    def _one(self, grad: Array, left: Array, right: Array) -> tuple[Array, Array, Array]:
        g = _matrix(grad)
        if self.form == "full":
            left, right = left + g @ g.T, right + g.T @ g
            moved = _fourth_root(left) @ g @ _fourth_root(right)
        elif self.form == "diagonal":
            left, right = left + jnp.sum(g * g, axis=1), right + jnp.sum(g * g, axis=0)
            moved = left[:, None] ** -0.25 * g * right[None] ** -0.25
        else:
            moved = g
        return -self.lr * moved.reshape(grad.shape), left, right


def _matrix(leaf: Array) -> Array:
    return leaf if leaf.ndim == 2 else leaf.reshape(-1, 1)


def _fourth_root(a: Float[Array, "n n"]) -> Float[Array, "n n"]:
    """a^-1/4 of a symmetric positive matrix."""
    values, vectors = jnp.linalg.eigh(a)
    return vectors * jnp.maximum(values, 1e-6)[None] ** -0.25 @ vectors.T


class State(NamedTuple):
    w: PyTree  # weights
    rule: FactorState
    second: Bool[Array, ""]  # whether the second task is being learned
    loss: Float[Array, "2"]  # of both tasks


@method
class TwoTasks:
    """Digits first, then the same digits with shuffled pixels, each until its loss is `target`."""

    problem: Classification
    rule: Factored = Factored()
    target: float = knob(0.1, 0.01, 0.5, log=True, about="loss at which a task is learned")

    steps = 2000
    batch = "map"  # of a fan: lanes end at different steps, and each step has eigenvectors in it

    def tasks(self) -> tuple[Any, Any]:
        """The data of both."""
        first = self.problem.data
        shuffle = jr.permutation(jr.key(0), first.x.shape[1])
        return first, first._replace(x=first.x[:, shuffle])

    def init(self, key) -> State:
        w = self.problem.start(key)
        return State(w, self.rule.init(w), jnp.zeros((), bool), self._losses(w))

    def step(self, state: State, key) -> State:
        del key
        batch = jax.tree.map(lambda a, b: jnp.where(state.second, b, a), *self.tasks())
        grads = jax.grad(self.problem.loss)(state.w, batch)
        updates, rule = self.rule.update(grads, state.rule, state.w)
        w = jax.tree.map(jnp.add, state.w, updates)
        loss = self._losses(w)
        return State(w, rule, state.second | (loss[0] < self.target), loss)

    def observe(self, state: State) -> dict[str, Array]:
        accuracy = jnp.stack([self.problem.accuracy(state.w, task) for task in self.tasks()])
        return {
            "loss_1": state.loss[0],
            "loss_2": state.loss[1],
            "accuracy_1": accuracy[0],
            "accuracy_2": accuracy[1],
            "second": state.second,
        }

    def done(self, state: State) -> Bool[Array, ""]:
        """Both tasks were learned."""
        return state.second & (state.loss[1] < self.target)

    def _losses(self, w: PyTree) -> Float[Array, "2"]:
        return jnp.stack([self.problem.loss(w, task) for task in self.tasks()])


def interference(record: Record) -> float:
    """The share of the first task's digits that were right before the second and are not after.

    Not a number when the second task was not begun.
    """
    begun = np.flatnonzero(record["second"])
    if not len(begun):
        return float("nan")
    return float(record["accuracy_1"][begun[0]] - record.last("accuracy_1"))


def example(form: str = "full") -> TwoTasks:
    """One hidden layer of 32 on 300 digits, twice."""
    problem = digits_network(depth=1, scale=1.0, criterion="cross_entropy")
    return TwoTasks(problem, Factored(form=form))


views = [
    lines("accuracy_1", "accuracy_2", title="Accuracy on both tasks", y="share right"),
    lines("loss_1", "loss_2", title="Loss of both tasks", y="loss", log=True),
]


def say(record: Record) -> str:
    """What the second task has cost the first so far, in a sentence."""
    one, two = record.last("accuracy_1"), record.last("accuracy_2")
    head = f"Step {record.steps[-1]}: accuracy {one:.3f} on task 1, {two:.3f} on task 2"
    if not record["second"].any():
        return f"{head}; task 1 is being learned."
    return f"{head}; interference {interference(record):.3f}."
