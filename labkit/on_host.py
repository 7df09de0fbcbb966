"""NumPy inside compiled code: for solvers that are only called, never differentiated."""

from collections.abc import Callable

import jax
import numpy as np
from jaxtyping import Array, Float


def on_host(solver: Callable[[np.ndarray], np.ndarray]) -> Callable[[Array], Array]:
    """`solver(theta)`, in NumPy and of theta's shape, as a function that compiled code may call.

    Under `vmap` there is one call back to the host, which loops there.  It has no derivative.
    """

    def answers(shape: tuple[int, ...], thetas: np.ndarray) -> np.ndarray:
        thetas = np.asarray(thetas)
        several = thetas.reshape(-1, *shape)
        found = [np.asarray(solver(theta), thetas.dtype) for theta in several]
        return np.stack(found).reshape(thetas.shape) if found else thetas

    def call(theta: Float[Array, "..."]) -> Float[Array, "..."]:
        like = jax.ShapeDtypeStruct(theta.shape, theta.dtype)
        answer = lambda thetas: answers(theta.shape, thetas)
        return jax.pure_callback(answer, like, theta, vmap_method="expand_dims")

    return call
