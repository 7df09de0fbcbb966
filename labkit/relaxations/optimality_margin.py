"""Costs of linear programs, learned from nothing but their optimal solutions.

The condition for a vertex with basis B to be the optimum is that its reduced costs are not
below 0.  Ask that those of the predicted cost c^ = Theta z exceed one:

    min over Theta   lam / 2 |Theta|^2  +  mean_i sum_{j in N_i} [1 - s_ij]_+

    s_i  =  c^_N - A_N' A_B^-T c^_B  =  M_i Theta z_i

which is convex, and does not read any cost.  As c^ . x - c^ . x_i = s_i . x_N for every feasible
x, s_i > 0 leaves x_i for the only optimum: where the loss is 0 so is the regret.  A margin of
one fixes the length of Theta; without one, Theta = 0 would do.

A step goes lr / sqrt(t + 1) along a subgradient, of all samples or of one (*online*, with Theta
held within `radius`).  Other losses of the same prediction are those of `decision_losses`.

Look at the regret on samples that were not there, with a right model (`degree` 1) and a wrong one.

Source: S056, Maximum Optimality Margin: A Unified Approach for Contextual Linear Programming
and Inverse Linear Programming.
"""

from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float

from labkit.claims import Claim
from labkit.method import Scalar, choice, knob, method, size
from labkit.record import Record
from labkit.relaxations import decision_losses
from labkit.relaxations.polygon_programs import Data, Programs, random_region, standard
from labkit.run import run
from labkit.views import Bars, Curve, Panel, View, lines


class State(NamedTuple):
    Theta: Float[Array, "d features"]
    seen: Data
    unseen: Data  # with the same B
    count: Float[Array, ""]  # steps so far


@method
class OptimalityMargin:
    """A linear prediction of the cost, by one of four losses."""

    programs: Programs
    lr: Scalar = knob(3.0, 0.03, 30.0, log=True, live=True, about="length of the first step")
    lam: Scalar = knob(1e-3, 1e-5, 1.0, log=True, live=True, about="weight of |Theta|^2 / 2")
    tau: Scalar = knob(1.0, 0.1, 5.0, log=True, about="Fenchel-Young: noise, in units of cost")
    radius: Scalar = knob(30.0, 1.0, 100.0, log=True, about="online: the most |Theta| may be")
    loss: str = choice("margin", "SPO+", "least squares", "Fenchel-Young")
    order: str = choice("all samples", "online")
    samples: int = size(60, 2, 500)

    def init(self, key) -> State:
        data = self.programs.draw(key, 2 * self.samples)
        seen = jax.tree.map(lambda a: a[: self.samples], data)
        unseen = jax.tree.map(lambda a: a[self.samples :], data)
        d = self.programs.region.vertices.shape[1]
        return State(jnp.zeros((d, self.programs.features)), seen, unseen, jnp.zeros(()))

    def step(self, state: State, key) -> State:
        data = state.seen
        if self.order == "online":
            i = (state.count % self.samples).astype(jnp.int32)
            data = jax.tree.map(lambda a: a[i][None], data)
        slope = jax.grad(self.objective)(state.Theta, data, key)
        Theta = state.Theta - self.lr / jnp.sqrt(state.count + 1.0) * slope
        if self.order == "online":
            length = jnp.sqrt((Theta * Theta).sum())
            Theta = Theta * jnp.minimum(1.0, self.radius / jnp.maximum(length, 1e-12))
        return state._replace(Theta=Theta, count=state.count + 1.0)

    def objective(self, Theta: Float[Array, "d features"], data: Data, key) -> Float[Array, ""]:
        """lam / 2 |Theta|^2 and the mean loss."""
        vertices = self.programs.region.vertices

        def one(key: Array, z: Array, chosen: Array, c: Array) -> Array:
            c_hat, x = Theta @ z, vertices[chosen]
            match self.loss:
                case "margin":
                    return decision_losses.margin(c_hat, self.programs.region.margins[chosen])
                case "SPO+":
                    return decision_losses.spo_plus(c_hat, c, x, vertices)
                case "least squares":
                    return decision_losses.least_squares(c_hat, c)
            return decision_losses.perturbed_regret(key, c_hat, x, vertices, self.tau)

        keys = jr.split(key, len(data.z))
        return self.lam / 2 * (Theta**2).sum() + jax.vmap(one)(keys, *data).mean()

    def observe(self, state: State) -> dict[str, Any]:
        s = self.margins(state.Theta, state.seen)
        regret, of_seen = self.regret(state.Theta, state.seen)
        return {
            "objective": self.objective(state.Theta, state.seen, jr.key(0)),
            "s": s,
            "sample_regret": of_seen,
            "certified": (s > 0.0).all(axis=1).mean(),
            "regret": regret,
            "unseen_regret": self.regret(state.Theta, state.unseen)[0],
            "length": jnp.sqrt((state.Theta**2).sum()),
        }

    def margins(self, Theta: Float[Array, "d features"], data: Data) -> Float[Array, "samples k"]:
        """s of each sample."""
        M = self.programs.region.margins[data.chosen]
        return jnp.einsum("ikd,id->ik", M, data.z @ Theta.T)

    def regret(
        self, Theta: Float[Array, "d features"], data: Data
    ) -> tuple[Float[Array, ""], Float[Array, " samples"]]:
        """The total beside the cost of the optima, and that of each sample."""
        chosen = self.programs.region.best(data.z @ Theta.T)
        best = (data.c * self.programs.region.vertices[data.chosen]).sum(axis=1)
        each = self.programs.region.regret(data.c, chosen)
        return each.sum() / jnp.abs(best).sum(), each


