"""A spike of the loss, and the examples that make it.

Over one step from w to w' each example's loss changes by

    d_i = l_i(w') - l_i(w)

The finder takes the k largest and the k smallest of the d_i: the examples that rose and those
that fell.  It needs no more than the losses of the examples.  The microscope descends, and
when a spike begins, that is when the loss comes above `spike` times the lowest so far, holds
on to the two groups of that step.  If they are opposing their losses swap at every step.

`at_spike` is for an `Explorer`, which then waits at each spike for a hand.

Source: the way in which S113, Outliers with Opposing Signals Have an Outsized Effect on
Neural Network Optimization, finds its groups.
"""

from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from labkit.dynamics.planted_digits import PlantedDigits, pictures, planted_digits
from labkit.errors import refusal
from labkit.method import Latest, knob, method, size
from labkit.problems import Classification, digits_network
from labkit.record import Record
from labkit.rules import Rule, Sgd
from labkit.run import run
from labkit.views import Curve, Image, Panel, View, lines


class ExampleProblem(Protocol):
    """A problem that knows the loss of each of its examples."""

    def start(self, key: Key[Array, ""]) -> PyTree: ...

    def loss(self, w: PyTree, batch: Any = None) -> Float[Array, ""]: ...

    def example_losses(self, w: PyTree, batch: Any = None) -> Float[Array, " samples"]: ...


class Found(NamedTuple):
    """The examples whose losses changed most, by their numbers, most first."""

    rose: Int[Array, " k"]
    fell: Int[Array, " k"]
    change: Float[Array, " samples"]  # of every example's loss


def finder(problem: ExampleProblem, before: PyTree, after: PyTree, k: int = 20) -> Found:
    """The k examples whose losses rose most from the weights `before` to `after`, and fell most.

    Raises ValueError when there are fewer than k examples.
    """
    change = problem.example_losses(after) - problem.example_losses(before)
    if not 1 <= k <= len(change):
        raise refusal("k", k, f"1 to {len(change)}, the number of examples")
    return Found(jax.lax.top_k(change, k)[1], jax.lax.top_k(-change, k)[1], change)


class State(NamedTuple):
    w: PyTree  # parameters
    rule: Any  # state of the rule
    loss: Float[Array, ""]  # L(w)
    lowest: Float[Array, ""]  # of the losses so far
    spiking: Bool[Array, ""]  # until the loss is as low as before the spike
    spikes: Int[Array, ""]  # how many have begun
    groups: Int[Array, "2 k"]  # the examples that rose and that fell, when the last one began


@method
class SpikeMicroscope:
    """Full-batch descent on `problem` by `rule`, with the two groups of the last spike.

    Before the first spike the groups are those of the last step.  `images` and `labels` are
    what to show of the examples.
    """

    problem: ExampleProblem
    images: Float[Array, "samples rows columns"]
    labels: Int[Array, " samples"]
    rule: Rule = Sgd(lr=0.25)
    spike: float = knob(1.3, 1.05, 3.0, live=True, within=(1.0, float("inf")), about="its height")
    k: int = size(20, 1, 40, about="examples in each group")

    def check(self) -> None:
        start = jax.eval_shape(self.problem.start, jax.random.key(0))
        samples = len(jax.eval_shape(self.problem.example_losses, start))
        for name, shown in (("images", self.images), ("labels", self.labels)):
            if len(shown) != samples:
                raise refusal(f"number of {name}", len(shown), f"{samples}, one an example")
        if self.k > samples:
            raise refusal("k", self.k, f"at most {samples}, the number of examples")

    def init(self, key) -> State:
        w = self.problem.start(key)
        loss = self.problem.loss(w)
        nobody = jnp.zeros((2, self.k), jnp.int32)
        none = jnp.zeros((), jnp.int32)
        return State(w, self.rule.init(w), loss, loss, jnp.asarray(False), none, nobody)

    def step(self, state: State, key) -> State:
        del key  # the full batch: nothing is random
        grad = jax.grad(self.problem.loss)(state.w)
        updates, rule = self.rule.update(grad, state.rule, state.w)
        w = jax.tree.map(jnp.add, state.w, updates)
        loss = self.problem.loss(w)
        begins = ~state.spiking & (loss > self.spike * state.lowest)
        found = finder(self.problem, state.w, w, self.k)
        fresh = begins | (state.spikes == 0)
        groups = jnp.where(fresh, jnp.stack([found.rose, found.fell]), state.groups)
        spiking = begins | (state.spiking & (loss > state.lowest))
        lowest = jnp.minimum(loss, state.lowest)
        return State(w, rule, loss, lowest, spiking, state.spikes + begins, groups)

    def observe(self, state: State) -> dict[str, Any]:
        losses = self.problem.example_losses(state.w)
        return {
            "loss": state.loss,
            "lowest": state.lowest,
            "spikes": state.spikes,
            "losses": losses,
            "found_loss": losses[state.groups].mean(axis=1),
            "groups": state.groups,
            "labels": self.labels[state.groups],
            "images": Latest(self.images[state.groups]),
        }


