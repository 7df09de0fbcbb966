"""Models through as few data as fix them, and how many other data agree.

    line in the plane     2 points    a x + b y + c = 0
    circle                3 points    a (x^2 + y^2) + b x + c y + d = 0
    homography            4 matches   (x', y', 1) ~ H (x, y, 1)

Each is linear in its coefficients h: a datum gives one or two equations <a_i, h> = 0.  So every
fit is the unit vector h with the least sum of w_i <a_i, h>^2, of any number of data (the direct
linear transform).  With A of the weighted rows sqrt(w_i) a_i' and G = A'A, h is the last right
singular vector of A, and

    dh  =  -G^+ (dG) h

A datum that h fits exactly, <a_i, h> = 0, has no say in dh through its weight, which is why the
weights of a minimal set have derivative 0.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from labkit.errors import check_positive, refusal
from labkit.method import Scalar


class Kind(NamedTuple):
    """A kind of model: what it takes, and what its data are to it."""

    least: int  # data that fix it
    equations: Callable[[Float[Array, "... d"]], Float[Array, "... rows c"]]
    squares: Callable[[Float[Array, "... c"], Float[Array, "... d"]], Float[Array, "..."]]


def _line_equations(points: Float[Array, "... 2"]) -> Float[Array, "... 1 3"]:
    one = jnp.ones_like(points[..., :1])
    return jnp.concatenate([points, one], axis=-1)[..., None, :]


def _line_squares(h: Float[Array, "... 3"], points: Float[Array, "... 2"]) -> Float[Array, "..."]:
    across = (_line_equations(points)[..., 0, :] * h).sum(axis=-1)
    return across**2 / _above_zero((h[..., :2] ** 2).sum(axis=-1))


def _circle_equations(points: Float[Array, "... 2"]) -> Float[Array, "... 1 4"]:
    square = (points**2).sum(axis=-1, keepdims=True)
    return jnp.concatenate([square, points, jnp.ones_like(square)], axis=-1)[..., None, :]


def _circle_squares(h: Float[Array, "... 4"], points: Float[Array, "... 2"]) -> Float[Array, "..."]:
    # | |x - centre| - radius | without a division by a: a line is a circle too.
    off = (_circle_equations(points)[..., 0, :] * h).sum(axis=-1)
    slope = ((2 * h[..., :1] * points + h[..., 1:3]) ** 2).sum(axis=-1)
    radius = (h[..., 1:3] ** 2).sum(axis=-1) - 4 * h[..., 0] * h[..., 3]
    return 4 * off**2 / (jnp.sqrt(_above_zero(slope)) + jnp.sqrt(_above_zero(radius))) ** 2


def _match_equations(matches: Float[Array, "... 4"]) -> Float[Array, "... 2 9"]:
    (x, y), zero = (matches[..., i : i + 2] for i in (0, 2)), jnp.zeros_like(matches[..., :3])
    x = jnp.concatenate([x, jnp.ones_like(x[..., :1])], axis=-1)
    rows = [[x, zero, -y[..., :1] * x], [zero, x, -y[..., 1:] * x]]
    return jnp.stack([jnp.concatenate(row, axis=-1) for row in rows], axis=-2)


def _match_squares(h: Float[Array, "... 9"], matches: Float[Array, "... 4"]) -> Float[Array, "..."]:
    carried = homogeneous(h, matches[..., :2])
    behind = carried[..., 2:]
    behind = jnp.where(jnp.abs(behind) < 1e-6, 1e-6, behind)  # on its way to infinity
    return ((carried[..., :2] / behind - matches[..., 2:]) ** 2).sum(axis=-1)


def homogeneous(h: Float[Array, "... 9"], points: Float[Array, "... 2"]) -> Float[Array, "... 3"]:
    """H (x, y, 1)."""
    x = jnp.concatenate([points, jnp.ones_like(points[..., :1])], axis=-1)
    return (h.reshape(*h.shape[:-1], 3, 3) * x[..., None, :]).sum(axis=-1)


KINDS = {
    "line": Kind(2, _line_equations, _line_squares),
    "circle": Kind(3, _circle_equations, _circle_squares),
    "homography": Kind(4, _match_equations, _match_squares),
}


def _above_zero(x: Array) -> Array:
    return jnp.maximum(x, jnp.finfo(x.dtype).tiny)


def kind_of(name: str) -> Kind:
    """The kind of that name."""
    if name not in KINDS:
        raise refusal("kind", name, f"one of {', '.join(KINDS)}")
    return KINDS[name]


@jax.custom_jvp
def null_vector(
    rows: Float[Array, "... r c"], weights: Float[Array, "... r"]
) -> Float[Array, "... c"]:
    """The unit vector h with the least sum of w_i <a_i, h>^2, its sign left open."""
    return _directions(rows, weights)[1][..., -1, :]


@null_vector.defjvp
def _null_vector_jvp(primals, tangents):
    (rows, weights), (d_rows, d_weights) = primals, tangents
    sizes, across = _directions(rows, weights)
    h, rest = across[..., -1, :], across[..., :-1, :]
    along = lambda a: jnp.einsum("...rc,...c->...r", a, h)
    off = along(rows)
    # dG h, where G = A' diag(w) A
    moved = jnp.einsum("...r,...rc->...c", weights * along(d_rows) + d_weights * off, rows)
    moved = moved + jnp.einsum("...r,...rc->...c", weights * off, d_rows)
    gaps = sizes[..., :-1] ** 2 - sizes[..., -1:] ** 2
    # Equal singular values have no last one; no direction is better than another there.
    small = 1e3 * jnp.finfo(rows.dtype).eps ** 2 * sizes[..., :1] ** 2
    shares = jnp.where(gaps > small, 1.0 / jnp.where(gaps > small, gaps, 1.0), 0.0)
    parts = shares * jnp.einsum("...kc,...c->...k", rest, moved)
    return h, -jnp.einsum("...k,...kc->...c", parts, rest)


def _directions(rows: Array, weights: Array) -> tuple[Array, Array]:
    """Singular values, c of them, and right singular vectors of the weighted rows."""
    weighted = jnp.sqrt(jnp.maximum(weights, 0.0))[..., None] * rows
    short = max(0, rows.shape[-1] - rows.shape[-2])
    pads = [(0, 0)] * (rows.ndim - 2) + [(0, short), (0, 0)]
    _, sizes, across = jnp.linalg.svd(jnp.pad(weighted, pads), full_matrices=False)
    return sizes, across


def fit(kind: Kind, data: Float[Array, "... n d"], weights: Float[Array, "... n"]) -> Array:
    """The coefficients [..., c] that fit the data best, with so much weight on each."""
    rows = kind.equations(data)
    shape = jnp.broadcast_shapes(rows.shape[:-2], weights.shape)
    rows = jnp.broadcast_to(rows, (*shape, *rows.shape[-2:]))
    each = jnp.repeat(jnp.broadcast_to(weights, shape), rows.shape[-2], axis=-1)
    return null_vector(rows.reshape(*shape[:-1], -1, rows.shape[-1]), each)


def soft_count(
    kind: Kind, h: Float[Array, "... c"], data: Float[Array, "n d"], threshold: Scalar
) -> Float[Array, "..."]:
    """How many data agree with a model: sum of max(0, 1 - distance^2 / threshold^2)."""
    check_positive("threshold", threshold, "in units of distance")
    data = data.reshape((1,) * (h.ndim - 1) + data.shape)
    squares = kind.squares(h[..., None, :], data)
    return jnp.maximum(0.0, 1.0 - squares / threshold**2).sum(axis=-1)


def line_points(seed: int, inliers: int = 9, outliers: int = 5) -> Float[np.ndarray, "n 2"]:
    """Points of y = x / 2 + 0.1, off by 0.04, and then such as fall anywhere."""
    random = np.random.default_rng(seed)
    x = np.linspace(-0.9, 0.9, inliers) + random.uniform(-0.08, 0.08, inliers)
    on = np.stack([x, 0.5 * x + 0.1 + 0.04 * random.normal(size=inliers)], axis=1)
    return np.concatenate([on, random.uniform(-1, 1, (outliers, 2))]).round(3)
