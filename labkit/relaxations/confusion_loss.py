"""Training on a metric of the confusion matrix, beside three usual losses.

    metric                   1 - metric(TP, FP, TN, FN), counts softened by `confusion.soft_step`
    cross entropy            mean_i softplus(-s_i z_i),    s_i = 2 y_i - 1,  p_i = sigmoid(z_i)
    weighted cross entropy   the same, both classes of equal weight
    squared error            mean_i (p_i - y_i)^2

Four models of one start, z = f(x), each descends its own loss, full batch, by Adam.  On data
with few positives cross entropy calls nearly nothing positive, and its geometric mean of the
two rates is near 0; the metric's own loss moves the decision to where the metric is best.
On two Gaussians that is all it does: both directions are the same, and cross entropy with
another threshold than 1/2 gets as far.

At small tau most samples stand on a flat part of the step: their gradient has vanished.

Source: S013, AnyLoss: Transforming Classification Metrics into Loss Functions.
"""

import dataclasses
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PyTree

from labkit.adaptive import Adam
from labkit.claims import Claim
from labkit.fan import fan
from labkit.method import choice, knob, method, size, static
from labkit.models import MLP
from labkit.record import Record
from labkit.relaxations.confusion import (
    METRICS,
    check_metric,
    hard_counts,
    metric_loss,
    metric_value,
    soft_counts,
    soft_step,
    step_slope,
)
from labkit.relaxations.confusion_views import pictures
from labkit.relaxations.imbalanced import Drawn, Imbalanced, Samples, TwoGaussians


LOSSES = ("metric", "cross entropy", "weighted cross entropy", "squared error")
VANISHED = 1e-3  # of the largest gradient that any sample can have


class State(NamedTuple):
    w: PyTree  # of the four models, a leading axis of four
    rule: Any  # of Adam
    drawn: Drawn  # the samples


