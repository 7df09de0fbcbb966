"""A confusion matrix with gradients, and metrics of it as losses.

    A(p) = sigmoid((p - 1/2) / tau)                the decision "positive", softened

    TP = sum_i y_i A_i          FN = sum_i y_i (1 - A_i)
    FP = sum_i (1 - y_i) A_i    TN = sum_i (1 - y_i) (1 - A_i)

The four always sum to the number of samples, and are the counts of p > 1/2 as tau goes to 0.
`tau` > 0 is in units of probability; AnyLoss writes L = 1 / tau, the amplification.  If
every |p - 1/2| is at least m, each A is within d = sigmoid(-m / tau) of its decision, and the
soft F1 within (2 positives + n F1) d / (positives + sum A) of the hard one: the rarer
the positives, the larger that is.

A metric of the counts is a name of `METRICS` or any formula that `formulas` reads.  A share
of an empty class is 0, as scikit-learn has it.

Source: S013, AnyLoss: Transforming Classification Metrics into Loss Functions.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Real

from labkit.errors import check_positive
from labkit.method import Scalar
from labkit.relaxations.formulas import evaluate, parsed


METRICS = {
    "accuracy": "(TP + TN) / (TP + FP + TN + FN)",
    "F beta": "(1 + beta**2) * TP / ((1 + beta**2) * TP + beta**2 * FN + FP)",
    "geometric mean": "sqrt(TP / (TP + FN) * (TN / (TN + FP)))",
    "balanced accuracy": "(TP / (TP + FN) + TN / (TN + FP)) / 2",
    "Matthews correlation": (
        "(TP * TN - FP * FN) / (sqrt((TP + FP) * (TP + FN)) * sqrt((TN + FP) * (TN + FN)))"
    ),
}
NAMES = ("TP", "FP", "TN", "FN", "beta")  # what a formula may speak of


class Counts(NamedTuple):
    """A confusion matrix; whole numbers where decisions are hard."""

    TP: Float[Array, "..."]  # positives called positive
    FP: Float[Array, "..."]  # negatives called positive
    TN: Float[Array, "..."]  # negatives called negative
    FN: Float[Array, "..."]  # positives called negative

    @property
    def matrix(self) -> Float[Array, "... 2 2"]:
        """[[TN, FP], [FN, TP]]: a row a true class, a column a called one, negative first."""
        rows = (jnp.stack([self.TN, self.FP], -1), jnp.stack([self.FN, self.TP], -1))
        return jnp.stack(rows, -2)


def soft_step(p: Float[Array, "*shape"], tau: Scalar) -> Float[Array, "*shape"]:
    """A(p): the step at 1/2, of width `tau` > 0."""
    return jax.nn.sigmoid(_scaled(p, tau))


def step_slope(p: Float[Array, "*shape"], tau: Scalar) -> Float[Array, "*shape"]:
    """dA/dp = A (1 - A) / tau, at most 1 / (4 tau)."""
    u = _scaled(p, tau)
    return jax.nn.sigmoid(u) * jax.nn.sigmoid(-u) / tau


def soft_counts(p: Float[Array, "... n"], y: Real[Array, "... n"], tau: Scalar) -> Counts:
    """The confusion matrix of the softened decisions on probabilities `p`, labels `y` 0 or 1."""
    u = _scaled(p, tau)
    # Both tails by themselves: 1 - A would round a small one away.
    return _counts(jax.nn.sigmoid(u), jax.nn.sigmoid(-u), y)


def hard_counts(p: Float[Array, "... n"], y: Real[Array, "... n"]) -> Counts:
    """The confusion matrix of the decisions p > 1/2."""
    called = jnp.asarray(p > 0.5, p.dtype)
    return _counts(called, 1.0 - called, y)


def metric_value(metric: str, counts: Counts, beta: Scalar = 1.0) -> Float[Array, "..."]:
    """The metric of a confusion matrix: a name of `METRICS`, or a formula in TP, FP, TN, FN.

    `beta` is that of F beta, which weighs recall beta times as much as precision.
    """
    weight = jnp.broadcast_to(jnp.asarray(beta, counts.TP.dtype), counts.TP.shape)
    return evaluate(METRICS.get(metric, metric), {**counts._asdict(), "beta": weight})


def metric_loss(
    metric: str,
    p: Float[Array, "... n"],
    y: Real[Array, "... n"],
    tau: Scalar,
    beta: Scalar = 1.0,
) -> Float[Array, "..."]:
    """1 - the metric of the softened confusion matrix: small where the metric is large.

    A metric is of all samples at once, not a mean over them: batches see another one.
    """
    return 1.0 - metric_value(metric, soft_counts(p, y, tau), beta)


def check_metric(metric: str) -> None:
    """Raise ValueError, in a sentence, for what is neither a name of `METRICS` nor a formula."""
    parsed(METRICS.get(metric, metric), NAMES)


def best_threshold(
    metric: str, p: Float[Array, " n"], y: Real[Array, " n"], beta: float = 1.0
) -> tuple[float, float]:
    """The threshold between two of the probabilities with the best metric, and that metric."""
    ends = np.unique(np.asarray(p))
    cuts = np.concatenate([[-np.inf], (ends[1:] + ends[:-1]) / 2, [np.inf]]).astype(ends.dtype)
    values = np.asarray(_at(metric, cuts, jnp.asarray(p), jnp.asarray(y), beta))
    best = int(values.argmax())
    return float(cuts[best]), float(values[best])


@partial(jax.jit, static_argnums=0)
def _at(metric: str, cuts: Array, p: Array, y: Array, beta: Scalar) -> Array:
    """The metric at each threshold."""
    called = jnp.asarray(p[None] > cuts[:, None], p.dtype)
    return metric_value(metric, _counts(called, 1.0 - called, y[None]), beta)


def _scaled(p: Array, tau: Scalar) -> Array:
    check_positive("tau", tau, "in units of probability")
    # A tau below the smallest normal number is 0 to many a device, and 0 / 0 no number.
    return (p - 0.5) / jnp.maximum(jnp.asarray(tau, p.dtype), jnp.finfo(p.dtype).tiny)


def _counts(positive: Array, negative: Array, y: Array) -> Counts:
    y = jnp.asarray(y, positive.dtype)
    pairs = ((y, positive), (1.0 - y, positive), (1.0 - y, negative), (y, negative))
    return Counts(*(jnp.sum(true * called, axis=-1) for true, called in pairs))
