"""Sorting with gradients, by a network of soft compare-and-swaps.

    min~ = s a + (1 - s) b,   max~ = (1 - s) a + s b,   s = f((b - a) / tau)

A sorting network compares fixed pairs of wires, layer by layer.  With soft swaps its outputs
are smooth functions of its inputs; the same mixing, carried along on the rows of the identity,
gives P, whose rows and columns sum to one, and the outputs are P x.  A logistic f makes
outputs that *fall* where an input rises, and a gradient that points the wrong way there.
With a monotone swap (reciprocal, cauchy, optimal: f' decays no faster than 1 / v^2) none
does; the price is an error that does not die away with the distance of the inputs.

Source: S008, Monotonic Differentiable Sorting Networks.
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
from labkit.relaxations.network import Rule, Sorted, partners, through
from labkit.relaxations.order import Order
from labkit.relaxations.swap import ERRORS, response, soft_swap, swap
from labkit.run import run
from labkit.sweep import Sweep, sweep
from labkit.views import Curve, Panel, Points, Raster, View


GAPS = np.linspace(-3.0, 3.0, 121)  # a - b, in units of x
FAR = np.logspace(-3.0, 4.0, 701)  # |a - b| / tau, far enough for the largest error
LOWEST = -0.09984  # of f(v) + v f'(v) of the logistic swap


def network_sort(
    x: Float[Array, "... n"], tau: Scalar, *, family: str = "cauchy", network: str = "bitonic"
) -> Float[Array, "... n"]:
    """x in softly ascending order; tau > 0 is in units of x.

    O(n log^2 n) by the bitonic network, O(n^2) by odd_even.  No permutation is formed.
    """
    check_positive("tau", tau, "in units of x")
    return through(x, tau, SOFT, family, network).values


def network_permutation(
    x: Float[Array, "... n"], tau: Scalar, *, family: str = "cauchy", network: str = "bitonic"
) -> Float[Array, "... n n"]:
    """P, whose rows and columns sum to one, such that P x is x in softly ascending order."""
    return network_order(x, tau, family=family, network=network).permutation


def network_order(
    x: Float[Array, "... n"], tau: Scalar, *, family: str = "cauchy", network: str = "bitonic"
) -> Order:
    """Values, permutation and ranks of x in softly ascending order."""
    check_positive("tau", tau, "in units of x")
    return as_order(through(x, tau, SOFT, family, network, shares=True))


def as_order(out: Sorted) -> Order:
    """What came out of a network, with ranks.

    The values are those of its wires: the derivative of P x may be infinity less infinity.
    """
    assert out.permutation is not None
    places = jnp.arange(1, out.values.shape[-1] + 1, dtype=out.values.dtype)
    ranks = jnp.einsum("...ij,i->...j", out.permutation, places)
    return Order(out.values, out.permutation, ranks)


def mix(a: Array, b: Array, p: Array, q: Array, tau: Scalar, family: str) -> tuple[Array, Array]:
    crossing = swap((a - b) / tau, family)[..., None] * (q - p)  # (1 - s) (q - p)
    return p + crossing, q - crossing


SOFT = Rule(soft_swap, mix)


@pytree
class SortingNetwork:
    """What can be seen of a network that sorts `values` at a softness tau."""

    values: Float[Array, " n"] = knob((3.0, 1.0, 2.2, 0.0, 4.5, 1.6, 3.7, 0.6), -1.0, 6.0)
    family: str = choice("cauchy", *sorted(set(ERRORS) - {"cauchy"}), about="of the swap")
    network: str = choice("bitonic", "odd_even")

    def __call__(self, tau: Float[Array, ""]) -> dict[str, Any]:
        x = jnp.asarray(self.values)

        def outputs(x: Array) -> tuple[Array, Sorted]:
            out = through(x, tau, SOFT, self.family, self.network, shares=True, watch=True)
            return out.values, out

        slopes, out = jax.jacfwd(outputs, has_aux=True)(x)
        far = jnp.asarray(FAR, x.dtype)
        return {
            "values": x,
            "sorted": out.values,
            "error": jnp.abs(out.values - jnp.sort(x)).max(),
            "wires": out.wires,
            "permutation": out.permutation,
            "slopes": slopes,  # of each output, by each input
            "wrong": jnp.mean(slopes < -1e-6),  # of float32, a zero may come out below 0
            "dmin_da": response(-jnp.asarray(GAPS, x.dtype) / tau, self.family),
            "lowest": response(-far, self.family).min(),
            "swap_error": soft_swap(jnp.zeros_like(far), far, 1.0, self.family)[0].max(),
            "promised": ERRORS[self.family],
            "partners": partners(len(self.values), self.network),
        }


def example() -> Sweep:
    """A bitonic network of Cauchy swaps on eight values, walked from tau 0.01 to tau 1."""
    return sweep(SortingNetwork(), over=jnp.logspace(-2.0, 0.0, 41), name="tau")


@cache
def demo() -> Record:
    """The example from hard to soft, the logistic swap beside it."""
    logistic = sweep(SortingNetwork(family="logistic"), over=example().over, name="tau")
    return run(example()).beside(logistic=run(logistic))


def _values(record: Record) -> Panel:
    values = record.last("values")
    places = np.arange(1, len(values) + 1)
    soft = Points(places, record.last("sorted"), "sorted", "prediction")
    given = Points(places, values, "values", "iterates", "function.values")
    title = f"Drag the values, tau {record.last('tau'):.2g}"
    return Panel(title, [soft, given], "wire", "value", y_range=(-1.5, 6.5))


def _columns(pairs: list[tuple[int, int]]) -> list[list[tuple[int, int]]]:
    """The pairs of wires of a layer in columns, so that none crosses another."""
    columns: list[list[tuple[int, int]]] = []
    for pair in pairs:
        free = next((column for column in columns if column[-1][1] < pair[0]), None)
        if free is None:
            columns.append([pair])
        else:
            free.append(pair)
    return columns


def _network(record: Record) -> Panel:
    wires, partner = record.last("wires"), record.last("partners")
    n = wires.shape[1]
    x, y = [], []
    for layer, row in enumerate(partner):
        columns = _columns([(low, high) for low, high in enumerate(row) if low < high])
        for place, column in enumerate(columns, 1):
            for low, high in column:
                x += [layer + 0.1 + 0.8 * place / (len(columns) + 1)] * 2
                y += [low + 1, high + 1]
    ends = np.array([x, y]).T.reshape(-1, 2)
    lines = np.insert(ends, np.arange(2, len(ends) + 1, 2), np.nan, axis=0)
    marks = [
        Raster(wires.T, np.arange(len(wires)), np.arange(1, n + 1), "value"),
        Curve(lines[:, 0], lines[:, 1], "swap", "path"),
        Points(ends[:, 0], ends[:, 1], "", "path", weight=np.full(len(ends), 0.09)),
    ]
    return Panel("Values on the wires", marks, "layer", "wire")


def _permutation(record: Record) -> Panel:
    places = np.arange(1, len(record.last("values")) + 1)
    marks = [Raster(record.last("permutation"), places, places, "share")]
    return Panel("Soft permutation", marks, "input", "place")


def _signs(record: Record) -> Panel:
    slopes = record.last("slopes")
    places = np.arange(1, len(slopes) + 1)
    row, column = np.nonzero(slopes < -1e-6)
    slope = Raster(slopes, places, places, "d output / d input")
    wrong = [Points(places[column], places[row], "wrong sign", "sign")] if len(row) else []
    title = f"{len(row)} of {slopes.size} signs are wrong"
    return Panel(title, [slope, *wrong], "input", "output")


def _response(record: Record) -> Panel:
    zero = Curve(GAPS[[0, -1]], np.zeros(2), "wrong below 0", "threshold")
    slope = Curve(GAPS, record.last("dmin_da"), "this swap", "gradient")
    marks = [zero, slope]
    if "logistic.dmin_da" in record:
        marks.append(Curve(GAPS, record.last("logistic.dmin_da"), "logistic swap", "logistic"))
    return Panel("Slope of one soft minimum", marks, "a - b", "d min / d a", y_range=(-0.2, 1.2))


views: list[View] = [_values, _network, _permutation, _signs, _response]


def say(record: Record) -> str:
    """How far from sorted and how many signs are wrong, in a sentence."""
    soft = f"At tau {record.last('tau'):.3g} the outputs are up to {record.last('error'):.3g} off"
    share, lowest = record.last("wrong"), record.last("slopes").min()
    signs = f"{share:.1%} of the derivatives have the wrong sign, the lowest is {lowest:.3g}."
    return f"{soft}, {signs}"


def claim(record: Record) -> Claim:
    """S008: no derivative of the network has the wrong sign, and the error is the known one.

    Three numbers: the largest share of wrong signs at any tau, 0; the lowest slope of a
    logistic soft minimum, which is below 0; and the largest error of one swap, over its
    closed form, 1.
    """
    error = record.last("swap_error") / record.last("promised")
    seen = [record["wrong"].max(), record.last("logistic.lowest"), error]
    # The largest error is looked for at |a - b| up to 10,000 tau, and so found to 1e-4.
    sentence = "Share of wrong signs; lowest slope of a logistic minimum; error / closed form"
    return Claim(seen, [0.0, LOWEST, 1.0], 3e-4, sentence, kind="exact")
