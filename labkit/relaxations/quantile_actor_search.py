"""Search by an actor that proposes, and a critic that knows how good the best tail is.

    state    s = mean code of the k best architectures so far
    actor    a = sigmoid(network(s)) in [0, 1]^(edges x operations),     measured: argmax of a
    critic   Q(s, a), fitted to the rewards r by   rho_q(r - Q),   rho_q(u) = max(q u, (q - 1) u)

The constant of least mean rho_q is the q-quantile, at q = 1/2 the median: Q is a reward that a
share 1 - q of the tries would exceed.  The actor climbs the critic,

    d/dtheta mean Q(s, a(s; theta))  =  mean dQ/da da/dtheta

To explore, a is disturbed by uniform noise or, with probability epsilon, replaced by uniform
numbers.  An episode is one query long: there is nothing to bootstrap from.  Rewards are
standardised by those seen so far.  With the squared error in place of rho_q it is DDPG.

What to look for: the share of the rewards that are below the critic stays near q.  The find is
not better than with the squared error.

Source: S078, L^{2}NAS: Learning to Optimize Neural Architectures via Continuous-Action
Reinforcement Learning.
"""

from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float

from labkit.adaptive import Adam
from labkit.claims import Claim
from labkit.errors import refusal
from labkit.fan import fan
from labkit.method import Padded, Scalar, choice, knob, method, size
from labkit.record import Record
from labkit.relaxations.architecture_queries import Queries, drawn
from labkit.relaxations.pairwise_landscape import (
    Known,
    PairwiseLandscape,
    Space,
    codes,
    count,
    rounded,
)
from labkit.relaxations.search_controls import SearchControl, compared
from labkit.relaxations.search_views import claimed, found, ranks_view, rewards_view
from labkit.relaxations.small_network import SmallNetwork
from labkit.views import View, heat


class Weights(NamedTuple):
    actor: Float[Array, " of_actor"]
    critic: Float[Array, " of_critic"]


class State(NamedTuple):
    known: Known  # of which only what was asked is used
    queries: Queries
    states: Float[Array, "budget edges operations"]  # s at each query
    actions: Float[Array, "budget edges operations"]
    w: Weights
    rules: tuple[Any, Any]  # of Adam, for actor and critic


def pinball(u: Float[Array, "..."], q: Scalar) -> Float[Array, "..."]:
    """rho_q(u) = max(q u, (q - 1) u) of what the reward is above the prediction."""
    return jnp.maximum(q * u, (q - 1.0) * u)


