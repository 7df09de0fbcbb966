"""Optimal transport with at most k sources for each target.

    minimize  <C, T> + tau/2 |T|^2   such that   T 1 = a,  T' 1 = b,  T >= 0,  |T_:j|_0 <= k

Counting nonzeros is not convex.  But with row potentials alpha given, each column is found at
once (`sparse_column`), and what is left is concave in alpha:

    D_k(alpha)  =  <alpha, a> - sum_j Omega*_kj(alpha - C_:j)
    alpha      <-  alpha + lr / sqrt(step) (a - T 1),           T the columns at alpha

or a step of L-BFGS; the best alpha is kept.  max D_k is a lower bound of the problem above and
falls with k.  D_1 is the linear program plus tau/2 |b|^2, D_m quadratic transport.  At k = m the
gradient is continuous and the best plan has the row sums a.  Below, the best alpha may sit on a
kink, where scores tie and no choice among the columns need have these sums: mass is in wrong
rows, and strong duality may fail.  It is what to look for as k goes from 1 to m.

tau > 0, the gamma of the paper, is in units of cost per mass; (c C, c tau) has the same plan.

Source: S142, Sparsity-Constrained Optimal Transport.
"""

from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from labkit.claims import Claim
from labkit.method import Latest, choice, knob, method, size
from labkit.record import Record
from labkit.relaxations.sparse_column import semi_dual
from labkit.relaxations.transport_problems import Clouds, Transport, linear_program, strokes
from labkit.run import run
from labkit.views import Bars, Curve, Mark, Panel, Points, Raster, View


class Found(NamedTuple):
    dual: Float[Array, " m"]  # D_k at the potentials, in row k - 1
    plan: Float[Array, "m m n"]  # the columns there
    alpha: Float[Array, "m m"]  # the potentials


class State(NamedTuple):
    now: Found
    best: Found
    rule: Any  # of the ascent


@method
class SparseTransport:
    """Ascent of D_1 ... D_m side by side; the plan seen is that of `k` (of m, where k is larger).

    L-BFGS needs a few dozen steps, also at small tau, but takes longer to compile.
    """

    problem: Transport = Clouds()
    tau: float = knob(3.0, 0.1, 30.0, log=True, about="softness, cost per mass")
    k: int = size(2, 1, 8, about="most sources of a target")
    lr: float = knob(2.0, 0.1, 10.0, log=True, live=True, about="of supergradient steps")
    ascent: str = choice("supergradient", "L-BFGS")

    steps = 400

    def init(self, key) -> State:
        del key
        cost, _, _ = self.problem.terms()
        zero = jnp.zeros((len(cost), len(cost)), cost.dtype)
        start = self._at(zero)
        return State(start, start, jax.vmap(self._rule().init)(zero))

    def step(self, state: State, key) -> State:
        del key
        terms, rule = self.problem.terms(), self._rule()

        def one(found: Found, before, k):
            grad = found.plan.sum(axis=1) - terms[1]  # of -D_k, which is to fall
            loss = lambda alpha: -semi_dual(alpha, terms, k, self.tau)[0]
            more = {"value": -found.dual, "grad": grad, "value_fn": loss}
            update, after = rule.update(grad, before, found.alpha, **more)
            return found.alpha + update, after

        counts = jnp.arange(1, len(terms[1]) + 1)
        alpha, after = jax.vmap(one)(state.now, state.rule, counts)
        now = self._at(alpha)
        better = lambda a, b: jax.vmap(jnp.where)(now.dual > state.best.dual, a, b)
        return State(now, jax.tree.map(better, now, state.best), after)

    def observe(self, state: State) -> dict[str, Any]:
        cost, rows, columns = self.problem.terms()
        plans = state.best.plan
        wrong = jnp.abs(plans.sum(axis=2) - rows[None])
        value = cost[None] * plans + self.tau / 2 * plans**2
        shown = min(self.k, len(cost))
        return {
            "dual": state.best.dual,
            "value": value.sum(axis=(1, 2)),
            "violation": wrong.sum(axis=1) / 2,
            "nonzeros": (plans > 0).sum(axis=1).max(axis=1),
            "plan": plans[shown - 1],
            "k": jnp.asarray(shown),
            "tau": jnp.asarray(self.tau, cost.dtype),
            "cost": Latest(cost),
            "rows": Latest(rows),
            "columns": Latest(columns),
            **self.problem.seen(),
        }

    def _rule(self) -> Any:
        if self.ascent == "L-BFGS":
            # The default line search takes longer to compile.
            return optax.lbfgs(linesearch=optax.scale_by_backtracking_linesearch(20))
        return optax.with_extra_args_support(optax.sgd(lambda t: self.lr / jnp.sqrt(t + 1.0)))

    def _at(self, alpha: Float[Array, "m m"]) -> Found:
        of = lambda alpha, k: semi_dual(alpha, self.problem.terms(), k, self.tau)
        return Found(*jax.vmap(of)(alpha, jnp.arange(1, len(alpha) + 1)), alpha)


