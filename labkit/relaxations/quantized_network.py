"""A network with weights on a grid, layer by layer, by several ways to round.

    nearest            each weight to the nearer line
    stochastic         up or down by chance, right in the mean
    learned            `learned_rounding` on the inputs that a few samples give to each layer
    logits             the same for all layers at once, by the KL divergence of what comes out
    straight-through   trained further on all data, with rounded weights in the forward pass

Biases stay as they are.  A layer is calibrated on what the layers below, already rounded, give.
Bits may differ from layer to layer: `importance` says what rounding costs where, to first order,

    sum |dL/dw (w_q - w)|

and `mixed_bits` tries every way to spend a mean number of bits a weight.
"""

import itertools
from collections.abc import Sequence
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Key

from labkit.adaptive import Adam
from labkit.data import digits
from labkit.descent import Descent
from labkit.errors import refusal, unknown
from labkit.method import Scalar
from labkit.models.layers import dense
from labkit.problems import Classification, digits_network
from labkit.relaxations.learned_rounding import LearnedRounding, stretched, unstretched
from labkit.relaxations.roundings import Layer, at, fraction, nearest, neighbours, stochastic
from labkit.relaxations.straight_through import straight_through
from labkit.run import run


Params = list[dict[str, Array]]
WAYS = ("nearest", "stochastic", "learned", "logits", "straight-through")


@cache
def trained(width: int = 24) -> tuple[Classification, Params]:
    """A relu network on 400 digits, 64 - width - width - 10, after 300 steps of Adam."""
    options = {"activation": "relu", "scale": 1.4, "criterion": "cross_entropy"}
    problem = digits_network(400, width, **options)
    record = run(Descent(problem, Adam(0.003)), 300, every=300)
    return problem, record.state.w


def accuracy(params: Params) -> float:
    """On the digits held out."""
    problem, _ = trained()
    split = digits(400)
    out = problem.predict(params, jnp.asarray(split.x_test, float))
    return float((out.argmax(axis=1) == split.y_test).mean())


def quantized(
    key: Key[Array, ""],
    way: str,
    bits: float | Sequence[float],
    samples: int = 64,
    steps: int = 300,
) -> Params:
    """The trained network with its weights on grids of so many bits, one number or one a layer.

    Raises KeyError for another way, ValueError for bits that are no whole numbers from 2 on, one
    or as many as there are layers, and without samples.
    """
    if way not in WAYS:
        raise unknown("way", way, WAYS)
    problem, params = trained()
    asked = np.asarray(bits, float)
    if asked.shape not in ((), (len(params),)) or not ((asked >= 2) & (asked % 1 == 0)).all():
        raise refusal("bits", bits, f"whole numbers from 2 on, one or {len(params)} of them")
    if not 1 <= samples <= len(problem.x):
        raise refusal("samples", samples, f"1 to {len(problem.x)}")
    several = jnp.broadcast_to(jnp.asarray(bits, float), (len(params),))
    if way == "straight-through":
        return _retrained(problem, params, several, steps)
    if way == "logits":
        return _jointly(problem, params, problem.x[:samples], several, steps)
    x, rounded = problem.x[:samples], []
    for layer, count, one in zip(params, several, jr.split(key, len(params)), strict=True):
        weights = _rounded(one, x, layer["weights"], count, way, steps)
        rounded.append({"weights": weights, "bias": layer["bias"]})
        x = jax.nn.relu(dense(rounded[-1], x))
    return rounded


def _rounded(key, x, w, bits: Array, way: str, steps: int) -> Array:
    if way == "nearest":
        return _nearest(w, bits)
    if way == "stochastic":
        return _stochastic(key, w, bits)
    return _learned(key, Layer(x, w), bits, steps)


_nearest, _stochastic = jax.jit(nearest), jax.jit(stochastic)


