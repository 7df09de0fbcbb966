"""Optimal transport with entropy: a soft assignment that has derivatives.

    P  =  argmax  <S, P> + tau H(P),      P 1 = a,  P' 1 = b,      H(P) = -sum P (log P - 1)

Its solution is P = exp(S / tau + u 1' + 1 v').  Sinkhorn's iteration finds u and v in the log
domain: it puts the columns right, then the rows, in turn.  With a = b = 1, the default, P is
doubly stochastic, and a permutation as tau goes to 0.  The smaller tau, the slower the
iteration: `marginal_error` says how far it is from done.

A derivative of P needs no iteration.  With g the gradient of a loss in P and W = g * P,

    [diag(P 1)   P        ] [alpha]     [W 1 ]
    [P'          diag(P'1)] [beta ]  =  [W' 1],       dL/dS = P * (g - alpha 1' - 1 beta') / tau

and alpha, beta are the gradients in a and b.  Eliminating alpha leaves one symmetric system,
as large as there are columns.  It assumes that the iteration has converged; where it has not,
the derivative of the iteration itself is another one (`implicit=False`), at the cost of all
its steps in memory.

Sources: Sinkhorn 1964; Cuturi 2013; Eisenberger, Toker, Leal-Taixe, Bernard and Cremers 2022
(implicit derivative).
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.nn import logsumexp
from jaxtyping import Array, Float

from labkit.errors import check_positive, refusal
from labkit.method import Scalar


def sinkhorn(
    scores: Float[Array, "... n m"],
    tau: Scalar,
    iterations: int = 100,
    *,
    rows: Float[Array, "... n"] | None = None,
    columns: Float[Array, "... m"] | None = None,
    implicit: bool = True,
) -> Float[Array, "... n m"]:
    """P, whose rows sum to `rows` exactly and whose columns to `columns` after convergence.

    `tau` > 0 is in units of the scores.  Marginals are positive and of the same total; they
    are 1 when not given, or 1 and n / m where P is not square.  With no iteration at all,
    each row is a softmax.
    """
    n, m = np.shape(scores)[-2:]
    if isinstance(iterations, int) and iterations < 0:
        raise refusal("iterations", iterations, "a whole number, 0 or more")
    check_positive("tau", tau, "in units of the scores")
    scores = jnp.asarray(scores, jnp.result_type(scores, float))
    a = _marginal("rows", rows, jnp.ones(n, scores.dtype), scores.shape[:-1])
    b = _marginal("columns", columns, jnp.full(m, n / m, scores.dtype), (*scores.shape[:-2], m))
    # P stays the same when a number is added to a row of the scores.  With the largest entry
    # of each row 0, nothing overflows above; below, what is too far off is held.
    above = scores - jax.lax.stop_gradient(scores.max(axis=-1, keepdims=True))
    held = float(jnp.finfo(scores.dtype).max) ** 0.75
    solve = _implicit if implicit else _iterated
    return solve(jnp.maximum(above / tau, -held), a, b, iterations)


def marginal_error(
    p: Float[Array, "... n m"],
    rows: Float[Array, "... n"] | Scalar = 1.0,
    columns: Float[Array, "... m"] | Scalar = 1.0,
) -> Float[Array, "..."]:
    """The largest distance of a row or column sum of P from what it should be."""
    row, column = jnp.abs(p.sum(axis=-1) - rows), jnp.abs(p.sum(axis=-2) - columns)
    return jnp.maximum(row.max(axis=-1), column.max(axis=-1))


def _marginal(name: str, given, default: Array, shape: tuple[int, ...]) -> Array:
    given = default if given is None else jnp.asarray(given, default.dtype)
    if given.shape[-1:] != shape[-1:]:
        raise refusal(f"shape of {name}", given.shape, f"{shape[-1:]}, as the scores have")
    return jnp.broadcast_to(given, shape)


def _iterated(m: Array, a: Array, b: Array, iterations: int) -> Array:
    """exp(m + u 1' + 1 v') after `iterations` of columns, then rows."""
    log_a, log_b = jnp.log(a)[..., :, None], jnp.log(b)[..., None, :]
    right_rows = lambda v: log_a - logsumexp(m + v, axis=-1, keepdims=True)
    right_columns = lambda u: log_b - logsumexp(m + u, axis=-2, keepdims=True)

    def one(_, potentials):
        u, _ = potentials
        v = right_columns(u)
        return right_rows(v), v

    v = jnp.zeros_like(log_b)
    u, v = jax.lax.fori_loop(0, iterations, one, (right_rows(v), v))
    return jnp.exp(m + u + v)


@jax.custom_vjp
def _implicit(m: Array, a: Array, b: Array, iterations: int) -> Array:
    return _iterated(m, a, b, iterations)


def _forward(m, a, b, iterations):
    p = _iterated(m, a, b, iterations)
    return p, p


def _backward(p: Array, g: Array):
    w = g * p
    row, column = p.sum(axis=-1), p.sum(axis=-2)
    share = p / row[..., :, None]
    # (diag(P'1) - P' diag(1/P1) P) beta = W'1 - P' diag(1/P1) W1.  What is added is of rank
    # one along 1, on which the matrix vanishes: it fixes the sum of beta at 0.  The ridge is
    # at rounding: where P is a permutation the matrix vanishes, and so does the gradient.
    matrix = -jnp.einsum("...ij,...ik->...jk", share, p) + 1.0 / p.shape[-1]
    ridge = 4.0 * jnp.finfo(p.dtype).eps
    eye = jnp.broadcast_to(jnp.eye(p.shape[-1], dtype=p.dtype), matrix.shape)
    matrix += eye * (column * (1.0 + ridge))[..., None, :]
    right = w.sum(axis=-2) - jnp.einsum("...ij,...i->...j", share, w.sum(axis=-1))
    beta = jnp.linalg.solve(matrix, right[..., None])[..., 0]
    alpha = (w.sum(axis=-1) - jnp.einsum("...ij,...j->...i", p, beta)) / row
    return w - p * (alpha[..., :, None] + beta[..., None, :]), alpha, beta, None


_implicit.defvjp(_forward, _backward)