@method
class ConfusionLoss:
    """A model trained on `metric`, and three of the same start on other losses.

    The metric "formula" is that of the text in `formula`.
    """

    problem: Imbalanced = dataclasses.field(default_factory=TwoGaussians)
    metric: str = choice("geometric mean", *sorted(set(METRICS) - {"geometric mean"}), "formula")
    tau: float = knob(0.1, 0.002, 1.0, log=True, live=True, about="softness, in probability")
    beta: float = knob(1.0, 0.25, 4.0, log=True, live=True, about="weight of recall, in F beta")
    lr: float = knob(0.05, 0.001, 0.5, log=True, live=True, about="learning rate of Adam")
    hidden: int = size(0, 0, 32, about="units of a hidden layer; 0 is a linear model")
    formula: str = static(default="TP / (TP + FP + FN)")

    steps = 500

    def check(self) -> None:
        check_metric(self._metric)

    def init(self, key) -> State:
        start_key, draw_key = jr.split(key)
        start = self._model.init(start_key)
        w = jax.tree.map(lambda leaf: jnp.stack([leaf] * len(LOSSES)), start)
        return State(w, self._rule.init(w), self.problem.draw(draw_key))

    def step(self, state: State, key) -> State:
        del key  # the full batch: nothing is random
        total = lambda w: self.losses(w, state.drawn.train).sum()  # no weight is in two of them
        updates, rule = self._rule.update(jax.grad(total)(state.w), state.rule, state.w)
        return state._replace(w=jax.tree.map(jnp.add, state.w, updates), rule=rule)

    def logits(self, w: PyTree, x: Float[Array, "n features"]) -> Float[Array, "4 n"]:
        """z of each of the four models."""
        return jax.vmap(lambda w: self._model.apply(w, x)[:, 0])(w)

    def losses(self, w: PyTree, samples: Samples) -> Float[Array, "4"]:
        """Each model's own loss, in the order of `LOSSES`."""
        metric, plain, weighted, squared = self.logits(w, samples.x)
        y = samples.y
        p = jax.nn.sigmoid(metric)
        own = metric_loss(self._metric, p, y, self.tau, self.beta)
        entropy = lambda z: jax.nn.softplus(-(2.0 * y - 1.0) * z)
        positives = jnp.clip(y.mean(), 1e-6, 1.0 - 1e-6)  # a class may be empty
        weights = 0.5 * y / positives + 0.5 * (1.0 - y) / (1.0 - positives)
        errors = (entropy(plain), weights * entropy(weighted), (jax.nn.sigmoid(squared) - y) ** 2)
        return jnp.stack([own, *(error.mean() for error in errors)])

    def observe(self, state: State) -> dict[str, Array]:
        train, test = state.drawn
        p, p_test = (jax.nn.sigmoid(self.logits(state.w, part.x)) for part in state.drawn)
        value = lambda counts: metric_value(self._metric, counts, self.beta)
        hard, soft = self._hard(p, train.y), soft_counts(p[0], train.y, self.tau)
        held = self._hard(p_test, test.y)
        slope = step_slope(p[0], self.tau)
        # d A / d z, beside the largest that it can be: that at p = 1/2.
        reach = slope * p[0] * (1.0 - p[0]) * 16.0 * self.tau
        return {
            "p": p[0],
            "y": train.y,
            "A": soft_step(p[0], self.tau),
            "dA_dp": slope,
            "tau": jnp.asarray(self.tau, p.dtype),
            "conf": soft.matrix,
            "conf_hard": jax.tree.map(lambda count: count[0], hard).matrix,
            "metric_soft": value(soft),
            "metric_hard": value(hard)[0],
            "held_out": value(held),
            "rates": jnp.stack([_share(held.FP, held.TN), _share(held.TP, held.FN)], axis=-1),
            "p_test": p_test[0],
            "y_test": test.y,
            "vanished": jnp.mean(jnp.asarray(reach < VANISHED, p.dtype)),
        }

    @property
    def _model(self) -> MLP:
        return MLP((self.problem.features, *[self.hidden] * (self.hidden > 0), 1))

    @property
    def _rule(self) -> Adam:
        return Adam(lr=self.lr, beta2=0.999)

    @property
    def _metric(self) -> str:
        return self.formula if self.metric == "formula" else self.metric

    def _hard(self, p: Array, y: Array):
        return jax.vmap(lambda p: hard_counts(p, y))(p)


def _share(part: Array, rest: Array) -> Array:
    return part / jnp.maximum(part + rest, 1.0)


def example() -> ConfusionLoss:
    """The geometric mean on two Gaussians, 1.5 apart, one sample in twenty positive."""
    return ConfusionLoss()


@cache
def demo() -> Record:
    """The example over 500 steps; beside it, what is held out at five seeds."""
    lanes = fan(example(), 500, over={"key": 5}, every=20)
    seeds = np.moveaxis(lanes.column("held_out"), 0, 1)  # [rows, seeds, losses]
    return dataclasses.replace(lanes[0], columns={**lanes[0].columns, "seeds": seeds})


views = pictures(LOSSES)


def say(record: Record) -> str:
    """The metric, soft and hard, and what is held out, in a sentence."""
    soft, hard = record.last("metric_soft"), record.last("metric_hard")
    own, entropy, *_ = record.last("held_out")
    seen = f"Step {record.steps[-1]}: metric {soft:.3f} softly, {hard:.3f} in hard counts"
    beside = f"held out {own:.3f}, with cross entropy {entropy:.3f}"
    return f"{seen}; {beside}; {record.last('vanished'):.0%} of the gradients have vanished."


def claim(record: Record) -> Claim:
    """S013: trained on the geometric mean, its held-out value is higher than with cross entropy."""
    own, entropy, *_ = record.last("seeds").T
    # On these data the best line has 0.77, and that of the largest likelihood 0.34.
    sentence = "Median over five seeds of the held-out metric less that with cross entropy"
    return Claim(np.median(own - entropy), 0.1, 0.0, sentence, relation=">=")
