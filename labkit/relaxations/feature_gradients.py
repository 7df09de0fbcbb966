"""A subset of features made soft, and descent on what it leaves unexplained.

    s = sigma(theta / tau)                    how much each feature is in; in for s > 1/2
    z(s) = sum_k a_k m_k(s)                   the variance explained (`feature_moments`)
    loss = 1 - z   or, for classes y = +-1,   (1 - sqrt(z)) / 2
    theta  <-  Adam on  (1 - w) loss + w mean(s),      w = C / (1 + C)

The moments need an order of the samples, which is drawn anew at each step: the mean over orders
is the estimate from all chains.  tau only sets how far a step of theta goes (the public code has
tau = 1/2).  Products of features, as columns, let it see what no single column shows.

What to look for: features rise and sink within some tens of steps.  Drag the number of samples
below that of features.  High orders fail first: their moments scatter.

Source: S115, Feature Gradients: Scalable Feature Selection via Discrete Relaxation.
"""

from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Bool, Float, Key

from labkit.adaptive import Adam, AdamState
from labkit.claims import Claim
from labkit.data.tables import breast_cancer
from labkit.errors import refusal
from labkit.method import choice, knob, method, pytree, size
from labkit.record import Record
from labkit.relaxations.feature_moments import HIGHEST, coefficients, moments
from labkit.run import run
from labkit.views import Bars, Curve, Panel, View


@pytree
class Table:
    """Samples with mean 0 and deviation 1 in each column, y too."""

    x: Float[Array, "n d"]
    y: Float[Array, " n"]
    known: Bool[Array, " d"]  # which features are to be found, where that is known
    spectrum: Float[Array, "2"]  # least and largest eigenvalue of x'x / n
    fits: Float[Array, "orders orders"]  # a_1 ... a_k of order k in row k - 1

    def check(self) -> None:
        if np.shape(self.x) != (len(self.y), len(self.known)):
            accepted = f"{(len(self.y), len(self.known))}, as y and known have"
            raise refusal("shape of x", np.shape(self.x), accepted)


def table(x: np.ndarray, y: np.ndarray, known: np.ndarray) -> Table:
    """Columns standardised; constant ones are refused."""
    x, y = np.asarray(x, float), np.asarray(y, float)
    if (np.ptp(x, axis=0) == 0).any() or np.ptp(y) == 0:
        constant = np.flatnonzero(np.ptp(x, axis=0) == 0).tolist()
        raise refusal("columns", constant, "columns, and y, that are not constant")
    standard = lambda a: (a - a.mean(axis=0)) / a.std(axis=0)
    x, y = standard(x), standard(y)
    sizes = np.linalg.eigvalsh(x.T @ x / len(x)).clip(0)
    fits = np.zeros((HIGHEST, HIGHEST))
    for order in range(1, HIGHEST + 1):
        fits[order - 1, :order] = coefficients(sizes[0], sizes[-1], order)
    as_float = lambda a: jnp.asarray(a, jnp.float32)
    return Table(
        as_float(x), as_float(y), jnp.asarray(known, bool), as_float(sizes[[0, -1]]), as_float(fits)
    )


