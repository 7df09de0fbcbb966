"""RANSAC whose sampling is learned: minimal sets drawn by their logits, all hypotheses scored.

    sets of k data drawn by logits l (`set_draws`),     h = the model through a set
    score(h) = sum_i max(0, 1 - r_i^2 / threshold^2)
    l  <-  (1 - forgetting) l + the step of Adam on  - mean over the sets of score(h)

The mean over all hypotheses, not the best of them, so that good sets become probable.  For a
line there are few pairs, and the exact gradient is a sum over all of them.  Otherwise it is
estimated from the sets drawn (`drawn_scores`): by the score function, which has no bias, or
straight through the model by one of three masks, which has.

A step of Adam is about lr long: forgetting keeps all logits within lr / forgetting of 0, from
where they come back within some tens of steps when the data change.

What to look for: the odds of a good pair go to 1; drag points off the line and on it.

Source: S042, Generalized Differentiable RANSAC.
"""

from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from labkit.adaptive import Adam, AdamState
from labkit.claims import Claim
from labkit.errors import refusal
from labkit.method import choice, knob, method, replace, size
from labkit.record import Record
from labkit.relaxations.drawn_scores import ESTIMATORS, Drawn, Exact, estimates, exact
from labkit.relaxations.minimal_sets import KINDS, line_points
from labkit.relaxations.set_draws import good_odds
from labkit.run import run
from labkit.views import Bars, Curve, Mark, Panel, Points, View


LINE = KINDS["line"]


class State(NamedTuple):
    logits: Float[Array, " n"]
    rule: AdamState
    key: Key[Array, ""]  # of the sets that are drawn by these logits


@method
class DifferentiableRansac:
    """Learn which points to draw; `points` and `threshold` may change while it learns."""

    points: Float[Array, "n 2"] = knob(line_points(5).tolist(), -1.5, 1.5, live=True)
    line: Float[Array, " 3"] = knob((0.5, -1.0, 0.1), -2.0, 2.0, about="the true a, b, c")
    estimator: str = choice("exact", *ESTIMATORS, about="of the gradient")
    threshold: float = knob(0.15, 0.03, 0.6, log=True, live=True, about="of a distance")
    tau: float = knob(1.0, 0.1, 10.0, log=True, live=True, about="softness of the mask")
    lr: float = knob(0.1, 0.01, 1.0, log=True, live=True, about="of Adam")
    forgetting: float = knob(
        0.02, 0.0, 0.1, live=True, within=(0.0, 0.99), about="share of the logits lost in a step"
    )
    hypotheses: int = size(32, 2, 200, about="drawn at a step")

    def check(self) -> None:
        shape = np.shape(self.points)
        if shape[1:] != (2,) or shape[0] < 3:
            raise refusal("shape of points", shape, "(points, 2), three points or more")

    def init(self, key) -> State:
        logits = jnp.zeros(len(self.points), jnp.result_type(self.points))
        return State(logits, Adam(self.lr).init(logits), key)

    def step(self, state: State, key) -> State:
        if self.estimator == "exact":
            gradient = self._exact(state).gradient
        else:
            gradient = self._drawn(state)[0][ESTIMATORS.index(self.estimator)]
        updates, rule = Adam(self.lr).update(-gradient, state.rule)
        return State((1 - self.forgetting) * state.logits + updates, rule, key)

    def observe(self, state: State) -> dict[str, Any]:
        good = LINE.squares(self.line[None], self.points) < self.threshold**2
        found, drawn = self._drawn(state)
        scores, mean, gradient = self._exact(state)
        return {
            "p": jax.nn.softmax(state.logits),
            "good": good,  # the true line goes by
            "P_good": good_odds(state.logits, good, LINE.least),
            "hypotheses": drawn.sets,
            "models": drawn.models,
            "score": drawn.scores,
            "estimates": found,
            "exact": gradient,
            "expected": mean,
            "best": scores.max(),
            "points": self.points,
            "line": self.line,
        }

    def _exact(self, state: State) -> Exact:
        return exact(state.logits, self.points, LINE, self.threshold)

    def _drawn(self, state: State) -> tuple[Array, Drawn]:
        given = (state.logits, self.points, LINE, self.threshold)
        return estimates(state.key, *given, self.hypotheses, self.tau)


def example() -> DifferentiableRansac:
    """Nine points of a line and five others."""
    return DifferentiableRansac()


@cache
def demo() -> Record:
    """300 exact steps; beside them, `held`, as many draws while all points stay as likely."""
    ransac = example()
    return run(ransac, 300).beside(held=run(replace(ransac, {"lr": 1e-12}), 300, key=1))


