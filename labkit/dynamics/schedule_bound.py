"""A bound of convex optimization that sees the whole schedule, beside a real run.

For a convex f, subgradients |g_t| <= G_t, |w_1 - u| = D, and steps eta_t = gamma s_t,

    f(w_t) - f(u)  <=  D^2 a / gamma + gamma b,         gamma* = D sqrt(a / b)

    a = 1 / (2 sum_{s <= t} s_s)
    b = sum_{s <= t} s_s^2 G_s^2 / (2 sum_{s <= t} s_s)
        + 1/2 sum_{k < t} s_k / S_{k+1} * Q_k / S_k,    S_k = sum_{k <= s <= t} s_s
                                                        Q_k = sum_{k <= s <= t} s_s^2 G_s^2

All S_k and Q_k are reversed cumulative sums of what is not negative: O(T), and nothing
cancels.  The bound of a constant schedule, at gamma*, is D G sqrt((1 + H_{T-1}) / T), with a
logarithm in H, the harmonic number; a cooldown takes the logarithm away.  Both the bound and
the loss fall sharply during the cooldown.

Source: S062, The Surprising Agreement Between Convex Optimization Theory and Learning-Rate
Scheduling for Large Model Training.
"""

from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from labkit.claims import Claim
from labkit.descent import Descent
from labkit.descent import State as DescentState
from labkit.dynamics.nonsmooth import ConvexProblem, check_known, max_residual
from labkit.dynamics.schedules import AnySchedule, Paced, Schedule, factors
from labkit.method import Scalar, knob, method, replace
from labkit.record import Record
from labkit.run import run
from labkit.views import Panel, View, lines


class Terms(NamedTuple):
    """The bound is D^2 a / gamma + gamma b."""

    a: Float[Array, "..."]  # of the way there is to go
    b: Float[Array, "..."]  # of the noise of the steps


def terms(
    factors: Float[Array, " T"], norms: Float[Array, " T"] | Scalar = 1.0, t: Any = None
) -> Terms:
    """a and b at step t, the last one when not given, for gradient norms G_t.

    The iterate w_t does not feel the step t, of which the bound holds whatever it is: where
    the factors end in zeros, the first of them is taken for as large as the step before.
    """
    at = jnp.arange(len(factors))
    till = len(factors) - 1 if t is None else t - 1
    last = jnp.max(jnp.where((at <= till) & (factors > 0), at, -1))
    s = jnp.where((at == last + 1) & (at <= till), factors[last], factors)
    s = jnp.where(at <= till, s, 0.0)
    sums, squares = (jnp.cumsum(v[::-1])[::-1] for v in (s, (s * norms) ** 2))
    after = jnp.concatenate([sums[1:], jnp.zeros(1, sums.dtype)])
    # Of the last step, and of those past t, nothing comes after: they are not in the sum.
    shares = s / jnp.where(after > 0, after, 1.0) * squares / jnp.where(sums > 0, sums, 1.0)
    return Terms(
        1.0 / (2.0 * sums[0]),
        squares[0] / (2.0 * sums[0]) + 0.5 * jnp.sum(jnp.where(after > 0, shares, 0.0)),
    )


def all_terms(factors: Float[Array, " T"], norms: Float[Array, " T"] | Scalar = 1.0) -> Terms:
    """a and b at each step t = 1 ... T of one schedule: O(T^2)."""
    return jax.vmap(lambda t: terms(factors, norms, t))(jnp.arange(1, len(factors) + 1))


def value(terms: Terms, gamma: Scalar, distance: Scalar = 1.0) -> Float[Array, "..."]:
    """The bound at the learning rate gamma."""
    return distance**2 * terms.a / gamma + gamma * terms.b


def best_rate(terms: Terms, distance: Scalar = 1.0) -> Float[Array, "..."]:
    """gamma*, where the bound is least."""
    return distance * jnp.sqrt(terms.a / terms.b)


def best_value(terms: Terms, distance: Scalar = 1.0) -> Float[Array, "..."]:
    """The bound at gamma*: 2 D sqrt(a b)."""
    return 2.0 * distance * jnp.sqrt(terms.a * terms.b)


class State(NamedTuple):
    descent: DescentState  # at w_t
    t: Int[Array, ""]  # from 1 on
    gamma: Float[Array, ""]  # the learning rate
    bound: Float[Array, " T"]  # of all steps
    unit: Float[Array, ""]  # D G / sqrt(T)


