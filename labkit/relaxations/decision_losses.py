"""Losses of a predicted cost c^, by the decision it leads to, x(c^) = argmin_x c^ . x.

    margin          sum_{j in N} [1 - s_j]_+,   s = M c^        the vertex x that was chosen
    Fenchel-Young   E max_x' (c^ + tau Z) . (x - x')            the same
    SPO+            max_x' (c - 2 c^) . x'  +  2 c^ . x  -  c . x        the cost c as well
    least squares   |c^ - c|^2 / 2                              the cost alone

All are convex in c^.  x is the best vertex for the true cost c, and s its reduced costs.  The
regret c . x(c^) - c . x is at most SPO+; it is 0 where the margin loss is.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from labkit.method import Scalar
from labkit.relaxations.perturbed_argmax import fenchel_young


def margin(c_hat: Float[Array, " d"], M: Float[Array, "k d"]) -> Float[Array, ""]:
    """How far the reduced costs are below one, in total."""
    return jnp.maximum(1.0 - M @ c_hat, 0.0).sum()


def spo_plus(
    c_hat: Float[Array, " d"],
    c: Float[Array, " d"],
    x: Float[Array, " d"],
    vertices: Float[Array, "v d"],
) -> Float[Array, ""]:
    """The smart predict-then-optimize loss of Elmachtoub and Grigas."""
    return (vertices @ (c - 2.0 * c_hat)).max() + 2.0 * (c_hat @ x) - c @ x


def least_squares(c_hat: Float[Array, " d"], c: Float[Array, " d"]) -> Float[Array, ""]:
    """Half the squared distance, whatever it does to the decision."""
    return ((c_hat - c) ** 2).sum() / 2.0


def perturbed_regret(
    key: Key[Array, ""],
    c_hat: Float[Array, " d"],
    x: Float[Array, " d"],
    vertices: Float[Array, "v d"],
    tau: Scalar,
    samples: int = 10,
) -> Float[Array, ""]:
    """How much worse x is than the best answer to c^ + tau Z: `fenchel_young` of -c^."""
    solver = lambda theta: vertices[(vertices @ theta).argmax()]
    return fenchel_young(key, -c_hat, x, tau, solver, samples)
