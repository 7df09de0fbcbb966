"""Scores learned from orders alone, through a soft permutation.

    scores s_j of the members of a set,   P = soft permutation of s,   T the true one

    order       - mean_j log P[place_j, j]
    instances   binary cross entropy of P and T  +  mean((P* X - T X)^2)

Nobody says what a member is worth, only which place it has among the others.  P* in the
second loss is the error-free permutation, which puts the inputs X themselves in order; P is
from a second, purely soft pass.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from labkit.errors import refusal
from labkit.method import choice, knob, pytree
from labkit.models import MLP
from labkit.relaxations.error_free_sort import error_free_permutation
from labkit.relaxations.soft_sort import soft_permutation
from labkit.relaxations.sorting_network import network_permutation


LEAST = 1e-6  # of a share, so that its logarithm is a number


class Sets(NamedTuple):
    """What a batch is made of."""

    x: Float[Array, "sets members features"]
    place: Int[Array, "sets members"]  # of each member in its set, from 0


@pytree
class EachAlone:
    """The score of each member by the same network, which sees that member only."""

    network: MLP

    def init(self, key: Key[Array, ""]) -> Any:
        """The weights of the network."""
        return self.network.init(key)

    def apply(
        self, params: Any, x: Float[Array, "sets members features"]
    ) -> Float[Array, "sets members"]:
        """The score of each member."""
        return self.network.apply(params, x.reshape(-1, x.shape[-1])).reshape(x.shape[:-1])


@pytree
class Ordering:
    """Find scores whose order is that of the places."""

    scorer: Any  # init and apply: [sets, members, features] -> [sets, members]
    x: Float[Array, "sets members features"]
    place: Int[Array, "sets members"]
    tau: float = knob(1.0, 0.01, 10.0, log=True, about="in units of the scores")
    sorter: str = choice("cauchy", "logistic", "optimal", "reciprocal", "softsort")
    criterion: str = choice("order", "instances")

    def check(self):
        """Raise ValueError unless each member has a place, and the sorter fits the loss."""
        if self.place.shape != self.x.shape[:2]:
            raise refusal("shape of place", self.place.shape, f"{self.x.shape[:2]}, that of x")
        if self.criterion == "instances" and self.sorter == "softsort":
            raise refusal("sorter", self.sorter, "a family of swaps, for the loss of instances")

    def start(self, key: Key[Array, ""]) -> Any:
        """The scorer's weights, drawn with `key`."""
        return self.scorer.init(key)

    def predict(
        self, w: Any, x: Float[Array, "sets members features"]
    ) -> Float[Array, "sets members"]:
        """The score of each member."""
        return self.scorer.apply(w, x)

    @property
    def data(self) -> Sets:
        """All sets: what a batch is drawn from."""
        return Sets(self.x, self.place)

    def loss(self, w: Any, batch: Sets | None = None) -> Float[Array, ""]:
        """The mean over the sets, of `batch` in place of all when there is one."""
        x, place = self.data if batch is None else batch
        scores = self.predict(w, x)
        p = self._permutation(scores)
        truth = true_permutation(place, p.dtype)
        inside = jnp.sum(truth * jnp.log(p + LEAST), axis=(1, 2)).mean() / p.shape[-1]
        if self.criterion == "order":
            return -inside
        outside = jnp.mean((1.0 - truth) * jnp.log(1.0 - p + LEAST))
        hard = error_free_permutation(scores, self.tau, family=self.sorter, network="odd_even")
        off = jnp.einsum("sij,sjf->sif", hard - truth, x)
        return -inside / p.shape[-1] - outside + jnp.mean(off**2)

    def _permutation(self, scores: Array) -> Array:
        if self.sorter == "softsort":
            return soft_permutation(scores, self.tau)
        return network_permutation(scores, self.tau, family=self.sorter, network="odd_even")


def true_permutation(
    place: Int[Array, "sets members"], dtype: Any = float
) -> Float[Array, "sets places members"]:
    """T, with a 1 where that member has that place."""
    return jax.nn.one_hot(place, place.shape[1], axis=1, dtype=dtype)


def accuracy(
    scores: Float[Array, "sets members"], place: Int[Array, "sets members"]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """The share of members that the scores put in their place, and of sets that are right."""
    right = jnp.argsort(jnp.argsort(scores, axis=1), axis=1) == place
    return right.mean(), right.all(axis=1).mean()
