"""The edge of stability over step sizes and seeds: where it is reached, and where not.

A row is one learning rate: gradient descent from several seeds, as lanes of a `fan`.  Of each

    start       sharpness / (2 / lr) at the start
    crossing    the first step at which the sharpness is seen above 2 / lr
    sharpness   sharpness / (2 / lr), median over the last quarter of the steps
    distance    from the midpoint of descent to gradient flow at the end, in weights
    central     the same to the central flow, where that is followed

There are three phases.  A small step never reaches the edge within the steps there are; a
larger one comes to it, the sooner the larger it is, and stays; one that is too large diverges.
The flows of all learning rates are one path with another clock, so each seed has one flow.

Source: F009, The edge of stability over step sizes and seeds (labkit's own phase diagram).
"""

import dataclasses
from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from labkit.claims import Claim
from labkit.dynamics.central_flow import CentralFlow
from labkit.dynamics.edge_of_stability import EdgeOfStability
from labkit.dynamics.gradient_flow import GradientFlow
from labkit.errors import refusal
from labkit.fan import Fan, fan
from labkit.method import choice, knob, method, size
from labkit.problems import Problem, digits_network
from labkit.record import Record
from labkit.rules import Sgd
from labkit.run import run
from labkit.views import Band, Curve, Panel, Points, Raster, View


EVERY = 5  # steps between two looks: a crossing is known to within them
SUBSTEPS = 6  # of the flow a step of the largest lr: stable while lr * sharpness < 16


class State(NamedTuple):
    lrs: Float[np.ndarray, " k"]
    flow: Float[np.ndarray, "seeds times n"]  # weights, the time of one step of `largest` apart
    index: int  # into the learning rates
    row: dict[str, list[float]]  # by column, a number for each seed


@method(host=True)
class PhaseDiagram:
    """Step k runs the k-th learning rate, of `count` from `smallest` to `largest`.

    The seeds are `first`, `first` + 1 and so on.  A row is a list, in which NaN may stand: for
    a run that diverges, for one that never crosses.  `check` refuses an empty range.
    """

    problem: Problem
    smallest: float = knob(0.5, 0.05, 2.0, log=True, about="learning rate of the first row")
    largest: float = knob(2.0, 0.1, 5.0, log=True, about="learning rate of the last row")
    count: int = size(9, 2, 40, about="learning rates")
    seeds: int = size(4, 1, 32, about="runs of each")
    first: int = size(0, 0, 1000, about="first seed")
    length: int = size(300, 40, 2000, about="steps of each run")
    central: str = choice("left out", "followed", about="the central flow: far more work")

    @property
    def steps(self) -> int:
        """From the first learning rate to the last."""
        return self.count - 1

    def check(self) -> None:
        if not self.smallest < self.largest:
            raise refusal("smallest", self.smallest, f"a rate below largest, {self.largest:g}")

    def init(self, key) -> State:
        del key  # the seeds are fields
        lrs = np.geomspace(self.smallest, self.largest, self.count)
        flow = GradientFlow(self.problem, Sgd(self.largest), SUBSTEPS)
        path = fan(flow, self.length, over=self._over(), probes={"w": _weights}).column("w")
        return State(lrs, path, 0, self._row(lrs[0], path))

    def step(self, state: State, key) -> State:
        del key
        index = state.index + 1
        return state._replace(index=index, row=self._row(state.lrs[index], state.flow))

    def observe(self, state: State) -> dict[str, Any]:
        return {"lrs": state.lrs, "length": self.length, **state.row}

    def done(self, state: State) -> bool:
        """Every learning rate has been run."""
        return state.index == len(state.lrs) - 1

    def _row(self, lr: float, path: Float[np.ndarray, "seeds times n"]) -> dict[str, list[float]]:
        descent = EdgeOfStability(self.problem, Sgd(lr), directions=1)
        runs = fan(descent, self.length, over=self._over(), every=EVERY)
        middles = np.array([_midpoint(descent, record.state) for record in runs.records])
        row = phases(runs)
        middles[np.isnan(row["sharpness"])] = np.nan
        flow = _between(path, self.length * lr / self.largest)
        row["distance"] = np.linalg.norm(middles - flow, axis=1).tolist()
        if self.central == "followed":
            model = CentralFlow(self.problem, Sgd(lr))
            ends = fan(model, self.length, over=self._over(), every=self.length)
            central = np.array([_weights(record.state) for record in ends.records])
            row["central"] = np.linalg.norm(middles - central, axis=1).tolist()
        return row

    def _over(self) -> dict[str, range]:
        return {"key": range(self.first, self.first + self.seeds)}


def phases(runs: Fan) -> dict[str, list[float]]:
    """`start`, `crossing` and `sharpness` of each lane; all NaN where it diverged."""
    columns: dict[str, list[float]] = {"start": [], "crossing": [], "sharpness": []}
    for record in runs.records:
        share = record["sharpness"] / record["threshold"]
        above = record.steps[share > 1.0]
        late = record.steps >= 0.75 * record.steps[-1]
        seen = [share[0], above[0] if len(above) else np.nan, np.median(share[late])]
        diverged = bool(record.events)  # there is nothing else that such a run says
        for column, value in zip(columns.values(), seen, strict=True):
            column.append(np.nan if diverged else float(value))
    return columns


def _weights(state) -> Float[Array, " n"]:
    return ravel_pytree(state.w)[0]


