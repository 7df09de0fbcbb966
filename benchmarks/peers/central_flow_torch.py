"""The central flow in PyTorch, for `benchmarks/central_flow.py` to measure ours beside.

A straightforward port of the published algorithm, written for this benchmark from its
equations; it is not the code that its authors released.  With a diagonal preconditioner
P = diag(p), p = 1 / lr or (sqrt(nu) + eps) / lr, and columns U in the eigenspace at 2 (H U = 2 P U,
U'PU = I), T_ij = grad (u_i' H u_j):

    dw/dt  = -P^-1 (g + 1/2 <T, X>)
    dnu/dt = (1 - beta2) / beta2 (g*g + 4 p*p diag(U X U') - nu)
    0 <= X  _|_  A + B[X] >= 0,      A + B[X] is U'(2P - H)U one substep ahead, linearised

The eigensolver is a warm-started block Krylov method, as ours, of three blocks, once a step; in
between the eigenvectors are rotated among themselves.  `Eager` is plain PyTorch, reverse mode
throughout: forward mode and `torch.func.vmap` took longer.  `Compiled` is `torch.func` under
`torch.compile`, which needs a C++ compiler.

Source: S029, Understanding Optimization in Deep Learning with Central Flows.
"""

from collections.abc import Callable
from functools import cache
from itertools import pairwise
from typing import NamedTuple

import cvxpy
import numpy as np
import torch
from torch import Tensor
from torch.func import grad_and_value, jvp, vmap


CRITICAL = 1.95  # eigenvalues of P^-1/2 H P^-1/2 from which on a direction oscillates
BLOCKS = 2  # of the Krylov space, beside the basis itself


class Rule(NamedTuple):
    kind: str  # "gd", "scalar" (Scalar RMSProp) or "rmsprop"
    lr: float
    beta2: float = 1.0
    eps: float = 1e-8

    def squares(self, g: Tensor) -> Tensor:
        return g * g if self.kind == "rmsprop" else g @ g

    def preconditioner(self, nu: Tensor, n: int) -> Tensor:
        root = torch.ones(1) if self.kind == "gd" else self.root(nu) + self.eps
        return (root / self.lr).expand(n)

    def root(self, nu: Tensor) -> Tensor:
        return nu.clamp(min=torch.finfo(nu.dtype).tiny).sqrt()  # a pixel may be always dark


class State(NamedTuple):
    w: Tensor  # [n]
    nu: Tensor  # [n], or one number; gradient descent leaves it as it is
    basis: Tensor  # [n, k], orthonormal: near the eigenvectors of P^-1/2 H P^-1/2


class Motion(NamedTuple):
    """The two motions; `at(w)` holds `loss`, `gradient`, `product(V)` and `thirds(U)`."""

    at: Callable
    rule: Rule
    substeps: int = 4

    def descent(self, state: State, before: Tensor) -> State:
        """A step of the rule, the eigenvalues followed at the iterate and at the midpoint."""
        w, nu, basis = state
        here = self.at(w)
        if self.rule.kind != "gd":
            beta2 = self.rule.beta2
            nu = beta2 * nu + (1 - beta2) * self.rule.squares(here.gradient)
        p = self.rule.preconditioner(nu, len(w))
        after = w - here.gradient / p
        eigenpairs(self.at((before + 2 * w + after) / 4), p, basis, BLOCKS)
        _, basis = eigenpairs(here, p, basis, BLOCKS)
        return State(after, nu, basis)

    def central_flow(self, state: State) -> tuple[State, Tensor]:
        """A unit of time by Euler's method; eigenvectors anew once, eigenvalues each substep."""
        state, values = self._substep(state, BLOCKS)
        for _ in range(self.substeps - 1):
            state, _ = self._substep(state, 0)
        return state, values

    def _substep(self, state: State, blocks: int) -> tuple[State, Tensor]:
        w, nu, basis = state
        rule, dt, here = self.rule, 1 / self.substeps, self.at(w)
        g, p = here.gradient, rule.preconditioner(nu, len(w))
        values, basis = eigenpairs(here, p, basis, blocks)
        force, oscillation = torch.zeros_like(w), torch.zeros_like(w)
        count = int((values > CRITICAL).sum())
        if count:
            U = basis[:, :count] * p.rsqrt()[:, None]
            i, j, weight, _ = symmetric(count)
            weight = torch.as_tensor(weight, dtype=w.dtype)
            T = here.thirds(U) * weight[:, None]
            drift, B = T @ (g / p), 0.5 * T @ (T / p).T
            if rule.kind != "gd":
                UU = U[:, i] * U[:, j] * weight
                rate = self._rate() / (rule.lr * rule.root(nu))  # of 2 p, as nu changes
                spread = rate * 4 * p**2
                if rule.kind == "scalar":
                    UU, spread = UU.sum(0, keepdim=True), spread[:1]
                drift = drift + UU.T @ (rate * (rule.squares(g) - nu)).reshape(-1)
                B = B + UU.T @ (spread[:, None] * UU)
            gap = torch.diag(2 - values[:count])[i, j]
            x = complementarity(gap + dt * drift, dt * B)
            force = 0.5 * x @ T
            X = matrix(x, count)
            oscillation = 4 * p**2 * ((U @ X) * U).sum(1)
        if rule.kind != "gd":
            spread = oscillation.sum() if rule.kind == "scalar" else oscillation
            nu = nu + dt * self._rate() * (rule.squares(g) + spread - nu)
        return State(w - dt * (g + force) / p, nu, basis), values

    def _rate(self) -> float:
        return (1 - self.rule.beta2) / self.rule.beta2


