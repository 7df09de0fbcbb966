"""Sorting with gradients, by what the order statistics maximise: NeuralSort.

    P = softmax(((2i - n - 1) x_j - A_j) / tau) over j,        A_j = sum_k |x_j - x_k|

The i-th smallest value is where (2i - n - 1) x - sum_k |x - x_k| is largest: to k places
further that falls by the gaps on the way, times 1, 3, 5, ..., 2k - 1.  So with smallest gap
d the logits there are at least k^2 d below the largest, and the share of a row in wrong
places is at most 2 sum_k exp(-k^2 d / tau), however many values there are.  The largest
entry of each row is the right one at any tau.  Rows sum to one, columns only as tau goes to
0.  At a tie A has a kink, and its derivative is the mean of both sides.

A takes a sort and prefix sums, and the largest logit of a row is known in advance: nothing
passes over n x n numbers but what the softmax itself needs.

The paper sorts in descending order: that is -x here.

Source: F022, Stochastic Optimization of Sorting Networks via Continuous Relaxations.
"""

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import stop_gradient
from jaxtyping import Array, Float

from labkit.claims import Claim
from labkit.errors import check_positive
from labkit.method import Scalar, knob, pytree
from labkit.record import Record
from labkit.relaxations import soft_sort
from labkit.relaxations.order import Order, order
from labkit.run import run
from labkit.sweep import Sweep, sweep
from labkit.views import Curve, Panel, View


