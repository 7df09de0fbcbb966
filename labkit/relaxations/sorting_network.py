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

from jaxtyping import Array, Float

from labkit.errors import check_positive
from labkit.method import Scalar
from labkit.relaxations.network import Rule, through
from labkit.relaxations.order import Order, order
from labkit.relaxations.swap import soft_swap, swap


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
    check_positive("tau", tau, "in units of x")
    permutation = through(x, tau, SOFT, family, network, shares=True).permutation
    assert permutation is not None
    return permutation


def network_order(
    x: Float[Array, "... n"], tau: Scalar, *, family: str = "cauchy", network: str = "bitonic"
) -> Order:
    """Values, permutation and ranks of x in softly ascending order."""
    return order(network_permutation(x, tau, family=family, network=network), x)


def network_wires(
    x: Float[Array, "... n"], tau: Scalar, *, family: str = "cauchy", network: str = "bitonic"
) -> Float[Array, "layers+1 ... n"]:
    """The value on each wire, before and after each layer."""
    check_positive("tau", tau, "in units of x")
    wires = through(x, tau, SOFT, family, network, watch=True).wires
    assert wires is not None
    return wires


def _mix(a: Array, b: Array, p: Array, q: Array, tau: Scalar, family: str) -> tuple[Array, Array]:
    crossing = swap((a - b) / tau, family)[..., None] * (q - p)  # (1 - s) (q - p)
    return p + crossing, q - crossing


SOFT = Rule(soft_swap, _mix)
