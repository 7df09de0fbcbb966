"""Which of eight functions is a curve made of?  A search of operations whose answer is known.

    y = 0.9 sin 3t + 0.8 t^2 + 0.5 cos 5t + 0.1 N(0, 1),      t even in [-2, 2]

Candidates are sin 3t, t, t^2, |t|, cos 5t, exp t, t^3 and a noise, each standardised on the
samples: like an operation behind a batch normalisation that has no scale of its own.  With gates
g and a constant w the model is w + sum_o g_o x_o.  All 256 subsets can be tried; the lasso gives
a path of them.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float
from sklearn.linear_model import lars_path

from labkit.method import knob, pytree


NAMES = ("sin 3t", "t", "t²", "|t|", "cos 5t", "exp t", "t³", "noise")
TRUTH = np.array([0.9, 0.0, 0.8, 0.0, 0.5, 0.0, 0.0, 0.0])
NOISE = 0.1  # deviation


@pytree
class Candidates:
    """The samples, and what each candidate costs.  One edge, with as many operations."""

    x: Float[Array, "samples 8"]
    y: Float[Array, " samples"]
    costs: Float[Array, " 8"] = knob((1.0,) * 8, 0.0, 3.0, within=(0.0, 1e6), about="of each")

    def start(self, key) -> Float[Array, ""]:
        """The constant w."""
        del key
        return jnp.zeros((), self.x.dtype)

    @property
    def prices(self) -> Float[Array, "1 8"]:
        """The costs, edge by edge."""
        return jnp.asarray(self.costs, self.x.dtype)[None]

    def loss(self, w: Float[Array, ""], g: Float[Array, "1 8"]) -> Float[Array, ""]:
        """Mean squared error."""
        return ((self.y - w - self.x @ g[0]) ** 2).mean()

    def error(self, w, g: Float[Array, "1 8"], alive: Bool[Array, "1 8"]) -> Float[Array, ""]:
        """The same once the survivors are refitted, with coefficients of any size and sign."""
        del w, g
        kept = jnp.append(alive[0], True).astype(self.x.dtype)
        X = jnp.column_stack([self.x, jnp.ones_like(self.y)]) * kept[None]
        gram = X.T @ X / len(self.y) + jnp.diag(1.0 - kept)
        residual = self.y - X @ jnp.linalg.solve(gram, X.T @ self.y / len(self.y))
        return (residual**2).mean()


def candidates(seed: int = 0, samples: int = 400) -> Candidates:
    """The problem, its noise drawn from `seed`."""
    rng = np.random.default_rng(seed)
    t = np.linspace(-2.0, 2.0, samples)
    made = [
        np.sin(3 * t),
        t,
        t**2,
        np.abs(t),
        np.cos(5 * t),
        np.exp(t),
        t**3,
        rng.normal(size=samples),
    ]
    x = np.stack(made, axis=1)
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    y = x @ TRUTH + NOISE * rng.normal(size=samples)
    return Candidates(jnp.asarray(x, float), jnp.asarray(y, float))


def linear_cost(prices: Float[Array, "E O"], g: Float[Array, "E O"]) -> Float[Array, ""]:
    """sum_o c_o g_o."""
    return (prices * g).sum()


def log_cost(
    prices: Float[Array, "E O"], g: Float[Array, "E O"], alive: Bool[Array, "E O"]
) -> Float[Array, ""]:
    """sum_o c_o log(1 + g_o / mean g), the mean over those alive."""
    mean = g.sum() / jnp.maximum(alive.sum(), 1)
    return (prices * jnp.log1p(g / jnp.where(mean > 0, mean, 1.0))).sum()


@pytree
class FreeScale:
    """Gates divided by c, and behind them scales k multiplied by it: the loss and both costs."""

    problem: Candidates
    gate: float = knob(0.9, 0.1, 1.0, within=(0.0, 1.0), about="of every candidate, at c = 1")

    def __call__(self, c: Float[Array, ""]) -> dict[str, Array]:
        g = jnp.full_like(self.problem.prices, self.gate) / c
        k = c * jnp.asarray(TRUTH, g.dtype)[None] / self.gate
        prices, b = self.problem.prices, jnp.zeros((), g.dtype)
        return {
            "loss": self.problem.loss(b, k * g),
            "linear": linear_cost(prices, g),
            "log": log_cost(prices, g, jnp.ones(g.shape, bool)),
        }


class Subset(NamedTuple):
    kept: Bool[np.ndarray, " 8"]
    error: float  # mean squared, refitted


def refitted(problem: Candidates, kept: Bool[np.ndarray, " 8"]) -> Subset:
    """The least mean squared error of a constant and the candidates kept."""
    x, y = np.asarray(problem.x, float)[:, kept], np.asarray(problem.y, float)
    X = np.column_stack([x, np.ones(len(y))])
    residual = y - X @ np.linalg.lstsq(X, y)[0]
    return Subset(np.asarray(kept), float((residual**2).mean()))


def best_subsets(problem: Candidates) -> list[Subset]:
    """Of every size, the best of all subsets."""
    n = problem.x.shape[1]
    every = [refitted(problem, (number >> np.arange(n) & 1).astype(bool)) for number in range(2**n)]
    sized = lambda k: [subset for subset in every if subset.kept.sum() == k]
    return [min(sized(k), key=lambda subset: subset.error) for k in range(n + 1)]


def lasso_subsets(problem: Candidates) -> list[Subset]:
    """The subsets along the lasso's path, from none on, each refitted."""
    y = np.asarray(problem.y, float)
    _, _, path = lars_path(np.asarray(problem.x, float), y - y.mean(), method="lasso")
    nonzero = np.abs(path.T) > 1e-12
    # Between two knots: at a knot itself one that enters, or leaves, is just 0.
    support = [nonzero[0], *(nonzero[:-1] | nonzero[1:])]
    return [refitted(problem, kept) for kept in support]
