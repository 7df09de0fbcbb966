"""Expected costs of a random set: item i is in it with probability p_i, by itself.

    size        P(|X| = c) = FFT(chi)_c / (n + 1),   chi_l = prod_i (1 - p_i + p_i z^l)
    minimum     E min_{i in X} d_i = sum_i d_(i) p_(i) prod_{j < i} (1 - p_(j)) + d_max P(X empty)
    covering    P(nothing in X covers u) = prod_{i covers u} (1 - p_i)
    edges       E (edges inside X) = sum_{(i, j)} p_i p_j

with z = e^(2 pi i / (n + 1)) and d_(1) <= d_(2) <= ...

Each is the mean of a function of a set over all 2^n sets, without visiting them, and so is
linear in every single p_i: at p of zeros and ones it is that function.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from labkit.method import Scalar


def size_shares(p: Float[Array, " n"]) -> Float[Array, " n+1"]:
    """P(|X| = c) for c = 0 to n, the Poisson-binomial law, by a discrete Fourier transform."""
    turns = jnp.arange(len(p) + 1) / (len(p) + 1)
    factors = 1.0 - p[None] + p[None] * jnp.exp(2j * jnp.pi * turns)[:, None]
    return jnp.fft.fft(factors.prod(axis=1)).real / (len(p) + 1)


def expected_miss(p: Float[Array, " n"], k: Scalar) -> Float[Array, ""]:
    """E | |X| - k |: by how many items the set misses the size k."""
    return (size_shares(p) * jnp.abs(jnp.arange(len(p) + 1) - k)).sum()


def expected_minimum(d: Float[Array, "m n"], p: Float[Array, " n"]) -> Float[Array, " m"]:
    """E min_{i in X} d_ui for each u; where X is empty, the largest of the row.

    Summed by layers: d_(1) + sum_i (d_(i+1) - d_(i)) P(none of the i nearest is in X), which
    makes a covering problem of each layer.
    """
    p = jnp.asarray(p)
    order = jnp.argsort(d, axis=1)
    nearest = jnp.take_along_axis(d, order, axis=1).T

    def layer(so_far: tuple[Array, Array], rank: tuple[Array, Array]):
        missing, total = so_far
        gap, p_i = rank
        missing = missing * (1.0 - p_i)
        return (missing, total + gap * missing), None

    # A loop over ranks: XLA's CPU code for a cumulative product takes n^2 steps.
    first = (jnp.ones_like(nearest[0], p.dtype), nearest[0])
    (_, total), _ = jax.lax.scan(layer, first, (jnp.diff(nearest, axis=0), p[order].T[:-1]))
    return total


def uncovered(covers: Float[Array, "m n"], p: Float[Array, " n"]) -> Float[Array, " m"]:
    """P(no item of the set covers u), for each u; `covers` [u, i] is 1 where i does, else 0."""
    return (1.0 - covers * p[None]).prod(axis=1)


def expected_edges(adjacency: Float[Array, "n n"], p: Float[Array, " n"]) -> Float[Array, ""]:
    """E of the edges with both ends in the set; `adjacency` is symmetric, its diagonal 0."""
    return p @ adjacency @ p / 2
