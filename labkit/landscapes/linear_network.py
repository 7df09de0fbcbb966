"""Linear networks of any depth, where they start, and tasks whose modes are known.

    L(W_1 ... W_N)  =  1/2 tr (W - M) Sigma_xx (W - M)',      W = W_N ... W_1,   M = U diag(s) V'

is the squared error of the map W, less that of the best linear map M; its gradient by W_l is
(above)' (W Sigma_xx - Sigma_yx) (below)', with Sigma_yx = M Sigma_xx.  Inputs are whitened when
Sigma_xx = I; then s are also the singular values of Sigma_yx.

Starts, all of strength u0 (R random with orthonormal columns, a = u0^(1/N)):

    decoupled     W_1 = a R_1 V',  W_l = a R_l R_{l-1}',  W_N = a U R_{N-1}'
    orthogonal    W_l = a times a random orthogonal matrix
    gaussian      entries of W_l from N(0, 2 a^2 / (inputs + outputs));  u0 = 1 is Glorot's start
    pretrained    W_1 ... W_{N-1} learn in turn to encode the inputs (tied autoencoders, by
                  gradient flow); W_N is u0 times an orthogonal matrix

Source: S163, Exact solutions to the nonlinear dynamics of learning in deep linear neural networks.
"""

from collections.abc import Sequence
from functools import reduce
from itertools import pairwise

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Key

from labkit import data
from labkit.errors import refusal
from labkit.method import choice, knob, pytree, size


Weights = tuple[Float[Array, "above below"], ...]


@pytree
class Task:
    """What to learn: the map M = U diag(s) V' on inputs with covariance Sigma_xx."""

    s: Float[Array, " r"] = knob(
        (3.0, 2.0, 1.0), 0.05, 4.0, within=(1e-3, np.inf), about="singular values of the task"
    )
    left: Float[Array, "outputs r"] | None = None  # U; the identity if not given
    right: Float[Array, "inputs r"] | None = None  # V; likewise
    inputs: Float[Array, "inputs inputs"] | None = None  # Sigma_xx; likewise: whitened

    def check(self) -> None:
        r = len(self.s)
        for name in ("left", "right"):
            basis = getattr(self, name)
            if basis is not None and (jnp.ndim(basis) != 2 or jnp.shape(basis)[1] != r):
                raise refusal(f"shape of {name}", jnp.shape(basis), f"[n, {r}], as s has {r}")
        n = len(self.v)
        if self.inputs is not None and jnp.shape(self.inputs) != (n, n):
            raise refusal("shape of inputs", jnp.shape(self.inputs), f"({n}, {n})")

    @property
    def u(self) -> Float[Array, "outputs r"]:
        """U."""
        return jnp.eye(len(self.s)) if self.left is None else self.left

    @property
    def v(self) -> Float[Array, "inputs r"]:
        """V."""
        return jnp.eye(len(self.s)) if self.right is None else self.right

    @property
    def best(self) -> Float[Array, "outputs inputs"]:
        """M, the linear map of least error."""
        return self.u * jnp.asarray(self.s)[None] @ self.v.T

    def modes(self, w: Float[Array, "outputs inputs"]) -> Float[Array, " r"]:
        """How strong each mode of the task is in the map `w`: diag(U' w V)."""
        return jnp.sum(self.u * (w @ self.v), axis=0)

    def loss(self, w: Float[Array, "outputs inputs"]) -> Float[Array, ""]:
        """L of the map `w`."""
        off = w - self.best
        return 0.5 * jnp.sum(off**2 if self.inputs is None else off @ self.inputs * off)


def hierarchy(levels: int = 2) -> Task:
    """2^levels items, the leaves of a tree; one feature a node, which the items below it have.

    With two levels: four items; one feature of all, two of a pair (animals, plants), four of
    one.  The singular vectors over items are Haar's: all alike, then each split of the tree;
    splits nearer the root have the larger s.  The items are whitened one-hot inputs.
    """
    items = 2**levels
    nodes = [np.kron(np.eye(2**d), np.ones(items >> d)) for d in range(levels + 1)]
    halves = [np.repeat([1.0, -1.0], items >> (d + 1)) for d in range(levels)]
    splits = [2 ** (d / 2) * np.kron(np.eye(2**d), half) for d, half in enumerate(halves)]
    v = np.concatenate([np.ones((1, items)), *splits]).T / np.sqrt(items)
    # Nodes of m items each add m for a vector that is even on them, nothing for its split.
    powers = [2 * items - 1, *(2 ** (levels - d) - 1 for d in range(levels) for _ in range(2**d))]
    u = np.concatenate(nodes) @ v / np.sqrt(powers)
    s = np.sqrt(np.array(powers) / items)
    return Task(jnp.asarray(s), jnp.asarray(u), jnp.asarray(v))


def digits_task(components: int = 10, *, whitened: bool = True) -> Task:
    """From the first principal components of the digits to one-hot classes: nine modes.

    Not `whitened`, the components keep their variances, scaled to a mean of one.
    """
    table = data.digits()
    x, y = np.asarray(table.x, float), np.eye(10)[table.y]
    _, sizes, axes = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
    scores = (x - x.mean(axis=0)) @ axes[:components].T
    variances = sizes[:components] ** 2 / len(x)
    scales = variances if whitened else np.full(components, variances.mean())
    scores /= np.sqrt(scales)
    covariance = variances / scales
    best = y.T @ scores / len(x) / covariance
    u, s, v = np.linalg.svd(best, full_matrices=False)
    kept = s > 1e-6 * s[0]  # the classes sum to one, which takes a mode away
    inputs = None if whitened else jnp.diag(jnp.asarray(covariance))
    return Task(jnp.asarray(s[kept]), jnp.asarray(u[:, kept]), jnp.asarray(v[kept].T), inputs)


