"""Learning to pool: bags embedded by transported, mean or largest features.

    f_j = g(A x_j),    z = sum_j w_j f_j  or  max_j f_j,  made unit

A and the prototypes learn by the triplet loss on some classes.  Neighbours are then looked
for among bags of classes that were not there: Recall@1 is the share of bags whose nearest
neighbour is of their class.  Transport with mu = 1 is mean pooling, and the prototypes then
do nothing.  Each step draws classes, and bags of each, with replacement.

Look at the share of weight on the informative features: for mean pooling it cannot change;
for the largest it is the share of entries of z that come from one of them.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float

from labkit.adaptive import Adam
from labkit.method import Scalar, choice, knob, method, size
from labkit.relaxations.bags import Bags, canvas_bags, canvases, synthetic
from labkit.relaxations.pair_losses import squared_distances, triplet, unit
from labkit.relaxations.partial_transport import costs, transport
from labkit.rules import Rule
from labkit.views import View, lines


class State(NamedTuple):
    w: dict[str, Array]  # A [d width], prototypes [m width]
    rule: Any


@method
class BagTraining:
    """Triplet loss on bags of `seen` classes, watched on bags of `unseen` ones."""

    seen: Bags
    unseen: Bags
    rule: Rule
    mu: Scalar = knob(0.25, 0.05, 1.0, within=(1e-3, 1.0), about="share of the mass that goes")
    tau: Scalar = knob(0.1, 0.02, 1.0, log=True, about="softness, in units of the costs")
    margin: Scalar = knob(0.3, 0.05, 1.0, about="of the triplet loss, in squared distance")
    pooling: str = choice("transport", "max")
    activation: str = choice("none", "relu", about="g")
    width: int = size(12, 1, 64, about="features of a vector after A")
    prototypes: int = size(8, 1, 32)
    classes: int = size(10, 2, 20, about="classes drawn a step")
    each: int = size(4, 2, 10, about="bags drawn of each")

    def init(self, key) -> State:
        matrix, prototypes = jr.split(key)
        d = self.seen.x.shape[-1]
        w = {
            "A": jr.normal(matrix, (d, self.width)) / jnp.sqrt(d),
            "prototypes": jr.normal(prototypes, (self.prototypes, self.width)),
        }
        return State(w, self.rule.init(w))

    def step(self, state: State, key) -> State:
        which, bags = jr.split(key)
        classes, count = self.seen.x.shape[:2]
        kinds = jnp.repeat(jr.randint(which, (self.classes,), 0, classes), self.each)
        x = jnp.asarray(self.seen.x)[kinds, jr.randint(bags, kinds.shape, 0, count)]
        loss = lambda w: triplet(self.embedded(w, x)[0], kinds, self.margin)
        grads = jax.grad(loss)(state.w)
        updates, rule = self.rule.update(grads, state.rule, state.w)
        return State(jax.tree.map(jnp.add, state.w, updates), rule)

    def observe(self, state: State) -> dict[str, Array]:
        x, wanted = self.unseen
        labels = jnp.repeat(jnp.arange(x.shape[0]), x.shape[1])
        z, share = self.embedded(state.w, jnp.asarray(x).reshape(-1, *x.shape[2:]))
        far = squared_distances(z, z) + 1e3 * jnp.eye(len(z))
        return {
            "loss": triplet(z, labels, self.margin),
            "recall": (labels[far.argmin(axis=1)] == labels).mean(),
            "on_informative": (share * jnp.asarray(wanted).reshape(share.shape)).sum(axis=1).mean(),
        }

    def embedded(
        self, w: dict, x: Float[Array, "bags n d"]
    ) -> tuple[Float[Array, "bags width"], Float[Array, "bags n"]]:
        """z of each bag, of length 1, and the share of it that comes from each vector."""
        f = x @ w["A"]
        f = jax.nn.relu(f) if self.activation == "relu" else f
        if self.pooling == "max":
            z = f.max(axis=1)
            first = f.argmax(axis=1)[:, None] == jnp.arange(f.shape[1])[None, :, None]
            return unit(z), first.mean(axis=2)
        share = transport(costs(f, w["prototypes"]), self.mu, self.tau).weights
        return unit(jnp.einsum("bj,bjd->bd", share, f)), share


def on_parts(seed: int = 0) -> BagTraining:
    """Synthetic bags: 20 classes to learn from and 10 others to watch, 8 bags of each."""
    made = synthetic(seed)
    part = lambda rows: Bags(made.x[rows], made.informative[rows])
    return BagTraining(part(slice(20)), part(slice(20, None)), Adam(0.02))


def on_canvases(seed: int = 0, bags: int = 100) -> BagTraining:
    """Cluttered digits of ten classes, one in five of them to watch."""
    made = canvas_bags(canvases(seed, bags, side=16))
    part = lambda rows: Bags(made.x[:, rows], made.informative[:, rows])
    seen, unseen = part(slice(bags - bags // 5)), part(slice(bags - bags // 5, None))
    settings = {"mu": 0.1, "activation": "relu", "width": 32, "prototypes": 16, "each": 5}
    return BagTraining(seen, unseen, Adam(0.01), **settings)


def _beside(name: str, title: str, top: float | None = None) -> View:
    """A column, and beside it that of runs called `mean` and `largest`, where there are any."""
    others = {f"{other}.{name}": f"{other} of features" for other in ("mean", "largest")}
    y_range = None if top is None else (0.0, top)
    labels = {name: "this run", **others}
    return lines(
        name,
        title=title,
        y=name.replace("_", " "),
        labels=labels,
        beside=list(others),
        y_range=y_range,
    )


views: list[View] = [
    _beside("loss", "Triplet loss on unseen bags"),
    _beside("recall", "Recall@1 on unseen bags", 1.0),
    _beside("on_informative", "Share of the informative vectors", 1.0),
]
