"""Learning in a deep linear network, mode by mode, beside its exact solution.

    tau dW_l/dt  =  (W_N ... W_{l+1})' (Sigma_yx - W Sigma_xx) (W_{l-1} ... W_1)',    tau = 1

by Runge-Kutta steps of order four, or by gradient descent, which is one Euler step.  The map is
linear and its learning is not: each mode of the task waits on a plateau, then is learned in a
sudden step, the strongest mode first.  From a balanced start on whitened inputs the strength
u = u_i' W v_i of each follows `linear_modes.mode_strength`.  All the way the flow conserves

    W_{l+1}' W_{l+1} - W_l W_l',        for two layers  a^2 - b^2  of each mode

From a start that is small and not balanced, or on inputs that are not white, it departs from the
formula.  From orthogonal weights of size one the steps needed do not grow with the depth; from
Gaussian ones they do.

Source: S163, Exact solutions to the nonlinear dynamics of learning in deep linear neural networks.
"""

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from labkit.claims import Claim
from labkit.descent import Descent
from labkit.fan import Fan, fan
from labkit.landscapes import linear_modes
from labkit.landscapes.linear_modes import half_time, mode_strength
from labkit.landscapes.linear_network import LinearNetwork, Task, Weights, hierarchy
from labkit.method import choice, knob, method, size
from labkit.record import Record
from labkit.rules import Sgd
from labkit.run import run
from labkit.runge_kutta import runge_kutta
from labkit.views import Band, Curve, Mark, Panel, Points, Raster, View


class State(NamedTuple):
    w: Weights
    time: Float[Array, ""]  # in units of tau
    balance: Weights  # at the start; conserved


@method
class DeepLinear:
    """Gradient flow or descent on the weights of `problem`, a step of time `lr` each."""

    problem: LinearNetwork = LinearNetwork()
    lr: float = knob(0.05, 1e-3, 0.3, log=True, live=True, about="time of one step")
    motion: str = choice("flow", "descent")
    substeps: int = size(2, 1, 16, about="Runge-Kutta steps a step of the flow")

    steps = 400

    def init(self, key) -> State:
        w = self.problem.start(key)
        return State(w, jnp.zeros((), w[0].dtype), self.problem.balance(w))

    def step(self, state: State, key) -> State:
        del key
        if self.motion == "descent":
            move = lambda a, b: a + self.lr * b
            w = jax.tree.map(move, state.w, self._slope(state.w))
        else:
            substep = lambda _, w: runge_kutta(self._slope, w, self.lr / self.substeps)
            w = jax.lax.fori_loop(0, self.substeps, substep, state.w)
        return State(w, state.time + self.lr, state.balance)

    def observe(self, state: State) -> dict[str, Array]:
        network, task = self.problem, self.problem.task
        product = network.product(state.w)
        theory = mode_strength(state.time, task.s, network.u0, network.layers)
        drifts = jax.tree.map(
            lambda a, b: jnp.abs(a - b).max(), network.balance(state.w), state.balance
        )
        return {
            "time": state.time,
            "loss": task.loss(product),
            "theory_loss": 0.5 * jnp.sum((task.s - theory) ** 2),
            "modes": task.modes(product),
            "theory": theory,
            "s": jnp.asarray(task.s),
            "half_time": half_time(task.s, network.u0, network.layers),
            "first": jnp.linalg.norm(state.w[0] @ task.v, axis=0),
            "last": jnp.linalg.norm(state.w[-1].T @ task.u, axis=0),
            "drift": jnp.max(jnp.stack([jnp.zeros_like(state.time), *drifts])),
            "jacobian": singular_values(product),
            "map": product,
        }

    def _slope(self, w: Weights) -> Weights:
        return jax.tree.map(jnp.negative, jax.grad(self.problem.loss)(w))


def singular_values(m: Float[Array, "a b"]) -> Float[Array, " k"]:
    """Of `m`, descending; NaN where it is not finite, which LAPACK is never shown."""
    finite = jnp.isfinite(m).all()
    values = jnp.linalg.svd(jnp.where(finite, m, 0.0), compute_uv=False)
    return jnp.where(finite, values, jnp.nan)


def steps_to_half(record: Record) -> float:
    """The step by which half of the first loss is gone; infinity when it never is."""
    below = np.flatnonzero(record["loss"] < record["loss"][0] / 2)
    return float(record.steps[below[0]]) if len(below) else np.inf


def depth_study(layers: Sequence[int] = (4, 8, 16, 32), seeds: int = 4, steps: int = 1500) -> Fan:
    """Gradient descent with lr 0.02 / N on ten modes, from orthogonal and Gaussian weights.

    All layers are 10 x 10 and at scale one: nothing but the depth and the family differs.
    """
    s = jnp.array([3.0, 2.5, 2.0, 1.5, 1.2, 1.0, 0.8, 0.6, 0.5, 0.4])
    square = Descent(LinearNetwork(Task(s), width=10, u0=1.0), Sgd(0.02))
    families = ("orthogonal", "gaussian")
    over = [
        {"family": family, "layers": n, "lr": 0.02 / n, "key": key}
        for family in families
        for n in layers
        for key in range(seeds)
    ]
    return fan(square, steps, over=over)


