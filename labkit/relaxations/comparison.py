"""Any relaxations of the same hard thing side by side, at the same softness.

With f(x, tau) the soft thing, f*(x) the hard one, J = df / dx, and means over draws for those
that draw,

    bias           mean over entries of |E f - f*|
    wrong signs    share of the entries of J that point the wrong way
    dead           share of the entries of J that are exactly zero
    variance       mean over entries of Var J, over draws
    rounded        share of entries that are right once f is rounded

A slope points the wrong way where its sign is that of no reasonable operator: a sorted value
that falls where an input rises; a rank, or a share, that falls with its own value or rises with
another's.  Small tau is true to the hard thing, and its slopes die or turn; large tau blurs.
What an operator buys with its bias is the picture to look at: bias against wrong signs.

Source: F025, The bench of relaxations (labkit's own comparison), after the monotonicity of S008.
"""

from collections.abc import Iterable
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float

from labkit.claims import Claim
from labkit.errors import refusal, unknown
from labkit.method import choice, knob, pytree, size, static
from labkit.record import Record
from labkit.relaxations.operators import TASKS, Operator
from labkit.run import run
from labkit.sweep import Sweep, sweep
from labkit.views import Curve, Panel, Text, View, drag


ROUNDING = 1e-5  # below this share of the largest slope, a slope of float32 is no slope
MEASURES = ("bias", "wrong", "dead", "variance", "rounded")


@pytree
class Comparison:
    """What is seen of several operators at a softness tau; of all of a task if none is named."""

    values: Float[Array, " n"] = knob((0.6, -0.3, 1.9, 1.1, -1.2, 0.1), -2.5, 2.5)
    task: str = choice("sort", "rank", "choose", "top_k")
    draws: int = size(32, 2, 512, about="of those operators that draw")
    names: tuple[str, ...] = static(default=())
    others: tuple[tuple[str, Operator], ...] = static(default=())  # a reader's own, by name

    def check(self) -> None:
        """Raises where a name is unknown, or there are too few values."""
        for name in self.names:
            if name not in self._known():
                raise unknown(f"operator of {self.task}", name, self._known())
        if len(self.values) < 3:
            raise refusal("values", self.values, "three numbers or more")

    def _known(self) -> dict[str, Operator]:
        return {**TASKS[self.task].operators, **dict(self.others)}

    def __call__(self, tau: Float[Array, ""]) -> dict[str, Any]:
        x, known = jnp.asarray(self.values), self._known()
        seen: dict[str, Any] = {"values": x}
        for name in self.names or known:
            found = self._measured(known[name], x, tau)
            seen |= {f"{measure} {name}": value for measure, value in found.items()}
        return seen

    def _measured(self, operator: Operator, x: Array, tau: Array) -> dict[str, Array]:
        hard, signs = TASKS[self.task].hard(x), TASKS[self.task].signs(len(x))

        def one(key: Array) -> tuple[Array, Array, Array]:
            soft, rounded = operator(x, tau, key)
            return soft, rounded, jax.jacrev(lambda x: operator(x, tau, key)[0])(x)

        soft, rounded, slope = jax.vmap(one)(jr.split(jr.key(0), self.draws))
        largest = jnp.abs(slope).max(axis=(1, 2), keepdims=True)
        wrong = slope * signs[None] < -ROUNDING * largest
        return {
            "bias": jnp.abs(soft.mean(axis=0) - hard).mean(),
            "wrong": wrong.mean(),
            "dead": (slope == 0.0).mean(),
            "variance": slope.var(axis=0).mean(),
            "rounded": (rounded == hard[None]).mean(),
        }


