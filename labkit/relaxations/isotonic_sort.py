"""Sorting and ranking with gradients, by projection on a permutahedron.

With rho = 1 .. n, to sort is to find the permutation of x that goes best with rho, and to
rank is to find the permutation of rho that goes best with x.  Among all mixtures of
permutations, less a square of the answer,

    values  =  argmax  <y, rho> - tau / (2 gap^2) |y|^2     over mixtures of permutations of x
    ranks   =  argmax  <y, x>   - tau / 2 |y|^2             over mixtures of permutations of rho

Either is a projection of z (of rho gap^2 / tau, of x / tau) on the mixtures of permutations of
w, and has the form w - z, sorted and pooled in blocks, put back: within a block of the isotonic
regression of w - z,

    y  =  mean(w)  +  z - mean(z)

Alone in its block, a value is exactly where it belongs.  Ranks are exact as soon as the gaps
between the values are tau or more, values as soon as they are gap^2 / tau or less; their
derivative is then that of the hard sort: nought for ranks.  It is always a mean over blocks,
so that no value falls where an input rises.

`gap` is the spacing of the inputs, in units of x: it turns rho into values.  With it, both
have tau in units of x, and f(c x, c tau, c gap) = c f(x, tau, gap).  With gap = 1, tau is the
paper's epsilon.

Source: F024, Fast Differentiable Sorting and Ranking.
"""

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from labkit.claims import Claim
from labkit.errors import check_positive
from labkit.method import Scalar, knob, pytree
from labkit.record import Record
from labkit.relaxations.isotonic import Blocks, blocks, mean
from labkit.relaxations.network import hard_sort
from labkit.relaxations.order import Order
from labkit.run import run
from labkit.sweep import Sweep, sweep
from labkit.views import Panel, Raster, View, drag, lines


def isotonic_sort(
    x: Float[Array, "... n"], tau: Scalar, gap: Scalar = 1.0
) -> Float[Array, "... n"]:
    """x in softly ascending order; tau and gap > 0 are in units of x.  O(n log^2 n)."""
    _check(tau, gap)
    return _shaped(_values(*_sorted(x), tau, gap), x)


def isotonic_rank(x: Float[Array, "... n"], tau: Scalar) -> Float[Array, "... n"]:
    """The soft rank of each value, 1 for the smallest; tau > 0 is in units of x."""
    check_positive("tau", tau, "in units of x")
    return _shaped(_ranks(*_sorted(x), tau), x)


def isotonic_permutation(
    x: Float[Array, "... n"], tau: Scalar, gap: Scalar = 1.0
) -> Float[Array, "... n n"]:
    """The derivative of the values in x: each place shares the inputs of its block evenly.

    Its rows and columns sum to one.  It has no derivative itself.
    """
    _check(tau, gap)
    return _permutation(*_sorted(x), tau, gap, jnp.shape(x))


def isotonic_order(x: Float[Array, "... n"], tau: Scalar, gap: Scalar = 1.0) -> Order:
    """Values, permutation and ranks; the values are not P x, nor the ranks those of P.

    Values and ranks come from projections of their own, and are nearer to the hard ones.
    """
    _check(tau, gap)
    rising, place = _sorted(x)
    return Order(
        _shaped(_values(rising, place, tau, gap), x),
        _permutation(rising, place, tau, gap, jnp.shape(x)),
        _shaped(_ranks(rising, place, tau), x),
    )


def _check(tau: Scalar, gap: Scalar) -> None:
    check_positive("tau", tau, "in units of x")
    check_positive("gap", gap, "in units of x")


def _sorted(x: Array) -> tuple[Array, Array]:
    """x in ascending order [n, batch], and the input that each entry was."""
    x = jnp.asarray(x, jnp.result_type(x, float))
    return hard_sort(x.reshape(-1, x.shape[-1]).T if x.size else x.reshape(0, 1))


def _shaped(columns: Array, x: Array) -> Array:
    return columns.T.reshape(jnp.shape(x))


def _blocks_of_values(rising: Array, tau: Scalar, gap: Scalar) -> tuple[Blocks, Array]:
    # A step so large that no sum of n of them overflows is hard for all the values there are.
    n, most = len(rising), float(jnp.finfo(rising.dtype).max)
    step = jnp.minimum(gap / jnp.asarray(tau, rising.dtype) * gap, most / (4 * max(n, 1)))
    rho = jnp.arange(n, dtype=rising.dtype)[:, None]
    return blocks(rising / 4 - step / 4 * rho), step


def _values(rising: Array, place: Array, tau: Scalar, gap: Scalar) -> Array:
    del place
    pooled, step = _blocks_of_values(rising, tau, gap)
    return mean(pooled, rising) + step * pooled.offset


