"""Losses of metric learning between points: same labels near, other labels far.

A loss reads embeddings z [n d] and their labels.  With d_ij = |z_i - z_j|, s_ij = z_i . z_j,
[x]+ = max(x, 0), and p, n running over the points of the same and of another label as a:

    contrastive            d_ap^2                and  [margin - d_an]+^2
    triplet                [d_ap^2 - d_an^2 + margin]+
    lifted structure       [d_ap + tau log sum exp((margin - d_an, margin - d_pn) / tau)]+^2 / 2
    N-pair                 log(1 + sum_n exp((s_an - s_ap) / tau))
    supervised contrastive -log(exp(s_ap / tau) / sum_{j != a} exp(s_aj / tau)),  z made unit

Papers have tau = 1 in lifted structure and N-pair.  What has no terms, a batch of one class
or of one point a class, costs 0.  Where two points coincide the direction between them is
not defined: its derivative is taken as 0, so that no gradient is infinite, and equal points
of different classes are not driven apart.  `anchors` [n] says which points count as a; all,
when not given.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.nn import logsumexp, relu, softplus
from jaxtyping import Array, Bool, Float, Int

from labkit.errors import check_positive, refusal
from labkit.method import Scalar


Embeddings = Float[Array, "n d"] | Float[np.ndarray, "n d"]
Proxies = Float[Array, "k d"] | Float[np.ndarray, "k d"]
Labels = Int[Array, " n"] | Int[np.ndarray, " n"]
Anchors = Bool[Array, " n"] | Bool[np.ndarray, " n"] | None
MINING = ("all", "semi-hard", "batch-hard")


class Pairs(NamedTuple):
    """Who stands to whom in which way; nobody to themselves."""

    same: Bool[Array, "n n"]  # [a, p]
    other: Bool[Array, "n n"]  # [a, n]


def pairs(labels: Labels, anchors: Anchors = None) -> Pairs:
    """The positives and the negatives of each anchor."""
    alike = labels[:, None] == labels[None, :]
    same, other = alike & ~np.eye(len(labels), dtype=bool), ~alike
    if anchors is not None:
        same, other = anchors[:, None] & same, anchors[:, None] & other
    return Pairs(jnp.asarray(same), jnp.asarray(other))


def unit(z: Float[Array, "... d"] | Float[np.ndarray, "... d"]) -> Float[Array, "... d"]:
    """z / |z|, and 0 where z is 0, with derivative 0 there."""
    # Squares of 1e-30 would vanish.  To scale by a constant changes neither value nor slope.
    z = jnp.asarray(z)
    largest = jax.lax.stop_gradient(jnp.abs(z).max(axis=-1, keepdims=True))
    z = z / jnp.where(largest > 0, largest, jnp.inf)
    return z / jnp.where(largest > 0, root((z**2).sum(axis=-1, keepdims=True)), 1.0)


def squared_distances(z: Embeddings, w: Proxies) -> Float[Array, "n k"]:
    """|z_i - w_j|^2 from the differences: products would cancel where points are near."""
    return ((jnp.asarray(z)[:, None] - jnp.asarray(w)[None, :]) ** 2).sum(axis=-1)


def contrastive(
    z: Embeddings, labels: Labels, margin: Scalar = 0.5, anchors: Anchors = None
) -> Float[Array, ""]:
    """Mean over pairs of d^2 for the same label, [margin - d]+^2 for others."""
    same, other = pairs(labels, anchors)
    squares = squared_distances(z, z)
    return mean(jnp.where(same, squares, relu(margin - root(squares)) ** 2), same | other)


def triplets(
    z: Embeddings,
    labels: Labels,
    margin: Scalar = 0.5,
    mining: str = "all",
    anchors: Anchors = None,
) -> Bool[Array, "n n n"]:
    """The triplets [a, p, n] that mining keeps.

    all         every one
    semi-hard   d_ap^2 < d_an^2 < d_ap^2 + margin: in order, but not by the margin
    batch-hard  the farthest positive and the nearest negative of each anchor
    """
    if mining not in MINING:
        raise refusal("mining", mining, f"one of {', '.join(MINING)}")
    same, other = pairs(labels, anchors)
    squares = squared_distances(z, z)
    if mining == "batch-hard":
        far = jnp.where(same, squares, -jnp.inf).max(axis=1, keepdims=True)
        near = jnp.where(other, squares, jnp.inf).min(axis=1, keepdims=True)
        same, other = same & (squares == far), other & (squares == near)
    kept = same[:, :, None] & other[:, None, :]
    if mining == "semi-hard":
        behind = squares[:, None, :] - squares[:, :, None]
        kept &= (behind > 0) & (behind < margin)
    return kept


def hinges(z: Embeddings, margin: Scalar = 0.5) -> Float[Array, "n n n"]:
    """[d_ap^2 - d_an^2 + margin]+ of each triplet [a, p, n]: above 0 where it is active."""
    squares = squared_distances(z, z)
    return relu(squares[:, :, None] - squares[:, None, :] + margin)


def triplet(
    z: Embeddings,
    labels: Labels,
    margin: Scalar = 0.5,
    mining: str = "all",
    anchors: Anchors = None,
) -> Float[Array, ""]:
    """Mean of [d_ap^2 - d_an^2 + margin]+ over the triplets that mining keeps."""
    return mean(hinges(z, margin), triplets(z, labels, margin, mining, anchors))


def lifted_structure(
    z: Embeddings,
    labels: Labels,
    margin: Scalar = 0.5,
    tau: Scalar = 1.0,
    anchors: Anchors = None,
) -> Float[Array, ""]:
    """Mean over positive pairs; `tau` -> 0 leaves the nearest negative of either point."""
    check_positive("tau", tau, "in units of distances")
    same = pairs(labels, anchors).same
    distances = root(squared_distances(z, z))
    near = log_sum((margin - distances) / tau, pairs(labels).other)
    either = jnp.logaddexp(near[:, None], near[None, :])
    return mean(relu(distances + tau * either) ** 2 / 2, same)


def n_pair(
    z: Embeddings, labels: Labels, tau: Scalar = 1.0, anchors: Anchors = None
) -> Float[Array, ""]:
    """Mean over positive pairs of the loss of ranking the positive above all negatives."""
    check_positive("tau", tau, "in units of inner products")
    same, other = pairs(labels, anchors)
    z = jnp.asarray(z)
    scores = z @ z.T / tau
    return mean(softplus(log_sum(scores, other)[:, None] - scores), same)


def supervised_contrastive(
    z: Embeddings, labels: Labels, tau: Scalar = 0.5, anchors: Anchors = None
) -> Float[Array, ""]:
    """Mean over anchors of the mean over their positives; `tau` in units of cosines."""
    check_positive("tau", tau, "in units of cosines")
    same, other = pairs(labels, anchors)
    scores = unit(z) @ unit(z).T / tau
    costs = log_sum(scores, same | other)[:, None] - scores
    positives = same.sum(axis=1)
    each = jnp.where(same, costs, 0.0).sum(axis=1) / jnp.maximum(positives, 1)
    return mean(each, positives > 0)


def root(squares: Float[Array, "..."]) -> Float[Array, "..."]:
    """sqrt, with derivative 0 at 0."""
    above = squares > 0
    return jnp.where(above, jnp.sqrt(jnp.where(above, squares, 1.0)), 0.0)


def log_sum(values: Float[Array, "... n"], where: Bool[Array, "... n"]) -> Float[Array, "..."]:
    """log sum exp over the last axis of what is kept; very low, not -inf, where nothing is."""
    values = jnp.asarray(values)  # in the precision that JAX has, as its lowest number must be
    return logsumexp(jnp.where(where, values, jnp.finfo(values.dtype).min / 4), axis=-1)


def mean(values: Float[Array, "..."], where: Bool[Array, "..."]) -> Float[Array, ""]:
    """The mean of what is kept; 0 where nothing is."""
    return jnp.where(where, values, 0.0).sum() / jnp.maximum(where.sum(), 1)