def at_spike(record: Record) -> str:
    """Whether a spike began in the last row, in a sentence; empty when none did."""
    spikes = record["spikes"]
    if len(spikes) < 2 or spikes[-1] == spikes[-2]:
        return ""
    height = record.last("loss") / record.last("lowest")
    return (
        f"A spike at step {record.steps[-1]}: the loss is {height:.2f} times its lowest. "
        "Step goes on by one, Play to the next."
    )


def to_spike(method: SpikeMicroscope, most: int = 400, beyond: int = 0, **options: Any) -> Record:
    """The run up to the row where its first spike begins, and `beyond` steps more.

    `options` are those of `run`.  The whole run of `most` steps when there is no spike.
    """
    whole = run(method, most, **options)
    begun = np.flatnonzero(whole["spikes"])
    # Run again, for a record that is cut short knows no images.
    return run(method, int(whole.steps[begun[0]]) + beyond, **options) if len(begun) else whole


def watch(problem: PlantedDigits | Classification, **options: Any) -> SpikeMicroscope:
    """The microscope on images: their pixels and their labels are those of the problem."""
    labels = problem.labels if isinstance(problem, PlantedDigits) else problem.y
    images = jnp.asarray(pictures(problem.data.x), float)
    return SpikeMicroscope(problem, images, labels, **options)


def example() -> SpikeMicroscope:
    """Digits with planted outliers, descended with lr 0.25."""
    return watch(planted_digits(), rule=Sgd(lr=0.25))


def unmodified() -> SpikeMicroscope:
    """The ten digits as they are, descended with lr 0.4."""
    return watch(digits_network(samples=300), rule=Sgd(lr=0.4))


def swap(record: Record) -> Panel:
    """The losses of the two groups as they are now, over the last 30 rows."""
    steps, losses, groups = record.steps[-30:], record["losses"][-30:], record.last("groups")
    rose, fell = (losses[:, group].mean(axis=1) for group in groups)
    marks = [Curve(steps, rose, "rose", "rose"), Curve(steps, fell, "fell", "fell")]
    return Panel("The two groups", marks, "step", "mean loss")


def sheet(group: int, title: str) -> View:
    """The images of one group, 0 or 1, with its labels counted in the title."""

    def view(record: Record) -> Panel:
        labels, counts = np.unique(record.last("labels")[group], return_counts=True)
        order = np.argsort(-counts)[:2]  # as many as a title has room for
        said = ", ".join(f"{counts[i]} x '{labels[i]}'" for i in order)
        said += ", ..." * (len(counts) > 2)
        return Panel(f"{title}: {said}", [Image(_tiled(record.last("images")[group]))])

    return view


def _tiled(images: Float[np.ndarray, "k rows columns"], across: int = 5) -> np.ndarray:
    """The images side by side on grey, `across` in a row."""
    k, rows, columns = images.shape
    whole = np.full((-(-k // across) * (rows + 1) + 1, min(k, across) * (columns + 1) + 1), 0.5)
    for i, image in enumerate(images):
        top, left = 1 + i // across * (rows + 1), 1 + i % across * (columns + 1)
        whole[top : top + rows, left : left + columns] = image
    return whole


views = [
    lines("loss", "lowest", title="Loss", y="loss", log=True),
    swap,
    sheet(0, "Rose"),
    sheet(1, "Fell"),
]


def say(record: Record) -> str:
    """Where the two groups stand, in a sentence."""
    rose, fell = record.last("found_loss")
    return (
        f"Step {record.steps[-1]}, spikes so far {record.last('spikes')}: mean loss of the group "
        f"that rose {rose:.3g}, of the group that fell {fell:.3g}."
    )
