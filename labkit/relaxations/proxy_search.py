"""Search by a differentiable proxy: fit it to what was measured, climb it, measure what it likes.

    proxy     f(z) = v . tanh(W z + b) + c,     fitted to standardised qualities by AdamW
    ascent    alpha <- alpha + Adam's step along grad f(softmax(alpha)),     from several starts
    queries   the architectures argmax(alpha), those of the highest f that are not known yet

z is the code of an architecture, one-hot on each edge; softmax(alpha) is a code between
architectures, where f has gradients though quality has none.  Whatever can be measured can be
the quality: its cost may be part of it.  In turn, the proxies are fitted, then climbed; jointly,
every step of the fit is followed by one of the ascent.  Several proxies, of different starts,
are climbed by their mean; how far they are apart says how little they know.

What to look for: within 80 queries of 15,625 architectures the find is among the best few, where
random search with as many is not.  Where quality is a sum over edges a linear proxy is enough,
and 1 + E (O - 1) queries that change one edge at a time tell it everything.

Source: S099, OptiProxy-NAS: Optimization Proxy based End-to-End Neural Architecture Search.
"""

import math
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float

from labkit.adaptive import Adam
from labkit.claims import Claim
from labkit.errors import refusal
from labkit.fan import fan
from labkit.method import Padded, choice, knob, method, size
from labkit.record import Record
from labkit.relaxations.architecture_queries import Queries, drawn, unseen
from labkit.relaxations.pairwise_landscape import (
    Known,
    PairwiseLandscape,
    Space,
    codes,
    count,
    rounded,
)
from labkit.relaxations.search_controls import SearchControl, compared
from labkit.relaxations.search_views import (
    around,
    claimed,
    fit_view,
    found,
    ranks_view,
    walk_view,
)
from labkit.relaxations.small_network import SmallNetwork
from labkit.views import View, heat


class State(NamedTuple):
    known: Known  # of which only what was asked is used
    queries: Queries
    w: Float[Array, "proxies weights"]
    alpha: Float[Array, "starts edges operations"]  # where the last ascents ended


