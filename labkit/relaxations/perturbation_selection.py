"""Which operation is strong: ask the trained supernet what it loses without it.

    drop_eo  =  L_val(p without o on edge e) - L_val(p),        the largest drop stays on edge e

The largest share need not be the strongest operation.  Take an edge between the input x and an
operation o, two estimates of m with uncorrelated errors: the mixture has the least variance at

    alpha_o - alpha_skip  =  log( var(x - m) / var(o(x) - m) )

so that skip wins as soon as x is the closer estimate, though o is what makes it better.  And with
weights of their own the shares mean nothing: in sum_o p_o w_o f_o only p_o w_o is known, and for
orthogonal f_o the drop is (p_o w_o)^2 E f_o^2 whatever alpha is.

After the search the edges are decided one after the other, in random order.  A decided edge keeps
its operation alone, and the supernet trains on, logits too, before the next one.  By default the
other shares stay as they are when one is taken away, as in the authors' code; then zero has a drop
of exactly 0, and it would be chosen where everything else does harm.  It is left out here, as in
the choice by shares.

Source: S107, Rethinking Architecture Selection in Differentiable NAS.
"""

from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Int

from labkit.adaptive import Adam
from labkit.claims import Claim
from labkit.method import choice, knob, method
from labkit.record import Record
from labkit.relaxations import darts
from labkit.relaxations.cell_search import CellSearch, discretise, jump, race, told
from labkit.relaxations.cells import EDGES, USUAL, Weights, digit_cells, one_hot
from labkit.relaxations.darts import Darts
from labkit.rules import Rule
from labkit.run import run
from labkit.views import Panel, Points, View


NEVER = -1e4  # a logit, per tau, whose share is exactly 0


def without(shares: Float[Array, "edges n"], rest: str = "kept") -> Float[Array, "edges n edges n"]:
    """For each edge and operation the shares with that one at 0; the others "kept" or "scaled"."""
    edges, n = shares.shape
    taken = jnp.eye(edges * n, dtype=shares.dtype).reshape(edges, n, edges, n)
    left = shares[None, None] * (1.0 - taken)
    if rest == "kept":
        return left
    total = left.sum(axis=-1, keepdims=True)
    return left / jnp.where(total > 0, total, 1.0)


def drops(
    problem: CellSearch,
    w: Weights,
    alpha: Float[Array, "3 n"],
    criterion: str = "loss",
    rest: str = "kept",
) -> Float[Array, "3 n"]:
    """How much worse the supernet is without each operation, in loss or in accuracy."""
    space, p = problem.space, problem.shares(alpha)
    score = {
        "loss": lambda q: space.loss(w, q, space.validation),
        "accuracy": lambda q: -space.accuracy(w, q, space.validation),
    }[criterion]
    removed = without(p, rest).reshape(-1, *p.shape)
    scores = jax.vmap(score)(jnp.concatenate([p[None], removed]))
    return (scores[1:] - scores[0]).reshape(p.shape)


def best_logits(variances: Float[Array, "... n"]) -> Float[Array, "... n"]:
    """Logits whose softmax mixes unbiased estimates with the least variance: -log variance.

    The errors of the estimates are uncorrelated; adding a number to all logits changes nothing.
    """
    return -jnp.log(variances)


class State(NamedTuple):
    search: darts.State  # logits of a decided edge are 0 and NEVER
    order: Int[Array, "3"]  # in which the edges are decided
    decided: Int[Array, "3"]  # the operation on each edge, -1 where not decided
    by_shares: Int[Array, "3"]  # what the largest share would have chosen when the search ended
    drop: Float[Array, "3 n"]  # before the newest step; 0 at the start
    count: Int[Array, ""]  # steps so far


