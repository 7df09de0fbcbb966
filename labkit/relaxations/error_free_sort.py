"""Sorting exactly, with the gradient of a soft sort.

A soft swap changes the values, and over the layers of a network the error adds up.  Here
each comparator goes forward hard and backward soft, layer by layer:

    min* = min~ + sg(min(a, b) - min~),   max* likewise,   P* = P~ + sg(P_hard - P~)

where sg has the derivative 0 and P~ is one soft step on the P* of the layer before.  What
comes out is the sorted input and a true permutation; the derivative of each swap is the soft
one, taken at the hard values.  A `blend` between 0 and 1 puts (1 - blend) soft + blend hard
in the place of the hard value: 0 is the soft network, 1 is free of error.

Source: S091, Generalized Neural Sorting Networks with Error-Free Differentiable Swap Functions.
"""

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from labkit.claims import Claim
from labkit.errors import check_positive
from labkit.method import Scalar, choice, knob, pytree
from labkit.record import Record
from labkit.relaxations.network import Rule, through
from labkit.relaxations.order import Order
from labkit.relaxations.sorting_network import as_order, mix
from labkit.relaxations.swap import ERRORS, soft_swap
from labkit.run import run
from labkit.sweep import Sweep, sweep
from labkit.views import Bars, Curve, Panel, Points, View, lines


DRAWS = 64  # of the noise on the inputs


def error_free_sort(
    x: Float[Array, "... n"],
    tau: Scalar,
    *,
    blend: Scalar = 1.0,
    family: str = "cauchy",
    network: str = "bitonic",
) -> Float[Array, "... n"]:
    """x in ascending order, exactly at blend 1; tau > 0 is that of the derivative."""
    check_positive("tau", tau, "in units of x")
    return through(x, (tau, blend), ERROR_FREE, family, network).values


def error_free_permutation(
    x: Float[Array, "... n"],
    tau: Scalar,
    *,
    blend: Scalar = 1.0,
    family: str = "cauchy",
    network: str = "bitonic",
) -> Float[Array, "... n n"]:
    """The permutation that sorts x, of zeros and ones at blend 1, with a soft derivative."""
    return error_free_order(x, tau, blend=blend, family=family, network=network).permutation


def error_free_order(
    x: Float[Array, "... n"],
    tau: Scalar,
    *,
    blend: Scalar = 1.0,
    family: str = "cauchy",
    network: str = "bitonic",
) -> Order:
    """Values, permutation and ranks of x in ascending order, with soft derivatives.

    The derivative of the values is that of the network of values, which is not that of P x.
    """
    check_positive("tau", tau, "in units of x")
    return as_order(through(x, (tau, blend), ERROR_FREE, family, network, shares=True))


@jax.custom_jvp
def straight(value: Float[Array, "..."], soft: Float[Array, "..."]) -> Float[Array, "..."]:
    """`value`, with the derivative of `soft`: soft + sg(value - soft) without its rounding."""
    del soft
    return value


@straight.defjvp
def _straight_jvp(primals: tuple, tangents: tuple) -> tuple:
    return straight(*primals), tangents[1]


def _swap(a: Array, b: Array, softness: tuple, family: str) -> tuple[Array, Array]:
    tau, blend = softness
    low, high = soft_swap(a, b, tau, family)
    return (
        straight(blend * jnp.minimum(a, b) + (1.0 - blend) * low, low),
        straight(blend * jnp.maximum(a, b) + (1.0 - blend) * high, high),
    )


def _mix(a: Array, b: Array, p: Array, q: Array, softness: tuple, family: str) -> tuple:
    tau, blend = softness
    keep = (a <= b)[..., None]
    hard = jnp.where(keep, p, q), jnp.where(keep, q, p)
    soft = mix(a, b, p, q, tau, family)
    return tuple(
        straight(blend * h + (1.0 - blend) * s, s) for h, s in zip(hard, soft, strict=True)
    )


ERROR_FREE = Rule(_swap, _mix)


