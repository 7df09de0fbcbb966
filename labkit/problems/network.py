"""A model fitted to data: regression and classification.

    Regression       L(w) = 1/2 mean_i |f(x_i) - y_i|^2
    Classification   squared:        L(w) = 1/2 mean_i |f(x_i) - onehot(y_i)|^2
                     cross_entropy:  L(w) = - mean_i log softmax(f(x_i))_{y_i}

|.|^2 sums over the outputs, as in the literature on the edge of stability.  Two networks are
ready-made.  `digits_network` sharpens: gradient descent with lr 0.4 reaches the edge of
stability, 2 / lr = 5, after about 150 steps.  `sine_network` is small and fast.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from labkit.data import digits
from labkit.errors import refusal
from labkit.method import choice, pytree
from labkit.models import MLP, Model
from labkit.problems.problem import Params


class Samples(NamedTuple):
    """What a batch is made of."""

    x: Float[Array, "samples ..."]
    y: Array  # [samples, outputs] or [samples] numbers, [samples] labels


@pytree
class Regression:
    """Fit the numbers `y` by the outputs of `model`."""

    model: Model
    x: Float[Array, "samples ..."]
    y: Float[Array, "samples ..."]

    def check(self):
        """Raise ValueError unless x and y have as many samples, and y what the model gives."""
        _check_rows(self.x, self.y)
        fits = (len(self.x), _outputs(self))
        if self.y.size != fits[0] * fits[1]:
            raise refusal("shape of y", self.y.shape, f"{fits}, one number for each output")

    @property
    def data(self) -> Samples:
        """All samples: what a batch is drawn from."""
        return Samples(self.x, self.y)

    def start(self, key: Key[Array, ""]) -> Params:
        """The model's weights, drawn with `key`, in the precision of the data."""
        return _as(self.x.dtype, self.model.init(key))

    def predict(self, w: Params, x: Float[Array, "samples ..."]) -> Float[Array, "samples outputs"]:
        """f(x)."""
        return self.model.apply(w, x)

    def example_losses(self, w: Params, batch: Samples | None = None) -> Float[Array, " samples"]:
        """1/2 |f(x_i) - y_i|^2 of each sample."""
        x, y = self.data if batch is None else batch
        outputs = self.predict(w, x)
        return 0.5 * jnp.sum((outputs - y.reshape(outputs.shape)) ** 2, axis=1)

    def loss(self, w: Params, batch: Samples | None = None) -> Float[Array, ""]:
        """L(w), on `batch` in place of all samples when there is one."""
        return jnp.mean(self.example_losses(w, batch))


@pytree
class Classification:
    """Tell the labels `y`, 0 to classes - 1, by the largest output of `model`."""

    model: Model
    x: Float[Array, "samples ..."]
    y: Int[Array, " samples"]
    criterion: str = choice("squared", "cross_entropy", about="the loss of one sample")

    def check(self):
        """Raise ValueError unless x and y have as many samples and y are labels."""
        _check_rows(self.x, self.y)
        whole = jnp.issubdtype(self.y.dtype, jnp.integer)
        if not (whole and self.y.ndim == 1 and bool((self.y >= 0).all())):
            raise refusal("y", self.y, "one whole number a sample, from 0 on")
        classes = _outputs(self)
        if bool((self.y >= classes).any()):
            accepted = f"labels below {classes}, the number of outputs"
            raise refusal("y", int(self.y.max()), accepted)

    @property
    def data(self) -> Samples:
        """All samples: what a batch is drawn from."""
        return Samples(self.x, self.y)

    def start(self, key: Key[Array, ""]) -> Params:
        """The model's weights, drawn with `key`, in the precision of the data."""
        return _as(self.x.dtype, self.model.init(key))

    def predict(self, w: Params, x: Float[Array, "samples ..."]) -> Float[Array, "samples classes"]:
        """f(x): one output a class, before any softmax."""
        return self.model.apply(w, x)

    def example_losses(self, w: Params, batch: Samples | None = None) -> Float[Array, " samples"]:
        """The criterion of each sample."""
        x, y = self.data if batch is None else batch
        outputs = self.predict(w, x)
        truth = jax.nn.one_hot(y, outputs.shape[1], dtype=outputs.dtype)
        if self.criterion == "squared":
            return 0.5 * jnp.sum((outputs - truth) ** 2, axis=1)
        return -jnp.sum(truth * jax.nn.log_softmax(outputs), axis=1)

    def loss(self, w: Params, batch: Samples | None = None) -> Float[Array, ""]:
        """L(w), on `batch` in place of all samples when there is one."""
        return jnp.mean(self.example_losses(w, batch))

    def accuracy(self, w: Params, batch: Samples | None = None) -> Float[Array, ""]:
        """The share of samples whose largest output is their class."""
        x, y = self.data if batch is None else batch
        return jnp.mean(jnp.argmax(self.predict(w, x), axis=1) == y)


def digits_network(
    samples: int = 300,
    width: int = 32,
    depth: int = 2,
    *,
    activation: str = "tanh",
    scale: float = 0.5,
    criterion: str = "squared",
    components: int | None = None,
) -> Classification:
    """An MLP with `depth` hidden layers of `width` on the digits; 3,466 weights by default.

    Weights start from N(0, scale^2 / fan_in), biases from zero; pixels are standardised.  With
    `components` the network sees that many principal components of these samples, each of
    variance 1, in place of pixels: no input is almost always zero then, and few are small.
    """
    split = digits(samples)
    x = split.x if components is None else _principal(split.x, components)
    sizes = (x.shape[1], *[width] * depth, 10)
    model = MLP(sizes, activation=activation, scale=scale)
    return Classification(model, jnp.asarray(x, float), jnp.asarray(split.y), criterion)


def _principal(x: Float[np.ndarray, "samples k"], components: int) -> np.ndarray:
    """The first principal components [samples, components], each of variance 1."""
    most = min(x.shape)
    if not 1 <= components <= most:
        raise refusal("components", components, f"a whole number from 1 to {most}")
    centred = x - x.mean(axis=0)
    left = np.linalg.svd(centred, full_matrices=False)[0][:, :components]
    return left * np.sqrt(len(x))


def sine_network(samples: int = 20, width: int = 16, depth: int = 2) -> Regression:
    """A tanh MLP on `samples` points of sin 3x at even steps on [-1, 1]."""
    x = np.linspace(-1.0, 1.0, samples)[:, None]
    model = MLP((1, *[width] * depth, 1))
    return Regression(model, jnp.asarray(x, float), jnp.asarray(np.sin(3.0 * x), float))


def _as(dtype: np.dtype, params: Params) -> Params:
    return jax.tree.map(lambda p: p.astype(dtype), params)


def _outputs(problem: Regression | Classification) -> int:
    """How many outputs the model has, found without computing any."""
    w = jax.eval_shape(problem.start, jax.random.key(0))
    return jax.eval_shape(problem.predict, w, problem.x).shape[1]


def _check_rows(x: Array, y: Array) -> None:
    if len(x) != len(y) or len(x) == 0:
        raise refusal("samples of x and y", (len(x), len(y)), "the same number of both, 1 or more")
