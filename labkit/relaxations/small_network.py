"""One hidden layer, all weights in one vector: what searches fit many times over.

    f(x)  =  tanh(x W + b) V + c

One vector makes one draw, one Adam and short programs, which compile several times as fast as
those of a list of layers.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from labkit.method import pytree, size


@pytree
class SmallNetwork:
    """The network and its shapes; weights of several at once have leading axes."""

    inputs: int = size(1, 1, 100)
    width: int = size(64, 1, 256)
    outputs: int = size(1, 1, 100)

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Of W, b, V and c."""
        return (self.inputs, self.width), (self.width,), (self.width, self.outputs), (self.outputs,)

    @property
    def scale(self) -> Float[np.ndarray, " weights"]:
        """What standard normal numbers are multiplied by to start: 1 / sqrt(fan in), biases 0."""
        each = [shape[0] ** -0.5 if len(shape) > 1 else 0.0 for shape in self.shapes]
        return np.repeat(each, [int(np.prod(shape)) for shape in self.shapes])

    def apply(
        self, w: Float[Array, " weights"], x: Float[Array, "n inputs"]
    ) -> Float[Array, "n outputs"]:
        """f(x), row by row."""
        ends = np.cumsum([int(np.prod(shape)) for shape in self.shapes])
        parts = jnp.split(w, ends[:-1])
        W, b, V, c = (p.reshape(shape) for p, shape in zip(parts, self.shapes, strict=True))
        return jnp.tanh(x @ W + b[None]) @ V + c[None]

    def each(
        self, w: Float[Array, "several weights"], x: Float[Array, "n inputs"]
    ) -> Float[Array, "several n outputs"]:
        """f(x) of each of several networks."""
        return jax.vmap(self.apply, (0, None))(w, x)