def eigenpairs(here, p: Tensor, basis: Tensor, blocks: int) -> tuple[Tensor, Tensor]:
    """Ritz pairs of P^-1/2 H P^-1/2 in the block Krylov space, the largest first."""
    r = p.rsqrt()[:, None]
    space = [torch.linalg.qr(basis)[0]]
    products = [r * here.product(r * space[0])]
    for _ in range(blocks):
        so_far = torch.cat(space, 1)
        rest = products[-1]
        for _ in range(2):
            rest = rest - so_far @ (so_far.T @ rest)
        space.append(torch.linalg.qr(rest)[0])
        products.append(r * here.product(r * space[-1]))
    Q, AQ = torch.cat(space, 1), torch.cat(products, 1)
    small = Q.T @ AQ
    values, S = torch.linalg.eigh((small + small.T) / 2)
    k = basis.shape[1]
    return values.flip(0)[:k], Q @ S.flip(1)[:, :k]


def complementarity(a: Tensor, B: Tensor) -> Tensor:
    """x of 0 <= X  _|_  A + B[X] >= 0, the least of 1/2 x'Bx + a'x over X >= 0."""
    if len(a) == 1:
        return (-a / B[0]).clamp(min=0)
    count = round((2 * len(a)) ** 0.5 - 0.5)
    A = matrix(a, count)
    if torch.linalg.eigvalsh(A)[0] >= 0:
        return torch.zeros_like(a)
    scale, size = float(a.abs().max()), float(B.trace() / len(a))
    values, vectors = np.linalg.eigh(B.double().numpy() / size)
    cone = program(count)
    cone.root.value = np.sqrt(values.clip(0))[:, None] * vectors.T
    cone.a.value = a.double().numpy() / scale
    cone.problem.solve(solver=cvxpy.CLARABEL)
    return torch.as_tensor(cone.x.value * scale / size, dtype=a.dtype)


class Program(NamedTuple):
    problem: cvxpy.Problem
    x: cvxpy.Variable
    a: cvxpy.Parameter
    root: cvxpy.Parameter


@cache
def program(count: int) -> Program:
    """min 1/2 |root x|^2 + a'x over positive semidefinite matrices, stated once for each size."""
    *_, basis = symmetric(count)
    m = basis.shape[1]
    x, a, root = cvxpy.Variable(m), cvxpy.Parameter(m), cvxpy.Parameter((m, m))
    X = cvxpy.reshape(basis @ x, (count, count), order="C")
    aim = cvxpy.Minimize(0.5 * cvxpy.sum_squares(root @ x) + a @ x)
    return Program(cvxpy.Problem(aim, [X >> 0]), x, a, root)


