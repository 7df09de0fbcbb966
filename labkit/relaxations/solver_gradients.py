"""How f(x(c)) should change with c, where x(c) = argmin_x c . x is only ever called.

    perturbed    g = (1 / ((K - 1) tau)) sum_k (f_k - mean f) z_k,    f_k = f(x(c + tau z_k))
    black box    g = -(x(c) - x(c + lam grad f(x(c)))) / lam

x(c) is piecewise constant: its own derivative is zero or does not exist.  With normal z the
first is, without bias, the gradient of the mean of f(x(c + tau z)) (`perturbed_argmax` of the
payoff); K - 1 and not K, since the mean contains f_k.  The second is, for a linear f and with
V(c) = min_x c . x, the gradient in c of (V(c + lam grad f) - V(c)) / -lam.
"""

from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from labkit.errors import check_positive, refusal
from labkit.method import Scalar


Solver = Callable[[Float[Array, " n"]], Float[Array, " n"]]  # c -> x(c)
Cost = Callable[[Float[Array, " n"]], Float[Array, ""]]  # f


class Problem(Protocol):
    """Instances, a solver for linear costs, and the cost that matters."""

    @property
    def answers(self) -> Float[Any, "answers n"]:
        """Every x there is: for the optimum, which is to be found without them."""
        ...

    def draw(self, key: Key[Array, ""], count: int, /) -> Any:
        """Instances, on a leading axis."""
        ...

    def start(self, instance: Any, /) -> Float[Array, " n"]:
        """The c to begin with."""
        ...

    def features(self, instance: Any, /) -> Float[Array, "n features"]:
        """What a model may know of each entry of c."""
        ...

    def solve(self, c: Float[Array, " n"], /) -> Float[Array, " n"]:
        """x(c)."""
        ...

    def loss(self, instance: Any, x: Float[Array, "... n"], /) -> Float[Array, "..."]:
        """f(x)."""
        ...


def perturbed(
    z: Float[Array, "samples n"], c: Float[Array, " n"], tau: Scalar, f: Cost, solve: Solver
) -> tuple[Float[Array, " n"], Float[Array, " samples"]]:
    """The gradient from a call of the solver for each standard normal row of z, and the f_k."""
    check_positive("tau", tau, "in units of the cost")
    if len(z) < 2:
        raise refusal("samples of z", len(z), "2 or more")
    values = jax.vmap(lambda z: f(solve(c + tau * z)))(z)
    return (values - values.mean()) @ z / ((len(z) - 1) * tau), values


def black_box(
    c: Float[Array, " n"], lam: Scalar, f: Cost, solve: Solver
) -> tuple[Float[Array, " n"], Float[Array, " 2"]]:
    """The gradient from two calls of the solver, and the values of f at both answers."""
    check_positive("lam", lam, "in units of the cost over f")
    x = solve(c)
    value, slope = jax.value_and_grad(f)(x)
    moved = solve(c + lam * slope)
    return (moved - x) / lam, jnp.stack([value, f(moved)])
