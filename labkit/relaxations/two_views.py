"""Matches between two pictures of one plane, most of them wrong: made to order.

A matcher knows two numbers of each match: how near its descriptors are, compared with the second
best, and by how much its patches are turned against each other, less the usual turn.  Wrong
matches are less near as a rule, and turned by anything.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from labkit.errors import refusal


class Views(NamedTuple):
    """Pairs of views: x, y in the one and x', y' in the other, both about from -1 to 1."""

    matches: Float[Array, "pairs n 4"]
    sides: Float[Array, "pairs n 2"]  # nearness and turn of each match
    right: Bool[Array, "pairs n"]
    truth: Float[Array, "pairs 9"]


def two_views(seed: int, pairs: int = 8, matches: int = 24, wrong: float = 0.6) -> Views:
    """Random homographies; right matches are off by 0.01, wrong ones go to another's place."""
    if not 0 <= wrong <= 1 - 4 / matches:
        raise refusal("wrong", wrong, f"a share from 0 to {1 - 4 / matches:.2g}: four right ones")
    random = np.random.default_rng(seed)
    angle, scale = random.uniform(-0.6, 0.6, pairs), random.uniform(0.7, 1.1, pairs)
    h = np.zeros((pairs, 3, 3))
    h[:, 0, 0] = h[:, 1, 1] = scale * np.cos(angle)
    h[:, 1, 0] = scale * np.sin(angle)
    h[:, 0, 1] = -h[:, 1, 0]
    h[:, :2, 2] = random.uniform(-0.2, 0.2, (pairs, 2))
    h[:, 2, :2], h[:, 2, 2] = random.uniform(-0.2, 0.2, (pairs, 2)), 1.0
    x = random.uniform(-1, 1, (pairs, matches, 2))
    right = np.arange(matches) >= round(wrong * matches)
    source = np.where(right[:, None], x, random.uniform(-1, 1, x.shape))
    carried = np.concatenate([source, np.ones_like(x[..., :1])], axis=-1) @ h.swapaxes(1, 2)
    y = carried[..., :2] / carried[..., 2:] + 0.01 * random.normal(size=x.shape)
    near = random.normal(np.where(right, -0.7, 0.7), 1.0, x.shape[:2])
    turn = np.where(
        right, 0.3 * random.normal(size=x.shape[:2]), random.uniform(-2, 2, x.shape[:2])
    )
    both = np.concatenate([x, y], axis=-1)
    given = (both, np.stack([near, turn], axis=-1), h.reshape(-1, 9))
    matches_, sides, truth = (jnp.asarray(a, jnp.float32) for a in given)
    return Views(matches_, sides, jnp.broadcast_to(jnp.asarray(right), near.shape), truth)


def true_matches(views: Views) -> Float[Array, "n 4"]:
    """Of one pair: the places where the true homography carries the points."""
    x = jnp.concatenate([views.matches[:, :2], jnp.ones_like(views.matches[:, :1])], axis=1)
    y = x @ views.truth.reshape(3, 3).T
    return jnp.concatenate([x[:, :2], y[:, :2] / y[:, 2:]], axis=1)
