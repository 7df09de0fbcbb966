"""Ask for a property of the solution, and get the geometry of descent that has it.

    propose("small l1", problem)        one of PROPERTIES, or "low interference"

Every geometry of a gallery is run; among those that fit the data, the one whose weights have
the property most is proposed.  Nothing is predicted: the theory of `optimizer_bias` says which
geometry should win, and here one sees which does.  `library` puts optimizers in daily use on
the same scale.

Source: S054, Optimizers Qualitatively Alter Solutions And We Should Leverage This.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float
from optax import contrib

from labkit.descent import Descent
from labkit.dynamics import two_tasks
from labkit.dynamics.bias_views import NAMES
from labkit.dynamics.geometries import Power, Reparameterized, StartedAt
from labkit.dynamics.interpolants import Sparse, sparse_truth
from labkit.dynamics.optimizer_bias import OptimizerBias
from labkit.errors import unknown
from labkit.fan import fan
from labkit.method import pytree, size
from labkit.problems import LeastSquares
from labkit.rules import Sgd
from labkit.run import run


Weights = Float[np.ndarray, " n"]

FORMS = ("full", "diagonal", "none")  # of the preconditioner, where interference is asked for
FITS = 1e-4  # of the loss at 0: what counts as a solution
TIE = 0.005  # values as near as this are equal, and the geometry listed first is proposed
PROPERTIES: dict[str, Callable[[Weights], float]] = {
    "small l1": lambda w: float(np.abs(w).sum()),
    "small l2": lambda w: float(np.linalg.norm(w)),
    "small linf": lambda w: float(np.abs(w).max()),
    "few nonzeros": lambda w: float(np.sum(np.abs(w) > 0.01 * np.abs(w).max())),
}
# What is tried of the geometries that have knobs of their own.
SETTINGS = (
    {"p": 1.1, "init_scale": 1.0, "a": 2.0, "spectrum": 0.01},
    {"p": 1.5, "init_scale": 1e-3, "a": 2.0, "spectrum": 0.1},
    {"p": 3.0, "init_scale": 0.05, "a": 3.0, "spectrum": 10.0},
)
OWN = {"preconditioned": ("spectrum",), "p norm": ("p",), "multiplicative": ("init_scale", "a")}


class Proposal(NamedTuple):
    """The geometry that has a property most, and how all others did."""

    wanted: str
    geometry: str
    value: float
    tried: dict[str, float]  # every geometry that fits the data, the best first

    def __str__(self) -> str:
        rest = [f"{name} ({v:.3g})" for name, v in self.tried.items() if name != self.geometry]
        return f"{self.wanted}: {self.geometry} ({self.value:.3g}); then {'; '.join(rest[:3])}"


def gallery(problem: LeastSquares, steps: int = 20_000) -> dict[str, Weights]:
    """Where each geometry ends, at each of SETTINGS: those that fit the data, by name."""
    records = fan(OptimizerBias(problem), steps, over=SETTINGS, every=steps).records
    ends = {}
    for settings, record in zip(SETTINGS, records, strict=True):
        fits = record.last("loss") < FITS * record["loss"][0]
        for name, w, fit in zip(NAMES, record.last("w"), fits, strict=True):
            knobs = ", ".join(f"{knob} {settings[knob]:g}" for knob in OWN.get(name, ()))
            if fit:
                ends[f"{name}, {knobs}" if knobs else name] = w
    return ends


def propose(wanted: str, problem: LeastSquares | None = None, seeds: int = 3) -> Proposal:
    """The geometry whose solution has the property `wanted`.

    "low interference" is measured on two tasks of digits over `seeds`, whatever the problem;
    the others on `problem`.  Raises KeyError for a property that is not known.
    """
    if wanted == "low interference":
        values = {form: float(np.mean(interferences(form, seeds))) for form in FORMS}
    elif wanted in PROPERTIES:
        ends = gallery(sparse_truth().problem if problem is None else problem)
        values = {name: PROPERTIES[wanted](w) for name, w in ends.items()}
    else:
        raise unknown("property", wanted, [*PROPERTIES, "low interference"])
    least = min(values.values())
    best = next(name for name, value in values.items() if value <= (1.0 + TIE) * least)
    return Proposal(wanted, best, values[best], dict(sorted(values.items(), key=lambda v: v[1])))


def interferences(form: str, seeds: int = 3) -> list[float]:
    """What a second task of digits costs the first, one number a seed."""
    records = fan(two_tasks.example(form), over={"key": seeds}).records
    return [two_tasks.interference(record) for record in records]


@pytree
class AsMatrix:
    """The weights in rows, for optimizers that know a matrix from a vector."""

    rows: int = size(7, 1, 64)

    def start(self, w: Float[Array, " n"]) -> Float[Array, "rows columns"]:
        """w, cut into rows."""
        return w.reshape(self.rows, -1)

    def weights(self, theta: Float[Array, "rows columns"]) -> Float[Array, " n"]:
        """The rows one after the other."""
        return theta.ravel()


class Ending(NamedTuple):
    """What an optimizer of optax came to."""

    loss: float
    l1: float
    l2: float
    linf: float
    spectral: float  # the largest singular value of the weights as a matrix
    test: float  # mean squared error on new points, over that of w = 0


def library(case: Sparse, steps: int = 4000) -> dict[str, Ending]:
    """Optimizers of optax on the same equations from 0, their steps falling to 0 in the end.

    The weights are a square matrix, which concerns Muon alone.
    """
    rates: dict[str, tuple[Callable[..., Any], float]] = {
        "sgd": (optax.sgd, 0.05),
        "adam": (optax.adam, 0.02),
        "lion": (optax.lion, 0.005),
        "muon": (contrib.muon, 0.02),
    }
    problem, rows = case.problem, int(np.sqrt(case.problem.x.shape[1]))
    ends = {}
    for name, (rule, rate) in rates.items():
        other = Reparameterized(problem, AsMatrix(rows))
        falling = rule(optax.cosine_decay_schedule(rate, steps))
        record = run(Descent(other, falling), steps, every=steps)
        w = np.asarray(record.state.w)
        l1, l2, linf = (float(np.linalg.norm(w.ravel(), order)) for order in (1, 2, np.inf))
        spectral, test = float(np.linalg.norm(w, 2)), case.error(jnp.asarray(w.ravel()))
        ends[name] = Ending(float(record.last("loss")), l1, l2, linf, spectral, test)
    return ends


def power_end(a: float, seed: int = 0, steps: int = 5000) -> Weights:
    """Where descent in theta, w = theta |theta|^(a - 1), ends on sparse equations.

    It starts from small weights, N(0, 0.03^2), the same for each a.
    """
    problem = sparse_truth(seed).problem
    w0 = 0.03 * np.random.default_rng(seed).normal(size=problem.x.shape[1])
    # A weight of 1.5 moves a^2 1.5^(2 - 2/a) times as fast as with a = 1.
    sharpest = float(jnp.linalg.eigvalsh(problem.x @ problem.x.T)[-1]) / len(problem.x)
    lr = 0.3 / (sharpest * a**2 * 1.5 ** (2.0 - 2.0 / a))
    other = Reparameterized(StartedAt(problem, jnp.asarray(w0, problem.x.dtype)), Power(a))
    record = run(Descent(other, Sgd(lr)), steps, every=steps)
    return np.asarray(Power(a).weights(record.state.w))
