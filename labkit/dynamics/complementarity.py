"""wip"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from labkit.curvature import pairs, safe_eigh

LIMIT = 60
BETA = 0.5
SHRINK, POWER, START = 0.2, 1.0, 1.0


class Solution(NamedTuple):
    X: Float[Array, "k k"]
    residual: Float[Array, ""]
    iterations: Int[Array, ""]


def svec(M):
    i, j = pairs(len(M))
    return M[i, j] * _weights(i, j, M.dtype)


def smat(x):
    k = int(np.sqrt(2 * len(x)))
    i, j = pairs(k)
    M = jnp.zeros((k, k), x.dtype).at[i, j].set(x / _weights(i, j, x.dtype))
    return jnp.where(np.tri(k, k=-1, dtype=bool), M.T, M)


def _weights(i, j, dtype):
    return np.where(i == j, 1.0, np.sqrt(2.0)).astype(dtype)


def solve(A, B, active=None):
    k, dtype = len(A), A.dtype
    i, j = pairs(k)
    w = _weights(i, j, dtype)
    on = jnp.ones(k, bool) if active is None else active
    both = on[i] & on[j]
    eps = jnp.finfo(dtype).eps

    a = jnp.where(both, svec((A + A.T) / 2), 0)
    b = jnp.where(both[:, None] & both[None], B, 0)
    fine = jnp.isfinite(a).all() & jnp.isfinite(b).all()
    size_a = jnp.abs(a).max()
    size_b = jnp.abs(b).max()
    size_a = jnp.where(fine & (size_a > 0), size_a, 1)
    size_b = jnp.where(fine & (size_b > 0), size_b, 1)
    a = jnp.where(fine, a, 0) / size_a
    b = jnp.where(fine, b, 0) / size_b
    a = jnp.where(~both & (i == j), 1, a)

    def split(z, mu):
        r = jnp.sqrt(z * z + 4 * mu)
        big = (jnp.abs(z) + r) / 2
        small = jnp.where(big > 0, mu / jnp.where(big > 0, big, 1), 0)
        return jnp.where(z > 0, big, small), jnp.where(z > 0, small, big)

    def rotation(Q):
        return (Q[i][:, i] * Q[j][:, j] + Q[i][:, j] * Q[j][:, i]) * (w[:, None] * w[None] / 2)

    def at(diagonal):
        return jnp.where(i == j, diagonal[i], 0)

    def gap(R, z, mu):
        x, s = split(z, mu)
        return a + b @ (R @ at(x)) - R @ at(s), x, s

    def body(carry):
        base, move, t, norm, mu, _, n = carry
        Z = base + t * move
        z, Q = safe_eigh(smat(Z))
        R = rotation(Q)
        F, x, s = gap(R, z, mu)
        here = jnp.linalg.norm(F)
        good = here <= (1 - 0.1 * t) * norm
        # the residual without smoothing
        F0, x0, _ = gap(R, z, 0.0)
        left = jnp.abs(F0).max() / (1 + jnp.abs(z).max())
        # next mu
        near = here <= BETA * jnp.sqrt(mu)
        aim = jnp.where(near, jnp.minimum(SHRINK * mu, POWER * left**2), mu)
        F, x, s = gap(R, z, aim)
        D = (x[i] + x[j]) / (x[i] + x[j] + s[i] + s[j])
        root = jnp.sqrt(D)
        F1 = R.T @ F
        Bq = R.T @ b @ R
        M = root[:, None] * Bq * root[None] + jnp.diag(1 - D + 4 * eps)
        dx = root * jax.scipy.linalg.cho_solve((jnp.linalg.cholesky(M), True), -root * F1)
        dz = R @ (dx - F1 - Bq @ dx)
        pick = lambda new, old: jnp.where(good, new, old)
        return (
            pick(Z, base), pick(dz, move), pick(1.0, t / 2).astype(dtype),
            pick(jnp.linalg.norm(F), norm), pick(aim, mu), pick(left, carry[5]), n + 1,
        )

    def unfinished(carry):
        return (carry[-2] > 4 * k * eps) & (carry[-1] < LIMIT)

    z0 = -a
    start = (z0, jnp.zeros_like(a), jnp.ones((), dtype), jnp.asarray(jnp.inf, dtype), jnp.asarray(START, dtype), jnp.asarray(jnp.inf, dtype), 0)
    base, *_, left, n = lax.while_loop(unfinished, body, start)
    z, Q = safe_eigh(smat(base))
    X = (Q * jnp.maximum(z, 0)[None]) @ Q.T
    X = jnp.where(on[:, None] & on[None], X, 0)
    S = smat(jnp.where(both, a + b @ svec(X), 0))
    bx = jnp.abs(b @ svec(X)).max()
    scale_x = jnp.maximum(jnp.abs(X).max(), jnp.finfo(dtype).tiny)
    scale_s = 1 + bx
    low_x = -safe_eigh(X)[0][0] / scale_x
    low_s = -safe_eigh(S)[0][0] / scale_s
    comp = jnp.abs(jnp.sum(X * S)) / scale_x / scale_s
    res = jnp.maximum(jnp.maximum(low_x, low_s), comp)
    res = jnp.where(fine, jnp.maximum(res, 0), jnp.nan)
    X = jnp.where(fine, X * (size_a / size_b), jnp.nan)
    return Solution(X, res, n)