@jax.jit
def _midpoint(descent: EdgeOfStability, state: Any) -> Float[Array, " n"]:
    return ravel_pytree(descent.midpoint(state))[0]


def _between(path: Float[np.ndarray, "seeds times n"], time: float) -> np.ndarray:
    """The path at a time [seeds, n], on a straight line between its rows."""
    before = min(int(time), path.shape[1] - 2)
    return path[:, before] + (time - before) * (path[:, before + 1] - path[:, before])


def table(record: Record, name: str) -> Float[np.ndarray, "lrs seeds"]:
    """One column over all learning rates; NaN also for those that have not been run yet."""
    rows = np.array(list(record[name]), float)
    ahead = len(record.last("lrs")) - len(rows)
    return np.pad(rows, ((0, ahead), (0, 0)), constant_values=np.nan)


def side_by_side(diagram: PhaseDiagram, problems: Mapping[str, Problem]) -> Record:
    """The diagram of each problem, networks of several widths say, as columns "name.column"."""
    on = lambda problem: run(dataclasses.replace(diagram, problem=problem))
    records = {name: on(problem) for name, problem in problems.items()}
    first = next(iter(records.values()))
    return Record(first.steps, {name: first[name] for name in ("lrs", "length")}).beside(**records)


def example() -> PhaseDiagram:
    """Learning rates from 0.5 to 2 on 100 digits seen by 16 units; 442 weights."""
    return PhaseDiagram(digits_network(samples=100, width=16, depth=1, components=16))


@cache
def demo() -> Record:
    """The example."""
    return run(example())


def heat_map(name: str, title: str, label: str) -> View:
    """A column over learning rates and seeds; empty where it is NaN, marked where it diverged."""

    def view(record: Record) -> Panel:
        values, lrs = table(record, name), record.last("lrs")
        raster = Raster(values.T, lrs, np.arange(values.shape[1]), label)
        row, seed = np.nonzero(np.isnan(table(record, "sharpness")[: len(record)]))
        diverged = Points(lrs[row], seed, "diverged", "diverged")
        marks = [raster, diverged] if len(row) else [raster]
        return Panel(title, marks, "learning rate", "seed", log_x=True)

    return view


def medians(name: str, title: str, y: str, line: float | None = None) -> View:
    """Median and quartiles over the seeds that have a number, for each diagram of the record."""

    def view(record: Record) -> Panel:
        lrs, marks = record.last("lrs"), []
        for column in record:
            if column.rpartition(".")[2] == name:
                low, middle, high = _quartiles(table(record, column))
                label = column.rpartition(".")[0] or "median"
                marks += [Band(lrs, low, high, "", label), Curve(lrs, middle, label, label)]
        if line is not None:
            marks.append(Curve(lrs, np.full(len(lrs), line), "edge", "threshold"))
        return Panel(title, marks, "learning rate", y, log_x=True)

    return view


def _quartiles(values: Float[np.ndarray, "lrs seeds"]) -> Float[np.ndarray, "3 lrs"]:
    """Of what is finite in each row; NaN where nothing is."""
    known = [row[np.isfinite(row)] for row in values]
    nothing = np.full(3, np.nan)
    rows = [np.quantile(row, (0.25, 0.5, 0.75)) if len(row) else nothing for row in known]
    return np.array(rows).T


views = [
    heat_map("crossing", "First step at the edge", "step"),
    heat_map("sharpness", "Final sharpness over the edge", "share of 2 / lr"),
    heat_map("distance", "Distance to gradient flow", "in weights"),
    medians("sharpness", "Final sharpness, over the seeds", "share of 2 / lr", line=1.0),
]


def say(record: Record) -> str:
    """How many runs are in each phase."""
    done, lrs = len(record), record.last("lrs")
    final, came = (table(record, name)[:done] for name in ("sharpness", "crossing"))
    crossed, diverged = np.isfinite(came), np.isnan(final)
    told = (
        f"{done} of {len(lrs)} learning rates, up to {lrs[done - 1]:.3g}: "
        f"{(~crossed & ~diverged).sum()} runs stay below the edge, {crossed.sum()} come to it, "
        f"{diverged.sum()} diverge"
    )
    if not crossed.any():
        return f"{told}."
    return f"{told}; those that come to it end at {np.median(final[crossed]):.3f} of it (median)."


def claim(record: Record) -> Claim:
    """F009: the smallest steps never come to the edge, larger ones the sooner, and all stay.

    Three numbers: how far from the edge the farthest ends of those that came to it in the first
    half of the steps; by how many steps a larger step comes later, at worst; and how many
    seeds come to the edge with the smallest.  Runs that diverge are left out.
    """
    final, came = table(record, "sharpness"), table(record, "crossing")
    length = record.last("length")
    early = came <= length / 2
    off = np.abs(final[early] - 1.0).max() if early.any() else np.nan
    never = np.isnan(came) & np.isfinite(final)
    later = max(map(_rise, np.where(never, length + EVERY, came).T))
    seen = [off, later, np.isfinite(came[0]).sum()]
    sentence = "Farthest from the edge, steps later with a larger lr, seeds there with the smallest"
    return Claim(seen, [0.15, 0.0, 0.0], 0.0, sentence, relation="<=")


def _rise(values: Float[np.ndarray, " k"]) -> float:
    """The largest rise from one to the next, of what is finite; at least 0."""
    return np.diff(values[np.isfinite(values)]).max(initial=0.0)