def _ranks(rising: Array, place: Array, tau: Scalar) -> Array:
    rho = jnp.arange(1, len(rising) + 1, dtype=rising.dtype)[:, None]
    pooled = blocks(rho * (tau / 4) - rising / 4)
    alone = pooled.size == 1.0
    # The difference is 0 where a value is alone, and so is its derivative, however small tau.
    away = jnp.where(alone, 0.0, rising - mean(pooled, rising)) / tau
    ranks = rho - pooled.offset + away
    column = jnp.arange(ranks.shape[1])[None]
    return jnp.zeros_like(ranks).at[place, column].set(ranks, unique_indices=True)


def _permutation(rising: Array, place: Array, tau: Scalar, gap: Scalar, shape: tuple) -> Array:
    pooled, _ = _blocks_of_values(rising, tau, gap)
    label, size, place = pooled.label.T, pooled.size.T, place.T
    share = (label[:, :, None] == label[:, None, :]) / size[:, :, None]
    row = jnp.arange(len(share))[:, None, None]
    column = jnp.arange(share.shape[1])[None, :, None]
    p = jnp.zeros_like(share).at[row, column, place[:, None]].set(share, unique_indices=True)
    return jax.lax.stop_gradient(p.reshape(*shape, *shape[-1:]))


@pytree
class IsotonicSort:
    """What can be seen of the isotonic sort of `values` at a softness tau."""

    values: Float[Array, " n"] = knob((3.0, 1.0, 2.2, 0.0, 4.5), -1.0, 6.0)
    gap: float = knob(1.0, 0.2, 3.0, log=True, about="spacing of the inputs, in their units")

    def __call__(self, tau: Float[Array, ""]) -> dict[str, Any]:
        x = jnp.asarray(self.values)
        found = isotonic_order(x, tau, self.gap)
        slope = jax.jacobian(isotonic_rank)(x, tau)
        return {
            "values": x,
            "gap": jnp.asarray(self.gap),
            "sorted": found.values,
            "ranks": found.ranks,
            "error": jnp.abs(found.values - jnp.sort(x)).max(),
            "rank_error": jnp.abs(found.ranks - jnp.argsort(jnp.argsort(x)) - 1).max(),
            "rank_slope": jnp.abs(slope).max(),
            "permutation": found.permutation,
        }


def example() -> Sweep:
    """The isotonic sort and ranks of five values, walked from tau 0.01 to tau 100."""
    return sweep(IsotonicSort(), over=jnp.logspace(-2.0, 2.0, 81), name="tau")


@cache
def demo() -> Record:
    """The example, from hard to soft."""
    return run(example())


def _shares(record: Record) -> Panel:
    hard, _ = exact_until(record)
    row = int(np.argmin(np.abs(np.log(record["tau"] / (1.15 * hard)))))  # some are pooled
    p, places = record["permutation"][row], np.arange(1, record["permutation"].shape[1] + 1)
    title = f"Who is pooled with whom, tau {record['tau'][row]:.2g}"
    return Panel(title, [Raster(p, places, places, "share")], "input", "place")


_over_tau: dict[str, Any] = {"over": "tau", "log_x": True, "x": "softness tau"}
views: list[View] = [
    drag("function.values", (-1.5, 6.5), y="value"),
    lines("sorted", title="Soft order: exact, then pooled", y="value", **_over_tau),
    lines(
        "ranks",
        title="Soft ranks",
        y="rank",
        labels={"ranks": "input"},
        roles={"ranks": "item"},
        **_over_tau,
    ),
    _shares,
]


def exact_until(record: Record) -> tuple[float, float]:
    """The largest tau at which the values are exact, and the largest for the ranks, in theory."""
    gaps = np.diff(np.sort(record.last("values")))
    return float(record.last("gap") ** 2 / gaps.max()), float(gaps.min())


def say(record: Record) -> str:
    """Up to where the sort is exact, in a sentence."""
    values, ranks = exact_until(record)
    return (
        f"The values are those of the hard sort up to tau {values:.3g} and the ranks up to "
        f"tau {ranks:.3g}; at tau {record.last('tau'):.3g} the values are "
        f"{record.last('error'):.3g} away and the ranks {record.last('rank_error'):.3g}."
    )


def claim(record: Record) -> Claim:
    """F024: values and ranks are exact up to a tau known beforehand, and not above it.

    Two numbers: the largest tau with an error of rounding, divided by that tau, for each.
    """
    tau, rounding = record["tau"], 1e-5 * np.abs(record.last("values")).max()
    exact = [record["error"] <= rounding, record["rank_error"] <= 1e-5 * len(record.last("values"))]
    seen = [tau[hard].max() / end if hard.any() else np.nan
            for hard, end in zip(exact, exact_until(record), strict=True)]  # fmt: skip
    step = float((tau[1:] / tau[:-1]).max()) - 1.0  # the sweep sees no finer
    sentence = "Largest tau at which values, ranks are exact / gap^2 / largest gap, smallest gap"
    return Claim(seen, 1.0, step, sentence, kind="exact")
