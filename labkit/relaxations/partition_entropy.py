"""The entropy of a soft partition, as a loss that makes an input easy.

Algorithms that adapt to their input take about n (1 + H) operations, H the entropy of the best
cut of the n items into easy ranges (`range_partitions`).  Anchors c make a cut soft:

    p_ij = softmax_j(- |x_i - c_j|^2 / tau^2),   q_j = mean_i p_ij,   H = - sum_j q_j log q_j

0 <= H <= log K; as tau -> 0 it is the entropy of the cells of the anchors, as tau -> infinity
log K.  tau > 0 is in units of x; the paper's alpha is 1 / tau^2.  The ranges of a sequence are
its runs, so there x_i is replaced by the runs begun before it, and the anchors are 0, 1, 2, ...:

    t_i = sum_{j < i} sigma((x_j - x_{j+1}) / tau)

and as tau -> 0 H goes to the entropy of the runs, to 1e-5 that the width of the anchors leaves,
where neighbours differ and there are no more runs than anchors.  The method moves the values y
of a sequence,

    mean |y - x|^2 / 2  +  lam H(y),

and counts what natural merge sort then takes.  Look at the runs that join, at the comparisons
below their bound n (H / log 2 + 2), and at how far the values had to move.  A lower soft
entropy is no promise: near its minimum values lie close to each other in pairs, where a run may
break or not.

Source: S025, Differentiable Entropy Regularization for Geometry and Neural Networks.
"""

import dataclasses
from functools import cache, lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.nn import sigmoid
from jaxtyping import Array, Float

from labkit.adaptive import Adam
from labkit.claims import Claim
from labkit.errors import check_positive
from labkit.fan import fan
from labkit.method import Latest, Scalar, knob, method, size
from labkit.record import Record
from labkit.relaxations.range_partitions import entropy_of, natural_merge_sort, run_lengths
from labkit.views import Curve, Panel, Points, View, lines


SEEDS = range(1, 25)  # of the sequences in the demonstration, beside the example's 0
NEAR = 0.3  # width of a run's anchor, in runs: a position between two runs belongs to both


def soft_cells(
    x: Float[Array, "n d"], anchors: Float[Array, "k d"], tau: Scalar
) -> Float[Array, "n k"]:
    """p, the share of each anchor in each point.  Raises ValueError unless tau > 0."""
    check_positive("tau", tau, "in units of x")
    away = (x[:, None] - anchors[None]) / tau
    return jax.nn.softmax(-jnp.sum(away**2, axis=2), axis=1)


def half_space_cells(
    x: Float[Array, "n d"],
    normals: Float[Array, "m d"],
    offsets: Float[Array, " m"],
    tau: Scalar,
) -> Float[Array, "n cells"]:
    """Shares of the 2^m cells between m planes: products of sigma(+-(<w, x> + b) / tau).

    tau > 0 is in units of <w, x>.  Cell 0 is behind all planes; the first plane is the highest
    bit.  Raises ValueError unless tau > 0.
    """
    check_positive("tau", tau, "in units of <w, x>")
    score = (x @ normals.T + offsets[None]) / tau
    cells = jnp.ones((len(x), 1), score.dtype)
    for plane in range(len(normals)):
        sides = sigmoid(jnp.stack([-score[:, plane], score[:, plane]], axis=1))
        cells = (cells[:, :, None] * sides[:, None, :]).reshape(len(x), -1)
    return cells


def partition_entropy(shares: Float[Array, "n k"]) -> Float[Array, ""]:
    """H of the cells, in nats: their sizes are the mean shares.  A cell without any counts 0."""
    q = shares.mean(axis=0)
    # The slope of q log q is infinite at 0, where softmax has underflown: 0 times it is no number.
    some = q > 0
    return -jnp.sum(jnp.where(some, q * jnp.log(jnp.where(some, q, 1.0)), 0.0))


def row_entropy(attention: Float[Array, "... queries keys"]) -> Float[Array, ""]:
    """Mean entropy of the rows: what focuses attention.  Their L1 norm is 1, whatever they are."""
    rows = attention.reshape(-1, attention.shape[-1])
    return jnp.mean(jax.vmap(lambda row: partition_entropy(row[None]))(rows))


def soft_runs(x: Float[Array, " n"], tau: Scalar, runs: int) -> Float[Array, "n runs"]:
    """The share of each of the first `runs` runs in each item; the last takes what is beyond.

    Raises ValueError unless tau > 0.
    """
    check_positive("tau", tau, "in units of x")
    falls = sigmoid((x[:-1] - x[1:]) / tau)
    begun = jnp.concatenate([jnp.zeros_like(x[:1]), jnp.cumsum(falls)])
    begun = jnp.minimum(begun, runs - 1.0)
    return soft_cells(begun[:, None], jnp.arange(runs, dtype=x.dtype)[:, None], NEAR)