@pytree
class LinearNetwork:
    """The problem: `layers` matrices, hidden `width` between them, to learn `task`."""

    task: Task = Task()
    layers: int = size(2, 1, 64, about="matrices of weights")
    width: int = size(8, 1, 64, about="hidden units")
    family: str = choice("decoupled", "gaussian", "orthogonal", "pretrained", about="of the start")
    u0: float = knob(1e-3, 1e-6, 1.0, log=True, about="strength of each mode at the start")
    imbalance: float = knob(0.0, -3.0, 3.0, about="ln of the last layer's scale over the first's")

    def check(self) -> None:
        r = len(self.task.s)
        if self.family == "decoupled" and self.layers > 1 and self.width < r:
            accepted = f"at least {r}, the number of modes, for a decoupled start"
            raise refusal("width", self.width, accepted)

    def start(self, key: Key[Array, ""]) -> Weights:
        """One matrix a layer, of the family."""
        w = getattr(self, f"_{self.family}")(key)
        apart = jnp.exp(self.imbalance / 2.0)  # the product stays as it is
        return (w[0] / apart, *w[1:-1], w[-1] * apart) if self.layers > 1 else w

    def product(self, w: Weights) -> Float[Array, "outputs inputs"]:
        """W = W_N ... W_1."""
        return reduce(lambda below, above: above @ below, w)

    def loss(self, w: Weights, batch: None = None) -> Float[Array, ""]:
        """L(W_1 ... W_N); the task is known by its covariances, and there is no batch."""
        del batch
        return self.task.loss(self.product(w))

    def balance(self, w: Weights) -> Weights:
        """W_{l+1}' W_{l+1} - W_l W_l', which gradient flow conserves, one for each inner layer."""
        return tuple(above.T @ above - below @ below.T for below, above in pairwise(w))

    def _shapes(self) -> list[tuple[int, int]]:
        units = [len(self.task.v), *[self.width] * (self.layers - 1), len(self.task.u)]
        return list(zip(units[1:], units, strict=False))

    def _decoupled(self, key: Array) -> Weights:
        inner = orthogonals(key, [(self.width, len(self.task.s))] * (self.layers - 1))
        bases = [self.task.v, *inner, self.task.u]
        a = self.u0 ** (1.0 / self.layers)
        return tuple(a * above @ below.T for below, above in pairwise(bases))

    def _gaussian(self, key: Array) -> Weights:
        a = self.u0 ** (1.0 / self.layers)
        return tuple(a * np.sqrt(2 / sum(z.shape)) * z for z in normals(key, self._shapes()))

    def _orthogonal(self, key: Array) -> Weights:
        a = self.u0 ** (1.0 / self.layers)
        return tuple(a * q for q in orthogonals(key, self._shapes()))

    def _pretrained(self, key: Array) -> Weights:
        n = len(self.task.v)
        seen = jnp.eye(n) if self.task.inputs is None else self.task.inputs
        *hidden, last = self._shapes()
        draws = jr.split(key)
        w = []
        for z in normals(draws[0], hidden):
            w.append(encoder(0.1 / np.sqrt(len(seen)) * z, seen))
            seen = w[-1] @ seen @ w[-1].T
        return (*w, self.u0 * orthogonal(draws[1], *last))


def normals(key: Key[Array, ""], shapes: Sequence[tuple[int, int]]) -> list[Array]:
    """Standard normal matrices of these shapes."""
    sizes = [rows * columns for rows, columns in shapes]
    # One draw for all: each draw of its own takes half a second to compile.
    draws = jnp.split(jr.normal(key, (sum(sizes),)), np.cumsum(sizes)[:-1])
    return [draw.reshape(shape) for draw, shape in zip(draws, shapes, strict=False)]


def orthogonals(key: Key[Array, ""], shapes: Sequence[tuple[int, int]]) -> list[Array]:
    """Random matrices, evenly drawn, whose rows or columns, the fewer, are orthonormal."""
    draws = normals(key, shapes)
    found = {}
    for shape in dict.fromkeys(shapes):  # one factorization a shape, for the same reason
        alike = jnp.stack([draw for draw in draws if draw.shape == shape])
        found[shape] = iter(list(jax.vmap(_orthonormal)(alike)))
    return [next(found[shape]) for shape in shapes]


def orthogonal(key: Key[Array, ""], rows: int, columns: int) -> Float[Array, "rows columns"]:
    """One of them."""
    return orthogonals(key, [(rows, columns)])[0]


def _orthonormal(m: Array) -> Array:
    tall = m.shape[0] >= m.shape[1]
    q, r = jnp.linalg.qr(m if tall else m.T)
    q = q * jnp.where(jnp.diag(r) < 0, -1.0, 1.0)[None]  # QR alone prefers a sign
    return q if tall else q.T


def encoder(
    start: Float[Array, "units n"], inputs: Float[Array, "n n"], steps: int = 300
) -> Float[Array, "units n"]:
    """A linear autoencoder x -> A' A x trained from small weights on inputs of covariance C.

    dA/dt = A (C E + E C),  E = I - A'A,  in `steps` of time 1 / (4 tr C).  Directions of large
    variance are found first.
    """
    eye = jnp.eye(len(inputs), dtype=inputs.dtype)
    h = 0.25 / jnp.trace(inputs)

    def step(_, a):
        missing = inputs @ (eye - a.T @ a)
        return a + h * a @ (missing + missing.T)

    return jax.lax.fori_loop(0, steps, step, start)