@method
class ProxySearch:
    """A step is a round: the proxies are fitted anew, climbed, and `each` queries are made.

    Where the ascents agree on what is known already, the queries are at random.
    """

    space: Space
    lr: float = knob(0.01, 0.001, 0.1, log=True, about="of the fit")
    decay: float = knob(0.01, 1e-4, 10.0, log=True, about="of the weights, in the fit")
    climb: float = knob(0.1, 0.01, 1.0, log=True, about="learning rate of the ascent")
    width: int = size(64, 1, 256, about="of a proxy")
    proxies: int = size(3, 1, 8, about="of different starts")
    first: int = size(30, 2, 100, about="queries at random, to begin with")
    each: int = size(5, 1, 20, about="queries a round")
    budget: int = size(80, 2, 400, about="queries in all")
    starts: int = size(16, 1, 64, about="ascents a round")
    order: str = choice("in turn", "joint")

    fit_steps, climb_steps = 300, 100

    def check(self) -> None:
        for name, most, of in (
            ("first", self.budget, "the budget"),
            ("each", self.starts, "the starts"),
            ("budget", count(self.space), "all there are"),
        ):
            if getattr(self, name) > most:
                raise refusal(name, getattr(self, name), f"at most {most}, {of}")

    def init(self, key) -> State:
        known = self.space.known()
        queries = drawn(key, known, self.first, self.budget)
        return State(known, queries, *self._fresh(key))

    def step(self, state: State, key) -> State:
        fit, (w, alpha) = self._fitting(state.queries), self._fresh(key)
        rise = Adam(self.climb)
        w, alpha = (w, Adam(self.lr).init(w)), (alpha, rise.init(alpha))
        if self.order == "joint":
            both = lambda _, now: (fit(now[0]), self._climbed(rise, now[0][0], now[1]))
            w, alpha = jax.lax.fori_loop(0, self.fit_steps, both, (w, alpha))
        else:
            w = jax.lax.fori_loop(0, self.fit_steps, lambda _, w: fit(w), w)
            up = lambda _, alpha: self._climbed(rise, w[0], alpha)
            alpha = jax.lax.fori_loop(0, self.climb_steps, up, alpha)
        index = self._chosen(key, state.queries, w[0], rounded(alpha[0]))
        return State(state.known, state.queries.ask(state.known, index), w[0], alpha[0])

    def done(self, state: State) -> Array:
        """The budget of queries is spent."""
        return state.queries.count >= self.budget

    def predicted(
        self, w: Float[Array, "proxies weights"], z: Float[Array, "n edges operations"]
    ) -> Float[Array, "proxies n"]:
        """What each proxy says of codes z, in standard units."""
        return self._network.each(w, z.reshape(len(z), -1))[..., 0]

    def observe(self, state: State) -> dict[str, Any]:
        walk, at = around(codes(self.space, state.queries.best))
        shape, last = walk.shape[:2], jax.nn.softmax(state.alpha)
        measured = codes(self.space, state.queries.index)
        several = (walk.reshape(-1, *last.shape[1:]), measured, last)
        _, mean, deviation = state.queries.standard()
        said = mean + deviation * self.predicted(state.w, jnp.concatenate(several))
        of_walk, of_measured, of_last = jnp.split(said, np.cumsum([*map(len, several)])[:2], axis=1)
        fit = jnp.stack([state.queries.value, of_measured.mean(axis=0)], axis=1)
        return {
            **state.queries.standing(state.known),
            "proxy_fit": Padded(fit, state.queries.count),
            "alpha": last[of_last.mean(axis=0).argmax()],
            "walk": of_walk.mean(axis=0).reshape(shape),
            "spread": of_walk.std(axis=0).reshape(shape),
            "there": state.known.quality[rounded(walk[:, at])],
        }

    @property
    def _network(self) -> SmallNetwork:
        return SmallNetwork(self.space.edges * self.space.operations, self.width, 1)

    def _fresh(self, key) -> tuple[Array, Array]:
        """Weights of the proxies, and starts of the ascents."""
        scale, shape = self._network.scale, (self.starts, self.space.edges, self.space.operations)
        w = self.proxies * len(scale)
        # In one draw along one axis, since that compiles several times as fast.
        drawn = jr.normal(key, (w + math.prod(shape),))
        return drawn[:w].reshape(self.proxies, -1) * scale[None], drawn[w:].reshape(shape)

    def _fitting(self, queries: Queries):
        """A step of AdamW on the squared error, of weights and the rule's state."""
        z, (y, _, _) = codes(self.space, queries.index), queries.standard()
        share, rule = queries.asked / queries.count, Adam(self.lr)
        loss = lambda w: (share[None] * (self.predicted(w, z) - y[None]) ** 2).sum()

        def step(now):
            w, state = now
            update, state = rule.update(jax.grad(loss)(w), state)
            return (1.0 - self.lr * self.decay) * w + update, state

        return step

    def _climbed(self, rise: Adam, w: Array, now):
        alpha, state = now
        down = lambda alpha: -self.predicted(w, jax.nn.softmax(alpha)).mean(axis=0).sum()
        update, state = rise.update(jax.grad(down)(alpha), state)
        return alpha + update, state

    def _chosen(self, key, queries: Queries, w: Array, index: Array) -> Array:
        """The best `each` that are new, by the proxies; for want of them, some at random."""
        seen = queries.seen(count(self.space))
        again = jnp.tril(index[:, None] == index[None, :], -1).any(axis=1)
        said = self.predicted(w, codes(self.space, index)).mean(axis=0)
        top, at = jax.lax.top_k(jnp.where(seen[index] | again, -jnp.inf, said), self.each)
        others = unseen(key, seen.at[index].set(True), self.each)
        return jnp.where(top > -jnp.inf, index[at], others)


def example() -> ProxySearch:
    """30 queries at random and 50 chosen ones, on a landscape with pairs of strength 0.3."""
    return ProxySearch(PairwiseLandscape())


@cache
def demo() -> Record:
    """The example on five landscapes, and beside it random search and evolution."""
    lanes = fan(example(), 10, over=[{"draw": i, "key": i} for i in range(5)])
    return compared(lanes, SearchControl(example().space), ("random", "evolution"))


views: list[View] = [
    ranks_view("proxy search"),
    walk_view,
    fit_view,
    heat("alpha", title="Code of the last ascent", x="operation", y="edge", label="share"),
]


def say(record: Record) -> str:
    """The find and its rank, in a sentence."""
    return found(record)


def claim(record: Record) -> Claim:
    """S099: in 80 queries the find is among the best 20, and better than that of random search."""
    return claimed(record)
