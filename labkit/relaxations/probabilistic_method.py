"""Choosing a set by descent on its expected cost, then one item at a time: no step goes up.

Item i is in the set with probability p_i, and f(p) is the expected cost plus beta times the
expected violation (`expectations`).  With p = sigma(w) it is a smooth function of w, to descend
on.  Then p is rounded, each time by the best of all single changes:

    f(p)  =  (1 - p_i) f(p | i out) + p_i f(p | i in)  >=  min of the two

f is linear in each p_i, so that the better alternative of any item never costs more; when all
items are in or out, changes go on while they help.  Every step of this method is one step of
descent or, after `descent_steps` of them, one change.

What to look for: probabilities that descent leaves undecided, and rounding decides; the tree of
alternatives, whose lower branch is taken; and starts that end in different sets.

Source: S022, Tackling Prevalent Conditions in Unsupervised Combinatorial Optimization:
Cardinality, Minimum, Covering, and More.
"""

import dataclasses
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from labkit.adaptive import Adam
from labkit.claims import Claim
from labkit.fan import fan
from labkit.method import knob, method, pytree
from labkit.record import Record
from labkit.relaxations import set_views
from labkit.relaxations.expectations import size_shares
from labkit.relaxations.set_problems import Facilities, SetProblem
from labkit.rules import Rule


class Change(NamedTuple):
    """One rounding: item i from p_i to 0 or 1."""

    p: Float[Array, " n"]  # after it
    item: Int[Array, ""]  # i, or -1 where nothing was changed
    before: Float[Array, ""]  # p_i
    alternatives: Float[Array, " 2"]  # f with item i out, and in


class State(NamedTuple):
    w: Float[Array, " n"]  # log odds
    rule: Any  # state of the rule
    change: Change  # the newest; sigma(w) and no item while descending
    steps: Int[Array, ""]
    settled: Bool[Array, ""]  # all items are in or out, and no single change helps


@pytree
class LogOdds:
    """The problem of descent: w [n], f(sigma(w)); w starts normal with deviation `spread`."""

    problem: SetProblem
    spread: float = knob(0.1, 0.0, 2.0, within=(0.0, np.inf), about="of the log odds at the start")

    def start(self, key) -> Float[Array, " n"]:
        return self.spread * jr.normal(key, (self.problem.items,))

    def loss(self, w, batch=None) -> Float[Array, ""]:
        del batch
        return self.problem.expected(jax.nn.sigmoid(w))


@method
class ProbabilisticMethod:
    """Descent on the expected cost of a random set, and rounding that never makes it worse."""

    odds: LogOdds
    rule: Rule = Adam(lr=0.05)
    descent_steps: float = knob(100.0, 0.0, 400.0, within=(0.0, np.inf), about="before rounding")

    @property
    def steps(self) -> int:
        """Enough for each item to be changed twice."""
        return int(self.descent_steps) + 2 * self.odds.problem.items

    def init(self, key) -> State:
        w = self.odds.start(key)
        steps, settled = jnp.zeros((), jnp.int32), jnp.zeros((), bool)
        return State(w, self.rule.init(w), _unchanged(w), steps, settled)

    def step(self, state: State, key) -> State:
        del key  # only the start is random
        return jax.lax.cond(state.steps < self.descent_steps, self._descend, self._round, state)

    def _descend(self, state: State) -> State:
        gradient = jax.grad(self.odds.loss)(state.w)
        updates, rule = self.rule.update(gradient, state.rule, state.w)
        w = state.w + updates
        return State(w, rule, _unchanged(w), state.steps + 1, state.settled)

    def _round(self, state: State) -> State:
        found = best_change(self.odds.problem.expected, state.change.p)
        return state._replace(change=found, steps=state.steps + 1, settled=found.item < 0)

    def done(self, state: State) -> Bool[Array, ""]:
        """Every item is in or out, and no single change helps."""
        return state.settled

    def observe(self, state: State) -> dict[str, Any]:
        problem, p = self.odds.problem, state.change.p
        seen = {"cost": problem.expected(p), "size_shares": size_shares(p), **problem.seen()}
        return {**state.change._asdict(), **seen}


def _unchanged(w: Float[Array, " n"]) -> Change:
    none = jnp.full((), -1, jnp.int32)
    return Change(jax.nn.sigmoid(w), none, jnp.zeros((), w.dtype), jnp.zeros(2, w.dtype))