def compare(*operators: str | tuple[str, Operator], task: str = "sort", **fields: Any) -> Sweep:
    """The operators named, and a reader's own as pairs (name, operator), from hard to soft.

    An operator takes (x, tau, key) and gives (soft, rounded).  Raises KeyError for a name that
    the task does not know, ValueError for a task that does not exist.
    """
    if task not in TASKS:
        raise refusal("task", task, ", ".join(TASKS))
    own = tuple(given for given in operators if not isinstance(given, str))
    names = tuple(given if isinstance(given, str) else given[0] for given in operators)
    bench = Comparison(task=task, names=names, others=own, **fields)
    bench.check()
    return sweep(bench, over=jnp.logspace(-2.0, 1.0, 31), name="tau")


def example() -> Sweep:
    """Nine ways to sort six values."""
    return compare(draws=2)


@cache
def demo() -> Record:
    """The example, from hard to soft."""
    return run(example())


def operators_of(record: Record) -> list[str]:
    """The operators that a record compares, from a to z."""
    return [name.removeprefix("bias ") for name in record if name.startswith("bias ")]


def over_tau(measure: str, title: str, y: str, log: bool = False) -> View:
    """A measure of every operator over the softness."""

    def view(record: Record) -> Panel:
        marks = []
        for name in operators_of(record):
            values = record[f"{measure} {name}"].astype(float)
            shown = np.where(values > 1e-9, values, np.nan) if log else values
            marks.append(Curve(record["tau"], shown, name, name))
        y_range = None if log else (-0.04, 1.04)
        return Panel(title, marks, "softness tau", y, log_x=True, log_y=log, y_range=y_range)

    return view


def _trade(record: Record) -> Panel:
    marks = []
    for name in operators_of(record):
        bias, wrong = record[f"bias {name}"], record[f"wrong {name}"]
        marks.append(Curve(np.where(bias > 1e-6, bias, np.nan), wrong, name, name))
    title = "The price of right signs"
    axes: dict[str, Any] = {"log_x": True, "y_range": (-0.04, 1.04)}
    return Panel(title, marks, "bias, as tau grows", "share of wrong signs", **axes)


def _drawn(record: Record) -> Panel:
    panel = over_tau("variance", "What the draws add", "variance of a slope", log=True)(record)
    if all(np.isnan(mark.y).all() for mark in panel.marks if isinstance(mark, Curve)):
        return Panel(panel.title, [Text("Nothing: none of these operators draws.")])
    return panel


views: list[View] = [
    drag("function.values", (-2.7, 2.7), y="value"),
    over_tau("bias", "How wrong the value is", "mean distance from the hard one", log=True),
    over_tau("wrong", "Slopes that point the wrong way", "share of wrong signs"),
    _trade,
    over_tau("dead", "Slopes that are exactly zero", "share of zeros"),
    over_tau("rounded", "What comes back when rounded", "share of entries that are right"),
    _drawn,
]


def say(record: Record) -> str:
    """Who points the wrong way somewhere, and who never, in a sentence."""
    worst = {name: record[f"wrong {name}"].max() for name in operators_of(record)}
    never = [name for name, share in worst.items() if share == 0]
    most = max(worst, key=lambda name: worst[name])
    told = f"never of {', '.join(never)}" if never else "of every operator somewhere"
    return (
        f"Over tau from {record['tau'][0]:.3g} to {record.last('tau'):.3g}, slopes point the wrong "
        f"way {told}; at most of {most}, in {worst[most]:.0%} of the entries."
    )


MONOTONE = ("isotonic", "reciprocal", "cauchy", "optimal", "error-free")
OTHERS = ("softsort", "neuralsort", "sinkhorn", "logistic")


def claim(record: Record) -> Claim:
    """F025: monotone swaps and pools never point the wrong way; the other sorts all do somewhere.

    Two numbers: the largest share of wrong signs of the first, and how many of the second have
    one of a hundredth or more at some tau.
    """

    def worst(names: Iterable[str]) -> list[float]:
        return [float(record[f"wrong {name}"].max()) for name in names]

    seen = [max(worst(MONOTONE)), sum(share > 0.01 for share in worst(OTHERS))]
    sentence = "Wrong signs of monotone sorts; how many of four other sorts have some"
    return Claim(seen, [0.0, 4.0], 0.0, sentence, kind="measured")
