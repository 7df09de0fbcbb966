"""Draw a graph and watch a set of its nodes, or a colouring, settle.

Each node i has label c with probability p_ic = softmax(w_i)_c.  Labels are colours, of which
the two ends of an edge should differ; or out and in, of which no edge should have two in:

    colouring         E cost = sum_{edges ij} sum_c p_ic p_jc
    independent set   E cost = - sum_i p_i,in + beta sum_{edges ij} p_i,in p_j,in

Either is f(p) = sum_ic p_ic (u_c + 1/2 v_c (A p)_ic), linear in the row p_i of each node.  Given
the others, label c at node i costs h_ic = u_c + v_c (A p)_ic.  So a node may take its best label
at once, and f does not rise: `rounded` does this for the node that gains most, until no node
gains.  With beta > 1 no edge is then inside the set.  Descent on w never sees the rounded labels.

The edges may be drawn while it runs.

Source: S022, Tackling Prevalent Conditions in Unsupervised Combinatorial Optimization:
Cardinality, Minimum, Covering, and More.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Int

from labkit.adaptive import Adam
from labkit.errors import refusal
from labkit.method import choice, knob, method, size
from labkit.record import Record
from labkit.relaxations.small_graphs import circle, petersen
from labkit.rules import Rule
from labkit.views import Graph, Mark, Panel, Points, View, lines


class State(NamedTuple):
    w: Float[Array, "n c"]  # of each node and label
    rule: Any  # state of the rule


@method
class GraphRelaxation:
    """Descent on the expected cost of random labels; entries of `adjacency` above 1/2 are edges."""

    adjacency: Float[Array, "n n"] = knob(petersen().tolist(), 0.0, 1.0, live=True)
    task: str = choice("independent set", "colouring")
    colours: int = size(3, 2, 6, about="of a colouring")
    beta: float = knob(1.5, 0.0, 4.0, live=True, within=(0.0, np.inf), about="for an edge inside")
    rule: Rule = Adam(lr=0.1)

    def check(self) -> None:
        shape = np.shape(self.adjacency)
        if len(shape) != 2 or shape[0] != shape[1]:
            raise refusal("shape of adjacency", shape, "(n, n), one row and column for each node")

    @property
    def labels(self) -> int:
        """Colours, or out and in."""
        return self.colours if self.task == "colouring" else 2

    def edges(self) -> Float[Array, "n n"]:
        """A: 1 between nodes that are joined, either way round; 0 on the diagonal."""
        drawn = jnp.asarray(self.adjacency) > 0.5
        return ((drawn | drawn.T) & ~jnp.eye(len(drawn), dtype=bool)).astype(float)

    def label_costs(self, p: Float[Array, "n c"]) -> Float[Array, "n c"]:
        """h: what each label of each node costs, given the others."""
        beside = self.edges().astype(p.dtype) @ p
        if self.task == "colouring":
            return beside
        return (self.beta * beside - 1.0) * jnp.array([0.0, 1.0], p.dtype)[None]

    def cost(self, p: Float[Array, "n c"]) -> Float[Array, ""]:
        """f: each edge is in two rows of h, and what a label costs by itself in one."""
        alone = 0.0 if self.task == "colouring" else -p[:, 1].sum()
        return ((p * self.label_costs(p)).sum() + alone) / 2.0

    def init(self, key) -> State:
        w = 0.1 * jr.normal(key, (len(self.adjacency), self.labels))
        return State(w, self.rule.init(w))

    def step(self, state: State, key) -> State:
        del key  # only the start is random
        gradient = jax.grad(lambda w: self.cost(jax.nn.softmax(w)))(state.w)
        updates, rule = self.rule.update(gradient, state.rule, state.w)
        return State(state.w + updates, rule)

    def observe(self, state: State) -> dict[str, Any]:
        p = jax.nn.softmax(state.w)
        labels = self.rounded(p)
        one_hot = jax.nn.one_hot(labels, self.labels, dtype=p.dtype)
        first = 0 if self.task == "colouring" else 1  # of the labels that are shown: out is not
        return {
            "p": p[:, first:],
            "labels": labels + 1 - first,  # 0 for a node that is out
            "cost": self.cost(p),
            "rounded_cost": self.cost(one_hot),
            "edges": self.edges(),
        }

    def rounded(self, p: Float[Array, "n c"]) -> Int[Array, " n"]:
        """The labels where rounding ends: no node has a better one, given the others."""

        def gains(p: Array) -> Array:
            h = self.label_costs(p)
            gain = (p * h).sum(axis=1) - h.min(axis=1)
            open_ = p.max(axis=1) < 1.0
            # One with a label already has to gain, by more than float32 rounds.
            return jnp.where(open_, jnp.maximum(gain, 0.0), jnp.where(gain > 1e-4, gain, -1.0))

        def take(p: Array) -> Array:
            node = gains(p).argmax()
            best = self.label_costs(p)[node].argmin()
            return p.at[node].set(jax.nn.one_hot(best, p.shape[1], dtype=p.dtype))

        return jax.lax.while_loop(lambda p: gains(p).max() >= 0.0, take, p).argmax(axis=1)


def example() -> GraphRelaxation:
    """The Petersen graph: at most 4 of its 10 nodes have no edge between them; 3 colours do."""
    return GraphRelaxation()


def _graph(record: Record) -> Panel:
    p, labels = np.asarray(record.last("p")), np.asarray(record.last("labels"))
    (n, count), (x, y) = p.shape, circle(len(p))
    edges, numbers = np.argwhere(np.triu(record.last("edges")) > 0), [str(1 + i) for i in range(n)]
    marks: list[Mark] = [Graph(x, y, edges, numbers, "node", "data", edits="adjacency")]
    names = ["out", "in"] if count == 1 else [f"colour {1 + c}" for c in range(count)]
    for c, name in enumerate(names):
        i = labels == (c if count == 1 else 1 + c)
        marks.append(Points(x[i], y[i], name, name, weight=p[i, 0 if count == 1 else c]))
    title, span = "Drag from node to node; area: probability", (-1.4, 1.4)
    return Panel(title, marks, equal=True, x_range=span, y_range=span)


def _costs(record: Record) -> Panel:
    names = {"cost": "expected", "rounded_cost": "rounded"}
    roles = {"cost": "loss", "rounded_cost": "score function"}
    return lines("cost", "rounded_cost", title="Cost", y="cost", labels=names, roles=roles)(record)


views: list[View] = [_graph, _costs]


def say(record: Record) -> str:
    """What the rounded labels are, in a sentence."""
    labels, step = np.asarray(record.last("labels")), record.steps[-1]
    [i, j] = np.nonzero(np.triu(record.last("edges")))
    if record["p"].shape[2] == 1:
        nodes = ", ".join(str(1 + node) for node in np.flatnonzero(labels))
        inside = (labels[i] * labels[j]).sum()
        return f"Step {step}: {labels.sum()} nodes in ({nodes}), {inside} edges inside."
    clashes = (labels[i] == labels[j]).sum()
    return f"Step {step}: {len(set(labels))} colours, {clashes} of {len(i)} edges clash."
