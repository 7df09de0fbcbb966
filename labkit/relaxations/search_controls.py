"""Three searches to compare others with: random, evolution, and a Gaussian process.

    random              architectures not seen before, one like another
    evolution           regularised: of the `population` last ones draw some, change one edge of
                        the best of these; the oldest one leaves
    gaussian process    of all not seen, those of the highest mean + 2 deviations, given what was
                        measured; the kernel depends on the number of edges that differ

They see what the other searches see: the same first queries at random, then a few at a time.
Evolution: Real, Aggarwal, Huang and Le 2019; the process is scikit-learn's.
"""

import dataclasses
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Int, Key
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

from labkit.errors import refusal
from labkit.fan import Fan
from labkit.method import choice, method, replace, size
from labkit.record import Record
from labkit.relaxations.pairwise_landscape import Known, Space, codes, count
from labkit.run import run


class State(NamedTuple):
    known: Known  # of which only what was asked is used
    index: Int[np.ndarray, " queries"]  # what has been measured, in order


@method(host=True)
class SearchControl:
    """A step is a round of `each` queries."""

    space: Space
    kind: str = choice("random", "evolution", "gaussian process")
    first: int = size(30, 2, 100, about="queries at random, to begin with")
    each: int = size(5, 1, 20, about="queries a round")
    budget: int = size(80, 2, 400, about="queries in all")
    population: int = size(20, 2, 100, about="of evolution")
    drawn: int = size(5, 1, 100, about="of them, the best of which has a child")

    def check(self) -> None:
        for name, most, of in (
            ("first", self.budget, "the budget"),
            ("budget", count(self.space), "all there are"),
            ("drawn", self.population, "the population"),
        ):
            if getattr(self, name) > most:
                raise refusal(name, getattr(self, name), f"at most {most}, {of}")

    def init(self, key) -> State:
        known = jax.tree.map(np.asarray, all_known(self.space))
        return State(known, _rng(key).permutation(len(known.quality))[: self.first])

    def step(self, state: State, key) -> State:
        rng, index = _rng(key), state.index
        propose = {"random": self._random, "evolution": self._child}
        if self.kind == "gaussian process":
            new = self._promising(state)
            return State(state.known, np.append(index, new)[: self.budget])
        for _ in range(min(self.each, self.budget - len(index))):
            new = propose[self.kind](rng, state.known, index)
            index = np.append(index, new)
        return State(state.known, index)

    def done(self, state: State) -> bool:
        """The budget of queries is spent."""
        return len(state.index) >= self.budget

    def observe(self, state: State) -> dict[str, Any]:
        best = state.index[state.known.quality[state.index].argmax()]
        return {
            "queries": len(state.index),
            "best_rank": int(state.known.rank(best)),
            "regret": float(state.known.best - state.known.quality[best]),
        }

    def _random(self, rng: np.random.Generator, known: Known, index: np.ndarray) -> int:
        return rng.choice(np.setdiff1d(np.arange(len(known.quality)), index))

    def _child(self, rng: np.random.Generator, known: Known, index: np.ndarray) -> int:
        """The youngest are last.  What was measured before is not asked again."""
        alive = index[-self.population :]
        drawn = rng.choice(alive, min(self.drawn, len(alive)), replace=False)
        parent = drawn[known.quality[drawn].argmax()]
        shape = (self.space.operations,) * self.space.edges
        children = np.tile(
            np.unravel_index(parent, shape), (self.space.edges, self.space.operations, 1)
        )
        edges, operations = np.indices(children.shape[:2])
        children[edges, operations, edges] = operations
        new = np.setdiff1d(np.ravel_multi_index(tuple(np.moveaxis(children, -1, 0)), shape), index)
        return rng.choice(new) if len(new) else self._random(rng, known, index)

    def _promising(self, state: State) -> np.ndarray:
        z = np.asarray(_one_hot(self.space))
        kernel = ConstantKernel(1.0) * RBF(2.0) + WhiteKernel(1e-2)
        process = GaussianProcessRegressor(kernel, normalize_y=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # of a length at its bound
            process.fit(z[state.index], state.known.quality[state.index])
        mean, deviation = process.predict(z, return_std=True)
        bound = mean + 2.0 * deviation
        bound[state.index] = -np.inf
        return np.argsort(-bound)[: self.each]


@jax.jit
def all_known(space: Space) -> Known:
    """Every architecture of a space, compiled once for all of its kind."""
    return space.known()


@jax.jit
def _one_hot(space: Space) -> Float[Array, "N places"]:
    return codes(space, jnp.arange(count(space))).reshape(count(space), -1)


def _rng(key: Key[Array, ""]) -> np.random.Generator:
    return np.random.default_rng(np.asarray(jr.key_data(key)))


def compared(lanes: Fan, control: SearchControl, kinds: Sequence[str]) -> Record:
    """The first lane of a search and, as `ranks`, the finds of all lanes [rows, lanes].

    Beside them those of each kind of control, at the settings of each lane.
    """
    first = lanes[0]
    every = int(first.steps[1] - first.steps[0])
    columns = {**first.columns, "ranks": lanes.column("best_rank").T}
    for kind in kinds:
        runs = []
        for setting in lanes.settings:
            own = {name: value for name, value in setting.items() if name != "key"}
            method = replace(control, {**own, "kind": kind})
            runs.append(run(method, int(first.steps[-1]), key=setting["key"], every=every))
        columns[f"{kind}.ranks"] = np.stack([one["best_rank"] for one in runs], axis=1)
    return dataclasses.replace(first, columns=columns)
