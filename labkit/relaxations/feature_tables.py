"""Tables to choose features from, standardised, with what their spectrum makes of moments.

planted          a few features of many make y
exclusive_or     y is a product of two inputs; all products are columns
tumours          real measurements beside columns of noise
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from labkit.data.tables import breast_cancer
from labkit.errors import refusal
from labkit.method import pytree
from labkit.relaxations.feature_moments import HIGHEST, coefficients


@pytree
class Table:
    """Samples with mean 0 and deviation 1 in each column, y too."""

    x: Float[Array, "n d"]
    y: Float[Array, " n"]
    known: Bool[Array, " d"]  # which features are to be found, where that is known
    spectrum: Float[Array, "2"]  # least and largest eigenvalue of x'x / n
    fits: Float[Array, "orders orders"]  # a_1 ... a_k of order k in row k - 1

    def check(self) -> None:
        if np.shape(self.x) != (len(self.y), len(self.known)):
            accepted = f"{(len(self.y), len(self.known))}, as y and known have"
            raise refusal("shape of x", np.shape(self.x), accepted)


def table(x: np.ndarray, y: np.ndarray, known: np.ndarray) -> Table:
    """Columns standardised; constant ones are refused."""
    x, y = np.asarray(x, float), np.asarray(y, float)
    if (np.ptp(x, axis=0) == 0).any() or np.ptp(y) == 0:
        constant = np.flatnonzero(np.ptp(x, axis=0) == 0).tolist()
        raise refusal("columns", constant, "columns, and y, that are not constant")
    standard = lambda a: (a - a.mean(axis=0)) / a.std(axis=0)
    x, y = standard(x), standard(y)
    sizes = np.linalg.eigvalsh(x.T @ x / len(x)).clip(0)
    fits = np.zeros((HIGHEST, HIGHEST))
    for order in range(1, HIGHEST + 1):
        fits[order - 1, :order] = coefficients(sizes[0], sizes[-1], order)
    as_float = lambda a: jnp.asarray(a, jnp.float32)
    return Table(
        as_float(x), as_float(y), jnp.asarray(known, bool), as_float(sizes[[0, -1]]), as_float(fits)
    )


def planted(seed: int, samples: int = 200, features: int = 40, relevant: int = 5) -> Table:
    """y is the sum of the first features and noise of deviation 1/2; none are correlated."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(samples, features))
    y = x[:, :relevant].sum(axis=1) + 0.5 * random.normal(size=samples)
    return table(x, y, np.arange(features) < relevant)


def tumours(noise: int = 100, seed: int = 0) -> Table:
    """Thirty measurements of tumours (`known`) beside columns of noise; y: benign or not."""
    x, y = (np.asarray(a, float) for a in breast_cancer()[:2])
    more = np.random.default_rng(seed).normal(size=(len(x), noise))
    return table(np.concatenate([x, more], axis=1), 2 * y - 1, np.arange(30 + noise) < 30)


def exclusive_or(seed: int, samples: int = 200, inputs: int = 8) -> Table:
    """y = -x_1 x_2 of inputs +-1, one in ten turned; columns: the inputs, and all products."""
    random = np.random.default_rng(seed)
    x = random.choice([-1.0, 1.0], (samples, inputs))
    i, j = np.triu_indices(inputs, 1)
    y = -x[:, 0] * x[:, 1] * np.where(random.uniform(size=samples) < 0.1, -1, 1)
    known = np.arange(inputs + len(i)) == inputs
    return table(np.concatenate([x, x[:, i] * x[:, j]], axis=1), y, known)
