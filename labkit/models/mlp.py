"""The multilayer perceptron.

h_0 = x,   h_i = activation(h_{i-1} W_i + b_i),   output = h_{d-1} W_d + b_d

params = [{"weights": [inputs, outputs], "bias": [outputs]}, ...]   one entry a layer
"""

import numpy as np
from jaxtyping import Array, Float, Key

from labkit.errors import refusal
from labkit.method import choice, knob, pytree, static
from labkit.models.layers import ACTIVATIONS, dense, layers


@pytree
class MLP:
    """Dense layers of `sizes` (inputs, hidden widths, outputs); the last one is linear.

    Weights start from N(0, scale^2 / fan_in), biases from zero.
    """

    sizes: tuple[int, ...] = static(default=(1, 16, 1))
    activation: str = choice("tanh", *sorted(set(ACTIVATIONS) - {"tanh"}))
    scale: float = knob(1.0, 0.1, 3.0, log=True, about="of the starting weights")

    def check(self):
        """Raise ValueError unless `sizes` is a tuple of two or more positive whole numbers."""
        whole = isinstance(self.sizes, tuple) and len(self.sizes) > 1
        if not (whole and all(isinstance(s, int | np.integer) and s > 0 for s in self.sizes)):
            accepted = "a tuple of two or more whole numbers above 0: (inputs, hidden..., outputs)"
            raise refusal("sizes", self.sizes, accepted)

    def init(self, key: Key[Array, ""]) -> list[dict[str, Array]]:
        """One entry a layer, drawn with `key`."""
        return layers(key, list(zip(self.sizes, self.sizes[1:], strict=False)), self.scale)

    def apply(
        self, params: list[dict[str, Array]], x: Float[Array, "samples inputs"]
    ) -> Float[Array, "samples outputs"]:
        """The outputs of the network, one row a sample."""
        *hidden, last = params
        for below in hidden:
            x = ACTIVATIONS[self.activation](dense(below, x))
        return dense(last, x)
