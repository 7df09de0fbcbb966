"""Perception and program at once: digits whose meaning only the answers of programs tell.

Two images of digits are read by one network as two bits, and a tree of soft logic
(`boolean_programs`) makes an answer of them.  Only answers are given, never bits:

    bit_i = sigma((g(x_i) + L) / tau),   L logistic noise,   answer = f(bit_1, bit_2; p)

    sum_tasks sum_r w_r (mean (answer_r - y)^2 + lam E[length]),   w = softmax_r(- loss_r / SHARP)

L makes a bit a draw from its probability as tau -> 0 (Gumbel-softmax of two items); tau is in
units of the logits.  Each task has `trees` of its own, and w makes the good ones drive the
network.  The tasks share the bits: an answer that one task leaves open another settles.

Look at the bits with one task and with four, at the same number of images.

Source: part of S030, From Perception to Programs: Regularize, Overparameterize, and Amortize.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.nn import sigmoid
from jaxtyping import Array, Float

from labkit.adaptive import Adam
from labkit.data import digits
from labkit.errors import refusal
from labkit.method import Scalar, knob, method, size
from labkit.models import MLP
from labkit.record import Record
from labkit.relaxations.boolean_programs import (
    OPERATIONS,
    Tree,
    evaluate,
    expected_length,
    python,
    rounded,
    softened,
    table_of,
)
from labkit.views import Panel, Text, View, lines


NETWORK = MLP((64, 16, 1), activation="tanh")
SHARP = 0.02  # of the mean squared error, below which two trees count as equally good
DEPTH = 2
TASKS = ("a != b", "a and b", "a or b", "a and not b")


class Pairs(NamedTuple):
    """Pairs of images, and the bit that each shows: whether its digit is 5 or more."""

    x: Float[Array, "pairs 2 pixels"]
    bits: Float[Array, "pairs 2"]


class State(NamedTuple):
    network: Any
    logits: Tree  # [tasks, trees, ...]
    rule: Any  # of Adam


@method
class PerceivedPrograms:
    """One network, and trees for each of the first `tasks` of TASKS."""

    train: Pairs
    test: Pairs
    tau: Scalar = knob(0.5, 0.05, 5.0, log=True, live=True, about="of the bits, in their logits")
    lam: Scalar = knob(0.002, 0.0, 0.05, live=True, about="weight of the length")
    lr: float = knob(0.02, 0.001, 0.2, log=True, live=True, about="of Adam")
    tasks: int = size(4, 1, 4, about="that share the bits")
    trees: int = size(8, 1, 32, about="for each task")

    steps = 300

    def check(self) -> None:
        """Raise ValueError for more tasks than there are."""
        if self.tasks > len(TASKS):
            raise refusal("tasks", self.tasks, f"1 to {len(TASKS)}")

    def init(self, key) -> State:
        dtype = self.train.x.dtype
        keys = jr.split(key, 3)
        draw = lambda key, *shape: jr.normal(key, (self.tasks, self.trees, *shape), dtype)
        nodes = draw(keys[0], 2**DEPTH - 1, len(OPERATIONS))
        logits = Tree(nodes, draw(keys[1], 2**DEPTH, 2))
        network = jax.tree.map(lambda w: w.astype(dtype), NETWORK.init(keys[2]))
        return State(network, logits, Adam(self.lr).init((network, logits)))

    def step(self, state: State, key) -> State:
        params = state.network, state.logits
        noise = jr.logistic(key, self.train.bits.shape, self.train.x.dtype)
        grads = jax.grad(lambda both: self._loss(*both, noise))(params)
        update, rule = Adam(self.lr).update(grads, state.rule, params)
        network, logits = jax.tree.map(jnp.add, params, update)
        return State(network, logits, rule)

    def observe(self, state: State) -> dict[str, Any]:
        sharp = rounded(softened(state.logits, 1.0))
        seen, truth = _logits(state.network, self.test.x) > 0.0, self.test.bits > 0.5
        bits = seen.astype(self.test.x.dtype)
        read = jnp.mean(seen == truth)
        # By the answers to the training pairs, as whoever has no bits would choose.
        train = (_logits(state.network, self.train.x) > 0.0).astype(bits.dtype)
        wrong = self._errors(sharp, train, self.train)
        best = jnp.argmin(wrong, axis=1)
        chosen = jax.tree.map(lambda x: x[jnp.arange(self.tasks), best], sharp)
        answers = jax.vmap(lambda tree: evaluate(tree, bits))(chosen)
        right = jnp.mean((answers > 0.5) == (self._answers(self.test.bits) > 0.5), axis=1)
        return {
            "accuracy": right,
            "worst": right.min(),
            # A network that calls a bit by its opposite needs other programs, and is as good.
            "bits": jnp.maximum(read, 1.0 - read),
            "flipped": jnp.asarray(read < 0.5, bits.dtype),
            "nodes": chosen.nodes,
            "leaves": chosen.leaves,
        }

    def _loss(self, network: Any, logits: Tree, noise: Array) -> Array:
        bits = sigmoid((_logits(network, self.train.x) + noise) / self.tau)
        soft = softened(logits, 1.0)
        losses = self._errors(soft, bits, self.train)
        losses += self.lam * jax.vmap(jax.vmap(expected_length))(soft)
        return jnp.sum(jax.lax.stop_gradient(jax.nn.softmax(-losses / SHARP)) * losses)

    def _errors(self, trees: Tree, bits: Array, pairs: Pairs) -> Array:
        """Mean squared error of each tree [tasks, trees]."""
        values = jax.vmap(jax.vmap(lambda tree: evaluate(tree, bits)))(trees)
        return jnp.mean((values - self._answers(pairs.bits)[:, None]) ** 2, axis=2)

    def _answers(self, bits: Array) -> Array:
        """What each task answers to true bits [tasks, pairs]."""
        tables = jnp.asarray(np.stack([table_of(task, 2) for task in TASKS[: self.tasks]]))
        return tables[:, (2 * bits[:, 0] + bits[:, 1]).astype(int)].astype(bits.dtype)


def _logits(network: Any, x: Float[Array, "pairs 2 pixels"]) -> Float[Array, "pairs 2"]:
    return NETWORK.apply(network, x.reshape(-1, x.shape[-1])).reshape(x.shape[:2])


def digit_pairs(pairs: int = 200, seed: int = 0) -> tuple[Pairs, Pairs]:
    """Pairs of digits to train on, and 200 of held-out digits."""
    random, split = np.random.default_rng(seed), digits()

    def of(x: np.ndarray, y: np.ndarray, count: int) -> Pairs:
        rows = random.integers(len(x), size=(count, 2))
        return Pairs(jnp.asarray(x[rows], float), jnp.asarray(y[rows] >= 5, float))

    return of(split.x, split.y, pairs), of(split.x_test, split.y_test, 200)


def example(tasks: int = 4, pairs: int = 200) -> PerceivedPrograms:
    """Whether two digits are 5 or more, from the answers of the first `tasks` programs."""
    return PerceivedPrograms(*digit_pairs(pairs), tasks=tasks)


def programs(record: Record) -> list[str]:
    """The program found for each task, as Python; where bits are flipped a and b mean below 5."""
    both = zip(record.last("nodes"), record.last("leaves"), strict=True)
    return [python(Tree(nodes, leaves)) for nodes, leaves in both]


def _programs(record: Record) -> Panel:
    meaning = "below 5" if record.last("flipped") else "5 or more"
    rows = [f"a, b: a digit is {meaning}", ""]
    accuracy = record.last("accuracy")
    for task, found, right in zip(TASKS, programs(record), accuracy, strict=False):
        rows += [f"{task}, of 5 or more ({right:.0%} right)", f"    {found}"]
    return Panel("Programs found", [Text("\n".join(rows))])


views: list[View] = [
    lines(
        "bits",
        "worst",
        title="Held-out digits",
        y="share that is right",
        labels={"bits": "bits, which nobody told", "worst": "answers of the worst task"},
        roles={"bits": "iterates", "worst": "target"},
        y_range=(0.0, 1.05),
    ),
    _programs,
]


def say(record: Record) -> str:
    """Bits and answers on held-out digits, in a sentence."""
    return (
        f"Step {record.steps[-1]}: {record.last('bits'):.0%} of the bits of held-out digits are "
        f"right, and {record.last('worst'):.0%} of the answers of the worst task."
    )