def best_change(expected: Callable[[Array], Array], p: Float[Array, " n"]) -> Change:
    """The single change to 0 or 1 after which f is least; none where it would not help.

    Where p_i is 0 or 1 already a change has to help; elsewhere it cannot make f worse.
    """
    put = lambda i, value: expected(p.at[i].set(value))
    ends = jnp.array([0.0, 1.0], p.dtype)
    values = jax.vmap(jax.vmap(put, (None, 0)), (0, None))(jnp.arange(len(p)), ends)
    cost = (1.0 - p[0]) * values[0, 0] + p[0] * values[0, 1]
    open_ = ((p > 0) & (p < 1))[:, None]
    helps = values < cost - 1e-5 * (1.0 + jnp.abs(cost))  # by more than float32 rounds
    allowed = jnp.where(open_ | helps, values, jnp.inf)
    i, end = jnp.divmod(jnp.argmin(allowed).astype(jnp.int32), 2)
    found = Change(p.at[i].set(ends[end]), i, p[i], values[i])
    none = Change(p, jnp.full_like(i, -1), p[i], values[i])
    return jax.tree.map(lambda a, b: jnp.where(jnp.isfinite(allowed).any(), a, b), found, none)


def best_of(method: ProbabilisticMethod, starts: int = 16, key: int = 0) -> Record:
    """The run of the best of several starts, beside all of them, `greedy` and the `optimum`.

    The column `ends` [rows, starts] has the cost that each came to, the same in every row.
    """
    problem = method.odds.problem
    runs = fan(method, over={"key": range(key, key + starts)}, how="map")
    ends = np.array([record.last("cost") for record in runs.records])
    best = runs[int(ends.argmin())]
    told = {"ends": ends, "greedy": problem.greedy(), "optimum": problem.optimum()}
    repeated = {name: np.repeat(np.asarray(v)[None], len(best), 0) for name, v in told.items()}
    return dataclasses.replace(best, columns={**best.columns, **repeated})


def example() -> ProbabilisticMethod:
    """Four sites among thirty points."""
    return ProbabilisticMethod(LogOdds(Facilities()))


@cache
def demo() -> Record:
    """The best of 16 starts of the example."""
    return best_of(example())


def descended(record: Record) -> Float[np.ndarray, " n"]:
    """The probabilities when descent ended."""
    changed = np.asarray(record["item"]) >= 0
    return np.asarray(record["p"])[max(changed.argmax() - 1, 0) if changed.any() else -1]


views = set_views.views


def say(record: Record) -> str:
    """How far the set is decided and what it costs, in a sentence."""
    p, cost, step = np.asarray(record.last("p")), record.last("cost"), record.steps[-1]
    decided = ((p == 0) | (p == 1)).sum()
    if decided < len(p):
        expected = f"expected cost {cost:.3g} at {p.sum():.1f} expected items"
        return f"Step {step}: {expected}; {decided} of {len(p)} are in or out."
    said = f"Step {step}: {round(p.sum())} items at cost {cost:.4g}"
    if "optimum" in record:
        said += f"; the optimum is {record.last('optimum'):.4g}, greedy {record.last('greedy'):.4g}"
    return said + "."


def claim(record: Record) -> Claim:
    """S022: no change raises the expected cost; the set is as asked, and near the optimum.

    Four numbers: the largest rise at a change, over the cost; the largest miss of
    f(p) = (1 - p_i) f(p | i out) + p_i f(p | i in), likewise; by how many items the set misses
    k; and how far the best of 16 starts is above the optimum, over the optimum.
    """
    [rows] = np.nonzero(np.asarray(record["item"]) >= 0)
    cost, p_i = np.asarray(record["cost"], float), np.asarray(record["before"], float)[rows]
    out, in_ = np.asarray(record["alternatives"], float)[rows].T
    before, scale = cost[rows - 1], np.abs(cost[rows - 1])
    rise = ((cost[rows] - before) / scale).max(initial=-np.inf)
    miss = (np.abs((1 - p_i) * out + p_i * in_ - before) / scale).max(initial=0)
    p = np.asarray(record.last("p"), float)
    wrong = abs((p == 1).sum() - record.last("k")) + ((p > 0) & (p < 1)).sum()
    optimum = record.last("optimum")
    seen = [rise, miss, wrong, record.last("ends").min() / optimum - 1]
    sentence = "Largest rise at a change; miss of the mean; items amiss; best start over optimum"
    # Float32 products of 30 factors, summed over 30 points.
    return Claim(seen, [0.0, 0.0, 0.0, 0.1], 1e-5, sentence, relation="<=")