def by_depth(found: Fan) -> View:
    """Steps to half the loss against the depth, the mean of the seeds and their range."""
    settings = [(setting["family"], setting["layers"]) for setting in found.settings]
    steps = np.array([steps_to_half(record) for record in found.records])

    def view(record: Record) -> Panel:
        del record
        marks = []
        for role, family in enumerate(dict.fromkeys(family for family, _ in settings), 1):
            lanes = np.array([f == family for f, _ in settings])
            n = np.array([n for _, n in settings], float)[lanes]
            depths = np.unique(n)
            at = [steps[lanes][n == depth] for depth in depths]
            low, mean, high = (
                np.array([f(seeds) for seeds in at]) for f in (np.min, np.mean, np.max)
            )
            marks += [Band(depths, low, high, "", f"iterates {role}")]
            marks += [Curve(depths, mean, f"{family}", f"iterates {role}")]
        title = "Steps to half the loss, at lr 0.02 / layers"
        return Panel(title, marks, "layers", "steps", log_x=True, log_y=True)

    return view


def example() -> DeepLinear:
    """Four items in a tree, two layers, from balanced weights of strength 1e-5."""
    return DeepLinear(LinearNetwork(hierarchy(), u0=1e-5))


@cache
def demo() -> Record:
    """The example to time 20, beside one layer, and beside two from Glorot's start."""
    flow = example()
    shallow = LinearNetwork(hierarchy(), layers=1, u0=1e-5)
    glorot = LinearNetwork(hierarchy(), family="gaussian", u0=1.0)
    one, other = (run(DeepLinear(problem), every=4) for problem in (shallow, glorot))
    return run(flow, every=4).beside(shallow=one, glorot=other)


def known(record: Record) -> Panel:
    """The map as it is now: which feature (row) it gives to which item (column)."""
    z = np.asarray(record.last("map"))
    columns, rows = np.arange(1, z.shape[1] + 1), np.arange(1, z.shape[0] + 1)
    return Panel("What the network knows", [Raster(z, columns, rows, "W")], "input", "output")


def spectrum(record: Record) -> Panel:
    """The singular values of the map, which is also its Jacobian, over time."""
    values = record["jacobian"].T
    marks = [
        Curve(record["time"], v, f"value {i}", f"iterates {i}") for i, v in enumerate(values, 1)
    ]
    return Panel("Singular values of the Jacobian", marks, "time / tau", "singular value")


def hyperbolas(record: Record) -> Panel:
    """Strength of the last layer against the first, mode by mode, and where a^2 - b^2 keeps it."""
    marks: list[Mark] = []
    for mode, (a, b) in enumerate(zip(record["first"].T, record["last"].T, strict=True), 1):
        marks += [Curve(a, b, f"mode {mode}", f"iterates {mode}")]
        along = np.linspace(a[0], a.max(), 12)
        kept = np.sqrt(along**2 + (b[0] ** 2 - a[0] ** 2))
        label = "a² - b² as at the start"
        marks += [Points(along, kept, "" if mode > 1 else label, "threshold")]
    return Panel("Two layers of each mode", marks, "first layer a", "last layer b", equal=True)


views: list[View] = [*linear_modes.views, known]

say = linear_modes.say


def claim(record: Record) -> Claim:
    """S163: modes follow their exact curves, are half learned on time, and keep the balance.

    Three numbers that are 0 for the exact flow: the largest distance of a mode to its curve, in
    units of its size; the largest relative error of the time at which it is half learned; and
    the largest drift of what is conserved.
    """
    s, modes, time = record.last("s"), record["modes"], record["time"]
    apart = np.abs(modes - record["theory"]).max(axis=0) / s
    halves = [_when(time, mode, size / 2) for mode, size in zip(modes.T, s, strict=True)]
    late = np.abs(np.array(halves) / record.last("half_time") - 1)
    seen = [apart.max(), late.max(), record["drift"].max()]
    # Runge-Kutta's error and that of reading a time between two rows are below 1e-3.
    sentence = "Distance to the exact curves / s, error of the half-times, drift of the balance"
    return Claim(seen, 0.0, 2e-3, sentence, kind="exact", relation="<=")


def _when(time: np.ndarray, u: np.ndarray, level: float) -> float:
    """When `u` first passes `level`, between two rows by a line; NaN when it never does."""
    passed = np.flatnonzero((u[:-1] < level) & (u[1:] >= level))
    if not len(passed):
        return np.nan
    i = passed[0]
    return float(np.interp(level, u[i : i + 2], time[i : i + 2]))
