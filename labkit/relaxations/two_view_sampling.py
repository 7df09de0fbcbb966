"""Which matches of two views to draw, learned from what a matcher knows of each.

Most matches of two pictures are wrong, and four right ones fix the homography between them.  A
small network reads two numbers of a match, how near its descriptors are compared with the second
best, and by how much its patches are turned against each other (less the usual turn), and gives
it a logit.  Trained on some pairs of views by the scores of drawn hypotheses (`drawn_scores`),
never by which matches are right; judged on pairs that it has not seen:

    the odds that four drawn matches are all right,
    the share of pairs whose homography is found by so many hypotheses, beside uniform draws.

A homography is found where it carries the right matches to within the threshold of their true
places, in the mean.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Key

from labkit.adaptive import Adam, AdamState
from labkit.claims import Claim
from labkit.method import choice, knob, method, size
from labkit.models.mlp import MLP
from labkit.record import Record
from labkit.relaxations.drawn_scores import ESTIMATORS, estimates
from labkit.relaxations.minimal_sets import KINDS, fit, soft_count
from labkit.relaxations.set_draws import draw_sets, good_odds
from labkit.relaxations.two_views import Views, true_matches, two_views
from labkit.views import Curve, Mark, Panel, Points, View


HOMOGRAPHY = KINDS["homography"]
NETWORK = MLP((2, 8, 1))


class State(NamedTuple):
    w: Any  # of the network
    rule: AdamState
    key: Key[Array, ""]  # of the sets that are drawn now


@method
class TwoViewSampling:
    """Learn the logits of matches on `seen` pairs of views; judge them on `unseen` ones."""

    seen: Views
    unseen: Views
    estimator: str = choice(*ESTIMATORS, about="of the gradient")
    threshold: float = knob(0.05, 0.01, 0.3, log=True, live=True, about="of a distance")
    tau: float = knob(1.0, 0.1, 10.0, log=True, live=True, about="softness of the mask")
    lr: float = knob(0.05, 0.005, 0.5, log=True, live=True, about="of Adam")
    hypotheses: int = size(16, 2, 64, about="drawn for a pair of views")

    def init(self, key) -> State:
        w = NETWORK.init(key)
        return State(w, Adam(self.lr).init(w), key)

    def step(self, state: State, key) -> State:
        def gradient(matches, logits, key):
            given = (matches, HOMOGRAPHY, self.threshold, self.hypotheses, self.tau)
            return estimates(key, logits, *given)[0][ESTIMATORS.index(self.estimator)]

        logits, back = jax.vjp(lambda w: scored(w, self.seen), state.w)
        keys = jr.split(state.key, len(logits))
        slopes = jax.vmap(gradient)(self.seen.matches, logits, keys)
        updates, rule = Adam(self.lr).update(back(-slopes / len(logits))[0], state.rule)
        return State(jax.tree.map(jnp.add, state.w, updates), rule, key)

    def observe(self, state: State) -> dict[str, Any]:
        logits = scored(state.w, self.unseen)
        look = jax.vmap(self._best, (0, 0, 0))
        keys = jr.split(state.key, len(logits))
        best, error = look(self.unseen, logits, keys)
        _, uniform = look(self.unseen, jnp.zeros_like(logits), keys)
        odds = jax.vmap(good_odds, (0, 0, None))
        k = HOMOGRAPHY.least
        return {
            "P_good": odds(logits, self.unseen.right, k).mean(),
            "uniform": odds(jnp.zeros_like(logits), self.unseen.right, k).mean(),
            "found": (error < self.threshold).mean(),
            "found_uniform": (uniform < self.threshold).mean(),
            "matches": self.unseen.matches[0],
            "right": self.unseen.right[0],
            "p": jax.nn.softmax(logits[0]),
            "model": best[0],
        }

    def _best(self, views: Views, logits: Array, key: Array) -> tuple[Array, Array]:
        """The best scored of the drawn hypotheses, and how far it carries matches off."""
        few = views.matches[draw_sets(key, logits, HOMOGRAPHY.least, self.hypotheses)[0]]
        models = fit(HOMOGRAPHY, few, jnp.ones_like(few[..., 0]))
        scores = soft_count(HOMOGRAPHY, models, views.matches, self.threshold)
        h = models[scores.argmax()]
        off = jnp.sqrt(HOMOGRAPHY.squares(h[None], true_matches(views)))
        return h, (off * views.right).sum() / views.right.sum()


def scored(w: Any, views: Views) -> Float[Array, "pairs n"]:
    """The logits of all matches."""
    sides = views.sides
    return NETWORK.apply(w, sides.reshape(-1, sides.shape[-1])).reshape(sides.shape[:-1])


def example(pairs: int = 8) -> TwoViewSampling:
    """Eight pairs of views to learn from, sixteen others to be judged on."""
    return TwoViewSampling(two_views(0, pairs), two_views(1, 2 * pairs))


def _matches(record: Record) -> Panel:
    matches, p, right = (record.last(name) for name in ("matches", "p", "right"))
    likely = p >= np.sort(p)[-8]
    kinds = {
        "others": (~likely, "ghost"),
        "right, among the 8 likeliest": (likely & right, "plan"),
        "wrong, among them": (likely & ~right, "iterates"),
    }
    marks: list[Mark] = []
    for label, (chosen, role) in kinds.items():
        ends = np.full((chosen.sum(), 3, 2), np.nan)
        ends[:, 0], ends[:, 1] = matches[chosen, :2], matches[chosen, 2:]
        marks.append(Curve(ends[..., 0].ravel(), ends[..., 1].ravel(), label, role))
        marks.append(Points(matches[chosen, 2], matches[chosen, 3], "", role))
    return Panel("Matches of an unseen pair", marks, "x and x'", "y and y'", equal=True)


def _progress(record: Record) -> Panel:
    marks = [
        Curve(record.steps, record["P_good"], "odds of four right ones", "accuracy"),
        Curve(record.steps, record["found"], "pairs found", "plan"),
        Curve(record.steps, record["found_uniform"], "pairs found, uniform draws", "threshold"),
    ]
    return Panel("On unseen pairs", marks, "step", "share", y_range=(-0.02, 1.05))


views: list[View] = [_matches, _progress]


def say(record: Record) -> str:
    """The odds of a good set and the pairs found, in a sentence."""
    return (
        f"Step {record.steps[-1]}: four drawn matches are right with probability "
        f"{record.last('P_good'):.3f} (uniform: {record.last('uniform'):.3f}); "
        f"{record.last('found'):.0%} of the unseen pairs are found "
        f"(uniform draws: {record.last('found_uniform'):.0%})."
    )


def claim(record: Record) -> Claim:
    """From the scores alone: a good set is likely, also on pairs of views never seen.

    Two numbers: the odds of four right matches, and how much larger the share of pairs found
    is than by uniform draws (both over the last ten rows).
    """
    late = {name: record[name][-10:].mean() for name in ("P_good", "found", "found_uniform")}
    seen = [late["P_good"], late["found"] - late["found_uniform"]]
    sentence = "Odds of four right matches; pairs found less those found by uniform draws"
    return Claim(seen, [0.8, 0.5], 0.0, sentence, relation=">=")