def noisy_runs(seed: int, items: int = 48, runs: int = 4, noise: float = 0.02) -> np.ndarray:
    """Ascending runs of uniform values, disturbed so that some of them break."""
    random = np.random.default_rng(seed)
    ascending = np.sort(random.uniform(size=(runs, items // runs)), axis=1).ravel()
    return ascending + noise * random.normal(size=ascending.size)


class State(NamedTuple):
    y: Float[Array, " n"]  # the values as they have moved
    rule: Any  # of Adam


@method
class PartitionEntropy:
    """The values of a sequence, moved so that they make fewer and longer runs."""

    values: Float[Array, " n"] = knob(
        noisy_runs(0).tolist(), -0.2, 1.2, about="the sequence as given"
    )
    lam: Scalar = knob(0.003, -0.03, 0.03, live=True, about="weight of the entropy")
    tau: Scalar = knob(0.02, 0.005, 1.0, log=True, live=True, about="in units of the values")
    lr: float = knob(0.005, 0.0005, 0.02, log=True, live=True, about="of Adam")
    runs: int = size(24, 2, 48, about="most runs that are told apart")

    steps = 400

    def init(self, key) -> State:
        del key
        y = jnp.asarray(self.values, float)
        return State(y, self._rule.init(y))

    def step(self, state: State, key) -> State:
        del key
        update, rule = self._rule.update(jax.grad(self._loss)(state.y), state.rule, state.y)
        return State(state.y + update, rule)

    def observe(self, state: State) -> dict[str, Any]:
        x = jnp.asarray(self.values, state.y.dtype)
        return {
            "y": state.y,
            "values": Latest(x),
            "entropy": self._entropy(state.y),
            "moved": jnp.sqrt(jnp.mean((state.y - x) ** 2)),
        }

    @property
    def _rule(self) -> Adam:
        return Adam(lr=self.lr)

    def _entropy(self, y: Array) -> Array:
        return partition_entropy(soft_runs(y, self.tau, self.runs))

    def _loss(self, y: Array) -> Array:
        x = jnp.asarray(self.values, y.dtype)
        return jnp.mean((y - x) ** 2) / 2 + self.lam * self._entropy(y)


class Work(NamedTuple):
    """What a sequence takes to sort."""

    entropy: float  # of its runs, in nats
    comparisons: int  # of natural merge sort
    bound: float  # n (H / log 2 + 2)


def work(y: Float[np.ndarray, " n"]) -> Work:
    """Counted, and remembered: a picture asks again for rows that it has shown."""
    return _work(np.asarray(y, float).tobytes())


@lru_cache(4096)
def _work(values: bytes) -> Work:
    y = np.frombuffer(values)
    h = entropy_of(run_lengths(y))
    return Work(h, natural_merge_sort(y).comparisons, len(y) * (h / np.log(2) + 2))


def example() -> PartitionEntropy:
    """48 values that were four runs before noise broke them."""
    return PartitionEntropy()


@cache
def demo() -> Record:
    """The example; beside it 24 other sequences, with lam, and with its sign turned."""
    signs = (0.003, -0.003)
    several = [{"values": noisy_runs(seed), "lam": lam} for lam in signs for seed in SEEDS]
    lanes = fan(example(), over=[{}, *several], every=4)
    y = np.moveaxis(lanes.column("y"), 0, 1)  # [rows, lanes, n]
    down, up = np.split(y[:, 1:], 2, axis=1)
    return dataclasses.replace(lanes[0], columns={**lanes[0].columns, "down": down, "up": up})


def _sequence(record: Record) -> Panel:
    x, y = record.last("values"), record.last("y")
    place, ends = np.arange(1.0, len(y) + 1), np.cumsum(run_lengths(y))[:-1]
    moved = Curve(np.insert(place, ends, np.nan), np.insert(y, ends, np.nan), "moved", "iterates")
    small = np.full(len(x), 0.2)
    given = Points(place, x, "given: drag", "data", edits="values", weight=small)
    return Panel(f"{len(ends) + 1} runs", [moved, given], "place", "value", y_range=(-0.3, 1.3))


def _entropy(record: Record) -> Panel:
    exact = np.array([work(y).entropy for y in record["y"]])
    marks = [
        Curve(record.steps, record["entropy"], "soft", "entropy"),
        Curve(record.steps, exact, "of the runs", "target"),
    ]
    return Panel("Entropy", marks, "step", "nats")


def _comparisons(record: Record) -> Panel:
    counted = [work(y) for y in record["y"]]
    marks = [
        Curve(record.steps, np.array([each.comparisons for each in counted]), "made", "work"),
        Curve(record.steps, np.array([each.bound for each in counted]), "bound", "threshold"),
    ]
    return Panel("Comparisons of merge sort", marks, "step", "comparisons")


views: list[View] = [
    _sequence,
    _entropy,
    _comparisons,
    lines("moved", title="How far the values moved", y="root mean square"),
]


def say(record: Record) -> str:
    """Runs and comparisons, then and now, in a sentence."""
    before, after = work(record["y"][0]), work(record["y"][-1])
    runs = [len(run_lengths(record["y"][row])) for row in (0, -1)]
    return (
        f"Step {record.steps[-1]}: {runs[0]} runs have become {runs[1]}, "
        f"{before.comparisons} comparisons {after.comparisons} (at most {after.bound:.0f}); "
        f"the values moved by {record.last('moved'):.3f}."
    )


def claim(record: Record) -> Claim:
    """S025: with a lower entropy of the runs, merge sort makes fewer comparisons.

    Two numbers: the largest excess over the bound in any row of any sequence; and the mean
    change over 24 sequences, in comparisons.
    """
    counted = [[work(y) for y in rows] for rows in (record["down"][0], record["down"][-1])]
    all_rows = np.concatenate([record["down"], record["up"]]).reshape(-1, len(record.last("y")))
    above = max(each.comparisons - each.bound for each in map(work, all_rows))
    change = np.mean([b.comparisons - a.comparisons for a, b in zip(*counted, strict=True)])
    sentence = "Most comparisons above the bound; mean change over 24 sequences"
    return Claim([above, change], [0.0, -5.0], 0.0, sentence, relation="<=")