def example() -> SparseTransport:
    """Six points carried to five, at most two for each."""
    return SparseTransport()


@cache
def demo() -> Record:
    """The example, every tenth step seen."""
    return run(example(), every=10)


def linear_bound(record: Record) -> float:
    """LP + tau/2 |b|^2, the maximum of D_1."""
    columns = record.last("columns")
    value, _ = linear_program(record.last("cost"), record.last("rows"), columns)
    return float(value + record.last("tau") / 2 * (columns**2).sum())


def _clouds(record: Record) -> Panel:
    sources, targets = record.last("sources"), record.last("targets")
    x, y = strokes(record.last("plan"), sources, targets)
    title = f"Plan of at most {record.last('k')} for each target"
    marks: list[Mark] = [
        Curve(x, y, "mass carried", "plan"),
        Points(sources[:, 0], sources[:, 1], "sources: drag", "iterates", "problem.sources"),
        Points(targets[:, 0], targets[:, 1], "targets: drag", "target", "problem.targets"),
    ]
    return Panel(title, marks, "x", "y", equal=True, x_range=(-1.3, 1.3), y_range=(-1.3, 1.3))


def _plan(record: Record) -> Panel:
    plan = record.last("plan")
    sources, targets = (np.arange(1, size + 1) for size in plan.shape)
    title = f"The plan, k = {record.last('k')}"
    return Panel(title, [Raster(plan, targets, sources, "mass")], "target", "source")


def _dual(record: Record) -> Panel:
    dual, k = record.last("dual"), record.last("k")
    counts, top = np.arange(1, len(dual) + 1), np.full(len(dual), linear_bound(record))
    marks: list[Mark] = [
        Curve(counts, top, "LP + tau/2 |b|²", "threshold"),
        Curve(counts, dual, "best D_k so far", "iterates"),
        Points(np.array([k]), dual[k - 1 : k], "the plan shown", "start"),
    ]
    return Panel("What the dual reaches", marks, "k", "cost")


def _violation(record: Record) -> Panel:
    wrong = record.last("violation") / record.last("rows").sum()
    marks = [Bars(np.arange(1, len(wrong) + 1), wrong, "at the best potentials", "iterates")]
    return Panel("Mass in wrong rows", marks, "k", "share of all mass")


views: list[View] = [_clouds, _plan, _dual, _violation]


def say(record: Record) -> str:
    """The dual between its two ends, and the mass in wrong rows."""
    dual, k = record.last("dual"), record.last("k")
    wrong = record.last("violation")[k - 1] / record.last("rows").sum()
    ends = f"linear program {linear_bound(record):.4g}, quadratic {dual[-1]:.4g}"
    reached = f"Step {record.steps[-1]}, k = {k}: dual {dual[k - 1]:.4g} ({ends})"
    return f"{reached}, {wrong:.1%} of the mass in wrong rows."


def claim(record: Record) -> Claim:
    """S142: k-sparse columns between the linear program (k = 1) and quadratic transport (k = m).

    Four numbers, each 1: D_1 / (LP + tau/2 |b|^2); D_m / the value of its plan; the share of k
    whose columns have no more than k nonzeros; and of k with D_k no lower than D_(k + 1).
    """
    dual = record.last("dual")
    sparse = record.last("nonzeros") <= np.arange(1, len(dual) + 1)
    # What ascent leaves open may turn two equal ones round.
    falling = dual[:-1] >= dual[1:] - 1e-3 * np.abs(dual[-1])
    ends = [dual[0] / linear_bound(record), dual[-1] / record.last("value")[-1]]
    sentence = "D_1 / linear program; D_m / its plan; shares of k sparse enough, and in order"
    return Claim([*ends, sparse.mean(), falling.mean()], 1.0, 0.01, sentence)
