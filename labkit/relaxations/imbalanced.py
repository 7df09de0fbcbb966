"""Two classes of which one is rare, drawn anew for each key: training and held-out samples.

    TwoGaussians   negatives N(0, I), positives N((apart, 0, ...), I), a `share` of them positive
    RareTable      rows of a table, so many negatives to each positive, split at random

For the two Gaussians the best direction is the line between the means, whatever the share.
Called positive beyond a threshold t on it, Phi(apart - t) of the positives and Phi(t) of the
negatives are right.  The geometric mean of the two is best at t = apart / 2, where both are
Phi(apart / 2); the fewest errors are made, and the likelihood is largest, at
t = apart / 2 + log((1 - share) / share) / apart.
"""

from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Key

from labkit.data import breast_cancer
from labkit.errors import refusal
from labkit.method import knob, pytree, size, static


class Samples(NamedTuple):
    x: Float[Array, "samples features"]
    y: Float[Array, " samples"]  # 0 or 1


class Drawn(NamedTuple):
    train: Samples
    test: Samples


class Imbalanced(Protocol):
    """What training knows of any of them."""

    @property
    def features(self) -> int: ...

    def draw(self, key: Key[Array, ""]) -> Drawn: ...


@pytree
class TwoGaussians:
    """Two unit Gaussians in the plane, as many samples to train on as held out."""

    share: float = knob(0.05, 0.02, 0.5, within=(0.0, 1.0), about="of the samples positive")
    apart: float = knob(1.5, 0.0, 4.0, about="distance of the means, in deviations")
    samples: int = size(1000, 2, 4000, about="to train on, and as many held out")

    @property
    def features(self) -> int:
        return 2

    def draw(self, key: Key[Array, ""]) -> Drawn:
        """Both parts, the first `share` of each part positive."""
        places = (jnp.arange(self.samples) + 0.5) / self.samples
        y = jnp.asarray(places < self.share, places.dtype)
        shape = (2, self.samples, self.features)
        # Drawn along one axis, since that compiles three times as fast.
        noise = jr.normal(key, (2 * self.samples * self.features,)).reshape(shape)
        x = noise.at[:, :, 0].add(self.apart * y[None])
        return Drawn(Samples(x[0], y), Samples(x[1], y))


@pytree
class RareTable:
    """A table of which only a few positives are kept; features standardised on the training part.

    `kept` and `held` count the negatives and positives to train on, and held out.
    """

    negatives: Float[Array, "negatives features"]
    positives: Float[Array, "positives features"]
    kept: tuple[int, int] = static()
    held: tuple[int, int] = static()

    def check(self) -> None:
        """Raise ValueError when more rows are asked for than there are."""
        most = (len(self.negatives), len(self.positives))
        for which in (0, 1):
            if not 0 < self.kept[which] <= most[which] - self.held[which]:
                accepted = f"counts of both classes, 1 or more, within {most} in sum"
                raise refusal("kept and held", (self.kept, self.held), accepted)

    @property
    def features(self) -> int:
        return self.negatives.shape[1]

    def draw(self, key: Key[Array, ""]) -> Drawn:
        """A random part of the rows to train on, and another one."""
        keys = jr.split(key)
        train, test = _parts(keys[0], self.negatives, self.kept[0], self.held[0])
        rare, rare_test = _parts(keys[1], self.positives, self.kept[1], self.held[1])
        whole = jnp.concatenate([train, rare])
        mean, deviation = whole.mean(axis=0), whole.std(axis=0)
        deviation = jnp.where(deviation < 1e-6, 1.0, deviation)  # of a constant feature
        joined = lambda a, b: Samples(
            (jnp.concatenate([a, b]) - mean[None]) / deviation[None],
            jnp.concatenate([jnp.zeros(len(a), a.dtype), jnp.ones(len(b), a.dtype)]),
        )
        return Drawn(joined(train, rare), joined(test, rare_test))


def _parts(key: Key[Array, ""], rows: Array, kept: int, held: int) -> tuple[Array, Array]:
    """That many random rows, and that many others."""
    # The largest of random numbers: to shuffle all rows takes a sort, slow to compile.
    _, places = jax.lax.top_k(jr.uniform(key, (len(rows),)), kept + held)
    return rows[places[:kept]], rows[places[kept:]]


def rare_breast_cancer(ratio: int = 10) -> RareTable:
    """The tumours of scikit-learn's table, 357 benign and `ratio` times fewer malignant (positive).

    Two thirds are trained on.  Raises ValueError for a ratio that leaves too few or asks too many.
    """
    if ratio not in range(2, 51):
        raise refusal("ratio", ratio, "a whole number from 2 to 50")
    split = breast_cancer()
    x = jnp.concatenate([jnp.asarray(split.x), jnp.asarray(split.x_test)])
    y = jnp.concatenate([jnp.asarray(split.y), jnp.asarray(split.y_test)])
    benign, malignant = x[y == 1], x[y == 0]
    kept = (2 * len(benign) // 3, 2 * len(benign) // (3 * ratio))
    held = (len(benign) - kept[0], len(benign) // ratio - kept[1])
    return RareTable(benign, malignant, kept, held)