@method
class ScheduleBound:
    """Descent on `problem` with a schedule, and the bound at each of its steps."""

    problem: ConvexProblem
    schedule: AnySchedule = Schedule()
    rate: Scalar = knob(1.0, 0.1, 10.0, log=True, about="learning rate / the bound's best, gamma*")

    def check(self) -> None:
        """Raise ValueError for a problem without a known solution."""
        check_known(self.problem)

    def init(self, key) -> State:
        distance = jnp.linalg.norm(self.problem.start(key) - self.problem.solution)
        known = all_terms(factors(self.schedule), self.problem.lipschitz)
        gamma = self.rate * best_rate(Terms(known.a[-1], known.b[-1]), distance)
        bound = value(known, gamma, distance)
        unit = distance * self.problem.lipschitz / jnp.sqrt(1.0 * self.schedule.steps)
        first = jnp.ones((), jnp.int32)
        return State(self._descent(gamma).init(key), first, gamma, bound, unit)

    def step(self, state: State, key) -> State:
        descent = self._descent(state.gamma).step(state.descent, key)
        return state._replace(descent=descent, t=state.t + 1)

    def observe(self, state: State) -> dict[str, Array]:
        return {
            "gap": state.descent.loss - self.problem.loss(self.problem.solution),
            "bound": state.bound[state.t - 1],
            "factor": self.schedule.at(state.t),
            "gamma": state.gamma,
            "unit": state.unit,
        }

    def done(self, state: State) -> Array:
        """The schedule is at its end."""
        return state.t >= self.schedule.steps

    def _descent(self, gamma: Scalar) -> Descent:
        return Descent(self.problem, Paced(self.schedule, gamma))


def example() -> ScheduleBound:
    """wsd over 400 steps on a largest residual, at the bound's learning rate."""
    return ScheduleBound(max_residual(), Schedule("wsd"))


@cache
def demo() -> Record:
    """The example beside a constant schedule and linear decay, each at a gamma* of its own."""
    runs = {name: _of_shape(name) for name in ("wsd", "constant", "linear")}
    return runs.pop("wsd").beside(**runs)


def _of_shape(name: str) -> Record:
    return run(replace(example(), {"shape": name}), 400)


def _beside(column: str, title: str, y: str, log: bool = False) -> View:
    others = {f"{name}.{column}": name for name in ("constant", "linear")}
    labels = {column: "this schedule", **others}
    return lines(column, title=title, y=y, log=log, labels=labels, beside=list(others))


def _bound(record: Record) -> Panel:
    """Without the first steps, where the bound is far above anything."""
    panel = _beside("bound", "Bound of f(w) - f(u)", "bound", log=True)(record)
    low = np.min(record["bound"])
    return panel._replace(y_range=(0.7 * low, 15.0 * low))


views: list[View] = [
    _beside("factor", "Schedule", "factor"),
    _bound,
    _beside("gap", "Run: f(w) - f(u)", "gap", log=True),
]


def say(record: Record) -> str:
    """Bound and gap, in a sentence."""
    gap, bound = record.last("gap"), record.last("bound")
    return (
        f"Step {record.steps[-1] + 1} at learning rate {record.last('gamma'):.3g}: the gap "
        f"{gap:.3g} is below its bound {bound:.3g}, which is {bound / record.last('unit'):.4g} "
        "in units of D G / sqrt(T)."
    )


def claim(record: Record) -> Claim:
    """S062: the bound holds, has its closed form, and falls in the cooldown as the run does.

    Each to be 1: the constant schedule's bound over its closed form; the share of rows, of all
    runs, where the gap is below the bound; and the share of two, bound and gap, that fall in
    the cooldown at least 1.2 times as much as with a constant schedule over the same steps.
    """
    runs = ("", "constant.", "linear.")
    T = len(record)
    closed = record.last("unit") * np.sqrt(1.0 + np.sum(1.0 / np.arange(1, T)))
    below = [record[f"{name}gap"] <= record[f"{name}bound"] for name in runs]
    begins = np.argmax(record["factor"] < 1.0)  # 0 where there is no cooldown
    fall = lambda name: record[name][begins] / record.last(name)
    falls = [fall(name) >= 1.2 * fall(f"constant.{name}") for name in ("bound", "gap")]
    seen = [record.last("constant.bound") / closed, np.mean(below), np.mean(falls)]
    # The first is of float32 sums of 400 terms; the others are counts.
    sentence = "Constant's bound / closed form; gaps below the bound; falls in the cooldown"
    return Claim(seen, 1.0, 1e-5, sentence)
