"""Losses of metric learning between points and one proxy of each class.

With proxies w_k, d_k = |z - w_k| of unit vectors, theta_k the angle between z and w_k, and y
the label of z:

    Proxy-NCA           d_y^2 / tau + log sum_{k != y} exp(-d_k^2 / tau)
    normalised softmax  -log softmax(cos(theta) / tau)_y,  the cosine of the right class
                        replaced by cos(m1 theta_y + m2) - m3
    cross entropy       -log softmax(z . w)_y,  nothing made unit

m1 is the margin of SphereFace, m2 of ArcFace, m3 of CosFace; none at m1 = 1, m2 = m3 = 0.
Beyond pi the cosine goes on falling, as SphereFace has it: itself it would rise there, and a
point would be driven from its own class.  Papers have a scale s = 1 / tau.  The angle is found
from |z - w| and |z + w|: an arc cosine has no slope at its ends.  `anchors` [n] says which
points count; all, when not given.
"""

import jax.numpy as jnp
from jax.nn import log_softmax
from jaxtyping import Array, Float

from labkit.errors import check_positive, refusal
from labkit.method import Scalar
from labkit.relaxations.pair_losses import (
    Anchors,
    Embeddings,
    Labels,
    Proxies,
    log_sum,
    mean,
    root,
    squared_distances,
    unit,
)


def angles(z: Embeddings, w: Proxies) -> Float[Array, "n k"]:
    """The angle between each z and each w, in [0, pi]; an arc cosine has no slope at its ends."""
    z, w = unit(z), unit(w)
    return 2 * jnp.arctan2(root(squared_distances(z, w)), root(squared_distances(z, -w)))


def proxy_nca(
    z: Embeddings,
    labels: Labels,
    proxies: Proxies,
    tau: Scalar = 1.0,
    anchors: Anchors = None,
) -> Float[Array, ""]:
    """Mean over points; unit vectors, `tau` in units of squared distances."""
    check_positive("tau", tau, "in units of squared distances")
    if len(proxies) < 2:
        raise refusal("number of proxies", len(proxies), "2 or more, one a class")
    squares = squared_distances(unit(z), unit(proxies)) / tau
    right = labels[:, None] == jnp.arange(len(proxies))[None, :]
    own = jnp.where(right, squares, 0.0).sum(axis=1)
    return mean(own + log_sum(-squares, ~right), _asks(labels, anchors))


def normalised_softmax(
    z: Embeddings,
    labels: Labels,
    proxies: Proxies,
    tau: Scalar = 0.5,
    m1: Scalar = 1.0,
    m2: Scalar = 0.0,
    m3: Scalar = 0.0,
    anchors: Anchors = None,
) -> Float[Array, ""]:
    """Mean over points; `tau` in units of cosines, m2 in radians."""
    check_positive("tau", tau, "in units of cosines")
    theta = angles(z, proxies)
    widened = m1 * theta + m2
    turns = jnp.floor(widened / jnp.pi)  # of pi: each lowers the cosine that goes on falling
    falling = jnp.where(turns % 2 == 0, 1.0, -1.0) * jnp.cos(widened) - 2 * turns
    right = labels[:, None] == jnp.arange(len(proxies))[None, :]
    return _cross_entropy(jnp.where(right, falling - m3, jnp.cos(theta)) / tau, labels, anchors)


def cross_entropy(
    z: Embeddings, labels: Labels, proxies: Proxies, anchors: Anchors = None
) -> Float[Array, ""]:
    """Mean over points of -log softmax(z . w)_y: what a classifier is trained with."""
    return _cross_entropy(jnp.asarray(z) @ jnp.asarray(proxies).T, labels, anchors)


def _cross_entropy(logits, labels: Labels, anchors: Anchors) -> Array:
    right = jnp.take_along_axis(log_softmax(logits), labels[:, None], axis=1)[:, 0]
    return mean(-right, _asks(labels, anchors))


def _asks(labels: Labels, anchors: Anchors) -> Array:
    return jnp.ones(labels.shape, bool) if anchors is None else jnp.asarray(anchors)