def neural_permutation(x: Float[Array, "... n"], tau: Scalar) -> Float[Array, "... n n"]:
    """P, rows summing to one, such that P x is x in softly ascending order.

    `tau` > 0 is in units of x.
    """
    check_positive("tau", tau, "in units of x")
    x = jnp.asarray(x, jnp.result_type(x, float))
    n, places = x.shape[-1], jnp.argsort(x, axis=-1)
    s = jnp.take_along_axis(x, places, axis=-1)
    s, h = centred(s, about=s[..., n // 2 : n // 2 + 1])
    a = _distances(s)
    # The largest logit of row i is that of the i-th value: from it, so that it is 0, is seen
    # how far the input in column j lies and how much larger its A is.
    far, more = (
        jnp.put_along_axis(v, places, v, axis=-1, inplace=False)[..., None, :]
        - stop_gradient(v)[..., :, None]
        for v in (s, a)
    )
    slope = jnp.broadcast_to(jnp.arange(1 - n, n, 2, dtype=x.dtype)[:, None], far.shape)
    logits = (slope * far - more) * (h / tau)[..., None]
    # Rounded twice, the 0 of an own place may be small beside huge values and far from 0.
    own = places[..., :, None] == jax.lax.broadcasted_iota(places.dtype, far.shape, far.ndim - 1)
    return _shares(jnp.where(own, logits - stop_gradient(logits), logits))


def neural_sort(x: Float[Array, "... n"], tau: Scalar) -> Float[Array, "... n"]:
    """x in softly ascending order: P x."""
    return neural_order(x, tau).values


def neural_order(x: Float[Array, "... n"], tau: Scalar) -> Order:
    """Values, permutation and ranks of x in softly ascending order."""
    return order(neural_permutation(x, tau), x)


def centred(
    x: Float[Array, "... n"], about: Float[Array, "... 1"]
) -> tuple[Float[Array, "... n"], Float[Array, "... 1"]]:
    """((x - about) / h, h), where h is 1 unless sums of so large values overflow.

    About a median an outlier does not cost the others their digits.
    """
    y = x - stop_gradient(about)
    most = jnp.abs(stop_gradient(y)).max(axis=-1, keepdims=True, initial=0.0)
    h = jnp.maximum(most / float(jnp.finfo(y.dtype).max) ** 0.75, 1.0)
    return y / h, h


def _distances(s: Float[Array, "... n"]) -> Float[Array, "... n"]:
    """sum_k |s_j - s_k| - s_k of sorted values; what all j have in common cancels in a softmax."""
    n, last, unpadded = s.shape[-1], s.ndim - 1, [(0, 0)] * (s.ndim - 1)
    sums = jnp.pad(jnp.cumsum(s, axis=-1), [*unpadded, (1, 0)])
    differs, at = s[..., 1:] != s[..., :-1], jax.lax.broadcasted_iota(jnp.int32, s.shape, last)
    begins = jnp.pad(differs, [*unpadded, (1, 0)], constant_values=True)[..., :n]
    ends = jnp.pad(differs, [*unpadded, (0, 1)], constant_values=True)[..., :n]
    less = jax.lax.cummax(jnp.where(begins, at, 0), axis=last)  # values below
    upto = jax.lax.cummin(jnp.where(ends, at + 1, n), axis=last, reverse=True)  # or tied
    both = sum(jnp.take_along_axis(sums, count, axis=-1) for count in (less, upto))
    return s * (less + upto - n) - both


@jax.custom_jvp
def _shares(logits: Float[Array, "... n n"]) -> Float[Array, "... n n"]:
    """The softmax of logits whose largest is 0, in as few passes as it can be done.

    Rounding may lift a near tie above 0, and tau makes much of that: it is held at 1.
    """
    weights = jnp.exp(jnp.minimum(logits, 1.0))
    return weights * (1.0 / weights.sum(axis=-1, keepdims=True))


@_shares.defjvp
def _shares_jvp(primals, tangents):
    p = _shares(*primals)
    change = p * tangents[0]
    return p, change - p * change.sum(axis=-1, keepdims=True)


@pytree
class NeuralSort:
    """What can be seen of the neural sort of `values` at a softness tau."""

    values: Float[Array, " n"] = knob((3.0, 1.0, 2.2, 0.0, 4.5), -1.0, 6.0)

    def __call__(self, tau: Float[Array, ""]) -> dict[str, Any]:
        soft = neural_order(self.values, tau)
        return {
            "values": self.values,
            "sorted": soft.values,
            "error": jnp.abs(soft.values - jnp.sort(self.values)).max(),
            "permutation": soft.permutation,
            "column_error": jnp.abs(soft.permutation.sum(axis=0) - 1.0).max(),
        }


def example() -> Sweep:
    """The neural sort of five values, walked from tau 0.01 to tau 10."""
    return sweep(NeuralSort(), over=jnp.logspace(-2.0, 1.0, 41), name="tau")


@cache
def demo() -> Record:
    """The example, beside the SoftSort of the same values."""
    return run(example()).beside(softsort=soft_sort.demo())


def misplaced(record: Record, of: str = "") -> Float[np.ndarray, " rows"]:
    """The largest share that a place has of inputs that belong elsewhere, row by row."""
    p, values = record[f"{of}permutation"], record.last("values")
    right = p[:, np.arange(len(values)), np.argsort(values, kind="stable")]
    return 1.0 - right.min(axis=1)


def bound(record: Record) -> Float[np.ndarray, " rows"]:
    """2 sum_k exp(-k^2 d / tau), above which no share in wrong places lies."""
    values = record.last("values")
    gap, k = np.diff(np.sort(values)).min(), np.arange(1, len(values))
    return 2.0 * np.exp(-(k**2) * gap / record["tau"][:, None]).sum(axis=1)


def _shares_over_tau(record: Record) -> Panel:
    seen = {"NeuralSort": misplaced(record), "its bound": bound(record)}
    if "softsort.permutation" in record:
        seen["SoftSort"] = misplaced(record, "softsort.")
    roles = {"NeuralSort": "neuralsort", "SoftSort": "softsort", "its bound": "threshold"}
    curves = [  # below 1e-6 is the rounding of a share near 1
        Curve(record["tau"], np.where(share > 1e-6, share, np.nan), name, roles[name])
        for name, share in seen.items()
    ]
    title = "Largest share in a wrong place"
    return Panel(title, curves, "softness tau", "share", True, True, y_range=(1e-6, 10.0))


views: list[View] = [*soft_sort.views, _shares_over_tau]


def say(record: Record) -> str:
    """How far from sorted and from doubly stochastic, in a sentence."""
    small, large = record["error"][0], record.last("error")
    softness = f"from {record['tau'][0]:.3g} to {record.last('tau'):.3g}"
    head = f"As tau goes {softness}, the distance to the hard sort goes from {small:.3g} to"
    return (
        f"{head} {large:.3g}; the sums of columns are up to {record['column_error'].max():.3g} off."
    )


def claim(record: Record) -> Claim:
    """F022: the share in wrong places is below a bound that no number of values lifts.

    Two numbers: 1 where it is at most 2 sum_k exp(-k^2 d / tau), at each tau; and the largest
    ratio of the distance from the sorted values to its limit d exp(-d / tau), where small.
    """
    values, tau, error = record.last("values"), record["tau"], record["error"]
    gap = np.diff(np.sort(values)).min()
    below = misplaced(record) <= bound(record) + 1e-6  # of float32 in a sum to 1
    small = (np.exp(-gap / tau) > 1e-4) & (np.exp(-gap / tau) < 3e-3)
    ratios = error[small] / (gap * np.exp(-gap / tau[small]))
    seen = [below.mean(), ratios[np.argmax(np.abs(ratios - 1))] if len(ratios) else np.nan]
    # What the next gap adds, and rounding beside so small a distance, are below 5 %.
    sentence = "Share of tau where shares are below their bound; distance / its limit"
    return Claim(seen, 1.0, 0.05, sentence, kind="exact")
