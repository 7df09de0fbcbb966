"""A small convolutional network for 8x8 digits: 1,898 parameters with the default filters.

image -> [3x3 convolution, activation, 2x2 mean] twice -> dense

params = {"first":  {"weights": [3, 3, channels, filters[0]], "bias": [filters[0]]},
          "second": {"weights": [3, 3, filters[0], filters[1]], "bias": [filters[1]]},
          "dense":  {"weights": [(side/4)^2 filters[1], classes], "bias": [classes]}}
"""

from jaxtyping import Array, Float, Key

from labkit.errors import refusal
from labkit.method import choice, knob, pytree, size, static
from labkit.models.layers import ACTIVATIONS, convolve, dense, layers, mean_pool


@pytree
class ConvNet:
    """Two convolutions with `filters` and a dense layer, on square images of `side` pixels.

    Weights start from N(0, scale^2 / fan_in), biases from zero.
    """

    filters: tuple[int, int] = static(default=(8, 16))
    side: int = size(8, 4, 32, about="of the image in pixels: a multiple of 4")
    channels: int = size(1, 1, 4, about="of the image")
    classes: int = size(10, 2, 100, about="number of outputs")
    activation: str = choice("relu", *sorted(set(ACTIVATIONS) - {"relu"}))
    scale: float = knob(1.0, 0.1, 3.0, log=True, about="of the starting weights")

    def check(self):
        """Raise ValueError unless the image can be halved twice and `filters` are two."""
        if self.side % 4:
            raise refusal("side", self.side, "a multiple of 4, to be halved twice")
        if not (isinstance(self.filters, tuple) and len(self.filters) == 2):
            raise refusal("filters", self.filters, "a tuple of two whole numbers above 0")

    def init(self, key: Key[Array, ""]) -> dict[str, dict[str, Array]]:
        """The three layers by name, drawn with `key`."""
        first, second = self.filters
        shapes = {
            "first": (3, 3, self.channels, first),
            "second": (3, 3, first, second),
            "dense": ((self.side // 4) ** 2 * second, self.classes),
        }
        made = layers(key, list(shapes.values()), self.scale)
        return dict(zip(shapes, made, strict=True))

    def apply(
        self, params: dict[str, dict[str, Array]], x: Float[Array, "samples ..."]
    ) -> Float[Array, "samples classes"]:
        """The outputs; `x` holds one image a sample, flat or [side, side, channels]."""
        image = x.reshape(-1, self.side, self.side, self.channels)
        for name in ("first", "second"):
            weights, bias = params[name]["weights"], params[name]["bias"]
            hidden = convolve(image, weights) + bias[None, None, None]
            image = mean_pool(ACTIVATIONS[self.activation](hidden))
        return dense(params["dense"], image.reshape(image.shape[0], -1))
