"""Linear models on data: convex losses whose answers are known.

    LeastSquares         L(w) = 1/2 mean_i (x_i . w - y_i)^2 + ridge/2 |w|^2
    LogisticRegression   L(w) = mean_i log(1 + exp(-s_i x_i . w)) + ridge/2 |w|^2,  s_i = 2 y_i - 1

No intercept: give `x` a column of ones.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, Real

from labkit.errors import refusal
from labkit.method import knob, pytree


class Samples(NamedTuple):
    """What a batch is made of."""

    x: Float[Array, "samples n"]
    y: Real[Array, " samples"]


@pytree
class LeastSquares:
    """Fit `y` by x . w.  Its Hessian X'X / samples + ridge is the same everywhere."""

    x: Float[Array, "samples n"]
    y: Float[Array, " samples"]
    ridge: float = knob(0.0, 0.0, 1.0, within=(0.0, float("inf")))

    def check(self):
        """Raise ValueError when x and y do not fit."""
        _check_rows(self.x, self.y)

    @property
    def data(self) -> Samples:
        """All samples: what a batch is drawn from."""
        return Samples(self.x, self.y)

    def start(self, key: Key[Array, ""]) -> Float[Array, " n"]:
        """Zero, whatever the key."""
        del key
        return jnp.zeros(self.x.shape[1], self.x.dtype)

    def predict(self, w: Float[Array, " n"], x: Float[Array, "samples n"]) -> Float[Array, "..."]:
        """x w, one number a sample."""
        return x @ w

    def example_losses(
        self, w: Float[Array, " n"], batch: Samples | None = None
    ) -> Float[Array, " samples"]:
        """One loss a sample, the ridge included in each."""
        x, y = self.data if batch is None else batch
        return 0.5 * (x @ w - y) ** 2 + 0.5 * self.ridge * (w @ w)

    def loss(self, w: Float[Array, " n"], batch: Samples | None = None) -> Float[Array, ""]:
        """L(w), on `batch` in place of all samples when there is one."""
        return jnp.mean(self.example_losses(w, batch))

    @property
    def hessian(self) -> Float[Array, "n n"]:
        """X'X / samples + ridge I."""
        samples, n = self.x.shape
        return self.x.T @ self.x / samples + self.ridge * jnp.eye(n, dtype=self.x.dtype)

    @property
    def minimum(self) -> Float[Array, " n"]:
        """The solution of the normal equations, the one nearest 0 where there are many."""
        right = self.x.T @ self.y / len(self.x)
        return jnp.linalg.lstsq(self.hessian, right)[0]


@pytree
class LogisticRegression:
    """Tell two classes, y = 0 and y = 1, by the sign of x . w."""

    x: Float[Array, "samples n"]
    y: Real[Array, " samples"]
    ridge: float = knob(0.01, 0.0, 1.0, within=(0.0, float("inf")))

    def check(self):
        """Raise ValueError when x and y do not fit or y is not 0 or 1."""
        _check_rows(self.x, self.y)
        if not bool(jnp.isin(jnp.asarray(self.y), jnp.array([0, 1], self.y.dtype)).all()):
            raise refusal("y", self.y, "labels 0 and 1")

    @property
    def data(self) -> Samples:
        """All samples: what a batch is drawn from."""
        return Samples(self.x, self.y)

    def start(self, key: Key[Array, ""]) -> Float[Array, " n"]:
        """Zero, whatever the key: both classes equally likely."""
        del key
        return jnp.zeros(self.x.shape[1], self.x.dtype)

    def predict(self, w: Float[Array, " n"], x: Float[Array, "samples n"]) -> Float[Array, "..."]:
        """The probability of class 1, one number a sample: 1 / (1 + exp(-x . w))."""
        return jax.nn.sigmoid(x @ w)

    def example_losses(
        self, w: Float[Array, " n"], batch: Samples | None = None
    ) -> Float[Array, " samples"]:
        """One loss a sample, the ridge included in each."""
        x, y = self.data if batch is None else batch
        signs = 2.0 * jnp.asarray(y, x.dtype) - 1.0
        return jax.nn.softplus(-signs * (x @ w)) + 0.5 * self.ridge * (w @ w)

    def loss(self, w: Float[Array, " n"], batch: Samples | None = None) -> Float[Array, ""]:
        """L(w), on `batch` in place of all samples when there is one."""
        return jnp.mean(self.example_losses(w, batch))

    def accuracy(self, w: Float[Array, " n"], batch: Samples | None = None) -> Float[Array, ""]:
        """The share of samples on their side of x . w = 0."""
        x, y = self.data if batch is None else batch
        return jnp.mean((x @ w > 0) == (jnp.asarray(y) == 1))

    def hessian(self, w: Float[Array, " n"]) -> Float[Array, "n n"]:
        """X' diag(p (1 - p)) X / samples + ridge I, at most X'X / (4 samples) + ridge I."""
        samples, n = self.x.shape
        p = self.predict(w, self.x)
        weighted = self.x * (p * (1.0 - p))[:, None]
        return weighted.T @ self.x / samples + self.ridge * jnp.eye(n, dtype=self.x.dtype)


def _check_rows(x: Array, y: Array) -> None:
    if jnp.ndim(x) != 2 or jnp.shape(y) != jnp.shape(x)[:1]:
        shapes = (jnp.shape(x), jnp.shape(y))
        raise refusal("shapes of x and y", shapes, "[samples, n] and [samples]")
