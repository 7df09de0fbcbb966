"""How good is a ranking, and what is minimised in place of it.

    NDCG = sum_j g_j / log2(1 + rank_j)  /  the same in the best order,      g = 2^grade - 1

where rank 1 is the highest score.  Tied scores have no order of their own: `ndcg` is then the
exact expectation over all of them, in which each item of a tie has the mean discount of the
places of the tie.  The metric is a step function of the scores: its derivative is zero.

The losses that are usual in its place, of one list:

    squared error   mean_j (s_j - grade_j)^2
    RankNet         mean of log(1 + exp(s_k - s_j)) over the pairs in which grade_j > grade_k
    ListNet         - sum_j softmax(grade)_j log softmax(s)_j

Every function takes lists [... n] and a `mask` that is False where a list is padded; shapes
that fit together are broadcast.

Sources: Järvelin and Kekäläinen 2002 (NDCG); McSherry and Najork 2008 (ties); Burges and
others 2005 (RankNet); Cao and others 2007 (ListNet).
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float

from labkit.errors import refusal


Scores = Float[ArrayLike, "... n"]
Mask = Bool[ArrayLike, "... n"]


def lists(
    scores: ArrayLike, grades: ArrayLike, mask: ArrayLike | None = None
) -> tuple[Array, Array, Array]:
    """All three as arrays of one shape; the mask is True where there is none.

    Raises ValueError when their shapes do not fit.
    """
    scores, grades = (jnp.asarray(v, jnp.result_type(v, float)) for v in (scores, grades))
    mask = jnp.asarray(True if mask is None else mask, bool)
    shapes = scores.shape, grades.shape, mask.shape
    try:
        shape = jnp.broadcast_shapes(*shapes)
    except ValueError:
        accepted = "three shapes that fit together"
        raise refusal("shapes of scores, grades and mask", shapes, accepted) from None
    scores, grades, mask = (jnp.broadcast_to(v, shape) for v in (scores, grades, mask))
    return scores, grades, mask


def gains(grades: Float[Array, "... n"], mask: Bool[Array, "... n"]) -> Float[Array, "... n"]:
    """2^grade - 1, and 0 for padding."""
    return jnp.where(mask, jnp.exp2(grades) - 1.0, 0.0)


def discounts(n: int) -> Float[Array, " n"]:
    """1 / log2(1 + rank) of the ranks 1 to n."""
    return 1.0 / jnp.log2(2.0 + jnp.arange(n))


def ndcg(scores: Scores, grades: Scores, mask: Mask | None = None) -> Float[Array, "..."]:
    """NDCG of each list, its expectation where scores tie; 0 where no grade is above 0."""
    scores, grades, there = lists(scores, grades, mask)
    s, gain = jnp.where(there, scores, -jnp.inf), gains(grades, there)
    sums = jnp.pad(jnp.cumsum(discounts(s.shape[-1])), (1, 0))
    above = (s[..., None, :] > s[..., :, None]).sum(axis=-1)
    upto = (s[..., None, :] >= s[..., :, None]).sum(axis=-1)
    mean = (sums[upto] - sums[above]) / (upto - above)
    return normalised((gain * mean).sum(axis=-1), gain)


def normalised(dcg: Float[Array, "..."], gain: Float[Array, "... n"]) -> Float[Array, "..."]:
    """dcg over that of the best order; 0 where there is nothing to gain."""
    best = jnp.sort(gain, axis=-1, descending=True) @ discounts(gain.shape[-1])
    return jnp.where(best > 0, dcg / jnp.where(best > 0, best, 1.0), 0.0)


def squared_error(scores: Scores, grades: Scores, mask: Mask | None = None) -> Float[Array, "..."]:
    """The mean of (s - grade)^2 over each list."""
    scores, grades, there = lists(scores, grades, mask)
    return _mean((scores - grades) ** 2, there, axis=-1)


def ranknet(scores: Scores, grades: Scores, mask: Mask | None = None) -> Float[Array, "..."]:
    """The mean of log(1 + exp(s_k - s_j)) over the pairs with grade_j > grade_k of each list."""
    scores, grades, there = lists(scores, grades, mask)
    both = there[..., :, None] & there[..., None, :]
    pairs = (grades[..., :, None] > grades[..., None, :]) & both
    losses = jax.nn.softplus(scores[..., None, :] - scores[..., :, None])
    return _mean(losses, pairs, axis=(-2, -1))


def listnet(scores: Scores, grades: Scores, mask: Mask | None = None) -> Float[Array, "..."]:
    """The cross entropy of softmax(s) under softmax(grade), of each list."""
    scores, grades, there = lists(scores, grades, mask)
    wanted = jax.nn.softmax(grades, axis=-1, where=there)
    logs = jax.nn.log_softmax(scores, axis=-1, where=there)
    return -jnp.where(there, wanted * logs, 0.0).sum(axis=-1)


def _mean(values: Array, counted: Array, axis: int | tuple[int, int]) -> Float[Array, "..."]:
    total = jnp.where(counted, values, 0.0).sum(axis=axis)
    return total / jnp.maximum(counted.sum(axis=axis), 1)
