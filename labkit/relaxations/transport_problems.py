"""Things to carry: m sources, n targets, and what it costs to carry a unit of mass.

    C [m, n]  costs,     a [m]  the mass of each source,     b [n]  of each target,  sum a = sum b

`Clouds` are points to drag; `Costs` is any matrix; `routing` sends patches of digits to experts.
"""

import itertools
from typing import Any, Protocol

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.optimize import linprog

from labkit.data.tables import digits
from labkit.errors import refusal
from labkit.method import Latest, knob, pytree
from labkit.relaxations.sparse_column import Terms


class Transport(Protocol):
    """What is to be carried: m sources to n targets."""

    def terms(self) -> Terms:
        """C [m, n], a [m] and b [n]."""
        ...

    def seen(self) -> dict[str, Any]:
        """What a record keeps of the problem itself."""
        ...


@pytree
class Clouds:
    """Points in the plane, each cloud of mass 1; a cost is a squared distance."""

    sources: Float[Array, "m 2"] = knob(
        [[-0.9, 0.6], [-0.5, -0.7], [-0.2, 0.1], [0.1, 0.9], [0.4, -0.3], [0.9, 0.2]], -1.2, 1.2
    )
    targets: Float[Array, "n 2"] = knob(
        [[-0.8, -0.2], [-0.3, 0.7], [0.1, -0.8], [0.6, 0.5], [0.8, -0.6]], -1.2, 1.2
    )

    def check(self) -> None:
        for name in ("sources", "targets"):
            shape = np.shape(getattr(self, name))
            if len(shape) != 2 or shape[1] != 2 or not shape[0]:
                raise refusal(f"shape of {name}", shape, "(points, 2), one point or more")

    def terms(self) -> Terms:
        """Every source has the same mass, and every target."""
        x, y = jnp.asarray(self.sources), jnp.asarray(self.targets)
        cost = ((x[:, None] - y[None]) ** 2).sum(axis=-1)
        share = lambda points: jnp.full(len(points), 1.0 / len(points), cost.dtype)
        return cost, share(x), share(y)

    def seen(self) -> dict[str, Any]:
        """Both clouds."""
        return {"sources": Latest(self.sources), "targets": Latest(self.targets)}


@pytree
class Costs:
    """A matrix of costs with the mass of each row and of each column."""

    cost: Float[Array, "m n"]
    rows: Float[Array, " m"]
    columns: Float[Array, " n"]

    def check(self) -> None:
        shape = (len(self.rows), len(self.columns))
        if np.shape(self.cost) != shape:
            raise refusal("shape of cost", np.shape(self.cost), f"{shape}, as the masses have")
        totals = float(np.sum(self.rows)), float(np.sum(self.columns))
        masses = np.concatenate([self.rows, self.columns])
        if not np.isclose(*totals, rtol=1e-4) or not (masses >= 0).all():
            raise refusal("totals of rows and columns", totals, "the same, of masses from 0 on")

    def terms(self) -> Terms:
        """As given."""
        return self.cost, self.rows, self.columns

    def seen(self) -> dict[str, Any]:
        """Nothing more."""
        return {}


def routing(tokens: int = 24) -> Costs:
    """Patches of digits as tokens, one expert for each quarter of a picture.

    A token is a patch of 4x4 pixels in 8 principal components; the key of an expert is the mean
    of the patches from its quarter.  A cost is a squared distance over the mean of all of them.
    """
    if tokens % 4:
        raise refusal("tokens", tokens, "a multiple of 4, the patches of a picture")
    pictures = np.asarray(digits(max(tokens // 4, 50)).x, float).reshape(-1, 2, 4, 2, 4)
    patches = pictures.swapaxes(2, 3).reshape(-1, 4, 16)
    centred = patches - patches.mean(axis=(0, 1))
    directions = np.linalg.svd(centred.reshape(-1, 16), full_matrices=False)[2][:8]
    features = centred @ directions.T
    chosen, keys = features[: tokens // 4].reshape(-1, 8), features.mean(axis=0)
    cost = ((chosen[:, None] - keys) ** 2).sum(axis=-1)
    rows, columns = (jnp.full(size, 1.0 / size) for size in cost.shape)
    return Costs(jnp.asarray(cost / cost.mean(), rows.dtype), rows, columns)


def linear_program(
    cost: Float[np.ndarray, "m n"], rows: Float[np.ndarray, " m"], columns: Float[np.ndarray, " n"]
) -> tuple[float, Float[np.ndarray, " m"]]:
    """The least <C, T> of plans with these masses, and the row potentials that prove it."""
    m, n = cost.shape
    found = linprog(np.ravel(cost), A_eq=_sums(m, n), b_eq=np.concatenate([rows, columns]))
    if not found.success:
        raise refusal("masses", (rows, columns), "rows and columns of the same total")
    return found.fun, found.eqlin.marginals[:m]


def sparse_optimum(terms: tuple[Any, Any, Any], k: int, tau: float) -> float:
    """The least <C, T> + tau/2 |T|^2 of plans with at most k nonzeros in a column, by enumeration.

    Over one support T = (A' lambda - C) / tau with A T the masses; among all supports it is
    enough to look at those where this T is positive.  Infinite where no plan is so sparse.
    """
    cost, rows, columns = (np.asarray(term, float) for term in terms)
    columns = columns * rows.sum() / columns.sum()  # float32 masses differ in the last digit
    m, n = cost.shape
    column = [s for s in itertools.product((0.0, 1.0), repeat=m) if 1 <= sum(s) <= k]
    if len(column) ** n > 20_000:
        raise refusal("supports", len(column) ** n, "at most 20000: fewer sources or targets")
    masks = np.array(list(itertools.product(column, repeat=n))).swapaxes(1, 2).reshape(-1, m * n)
    sums, masses = _sums(m, n), np.concatenate([rows, columns])
    on = sums[None] * masks[:, None]
    right = tau * masses + on @ cost.ravel()
    multipliers = np.linalg.pinv(on @ sums.T) @ right[..., None]
    plans = masks * ((multipliers[..., 0] @ sums) - cost.ravel()) / tau
    wrong = np.abs(plans @ sums.T - masses).max(axis=1)
    plans = plans[(wrong < 1e-9) & (plans.min(axis=1) > -1e-12)]
    values = plans @ cost.ravel() + tau / 2 * (plans**2).sum(axis=1)
    return float(values.min(initial=np.inf))


def _sums(m: int, n: int) -> Float[np.ndarray, "m+n m*n"]:
    """The matrix that takes a plan to its row sums and column sums."""
    rows, columns = np.kron(np.eye(m), np.ones(n)), np.kron(np.ones(m), np.eye(n))
    return np.concatenate([rows, columns])


def strokes(
    plan: np.ndarray, sources: np.ndarray, targets: np.ndarray, strokes: int = 40
) -> tuple[np.ndarray, np.ndarray]:
    """x and y of lines from sources to targets, as many side by side as mass goes there.

    A line stands for 1 / `strokes` of all the mass; any mass at all has one.
    """
    pieces = [np.full((1, 2), np.nan)]
    for i, j in zip(*np.nonzero(plan), strict=True):
        ends = np.stack([sources[i], targets[j]])
        across = (ends[1] - ends[0])[::-1] * np.array([-1.0, 1.0])
        many = max(1, round(strokes * plan[i, j] / plan.sum()))
        for place in 0.016 * (np.arange(many) - (many - 1) / 2):
            shift = place * across / max(np.linalg.norm(across), 1e-9)
            pieces += [ends + shift, np.full((1, 2), np.nan)]
    x, y = np.concatenate(pieces).T
    return x, y