@pytree
class ErrorFreeSort:
    """What can be seen of a network between soft (blend 0) and free of error (blend 1).

    The gradient is that of sum_i c_i sorted_i, where c goes from -1 to 1: how far the ends
    are apart.  Its spread is over inputs with normal noise on them.
    """

    values: Float[Array, " n"] = knob((3.0, 1.0, 2.2, 0.0, 4.5, 1.6, 3.7, 0.6), -1.0, 6.0)
    tau: float = knob(1.0, 0.01, 3.0, log=True)
    noise: float = knob(0.5, 0.0, 2.0, about="deviation, on the inputs")
    family: str = choice("cauchy", *sorted(set(ERRORS) - {"cauchy"}), about="of the swap")

    def __call__(self, blend: Float[Array, ""]) -> dict[str, Any]:
        x = jnp.asarray(self.values)
        run_at = lambda x, blend, **also: through(
            x, (self.tau, blend), ERROR_FREE, self.family, "bitonic", **also
        )
        ends = jnp.stack([blend, jnp.ones_like(blend)])
        both = jax.vmap(lambda blend: run_at(x, blend, shares=True, watch=True))(ends)
        out, hard = (jax.tree.map(lambda part, i=i: part[i], both) for i in (0, 1))
        weights = jnp.linspace(-1.0, 1.0, len(x), dtype=x.dtype)
        spread = lambda x: run_at(x, blend).values @ weights
        noise = self.noise * jax.random.normal(jax.random.key(0), (DRAWS, len(x)), x.dtype)
        # The value itself is the first row, so that one program does for all.
        inputs = x[None] + jnp.concatenate([jnp.zeros_like(x[None]), noise])
        gradient, *noisy = jnp.split(jax.vmap(jax.grad(spread))(inputs), [1])
        return {
            "values": x,
            "sorted": out.values,
            "error": jnp.abs(out.values - jnp.sort(x)).max(),
            "layer_error": jnp.abs(out.wires - hard.wires).mean(axis=-1),
            "permutation": out.permutation,
            "gradient": gradient[0],
            "bias": jnp.abs(out.values - jnp.sort(x)).mean(),
            "gradient_deviation": jnp.sqrt(noisy[0].var(axis=0).mean()),
        }


def example() -> Sweep:
    """Eight values in a network of Cauchy swaps at tau 1, walked from blend 0 to blend 1."""
    return sweep(ErrorFreeSort(), over=jnp.linspace(0.0, 1.0, 21), name="blend")


@cache
def demo() -> Record:
    """The example, from soft to free of error."""
    return run(example())


def _ends(record: Record, middle: bool = False) -> list[tuple[int, str, str]]:
    """(row, label, role) of the softest and the hardest blend, and of the one between them."""
    roles = {0: "ghost"} | ({len(record) // 2: "midpoint"} if middle else {})
    roles |= {len(record) - 1: "prediction"}
    return [(row, f"blend {record['blend'][row]:.2g}", role) for row, role in roles.items()]


def _values(record: Record) -> Panel:
    values = record.last("values")
    places = np.arange(1, len(values) + 1)
    marks = [
        *(Points(places, record["sorted"][row], name, role) for row, name, role in _ends(record)),
        Points(places, values, "values", "iterates", "function.values"),
    ]
    return Panel("Drag the values", marks, "place", "value", y_range=(-1.5, 6.5))


def _layers(record: Record) -> Panel:
    layers = np.arange(record["layer_error"].shape[1])
    kinds = _ends(record, middle=True)
    marks = [Curve(layers, record["layer_error"][row], name, role) for row, name, role in kinds]
    return Panel("Error on the wires", marks, "layer", "mean error of a wire")


def _gradient(record: Record) -> Panel:
    places = np.arange(1, len(record.last("values")) + 1)
    marks = [Bars(places, record["gradient"][row], name, role) for row, name, role in _ends(record)]
    return Panel("Gradient of how far apart", marks, "input", "d / d input")


views: list[View] = [
    _values,
    _layers,
    _gradient,
    lines("bias", "gradient_deviation", over="blend", title="Bias, and spread of the gradient"),
]


def say(record: Record) -> str:
    """What the blend does to the values and to the gradient, in a sentence."""
    blend, error = record.last("blend"), record.last("error")
    first, last = record["gradient_deviation"][0], record.last("gradient_deviation")
    soft = f"At blend {blend:.3g} the outputs are up to {error:.3g} off"
    return f"{soft}; the deviation of the gradient went from {first:.3g} to {last:.3g}."


def claim(record: Record) -> Claim:
    """S091: with a soft network's derivatives, the outputs are exactly the sorted inputs.

    Four numbers: the largest error at the end, 0; the share of entries of P there that are 0
    or 1; the share of inputs with a gradient; and 1 where the soft network at the start is
    off by more than 0.05.
    """
    p, gradient = record.last("permutation"), record.last("gradient")
    whole = np.isin(p, (0.0, 1.0)).mean() * np.all(p.sum(0) == 1.0)
    seen = [record.last("error"), whole, np.mean(gradient != 0), record["error"][0] > 0.05]
    rounding = 1e-6 * np.abs(record.last("values")).max()
    sentence = "Error; share of P that is 0 or 1; share of inputs with a gradient; soft is off"
    return Claim(seen, [0.0, 1.0, 1.0, 1.0], rounding, sentence, kind="exact")
