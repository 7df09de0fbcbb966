"""How good is a ranking, and what is minimised in place of it.

    NDCG = sum_j g_j / log2(1 + rank_j)  /  the same in the best order,      g = 2^grade - 1

where rank 1 is the highest score.  Tied scores have no order of their own: `ndcg` is then the
exact expectation over all of them, in which each item of a tie has the mean discount of the
places of the tie.  The metric is a step function of the scores: its derivative is zero.

The losses that are usual in its place, of one list:

    squared error   mean_j (s_j - grade_j)^2
    RankNet         mean of log(1 + exp(s_k - s_j)) over the pairs in which grade_j > grade_k
    ListNet         - sum_j softmax(grade)_j log softmax(s)_j

Every function takes lists [... n] and a `mask` that is False where a list is padded.

Sources: Järvelin and Kekäläinen 2002 (NDCG); McSherry and Najork 2008 (ties); Burges and
others 2005 (RankNet); Cao and others 2007 (ListNet).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from labkit.errors import refusal


Scores = Float[Array, "... n"]
Mask = Bool[Array, "... n"]


def gains(grades: Scores, mask: Mask | None = None) -> Scores:
    """2^grade - 1, and 0 for padding."""
    gain = jnp.exp2(jnp.asarray(grades, float)) - 1.0
    return jnp.where(valid(grades, mask), gain, 0.0)


def discounts(n: int) -> Float[Array, " n"]:
    """1 / log2(1 + rank) of the ranks 1 to n."""
    return 1.0 / jnp.log2(2.0 + jnp.arange(n))


def best_dcg(grades: Scores, mask: Mask | None = None) -> Float[Array, "..."]:
    """sum_j g_j / log2(1 + rank_j) of the best order."""
    gain = jnp.sort(gains(grades, mask), axis=-1, descending=True)
    return gain @ discounts(gain.shape[-1])


def ndcg(scores: Scores, grades: Scores, mask: Mask | None = None) -> Float[Array, "..."]:
    """NDCG of each list, its expectation where scores tie; 0 where no grade is above 0."""
    there = valid(scores, mask)
    s = jnp.where(there, scores, -jnp.inf)
    sums = jnp.pad(jnp.cumsum(discounts(s.shape[-1])), (1, 0))
    above = (s[..., None, :] > s[..., :, None]).sum(axis=-1)
    upto = (s[..., None, :] >= s[..., :, None]).sum(axis=-1)
    mean = (sums[upto] - sums[above]) / (upto - above)
    return normalised((gains(grades, mask) * mean).sum(axis=-1), grades, mask)


def normalised(dcg: Float[Array, "..."], grades: Scores, mask: Mask | None) -> Float[Array, "..."]:
    """dcg over that of the best order; 0 where no grade is above 0."""
    best = best_dcg(grades, mask)
    return jnp.where(best > 0, dcg / jnp.where(best > 0, best, 1.0), 0.0)


def squared_error(scores: Scores, grades: Scores, mask: Mask | None = None) -> Float[Array, "..."]:
    """The mean of (s - grade)^2 over each list."""
    return _mean((scores - grades) ** 2, valid(scores, mask), axis=-1)


def ranknet(scores: Scores, grades: Scores, mask: Mask | None = None) -> Float[Array, "..."]:
    """The mean of log(1 + exp(s_k - s_j)) over the pairs with grade_j > grade_k of each list."""
    there = valid(scores, mask)
    pairs = (
        (grades[..., :, None] > grades[..., None, :]) & there[..., :, None] & there[..., None, :]
    )
    losses = jax.nn.softplus(scores[..., None, :] - scores[..., :, None])
    return _mean(losses, pairs, axis=(-2, -1))


def listnet(scores: Scores, grades: Scores, mask: Mask | None = None) -> Float[Array, "..."]:
    """The cross entropy of softmax(s) under softmax(grade), of each list."""
    there = valid(scores, mask)
    wanted = jax.nn.softmax(jnp.asarray(grades, scores.dtype), axis=-1, where=there)
    logs = jax.nn.log_softmax(scores, axis=-1, where=there)
    return -jnp.where(there, wanted * logs, 0.0).sum(axis=-1)


def valid(values: Scores, mask: Mask | None) -> Mask:
    """`mask`, or True everywhere when there is none.  Raises ValueError for another shape."""
    if mask is None:
        return jnp.ones(jnp.shape(values), bool)
    if jnp.shape(mask) != jnp.shape(values):
        raise refusal("shape of mask", jnp.shape(mask), f"{jnp.shape(values)}, as the lists have")
    return jnp.asarray(mask, bool)


def _mean(values: Array, counted: Array, axis: int | tuple[int, int]) -> Float[Array, "..."]:
    total = jnp.where(counted, values, 0.0).sum(axis=axis)
    return total / jnp.maximum(counted.sum(axis=axis), 1)
