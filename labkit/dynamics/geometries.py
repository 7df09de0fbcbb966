"""Descent in other geometries: two rules, and other parameters for the same problem.

Steepest descent in a norm takes the step of given length that lowers the loss most,

    w  <-  w - lr |g|_* d(g),        d(g) = argmax {g . d : |d| <= 1}

which is the gradient in l2, its sign in l-infinity, and its largest coordinate in l1; |g|_*
is the dual norm: l2, l1 and l-infinity in turn.  Mirror descent steps in dual weights theta,

    theta  <-  theta - lr g,        w = primal(theta),   theta = grad psi(w)

so that w stays of the form primal(theta_0 + A' rho): of all solutions of A w = b it can only
come to the one that is nearest the start in the Bregman distance of psi.  To descend in other
parameters, w = weights(theta), is mirror descent as well, where the steps are small.

Source: Gunasekar, Lee, Soudry and Srebro 2018; for the hyperbolic entropy, Ghai, Hazan and
Singer 2020; for w = u^a - v^a, Woodworth et al. 2020.
"""

from typing import Any, NamedTuple, Protocol

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from labkit.method import Scalar, choice, knob, pytree
from labkit.problems import Problem


class SteepestState(NamedTuple):
    count: Int[Array, ""]  # steps taken


@pytree
class Steepest:
    """Steepest descent in a norm; `pace` "falling" makes the t-th step lr / sqrt(t) long."""

    lr: Scalar = knob(0.5, 0.01, 2.0, log=True, live=True, about="learning rate")
    norm: str = choice("l2", "l1", "linf")
    pace: str = choice("gradient", "falling", about="the length of a step")

    def init(self, params: Float[Array, " n"]) -> SteepestState:
        del params
        return SteepestState(jnp.zeros((), jnp.int32))

    def update(self, grads, state, params=None):
        del params
        dual, along = steepest(grads, self.norm)
        falling = 1.0 / jnp.sqrt(state.count + 1.0).astype(grads.dtype)
        length = falling if self.pace == "falling" else dual
        return -self.lr * length * along, SteepestState(state.count + 1)


def steepest(g: Float[Array, " n"], norm: str) -> tuple[Float[Array, ""], Float[Array, " n"]]:
    """The dual norm |g|_* and the direction d(g) of norm 1; where g is 0, so is d."""
    if norm == "linf":
        return jnp.abs(g).sum(), jnp.sign(g)
    if norm == "l1":
        at = jnp.argmax(jnp.abs(g))  # of equal coordinates the first
        return jnp.abs(g[at]), jnp.zeros_like(g).at[at].set(jnp.sign(g[at]))
    size = jnp.sqrt(jnp.vdot(g, g))
    return size, g / jnp.where(size > 0, size, 1.0)


class Potential(Protocol):
    """psi through its gradient, theta = dual(w), and its conjugate psi*, w = grad psi*(theta)."""

    def dual(self, w: Float[Array, " n"]) -> Float[Array, " n"]: ...

    def primal(self, theta: Float[Array, " n"]) -> Float[Array, " n"]: ...

    def conjugate(self, theta: Float[Array, " n"]) -> Float[Array, ""]: ...


class MirrorState(NamedTuple):
    theta: Float[Array, " n"]  # dual weights


@pytree
class Mirror:
    """Mirror descent with a potential."""

    potential: Potential
    lr: Scalar = knob(0.5, 0.01, 2.0, log=True, live=True, about="learning rate")

    def init(self, params: Float[Array, " n"]) -> MirrorState:
        return MirrorState(self.potential.dual(params))

    def update(self, grads, state, params: Any = None):
        theta = state.theta - self.lr * grads
        return self.potential.primal(theta) - params, MirrorState(theta)


@pytree
class Ellipsoid:
    """psi = 1/2 w' P^-1 w, P symmetric and positive: w <- w - lr P g, preconditioned descent."""

    preconditioner: Float[Array, "n n"]

    def dual(self, w):
        return jnp.linalg.solve(self.preconditioner, w)

    def primal(self, theta):
        return self.preconditioner @ theta

    def conjugate(self, theta):
        return 0.5 * jnp.vdot(theta, self.preconditioner @ theta)


@pytree
class SquaredNorm:
    """psi = 1/2 |w|_p^2: nearly l1 for p near 1, gradient descent for p = 2, then towards linf."""

    p: float = knob(1.5, 1.1, 6.0, log=True, within=(1.01, 100.0))

    def dual(self, w):
        return _norm_gradient(w, self.p)

    def primal(self, theta):
        return _norm_gradient(theta, self.p / (self.p - 1.0))

    def conjugate(self, theta):
        """1/2 |theta|_q^2 with 1/p + 1/q = 1: half of theta . w."""
        return 0.5 * jnp.vdot(theta, self.primal(theta))


