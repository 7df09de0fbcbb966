"""Draws of k data without replacement, by their logits: the Plackett-Luce model.

    the next datum is i with probability exp(l_i) / sum of exp(l_j) over those not yet drawn

which is to take the places of the k largest of l + g, with Gumbel noise g.  A pair has

    P{i, j} = p_i p_j (1 / (1 - p_i) + 1 / (1 - p_j)),      p = softmax(l)

Seen as a race, datum i arrives at an exponential time of rate exp(l_i).  The k first are all
good where the bad ones, whose first arrives at a time T of rate B = sum of their exp(l), come
after k good ones; each good one has arrived by T with probability 1 - exp(-exp(l_i) T).  So
the odds of an all-good set are one integral over T for any k.
"""

import jax
import jax.numpy as jnp
import jax.random as jr
from jax.nn import logsumexp
from jaxtyping import Array, Bool, Float, Int, Key

from labkit.errors import refusal


def draw_sets(
    key: Key[Array, ""], logits: Float[Array, " n"], k: int, sets: int
) -> tuple[Int[Array, "sets k"], Float[Array, "sets n"]]:
    """The k places drawn for each set, first to last, and the l + g that decided."""
    if not 1 <= k <= logits.shape[-1]:
        raise refusal("k", k, f"from 1 to {logits.shape[-1]}, the number of data")
    noisy = logits[None] + jr.gumbel(key, (sets, *logits.shape), logits.dtype)
    return jax.lax.top_k(noisy, k)[1], noisy


def log_odds(logits: Float[Array, " n"], sets: Int[Array, "... k"]) -> Float[Array, "..."]:
    """The log probability to draw these places in this order, without replacement."""
    left: Bool[Array, "... n"] = jnp.ones((*sets.shape[:-1], len(logits)), bool)
    wide = logits.reshape((1,) * (sets.ndim - 1) + logits.shape)
    total = jnp.zeros(sets.shape[:-1], wide.dtype)
    for place in range(sets.shape[-1]):
        now = sets[..., place]
        total = total + logits[now] - logsumexp(wide, axis=-1, where=left)
        left &= ~jax.nn.one_hot(now, len(logits), dtype=bool)
    return total


def pair_odds(logits: Float[Array, " n"]) -> Float[Array, "n n"]:
    """The probability of each pair in either order, above the diagonal; 0 elsewhere."""
    others = jnp.where(jnp.eye(len(logits), dtype=bool), -jnp.inf, logits[None])
    log_p, second = jax.nn.log_softmax(logits), jax.nn.log_softmax(others, axis=1)
    ordered = jnp.exp(log_p[:, None] + second)
    return jnp.triu(ordered + ordered.T, 1)


def good_odds(logits: Float[Array, " n"], good: Bool[Array, " n"], k: int) -> Float[Array, ""]:
    """The probability that all of k data drawn are `good`, to about 1e-6."""
    # u = exp(-B T) is even in (0, 1); over z, u = sigma(z), a sum over a grid converges fast.
    z = jnp.linspace(-16.0, 16.0, 129, dtype=logits.dtype)
    time = jax.nn.softplus(-z)  # B T
    bad = logsumexp(jnp.where(good & ~good.all(), -jnp.inf, logits))
    rates = jnp.exp(jnp.where(good, logits - bad, -jnp.inf))  # in units of B
    here = -jnp.expm1(-jnp.minimum(rates[:, None] * time[None], 1e4))

    def arrive(counts: Array, chance: Array) -> tuple[Array, None]:
        """The odds that 0, 1 ... k - 1 good ones are there, or more (the last)."""
        stay = counts * (1 - chance)[None]
        more = jnp.concatenate([jnp.zeros_like(stay[:1]), counts[:-1] * chance[None]])
        return (stay + more).at[-1].add(counts[-1] * chance), None

    start = jnp.zeros((k + 1, len(z)), logits.dtype).at[0].set(1.0)
    counts, _ = jax.lax.scan(arrive, start, here)
    weight = jax.nn.sigmoid(z) * jax.nn.sigmoid(-z)
    odds = (weight * counts[-1]).sum() / weight.sum()
    return jnp.where(good.all(), 1.0 * (len(logits) >= k), odds)