def example() -> OptimalityMargin:
    """Sixty programs of seven variables and three constraints; the model is right."""
    return OptimalityMargin(Programs(standard(*random_region(0))))


@cache
def demo() -> Record:
    """The example, 1000 steps."""
    return run(example(), 1000, every=10)


def _margins(record: Record) -> Panel:
    s = np.clip(record.last("s").ravel(), -1.9, 7.9)
    height, ends = np.histogram(s, bins=20, range=(-2.0, 8.0))
    most = np.array([0.0, 1.05 * height.max()])
    marks = [
        Bars((ends[1:] + ends[:-1]) / 2, height, "s, of all samples", "data"),
        Curve(np.ones(2), most, "margin", "threshold"),
        Curve(np.zeros(2), most, "optimal or not", "optimum"),
    ]
    return Panel("Reduced costs s", marks, "s (last bars: and beyond)", "number")


def _regret(record: Record) -> Panel:
    """On a logarithmic axis, on which a regret of 0 has to lie somewhere."""
    least = lambda name: np.maximum(record[name], 1e-5)
    marks = [
        Curve(record.steps, least("regret"), "seen samples", "loss"),
        Curve(record.steps, least("unseen_regret"), "unseen", "test loss"),
    ]
    return Panel("Regret of the decisions", marks, "step", "share, 0.00001 or less", log_y=True)


views: list[View] = [
    _regret,
    _margins,
    lines("certified", title="Samples with all s above 0", y="share", y_range=(-0.05, 1.05)),
]


def say(record: Record) -> str:
    """What the decisions cost too much, in a sentence."""
    seen, unseen = record.last("regret"), record.last("unseen_regret")
    return (
        f"After {record.steps[-1]} steps the decisions cost {seen:.2%} too much on the samples "
        f"that were seen and {unseen:.2%} on others; {record.last('certified'):.0%} of those seen "
        f"have all s above 0."
    )


def claim(record: Record) -> Claim:
    """S056: without a look at a cost, decisions come to cost less than 1 % too much.

    Three numbers, each at most its bound: the largest regret, at any time, of a sample whose
    reduced costs are all above 0; the share of samples that are not so, in the end; and the
    relative regret in the end.
    """
    sure = (record["s"] > 1e-4).all(axis=2)  # beyond rounding
    certified = record["sample_regret"][sure].max(initial=0.0) if sure.any() else np.nan
    seen = [certified, 1 - record.last("certified"), record.last("regret")]
    # Rounding of float32; of twenty regions and draws 0.07 and 0.004 are the most that was seen.
    sentence = "Regret where all s > 0; share of others; relative regret"
    return Claim(seen, [1e-5, 0.2, 0.01], 0.0, sentence, kind="measured", relation="<=")