@method
class QuantileActorSearch:
    """A step is one query, and then `updates` steps of Adam on minibatches of all queries.

    `start` are weights of another search to begin with, for policies that are to be carried over.
    """

    space: Space
    start: Weights | None = None
    q: float = knob(0.9, 0.05, 0.95, live=True, within=(0.0, 1.0), about="quantile of the critic")
    noise: float = knob(
        0.2, 0.0, 1.0, live=True, within=(0.0, 10.0), about="deviation, of an action"
    )
    epsilon: float = knob(0.1, 0.0, 1.0, live=True, within=(0.0, 1.0), about="share at random")
    lr: float = knob(1e-3, 1e-5, 1e-2, log=True, live=True, about="of the critic")
    actor_lr: float = knob(1e-4, 1e-5, 1e-2, log=True, live=True)
    k: int = size(16, 1, 64, about="best ones that make the state")
    width: int = size(64, 1, 256, about="of both networks")
    updates: int = size(5, 1, 100, about="a query")
    first: int = size(30, 2, 100, about="queries at random, to begin with")
    budget: int = size(300, 2, 1000, about="queries in all")
    error: str = choice("quantile", "squared", about="of the critic")

    minibatch = 64

    def check(self) -> None:
        for name, most, of in (
            ("first", min(self.budget, count(self.space)), "the budget and all there are"),
            ("k", self.first, "first: the state is made of queries"),
        ):
            if getattr(self, name) > most:
                raise refusal(name, getattr(self, name), f"at most {most}, {of}")

    def init(self, key) -> State:
        known = self.space.known()
        queries = drawn(key, known, self.first, self.budget)
        actions = codes(self.space, queries.index)
        states = jnp.broadcast_to(self.best(queries)[None], actions.shape)
        w = self.fresh(key) if self.start is None else self.start
        rules = Adam(self.actor_lr).init(w.actor), Adam(self.lr).init(w.critic)
        return State(known, queries, states, actions, w, rules)

    def step(self, state: State, key) -> State:
        known, queries, states, actions, w, rules = state
        # In one draw along one axis, since that compiles several times as fast.
        s, at, rows = self.best(queries), queries.count, self.updates * self.minibatch
        chance = jr.uniform(key, (2 * s.size + rows + 1,))
        for_noise, anything = jnp.split(chance[: 2 * s.size], 2)
        noise = self.noise * jnp.sqrt(12.0) * (for_noise - 0.5).reshape(s.shape)
        own = jnp.clip(self.actor(w.actor, s[None])[0] + noise, 0.0, 1.0)
        a = jnp.where(chance[-1] < self.epsilon, anything.reshape(s.shape), own)
        queries = queries.ask(known, rounded(a)[None])
        states, actions = states.at[at].set(s), actions.at[at].set(a)
        drawn = (chance[2 * s.size : -1] * queries.count).astype(int).reshape(-1, self.minibatch)
        rewards = queries.standard()[0]

        def update(carried, rows):
            w, (of_actor, of_critic) = carried
            s, a = states[rows], actions[rows]
            slope = jax.grad(self.critic_loss)(w.critic, s, a, rewards[rows])
            change, of_critic = Adam(self.lr).update(slope, of_critic)
            critic = w.critic + change
            slope = jax.grad(lambda actor: -self.worth(actor, critic, s))(w.actor)
            change, of_actor = Adam(self.actor_lr).update(slope, of_actor)
            return (Weights(w.actor + change, critic), (of_actor, of_critic)), None

        (w, rules), _ = jax.lax.scan(update, (w, rules), drawn)
        return State(known, queries, states, actions, w, rules)

    def done(self, state: State) -> Array:
        """The budget of queries is spent."""
        return state.queries.count >= self.budget

    def fresh(self, key) -> Weights:
        """Weights to start from."""
        of_actor, of_critic = (network.scale for network in self._networks)
        drawn = jr.normal(key, (len(of_actor) + len(of_critic),))
        return Weights(drawn[: len(of_actor)] * of_actor, drawn[len(of_actor) :] * of_critic)

    def best(self, queries: Queries) -> Float[Array, "edges operations"]:
        """s, the mean code of the k best."""
        value = jnp.where(queries.asked, queries.value, -jnp.inf)
        return codes(self.space, queries.index[jax.lax.top_k(value, self.k)[1]]).mean(axis=0)

    def actor(
        self, w: Float[Array, " of_actor"], s: Float[Array, "n edges operations"]
    ) -> Float[Array, "n edges operations"]:
        """a(s), each entry between 0 and 1."""
        return jax.nn.sigmoid(self._networks[0].apply(w, s.reshape(len(s), -1))).reshape(s.shape)

    def critic(
        self,
        w: Float[Array, " of_critic"],
        s: Float[Array, "n edges operations"],
        a: Float[Array, "n edges operations"],
    ) -> Float[Array, " n"]:
        """Q(s, a), in standard units."""
        both = jnp.concatenate([s, a], axis=1).reshape(len(s), -1)
        return self._networks[1].apply(w, both)[:, 0]

    def critic_loss(self, critic: Array, s: Array, a: Array, r: Array) -> Float[Array, ""]:
        """What the critic descends."""
        u = r - self.critic(critic, s, a)
        return (pinball(u, self.q) if self.error == "quantile" else u * u / 2).mean()

    def worth(self, actor: Array, critic: Array, s: Array) -> Float[Array, ""]:
        """What the actor climbs: the mean of Q(s, a(s))."""
        return self.critic(critic, s, self.actor(actor, s)).mean()

    def observe(self, state: State) -> dict[str, Any]:
        queries, s = state.queries, self.best(state.queries)
        rewards, mean, deviation = queries.standard()
        level = self.critic(state.w.critic, state.states, state.actions)
        action = self.actor(state.w.actor, s[None])
        below = (queries.asked & (rewards < level)).sum() / queries.count
        return {
            **queries.standing(state.known),
            "reward": queries.value[queries.count - 1],
            "Q": mean + deviation * self.critic(state.w.critic, s[None], action)[0],
            "quantile_gap": below - self.q,
            "action": action[0],
            "topk_mean": s,
            "rewards": Padded(queries.value, queries.count),
            "levels": Padded(mean + deviation * level, queries.count),
        }

    @property
    def _networks(self) -> tuple[SmallNetwork, SmallNetwork]:
        n = self.space.edges * self.space.operations
        return SmallNetwork(n, self.width, n), SmallNetwork(2 * n, self.width, 1)


def example() -> QuantileActorSearch:
    """30 queries at random and 270 of the actor's, on a landscape with pairs of strength 0.3."""
    return QuantileActorSearch(PairwiseLandscape())


@cache
def demo() -> Record:
    """The example on five landscapes, every tenth query seen; beside it two controls."""
    lanes = fan(example(), 270, over=[{"draw": i, "key": i} for i in range(5)], every=10)
    control = SearchControl(example().space, each=1, budget=300)
    return compared(lanes, control, ("random", "evolution"))


views: list[View] = [
    ranks_view("actor search"),
    rewards_view,
    heat("topk_mean", title="Mean code of the k best", x="operation", y="edge", label="share"),
    heat("action", title="What the actor proposes", x="operation", y="edge", label="action"),
]


def say(record: Record) -> str:
    """The find, its rank and the critic's quantile, in a sentence."""
    gap = f"{abs(record.last('quantile_gap')):.1%}"
    return f"{found(record)[:-1]}; the share of rewards below the critic is {gap} off."


def claim(record: Record) -> Claim:
    """S078: in 300 queries the find is among the best 20, and better than that of random search."""
    return claimed(record)
