"""Lists to rank, and a scorer that learns to rank them by one of several losses.

    synthetic   five grades, the fifths of a linear utility plus noise
    digits      handwritten digits, graded by digit // 2: the larger the number, the better
    wine        three growers as three grades

Lists are of unequal lengths and padded at the end, so that everything takes a mask.  A linear
scorer of the digits cannot be right everywhere, and losses differ in where they want it right.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key, PyTree

from labkit import data
from labkit.errors import refusal
from labkit.method import choice, knob, pytree, size
from labkit.models import MLP
from labkit.relaxations import ranking_metrics as metrics
from labkit.relaxations.neural_ndcg import soft_ndcg


class Lists(NamedTuple):
    """Items to rank, list by list."""

    x: Float[Array, "lists items features"]
    grades: Float[Array, "lists items"]
    mask: Bool[Array, "lists items"]  # False where a list is padded


@pytree
class Ranking:
    """Score items by `model` so that the better ones of each list come first."""

    model: MLP
    lists: Lists
    objective: str = choice("NeuralNDCG", "transposed", "RankNet", "ListNet", "squared error")
    tau: float = knob(1.0, 0.01, 10.0, log=True, about="softness of NeuralNDCG")
    rounds: int = size(20, 0, 200, about="of Sinkhorn in NeuralNDCG")

    @property
    def data(self) -> Lists:
        """All lists: what a batch is drawn from."""
        return self.lists

    def start(self, key: Key[Array, ""]) -> PyTree:
        """The weights of the scorer, drawn with `key`."""
        return self.model.init(key)

    def predict(self, w: PyTree, x: Float[Array, "lists items features"]) -> Float[Array, "..."]:
        """One score an item."""
        return self.model.apply(w, x.reshape(-1, x.shape[-1])).reshape(x.shape[:-1])

    def example_losses(self, w: PyTree, batch: Lists | None = None) -> Float[Array, " lists"]:
        """The objective of each list."""
        x, grades, mask = self.lists if batch is None else batch
        scores = self.predict(w, x)
        baselines = {
            "RankNet": metrics.ranknet,
            "ListNet": metrics.listnet,
            "squared error": metrics.squared_error,
        }
        if self.objective in baselines:
            return baselines[self.objective](scores, grades, mask)
        turned = self.objective == "transposed"
        return 1.0 - soft_ndcg(scores, grades, self.tau, self.rounds, mask, transposed=turned)

    def loss(self, w: PyTree, batch: Lists | None = None) -> Float[Array, ""]:
        """L(w), on `batch` in place of all lists when there is one."""
        return jnp.mean(self.example_losses(w, batch))

    def ndcg(self, w: PyTree, batch: Lists | None = None) -> Float[Array, ""]:
        """The true NDCG, mean over lists."""
        x, grades, mask = self.lists if batch is None else batch
        return jnp.mean(metrics.ndcg(self.predict(w, x), grades, mask))


def synthetic_lists(
    seed: int, lists: int = 40, items: int = 20, features: int = 8, noise: float = 1.0
) -> Lists:
    """Grades 0 to 4: the fifths of x . truth + noise, where x, truth and noise are normal."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(lists * items, features))
    utility = x @ (random.normal(size=features) / np.sqrt(features))
    utility += noise * random.normal(size=len(x))
    grades = np.searchsorted(np.quantile(utility, (0.2, 0.4, 0.6, 0.8)), utility)
    return _listed(random, x, grades, lists, items)


def digits_lists(seed: int, lists: int = 40, items: int = 20, *, test: bool = False) -> Lists:
    """Digits of the training or the test part; grade = digit // 2."""
    split = data.digits()
    x, y = (split.x_test, split.y_test) if test else (split.x, split.y)
    return _drawn(seed, x, y // 2, lists, items)


def wine_lists(seed: int, lists: int = 20, items: int = 10, *, test: bool = False) -> Lists:
    """Wines of the training or the test part; grade = grower."""
    split = data.wine()
    x, y = (split.x_test, split.y_test) if test else (split.x, split.y)
    return _drawn(seed, x, y, lists, items)


def _drawn(seed: int, x: np.ndarray, grades: np.ndarray, lists: int, items: int) -> Lists:
    random = np.random.default_rng(seed)
    if not 2 <= items <= len(x):
        raise refusal("items", items, f"2 to {len(x)}, of which each list draws its own")
    rows = np.stack([random.choice(len(x), items, replace=False) for _ in range(lists)]).ravel()
    return _listed(random, x[rows], grades[rows], lists, items)


def _listed(random, x: np.ndarray, grades: np.ndarray, lists: int, items: int) -> Lists:
    """Cut into lists, of which each keeps a random number of items, half of them at least."""
    kept = random.integers(items // 2, items + 1, size=lists)
    mask = np.arange(items)[None] < kept[:, None]
    shaped = jnp.asarray(x.reshape(lists, items, -1), float)
    return Lists(shaped, jnp.asarray(grades.reshape(lists, items), float), jnp.asarray(mask))
