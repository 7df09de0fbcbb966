"""The quadratic: the loss whose every answer is known.

    L(w) = 1/2 sum_i h_i (a_i . w)^2      a_i: orthonormal axes, h_i: the curvature along a_i

Gradient descent multiplies the component along a_i by 1 - lr h_i in each step: it shrinks
when lr h_i < 2, grows when lr h_i > 2, and for lr h_i > 1 changes its sign each time.
"""

import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Key

from labkit.errors import refusal
from labkit.method import knob, pytree


@pytree
class Quadratic:
    """`curvatures` along the coordinates, or along the columns of `axes`."""

    curvatures: Float[Array, " n"] = knob((1.0, 10.0), 0.0, 20.0, about="eigenvalues")
    w0: Float[Array, "#n"] | float = knob(
        1.0, -2.0, 2.0, about="the start; one number: for all", per_entry=True
    )
    axes: Float[Array, "n n"] | None = None

    def check(self):
        """Raise ValueError when start or axes do not fit the curvatures."""
        n = len(self.curvatures)
        if jnp.shape(self.w0) not in ((), (1,), (n,)):
            raise refusal("w0", self.w0, f"one number or {n}, as many as curvatures")
        if self.axes is not None and jnp.shape(self.axes) != (n, n):
            raise refusal("shape of axes", jnp.shape(self.axes), f"({n}, {n})")

    def start(self, key: Key[Array, ""]) -> Float[Array, " n"]:
        """`w0`, whatever the key."""
        del key
        h = jnp.asarray(self.curvatures)
        return jnp.broadcast_to(jnp.asarray(self.w0, h.dtype), h.shape)

    def loss(self, w: Float[Array, " n"], batch: None = None) -> Float[Array, ""]:
        """L(w); there are no samples to choose a batch from."""
        del batch
        return 0.5 * jnp.sum(self.curvatures * self._along(w) ** 2)

    @property
    def minimum(self) -> Float[Array, " n"]:
        """Zero, where the loss is 0."""
        return jnp.zeros_like(jnp.asarray(self.curvatures))

    @property
    def hessian(self) -> Float[Array, "n n"]:
        """sum_i h_i a_i a_i', the same everywhere."""
        diagonal = jnp.diag(jnp.asarray(self.curvatures))
        return diagonal if self.axes is None else self.axes @ diagonal @ self.axes.T

    def after(self, w0: Float[Array, " n"], lr: float, steps: int) -> Float[Array, " n"]:
        """Where gradient descent from `w0` stands: sum_i (1 - lr h_i)^steps (a_i . w0) a_i."""
        factors = (1.0 - lr * jnp.asarray(self.curvatures)) ** steps
        along = factors * self._along(w0)
        return along if self.axes is None else self.axes @ along

    def _along(self, w: Float[Array, " n"]) -> Float[Array, " n"]:
        """The components of `w` along the axes."""
        return w if self.axes is None else self.axes.T @ w


def random_axes(key: Key[Array, ""], n: int) -> Float[Array, "n n"]:
    """Orthonormal columns in random directions, uniform over all rotations and reflections."""
    return jr.orthogonal(key, n)