@method
class PerturbationSelection:
    """A search of first order, then the edges one by one, by what the supernet loses."""

    problem: CellSearch
    weights: Rule = Adam(lr=0.02)
    architecture: Rule = Adam(lr=0.02, beta1=0.5, beta2=0.999)
    search: float = knob(150.0, 0.0, 500.0, about="steps of the supernet before any choice")
    tuning: float = knob(30.0, 0.0, 200.0, about="steps between two choices")
    criterion: str = choice("loss", "accuracy", about="what a removal may hurt")
    rest: str = choice("kept", "scaled", about="the shares that are left")

    def init(self, key) -> State:
        on_search, on_order = jr.split(key)
        search = self._darts().init(on_search)
        nothing = jnp.full(len(EDGES), -1, jnp.int32)
        order = jr.permutation(on_order, len(EDGES)).astype(jnp.int32)
        drop, zero = jnp.zeros_like(search.alpha), jnp.zeros((), jnp.int32)
        return State(search, order, nothing, self._largest(search), drop, zero)

    def step(self, state: State, key) -> State:
        w, alpha = state.search.w, state.search.alpha
        drop = drops(self.problem, w, alpha, self.criterion, self.rest)
        start, made = jnp.round(self.search), (state.decided >= 0).sum()
        searching, due = state.count <= start, state.count == start + self._every() * made
        now = due & (jnp.arange(len(EDGES)) == state.order[jnp.minimum(made, len(EDGES) - 1)])
        now = now & (made < len(EDGES))  # the edge that is decided in this step, if any
        kept = self._of(drop)
        alone = jnp.where(one_hot(kept, drop.shape[1]) > 0, 0.0, NEVER * self.problem.tau)
        alpha = jnp.where(now[:, None], alone, alpha).astype(alpha.dtype)
        return State(
            self._darts().step(state.search._replace(alpha=alpha), key),
            state.order,
            jnp.where(now, kept, state.decided),
            jnp.where(searching, self._largest(state.search), state.by_shares),
            drop,
            state.count + 1,
        )

    def observe(self, state: State) -> dict[str, Any]:
        by_drop = jnp.where(state.decided >= 0, state.decided, self._of(state.drop))
        return {
            **self._darts().observe(state.search),
            "drop": state.drop,
            "by_drop": by_drop,
            "by_shares": state.by_shares,
            "decided": state.decided,
        }

    def done(self, state: State) -> Array:
        """every edge is decided, and the supernet was trained once more"""
        return state.count >= jnp.round(self.search) + len(EDGES) * self._every()

    def _every(self) -> Array:
        return jnp.maximum(jnp.round(self.tuning), 1.0)

    def _darts(self) -> Darts:
        return Darts(self.problem, self.weights, self.architecture, mode="first order")

    def _largest(self, search: darts.State) -> Int[Array, "3"]:
        return self._of(self.problem.shares(search.alpha))

    def _of(self, strength: Float[Array, "3 n"]) -> Int[Array, "3"]:
        return discretise(strength, self.problem.space.operations).astype(jnp.int32)


def example() -> PerturbationSelection:
    """The cells of the digits: 150 steps of search, 30 between two choices."""
    return PerturbationSelection(CellSearch(digit_cells()))


@cache
def demo() -> Record:
    """The example."""
    return run(example(), 240, every=10)


def strength(operations: tuple[str, ...] = USUAL) -> View:
    """The drop of each operation over its share; one dot an edge."""

    def view(record: Record) -> Panel:
        shares, drop = (np.asarray(record.last(name)) for name in ("shares", "drop"))
        marks = [Points(shares[:, o], drop[:, o], n, n) for o, n in enumerate(operations)]
        return Panel("Share and strength", marks, "share", "drop: loss without it - loss")

    return view


views: list[View] = [race(), strength(), jump]


def say(record: Record) -> str:
    """Both choices, in a sentence."""
    return (
        f"Step {record.steps[-1]}: {int((record.last('decided') >= 0).sum())} of 3 edges decided; "
        f"by drop {told(record.last('by_drop'))}; by share {told(record.last('by_shares'))}."
    )


def claim(record: Record) -> Claim:
    """S107: what cannot be missed has no strength, however large its share."""
    zero = record["drop"][..., USUAL.index("zero")]
    sentence = "Drop of the operation zero, at every row and on every edge"
    return Claim(np.abs(zero).max(), 0.0, 1e-6, sentence, kind="exact")