@cache
def symmetric(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Pairs i <= j, their weights, and the matrix from those coordinates to all entries.

    Off the diagonal the weight is sqrt(2): an inner product counts such entries twice.
    """
    j, i = np.tril_indices(count)
    weight = np.where(i == j, 1.0, np.sqrt(2.0))
    basis = np.zeros((count, count, len(i)))
    basis[i, j, np.arange(len(i))] = basis[j, i, np.arange(len(i))] = 1 / weight
    return i, j, weight, basis.reshape(count**2, -1)


def matrix(x: Tensor, count: int) -> Tensor:
    return (torch.as_tensor(symmetric(count)[3], dtype=x.dtype) @ x).reshape(count, count)


class Eager:
    """The derivatives at a point, from one graph of its gradient."""

    def __init__(self, loss: Callable[[Tensor], Tensor], w: Tensor):
        self.w = w.detach().requires_grad_()
        self.loss = loss(self.w)
        (self.slope,) = torch.autograd.grad(self.loss, self.w, create_graph=True)
        self.gradient = self.slope.detach()

    def product(self, V: Tensor) -> Tensor:
        return self._pulled(self.slope, V)

    def thirds(self, U: Tensor) -> Tensor:
        """Row (i, j) is grad (u_i' H u_j), i <= j."""
        rows = []
        for j in range(U.shape[1]):
            options = {"create_graph": True}
            (Hu,) = torch.autograd.grad(self.slope, self.w, U[:, j], **options)
            rows.append(self._pulled(Hu, U[:, : j + 1]).T)
        return torch.cat(rows)

    def _pulled(self, of: Tensor, V: Tensor) -> Tensor:
        options = {"is_grads_batched": True, "retain_graph": True}
        return torch.autograd.grad(of, self.w, V.T, **options)[0].T


class Compiled:
    """The derivatives of a loss, compiled: `Compiled(loss)(w)` is a point."""

    def __init__(self, loss: Callable[[Tensor], Tensor]):
        slope = lambda w: grad_and_value(loss)(w)
        along = lambda w, u: jvp(loss, (w,), (u,))[1]
        curved = lambda w, u, v: jvp(lambda z: along(z, u), (w,), (v,))[1]
        hvp = lambda w, v: jvp(lambda z: slope(z)[0], (w,), (v,))[1]
        self.slope = torch.compile(slope)
        self.block = torch.compile(lambda w, V: vmap(lambda v: hvp(w, v), 1, 1)(V))
        self.third = torch.compile(lambda w, u, v: grad_and_value(curved)(w, u, v)[0])

    def __call__(self, w: Tensor) -> "CompiledPoint":
        return CompiledPoint(self, w, *self.slope(w))


class CompiledPoint(NamedTuple):
    of: Compiled
    w: Tensor
    gradient: Tensor
    loss: Tensor

    def product(self, V: Tensor) -> Tensor:
        return self.of.block(self.w, V.contiguous())

    def thirds(self, U: Tensor) -> Tensor:
        U = U.T.contiguous()
        i, j, *_ = symmetric(len(U))
        rows = [self.of.third(self.w, U[a], U[b]) for a, b in zip(i, j, strict=True)]
        return torch.stack(rows)


def network(x: np.ndarray, labels: np.ndarray, sizes: tuple[int, ...]) -> Callable:
    """The squared loss of a tanh MLP, of flat weights: each layer's bias, then its weights."""
    inputs, truth = torch.tensor(x), torch.eye(sizes[-1])[torch.tensor(labels).long()]
    shapes = [s for a, b in pairwise(sizes) for s in ((b,), (a, b))]
    lengths = [int(np.prod(shape)) for shape in shapes]

    def loss(w: Tensor) -> Tensor:
        parts = [p.view(s) for p, s in zip(w.split(lengths), shapes, strict=True)]
        h = inputs
        for bias, weights in zip(parts[::2], parts[1::2], strict=True):
            h = torch.addmm(bias, h if h is inputs else torch.tanh(h), weights)
        return 0.5 * ((h - truth) ** 2).sum(1).mean()

    return loss
