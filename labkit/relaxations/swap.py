"""The soft compare-and-swap of two wires, in four families.

    s = f((b - a) / tau),   min~ = s a + (1 - s) b,   max~ = (1 - s) a + s b

    logistic     f(v) = 1 / (1 + exp(-4 v))
    reciprocal   f(v) = 1/2 + v / (1 + 2 |v|)
    cauchy       f(v) = 1/2 + atan(pi v) / pi
    optimal      f(v) = 1/2 + v for |v| <= 1/4,   1 - 1 / (16 v) beyond

All have f'(0) = 1, so that one tau means one softness.  (Where a paper has a steepness, it is
1 / tau times 4, 2, pi or 1.)  The soft minimum grows with a where f(v) + v f'(v) >= 0: at
every v for the last three, not for the logistic one.  Written with d = |b - a| and the share
t of the wrong wire, min~ = min(a, b) + d t and max~ = max(a, b) - d t: nothing overflows, and
what is small is not the difference of two large numbers.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Float

from labkit.errors import refusal
from labkit.method import Scalar


# sup |min~ - min| / tau of each family, in the order of the menus.
ERRORS = {
    "cauchy": 0.10132118364233778,  # 1 / pi^2
    "logistic": 0.06961613569026844,  # the largest v / (1 + exp(4 v)), W(1 / e) / 4
    "optimal": 0.0625,  # 1 / 16, the least of any f whose minimum is monotone
    "reciprocal": 0.25,  # 1 / 4
}


def swap(v: Float[Array, "..."], family: str = "cauchy") -> Float[Array, "..."]:
    """f(v), the share that stays on its wire, where v = (b - a) / tau."""
    return _swap(_bounded(v), family)


def slope(v: Float[Array, "..."], family: str = "cauchy") -> Float[Array, "..."]:
    """f'(v)."""
    u = jnp.abs(_bounded(v))
    if family == "logistic":
        wrong = _wrong(u, family)
        return 4.0 * wrong * (1.0 - wrong)
    if family == "reciprocal":
        return 1.0 / (1.0 + 2.0 * u) ** 2
    if family == "cauchy":
        return 1.0 / (1.0 + (jnp.pi * u) ** 2)
    return 1.0 / (16.0 * jnp.maximum(u, 0.25) ** 2)


def response(v: Float[Array, "..."], family: str = "cauchy") -> Float[Array, "..."]:
    """d min~ / d a = f(v) + v f'(v), which d max~ / d b equals; the other two are 1 less it."""
    u = jnp.abs(_bounded(v))
    other = _other(u, _wrong(u, family), family)
    return jnp.where(v < 0, other, 1.0 - other)


@functools.partial(jax.custom_jvp, nondiff_argnums=(3,))
def soft_swap(
    a: Float[Array, "..."], b: Float[Array, "..."], tau: Scalar, family: str
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """(min~, max~) of a and b."""
    low, high, gap, wrong = _compared(a, b, tau, family)
    return low + gap * wrong, high - gap * wrong


# The rule keeps one number a swap, `response`: half of what autodiff would keep, and it stays
# finite where v f'(v) is infinity times zero.
@functools.partial(soft_swap.defjvp, symbolic_zeros=True)
def _soft_swap_jvp(family: str, primals: Any, tangents: Any) -> Any:
    a, b, tau = primals
    da, db, dtau = tangents
    zero = lambda d, x: jnp.zeros_like(x) if isinstance(d, SymbolicZero) else d
    da, db = zero(da, a), zero(db, b)
    low, high, gap, wrong = _compared(a, b, tau, family)
    u = _bounded(gap / tau)
    other = _other(u, wrong, family)
    share = jnp.where(a <= b, 1.0 - other, other)
    dlow = share * da + (1.0 - share) * db
    if not isinstance(dtau, SymbolicZero):
        dlow = dlow + u * (wrong - other) * dtau
    return (low + gap * wrong, high - gap * wrong), (dlow, da + db - dlow)


def _compared(a: Array, b: Array, tau: Scalar, family: str) -> tuple[Array, Array, Array, Array]:
    low, high = jnp.minimum(a, b), jnp.maximum(a, b)
    gap = jnp.minimum(high - low, jnp.finfo(low.dtype).max)
    return low, high, gap, _wrong(gap / tau, family)  # the share at infinity is 0


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _swap(v: Float[Array, "..."], family: str) -> Float[Array, "..."]:
    wrong = _wrong(jnp.abs(v), family)
    return jnp.where(v < 0, wrong, 1.0 - wrong)


@_swap.defjvp
def _swap_jvp(family: str, primals: Any, tangents: Any) -> Any:
    (v,), (dv,) = primals, tangents
    return _swap(v, family), slope(v, family) * dv


def _bounded(v: Float[Array, "..."]) -> Float[Array, "..."]:
    """v where its square is a number."""
    v = jnp.asarray(v, jnp.result_type(v, float))
    most = float(jnp.finfo(v.dtype).max) ** 0.4
    return jnp.clip(v, -most, most)


def _wrong(u: Float[Array, "..."], family: str) -> Float[Array, "..."]:
    """1 - f(u) for u >= 0, to the last digit however large u is."""
    if family not in ERRORS:
        raise refusal("family", family, f"one of {', '.join(ERRORS)}")
    if family == "logistic":
        return jax.nn.sigmoid(-4.0 * u)
    if family == "reciprocal":
        return 1.0 / (2.0 + 4.0 * u)
    if family == "cauchy":
        far = jnp.pi * u > 1.0  # atan(x) = pi / 2 - atan(1 / x)
        z = jnp.where(far, 1.0 / jnp.maximum(jnp.pi * u, 1.0), jnp.pi * u)
        share = jnp.arctan(z) / jnp.pi
        return jnp.where(far, share, 0.5 - share)
    return jnp.where(u <= 0.25, 0.5 - u, 1.0 / (16.0 * jnp.maximum(u, 0.25)))


def _other(u: Float[Array, "..."], wrong: Float[Array, "..."], family: str) -> Float[Array, "..."]:
    """1 - f(u) - u f'(u) for u >= 0: what the soft minimum takes from the larger input."""
    if family == "logistic":
        return wrong - 4.0 * u * wrong * (1.0 - wrong)
    if family == "reciprocal":
        return 2.0 * wrong**2
    if family == "cauchy":  # far out a difference of equals, which is above 0 all the same
        return jnp.maximum(wrong - u / (1.0 + (jnp.pi * u) ** 2), 0.0)
    return jnp.maximum(0.5 - 2.0 * u, 0.0)
