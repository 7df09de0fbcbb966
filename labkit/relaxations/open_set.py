"""Open-set retrieval: embed classes that training never saw, and look for their like.

A linear map is trained on some digits 0 to 6 by a loss of metric learning; then new digits are
embedded, of the classes seen or of the classes 7 to 9, and each of them asks for the nearest
others, by the cosine.

    Recall@1   the share of queries whose nearest other has their label
    mAP        mean over queries of the average precision of the whole ranking

Cross entropy, with the layer before its proxies as the embedding, and the pixels themselves
are what a metric loss has to beat.

Source: S097, Deep Metric Learning for Computer Vision: A Brief Overview.
"""

from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Int, Key

from labkit.data import digits
from labkit.errors import refusal
from labkit.method import pytree, size
from labkit.models import MLP, Model
from labkit.relaxations.embedding_loss import EmbeddingLoss
from labkit.relaxations.pair_losses import unit


class Retrieval(NamedTuple):
    """How well a ranking by the cosine finds the right label."""

    recall_at_1: float
    mean_average_precision: float


def retrieval(z: Float[np.ndarray, "n d"], labels: Int[np.ndarray, " n"]) -> Retrieval:
    """Each row asks for all the others; rows that are alone with their label do not ask.

    Raises ValueError where nobody can ask.
    """
    z, labels = np.asarray(z, float), np.asarray(labels)
    length = np.linalg.norm(z, axis=1, keepdims=True)
    z = z / np.where(length > 0, length, 1.0)
    cosines = z @ z.T
    np.fill_diagonal(cosines, -np.inf)  # oneself comes last, and is cut off
    order = np.argsort(-cosines, axis=1, kind="stable")[:, :-1]
    right = labels[order] == labels[:, None]
    right = right[right.any(axis=1)]
    if not len(right):
        raise refusal("labels", labels, "two rows or more of some label")
    places = np.arange(1, right.shape[1] + 1)
    precision = np.cumsum(right, axis=1) / places
    average = (precision * right).sum(axis=1) / right.sum(axis=1)
    return Retrieval(float(right[:, 0].mean()), float(average.mean()))


@pytree
class Embedding:
    """A problem: a network, and a proxy for each label, trained by a loss on embeddings.

    Embeddings are unit vectors, but for cross entropy, whose logits need a length.
    """

    loss_of: EmbeddingLoss
    model: Model
    x: Float[Array, "samples inputs"]
    y: Int[Array, " samples"]
    classes: int = size(7, 2, 100, about="that y counts")

    def check(self) -> None:
        if not (np.min(self.y) >= 0 and np.max(self.y) < self.classes):
            raise refusal("y", self.y, f"labels from 0 to {self.classes - 1}, one a sample")

    def start(self, key: Key[Array, ""]) -> dict[str, Any]:
        """Weights of the network and proxies, drawn with `key`."""
        one, other = jr.split(key)
        network = self.model.init(one)
        d = jax.eval_shape(self.model.apply, network, self.x).shape[1]
        return {"network": network, "proxies": jr.normal(other, (self.classes, d)) / np.sqrt(d)}

    def predict(self, w: dict[str, Any], x: Float[Array, "samples inputs"]) -> Array:
        """The embeddings of x."""
        z = self.model.apply(w["network"], x)
        return z if self.loss_of.name == "cross entropy" else unit(z)

    def loss(self, w: dict[str, Any], batch=None) -> Float[Array, ""]:
        """The loss of the whole batch."""
        del batch
        proxies = w["proxies"]
        if self.loss_of.name != "cross entropy":
            proxies = unit(proxies)
        return self.loss_of(self.predict(w, self.x), self.y, proxies)


class Digits(NamedTuple):
    """Digits to train on, others of their classes, and others of classes never seen."""

    x: Float[np.ndarray, "samples 64"]
    y: Int[np.ndarray, " samples"]
    x_seen: Float[np.ndarray, "held 64"]
    y_seen: Int[np.ndarray, " held"]
    x_unseen: Float[np.ndarray, "unseen 64"]
    y_unseen: Int[np.ndarray, " unseen"]


@cache
def open_digits(each: int = 8, seen: int = 7) -> Digits:
    """`each` of the digits below `seen`, as many as 80 others of each, and all from there on."""
    split = digits()
    x, y = np.concatenate([split.x, split.x_test]), np.concatenate([split.y, split.y_test])
    of = [np.flatnonzero(y == label) for label in range(seen)]
    rows, held = (
        np.concatenate([mine[part] for mine in of])
        for part in (slice(each), slice(each, each + 80))
    )
    return Digits(x[rows], y[rows], x[held], y[held], x[y >= seen], y[y >= seen])


def example(name: str = "supervised contrastive", mining: str = "all") -> Embedding:
    """A linear map of the 64 pixels, on 8 of each of the digits 0 to 6."""
    data = open_digits()
    loss = EmbeddingLoss(name, mining, margin=0.2, tau=0.2)
    return Embedding(loss, MLP((64, 64)), jnp.asarray(data.x), jnp.asarray(data.y))


def found(problem: Embedding, w: dict[str, Any], data: Digits) -> tuple[Retrieval, Retrieval]:
    """How well embeddings retrieve new digits of the classes seen, and of the others."""
    embedded = lambda x: np.asarray(problem.predict(w, jnp.asarray(x)))
    seen, unseen = embedded(data.x_seen), embedded(data.x_unseen)
    return retrieval(seen, data.y_seen), retrieval(unseen, data.y_unseen)