def planted(seed: int, samples: int = 200, features: int = 40, relevant: int = 5) -> Table:
    """y is the sum of the first features and noise of deviation 1/2; none are correlated."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(samples, features))
    y = x[:, :relevant].sum(axis=1) + 0.5 * random.normal(size=samples)
    return table(x, y, np.arange(features) < relevant)


def tumours(noise: int = 100, seed: int = 0) -> Table:
    """Thirty measurements of tumours (`known`) beside columns of noise; y: benign or not."""
    x, y = (np.asarray(a, float) for a in breast_cancer()[:2])
    more = np.random.default_rng(seed).normal(size=(len(x), noise))
    return table(np.concatenate([x, more], axis=1), 2 * y - 1, np.arange(30 + noise) < 30)


def exclusive_or(seed: int, samples: int = 200, inputs: int = 8) -> Table:
    """y = -x_1 x_2 of inputs +-1, one in ten turned; columns: the inputs, and all products."""
    random = np.random.default_rng(seed)
    x = random.choice([-1.0, 1.0], (samples, inputs))
    i, j = np.triu_indices(inputs, 1)
    y = -x[:, 0] * x[:, 1] * np.where(random.uniform(size=samples) < 0.1, -1, 1)
    known = np.arange(inputs + len(i)) == inputs
    return table(np.concatenate([x, x[:, i] * x[:, j]], axis=1), y, known)


class State(NamedTuple):
    theta: Float[Array, " d"]
    rule: AdamState
    m: Float[Array, " order"]  # moments in the newest order of the samples
    z: Float[Array, ""]
    gradient: Float[Array, " d"]


@method
class FeatureGradients:
    """Select features of `problem`; `penalty` and `rows` may be turned meanwhile."""

    problem: Table
    order: int = size(4, 1, HIGHEST, about="moments used")
    loss: str = choice("regression", "classification")
    penalty: float = knob(1.0, 0.05, 20.0, log=True, live=True, about="C: price of a feature")
    rows: float = knob(200.0, 10.0, 200.0, live=True, within=(7.0, 1e9), about="samples, at most")
    tau: float = knob(1.0, 0.1, 10.0, log=True, about="softness of s, in units of theta")
    lr: float = knob(0.1, 0.01, 1.0, log=True, live=True, about="of Adam")

    def init(self, key) -> State:
        theta = jnp.zeros_like(self.problem.x[0])
        return State(theta, Adam(self.lr).init(theta), *self._look(key, theta))

    def step(self, state: State, key) -> State:
        updates, rule = Adam(self.lr).update(state.gradient, state.rule)
        theta = state.theta + updates
        return State(theta, rule, *self._look(key, theta))

    def observe(self, state: State) -> dict[str, Any]:
        return {
            "s": jax.nn.sigmoid(state.theta / self.tau),
            "z": state.z,
            "m": state.m,
            "known": self.problem.known,
            "rows": jnp.minimum(self.rows, len(self.problem.y)),
        }

    def _look(self, key: Key[Array, ""], theta: Array) -> tuple[Array, Array, Array]:
        """Moments, z and the gradient of the objective, for a new order of the samples."""
        n = len(self.problem.y)
        rows = jnp.floor(jnp.minimum(self.rows, n))
        chosen = jr.permutation(key, n)
        there = (chosen < rows)[:, None]
        x, y = jnp.where(there, self.problem.x[chosen], 0.0), self.problem.y[chosen] * there[:, 0]

        def objective(theta: Array) -> tuple[Array, tuple[Array, Array]]:
            s = jax.nn.sigmoid(theta / self.tau)
            m = moments(x, y, s, self.order, rows)
            z = self.problem.fits[self.order - 1, : self.order] @ m
            w = self.penalty / (1 + self.penalty)
            if self.loss == "regression":
                unexplained = 1 - z
            else:  # the root is steep at 0
                unexplained = (1 - jnp.sqrt(jnp.clip(z, 1e-3, 1.0))) / 2
            return (1 - w) * unexplained + w * s.mean(), (m, z)

        gradient, (m, z) = jax.grad(objective, has_aux=True)(theta)
        return m, z, gradient


def example() -> FeatureGradients:
    """Five features of forty, 200 samples."""
    return FeatureGradients(planted(0))


@cache
def demo() -> Record:
    """The example over 300 steps."""
    return run(example(), 300, every=2)


def found(record: Record) -> int:
    """How many of the known features are among as many with the largest s."""
    s, known = record.last("s"), record.last("known")
    return int(known[np.argsort(-s)[: known.sum()]].sum())


def _features(record: Record) -> Panel:
    s, known, marks = record["s"], record.last("known"), []
    kinds = {"others": (~known, "ghost"), "to be found": (known, "plan")}
    for label, (which, role) in kinds.items():
        gap = np.full((which.sum(), 1), np.nan)
        steps = np.tile(np.append(record.steps, np.nan), which.sum())
        marks.append(Curve(steps, np.hstack([s[:, which].T, gap]).ravel(), label, role))
    marks.append(Curve(record.steps, np.full(len(record), 0.5), "in or out", "threshold"))
    return Panel("Features rise and sink", marks, "step", "s", y_range=(-0.02, 1.02))


def _now(record: Record) -> Panel:
    s, known = record.last("s"), record.last("known")
    at = np.arange(1, len(s) + 1)
    marks = [
        Bars(at[known], s[known], "to be found", "plan"),
        Bars(at[~known], s[~known], "others", "ghost"),
        Curve(at, np.full(len(s), 0.5), "in or out", "threshold"),
    ]
    return Panel(f"From {record.last('rows'):.0f} samples", marks, "feature", "s", y_range=(0, 1))


def _explained(record: Record) -> Panel:
    steps, one = record.steps, np.ones(len(record))
    marks = [
        Curve(steps, record["z"], "z, in this order of the samples", "loss"),
        Curve(steps, one, "all of it", "threshold"),
    ]
    return Panel("Variance explained, estimated", marks, "step", "z")


views: list[View] = [_features, _now, _explained]


def say(record: Record) -> str:
    """What is selected, in a sentence."""
    s, known = record.last("s"), record.last("known")
    return (
        f"Step {record.steps[-1]}, {record.last('rows'):.0f} samples of {len(s)} features: "
        f"{(s > 0.5).sum()} are in; of the {known.sum()} to be found {found(record)} are on top."
    )


def claim(record: Record) -> Claim:
    """S115: the features that matter are the ones that come out on top, and in.

    Two numbers: the share of the known features among as many with the largest s; and the
    least s among them less the largest of the others.
    """
    s, known = record.last("s"), record.last("known")
    seen = [found(record) / known.sum(), s[known].min() - s[~known].max()]
    sentence = "Share of the known features on top; least s of them less the largest other"
    return Claim(seen, [1.0, 0.3], 0.0, sentence, relation=">=")