@partial(jax.jit, static_argnames="steps")
def _jointly(problem: Classification, params: Params, x, bits: Array, steps: int) -> Params:
    weights, rule = [p["weights"] for p in params], Adam(0.03)
    grids = [neighbours(w, b) for w, b in zip(weights, bits, strict=True)]
    start = [fraction(w, grid) for w, grid in zip(weights, grids, strict=True)]
    full = jax.nn.log_softmax(problem.predict(params, x))

    def held(h: list[Array]) -> Params:
        parts = zip(params, grids, h, strict=True)
        return [{**p, "weights": at(grid, one)} for p, grid, one in parts]

    def divergence(h: list[Array]) -> Array:
        out = jax.nn.log_softmax(problem.predict(held(h), x))
        return (jnp.exp(full) * (full - out)).sum(axis=1).mean()

    near = divergence([jnp.round(h) for h in start])
    # As layer by layer: an error of 1 for each output, beside a pull for each weight.
    outputs = sum(w.shape[1] for w in weights)

    def objective(v: list[Array], t: Array) -> Array:
        h = [stretched(one) for one in v]
        pull = sum((1.0 - (2.0 * one - 1.0) ** 2).sum() for one in h)
        return outputs * divergence(h) / near + 4.0 * t**2 * pull

    def one(step: Array, state: Any) -> Any:
        v, memory = state
        updates, memory = rule.update(jax.grad(objective)(v, step / steps), memory, v)
        return jax.tree.map(jnp.add, v, updates), memory

    v = [unstretched(h) for h in start]
    v, _ = jax.lax.fori_loop(0, steps, one, (v, rule.init(v)))
    return held([jnp.round(stretched(one)) for one in v])


@partial(jax.jit, static_argnames="steps")
def _learned(key, layer: Layer, bits: Scalar, steps: int) -> Array:
    method = LearnedRounding(layer, bits=bits, length=steps)
    one = lambda _, state: method.step(state, key)
    return method.rounded(jax.lax.fori_loop(0, steps, one, method.init(key)))


@jax.jit
def _retrained(problem: Classification, params: Params, bits: Array, steps: int) -> Params:
    rule = Adam(0.001)

    def held(params: Params) -> Params:
        return [
            {**p, "weights": straight_through(nearest(p["weights"], b), p["weights"])}
            for p, b in zip(params, bits, strict=True)
        ]

    def one(_, state: Any) -> Any:
        w, memory = state
        grads = jax.grad(lambda w: problem.loss(held(w)))(w)
        updates, memory = rule.update(grads, memory, w)
        return jax.tree.map(jnp.add, w, updates), memory

    w, _ = jax.lax.fori_loop(0, steps, one, (params, rule.init(params)))
    return held(w)


def importance(choices: Sequence[int]) -> Float[np.ndarray, "layers choices"]:
    """sum |dL/dw (w_q - w)| of each layer, for each number of bits."""
    problem, params = trained()
    grads = jax.jit(jax.grad(problem.loss))(params)
    cost = lambda p, g, b: float(
        jnp.abs(g["weights"] * (_nearest(p["weights"], float(b)) - p["weights"])).sum()
    )
    return np.array([[cost(p, g, b) for b in choices] for p, g in zip(params, grads, strict=True)])


def mixed_bits(
    importance: Float[np.ndarray, "layers choices"],
    sizes: Sequence[int],
    choices: Sequence[int],
    mean: float,
) -> tuple[int, ...]:
    """The bits of each layer, of least importance in sum, with at most `mean` bits a weight."""
    if mean < min(choices):
        raise refusal("mean", mean, f"{min(choices)} or more, the fewest bits of a layer")
    most = mean * sum(sizes) * (1 + 1e-9)
    ways = itertools.product(range(len(choices)), repeat=len(sizes))
    spent = lambda way: sum(size * choices[i] for size, i in zip(sizes, way, strict=True))
    worth = lambda way: sum(row[i] for row, i in zip(importance, way, strict=True))
    best = min((way for way in ways if spent(way) <= most), key=worth)
    return tuple(choices[i] for i in best)