def errors(record: Record, prefix: str = "") -> dict[str, tuple[float, float, float]]:
    """Of each estimator over a run: cosine, length and deviation, in lengths of the exact."""
    exact_one, seen = record[prefix + "exact"], record[prefix + "estimates"]
    size, found = np.linalg.norm(exact_one.mean(axis=0)), {}
    for name, one in zip(ESTIMATORS, seen.swapaxes(0, 1), strict=True):
        mean = one.mean(axis=0)
        length = np.linalg.norm(mean)
        cosine = mean @ exact_one.mean(axis=0) / max(length * size, 1e-30)
        off = np.sqrt(((one - exact_one) ** 2).sum(axis=1).mean())
        found[name] = (cosine, length / size, off / size)
    return found


def segments(models: Float[np.ndarray, "m 3"]) -> Float[np.ndarray, "m 3 2"]:
    """Both ends of each line, far outside the picture, and a gap."""
    a, b, c = np.asarray(models, float).T
    square = np.maximum(a**2 + b**2, 1e-12)
    foot = -c / square * np.stack([a, b])
    way = 4 * np.stack([b, -a]) / np.sqrt(square)
    return np.stack([foot - way, foot + way, np.nan * foot]).transpose(2, 0, 1)


def _curve(ends: Float[np.ndarray, "m 3 2"], label: str, role: str) -> Curve:
    return Curve(ends[..., 0].ravel(), ends[..., 1].ravel(), label, role)


def _plane(record: Record) -> Panel:
    points, p, models = (record.last(name) for name in ("points", "p", "models"))
    good = record.last("good")[record.last("hypotheses")].all(axis=1)
    size = 0.15 + 0.85 * p / p.max()  # a point that is never drawn can still be caught
    marks: list[Mark] = [
        _curve(segments(models[~good]), "hypotheses", "ghost"),
        _curve(segments(models[good]), "through two good points", "plan"),
        _curve(segments(record.last("line")[None]), "true line", "target"),
        Points(points[:, 0], points[:, 1], "points, by p: drag", "iterates", "points", size),
    ]
    reach = (-1.2, 1.2)
    return Panel("Drag a point", marks, "x", "y", equal=True, x_range=reach, y_range=reach)


def _odds(record: Record) -> Panel:
    p, good = record.last("p"), record.last("good")
    at, even = np.arange(1, len(p) + 1), np.full(len(p), 1 / len(p))
    marks = [
        Bars(at[good], p[good], "on the line", "plan"),
        Bars(at[~good], p[~good], "off the line", "sampling odds"),
        Curve(at, even, "all as likely", "threshold"),
    ]
    return Panel("Which point is drawn first", marks, "point", "probability p")


def _gradient(record: Record) -> Panel:
    at = np.arange(1, len(record.last("exact")) + 1)
    marks: list[Mark] = [Bars(at, record.last("exact"), "exact", "gradient")]
    for name, one in zip(ESTIMATORS[:3], record.last("estimates"), strict=False):
        marks.append(Points(at, one, name, name))
    return Panel("Slope of the expected score", marks, "point", "slope in its logit")


def _progress(record: Record) -> Panel:
    share = record["expected"] / record["best"]
    marks = [
        Curve(record.steps, record["P_good"], "odds of a good pair", "accuracy"),
        Curve(record.steps, share, "expected / best score", "loss"),
    ]
    return Panel("What is drawn", marks, "step", "share", y_range=(0.0, 1.05))


views: list[View] = [_plane, _odds, _progress, _gradient]


def say(record: Record) -> str:
    """The odds of a good pair, and the score to expect, in a sentence."""
    return (
        f"Step {record.steps[-1]}: a pair is good with probability {record.last('P_good'):.3f} "
        f"(at first {record['P_good'][0]:.3f}); expected score {record.last('expected'):.2f}, "
        f"the best pair has {record.last('best'):.2f}."
    )


def claim(record: Record) -> Claim:
    """S042: good pairs become the ones that are drawn, by a gradient without bias.

    Four numbers: the odds of a good pair, and the expected score / that of the best, after
    training; the score function's mean along the exact gradient / its length; and the mean
    length of the gradient through equations, which is 0, / that length.
    """
    found = errors(record, "held.")
    cosine, length, _ = found["score function"]
    ends = [record.last("P_good"), record.last("expected") / record.last("best")]
    sentence = "Odds of a good pair; expected / best score; score function, equations / exact"
    # 9,600 sets: the score function's mean along the exact gradient is known to 2 %.
    return Claim([*ends, cosine * length, found["equations"][1]], [1, 1, 1, 0], 0.1, sentence)
