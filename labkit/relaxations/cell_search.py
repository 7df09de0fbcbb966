"""The search for a cell as a problem of two levels, and what such a search comes to.

    p_e = softmax((alpha_e + noise g_e) / tau) on each edge e,      g Gumbel noise, each its own

The weights of the supernet are for the training loss, the logits alpha for the validation loss.
In the end one operation stays on each edge: the one of the largest share, zero left out.  The
supernet was never asked to be good at that, so its loss jumps; `gap` is by how much.  Whether
the cell is a good one is another question yet, and the table of trained cells answers it.
"""

from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Int, Key
from scipy.stats import spearmanr

from labkit.method import Scalar, knob, pytree
from labkit.record import Record
from labkit.relaxations.cell_table import CellTable
from labkit.relaxations.cells import EDGES, USUAL, Supernet, Weights, one_hot
from labkit.relaxations.softmax import softmax
from labkit.views import Bars, Curve, Panel, View, lines


@pytree
class CellSearch:
    """Both losses of a supernet as functions of its weights and of logits [3, operations]."""

    space: Supernet
    tau: Scalar = knob(1.0, 0.01, 10.0, log=True, live=True, about="softness of the shares")
    noise: float = knob(
        0.0, 0.0, 2.0, live=True, within=(0.0, np.inf), about="scale of the noise on the logits"
    )
    l2: float = knob(
        0.0, 0.0, 0.03, live=True, within=(0.0, np.inf), about="penalty on the weights, in training"
    )

    def start(self, key: Key[Array, ""]) -> tuple[Weights, Float[Array, "3 operations"]]:
        """Weights as the supernet starts them, and logits from N(0, 0.001^2)."""
        on_weights, on_logits = jr.split(key)
        shape, dtype = (len(EDGES), len(self.space.operations)), self.space.train.x.dtype
        return self.space.start(on_weights), 0.001 * jr.normal(on_logits, shape, dtype)

    def shares(
        self, alpha: Float[Array, "3 operations"], key: Key[Array, ""] | None = None
    ) -> Float[Array, "3 operations"]:
        """p, without noise where there is no key."""
        if key is not None:
            alpha = alpha + self.noise * jr.gumbel(key, alpha.shape, alpha.dtype)
        return softmax(alpha, self.tau)

    def train(
        self, w: Weights, alpha: Float[Array, "3 operations"], key: Key[Array, ""] | None = None
    ) -> Float[Array, ""]:
        """Mean cross entropy on the training samples + l2 / 2 |w|^2."""
        squares = sum(jnp.sum(a * a) for a in jax.tree.leaves(w))
        loss = self.space.loss(w, self.shares(alpha, key), self.space.train, key)
        return loss + self.l2 / 2 * squares

    def validation(
        self, w: Weights, alpha: Float[Array, "3 operations"], key: Key[Array, ""] | None = None
    ) -> Float[Array, ""]:
        """Mean cross entropy on the validation samples."""
        return self.space.loss(w, self.shares(alpha, key), self.space.validation, key)

    def seen(self, w: Weights, alpha: Float[Array, "3 operations"]) -> dict[str, Array]:
        """The race, the cell it would end in, and what that costs the supernet."""
        p, space = self.shares(alpha), self.space
        cell = discretise(p, space.operations)
        of = one_hot(cell, len(space.operations)).astype(p.dtype)
        loss = jax.vmap(lambda q: space.loss(w, q, space.validation))
        supernet, single = loss(jnp.stack([p, of]))
        return {
            "shares": p,
            "alpha": alpha,
            "cell": cell,
            "supernet": supernet,
            "discrete": single,
            "gap": jnp.abs(supernet - single),
            "entropy": entropy(p),
            "tau": jnp.asarray(self.tau, p.dtype),
        }


def discretise(
    shares: Float[Array, "... operations"], operations: tuple[str, ...] = USUAL
) -> Int[Array, "..."]:
    """The operation of the largest share on each edge, zero left out."""
    allowed = np.array([name != "zero" for name in operations])
    return jnp.argmax(jnp.where(allowed, shares, -jnp.inf), axis=-1)


def entropy(p: Float[Array, "... n"]) -> Float[Array, "..."]:
    """-sum p log p, in nats; 0 log 0 is 0."""
    return -jnp.sum(p * jnp.log(jnp.where(p > 0, p, 1.0)), axis=-1)


def regrets(table: CellTable, cells: Int[np.ndarray, "... 3"]) -> Float[np.ndarray, "..."]:
    """How much less accurate than the best cell each one is, once trained on its own."""
    rows = np.ravel_multi_index(tuple(np.moveaxis(np.asarray(cells), -1, 0)), (len(USUAL),) * 3)
    return table.mean.max() - table.mean[rows]


def random_search(
    table: CellTable, tries: int, searches: int = 2000, seed: int = 0
) -> Float[np.ndarray, " searches"]:
    """Regrets of the control: train `tries` random cells once each, keep the best of them.

    Cells without zero, as a search ends in one; "best" is by the accuracy of that one training.
    """
    draw = np.random.default_rng(seed)
    sound = np.flatnonzero((table.cells != USUAL.index("zero")).all(axis=1))
    rows = draw.choice(sound, (searches, tries))
    seeds = draw.integers(table.accuracy.shape[1], size=rows.shape)
    best = table.accuracy[rows, seeds].argmax(axis=1)
    return regrets(table, table.cells[rows[np.arange(searches), best]])


def worth(table: CellTable) -> Float[np.ndarray, "3 4"]:
    """Accuracy of the trained cells that hold an operation on an edge, their mean."""
    means = table.mean.reshape((len(USUAL),) * len(EDGES))
    return np.stack([np.moveaxis(means, e, 0).mean(axis=(1, 2)) for e in range(len(EDGES))])


def agreement(strength: Float[np.ndarray, "3 4"], table: CellTable) -> float:
    """Spearman's rank correlation with `worth`, mean of the edges, zero left out."""
    sound = [o for o, name in enumerate(USUAL) if name != "zero"]
    pairs = zip(np.asarray(strength)[:, sound], worth(table)[:, sound], strict=True)
    return float(np.mean([spearmanr(ours, theirs)[0] for ours, theirs in pairs]))


def race(operations: tuple[str, ...] = USUAL) -> View:
    """The newest shares as bars, edge by edge."""

    def view(record: Record) -> Panel:
        shares = np.asarray(record.last("shares"))
        marks = [
            Bars(np.array(EDGES), shares[:, o], name, name) for o, name in enumerate(operations)
        ]
        return Panel("Shares on each edge", marks, "edge", "share", y_range=(0.0, 1.0))

    return view


def course(operations: tuple[str, ...] = USUAL, edge: int = 2) -> View:
    """The shares of one edge over the steps."""

    def view(record: Record) -> Panel:
        shares = np.asarray(record["shares"])[:, edge]
        marks: list[Any] = [
            Curve(record.steps, shares[:, o], name, name) for o, name in enumerate(operations)
        ]
        return Panel(f"Shares, {EDGES[edge]}", marks, "step", "share", y_range=(-0.02, 1.02))

    return view


jump = lines(
    "supernet",
    "discrete",
    title="Validation loss",
    y="cross entropy",
    labels={"discrete": "one operation an edge, same weights"},
    roles={"supernet": "loss", "discrete": "discretised"},
    log=True,
)


def told(cell: Int[np.ndarray, "3"], operations: tuple[str, ...] = USUAL) -> str:
    """A cell in words."""
    return ", ".join(operations[o] for o in np.asarray(cell))
