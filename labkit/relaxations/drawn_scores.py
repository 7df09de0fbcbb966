"""The expected score of models through drawn minimal sets, and estimates of its gradient.

    score(h) = sum_i max(0, 1 - r_i^2 / threshold^2),      h = the model through a set of k data

Sets are drawn by logits l.  Where there are few, as the pairs that fix a line, the mean and its
gradient are a sum over all of them (`exact`).  From some drawn sets the gradient is estimated:

    score function     mean of (score - mean of the others) grad log P(set)
    straight through   J' d score / d mask,     J = d soft / dl,    soft = softmax((l + g) / tau)

The mask is hard, 1 for what is drawn and 0 for the rest; only its derivative is taken from soft.
It matters what it multiplies:

    weighted fit    the weight of each datum in a fit to all: the slope of letting others join
    coordinates     those of a drawn datum (as in released code): of moving it from the origin
    equations       m <a, h> = 0 has the solution of <a, h> = 0: the slope is 0

None of the three is the slope of drawing another set, and their means may point anywhere from
the exact gradient.  tau > 0 is in units of the noise, whose deviation is 1.28.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from labkit.errors import check_positive, refusal
from labkit.method import Scalar
from labkit.relaxations.minimal_sets import Kind, fit, soft_count
from labkit.relaxations.set_draws import draw_sets, log_odds, pair_odds


Data = Float[Array, "n d"] | Float[np.ndarray, "n d"]
ESTIMATORS = ("score function", "weighted fit", "coordinates", "equations")


class Drawn(NamedTuple):
    sets: Int[Array, "sets k"]  # places in the data
    models: Float[Array, "sets c"]
    scores: Float[Array, " sets"]


class Exact(NamedTuple):
    scores: Float[Array, " pairs"]
    mean: Float[Array, ""]  # by the odds of the pairs
    gradient: Float[Array, " n"]  # of the mean, in the logits


def exact(logits: Float[Array, " n"], data: Data, kind: Kind, threshold: Scalar) -> Exact:
    """The expected score of models that two data fix, by all pairs."""
    data, (i, j) = jnp.asarray(data), np.triu_indices(len(logits), 1)
    pairs = data[jnp.stack([i, j], axis=1)]
    scores = soft_count(kind, fit(kind, pairs, jnp.ones_like(pairs[..., 0])), data, threshold)
    return Exact(scores, *jax.value_and_grad(lambda of: pair_odds(of)[i, j] @ scores)(logits))


def estimates(
    key: Key[Array, ""],
    logits: Float[Array, " n"],
    data: Data,
    kind: Kind,
    threshold: Scalar,
    sets: int,
    tau: Scalar = 1.0,
) -> tuple[Float[Array, "4 n"], Drawn]:
    """The gradient of the expected score from so many sets, in the order of `ESTIMATORS`."""
    check_positive("tau", tau, "in units of the noise")
    if sets < 2:
        raise refusal("sets", sets, "2 or more")
    drawn, noisy = draw_sets(key, logits, kind.least, sets)
    data, none = jnp.asarray(data), jnp.zeros_like(noisy)
    few = data[drawn]
    whole = jnp.broadcast_to(data[None], (sets, *data.shape))

    def total(join, scale, weigh):
        """Of the scores, where others `join` the drawn data, and those have two masks."""
        both = jnp.concatenate([scale[..., None] * few, whole], axis=1)
        models = fit(kind, both, jnp.concatenate([weigh**2, join], axis=1))
        scores = soft_count(kind, models, data, threshold)
        return scores.mean(), (models, scores)

    ones = jnp.ones(drawn.shape, noisy.dtype)
    (join, scale, weigh), found = jax.grad(total, (0, 1, 2), has_aux=True)(none, ones, ones)
    models, scores = found
    rows = jnp.arange(sets)[:, None]
    _, back = jax.vjp(lambda of: jax.nn.softmax(((of - logits)[None] + noisy) / tau), logits)
    through = [join, none.at[rows, drawn].set(scale), none.at[rows, drawn].set(weigh)]
    above = (scores - scores.mean()) * sets / (sets - 1)  # the mean of the others
    slope = jax.grad(lambda of: (above * log_odds(of, drawn)).mean())(logits)
    return jnp.stack([slope, *(back(mask)[0] for mask in through)]), Drawn(drawn, models, scores)
