"""Programs found by descent: every choice in a tree is a mixture, and many trees are tried.

    p = softmax(z / tau) at each node and leaf,    f(x; p) the value of the tree (soft logic)

    minimise    mean_x (f(x; p) - y)^2  +  lam_t E[length](p)

in the logits z, by Adam; lam_t rises from 0 to lam over the run, so that a program is found
before it is shortened.  One tree often ends in a mixture that no program equals.  So `trees` of
them start from different logits, side by side, and the one of the least loss is kept.  tau is
in units of the logits.  Beside the gradient of the mixture there is the score function's, from
`draws` programs for each tree, which never evaluates a mixture.

Look at how many trees end in the right program, and at the length that the penalty leaves.

Source: S030, From Perception to Programs: Regularize, Overparameterize, and Amortize.
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
from labkit.errors import check_positive
from labkit.fan import fan
from labkit.method import Latest, Scalar, choice, knob, method, size
from labkit.record import Record
from labkit.relaxations.boolean_programs import (
    OPERATIONS,
    Tree,
    all_cases,
    evaluate,
    expected_length,
    inputs_of,
    python,
    rounded,
    softened,
    table_of,
)
from labkit.relaxations.score_function import from_draws
from labkit.views import Graph, Panel, Text, View, lines


XOR, AND = [0.0, 1.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]


class State(NamedTuple):
    logits: Tree  # [trees, ...]
    rule: Any  # of Adam
    step: Float[Array, ""]


@method
class RelaxedPrograms:
    """Trees that learn the truth table `target`, the last input changing fastest."""

    target: Float[Array, " cases"] = knob(XOR, 0.0, 1.0, about="of each case: above 0.5 or not")
    lam: Scalar = knob(0.05, 0.0, 0.3, live=True, about="weight of the length")
    tau: Scalar = knob(1.0, 0.1, 5.0, log=True, live=True, about="in units of the logits")
    lr: float = knob(0.1, 0.01, 1.0, log=True, live=True, about="of Adam")
    trees: int = size(32, 1, 64, about="trained side by side")
    depth: int = size(2, 1, 4)
    draws: int = size(16, 2, 64, about="of the score function")
    gradient: str = choice("of the mixture", "score function")

    steps = 500

    def check(self) -> None:
        """Raise ValueError unless the target is a truth table, and tau above 0."""
        inputs_of(np.asarray(self.target))
        check_positive("tau", self.tau, "in units of the logits")

    def init(self, key) -> State:
        dtype, inputs = jnp.result_type(float), inputs_of(self.target)
        nodes, leaves = 2**self.depth - 1, 2**self.depth
        on_nodes, on_leaves = jr.split(key)
        logits = Tree(
            jr.normal(on_nodes, (self.trees, nodes, len(OPERATIONS)), dtype),
            jr.normal(on_leaves, (self.trees, leaves, inputs), dtype),
        )
        return State(logits, Adam(self.lr).init(logits), jnp.zeros((), dtype))

    def step(self, state: State, key) -> State:
        lam = self._lam(state)
        # A sum: no tree feels another.
        if self.gradient == "of the mixture":
            loss = lambda logits: jnp.sum(
                jax.vmap(lambda z: self._loss(softened(z, self.tau), lam))(logits)
            )
            grads = jax.grad(loss)(state.logits)
        else:
            keys = jr.split(key, self.trees)
            grads = jax.vmap(lambda key, z: self._sampled(key, z, lam))(keys, state.logits)
        update, rule = Adam(self.lr).update(grads, state.rule, state.logits)
        return State(jax.tree.map(jnp.add, state.logits, update), rule, state.step + 1.0)

    def observe(self, state: State) -> dict[str, Any]:
        soft = softened(state.logits, self.tau)
        hard = rounded(soft)
        lam = self._lam(state)
        losses = jax.vmap(lambda tree: self._loss(tree, lam))(soft)
        right = lambda tree: jnp.mean((self._values(tree) > 0.5) == (self._target() > 0.5))
        hard_right, length = jax.vmap(right)(hard), jax.vmap(expected_length)(hard)
        best = jnp.argmin(losses)
        of = lambda tree: jax.tree.map(lambda x: x[best], tree)
        return {
            "loss": losses[best],
            "length": expected_length(of(soft)),
            "right_softly": right(of(soft)),
            "right": hard_right[best],
            "solved": jnp.mean(hard_right == 1.0),
            "each_right": hard_right,
            "each_length": length,
            "each_loss": losses,
            "nodes": of(soft).nodes,
            "leaves": of(soft).leaves,
            "target": Latest(self._target()),
        }

    def _lam(self, state: State) -> Array:
        return self.lam * jnp.minimum(state.step / self.steps, 1.0)

    def _target(self) -> Array:
        return jnp.asarray(self.target, float)

    def _values(self, tree: Tree) -> Array:
        return evaluate(tree, jnp.asarray(all_cases(inputs_of(self.target)), float))

    def _loss(self, tree: Tree, lam: Array) -> Array:
        return jnp.mean((self._values(tree) - self._target()) ** 2) + lam * expected_length(tree)

    def _sampled(self, key, logits: Tree, lam: Array) -> Tree:
        scores = jax.tree.map(lambda z: z / self.tau, logits)
        keys = Tree(*jr.split(key))
        drawn = jax.tree.map(
            lambda key, s: jr.categorical(key, s, shape=(self.draws, len(s))), keys, scores
        )
        one_hot = lambda d, s: jax.nn.one_hot(d, s.shape[-1], dtype=s.dtype)
        programs = jax.tree.map(one_hot, drawn, scores)
        losses = jax.vmap(lambda tree: self._loss(tree, lam))(programs)
        of = lambda s, d: from_draws(s, d, losses[:, None]) / self.tau
        return jax.tree.map(of, scores, drawn)


def example() -> RelaxedPrograms:
    """XOR, 32 trees of depth 2."""
    return RelaxedPrograms()


@cache
def demo() -> Record:
    """The example; beside it 320 trees for XOR and for AND, without a penalty and with one."""
    tables, lams = {"xor": XOR, "and": AND}, {"free": 0.0, "short": 0.05}
    shown = fan(example(), over=[{}], every=10)[0]
    over = {"target": list(tables.values()), "lam": list(lams.values())}
    lanes = fan(RelaxedPrograms(trees=320), over=over, every=RelaxedPrograms.steps).records
    names = [f"{table}.{lam}" for table in tables for lam in lams]
    wanted = "each_right", "each_length"
    more = {f"{a}.{n}": lane[n][-1:] for a, lane in zip(names, lanes, strict=True) for n in wanted}
    return dataclasses.replace(shown, columns={**shown.columns, **more})


def lengths(record: Record, name: str) -> Float[np.ndarray, " solved"]:
    """The lengths of the programs that are right, among the 320 of a target, at the end."""
    return record.last(f"{name}.each_length")[record.last(f"{name}.each_right") == 1.0]


def _tree(record: Record) -> Panel:
    nodes, leaves = record.last("nodes"), record.last("leaves")
    depth = len(leaves).bit_length() - 1
    level = np.concatenate([np.full(2**d, d) for d in range(depth + 1)])
    across = np.concatenate([(np.arange(2**d) + 0.5) / 2**d for d in range(depth + 1)])
    child = np.arange(1, len(level))
    edges = np.stack([(child - 1) // 2, child], axis=1)
    inputs = "abcdefgh"[: leaves.shape[1]]
    names = [_choice(p, OPERATIONS) for p in nodes] + [_choice(p, inputs) for p in leaves]
    tree = Graph(across, -level.astype(float), edges, names, "", "iterates")
    return Panel("The tree of the least loss", [tree])


def _choice(shares: np.ndarray, names: Any) -> str:
    best = int(np.argmax(shares))
    sure = shares[best] > 0.995
    return names[best] if sure else f"{names[best]} {shares[best]:.0%}"


def program(record: Record) -> str:
    """The best program as Python."""
    return python(Tree(record.last("nodes"), record.last("leaves")))


def _source(record: Record) -> Panel:
    target = record.last("target")
    inputs = inputs_of(target)
    expression, cases = program(record), all_cases(inputs).astype(int)
    table = table_of(expression, inputs)
    rows = [f"{'  '.join('abcdefgh'[:inputs])}    program  target"]
    for case, value, wanted in zip(cases, table, target, strict=True):
        mark = "" if value == (wanted > 0.5) else "  wrong"
        rows.append(f"{'  '.join(map(str, case))}    {value:7g}  {wanted:6g}{mark}")
    return Panel("As Python, case by case", [Text("\n".join([expression, "", *rows]))])


views: list[View] = [
    _tree,
    _source,
    lines(
        "right_softly",
        "right",
        "solved",
        title="Cases that are right",
        y="share",
        labels={"right_softly": "mixture", "right": "program", "solved": "of trees, all right"},
        roles={"right_softly": "iterates", "right": "target", "solved": "predicted"},
        y_range=(-0.05, 1.05),
    ),
    lines("length", title="Expected length", y="nodes that do something"),
]


def say(record: Record) -> str:
    """The program, whether it is right, and how many trees are, in a sentence."""
    target = record.last("target")
    found = program(record)
    right = np.array_equal(table_of(found, inputs_of(target)), target > 0.5)
    return (
        f"Step {record.steps[-1]}: {found}, which is {'right' if right else 'not right'} in all "
        f"{len(target)} cases; {record.last('solved'):.0%} of the trees are right."
    )


def claim(record: Record) -> Claim:
    """S030: of 32 trees one finds XOR; a penalty shortens AND, and leaves XOR its three nodes.

    The share of ten groups of 32 trees in which none is right; the mean length of the right
    ANDs with a penalty; and how far it is from 3, the least, for XOR.
    """
    right = record.last("xor.short.each_right").reshape(10, 32) == 1.0
    shortened, xor = lengths(record, "and.short").mean(), lengths(record, "xor.short").mean()
    seen = [1.0 - right.any(axis=1).mean(), shortened, abs(xor - 3.0)]
    sentence = "Groups without a right program; length of AND; length of XOR from 3"
    return Claim(seen, [0.05, 1.5, 0.0], 1e-6, sentence, relation="<=")