def _norm_gradient(w: Float[Array, " n"], p: Scalar) -> Float[Array, " n"]:
    """The gradient of 1/2 |w|_p^2, found without powers of large or small numbers."""
    largest = jnp.max(jnp.abs(w))
    ratios = jnp.abs(w) / jnp.where(largest > 0, largest, 1.0)
    powers = jnp.where(ratios > 0, ratios, 1.0) ** (p - 1.0) * (ratios > 0)
    total = jnp.where(largest > 0, jnp.sum(powers * ratios), 1.0)
    return largest * jnp.sign(w) * powers * total ** (2.0 / p - 1.0)


@pytree
class HyperbolicEntropy:
    """psi = sum w asinh(w / beta) - sqrt(w^2 + beta^2): l1 for small beta, l2 for large."""

    beta: float = knob(0.01, 1e-6, 10.0, log=True)

    def dual(self, w):
        return jnp.arcsinh(w / self.beta)

    def primal(self, theta):
        return self.beta * jnp.sinh(theta)

    def conjugate(self, theta):
        return self.beta * jnp.sum(jnp.cosh(theta))


class Form(Protocol):
    """Other parameters for the same weights."""

    def start(self, w: Float[Array, " n"]) -> Float[Array, "..."]: ...

    def weights(self, theta: Float[Array, "..."]) -> Float[Array, " n"]: ...


@pytree
class Power:
    """w = theta |theta|^(a - 1).  A weight moves at the rate a^2 |w|^(2 - 2/a): large ones win.

    A weight that starts at 0 stays there when a > 1.
    """

    a: float = knob(2.0, 1.0, 4.0, within=(1.0, 10.0), about="power")

    def start(self, w):
        return _power(w, 1.0 / self.a)

    def weights(self, theta):
        return _power(theta, self.a)


@pytree
class Difference:
    """w = u |u|^(a - 1) - v |v|^(a - 1), from u = v = `init` where w is 0.

    With a = 1 it is gradient descent, with a = 2 the multiplicative update, hyperbolic
    entropy with beta = 2 init^2.
    """

    init: float = knob(0.01, 1e-4, 2.0, log=True, about="u and v at the start")
    a: float = knob(2.0, 1.0, 3.0, within=(1.0, 10.0), about="power")

    def start(self, w):
        up, down = jnp.maximum(w, 0.0), jnp.maximum(-w, 0.0)
        base = self.init**self.a
        return jnp.stack([_power(base + up, 1.0 / self.a), _power(base + down, 1.0 / self.a)])

    def weights(self, theta):
        return _power(theta[0], self.a) - _power(theta[1], self.a)


@pytree
class DifferenceFlow:
    """The mirror map of `Difference` in the limit of small steps, from the weights `w0`.

    u' = a |u|^(a - 1) theta' has the solution u = u0 e(a theta u0^(a - 2)) with the power
    exponential e(x) = (1 + (2 - a) x)^(1 / (2 - a)), which is exp(x) for a = 2.
    """

    form: Difference
    w0: Float[Array, " n"]

    def dual(self, w):
        """Known at the start alone, where it is 0."""
        return w - self.w0

    def primal(self, theta):
        return self.form.weights(self._pair(theta))

    def conjugate(self, theta):
        """(|u|^2 + |v|^2) / 2a."""
        return jnp.sum(self._pair(theta) ** 2) / (2.0 * self.form.a)

    def _pair(self, theta):
        u, v = self.form.start(self.w0)
        return jnp.stack([self._grown(u, theta), self._grown(v, -theta)])

    def _grown(self, u, theta):
        a, k = self.form.a, 2.0 - self.form.a
        x = a * theta * u ** (a - 2.0)
        near = jnp.abs(k) < 1e-3  # (1 + k x)^(1/k) loses its digits there
        k_safe = jnp.where(near, 1.0, k)
        base = 1.0 + k_safe * x
        ended = (k_safe < 0) & (base <= 0)  # for a > 2 the flow is infinite after finite time
        grown = jnp.where(ended, jnp.inf, _power(jnp.where(ended, 1.0, base), 1.0 / k_safe))
        return u * jnp.where(near, jnp.exp(x - 0.5 * k * x**2), grown)


def _power(w: Array, a: Scalar) -> Array:
    """w |w|^(a - 1), with the derivative 0 at 0 for a above 1."""
    size = jnp.where(w == 0, 1.0, jnp.abs(w))
    return jnp.where(w == 0, 0.0, jnp.sign(w) * size**a)


@pytree
class Reparameterized:
    """`problem` in the parameters theta of `form`: the loss is L(weights(theta))."""

    problem: Problem
    form: Form

    def start(self, key: Key[Array, ""]) -> Float[Array, "..."]:
        """Where the problem starts, in its new parameters."""
        return self.form.start(self.problem.start(key))

    def loss(self, w: Float[Array, "..."], batch=None) -> Float[Array, ""]:
        """L(weights(w))."""
        return self.problem.loss(self.form.weights(w), batch)


@pytree
class StartedAt:
    """`problem` from another start."""

    problem: Problem
    w0: Float[Array, " n"]

    def start(self, key: Key[Array, ""]) -> Float[Array, " n"]:
        """`w0`, whatever the key."""
        del key
        return self.w0

    def loss(self, w: Float[Array, " n"], batch=None) -> Float[Array, ""]:
        """L(w)."""
        return self.problem.loss(w, batch)
