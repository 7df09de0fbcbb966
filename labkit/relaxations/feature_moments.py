"""How much of y is linear in x, without bias, from fewer samples than features.

No beta can be found there; yet two samples suffice for an estimate of |beta|^2, by a product
of two: E[y_i <x_i, x_j> y_j] = |beta|^2 where the features are uncorrelated, noise and all.
With a weight s on each feature, S = diag(s), and chains of k + 1 different samples,

    m_k = mean over i_0 < ... < i_k of  y_i0 (x_i0' S x_i1) ... (x_i(k-1)' S x_ik) y_ik
    E[m_k] = beta' Sigma (S Sigma)^k beta

All chains at once are k reverse cumulative sums: O(n D k).  The variance that the features
explain is beta' Sigma beta, whose power m_0 would be, but one sample has its noise in it twice.
So lambda is fitted by sum_k a_k lambda^(k + 1) on the range of the spectrum, and

    z = sum_k a_k m_k                                            (with y of variance 1: R^2)

The order is how many k there are.  Moments of high order scatter, the more so the fewer the
samples and the more the features.
"""

from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Key

from labkit.errors import refusal
from labkit.method import Scalar, knob, pytree, size
from labkit.record import Record
from labkit.sweep import Sweep, sweep
from labkit.views import Band, Curve, Mark, Panel, View


HIGHEST = 6  # order


def moments(
    x: Float[Array, "n d"],
    y: Float[Array, " n"],
    s: Float[Array, " d"],
    order: int,
    rows: Scalar | None = None,
) -> Float[Array, " order"]:
    """m_1 ... m_order; with `rows`, of the rows where x and y are not 0, so many of them."""
    x, y, s = jnp.asarray(x), jnp.asarray(y), jnp.asarray(s)
    n = jnp.asarray(len(y) if rows is None else rows, x.dtype)
    ends, chains, found = y[:, None] * x, (n - 1) / 2, []
    for k in range(1, order + 1):
        later = jnp.cumsum(ends[::-1], axis=0)[::-1] - ends  # of those after each
        hop = ((x * s[None]) * later).sum(axis=1)
        # Number of chains over n, as a product: n choose k + 1 leaves float32.
        ends, steps = x * hop[:, None] / chains, (y * hop).sum() / chains
        found.append(steps / n)
        chains = (n - k - 1) / (k + 2)
    return jnp.stack(found)


def coefficients(low: float, high: float, order: int) -> Float[np.ndarray, " order"]:
    """a_1 ... a_order: the least squares fit of lambda by sum a_k lambda^(k + 1) in a range."""
    if not 1 <= order <= HIGHEST:
        raise refusal("order", order, f"1 to {HIGHEST}")
    if not 0 <= low <= high or high == 0:
        raise refusal("range of the spectrum", (low, high), "0 <= low <= high, high above 0")
    share = np.linspace(low, high, 200) / high
    powers = np.arange(1, order + 1)
    fitted = np.linalg.lstsq(share[:, None] ** (powers + 1), share, rcond=None)[0]
    return fitted / high**powers


@pytree
class Learnability:
    """m_1 of uncorrelated features, at some number of samples, beside the fit's own R^2."""

    explained: float = knob(0.6, 0.0, 1.0, within=(0.0, 1.0), about="true share of variance")
    features: int = size(20, 1, 60)
    most: int = size(60, 2, 200, about="samples")
    repeats: int = size(400, 2, 5000, about="data sets of each size")

    def __call__(self, samples: Float[Array, ""]) -> dict[str, Any]:
        def one(key: Key[Array, ""]) -> tuple[Array, Array]:
            of_x, of_noise = jr.split(key)
            there = 1.0 * (jnp.arange(self.most) < samples)
            x = jr.normal(of_x, (self.most, self.features)) * there[:, None]
            beta = jnp.sqrt(self.explained / self.features)
            noise = jr.normal(of_noise, (self.most,)) * there
            y = beta * x.sum(axis=1) + jnp.sqrt(1 - self.explained) * noise
            estimate = moments(x, y, jnp.ones(self.features), 1, samples)[0]
            products = x @ x.T
            # A ridge of 1e-3: rows that are not there, and rank D, leave a hole.
            rest = jnp.linalg.solve(products + 1e-3 * jnp.eye(self.most), y)
            return estimate, 1 - 1e-3 * (y @ rest) / (y @ y)

        estimate, fitted = jax.vmap(one)(jr.split(jr.key(0), self.repeats))
        return {
            "mean": estimate.mean(),
            "deviation": estimate.std(ddof=1),
            "fitted": fitted.mean(),
            "truth": jnp.asarray(self.explained, estimate.dtype),
            "features": jnp.asarray(float(self.features)),
        }


def example() -> Sweep:
    """Twenty features, of 4 to 60 samples."""
    return sweep(Learnability(), over=jnp.arange(4.0, 61.0, 4.0), name="samples")


def _against_samples(record: Record) -> Panel:
    n, mean, deviation = (record[name] for name in ("samples", "mean", "deviation"))
    wall = np.full(2, record.last("features"))
    marks: list[Mark] = [
        Band(n, mean - deviation, mean + deviation, "one data set: mean and deviation", "plan"),
        Curve(n, mean, "m_1, mean over data sets", "plan"),
        Curve(n, record["truth"], "truth", "target"),
        Curve(n, record["fitted"], "least squares, on its own samples", "iterates"),
        Curve(wall, np.array([-0.5, 1.6]), "as many samples as features", "ghost"),
    ]
    axes = {"x": "samples", "y": "share of variance", "y_range": (-0.5, 1.6)}
    return Panel("How much of y is explained", marks, **axes)


views: list[View] = [_against_samples]


def say(record: Record) -> str:
    """The estimate and the fit at the fewest samples, in a sentence."""
    n, d, truth = record["samples"], record.last("features"), record.last("truth")
    row = int(np.searchsorted(n, d)) - 1 if n[0] < d else 0
    return (
        f"From {n[row]:.0f} samples of {d:.0f} features m_1 is {record['mean'][row]:.2f} in the "
        f"mean (truth {truth:.2f}), one data set deviates by {record['deviation'][row]:.2f}; "
        f"least squares believes {record['fitted'][row]:.2f}."
    )
